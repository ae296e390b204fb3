"""The re-rankers against their definitions, and how their settings are chosen."""

import dataclasses
from functools import partial
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from scipy.special import log_softmax

from paragon.metrics.lists import ListQuality
from paragon.metrics.ranking import top_k
from paragon.reranking import settings as reranking
from paragon.reranking.rules import RERANKERS, Ranked, Setting
from paragon.reranking.settings import candidates_of
from tests.conftest import refused

N, D, M = 12, 15, 6
W = np.linspace(0, 1, 11)
XQUAD = RERANKERS["xquad"]


def ranked(relevance, kinds, patterns):
    columns = np.broadcast_to(np.arange(kinds.shape[1]), kinds.shape)
    return Ranked(columns, columns, np.broadcast_to(relevance, kinds.shape), kinds, patterns)


@pytest.fixture(scope="module")
def lists():
    """Sets of zero to four categories, many of them twice in a list."""
    rng = np.random.default_rng(0)
    patterns = np.unique(rng.random((9, M)) < 0.3, axis=0)
    patterns[0] = False
    relevance = -np.sort(-rng.random((N, D)), axis=1)
    return ranked(relevance, rng.integers(len(patterns), size=(N, D)), patterns)


def distance(item, above):
    def jaccard(other):
        return sum(item & other) / sum(item | other) if any(item | other) else 1

    return 1 - max((jaccard(other) for other in above), default=0)


def coverage(item, above):
    return sum(0.5 ** sum(other[m] for other in above) for m in range(M) if item[m])


def volume(item, above):
    def log_det(sets):
        sets = np.array(sets, dtype=float).reshape(-1, M)
        return np.linalg.slogdet(np.eye(len(sets)) + sets @ sets.T)[1]

    return log_det([*above, item]) - log_det(above)


GAINS = {"mmr": distance, "xquad": coverage, "dpp": volume}


def test_what_a_reranker_returns_is_checked(lists):
    rows = np.arange(3.0), np.zeros(3, int), np.arange(3) + D - 2, np.arange(3) - 1
    for order in (*(np.tile(row, (N, 1)) for row in rows), np.arange(3)):
        named, setting = (str(order.dtype), str(order.shape)), Setting(0, 1, D, 0.5)
        refused(named, lists.reranked, lambda *about: order, setting, 3)  # noqa: B023


def by_hand(gain, relevance, sets, weight, depth):
    chosen = []
    while len(chosen) < depth:
        above, left = [sets[j] for j in chosen], [i for i in range(depth) if i not in chosen]
        merit = [weight * relevance[i] + (1 - weight) * gain(sets[i], above) for i in left]
        chosen.append(left[np.flatnonzero(np.array(merit) > max(merit) - 1e-6)[0]])
    return chosen


@pytest.mark.parametrize("rule", RERANKERS)
@pytest.mark.parametrize(("weight", "depth"), [(0.0, D), (0.3, D), (0.77, D), (0.2, 4)])
def test_a_rule_is_its_definition_down_to_the_depth(lists, rule, weight, depth):
    columns = lists.reranked(RERANKERS[rule], Setting(0, 1.0, depth, weight), D)
    for relevance, kinds, order in zip(lists.relevance, lists.kinds, columns, strict=True):
        sets = lists.patterns[kinds]
        assert order.tolist() == by_hand(GAINS[rule], relevance, sets, weight, depth)


@pytest.mark.parametrize("rule", RERANKERS)
def test_all_weight_on_accuracy_keeps_the_order_also_of_ties(lists, rule):
    tied = dataclasses.replace(lists, relevance=np.round(lists.relevance, 1))
    assert (RERANKERS[rule](tied, 1.0, D) == np.arange(D)).all()
    without = ranked(0.1, np.zeros((1, 5), dtype=int), np.zeros((1, M), dtype=bool))
    assert RERANKERS[rule](without, 0.5, 5).tolist() == [[0, 1, 2, 3, 4]]  # no categories at all


