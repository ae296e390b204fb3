"""`verify` and `diff`: results beside those of a commit."""

import json
import re
import shutil

import numpy as np
import pandas as pd
import pytest
import yaml
from dvc.repo import Repo
from scipy.stats import ttest_ind

from paragon.evaluation.evaluate import Results
from paragon.params import ROOT, VerifySettings, load_params
from paragon_study.checking.agreement import disagreements
from paragon_study.checking.diff import compare_versions, welch
from paragon_study.checking.own_method import beside_tables
from paragon_study.checking.recorded import KEY
from paragon_study.checking.verify import compare_numbers, compare_with_commit
from paragon_study.pipeline.study import Study
from paragon_study.running.studies import record_time
from tests.conftest import refused
from tests.study.conftest import git

pytestmark = pytest.mark.slow

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


def numbers(values):
    """Numbers by method, metric and place."""
    rows = [(*key, value) for key, value in values.items()]
    return pd.DataFrame(rows, columns=[*KEY, "value"]).set_index(KEY)["value"].astype(float)


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
    comparison = compare_with_commit(root=root)
    assert comparison.recomputed == [] and list(comparison.stale) == [("ml-100k", "sasrec")]
    shutil.rmtree(root / "artifacts")
    write(root, RESULTS)
    comparison = compare_with_commit(root=root)
    assert comparison.bad.empty and not comparison.passed and comparison.recomputed == []
    ran(root, RESULTS, "ml-1m/gru4rec")
    git(root, "add", "results/ml-1m")
    git(root, "commit", "-qm", "another study")
    comparison = compare_with_commit(root=root)
    assert comparison.recomputed == [("ml-1m", "gru4rec")] and comparison.passed
    assert all(part in comparison.summary() for part in ("1 of 2", "5 equal"))
    record = root / "artifacts/notebooks/ml-1m/gru4rec/06_evaluation.time.json"
    for broken in ("{", "[" * 100_000, '{"seconds": NaN, "finished": ""}'):
        record.write_text(broken)  # a broken record is none
        assert not compare_with_commit(root=root).passed


def test_the_tolerance_is_absolute_plus_relative():
    tolerance = VerifySettings(relative=0.02, absolute=0.005)
    keys = [("m", f"x{n}", "") for n in range(6)]
    old = numbers(dict(zip(keys, [0.4, 0.4, 0.4, 0.4, 0.4, None], strict=True)))
    new = numbers(dict(zip(keys, [0.412, 0.4131, 0.38, 0.4, None, None], strict=True)))
    table = compare_numbers(old, new, tolerance)
    assert table["metric"].tolist() == ["x4", "x2", "x1", "x0", "x3", "x5"]  # the worst first
    assert table["verdict"].tolist() == ["outside"] * 3 + ["within tolerance"] + ["equal"] * 2
    nothing = VerifySettings(relative=0.0, absolute=0.0)
    table = compare_numbers(numbers({keys[0]: 1.0}), numbers({keys[0]: 1.0 + 1e-12}), nothing)
    assert table["verdict"].tolist() == ["outside"]


CURVE = """\
method,seed,protocol,w_accuracy,w_diversity,ndcg@10,loss_accuracy
tuned,0,full,0,1,0.1,
tuned,0,full,1,0,0.2,3
"""
GAP = {"set_hv_sampled": 0.1, "set_hv_sampled_low": 0.05, "set_hv_sampled_high": 0.2}
GAP |= {"set_hv_sampled_p": 0.2, "set_hv_sampled_p_holm": 0.3, "set_hv_full": None}
FILES = {
    "sasrec/metrics.json": json.dumps(changed(r_acc_sampled_low=0.9)),
    "sasrec/headline.json": '{"tuned": {"alpha_ndcg_95": 0.4}}',
    "sasrec/differences.json": json.dumps({"soup": GAP | {"set_hv_full_note": "one user"}}),
    "sasrec/curve.csv": CURVE,
    "data.json": '{"source": "own", "counts": {"train": 98114}}',
}
EDITS = [  # file, what is written instead, and the metric that is named
    ("sasrec/metrics.json", "0.9}", "0.8}", "r_acc_sampled_low"),
    ("sasrec/headline.json", "0.4", "0.45", "headline_alpha_ndcg_95"),
    ("sasrec/differences.json", '_p": 0.2', '_p": 0.0001', "difference_set_hv_sampled_p"),
    ("sasrec/differences.json", "0.3", "0.0001", "difference_set_hv_sampled_p_holm"),
    ("sasrec/differences.json", "0.05", "-0.05", "difference_set_hv_sampled_low"),
    ("sasrec/curve.csv", "0.2", "0.1", "curve_ndcg@10 at 0 full 1 0"),
    ("sasrec/curve.csv", "0.1,", "0.1,1", "curve_loss_accuracy at 0 full 0 1"),
    ("sasrec/curve.csv", "tuned,0,full,1,0,0.2,3\n", "", "curve_ndcg@10 at 0 full 1 0"),
]


