"""Differences from `generated`: by hand, in pairs, by user, and undefined ones with a reason."""

import dataclasses
import json

import numpy as np
import pytest
from scipy import stats

from paragon.evaluation.evaluate import from_generated
from paragon.evaluation.protocol import ByEvent, Scores
from paragon.metrics import statistics
from paragon.metrics.control import set_hv
from tests.conftest import refused
from tests.evaluation.conftest import make_test_set

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
    """Two seeds of two methods, one seed of another, and one with the last two weights only."""
    return {
        "tuned": {s: row(0.02, s) for s in (0, 1)},
        "generated": {s: row(0.01, 10 + s) for s in (0, 1)},
        "item_knn": {0: row(-0.05, 20, random=False)},
        "retrain": {s: row(0.01, 30 + s, weights=W[2:]) for s in (0, 1)},
    }


@pytest.fixture(scope="module")
def differences(rows):
    return compared(rows)


def test_every_number_is_that_of_the_tests_by_themselves(rows, differences):
    """Of the paired bootstrap over users, of Holm, and of the paired t test over seeds."""
    p_values = {}
    for method in ("tuned", "item_knn", "retrain"):
        sides = [*rows[method].values()] * (3 - len(rows[method])), rows["generated"].values()
        part = slice(-len(sides[0][0].weights), None)  # the last weights
        a, b = (np.concatenate([e for r in side for e in r.events[part]]) for side in sides)

        def statistic(means):
            return set_hv(means.reshape(len(means), 2, -1, 2)).mean(axis=1)

        interval, p_values[method] = statistics.paired_bootstrap(a, b, USERS, statistic, 300)
        volumes = [[set_hv(r.points[part]) for r in side] for side in sides]
        limits = stats.ttest_rel(*volumes).confidence_interval(0.95)
        expected = [*interval[:3], p_values[method], *limits]
        assert interval.mean == pytest.approx(np.mean(volumes[0]) - np.mean(volumes[1]))
        assert [differences[method][HV + end] for end in ENDS] == pytest.approx(expected, rel=1e-5)
    adjusted = dict(zip(p_values, statistics.holm([*p_values.values()]), strict=True))
    assert {m: d[f"{HV}_p_holm"] for m, d in differences.items()} == pytest.approx(
        adjusted, rel=1e-5
    )
    assert compared(rows) == differences != compared(rows, resamples=301)


def test_a_method_with_some_of_the_seeds_is_compared_with_these(rows, differences):
    """Two of three, in another order: the third of `generated` is as if it were not there."""
    third = {2: row(-0.1, 50)}
    more = rows | {
        "generated": third | rows["generated"],
        "tuned": dict(reversed(rows["tuned"].items())),
    }
    again = compared(more)
    for end in ENDS:
        one, two = ({m: d[HV + end] for m, d in f.items()} for f in (again, differences))
        assert one["tuned"] == pytest.approx(two["tuned"], rel=1e-4)
        assert one["retrain"] == two["retrain"]
    assert again["item_knn"] != differences["item_knn"]


def test_one_seed_of_what_is_random_tells_nothing_of_other_seeds(rows):
    one = {"retrain": {0: row(-0.1, 2)}, "mmr": {0: row(-0.1, 2, random=False)}}
    differences = compared({"generated": rows["generated"], **one})
    trained, fixed = differences["retrain"], differences["mmr"]
    assert [trained[HV + end] for end in ENDS[:4]] == [fixed[HV + end] for end in ENDS[:4]]
    assert trained[f"{HV}_seeds_low"] is trained[f"{HV}_seeds_high"] is None
    assert "one seed" in trained[f"{HV}_seeds_note"]
    assert fixed[f"{HV}_seeds_low"] < fixed[f"{HV}_seeds_high"]
    assert not statistics.is_real(trained, HV)


def test_what_is_the_same_is_no_difference_and_one_user_has_no_limits():
    made = row(0.0, 1)
    order = [2, 0, 3, 1]
    shuffled = ByEvent(W, made.points[order], [made.events[n] for n in order])
    difference = compared({"generated": {0: made}, "shuffled": {0: shuffled}})["shuffled"]
    assert [difference[HV + end] for end in ENDS[:4]] == [0, 0, 0, 1]
    alone = {m: {0: row(gain, 3, [0])} for m, gain in (("generated", 0.1), ("other", -0.1))}
    difference = compared(alone, [0])["other"]
    assert difference[HV] < 0 and "one user" in difference[f"{HV}_note"]
    assert [difference[HV + end] for end in (*ENDS[1:], "_p_holm")] == [None] * 6
    assert "one" in difference[f"{HV}_seeds_note"]
    json.dumps(difference, allow_nan=False)


def test_the_interval_covers_the_true_difference_at_the_stated_rate():
    """Users, seeds and noise drawn anew; the truth is the hypervolume of the true means."""
    random = np.random.default_rng(0)
    truth = {"generated": FRONT, "other": FRONT + [0.01, 0.02], "same": FRONT}
    expected = set_hv(truth["other"]) - set_hv(FRONT)
    covered = wrong = 0
    for _ in range(150):
        users = random.normal(0, 0.1, (len(W), 2, 80))  # what a user is like, in all methods
        rows = {}
        for method, points in truth.items():
            for seed in (0, 1):
                events = points[..., None] + users + random.normal(0, 0.1, users.shape)
                rows.setdefault(method, {})[seed] = ByEvent(W, points, list(events))
        differences = compared(rows, np.arange(80), resamples=400)
        other = differences["other"]
        covered += other[f"{HV}_low"] <= expected <= other[f"{HV}_high"]
        wrong += differences["same"][f"{HV}_p"] <= 0.05
    assert 0.9 <= covered / 150 <= 0.99
    assert wrong / 150 <= 0.1


def test_a_metric_that_is_no_mean_over_events_has_a_difference_and_a_reason(seqs, rows):
    fair = make_test_set(seqs, objectives=["accuracy", "fairness"])
    noise = np.random.default_rng(0).normal(size=(len(seqs.test), seqs.n_items + 1))
    assert fair.measure(Scores.of(noise))[1] == {"sampled": None, "full": None}
    without = {s: r._replace(events=None) for s, r in rows["tuned"].items()}
    difference = compared({"generated": rows["generated"], "other": without})["other"]
    expected = np.mean([set_hv(without[s].points) - set_hv(rows["generated"][s].points)
                        for s in (0, 1)])  # fmt: skip
    assert difference[HV] == pytest.approx(expected, rel=1e-5)
    assert difference[f"{HV}_p"] is None and "no mean" in difference[f"{HV}_note"]
    alone = dataclasses.replace(seqs, groups=np.zeros_like(seqs.groups))
    refused("fairness", make_test_set, alone, objectives=["accuracy", "fairness"])


def test_what_cannot_be_compared_is_named(rows):
    mine, few = {s: row(0.0, s) for s in (0, 3)}, row(0.0, 0, weights=W[2:])
    for more, words in (
        ({}, "no rows of `generated`"),
        ({"generated": {0: few}}, "no seed 3"),
        ({"generated": {0: few, 3: few}}, "not among"),
    ):
        refused(words, compared, {"mine": mine, **more})
