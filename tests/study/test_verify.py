import json
import shutil

import pytest

from paragon.errors import ParagonError
from paragon.params import ROOT, VerifySettings
from paragon_study.checking.verify import compare_metrics, compare_with_commit
from paragon_study.running.times import stage_done
from tests.study.conftest import git

RESULTS = {
    "generated": {"set_hv_sampled": 0.4, "r_acc_sampled": 0.99, "r_acc_sampled_sd": 0.01},
    "constant": {"range_ratio_sampled": 0, "r_acc_sampled": None},
}


def write(root, results, study="ml-100k/sasrec"):
    path = root / "results" / study / "metrics.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(results if isinstance(results, str) else json.dumps(results))
    return path


def ran(root, results, study="ml-100k/sasrec"):
    """The same results, written by an evaluation in this folder."""
    write(root, results, study)
    stage_done(1.0, "06_evaluation", *study.split("/"), root=root)


def changed(**metrics):
    return RESULTS | {"generated": RESULTS["generated"] | metrics}


@pytest.fixture
def root(tmp_path):
    """A repository whose HEAD holds RESULTS; tolerance as in params.yaml, fixed here."""
    text = (ROOT / "params.yaml").read_text().split("verify:")[0]
    (tmp_path / "params.yaml").write_text(text + "verify:\n  relative: 0.02\n  absolute: 0.005\n")
    ran(tmp_path, RESULTS)
    (tmp_path / ".gitignore").write_text("artifacts\n")
    git(tmp_path, "init", "-q")
    git(tmp_path, "add", "-A")
    git(tmp_path, "commit", "-qm", "results")
    return tmp_path


def test_the_same_results_pass(root):
    report = compare_with_commit(root=root)
    assert report.passed and len(report.rows) == 5
    assert {row.verdict for row in report.rows} == {"equal"} and report.unequal == 0
    assert report.summary().startswith("reproduced: the results agree with HEAD (")
    assert "; 1 of 1 study was recomputed here; 5 metrics: 5 equal" in report.summary()


def test_results_that_came_with_the_commit_are_no_success(root):
    """Nothing was run; or something was, and what it wrote has been replaced since."""
    write(root, changed(set_hv_sampled=0.401))
    assert compare_with_commit(root=root).recomputed == []
    shutil.rmtree(root / "artifacts")
    write(root, RESULTS)
    report = compare_with_commit(root=root)
    assert report.agrees and report.untouched and not report.passed
    assert report.summary().startswith("nothing was recomputed here")
    ran(root, RESULTS, "ml-1m/gru4rec")
    report = compare_with_commit(root=root)
    assert report.recomputed == [("ml-1m", "gru4rec")] and report.passed
    write(root, changed(set_hv_sampled=0.9))
    (root / "artifacts" / "times.json").write_text("{")  # a broken record is none
    report = compare_with_commit(root=root)
    assert not report.passed and "NOT REPRODUCED" in report.summary()


@pytest.mark.parametrize(
    ("now", "verdict"),
    [(0.412, "within"), (0.388, "within"), (0.4131, "outside"), (0.38, "outside"), (0.4, "equal")],
)
def test_the_tolerance_is_absolute_plus_relative(root, now, verdict):
    ran(root, changed(set_hv_sampled=now))
    report = compare_with_commit(root=root)
    row = next(row for row in report.rows if row.key[-1] == "set_hv_sampled")
    assert row.verdict == verdict and report.passed == (verdict != "outside")
    assert row.allowed == pytest.approx(0.013)


def test_the_worst_comes_first(root):
    write(root, changed(r_acc_sampled=0.5, set_hv_sampled=0.401, r_acc_sampled_sd=None, extra=1))
    rows = compare_with_commit(root=root).rows
    assert [(row.key[-1], row.verdict) for row in rows[:4]] == [
        ("r_acc_sampled_sd", "outside"),
        ("r_acc_sampled", "outside"),
        ("extra", "new"),
        ("set_hv_sampled", "within"),
    ]


def test_null_is_a_result_of_its_own(root):
    write(root, RESULTS | {"constant": {"range_ratio_sampled": 0, "r_acc_sampled": 0.0}})
    report = compare_with_commit(root=root)
    assert not report.passed and report.rows[0].key[2:] == ("constant", "r_acc_sampled")
    assert "null" in report.table(1)


def test_notes_are_not_compared_and_do_not_stand_for_a_number(root):
    ran(root, changed(why_note="a constant"))
    assert compare_with_commit(root=root).passed
    write(root, changed(set_hv_sampled="0.4"))
    assert compare_with_commit(root=root).rows[0].verdict == "missing"


