"""Collections pooled from several random starts, their hidden units brought into one order.

Two networks compute the same with their hidden units in another order, so vectors that grew from
different starts cannot be compared number by number until they are aligned.

Shapes: S seeds, A anchors, O objectives, K snapshots of each anchor, P parameters of an adapter, d
numbers of a state, h hidden units.
"""

from __future__ import annotations

import dataclasses

import torch
from scipy.optimize import linear_sum_assignment
from torch import Tensor

from paragon.adapters.adapter import AdapterForm
from paragon.adapters.collection import Collection


def matching(vector: Tensor, reference: Tensor, form: AdapterForm) -> Tensor:
    """The order ``[h]`` of the hidden units of ``vector [P]`` that is closest to ``reference [P]``.

    The assignment of units that maximises the sum of inner products of their
    incoming and outgoing weights (Ainsworth et al., "Git Re-Basin", ICLR 2023, section 3.2).
    """
    units, reference_units = _hidden_units(vector, form), _hidden_units(reference, form)
    products = (reference_units @ units.T).numpy()  # [h, h]
    return torch.from_numpy(linear_sum_assignment(products, maximize=True)[1])


def _hidden_units(vector: Tensor, form: AdapterForm) -> Tensor:
    """A row ``[h, 2 d + 1]`` for each hidden unit: its incoming weights, bias, outgoing weights."""
    parts = form.unflatten(vector)
    return torch.cat([parts.w1, parts.b1.unsqueeze(1), parts.w2.T], 1)


def permute(vectors: Tensor, order: Tensor, form: AdapterForm) -> Tensor:
    """Vectors ``[..., P]`` with their hidden units in another order: the same functions."""
    w1, b1, w2, b2, v, u = form.unflatten(vectors)
    units = w1[..., order, :].flatten(-2), b1[..., order], w2[..., order].flatten(-2)
    return torch.cat([*units, b2, v.flatten(-2), u], -1)  # [..., P]


def pooled(collection: Collection, aligned: bool) -> Collection:
    """A collection in which every seed has the anchors of all seeds, so of several starts.

    Anchors become ``[S * A, O]``, start after start; the oracles stay.  ``aligned``: the hidden
    units of each start are first put into the order in which its middle anchor is closest to the
    middle anchor of the first start.
    """
    form, middle = collection.form, len(collection.anchors) // 2
    seeds = len(collection.anchor_vectors)
    vectors, snapshots = list(collection.anchor_vectors), list(collection.snapshots)  # by seed
    if aligned:
        for seed in range(1, seeds):
            order = matching(vectors[seed][middle], vectors[0][middle], form)
            vectors[seed] = permute(vectors[seed], order, form)
            snapshots[seed] = permute(snapshots[seed], order, form)
    return dataclasses.replace(
        collection,
        anchors=collection.anchors.repeat(seeds, 1),
        anchor_vectors=torch.cat(vectors).repeat(seeds, 1, 1),  # [S, S * A, P]
        snapshots=torch.cat(snapshots).repeat(seeds, 1, 1, 1),  # [S, S * A, K, P]
        description=collection.description | {"starts": seeds},
    )
