"""Every finding has its condition here, and docs/findings.md says what the results hold.

A test that fails names the sentence that is no longer true: it has to be written anew.
"""

import json
import shutil

import numpy as np
import pandas as pd
import pytest

from paragon.errors import ParagonError
from paragon.params import ABLATIONS, RESULTS, ROOT
from paragon.report import ablations, findings
from paragon.report.results import Studies, study_folders
from paragon.report.templates import listed, percent, span

SMALL, LARGE = "MovieLens-100K", "MovieLens-1M"


@pytest.fixture(scope="module")
def n():
    """The numbers of the committed results."""
    return findings.numbers(RESULTS, ABLATIONS)


def test_the_page_is_the_rendered_template():
    page = (ROOT / "docs" / "findings.md").read_text(encoding="utf-8")
    assert page == findings.render_findings(RESULTS, ABLATIONS), "run `python -m paragon report`"


def test_generated_adapters_follow_the_weights(n):
    follows = n["follows"]
    assert min(follows["hv"]) > 0.99
    assert min(follows["range_acc"] + follows["range_div"]) > 0.95
    assert follows["violations"] <= 1
    assert max(follows["regret"]) < findings.FAILED


def test_with_permuted_weights_generated_adapters_fail(n):
    assert min(n["follows"]["shuffled"]) > 1


def test_where_the_generator_fails_the_seeds_do_not_tell_it_from_mixtures(n):
    assert [study["study"] for study in n["failed"]] == ["ml-100k, deepfm"]
    assert not any(study["differ"] for study in n["failed"])


def test_interpolation_does_as_well_at_most_weights(n):
    mixtures = n["mixtures"]
    assert max(mixtures["median"]) < 0.05
    assert mixtures["gap"] < 0.005


def test_the_regret_of_interpolation_comes_from_one_weight(n):
    assert min(n["mixtures"]["mean"]) > 0.2
    assert min(n["mixtures"]["share"]) > 0.9
    assert n["mixtures"]["soup_worst"]


def test_should_i_use_this_mixing_by_logarithms_comes_close(n):
    logs = n["logs"]
    assert max(logs["regret"]["interpolation_log"] + logs["regret"]["rbf_log"]) < 0.1
    assert not logs["differ"] and logs["users_gap"] < 0.001
    # The generator has less regret, where there is a difference at all.
    assert not any(sides["less"] for sides in logs["seeds"].values())
    assert all(sides["more"] for sides in logs["seeds"].values())  # the two list items


def test_few_anchors_are_where_simple_mixtures_end(n):
    means = {number: np.mean(values) for number, values in n["logs"]["few"].items()}
    assert means[5] < means[4] < means[3]
    assert max(n["logs"]["few"][5]) < 0.1  # so that five are enough for the advice


def test_with_three_or_four_anchors_rbf_log_has_the_least_regret_of_mixtures(n):
    assert n["logs"]["least"][3] == n["logs"]["least"][4] == "rbf_log"


def test_a_hypernetwork_is_as_good_or_better_off_the_corners_and_worse_at_most_corners(n):
    found = n["hypernetwork"]
    assert found["off_corners"]["less"] and not found["off_corners"]["more"]
    assert found["corners"]["more"] and not found["corners"]["less"]
    assert 2 * len(found["corners"]["more"]) > len(found["studies"])
    assert found["seeds"] == [5]


def test_the_hypervolume_of_a_hypernetwork_is_a_little_lower(n):
    found = n["hypernetwork"]
    assert found["hv_less"] == found["studies"] and found["hv_gap"] < 0.01
    assert not found["hv_users"] and set(found["hv_seeds"]) <= set(found["hv_less"])


def test_generator_and_hypernetwork_follow_the_weights_in_every_setting(n):
    core = n["core"]
    assert not core["differ"] and core["studies"] == 12
    worst = max(core["regret"]["generated"] + core["regret"]["hypernetwork"])
    assert worst < 0.1 and min(core["regret"]["interpolation"]) > worst


def test_what_averages_fails_among_several_random_starts(n):
    median = n["starts"]["median"]
    averages = [median[way] for way in ("interpolation", "ridge", "diffusion alone, 1 step")]
    samples = [median[f"diffusion alone, {steps} steps"] for steps in (10, 50)]
    assert max(*samples, median["nearest"]) < 0.3 * min(averages)
    assert median["diffusion alone, 50 steps, best of 8"] < 0.05
    assert median["generated, 2 steps"] > max(samples)  # the behavioural loss does harm


def test_re_ranking_falls_short_on_sampled_lists(n):
    assert n["mmr"]["median_reach"] < 0.6
    assert not n["mmr"]["sampled"]["better"]
    assert len(n["mmr"]["sampled"]["worse"]) > 0.9 * len(n["studies"])


