"""The three re-rankers against their definitions, one list and one item at a time."""

import numpy as np
import pytest

from paragon.metrics.diversity import alpha_dcg, ideal_alpha_dcg
from paragon.rivals import reranking
from paragon.rivals.reranking import RERANKERS, Ranked, on_top

N, D, M = 12, 15, 6


@pytest.fixture(scope="module")
def lists():
    """Sets of zero to four categories, many of them twice in a list."""
    rng = np.random.default_rng(0)
    patterns = np.unique(rng.random((9, M)) < 0.3, axis=0)
    patterns[0] = False
    relevance = -np.sort(-rng.random((N, D)), axis=1)
    return Ranked(relevance, rng.integers(len(patterns), size=(N, D)), patterns)


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


def by_hand(gain, relevance, sets, weight, depth=D):
    chosen = []
    while len(chosen) < depth:
        above = [sets[j] for j in chosen]
        merit = {
            i: weight * relevance[i] + (1 - weight) * gain(sets[i], above)
            for i in range(depth)
            if i not in chosen
        }
        best = max(merit.values())
        chosen.append(min(i for i, m in merit.items() if m > best - 1e-6))
    return chosen


@pytest.mark.parametrize("rule", RERANKERS)
@pytest.mark.parametrize("weight", [0.0, 0.3, 0.77, 1.0])
def test_a_rule_is_its_definition(lists, rule, weight):
    found = RERANKERS[rule](lists, weight, D)
    for relevance, kinds, order in zip(lists.relevance, lists.kinds, found, strict=True):
        sets = lists.patterns[kinds]
        assert order.tolist() == by_hand(GAINS[rule], relevance, sets, weight)


@pytest.mark.parametrize("rule", RERANKERS)
def test_nothing_below_the_depth_is_shown(lists, rule):
    found = RERANKERS[rule](lists.first(4), 0.2, 3)
    for relevance, kinds, order in zip(lists.relevance, lists.kinds, found, strict=True):
        sets = lists.patterns[kinds]
        assert order.tolist() == by_hand(GAINS[rule], relevance, sets, 0.2, 4)[:3]


@pytest.mark.parametrize("rule", RERANKERS)
def test_all_weight_on_accuracy_keeps_the_order_also_of_ties(lists, rule):
    tied = Ranked(np.round(lists.relevance, 1), lists.kinds, lists.patterns)
    assert (RERANKERS[rule](tied, 1.0, D) == np.arange(D)).all()


def test_without_accuracy_xquad_is_the_ideal_list(lists):
    found = RERANKERS["xquad"](lists, 0.0, D)
    ranked = lists.patterns[np.take_along_axis(lists.kinds, found, 1)]
    for row in range(N):
        ideal = ideal_alpha_dcg(lists.patterns[lists.kinds[row]], D)
        assert np.allclose(alpha_dcg(ranked[row : row + 1]), ideal)


@pytest.mark.parametrize("rule", RERANKERS)
def test_items_without_categories_stay_in_order(rule):
    lists = Ranked(np.full((1, 5), 0.1), np.zeros((1, 5), dtype=int), np.zeros((1, M), dtype=bool))
    assert RERANKERS[rule](lists, 0.5, 5).tolist() == [[0, 1, 2, 3, 4]]


@pytest.mark.parametrize("rule", RERANKERS)
def test_one_category_an_item_and_every_weight_counts(rule):
    """A list that starts with one category: the smaller the weight, the more categories."""
    rng = np.random.default_rng(0)
    patterns, kinds = np.eye(M, dtype=bool), rng.integers(M, size=(200, 60))
    kinds[:, :10] = rng.integers(M, size=200)[:, None]
    kinds[:, -M:] = np.arange(M)  # none is missing
    relevance = 0.9 ** np.arange(60) * np.ones((200, 1))
    accuracy, spread = [], []
    for weight in (0.0, 0.6, 0.8, 0.9, 0.95, 1.0):
        order = RERANKERS[rule](Ranked(relevance, kinds, patterns), weight, 10)
        ranked = patterns[np.take_along_axis(kinds, order, 1)]
        accuracy.append(np.take_along_axis(relevance, order, 1).sum(1).mean())
        spread.append(alpha_dcg(ranked)[:, -1].mean())
        if weight == 0:
            assert (ranked[:, :M].sum(1) == 1).all()  # every category once, then again
    assert (np.diff(accuracy) >= -1e-9).all() and (np.diff(spread) <= 1e-9).all()
    assert len(set(np.round(spread, 6))) >= 4  # no switch with two positions


def test_on_top_keeps_the_rest_in_its_order():
    scores = np.array([[5.0, 1.0, 3.0, 4.0]], dtype=np.float32)
    found = on_top(scores, np.array([[1, 2]]))
    assert np.argsort(-found[0]).tolist() == [1, 2, 0, 3]


def test_a_policy_orders_the_best_of_the_backbone_and_nothing_else(seqs, monkeypatch):
    monkeypatch.setattr(reranking, "POLICY_DEPTH", 7)
    rng = np.random.default_rng(0)
    scores, policy = rng.standard_normal((2, len(seqs.test), seqs.n_items + 1)).astype(np.float32)
    excluded = seqs.excluded(seqs.test)
    for row, own in enumerate(reranking.in_order_of(policy, scores, excluded)):
        allowed = np.flatnonzero(~excluded[row])
        order = allowed[np.argsort(-own[allowed], kind="stable")]
        backbone = allowed[np.argsort(-scores[row, allowed], kind="stable")]
        best = backbone[:7]
        assert order[:7].tolist() == best[np.argsort(-policy[row, best])].tolist()
        assert order[7:].tolist() == backbone[7:].tolist()
