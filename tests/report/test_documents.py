"""The blocks of README.md and docs/ say what the committed results hold."""

import json

import pandas as pd
import pytest

from paragon.errors import ParagonError
from paragon.params import ROOT
from paragon.report import ablations, compare, documents, published


def test_the_ablations_show_regret_by_setting_and_backbone(tmp_path):
    rows = [
        {"backbone": backbone, "method": method, "seed": seed, "regret_mean": regret + seed / 100,
         "guidance": 1, "steps": 2}
        for backbone in ("mine", "sasrec")
        for method, regret in (("generated", 0.02), ("generated_best", 0.01))
        for seed in (0, 1)
    ]  # fmt: skip
    for name, backbone in (("anchors-4", "sasrec"), ("mine-anchors-4", "mine"), ("x", "sasrec")):
        own = pd.DataFrame(rows).query(f"backbone == '{backbone}'")
        own.to_csv(tmp_path / f"point-{name}.csv", index=False)
        rivals = own.iloc[:2].drop(columns=["guidance", "steps"]).assign(seed=[0, 1])
        parts = [
            rivals.assign(method=method, regret_mean=[0.04, 0.04 + change])
            for method, change in (("hypernetwork", 0.03), ("interpolation", 0), ("nearest", 0))
        ]
        pd.concat(parts).to_csv(tmp_path / f"collection-{name}.csv", index=False)
    own.to_csv(tmp_path / "point-anchors-3.csv", index=False)  # its collection has not run yet
    tables = (ablations.load_tables(kind, tmp_path) for kind in ("collection", "point"))
    rows = ablations.core(*tables)
    pairs = ablations.paired(rows, "generated_best", "hypernetwork", "regret_mean", "study")
    lines = ablations.core_table(rows, pairs).splitlines()
    assert [line.split(" | ")[0] for line in lines[2:]] == [
        "| 4 anchors, sasrec",
        "| 4 anchors, mine",
    ]
    cells = lines[2].strip("| ").split(" | ")
    assert cells[1:6] == ["2.5 ± 6.4", "1.5 ± 6.4", "5.5 ± 19.1", "4.0", "4.0"]
    assert cells[6] == "-4.0 [-16.7, +8.7]"


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


def test_the_readme_shows_the_main_methods_on_both_kinds_of_lists(tmp_path):
    row = {"set_hv_full": 0.06, "set_hv_full_low": 0.05, "set_hv_sampled": 0.3}
    metrics = dict.fromkeys(documents.METHODS, row | {"regret_mean_sampled": 0.012})
    metrics |= {"mmr": row, "soup": row}
    (tmp_path / "metrics.json").write_text(json.dumps(metrics))
    lines = documents.main_results(tmp_path).splitlines()
    assert len(lines) == 2 + 6 and lines[0].count("|") == 5
    assert lines[2] == "| tuned (oracle) | 0.0600 ± 0.0100 | 0.3000 | 1.2 |"
    assert lines[6] == "| MMR re-ranking | 0.0600 ± 0.0100 | 0.3000 | – |"


def test_a_document_without_markers_is_an_error():
    with pytest.raises(ParagonError, match=r"README\.md: the markers <!-- results: begin -->"):
        documents.with_block("README.md", "# Title", "results", "block")


def test_the_documents_and_the_summary_are_those_of_the_results():
    for path, text in documents.documents(ROOT).items():
        assert text == path.read_text(encoding="utf-8"), f"{path}: run `python -m paragon report`"
    written = (ROOT / "results" / "summary.md").read_text(encoding="utf-8")
    assert written == compare.summary(ROOT / "results"), "run `python -m paragon compare`"


def test_the_record_of_defects_is_of_the_committed_results():
    for path in (ROOT / "results").glob("*/defects.json"):
        for backbone, record in json.loads(path.read_text(encoding="utf-8")).items():
            metrics = path.parent / backbone / "metrics.json"
            own = json.loads(metrics.read_text(encoding="utf-8"))
            for method in ("tuned", "retrain"):
                assert record[method]["set_hv_sampled"] == own[method]["set_hv_sampled"]