def test_re_ranking_over_the_whole_catalogue_depends_on_the_data(n):
    mmr = n["mmr"]
    assert set(mmr["full"]) == {SMALL, LARGE}
    assert min(mmr["full"][SMALL]) > 0.9 and not mmr["small"]["worse"]
    assert max(mmr["full"][LARGE]) < 0.95
    pairs = zip(mmr["r_div"]["mmr"], mmr["r_div"]["generated"], strict=True)
    assert all(mmr > generated for mmr, generated in pairs)


def test_control_of_diversity_is_weaker_over_the_whole_catalogue(n):
    pairs = zip(n["catalogue"]["full"], n["catalogue"]["sampled"], strict=True)
    assert all(full < sampled for full, sampled in pairs)


def test_retraining_goes_further_and_is_not_always_better(n):
    assert set(n["retrain"]) == {SMALL, LARGE}
    assert min(min(part["range"]) for part in n["retrain"].values()) > 1
    assert max(n["retrain"][LARGE]["hv"]) < 1 < min(n["retrain"][SMALL]["hv"])


def test_generation_is_fast_and_pays_off(n):
    assert n["costs"]["saved"] > 0.999  # the paper reports at least .946
    assert max(n["costs"]["pays_after"].values()) < np.inf


def test_one_step_does_what_two_do_and_the_denoiser_of_the_paper_is_behind(n):
    steps, tokens = n["form"]["steps"], n["form"]["tokens"]
    assert abs(steps[1] - steps[2]) < 0.02
    assert min(tokens.values()) > steps[2]


def test_few_anchors_need_the_behavioural_loss(n):
    assert n["no_behaviour"][3] > 0.2 > 0.05 > n["no_behaviour"][10]


def test_no_single_change_of_the_generator_is_better_or_worse(n):
    assert n["changes"]["number"] > 10
    assert not n["changes"]["better"] and not n["changes"]["worse"]


def test_guidance_makes_no_difference(n):
    assert not n["guidance"]


def test_distance_from_the_collection_is_worth_nothing(n):
    assert min(n["noise"]) > 0


def test_mean_hv_can_be_gamed(n):
    assert min(n["mean_hv"]) > 1


def test_the_linear_subspace_is_undertrained(n):
    assert min(n["subspace"]) > max(n["follows"]["regret"])


# That the numbers are those of the files: on copies that are changed.


@pytest.fixture
def results(tmp_path):
    for backbone in ("sasrec", "gru4rec"):
        copy(tmp_path, "ml-100k", backbone)
    return tmp_path


def copy(results, dataset, backbone):
    folder = results / dataset / backbone
    folder.mkdir(parents=True)
    for name in ("metrics.json", "differences.json", "curve.csv"):
        shutil.copy(RESULTS / dataset / backbone / name, folder)
    return folder


def change(results, kind, method, name, value, backbone="sasrec"):
    path = results / "ml-100k" / backbone / f"{kind}.json"
    record = json.loads(path.read_text(encoding="utf-8"))
    record[method][name] = value
    if name.endswith("_p_holm"):  # beyond other users, and now beyond other seeds
        stem = name.removesuffix("_p_holm")
        record[method] |= {f"{stem}_seeds_low": 0.001, f"{stem}_seeds_high": 0.002}
    path.write_text(json.dumps(record))


def change_losses(path, method, more, weights=(0, 1)):
    """Add to a method's losses at the weights between two values."""
    curve = pd.read_csv(path)
    losses = [name for name in curve if name.startswith("loss_")]
    rows = (curve["method"] == method) & curve["w_accuracy"].between(*weights, "neither")
    curve.loc[rows, losses] += more
    curve.to_csv(path, index=False)


def read(results):
    return findings.numbers(results, ABLATIONS)


def test_numbers_are_those_of_the_metrics(results):
    change(results, "metrics", "generated", "set_hv_of_tuned_sampled", 0.9912)
    change(results, "metrics", "generated", "set_hv_of_tuned_sampled", 0.9993, "gru4rec")
    change(results, "metrics", "generated_shuffled", "regret_mean_sampled", 12.34)
    change(results, "metrics", "rbf_log", "regret_mean_5_anchors", 9.0)
    found = read(results)
    assert sorted(found["follows"]["hv"]) == [0.9912, 0.9993]
    assert min(found["follows"]["shuffled"]) == 12.34
    assert max(found["logs"]["few"][5]) == 9.0
    assert len(found["studies"]) == found["combinations"] == len(found["good"]) == 2
    assert found["costs"] == {} and found["hypernetwork"]["studies"] == []


