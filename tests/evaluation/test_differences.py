"""Differences from `generated`: by hand, in pairs, by user, and undefined ones with a reason."""

import dataclasses
import json

import numpy as np
import pytest
from scipy import stats

from paragon.evaluation.evaluate import from_generated
from paragon.evaluation.protocol import PROTOCOLS, ByEvent, Row, Scores, measure_rows
from paragon.metrics import statistics
from paragon.metrics.control import set_hv
from tests.conftest import refused
from tests.evaluation.conftest import make_test_set

W = np.array([[0.0, 1.0], [0.25, 0.75], [0.5, 0.5], [1.0, 0.0]])
HEADLINE = ["ndcg@10", "alpha_ndcg@10"]


def scores_of(seqs, quality, seed, evaluation=None):
    """Scores that are noise but for the target, which gains with the weight on accuracy."""
    evaluation = seqs.test if evaluation is None else evaluation
    random = np.random.default_rng(seed)
    noise = random.normal(size=(len(evaluation), seqs.n_items + 1)).astype(np.float32)
    made = []
    for w in W:
        scores = noise.copy()
        scores[np.arange(len(evaluation)), evaluation.targets] += quality + 2 * w[0]
        made.append(Scores.of(scores))
    return made


def compared(test_set, rows):
    _, measured = measure_rows(test_set, rows)
    return from_generated(measured, test_set.evaluation.users, resamples=300)


@pytest.fixture(scope="module")
def ran(seqs):
    """Two seeds of two methods, one seed of another, and one with the last two weights only."""
    rows = [
        Row(method, seed, W, scores_of(seqs, quality, 10 * seed + number))
        for seed in (0, 1)
        for number, (method, quality) in enumerate([("tuned", 1.0), ("generated", 0.8)])
    ]
    rows.append(Row("item_knn", 0, W, scores_of(seqs, 0.0, 7), random=False))
    rows += [Row("retrain", s, W[2:], scores_of(seqs, 1.5, 20 + s)[2:]) for s in (0, 1)]
    return measure_rows(make_test_set(seqs), rows)


@pytest.fixture(scope="module")
def found(ran, seqs):
    return from_generated(ran[1], seqs.test.users, resamples=300)


def test_limits_and_p_values_are_those_of_the_paired_bootstrap(ran, found, seqs):
    rows, p_values = ran[1]["full"], {}
    for method, seeds in (("tuned", (0, 1)), ("item_knn", (0, 0)), ("retrain", (0, 1))):
        part = slice(2, None) if method == "retrain" else slice(None)
        own = [np.concatenate(rows[method][s].events) for s in seeds]
        other = [np.concatenate(rows["generated"][s].events[part]) for s in (0, 1)]

        def statistic(means):
            return set_hv(means.reshape(len(means), 2, -1, 2)).mean(axis=1)

        sides = np.concatenate(own), np.concatenate(other), seqs.test.users
        interval, p_values[method] = statistics.paired_bootstrap(*sides, statistic, resamples=300)
        expected = [*interval[:3], p_values[method]]
        names = [f"set_hv_full{end}" for end in ("", "_low", "_high", "_p")]
        assert [found[method][name] for name in names] == pytest.approx(expected, rel=1e-5)
    adjusted = statistics.holm(list(p_values.values()))
    assert [found[m]["set_hv_full_p_holm"] for m in p_values] == pytest.approx(adjusted, rel=1e-5)
    assert found["item_knn"]["set_hv_sampled_p_holm"] > found["item_knn"]["set_hv_sampled_p"]
    assert from_generated(ran[1], seqs.test.users, resamples=300) == found
    assert from_generated(ran[1], seqs.test.users, resamples=301) != found
    json.dumps(found, allow_nan=False)


def test_differences_and_limits_over_seeds_are_those_of_the_long_table(ran, found):
    """The limits: of a paired t test."""
    assert list(found) == ["tuned", "item_knn", "retrain"]
    for protocol in PROTOCOLS:
        curve = ran[0][ran[0]["protocol"] == protocol]

        def volumes(method, first, curve=curve):
            rows = curve[(curve["method"] == method) & (curve["w_accuracy"] >= first)]
            return [set_hv(part[HEADLINE].to_numpy()) for _, part in rows.groupby("seed")]

        for method, first in (("tuned", 0.0), ("retrain", 0.5), ("item_knn", 0.0)):
            one, other = volumes(method, first), volumes("generated", first)
            name, row = f"set_hv_{protocol}", found[method]
            assert row[name] == pytest.approx(np.mean(one) - np.mean(other), rel=1e-5)
            one = one * 2 if len(one) == 1 else one
            expected = stats.ttest_rel(one, other).confidence_interval(0.95)
            limits = [row[f"{name}_seeds_{end}"] for end in ("low", "high")]
            assert limits == pytest.approx(expected, rel=1e-4)


def test_a_method_with_some_of_the_seeds_is_compared_with_these(ran, found, seqs):
    """Two of three, in another order: the third of `generated` is as if it were not there."""
    by_event = {protocol: dict(rows) for protocol, rows in ran[1].items()}
    for rows in by_event.values():
        third = {2: rows["tuned"][1]._replace(points=rows["tuned"][1].points * 0.5)}
        rows["generated"] = third | rows["generated"]
        rows["tuned"] = dict(reversed(rows["tuned"].items()))
    again = from_generated(by_event, seqs.test.users, resamples=300)
    for end in ("", "_low", "_high", "_p", "_seeds_low", "_seeds_high"):
        one, two = ({m: own[f"set_hv_full{end}"] for m, own in f.items()} for f in (again, found))
        assert one["tuned"] == pytest.approx(two["tuned"], rel=1e-4)
        assert one["retrain"] == two["retrain"]
    assert again["item_knn"] != found["item_knn"]


