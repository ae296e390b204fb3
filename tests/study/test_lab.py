"""The lab: a copy of the notebooks that cannot change the study."""

import os
import shutil
import subprocess

import pytest
import yaml

from paragon.errors import ParagonError
from paragon.params import ROOT, load_params
from paragon_study.course import lab


@pytest.fixture
def root(tmp_path, monkeypatch):
    """A checkout with two notebooks, and a runner that only writes down what it was given."""
    for name in ("notebooks", "data", "paragon", "artifacts"):
        (tmp_path / name).mkdir()
    for name in ("01_data", "03_adapters"):
        shutil.copy(ROOT / "notebooks" / f"{name}.ipynb", tmp_path / "notebooks")
    shutil.copy(ROOT / "params.yaml", tmp_path)
    (tmp_path / "artifacts" / "made").write_text("by the study")
    calls = []
    monkeypatch.setattr(lab, "run_notebook", lambda *given: calls.append(given))
    return tmp_path, calls


def test_a_small_lab_runs_the_study_in_small_in_a_folder_of_its_own(root):
    root, calls = root
    before = {path: path.read_bytes() for path in root.rglob("*") if path.is_file()}
    made = lab.make_lab(root=root, say=lambda _: None)
    assert made == root / "lab"
    assert [call[:3] for call in calls] == [
        ("01_data", "ml-100k", None),
        ("03_adapters", "ml-100k", "sasrec"),
    ]
    small = load_params(made / "params.yaml")
    assert small.data.max_users == 60 and small.adapters.steps == 40
    assert small.adapters.served == load_params().adapters.served  # what small.yaml leaves alone
    assert not (made / "artifacts").exists() and (made / "data").resolve() == root / "data"
    assert {path: path.read_bytes() for path in before} == before


def test_a_full_lab_has_copies_of_the_artifacts(root):
    root, calls = root
    made = lab.make_lab(full=True, root=root)
    assert not calls and (made / "params.yaml").read_text() == (root / "params.yaml").read_text()
    (made / "artifacts" / "made").write_text("by a student")
    assert (root / "artifacts" / "made").read_text() == "by the study"


def test_a_lab_is_kept_until_it_is_reset(root):
    root, _ = root
    made = lab.make_lab(full=True, root=root)
    (made / "params.yaml").write_text("edited")
    assert (lab.make_lab(full=True, root=root) / "params.yaml").read_text() == "edited"
    with pytest.raises(ParagonError, match="is a full lab; .*make lab-reset"):
        lab.make_lab(root=root)
    lab.reset_lab(root)
    assert not made.exists() and (root / "artifacts" / "made").exists()
    assert (root / "paragon").is_dir(), "what a link led to is still there"


def test_a_lab_that_failed_half_way_is_none(root, monkeypatch):
    root, _ = root

    def fails(*_):
        raise ParagonError("no")

    monkeypatch.setattr(lab, "run_notebook", fails)
    with pytest.raises(ParagonError, match="no"):
        lab.make_lab(root=root, say=lambda _: None)
    assert not (root / "lab").exists()
    assert lab.make_lab(full=True, root=root).exists()


@pytest.mark.parametrize(
    ("missing", "full", "remedy"), [("data", False, "fetch"), ("artifacts", True, "repro")]
)
def test_what_is_missing_is_named_with_its_remedy(root, missing, full, remedy):
    root, _ = root
    shutil.rmtree(root / missing)
    with pytest.raises(ParagonError, match=f"{missing}: not found.*{remedy}"):
        lab.make_lab(full, root)


def test_the_small_study_changes_numbers_that_there_are():
    small = yaml.safe_load(lab.SMALL.read_text())
    study = yaml.safe_load((ROOT / "params.yaml").read_text())
    assert all(set(values) <= set(study[section]) for section, values in small.items())


def test_jupyterlab_is_found_without_its_environment_on_the_path(tmp_path, monkeypatch):
    called = []
    monkeypatch.setattr(os, "execv", lambda program, words: called.extend(words))
    monkeypatch.setattr(os, "execlp", lambda program, *words: called.extend(words))
    monkeypatch.setenv("PARAGON_ROOT", "as before")  # it is set by what is tested
    monkeypatch.setenv("PATH", "/usr/bin:/bin")
    lab.open_lab(tmp_path)
    assert os.environ["PARAGON_ROOT"] == str(tmp_path)
    *command, folder = called
    assert folder == f"--notebook-dir={tmp_path}"
    done = subprocess.run([*command, "--version"], capture_output=True, text=True, check=True)
    assert done.stdout[0].isdigit()
