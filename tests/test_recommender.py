"""From a history and weights to named items."""

import numpy as np
import pytest
import torch

from paragon.adapters.collection import collect
from paragon.adapters.frozen import frozen_task
from paragon.backbones import BACKBONES, build
from paragon.errors import ParagonError
from paragon.generator.training import train_generator
from paragon.recommender import History, Recommender


@pytest.fixture(scope="module")
def recommender(backbone, seqs, settings):
    collection = collect(backbone, seqs, settings.adapters, [0])
    return Recommender(backbone, train_generator(collection, settings.generator, 0), seqs)


def test_best_items_outside_the_history(recommender, seqs):
    history = recommender.history_of("u3")
    table = recommender.recommend(history, [0.5, 0.5], k=7)
    assert len(table) == 7 and list(table.index) == list(range(1, 8))
    assert not set(table["item_id"]) & set(history.items)
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
    item = torch.cat(
        [recommender.backbone.item_vectors()[number], torch.tensor(seqs.categories[number]).float()]
    )
    expected = (adapted @ item).item()
    assert table["score"].iloc[0] == pytest.approx(expected, abs=1e-4)


@pytest.mark.parametrize("name", list(BACKBONES))
def test_it_serves_the_model_that_is_evaluated(name, seqs, settings):
    """The same items as the ranking behind the results, for every backbone and several users."""
    model = build(name, seqs, settings.backbones, seed=0).eval().requires_grad_(False)
    collection = collect(model, seqs, settings.adapters, [0])
    recommender = Recommender(model, train_generator(collection, settings.generator, 0), seqs)
    task = frozen_task(model, seqs, "test", settings.adapters)
    scores = task.catalogue_scores(recommender.generator.generate([0.3, 0.7])[0])
    scores[torch.from_numpy(seqs.excluded(seqs.test))] = -torch.inf
    for row in range(5):
        user = seqs.user_ids[seqs.test.users[row]]
        history = recommender.history_of(user).first(seqs.test.positions[row])
        table = recommender.recommend(history, [0.3, 0.7], k=3)
        best = scores[row].topk(3)
        assert list(table["item_id"]) == [seqs.item_ids[i - 1] for i in best.indices]
        assert np.allclose(table["score"], best.values, atol=1e-5)


def test_times_and_users_reach_the_backbones_that_look_at_them(seqs, settings):
    for name, forgets in (("tisasrec", {"times": None}), ("lightgcn", {"user": None})):
        model = build(name, seqs, settings.backbones, seed=0).eval().requires_grad_(False)
        collection = collect(model, seqs, settings.adapters, [0])
        recommender = Recommender(model, train_generator(collection, settings.generator, 0), seqs)
        known = recommender.history_of("u3")
        without = History(**{**vars(known), **forgets})
        first, second = (recommender.recommend(h, [0.5, 0.5], k=5) for h in (known, without))
        assert not np.allclose(first["score"], second["score"])


@pytest.mark.parametrize(
    ("history", "weights", "k", "words"),
    [
        ([], [0.5, 0.5], 3, "at least one item"),
        (["nonsense"], [0.5, 0.5], 3, "'nonsense' is not in the dataset"),
        (History(["i1"], times=[1, 2]), [0.5, 0.5], 3, "1 items with 2 times"),
        (History(["i1"], user="nobody"), [0.5, 0.5], 3, "user 'nobody'"),
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
