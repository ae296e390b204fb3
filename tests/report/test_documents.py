"""The blocks of README.md and docs/ say what the committed results hold."""

import json
import re

import pandas as pd
import pytest

from paragon.errors import ParagonError
from paragon.params import ROOT
from paragon_study.report import compare, documents, published


def test_curves_are_told_by_their_ends_beside_the_published_ones(tmp_path):
    folder = tmp_path / published.STUDY / "gru4rec"
    folder.mkdir(parents=True)
    rows = [
        (method, seed, protocol, w, w / 2 + seed / 10, 0.1 - w / 20)
        for method in ("tuned", "generated")
        for seed in (0, 1)
        for protocol in ("sampled", "full")
        for w in (1, 0)
    ]
    columns = ["method", "seed", "protocol", "w_accuracy", published.NDCG, published.ALPHA]
    curve = pd.DataFrame(rows, columns=columns)
    curve.to_csv(folder / "curve.csv", index=False)
    other = tmp_path / published.STUDY / "tisasrec"  # not measured on the published scale
    other.mkdir()
    curve.drop(columns=published.ALPHA).to_csv(other / "curve.csv", index=False)
    assert list(published.our_curves(tmp_path)) == ["gru4rec"]
    assert documents.published_ends(tmp_path).splitlines()[2:] == [
        "| gru4rec | published | 0.1592 → 0.3258 | 0.1021 → 0.0895 |",
        "| gru4rec | published, second run | 0.1570 → 0.3254 | 0.1022 → 0.0898 |",
        "| gru4rec | `tuned` | 0.0500 ± 0.6353 → 0.5500 ± 0.6353 | 0.1000 → 0.0500 |",
        "| gru4rec | `generated` | 0.0500 ± 0.6353 → 0.5500 ± 0.6353 | 0.1000 → 0.0500 |",
    ]


def test_published_curves_are_complete():
    for curves in published.CURVES.values():
        for runs in curves.values():
            assert [len(run) for run in runs] == [10, 10]
        for run in curves[published.NDCG]:
            assert run[0] == min(run) and run[-1] > 0.98 * max(run)


def test_defects_are_shown_as_recorded(tmp_path):
    (tmp_path / "toy").mkdir()
    own = {"set_hv_sampled": 0.3, "set_hv_sampled_low": 0.29, "r_acc_sampled": None}
    record = {"sasrec": dict.fromkeys(documents.DEFECTS, own)}
    (tmp_path / "toy" / "defects.json").write_text(json.dumps(record))
    lines = documents.defects(tmp_path).splitlines()
    assert lines[0].startswith("| toy, sasrec | set HV | of tuned |")
    assert len(lines) == 2 + len(documents.DEFECTS)
    assert lines[-1].endswith("| 0.300 ± 0.010 | – | – | – | – | – |")


def test_the_readme_shows_the_main_methods_of_the_whole_catalogue_the_best_first(tmp_path):
    row = {"set_hv_full": 0.06, "set_hv_full_low": 0.05, "set_hv_sampled": 0.3}
    row |= {"r_acc_full": 0.9, "r_div_full": None, "even_ild_full": 0.7, "even_items_full": 812.4}
    metrics = {"tuned": row, "soup": row, "xquad": row | {"set_hv_full": 0.061}}
    metrics["category_bias"] = {"note": "not run"}
    (tmp_path / "metrics.json").write_text(json.dumps(metrics))
    lines = documents.main_results(tmp_path).splitlines()
    assert len(lines) == 2 + 2 and lines[0].count("|") == 2 + len(documents.COLUMNS)
    assert "0.0610" in lines[2]
    assert lines[3] == "| tuned (oracle) | 0.0600 ± 0.0100 | 0.90 | – | 0.70 | 812 | 0.3000 |"


