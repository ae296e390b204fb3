"""The library without the study: what it imports, where it works, and what it needs."""

import os
import shutil
import subprocess
import sys
import tomllib
from importlib.metadata import packages_distributions

import pytest
from packaging.requirements import Requirement

from paragon.__main__ import main
from paragon.params import ROOT

pytestmark = pytest.mark.slow

# What the other extras bring, and the parts of the package that need them.
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
LISTED = [PROJECT["optional-dependencies"][extra] for extra in ("study", "serve")]
EXTRAS = {Requirement(line).name for lines in LISTED for line in lines}
BROUGHT = {name for name, by in packages_distributions().items() if {*by} & EXTRAS}
STUDY = ("IPython", "jinja2", "paragon.evaluation", "paragon_study", *sorted(BROUGHT))
USE = """
import sys
sys.modules.update(dict.fromkeys({blocked!r}))
import paragon
assert "torch" not in sys.modules and "pandas" not in sys.modules
from paragon import Dataset, Recommender
assert Dataset.from_frame and "Recommender" in dir(paragon)
recommender = Recommender.load(sys.argv[1])
history = recommender.data.item_ids[:3]
best = recommender.recommend(history, {{"accuracy": 0.7, "diversity": 0.3}}, k=4)
recommender.recommend(history, [0.7, 0.3], rerank="xquad")
assert recommender.weights_for(accuracy_loss_at_most=0.5)
print(" ".join(best.item_ids))
print(paragon.__file__)
"""


def test_it_needs_nothing_of_the_study_and_no_other_files(exported, loaded, tmp_path):
    """A copy of the package, in a folder without params.yaml, data or git."""
    shutil.copytree(ROOT / "paragon", tmp_path / "paragon")
    kept = {name: value for name, value in os.environ.items() if not name.startswith("PARAGON_")}
    command = [sys.executable, "-c", USE.format(blocked=STUDY), str(exported)]
    environment = {**kept, "PYTHONPATH": ""}
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    best, place = done.stdout.splitlines()
    assert place == str(tmp_path / "paragon" / "__init__.py")
    weights = {"accuracy": 0.7, "diversity": 0.3}
    assert best.split() == loaded.recommend(loaded.data.item_ids[:3], weights, k=4).item_ids


def test_a_command_without_its_extra_says_how_to_get_it(exported, monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "fastapi", None)
    monkeypatch.delitem(sys.modules, "paragon.serving.service", raising=False)
    monkeypatch.setattr("paragon_study.command_line._exit_at_signals", lambda: None)
    monkeypatch.setattr(sys, "argv", ["paragon", "serve", str(exported)])
    with pytest.raises(SystemExit) as caught:
        main()
    said = f"{caught.value}\n{capsys.readouterr().err}"
    assert caught.value.code != 0 and "fastapi" in said and "[serve]" in said