def recorded(root):
    """Every file of a study, written by an evaluation in this folder and committed."""
    folder = root / "results/ml-100k"
    for name, text in FILES.items():
        (folder / name).write_text(text)
    record_time(1.0, "ml-100k/sasrec/06_evaluation", root)
    committed(root)
    return folder


def test_every_number_of_every_file_is_compared(root):
    """Of what is in the files of a study, only the notes that say why a number is null are not."""
    folder = recorded(root)
    comparison = compare_with_commit(root=root)
    assert comparison.passed and len(comparison.table) == 6 + 1 + 6 + 2
    assert "not recomputed here" not in comparison.summary()
    for name, old, new, metric in EDITS:
        assert old in FILES[name]
        (folder / name).write_text(FILES[name].replace(old, new))
        record_time(1.0, "ml-100k/sasrec/06_evaluation", root)
        comparison = compare_with_commit(root=root)
        assert metric in comparison.bad["metric"].tolist() and not comparison.passed, metric
        (folder / name).write_text(FILES[name])
    (folder / "sasrec/curve.csv").unlink()
    assert {*compare_with_commit(root=root).bad["verdict"]} == {"missing"}
    (folder / "sasrec/curve.csv").write_text(CURVE)
    (folder / "sasrec/differences.json").write_text(json.dumps({"soup": GAP}))  # without a note
    assert compare_with_commit(root=root).bad.empty
    write(root, changed(set_hv_sampled="0.4"))  # a note is no number
    assert "set_hv_sampled" in compare_with_commit(root=root).bad["metric"].tolist()


@pytest.mark.parametrize("name", [name for name in FILES if "/" in name])
def test_an_edit_within_the_tolerance_is_no_result_that_was_computed_here(root, name):
    folder = recorded(root)
    (folder / name).write_text(FILES[name].replace("0.4", "0.406").replace("0.1", "0.101"))
    comparison = compare_with_commit(root=root)
    assert comparison.bad.empty and comparison.recomputed == [] and not comparison.passed
    assert list(comparison.stale) == [("ml-100k", "sasrec")]


@pytest.fixture
def pipeline(root, monkeypatch):
    """Two studies that were run here with one stage before the last, and DVC's record of both."""
    stages = {
        name: {
            "foreach": ["ml-100k-sasrec", "ml-1m-gru4rec"],
            "do": {"cmd": "true", "deps": [f"{name}.${{item}}"], "params": ["run", "evaluation"]},
        }
        for name in ("generator", "evaluation")
    }
    for name, stage in stages.items():
        for study in stage["foreach"]:
            (root / f"{name}.{study}").write_text("code")
            made = f"made.{study}"
            if name == "generator":
                (root / made).write_text("model")
            else:
                (root / f"executed.{study}").write_text("notebook")
    stages["generator"]["do"]["outs"] = [{"made.${item}": {"cache": False}}]
    stages["evaluation"]["do"]["deps"].append("made.${item}")
    stages["evaluation"]["do"]["outs"] = ["executed.${item}"]
    (root / "dvc.yaml").write_text(yaml.safe_dump({"stages": stages}))
    ran(root, RESULTS, "ml-1m/gru4rec")
    monkeypatch.chdir(root)  # as DVC needs
    with Repo.init(str(root), no_scm=True) as repo:
        repo.commit(force=True)
    return committed(root)


