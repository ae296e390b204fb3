"""`verify` and `diff`: results beside those of a commit."""

import json
import re
import shutil

import numpy as np
import pandas as pd
import pytest
from scipy.stats import ttest_ind

from paragon.params import ROOT, VerifySettings
from paragon_study.checking.diff import compare_versions, welch
from paragon_study.checking.verify import compare_metrics, compare_with_commit
from paragon_study.running.studies import record_time
from tests.conftest import refused
from tests.study.conftest import git

RESULTS = {
    "generated": {"set_hv_sampled": 0.4, "r_acc_sampled": 0.99, "r_acc_sampled_sd": 0.01},
    "constant": {"range_ratio_sampled": 0, "r_acc_sampled": None},
}
SEEDS = {"steady": [0.50, 0.51, 0.52], "loose": [0.3, 0.5, 0.7], "generated": [0.6, 0.6, 0.6]}


def write(root, results, study="ml-100k/sasrec"):
    path = root / "results" / study / "metrics.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(results if isinstance(results, str) else json.dumps(results))
    return path


def ran(root, results, study="ml-100k/sasrec"):
    """The same results, written by an evaluation in this folder."""
    write(root, results, study)
    record_time(1.0, f"{study}/06_evaluation", root)


def changed(**metrics):
    return RESULTS | {"generated": RESULTS["generated"] | metrics}


def committed(root):
    """The folder, of which everything is in a commit; to begin a repository again does nothing."""
    git(root, "init", "-q")
    git(root, "add", "-A")
    git(root, "commit", "-qm", "results")
    return root


@pytest.fixture
def root(tmp_path):
    """A repository whose HEAD holds RESULTS; tolerance as in params.yaml, fixed here."""
    text = (ROOT / "params.yaml").read_text()
    settings = "verify:\n  relative: 0.02\n  absolute: 0.005\n"
    text = re.sub(r"^verify:\n(  .*\n)+", settings, text, flags=re.MULTILINE)
    assert settings in text
    (tmp_path / "params.yaml").write_text(text)
    (tmp_path / ".gitignore").write_text("artifacts\n")
    ran(tmp_path, RESULTS)
    return committed(tmp_path)


def test_results_that_came_with_the_commit_are_no_success(root):
    """Nothing was run; or something was, and what it wrote has been replaced since."""
    comparison = compare_with_commit(root=root)
    assert comparison.passed and set(comparison.table["verdict"]) == {"equal"}
    assert comparison.recomputed == [("ml-100k", "sasrec")] and len(comparison.table) == 5
    assert all(part in comparison.summary() for part in ("HEAD", "1 of 1", "5 equal"))
    write(root, changed(set_hv_sampled=0.401))
    assert compare_with_commit(root=root).recomputed == []
    shutil.rmtree(root / "artifacts")
    write(root, RESULTS)
    comparison = compare_with_commit(root=root)
    assert comparison.bad.empty and not comparison.passed and comparison.recomputed == []
    ran(root, RESULTS, "ml-1m/gru4rec")
    comparison = compare_with_commit(root=root)
    assert comparison.recomputed == [("ml-1m", "gru4rec")] and comparison.passed
    assert all(part in comparison.summary() for part in ("1 of 2", "5 new", "5 equal"))
    record = root / "artifacts/notebooks/ml-1m/gru4rec/06_evaluation.time.json"
    for broken in ("{", "[" * 100_000, '{"seconds": NaN, "finished": ""}'):
        record.write_text(broken)  # a broken record is none
        assert not compare_with_commit(root=root).passed


def test_the_tolerance_is_absolute_plus_relative():
    tolerance = VerifySettings(relative=0.02, absolute=0.005)
    keys = [("d", "b", "m", f"x{n}") for n in range(6)]
    old = dict(zip(keys, [0.4, 0.4, 0.4, 0.4, 0.4, None], strict=True))
    new = dict(zip(keys, [0.412, 0.4131, 0.38, 0.4, None, None], strict=True))
    table = compare_metrics(old, new, tolerance)
    assert table["metric"].tolist() == ["x4", "x2", "x1", "x0", "x3", "x5"]  # the worst first
    assert table["verdict"].tolist() == ["outside"] * 3 + ["within tolerance"] + ["equal"] * 2
    nothing = VerifySettings(relative=0.0, absolute=0.0)
    table = compare_metrics({keys[0]: 1.0}, {keys[0]: 1.0 + 1e-12}, nothing)
    assert table["verdict"].tolist() == ["outside"]


def test_what_has_no_honest_tolerance_is_not_compared(root):
    """Limits of intervals over seeds, p-values, and notes that say why a number is null."""
    gap = {"set_hv_sampled": 0.1, "set_hv_sampled_low": 0.05, "set_hv_sampled_high": 0.2}
    chance = {"set_hv_sampled_p": 0.2, "set_hv_sampled_p_holm": 0.3, "set_hv_full": None}
    path = root / "results/ml-100k/sasrec/differences.json"
    path.write_text(json.dumps({"soup": gap | chance | {"set_hv_full_note": "one user"}}))
    write(root, changed(set_hv_sampled_low=0.3, set_hv_sampled_high=0.5))
    committed(root)
    path.write_text(json.dumps({"soup": gap | {"set_hv_sampled_p": 0.9, "set_hv_full": None}}))
    ran(root, changed(set_hv_sampled_low=0.1, set_hv_sampled_high=0.9, why_note="a constant"))
    comparison = compare_with_commit(root=root)
    assert comparison.passed and len(comparison.table) == 9
    path.write_text(json.dumps({"soup": gap | chance | {"set_hv_sampled_high": 0.1}}))
    assert not compare_with_commit(root=root).passed
    write(root, changed(set_hv_sampled="0.4"))  # a note is no number
    assert compare_with_commit(root=root).bad["metric"].tolist()[0] == "set_hv_sampled"


