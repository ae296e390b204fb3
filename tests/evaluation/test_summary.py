"""Measures over the evaluation weights, and differences between methods, by hand."""

import dataclasses
import json
from itertools import product

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from paragon.evaluation.differences import from_generated
from paragon.evaluation.evaluate import Results, headline
from paragon.evaluation.protocol import ByEvent, Scores
from paragon.evaluation.summary import per_user_control, summarise
from paragon.metrics import statistics
from paragon.metrics.control import set_hv
from paragon.metrics.statistics import mean_interval
from paragon.objectives.table import metrics_of
from paragon.objectives.weights import simplex_lattice
from tests.conftest import refused
from tests.evaluation.conftest import OBJECTIVES, make_test_set

TUNED = ((0.1, 0.3, 0.5), (0.8, 0.6, 0.4), (9, 1, 8))
CONSTANT = ((0.3, 0.3, 0.3), (0.6, 0.6, 0.6), (29, 3, 18))
EXPECTED = {
    "tuned": {"set_hv_sampled": 0.1 * 0.8 + 0.2 * 0.6 + 0.2 * 0.4, "set_hv_of_tuned_sampled": 1}
    | {"mean_hv_full": (0.08 + 0.18 + 0.2) / 3, "set_hv_sampled_sd": 0, "regret_mean_full": 0}
    | {"r_acc_sampled": 1, "r_div_sampled": 1},
    "constant": {"regret_mean_full": 1},
    "other": {"range_ratio_acc_sampled": 0.5, "regret_mean_full": 0.25}
    | {"violations_div_sampled": 1, "violations_acc_sampled": 0}
    | {"outcome_error_full": ((0.1 + 0 + 0.1) / 0.4 + (0 + 0.1 + 0.4) / 0.4) / 6},
}
FIVE = tuple(np.arange(5) / 4)


def made_curve(weights=(0, 0.5, 1), seeds=(0, 1), **methods):
    """A curve with chosen metrics at the first weights: {method: (ndcg, alpha, loss, further)}."""
    frames = []
    for (method, (ndcg, alpha, loss, *further)), seed in product(methods.items(), seeds):
        w = np.array(weights[: len(ndcg)])
        rows = {"method": method, "seed": seed, "w_accuracy": w, "w_diversity": 1 - w}
        rows |= {"ndcg@10": ndcg, "alpha_ndcg@10": alpha} | (further[0] if further else {})
        for protocol, lost in (("sampled", np.nan), ("full", loss)):
            losses = {"protocol": protocol, "loss_accuracy": lost, "loss_diversity": lost}
            frames.append(pd.DataFrame(rows | losses))
    return pd.concat(frames, ignore_index=True)


def five(method):
    """Measures of a method at five weights, beside methods for which nothing is undefined."""
    defined = [0.1 + w for w in FIVE], [0.9] * 5, [1.0] * 5, *method[3:]
    others = dict.fromkeys(("tuned", "constant"), defined)
    return summarise(made_curve(FIVE, [0], **others, other=method), OBJECTIVES)["other"]


def test_summary_by_hand(tmp_path):
    other, middle = ((0.2, 0.3, 0.4), (0.8, 0.7, 0.8), (1.5, 1.5, 1.5)), (*CONSTANT[:2], (3, 3, 3))
    curve = made_curve(tuned=(*TUNED[:2], (1, 1, 1)), constant=middle, other=other)
    summary = summarise(curve, OBJECTIVES)
    for method, measures in EXPECTED.items():
        assert {m: summary[method][m] for m in measures} == pytest.approx(measures, rel=1e-5)
    constant = summary["constant"]
    assert constant["r_acc_sampled"] is None and constant["r_acc_sampled_note"]
    assert "regret_mean_sampled" not in constant  # no losses under this protocol
    differences = {"tuned": {"set_hv_sampled": 0.0123}}
    summary["tuned"] |= {"kept_95": 0.93, "kept_95_sd": 0.01, "possible_95": None, "gini_95": 0.5}
    summary["tuned"] |= {"asked_acc": 0.02, "moves": 1.7}
    control = {name: summary["tuned"][name] for name in ("regret_mean_full", "asked_acc", "moves")}
    assert headline(summary) == {"tuned": {"kept_95": 0.93} | control}
    Results(curve, summary, differences).write(tmp_path)
    contents = {"metrics": summary, "differences": differences, "headline": headline(summary)}
    for name, content in contents.items():
        assert json.loads((tmp_path / f"{name}.json").read_text()) == content
    read = pd.read_csv(tmp_path / "curve.csv")
    assert np.allclose(read["ndcg@10"], curve["ndcg@10"], rtol=1e-5)
    assert len(list(tmp_path.iterdir())) == 4  # nothing half-written is left


