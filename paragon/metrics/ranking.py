"""Metrics of ranked lists, per event: accuracy, diversity, novelty, fairness.

Shapes: N events, C candidates, V items, M categories (multi-hot), K list positions. A *column* is a
place in the candidate list (an item id in the full protocol). Wrong input raises ``ParagonError``.
"""

import numpy as np

from paragon.errors import ParagonError
from paragon.metrics.checks import Measure, check_array, row_blocks

_EQUAL_WITHIN = 1e-9  # gains closer than this are equal, whatever the order of summation


def target_ranks(
    scores: np.ndarray, target: int | np.ndarray = 0, excluded: np.ndarray | None = None
) -> np.ndarray:
    """Rank of each event's target, int64 ``[N]``, 1..C: candidates scoring at least as high.

    Ties count against the target, so that a constant score gets the worst rank. ``scores [N, C]``:
    finite, or -inf where ``excluded``; ``target``: a column or ``[N]``; ``excluded [N, C]``, bool:
    not candidates. Source: Krichene and Rendle, KDD 2020 (ranks among sampled candidates).
    """
    values = _masked(scores, excluded)
    rows, columns = values.shape
    target = np.broadcast_to(target, rows) if np.ndim(target) == 0 else target
    target = check_array("target", target, "N", "integers", 0, columns - 1, N=rows)
    of_target = np.take_along_axis(values, target[:, None], axis=1)
    if np.isneginf(of_target).any():
        raise ParagonError("target: it is excluded")
    return np.count_nonzero(values >= of_target, axis=1)


def top_k(scores: np.ndarray, k: int, excluded: np.ndarray | None = None) -> np.ndarray:
    """Columns of the k best candidates, best first, ties in candidate order; int64 ``[N, k]``.

    ``scores``, ``excluded [N, C]`` as in ``target_ranks``; no row has fewer than k candidates.
    """
    values = _masked(scores, excluded)
    rows, columns = values.shape
    left = np.count_nonzero(values > -np.inf, axis=1).min()
    if _cutoff(k) > left:
        raise ParagonError(f"k: {k} is more than the {left} candidates of some row")
    threshold = np.partition(values, columns - k, axis=1)[:, columns - k, None]
    chosen = values >= threshold
    # Of too many ties at the threshold, keep the earliest columns.
    for row in np.flatnonzero(np.count_nonzero(chosen, axis=1) > k):
        tied = np.flatnonzero(values[row] == threshold[row])
        surplus = np.count_nonzero(chosen[row]) - k
        chosen[row, tied[len(tied) - surplus :]] = False
    best = np.nonzero(chosen)[1].reshape(rows, k)
    order = np.argsort(-np.take_along_axis(values, best, axis=1), axis=1, kind="stable")
    return np.take_along_axis(best, order, axis=1)


def _masked(scores: np.ndarray, excluded: np.ndarray | None) -> np.ndarray:
    """Return scores ``[N, C]``, -inf if excluded; refuse other scores that are not finite."""
    scores = check_array("scores", scores, "NC", "numbers")
    excluded = _excluded(excluded, scores.shape)
    bad = ~np.isfinite(scores) & ~(excluded & np.isneginf(scores))
    if bad.any():
        row, column = np.argwhere(bad)[0]
        value = scores[row, column]
        raise ParagonError(f"scores: row {row}, column {column} is {value}; give finite numbers")
    return np.where(excluded, -np.inf, scores)


def _excluded(excluded: np.ndarray | None, shape: tuple[int, int]) -> np.ndarray:
    if excluded is None:
        return np.broadcast_to(False, shape)
    return check_array("excluded", excluded, "NC", "booleans", N=shape[0], C=shape[1])


def _cutoff(k: int) -> int:
    return int(check_array("k", k, "", "integers", low=1))


def ndcg_at(ranks: np.ndarray, k: int) -> np.ndarray:
    """NDCG@k with one relevant item: 1 / log2(1 + rank), 0 beyond k; float64 ``[N]``, 0..1.

    ``ranks [N]``: integers from 1. Source: Järvelin and Kekäläinen, ACM TOIS 20(4), 2002.
    """
    return np.where(hr_at(ranks, k) > 0, 1 / np.log2(1.0 + np.asarray(ranks)), 0.0)


def hr_at(ranks: np.ndarray, k: int) -> np.ndarray:
    """Hit rate@k: 1 if rank <= k, else 0; float64 ``[N]``. ``ranks [N]``: integers from 1."""
    return (check_array("ranks", ranks, "N", "integers", low=1) <= _cutoff(k)).astype(np.float64)


