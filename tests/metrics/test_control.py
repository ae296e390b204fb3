"""Measures over the evaluation weights: exact cases, gaming, undefined values with reasons."""

import itertools

import numpy as np
import pytest
from scipy import stats

from paragon.metrics import control
from tests.conftest import refused

W = np.linspace(0, 1, 11)
PAIRS = np.stack([W, 1 - W], axis=1)


def lattice(steps):
    """All weights of three objectives in multiples of 1 / steps."""
    points = itertools.product(range(steps + 1), repeat=3)
    return np.array([p for p in points if sum(p) == steps]) / steps


def undefined(measure, part):
    value, reason = measure
    assert value is None
    assert part in reason and "\n" not in reason


def test_one_balance_for_all_games_the_mean_and_not_the_set():
    followed = np.stack([W, 1 - W], axis=1)  # moves along a straight front
    constant = np.full_like(followed, 0.5)
    assert control.mean_hv(constant) > control.mean_hv(followed)
    assert control.set_hv(constant) == pytest.approx(0.25)
    assert control.set_hv(followed) == pytest.approx(0.45)


def test_mean_hv_takes_three_objectives():
    assert control.mean_hv([[1.0, 0.5, 0.5], [0.2, 1.0, 1.0]]) == pytest.approx(0.225)
    refused("entry [0, 1] is nan", control.mean_hv, [[1.0, np.nan]])


def test_correlation_equals_scipy():
    random = np.random.default_rng(0)
    for scale in (1e-200, 1.0, 1e200):
        noise = random.normal(size=11) * scale
        expected = stats.pearsonr(W, noise / scale).statistic
        assert control.correlation(W, noise).value == pytest.approx(expected)
    assert control.correlation(W, 3 - 2 * W).value == pytest.approx(-1, abs=1e-12)
    assert control.correlation([0.0, 1.0], [0.2, 0.3]).value == pytest.approx(1)


def test_correlation_is_undefined_with_its_reason():
    undefined(control.correlation([0.5], [0.3]), "two weights")
    undefined(control.correlation(W, np.full(11, 0.1)), "constant series: every value is 0.1")
    undefined(control.correlation(np.full(11, 0.1), W), "constant")
    undefined(control.correlation(W, 0.3 + 1e-15 * W), "constant")
    refused("entry [2] is nan", control.correlation, [0.0, 1.0, np.nan], [1.0, 2.0, 3.0])
    refused("2 of them, against 3", control.correlation, [0.0, 1.0], [1.0, 2.0, 3.0])


def test_range_ratio():
    assert control.range_ratio([0.2, 0.5, 0.4], [0.1, 0.6, 0.7]) == (pytest.approx(0.5), None)
    assert control.range_ratio([0.3, 0.3], [0.1, 0.2]).value == 0.0
    undefined(control.range_ratio([0.1, 0.2], [0.3, 0.3]), "oracle does not move")
    undefined(control.range_ratio([0.1], [0.3]), "oracle does not move")


def test_violations_count_falls_beyond_the_tolerance():
    values = W.copy()
    assert control.violations(PAIRS, values) == (0.0, None)
    values[5] = values[4] - 0.0019
    assert control.violations(PAIRS, values).value == 0
    values[5] = values[4] - 0.0021
    assert control.violations(PAIRS, values).value == 1
    assert control.violations(PAIRS, values, tolerance=0.01).value == 0
    # Seen from the other objective, or as a gap that should fall, the ten steps up are wrong.
    assert control.violations(PAIRS, W, objective=1).value == 10
    assert control.violations(PAIRS, W, increasing=False).value == 10
    shuffled = np.random.default_rng(0).permutation(11)
    assert control.violations(PAIRS[shuffled], values[shuffled]).value == 1


def test_a_fall_of_exactly_the_tolerance_is_none():
    assert control.violations(PAIRS[:2], np.array([0.302, 0.3])).value == 0


def test_violations_take_uneven_weights_of_two_objectives():
    weights = np.array([0.0, 0.15, 0.25, 1.0])
    weights = np.stack([weights, 1 - weights], axis=1)
    assert control.violations(weights, np.array([0.1, 0.3, 0.2, 0.1])).value == 2


def test_violations_on_a_lattice_of_three_objectives():
    weights = 0.9 * lattice(4) + 0.1 / 3  # softened corners are still a lattice
    for objective in range(3):
        values = weights[:, objective].copy()
        assert control.violations(weights, values, objective).value == 0
        # 30 neighbouring pairs; in 20 of them this objective's weight differs.
        assert control.violations(weights, -values, objective).value == 20
    values = weights[:, 0].copy()
    values[(lattice(4) == [0.25, 0.5, 0.25]).all(axis=1)] = -1.0
    # It has two neighbours with less of objective 0, two with as much, two with more.
    assert control.violations(weights, values, 0).value == 2


def test_violations_undefined_or_refused():
    undefined(control.violations(PAIRS[:1], [0.5]), "no two neighbouring")
    undefined(control.violations(lattice(2)[:1], [0.5]), "no two neighbouring")
    refused("rows 0 and 2 are the same", control.violations, PAIRS[[0, 1, 0]], np.zeros(3))
    refused("weights", control.violations, PAIRS, np.zeros(3))
    refused("objective 2", control.violations, PAIRS, W, 2)


def test_regret_is_zero_for_the_oracle_and_one_for_the_constant():
    random = np.random.default_rng(1)
    oracle = random.random(11)
    constant = oracle + random.random(11)
    constant[[0, -1]] += 50.0
    corners = (W == 0) | (W == 1)
    for losses, expected in ((oracle, 0.0), (constant, 1.0)):
        found = control.regret(losses, oracle, constant, corners)
        assert found["mean"].value == pytest.approx(expected)
        assert found["corner_mean"].value == pytest.approx(expected)


def test_regret_by_hand():
    oracle, constant = np.array([1.0, 1.0, 2.0, 9.0]), np.array([2.0, 4.0, 4.0, 29.0])
    losses = np.array([1.2, 1.0, 3.0, 4.0])
    corners = np.array([False, False, False, True])
    found = {name: m.value for name, m in control.regret(losses, oracle, constant, corners).items()}
    assert found == pytest.approx(
        {
            "mean": 0.2,
            "median": 0.1,
            "max": 0.5,
            "corner_mean": -0.25,
            "corner_median": -0.25,
            "corner_max": -0.25,
        }
    )


def test_regret_of_few_weights_has_the_unit_of_all():
    oracle, constant = np.array([1.0, 1.0, 2.0, 9.0]), np.array([2.0, 4.0, 4.0, 29.0])
    corners = np.array([False, False, False, True])
    found = control.regret(np.array([3.0]), oracle, constant, corners, np.array([2]))
    assert found["mean"].value == pytest.approx(1 / ((1 + 3 + 2) / 3))
    undefined(found["corner_mean"], "no weight is a corner")


def test_regret_undefined_or_refused():
    oracle = np.array([1.0, 2.0])
    found = control.regret(oracle, oracle, oracle)
    undefined(found["mean"], "no worse than the oracle")
    assert found["corner_max"].reason == "no weight is a corner"
    everything = control.regret(oracle, oracle, oracle + 1, np.array([True, True]))
    assert everything["median"].reason == "every weight is a corner"
    assert everything["corner_median"].value == 0
    refused("corners", control.regret, oracle, oracle, oracle, np.array([0, 1]))
    refused("entry [1] is inf", control.regret, np.array([1.0, np.inf]), oracle, oracle)
    refused("against", control.regret, oracle, oracle, np.ones(3))
    refused("against", control.regret, oracle, oracle, oracle + 1, None, np.array([0]))
