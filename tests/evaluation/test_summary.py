"""Measures over the evaluation weights, on curves made by hand."""

import json

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from paragon.evaluation.evaluate import Results, headline, per_user_control, summarise
from paragon.evaluation.protocol import ByEvent
from paragon.metrics.statistics import mean_interval
from tests.evaluation.conftest import OBJECTIVES, made_curve

TUNED = ((0.1, 0.3, 0.5), (0.8, 0.6, 0.4), (9, 1, 8))
CONSTANT = ((0.3, 0.3, 0.3), (0.6, 0.6, 0.6), (29, 3, 18))
FIVE = tuple(np.arange(5) / 4)


def five(method):
    """Measures of a method at five weights, beside methods for which nothing is undefined."""
    defined = [0.1 + w for w in FIVE], [0.9] * 5, [1.0] * 5, *method[3:]
    others = dict.fromkeys(("tuned", "constant"), defined)
    return summarise(made_curve(FIVE, [0], **others, other=method), OBJECTIVES)["other"]


def test_summary_by_hand(tmp_path):
    curve = made_curve(
        tuned=(*TUNED[:2], (1, 1, 1)),
        constant=(*CONSTANT[:2], (3, 3, 3)),
        other=((0.2, 0.3, 0.4), (0.8, 0.7, 0.8), (1.5, 1.5, 1.5)),
    )
    summary = summarise(curve, OBJECTIVES)
    tuned, constant, other = summary["tuned"], summary["constant"], summary["other"]
    assert tuned["set_hv_sampled"] == pytest.approx(0.1 * 0.8 + 0.2 * 0.6 + 0.2 * 0.4)
    assert tuned["set_hv_of_tuned_sampled"] == 1 and tuned["set_hv_sampled_sd"] == 0
    assert tuned["mean_hv_full"] == pytest.approx((0.08 + 0.18 + 0.2) / 3, rel=1e-5)
    assert tuned["r_acc_sampled"] == 1 and tuned["r_div_sampled"] == pytest.approx(1)
    assert other["range_ratio_acc_sampled"] == pytest.approx(0.5)
    assert other["violations_div_sampled"] == 1 and other["violations_acc_sampled"] == 0
    assert other["regret_mean_full"] == pytest.approx(0.25)
    assert constant["regret_mean_full"] == 1 and tuned["regret_mean_full"] == 0
    assert constant["r_acc_sampled"] is None and "constant" in constant["r_acc_sampled_note"]
    differences = {"tuned": {"set_hv_sampled": 0.0123}}
    Results(curve, summary, differences).write(tmp_path)
    contents = {"metrics": summary, "differences": differences, "headline": headline(summary)}
    for name, content in contents.items():
        assert json.loads((tmp_path / f"{name}.json").read_text()) == content
    read = pd.read_csv(tmp_path / "curve.csv")
    assert np.allclose(read["ndcg@10"], curve["ndcg@10"], rtol=1e-5)
    assert len(list(tmp_path.iterdir())) == 4  # nothing half-written is left


def test_every_seed_is_measured_against_its_own_oracle_off_the_corners():
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
    limits = [row[f"best_acc_full_{end}"] for end in ("low", "high")]
    assert limits == pytest.approx(stats.ttest_1samp(best, 0).confidence_interval(0.95), rel=1e-5)
    assert row["best_acc_full_sd"] == pytest.approx(best.std(ddof=1), rel=1e-5)
    one = summarise(curve[curve["seed"] == 0], OBJECTIVES)["other"]
    assert not [name for name in one if name.endswith(("_sd", "_low", "_high"))]


def test_a_method_with_few_weights_meets_the_oracle_at_these():
    retrain = ((0, 0.3, 0.4), (0, 0.6, 0.5), (0, 2, 13))
    curve = made_curve(tuned=TUNED, constant=CONSTANT, retrain=retrain)
    curve = curve[(curve["method"] != "retrain") | (curve["w_accuracy"] > 0)]
    row = summarise(curve, OBJECTIVES)["retrain"]
    volume, oracle = 0.3 * 0.6 + 0.1 * 0.5, 0.3 * 0.6 + 0.2 * 0.4
    assert row["set_hv_of_tuned_full"] == pytest.approx(volume / oracle, rel=1e-5)
    assert row["range_ratio_acc_full"] == pytest.approx(0.1 / 0.2)
    assert row["regret_mean_full"] == pytest.approx((2 - 1) / (3 - 1))
    assert row["regret_corner_mean_full"] == pytest.approx((13 - 8) / ((20 + 10) / 2))


