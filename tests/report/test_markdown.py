"""The report says what results/ holds, and the summary says what the report says."""

import json

import numpy as np
import pandas as pd
import pytest

from paragon.errors import ParagonError
from paragon.metrics.control import correlation
from paragon.metrics.statistics import is_real
from paragon_study.report.compare import gathered, points, summary, winners, write_comparison
from paragon_study.report.markdown import (
    COLUMNS,
    LOSSES,
    SERVED,
    cell,
    costs,
    data_lines,
    difference_cell,
    method_table,
    overview,
    turned,
)
from paragon_study.report.results import study_folders


def over_seeds(name, mean, sd, half):
    limits = {f"{name}_low": mean - half, f"{name}_high": mean + half}
    return {name: mean, f"{name}_sd": sd} | limits


METRICS = {
    "tuned": {
        **over_seeds("set_hv_full", 0.33, 0.001, 0.0047),
        **over_seeds("set_hv_of_tuned_full", 1.0, 0.0, 0.0),
        "set_hv_sampled": 0.44,
        "even_items_full": 812.4,
        "regret_mean_full": 0.0,
    },
    "generated": {
        "set_hv_of_tuned_full": 0.98,
        **over_seeds("regret_mean_full", -0.01, 0.002, 0.0123),
    },
    "constant": {"set_hv_full": 0.25, "r_acc_full": None, "r_acc_full_note": "constant"},
    "mmr": {"set_hv_full": 0.26},
}


def against_generated(gap, half, holm):
    """The same under both protocols and for users and seeds; a ``half`` of None: one user, seed."""
    out = {}
    for name in ("set_hv_sampled", "set_hv_full"):
        limits = (None, None) if half is None else (gap - half, gap + half)
        values = (gap, *limits, holm, holm, *limits)
        endings = ("", "_low", "_high", "_p", "_p_holm", "_seeds_low", "_seeds_high")
        out |= {name + end: value for end, value in zip(endings, values, strict=True)}
    return out


DIFFERENCES = {
    "tuned": against_generated(0.01, 0.02, 0.3),
    "constant": against_generated(-0.08, 0.01, 0.0499),
    "mmr": against_generated(-0.07, 0.02, 0.05),
}


@pytest.fixture
def results(tmp_path):
    folder = tmp_path / "toy" / "sasrec"
    folder.mkdir(parents=True)
    (folder / "metrics.json").write_text(json.dumps(METRICS))
    (folder / "differences.json").write_text(json.dumps(DIFFERENCES))
    counts = {"train": 1000, "valid": 20, "test": 30, "items": 40, "test_users": 5}
    about = {"source": "own", "split": "global_time", "min_rating": 4.0, "k_core": 0}
    about |= {"midnight": 8, "counts": counts}
    (folder.parent / "data.json").write_text(json.dumps(about))
    return tmp_path


def test_table_shows_numbers_intervals_and_gaps(results):
    lines = method_table(results / "toy" / "sasrec").splitlines()
    assert lines[0].startswith("| method | set HV | difference from `generated` [95 %] | of")
    assert lines[2].startswith("| `tuned` | 0.3300 ± 0.0047 | +0.0100 [-0.0100, +0.0300] | 1.000")
    assert lines[3].startswith("| `generated` | – | – | 0.980 |")
    assert "| -1.0 ± 1.2 |" in lines[3]  # regret is shown in per cent
    assert lines[4].split(" | ")[5] == "–"
    assert "| 812 |" in lines[2]
    assert {line.count("|") for line in lines} == {len((*COLUMNS, *SERVED, *LOSSES)) + 3}
    sampled = method_table(results / "toy" / "sasrec", "sampled").splitlines()
    assert sampled[2].startswith("| `tuned` | 0.4400 |") and "812" not in sampled[2]
    assert {line.count("|") for line in sampled} == {len(COLUMNS) + 3}


