"""Diversity of ranked lists: α-nDCG, coverage and distance of categories, items shown to all.

Shapes: N test events, C candidates of an event, V rows of the category table, M
categories, K positions of a ranked list.  Categories are multi-hot rows; the
categories of a ranked list are ``table[items] [N, K, M]``.  Every metric but
``items_shown_at`` is returned per event, unaveraged.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from paragon.errors import ParagonError
from paragon.metrics.checks import INTEGERS, cutoff, exclusion, row_blocks, shaped, within

_TIE = 1e-9  # gains closer than this are equal: the order of summation must not break a tie


def alpha_dcg(ranked: np.ndarray, alpha: float = 0.5) -> np.ndarray:
    """α-DCG at every cut-off; float64 ``[N, K]``, column k - 1 is α-DCG@k, 0..inf.

    ``ranked [N, K, M]``, bool: categories of the list, best first.  A category seen
    r times above is worth (1 - α)^r, a position 1 / log2(1 + position).
    Every category of every item counts, whatever the user likes: a coverage
    measure, not one of relevance.
    Raises ``ParagonError`` for another shape or α outside 0..1.
    Source: Clarke et al., SIGIR 2008, equations 6 and 8 with J(d, i) in {0, 1}.
    """
    ranked = _lists(ranked)
    seen = np.cumsum(ranked, axis=1, dtype=np.int64) - ranked
    worth = _decay(alpha) ** np.arange(ranked.shape[1])
    return _discounted((ranked * worth[seen]).sum(axis=2))


def ideal_alpha_dcg(
    categories: np.ndarray,
    k: int,
    alpha: float = 0.5,
    candidates: np.ndarray | None = None,
    excluded: np.ndarray | None = None,
) -> np.ndarray:
    """α-DCG of the greedily best list of each event's candidates; float64 ``[N, k]``.

    ``categories [V, M]``, bool; ``candidates [N, C]``: rows of ``categories`` (None: all
    of them, in order); ``excluded [N, C]``, bool.  With neither, one row for all.
    At each position the candidate of largest gain is taken; of equal gains the
    one that comes first in the candidate list.  (Different choices among ties
    lead to different sums: the rule is part of the metric.)  With fewer than k
    candidates the last sum is repeated.  It depends on no model: compute it once.
    Raises ``ParagonError`` for shapes that disagree, k < 1 or α outside 0..1.
    Source: Clarke et al., SIGIR 2008, section 3.3 (the exact ideal is NP-hard).
    """
    return _ideal(_greedy_gains, categories, k, alpha, candidates, excluded)


def alpha_ndcg_at(ranked: np.ndarray, ideal: np.ndarray, k: int, alpha: float = 0.5) -> np.ndarray:
    """α-nDCG@k: α-DCG@k over ``ideal_alpha_dcg`` of the same candidates; float64 ``[N]``.

    ``ranked [N, K >= k, M]``, bool; ``ideal [N or 1, >= k]``.  From 0 to about 1: the
    ideal is greedy, and in rare cases a list is a little better.
    An event none of whose candidates has a category scores 0.  Raises
    ``ParagonError`` where no event has one, and for other shapes.
    Source: Clarke et al., SIGIR 2008.
    """
    return normalised(alpha_dcg(_lists(ranked, k)[:, :k], alpha), ideal, k)


def normalised(dcg: np.ndarray, ideal: np.ndarray, k: int) -> np.ndarray:
    """α-nDCG@k from ``alpha_dcg [N, >= k]``, computed once for several cut-offs and ideals.

    Result, ``ideal`` and errors as in ``alpha_ndcg_at``.
    """
    dcg = shaped("dcg", dcg, "NK", least_k=cutoff(k))[:, k - 1]
    ideal = shaped("ideal", ideal, "NK", least_k=k)
    if len(ideal) not in (1, len(dcg)):
        raise ParagonError(f"ideal: {len(ideal)} rows for {len(dcg)} lists; give one row, or each")
    best = np.broadcast_to(ideal[:, k - 1].astype(np.float64), dcg.shape)
    if not best.any():
        raise ParagonError("α-nDCG: no candidate of any event has a category; nothing to measure")
    return np.divide(dcg, best, out=np.zeros_like(dcg), where=best > 0)


def ideal_alpha_dcg_published(
    categories: np.ndarray,
    k: int,
    alpha: float = 0.5,
    candidates: np.ndarray | None = None,
    excluded: np.ndarray | None = None,
) -> np.ndarray:
    """The ideal of the published tables, for ``alpha_ndcg_at``; float64 ``[N or 1, k]``.

    FOR COMPARISON WITH PUBLISHED NUMBERS ONLY: the ratio to it is not α-nDCG.
    It is computed with the matrix of candidates × categories transposed: the greedy
    list consists of categories, each once.  The gain of a category is the number of
    candidates that carry it; one that was met r times before counts (1 - α)^r.
    Such an ideal grows with the number of candidates, so the ratio
    is several times too small and its size says nothing across protocols.
    Ties fall to the first category; lists longer than M categories end there.

    Arguments and errors as in ``ideal_alpha_dcg``.
    Source: what ``best_alpha_nDCG`` computes in the code released with Shen et al.,
    "Paragon", RecSys 2025 (github.com/Starrylay/Paragon, REC/models/BaseModel.py).
    """
    return _ideal(_published_gains, categories, k, alpha, candidates, excluded)


def category_coverage_at(ranked: np.ndarray, k: int) -> np.ndarray:
    """Share of all M categories that the first k items carry; float64 ``[N]``, 0..1.

    ``ranked [N, K >= k, M]``, bool.  The divisor is M for every event and protocol,
    also where the candidates lack a category: 1 may be out of reach.
    """
    return _lists(ranked, k)[:, :k].any(axis=1).mean(axis=1)


def intra_list_distance_at(
    ranked: np.ndarray, k: int, similarity: np.ndarray | None = None
) -> np.ndarray:
    """Mean Jaccard distance of category sets, over pairs of the first k; float64 ``[N]``, 0..1.

    ``ranked [N, K >= k, M]``, bool; k >= 2.  Two items without categories are alike.
    ``similarity [N, K, K]``: that of all pairs, where it is known already.
    Source: Ziegler et al., WWW 2005 (as a distance: Zhang and Hurley, RecSys 2008).
    """
    if cutoff(k) < 2:
        raise ParagonError("k: intra-list distance needs pairs, k = 1 has none; give 2 or more")
    if similarity is None:
        similarity = jaccard(_lists(ranked, k)[:, :k].astype(np.float64))
    first, second = np.triu_indices(k, 1)
    return 1 - similarity[:, first, second].mean(axis=1)


def jaccard(sets: np.ndarray) -> np.ndarray:
    """Jaccard similarity ``[..., K, K]``, 0..1, of the rows of multi-hot ``sets [..., K, M]``.

    Two empty sets are alike.  float32 or float64 in, the same out.
    """
    common = sets @ np.swapaxes(sets, -1, -2)
    size = sets.sum(axis=-1)
    union = size[..., :, None] + size[..., None, :] - common
    return np.divide(common, union, out=np.ones_like(common), where=union > 0)


def items_shown_at(items: np.ndarray, k: int) -> int:
    """How many different items the first k places of all lists together hold; k..N * k.

    ``items [N, K >= k]``: the ranked lists of N events.  Divided by the number of items it is
    the share of the catalogue that anybody is shown ("aggregate diversity").  Lists may be full
    of variety and yet the same for everybody; then this number is small.
    Source: Adomavicius and Kwon, IEEE Trans. Knowl. Data Eng. 24(5), 2012.
    """
    return len(np.unique(shaped("items", items, "NK", INTEGERS, least_k=cutoff(k))[:, :k]))


def _ideal(
    gains: Callable[[np.ndarray, np.ndarray, int, float], np.ndarray],
    categories: np.ndarray,
    k: int,
    alpha: float,
    candidates: np.ndarray | None,
    excluded: np.ndarray | None,
) -> np.ndarray:
    """Discounted gains ``[N or 1, k]`` of the best lists; arguments as in ``ideal_alpha_dcg``.

    Items share few distinct category sets (about 300 for 3,700 films), so the greedy searches
    run over those: ``gains(patterns [G, M], kinds [n, C], k, 1 - α)`` gives ``[n, k]``, where
    kinds holds the pattern of each candidate, G if it is excluded.
    """
    k, decay, categories = cutoff(k), _decay(alpha), shaped("categories", categories, "VM")
    patterns, kind = np.unique(categories.astype(bool), axis=0, return_inverse=True)
    # Small unsigned integers: NumPy's stable sort of 16 bits is a radix sort, in linear time.
    kind = kind.reshape(-1).astype(np.min_scalar_type(len(patterns)))
    if candidates is None:
        rows = 1 if excluded is None else len(excluded)
        candidates = np.broadcast_to(np.arange(len(kind)), (rows, len(kind)))
    else:
        candidates = shaped("candidates", candidates, "NC", INTEGERS)
        within("candidates", candidates, 0, len(kind) - 1)
    excluded, none = exclusion(excluded, candidates.shape), kind.dtype.type(len(patterns))
    parts = []
    for block in row_blocks(len(candidates), max(candidates.shape[1], len(patterns))):
        kinds = np.where(excluded[block], none, kind[candidates[block]])
        parts.append(gains(patterns, kinds, k, decay))
    return _discounted(np.concatenate(parts))


def _greedy_gains(patterns: np.ndarray, kinds: np.ndarray, k: int, decay: float) -> np.ndarray:
    """Gains ``[n, k]`` of the greedy list: largest gain first, ties to the earliest candidate."""
    rows, columns = kinds.shape
    every = np.arange(rows)
    counts = _counts(kinds, len(patterns))
    order = np.argsort(kinds, axis=1, kind="stable")
    start = np.cumsum(counts, axis=1) - counts
    taken = np.zeros_like(counts)
    # following: column of each pattern's first candidate not yet taken, `columns` if none is left
    following = np.take_along_axis(order, np.minimum(start, columns - 1), axis=1)
    following[counts == 0] = columns
    worth = np.ones((rows, patterns.shape[1]))
    gains = np.zeros((rows, k))
    weights = patterns.T.astype(np.float64)
    for position in range(min(k, columns)):
        gain = worth @ weights
        gain[following == columns] = -1.0
        best = gain.max(axis=1, keepdims=True)
        pick = np.where(gain >= best - _TIE, following, columns).argmin(axis=1)
        gains[:, position] = np.maximum(gain[every, pick], 0.0)
        worth *= np.where(patterns[pick], decay, 1.0)
        taken[every, pick] += 1
        left = taken[every, pick] < counts[every, pick]
        place = np.minimum(start[every, pick] + taken[every, pick], columns - 1)
        following[every, pick] = np.where(left, order[every, place], columns)
    return gains


def _published_gains(patterns: np.ndarray, kinds: np.ndarray, k: int, decay: float) -> np.ndarray:
    """Gains ``[n, k]`` of the greedy list of categories, see ``ideal_alpha_dcg_published``."""
    worth = _counts(kinds, len(patterns)).astype(np.float64)
    every = np.arange(len(kinds))
    free = np.ones((len(kinds), patterns.shape[1]), dtype=bool)
    gains = np.zeros((len(kinds), k))
    for position in range(min(k, patterns.shape[1])):
        gain = np.where(free, worth @ patterns, -1.0)
        pick = gain.argmax(axis=1)
        gains[:, position] = gain[every, pick]
        free[every, pick] = False
        worth *= np.where(patterns[:, pick].T, decay, 1.0)
    return gains


def _counts(kinds: np.ndarray, size: int) -> np.ndarray:
    """How many candidates of each row have each pattern: int64 ``[n, size]``."""
    rows = len(kinds)
    cells = kinds + np.arange(rows)[:, None] * (size + 1)
    return np.bincount(cells.ravel(), minlength=rows * (size + 1)).reshape(rows, -1)[:, :size]


def _discounted(gains: np.ndarray) -> np.ndarray:
    """Cumulative sum of gains ``[N, K]``, each divided by log2(1 + position)."""
    return np.cumsum(gains / np.log2(np.arange(gains.shape[1]) + 2.0), axis=1)


def _lists(ranked: np.ndarray, k: int = 1) -> np.ndarray:
    return shaped("ranked", ranked, "NKM", least_k=cutoff(k)).astype(bool)


def _decay(alpha: float) -> float:
    """1 - α: how much each repetition of a category leaves of its worth."""
    within("alpha", alpha, 0, 1)
    return 1 - float(alpha)