def test_what_changed_since_it_ran_is_stale_and_not_counted(pipeline, monkeypatch):
    root = pipeline
    comparison = compare_with_commit(root=root)
    assert comparison.passed and len(comparison.recomputed) == 2 and comparison.stale == {}
    (root / "generator.ml-1m-gru4rec").write_text("other code")
    monkeypatch.chdir("/")  # from any folder
    comparison = compare_with_commit(root=root)
    assert comparison.passed and comparison.recomputed == [("ml-100k", "sasrec")]
    assert [*comparison.stale] == [("ml-1m", "gru4rec")]
    said = comparison.summary()
    assert all(part in said for part in ("in part", "STALE", "ml-1m, gru4rec", "generator", "1 of"))
    (root / "made.ml-100k-sasrec").write_text("another model")
    comparison = compare_with_commit(root=root)
    assert comparison.empty and not comparison.passed and len(comparison.stale) == 2
    assert "generator" in comparison.stale["ml-100k", "sasrec"]
    assert "evaluation" in comparison.stale["ml-100k", "sasrec"]


def test_an_output_that_is_lost_or_changed_is_stale_though_the_cache_lacks_it(pipeline):
    shutil.rmtree(pipeline / ".dvc" / "cache")
    assert compare_with_commit(root=pipeline).stale == {}
    (pipeline / "executed.ml-100k-sasrec").write_text("other cells")
    (pipeline / "executed.ml-1m-gru4rec").unlink()
    comparison = compare_with_commit(root=pipeline)
    assert len(comparison.stale) == 2 and not comparison.passed
    assert "evaluation" in comparison.stale["ml-1m", "gru4rec"]


def test_one_edited_study_fails_though_another_one_is_current(pipeline):
    path = pipeline / "results/ml-1m/gru4rec/metrics.json"
    path.write_text(path.read_text().replace("0.4", "0.401"))
    comparison = compare_with_commit(root=pipeline)
    assert comparison.recomputed == [("ml-100k", "sasrec")] and comparison.bad.empty
    assert [*comparison.stale] == [("ml-1m", "gru4rec")] and not comparison.passed


@pytest.mark.parametrize("name", ["ml-1m/gru4rec/metrics.json", "ml-1m/data.json"])
def test_an_edit_of_a_study_that_did_not_run_here_fails(root, name):
    write(root, RESULTS, "ml-1m/gru4rec")
    (root / "results/ml-1m/data.json").write_text('{"items": 0.4}')
    committed(root)
    assert compare_with_commit(root=root).passed  # with the other study, which ran here
    path = root / "results" / name
    path.write_text(path.read_text().replace("0.4", "0.401"))
    comparison = compare_with_commit(root=root)
    assert comparison.bad.empty and not comparison.passed
    assert [*comparison.stale, *comparison.made_otherwise][0][0] == "ml-1m"
    assert "ml-1m" in comparison.summary() and "NOT REPRODUCED" in comparison.summary()


def test_numbers_from_nowhere_and_rows_that_are_there_twice_fail(root):
    curve = "method,seed,protocol,w_accuracy,acc\ntuned,0,full,1,0.5\n"
    path = write(root, RESULTS, "ml-1m/gru4rec").with_name("curve.csv")
    path.write_text(curve)
    committed(root)
    assert compare_with_commit(root=root).passed
    write(root, changed(invented=0.9), "ml-1m/gru4rec")  # a study that did not run here
    assert "NOT REPRODUCED" in compare_with_commit(root=root).summary()
    write(root, RESULTS, "ml-1m/gru4rec")
    write(root, RESULTS, "invented/gru4rec")
    assert "invented" in compare_with_commit(root=root).summary()
    assert not compare_with_commit(root=root).passed
    path.write_text(curve + curve.splitlines()[1] + "\n")
    refused("curve.csv of the working tree", compare_with_commit, root=root)


def test_changed_files_that_hold_no_compared_number_are_named(root):
    for name in ("summary.md", "ml-1m/sasrec/control.png"):
        (root / "results" / name).parent.mkdir(parents=True, exist_ok=True)
        (root / "results" / name).write_text("as committed")
    committed(root)
    assert compare_with_commit(root=root).not_compared == []
    (root / "results/summary.md").write_text("Paragon wins.")
    (root / "results/ml-1m/sasrec/control.png").unlink()
    comparison = compare_with_commit(root=root)
    assert comparison.not_compared == ["results/ml-1m/sasrec/control.png", "results/summary.md"]
    assert comparison.passed and "results/summary.md" in comparison.summary()