def test_a_difference_can_be_seen_from_the_other_side():
    row = against_generated(-0.08, 0.01, 0.001)
    other = turned(row, "set_hv_full")
    assert difference_cell(other, "set_hv_full") == r"+0.0800 [+0.0700, +0.0900] \*"
    assert turned(other, "set_hv_full") == row and is_real(other, "set_hv_full")
    alone = turned(against_generated(0.2, None, None), "set_hv_full")
    assert difference_cell(alone, "set_hv_full") == "-0.2000"


def test_a_star_is_for_what_is_beyond_chance_after_the_correction(results):
    lines = method_table(results / "toy" / "sasrec", "sampled").splitlines()
    assert lines[4].split(" | ")[2] == r"-0.0800 [-0.0900, -0.0700] \*"
    assert lines[5].split(" | ")[2] == "-0.0700 [-0.0900, -0.0500]"
    tiny = against_generated(-1e-6, 2e-5, 0.9)
    assert difference_cell(tiny, "set_hv_full") == "+0.0000 [+0.0000, +0.0000]"
    alone = against_generated(0.2, None, None)
    assert difference_cell(alone, "set_hv_full") == "+0.2000"
    assert not is_real(alone, "set_hv_full")


@pytest.mark.parametrize(("low", "high", "real"), [(-0.9, -0.1, True), (-0.9, 0.1, False)])
def test_a_star_is_for_what_is_beyond_other_seeds_too(low, high, real):
    row = against_generated(-0.08, 0.01, 0.001)
    assert is_real(row, "set_hv_full")
    one_seed = {"set_hv_full_seeds_low": None, "set_hv_full_seeds_high": None}
    assert not is_real(row | one_seed, "set_hv_full")
    row |= {"set_hv_full_seeds_low": low, "set_hv_full_seeds_high": high}
    assert is_real(row, "set_hv_full") == real
    assert difference_cell(row, "set_hv_full").endswith(r" \*") == real


def test_what_is_the_same_for_all_seeds_has_no_interval():
    row = over_seeds("set_hv_full", 0.3, 0.0, 0.0)
    assert cell(row, "set_hv_full", 4) == "0.3000"
    assert cell(over_seeds("regret_mean_full", -0.0004, 0.1, 0.2), "regret_mean_full", 1) == (
        "0.0 ± 20.0"  # no negative zero
    )


def test_a_method_of_one_weight_is_in_no_comparison_of_fronts(results):
    reason = correlation(np.array([0.4]), np.array([0.5])).reason
    folder = results / "toy" / "sasrec"
    metrics = METRICS | {"retrain": {"set_hv_of_tuned_full": 0.8, "r_acc_full_note": reason}}
    (folder / "metrics.json").write_text(json.dumps(metrics))
    differences = DIFFERENCES | {"retrain": against_generated(-0.1, 0.01, 0.001)}
    (folder / "differences.json").write_text(json.dumps(differences))
    assert "0.800" not in overview(results)
    assert "retrain" not in winners([folder])
    metrics["retrain"].pop("r_acc_full_note")
    (folder / "metrics.json").write_text(json.dumps(metrics))
    assert "0.800" in overview(results) and "retrain" in winners([folder])


def test_results_without_intervals_are_refused(results):
    path = results / "toy" / "sasrec" / "metrics.json"
    path.write_text(json.dumps({"tuned": {"set_hv_sampled": 0.3, "set_hv_sampled_sd": 0.1}}))
    with pytest.raises(ParagonError, match="tuned.set_hv_sampled_sd has no limits .*dvc repro"):
        method_table(path.parent)
    differences = path.parent / "differences.json"
    differences.write_text(json.dumps({"mmr": {"set_hv_full": 0.1, "set_hv_full_p_holm": 0.01}}))
    with pytest.raises(ParagonError, match="mmr.set_hv_full has no limits over seeds.*dvc repro"):
        method_table(path.parent)
    differences.unlink()
    with pytest.raises(ParagonError, match=r"differences\.json is missing.*`evaluation`"):
        method_table(path.parent)


