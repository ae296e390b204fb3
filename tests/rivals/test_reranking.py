"""Re-ranking and the recommenders without a model, against loops and scikit-learn."""

import dataclasses

import numpy as np
import pytest

from paragon.rivals import reranking


@pytest.fixture(scope="module")
def lists():
    rng = np.random.default_rng(0)
    relevance = rng.standard_normal((12, 15))
    categories = rng.random((12, 15, 6)) < 0.3
    categories[0, :3] = False
    return relevance, categories


def by_hand(relevance, categories, weight):
    """The definition, one list at a time: positions of the items, best first."""

    def similarity(a, b):
        union = (a | b).sum()
        return (a & b).sum() / union if union else 1.0

    value = (relevance - relevance.min()) / (relevance.max() - relevance.min())
    chosen = [int(relevance.argmax())]
    while len(chosen) < len(relevance):
        left = [i for i in range(len(relevance)) if i not in chosen]
        merit = {
            i: weight * value[i]
            - (1 - weight) * max(similarity(categories[i], categories[j]) for j in chosen)
            for i in left
        }
        best = max(merit.values())
        tied = [i for i in left if merit[i] >= best - 1e-6]
        chosen.append(max(tied, key=lambda i: relevance[i]))
    return chosen


@pytest.mark.parametrize("weight", [0.0, 0.3, 0.77, 1.0])
def test_mmr_is_its_definition(lists, weight):
    relevance, categories = lists
    order = np.argsort(-reranking.mmr(relevance, categories, weight), axis=1)
    for row in range(len(relevance)):
        assert order[row].tolist() == by_hand(relevance[row], categories[row], weight)


def test_mmr_with_all_weight_on_accuracy_is_the_accuracy_order(lists):
    relevance, categories = lists
    scores = reranking.mmr(relevance, categories, 1.0)
    assert np.array_equal(np.argsort(-scores), np.argsort(-relevance))


def test_mmr_stops_at_its_depth_and_goes_on_by_relevance(lists):
    relevance, categories = lists
    deep = np.argsort(-reranking.mmr(relevance, categories, 0.2), axis=1)
    short = np.argsort(-reranking.mmr(relevance, categories, 0.2, depth=4), axis=1)
    assert np.array_equal(short[:, :4], deep[:, :4])
    rest = np.take_along_axis(relevance, short[:, 4:], 1)
    assert (np.diff(rest) <= 0).all()


def test_mmr_of_equal_scores_is_no_error():
    scores = reranking.mmr(np.zeros((1, 3)), np.array([[[1, 0], [1, 0], [0, 1]]], bool), 0.5)
    assert np.argsort(-scores[0]).tolist() == [0, 2, 1]


def test_mmr_under_both_protocols(seqs):
    rng = np.random.default_rng(0)
    scores = rng.standard_normal((len(seqs.test), seqs.n_items + 1)).astype(np.float32)
    excluded = seqs.excluded(seqs.test)
    found = reranking.mmr_scores(seqs, seqs.test.candidates, excluded, scores, 0.4, 10)
    row = 3
    own = scores[row, seqs.test.candidates[row]]
    sets = seqs.categories[seqs.test.candidates[row]]
    assert np.argsort(-found["sampled"][row])[:10].tolist() == by_hand(own, sets, 0.4)[:10]
    allowed = np.flatnonzero(~excluded[row])
    best = allowed[np.argsort(-scores[row, allowed], kind="stable")][: reranking.DEPTH]
    order = np.argsort(-np.where(excluded[row], -np.inf, found["full"][row]))
    expected = best[by_hand(scores[row, best], seqs.categories[best], 0.4)]
    assert order[:10].tolist() == expected[:10].tolist()
    assert set(order[: len(best)]) == set(best)


def test_a_policy_orders_the_best_of_the_backbone_and_nothing_else(seqs, monkeypatch):
    monkeypatch.setattr(reranking, "DEPTH", 7)
    rng = np.random.default_rng(0)
    scores, policy = rng.standard_normal((2, len(seqs.test), seqs.n_items + 1)).astype(np.float32)
    candidates, excluded = seqs.test.candidates, seqs.excluded(seqs.test)
    found = reranking.cmr_scores(candidates, excluded, scores, policy)
    rows = np.arange(len(scores))[:, None]
    assert np.array_equal(found["sampled"], policy[rows, candidates])
    for row, own in enumerate(found["full"]):
        allowed = np.flatnonzero(~excluded[row])
        order = allowed[np.argsort(-own[allowed], kind="stable")]
        backbone = allowed[np.argsort(-scores[row, allowed], kind="stable")]
        best = backbone[:7]
        assert order[:7].tolist() == best[np.argsort(-policy[row, best])].tolist()
        assert order[7:].tolist() == backbone[7:].tolist()


def test_item_knn_against_scikit_learn(seqs):
    from sklearn.metrics.pairwise import cosine_similarity

    users = np.repeat(np.arange(seqs.n_users), seqs.lengths)
    train = seqs.is_train()
    met = np.zeros((seqs.n_users, seqs.n_items + 1))
    met[users[train], seqs.items[train]] = 1
    similarity = cosine_similarity(met.T)
    np.fill_diagonal(similarity, 0)
    history = np.zeros((len(seqs.test), seqs.n_items + 1))
    for row, (user, position) in enumerate(zip(seqs.test.users, seqs.test.positions, strict=True)):
        start = seqs.offsets[user]
        history[row, seqs.items[start : start + position]] = 1
    found = reranking.item_knn(seqs, seqs.test, neighbours=seqs.n_items + 1)
    assert np.allclose(found, history @ similarity)
    few = reranking.item_similarity(seqs, 5)
    assert (np.diff(few.indptr) == 5).all()
    rows = few.toarray()
    assert np.allclose(np.sort(rows)[:, -5:], np.sort(similarity)[:, -5:])  # the five best
    kept = rows > 0
    assert np.allclose(rows[kept], similarity[kept])  # each where it belongs
    assert not np.allclose(rows, rows.T)
    voted = reranking.item_knn(seqs, seqs.test, neighbours=5)
    assert np.allclose(voted, history @ rows)  # what was met votes for its own neighbours


def test_item_knn_counts_an_item_met_twice_once(seqs):
    user = int(seqs.lengths.argmax())
    start = seqs.offsets[user]
    items = seqs.items.copy()
    items[start + 1] = items[start]
    twice = dataclasses.replace(seqs, items=items)
    users, train = np.repeat(np.arange(seqs.n_users), seqs.lengths), seqs.is_train()
    met = np.zeros((seqs.n_users, seqs.n_items + 1))
    met[users[train], items[train]] = 1
    norm = np.sqrt(met.sum(0)).clip(1)
    cosine = met.T @ met / norm / norm[:, None]
    np.fill_diagonal(cosine, 0)
    found = reranking.item_similarity(twice, seqs.n_items + 1).toarray()
    assert np.allclose(found, cosine)
    event = np.flatnonzero(seqs.test.users == user)[0]
    history = np.unique(items[start : start + seqs.test.positions[event]])
    scores = reranking.item_knn(twice, seqs.test, seqs.n_items + 1)[event]
    assert np.allclose(scores, cosine[history].sum(0))


def test_popularity_counts_training_events(seqs):
    scores = reranking.popularity(seqs, seqs.test)
    assert scores.shape == (len(seqs.test), seqs.n_items + 1) and scores[0].sum() == 524
    assert np.array_equal(scores[0], scores[-1])
