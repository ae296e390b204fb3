"""A new objective and a new rival: a file, an import, a line, as docs/authors.md has them."""

import json
import re
import sys

import pytest
import yaml

from paragon.params import ROOT
from tests.study.conftest import command
from tests.study.test_course import run

PYTHON = re.compile(r"```python\n(.*?)```", re.DOTALL)


def examples():
    """The code of docs/authors.md: ``{path: text}`` of its files, and the lines of the tables."""
    blocks = PYTHON.findall((ROOT / "docs" / "authors.md").read_text(encoding="utf-8"))
    files = {block[2:].partition("\n")[0]: block for block in blocks if block.startswith("# ")}
    return files, [block.strip() for block in blocks if not block.startswith("# ")]


def add_to_table(path, table, new_import, line):
    """Enter an import before the others, and a line at the end of a table."""
    text = path.read_text()
    start = text.index(f"{table} = {{") if f"{table} = {{" in text else text.index(f"{table}: ")
    end = text.index("\n}", start)
    text = f"{text[:end]}\n    {line}{text[end:]}"
    first = text.index("from paragon.")
    path.write_text(f"{text[:first]}{new_import}\n{text[first:]}")


@pytest.mark.slow
def test_an_objective_and_a_rival_are_a_file_an_import_and_a_line_each(small_study):
    files, (*objective, new_import, rival) = examples()
    for name, text in files.items():
        (small_study / name).write_text(text)
    package = small_study / "paragon"
    add_to_table(package / "objectives" / "table.py", "OBJECTIVES", *objective)
    add_to_table(package / "evaluation" / "methods.py", "METHODS", new_import, rival)
    params = yaml.safe_load((small_study / "params.yaml").read_text())
    params["adapters"]["objectives"] = ["accuracy", "even"]
    params["rivals"]["end_to_end"] = []
    (small_study / "params.yaml").write_text(yaml.safe_dump(params, sort_keys=False))
    run(small_study, *sorted(small_study.glob("notebooks/0[1-6]_*.ipynb")))
    command(small_study, sys.executable, "-m", "paragon", "compare")
    folder = small_study / "results" / "ml-100k" / "sasrec"
    metrics = json.loads((folder / "metrics.json").read_text())
    assert metrics["average"]["set_hv_full"] > 0 and "regret_mean_3_anchors" in metrics["average"]
    assert "r_even_sampled" in metrics["generated"]
    assert "w_even" in (folder / "curve.csv").read_text().partition("\n")[0]
    assert "| average " in (small_study / "results" / "summary.md").read_text()