def test_differences_are_compared_and_what_has_no_honest_tolerance_is_not(root):
    folder = root / "results/ml-100k/sasrec"
    own = {"set_hv_sampled": 0.1, "set_hv_sampled_low": 0.05, "set_hv_sampled_high": 0.2}
    chance = {"set_hv_sampled_p": 0.2, "set_hv_sampled_p_holm": 0.3, "set_hv_full": None}
    path = folder / "differences.json"
    path.write_text(json.dumps({"soup": own | chance | {"set_hv_full_note": "one user"}}))
    write(root, changed(set_hv_sampled_low=0.3, set_hv_sampled_high=0.5))
    git(root, "add", "-A")
    git(root, "commit", "-qm", "intervals")

    path.write_text(json.dumps({"soup": own | {"set_hv_sampled_p": 0.9, "set_hv_full": None}}))
    ran(root, changed(set_hv_sampled_low=0.1, set_hv_sampled_high=0.9))
    report = compare_with_commit(root=root)
    assert report.passed and len(report.rows) == 9 and "1 of 1 study" in report.summary()
    path.write_text(json.dumps({"soup": own | chance | {"set_hv_sampled_high": 0.1}}))
    rows = compare_with_commit(root=root).rows
    assert [row.key[2:] for row in rows if row.bad] == [("soup", "difference_set_hv_sampled_high")]
    path.unlink()
    assert sum(row.verdict == "missing" for row in compare_with_commit(root=root).rows) == 4


def test_what_is_missing_fails_and_what_is_new_is_named(root):
    write(root, {"generated": RESULTS["generated"], "soup": {"r_acc_sampled": 0.1}})
    write(root, RESULTS, "ml-1m/gru4rec")
    report = compare_with_commit(root=root)
    assert not report.passed
    assert "2 missing, 6 new" in report.summary() and "0 of 2 studies" in report.summary()
    write(root, RESULTS)
    assert compare_with_commit(root=root).passed  # another study has nothing to be compared with
    shutil.rmtree(root / "results/ml-100k")
    assert sum(row.verdict == "missing" for row in compare_with_commit(root=root).rows) == 5


def test_an_older_revision_and_a_table(root):
    ran(root, changed(set_hv_sampled=0.6))
    git(root, "commit", "-qam", "better")
    assert compare_with_commit(root=root).passed and not compare_with_commit("HEAD~1", root).passed
    lines = compare_with_commit("HEAD~1", root).table(2).splitlines()
    assert len(lines) == 3 and lines[0].split()[:2] == ["dataset", "backbone"]
    assert lines[1].split() == [
        *("ml-100k", "sasrec", "generated", "set_hv_sampled"),
        *("0.4", "0.6", "0.2", "0.013", "outside"),
    ]


def test_a_study_inside_a_larger_repository(tmp_path, root):
    inner = root / "inside"
    inner.mkdir()
    shutil.copy(root / "params.yaml", inner)
    write(inner, RESULTS)
    git(root, "add", "-A")
    git(root, "commit", "-qm", "inside")
    assert len(compare_with_commit(root=inner).rows) == 5


def test_no_tolerance_allows_only_the_same():
    key = ("d", "b", "m", "x")
    row = compare_metrics(
        {key: 1.0}, {key: 1.0 + 1e-12}, VerifySettings(relative=0.0, absolute=0.0)
    )[0]
    assert row.verdict == "outside"


@pytest.mark.parametrize(
    ("spoil", "revision", "message"),
    [
        (lambda root: None, "no-such", "git knows no commit 'no-such'"),
        (lambda root: None, "--help", "git knows no commit '--help'"),
        (lambda root: shutil.rmtree(root / ".git"), "HEAD", "is not a git repository.*git init"),
        (lambda root: shutil.rmtree(root / "results"), "HEAD", "run `dvc repro` first"),
        (lambda root: write(root, "{"), "HEAD", "metrics.json: not valid JSON"),
        (lambda root: write(root, '{"a": {"b": NaN}}'), "HEAD", "NaN is not a number"),
        (
            lambda root: write(root, "").write_bytes(b"\xff"),
            "HEAD",
            "metrics.json: not valid UTF-8",
        ),
        (lambda root: write(root, "[]"), "HEAD", "a mapping of methods is needed"),
        (lambda root: write(root, {"a": {"b": [1]}}), "HEAD", r"a.b is \[1\], a number or null"),
    ],
)
def test_errors_are_one_line(root, monkeypatch, spoil, revision, message):
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(root.parent))
    spoil(root)
    with pytest.raises(ParagonError, match=message) as raised:
        compare_with_commit(revision, root)
    assert "\n" not in str(raised.value)


def test_a_commit_whose_results_are_no_text(root):
    write(root, "").write_bytes(b"\xff")
    git(root, "commit", "-qam", "no text")
    write(root, RESULTS)
    with pytest.raises(ParagonError, match=r"metrics.json of [0-9a-f]{7}: not valid UTF-8"):
        compare_with_commit(root=root)


def test_a_commit_without_results(root):
    git(root, "rm", "-rq", "--cached", "results")
    git(root, "commit", "-qm", "none")
    with pytest.raises(ParagonError, match="HEAD holds no results"):
        compare_with_commit(root=root)
