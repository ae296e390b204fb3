"""Re-rankers: reorder lists of items for accuracy and diversity.

``rerank(lists, weight, positions)`` gives columns ``[N, positions]``, best first; weight 1 keeps
the order.  Shapes: N events, D items of a list, G patterns (sets of categories), M categories, C
candidates, n items.
"""

from __future__ import annotations

from collections.abc import Callable, Generator
from dataclasses import dataclass
from functools import partial

import numpy as np

from paragon.metrics.diversity import jaccard
from paragon.metrics.ranking import top_k

POLICY_DEPTH = 100  # how many of the catalogue's best items `cmr` re-ranks


@dataclass(frozen=True)
class Ranked:
    """Lists to re-rank, best first.

    ``relevance [N, D]``: 0..1, falling; ``kinds [N, D]``: rows in ``patterns [G, M]`` bool.
    """

    relevance: np.ndarray
    kinds: np.ndarray
    patterns: np.ndarray

    def first(self, depth: int) -> Ranked:
        """Keep the ``depth`` best items of each list."""
        return Ranked(self.relevance[:, :depth], self.kinds[:, :depth], self.patterns)


Rerank = Callable[[Ranked, float, int], np.ndarray]
# rule(patterns [G, M], N) yields the gains [N, G] at the next position of N lists, and is sent the
# chosen patterns [N].
Rule = Callable[[np.ndarray, int], Generator[np.ndarray, np.ndarray, None]]


def distance(patterns: np.ndarray, rows: int) -> Generator[np.ndarray, np.ndarray, None]:
    """Yield the gains of maximal marginal relevance, 0..1 (Carbonell & Goldstein, SIGIR 1998).

    The gain is 1 minus the largest Jaccard similarity of categories to an item above.
    """
    apart = 1 - jaccard(patterns.astype(np.float32))  # [G, G]
    least = np.ones((rows, len(patterns)), dtype=np.float32)  # [N, G]
    while True:
        chosen = yield least
        np.minimum(least, apart[chosen], out=least)


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
    """Yield gains of greedy MAP inference in a determinantal point process, 0 and more.

    The kernel is L = I + S, where S counts shared categories; the gain is the increase of
    log det L.  As in Algorithm 1 of Chen, Zhang & Zhou (NeurIPS 2018), each position adds a row
    of the Cholesky factor, and relevance is not part of the kernel.
    """
    sets, events = patterns.astype(np.float32), np.arange(rows)
    kernel = sets @ sets.T  # [G, G]: S
    # [N, G]: det L with the item over det L without it
    ratio = np.tile(1 + np.diag(kernel), (rows, 1))
    factor: list[np.ndarray] = []  # [N, G] for each position
    while True:
        # Round, so that the order of summation does not break ties.
        chosen = yield np.round(np.log(ratio), 4)
        row = kernel[chosen]  # [N, G]
        for above in factor:
            row = row - above[events, chosen, None] * above
        row = row / np.sqrt(ratio[events, chosen, None])
        factor.append(row)
        ratio = np.maximum(ratio - row * row, 1)  # below 1 by rounding only


def greedy(rule: Rule, lists: Ranked, weight: float, positions: int) -> np.ndarray:
    """Fill each position with the item of the largest merit; ties go to the more relevant one.

    Merit is ``weight * relevance + (1 - weight) * gain``, with the gains of ``rule``.
    """
    rows, depth = lists.kinds.shape
    events = np.arange(rows)
    search = rule(lists.patterns, rows)
    cells = lists.kinds + events[:, None] * len(lists.patterns)  # indices in the flat [N, G]
    alone = (weight * lists.relevance).astype(np.float32)  # [N, D]
    chosen = np.empty((rows, positions), dtype=np.int64)
    gains = next(search)  # [N, G]
    for position in range(positions):
        merit = alone + (np.float32(1 - weight) * gains).ravel()[cells]  # [N, D]
        chosen[:, position] = column = merit.argmax(1)
        alone[events, column] = -np.inf
        if position + 1 < positions:
            gains = search.send(lists.kinds[events, column])
    return chosen


RERANKERS: dict[str, Rerank] = {
    "mmr": partial(greedy, distance),
    "xquad": partial(greedy, coverage),
    "dpp": partial(greedy, volume),
}


def on_top(scores: np.ndarray, order: np.ndarray) -> np.ndarray:
    """Raise columns ``order [N, K]`` of ``scores [N, C]`` above all others, in this order."""
    raised = scores.astype(np.float64)
    above = raised.max(1, keepdims=True) + np.arange(order.shape[1], 0, -1)  # [N, K]
    np.put_along_axis(raised, order, above, 1)
    return raised


def in_order_of(policy: np.ndarray, scores: np.ndarray, excluded: np.ndarray) -> np.ndarray:
    """Re-rank the best items of catalogue scores ``[N, n + 1]`` by the scores ``policy``.

    In Chen et al. (KDD 2023), the policy sees the whole list; here it scores single items.
    """
    best = top_k(scores, min(POLICY_DEPTH, int((~excluded).sum(1).min())), excluded)  # [N, D]
    order = np.argsort(-np.take_along_axis(policy, best, 1), axis=1, kind="stable")
    return on_top(scores, np.take_along_axis(best, order, 1))
