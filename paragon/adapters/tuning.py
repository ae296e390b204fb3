"""Tune adapters for many preference weights and seeds in one batched computation.

Shapes: S seeds, A tasks (weight vectors), O objectives, P parameters of an adapter, B lists of C
candidates, K snapshots, T checkpoints.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from paragon import params
from paragon.adapters.frozen import FrozenTask, held_out_losses
from paragon.data.negatives import NegativeSampler
from paragon.progress import progress


@dataclass(frozen=True)
class Tuned:
    """The result of :func:`tune`."""

    vectors: Tensor  # [S, A, P], at the end of tuning
    snapshots: Tensor  # [S, A, K, P], the last checkpoints before the end
    validation: Tensor  # [S, A, T], the task loss on validation events at the checkpoints
    steps: Tensor  # [T], of the checkpoints


def tune(
    train: FrozenTask,
    valid: FrozenTask | None,
    sampler: NegativeSampler,
    weights: Tensor,
    start: Tensor,
    settings: params.AdapterSettings,
    seeds: Sequence[int],
) -> Tuned:
    """Tune S x A adapters jointly, for weights ``[A, O]``, from ``start [S, A, P]``.

    All losses are added up. An adapter appears only in its loss, so its gradient is the same as
    if it were tuned alone. Each seed draws its events; all tasks of a seed share them. The rate
    falls to zero along a cosine; the result is the last step. ``valid`` is for the curves only.
    """
    objectives = settings.objectives
    vectors = start.clone().requires_grad_(True)  # [S, A, P]
    optimizer = torch.optim.Adam([vectors], lr=settings.learning_rate, fused=True)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, settings.steps)
    rngs = [np.random.default_rng([seed, 1]) for seed in seeds]
    evenly = np.linspace(0, settings.steps, settings.checks + 1).round().astype(int)
    checkpoints = np.unique(evenly)[1:]  # [T]
    last_vectors: list[Tensor] = []
    validation: list[Tensor] = []
    for step in progress(range(1, settings.steps + 1), "steps"):
        drawn = [train.draw(sampler, settings.batch, settings.negatives, rng) for rng in rngs]
        rows, candidates = (torch.stack(part) for part in zip(*drawn, strict=True))
        # rows [S, B], candidates [S, B, C], vectors [S, A, P]
        losses = train.losses(vectors, rows, candidates, objectives)  # [S, A, O]
        task_losses = (losses * weights).sum(-1)  # [S, A]
        optimizer.zero_grad()
        task_losses.sum().backward()
        optimizer.step()
        schedule.step()
        if step in checkpoints:
            current = vectors.detach().clone()  # [S, A, P]
            if valid is not None:
                held_out = held_out_losses(valid, current, objectives)  # [S, A, O]
                validation.append((held_out * weights).sum(-1))  # [S, A]
            last_vectors = [*last_vectors, current][-settings.snapshots - 1 :]
    return Tuned(
        vectors=last_vectors[-1],
        snapshots=torch.stack(last_vectors, 2)[:, :, :-1],
        validation=torch.stack(validation, -1) if validation else torch.zeros(0),
        steps=torch.from_numpy(checkpoints),
    )
