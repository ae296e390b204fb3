"""Rivals that score or re-rank candidates as they are.

In this file: `cmr`, which gives the frozen backbone's list another order; `popularity` and
`item_knn`, two recommenders that do not follow the weights and that every comparison should
beat.  The re-rankers that look at the list so far are in `greedy` and `calibration`.

Shapes: N events, C candidates, n items, D re-ranked items.
"""

from __future__ import annotations

import numpy as np
from scipy import sparse

from paragon.data.sequences import Evaluation, Sequences
from paragon.metrics.ranking import top_k
from paragon.rivals.greedy import on_top

DEPTH = 100  # how many of the catalogue's best items `cmr` re-ranks


def cmr_scores(
    candidates: np.ndarray, excluded: np.ndarray, scores: np.ndarray, policy: np.ndarray
) -> dict[str, np.ndarray]:
    """The backbone's list in the order of a ``policy``, under both protocols.

    After Chen et al. (2023), whose policy hypernetwork re-ranks whole lists; here one item is
    scored at a time.  ``scores`` of the backbone and of the ``policy`` are those of the catalogue,
    ``[N, n + 1]``.  ``sampled [N, C]``: for the stored ``candidates [N, C]``; ``full [N, n + 1]``:
    the best ``DEPTH`` items that are not ``excluded [N, n + 1]``, or as many as there are, in
    their new order above all others.
    """
    best = top_k(scores, min(DEPTH, int((~excluded).sum(1).min())), excluded)  # [N, D]
    order = np.argsort(-np.take_along_axis(policy, best, 1), axis=1, kind="stable")
    full = on_top(scores, np.take_along_axis(best, order, 1))
    return {"sampled": np.take_along_axis(policy, candidates, 1), "full": full}


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
