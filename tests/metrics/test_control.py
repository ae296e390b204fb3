"""Measures over the evaluation weights: exact cases, gaming, undefined values with reasons."""

import itertools

import numpy as np
import pytest
from scipy import stats

from paragon.metrics import control

W = np.linspace(0, 1, 11)
PAIRS = np.stack([W, 1 - W], axis=1)


def undefined(measure, part):
    value, reason = measure
    assert value is None and part in reason


def test_one_balance_for_all_games_the_mean_and_not_the_set():
    constant = np.full_like(PAIRS, 0.5)  # PAIRS moves along a straight front
    assert control.mean_hv(constant) > control.mean_hv(PAIRS)
    assert control.set_hv(constant) < control.set_hv(PAIRS) == pytest.approx(0.45)
    assert control.mean_hv([[1.0, 0.5, 0.5], [0.2, 1.0, 1.0]]) == pytest.approx(0.225)


def test_dominated_duplicate_and_negative_points_add_no_volume():
    front = np.array([[0.2, 0.8], [0.5, 0.4]])
    more = np.concatenate([front, front, [[0.1, 0.1], [0.5, 0.2], [-1.0, 9.0]]])
    assert control.set_hv(more) == pytest.approx(0.16 + 0.3 * 0.4)
    assert control.set_hv(np.array([[0.0, 1.0]])) == control.set_hv(np.zeros((2, 3))) == 0.0
    assert type(control.set_hv(front)) is float


@pytest.mark.parametrize("axes", [2, 3])
def test_many_sets_have_the_volumes_of_each(axes):
    many = np.round(np.random.default_rng(axes).normal(0.3, 0.4, (4, 5, 7, axes)), 1)
    volumes = control.set_hv(many)
    assert volumes.shape == (4, 5)
    assert all(volumes[place] == control.set_hv(many[place]) for place in np.ndindex(4, 5))


def test_correlation_at_any_scale_and_where_it_is_undefined():
    noise = np.random.default_rng(0).normal(size=11)
    for scale in (1e-200, 1.0, 1e200):
        found = control.correlation(W, noise * scale).value
        assert found == pytest.approx(stats.pearsonr(W, noise).statistic)
    assert control.correlation([0.0, 1.0], [0.2, 0.3]).value == pytest.approx(1)
    undefined(control.correlation([0.5], [0.3]), "two weights")
    undefined(control.correlation(W, np.full(11, 0.1)), "constant series: every value is 0.1")
    undefined(control.correlation(np.full(11, 0.1), W), "constant")
    undefined(control.correlation(W, 0.3 + 1e-15 * W), "constant")


def test_outcome_error_is_the_mean_distance_in_ranges_of_tuned():
    tuned = np.array([[0.1, 30.0], [0.2, 20.0], [0.5, 10.0]])  # ranges 0.4 and 20
    assert control.outcome_error(tuned, tuned) == (0.0, None)
    moved = tuned + [[0.04, 0], [-0.04, 0], [0, 10]]  # 0.1, 0.1 and 0.5 of the ranges
    assert control.outcome_error(moved, tuned).value == pytest.approx((0.1 + 0.1 + 0.5) / 6)
    undefined(control.outcome_error(tuned, np.ones((3, 2))), "does not move")


def test_range_ratio():
    assert control.range_ratio([0.2, 0.5, 0.4], [0.1, 0.6, 0.7]) == (pytest.approx(0.5), None)
    assert control.range_ratio([0.3, 0.3], [0.1, 0.2]).value == 0.0
    undefined(control.range_ratio([0.1, 0.2], [0.3, 0.3]), "does not move")


def test_violations_count_falls_beyond_the_tolerance():
    assert control.violations(PAIRS, W) == (0.0, None)
    # Seen from the other objective the ten steps up are wrong.
    assert control.violations(PAIRS, W, objective=1).value == 10
    order = np.random.default_rng(0).permutation(11)
    for fall, tolerance, count in ((0.0019, 0.002, 0), (0.0021, 0.002, 1), (0.0021, 0.01, 0)):
        values = W.copy()
        values[5] = values[4] - fall
        found = control.violations(PAIRS[order], values[order], tolerance=tolerance)
        assert found.value == count
    # A fall of exactly the tolerance, 0.002, is none; weights need not be even.
    assert control.violations(PAIRS[:2], np.array([0.302, 0.3])).value == 0
    uneven = np.array([0.0, 0.15, 0.25, 1.0])
    uneven = np.stack([uneven, 1 - uneven], axis=1)
    assert control.violations(uneven, np.array([0.1, 0.3, 0.2, 0.1])).value == 2
    undefined(control.violations(PAIRS[:1], [0.5]), "no two neighbouring")


def test_violations_on_a_lattice_of_three_objectives():
    points = itertools.product([0, 0.25, 0.5, 0.75, 1], repeat=3)
    lattice = np.array([point for point in points if sum(point) == 1])
    weights = 0.9 * lattice + 0.1 / 3  # softened corners are still a lattice
    for objective in range(3):
        values = weights[:, objective].copy()
        assert control.violations(weights, values, objective).value == 0
        # 30 neighbouring pairs; in 20 of them this objective's weight differs.
        assert control.violations(weights, -values, objective).value == 20
    values = weights[:, 0].copy()
    values[(lattice == [0.25, 0.5, 0.25]).all(axis=1)] = -1.0
    # It has two neighbours with less of objective 0, two with as much, two with more.
    assert control.violations(weights, values, 0).value == 2


def test_regret_by_hand():
    tuned, constant = np.array([1.0, 1.0, 2.0, 9.0]), np.array([2.0, 4.0, 4.0, 29.0])
    corners = np.array([False, False, False, True])

    def values(losses, rows=None):
        measures = control.regret(losses, tuned, constant, corners, rows)
        return {name: measure.value for name, measure in measures.items()}

    at_corners = dict.fromkeys(["corner_mean", "corner_median", "corner_max"], -0.25)
    expected = {"mean": 0.2, "median": 0.1, "max": 0.5, **at_corners}
    assert values(np.array([1.2, 1.0, 3.0, 4.0])) == pytest.approx(expected)
    # Of few weights the unit is still that of all.
    assert values(np.array([3.0]), np.array([2]))["mean"] == pytest.approx(1 / ((1 + 3 + 2) / 3))


def test_regret_undefined():
    tuned, corners = np.array([1.0, 2.0]), np.array([False, False])
    none = control.regret(tuned, tuned, tuned, corners)
    undefined(none["mean"], "no worse than `tuned`")
    undefined(none["corner_max"], "no weight is a corner")
    everything = control.regret(tuned, tuned, tuned + 1, ~corners)
    undefined(everything["median"], "every weight is a corner")
    assert everything["corner_median"].value == 0
