"""Re-ranked lists: what decides one is its own request, whoever asks in the same moment."""

import numpy as np
import pytest

from paragon import Recommender
from paragon.serving.engine import Reranker
from paragon.serving.requests import Request, check_filter, check_history


@pytest.fixture
def crowd(loaded):
    """Requests with histories, weights, lengths, filters and re-ranking of all kinds."""
    rng, items = np.random.default_rng(0), loaded.items
    requests = []
    for _ in range(60):
        history, few = (
            rng.choice(items.ids, size, replace=False) for size in rng.integers(10, 60, 2)
        )
        blocked = check_filter(few, None, items) if rng.random() < 0.5 else None
        accuracy = rng.choice([0, 0.3, 0.8, 1])
        weights = np.array([accuracy, 1 - accuracy], dtype=np.float32)
        k, again = int(rng.choice([1, 5, 30])), rng.choice(["xquad", None])
        requests.append(Request(*check_history(history, items), weights, k, blocked, again))
    return requests


def test_a_request_has_the_same_list_alone_and_in_any_company(loaded, crowd):
    alone = [loaded.engine.answer([request]) for request in crowd]
    assert 0 < sum(bool(batch.errors) for batch in alone) < 30  # for some too few items are left
    order = np.random.default_rng(1).permutation(len(crowd))
    for company in (order, order[::2], order[:7]):
        batch = loaded.engine.answer([crowd[row] for row in company])
        for place, row in enumerate(company):
            own, k = alone[row], crowd[row].k
            assert batch.errors.get(place) == own.errors.get(0)
            assert batch.numbers[place, :k].tobytes() == own.numbers[0].tobytes()
            assert not batch.numbers[place, k:].any() and not batch.scores[place, k:].any()
            # The last bits of a score come from matrix products, which are larger for many.
            assert np.allclose(batch.scores[place, :k], own.scores[0], atol=1e-5)


@pytest.mark.parametrize("k", [1, 5, 30])
def test_of_the_same_scores_it_is_the_same_to_the_byte(loaded, k):
    """With 5 to 147 items left, of which the best 20, 50 or all are re-ranked."""
    rng, n = np.random.default_rng(0), len(loaded.items)
    scores = rng.normal(0, 1, (80, n + 1)).round(1).astype(np.float32)  # some are equal
    for row in scores:
        row[rng.choice(n, rng.integers(n - 4), replace=False) + 1] = -np.inf
    scores[:, 0] = -np.inf
    known = {"source": 0, "temperature": 0.5}
    settings = [known | {"depth": d, "weight": w} for d, w in ((20, 0.9), (50, 0.5), (1000, 0.99))]
    weights = np.array([[0], [0.5], [1]], dtype=np.float32)[rng.integers(3, size=80)]  # [80, 1]
    patterns, kinds = np.unique(loaded.items.categories, axis=0, return_inverse=True)
    reranker, described = Reranker(0, settings, np.zeros((0, 1))), (kinds.reshape(-1), patterns)
    together = reranker.lists(scores, weights, k, described)
    for row in range(80):
        alone = reranker.lists(scores[[row]], weights[[row]], k, described)
        assert [own.tobytes() for own in alone] == [every[[row]].tobytes() for every in together]


def test_somebody_with_few_items_left_changes_no_other_list(loaded):
    """And somebody who wants a long list has nobody refused."""
    ids, half = loaded.items.ids, [0.0, 1.0]
    pasts = [ids[:4], ids[:-12], ids[20:26]]  # for the second one 12 are left
    batch = loaded.recommend_many(pasts, half, k=10, rerank="xquad")
    for past, found in zip(pasts, batch, strict=True):
        assert found.item_ids == loaded.recommend(past, half, k=10, rerank="xquad").item_ids
    weights = np.array(half, dtype=np.float32)
    short, long = (
        Request(*check_history(past, loaded.items), weights, k, None, rule)
        for past, k, rule in ((ids[:-12], 10, "xquad"), (ids[:2], 100, None))
    )
    both = loaded.engine.answer([short, long])
    assert both.one(0).item_ids == batch[1].item_ids and len(both.one(1)) == 100


def test_the_categories_are_described_once(loaded, seqs, monkeypatch):
    served = Recommender(loaded.backbone, loaded.generator, loaded.items, None, loaded.reranker)
    lengths, unique = [], np.unique
    monkeypatch.setattr(
        np, "unique", lambda a, **how: (lengths.append(len(a)), unique(a, **how))[1]
    )
    for _ in range(2):
        served.recommend(seqs.item_ids[:3], [0.5, 0.5], rerank="xquad")
    assert lengths == [1, 1]  # of the weights
