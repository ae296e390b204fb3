"""The recommenders without a model, against scikit-learn."""

import dataclasses

import numpy as np
import pytest
from sklearn.metrics.pairwise import cosine_similarity

from paragon.metrics import ranking
from paragon.rivals import baselines


@pytest.fixture(scope="module")
def twice(seqs):
    """The user with most events met an item twice, which counts once."""
    start, items = seqs.offsets[seqs.lengths.argmax()], seqs.items.copy()
    items[start + 1] = items[start]
    return dataclasses.replace(seqs, items=items)


def test_item_knn_against_scikit_learn(twice):
    users, train = np.repeat(np.arange(twice.n_users), twice.lengths), twice.is_train()
    met = np.zeros((twice.n_users, twice.n_items + 1))
    met[users[train], twice.items[train]] = 1
    similarity = cosine_similarity(met.T)
    np.fill_diagonal(similarity, 0)
    history, test = np.zeros((len(twice.test), twice.n_items + 1)), twice.test
    for row, (user, position) in enumerate(zip(test.users, test.positions, strict=True)):
        start = twice.offsets[user]
        history[row, twice.items[start : start + position]] = 1
    votes = baselines.item_knn(twice, test, neighbours=twice.n_items + 1)
    assert np.allclose(votes, history @ similarity)
    few = baselines.item_similarity(twice, 5)
    assert (np.diff(few.indptr) == 5).all()
    rows = few.toarray()
    assert np.allclose(np.sort(rows)[:, -5:], np.sort(similarity)[:, -5:])  # the five best
    kept = rows > 0
    assert np.allclose(rows[kept], similarity[kept])  # each where it belongs
    assert not np.allclose(rows, rows.T)
    votes = baselines.item_knn(twice, test, neighbours=5)
    assert np.allclose(votes, history @ rows)  # what was met votes for its own neighbours


def test_popularity_counts_training_events(seqs):
    scores = baselines.popularity(seqs, seqs.test)
    assert scores.shape == (len(seqs.test), seqs.n_items + 1) and scores[0].sum() == 524
    assert np.array_equal(scores[0], scores[-1])


def test_a_backbone_no_better_than_a_rule_is_a_warning_with_all_numbers(seqs):
    scores = np.where(seqs.excluded(seqs.valid), -1, baselines.item_knn(seqs, seqs.valid))
    ranks = (scores >= np.take_along_axis(scores, seqs.valid.targets[:, None], 1)).sum(1)
    knn = np.where(ranks <= 10, 1 / np.log2(1 + ranks), 0).mean()
    assert f"item_knn {knn:.4f}" in (weak := baselines.beside_baselines(knn, seqs))
    assert weak.startswith("WARNING")
    assert "backbones.loss: softmax" in weak and "learning_rate" in weak
    assert "WARNING" in baselines.beside_baselines(1.019 * knn, seqs)  # by a hair
    assert "WARNING" not in baselines.beside_baselines(0.9, seqs)


def test_a_backbone_that_chance_made_better_than_a_rule_is_a_warning(seqs):
    ranks = ranking.target_ranks(
        baselines.item_knn(seqs, seqs.valid), seqs.valid.targets, seqs.excluded(seqs.valid)
    )
    by_event = ranking.ndcg_at(ranks, 10)
    error = by_event.std() / np.sqrt(len(by_event))
    by_chance = baselines.beside_baselines(by_event.mean() + 1.9 * error, seqs)
    assert by_chance.startswith("WARNING") and f"{len(by_event)} events" in by_chance
    assert "WARNING" not in baselines.beside_baselines(by_event.mean() + 2.1 * error, seqs)