def test_results_that_were_made_with_other_settings_are_not_reproduced(root, monkeypatch):
    """Of a study that is not computed here, too: its settings lie beside its results."""
    monkeypatch.setattr("paragon_study.pipeline.study.RESULTS", root / "results")
    monkeypatch.setattr(Results, "write", lambda self, folder: None)
    write(root, RESULTS, "ml-1m/gru4rec")
    for study in (("ml-100k", "sasrec"), ("ml-1m", "gru4rec")):
        params = load_params(root / "params.yaml", None, *study)
        Study(*study, params).write_results(Results(pd.DataFrame(), {}, {}))
    ran(root, RESULTS)
    committed(root)
    assert compare_with_commit(root=root).passed
    text = (root / "params.yaml").read_text()
    (root / "params.yaml").write_text(text.replace("      dropout: 0.2\n", "      dropout: 0.25\n"))
    git(root, "commit", "-qam", "the settings of ml-1m alone")
    comparison = compare_with_commit(root=root)
    assert comparison.bad.empty and not comparison.passed and not comparison.empty
    assert comparison.made_otherwise == {("ml-1m", "gru4rec"): ["backbones.dropout"]}
    assert "backbones.dropout" in comparison.summary()


def test_a_changed_setting_of_a_study_that_was_not_computed_again_is_not_reproduced(root):
    write(root, RESULTS, "ml-1m/gru4rec")
    committed(root)
    assert compare_with_commit(root=root).passed
    text = (root / "params.yaml").read_text()
    other = text.replace("  gru4rec: {}", "  gru4rec: {adapters: {steps: 700}}")
    assert other != text
    (root / "params.yaml").write_text(other)
    comparison = compare_with_commit(root=root)
    assert comparison.recomputed == [("ml-100k", "sasrec")] and not comparison.passed
    assert comparison.made_otherwise == {("ml-1m", "gru4rec"): ["adapters.steps"]}


def test_raised_tolerances_and_a_p_value_that_crosses_its_limit_are_not_reproduced(root):
    params = root / "params.yaml"
    params.write_text(params.read_text().replace("relative: 0.02", "relative: 1000"))
    assert "relative: 1000" in params.read_text()
    ran(root, changed(set_hv_sampled=0.9))
    assert not compare_with_commit(root=root).passed
    tolerance = VerifySettings(relative=0.02, absolute=0.005)
    index = pd.MultiIndex.from_product([["xquad"], ["set_hv_full_p_holm"], [""]], names=KEY)
    found = [
        compare_numbers(pd.Series([old], index), pd.Series([new], index), tolerance)
        for old, new in ((0.049, 0.0505), (0.052, 0.0505))
    ]
    assert [table["verdict"].item() for table in found] == ["outside", "within tolerance"]


def test_an_edited_record_of_settings_or_data_is_not_reproduced(root):
    """Of a study that was not computed again, too."""
    folder = root / "results" / "ml-1m"
    write(root, RESULTS, "ml-1m/gru4rec")
    settings = folder / "gru4rec" / "settings.json"
    settings.write_text('{"backbones": {"dim": 64}}')
    data = folder / "data.json"
    data.write_text('{"source": "official", "fingerprint": "12", "users": 5}')
    committed(root)

    def otherwise():
        comparison = compare_with_commit(root=root)
        assert not comparison.passed
        return comparison.made_otherwise

    before = otherwise()["ml-1m", "gru4rec"]  # no such settings are in params.yaml
    settings.write_text('{"backbones": {"dim": 999}}')
    assert otherwise()["ml-1m", "gru4rec"][-1] == "backbones.dim" != before[-1]
    settings.unlink()
    assert "settings.json" in otherwise()["ml-1m", "gru4rec"][-1]
    settings.write_text("{nonsense")
    refused(("ml-1m/gru4rec/settings.json",), compare_with_commit, root=root)
    settings.unlink()
    data.write_text('{"source": "a package", "fingerprint": "13", "users": 5}')
    assert otherwise()["ml-1m", ""] == ["fingerprint"]


