"""xQuAD behind the lists of a few adapters, with the settings of the evaluated row.

In this file: which list is re-ranked for which weight of accuracy, how many items of it and how
far.  All of it was chosen on validation events (:mod:`paragon.rivals.calibration`).

Shapes: b requests, n items, M categories, G weights of accuracy, S sources (scores under no
adapter and under some), k items of a list.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from paragon.metrics.ranking import top_k
from paragon.rivals.calibration import Candidates, Setting
from paragon.rivals.greedy import rerank

RULE = "xquad"


@dataclass(frozen=True)
class Reranker:
    """``settings``: one for each of G weights of accuracy, evenly from 0 to 1.

    ``sources [S - 1, O]``: the weights of the adapters whose lists are re-ranked; source 0 is the
    backbone alone.  ``accuracy``: the place of accuracy among the objectives; ``categories
    [n + 1, M]`` bool.
    """

    settings: list[Setting]
    sources: np.ndarray
    accuracy: int
    categories: np.ndarray

    def setting(self, weights: np.ndarray) -> Setting:
        """That of weights ``[O]``."""
        place = round(float(weights[self.accuracy]) * (len(self.settings) - 1))
        return self.settings[min(max(place, 0), len(self.settings) - 1)]

    def lists(
        self, scores: np.ndarray, weights: np.ndarray, k: int
    ) -> tuple[np.ndarray, np.ndarray]:
        """Items and their scores ``[b, k]`` in the new order.

        Of ``scores [b, n + 1]``, -inf for what is not to be shown, each under the source of its
        weights ``[b, O]``.  Rows with fewer than k items left stay 0 and -inf.
        """
        numbers, values = np.zeros((len(scores), k)), np.full((len(scores), k), -np.inf)
        enough = np.isfinite(scores).sum(1) >= k
        by_setting: dict[Setting, list[int]] = {}
        for row in np.flatnonzero(enough):
            by_setting.setdefault(self.setting(weights[row]), []).append(int(row))
        patterns, kinds = np.unique(self.categories, axis=0, return_inverse=True)
        for setting, rows in by_setting.items():
            own = scores[rows]  # [r, n + 1]
            excluded = np.isneginf(own)
            every = np.broadcast_to(np.arange(own.shape[1]), own.shape)
            none = np.zeros(len(rows), dtype=np.int64)
            candidates = Candidates(every, excluded, none, kinds.reshape(-1), patterns)
            columns, lists = candidates.best(own, setting.temperature)  # [r, D]
            depth = min(setting.depth, columns.shape[1])
            order = rerank(RULE, lists, setting.weight, min(k, depth), depth)
            chosen = np.take_along_axis(columns, order, 1)  # [r, min(k, depth)]
            if k > depth:
                chosen = np.concatenate([chosen, top_k(own, k, excluded)[:, depth:]], 1)
            numbers[rows], values[rows] = chosen, np.take_along_axis(own, chosen, 1)
        return numbers, values
