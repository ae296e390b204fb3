"""Rules that reorder a list of items for accuracy and diversity: MMR, xQuAD and DPP.

A re-ranker ``rerank(lists, weight, positions)`` returns indices into the lists, ``[N, positions]``,
best first; weight 1 keeps the order. Shapes: N events, D items of a list, G patterns (sets of
categories), M categories.
"""

from collections.abc import Callable, Generator
from dataclasses import dataclass, replace
from functools import partial
from typing import NamedTuple

import numpy as np

from paragon.errors import ParagonError
from paragon.metrics import ranking


class Setting(NamedTuple):
    """The setting of a re-ranker: whose scores, how many items, and which weight of accuracy."""

    source: int
    temperature: float
    depth: int
    weight: float


@dataclass(frozen=True)
class Ranked:
    """Lists to re-rank, best first."""

    columns: np.ndarray  # [N, D], of the items among the candidates
    items: np.ndarray  # [N, D], their numbers in the catalogue
    relevance: np.ndarray  # [N, D], 0..1, falling
    kinds: np.ndarray  # [N, D], rows in `patterns`
    patterns: np.ndarray  # [G, M], bool
    history: np.ndarray | None = None  # [N, M], shares of the categories in what the user has met

    def first(self, depth: int) -> "Ranked":
        """Keep the ``depth`` best items of each list."""
        if depth >= self.kinds.shape[1]:
            return self
        return replace(
            self,
            columns=self.columns[:, :depth],
            items=self.items[:, :depth],
            relevance=self.relevance[:, :depth],
            kinds=self.kinds[:, :depth],
        )

    def reranked(self, rerank: "Rerank", setting: Setting, positions: int) -> np.ndarray:
        """Re-rank the ``setting.depth`` best items; return columns ``[N, up to positions]``.

        Raise ``ParagonError`` if the re-ranker returns anything but different indices of its list.
        """
        lists = self.first(setting.depth)
        rows, depth = lists.kinds.shape
        length = min(positions, depth)
        order = np.asarray(rerank(lists, setting.weight, length))  # [N, length]
        _check_order(order, rows, length, depth)
        return np.take_along_axis(self.columns, order, 1)


def _check_order(order: np.ndarray, rows: int, length: int, depth: int) -> None:
    """Refuse an ``order`` that is not ``[rows, length]`` different indices below ``depth``."""
    whole = order.shape == (rows, length) and order.dtype.kind in "iu"
    if whole:
        in_order = np.sort(order, -1)
        different = (np.diff(in_order) > 0).all()
        known = in_order.min(initial=0) >= 0 and in_order.max(initial=0) < depth
        if different and known:
            return
    raise ParagonError(
        f"a re-ranker must return whole numbers [N, positions] = {(rows, length)}, in a row all "
        f"different and from 0 to {depth - 1}, not {order.dtype} {order.shape}"
    )


Rerank = Callable[[Ranked, float, int], np.ndarray]
# rule(patterns [G, M], N) yields the gains [N, G] at the next position of N lists, and is sent the
# chosen patterns [N].
Rule = Callable[[np.ndarray, int], Generator[np.ndarray, np.ndarray, None]]


def distance(patterns: np.ndarray, rows: int) -> Generator[np.ndarray, np.ndarray, None]:
    """Yield the gains of MMR: Jaccard distance to items above (Carbonell & Goldstein 1998)."""
    sets = patterns.astype(np.float32)  # [G, M]
    least = np.ones((rows, len(sets)), dtype=np.float32)  # [N, G]
    while True:
        chosen = yield least
        apart = 1 - ranking.jaccard(sets[chosen], sets)  # [N, G]
        np.minimum(least, apart, out=least)


def coverage(patterns: np.ndarray, rows: int) -> Generator[np.ndarray, np.ndarray, None]:
    """Yield the gains of xQuAD, 0..M (Santos, Macdonald & Ounis, WWW 2010).

    A category of the item that r items above have adds (1/2)^r, as in α-DCG at α = 1/2: at weight
    0, the list is the greedy ideal of that metric.
    """
    sets = patterns.astype(np.float32)
    unmet = np.ones((rows, patterns.shape[1]), dtype=np.float32)  # [N, M]
    while True:
        chosen = yield unmet @ sets.T
        unmet *= 1 - sets[chosen] / 2


def volume(patterns: np.ndarray, rows: int) -> Generator[np.ndarray, np.ndarray, None]:
    """Yield gains of greedy MAP inference in a determinantal point process, non-negative.

    The kernel is L = I + S, where S counts shared categories; the gain is the increase of log det
    L, by Algorithm 1 of Chen, Zhang & Zhou (NeurIPS 2018).
    """
    sets = patterns.astype(np.float32)  # [G, M]
    events = np.arange(rows)
    ratio = np.tile(1 + sets.sum(1), (rows, 1))  # [N, G]: det L with the item over without it
    factor: list[np.ndarray] = []  # [N, G] for each position
    while True:
        # Round, so that the order of summation does not break ties.
        chosen = yield np.round(np.log(ratio), 4)
        row = sets[chosen] @ sets.T  # [N, G]: of S
        for above in factor:
            row = row - above[events, chosen, None] * above
        row = row / np.sqrt(ratio[events, chosen, None])
        factor.append(row)
        ratio = np.maximum(ratio - row * row, 1)  # below 1 by rounding only


def greedy(rule: Rule, lists: Ranked, weight: float, positions: int) -> np.ndarray:
    """Fill positions by ``weight * relevance + (1 - weight) * gain``; ties: the more relevant."""
    rows, depth = lists.kinds.shape
    events = np.arange(rows)
    search = rule(lists.patterns, rows)
    cells = lists.kinds + events[:, None] * len(lists.patterns)  # indices in the flat [N, G]
    alone = (weight * lists.relevance).astype(np.float32)  # [N, D]
    chosen = np.empty((rows, positions), dtype=np.int64)
    gains = next(search)  # [N, G]
    for position in range(positions):
        weighted = np.float32(1 - weight) * gains  # [N, G]
        merit = alone + weighted.take(cells)  # [N, D]
        column = merit.argmax(1)  # [N]
        chosen[:, position] = column
        alone[events, column] = -np.inf
        if position + 1 < positions:
            gains = search.send(lists.kinds[events, column])
    return chosen


RERANKERS: dict[str, Rerank] = {
    "mmr": partial(greedy, distance),
    "xquad": partial(greedy, coverage),
    "dpp": partial(greedy, volume),
}