def test_an_older_revision_a_larger_repository_and_missing_studies(root):
    ran(root, changed(set_hv_sampled=0.6))
    git(root, "commit", "-qam", "better")
    assert compare_with_commit(root=root).passed and not compare_with_commit("HEAD~1", root).passed
    inner = root / "inside"
    inner.mkdir()
    shutil.copy(root / "params.yaml", inner)
    write(inner, RESULTS)
    committed(root)
    assert len(compare_with_commit(root=inner).table) == 5
    write(root, {"generated": RESULTS["generated"], "soup": {"r_acc_sampled": 0.1}})
    write(root, RESULTS, "ml-1m/gru4rec")
    comparison = compare_with_commit(root=root)
    counts = comparison.table["verdict"].value_counts()
    assert (counts["missing"], counts["new"], comparison.recomputed) == (2, 6, [])


def test_the_headline_comes_first_and_other_settings_are_named(root):
    path = root / "results/ml-100k/sasrec/headline.json"
    path.write_text('{"r_acc": 0.9}')
    committed(root)
    path.write_text('{"r_acc": 0.4}')
    write(root, changed(set_hv_sampled=-9))
    table = compare_with_commit(root=root).table
    assert table["metric"].tolist()[:2] == ["headline_r_acc", "set_hv_sampled"]
    text = (root / "params.yaml").read_text().replace("resamples: 2000", "resamples: 1500")
    (root / "params.yaml").write_text(text.replace("relative: 0.02", "relative: 0.5"))
    assert "evaluation.resamples, verify.relative" in compare_with_commit(root=root).summary()


def test_what_cannot_be_compared_is_refused(root):
    for revision in ("no-such", "--help"):
        refused(revision, compare_with_commit, revision, root)
    wrong = {"{": "", "[]": "", '{"a": {"b": NaN}}': "a b", '{"a": {"b": [1]}}': "a b"}
    for text, key in wrong.items():
        write(root, text)
        refused(("metrics.json", key), compare_with_commit, "HEAD", root)
    shutil.rmtree(root / "results")
    refused("dvc repro", compare_with_commit, "HEAD", root)
    git(root, "commit", "-qam", "none")
    write(root, RESULTS)
    refused("HEAD", compare_with_commit, "HEAD", root)
    shutil.rmtree(root / ".git")
    refused(str(root), compare_with_commit, "HEAD", root)


def write_seeds(root, seeds, study="toy/sasrec"):
    rows, metrics = [], {}
    for method, values in seeds.items():
        metrics[method] = {"set_hv_full": float(np.mean(values)), "r_acc_full": None}
        if len(values) > 1:
            metrics[method]["set_hv_full_sd"] = float(np.std(values, ddof=1))
            metrics[method]["set_hv_full_low"] = metrics[method]["set_hv_full"] - 0.01
        for seed, value in enumerate(values):
            rows += [(method, seed, "full", w, value * w, 1 - value * w) for w in (0, 1)]
    columns = ["method", "seed", "protocol", "w_accuracy", "ndcg@10", "alpha_ndcg@10"]
    folder = write(root, metrics, study).parent
    pd.DataFrame(rows, columns=columns).to_csv(folder / "curve.csv", index=False)


@pytest.fixture
def before(tmp_path):
    write_seeds(tmp_path, SEEDS)
    return committed(tmp_path)


def test_what_the_seeds_do_not_explain_comes_first(before):
    later = {"steady": [0.60, 0.61, 0.62], "loose": [0.4, 0.6, 0.8], "alone": [0.1]}
    write_seeds(before, later | {"generated": SEEDS["generated"]})
    write_seeds(before, later, "toy/mine")
    versions = compare_versions("HEAD", None, before)
    kinds = [["steady", "beyond"], ["loose", "within"], ["generated", "equal"]]
    assert versions.moved[["method", "kind"]].to_numpy().tolist() == kinds
    text = versions.markdown()
    assert versions.only == ([], ["toy, mine", "toy, sasrec: `alone`"])
    row = "| toy, sasrec | `steady` | set HV | 0.5100 ± 0.0100 | 0.6100 ± 0.0100 | +0.1000 |"
    assert row in text and "`generated`" not in text
    assert row in versions.markdown(1) and "`loose`" not in versions.markdown(1)
    committed(before)
    assert compare_versions("HEAD~1", "HEAD", before).moved.equals(versions.moved)
    write_seeds(before, SEEDS | {"loose": [0.9]})  # a single run has no spread
    assert compare_versions("HEAD", None, before).only == (["toy, sasrec: `alone`"], [])  # gone
    moved = compare_versions("HEAD~1", None, before).moved.set_index("method")
    assert moved.loc["loose", "kind"] == "alone"
    (before / "results/toy/sasrec/metrics.json").unlink()
    refused("HEAD~1", compare_versions, "HEAD~1", None, before)


def test_the_spread_is_that_of_welch():
    a, b = np.array([0.1, 0.2, 0.4]), np.array([0.5, 0.55, 0.61, 0.7])
    half = welch((a.std(ddof=1), b.std(ddof=1)), [3, 4])
    interval = ttest_ind(b, a, equal_var=False).confidence_interval()
    assert half == pytest.approx((interval.high - interval.low) / 2)
    assert welch((0.0, 0.0), [3, 3]) == 0
