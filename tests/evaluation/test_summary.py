"""Measures over the evaluation weights, and the items that all users together are shown."""

import numpy as np
import pandas as pd
import pytest
from scipy.stats import pearsonr

from paragon.evaluation.protocol import ByEvent, Scores
from paragon.evaluation.summary import per_user_control, summarise
from paragon.metrics.diversity import intra_list_distance_at
from paragon.metrics.statistics import mean_interval
from tests.evaluation.conftest import OBJECTIVES, make_test_set

WEIGHTS = np.arange(5) / 4


def made_curve(ndcg, alpha, weights=WEIGHTS, **metrics):
    """A curve of one seed in which every row but `constant` and `tuned` is ``other``."""
    rows = []
    for method in ("tuned", "constant", "other"):
        for at, w in enumerate(WEIGHTS):
            row = {"method": method, "seed": 0, "w_accuracy": w, "w_diversity": 1 - w}
            row |= {"ndcg@10": 0.1 + w, "alpha_ndcg@10": 0.9 - w / 2}
            row |= {name: values[at] for name, values in metrics.items()}
            if method == "other":
                if w not in weights:
                    continue
                row |= {"ndcg@10": ndcg[at], "alpha_ndcg@10": alpha[at]}
            rows += [row | {"protocol": protocol} for protocol in ("sampled", "full")]
    return pd.DataFrame(rows)


def test_inner_correlations_leave_out_the_corners():
    ndcg, alpha = [0.5, 0.1, 0.2, 0.4, 0.1], [0.1, 0.9, 0.7, 0.6, 0.9]
    found = summarise(made_curve(ndcg, alpha), OBJECTIVES)["other"]
    inner = slice(1, 4)
    expected = pearsonr(ndcg[inner], WEIGHTS[inner]).statistic
    assert found["r_acc_inner_full"] == pytest.approx(expected, rel=1e-5)
    expected = pearsonr(alpha[inner], 1 - WEIGHTS[inner]).statistic
    assert found["r_div_inner_full"] == pytest.approx(expected, rel=1e-5)
    assert found["r_div_full"] != found["r_div_inner_full"] > 0.9


def test_a_method_with_few_inner_weights_has_no_inner_correlation():
    curve = made_curve([0.1] * 5, [0.5] * 5, weights=(0, 1))
    found = summarise(curve, OBJECTIVES)["other"]
    assert found["r_div_inner_full"] is None
    assert found["r_div_inner_full_note"] == "every weight is a corner"
    curve = made_curve([0.1] * 5, [0.5] * 5, weights=(0, 0.5, 1))
    found = summarise(curve, OBJECTIVES)["other"]
    assert "there is one" in found["r_div_inner_full_note"]


@pytest.mark.parametrize(
    ("excess", "stated"), [((0.1, 0.11, 0.12), True), ((0.1, 0.01, 0.2), False)]
)
def test_regret_needs_a_constant_that_is_surely_worse_than_the_oracle(excess, stated):
    """By the t interval over seeds of what `constant` loses: means .11 and .103."""
    curves = []
    for seed, lost in enumerate(excess):
        curve = made_curve([0.1] * 5, [0.5] * 5).assign(seed=seed)
        for name in ("loss_accuracy", "loss_diversity"):
            curve[name] = np.where(curve["method"] == "constant", 1 + lost, 1.0)
        curves.append(curve)
    found = summarise(pd.concat(curves), OBJECTIVES)
    if stated:
        assert found["constant"]["regret_mean_full"] == 1
        assert found["other"]["regret_max_full"] == 0
    else:
        for name in ("regret_mean_full", "regret_max_sampled"):
            assert found["other"][name] is None
            assert "within noise of the oracle: it loses 0.103" in found["other"][f"{name}_note"]
    assert found["other"]["regret_corner_mean_full"] == 0  # has a unit of its own


def test_the_list_under_equal_weights_is_described():
    named = {"ild@10": [0.1, 0.2, 0.3, 0.4, 0.5], "items@10": [10, 20, 35, 40, 50]}
    curve = made_curve([0.1, 0.2, 0.25, 0.4, 0.5], [0.9, 0.8, 0.75, 0.6, 0.5], **named)
    found = summarise(curve, OBJECTIVES)["other"]
    assert [found[f"even_{name}_full"] for name in ("acc", "div", "ild", "items")] == [
        0.25, 0.75, 0.3, 35,
    ]  # fmt: skip
    found = summarise(curve.drop(columns="ild@10"), OBJECTIVES)["other"]
    assert "even_ild_full" not in found and "even_items_full" in found


def test_the_test_set_counts_the_items_that_all_are_shown(seqs):
    scores = np.random.default_rng(0).standard_normal((len(seqs.test), seqs.n_items + 1))
    lists = []
    for row, (user, position) in enumerate(zip(seqs.test.users, seqs.test.positions, strict=True)):
        start = seqs.offsets[user]
        met = {0, *seqs.items[start : start + position].tolist()}
        best = [i for i in np.argsort(-scores[row]).tolist() if i not in met]
        lists.append(best[:10])
    found = make_test_set(seqs).measure(Scores.of(scores))[0]["full"]
    different = len(np.unique(lists))
    assert found["items@10"] == different
    assert found["catalogue@10"] == pytest.approx(different / seqs.n_items)
    distance = intra_list_distance_at(seqs.categories[np.array(lists)], 10)
    assert found["ild@10"] == pytest.approx(distance.mean())


# --- each user --------------------------------------------------------------------------------


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
    found = followed([0, 1, 2], [[0.1, 0.1, 0.5], [0.2, 0.4, 0.5], [0.3, 0.2, 0.5]])["one"]
    assert found["users_div_full"] == pytest.approx(2 / 3, rel=1e-5)
    assert found["steps_div_full"] == pytest.approx((1 + 0.5 + 0) / 3)
    _, low, high, _ = mean_interval(np.array([1, 0.5, 0]))
    assert found["steps_div_full_low"] == pytest.approx(low, rel=1e-5)
    assert found["steps_div_full_high"] == pytest.approx(high, rel=1e-5)
    assert not any("acc" in name or "sampled" in name for name in found)


def test_seeds_are_averaged_and_the_events_of_a_user_count_as_one_user():
    up, down = [[0.1, 0.1], [0.2, 0.2], [0.3, 0.3]], [[0.3, 0.1], [0.2, 0.2], [0.1, 0.3]]
    found = followed([0, 1], up, down)["one"]
    assert found["users_div_full"] == pytest.approx(0.75)
    found = followed([5, 5], up, down)["one"]
    assert found["users_div_full"] == pytest.approx(0.75)
    assert "users_div_full_low" not in found  # one user


def test_the_order_of_the_weights_does_not_matter_and_one_weight_has_no_step():
    turned = followed([0, 1], [[0.3, 0.3], [0.1, 0.1], [0.2, 0.1]], weights=(0, 1, 0.5))
    assert turned["one"]["steps_div_full"] == pytest.approx(0.75)
    assert followed([0, 1], [[0.3, 0.3]], weights=(0.5,)) == {}
