"""The report says what results/ holds, and the README says what the report says."""

import json

import pytest

from paragon import report
from paragon.errors import ParagonError
from paragon.params import ROOT, load_params

METRICS = {
    "tuned": {"set_hv_sampled": 0.33, "set_hv_sampled_sd": 0.001, "regret_mean_sampled": 0.0},
    "constant": {"set_hv_sampled": 0.25, "r_acc_sampled": None, "r_acc_sampled_note": "constant"},
}


@pytest.fixture
def results(tmp_path):
    folder = tmp_path / "toy" / "sasrec"
    folder.mkdir(parents=True)
    (folder / "metrics.json").write_text(json.dumps(METRICS))
    counts = {"train": 1000, "valid": 20, "test": 30, "items": 40, "test_users": 5}
    about = {"source": "own", "split": "global_time", "min_rating": 4.0, "k_core": 0}
    about |= {"midnight": 8, "counts": counts}
    (folder.parent / "data.json").write_text(json.dumps(about))
    return tmp_path


def test_table_shows_numbers_spread_and_gaps(results):
    lines = report.table(results / "toy" / "sasrec").splitlines()
    assert lines[0].startswith("| method | set HV |")
    assert lines[2].startswith("| `tuned` | 0.3300 ± 0.0010 |")
    assert lines[3].split(" | ")[3] == "–"


def test_every_study_has_a_line_and_every_dataset_its_source(results):
    lines = report.overview(results).splitlines()
    assert len(lines) == 3 and lines[2].startswith("| toy, sasrec | – | 0.3300 ± 0.0010 | – |")
    block = report.readme_block(results, "toy", "sasrec")
    assert "toy, source: own; global_time, min_rating 4, midnight 8; 1,000 training" in block
    assert "`constant`" in block and "5 users in the test" in report.summary(results)


def test_times_are_read_from_the_record(results):
    timing = {"sasrec": {"machine": {"cpu": "Z80", "threads": 1}, "generate": {"p50": 0.002},
                         "tune": {"p50": 3.0}, "retrain": {"p50": 20.0}}}  # fmt: skip
    (results / "toy" / "timing.json").write_text(json.dumps(timing))
    assert "2.0 ms generated, 3.0 s tuned, 20 s retrained (99.99 % less" in report.times(results)
    assert "Z80" in report.summary(results)


def test_no_results_is_an_error(tmp_path):
    with pytest.raises(ParagonError, match="dvc repro"):
        report.summary(tmp_path)


def test_readme_without_markers_is_an_error():
    with pytest.raises(ParagonError, match="markers"):
        report.with_block("# Title", "block")


def test_the_readme_and_the_summary_are_those_of_the_results():
    params = load_params()
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    block = report.readme_block(ROOT / "results", params.datasets[0], params.backbones[0])
    assert report.with_block(readme, block) == readme, "run `python -m paragon report`"
    written = (ROOT / "results" / "summary.md").read_text(encoding="utf-8")
    assert written == report.summary(ROOT / "results"), "run `python -m paragon report`"