def test_backbones_are_told_alone_and_older_ones_beside(tmp_path):
    for place, value in (("results/a/sasrec", 0.1), ("results/ml-1m/sasrec", 0.2),
                         ("before/ml-1m/sasrec", 0.3), ("before/ml-1m/gru4rec", 0.4)):  # fmt: skip
        folder = tmp_path / place
        folder.mkdir(parents=True)
        (folder / "metrics.json").write_text("{}")
        rows = [
            (method, protocol, value * factor, value * factor + 0.05)
            for method, factor in (("backbone", 1), ("generated", 2))
            for protocol, factor in (("full", factor), ("sampled", 3 * factor))
        ]
        curve = pd.DataFrame(rows, columns=["method", "protocol", "ndcg@10", "hr@10"])
        curve.to_csv(folder / "curve.csv", index=False)
    lines = documents.backbones(tmp_path / "results", tmp_path / "before").splitlines()
    assert lines[2:] == [
        "| a, sasrec | 0.100 | 0.150 | 0.300 |",
        "| ml-1m, sasrec | 0.200 | 0.250 | 0.600 |",
        "| ml-1m, gru4rec (before) | 0.400 | 0.450 | 1.200 |",
        "| ml-1m, sasrec (before) | 0.300 | 0.350 | 0.900 |",
    ]


def test_a_document_without_markers_is_an_error():
    with pytest.raises(ParagonError, match=r"README\.md: the markers <!-- results: begin -->"):
        documents.with_block("README.md", "# Title", "results", "block")


def test_the_documents_and_the_summary_are_those_of_the_results():
    for path, text in documents.documents(ROOT).items():
        assert text == path.read_text(encoding="utf-8"), f"{path}: run `python -m paragon report`"
    written = (ROOT / "results" / "summary.md").read_text(encoding="utf-8")
    assert written == compare.summary(ROOT / "results"), "run `python -m paragon compare`"


def test_every_address_of_a_number_leads_to_one():
    for place, pattern, keys, _ in documents.SOURCES:
        paths = sorted(ROOT.glob(pattern))
        assert paths, place
        for path in paths:
            if path.suffix == ".json":
                content = json.loads(path.read_text(encoding="utf-8"))
                known = {key for row in content.values() if isinstance(row, dict) for key in row}
            else:
                known = set(pd.read_csv(path, nrows=1))
            if "ml-1m-time" in pattern and documents.published.ALPHA not in known:
                continue  # only some of them were measured on the published scale
            assert set(keys) <= known, f"{place}: {path}"


def test_no_number_is_typed_by_hand():
    """In README.md and docs/findings.md: but of the field, of other people and of examples."""
    number = re.compile(r"\d*\.\d+(?: ?%)?|\d+ ?%|\b\d{2,}\b")
    template = ROOT / "paragon" / "report" / "findings.md.j2"
    words = re.sub(r"\{\{.*?\}\}|\{%.*?%\}", "", template.read_text("utf-8"), flags=re.DOTALL)
    paper, metrics = {"94.6 %"}, {"10", "95 %", "100 %"}
    assert set(number.findall(words)) <= paper | metrics | {"50"}  # 50: a name's words
    blocks = r"<!-- (\w+): begin -->.*?<!-- \1: end -->|```.*?```|\]\([^)]*\)"
    page = re.sub(blocks, "", (ROOT / "README.md").read_text("utf-8"), flags=re.DOTALL)
    python, year = {"3.11"}, {"2025"}
    assert set(number.findall(page)) <= metrics | python | year


def test_the_record_of_defects_is_of_the_studies_beside_it():
    for path in (ROOT / "ablations" / "drawn-lists").glob("*/defects.json"):
        for backbone, record in json.loads(path.read_text(encoding="utf-8")).items():
            metrics = path.parent / backbone / "metrics.json"
            own = json.loads(metrics.read_text(encoding="utf-8"))
            for method in ("tuned", "retrain"):
                assert record[method]["set_hv_sampled"] == own[method]["set_hv_sampled"]
