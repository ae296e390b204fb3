"""The verdict page, of the committed results: it says what `verify` says and needs no network."""

import json
import re
import shutil

import nbformat
import pytest
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_output

from paragon.params import ROOT
from paragon_study.checking.page import write_page
from paragon_study.checking.verify import compare_with_commit
from paragon_study.running.times import stage_done
from tests.study.conftest import git


@pytest.fixture
def root(tmp_path):
    for name in ("params.yaml", "constraints.txt"):
        shutil.copy(ROOT / name, tmp_path)
    shutil.copytree(ROOT / "results" / "ml-100k", tmp_path / "results" / "ml-100k")
    (tmp_path / ".gitignore").write_text((ROOT / ".gitignore").read_text())
    folder = tmp_path / "artifacts" / "notebooks" / "ml-100k"
    folder.mkdir(parents=True)
    shown = new_output("stream", text="<b>12 epochs</b>")
    text = new_markdown_cell("A **loss**: $$\\frac{a}{b}$$ of $x_i$; `cost=$5` and `$y$`")
    cells = [text, new_code_cell("print(1)", outputs=[shown])]
    nbformat.write(new_notebook(cells=cells), folder / "01_data.ipynb")
    git(tmp_path, "init", "-q")
    git(tmp_path, "add", "-A")
    git(tmp_path, "commit", "-qm", "results")
    stage_done(61, "02_backbones", "ml-100k", "sasrec", root=tmp_path)
    stage_done(150, "06_evaluation", "ml-100k", "sasrec", root=tmp_path)
    return tmp_path


def page(root):
    return write_page(compare_with_commit(root=root), root).read_text(encoding="utf-8")


def outside(text):
    """What a page would fetch, by its tags; links are not fetched."""
    return re.findall(r"<(?:script|link|iframe)\b|src=\"(?!data:)|@import|url\(", text)


def test_the_verdict_comes_first_and_the_rest_is_there(root):
    text = page(root)
    body = re.sub(r"<[^>]+>", "", text[text.index("<main>") :]).split()
    count = len([*(root / "results").glob("*/*/metrics.json")])
    assert body[:6] == f"Reproduced 1 of {count} studies were".split()
    for part in ("61 s", "02_backbones ml-100k sasrec", "not run here", "official", "torch"):
        assert part in text, part
    fingerprint = json.loads((root / "results/ml-100k/data.json").read_text())["fingerprint"]
    assert fingerprint in text and "Every number is equal" in text
    assert outside(text) == []
    assert all((root / "results" / link).exists() for link in re.findall(r'"(report/[^"]+)"', text))
    status = git(root, "status", "--porcelain")
    assert status == "", status


def test_a_difference_is_named(root):
    path = root / "results/ml-100k/sasrec/metrics.json"
    metrics = json.loads(path.read_text())
    metrics["generated"]["r_acc_full"] = 0.5
    path.write_text(json.dumps(metrics))
    text = page(root)
    assert '<h1 class="bad">Not reproduced' in text
    assert "They differ in: <b>ml-100k with sasrec</b>." in text
    assert compare_with_commit(root=root).summary() in text


def test_a_notebook_is_rendered_with_its_formulas_and_without_the_network(root):
    page(root)
    text = (root / "results/report/ml-100k/01_data.html").read_text(encoding="utf-8")
    assert text.count("<math") == 2 and "<mfrac>" in text and "$$" not in text
    assert "<code>cost=$5</code>" in text and "<code>$y$</code>" in text
    assert "&lt;b&gt;12 epochs" in text and outside(text) == []