def test_every_seed_is_measured_against_its_own_tuned_off_the_corners():
    """Numbers by hand: two seeds on other scales, with other losses at the corners."""
    other = ((0.2, 0.3, 0.4), (0.8, 0.7, 0.8), (19, 1.5, 13))
    curve = made_curve(tuned=TUNED, constant=CONSTANT, other=other)
    second, other = curve["seed"] == 1, curve["method"] == "other"
    curve.loc[second, ["loss_accuracy", "loss_diversity"]] *= 1.1
    middle = curve["w_accuracy"] == 0.5
    curve.loc[second & other & middle, ["loss_accuracy", "loss_diversity"]] = 2.2
    curve.loc[second & other & (curve["w_accuracy"] == 1), "ndcg@10"] = 0.45
    row = summarise(curve, OBJECTIVES)["other"]
    first, last = 0.5 / 2, (2.2 - 1.1) / (3.3 - 1.1)  # of the middle weight, seed by seed
    assert row["regret_mean_full"] == pytest.approx((first + last) / 2)
    assert row["regret_corner_mean_full"] == pytest.approx((10 + 5) / (20 + 10))
    best = np.array([0.4, 0.45])
    limits = *stats.ttest_1samp(best, 0).confidence_interval(0.95), best.std(ddof=1)
    found = [row[f"best_acc_full_{end}"] for end in ("low", "high", "sd")]
    assert found == pytest.approx(limits, rel=1e-5)
    one = summarise(curve[curve["seed"] == 0], OBJECTIVES)["other"]
    assert not [name for name in one if name.endswith(("_sd", "_low", "_high"))]


def test_a_method_with_few_weights_meets_tuned_at_these():
    retrain = ((0, 0.3, 0.4), (0, 0.6, 0.5), (0, 2, 13))
    curve = made_curve(tuned=TUNED, constant=CONSTANT, retrain=retrain)
    curve = curve[(curve["method"] != "retrain") | (curve["w_accuracy"] > 0)]
    row = summarise(curve, OBJECTIVES)["retrain"]
    volume, of_tuned = 0.3 * 0.6 + 0.1 * 0.5, 0.3 * 0.6 + 0.2 * 0.4
    assert row["set_hv_of_tuned_full"] == pytest.approx(volume / of_tuned, rel=1e-5)
    assert row["range_ratio_acc_full"] == pytest.approx(0.1 / 0.2)
    assert row["regret_mean_full"] == pytest.approx((2 - 1) / (3 - 1))
    assert row["regret_corner_mean_full"] == pytest.approx((13 - 8) / ((20 + 10) / 2))


def test_correlations_with_the_weights_and_what_equal_weights_give():
    ndcg, alpha, loss = [0.5, 0.1, 0.2, 0.4, 0.1], [0.1, 0.9, 0.7, 0.6, 0.9], [1.0] * 5
    row = five((ndcg, alpha, loss, {"ild@10": [0.1, 0.2, 0.3, 0.4, 0.5]}))
    for name, values in (("acc", ndcg), ("div", np.flip(alpha))):
        expected = stats.pearsonr(values, FIVE).statistic
        assert row[f"r_{name}_full"] == pytest.approx(expected, rel=1e-5)
    assert [row[f"even_{name}_full"] for name in ("acc", "div", "ild")] == [0.2, 0.7, 0.3]
    row = five((ndcg[:1], alpha[:1], loss[:1]))
    assert row["r_div_full"] is None and row["r_div_full_note"]


def test_a_weight_of_0_makes_a_corner_also_of_three_objectives():
    """There `constant` is worse than `tuned` by 10 or 0.5, by the seed; elsewhere by 1."""
    weights, frames = simplex_lattice(3, 3).double().numpy(), []
    inner, names = (weights > 0).all(1), ["accuracy", "diversity", "novelty"]
    for seed, worse in enumerate((10, 0.5)):
        ends = {"tuned": (1, 1), "constant": (2, 1 + worse), "other": (1.5, 1 + worse / 5)}
        for method, (between, at_corners) in ends.items():
            loss, about = np.where(inner, between, at_corners), {"method": method, "seed": seed}
            about |= {"protocol": "full"} | dict.fromkeys(metrics_of(names), 0.5)
            about |= {f"loss_{name}": loss for name in names}
            frame = pd.DataFrame(weights, columns=[f"w_{name}" for name in names])
            frames.append(frame.assign(**about))
    row = summarise(pd.concat(frames), names)["other"]
    assert row["regret_mean_full"] == pytest.approx(0.5)
    assert row["regret_corner_mean_full"] == pytest.approx(0.2)


