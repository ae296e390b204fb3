"""README.md and docs/ say what the results hold; a result that changes a sentence names it."""

import json
import re
import shutil

import pandas as pd
import pytest
import yaml

from paragon.params import ROOT
from paragon_study.report import pages
from tests.conftest import refused


@pytest.fixture(scope="module")
def sources():
    return pages.load_sources(ROOT)


def changed(table, rows, form):
    """The rows of a claim with other values, all beyond chance, and twice as many studies."""
    sign = -1 if form == "behind" else 1
    other = table[rows].assign(value=sign * (1.1 * table.loc[rows, "value"].abs() + 0.6))
    if "beyond_chance" in table:
        other["beyond_chance"] = True
    return pd.concat([table[~rows], other, other.assign(dataset="another")])


def test_a_changed_result_breaks_the_sentence_that_states_it(sources):
    names = ("README.md", "docs/findings.md", "docs/reproduction.md")
    whole = pages.one_line(" ".join((ROOT / name).read_text("utf-8") for name in names))
    for claim in pages.load_claims(ROOT):
        values = [pages.value_of(sources, *one) for one in claim.get("of", [])]
        for place, (source, method, measure, form) in enumerate(claim.get("of", [])):
            name, _, study = source.partition("/")
            table = sources[name]
            rows = table["measure"].eq(measure)
            rows &= table["method"].eq(method) | (method == "any")
            now = {name: changed(table, rows, form)}
            one = pages.value_of(now, source, method, measure, form)
            words = claim["says"].format(*values[:place], one, *values[place + 1 :])
            assert words not in whole, (claim["says"], measure)


def test_every_sentence_follows_and_a_condition_that_fails_is_named(tmp_path, monkeypatch, sources):
    monkeypatch.setattr(pages, "load_sources", lambda root: sources)
    claims = pages.check_claims(ROOT)
    assert not claims["problem"].any() and len(claims)
    (tmp_path / "README.md").write_text("It is good.")
    one = ["studies", "generated", "r_acc_full", "min .2f", "above", 2]
    claim = {"says": "It is good.", "page": "README.md", "if": [one]}
    (tmp_path / "claims.yaml").write_text(yaml.safe_dump({"claims": [claim]}))
    (line,) = pages.check_claims(tmp_path)["problem"]
    assert line.startswith("It is good.") and "r_acc_full" in line
    assert str(pages.value_of(sources, *one[:4])) in line
    refused(("r_acc_full", "nobody"), pages.value_of, sources, "studies", "nobody", *one[2:4])


def test_each_claim_names_file_key_and_command():
    """Each place exists; a study whose numbers cannot be of one run breaks the claims."""
    for claim in pages.load_claims(ROOT):
        for source, method, measure, *_ in claim.get("of", []):
            file, _, key = pages.place_of(source, method, measure).partition(": ")
            paths = sorted(ROOT.glob(file))
            assert paths and pages.again_of(source).startswith("make "), file
            name, _, number = key.partition(".")
            contents = [json.loads(path.read_text(encoding="utf-8")) for path in paths]
            assert any(number in content.get(name, {}) for content in contents), key
    assert pages.again_of("planted/planted/sasrec") == "make add NAME=planted"
    assert pages.place_of("times/ml-100k/sasrec", "generate", "saved").startswith(
        "results/ml-100k/"
    )


def test_claims_are_not_judged_by_p_values_that_were_edited(tmp_path, monkeypatch, sources):
    """As after "all differences are significant": every corrected p-value is 1e-4."""
    folder = tmp_path / "results/ml-100k/sasrec"
    shutil.copytree(ROOT / "results/ml-100k/sasrec", folder)
    path = folder / "differences.json"
    rows = json.loads(path.read_text(encoding="utf-8"))
    small = {
        m: {k: 1e-4 if k.endswith("_holm") else x for k, x in row.items()}
        for m, row in rows.items()
    }
    path.write_text(json.dumps(small), encoding="utf-8")
    (tmp_path / "claims.yaml").write_text("claims: []")
    monkeypatch.setattr(pages, "load_sources", lambda root: sources)
    [row] = pages.check_claims(tmp_path).to_dict("records")
    assert row["file and key"].startswith("results/ml-100k/sasrec/differences.json: ")
    assert "_p_holm" in row["problem"] and row["made by"] == "make repro"


def test_no_number_is_on_a_page_without_a_claim(sources):
    number = re.compile(r"-?\d*\.\d+(?: ?%)?|-?\d+ ?%|\b\d{2,}\b")
    for name in pages.WITH_CLAIMS:
        text = (ROOT / name).read_text(encoding="utf-8")
        blocks = r"<!-- (\w+): begin -->.*?<!-- \1: end -->|```.*?```|\]\([^)]*\)"
        text = pages.one_line(re.sub(blocks, "", text, flags=re.DOTALL))
        for claim in pages.load_claims(ROOT):
            values = (pages.value_of(sources, *one) for one in claim.get("of", []))
            text = text.replace(claim["says"].format(*values), "")
        allowed = {"10", "98", "98 %", "95", "95 %", "90", "90 %", "80 %", "100 %"}  # of shares
        allowed |= {"99", "70 %", ".02", "0.02"}  # of sliders
        allowed |= {"94.6 %", "3.11", "2025", "35", "64"}  # of others, of Python, of adapters
        assert set(number.findall(text)) <= allowed, name


def test_the_tables_on_pages_are_those_of_the_results():
    for path, text in pages.pages(ROOT).items():
        assert text == path.read_text(encoding="utf-8"), f"{path}: run `python -m paragon report`"
    refused(("# Title", "results"), pages.with_block, "# Title", "results", "block")


def test_the_results_of_the_readme_fit_on_a_telephone():
    """On GitHub, a cell has 27 pixels around its longest word, and a letter has about 8."""
    lines = pages.main_results(ROOT / "results/ml-100k/sasrec").splitlines()
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
