"""Joint tuning: many preference weights and seeds in one batched computation."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from paragon import params
from paragon.adapters.frozen import FrozenTask, held_out_losses
from paragon.data.negatives import NegativeSampler
from paragon.errors import ParagonError
from paragon.progress import progress


@dataclass(frozen=True)
class Tuned:
    """Result of :func:`tune` for S seeds and A weights.

    ``vectors [S, A, P]``: where tuning ended; ``snapshots [S, A, K, P]``: the last
    checkpoints before it; ``validation [S, A, T]``: validation task loss at
    ``steps [T]``, the evidence of convergence.
    """

    vectors: Tensor
    snapshots: Tensor
    validation: Tensor
    steps: Tensor


def tune(
    train: FrozenTask,
    valid: FrozenTask,
    sampler: NegativeSampler,
    weights: Tensor,
    start: Tensor,
    settings: params.AdapterSettings,
    seeds: Sequence[int],
) -> Tuned:
    """Tune S x A adapters jointly: weights ``[A, O]``, start ``[S, A, P]``.

    Every seed draws its own rows and negatives; within a seed all tasks see the
    same lists.  Each task's gradient reaches only its own vector and Adam works
    number by number, so the result is what tuning each task alone would give.
    The learning rate falls to zero along a cosine, and the end point is the
    result: picking the checkpoint with the lowest validation loss instead was
    measurably worse on test events, since it picks noise.
    """
    steps, checks, snapshots = settings.steps, settings.checks, settings.snapshots
    if snapshots >= checks:
        raise ParagonError(
            f"params.yaml: adapters.snapshots: {snapshots} have to be fewer than the "
            f"{checks} checks (adapters.checks), the last of which is the result"
        )
    objectives = settings.objectives
    vectors = start.clone().requires_grad_(True)
    optimizer = torch.optim.Adam([vectors], lr=settings.learning_rate, fused=True)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
    rngs = [np.random.default_rng([seed, 1]) for seed in seeds]
    checkpoints = np.unique(np.linspace(0, steps, checks + 1).round().astype(int))[1:]
    kept, history = [], []
    for step in progress(range(1, steps + 1), "steps"):
        drawn = [train.draw(sampler, settings.batch, settings.negatives, rng) for rng in rngs]
        rows, candidates = (torch.stack(part) for part in zip(*drawn, strict=True))
        losses = (train.losses(vectors, rows, candidates, objectives) * weights).sum(-1)
        optimizer.zero_grad()
        losses.sum().backward()
        optimizer.step()
        schedule.step()
        if step in checkpoints:
            current = vectors.detach().clone()
            history.append((held_out_losses(valid, current, objectives) * weights).sum(-1))
            kept = [*kept, current][-snapshots - 1 :]
    return Tuned(
        kept[-1],
        torch.stack(kept, 2)[:, :, :-1],
        torch.stack(history, -1),
        torch.from_numpy(checkpoints),
    )
