"""An exported folder: what is in it, and that nothing missing, altered or older is used."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file

from paragon import ParagonError, Recommender
from paragon.serving.folder import MANIFEST, new_folder
from tests.conftest import adapter_settings
from tests.serving.conftest import export, make


@pytest.fixture
def folder(exported, tmp_path):
    return shutil.copytree(exported, tmp_path / "model")


def test_nothing_about_people_is_in_it(exported, seqs):
    """No user's name, and no array with a row for each of them."""
    for path in exported.iterdir():
        if path.suffix in (".json", ".md"):
            text = path.read_text(encoding="utf-8")
            assert not any(f'"{user}"' in text for user in seqs.user_ids), path
    assert "no histories" in (exported / "README.md").read_text()
    assert not (exported / "sequences.json").exists()
    shapes = {n: a.shape for n, a in load_file(exported / "items.safetensors").items()}
    assert shapes == {"categories": (148, 6), "popularity": (148,)}


@pytest.mark.parametrize("name", ["lightgcn", "ngcf", "pinsage", "deepfm", "tisasrec"])
def test_what_a_backbone_knows_of_people_stays_behind(name, seqs, settings, tmp_path):
    model, generator = make(name, seqs, settings)
    folder = export(tmp_path / name, name, seqs, settings, model, generator)
    kept = load_file(folder / "backbone.safetensors")
    users = {seqs.n_users, seqs.n_users + 1, seqs.n_users + seqs.n_items + 1}
    assert not any(users & set(array.shape) for array in kept.values())
    assert not {"graph", "index", "weights"} & set(kept)
    about = json.loads((folder / "backbone.json").read_text())
    assert about["backbone"] == name and len(about["trained"]) == 64


def test_three_objectives(seqs, settings, tmp_path):
    three = adapter_settings(
        objectives=["accuracy", "diversity", "novelty"],
        anchors=[[1, 0, 0], [0.3, 0.4, 0.3], [0.05, 0.9, 0.05], [0.05, 0.05, 0.9]],
        oracles=2,
    )
    own = settings.model_copy(update={"adapters": three})
    model, generator = make("gru4rec", seqs, own)
    served = Recommender.load(export(tmp_path / "m", "gru4rec", seqs, own, model, generator))
    weights = {"accuracy": 0.4, "novelty": 0.6}
    assert len(served.recommend(["i1"], weights, k=4, rerank="xquad")) == 4
    assert served.weights_for(0.9)["novelty"] == 0  # from accuracy towards diversity
    assert "| accuracy | diversity | novelty | NDCG@10 |" in (tmp_path / "m/README.md").read_text()


def test_people_are_exported_only_on_purpose(made, seqs, settings, tmp_path):
    folder = export(tmp_path / "all", "sasrec", seqs, settings, *made, people=True)
    assert "**It holds the histories" in (folder / "README.md").read_text()
    assert Recommender.load(folder).items.users["u3"] == seqs.user_ids.index("u3")


def test_the_card_says_what_it_is(exported, loaded):
    card = (exported / "README.md").read_text(encoding="utf-8")
    for part in ("## Data", "Licence", "## People", "NDCG@10", "## Limits", "toy", "sasrec"):
        assert part in card
    rows = [line for line in card.splitlines() if line.startswith("| 0.5 | 0.5 |")]
    assert len(rows) == 1 and len(card.splitlines()) < 90
    code = card.split("```python")[1].split("```")[0].replace("path/of/this/folder", str(exported))
    exec(code)


def test_the_same_inputs_give_the_same_bytes(made, seqs, settings, tmp_path, exported):
    again = export(tmp_path / "again", "sasrec", seqs, settings, *made)
    assert {p.name: p.read_bytes() for p in again.iterdir()} == {
        p.name: p.read_bytes() for p in exported.iterdir()
    }


def test_notes_of_ones_own_may_be_added(folder):
    (folder / "README.md").write_text("mine")
    Recommender.load(folder)


