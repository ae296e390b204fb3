"""results/summary.md and all.csv say what results/ holds."""

import json
import shutil

import numpy as np
import pandas as pd
import pytest

from paragon.evaluation.summary import task_losses
from paragon.metrics.control import correlation
from paragon.metrics.statistics import is_real
from paragon.params import RESULTS
from paragon_study.report import compare, trainings
from paragon_study.report.compare import DIFFERENCE, all_results, load_results, study_folders
from paragon_study.report.style import look
from tests.conftest import refused

ENDS = ("", "_low", "_high", "_p", "_p_holm", "_seeds_low", "_seeds_high")


def difference(gap, half, holm):
    """For both protocols, for users and seeds."""
    values = (gap, gap - half, gap + half, holm, holm, gap - half, gap + half)
    names = ("set_hv_sampled", "set_hv_full")
    return {n + e: v for n in names for e, v in zip(ENDS, values, strict=True)}


METRICS = {
    "tuned": {"set_hv_full": 0.33, "set_hv_full_sd": 0.1, "set_hv_full_low": 0.3253}
    | {"set_hv_full_high": 0.3347, "set_hv_of_tuned_full": 1.0, "regret_mean_full": 0.0}
    | {"set_hv_sampled": 0.44, "r_acc_full": 0.9, "r_div_full": 0.9}
    | {"even_ild_full": 0.8, "even_items_full": 812.4},
    "generated": {"set_hv_full": 0.32, "set_hv_of_tuned_full": 0.98, "r_acc_full": 0.8}
    | {"regret_mean_full": -0.01, "regret_mean_full_low": -0.0223},
    "paragon": {"set_hv_of_tuned_full": 0.9, "r_acc_full": 0.7, "asked_acc": 0.0412}
    | {"regret_mean_full": 0.02, "regret_mean_full_low": 0.015},
    "constant": {"set_hv_of_tuned_full": 0.5, "r_acc_full": None, "r_acc_full_note": "constant"},
    "mmr": {"set_hv_of_tuned_full": 0.8},
    "backbone": {"best_acc_full": 0.1, "set_hv_of_tuned_full": 0.6},
}
DIFFERENCES = {
    "tuned": difference(0.01, 0.02, 0.3),
    "constant": difference(-0.08, 0.01, 0.0499),
    "mmr": difference(-0.07, 0.02, 0.05),
    "paragon": difference(-0.05, 0.01, 0.03),
}


def write_study(results, metrics=METRICS, differences=DIFFERENCES):
    folder = results / "toy" / "sasrec"
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "metrics.json").write_text(json.dumps(metrics))
    (folder / "differences.json").write_text(json.dumps(differences))
    (folder / "curve.csv").write_text("seed,method\n0,tuned\n")
    counts = {"train": 1000, "valid": 20, "test": 30, "items": 40, "test_users": 5}
    about = {"source": "own", "split": "global_time", "min_rating": 4.0, "k_core": 0}
    about |= {"midnight": 8, "counts": counts}
    (folder.parent / "data.json").write_text(json.dumps(about))
    return all_results(study_folders(results))


def test_the_committed_files_are_those_of_the_results():
    written = (RESULTS / "summary.md").read_text(encoding="utf-8")
    assert written == compare.summary(RESULTS), "run `python -m paragon compare`"
    table = compare.all_trainings(study_folders(RESULTS))
    assert (RESULTS / "all.csv").read_text(encoding="utf-8") == table.to_csv(index=False)


def test_all_results_keep_every_measure_with_its_limits(tmp_path):
    table = write_study(tmp_path)
    assert not table["measure"].str.contains("_sd|_note|_low").any()
    row = table[table["measure"] == "set_hv_full"].iloc[0]
    assert row[["value", "low", "high"]].tolist() == [0.33, 0.3253, 0.3347]
    gaps = table[table["measure"] == DIFFERENCE].set_index("method")
    # p is corrected, and < .05
    real = {"tuned": False, "paragon": True, "constant": True, "mmr": False}
    assert gaps["beyond_chance"].to_dict() == real
    assert gaps.loc["mmr", "low"] == pytest.approx(-0.09)


def test_a_method_of_one_weight_is_in_no_comparison_of_fronts(tmp_path):
    reason = correlation(np.array([0.4]), np.array([0.5])).reason
    one = {"set_hv_of_tuned_full": 0.8, "best_acc_full": 0.4, "r_acc_full_note": reason}
    gaps = DIFFERENCES | {"retrain": difference(-0.1, 0.01, 0.001)}
    table = write_study(tmp_path, METRICS | {"retrain": one}, gaps)
    assert set(table.loc[table["method"] == "retrain", "measure"]) == {"best_acc_full"}