def alpha_dcg(ranked: np.ndarray, alpha: float = 0.5) -> np.ndarray:
    """α-DCG at each cut-off, float64 ``[N, K]``: column k - 1 is α-DCG@k, 0..inf.

    ``ranked [N, K, M]``, bool: categories of the list. A category seen r times above is worth
    (1 - α)^r, a position 1 / log2(1 + position). It measures coverage, not relevance to the user.
    Source: Clarke et al., SIGIR 2008, equations 6 and 8 with J(d, i) in {0, 1}.
    """
    decay = _decay(alpha)
    sets = _lists(ranked)  # [N, K, M], bool
    events, positions, kinds = sets.shape
    gains = np.empty((events, positions))
    worth = np.ones((events, kinds))  # of each category at the next position
    for position in range(positions):
        of_item = sets[:, position]  # [N, M]
        gains[:, position] = np.einsum("nm,nm->n", of_item.astype(np.float64), worth)
        worth *= np.where(of_item, decay, 1.0)
    return _discounted(gains)


def ideal_alpha_dcg(
    categories: np.ndarray,
    k: int,
    alpha: float = 0.5,
    candidates: np.ndarray | None = None,
    excluded: np.ndarray | None = None,
) -> np.ndarray:
    """α-DCG of the greedily best list of each event's candidates; float64 ``[N, k]``.

    ``categories [V, M]``, bool; ``candidates [N, C]``: rows of ``categories`` (None: all);
    ``excluded [N, C]``, bool. With neither, one row for all events. Ties go to the first candidate;
    the rule is part of the metric, since it changes the sum. With fewer than k candidates the last
    sum is repeated. Source: Clarke et al., SIGIR 2008, section 3.3 (the exact ideal is NP-hard).
    """
    k = _cutoff(k)
    decay = _decay(alpha)
    categories = check_array("categories", categories, "VM")
    patterns, kind = np.unique(categories > 0, axis=0, return_inverse=True)  # [G, M], G is small
    if candidates is None:
        events = 1 if excluded is None else len(excluded)
        candidates = np.broadcast_to(np.arange(len(categories)), (events, len(categories)))
    candidates = check_array("candidates", candidates, "NC", "integers", 0, len(categories) - 1)
    free = ~_excluded(excluded, candidates.shape)  # [N, C]
    kind = kind.reshape(-1)  # [V]
    blocks: list[np.ndarray] = []  # gains [n, k]
    for block in row_blocks(len(candidates), max(candidates.shape[1], len(patterns))):
        kinds = kind[candidates[block]]  # [n, C]
        left = free[block].copy()  # [n, C]
        rows = np.arange(len(kinds))
        gains = np.zeros((len(kinds), k))
        worth = np.ones((len(kinds), patterns.shape[1]))  # of each category, for the next item
        for position in range(min(k, kinds.shape[1])):
            of_pattern = worth @ patterns.T.astype(np.float64)  # [n, G]
            gain = np.where(left, np.take_along_axis(of_pattern, kinds, 1), -1.0)  # [n, C]
            pick = (gain >= gain.max(axis=1, keepdims=True) - _EQUAL_WITHIN).argmax(axis=1)
            gains[:, position] = np.maximum(gain[rows, pick], 0.0)
            left[rows, pick] = False
            worth *= np.where(patterns[kinds[rows, pick]], decay, 1.0)
        blocks.append(gains)
    return _discounted(np.concatenate(blocks))


def alpha_ndcg_at(dcg: np.ndarray, ideal: np.ndarray, k: int) -> np.ndarray:
    """α-nDCG@k: ``dcg [N, K >= k]`` over ``ideal [N or 1, K >= k]``; float64 ``[N]``, 0 to about 1.

    The ideal is greedy, so a list can rarely exceed 1. Events without categories score 0; if no
    event has one, raise ``ParagonError``. Source: Clarke et al., SIGIR 2008.
    """
    dcg = check_array("dcg", dcg, "NK", K=_cutoff(k))[:, k - 1]
    rows = 1 if len(ideal) == 1 else len(dcg)
    ideal = check_array("ideal", ideal, "NK", N=rows, K=k)[:, k - 1]
    if not ideal.any():
        raise ParagonError("α-nDCG: no candidate of any event has a category; nothing to measure")
    return np.divide(dcg, ideal, out=np.zeros_like(dcg), where=ideal > 0)


def category_coverage_at(ranked: np.ndarray, k: int) -> np.ndarray:
    """Share of all M categories in the first k items of ``ranked [N, K, M]``: ``[N]``, 0..1."""
    return _lists(ranked, k)[:, :k].any(axis=1).mean(axis=1)


def intra_list_distance_at(similarity: np.ndarray, k: int) -> np.ndarray:
    """Mean of 1 - ``similarity [N, K, K]`` between the first k >= 2 of lists: ``[N]``, 0..1.

    Source: Ziegler et al., WWW 2005 (as a distance: Zhang and Hurley, RecSys 2008).
    """
    check_array("k", k, "", "integers", low=2)  # one item has no distance to others
    first, second = np.triu_indices(k, 1)
    return 1 - similarity[:, first, second].mean(axis=1)


