"""Diversity of ranked lists over item categories: α-nDCG, coverage, intra-list distance.

Shapes: N test events, C candidates an event, V rows of the category table, M
categories, K positions of a ranked list.  Categories are multi-hot rows; the
categories of a ranked list are `table[items]`, [N, K, M].  Every metric is
returned per event, unaveraged.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from paragon.errors import ParagonError
from paragon.metrics.checks import check_indices, cutoff, mask, row_blocks

_TIE = 1e-9  # gains closer than this are one gain: summation order must not break a tie


def alpha_dcg(ranked: np.ndarray, alpha: float = 0.5) -> np.ndarray:
    """α-DCG at every cut-off; float64 [N, K], column k - 1 is α-DCG@k, 0..inf.

    ranked [N, K, M] bool: categories of the list, best first.  A category seen
    r times above is worth (1 - α)^r, a position 1 / log2(1 + position).
    Every category of every item counts, whatever the user likes: a coverage
    measure, not one of relevance.
    Raises ParagonError for another shape or α outside 0..1.
    Source: Clarke et al., SIGIR 2008, equations 6 and 8 with J(d, i) in {0, 1}.
    """
    ranked = _lists(ranked)
    seen = np.cumsum(ranked, axis=1, dtype=np.int64) - ranked
    worth = (1 - _alpha(alpha)) ** np.arange(ranked.shape[1])
    return _discounted((ranked * worth[seen]).sum(axis=2))


def ideal_alpha_dcg(
    categories: np.ndarray,
    k: int,
    alpha: float = 0.5,
    candidates: np.ndarray | None = None,
    excluded: np.ndarray | None = None,
) -> np.ndarray:
    """α-DCG of the greedily best list of each event's candidates; float64 [N, k].

    categories [V, M] bool; candidates [N, C]: rows of `categories` (None: all
    of them, in order); excluded [N, C] bool.  With neither, one row for all.
    At each position the candidate of largest gain is taken; of equal gains the
    one that comes first in the candidate list.  (Different choices among ties
    lead to different sums: the rule is part of the metric.)  With fewer than k
    candidates the sums stay level.  It depends on no model: compute it once.
    Raises ParagonError for shapes that disagree, k < 1 or α outside 0..1.
    Source: Clarke et al., SIGIR 2008, section 3.3 (the exact ideal is NP-hard).
    """
    k, alpha = cutoff(k), _alpha(alpha)
    parts = [
        _greedy_gains(patterns, kinds, k, alpha)
        for patterns, kinds in _pattern_blocks(categories, candidates, excluded)
    ]
    return _discounted(np.concatenate(parts))


def alpha_ndcg_at(ranked: np.ndarray, ideal: np.ndarray, k: int, alpha: float = 0.5) -> np.ndarray:
    """α-nDCG@k: α-DCG@k over `ideal_alpha_dcg` of the same candidates; float64 [N].

    ranked [N, K >= k, M] bool; ideal [N or 1, >= k].  From 0 to about 1: the
    ideal is greedy, so that a rare list beats it by a little.
    An event none of whose candidates has a category scores 0; that no event
    has one is a ParagonError, as are other shapes.
    Source: Clarke et al., SIGIR 2008.
    """
    return normalised(alpha_dcg(_lists(ranked, k)[:, :k], alpha), ideal, k)


def normalised(dcg: np.ndarray, ideal: np.ndarray, k: int) -> np.ndarray:
    """α-nDCG@k from `alpha_dcg` [N, >= k], computed once for several cut-offs and ideals.

    Result, ``ideal`` and errors as in `alpha_ndcg_at`.
    """
    dcg, ideal = dcg[:, cutoff(k) - 1], np.asarray(ideal, dtype=np.float64)
    if ideal.ndim != 2 or ideal.shape[0] not in (1, len(dcg)) or ideal.shape[1] < k:
        raise ParagonError(
            f"ideal: shape {ideal.shape} for {len(dcg)} lists; give [N, k] with k >= {k}"
        )
    best = ideal[:, k - 1]
    if len(best) and not best.any():
        raise ParagonError("α-nDCG: no candidate of any event has a category; nothing to measure")
    best = np.broadcast_to(best, dcg.shape)
    return np.divide(dcg, best, out=np.zeros_like(dcg), where=best > 0)


def alpha_ndcg_published(
    ranked: np.ndarray,
    categories: np.ndarray,
    k: int,
    alpha: float = 0.5,
    candidates: np.ndarray | None = None,
    excluded: np.ndarray | None = None,
) -> np.ndarray:
    """α-nDCG@k on the scale of the published tables; float64 [N].

    FOR COMPARISON WITH PUBLISHED NUMBERS ONLY: it is not α-nDCG, its ideal is
    that of :func:`ideal_alpha_dcg_published`.
    Arguments and errors as in `alpha_ndcg_at` and `ideal_alpha_dcg`.
    """
    ideal = ideal_alpha_dcg_published(categories, k, alpha, candidates, excluded)
    return alpha_ndcg_at(ranked, ideal, k, alpha)


def ideal_alpha_dcg_published(
    categories: np.ndarray,
    k: int,
    alpha: float = 0.5,
    candidates: np.ndarray | None = None,
    excluded: np.ndarray | None = None,
) -> np.ndarray:
    """What the published α-nDCG is divided by; float64 [N or 1, k].

    The ideal is computed with the matrix of candidates × categories transposed: the greedy
    list consists of categories, each once, and the gain of one is the number
    of candidates that carry it, a candidate met r times before counting
    (1 - α)^r.  Such an ideal grows with the number of candidates, so the ratio
    is several times too small and its size says nothing across protocols.
    Ties fall to the first category; lists longer than M categories end there.

    Arguments and errors as in `ideal_alpha_dcg`.
    Source: what `best_alpha_nDCG` computes in the code released with Shen et al.,
    "Paragon", RecSys 2025 (github.com/Starrylay/Paragon, REC/models/BaseModel.py).
    """
    k, alpha = cutoff(k), _alpha(alpha)
    parts = []
    for patterns, kinds in _pattern_blocks(categories, candidates, excluded):
        worth = _counts(kinds, len(patterns)).astype(np.float64)
        every = np.arange(len(kinds))
        free = np.ones((len(kinds), patterns.shape[1]), dtype=bool)
        gains = np.zeros((len(kinds), k))
        for position in range(min(k, patterns.shape[1])):
            gain = np.where(free, worth @ patterns, -1.0)
            pick = gain.argmax(axis=1)
            gains[:, position] = gain[every, pick]
            free[every, pick] = False
            worth *= np.where(patterns[:, pick].T, 1 - alpha, 1.0)
        parts.append(gains)
    return _discounted(np.concatenate(parts))


def category_coverage_at(ranked: np.ndarray, k: int) -> np.ndarray:
    """Share of all M categories that the first k items carry; float64 [N], 0..1.

    ranked [N, K >= k, M] bool.  The divisor is M for every event and protocol,
    also where the candidates lack a category: 1 may be out of reach.
    """
    return _lists(ranked, k)[:, :k].any(axis=1).mean(axis=1)


def intra_list_distance_at(ranked: np.ndarray, k: int) -> np.ndarray:
    """Mean Jaccard distance of category sets over the pairs of the first k; float64 [N], 0..1.

    ranked [N, K >= k, M] bool, k >= 2.  Two items without categories are alike.
    Source: Ziegler et al., WWW 2005 (as a distance: Zhang and Hurley, RecSys 2008).
    """
    if cutoff(k) < 2:
        raise ParagonError("k: intra-list distance needs pairs, k = 1 has none; give 2 or more")
    sets = _lists(ranked, k)[:, :k].astype(np.float64)
    common = sets @ sets.transpose(0, 2, 1)
    size = sets.sum(axis=2)
    union = size[:, :, None] + size[:, None, :] - common
    similarity = np.divide(common, union, out=np.ones_like(common), where=union > 0)
    first, second = np.triu_indices(k, 1)
    return 1 - similarity[:, first, second].mean(axis=1)


def _pattern_blocks(
    categories: np.ndarray, candidates: np.ndarray | None, excluded: np.ndarray | None
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Yield (patterns [G, M], kinds [n, C]) over blocks of events.

    Items share few distinct category sets (about 300 for 3,700 films), so the
    greedy searches run over those; kinds gives each column's, G if excluded.
    """
    categories = np.asarray(categories)
    if categories.ndim != 2 or 0 in categories.shape:
        raise ParagonError(f"categories: shape {categories.shape}; give a multi-hot [V, M]")
    patterns, kind = np.unique(categories.astype(bool), axis=0, return_inverse=True)
    # Small unsigned integers: NumPy's stable sort of 16 bits is a radix sort, in linear time.
    kind = kind.reshape(-1).astype(np.min_scalar_type(len(patterns)))
    if candidates is not None:
        candidates = np.asarray(candidates)
        if candidates.ndim != 2 or 0 in candidates.shape:
            raise ParagonError(f"candidates: shape {candidates.shape}; give [N, C]")
        check_indices("candidates", candidates, len(categories))
    if excluded is not None:
        shape = (len(excluded), len(kind)) if candidates is None else candidates.shape
        excluded = mask(excluded, shape)
    events = candidates if candidates is not None else excluded
    rows, columns = (1, len(kind)) if events is None else events.shape
    for block in row_blocks(rows, columns):
        kinds = kind[None, :] if candidates is None else kind[candidates[block]]
        if excluded is not None:
            kinds = np.where(excluded[block], kind.dtype.type(len(patterns)), kinds)
        yield patterns, kinds