def test_inner_correlations_leave_out_the_corners():
    ndcg, alpha, loss = [0.5, 0.1, 0.2, 0.4, 0.1], [0.1, 0.9, 0.7, 0.6, 0.9], [1.0] * 5
    row = five((ndcg, alpha, loss))
    for name, values in (("acc", ndcg), ("div", np.flip(alpha))):
        expected = stats.pearsonr(values[1:4], FIVE[1:4]).statistic
        assert row[f"r_{name}_inner_full"] == pytest.approx(expected, rel=1e-5)
    assert row["r_div_full"] != row["r_div_inner_full"] > 0.9
    for few, words in ((1, "every weight is a corner"), (2, "there is one")):
        row = five((ndcg[:few], alpha[:few], loss[:few]))
        assert row["r_div_inner_full"] is None and words in row["r_div_inner_full_note"]


@pytest.mark.parametrize(
    ("excess", "stated"), [((0.1, 0.11, 0.12), True), ((0.1, 0.01, 0.2), False)]
)
def test_regret_needs_a_constant_that_is_surely_worse_than_the_oracle(excess, stated):
    """By the t interval over seeds of what `constant` loses: means .11 and .103."""
    flat = [0.1] * 5, [0.5] * 5, [1.0] * 5
    curves = []
    for seed, lost in enumerate(excess):
        constant = (*flat[:2], [1 + lost] * 5)
        curves.append(made_curve(FIVE, [seed], tuned=flat, constant=constant, other=flat))
    summary = summarise(pd.concat(curves), OBJECTIVES)
    if stated:
        assert summary["constant"]["regret_mean_full"] == 1
        assert summary["other"]["regret_max_full"] == 0
    else:
        assert summary["other"]["regret_max_full"] is None
        assert "it loses 0.103" in summary["other"]["regret_max_full_note"]
    assert summary["other"]["regret_corner_mean_full"] == 0  # has a unit of its own


def test_the_list_under_equal_weights_is_described():
    lists = {"ild@10": [0.1, 0.2, 0.3, 0.4, 0.5], "items@10": [10, 20, 35, 40, 50]}
    row = five(([0.1, 0.2, 0.25, 0.4, 0.5], [0.9, 0.8, 0.75, 0.6, 0.5], [1.0] * 5, lists))
    even = [row[f"even_{name}_full"] for name in ("acc", "div", "ild", "items")]
    assert even == [0.25, 0.75, 0.3, 35]


# --- each user -----------------------------------------------------------------------------------


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
    expected = mean_interval(np.array([1, 0.5, 0]))[:3]
    steps = [row[f"steps_div_full{end}"] for end in ("", "_low", "_high")]
    assert steps == pytest.approx(expected, rel=1e-5)
    assert not any("acc" in name or "sampled" in name for name in row)
    # The order of the weights does not matter, and one weight has no step.
    turned = followed([0, 1], [[0.3, 0.3], [0.1, 0.1], [0.2, 0.1]], weights=(0, 1, 0.5))
    assert turned["one"]["steps_div_full"] == pytest.approx(0.75)
    assert followed([0, 1], [[0.3, 0.3]], weights=(0.5,)) == {}


def test_seeds_are_averaged_and_the_events_of_a_user_count_as_one_user():
    up, down = [[0.1, 0.1], [0.2, 0.2], [0.3, 0.3]], [[0.3, 0.1], [0.2, 0.2], [0.1, 0.3]]
    assert followed([0, 1], up, down)["one"]["users_div_full"] == pytest.approx(0.75)
    row = followed([5, 5], up, down)["one"]
    assert row["users_div_full"] == pytest.approx(0.75)
    assert "users_div_full_low" not in row  # one user
