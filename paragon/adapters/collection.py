"""Tune collections of adapters, anchors to learn from and oracles to compare with, and store them.

Shapes: S seeds, A anchors (or tasks to tune for), W oracles, O objectives, K snapshots of each
anchor, T checkpoints, P parameters of an adapter, B events.
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from paragon import params
from paragon.adapters.adapter import AdapterForm, start_vectors
from paragon.adapters.frozen import FrozenEvents, frozen_events, held_out_losses
from paragon.backbones.base import Backbone
from paragon.data.sequences import Sequences
from paragon.errors import ParagonError
from paragon.objectives.table import check_objectives
from paragon.objectives.weights import simplex_lattice, simplex_weights
from paragon.progress import progress
from paragon.storage import loading, save_tensors


class Tuned(NamedTuple):
    """The result of :func:`tune`."""

    vectors: Tensor  # [S, A, P], at the end of tuning
    snapshots: Tensor  # [S, A, K, P], the last checkpoints before the end
    validation: Tensor  # [S, A, T], the task loss on validation events; [0] without any
    checkpoints: Tensor  # [T], the steps after which it was computed


def tune(
    train: FrozenEvents,
    valid: FrozenEvents | None,
    weights: Tensor,
    start: Tensor,
    settings: params.AdapterSettings,
    seeds: Sequence[int],
) -> Tuned:
    """Tune S x A adapters jointly, for weights ``[A, O]``, from ``start [S, A, P]``.

    All losses are added up: an adapter appears only in its own, so it is as if tuned alone. All
    tasks of a seed share its events. The rate falls along a cosine. ``valid`` gives no gradient: at
    each checkpoint, the task losses on its events are recorded. Raise ``ParagonError`` if an
    adapter ends without finite numbers.
    """
    vectors = start.clone().requires_grad_(True)  # [S, A, P]
    optimizer = torch.optim.Adam([vectors], lr=settings.learning_rate, fused=True)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, settings.steps)
    rngs = [np.random.default_rng([seed, 1]) for seed in seeds]  # stream 1: the training events
    evenly = np.linspace(0, settings.steps, settings.checks + 1).round().astype(int)
    checkpoints = np.unique(evenly)[1:]  # [T]
    last_vectors: list[Tensor] = []
    validation: list[Tensor] = []
    for step in progress(range(1, settings.steps + 1), "steps"):
        drawn = [rng.integers(len(train.states), size=settings.batch) for rng in rngs]
        rows = torch.from_numpy(np.stack(drawn)).to(start.device)  # [S, B]
        losses = train.losses(vectors, rows, settings.objectives)  # [S, A, O], of vectors [S, A, P]
        task_losses = (losses * weights).sum(-1)  # [S, A]
        optimizer.zero_grad()
        task_losses.sum().backward()
        optimizer.step()
        schedule.step()
        if step in checkpoints:
            current = vectors.detach().clone()  # [S, A, P]
            last_vectors = [*last_vectors, current][-settings.snapshots - 1 :]
            if valid is not None:
                held_out = held_out_losses(valid, current, settings.objectives)  # [S, A, O]
                validation.append((held_out * weights).sum(-1))  # [S, A]
    if not last_vectors[-1].isfinite().all():
        problem = f"with {settings.learning_rate:g}, tuning ended in numbers that are not finite"
        raise ParagonError(f"adapters.learning_rate: {problem}; take a smaller one")
    return Tuned(
        vectors=last_vectors[-1],
        snapshots=torch.stack(last_vectors, 2)[:, :, :-1],
        validation=torch.stack(validation, -1) if validation else torch.zeros(0),
        checkpoints=torch.from_numpy(checkpoints),
    )


def common_start(
    train: FrozenEvents, untrained: Tensor, settings: params.AdapterSettings, seeds: Sequence[int]
) -> Tensor:
    """Tune one adapter for each seed, for the weights ``settings.start``: ``[S, A, P]``.

    All adapters of a seed are tuned from it, so that they end in optima that belong together. The
    released code also starts from one pretraining for all weights. Without ``start_steps``, return
    ``untrained [S, A, P]``.
    """
    if not settings.start_steps:
        return untrained
    weights = simplex_weights([settings.start], settings.objectives).to(untrained)  # [1, O]
    change = {"steps": settings.start_steps, "checks": 1, "snapshots": 0}
    short = settings.model_copy(update=change)
    common = tune(train, None, weights, untrained[:, :1], short, seeds).vectors  # [S, 1, P]
    return common.expand_as(untrained)


@dataclass(frozen=True)
class Collection:
    """Tuned adapters with their weights. Generators and rivals must not see the oracles."""

    anchors: Tensor  # [A, O], weights
    oracles: Tensor  # [W, O]
    anchor_vectors: Tensor  # [S, A, P], at the end of tuning
    oracle_vectors: Tensor  # [S, W, P]
    snapshots: Tensor  # [S, A, K, P], the last checkpoints of the anchors before the end
    validation: Tensor  # [S, A + W, T], the task loss on validation events, before replacements
    steps: Tensor  # [T], of the checkpoints
    description: dict

    @property
    def form(self) -> AdapterForm:
        """The form of the adapters."""
        return AdapterForm(**self.description["form"])

    def tuned(self, seed_index: int) -> Tensor:
        """Return the vectors of anchors, then oracles, of a seed, ``[A + W, P]``."""
        return torch.cat([self.anchor_vectors[seed_index], self.oracle_vectors[seed_index]])

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
    train: FrozenEvents | None = None,
) -> Collection:
    """Tune adapters for all anchors, oracles and seeds, from one tuned start for each seed.

    A tuned adapter whose task loss on validation events is not below that of an untrained one,
    which changes nothing, is replaced by the untrained one, and so are its snapshots.
    """
    check_objectives(settings.objectives, sequences)
    anchors = simplex_weights(settings.anchors, settings.objectives)  # [A, O]
    oracles = simplex_lattice(len(settings.objectives), settings.oracles)  # [W, O]
    train = train or frozen_events(backbone, sequences, "train", settings)
    valid = frozen_events(backbone, sequences, "valid", settings)
    weights = torch.cat([anchors, oracles]).to(backbone.device)  # [A + W, O]
    untrained = start_vectors(train.form, len(weights), seeds).to(backbone.device)  # [S, A + W, P]
    starts = common_start(train, untrained, settings, seeds)  # [S, A + W, P]
    tuned = tune(train, valid, weights, starts, settings, seeds)
    # With all weight on accuracy, nothing is better than an adapter that changes no score.
    # All tasks of a seed have one such adapter, so its losses [S, 1, O] are computed once.
    losses = held_out_losses(valid, untrained[:, :1], settings.objectives)
    unchanged = (losses * weights).sum(-1)  # [S, A + W]
    better = (tuned.validation[..., -1] < unchanged).unsqueeze(-1)  # [S, A + W, 1]
    vectors = torch.where(better, tuned.vectors, untrained).cpu()  # [S, A + W, P]
    snapshots = torch.where(better.unsqueeze(-1), tuned.snapshots, untrained.unsqueeze(2))
    made_with: dict = {
        "objectives": settings.objectives,
        "form": asdict(train.form),
        "settings": settings.model_dump(),
        "seeds": list(seeds),
    }
    return Collection(
        anchors=anchors,
        oracles=oracles,
        anchor_vectors=vectors[:, : len(anchors)],
        oracle_vectors=vectors[:, len(anchors) :],
        snapshots=snapshots[:, : len(anchors)].cpu(),
        validation=tuned.validation.cpu(),
        steps=tuned.checkpoints,
        description=made_with | (description or {}),
    )


def save_collection(collection: Collection, stem: Path) -> None:
    """Write ``stem.safetensors`` and ``stem.json``."""
    names = [field.name for field in fields(Collection) if field.name != "description"]
    save_tensors(stem, {n: getattr(collection, n) for n in names}, collection.description)


def load_collection(stem: Path, backbone: dict | None = None) -> Collection:
    """Load a collection; ``ParagonError`` if altered, not finite or of another ``backbone``."""
    expected = {} if backbone is None else {"backbone": backbone["sha256"]}
    with loading(stem, "adapters", expected) as (tensors, description):
        return Collection(**tensors, description=description)