def test_a_file_of_another_export_is_named(folder, seqs, settings, tmp_path):
    model, generator = make("gru4rec", seqs, settings)
    other = export(tmp_path / "other", "gru4rec", seqs, settings, model, generator)
    for end in ("json", "safetensors"):
        shutil.copy(other / f"backbone.{end}", folder)
    with pytest.raises(ParagonError, match="backbone.json was altered, or is of another export"):
        Recommender.load(folder)


def test_a_folder_is_replaced_whole_or_not_at_all(folder, tmp_path):
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    with pytest.raises(RuntimeError), new_folder(folder) as made:
        (made / "a").write_text("half")
        raise RuntimeError
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before
    assert [path.name for path in tmp_path.iterdir()] == ["model"]
    with new_folder(folder) as made:
        (made / "a").write_text("whole")
    assert sorted(path.name for path in folder.iterdir()) == ["a", MANIFEST]
    (tmp_path / "own").mkdir()
    (tmp_path / "own" / "thesis.txt").write_text("years")
    with pytest.raises(ParagonError, match="own holds 'thesis.txt'"), new_folder(tmp_path / "own"):
        pass
    with pytest.raises(ParagonError, match="is a file"), new_folder(folder / "a"):
        pass
    assert (tmp_path / "own" / "thesis.txt").read_text() == "years"


WEB_APP = {"name": "Shop", "icons": [], "files": ["index.html", "manifest.json"]}


@pytest.mark.parametrize("manifest", [json.dumps(WEB_APP), "[1]", "{", "[" * 100_000, "5"])
def test_a_manifest_of_something_else_is_no_export(tmp_path, manifest):
    (tmp_path / "index.html").write_text("a shop")
    (tmp_path / MANIFEST).write_text(manifest)
    with pytest.raises(ParagonError, match="holds 'index.html', which is not"):
        with new_folder(tmp_path):
            pytest.fail("nothing has to be computed for that")
    assert (tmp_path / "index.html").read_text() == "a shop"
    assert (tmp_path / MANIFEST).read_text() == manifest


def test_what_was_put_into_an_export_is_not_deleted(folder):
    (folder / "xquad.json").unlink()
    (folder / "xquad.json").mkdir()  # a name of ours is not enough
    with pytest.raises(ParagonError, match="holds 'xquad.json'"), new_folder(folder):
        pass
    (folder / "xquad.json").rmdir()
    (folder / "thesis.txt").write_text("years")
    with pytest.raises(ParagonError, match="holds 'thesis.txt'"), new_folder(folder):
        pass
    (folder / "thesis.txt").rename(folder.parent / "thesis.txt")
    with new_folder(folder):  # one of its files is missing: it is an export still
        pass
    assert [path.name for path in folder.iterdir()] == [MANIFEST]


@pytest.mark.parametrize("late", [False, True])
@pytest.mark.parametrize("name", ["model", "new"])
def test_an_interrupt_leaves_one_export_or_the_other(folder, monkeypatch, name, late):
    """Before or after each of the two renames."""
    before, rename = sorted(path.name for path in folder.iterdir()), Path.rename

    def interrupted(path, target):
        if path.name != name:
            return rename(path, target)
        monkeypatch.undo()  # once
        if late:
            rename(path, target)
        raise KeyboardInterrupt

    monkeypatch.setattr(Path, "rename", interrupted)
    with pytest.raises(KeyboardInterrupt), new_folder(folder) as made:
        (made / "a").write_text("whole")
    there = ["a", MANIFEST] if (name, late) == ("new", True) else before
    assert sorted(path.name for path in folder.iterdir()) == there
    assert [path.name for path in folder.parent.iterdir()] == ["model"]


def test_what_is_exported_serves_as_before(recommender, loaded, seqs):
    weights = np.random.default_rng(0).dirichlet([1, 1], 20)
    pasts = [seqs.item_ids[row : row + 5] for row in range(20)]
    first, second = (r.recommend_many(pasts, weights, k=5) for r in (recommender, loaded))
    assert (first.numbers == second.numbers).all() and (first.scores == second.scores).all()
