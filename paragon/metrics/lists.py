"""NDCG and α-nDCG of lists of ten items, wherever such lists are chosen or measured.

Shapes: N events, K <= 10 items of a list, n items, M categories, C candidates.
"""

from dataclasses import dataclass

import numpy as np

from paragon.metrics.ranking import alpha_dcg, alpha_ndcg_at, ideal_alpha_dcg, ndcg_at

TOP = 10  # items of a list, as in the headline metrics


def ranks_in(items: np.ndarray, targets: np.ndarray) -> np.ndarray:
    """Return the rank of each of ``targets [N]`` in ``items [N, K]``, ``[N]``: K + 1 if absent."""
    hits = items == targets[:, None]  # [N, K]
    return np.where(hits.any(1), hits.argmax(1) + 1, items.shape[1] + 1)


@dataclass(frozen=True)
class ListQuality:
    """Measures lists of the same N events; :meth:`of` prepares it."""

    targets: np.ndarray  # [N], the items that came next
    categories: np.ndarray  # [n + 1, M], bool
    ideal: np.ndarray  # [N, 10], α-DCG of the greedily best list of the candidates

    @classmethod
    def of(
        cls,
        targets: np.ndarray,
        categories: np.ndarray,
        candidates: np.ndarray | None = None,
        excluded: np.ndarray | None = None,
    ) -> "ListQuality":
        """Prepare events; ``candidates [N, C]`` and ``excluded`` as in ``ideal_alpha_dcg``."""
        ideal = ideal_alpha_dcg(categories, TOP, candidates=candidates, excluded=excluded)
        return cls(targets, categories, ideal)

    def measure(self, items: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Compute NDCG@K and α-nDCG@K of lists ``items [N, K]``: ``[N]`` each, 0..1."""
        length = items.shape[1]
        ndcg = ndcg_at(ranks_in(items, self.targets), length)
        by_length = alpha_dcg(self.categories[items])  # [N, K]
        return ndcg, alpha_ndcg_at(by_length, self.ideal, length)