def test_every_study_has_a_line_and_every_dataset_its_source(results):
    lines = overview(results).splitlines()
    assert len(lines) == 3 and lines[2].startswith("| toy, sasrec | – | 0.3300 ± 0.0047 | 0.980 |")
    line = data_lines(results)
    assert "toy, source: own; split by time, min_rating 4, midnight 8; 1,000 training" in line
    text = summary(results)
    assert line in text and "`constant`" in text and "5 users in the test" in text


def test_who_is_ahead_by_how_much_and_what_is_beyond_chance(results):
    lines = winners(study_folders(results)).splitlines()
    assert len(lines) == 4  # both protocols
    cells = lines[2].strip("| ").split(" | ")
    assert cells[:3] == ["toy, sasrec", "whole catalogue", "`generated`"]  # `tuned` is no contender
    assert cells[3] == "+0.0700 [+0.0500, +0.0900] over `mmr`"
    assert cells[4:] == ["–", "`constant`"]
    path = results / "toy" / "sasrec" / "differences.json"
    other = {"mmr": against_generated(0.02, 0.01, 0.001), "one": against_generated(-1, None, None)}
    path.write_text(json.dumps(other | {"generated_shuffled": against_generated(0.5, 0.1, 0.01)}))
    cells = winners(study_folders(results)).splitlines()[3].strip("| ").split(" | ")
    assert cells[1:4] == [
        "sampled lists",
        "`mmr`",
        r"+0.0200 [+0.0100, +0.0300] \* over `generated`",
    ]
    assert cells[4:] == ["`mmr`", "–"]


def test_the_summary_and_its_figure_are_written_whole_and_the_same_twice(results):
    write_comparison(results)
    first = {path.name: path.read_bytes() for path in results.iterdir() if path.is_file()}
    assert set(first) == {"summary.md", "summary.png"}
    (results / "toy" / "timing.json").write_text("{}")  # times are no part of it
    write_comparison(results)
    assert first == {path.name: path.read_bytes() for path in results.iterdir() if path.is_file()}
    frame = points(results)
    assert set(frame["measure"]) == {"set_hv_of_tuned", "regret_mean"}
    own = frame.query("method == 'generated' and measure == 'regret_mean'").iloc[0]
    assert (own["mean"], own["low"], own["high"]) == pytest.approx((-0.01, -0.0223, 0.0023))


def test_costs_are_read_from_the_record(results):
    timing = {"machine": {"cpu": "Z80", "threads": 1}, "generate": {"p50": 0.002, "p99": 0.0031},
              "tune": {"p50": 3.04, "p99": 3.5, "runs": 3},
              "retrain": {"p50": 20.0, "p99": 21.0, "runs": 1},
              "prepare": {"collection": 10.0, "generator": 31.0},
              "pays_after": {"tune": 14, "retrain": 3}}  # fmt: skip
    assert costs(results) == ""
    record = {"sasrec": timing, "gru4rec": timing}
    (results / "toy" / "timing.json").write_text(json.dumps(record))
    lines = costs(results).splitlines()
    cells = lines[2].strip("| ").split(" | ")
    assert cells[:5] == ["toy, sasrec", "2.0 ms (3.1 ms)", "3.04 s (3)", "20 s (1)", "99.990 %"]
    assert cells[5:] == ["10 s", "31 s", "14", "3", "Z80, 1 thread"]
    assert len(lines) == 4
    assert "Z80" not in summary(results)


def test_no_results_is_an_error(tmp_path):
    with pytest.raises(ParagonError, match="dvc repro"):
        summary(tmp_path)


def test_datasets_with_one_backbone_share_a_block_of_panels():
    pairs = [("a", "sasrec"), ("a", "gru4rec"), ("b", "sasrec"), ("c", "sasrec")]
    frame = pd.DataFrame(pairs, columns=["dataset", "backbone"])
    other = "SASRec, other studies"
    assert gathered(frame)["dataset"].tolist() == ["a", "a", other, other]
    assert gathered(frame)["backbone"].tolist() == ["sasrec", "gru4rec", "b", "c"]
    assert gathered(frame.iloc[2:]).equals(frame.iloc[2:])
