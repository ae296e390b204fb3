"""The collection of tuned adapters: what the generator learns from and is judged by."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass, fields
from pathlib import Path

import torch
from scipy.optimize import linear_sum_assignment
from torch import Tensor

from paragon import params
from paragon.adapters.adapter import shared_starts, unflatten
from paragon.adapters.frozen import frozen_task
from paragon.adapters.tuning import tune
from paragon.backbones.base import Backbone
from paragon.data.negatives import NegativeSampler
from paragon.data.sequences import Sequences
from paragon.errors import ParagonError
from paragon.objectives.table import check_objectives
from paragon.objectives.weights import simplex_lattice, simplex_weights
from paragon.storage import check_match, load_tensors, save_tensors


@dataclass(frozen=True)
class Collection:
    """Tuned adapters with their weights: what the generator learns from and is judged by.

    ``anchors [A, O]`` and ``oracles [W, O]`` are weights; ``anchor_vectors
    [S, A, P]``, ``oracle_vectors [S, W, P]`` where tuning ended; ``snapshots
    [S, A, K, P]`` the anchors' last checkpoints before that;
    ``validation [S, A + W, T]`` the validation task loss at ``steps [T]``.
    No generator or rival may see the oracles.
    """

    anchors: Tensor
    oracles: Tensor
    anchor_vectors: Tensor
    oracle_vectors: Tensor
    snapshots: Tensor
    validation: Tensor
    steps: Tensor
    description: dict

    def training_set(self, seed_index: int) -> tuple[Tensor, Tensor]:
        """All collected vectors ``[A * (K + 1), P]`` of one seed and their weights, row by row.

        ``seed_index`` is the seed's place in ``description["seeds"]``, not its value.
        """
        ends = self.anchor_vectors[seed_index].unsqueeze(1)
        vectors = torch.cat([self.snapshots[seed_index], ends], 1)
        return vectors.flatten(0, 1), self.anchors.repeat_interleave(vectors.shape[1], 0)


def collect(
    backbone: Backbone,
    sequences: Sequences,
    settings: params.AdapterSettings,
    seeds: Sequence[int],
    description: dict | None = None,
) -> Collection:
    """Tune every anchor and every oracle for every seed, all in one computation.

    They begin at :func:`shared_starts`.
    """
    objectives = settings.objectives
    check_objectives(objectives, sequences)
    anchors = simplex_weights(settings.anchors, objectives)
    oracles = simplex_lattice(len(objectives), settings.oracles)
    train, valid = (
        frozen_task(backbone, sequences, events, 1 + settings.negatives, settings.events)
        for events in ("train", "valid")
    )
    weights = torch.cat([anchors, oracles]).to(train.states.device)
    starts = shared_starts(backbone.dim, settings.width, len(weights), seeds)
    tuned = tune(
        train,
        valid,
        NegativeSampler(sequences),
        weights,
        starts.to(weights.device),
        settings,
        seeds,
    )
    a = len(anchors)
    return Collection(
        anchors,
        oracles,
        tuned.vectors[:, :a].cpu(),
        tuned.vectors[:, a:].cpu(),
        tuned.snapshots[:, :a].cpu(),
        tuned.validation.cpu(),
        tuned.steps,
        {
            "objectives": objectives,
            "dim": backbone.dim,
            "width": settings.width,
            "negatives": settings.negatives,
            "seeds": list(seeds),
            **(description or {}),
        },
    )


_TENSORS = tuple(f.name for f in fields(Collection) if f.name != "description")


def save_collection(collection: Collection, stem: Path) -> None:
    """Write ``stem.safetensors`` and ``stem.json``."""
    tensors = {name: getattr(collection, name) for name in _TENSORS}
    save_tensors(stem, tensors, collection.description)


def load_collection(stem: Path, backbone: dict | None = None) -> Collection:
    """Read what :func:`save_collection` wrote, and check that its numbers are finite.

    ``backbone``: the description of the backbone that it has to belong to.
    """
    tensors, description = load_tensors(stem, "adapters")
    if backbone is not None:
        check_match({"backbone": backbone["sha256"]}, description, f"{stem}.json")
    for name, tensor in tensors.items():
        if not torch.isfinite(tensor).all():
            raise ParagonError(f"{stem}.safetensors: `{name}` holds numbers that are not finite")
    return Collection(**tensors, description=description)


def subset(collection: Collection, first: Sequence[float]) -> Collection:
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
