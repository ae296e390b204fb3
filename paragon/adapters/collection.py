"""Tune, store and load collections of adapters: anchors to learn from, oracles to compare with.

Shapes: S seeds, A anchors, W oracles, O objectives, K snapshots of each anchor, T checkpoints,
P parameters of an adapter.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path

import torch
from torch import Tensor

from paragon import params
from paragon.adapters.adapter import AdapterForm, start_vectors
from paragon.adapters.frozen import FrozenTask, frozen_task, held_out_losses
from paragon.adapters.tuning import tune
from paragon.backbones.base import Backbone
from paragon.data.negatives import NegativeSampler
from paragon.data.sequences import Sequences
from paragon.errors import ParagonError
from paragon.objectives.table import check_objectives
from paragon.objectives.weights import simplex_lattice, simplex_weights
from paragon.storage import loading, save_tensors


@dataclass(frozen=True)
class Collection:
    """Tuned adapters with their weights. Generators and rivals must not see the oracles."""

    anchors: Tensor  # [A, O], weights
    oracles: Tensor  # [W, O]
    anchor_vectors: Tensor  # [S, A, P], at the end of tuning
    oracle_vectors: Tensor  # [S, W, P]
    snapshots: Tensor  # [S, A, K, P], the last checkpoints of the anchors before the end
    validation: Tensor  # [S, A + W, T], the task loss on validation events
    steps: Tensor  # [T], of the checkpoints
    description: dict

    @property
    def form(self) -> AdapterForm:
        """The form of the adapters."""
        return AdapterForm(**self.description["form"])

    def training_set(self, seed_index: int) -> tuple[Tensor, Tensor]:
        """Return vectors ``[A * (K + 1), P]`` and weights of the seed at index ``seed_index``."""
        ends = self.anchor_vectors[seed_index].unsqueeze(1)  # [A, 1, P]
        vectors = torch.cat([self.snapshots[seed_index], ends], 1)  # [A, K + 1, P]
        weights = self.anchors.repeat_interleave(vectors.shape[1], 0)  # [A * (K + 1), O]
        return vectors.flatten(0, 1), weights


def collect(
    backbone: Backbone,
    sequences: Sequences,
    settings: params.AdapterSettings,
    seeds: Sequence[int],
    description: dict | None = None,
    train: FrozenTask | None = None,
) -> Collection:
    """Tune adapters for all anchors, oracles and seeds in one computation.

    An adapter whose loss on validation events did not fall is replaced by its start.
    ``description``: more entries to store. ``train``: the training events, if already cached.
    Raise ``ParagonError`` for objectives that are unknown or not supported by the data.
    """
    check_objectives(settings.objectives, sequences)
    anchors = simplex_weights(settings.anchors, settings.objectives)  # [A, O]
    oracles = simplex_lattice(len(settings.objectives), settings.oracles)  # [W, O]
    train = train or frozen_task(backbone, sequences, "train", settings)
    valid = frozen_task(backbone, sequences, "valid", settings)
    device, sampler = train.states.device, NegativeSampler(sequences)
    weights = torch.cat([anchors, oracles]).to(device)  # [A + W, O]
    starts = start_vectors(train.form, len(weights), seeds).to(device)
    tuned = tune(train, valid, sampler, weights, starts, settings, seeds)
    # A backbone may have memorised the training events; tuning for accuracy then makes it worse.
    # All tasks of a seed have one start, so its losses [S, 1, O] are computed once.
    losses = held_out_losses(valid, starts[:, :1], settings.objectives)
    before = (losses * weights).sum(-1)  # [S, A + W]
    better = (tuned.validation[..., -1] < before).unsqueeze(-1)  # [S, A + W, 1]
    vectors = torch.where(better, tuned.vectors, starts)  # [S, A + W, P]
    snapshots = torch.where(better.unsqueeze(-1), tuned.snapshots, starts.unsqueeze(2))
    n_anchors = len(anchors)
    return Collection(
        anchors=anchors,
        oracles=oracles,
        anchor_vectors=vectors[:, :n_anchors].cpu(),
        oracle_vectors=vectors[:, n_anchors:].cpu(),
        snapshots=snapshots[:, :n_anchors].cpu(),
        validation=tuned.validation.cpu(),
        steps=tuned.steps,
        description={
            "objectives": settings.objectives,
            "form": asdict(train.form),
            "settings": settings.model_dump(),
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
    """Load a collection; ``ParagonError`` if altered, not finite or of another ``backbone``."""
    expected = {} if backbone is None else {"backbone": backbone["sha256"]}
    with loading(stem, "adapters", expected) as (tensors, description):
        return Collection(**tensors, description=description)


def subset(collection: Collection, first: Sequence[float]) -> Collection:
    """Keep the anchors whose first weight is in ``first``; ``ParagonError`` if one is missing."""
    tuned = collection.anchors[:, 0].double()  # [A]
    rows = [int((tuned - weight).abs().argmin()) for weight in first]
    if any(abs(tuned[row] - weight) > 1e-6 for row, weight in zip(rows, first, strict=True)):
        raise ParagonError(
            f"anchors {list(first)}: not all of them were tuned; there are "
            f"{[round(weight, 4) for weight in tuned.tolist()]}"
        )
    return dataclasses.replace(
        collection,
        anchors=collection.anchors[rows],
        anchor_vectors=collection.anchor_vectors[:, rows],
        snapshots=collection.snapshots[:, rows],
    )
