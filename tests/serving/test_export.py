"""An exported folder: what is in it, and that nothing missing, altered or older is used."""

import json
import os
import shutil
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file

from paragon import ParagonError, Recommender
from paragon.serving.export import new_folder
from paragon.storage import load_tensors, save_tensors
from tests.conftest import adapter_settings
from tests.serving.conftest import export, make


@pytest.fixture
def folder(exported, tmp_path):
    return shutil.copytree(exported, tmp_path / "model")


@pytest.mark.parametrize("name", ["sasrec", "lightgcn", "ngcf", "pinsage", "deepfm", "tisasrec"])
def test_nothing_about_people_is_in_it(name, seqs, settings, tmp_path):
    """No user's name, and no array with a row for each of them."""
    folder = export(tmp_path / name, seqs, make(name, seqs, settings))
    for path in folder.glob("*.[jm]*"):
        text = path.read_text(encoding="utf-8")
        assert not any(f'"{user}"' in text for user in seqs.user_ids), path
    assert "no histories" in (folder / "README.md").read_text(encoding="utf-8")
    stored = load_file(folder / "backbone.safetensors")
    users = {seqs.n_users, seqs.n_users + 1, seqs.n_users + seqs.n_items + 1}
    assert not any(users & set(array.shape) for array in stored.values())
    assert not any(stored[name].any() for name in {"index", "weights"} & stored.keys())
    assert len(json.loads((folder / "backbone.json").read_text())["trained"]) == 64
    events = load_file(folder / "sequences.safetensors")
    assert {n for n, a in events.items() if a.any()} == {"categories", "groups"}
    assert events["groups"].tolist() == [-1]


def test_people_are_exported_only_on_purpose(made, seqs, tmp_path):
    folder = export(tmp_path / "all", seqs, made, people=True)
    assert "**it holds the histories" in (folder / "README.md").read_text(encoding="utf-8")
    assert Recommender.load(folder).users["u3"] == seqs.user_ids.index("u3")


def test_three_objectives(seqs, settings, tmp_path):
    three = adapter_settings(
        objectives=["accuracy", "diversity", "novelty"],
        anchors=[[1, 0, 0], [0.3, 0.4, 0.3], [0.05, 0.9, 0.05], [0.05, 0.05, 0.9]],
        oracles=2,
    )
    own = make("gru4rec", seqs, settings.model_copy(update={"adapters": three}))
    served = Recommender.load(export(tmp_path / "m", seqs, own))
    weights = {"accuracy": 0.4, "novelty": 0.6}
    assert len(served.recommend(["i1"], weights, k=4, rerank="xquad")) == 4
    assert served.weights_for(0.9)["novelty"] == 0  # from accuracy towards diversity


def test_the_card_says_what_it_is(exported):
    card = (exported / "README.md").read_text(encoding="utf-8")
    for part in ("## Data", "Licence", "People", "NDCG@10", "## Limits", "toy", "sasrec"):
        assert part in card
    assert len([line for line in card.splitlines() if line.startswith("| 0.5 | 0.5 |")]) == 1
    code = card.split("```python")[1].split("```")[0].replace("path/of/this/folder", str(exported))
    exec(code)


def test_the_same_inputs_give_the_same_bytes(made, seqs, tmp_path, exported):
    again = export(tmp_path / "again", seqs, made)
    assert {p.name: p.read_bytes() for p in again.iterdir()} == {
        p.name: p.read_bytes() for p in exported.iterdir()
    }


def test_what_is_exported_serves_as_before(recommender, loaded, seqs):
    weights = np.random.default_rng(0).dirichlet([1, 1], 20)
    pasts = [seqs.item_ids[row : row + 5] for row in range(20)]
    first, second = (r.recommend_many(pasts, weights, k=5) for r in (recommender, loaded))
    assert (first.numbers == second.numbers).all() and (first.scores == second.scores).all()


@pytest.mark.parametrize("part", ["backbone", "generator"])
def test_a_part_of_another_export_is_refused_and_so_is_a_forged_sum(
    folder, seqs, other, tmp_path, part
):
    export(tmp_path / "other", seqs, other)
    for end in ("json", "safetensors"):
        shutil.copy(tmp_path / "other" / f"{part}.{end}", folder)
    with pytest.raises(ParagonError, match=f"checksums: field `{part}` differs"):
        Recommender.load(folder)
    tensors, about = load_tensors(folder / "paragon", "")
    about["parts"][part] = load_tensors(folder / part, "")[1]["sha256"]
    save_tensors(folder / "paragon", tensors, about)
    with pytest.raises(ParagonError, match="field `backbone` differs"):
        Recommender.load(folder)


def test_a_generator_of_another_backbone_is_not_exported(made, other, seqs, tmp_path):
    with pytest.raises(ParagonError, match="backbone"):
        export(tmp_path / "m", seqs, (*made[:2], other[2]))
    assert not (tmp_path / "m").exists()


def test_another_format_and_what_is_no_file(folder):
    (folder / "README.md").write_text("mine")  # notes of one's own may be added
    Recommender.load(folder)
    tensors, about = load_tensors(folder / "paragon", "")
    for number in (1, True):
        save_tensors(folder / "paragon", tensors, about | {"format": number})
        with pytest.raises(ParagonError, match="`format` differs.*export. again"):
            Recommender.load(folder)
    (folder / "paragon.json").unlink()
    os.mkfifo(folder / "paragon.json")  # reading it would wait for ever
    with pytest.raises(ParagonError, match="paragon.json is missing"):
        Recommender.load(folder)


def test_a_folder_is_replaced_whole_or_not_at_all(folder, tmp_path):
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    with pytest.raises(RuntimeError), new_folder(folder) as made:
        (made / "a").write_text("half")
        raise RuntimeError
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before
    (folder / "generator.json").unlink()
    (folder / "generator.json").mkdir()  # a name of ours is not enough
    with pytest.raises(ParagonError, match="holds 'generator.json'"), new_folder(folder):
        pytest.fail("nothing has to be computed for that")
    (folder / "generator.json").rmdir()
    with new_folder(folder) as made:  # one of its files is missing: it is an export still
        (made / "a").write_text("whole")
    assert [path.name for path in folder.iterdir()] == ["a"]
    for foreign in (folder, folder / "a"):
        with pytest.raises(ParagonError, match="a"), new_folder(foreign):
            pytest.fail("this is nobody's export")
    assert (folder / "a").read_text() == "whole"
    assert [path.name for path in tmp_path.iterdir()] == ["model"]


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
    there = ["a"] if (name, late) == ("new", True) else before
    assert sorted(path.name for path in folder.iterdir()) == there
    assert [path.name for path in folder.parent.iterdir()] == ["model"]
