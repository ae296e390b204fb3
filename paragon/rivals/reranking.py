"""Rivals that need no adapter: they score or re-rank candidates as they are.

`mmr` and `cmr` re-rank the frozen backbone's list and listen to the weights;
`popularity` and `item_knn` are the two recommenders that every comparison
should beat, and listen to nobody.
"""

from __future__ import annotations

import numpy as np
from scipy import sparse

from paragon.data.sequences import Evaluation, Sequences
from paragon.metrics.checks import row_blocks
from paragon.metrics.ranking import top_k

DEPTH = 100  # of the whole catalogue so many of the best are re-ranked


def mmr(
    relevance: np.ndarray, categories: np.ndarray, weight: float, depth: int | None = None
) -> np.ndarray:
    """Maximal marginal relevance (Carbonell & Goldstein, SIGIR 1998): scores ``[N, C]``.

    ``relevance [N, C]``; ``categories [N, C, M]`` bool.  The most relevant item
    comes first; each further place takes the item with the largest
    ``weight * r - (1 - weight) * s``, r its relevance scaled to 0..1 within
    the list and s its largest Jaccard similarity to an item above; equal values
    go to the more relevant item.  After ``depth`` places the rest follows by
    relevance.  The scores returned are C, C - 1, ... in the new order.
    """
    rows, count = relevance.shape
    depth = count if depth is None else min(depth, count)
    out = np.empty((rows, count))
    for block in row_blocks(rows, count * count):
        out[block] = _mmr(relevance[block], categories[block], weight, depth)
    return out


def _mmr(relevance: np.ndarray, categories: np.ndarray, weight: float, depth: int) -> np.ndarray:
    rows, count = relevance.shape
    every = np.arange(rows)
    order = np.argsort(-relevance, axis=1, kind="stable")
    value = np.take_along_axis(relevance, order, 1).astype(np.float64)
    spread = value[:, :1] - value[:, -1:]
    value = np.divide(value - value[:, -1:], spread, out=np.ones_like(value), where=spread > 0)
    sets = np.take_along_axis(categories, order[..., None], 1).astype(np.float32)
    similarity = _jaccard(sets)
    worst = np.zeros((rows, count))  # the largest similarity to what stands above
    free = np.ones((rows, count), dtype=bool)
    places = np.empty((rows, count), dtype=np.int64)
    for place in range(depth):
        merit = np.where(free, weight * value - (1 - weight) * worst, -np.inf)
        pick = merit.argmax(1) if place else np.zeros(rows, dtype=np.int64)
        places[:, place] = pick
        free[every, pick] = False
        worst = np.maximum(worst, similarity[every, pick])
    if depth < count:
        places[:, depth:] = np.nonzero(free)[1].reshape(rows, -1)
    scores = np.empty((rows, count))
    np.put_along_axis(scores, np.take_along_axis(order, places, 1), np.arange(count, 0.0, -1), 1)
    return scores


def _jaccard(sets: np.ndarray) -> np.ndarray:
    """Similarity ``[N, C, C]`` of multi-hot rows ``[N, C, M]``; two empty sets are alike."""
    common = sets @ sets.transpose(0, 2, 1)
    size = sets.sum(2)
    union = size[:, :, None] + size[:, None, :] - common
    return np.divide(common, union, out=np.ones_like(common), where=union > 0)


def mmr_scores(
    sequences: Sequences,
    candidates: np.ndarray,
    excluded: np.ndarray,
    scores: np.ndarray,
    weight: float,
    depth: int,
) -> dict[str, np.ndarray]:
    """`mmr` under both protocols, from a backbone's catalogue scores ``[N, n_items + 1]``.

    ``sampled [N, C]``: the stored ``candidates``; ``full [N, n_items + 1]``: the best
    ``DEPTH`` that are not ``excluded`` in their new order, above all others.
    """
    rows = np.arange(len(scores))[:, None]
    own, best = scores[rows, candidates], _best(scores, excluded)
    new = mmr(scores[rows, best], sequences.categories[best], weight, depth)
    sampled = mmr(own, sequences.categories[candidates], weight, depth)
    return {"sampled": sampled, "full": _on_top(scores, best, new)}


