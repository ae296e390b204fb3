"""The notebooks as a course: diagrams, exercises that check themselves, right solutions."""

import os
import re
import subprocess
import sys
from dataclasses import replace

import nbformat
import pytest
import yaml

from paragon import Dataset, ParagonError, Recommender
from paragon.params import ROOT
from paragon_study.course import own_data
from paragon_study.course.exercise import RIGHT, UNANSWERED
from paragon_study.course.own_data import new_study
from tests.serving.test_service import ask, start
from tests.study.conftest import git

NOTEBOOKS = sorted((ROOT / "notebooks").glob("0[1-9]_*.ipynb"))
BLOCK = re.compile(r"^```python\n(.*?)^```$", re.MULTILINE | re.DOTALL)
# Runs notebooks one after the other in one process: a kernel for each would take longer.
RUN = """\
import sys, nbformat
for path in sys.argv[1:]:
    names = {}
    for cell in nbformat.read(path, as_version=4).cells:
        if cell.cell_type == "code":
            exec(compile(cell.source, path, "exec"), names)
"""


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
    return notebook


def written(notebook, smaller, path):
    """The path of the notebook with other numbers: ``{text: what stands there instead}``."""
    for old, new in smaller.items():
        assert any(old in cell.source for cell in notebook.cells)
        for cell in notebook.cells:
            cell.source = cell.source.replace(old, new)
    assert not any(old in cell.source for cell in notebook.cells for old in smaller)
    path.parent.mkdir(exist_ok=True)
    nbformat.write(notebook, path)
    return path


