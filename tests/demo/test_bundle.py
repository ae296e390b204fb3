"""The bundle: what it holds, what it was made from, and what it refuses."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import torch
from typer.testing import CliRunner

from paragon.params import RESULTS
from paragon.storage import save_tensors
from paragon_study.command_line import app
from paragon_study.demo.page import (
    METHODS,
    Rankings,
    build_page,
    load_bundle,
    make_bundle,
    study_tensors,
)
from paragon_study.pipeline.study import open_study
from tests.conftest import refused, trained_study
from tests.demo.conftest import STEM


def test_the_committed_one_is_small_holds_no_raw_data_and_has_the_points_of_the_results(
    bundle, sequences
):
    files = [STEM.with_suffix(ending) for ending in (".json", ".safetensors")]
    assert sum(path.stat().st_size for path in files) <= 3e6
    assert all(tensor.is_floating_point() for tensor in bundle.tensors.values())
    text = files[0].read_text()
    assert not any(f'"{title}"' in text for title in sequences.titles)
    curve = pd.read_csv(RESULTS / "ml-100k" / "sasrec" / "curve.csv")
    for method in METHODS:
        rows = curve.query("method == @method and protocol == 'full' and seed == 0")
        steps = (100 * rows["w_accuracy"]).round().astype(int).tolist()
        points = bundle.tensors[f"front.{method}"][steps]
        assert len(points) == 11
        recorded = rows[["ndcg@10", "alpha_ndcg@10"]].to_numpy()
        assert np.allclose(points[:, :2], recorded, atol=2e-5), method


def test_it_is_what_the_pipeline_made(bundle):
    study = open_study("ml-100k", "sasrec", checked=False)
    if not (study.folder / "rivals" / "category_bias.json").exists():
        pytest.skip("the study was not run here: `dvc repro`")
    trained = study.load_trained()
    if trained.generators[0].description["sha256"] != bundle.description["made_from"]["generator"]:
        pytest.skip("the study was trained anew here, with other bytes than the recorded ones")
    tensors, description = study_tensors(trained)
    assert description == {k: v for k, v in bundle.description.items() if k != "sha256"}
    for name, tensor in tensors.items():
        assert torch.allclose(tensor, bundle.tensors[name], atol=1e-5), name


@pytest.fixture(scope="module")
def toy(seqs, backbone, settings):
    return trained_study(seqs, backbone, settings)


@pytest.fixture(scope="module")
def toy_bundle(toy):
    return make_bundle(toy)


def test_another_study_has_a_bundle_with_the_same_bytes_twice_and_a_page(
    toy, toy_bundle, tmp_path, browser
):
    seqs, stems = toy.test_set.sequences, [tmp_path / "one", tmp_path / "two"]
    for stem, bundle in zip(stems, (toy_bundle, make_bundle(toy)), strict=True):
        save_tensors(stem, bundle.tensors, bundle.description)
    for ending in (".json", ".safetensors"):
        one, two = (stem.with_suffix(ending).read_bytes() for stem in stems)
        assert one == two
    page = build_page(load_bundle(stems[0], seqs), seqs)
    assert all(title in page for title in seqs.titles)
    strange = replace(seqs, titles=["</script><b>"] * seqs.n_items)  # titles are only text
    assert "</script><b>" not in build_page(toy_bundle, strange)
    (tmp_path / "toy.html").write_text(page, encoding="utf-8")
    browser.open((tmp_path / "toy.html").as_uri(), "window.paragon")
    lists = Rankings(toy_bundle, seqs)
    for method in METHODS:
        script = f"data.users.map((_, user) => recommender.list(user, '{method}', 25).items)"
        assert (np.array(browser.run(script)) == lists.top(method, 25)).mean() > 0.99, method


def test_what_is_wrong_is_said(toy, toy_bundle, tmp_path):
    seqs = toy.test_set.sequences
    refused("python -m paragon demo --renew", load_bundle, tmp_path / "none", seqs)
    save_tensors(tmp_path / "toy", toy_bundle.tensors, toy_bundle.description)
    other = replace(seqs, description=seqs.description | {"fingerprint": "other"})
    refused("fingerprint", load_bundle, tmp_path / "toy", other)
    generator = toy.generators[0]
    settings = generator.description["settings"] | {"guidance": 2.0}
    changed = generator.description | {"settings": settings}
    guided = replace(toy, generators=[type(generator)(generator.model, changed)])
    refused("guidance", make_bundle, guided)


def test_the_command_builds_the_page_without_any_training(sequences, tmp_path):
    page = tmp_path / "demo.html"
    chosen = ["--dataset", "ml-100k", "--backbone", "sasrec", "--output", str(page), "--no-show"]
    done = CliRunner().invoke(app, ["demo", *chosen])
    assert str(page) in done.output and 1e6 < page.stat().st_size <= 5e6
