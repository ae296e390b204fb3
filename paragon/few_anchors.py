"""How many anchors do simple means need?  Mixtures of parts of the collection.

Each task of a joint tuning is independent of the others, so a part of the anchors is what
tuning that part alone would have given.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from itertools import product

import numpy as np
import torch
from torch import Tensor

from paragon.adapters import Collection, FrozenTask, held_out_losses
from paragon.arrays import Measure
from paragon.baselines import LINEAR
from paragon.control import regret
from paragon.errors import ParagonError

# What follows the weights between the anchors: not `constant`, and not the two ends alone.
MIXTURES = tuple(name for name in LINEAR if name not in ("soup", "constant"))


def part_of(collection: Collection, first: Sequence[float]) -> Collection:
    """The collection with those anchors only whose first weight is in ``first``, in that order.

    Raises ``ParagonError`` for a weight that no anchor has.
    """
    there = collection.anchors[:, 0].double()
    rows = [(there - weight).abs().argmin().item() for weight in first]
    if any(abs(there[row] - weight) > 1e-6 for row, weight in zip(rows, first, strict=True)):
        raise ParagonError(
            f"anchors {list(first)}: not all of them were tuned; there are "
            f"{[round(weight, 4) for weight in there.tolist()]}"
        )
    return dataclasses.replace(
        collection,
        anchors=collection.anchors[rows],
        anchor_vectors=collection.anchor_vectors[:, rows],
        snapshots=collection.snapshots[:, rows],
    )


def mixed(collection: Collection, method: str, seed_index: int, weights: Tensor) -> Tensor:
    """The vectors ``[W, P]`` of a method that is linear in the anchors, at weights ``[W, O]``."""
    mix = LINEAR[method](collection.anchors.double().numpy(), weights.double().numpy())
    return torch.from_numpy(mix).float() @ collection.anchor_vectors[seed_index]


def few_anchors(
    collection: Collection, test: FrozenTask, subsets: Sequence[Sequence[float]]
) -> dict[str, dict[str, list[Measure]]]:
    """{method: {measure: a value a seed}}: regret of every mixture of a subset of the anchors.

    ``regret_mean_3_anchors`` and ``regret_median_3_anchors``, for each subset with the number of
    its anchors, over the evaluation weights off the corners: on the lists of ``test``, in units
    of what `constant` has with all anchors, so that they compare with those of all anchors.
    """
    objectives, weights = collection.description["objectives"], collection.oracles
    corners = (weights <= 0).any(1).numpy()

    def losses(vectors: Tensor) -> np.ndarray:
        found = held_out_losses(test, vectors.to(test.states.device), objectives).cpu()
        return (found * weights).sum(1).double().numpy()

    parts = [part_of(collection, first) for first in subsets]
    out: dict[str, dict[str, list[Measure]]] = {method: {} for method in MIXTURES}
    for index in range(len(collection.description["seeds"])):
        oracle = losses(collection.oracle_vectors[index])
        constant = losses(mixed(collection, "constant", index, weights))
        for part, method in product(parts, MIXTURES):
            own = losses(mixed(part, method, index, weights))
            found = regret(own, oracle, constant, corners)
            for name in ("mean", "median"):
                key = f"regret_{name}_{len(part.anchors)}_anchors"
                out[method].setdefault(key, []).append(found[name])
    return out