@pytest.mark.parametrize("excess", [(0.1, 0.11, 0.12), (0.1, 0.01, 0.2)])
def test_regret_needs_a_constant_that_is_surely_worse_than_tuned(excess):
    """By the t interval over seeds of what `constant` loses: means .11 and .103."""
    flat, curves = ([0.1] * 5, [0.5] * 5, [1.0] * 5), []
    for seed, lost in enumerate(excess):
        constant = (*flat[:2], [1 + lost] * 5)
        curves.append(made_curve(FIVE, [seed], tuned=flat, constant=constant, other=flat))
    row = summarise(pd.concat(curves), OBJECTIVES)["other"]
    assert row["regret_max_full"] == (0 if min(excess) == 0.1 else None)
    assert row["regret_corner_mean_full"] == 0  # has a unit of its own


def followed(users, *seeds, weights=(1, 0.5, 0)):
    """Control of users, from the diversity [N] of each weight of accuracy and seed."""
    weights = np.column_stack([weights, 1 - np.array(weights)])
    rows = {}
    for seed, values in enumerate(seeds):
        events = [np.stack([np.zeros(len(users)), row]) for row in np.array(values, dtype=float)]
        rows[seed] = ByEvent(weights, np.zeros(weights.shape), events)
    return per_user_control({"full": {"one": rows}}, np.array(users), OBJECTIVES)


def test_users_and_steps_by_hand():
    # Three users: one follows all the way, one falls back at the end, one does not move.
    row = followed([0, 1, 2], [[0.1, 0.1, 0.5], [0.2, 0.4, 0.5], [0.3, 0.2, 0.5]])["one"]
    assert row["users_div_full"] == pytest.approx(2 / 3, rel=1e-5)
    steps = [row[f"steps_div_full{end}"] for end in ("", "_low", "_high")]
    assert steps == pytest.approx(mean_interval([1, 0.5, 0])[:3], rel=1e-5)
    assert not any("acc" in name or "sampled" in name for name in row)
    # The order of the weights does not matter, and one weight has no step.
    turned = followed([0, 1], [[0.3, 0.3], [0.1, 0.1], [0.2, 0.1]], weights=(0, 1, 0.5))
    assert turned["one"]["steps_div_full"] == pytest.approx(0.75)
    assert followed([0, 1], [[0.3, 0.3]], weights=(0.5,)) == {}
    # Seeds are averaged, and all events of a user count as one.
    up, down = [[0.1, 0.1], [0.2, 0.2], [0.3, 0.3]], [[0.3, 0.1], [0.2, 0.2], [0.1, 0.3]]
    for users in ([0, 1], [5, 5]):
        row = followed(users, up, down)["one"]
        assert row["users_div_full"] == pytest.approx(0.75)
    assert "users_div_full_low" not in row  # one user


X = np.array([0.0, 0.25, 0.5, 1.0])
W = np.column_stack([X, 1 - X])
FRONT = np.column_stack([0.2 + 0.3 * X, 0.7 - 0.3 * X**2])  # [W, O]
USERS = np.repeat(np.arange(60), 2)
HV = "set_hv_full"
ENDS = ("", "_low", "_high", "_p", "_seeds_low", "_seeds_high")


def row(gain, seed, users=USERS, weights=W, random=True):
    """Metrics of events around a front, which a method moves by ``gain``."""
    noise = np.random.default_rng(seed).normal(0, 0.1, (len(W), 2, len(users)))
    events = (FRONT[..., None] + gain + noise)[-len(weights) :]
    return ByEvent(weights, events.mean(-1), list(events), random)


def compared(rows, users=USERS, resamples=300):
    return from_generated({"full": rows}, users, resamples)


@pytest.fixture(scope="module")
def rows():
    """Two seeds, one of what is not random, two with the last weights only, one that is random."""
    return {
        "tuned": {s: row(0.02, s) for s in (0, 1)},
        "generated": {s: row(0.01, 10 + s) for s in (0, 1)},
        "item_knn": {0: row(-0.05, 20, random=False)},
        "retrain": {s: row(0.01, 30 + s, weights=W[2:]) for s in (0, 1)},
        "paragon": {0: row(-0.1, 2)},
    }


