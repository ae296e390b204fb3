"""The notebooks as a course: diagrams, exercises that check themselves, right solutions."""

import json
import os
import re
import subprocess
import sys
from dataclasses import replace

import nbformat
import pandas as pd
import pytest

from paragon import Recommender
from paragon.params import ROOT
from paragon_study.course import own_data
from paragon_study.course.exercise import RIGHT, UNANSWERED
from paragon_study.course.lab import headline_of
from paragon_study.course.own_data import new_study
from paragon_study.pipeline.determinism import STAGE
from tests.conftest import refused
from tests.study.conftest import git, snapshot

NOTEBOOKS = sorted((ROOT / "notebooks").glob("0[1-9]_*.ipynb"))
BLOCK = re.compile(r"^```python\n(.*?)^```$", re.MULTILINE | re.DOTALL)
# Runs notebooks one after the other in one process: a kernel for each would take longer.
RUN = """\
import sys, nbformat
for path in sys.argv[1:]:
    print(f"--- {path}")
    names = {}
    for cell in nbformat.read(path, as_version=4).cells:
        if cell.cell_type == "code":
            exec(compile(cell.source, path, "exec"), names)
"""
# Fewer people, epochs and steps: ``{notebook: {text: what stands there instead}}``.
SMALLER = {
    "08_your_own_data": {
        "[:150]": "[:40]", '"epochs": 12': '"epochs": 2',
        '"steps": 150': '"steps": 20', '"steps": 300': '"steps": 20',
    },
    "09_after_tomorrow": {
        '"max_users": None': '"max_users": 300', '"dim": 32': '"dim": 16',
        '"epochs": 12': '"epochs": 3', '"steps": 300': '"steps": 60, "batch": 128',
        '"steps": 400': '"steps": 60',
    },
}  # fmt: skip


def exercises_of(notebook):
    return [cell for cell in notebook.cells if "exercise" in cell.metadata.get("tags", [])]


def solutions_of(path):
    text = (ROOT / "docs" / "solutions" / f"{path.stem}.md").read_text(encoding="utf-8")
    return [block.rstrip("\n") for block in BLOCK.findall(text)]


def solved(path):
    """The notebook with every answer, up to the first blank line of its cell, filled in."""
    notebook = nbformat.read(path, as_version=4)
    for cell, answer in zip(exercises_of(notebook), solutions_of(path), strict=True):
        asked, blank, check = cell.source.partition("\n\n")
        assert "..." in asked and "check(" in check
        cell.source = answer + blank + check
    for old, new in SMALLER.get(path.stem, {}).items():
        assert any(old in cell.source for cell in notebook.cells)
        for cell in notebook.cells:
            cell.source = cell.source.replace(old, new)
    return notebook


def run(folder, *paths):
    """The lines that notebooks print whose study is in that folder: ``{notebook: lines}``."""
    done = subprocess.run(
        [sys.executable, "-c", RUN, *map(str, paths)], cwd=folder,
        env=os.environ | STAGE | {"PARAGON_ROOT": str(folder)},
        capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    printed = done.stdout.split("--- ")[1:]
    return {path.stem: part.splitlines()[1:] for path, part in zip(paths, printed, strict=True)}


@pytest.mark.skipif(not list(ROOT.glob("ablations/results/*.csv")), reason="no ablations here")
def test_the_solutions_of_the_ablations_are_right(capsys):
    """Of what that notebook computes they need the committed tables only."""
    path = ROOT / "notebooks" / "07_ablations.ipynb"
    for notebook, word in ((nbformat.read(path, 4), UNANSWERED), (solved(path), RIGHT)):
        code, names = [cell for cell in notebook.cells if cell.cell_type == "code"], {}
        with pd.option_context("display.max_colwidth", None):  # as the notebook sets it
            for cell in code[:4] + exercises_of(notebook):
                exec(compile(cell.source, path, "exec"), names)
        assert capsys.readouterr().out.splitlines() == [word] * len(solutions_of(path))


@pytest.mark.slow
def test_solutions_are_right_and_an_undisturbed_run_in_one_process_has_the_bytes_of_the_study(
    make_small_study, tmp_path, request
):
    """All notebooks but that of the ablations; own data leave the study as it is."""
    study = make_small_study(tmp_path / "study")
    copies = {p: study / "artifacts" / p.name for p in NOTEBOOKS if "07" not in p.stem}
    (study / "artifacts").mkdir()
    for path, copy in copies.items():
        nbformat.write(solved(path), copy)
    lines = run(study, *copies.values())
    for path in copies:
        assert lines[path.stem].count(RIGHT) == len(solutions_of(path)), lines[path.stem]
    every = [line for printed in lines.values() for line in printed]
    compared = [line for line in every if re.search(r"\bsame\b.*: (True|False)$", line)]
    assert len(compared) >= 10 and all(line.endswith("True") for line in compared), compared
    assert all(any("item_knn" in x for x in lines[NOTEBOOKS[n].stem]) for n in (1, 7))
    assert any("row 1, column item_id" in line for line in lines["08_your_own_data"])
    assert any("item vectors" in line for line in lines["09_after_tomorrow"])
    assert git(study, "status", "--porcelain") == "?? results/\n"
    assert {path.name for path in (study / "results").iterdir()} == {"ml-100k"}
    kept = snapshot(request.getfixturevalue("run_once").with_name("kept"))
    kept = {n: b for n, b in kept.items() if n.startswith(("artifacts/ml-", "results/ml-"))}
    assert [n for n, content in kept.items() if (study / n).read_bytes() != content] == []
    control = json.loads(kept["results/ml-100k/sasrec/metrics.json"])["generated"]
    assert min(control["r_acc_full"], control["r_div_full"]) >= 0.9  # also in the small lab
    assert headline_of(study) in (ROOT / "README.md").read_text(encoding="utf-8")

    made = study / "artifacts" / "own" / "sasrec"
    assert "person-" in (made / "demo.html").read_text(encoding="utf-8")
    recommender = Recommender.load(made / "model")
    served = recommender.recommend(["film-50", "no such film"], [0.5, 0.5], k=5).item_ids
    assert len(served) == 5 and all(item.startswith("film-") for item in served)


def test_only_what_a_study_of_own_data_made_is_removed(dataset, tmp_path, monkeypatch):
    monkeypatch.setattr(own_data, "ARTIFACTS", tmp_path)
    other, small = tmp_path / "ml-1m" / "data" / "of-others", {"data": {"negatives": 50}}
    other.parent.mkdir(parents=True)
    other.touch()
    for name in ("ml-1m", "ml-100k", "ablations", "notebooks"):
        refused(repr(name), new_study, replace(dataset, name=name), settings=small)
    assert other.exists()
    new_study(dataset, settings=small)
    made = tmp_path / "toy" / "sasrec"
    made.mkdir()
    refused("'sasrek'", new_study, dataset, "sasrek", small)
    assert made.exists()
    new_study(dataset, settings=small)
    assert not made.exists() and (tmp_path / "toy" / "data" / "sequences.json").exists()
