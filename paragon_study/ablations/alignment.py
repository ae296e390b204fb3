"""Pool collections from several random starts, with their hidden units aligned.

Permuted hidden units give the same network, so vectors of different starts cannot be compared
before.  Shapes: S seeds, A anchors, O objectives, K snapshots, P parameters, d state, h hidden.
"""

from __future__ import annotations

import dataclasses

import torch
from scipy.optimize import linear_sum_assignment
from torch import Tensor

from paragon.adapters.adapter import AdapterForm
from paragon.adapters.collection import Collection


def matching(vector: Tensor, reference: Tensor, form: AdapterForm) -> Tensor:
    """Order ``[h]`` of the hidden units of ``vector [P]`` that is closest to ``reference [P]``.

    It maximises the sum of inner products of the units' incoming and outgoing weights (Ainsworth et
    al., "Git Re-Basin", ICLR 2023, section 3.2).
    """
    units, reference_units = _hidden_units(vector, form), _hidden_units(reference, form)
    products = (reference_units @ units.T).numpy()  # [h, h]
    return torch.from_numpy(linear_sum_assignment(products, maximize=True)[1])


def _hidden_units(vector: Tensor, form: AdapterForm) -> Tensor:
    """Return a row ``[h, 2 d + 1]`` per hidden unit: incoming weights, bias, outgoing weights."""
    parts = form.unflatten(vector)
    return torch.cat([parts.w1, parts.b1.unsqueeze(1), parts.w2.T], 1)


def permute(vectors: Tensor, order: Tensor, form: AdapterForm) -> Tensor:
    """Reorder the hidden units of vectors ``[..., P]``; the functions stay the same."""
    w1, b1, w2, b2, v, u = form.unflatten(vectors)
    units = w1[..., order, :].flatten(-2), b1[..., order], w2[..., order].flatten(-2)
    return torch.cat([*units, b2, v.flatten(-2), u], -1)  # [..., P]


def pooled(collection: Collection, aligned: bool) -> Collection:
    """Give each seed the anchors of all seeds, ``[S * A, O]``; the oracles stay.

    ``aligned``: match the hidden units of each start to the first, by their middle anchors.
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
