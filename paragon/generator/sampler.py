"""From noise to vectors: guidance, DDPM and DDIM as plain functions."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

from paragon.errors import ParagonError
from paragon.generator.schedule import Schedule

# predict(x_t [B, D], t [B]) -> v [B, D]
Predict = Callable[[Tensor, Tensor], Tensor]


def guided(denoiser: torch.nn.Module, condition: Tensor, guidance: float) -> Predict:
    """Classifier-free guidance (Ho & Salimans 2022) in v: ``v_null + g (v_cond - v_null)``.

    ``g = 1`` is the conditional model and costs one evaluation, ``g = 0`` the
    unconditional one; any other value evaluates both in one doubled batch.
    """
    if not 0 <= guidance <= 100:
        raise ParagonError(f"guidance: {guidance} is out of range; use 0 to 100 (1: no guidance)")
    drop = torch.ones(len(condition), dtype=torch.bool, device=condition.device)
    if guidance in (0, 1):
        kept = drop if guidance == 0 else ~drop
        return lambda x, t: denoiser(x, t, condition, kept)

    def predict(x: Tensor, t: Tensor) -> Tensor:
        doubled = denoiser(
            torch.cat([x, x]),
            torch.cat([t, t]),
            torch.cat([condition] * 2),
            torch.cat([drop, ~drop]),
        )
        null, conditional = doubled.chunk(2)
        return null + guidance * (conditional - null)

    return predict


@torch.no_grad()
def ddim(
    predict: Predict,
    schedule: Schedule,
    noise: Tensor,
    *,
    steps: int,
    eta: float = 0.0,
    generator: torch.Generator | None = None,
) -> Tensor:
    """DDIM (Song et al. 2021, eq. 12) over ``steps`` evenly spaced times, from ``noise [B, D]``.

    ``eta = 0`` is deterministic: the same noise gives smooth curves over the
    condition.  ``eta = 1`` with all steps is DDPM's ancestral sampler.
    """
    if not 1 <= steps <= schedule.steps:
        raise ParagonError(f"sampler steps: {steps} is out of range; use 1 to {schedule.steps}")
    times = np.linspace(schedule.steps - 1, 0, steps).round().astype(int)
    x = noise
    for now, after in zip(times, [*times[1:], -1], strict=True):
        t = torch.full((len(x),), int(now), device=x.device)
        v = predict(x, t)
        clean, eps = schedule.clean(x, v, t), schedule.epsilon(x, v, t)
        bar = schedule.alpha_bar[now].item()
        bar_after = schedule.alpha_bar[after].item() if after >= 0 else 1.0
        sigma = eta * ((1 - bar_after) / (1 - bar) * (1 - bar / bar_after)) ** 0.5
        x = bar_after**0.5 * clean + max(1 - bar_after - sigma**2, 0.0) ** 0.5 * eps
        if sigma:
            x = x + sigma * torch.randn(x.shape, generator=generator, device=x.device)
    return x


def ddpm(
    predict: Predict, schedule: Schedule, noise: Tensor, generator: torch.Generator | None = None
) -> Tensor:
    """Ancestral sampling through every step (Ho et al. 2020, algorithm 2), from ``noise [B, D]``.

    The step to t - 1 draws from the posterior q(x_{t-1} | x_t, x_0), whose
    variance is that of DDIM at ``eta = 1``.
    """
    return ddim(predict, schedule, noise, steps=schedule.steps, eta=1.0, generator=generator)