def test_a_policy_orders_the_best_of_the_backbone_and_nothing_else(seqs, monkeypatch):
    monkeypatch.setattr(reranking, "POLICY_DEPTH", 7)
    rng, excluded = np.random.default_rng(0), seqs.excluded(seqs.test)
    scores, policy = rng.standard_normal((2, *excluded.shape)).astype(np.float32)
    for row, line in enumerate(reranking.in_order_of(policy, scores, excluded)):
        allowed = np.flatnonzero(~excluded[row])
        order, backbone = (allowed[np.argsort(-by[allowed])] for by in (line, scores[row]))
        assert order[:7].tolist() == sorted(backbone[:7], key=lambda i: -policy[row, i])
        assert order[7:].tolist() == backbone[7:].tolist()


@pytest.fixture(scope="module")
def planted(seqs):
    """Scores of all items for which the targets of validation and test are likely."""
    rng = np.random.default_rng(0)
    scores = rng.standard_normal((2, len(seqs.test), seqs.n_items + 1)).astype(np.float32)
    for line, events in zip(scores, (seqs.valid, seqs.test), strict=True):
        line[np.arange(len(line)), events.targets] += 2
    return scores


def reranked(rule, seqs, valid, test):
    """The scores of `reranked_scores`, from tables of scores of each source; and who was asked."""
    asked = []

    def scores(tables, vector):
        asked.append(int(vector))
        return torch.from_numpy(tables[int(vector)])

    rows = seqs.valid.sample_rows()
    tried = {
        protocol: reranking.tried_settings(rule, trials, [table[rows] for table in valid])
        for protocol, trials in reranking.Trials.of(seqs).items()
    }
    task = SimpleNamespace(catalogue_scores=partial(scores, test))
    vectors = torch.arange(len(valid))
    found = reranking.reranked_scores(rule, seqs, tried, task, vectors, W, 12)
    return list(found), asked


def test_the_temperature_is_the_likeliest_and_relevance_a_probability():
    """Targets drawn from a softmax at temperature 0.25 of scores that have another scale."""
    rng = np.random.default_rng(0)
    scores = 3 * rng.standard_normal((2000, 12))
    excluded = rng.random(scores.shape) < 0.2
    allowed = np.where(excluded, -np.inf, scores)
    targets = (allowed / 0.75 + rng.gumbel(size=scores.shape)).argmax(1)
    kinds, patterns = np.zeros(12, dtype=int), np.ones((1, 2), dtype=bool)
    items = np.broadcast_to(np.arange(12), scores.shape)
    candidates = reranking.Candidates(items, excluded, targets, kinds, patterns)
    found = candidates.temperature(scores)

    def likelihood(temperature):
        return log_softmax(allowed / temperature, axis=1)[np.arange(2000), targets].mean()

    assert 0.75 / 1.3 < found < 0.75 * 1.3
    assert all(likelihood(found) > likelihood(found * factor) for factor in (0.7, 1.4))
    lists, probability = candidates.best(scores, 0.7), np.exp(log_softmax(allowed / 0.7, axis=1))
    assert np.array_equal(lists.columns, top_k(scores, (~excluded).sum(1).min(), excluded))
    assert np.allclose(lists.relevance, np.take_along_axis(probability, lists.columns, 1))


def test_scores_eight_times_as_large_give_the_same_lists(seqs, planted):
    """The temperature follows them."""
    one, other = (reranked(XQUAD, seqs, k * planted[:1], k * planted[1:])[0] for k in (1, 8))
    for plain, large in zip(one, other, strict=True):
        for protocol, scores in plain.items():
            assert np.array_equal(top_k(scores, 12), top_k(large[protocol], 12))


def test_of_many_validation_events_some_are_taken(seqs, monkeypatch):
    monkeypatch.setattr("paragon.data.sequences.EVENTS", 15)
    events = seqs.valid[seqs.valid.sample_rows()]
    assert 8 <= len(events) <= 15 and events.users[-1] > 0.8 * seqs.n_users


