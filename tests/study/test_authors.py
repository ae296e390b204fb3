"""docs/authors.md: every command on it in a small study, and its objective and its rival."""

import doctest
import json
import os
import re
import shutil
import subprocess
import sys

import pytest

from paragon.params import ROOT
from tests.conftest import write_study
from tests.study.conftest import command, git

PAGE = (ROOT / "docs" / "authors.md").read_text(encoding="utf-8")
STUDY = """
from paragon.evaluation.evaluate import evaluate
from paragon.params import RESULTS
from paragon_study.course import own_data
from paragon_study.pipeline import jobs
from paragon_study.pipeline.study import open_dataset, open_study
from paragon_study.report.compare import write_comparison

study = open_study("toy", "sasrec")
own_data.train(study)
jobs.train_category_bias(study)
jobs.retrain_all(study)
evaluate(study.load_trained(), study.params.evaluation).write(study.results)
open_dataset("toy").save(study.load_sequences())
write_comparison(RESULTS)
"""


def code_of(language):
    return re.findall(rf"```{language}\n(.*?)```", PAGE, re.DOTALL)


@pytest.mark.slow
def test_every_command_for_authors_prints_what_the_page_says(run_once):
    git(run_once, "add", "-A")
    git(run_once, "commit", "-qm", "results")
    git(run_once, "config", "user.name", "test")
    git(run_once, "config", "user.email", "test@example.org")
    alike = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE
    parts = [re.split(r"^\$ ", block, flags=re.MULTILINE)[1:] for block in code_of("console")]
    for line, _, expected in (step.partition("\n") for steps in parts for step in steps):
        found = command(run_once, "bash", "-c", f"{line} 2>&1")
        assert doctest.OutputChecker().check_output(expected, found, alike), (
            f"$ {line}\n{found}\ninstead of\n{expected}"
        )
    assert git(run_once, "status", "--porcelain") == "?? shop/\n"


def add_to_table(path, table, new_import, line):
    """Enter an import before the others, and a line at the end of a table."""
    text = path.read_text()
    end = text.index("\n}", re.search(rf"^{table}\b.*{{$", text, re.MULTILINE).end())
    text = f"{text[:end]}\n    {line}{text[end:]}"
    first = text.index("from paragon.")
    path.write_text(f"{text[:first]}{new_import}\n{text[first:]}")


@pytest.mark.slow
def test_an_objective_and_a_rival_are_a_file_an_import_and_a_line_each(seqs, tmp_path):
    for name in ("paragon", "paragon_study"):
        shutil.copytree(ROOT / name, tmp_path / name)
    blocks = [block.strip() for block in code_of("python")]
    for block in (block for block in blocks if block.startswith("# ")):
        (tmp_path / block[2:].partition("\n")[0]).write_text(block)
    *objective, new_import, rival = (block for block in blocks if not block.startswith("# "))
    package = tmp_path / "paragon"
    add_to_table(package / "objectives" / "table.py", "OBJECTIVES", *objective)
    add_to_table(package / "evaluation" / "methods.py", "METHODS", new_import, rival)
    rivals = {"end_to_end": [], "retrain_weights": [0.5], "epochs": 1, "seeds": 1}
    changes = {"adapters": {"objectives": ["accuracy", "even"]}, "rivals": rivals}
    write_study(tmp_path, seqs, evaluation={"resamples": 100}, **changes)
    environment = os.environ | {"PYTHONPATH": str(tmp_path), "PARAGON_ROOT": str(tmp_path)}
    options = {"cwd": tmp_path, "env": environment, "capture_output": True, "text": True}
    done = subprocess.run([sys.executable, "-c", STUDY], **options)
    assert done.returncode == 0, done.stderr
    folder = tmp_path / "results" / "toy" / "sasrec"
    metrics = json.loads((folder / "metrics.json").read_text())
    assert metrics["average"]["set_hv_full"] > 0 and "regret_mean_3_anchors" in metrics["average"]
    assert "r_even_sampled" in metrics["generated"]
    assert "w_even" in (folder / "curve.csv").read_text().partition("\n")[0]
    assert "| average " in (tmp_path / "results" / "summary.md").read_text()
