"""The bundle: what it holds, what it was made from, and what it refuses."""

import os
import shutil
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import torch

from paragon.adapters.collection import collect
from paragon.errors import ParagonError
from paragon.evaluation.methods import Trained
from paragon.evaluation.protocol import held_out
from paragon.generator.training import train_generator
from paragon.params import DATA, RESULTS, ROOT
from paragon.storage import save_tensors
from paragon_study.demo.page import (
    METHODS,
    Rankings,
    build_page,
    load_bundle,
    make_bundle,
    study_tensors,
)
from paragon_study.pipeline.study import open_study
from tests.demo.conftest import STEM


def test_it_is_small_and_holds_no_raw_data(bundle, sequences):
    files = [STEM.with_suffix(ending) for ending in (".json", ".safetensors")]
    assert sum(path.stat().st_size for path in files) <= 3e6
    assert all(tensor.is_floating_point() for tensor in bundle.tensors.values())
    text = files[0].read_text()
    assert not any(f'"{title}"' in text for title in sequences.titles)


@pytest.mark.parametrize("method", METHODS)
def test_its_points_are_those_of_the_committed_results(bundle, method):
    curve = pd.read_csv(RESULTS / "ml-100k" / "sasrec" / "curve.csv")
    rows = curve.query("method == @method and protocol == 'full' and seed == 0")
    steps = (100 * rows["w_accuracy"]).round().astype(int).tolist()
    points = bundle.tensors[f"front.{method}"][steps]
    assert len(points) == 11
    recorded = rows[["ndcg@10", "alpha_ndcg@10"]].to_numpy()
    assert np.allclose(points[:, :2], recorded, atol=2e-5)


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
    """A small study of made-up data, trained for a moment."""
    own = settings.adapters
    parts = held_out(seqs, backbone, own, [5, 10])
    collection = collect(backbone, seqs, own, [0, 1], {"backbone": "its checksum"})
    generators = [train_generator(collection, settings.generator, seed) for seed in (0, 1)]
    weights = collection.oracles
    bias = torch.randn(2, len(weights), 6, generator=torch.Generator().manual_seed(0))
    return Trained(*parts, collection, generators, [], [{}, {}], bias, weights[:0], {})


@pytest.fixture(scope="module")
def toy_bundle(toy):
    return make_bundle(toy)


def test_any_study_has_a_bundle_with_the_same_bytes_twice(toy, toy_bundle, tmp_path):
    seqs = toy.test_set.sequences
    for name, bundle in (("one", toy_bundle), ("two", make_bundle(toy))):
        save_tensors(tmp_path / name, bundle.tensors, bundle.description)
    for ending in (".json", ".safetensors"):
        one, two = ((tmp_path / name).with_suffix(ending).read_bytes() for name in ("one", "two"))
        assert one == two
    page = build_page(load_bundle(tmp_path / "one", seqs), seqs)
    assert all(title in page for title in seqs.titles)


def test_the_page_of_another_study_shows_what_the_package_says(toy, toy_bundle, tmp_path, browser):
    seqs, path = toy.test_set.sequences, tmp_path / "toy.html"
    path.write_text(build_page(toy_bundle, seqs), encoding="utf-8")
    browser.open(path.as_uri(), "window.paragon")
    lists = Rankings(toy_bundle, seqs)
    for method in METHODS:
        script = f"data.users.map((_, user) => recommender.list(user, '{method}', 25).items)"
        assert (np.array(browser.run(script)) == lists.top(method, 25)).mean() > 0.99, method


def test_titles_are_only_text(toy, toy_bundle):
    seqs = replace(toy.test_set.sequences, titles=["</script><b>"] * toy.test_set.sequences.n_items)
    page = build_page(toy_bundle, seqs)
    assert "</script><b>" not in page


def test_what_is_wrong_is_said(toy, toy_bundle, tmp_path):
    seqs = toy.test_set.sequences
    with pytest.raises(ParagonError, match="python -m paragon demo --renew"):
        load_bundle(tmp_path / "none", seqs)
    save_tensors(tmp_path / "toy", toy_bundle.tensors, toy_bundle.description)
    other = replace(seqs, description=seqs.description | {"fingerprint": "other"})
    with pytest.raises(ParagonError, match="fingerprint"):
        load_bundle(tmp_path / "toy", other)
    generator = toy.generators[0]
    settings = generator.description["settings"] | {"guidance": 2.0}
    changed = generator.description | {"settings": settings}
    with pytest.raises(ParagonError, match="guidance"):
        make_bundle(replace(toy, generators=[type(generator)(generator.model, changed)]))


def test_a_clone_has_the_page_without_any_training(tmp_path, sequences):
    """Of the files that a clone has, and of the data: the page, with one command."""
    shutil.copy(ROOT / "params.yaml", tmp_path)
    shutil.copytree(STEM.parent, tmp_path / "docs" / "demo")
    shutil.copytree(DATA / "ml-100k", tmp_path / "data" / "ml-100k")
    environment = os.environ | {"PARAGON_ROOT": str(tmp_path), "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-m", "paragon", "demo", "--no-show"]
    done = subprocess.run(
        command, env=environment, cwd=tmp_path, capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 0, done.stderr
    page = tmp_path / "artifacts" / "demo.html"
    assert str(page) in done.stdout and 1e6 < page.stat().st_size <= 5e6
    shutil.rmtree(tmp_path / "docs")
    done = subprocess.run(command, env=environment, cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 1 and len(done.stderr.splitlines()) == 1
    assert "python -m paragon demo --renew" in done.stderr