def cmr_scores(
    candidates: np.ndarray, excluded: np.ndarray, scores: np.ndarray, policy: np.ndarray
) -> dict[str, np.ndarray]:
    """The backbone's list in the order of ``policy``, under both protocols.

    Both are catalogue scores ``[N, n_items + 1]``, of the backbone and of what re-ranks its
    list; the result is as in :func:`mmr_scores`.
    """
    rows, best = np.arange(len(scores))[:, None], _best(scores, excluded)
    new = policy[rows, best].astype(np.float64)
    new += 1 - new.min(1, keepdims=True)
    return {"sampled": policy[rows, candidates], "full": _on_top(scores, best, new)}


def _best(scores: np.ndarray, excluded: np.ndarray) -> np.ndarray:
    """The best ``DEPTH`` items of the catalogue that are not ``excluded``, or as many as exist."""
    return top_k(scores, min(DEPTH, int((~excluded).sum(1).min())), excluded)


def _on_top(scores: np.ndarray, best: np.ndarray, new: np.ndarray) -> np.ndarray:
    """``scores`` with the items ``best [N, D]`` above all others, in the order of ``new > 0``."""
    full = scores.astype(np.float64)
    full[np.arange(len(full))[:, None], best] = full.max(1, keepdims=True) + new
    return full


def popularity(sequences: Sequences, evaluation: Evaluation) -> np.ndarray:
    """Number of training events of each item, for every event: ``[N, n_items + 1]``."""
    return np.tile(sequences.popularity().astype(np.float64), (len(evaluation), 1))


def item_similarity(sequences: Sequences, neighbours: int = 100) -> sparse.csr_array:
    """Cosine of the items' users in training, sparse ``[n_items + 1, n_items + 1]``.

    Each row keeps its ``neighbours`` largest, the item itself not among them, of
    equal ones the lower number (Deshpande & Karypis, ACM TOIS 2004).
    """
    train = sequences.is_train()
    users = np.repeat(np.arange(sequences.n_users), sequences.lengths)[train]
    shape = (sequences.n_users, sequences.n_items + 1)
    met = sparse.csr_array((np.ones(len(users)), (users, sequences.items[train])), shape=shape)
    met.data[:] = 1  # an item met twice counts once
    norm = np.sqrt(met.sum(0))
    scaled = met @ sparse.diags_array(np.divide(1, norm, out=np.zeros_like(norm), where=norm > 0))
    dense = (scaled.T @ scaled).toarray()
    np.fill_diagonal(dense, 0)
    keep = np.argsort(-dense, axis=1, kind="stable")[:, :neighbours]
    rows = np.repeat(np.arange(len(dense)), keep.shape[1])
    values = np.take_along_axis(dense, keep, 1).ravel()
    return sparse.csr_array((values, (rows, keep.ravel())), shape=dense.shape)


def item_knn(sequences: Sequences, evaluation: Evaluation, neighbours: int = 100) -> np.ndarray:
    """Summed similarity to everything met before the target, ``[N, n_items + 1]``."""
    similarity = item_similarity(sequences, neighbours)
    counts = evaluation.positions
    rows = np.repeat(np.arange(len(evaluation)), counts)
    steps = np.arange(counts.sum()) - np.repeat(np.cumsum(counts) - counts, counts)
    items = sequences.items[np.repeat(sequences.offsets[evaluation.users], counts) + steps]
    shape = (len(evaluation), sequences.n_items + 1)
    history = sparse.csr_array((np.ones(len(rows)), (rows, items)), shape=shape)
    history.data[:] = 1
    # `similarity` holds each item's own neighbours: a history item votes for its neighbours.
    return (history @ similarity).toarray()
