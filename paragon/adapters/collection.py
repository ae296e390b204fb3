"""The collection of tuned adapters: what the generator learns from and is judged by.

In this file: what is tuned (anchors to learn from, oracles to compare with), how it is stored,
and how vectors that grew from different starts are brought into one order of hidden units.

Shapes: S seeds, A anchors, W oracles, O objectives, K snapshots of each anchor, T checkpoints,
P parameters of an adapter, d numbers of a state, h hidden units.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path

import torch
from scipy.optimize import linear_sum_assignment
from torch import Tensor

from paragon import params
from paragon.adapters.adapter import AdapterForm, shared_starts
from paragon.adapters.frozen import frozen_task, held_out_losses
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
    """Tuned adapters with their weights.

    ``anchors [A, O]``, ``oracles [W, O]``: weights; ``anchor_vectors [S, A, P]``,
    ``oracle_vectors [S, W, P]``: the ends of tuning; ``snapshots [S, A, K, P]``: the anchors'
    last checkpoints before the end; ``validation [S, A + W, T]``: the task loss on validation
    events at ``steps [T]``.  No generator and no rival may see the oracles.
    """

    anchors: Tensor
    oracles: Tensor
    anchor_vectors: Tensor
    oracle_vectors: Tensor
    snapshots: Tensor
    validation: Tensor
    steps: Tensor
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
) -> Collection:
    """Tune an adapter for every anchor, oracle and seed, all in one computation.

    They start from :func:`shared_starts`, and a task that ends no better on validation events
    keeps its start.  Entries of ``description`` are stored with the rest.
    Raises ``ParagonError`` for objectives that do not exist or that the data do not support.
    """
    check_objectives(settings.objectives, sequences)
    anchors = simplex_weights(settings.anchors, settings.objectives)  # [A, O]
    oracles = simplex_lattice(len(settings.objectives), settings.oracles)  # [W, O]
    train, valid = (frozen_task(backbone, sequences, e, settings) for e in ("train", "valid"))
    device, sampler = train.states.device, NegativeSampler(sequences)
    weights = torch.cat([anchors, oracles]).to(device)  # [A + W, O]
    starts = shared_starts(train.form, len(weights), seeds).to(device)
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
