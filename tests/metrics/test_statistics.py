"""Intervals that cover what they should, differences in pairs, Holm's correction."""

import numpy as np
import pytest
from scipy import stats

from paragon.metrics import statistics
from paragon.metrics.control import set_hv
from tests.conftest import refused


def test_mean_interval_equals_scipy():
    values = np.array([0.41, 0.43, 0.40, 0.44, 0.42])
    found = statistics.mean_interval(values, 0.9)
    expected = stats.ttest_1samp(values, 0).confidence_interval(0.9)
    assert found == (pytest.approx(values.mean()), *map(pytest.approx, expected), None)
    assert statistics.mean_interval([0.5, 0.5])[:3] == (0.5, 0.5, 0.5)


def test_one_seed_has_no_interval():
    mean, low, high, reason = statistics.mean_interval([0.4])
    assert (mean, low, high) == (0.4, None, None) and "two values" in reason
    refused("entry [1] is nan", statistics.mean_interval, [0.4, np.nan])
    refused("confidence", statistics.mean_interval, [0.4, 0.5], 95)


def test_bootstrap_covers_a_known_difference_at_the_stated_rate():
    random, covered, rejected = np.random.default_rng(0), 0, 0
    for trial in range(400):
        users = random.normal(size=60)  # what a user adds to both methods, gone in pairs
        a = 0.1 + users + random.exponential(0.3, 60)
        b = users + random.exponential(0.3, 60)
        found = statistics.paired_bootstrap(a, b, confidence=0.9, resamples=400, seed=trial)
        covered += found.low <= 0.1 <= found.high
        null = statistics.paired_bootstrap(a - 0.1, b, resamples=400, seed=trial)
        rejected += null.p_value <= 0.05
    assert 0.85 <= covered / 400 <= 0.95
    assert 0.02 <= rejected / 400 <= 0.09


def test_events_of_one_user_are_resampled_together():
    random, together, apart = np.random.default_rng(1), 0, 0
    clusters = np.repeat(np.arange(40), 8)
    for trial in range(200):
        a = np.repeat(random.normal(size=40), 8) + random.normal(size=320) * 0.3
        found = statistics.paired_bootstrap(a, 0 * a, clusters, resamples=300, seed=trial)
        together += found.low <= 0 <= found.high
        found = statistics.paired_bootstrap(a, 0 * a, resamples=300, seed=trial)
        apart += found.low <= 0 <= found.high
    assert 0.89 <= together / 200 <= 0.99
    assert apart / 200 < 0.75


def test_uneven_clusters_keep_the_mean_over_events():
    a, b = np.array([1.0, 0.0, 0.0, 4.0]), np.zeros(4)
    found = statistics.paired_bootstrap(a, b, np.array(["u", "u", "u", "v"]))
    assert found.difference == pytest.approx(1.25)
    assert found.low == pytest.approx(1 / 3) and found.high == pytest.approx(4.0)


def test_bootstrap_repeats_with_its_seed_and_is_symmetric():
    random = np.random.default_rng(2)
    a, b = random.random(50), random.random(50)
    first = statistics.paired_bootstrap(a, b, seed=3)
    assert first == statistics.paired_bootstrap(a, b, seed=3)
    assert first != statistics.paired_bootstrap(a, b, seed=4)
    back = statistics.paired_bootstrap(b, a, seed=3)
    assert (-back.high, -back.low) == pytest.approx((first.low, first.high))
    assert back.p_value == first.p_value


def test_bootstrap_interval_agrees_with_scipy_alone():
    random = np.random.default_rng(5)
    a, b = random.random(200), random.random(200)
    ours = statistics.paired_bootstrap(a, b, resamples=40_000)
    theirs = stats.bootstrap((a - b,), np.mean, method="percentile", n_resamples=40_000, batch=4000)
    assert ours[1:3] == pytest.approx(tuple(theirs.confidence_interval), abs=0.0025)


def test_p_values_reach_their_ends():
    same = statistics.paired_bootstrap(np.ones(9), np.ones(9), resamples=200)
    assert same == (0.0, 0.0, 0.0, 1.0, None)
    better = statistics.paired_bootstrap(np.arange(9) + 1.0, np.zeros(9), resamples=200)
    assert better.p_value == pytest.approx(2 / 201)


def test_a_statistic_of_several_means():
    random = np.random.default_rng(6)
    curve = np.linspace(0.1, 0.9, 5)
    front = np.stack([curve, 1 - curve], axis=1).reshape(10, 1)
    a = front + random.normal(0, 0.05, (10, 80))

    def hv(means):
        return set_hv(means.reshape(-1, 5, 2))

    better = statistics.paired_bootstrap(a + 0.02, a, statistic=hv, resamples=300)
    expected = hv(a.mean(axis=1) + 0.02)[0] - hv(a.mean(axis=1))[0]
    assert better.difference == pytest.approx(expected)
    # In pairs the common noise cancels: the interval is far narrower than either set_hv moves.
    assert 0 < better.low < better.high < better.low + 0.005
    single = statistics.paired_bootstrap(a[:1] + 0.02, a[:1], statistic=float_of_one, resamples=300)
    assert single.difference == pytest.approx(0.02)


