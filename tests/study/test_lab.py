"""The lab, as somebody uses it who runs all cells of every notebook and saves it."""

import json
import os
import subprocess
import sys

import nbformat
import pytest
from nbclient import NotebookClient

from paragon_study.course.lab import headline_of, make_lab, open_lab
from tests.conftest import THOROUGH
from tests.study.conftest import command, git, snapshot

# The control room, the data and every figure: what trains would change what the others load.
# Notebook 7 needs the ablations, which take hours.
NOTEBOOKS = "0[0-689]_*.ipynb" if THOROUGH else "0[01]_*.ipynb"


@pytest.mark.slow
def test_notebooks_of_the_lab_run_and_leave_the_study_as_it_was(finished, monkeypatch):
    before, lab = snapshot(finished), make_lab(full=True, root=finished)
    environment = {k: v for k, v in os.environ.items() if k != "PARAGON_QUIET"}
    for path in sorted(lab.glob(f"notebooks/{NOTEBOOKS}")):
        notebook = nbformat.read(path, as_version=4)
        client = NotebookClient(notebook, resources={"metadata": {"path": str(path.parent)}})
        client.execute(env=environment | {"PARAGON_ROOT": str(lab)})  # an error is raised
        outputs = [o for cell in notebook.cells for o in cell.get("outputs", [])]
        assert outputs and not [o.text for o in outputs if o.get("name") == "stderr"]
        if path.name.startswith("00"):
            assert any("widget-view" in str(o.get("data")) for o in outputs), "no control room"
        nbformat.write(notebook, path)
    assert snapshot(finished) == before
    assert git(finished, "status", "--porcelain", "notebooks", "params.yaml") == ""
    assert "up to date" in command(finished, "dvc", "status", "dvc.yaml")


def test_the_small_study_prints_its_measures_and_a_dash_for_what_is_undefined(tmp_path):
    folder = tmp_path / "results" / "ml-100k" / "sasrec"
    folder.mkdir(parents=True)
    measured = {"tuned": {"alpha_ndcg_98": 0.5123, "regret_mean_full": 0.0}, "xquad": {}}
    (folder / "headline.json").write_text(json.dumps(measured))
    lines = headline_of(tmp_path).splitlines()
    assert [line.split()[-2:] for line in lines if line.startswith("tuned")] == [["0.51", "–"]]


def test_kernels_of_the_lab_import_its_copy_of_the_package(tmp_path, monkeypatch):
    (tmp_path / "paragon").mkdir()
    (tmp_path / "paragon/__init__.py").write_text("changed = True\n")
    (tmp_path / "notebooks").mkdir()
    started = []
    monkeypatch.setattr(os, "execve", lambda *given: started.append(given))
    open_lab(tmp_path, [])
    [(_, _, variables)] = started
    command = [sys.executable, "-c", "import paragon; print(paragon.changed)"]
    done = subprocess.run(
        command, cwd=tmp_path / "notebooks", env=variables, capture_output=True, text=True
    )
    assert done.stdout.strip() == "True", done.stderr
