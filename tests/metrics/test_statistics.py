"""Intervals that cover what they should, differences in pairs, Holm's correction."""

import numpy as np
import pytest
from scipy import stats
from statsmodels.stats.multitest import multipletests

from paragon.metrics import statistics


def compare(a, b, users=None, statistic=lambda means: means[:, 0], **options):
    users = np.arange(np.shape(a)[-1]) if users is None else users
    return statistics.paired_bootstrap([(a, b, statistic)], users, **options)[0]


def test_one_seed_and_one_user_have_no_interval():
    mean, low, high, reason = statistics.mean_interval([0.4])
    assert (mean, low, high) == (0.4, None, None) and reason
    assert statistics.mean_interval([0.5, 0.5])[:3] == (0.5, 0.5, 0.5)
    (difference, low, high, reason), p_value = compare([0.5, 0.7], [0.1, 0.1], [4, 4])
    assert difference == pytest.approx(0.5) and reason
    assert (low, high, p_value) == (None, None, None)


def test_events_of_one_user_are_resampled_together_and_means_are_over_events():
    interval, _ = compare([1.0, 0.0, 0.0, 4.0], np.zeros(4), ["u", "u", "u", "v"])
    assert interval[:3] == pytest.approx((1.25, 1 / 3, 4.0))


def test_bootstrap_and_p_value_agree_with_scipy_and_repeat_with_their_seed():
    a, b = np.random.default_rng(5).random((2, 200))
    a += 0.04  # so that the p-value is small, and not 0
    ours, p_value = compare(a, b, resamples=40_000, seed=3)
    # In the same order of random numbers, so exactly but for the order of sums.
    options = {"method": "percentile", "n_resamples": 40_000, "batch": (1 << 22) // 200}
    theirs = stats.bootstrap((a - b,), np.mean, random_state=np.random.default_rng(3), **options)
    assert ours[1:3] == pytest.approx(tuple(theirs.confidence_interval))
    below = (theirs.bootstrap_distribution <= 0).sum()
    assert p_value == pytest.approx(2 * (below + 1) / 40_001) and 0.001 < p_value < 0.5
    assert compare(a, b, seed=3) == compare(a, b, seed=3) != compare(a, b, seed=4)
    back, same = compare(b, a, resamples=40_000, seed=3)
    assert (-back.high, -back.low, same) == pytest.approx((ours.low, ours.high, p_value))


def test_p_values_reach_their_ends():
    assert compare(np.ones(9), np.ones(9), resamples=200) == ((0.0, 0.0, 0.0, None), 1.0)
    assert compare(np.arange(9) + 1.0, np.zeros(9), resamples=200)[1] == pytest.approx(2 / 201)


def test_methods_may_differ_in_their_number_of_rows_and_the_last_bit_is_no_difference():
    a = np.random.default_rng(7).random((3, 90))  # three seeds against one
    options = {"statistic": lambda means: means.mean(axis=1), "resamples": 300}
    one, p_value = compare(a, a[:1], **options)
    assert one.mean == pytest.approx(a.mean() - a[0].mean())
    three, again = compare(a, a[[0, 0, 0]], **options)
    assert [*three[:3], again] == pytest.approx([*one[:3], p_value])
    turned = compare(a, a[[2, 0, 1]], statistic=lambda means: means[:, 0] + means[:, 1:].sum(1))
    assert turned == ((0.0, 0.0, 0.0, None), 1.0)


def test_holm_by_hand():
    # Sorted .005 .01 .03 .04 times 4 3 2 1 gives .02 .03 .06 .04; the last rises to .06.
    assert statistics.holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])


@pytest.mark.parametrize("count", [1, 2, 40])
def test_holm_and_intervals_agree_with_other_libraries_to_the_last_bit(count):
    rng = np.random.default_rng(count)
    for p_values in (rng.random(count), rng.integers(0, 5, count) / 100, np.zeros(count)):
        theirs = multipletests(p_values, method="holm")[1]
        assert statistics.holm(p_values).tolist() == theirs.tolist()
    values = rng.normal(size=count + 1)
    half = stats.t.ppf(0.975, count) * stats.sem(values)
    mean, low, high, _ = statistics.mean_interval(values)
    assert (low, high) == (mean - half, mean + half)


REAL = [  # p-value, limits over seeds, and whether the difference is real
    (0.049, 0.5, 0.7, True),
    (0.049, -0.7, -0.5, True),
    (0.05, 0.5, 0.7, False),
    (0.01, -0.5, 0.5, False),
    (0.01, 0.0, 0.7, False),
    (0.01, -0.7, 0.0, False),
    (0.01, None, None, False),
    (None, 0.5, 0.7, False),
]


def test_a_difference_is_real_only_beyond_users_and_seeds():
    for p_value, low, high, real in REAL:
        row = {"d_p_holm": p_value, "d_seeds_low": low, "d_seeds_high": high}
        assert statistics.is_real(row, "d") is real, row