def test_the_summary_is_written_whole_and_the_same_twice(tmp_path):
    means = compare.method_means(write_study(tmp_path))
    assert means["ahead, behind"].to_dict() == {
        look(method).label: pair
        for method, pair in (
            *(("tuned", "0, 0"), ("generated", "–"), ("paragon", "0, 1")),
            *(("mmr", "0, 0"), ("backbone", "0, 0"), ("constant", "0, 1")),
        )
    }
    assert means.loc[look("tuned").label, "items"] == "812"
    assert means.loc[look("constant").label, "r acc"] == "–"
    compare.write_comparison(tmp_path)
    first = {path.name: path.read_bytes() for path in tmp_path.iterdir() if path.is_file()}
    assert set(first) == {"summary.md", "all.csv"}
    text = first["summary.md"].decode()
    label = {method: look(method).label for method in METRICS}
    assert f"| {label['backbone']} | 0.1000 |" in text
    assert f"| {label['paragon']} | 2.0 ± 0.5 |" in text  # regret, in per cent
    assert f"| {label['generated']} | -1.0 ± 1.2 |" in text
    assert f"| {label['paragon']} | 0.041 |" in text  # asked minus got
    compare.write_comparison(tmp_path)
    assert first == {path.name: path.read_bytes() for path in tmp_path.iterdir() if path.is_file()}


def test_a_backbone_no_better_than_a_rule_is_a_warning_in_summary_and_terminal(tmp_path, capsys):
    for rule, weak in ((0.05, False), (0.098, False), (0.099, True)):
        knn = {"item_knn": {"best_acc_full": rule}, "popularity": {"best_acc_full": 0.02}}
        write_study(tmp_path, METRICS | knn)
        compare.write_comparison(tmp_path)
        texts = (tmp_path / "summary.md").read_text(), capsys.readouterr().err
        for text in texts:
            found = [line for line in text.splitlines() if "WARNING" in line]
            assert len(found) == weak
            assert all("toy, sasrec (backbone 0.1000" in line for line in found)
            assert all("item_knn 0.0990" in line for line in found)


def test_a_diversity_that_rises_while_distances_fall_is_a_warning(tmp_path, capsys):
    """By equal weights, lists of `tuned` have a distance of 0.8 within them."""
    for accurate, diverse in ((0.7, 0.9), (0.9, 0.7)):
        write_study(tmp_path)
        curve = pd.DataFrame({"protocol": ["full", "full", "sampled"]})
        curve[["method", "seed"]] = "tuned", 0
        curve["w_diversity"] = [1.0, 0.0, 1.0]
        curve["ild@10"] = [diverse, accurate, 0.5]
        curve.to_csv(tmp_path / "toy" / "sasrec" / "curve.csv", index=False)
        compare.write_comparison(tmp_path)
        text, said = (tmp_path / "summary.md").read_text(), capsys.readouterr().err
        for printed in (text, said):
            assert ("toy, sasrec (from 0.800 to 0.700)" in printed) == (diverse < 0.8)


def test_results_that_cannot_be_read_are_named(tmp_path):
    refused("dvc repro", study_folders, tmp_path)
    write_study(tmp_path)
    path = tmp_path / "toy" / "sasrec" / "metrics.json"
    for content in (b"\xff", b"{"):
        path.write_bytes(content)
        refused(str(path), compare.load_results, path)
    path.unlink()
    refused(str(path), compare.load_results, path)


def test_studies_of_the_same_data_and_backbone_count_once(tmp_path):
    """The study with more trainings: of `a` and `b`, whose data are the same, `b`."""
    folders = [tmp_path / name / "sasrec" for name in ("a", "b", "c", "b-seed1")]
    for folder, split in zip(folders, ("time", "time", "last", "time"), strict=True):
        folder.mkdir(parents=True)
        about = {"dataset": folder.parent.name, "split": split}
        (folder.parent / "data.json").write_text(json.dumps(about))
        (folder / "metrics.json").write_text("{}")
    assert compare.without_repeats(folders[:3]) == folders[1:3]


def test_every_study_was_measured_as_the_default_study():
    def measures(folder):
        row = load_results(folder / "metrics.json")["tuned"]
        return {name for name in row if not name.endswith(trainings.OF_A_NUMBER)}

    default = measures(RESULTS / "ml-100k" / "sasrec")
    for folder in study_folders(RESULTS):
        assert default <= measures(folder), folder
        methods = load_results(folder / "metrics.json")
        assert {"paragon", "generated", "hypernetwork", "tuned_alone"} <= methods.keys(), folder


def test_the_backbone_alone_has_no_lower_task_loss_than_the_oracle():
    for folder in study_folders(RESULTS):
        curve = pd.read_csv(folder / "curve.csv").query("protocol == 'full'")
        weights = [name for name in curve if name.startswith("w_")]
        loss = curve.assign(loss=task_losses(curve, [name[2:] for name in weights]))
        loss = loss.pivot(index=["method", *weights], columns="seed", values="loss")
        excess = loss.loc["tuned"] - loss.loc["backbone"]  # [weights, seeds]
        if excess.shape[1] == 1:  # another training of a study, with one seed
            continue
        error = excess.std(axis=1) / np.sqrt(excess.shape[1])
        assert excess.shape[1] >= 3 and (excess.mean(axis=1) <= 2 * error + 1e-9).all(), folder