def test_times_are_those_of_the_slowest_study(results):
    timing = {"generate": {"p50": 0.002, "p99": 0.003}, "retrain": {"p50": 20.0}}
    timing["pays_after"] = {"tune": 14, "retrain": 3}
    fast = timing | {"generate": {"p50": 0.001, "p99": 0.004}}
    path = results / "ml-100k" / "timing.json"
    path.write_text(json.dumps({"sasrec": timing, "gru4rec": fast}))
    costs = read(results)["costs"]
    assert (costs["median"], costs["p99"]) == (0.002, 0.004)
    assert costs["saved"] == pytest.approx(0.9999)
    assert costs["pays_after"] == {"tune": 14, "retrain": 3}
    timing["pays_after"] = {"tune": None, "retrain": 3}
    path.write_text(json.dumps({"sasrec": timing}))
    assert read(results)["costs"]["pays_after"]["tune"] == np.inf


def test_differences_count_with_users_and_seeds(results):
    change(results, "differences", "interpolation_log", "set_hv_sampled_p_holm", 0.01)
    change(results, "differences", "generated_cfg", "set_hv_sampled_p_holm", 0.01)
    found = read(results)
    assert found["logs"]["differ"] == found["guidance"] == ["ml-100k, sasrec"]


def test_a_study_whose_generator_fails_is_reported_separately(results):
    change(results, "metrics", "generated", "regret_mean_sampled", 0.3)
    path = results / "ml-100k" / "sasrec" / "curve.csv"
    curve = pd.read_csv(path)
    losses = [name for name in curve if name.startswith("loss_")]
    generated = curve["method"] == "generated"
    for method in ("nearest", "interpolation"):  # no difference but luck
        curve.loc[curve["method"] == method, losses] = curve.loc[generated, losses].to_numpy()
    curve.to_csv(path, index=False)
    found = read(results)
    (failed,) = found["failed"]
    assert failed["study"] == "ml-100k, sasrec" and failed["regret"]["generated"].startswith("30 ±")
    assert failed["seeds"] == 3 and failed["differ"] == []
    assert found["good"] == ["ml-100k, gru4rec"] and len(found["follows"]["hv"]) == 1
    change_losses(path, "generated", 0.2)
    assert read(results)["failed"][0]["differ"] == ["interpolation", "nearest"]
    for backbone in ("sasrec", "gru4rec"):
        change(results, "metrics", "generated", "regret_mean_sampled", 0.3, backbone)
    with pytest.raises(ParagonError, match="no study whose generator follows"):
        read(results)


def test_what_one_weight_costs_interpolation_is_computed_from_the_losses(results):
    assert min(read(results)["mixtures"]["share"]) > 0.9
    path = results / "ml-100k" / "sasrec" / "curve.csv"
    change_losses(path, "interpolation", 0.05, weights=(0.45, 0.55))
    assert min(read(results)["mixtures"]["share"]) < 0.9


def test_what_is_undefined_is_named_with_its_reason(results):
    change(results, "metrics", "mmr", "r_div_full", None)
    change(results, "metrics", "mmr", "r_div_full_note", "constant")
    expected = r"ml-100k, sasrec: r_div_full of `mmr` is undefined \(constant\)"
    with pytest.raises(ParagonError, match=expected):
        read(results)


def test_one_seed_is_no_ground_for_a_comparison_of_seeds(results):
    path = results / "ml-100k" / "gru4rec" / "curve.csv"
    curve = pd.read_csv(path)
    curve[curve["seed"] == 0].to_csv(path, index=False)
    with pytest.raises(ParagonError, match="ml-100k, gru4rec: one seed tells nothing from luck"):
        read(results)


def test_other_data_goes_by_its_own_name(results):
    assert set(read(results)["retrain"]) == {SMALL}
    shutil.copytree(results / "ml-100k", results / "shop")
    shutil.rmtree(results / "shop" / "gru4rec")
    path = results / "shop" / "sasrec" / "metrics.json"
    record = json.loads(path.read_text(encoding="utf-8"))
    record["mmr"]["set_hv_of_tuned_full"] = 0.9
    record["retrain"]["set_hv_of_tuned_sampled"] = 0.8
    path.write_text(json.dumps(record))
    found = read(results)
    assert found["mmr"]["full"]["shop"] == [0.9] and found["retrain"]["shop"]["hv"] == [0.8]
    assert set(found["retrain"]) == {SMALL, "shop"}


@pytest.mark.parametrize(("more", "side"), [(0.2, "more"), (-0.2, "less")])
def test_generator_and_mixtures_are_compared_seed_by_seed(results, more, side):
    assert read(results)["logs"]["seeds"]["rbf_log"] == {"less": {}, "more": {}}
    change_losses(results / "ml-100k" / "sasrec" / "curve.csv", "rbf_log", more)
    assert list(read(results)["logs"]["seeds"]["rbf_log"][side]) == ["ml-100k, sasrec"]