def test_one_seed_of_what_is_random_tells_nothing_of_other_seeds(seqs):
    rows = [Row("generated", s, W, scores_of(seqs, 1.0, s)) for s in (0, 1)]
    rows.append(Row("retrain", 0, W, scores_of(seqs, -1.0, 2)))
    rows.append(Row("mmr", 0, W, scores_of(seqs, -1.0, 2), random=False))
    found = compared(make_test_set(seqs), rows)
    trained, fixed = found["retrain"], found["mmr"]
    name = "set_hv_sampled"
    assert trained[name] == fixed[name] and trained[f"{name}_p"] == fixed[f"{name}_p"]
    assert trained[f"{name}_seeds_low"] is trained[f"{name}_seeds_high"] is None
    assert "one seed" in trained[f"{name}_seeds_note"]
    assert fixed[f"{name}_seeds_low"] < fixed[f"{name}_seeds_high"]
    assert not statistics.is_real(trained, name)


def test_what_is_the_same_is_no_difference_and_one_user_has_no_limits(seqs):
    made, alone = scores_of(seqs, 0.8, 1), seqs.test[:1]
    shuffled = [made[n] for n in (2, 0, 3, 1)]
    rows = [Row("generated", 0, W, made), Row("shuffled", 0, W, shuffled)]
    row = compared(make_test_set(seqs), rows)["shuffled"]
    ends = ("", "_low", "_high", "_p")
    assert [row[f"set_hv_sampled{end}"] for end in ends] == [0, 0, 0, 1]
    methods = (("generated", 1.0), ("other", -1.0))
    rows = [Row(m, 0, W, scores_of(seqs, q, 3, alone)) for m, q in methods]
    row = compared(make_test_set(seqs, alone), rows)["other"]
    assert row["set_hv_sampled_seeds_low"] is None and "one" in row["set_hv_sampled_seeds_note"]
    values = [row[f"set_hv_sampled{end}"] for end in (*ends, "_p_holm")]
    assert values[0] < 0 and values[1:] == [None] * 4
    assert "one user" in row["set_hv_sampled_note"]


def test_the_interval_covers_the_true_difference_at_the_stated_rate():
    """Users, seeds and noise drawn anew; the truth is the hypervolume of the true means."""
    random = np.random.default_rng(0)
    x = np.linspace(0, 1, 5)
    truth = {"generated": np.column_stack([0.2 + 0.3 * x, 0.7 - 0.3 * x**2])}
    truth["other"] = truth["generated"] + [0.01, 0.02]
    truth["same"] = truth["generated"]
    weights = np.column_stack([x, 1 - x])
    expected = set_hv(truth["other"]) - set_hv(truth["generated"])
    covered = wrong = 0
    for _ in range(150):
        users = random.normal(0, 0.1, (5, 2, 80))  # what a user is like, whatever the method
        rows = {}
        for method, points in truth.items():
            for seed in (0, 1):
                events = points[..., None] + users + random.normal(0, 0.1, users.shape)
                own = ByEvent(weights, points, list(events))
                rows.setdefault(method, {})[seed] = own
        found = from_generated({"full": rows}, np.arange(80), resamples=400)
        covered += (
            found["other"]["set_hv_full_low"] <= expected <= found["other"]["set_hv_full_high"]
        )
        wrong += found["same"]["set_hv_full_p"] <= 0.05
    assert 0.9 <= covered / 150 <= 0.99
    assert wrong / 150 <= 0.1


def test_a_metric_that_is_no_mean_over_events_has_a_difference_and_a_reason(seqs):
    test_set = make_test_set(seqs, objectives=["accuracy", "fairness"])
    methods = (("generated", 1.0), ("other", 0.0))
    rows = [Row(m, 0, W, scores_of(seqs, q, 5)) for m, q in methods]
    curve, measured = measure_rows(test_set, rows)
    own = from_generated(measured, seqs.test.users)["other"]
    table = curve[curve["protocol"] == "full"].set_index("method")[["ndcg@10", "parity@10"]]
    expected = set_hv(table.loc["other"].to_numpy()) - set_hv(table.loc["generated"].to_numpy())
    assert own["set_hv_full"] == pytest.approx(expected, rel=1e-5)
    assert own["set_hv_full_p"] is None and "no mean" in own["set_hv_full_note"]


def test_what_cannot_be_compared_is_named(seqs):
    test_set = make_test_set(seqs)
    rows = [Row("mine", s, W, scores_of(seqs, 1.0, s)) for s in (0, 3)]
    one, two = (Row("generated", s, W[:2], scores_of(seqs, 1.0, 0)[:2]) for s in (0, 3))
    for more, words in (
        ([], "no rows of `generated`"), ([one], "no seed 3"), ([one, two], "not among"),
    ):  # fmt: skip
        refused(words, compared, test_set, [*rows, *more])
    alone = dataclasses.replace(seqs, groups=np.zeros_like(seqs.groups))
    refused("fairness", make_test_set, alone, objectives=["accuracy", "fairness"])
