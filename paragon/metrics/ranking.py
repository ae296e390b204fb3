"""Accuracy, novelty and fairness of ranked lists, and hypervolume: pure functions on arrays.

Shapes: N test events, C candidates an event, V items of the catalogue, K
positions of a ranked list.  A candidate's *column* is its place in the
candidate list; under the full protocol the columns are the catalogue itself
and `excluded` marks what an event may not recommend.  Metrics are returned per
event, unaveraged, so that intervals can be drawn from them.  The diversity
metrics have a file of their own, `paragon.diversity`, and are importable from
here; measures of a whole method over preference weights are in
`paragon.control`.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from paragon.errors import ParagonError
from paragon.metrics.checks import Measure, check_indices, cutoff, finite, mask, row_blocks


def target_ranks(
    scores: np.ndarray, target: int | np.ndarray = 0, excluded: np.ndarray | None = None
) -> np.ndarray:
    """Rank of each event's target: candidates scoring at least as high, itself included.

    Ties count against the target, so equal scores everywhere give the worst
    rank instead of a lucky one.

    scores [N, C]; target: column of the target, one for all or [N];
    excluded [N, C] bool, True where the column is no candidate.
    Returns int64 [N] in 1..C.
    Raises ParagonError for a score that is not finite (-inf is accepted where
    `excluded` is True) and for a target out of range or excluded.
    Source: the pessimistic rank; on ranks among sampled candidates, see
    Krichene and Rendle, "On Sampled Metrics for Item Recommendation", KDD 2020.
    """
    scores = _matrix(scores)
    rows, columns = scores.shape
    target = np.asarray(target)
    if target.dtype.kind not in "iu" or target.shape not in ((), (rows,)):
        raise ParagonError(
            f"target: {target.dtype} of shape {target.shape}; give one integer column, or {rows}"
        )
    target = np.broadcast_to(target, rows)
    outside = np.flatnonzero((target < 0) | (target >= columns))
    if outside.size:
        raise ParagonError(
            f"target: row {outside[0]} names column {target[outside[0]]} of {columns}"
        )
    ranks = np.empty(rows, dtype=np.int64)
    for block, values in _score_blocks(scores, excluded):
        own = np.take_along_axis(values, target[block, None], axis=1)
        hidden = np.flatnonzero(np.isneginf(own[:, 0]))
        if hidden.size:
            raise ParagonError(f"target: row {block.start + hidden[0]} has an excluded target")
        ranks[block] = np.count_nonzero(values >= own, axis=1)
    return ranks


def ndcg_at(ranks: np.ndarray, k: int) -> np.ndarray:
    """NDCG@k of one relevant item: 1 / log2(1 + rank) if rank <= k, else 0; float64 [N], 0..1.

    ranks: [N] integers from 1.  Raises ParagonError for other ranks or k < 1.
    Source: Järvelin and Kekäläinen, ACM TOIS 20(4), 2002; the ideal is 1.
    """
    ranks, k = _ranks(ranks), cutoff(k)
    return np.where(ranks <= k, 1 / np.log2(1.0 + ranks), 0.0)


def hr_at(ranks: np.ndarray, k: int) -> np.ndarray:
    """Hit rate@k: 1 if rank <= k, else 0; float64 [N].

    ranks: [N] integers from 1.  Raises ParagonError for other ranks or k < 1.
    """
    return (_ranks(ranks) <= cutoff(k)).astype(np.float64)


def top_k(scores: np.ndarray, k: int, excluded: np.ndarray | None = None) -> np.ndarray:
    """Columns of the k best candidates, best first, ties in candidate order; int64 [N, k].

    scores [N, C] and excluded [N, C] as in `target_ranks`.
    Raises ParagonError for non-finite scores or fewer than k candidates in a row.
    """
    scores = _matrix(scores)
    rows, columns = scores.shape
    if cutoff(k) > columns:
        raise ParagonError(f"k: {k} is more than the {columns} candidates")
    best = np.empty((rows, k), dtype=np.int64)
    for block, values in _score_blocks(scores, excluded):
        if excluded is not None:
            left = columns - np.count_nonzero(excluded[block], axis=1)
            if left.min() < k:
                row = left.argmin()
                raise ParagonError(
                    f"k: {k} is more than the {left[row]} candidates of row {block.start + row}"
                )
        threshold = np.partition(values, columns - k, axis=1)[:, columns - k, None]
        chosen = values >= threshold
        # Where ties at the threshold overfill the list, its earliest columns stay.
        for row in np.flatnonzero(np.count_nonzero(chosen, axis=1) > k):
            tied = np.flatnonzero(values[row] == threshold[row])
            surplus = np.count_nonzero(chosen[row]) - k
            chosen[row, tied[len(tied) - surplus :]] = False
        found = (np.flatnonzero(chosen) % columns).reshape(-1, k)
        order = np.argsort(-np.take_along_axis(values, found, axis=1), axis=1, kind="stable")
        best[block] = np.take_along_axis(found, order, axis=1)
    return best


def self_information(holders: np.ndarray, users: int) -> np.ndarray:
    """Surprise of each item, -log2(holders / users), divided by the largest among them.

    holders [V]: users with the item in the training data, 0..users; pass the
    catalogue only, a padding row would set the scale.  An item that nobody
    holds is as surprising as one with a single holder, which keeps it finite.
    Returns float64 [V] in 0..1 (all 0 where every user holds every item).
    Raises ParagonError for counts outside 0..users.
    Source: Zhou et al., PNAS 107(10), 2010.
    """
    holders = finite("holders", holders)
    wrong = np.flatnonzero((holders < 0) | (holders > users))
    if users < 1 or wrong.size:
        where = f"item {wrong[0]} has {holders[wrong[0]]:g} of" if wrong.size else "there are"
        raise ParagonError(f"holders: {where} {users} users; counts run from 0 to the users")
    bits = np.log2(users) - np.log2(np.maximum(holders, 1))
    return bits / bits.max() if bits.max() > 0 else bits


def novelty_at(ranked_items: np.ndarray, information: np.ndarray, k: int) -> np.ndarray:
    """Mean `self_information` of the first k items; float64 [N], 0..1.

    ranked_items [N, K >= k]: rows of `information` [V].
    """
    ranked_items, information = np.asarray(ranked_items), finite("information", information)
    if ranked_items.ndim != 2 or ranked_items.shape[1] < cutoff(k):
        raise ParagonError(f"ranked items: shape {ranked_items.shape}; give [N, K] with K >= {k}")
    check_indices("ranked items", ranked_items, len(information))
    return information[ranked_items[:, :k]].mean(axis=1)


def group_gap(values: np.ndarray, groups: np.ndarray) -> Measure:
    """Largest difference between two groups' mean values; 0 is equal treatment.

    values [N] (NDCG, say), groups [N] integers, negative where the group is
    unknown: such events are left out.  With fewer than two groups the value
    is None and the reason says so.  Raises ParagonError for lengths that
    differ and for values that are not finite.
    """
    values, groups = finite("values", values), np.asarray(groups)
    if groups.dtype.kind not in "iu" or values.shape != groups.shape:
        raise ParagonError(
            f"groups: {groups.dtype} of shape {groups.shape}; give integers {values.shape}"
        )
    means = [values[groups == label].mean() for label in np.unique(groups[groups >= 0])]
    if len(means) < 2:
        return Measure(None, f"a gap needs two groups, the events have {len(means)}")
    return Measure(float(max(means) - min(means)))


def _score_blocks(
    scores: np.ndarray, excluded: np.ndarray | None
) -> Iterator[tuple[slice, np.ndarray]]:
    """Yield row blocks of scores, checked, with -inf wherever a column is excluded."""
    if excluded is not None:
        excluded = mask(excluded, scores.shape)
    for rows in row_blocks(*scores.shape):
        values = scores[rows]
        if not np.isfinite(values).all():
            _refuse_other_than_excluded(values, None if excluded is None else excluded[rows], rows)
        yield rows, values if excluded is None else np.where(excluded[rows], -np.inf, values)


def _refuse_other_than_excluded(
    values: np.ndarray, excluded: np.ndarray | None, rows: slice
) -> None:
    bad = ~np.isfinite(values)
    if excluded is not None:
        bad &= ~(excluded & np.isneginf(values))
    if bad.any():
        row, column = np.argwhere(bad)[0]
        raise ParagonError(
            f"scores: row {rows.start + row}, column {column} is {values[row, column]}; "
            "every candidate needs a finite score"
        )


def _matrix(scores: np.ndarray) -> np.ndarray:
    scores = np.asarray(scores)
    if scores.ndim != 2 or 0 in scores.shape or scores.dtype.kind not in "fiu":
        raise ParagonError(f"scores: {scores.dtype} of shape {scores.shape}; give numbers [N, C]")
    return scores if scores.dtype.kind == "f" else scores.astype(np.float64)


def _ranks(ranks: np.ndarray) -> np.ndarray:
    ranks = np.asarray(ranks)
    if ranks.dtype.kind not in "iu" or (ranks.size and ranks.min() < 1):
        raise ParagonError("ranks: give integers from 1, as target_ranks returns them")
    return ranks
