"""Rivals that need no adapter: they score or re-rank candidates as they are.

In this file: `mmr` and `cmr`, which re-rank the frozen backbone's list and follow the weights;
`popularity` and `item_knn`, two recommenders that do not follow the weights and that every
comparison should beat.

Shapes: N events, C candidates, n items, M categories, D re-ranked items.
"""

from __future__ import annotations

import numpy as np
from scipy import sparse

from paragon.data.sequences import Evaluation, Sequences
from paragon.metrics.checks import row_blocks
from paragon.metrics.ranking import top_k

DEPTH = 100  # how many of the catalogue's best items are re-ranked


def mmr(
    relevance: np.ndarray, categories: np.ndarray, weight: float, depth: int | None = None
) -> np.ndarray:
    """Maximal marginal relevance (Carbonell & Goldstein, SIGIR 1998): scores ``[N, C]``.

    ``relevance [N, C]``; ``categories [N, C, M]`` bool.  The most relevant item comes first; each
    next position takes the item with the largest

        weight * r - (1 - weight) * s

    r is its relevance, scaled to 0..1 within the list, and s its largest Jaccard similarity to
    an item above; of equal values the more relevant item wins.  After ``depth`` positions the
    rest follows by relevance.  The scores are C, C - 1, ... in the new order.
    """
    rows, count = relevance.shape
    depth = count if depth is None else min(depth, count)
    out = np.empty((rows, count))
    for block in row_blocks(rows, count * count):
        out[block] = _mmr(relevance[block], categories[block], weight, depth)
    return out


def _mmr(relevance: np.ndarray, categories: np.ndarray, weight: float, depth: int) -> np.ndarray:
    rows, count = relevance.shape
    events = np.arange(rows)
    order = np.argsort(-relevance, axis=1, kind="stable")  # [N, C], most relevant first
    value = np.take_along_axis(relevance, order, 1).astype(np.float64)
    spread = value[:, :1] - value[:, -1:]
    value = np.divide(value - value[:, -1:], spread, out=np.ones_like(value), where=spread > 0)
    sets = np.take_along_axis(categories, order[..., None], 1).astype(np.float32)  # [N, C, M]
    similarity = _jaccard(sets)  # [N, C, C]
    to_chosen = np.zeros((rows, count))  # the largest similarity to an item above
    free = np.ones((rows, count), dtype=bool)
    ranking = np.empty((rows, count), dtype=np.int64)  # column k: the item at position k + 1
    for position in range(depth):
        merit = np.where(free, weight * value - (1 - weight) * to_chosen, -np.inf)
        chosen = merit.argmax(1) if position else np.zeros(rows, dtype=np.int64)
        ranking[:, position] = chosen
        free[events, chosen] = False
        to_chosen = np.maximum(to_chosen, similarity[events, chosen])
    if depth < count:
        ranking[:, depth:] = np.nonzero(free)[1].reshape(rows, -1)
    scores = np.empty((rows, count))
    np.put_along_axis(scores, np.take_along_axis(order, ranking, 1), np.arange(count, 0.0, -1), 1)
    return scores


def _jaccard(sets: np.ndarray) -> np.ndarray:
    """Similarity ``[N, C, C]`` of multi-hot rows ``[N, C, M]``; two empty sets are alike."""
    common = sets @ sets.transpose(0, 2, 1)  # [N, C, C]
    size = sets.sum(2)  # [N, C]
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
    """`mmr` under both protocols, from a backbone's catalogue scores ``[N, n + 1]``.

    ``sampled [N, C]``: for the stored ``candidates [N, C]``; ``full [N, n + 1]``: the best
    ``DEPTH`` items that are not ``excluded [N, n + 1]`` in their new order, above all others.
    """
    rows, best = np.arange(len(scores))[:, None], _best(scores, excluded)
    sampled = mmr(scores[rows, candidates], sequences.categories[candidates], weight, depth)
    full = mmr(scores[rows, best], sequences.categories[best], weight, depth)
    return {"sampled": sampled, "full": _on_top(scores, best, full)}


