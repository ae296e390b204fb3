"""Accuracy, novelty and fairness of ranked lists, per event, as pure functions on arrays.

Shapes: N events, C candidates, V items, K list positions. A *column* is a place in the candidate
list (an item id in the full protocol). Wrong shapes, kinds or ranges raise ``ParagonError``.
"""

from __future__ import annotations

import numpy as np

from paragon.errors import ParagonError
from paragon.metrics.checks import Measure, check_array, cutoff, exclusion


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


def ndcg_at(ranks: np.ndarray, k: int) -> np.ndarray:
    """NDCG@k with one relevant item: 1 / log2(1 + rank), 0 beyond k; float64 ``[N]``, 0..1.

    ``ranks [N]``: integers from 1. Source: Järvelin and Kekäläinen, ACM TOIS 20(4), 2002.
    """
    hits = hr_at(ranks, k)
    return np.where(hits > 0, 1 / np.log2(1.0 + np.asarray(ranks)), 0.0)


def hr_at(ranks: np.ndarray, k: int) -> np.ndarray:
    """Hit rate@k: 1 if rank <= k, else 0; float64 ``[N]``. ``ranks [N]``: integers from 1."""
    return (check_array("ranks", ranks, "N", "integers", low=1) <= cutoff(k)).astype(np.float64)


def top_k(scores: np.ndarray, k: int, excluded: np.ndarray | None = None) -> np.ndarray:
    """Columns of the k best candidates, best first, ties in candidate order; int64 ``[N, k]``.

    ``scores``, ``excluded [N, C]`` as in ``target_ranks``; no row has fewer than k candidates.
    """
    values = _masked(scores, excluded)
    rows, columns = values.shape
    left = np.count_nonzero(values > -np.inf, axis=1).min()
    if cutoff(k) > left:
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
    excluded = exclusion(excluded, scores.shape)
    bad = ~np.isfinite(scores) & ~(excluded & np.isneginf(scores))
    if bad.any():
        row, column = np.argwhere(bad)[0]
        raise ParagonError(
            f"scores: row {row}, column {column} is {scores[row, column]}; every candidate needs a "
            "finite score"
        )
    return np.where(excluded, -np.inf, scores)


def self_information(holders: np.ndarray, users: int) -> np.ndarray:
    """Surprise of each item, ``-log2(holders / users)`` over its maximum; float64 ``[V]``, 0..1.

    ``holders [V]``: users with the item in training, 0..users, without the padding row. Items
    without holders count as having one. All are 0 if all users hold all items.
    Source: Zhou et al., PNAS 107(10), 2010.
    """
    check_array("users", users, "", "integers", low=1)
    holders = check_array("holders", holders, "V", low=0, high=users)
    bits = np.log2(users) - np.log2(np.maximum(holders, 1))
    return bits / bits.max() if bits.max() > 0 else bits


def novelty_at(ranked_items: np.ndarray, information: np.ndarray, k: int) -> np.ndarray:
    """Mean ``self_information [V]`` of the first k of lists ``[N, K]``; float64 ``[N]``, 0..1."""
    information = check_array("information", information, "V")
    rows = len(information) - 1
    items = check_array("ranked items", ranked_items, "NK", "integers", 0, rows, K=cutoff(k))
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