def jaccard(sets: np.ndarray, others: np.ndarray | None = None) -> np.ndarray:
    """Jaccard similarity ``[..., K, L]``, 0..1, of ``sets [..., K, M]`` and ``others [..., L, M]``.

    Without ``others``, that of all pairs of the sets. It is 1 for two empty sets.
    """
    others = sets if others is None else others
    common = sets @ np.swapaxes(others, -1, -2)  # [..., K, L]
    union = sets.sum(axis=-1)[..., :, None] + others.sum(axis=-1)[..., None, :] - common
    return np.divide(common, union, out=np.ones_like(common), where=union > 0)


def aggregate_diversity_at(items: np.ndarray, k: int) -> int:
    """Count the distinct items in the first k places of ``items [N, K >= k]`` together: k..N * k.

    Source: Adomavicius and Kwon, IEEE Trans. Knowl. Data Eng. 24(5), 2012.
    """
    return len(np.unique(check_array("items", items, "NK", "integers", K=_cutoff(k))[:, :k]))


def gini_at(items: np.ndarray, k: int, n_items: int) -> float:
    """Gini coefficient of how often each item is in the first k of ``items [N, K >= k]``: 0..1.

    Items are numbered from 1 to ``n_items``; 0: all are shown alike, near 1: the same few always.
    Source: Fleder and Hosanagar, Management Science 55(5), 2009.
    """
    items = check_array("items", items, "NK", "integers", 1, n_items, K=_cutoff(k))[:, :k]
    shown = np.sort(np.bincount(items.ravel(), minlength=n_items + 1)[1:])  # [n_items]
    ranks = 2 * np.arange(1, n_items + 1) - n_items - 1
    return float(ranks @ shown / (n_items * shown.sum()))


def calibration_at(ranked: np.ndarray, history: np.ndarray, k: int) -> np.ndarray:
    """Divergence of the categories of a list from those of the history; float64 ``[N]``, 0..4.6.

    ``ranked [N, K >= k, M]``, bool: categories of the list; each of its first k items shares a
    weight of one among its categories. ``history [N, M]``: such weights, non-negative. The value is
    KL(p || 0.99 q + 0.01 p) of history p and list q, 0 if both are the same, and 0 without history.
    Source: Steck, "Calibrated recommendations", RecSys 2018, equations 2 to 5.
    """
    lists = _lists(ranked, k)[:, :k]
    history = check_array("history", history, "NM", low=0, N=len(lists), M=lists.shape[2])
    shared = (lists / np.maximum(lists.sum(2, keepdims=True), 1)).sum(1)  # [N, M]
    p, q = (x / np.maximum(x.sum(1, keepdims=True), 1e-12) for x in (history, shared))
    there = p > 0
    ratio = np.divide(p, 0.99 * q + 0.01 * p, out=np.ones_like(p), where=there)
    return (p * np.log(ratio)).sum(1)


def _discounted(gains: np.ndarray) -> np.ndarray:
    """Cumulative sum of gains ``[N, K]``, each divided by log2(1 + position)."""
    return np.cumsum(gains / np.log2(np.arange(gains.shape[1]) + 2.0), axis=1)


def _lists(ranked: np.ndarray, k: int = 1) -> np.ndarray:
    return check_array("ranked", ranked, "NKM", "numbers", K=_cutoff(k)).astype(bool)


def _decay(alpha: float) -> float:
    """Return 1 - α, the factor by which each repetition of a category reduces its worth."""
    return 1 - float(check_array("alpha", alpha, "", low=0, high=1))


def self_information(holders: np.ndarray, users: int) -> np.ndarray:
    """Surprise of each item, ``-log2(holders / users)`` over its maximum; float64 ``[V]``, 0..1.

    ``holders [V]``: users with the item in training, 0..users, without the padding row; 0 counts
    as 1. All are 0 if all users hold all items. Source: Zhou et al., PNAS 107(10), 2010.
    """
    holders = check_array("holders", holders, "V", low=0, high=users)
    bits = np.log2(users) - np.log2(np.maximum(holders, 1))
    return bits / bits.max() if bits.max() > 0 else bits


def novelty_at(ranked_items: np.ndarray, information: np.ndarray, k: int) -> np.ndarray:
    """Mean ``self_information [V]`` of the first k of lists ``[N, K]``; float64 ``[N]``, 0..1."""
    information = check_array("information", information, "V")
    rows = len(information) - 1
    items = check_array("ranked items", ranked_items, "NK", "integers", 0, rows, K=_cutoff(k))
    return information[items[:, :k]].mean(axis=1)


def group_gap(values: np.ndarray, groups: np.ndarray) -> Measure:
    """Largest difference between the mean ``values [N]`` of two groups; 0 is equal treatment.

    ``groups [N]``: integers; negative ones (unknown) are left out. Undefined below two groups.
    """
    values = check_array("values", values)
    groups = check_array("groups", groups, "N", "integers", N=len(values))
    means = [values[groups == label].mean() for label in np.unique(groups[groups >= 0])]
    if len(means) < 2:
        return Measure(None, f"a gap needs two groups, the events have {len(means)}")
    return Measure(float(max(means) - min(means)))
