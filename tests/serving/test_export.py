"""An exported folder: what is in it, and that nothing missing, altered or older is used."""

import dataclasses
import json
import os
import shutil

import numpy as np
import pytest
from safetensors.numpy import load_file

from paragon import Recommender
from paragon.adapters.frozen import frozen_events
from paragon.serving.export import export_folder, quality_of_lists
from paragon.storage import load_tensors, save_tensors
from tests.conftest import adapter_settings, refused, tree, uneven
from tests.evaluation.test_evaluation import brute_force
from tests.serving.conftest import export, make

pytestmark = pytest.mark.slow


@pytest.fixture
def folder(exported, tmp_path):
    return shutil.copytree(exported, tmp_path / "model")


def test_three_objectives(seqs, settings, tmp_path):
    three = adapter_settings(
        objectives=["accuracy", "diversity", "novelty"],
        anchors=[[1, 0, 0], [0.3, 0.4, 0.3], [0.05, 0.9, 0.05], [0.05, 0.05, 0.9]],
        start=[0.3, 0.4, 0.3],
        oracles=2,
    )
    own = make("gru4rec", seqs, settings.model_copy(update={"adapters": three}))
    served = Recommender.load(export(tmp_path / "m", seqs, own))
    weights = {"accuracy": 0.4, "novelty": 0.6}
    assert len(served.recommend(["i1"], weights, k=4, rerank="xquad")) == 4
    assert served.weights_for(0.9)["novelty"] == 0  # from accuracy towards diversity


def test_the_code_of_the_card_runs(exported):
    card = (exported / "README.md").read_text(encoding="utf-8")
    assert len([line for line in card.splitlines() if line.startswith("| 0.5 | 0.5 |")]) == 1
    code = card.split("```python")[1].split("```")[0].replace("path/of/this/folder", str(exported))
    exec(code)


def test_the_bytes_are_the_same_again_and_serve_as_before(
    made, recommender, loaded, exported, seqs, tmp_path
):
    again = export(tmp_path / "again", seqs, made)
    assert tree(again) == tree(exported)
    weights = np.random.default_rng(0).dirichlet([1, 1], 20)
    pasts = [seqs.item_ids[row : row + 5] for row in range(20)]
    first, second = (r.recommend_many(pasts, weights, k=5) for r in (recommender, loaded))
    assert (first.numbers == second.numbers).all() and (first.scores == second.scores).all()


def test_lists_are_measured_without_what_was_met_but_for_the_target(made, seqs, settings):
    """By brute force; half of the users take their last item once more."""
    seqs, again = uneven(seqs), seqs.test.candidates.copy()
    before = seqs.offsets[seqs.test.users] + seqs.test.positions - 1
    again[::2, 0] = seqs.items[before[::2]]
    seqs = dataclasses.replace(seqs, test=dataclasses.replace(seqs.test, candidates=again))
    weights = np.array([[0.9, 0.1], [0.3, 0.7]])
    found = quality_of_lists(Recommender(made[0], made[2], seqs), seqs, seqs.test, weights)
    task = frozen_events(made[0], seqs, "test", settings.adapters)
    for row, vector in enumerate(made[2].generate(weights)):
        scores, values = task.catalogue_scores(vector).numpy(), []
        for event, met in enumerate(seqs.excluded(seqs.test)):
            pool, target = np.flatnonzero(~met).tolist(), seqs.test.targets[event]
            values.append(brute_force(seqs, scores[event], pool, target)[:2])
        ndcg, diversity = np.transpose(values)
        assert np.allclose(found[0][row], ndcg) and ndcg[::2].any()
        assert found[1]["diversity"][row] == pytest.approx(diversity.mean(), rel=1e-6)


@pytest.mark.parametrize("part", ["backbone", "generator"])
def test_a_part_of_another_export_is_refused_and_so_is_a_forged_sum(
    folder, seqs, other, tmp_path, part
):
    export(tmp_path / "other", seqs, other)
    for end in ("json", "safetensors"):
        shutil.copy(tmp_path / "other" / f"{part}.{end}", folder)
    refused(("parts", f"`{part}`"), Recommender.load, folder)
    tensors, about = load_tensors(folder / "paragon", "")
    forged = about["parts"] | {part: load_tensors(folder / part, "")[1]["sha256"]}
    for parts, word in ((forged, "`backbone`"), ({}, "parts")):
        save_tensors(folder / "paragon", tensors, about | {"parts": parts})
        refused(word, Recommender.load, folder)


