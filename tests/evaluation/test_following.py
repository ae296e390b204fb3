"""Whether each user's own list moves with the weight, on values by hand."""

from types import SimpleNamespace

import numpy as np
import pytest

from paragon.evaluation.following import following
from paragon.evaluation.testbed import Kept
from paragon.metrics.statistics import mean_interval


def bed_of(users, *seeds, weights=(1, 0.5, 0)):
    """A test bed with the diversity of each event [N], for every weight of accuracy and seed."""
    weights = np.column_stack([weights, 1 - np.array(weights)])
    kept = {}
    for seed, values in enumerate(seeds):
        events = [np.stack([np.zeros(len(users)), row]) for row in np.array(values, dtype=float)]
        kept["one", seed, "full"] = Kept(weights, np.zeros(weights.shape), events)
    objectives = ["accuracy", "diversity"]
    return SimpleNamespace(
        objectives=objectives, kept=kept, evaluation=SimpleNamespace(users=np.array(users))
    )


def test_users_and_steps_by_hand():
    # Three users: one follows all the way, one falls back at the end, one does not move.
    found = following(bed_of([0, 1, 2], [[0.1, 0.1, 0.5], [0.2, 0.4, 0.5], [0.3, 0.2, 0.5]]))["one"]
    assert found["users_div_full"] == pytest.approx(2 / 3, rel=1e-5)
    assert found["steps_div_full"] == pytest.approx((1 + 0.5 + 0) / 3)
    _, low, high, _ = mean_interval(np.array([1, 0.5, 0]))
    assert found["steps_div_full_low"] == pytest.approx(low, rel=1e-5)
    assert found["steps_div_full_high"] == pytest.approx(high, rel=1e-5)
    assert not any("acc" in name or "sampled" in name for name in found)


def test_seeds_are_averaged_and_the_events_of_a_user_count_as_one_user():
    up, down = [[0.1, 0.1], [0.2, 0.2], [0.3, 0.3]], [[0.3, 0.1], [0.2, 0.2], [0.1, 0.3]]
    found = following(bed_of([0, 1], up, down))["one"]
    assert found["users_div_full"] == pytest.approx(0.75)
    found = following(bed_of([5, 5], up, down))["one"]
    assert found["users_div_full"] == pytest.approx(0.75)
    assert "users_div_full_low" not in found  # one user


def test_the_order_of_the_weights_does_not_matter_and_one_weight_has_no_step():
    turned = following(bed_of([0, 1], [[0.3, 0.3], [0.1, 0.1], [0.2, 0.1]], weights=(0, 1, 0.5)))
    assert turned["one"]["steps_div_full"] == pytest.approx(0.75)
    assert following(bed_of([0, 1], [[0.3, 0.3]], weights=(0.5,))) == {}