def test_places_by_hand():
    accuracy = [0.0, 0.1, 0.1, 0.5, 0.9, 1.2, 1.0, 0.4, 1.0]
    points = np.column_stack([accuracy, [1.0, 0.9, 0.8, 0.5, 0.4, 0.0, 0.2, 0.5, 0.0]])
    # On the front are 0, 1, 3, 4 and 8, at 0, 0.1, 0.5, 0.75 and 1; 5 is beyond the end and 6 as
    # accurate as it; 7 is as diverse as 3 and less accurate, 2 as accurate as 1 and less diverse.
    weights = np.array([0.0, 0.09, 0.15, 0.4, 0.45, 0.7, 0.9, 1.0])
    assert reranking.nearest_on_front(points, weights).tolist() == [0, 1, 1, 3, 3, 4, 8, 8]
    one = np.array([[0.1, 0.2], [0.3, 0.5]])
    assert reranking.nearest_on_front(one, W).tolist() == [1] * 11


@pytest.mark.parametrize("rule", RERANKERS)
def test_on_the_events_of_the_choice_every_weight_is_in_its_place(seqs, planted, rule):
    seqs = dataclasses.replace(seqs, test=seqs.valid)
    made, _ = reranked(RERANKERS[rule], seqs, planted[:1], planted[:1])
    for protocol, c in candidates_of(seqs, seqs.valid).items():
        quality = ListQuality.of(seqs.valid.targets, seqs.categories, c.items, c.excluded)
        bare = np.take_along_axis(planted[0], c.items, 1)
        values = []
        for scores in (*(both[protocol] for both in made), bare):
            best = top_k(scores, 10, c.excluded)
            measured = quality.measure(np.take_along_axis(c.items, best, 1))
            values.append([value.mean() for value in measured])
        assert values[-2] == pytest.approx(values[-1])  # all weight on accuracy: the bare list
        accuracy, spread = np.array(values[:-1]).T
        assert (np.diff(accuracy) >= 0).all() and (np.diff(spread) <= 0).all()
        assert spread[0] > spread[-1] + 0.02
        if rule == "xquad":
            assert spread[0] == pytest.approx(1.0, abs=0.01)  # the ideal breaks ties otherwise
            assert len(set(spread)) >= 6


def test_lists_come_with_what_the_user_has_met(seqs):
    lists = candidates_of(seqs, seqs.test)["full"].best(0.0 * seqs.excluded(seqs.test), 1.0)
    start = seqs.offsets[seqs.test.users[3]]
    sets = seqs.categories[np.unique(seqs.items[start : start + seqs.test.positions[3]])]
    parts = (sets / np.maximum(sets.sum(1, keepdims=True), 1)).sum(0)  # equal parts of an item
    assert lists.history[3] == pytest.approx(parts / parts.sum())


def test_other_events_take_the_settings_of_validation(seqs, planted):
    """What was chosen does not depend on the test events' targets."""
    shuffled = seqs.test.candidates.copy()
    shuffled[:, [0, 1]] = shuffled[:, [1, 0]]
    other = dataclasses.replace(seqs, test=dataclasses.replace(seqs.test, candidates=shuffled))
    first, second = (reranked(XQUAD, s, planted[:1], planted[1:])[0] for s in (seqs, other))
    for one, two in zip(first, second, strict=True):
        assert one["full"].shape == planted[1].shape and one["sampled"].shape == shuffled.shape
        turned = one["sampled"].copy()
        turned[:, [0, 1]] = turned[:, [1, 0]]
        assert np.array_equal(np.argsort(-turned)[:, :5], np.argsort(-two["sampled"])[:, :5])


def test_the_source_that_is_beaten_is_not_taken(seqs, planted):
    bad = np.random.default_rng(1).standard_normal(planted[0].shape).astype(np.float32)
    trials = reranking.Trials.of(seqs)["full"]
    tried = reranking.tried_settings(XQUAD, trials, [bad, planted[0]])
    settings = reranking.chosen_settings(tried, W)
    assert [setting.source for setting in settings[2:]] == [1] * 9
    assert settings[-1].weight == 1.0
    assert settings[-1].temperature == trials.candidates.temperature(planted[0])
    _, asked = reranked(XQUAD, seqs, [-planted[0], planted[0]], planted[[1, 1]])
    assert asked[-2:] == [1, 1]  # each source with its own scores, under both protocols
