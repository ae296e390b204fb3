"""The collection of tuned adapters: what the generator learns from and is judged by.

In this file: what is tuned (anchors to learn from, oracles to compare with) and how it is stored.

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
    """Tuned adapters with their weights.  No generator and no rival may see the oracles."""

    anchors: Tensor  # [A, O], weights
    oracles: Tensor  # [W, O]
    anchor_vectors: Tensor  # [S, A, P], the ends of tuning
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
        """All collected vectors ``[A * (K + 1), P]`` of one seed, and the weights of each.

        ``seed_index``: the position of the seed in ``description["seeds"]``, not its value.
        """
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
    """Tune an adapter for every anchor, oracle and seed, all in one computation.

    A task that ends no better on validation events keeps its start.  Entries of ``description`` are
    stored with the rest.  ``train``: the training events, if their states are known.
    Raises ``ParagonError`` for objectives that do not exist or that the data do not support.
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
    # An adapter that is no better than none on validation events is none.  A backbone may know
    # the training events by heart: then tuning on them for accuracy alone makes it worse.
    # All tasks of a seed have one start: its losses [S, 1, O] are computed once.
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
    """Read what :func:`save_collection` wrote.

    ``backbone``: the description of the backbone that it must belong to.  Raises
    ``ParagonError`` for another backbone, altered files and numbers that are not finite.
    """
    expected = {} if backbone is None else {"backbone": backbone["sha256"]}
    with loading(stem, "adapters", expected) as (tensors, description):
        return Collection(**tensors, description=description)


def subset(collection: Collection, first: Sequence[float]) -> Collection:
    """The collection with only those anchors whose first weight is in ``first``, in that order.

    Raises ``ParagonError`` for a weight that no anchor has.
    """
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