def test_a_file_instead_of_an_exported_folder_is_called_what_it_is(tmp_path):
    for content, kind in ((b"PK\3\4", "zip"), (b"{", "JSON"), (b"text", "a file")):
        (path := tmp_path / "model").write_bytes(content)
        refused((str(path), kind, "export"), Recommender.load, path)


def test_a_weak_recommender_says_so_in_its_card_and_its_description(seqs, make_once, tmp_path):
    model, about, generator = make_once("sasrec")
    for warning in (None, "WARNING: a rule is as good"):
        weak = about if warning is None else about | {"warning": warning}
        folder = tmp_path / str(warning is None)
        export_folder(folder, seqs, model, weak, generator)
        Recommender.load(folder)
        stored = json.loads((folder / "backbone.json").read_text("utf-8"))
        assert stored.get("warning") == warning
        assert ("WARNING" in (folder / "README.md").read_text("utf-8")) == (warning is not None)


def test_another_format_and_what_is_no_file(folder):
    (folder / "README.md").write_text("mine")  # notes of one's own may be added
    Recommender.load(folder)
    tensors, about = load_tensors(folder / "paragon", "")
    for number in (1, True, "x" * 10_000):
        save_tensors(folder / "paragon", tensors, about | {"format": number})
        assert len(refused("`format`", Recommender.load, folder)) < 500
    (folder / "paragon.json").unlink()
    os.mkfifo(folder / "paragon.json")  # reading it would wait for ever
    refused("paragon.json", Recommender.load, folder)


def test_only_an_earlier_export_is_replaced_and_only_as_a_whole(
    folder, made, other, seqs, tmp_path, monkeypatch
):
    before = tree(folder)
    refused("backbone", export, folder, seqs, (*made[:2], other[2]))  # another one's generator
    with monkeypatch.context() as patched, pytest.raises(ZeroDivisionError):
        patched.setattr("paragon.serving.export.model_card", lambda *_: 1 / 0)
        export(folder, seqs, made)
    assert tree(folder) == before
    (folder / "README.md").unlink()  # one of its files is missing: it is an export still
    export(folder, seqs, made, people=True)
    assert "--people" in (folder / "README.md").read_text(encoding="utf-8")
    assert Recommender.load(folder).users["u3"] == seqs.user_ids.index("u3")
    assert [path.name for path in tmp_path.iterdir()] == ["model"]
    (folder / "generator.json").unlink()
    (folder / "generator.json").mkdir()  # a name of ours is not enough
    (tmp_path / "foreign").mkdir()
    (tmp_path / "foreign" / "a").write_text("mine")
    for target in (folder, tmp_path / "foreign", tmp_path / "foreign" / "a"):
        refused(str(target), export, target, seqs, made)
    assert (tmp_path / "foreign" / "a").read_text() == "mine"


@pytest.mark.parametrize("name", ["sasrec", "lightgcn", "ngcf", "pinsage", "deepfm", "tisasrec"])
def test_nothing_about_people_is_in_it(nobody, name, seqs):
    """No user's name, and no array with a row for each of them."""
    folder = nobody(name)
    assert "--people" not in (folder / "README.md").read_text(encoding="utf-8")
    for path in folder.glob("*.[jm]*"):
        text = path.read_text(encoding="utf-8")
        assert not any(f'"{user}"' in text for user in seqs.user_ids), path
    stored = load_file(folder / "backbone.safetensors")
    users = {seqs.n_users, seqs.n_users + 1, seqs.n_users + seqs.n_items + 1}
    assert not any(users & set(array.shape) for array in stored.values())
    assert not any(stored[name].any() for name in {"index", "weights"} & stored.keys())
    assert len(json.loads((folder / "backbone.json").read_text())["trained"]) == 64
    events = load_file(folder / "sequences.safetensors")
    assert {n for n, a in events.items() if a.any()} == {"categories", "groups"}
    assert events["groups"].tolist() == [-1]
