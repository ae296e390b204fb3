"""Re-rankers: the items of a list in another order, for accuracy and diversity.

A re-ranker is a function ``rerank(lists, weight, positions) -> columns [N, positions]``: of every
list the columns of the items that it shows, best first.  ``weight``, 0..1, is what accuracy counts;
at 1 the list stays as it is.  One of your own becomes a row of the comparison with an entry
``Method("reranked", rerank=...)`` in `paragon.evaluation.methods`; which weight it takes for which
preference is chosen on validation events (`paragon.rivals.calibration`).

`mmr`, `xquad` and `dpp` are one greedy search that differs in a single function.  Each position
takes the item with the largest merit::

    merit = weight * relevance + (1 - weight) * gain

The rule says what an item gains: how much it adds to the items above.  Items with the same set of
categories (a *pattern*) gain the same, so gains are computed for patterns.

Shapes: N events, D items of a list, G patterns, M categories, C candidates, n items of the
catalogue.
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
    """Lists to be re-ranked, best first.

    ``relevance [N, D]``: 0..1, falling; ``kinds [N, D]``: the pattern of each item, a row of
    ``patterns [G, M]`` bool.
    """

    relevance: np.ndarray
    kinds: np.ndarray
    patterns: np.ndarray

    def first(self, depth: int) -> Ranked:
        """Only the ``depth`` best items of each list."""
        return Ranked(self.relevance[:, :depth], self.kinds[:, :depth], self.patterns)


Rerank = Callable[[Ranked, float, int], np.ndarray]
# rule(patterns [G, M], N) yields the gain of each pattern at the next position of N lists, [N, G],
# and is sent the pattern that was chosen there, [N].
Rule = Callable[[np.ndarray, int], Generator[np.ndarray, np.ndarray, None]]


def distance(patterns: np.ndarray, rows: int) -> Generator[np.ndarray, np.ndarray, None]:
    """Maximal marginal relevance (Carbonell & Goldstein, SIGIR 1998): gains of 0..1.

    The gain is 1 minus the largest similarity to an item above, the Jaccard similarity of the
    two sets of categories; two empty sets are alike.
    """
    apart = 1 - jaccard(patterns.astype(np.float32))  # [G, G]
    least = np.ones((rows, len(patterns)), dtype=np.float32)  # [N, G]
    while True:
        chosen = yield least
        np.minimum(least, apart[chosen], out=least)


def coverage(patterns: np.ndarray, rows: int) -> Generator[np.ndarray, np.ndarray, None]:
    """xQuAD (Santos, Macdonald & Ounis, WWW 2010): gains of 0..M.

    The aspects are the categories, all equally likely, and an item satisfies each of its own
    with probability 1/2.  The gain is the sum of the probabilities that nothing above has
    satisfied the category yet, (1/2)^r for one that was met r times.  This is the gain of
    α-DCG at α = 1/2: at weight 0 the list is the greedy ideal of that metric.
    """
    sets = patterns.astype(np.float32)
    unmet = np.ones((rows, patterns.shape[1]), dtype=np.float32)  # [N, M]
    while True:
        chosen = yield unmet @ sets.T
        unmet *= 1 - sets[chosen] / 2


def volume(patterns: np.ndarray, rows: int) -> Generator[np.ndarray, np.ndarray, None]:
    """Greedy search for the likeliest set of a determinantal point process: gains of 0 and more.

    The kernel is L = I + S, where S counts the categories that two items share.  The gain is
    log det L of the items chosen with the next one, minus that without it.  As in Algorithm 1 of
    Chen, Zhang & Zhou (NeurIPS 2018) a row of the Cholesky factor is added at each position.
    As there, relevance is weighed against log det, and not part of the kernel.
    """
    sets, events = patterns.astype(np.float32), np.arange(rows)
    kernel = sets @ sets.T  # [G, G]: S
    # det L with the item over det L without it, and at first with nothing above: [N, G].
    ratio = np.tile(1 + np.diag(kernel), (rows, 1))
    factor: list[np.ndarray] = []  # of each position, [N, G]
    while True:
        # Rounded, so that the order of summation does not decide between equal gains.
        chosen = yield np.round(np.log(ratio), 4)
        row = kernel[chosen]  # [N, G]
        for above in factor:
            row = row - above[events, chosen, None] * above
        row = row / np.sqrt(ratio[events, chosen, None])
        factor.append(row)
        ratio = np.maximum(ratio - row * row, 1)  # less by rounding only


def greedy(rule: Rule, lists: Ranked, weight: float, positions: int) -> np.ndarray:
    """The re-ranker of a rule; of equal merits the more relevant item wins."""
    rows, depth = lists.kinds.shape
    events = np.arange(rows)
    search = rule(lists.patterns, rows)
    cells = lists.kinds + events[:, None] * len(lists.patterns)  # of each item, in the flat [N, G]
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
    """``scores [N, C]`` with the columns ``order [N, K]`` above all others, in this order."""
    raised = scores.astype(np.float64)
    above = raised.max(1, keepdims=True) + np.arange(order.shape[1], 0, -1)  # [N, K]
    np.put_along_axis(raised, order, above, 1)
    return raised


def in_order_of(policy: np.ndarray, scores: np.ndarray, excluded: np.ndarray) -> np.ndarray:
    """Catalogue scores ``[N, n + 1]``, the best items in the order of a ``policy [N, n + 1]``.

    Of ``scores [N, n + 1]`` the best ``POLICY_DEPTH`` items that are not ``excluded [N, n + 1]``,
    or as many as there are, come above all others.  After Chen et al. (2023), whose policy
    hypernetwork re-ranks whole lists; here one item is scored at a time.
    """
    best = top_k(scores, min(POLICY_DEPTH, int((~excluded).sum(1).min())), excluded)  # [N, D]
    order = np.argsort(-np.take_along_axis(policy, best, 1), axis=1, kind="stable")
    return on_top(scores, np.take_along_axis(best, order, 1))