@pytest.mark.parametrize(("more", "side"), [(0.2, "more"), (-0.2, "less")])
def test_generator_and_hypernetwork_are_compared_seed_by_seed(results, more, side):
    folder = copy(results, "ml-100k-paper", "sasrec")
    change_losses(folder / "curve.csv", "hypernetwork", more)
    found = read(results)
    assert found["combinations"] == 2 and len(found["studies"]) == 3
    assert list(found["hypernetwork"]["off_corners"][side]) == ["ml-100k-paper, sasrec"]
    assert found["hypernetwork"]["seeds"] == [5]
    assert found["hypernetwork"]["hv_less"] == ["ml-100k-paper, sasrec"]


def test_holms_correction_is_for_all_rows_of_a_comparison(results):
    studies = Studies(study_folders(results))
    pair = studies.against_generated(["nearest", "soup"], ["regret_mean"])
    alone = studies.only(["ml-100k, sasrec"]).against_generated(["soup"], ["regret_mean"])
    same = pair.query("study == 'ml-100k, sasrec' and method == 'soup'")
    assert len(pair) == 4 and same["difference"].item() == alone["difference"].item()
    assert same["p"].item() > alone["p"].item()


@pytest.fixture
def tables(tmp_path):
    """A copy of the committed tables of the ablations, to be changed."""
    return shutil.copytree(ABLATIONS, tmp_path / "results")


def change_table(tables, name, column, value, method="generated", **where):
    """Set ``column`` in the rows of a method, and of a way of sampling if one is given."""
    path = tables / f"{name}.csv"
    table = pd.read_csv(path)
    rows = table["method"] == method
    for key, wanted in where.items():
        rows &= table[key] == wanted
    assert rows.any()
    table.loc[rows, column] = value
    table.to_csv(path, index=False)


def test_numbers_are_those_of_the_ablations(tables):
    change_table(tables, "point-anchors-3", "regret_mean", 0.0678, steps=2)
    change_table(tables, "point-anchors-3-no-behaviour", "regret_mean", 0.512, steps=50)
    change_table(tables, "point-tokens-add-once", "regret_mean", -0.05)
    change_table(tables, "collection-starts-pooled", "regret_median", 0.789, method="ridge")
    found = findings._ablations(tables)
    assert max(found["core"]["regret"]["generated"]) == pytest.approx(0.0678)
    assert found["no_behaviour"][3] == pytest.approx(0.512)
    assert min(found["form"]["tokens"].values()) == pytest.approx(-0.05)
    assert found["starts"]["median"]["ridge"] == pytest.approx(0.789)
    assert "| `ridge` | 13.9 ± 3.5 | 43.6 ± 3.7 | 78.9 |" in found["starts"]["table"]


def test_an_interval_without_0_is_a_difference_from_the_hypernetwork(tables):
    path = tables / "collection-anchors-10.csv"
    table = pd.read_csv(path)
    rows = table["method"] == "hypernetwork"
    table.loc[rows, "regret_mean"] = -0.5 + 0.01 * table.loc[rows, "seed"]
    table.to_csv(path, index=False)
    assert findings._ablations(tables)["core"]["differ"] == ["10 anchors, sasrec"]


def test_a_single_change_that_the_seeds_show_is_named(tables):
    path = tables / "point-latent-8.csv"
    base = pd.read_csv(tables / "point-anchors-10.csv").query(
        "method == 'generated' and steps == 2"
    )
    base = base.drop_duplicates("seed").set_index("seed")["choice"]
    table = pd.read_csv(path)
    table["choice"] = table["seed"].map(base) + 0.01 + 0.0001 * table["seed"]
    table.to_csv(path, index=False)
    assert findings._ablations(tables)["changes"]["worse"] == ["latent 8"]
    points, collections = (ablations.load_tables(k, tables) for k in ("point", "collection"))
    found = ablations.single_changes(collections, ablations.usual(points))
    assert found.loc["latent 8", "change"] > 0
    table["choice"] -= 0.02
    table.to_csv(path, index=False)
    assert findings._ablations(tables)["changes"]["better"] == ["latent 8"]


def test_numbers_are_written_as_spans_and_studies_by_dataset():
    assert span([0.5, 0.25], 1) == "0.2 to 0.5" and span([0.5], 2) == "0.50"
    assert percent(0.0213) == "2.1 %" and percent([0.5, 0.7], 0) == "50 to 70 %"
    assert listed(["b, x", "a, z", "a, y"]) == "a with y, z; b with x" and listed([]) == "none"