def run(folder, *paths):
    """What is printed by notebooks whose study is in that folder."""
    done = subprocess.run(
        [sys.executable, "-c", RUN, *map(str, paths)],
        cwd=folder,
        env={**os.environ, "PARAGON_ROOT": str(folder), "PARAGON_QUIET": "1"},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_has_a_diagram_and_at_least_three_exercises_with_solutions(path):
    notebook = nbformat.read(path, as_version=4)
    assert len(exercises_of(notebook)) == len(solutions_of(path)) >= 3
    assert solved(path)
    text = "\n".join(cell.source for cell in notebook.cells if cell.cell_type == "markdown")
    (diagram,) = re.findall(r"\]\((\.\./docs/diagrams/\w+\.svg)\)", text)
    assert (path.parent / diagram).is_file()
    assert "What you will learn" in text and f"docs/solutions/{path.stem}.md" in text


@pytest.mark.skipif(not list(ROOT.glob("ablations/results/*.csv")), reason="no ablations here")
def test_the_solutions_of_the_ablations_are_right(tmp_path):
    """Of what that notebook computes they need the committed tables only."""
    path = ROOT / "notebooks" / "07_ablations.ipynb"
    copies = []
    for name, notebook in (("asked", nbformat.read(path, as_version=4)), ("solved", solved(path))):
        code = [cell for cell in notebook.cells if cell.cell_type == "code"]
        notebook.cells = code[:4] + exercises_of(notebook)
        copies.append(tmp_path / f"{name}.ipynb")
        nbformat.write(notebook, copies[-1])
    count = len(solutions_of(path))
    assert run(ROOT, *copies) == [UNANSWERED] * count + [RIGHT] * count


@pytest.mark.slow
def test_a_table_becomes_a_recommender_a_page_and_a_model_to_serve(small_study):
    """Notebook 8 with fewer people and steps, its exercises solved; the study stays as it is."""
    path = ROOT / "notebooks" / "08_your_own_data.ipynb"
    smaller = {"[:150]": "[:40]", '"epochs": 12': '"epochs": 2'}
    smaller |= {'"steps": 150': '"steps": 20', '"steps": 300': '"steps": 20'}
    before = git(small_study, "status", "--porcelain")
    lines = run(small_study, written(solved(path), smaller, small_study / "artifacts" / path.name))
    assert lines.count(RIGHT) == len(solutions_of(path))
    assert any("row 1, column item_id" in line for line in lines)
    made = small_study / "artifacts" / "own" / "sasrec"
    assert "person-" in (made / "demo.html").read_text(encoding="utf-8")
    recommender = Recommender.load(made / "model")
    shown = recommender.recommend(["film-50", "no such film"], [0.5, 0.5], k=5)
    assert len(shown.item_ids) == 5 and all(item.startswith("film-") for item in shown.item_ids)
    process, address = start(made / "model")
    asked = {"history": ["film-50"], "weights": {"accuracy": 0.3, "diversity": 0.7}, "k": 3}
    status, found = ask(address, body=asked)
    process.kill()
    process.communicate()
    assert status == 200 and len(found["items"]) == 3
    assert git(small_study, "status", "--porcelain") == before


@pytest.mark.slow
def test_a_night_passes_and_control_moves_to_the_new_model(small_study):
    """Notebook 9 with fewer epochs and steps, its exercises solved; the study stays as it is."""
    path = ROOT / "notebooks" / "09_after_tomorrow.ipynb"
    smaller = {
        '"max_users": None': '"max_users": 300',
        '"dim": 32': '"dim": 16',
        '"epochs": 12': '"epochs": 3',
        '"steps": 300': '"steps": 60',
        '"steps": 400': '"steps": 60',
    }
    before = git(small_study, "status", "--porcelain")
    lines = run(small_study, written(solved(path), smaller, small_study / "artifacts" / path.name))
    assert lines.count(RIGHT) == len(solutions_of(path))
    assert any("too little in common" in line for line in lines)
    assert git(small_study, "status", "--porcelain") == before


@pytest.mark.parametrize("name", ["ml-100k", "ablations", "notebooks", "moves"])
def test_a_name_of_the_study_is_refused(name):
    data = Dataset.from_frame(
        {"user_id": ["a"], "item_id": ["b"], "timestamp": [1]},
        {"item_id": ["b"], "categories": [["c"]]},
        name=name,
    )
    with pytest.raises(ParagonError, match="another name"):
        new_study(data)


def test_only_what_a_study_of_own_data_made_is_removed(dataset, tmp_path, monkeypatch):
    monkeypatch.setattr(own_data, "ARTIFACTS", tmp_path)
    other, small = tmp_path / "ml-1m" / "data" / "of-others", {"data": {"negatives": 50}}
    other.parent.mkdir(parents=True)
    other.touch()
    with pytest.raises(ParagonError, match="another name"):
        new_study(replace(dataset, name="ml-1m"), settings=small)
    assert other.exists()
    new_study(dataset, settings=small)
    made = tmp_path / "toy" / "sasrec"
    made.mkdir()
    with pytest.raises(ParagonError, match="backbone 'sasrek' is unknown; known: sasrec"):
        new_study(dataset, "sasrek", small)
    assert made.exists()
    new_study(dataset, settings=small)
    assert not made.exists() and (tmp_path / "toy" / "data" / "sequences.json").exists()


@pytest.mark.slow
def test_the_solutions_are_right_and_what_is_done_by_hand_is_what_the_package_does(small_study):
    params = small_study / "params.yaml"
    content = yaml.safe_load(params.read_text())
    content["run"]["seeds"], content["rivals"]["end_to_end"] = [0], []
    params.write_text(yaml.safe_dump(content))
    stages = [path for path in NOTEBOOKS if path.stem < "07"]
    copies = [small_study / "notebooks" / path.name for path in stages]
    for path, copy in zip(stages, copies, strict=True):
        nbformat.write(solved(path), copy)
    lines = run(small_study, *copies)
    assert not [line for line in lines if line.startswith("Not ")]
    assert lines.count(RIGHT) == sum(len(solutions_of(path)) for path in stages)
    compared = [line for line in lines if re.search(r"\bsame\b.*: (True|False)$", line)]
    assert len(compared) >= 10
    assert all(line.endswith("True") for line in compared), compared