@pytest.mark.parametrize(
    ("file", "text", "verdict"),
    [
        (None, "", "nothing"),  # the whole study
        ("metrics.json", "{}", "in part"),
        ("metrics.json", json.dumps(changed(set_hv_sampled="0.4")), "in part"),  # a note
        ("curve.csv", CURVE.splitlines()[0] + "\n", "in part"),
        ("curve.csv", CURVE.replace(",loss_accuracy", ",other_loss"), "missing"),
    ],
)
def test_what_the_commit_does_not_hold_is_not_reproduced(root, file, text, verdict):
    """All of it was computed here, but a part has no counterpart."""
    folder = recorded(root) / "sasrec"
    write(root, RESULTS, "ml-1m/gru4rec")  # so that the commit holds some results
    whole = {path: path.read_text() for path in folder.iterdir()}
    if file:
        (folder / file).write_text(text)
    else:
        shutil.rmtree(folder)
    committed(root)
    folder.mkdir(exist_ok=True)
    for path, content in whole.items():
        path.write_text(content)
    comparison = compare_with_commit(root=root)
    if verdict == "missing":
        assert not comparison.passed
    elif file:
        assert comparison.passed and "reproduced in part: " in comparison.summary()
    else:
        assert comparison.empty and comparison.unknown == [("ml-100k", "sasrec")]
        assert "nothing is verified" in comparison.summary()


@pytest.mark.parametrize(
    ("old", "new"),
    [("98114", "98115"), ("98114", "1e999"), ("98114", "9" * 401), ("98114", '"98114"')],
)
def test_counts_and_settings_of_data_have_to_be_exactly_those_of_the_commit(root, old, new):
    path = recorded(root) / "data.json"
    path.write_text(FILES["data.json"].replace(old, new).replace("own", "another source"))
    comparison = compare_with_commit(root=root)
    assert not comparison.passed
    assert comparison.made_otherwise == {("ml-100k", ""): ["counts.train"]}
    path.unlink()
    assert not compare_with_commit(root=root).passed


def test_a_pipeline_that_is_gone_is_an_error_as_it_says_what_is_stale(root):
    (root / "dvc.yaml").write_text("stages: {}")
    committed(root)
    (root / "dvc.yaml").unlink()
    refused("dvc.yaml", compare_with_commit, root=root)


def test_a_study_may_have_a_dot_in_its_name(root):
    write(root, RESULTS, "my.data/sasrec")
    committed(root)
    assert compare_with_commit(root=root).passed


@pytest.mark.parametrize(
    "verify", ["null", "[1]", "{relative: -1, absolute: 0}", "{relative: .inf, absolute: 0}", "{}"]
)
def test_tolerances_of_the_commit_are_checked(root, verify):
    params = root / "params.yaml"
    text = params.read_text()
    edited = re.sub(r"^verify:\n(  .*\n)+", f"verify: {verify}\n", text, flags=re.MULTILINE)
    params.write_text(edited)
    committed(root)
    params.write_text(text)
    refused(("params.yaml of HEAD", "verify"), compare_with_commit, root=root)


@pytest.mark.parametrize(
    "text", ["[1]", "overrides: [1]", "overrides: {a: [1]}", "run: 1", "a: &a {b: *a}", "1: {}"]
)
def test_a_params_file_of_the_commit_with_another_form_is_refused(root, text):
    params = root / "params.yaml"
    whole = params.read_text()
    params.write_text(text)
    committed(root)
    params.write_text(whole)
    refused("params.yaml of HEAD", compare_with_commit, root=root)


@pytest.mark.parametrize("name", ["sasrec/metrics.json", "data.json", "sasrec/settings.json"])
def test_a_key_that_is_there_twice_is_refused(root, name):
    path = recorded(root) / name
    path.write_text('{"a": {"b": 1}}')
    committed(root)
    path.write_text('{"a": {"b": 1, "b": 2}}')
    refused((name, "'b'", "dvc repro"), compare_with_commit, root=root)
    committed(root)
    refused((name, "'b'", "HEAD"), compare_with_commit, root=root)


