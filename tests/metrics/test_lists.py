"""NDCG and α-nDCG of short lists, against a loop over events."""

import numpy as np

from paragon.metrics.lists import TOP, ListQuality, ranks_in
from paragon.metrics.ranking import alpha_dcg, ideal_alpha_dcg

EVENTS, ITEMS, KINDS, LENGTH = 40, 30, 5, 4


def test_the_quality_of_a_list_equals_a_loop():
    rng = np.random.default_rng(0)
    categories = rng.random((ITEMS + 1, KINDS)) < 0.3  # [n + 1, M]
    categories[0] = False  # padding
    items = np.stack([rng.permutation(np.arange(1, ITEMS + 1))[:LENGTH] for _ in range(EVENTS)])
    targets = rng.integers(1, ITEMS + 1, EVENTS)
    targets[:LENGTH] = items[range(LENGTH), range(LENGTH)]  # each rank occurs
    excluded = rng.random((EVENTS, ITEMS + 1)) < 0.5

    ideal = ideal_alpha_dcg(categories, TOP, excluded=excluded)  # [N, 10]
    ndcg, diversity = ListQuality.of(targets, categories, excluded=excluded).measure(items)
    for event, (target, row) in enumerate(zip(targets, items.tolist(), strict=True)):
        rank = row.index(target) + 1 if target in row else None
        assert ranks_in(items, targets)[event] == (rank or LENGTH + 1)
        assert np.isclose(ndcg[event], 1 / np.log2(1 + rank) if rank else 0)
        dcg = alpha_dcg(categories[row][None])[0, LENGTH - 1]
        assert np.isclose(diversity[event], dcg / ideal[event, LENGTH - 1])


def test_the_ideal_is_that_of_the_candidates():
    categories = np.eye(4, dtype=bool)
    targets, items = np.array([1, 1]), np.array([[1, 2], [1, 2]])
    candidates = np.array([[1, 2, 3], [1, 1, 1]])
    _, some = ListQuality.of(targets, categories, candidates).measure(items)
    _, every = ListQuality.of(targets, categories).measure(items)
    assert every.tolist() == [1, 1] and some[0] == 1
    assert np.isclose(some[1], (1 + 1 / np.log2(3)) / (1 + 0.5 / np.log2(3)))  # above a poor ideal
