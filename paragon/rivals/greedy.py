"""Three rules that re-rank a list for accuracy and diversity, one position after the other.

In this file: `mmr`, `xquad` and `dpp` as one search that differs in a single function.  Each
position takes the item with the largest merit::

    merit = weight * relevance + (1 - weight) * gain

The rule says what an item gains: how much it adds to the items above.  Items with the same
set of categories (a *pattern*) gain the same, so gains are computed for patterns.

Shapes: N events, D items of a list, G patterns, M categories.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np

from paragon.metrics.diversity import jaccard


class Rule(Protocol):
    """What the patterns add to the items chosen so far, for N lists at once."""

    def __init__(self, patterns: np.ndarray, rows: int) -> None:
        """Of ``patterns [G, M]`` bool; nothing is chosen yet in any of the N = ``rows`` lists."""

    def gains(self) -> np.ndarray:
        """The gain of each pattern at the next position, ``[N, G]``."""

    def add(self, chosen: np.ndarray) -> None:
        """Note the pattern ``chosen [N]`` for the next position of each list."""


class Distance:
    """Maximal marginal relevance (Carbonell & Goldstein, SIGIR 1998): gains of 0..1.

    The gain is 1 minus the largest similarity to an item above, the Jaccard similarity of the
    two sets of categories; two empty sets are alike.
    """

    def __init__(self, patterns: np.ndarray, rows: int) -> None:
        sets = patterns.astype(np.float32)
        self._distance = 1 - jaccard(sets)  # [G, G]
        self._least = np.ones((rows, len(sets)), dtype=np.float32)  # [N, G]

    def gains(self) -> np.ndarray:
        """The gain of each pattern at the next position, ``[N, G]``."""
        return self._least

    def add(self, chosen: np.ndarray) -> None:
        """Note the pattern ``chosen [N]`` for the next position of each list."""
        np.minimum(self._least, self._distance[chosen], out=self._least)


class Coverage:
    """xQuAD (Santos, Macdonald & Ounis, WWW 2010): gains of 0..M.

    The aspects are the categories, all equally likely, and an item satisfies each of its own
    with probability 1/2.  The gain is the sum of the probabilities that nothing above has
    satisfied the category yet, (1/2)^r for one that was met r times.  This is the gain of
    α-DCG at α = 1/2: at weight 0 the list is the greedy ideal of that metric.
    """

    def __init__(self, patterns: np.ndarray, rows: int) -> None:
        self._sets = patterns.astype(np.float32)
        self._open = np.ones((rows, patterns.shape[1]), dtype=np.float32)  # [N, M]

    def gains(self) -> np.ndarray:
        """The gain of each pattern at the next position, ``[N, G]``."""
        return self._open @ self._sets.T

    def add(self, chosen: np.ndarray) -> None:
        """Note the pattern ``chosen [N]`` for the next position of each list."""
        self._open *= 1 - self._sets[chosen] / 2


class Volume:
    """Greedy search for the likeliest set of a determinantal point process: gains of 0 and more.

    The kernel is L = I + S, where S counts the categories that two items share.  The gain is
    log det L of the items chosen with the next one, minus that without it.  As in Algorithm 1 of
    Chen, Zhang & Zhou (NeurIPS 2018) a row of the Cholesky factor is added at each position.
    As there, relevance is weighed against log det, and not part of the kernel.
    """

    def __init__(self, patterns: np.ndarray, rows: int) -> None:
        sets = patterns.astype(np.float32)
        self._kernel = sets @ sets.T  # [G, G]: S
        # det L with the item over det L without it, and at first with nothing above: [N, G].
        self._volume = np.tile(1 + np.diag(self._kernel), (rows, 1))
        self._factor: list[np.ndarray] = []  # of each position, [N, G]

    def gains(self) -> np.ndarray:
        """The gain of each pattern at the next position, ``[N, G]``."""
        # Rounded, so that the order of summation does not decide between equal gains.
        return np.round(np.log(self._volume), 4)

    def add(self, chosen: np.ndarray) -> None:
        """Note the pattern ``chosen [N]`` for the next position of each list."""
        events = np.arange(len(chosen))
        row = self._kernel[chosen]  # [N, G]
        for above in self._factor:
            row = row - above[events, chosen, None] * above
        row = row / np.sqrt(self._volume[events, chosen, None])
        self._factor.append(row)
        self._volume = np.maximum(self._volume - row * row, 1)  # less by rounding only


RULES: dict[str, type[Rule]] = {"mmr": Distance, "xquad": Coverage, "dpp": Volume}


@dataclass(frozen=True)
class Ranked:
    """Lists to be re-ranked, best first.

    ``relevance [N, D]``: 0..1, falling; ``kinds [N, D]``: the pattern of each item, a row of
    ``patterns [G, M]`` bool.
    """

    relevance: np.ndarray
    kinds: np.ndarray
    patterns: np.ndarray


def rerank(rule: str, lists: Ranked, weight: float, positions: int, depth: int) -> np.ndarray:
    """The first ``positions`` of every list in its new order: columns ``[N, positions]``.

    Among the best ``depth`` items; both at most D, and ``depth`` no less than ``positions``.
    ``weight`` 0..1: 1 keeps the order, 0 looks at the gains alone.  Of equal merits the more
    relevant item wins.  ``rule``: a name in ``RULES``.
    """
    rows = len(lists.kinds)
    events = np.arange(rows)
    state = RULES[rule](lists.patterns, rows)
    kinds = lists.kinds[:, :depth]
    cells = kinds + events[:, None] * len(lists.patterns)  # of each item, in the flat [N, G]
    alone = (weight * lists.relevance[:, :depth]).astype(np.float32)  # [N, depth]
    chosen = np.empty((rows, positions), dtype=np.int64)
    for position in range(positions):
        gains = np.float32(1 - weight) * state.gains()  # [N, G]
        chosen[:, position] = column = (alone + gains.ravel()[cells]).argmax(1)
        alone[events, column] = -np.inf
        state.add(kinds[events, column])
    return chosen


def on_top(scores: np.ndarray, order: np.ndarray) -> np.ndarray:
    """``scores [N, C]`` with the columns ``order [N, K]`` above all others, in this order."""
    raised = scores.astype(np.float64)
    above = raised.max(1, keepdims=True) + np.arange(order.shape[1], 0, -1)  # [N, K]
    np.put_along_axis(raised, order, above, 1)
    return raised
