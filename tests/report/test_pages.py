"""The tables of README.md and docs/ are those of the results."""

from paragon.params import ROOT
from paragon_study.report import pages
from tests.conftest import refused


def test_the_tables_on_pages_are_those_of_the_results():
    for path, text in pages.pages(ROOT).items():
        assert text == path.read_text(encoding="utf-8"), f"{path}: run `python -m paragon report`"
    refused(("# Title", "results"), pages.with_block, "# Title", "results", "block")


def test_the_results_of_the_readme_fit_on_a_telephone():
    """On GitHub, a cell has 27 pixels around its longest word, and a letter has about 8."""
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    table = text.partition("<!-- results: begin -->")[2].partition("<!-- results: end -->")[0]
    lines = table.strip().splitlines()
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]
    assert len(rows) > 5
    columns = zip(*rows, strict=True)
    longest = [max(map(len, " ".join(column).split())) for column in columns]
    assert sum(8 * letters + 27 for letters in longest) <= 350
    assert all(len(cell.split()) == 1 for row in rows[2:] for cell in row[1:])  # a number each


def test_no_line_of_a_page_is_a_comment():
    """A line that begins with % is left out of the pages that `make docs` makes."""
    folders = [ROOT, *(ROOT / name for name in ("docs", "results", "ablations", "benchmarks"))]
    for path in (path for folder in folders for path in folder.glob("*.md")):
        lines = path.read_text(encoding="utf-8").splitlines()
        assert not [line for line in lines if line.startswith("%")], path