def float_of_one(means):
    assert means.shape[1:] == (1,)
    return means[:, 0]


def test_methods_may_differ_in_their_number_of_rows_and_the_last_bit_is_no_difference():
    random = np.random.default_rng(7)
    a = random.random((3, 90))  # three seeds against one

    def over_seeds(means):
        return means.mean(axis=1)

    found = statistics.paired_bootstrap(a, a[:1], statistic=over_seeds, resamples=300)
    assert found.difference == pytest.approx(a.mean() - a[0].mean())
    repeated = statistics.paired_bootstrap(a, a[[0, 0, 0]], statistic=over_seeds, resamples=300)
    assert repeated == pytest.approx(found)
    other_order = statistics.paired_bootstrap(
        a, a[[2, 0, 1]], statistic=lambda means: means[:, 0] + means[:, 1] + means[:, 2]
    )
    assert other_order == (0.0, 0.0, 0.0, 1.0, None)


def test_one_user_is_named_and_never_averaged_away():
    found = statistics.paired_bootstrap([0.5, 0.7], [0.1, 0.1], clusters=[4, 4])
    assert found.difference == pytest.approx(0.5)
    assert (found.low, found.high, found.p_value) == (None, None, None)
    assert "one user" in found.reason


def test_bootstrap_names_bad_input():
    a = np.zeros(5)
    refused("b: entry [2] is nan", statistics.paired_bootstrap, a, [0, 0, np.nan, 0, 0])
    refused("shapes (5,) and (4,)", statistics.paired_bootstrap, a, a[:4])
    refused("clusters", statistics.paired_bootstrap, a, a, np.zeros(4))
    refused("statistic", statistics.paired_bootstrap, np.zeros((2, 5)), np.zeros((2, 5)))
    nothing = lambda means: np.full(len(means), np.nan)  # noqa: E731
    refused("it must be finite", statistics.paired_bootstrap, a, a, None, nothing)
    refused("a number each", statistics.paired_bootstrap, a, a, None, np.mean)
    refused("resamples", statistics.paired_bootstrap, a, a, resamples=10)
    refused("confidence", statistics.paired_bootstrap, a, a, confidence=95)


def test_holm_by_hand():
    # Sorted .005 .01 .03 .04 times 4 3 2 1 gives .02 .03 .06 .04; the last rises to .06.
    found = statistics.holm([0.01, 0.04, 0.03, 0.005])
    assert found == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert statistics.holm([0.7, 0.8]).tolist() == [1.0, 1.0]
    assert statistics.holm([0.03]) == pytest.approx([0.03])


def test_holm_keeps_the_chance_of_any_false_rejection():
    random = np.random.default_rng(0)
    wrong = sum((statistics.holm(random.random(8)) <= 0.05).any() for _ in range(2000))
    assert 0.035 <= wrong / 2000 <= 0.065


def test_holm_names_bad_input():
    refused("entry [1] is nan", statistics.holm, [0.1, np.nan])
    refused("entry 0 is 1.2", statistics.holm, [1.2, 0.1])


@pytest.mark.parametrize(
    ("row", "seeds", "real"),
    [
        ({"d_p_holm": 0.049, "d_seeds_low": 0.5, "d_seeds_high": 0.7}, True, True),
        ({"d_p_holm": 0.049, "d_seeds_low": -0.7, "d_seeds_high": -0.5}, True, True),
        ({"d_p_holm": 0.05, "d_seeds_low": 0.5, "d_seeds_high": 0.7}, True, False),
        ({"d_p_holm": 0.01, "d_seeds_low": -0.5, "d_seeds_high": 0.5}, False, False),
        ({"d_p_holm": 0.01, "d_seeds_low": 0.0, "d_seeds_high": 0.7}, False, False),
        ({"d_p_holm": 0.01, "d_seeds_low": -0.7, "d_seeds_high": 0.0}, False, False),
        ({"d_p_holm": 0.01, "d_seeds_low": None, "d_seeds_high": -0.7}, False, False),
        ({"d_p_holm": 0.01, "d_seeds_low": 0.7, "d_seeds_high": None}, False, False),
        ({"d_p_holm": None, "d_seeds_low": 0.5, "d_seeds_high": 0.7}, True, False),
        ({"d_seeds_low": 0.5, "d_seeds_high": 0.7}, True, False),
        ({"d_p_holm": 0.01}, False, False),
    ],
)
def test_a_difference_is_real_only_beyond_users_and_seeds(row, seeds, real):
    assert statistics.beyond_seeds(row, "d") is seeds
    assert statistics.is_real(row, "d") is real