def cmr_scores(
    candidates: np.ndarray, excluded: np.ndarray, scores: np.ndarray, policy: np.ndarray
) -> dict[str, np.ndarray]:
    """The backbone's list in the order of a ``policy``, under both protocols.

    After Chen et al. (2023), whose policy hypernetwork re-ranks whole lists; here one item is
    scored at a time.  ``scores`` of the backbone and of the ``policy`` are those of the catalogue,
    ``[N, n + 1]``; the result is as in :func:`mmr_scores`.
    """
    rows, best = np.arange(len(scores))[:, None], _best(scores, excluded)
    full = policy[rows, best].astype(np.float64)  # [N, D]
    full += 1 - full.min(1, keepdims=True)
    return {"sampled": policy[rows, candidates], "full": _on_top(scores, best, full)}


def _best(scores: np.ndarray, excluded: np.ndarray) -> np.ndarray:
    """The best ``DEPTH`` items that are not ``excluded``, or as many as there are: ``[N, D]``."""
    return top_k(scores, min(DEPTH, int((~excluded).sum(1).min())), excluded)


def _on_top(scores: np.ndarray, best: np.ndarray, new_scores: np.ndarray) -> np.ndarray:
    """``scores`` with items ``best [N, D]`` above all others, by their ``new_scores`` (above 0)."""
    full = scores.astype(np.float64)
    full[np.arange(len(full))[:, None], best] = full.max(1, keepdims=True) + new_scores
    return full


def popularity(sequences: Sequences, evaluation: Evaluation) -> np.ndarray:
    """The number of training events of each item, the same for every event: ``[N, n + 1]``."""
    return np.tile(sequences.popularity().astype(np.float64), (len(evaluation), 1))


def item_similarity(sequences: Sequences, neighbours: int = 100) -> sparse.csr_array:
    """Cosine similarity of items by their users in training, sparse ``[n + 1, n + 1]``.

    Each row keeps its ``neighbours`` largest values, without the item itself; of equal ones,
    those with the lower numbers (Deshpande & Karypis, ACM TOIS 2004).
    """
    train = sequences.is_train()
    users = np.repeat(np.arange(sequences.n_users), sequences.lengths)[train]
    shape = (sequences.n_users, sequences.n_items + 1)
    met = sparse.csr_array((np.ones(len(users)), (users, sequences.items[train])), shape=shape)
    met.data[:] = 1  # an item met twice counts once
    norm = np.sqrt(met.sum(0))
    scaled = met @ sparse.diags_array(np.divide(1, norm, out=np.zeros_like(norm), where=norm > 0))
    cosine = (scaled.T @ scaled).toarray()
    np.fill_diagonal(cosine, 0)
    nearest = np.argsort(-cosine, axis=1, kind="stable")[:, :neighbours]  # [n + 1, neighbours]
    rows = np.repeat(np.arange(len(cosine)), nearest.shape[1])
    values = np.take_along_axis(cosine, nearest, 1).ravel()
    return sparse.csr_array((values, (rows, nearest.ravel())), shape=cosine.shape)


def item_knn(sequences: Sequences, evaluation: Evaluation, neighbours: int = 100) -> np.ndarray:
    """The summed similarity to every item met before the target, ``[N, n + 1]``."""
    similarity = item_similarity(sequences, neighbours)
    counts = evaluation.positions  # [N], the number of events before the target
    rows = np.repeat(np.arange(len(evaluation)), counts)
    steps = np.arange(counts.sum()) - np.repeat(np.cumsum(counts) - counts, counts)
    items = sequences.items[np.repeat(sequences.offsets[evaluation.users], counts) + steps]
    shape = (len(evaluation), sequences.n_items + 1)
    history = sparse.csr_array((np.ones(len(rows)), (rows, items)), shape=shape)
    history.data[:] = 1  # an item met twice counts once
    # Row i of `similarity` holds the neighbours of item i: each item met votes for its neighbours.
    return (history @ similarity).toarray()
