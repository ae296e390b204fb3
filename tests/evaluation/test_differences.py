"""Differences from `generated`: by hand, in pairs, by user, and undefined ones with a reason."""

import dataclasses
import json

import numpy as np
import pytest
from scipy import stats

from paragon.errors import ParagonError
from paragon.evaluation.differences import from_generated
from paragon.evaluation.protocol import PROTOCOLS, ByEvent, Row, Scores, measure_rows
from paragon.metrics import statistics
from paragon.metrics.control import set_hv
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


def compared(test_set, rows, resamples=300):
    _, measured = measure_rows(test_set, rows)
    return from_generated(measured, test_set.evaluation.users, resamples)


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


def test_a_difference_is_that_of_the_long_table(ran, found):
    curve = ran[0]
    assert list(found) == ["tuned", "item_knn", "retrain"]
    for protocol in PROTOCOLS:
        table = curve[curve["protocol"] == protocol]

        def mean_hv_of(method, weights=W, table=table):
            own = table[(table["method"] == method) & table["w_accuracy"].isin(weights[:, 0])]
            return np.mean([set_hv(part[HEADLINE].to_numpy()) for _, part in own.groupby("seed")])

        for method, weights in (("tuned", W), ("item_knn", W), ("retrain", W[2:])):
            expected = mean_hv_of(method) - mean_hv_of("generated", weights)
            assert found[method][f"set_hv_{protocol}"] == pytest.approx(expected, rel=1e-5)


def test_limits_and_p_values_are_those_of_the_paired_bootstrap(ran, found, seqs):
    rows, p_values = ran[1]["full"], {}
    for method, seeds in (("tuned", (0, 1)), ("item_knn", (0, 0)), ("retrain", (0, 1))):
        part = slice(2, None) if method == "retrain" else slice(None)
        own = [np.concatenate(rows[method][s].events) for s in seeds]
        other = [np.concatenate(rows["generated"][s].events[part]) for s in (0, 1)]

        def statistic(means):
            return set_hv(means.reshape(len(means), 2, -1, 2)).mean(axis=1)

        expected = statistics.paired_bootstrap(
            np.concatenate(own), np.concatenate(other), seqs.test.users, statistic, resamples=300
        )
        names = [f"set_hv_full{end}" for end in ("", "_low", "_high", "_p")]
        assert [found[method][name] for name in names] == pytest.approx(expected[:4], rel=1e-5)
        p_values[method] = expected.p_value
    adjusted = statistics.holm(list(p_values.values()))
    assert [found[m]["set_hv_full_p_holm"] for m in p_values] == pytest.approx(adjusted, rel=1e-5)
    assert found["item_knn"]["set_hv_sampled_p_holm"] > found["item_knn"]["set_hv_sampled_p"]
    assert from_generated(ran[1], seqs.test.users, resamples=300) == found
    assert from_generated(ran[1], seqs.test.users, resamples=301) != found
    json.dumps(found, allow_nan=False)


def test_limits_over_seeds_are_those_of_the_paired_t_test(ran, found):
    curve = ran[0].query("protocol == 'full'")

    def volumes(method, first=0.0):
        own = curve[(curve["method"] == method) & (curve["w_accuracy"] >= first)]
        return [set_hv(part[HEADLINE].to_numpy()) for _, part in own.groupby("seed")]

    for method, first in (("tuned", 0.0), ("retrain", 0.5), ("item_knn", 0.0)):
        one, other = volumes(method, first), volumes("generated", first)
        one = one * 2 if len(one) == 1 else one
        expected = stats.ttest_rel(one, other).confidence_interval(0.95)
        limits = [found[method][f"set_hv_full_seeds_{end}"] for end in ("low", "high")]
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


def test_what_is_the_same_is_no_difference(seqs):
    made = scores_of(seqs, 0.8, 1)
    shuffled = [made[n] for n in (2, 0, 3, 1)]
    rows = [Row("generated", 0, W, made), Row("shuffled", 0, W, shuffled)]
    own = compared(make_test_set(seqs), rows)["shuffled"]
    assert [own[f"set_hv_sampled{k}"] for k in ("", "_low", "_high", "_p")] == [0, 0, 0, 1]


def test_one_user_leaves_the_difference_and_says_why(seqs):
    alone = seqs.test[:1]
    methods = (("generated", 1.0), ("other", -1.0))
    rows = [Row(m, 0, W, scores_of(seqs, q, 3, alone)) for m, q in methods]
    own = compared(make_test_set(seqs, alone), rows)["other"]
    assert own["set_hv_sampled_seeds_low"] is None and "one" in own["set_hv_sampled_seeds_note"]
    assert own["set_hv_sampled"] < 0
    undefined = [own[f"set_hv_sampled{k}"] for k in ("_low", "_high", "_p", "_p_holm")]
    assert undefined == [None] * 4 and "one user" in own["set_hv_sampled_note"]


def test_events_of_one_user_stay_together(ran, found, seqs):
    """Every event five times: nothing is known that was not known before."""
    many = {
        protocol: {
            method: {
                seed: own._replace(events=[np.repeat(part, 5, axis=1) for part in own.events])
                for seed, own in by_seed.items()
            }
            for method, by_seed in rows.items()
        }
        for protocol, rows in ran[1].items()
    }
    users = np.repeat(seqs.test.users, 5)
    again = from_generated(many, users, resamples=300)
    for method, own in found.items():
        assert again[method] == pytest.approx(own, rel=1e-4, abs=1e-9)
    apart = from_generated(many, np.arange(len(users)), resamples=300)

    def width(row):
        return row["set_hv_full_high"] - row["set_hv_full_low"]

    assert width(apart["tuned"]) < 0.6 * width(found["tuned"])


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


def test_fairness_needs_two_groups(seqs):
    alone = dataclasses.replace(seqs, groups=np.zeros_like(seqs.groups))
    with pytest.raises(ParagonError, match="fairness"):
        make_test_set(alone, objectives=["accuracy", "fairness"])


def test_what_cannot_be_compared_is_named(seqs):
    test_set = make_test_set(seqs)
    rows = [Row("mine", s, W, scores_of(seqs, 1.0, s)) for s in (0, 3)]
    for more, words in (
        ([], "no rows of `generated`"),
        ([Row("generated", 0, W, scores_of(seqs, 1.0, 0))], "mine: .* no seed 3"),
        ([Row("generated", s, W[:2], scores_of(seqs, 1.0, 0)[:2]) for s in (0, 3)],
         "mine: weights .* not among"),
    ):  # fmt: skip
        with pytest.raises(ParagonError, match=words):
            compared(test_set, [*rows, *more])
