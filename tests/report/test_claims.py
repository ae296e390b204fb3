"""README.md and docs/ say what the results hold; a result that changes a sentence names it."""

import re
import shutil

import pandas as pd
import pytest
import yaml

from paragon.params import ROOT
from paragon_study.report import claims, pages
from tests.conftest import refused


@pytest.fixture(scope="module")
def sources():
    return claims.load_sources(ROOT)


def test_every_sentence_follows_from_the_results():
    assert claims.broken_claims(ROOT) == []


def changed(table, rows, form):
    """The rows of a claim with other values, on the other side of chance, and a study more."""
    sign = -1 if form == "behind" else 1
    other = table[rows].assign(value=sign * (1.1 * table.loc[rows, "value"].abs() + 0.6))
    if "beyond_chance" in table:
        other["beyond_chance"] = ~other["beyond_chance"].eq(True)
    return pd.concat([table[~rows], other, other.assign(dataset="another")])


def test_a_changed_result_breaks_the_sentence_that_states_it(sources):
    pages_of = ("README.md", "docs/findings.md", "docs/reproduction.md")
    whole = claims.one_line(" ".join((ROOT / name).read_text("utf-8") for name in pages_of))
    for claim in claims.load_claims(ROOT):
        values = [claims.value_of(sources, *one) for one in claim.get("of", [])]
        for place, (source, method, measure, form) in enumerate(claim.get("of", [])):
            name, _, study = source.partition("/")
            table = sources[name]
            rows = table["measure"].eq(measure)
            rows &= table["method"].eq(method) | (method == "any")
            now = {name: changed(table, rows, form)}
            one = claims.value_of(now, source, method, measure, form)
            words = claim["says"].format(*values[:place], one, *values[place + 1 :])
            assert words not in whole, (claim["says"], measure)


def test_a_condition_that_fails_is_named(tmp_path, monkeypatch, sources):
    (tmp_path / "README.md").write_text("It is good.")
    one = ["studies", "generated", "r_acc_full", "min .2f", "above", 2]
    (tmp_path / "claims.yaml").write_text(
        yaml.safe_dump([{"says": "It is good.", "page": "README.md", "if": [one]}])
    )
    monkeypatch.setattr(claims, "load_sources", lambda root: sources)
    (line,) = claims.broken_claims(tmp_path)
    assert line.startswith("It is good.") and "r_acc_full" in line and "0.97" in line
    refused("r_acc_full of nobody", claims.value_of, sources, "studies", "nobody", *one[2:4])


def test_no_number_stands_on_a_page_without_a_claim():
    number = re.compile(r"-?\d*\.\d+(?: ?%)?|-?\d+ ?%|\b\d{2,}\b")
    sources = claims.load_sources(ROOT)
    for name in claims.PAGES:
        text = (ROOT / name).read_text(encoding="utf-8")
        blocks = r"<!-- (\w+): begin -->.*?<!-- \1: end -->|```.*?```|\]\([^)]*\)"
        text = claims.one_line(re.sub(blocks, "", text, flags=re.DOTALL))
        for claim in claims.load_claims(ROOT):
            values = (claims.value_of(sources, *one) for one in claim.get("of", []))
            text = text.replace(claim["says"].format(*values), "")
        allowed = {"10", "95 %", "100 %", "94.6 %", "3.11", "2025"}  # of metrics, others, Python
        assert set(number.findall(text)) <= allowed, name


def test_the_tables_on_pages_are_those_of_the_results():
    for path, text in pages.pages(ROOT).items():
        assert text == path.read_text(encoding="utf-8"), f"{path}: run `python -m paragon report`"
    refused("markers", pages.with_block, "# Title", "results", "block")


def test_the_readme_shows_the_main_methods_the_best_first(tmp_path):
    folder = shutil.copytree(ROOT / "results" / "ml-100k" / "sasrec", tmp_path / "sasrec")
    lines = pages.main_results(folder).splitlines()
    volumes = [float(line.split("|")[2].split("±")[0]) for line in lines[2:]]
    assert volumes == sorted(volumes, reverse=True) and len(volumes) == 7
    assert "0.0848 ± 0.0005" in next(line for line in lines if "tuned" in line)
