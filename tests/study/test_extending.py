"""A new objective and a new rival: one file and one line in one table each."""

import json

import pytest
import yaml

from tests.study.conftest import command

OBJECTIVE = """
def even(scores, lists):
    \"\"\"The variance of the scores of a list: the less, the more alike its candidates.\"\"\"
    return scores.var(-1).mean(-2)
"""
RIVAL = """
import numpy as np


def average(anchors, weights):
    \"\"\"The mean of all anchors, for all weights.\"\"\"
    return np.full((len(weights), len(anchors)), 1 / len(anchors))
"""


def add_to_table(path, table, line):
    """Enter one line at the end of a table, and import what it names."""
    text = path.read_text()
    module = line.partition("(")[2].partition(".")[0].split("=")[-1].strip()
    start = text.index(f"{table} = {{") if f"{table} = {{" in text else text.index(f"{table}: ")
    end = text.index("\n}", start)
    text = f"{text[:end]}\n    {line}{text[end:]}"
    package = path.parent.name if table == "OBJECTIVES" else "rivals"
    first = text.index("from paragon.")
    path.write_text(f"{text[:first]}from paragon.{package} import {module}\n{text[first:]}")


@pytest.mark.slow
def test_an_objective_and_a_rival_are_one_file_and_one_line_each(small_study):
    package = small_study / "paragon"
    (package / "objectives" / "evenness.py").write_text(OBJECTIVE)
    line = '"even": Objective(evenness.even, "coverage@10", "even", "candidates are alike"),'
    add_to_table(package / "objectives" / "table.py", "OBJECTIVES", line)
    (package / "rivals" / "averages.py").write_text(RIVAL)
    line = '"average": Method("mixture", "average", "#123456", "o", mixture=averages.average),'
    add_to_table(package / "evaluation" / "methods.py", "METHODS", line)
    params = yaml.safe_load((small_study / "params.yaml").read_text())
    params["adapters"]["objectives"] = ["accuracy", "even"]
    (small_study / "params.yaml").write_text(yaml.safe_dump(params, sort_keys=False))
    command(small_study, "dvc", "repro")
    folder = small_study / "results" / "ml-100k" / "sasrec"
    metrics = json.loads((folder / "metrics.json").read_text())
    assert metrics["average"]["set_hv_full"] > 0 and "regret_mean_3_anchors" in metrics["average"]
    assert "r_even_sampled" in metrics["generated"]
    assert "w_even" in (folder / "curve.csv").read_text().partition("\n")[0]
    assert "`average`" in (small_study / "results" / "summary.md").read_text()