@pytest.mark.parametrize(
    "revision", ["", " ", "no-such", "--help", "a\nb", "HEAD^{tree}", "HEAD:results", "HEAD:dvc"]
)
def test_what_is_no_commit_is_refused(root, revision):
    refused("git log", compare_with_commit, revision, root)
    refused("git log", compare_versions, revision, None, root)


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


def test_a_submodule_among_the_results_of_the_commit_holds_no_number(root):
    entry = f"160000,{git(root, 'rev-parse', 'HEAD').strip()},results/of.others"
    git(root, "update-index", "--add", "--cacheinfo", entry)
    git(root, "commit", "-qm", "submodule")
    assert compare_with_commit(root=root).passed


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


STUDY = ROOT / "results/planted/sasrec"  # with three seeds, and so with intervals over them
FALSE = [  # file, method, key and what is written there instead of the recorded number
    ("headline.json", "generated", "alpha_ndcg_95", lambda x: 1.015 * x),
    ("metrics.json", "paragon", "regret_mean_full", lambda x: 1.015 * x),
    ("metrics.json", "paragon", "r_div_full_low", lambda x: x - 0.05),
    ("differences.json", "xquad", "alpha_ndcg_80", lambda x: -x),
    ("differences.json", "nearest", "set_hv_full_p", lambda x: 0.9),
    ("differences.json", "tuned", "set_hv_full_p_holm", lambda x: 1e-4),
]


def test_numbers_that_cannot_be_of_one_run_are_named(tmp_path):
    assert list(disagreements(STUDY)) == []
    folder = tmp_path / "results/planted/sasrec"
    shutil.copytree(STUDY, folder)
    for file, method, key, other in FALSE:
        text = (folder / file).read_text()
        content = json.loads(text)
        content[method][key] = other(content[method][key])
        (folder / file).write_text(json.dumps(content))
        found = list(disagreements(folder))
        assert any(f"sasrec/{file}: {method}.{key}" in problem for problem in found), (key, found)
        (folder / file).write_text(text)
    refused("metrics.json", list, disagreements(tmp_path))


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


def test_regret_is_in_per_cent_as_on_the_pages(tmp_path):
    path, numbers = write(tmp_path, ""), {"": 0.239, "_low": 0.229, "_sd": 0.01}
    for value in (0.239, 0.25):
        row = {f"regret_mean_full{end}": number for end, number in numbers.items()}
        row |= {"regret_mean_full": value, "r_acc_full": 0.9}
        path.write_text(json.dumps({"paragon": row}))
        rows = [("paragon", seed, "full", 1) for seed in (0, 1, 2)]
        table = pd.DataFrame(rows, columns=["method", "seed", "protocol", "w_accuracy"])
        table.to_csv(path.with_name("curve.csv"), index=False)
        if value == 0.239:
            committed(tmp_path)
    moved = compare_versions("HEAD", None, tmp_path).moved.set_index("measure")
    assert moved.loc["regret %", ["before", "after"]].tolist() == [
        "23.9000 ± 1.0000",
        "25.0000 ± 2.1000",
    ]
    assert moved.loc["regret %", "difference"] == pytest.approx(1.1)
    assert moved.loc["r acc", "before"] == "0.9000"


def test_a_method_of_ones_own_is_shown_by_the_measures_of_the_pages():
    files = (
        json.loads((STUDY / f"{name}.json").read_text()) for name in ("metrics", "differences")
    )
    results = Results(pd.DataFrame(), *files)
    text = beside_tables(results, "soup", [0.95])
    for title in (
        "NDCG@10 kept, %",
        "of tuned",
        "r acc",
        "r div",
        "distance from tuned",
        "regret %",
    ):
        assert title in text
    regret = 100 * results.summary["soup"]["regret_mean_full"]
    assert any(
        line.startswith("| soup ") and f"{regret:.1f} ±" in line for line in text.splitlines()
    )


def test_the_spread_is_that_of_welch():
    a, b = np.array([0.1, 0.2, 0.4]), np.array([0.5, 0.55, 0.61, 0.7])
    half = welch((a.std(ddof=1), b.std(ddof=1)), [3, 4])
    interval = ttest_ind(b, a, equal_var=False).confidence_interval()
    assert half == pytest.approx((interval.high - interval.low) / 2)
    assert welch((0.0, 0.0), [3, 3]) == 0