@pytest.fixture(scope="module")
def differences(rows):
    return compared(rows)


def test_every_number_is_that_of_the_tests_by_themselves(rows, differences):
    """Of the paired bootstrap over users, of Holm, and of the paired t test over seeds."""
    p_values = {}
    for method in differences:
        sides = [*rows[method].values()] * (3 - len(rows[method])), rows["generated"].values()
        part = slice(-len(sides[0][0].weights), None)  # the last weights
        a, b = (np.concatenate([e for r in side for e in r.events[part]]) for side in sides)

        def statistic(means):
            return set_hv(means.reshape(len(means), 2, -1, 2)).mean(axis=1)

        pair = a, b, statistic
        [(interval, p_values[method])] = statistics.paired_bootstrap([pair], USERS, 300)
        volumes = [[set_hv(r.points[part]) for r in side] for side in sides]
        assert interval.mean == pytest.approx(np.mean(volumes[0]) - np.mean(volumes[1]))
        found = [differences[method][HV + end] for end in ENDS]
        expected = [*interval[:3], p_values[method]]
        if method == "paragon":  # one seed of what is random tells nothing of other seeds
            assert found[4:] == [None, None]
        else:
            expected += stats.ttest_rel(*volumes).confidence_interval(0.95)
        assert found[: len(expected)] == pytest.approx(expected, rel=1e-5)
    adjusted = statistics.holm([*p_values.values()])
    found = [difference[f"{HV}_p_holm"] for difference in differences.values()]
    assert found == pytest.approx(adjusted, rel=1e-5)
    assert compared(rows) == differences != compared(rows, resamples=301)


def test_a_method_with_some_of_the_seeds_is_compared_with_these(rows, differences):
    """Two of three, in another order: the third of `generated` is as if it were not there."""
    more = rows | {"generated": {2: row(-0.1, 50)} | rows["generated"]}
    more["tuned"] = dict(reversed(rows["tuned"].items()))
    again = compared(more)
    for method in ("tuned", "retrain"):
        expected = [differences[method][HV + end] for end in ENDS]
        assert [again[method][HV + end] for end in ENDS] == pytest.approx(expected, rel=1e-4)
    assert again["item_knn"] != differences["item_knn"]


def test_what_is_the_same_is_no_difference_and_one_user_has_no_limits():
    made = row(0.0, 1)
    order = [2, 0, 3, 1]
    shuffled = ByEvent(W, made.points[order], [made.events[n] for n in order])
    difference = compared({"generated": {0: made}, "shuffled": {0: shuffled}})["shuffled"]
    assert [difference[HV + end] for end in ENDS[:4]] == [0, 0, 0, 1]
    alone = {m: {0: row(gain, 3, [0])} for m, gain in (("generated", 0.1), ("other", -0.1))}
    difference = compared(alone, [0])["other"]
    assert difference[HV] < 0 and difference[f"{HV}_note"]
    assert [difference[HV + end] for end in (*ENDS[1:], "_p_holm")] == [None] * 6


def test_a_metric_that_is_no_mean_over_events_has_a_difference_and_a_reason(seqs, rows):
    fair = make_test_set(seqs, objectives=["accuracy", "fairness"])
    noise = np.random.default_rng(0).normal(size=(len(seqs.test), seqs.n_items + 1))
    assert fair.measure(Scores.of(noise))[1] == {"sampled": None, "full": None}
    without = {s: r._replace(events=None) for s, r in rows["tuned"].items()}
    difference = compared({"generated": rows["generated"], "other": without})["other"]
    ours, theirs = ([set_hv(r.points) for r in m.values()] for m in (without, rows["generated"]))
    assert difference[HV] == pytest.approx(np.mean(ours) - np.mean(theirs), rel=1e-5)
    assert difference[f"{HV}_p"] is None and difference[f"{HV}_note"]
    alone = dataclasses.replace(seqs, groups=np.zeros_like(seqs.groups))
    refused("fairness", make_test_set, alone, objectives=["accuracy", "fairness"])


def test_what_cannot_be_compared_is_named(rows):
    mine, few = {s: row(0.0, s) for s in (0, 3)}, row(0.0, 0, weights=W[2:])
    refused("`generated`", compared, {"mine": mine})
    refused(("mine", "seed 3"), compared, {"mine": mine, "generated": {0: few}})
    unknown = "(0.0, 1.0)", "adapters.oracles"
    refused(("mine", *unknown), compared, {"mine": mine, "generated": {0: few, 3: few}})
