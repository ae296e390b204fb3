"""Collections from several random starts: pooled as they are, or with their neurons matched.

Adapters that do the same may hold it in other neurons: any permutation of the hidden
units gives the same function.  Vectors from one start share their order, vectors from
different starts do not, and their average is then no adapter at all.
"""

from __future__ import annotations

import dataclasses

import torch
from scipy.optimize import linear_sum_assignment
from torch import Tensor

from paragon.adapters import Collection, unflatten


def matching(vector: Tensor, reference: Tensor, dim: int) -> Tensor:
    """The order ``[h]`` of the hidden units of ``vector [P]`` that is closest to ``reference [P]``.

    The assignment of units that maximises the sum of inner products of their
    incoming and outgoing weights (Ainsworth et al., "Git Re-Basin", ICLR 2023, section 3.2).
    """
    own, other = (_units(v, dim) for v in (vector, reference))
    return torch.from_numpy(linear_sum_assignment((other @ own.T).numpy(), maximize=True)[1])


def permute(vectors: Tensor, order: Tensor, dim: int) -> Tensor:
    """Vectors ``[..., P]`` with their hidden units in another order: the same functions."""
    w1, b1, w2, b2 = unflatten(vectors, dim)
    parts = w1[..., order, :].flatten(-2), b1[..., order], w2[..., order].flatten(-2), b2
    return torch.cat(parts, -1)


def pooled(collection: Collection, aligned: bool) -> Collection:
    """A collection in which every seed has the anchors of all seeds, hence of all starts.

    Anchors become ``[S * A, O]``, those of one start after those of another; oracles stay.
    ``aligned``: the hidden units of each start are first put in the order that brings its
    middle anchor closest to that of the first.
    """
    dim, middle = collection.description["dim"], len(collection.anchors) // 2
    seeds = len(collection.anchor_vectors)
    vectors, snapshots = list(collection.anchor_vectors), list(collection.snapshots)
    if aligned:
        for seed in range(1, seeds):
            order = matching(vectors[seed][middle], vectors[0][middle], dim)
            vectors[seed] = permute(vectors[seed], order, dim)
            snapshots[seed] = permute(snapshots[seed], order, dim)
    return dataclasses.replace(
        collection,
        anchors=collection.anchors.repeat(seeds, 1),
        anchor_vectors=torch.cat(vectors).repeat(seeds, 1, 1),
        snapshots=torch.cat(snapshots).repeat(seeds, 1, 1, 1),
        description=collection.description | {"starts": seeds},
    )


def _units(vector: Tensor, dim: int) -> Tensor:
    """A row ``[h, 2 d + 1]`` for each hidden unit: what comes in, its bias, what goes out."""
    w1, b1, w2, _ = unflatten(vector, dim)
    return torch.cat([w1, b1.unsqueeze(1), w2.T], 1)
