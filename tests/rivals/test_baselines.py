"""The recommenders without a model, against loops and scikit-learn."""

import dataclasses

import numpy as np

from paragon.rivals import baselines


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
    found = baselines.item_knn(seqs, seqs.test, neighbours=seqs.n_items + 1)
    assert np.allclose(found, history @ similarity)
    few = baselines.item_similarity(seqs, 5)
    assert (np.diff(few.indptr) == 5).all()
    rows = few.toarray()
    assert np.allclose(np.sort(rows)[:, -5:], np.sort(similarity)[:, -5:])  # the five best
    kept = rows > 0
    assert np.allclose(rows[kept], similarity[kept])  # each where it belongs
    assert not np.allclose(rows, rows.T)
    voted = baselines.item_knn(seqs, seqs.test, neighbours=5)
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
    found = baselines.item_similarity(twice, seqs.n_items + 1).toarray()
    assert np.allclose(found, cosine)
    event = np.flatnonzero(seqs.test.users == user)[0]
    history = np.unique(items[start : start + seqs.test.positions[event]])
    scores = baselines.item_knn(twice, seqs.test, seqs.n_items + 1)[event]
    assert np.allclose(scores, cosine[history].sum(0))


def test_popularity_counts_training_events(seqs):
    scores = baselines.popularity(seqs, seqs.test)
    assert scores.shape == (len(seqs.test), seqs.n_items + 1) and scores[0].sum() == 524
    assert np.array_equal(scores[0], scores[-1])