def asked(value, method="paragon"):
    """A study of one seed: what two methods get, and the difference of a share."""
    row = {"asked_acc": value, "r_acc_full": 0.9}
    difference = {"alpha_ndcg_95": value - 0.05, "alpha_ndcg_95_p": value / 10}
    difference |= {"alpha_ndcg_95_p_holm": value / 5, "alpha_ndcg_95_seeds_low": None}
    difference |= {"alpha_ndcg_95_low": value - 0.1, "alpha_ndcg_95_high": value}
    return {"tuned": {"asked_acc": 0.01}, method: row}, {method: difference}


def test_several_trainings_are_one_study_with_limits_over_them(tmp_path):
    values = {"toy": 0.02, "toy-seed1": 0.03, "toy-seed2": 0.04, "toy-other": 0.5}
    for name, value in values.items():
        metrics, differences = asked(value)
        folder = write_study(tmp_path / name, metrics, differences)
        (tmp_path / name / "toy").rename(tmp_path / "moved")
        shutil.rmtree(tmp_path / name)
        (tmp_path / "moved").rename(tmp_path / name)
    folder = tmp_path / "toy" / "sasrec"
    assert [path.parent.name for path in trainings.trainings_of(folder)] == [*values][:3]
    kept = trainings.first_trainings(study_folders(tmp_path))
    assert [path.parent.name for path in kept] == ["toy", "toy-other"]
    row = trainings.joined_metrics(folder)["paragon"]
    half = 4.302653 * 0.01 / np.sqrt(3)  # t of two degrees of freedom
    limits = [row[f"asked_acc{end}"] for end in ("", "_low", "_high", "_sd")]
    assert limits == pytest.approx([0.03, 0.03 - half, 0.03 + half, 0.01], rel=1e-5)
    difference = trainings.joined_differences(folder)["paragon"]
    assert difference["alpha_ndcg_95"] == pytest.approx(-0.02)
    assert difference["alpha_ndcg_95_p_holm"] == 0.008  # the largest
    assert difference["alpha_ndcg_95_seeds_high"] == pytest.approx(-0.02 + half, rel=1e-4)
    assert not is_real(difference, "alpha_ndcg_95")  # the interval contains 0
    table = all_results([folder])
    assert set(table["trainings"]) == {3} and set(
        all_results([folder], joined=False)["trainings"]
    ) == {1}


@pytest.fixture
def music(tmp_path):
    """Two recommenders of a field; `category_bias` reaches the share with one of them."""
    values = {
        "sasrec": {"paragon": 0.4, "generated": 0.3, "category_bias": 0.9, "xquad": 0.6},
        "gru4rec": {"paragon": 0.6, "generated": 0.6, "category_bias": None, "xquad": 0.8},
    }
    folders = [tmp_path / "lastfm" / backbone for backbone in values]
    for folder in folders:
        folder.mkdir(parents=True)
        rows = {m: {"alpha_ndcg_80": value} for m, value in values[folder.name].items()}
        (folder / "metrics.json").write_text(json.dumps(rows | {"tuned": {"alpha_ndcg_80": 1}}))
        gaps = {}
        for method, gap in (("xquad", 0.2), ("paragon", 0.1 - values[folder.name]["generated"])):
            ends = dict(zip(ENDS, (gap, gap - 0.01, gap + 0.01, 0.01, 0.01), strict=False))
            ends |= {"_seeds_low": gap - 0.02, "_seeds_high": gap + 0.02}
            gaps[method] = {f"alpha_ndcg_80{end}": value for end, value in ends.items()}
        (folder / "differences.json").write_text(json.dumps(gaps))
    return folders


def test_the_best_of_a_field_reaches_the_share_with_every_backbone(music):
    """By hand: means of .5 and .7; `category_bias` is best once, but not with both backbones."""
    best = [
        line for line in compare.best_by_field(all_results(music)).splitlines() if "80 %" in line
    ]
    assert best == ["| music | 80 % | Paragon, the paper's recipe 0.50 | xQuAD re-ranking 0.70 |"]


def test_a_field_has_a_mean_or_a_span_of_its_backbones_and_an_arrow_if_they_agree(music):
    forms = ("mean .2f", "span .1f", "percent .0f")
    columns = {form: ("music", "alpha_ndcg_80", form) for form in forms}
    table = compare.by_field(
        all_results(music), ["paragon", "category_bias", "xquad", "mmr"], columns
    )
    paragon, xquad = (look(method).label for method in ("paragon", "xquad"))
    assert table.splitlines()[2:] == [
        f"| {paragon} | 0.50↓ | 0.4 to 0.6↓ | 40 to 60 %↓ |",
        f"| {xquad} | 0.70↑ | 0.6 to 0.8↑ | 60 to 80 %↑ |",
    ]
    path = music[0] / "differences.json"
    gaps = json.loads(path.read_text())
    gaps["xquad"]["alpha_ndcg_80"] *= -1
    path.write_text(json.dumps(gaps))
    table = compare.by_field(all_results(music), ["xquad"], columns)
    assert table.splitlines()[2].startswith(f"| {xquad} | 0.70 |")
