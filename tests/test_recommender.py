"""From a history and weights to named items."""

import numpy as np
import pytest
import torch

from paragon import adapters
from paragon.errors import ParagonError
from paragon.generator import train_generator
from paragon.recommender import Recommender


@pytest.fixture(scope="module")
def recommender(backbone, seqs, settings):
    collection = adapters.collect(backbone, seqs, settings.adapters, [0])
    return Recommender(backbone, train_generator(collection, settings.diffusion, 0), seqs)


def test_best_items_outside_the_history(recommender, seqs):
    history = recommender.history_of("u3")
    table = recommender.recommend(history, [0.5, 0.5], k=7)
    assert len(table) == 7 and list(table.index) == list(range(1, 8))
    assert not set(table["item_id"]) & set(history)
    assert table["score"].is_monotonic_decreasing
    assert table["title"].iloc[0] == "Item " + table["item_id"].iloc[0][1:]


def test_scores_follow_the_formula(recommender, seqs):
    """One user's way from the sequence to a score, written out."""
    user = seqs.user_ids.index("u3")
    position = seqs.lengths[user]
    items, _ = seqs.histories(np.array([user]), np.array([position]), recommender.backbone.history)
    state = recommender.backbone.encode(torch.from_numpy(items), None, None)[0]
    state = state[min(position, recommender.backbone.history) - 1]
    adapted = recommender.adapter([0.5, 0.5])(state)
    table = recommender.recommend(recommender.history_of("u3"), [0.5, 0.5], k=3)
    number = seqs.item_ids.index(table["item_id"].iloc[0]) + 1
    expected = (adapted @ recommender.backbone.item_vectors()[number]).item()
    assert table["score"].iloc[0] == pytest.approx(expected, abs=1e-4)


@pytest.mark.parametrize(
    ("history", "weights", "k", "words"),
    [
        ([], [0.5, 0.5], 3, "at least one item"),
        (["nonsense"], [0.5, 0.5], 3, "'nonsense' is not in the dataset"),
        (["i1"], [0.5, 0.6], 3, "sum to 1"),
        (["i1"], [0.5, 0.5], 0, "k: 0 is out of range"),
        (["i1"], [0.5, 0.5], 10_000, "k: 10000"),
    ],
)
def test_bad_requests(recommender, history, weights, k, words):
    with pytest.raises(ParagonError, match=words):
        recommender.recommend(history, weights, k=k)


def test_unknown_user(recommender):
    with pytest.raises(ParagonError, match="'nobody'"):
        recommender.history_of("nobody")