def _greedy_gains(patterns: np.ndarray, kinds: np.ndarray, k: int, alpha: float) -> np.ndarray:
    """Gains [n, k] of the greedy list: largest gain first, ties to the earliest candidate."""
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
        worth *= np.where(patterns[pick], 1 - alpha, 1.0)
        taken[every, pick] += 1
        left = taken[every, pick] < counts[every, pick]
        place = np.minimum(start[every, pick] + taken[every, pick], columns - 1)
        following[every, pick] = np.where(left, order[every, place], columns)
    return gains


def _counts(kinds: np.ndarray, size: int) -> np.ndarray:
    """How many candidates of each row have each pattern: int64 [n, size]."""
    rows = len(kinds)
    cells = kinds + np.arange(rows)[:, None] * (size + 1)
    return np.bincount(cells.ravel(), minlength=rows * (size + 1)).reshape(rows, -1)[:, :size]


def _discounted(gains: np.ndarray) -> np.ndarray:
    """Cumulative sum of gains [N, K], each divided by log2(1 + position)."""
    return np.cumsum(gains / np.log2(np.arange(gains.shape[1]) + 2.0), axis=1)


def _lists(ranked: np.ndarray, k: int = 1) -> np.ndarray:
    ranked = np.asarray(ranked)
    if ranked.ndim != 3 or 0 in ranked.shape[1:] or ranked.shape[1] < cutoff(k):
        raise ParagonError(f"ranked: shape {ranked.shape}; give [N, K, M] with K >= {k}")
    return ranked.astype(bool)


def _alpha(alpha: float) -> float:
    if not 0 <= alpha <= 1:
        raise ParagonError(f"alpha: {alpha} is outside 0..1")
    return float(alpha)
