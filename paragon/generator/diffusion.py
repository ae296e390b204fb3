"""Diffusion: the noise schedule, the algebra of v-prediction, and sampling.

In this file: how noise is mixed into a clean vector, how a predicted v gives back both parts, and
how pure noise becomes a clean vector in steps of less and less noise::

    x_t = a_t x_0 + s_t eps,      a_t = sqrt(alpha_bar_t),  s_t = sqrt(1 - alpha_bar_t)
    v_t = a_t eps - s_t x_0       (Salimans & Ho 2022, section 4 and appendix D)
    x_0 = a_t x_t - s_t v_t,      eps = s_t x_t + a_t v_t

The last line follows from a_t^2 + s_t^2 = 1, at every noise level.

Shapes: B samples of D numbers, T steps, O objectives.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

from paragon.errors import ParagonError

# predict(x_t [B, D], t [B]) -> v [B, D]: the denoiser with its condition already given
Predict = Callable[[Tensor, Tensor], Tensor]


class Schedule:
    """Linear beta schedule over T = ``steps`` steps, t = 0 .. T - 1 (Ho et al. 2020, section 4).

    Their beta, from 1e-4 to 0.02, is meant for 1,000 steps.  Here it is scaled by 1000 / T, so
    that the last step is pure noise for any T.  Otherwise 8 % of the vector would be left at
    T = 500; sampling would start from a distribution that training never saw, and vectors at
    the extremes would be drawn towards the mean.
    """

    def __init__(self, steps: int, device: str | torch.device = "cpu") -> None:
        self.steps = steps
        beta = torch.linspace(1e-4, 0.02, steps, dtype=torch.float64) * (1000 / steps)  # [T]
        self.alpha_bar = torch.cumprod(1 - beta.clamp(max=0.999), 0)  # [T]
        # NumPy's square root is exact on every processor, torch's is not (pipeline/determinism.py).
        alpha_bar = self.alpha_bar.numpy()
        self.signal = torch.from_numpy(np.sqrt(alpha_bar)).float().to(device)  # a_t [T]
        self.noise = torch.from_numpy(np.sqrt(1 - alpha_bar)).float().to(device)  # s_t [T]

    def _at(self, t: Tensor) -> tuple[Tensor, Tensor]:
        """``a_t`` and ``s_t`` of steps ``t [B]``, ``[B, 1]``."""
        return self.signal[t].unsqueeze(-1), self.noise[t].unsqueeze(-1)

    def diffuse(self, clean: Tensor, noise: Tensor, t: Tensor) -> Tensor:
        """``x_t [B, D]`` of clean vectors and noise ``[B, D]`` at steps ``t [B]``."""
        a, s = self._at(t)
        return a * clean + s * noise

    def velocity(self, clean: Tensor, noise: Tensor, t: Tensor) -> Tensor:
        """The training target ``v_t``, ``[B, D]``."""
        a, s = self._at(t)
        return a * noise - s * clean

    def clean(self, noisy: Tensor, v: Tensor, t: Tensor) -> Tensor:
        """The ``x_0`` that a predicted ``v`` implies, ``[B, D]``."""
        a, s = self._at(t)
        return a * noisy - s * v

    def epsilon(self, noisy: Tensor, v: Tensor, t: Tensor) -> Tensor:
        """The noise that a predicted ``v`` implies, ``[B, D]``."""
        a, s = self._at(t)
        return s * noisy + a * v


def guided(denoiser: torch.nn.Module, condition: Tensor, guidance: float) -> Predict:
    """Classifier-free guidance (Ho & Salimans 2022, eq. 6) in v: ``v_null + g (v_cond - v_null)``.

    ``condition [B, O]``.  ``g = 1`` is the conditional model and ``g = 0`` the unconditional
    one, at the cost of one evaluation; any other value evaluates both in one doubled batch.
    Raises ``ParagonError`` for a ``guidance`` outside 0..100.
    """
    if not 0 <= guidance <= 100:
        raise ParagonError(f"guidance: {guidance} is out of range; use 0 to 100 (1: no guidance)")
    drop = torch.ones(len(condition), dtype=torch.bool, device=condition.device)  # [B]
    if guidance in (0, 1):
        dropped = drop if guidance == 0 else ~drop
        return lambda x, t: denoiser(x, t, condition, dropped)

    def predict(x: Tensor, t: Tensor) -> Tensor:
        both = torch.cat([drop, ~drop])  # [2 B]
        v = denoiser(torch.cat([x, x]), torch.cat([t, t]), torch.cat([condition] * 2), both)
        v_null, v_condition = v.chunk(2)  # [B, D] each
        return v_null + guidance * (v_condition - v_null)  # [B, D]

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
    clip: tuple[Tensor, Tensor] | None = None,
) -> Tensor:
    """DDIM (Song et al. 2021, eq. 12 and 16) over ``steps`` evenly spaced times.

    A step goes from x at one time to x' at the next, with less noise.  With alpha the
    ``alpha_bar`` of the first and alpha' that of the second::

        sigma = eta sqrt((1 - alpha') / (1 - alpha)) sqrt(1 - alpha / alpha')
        x'    = sqrt(alpha') x_0 + sqrt(1 - alpha' - sigma^2) eps + sigma * new noise

    ``eta = 0`` is deterministic: with the same noise, the result changes smoothly with the
    condition.  ``eta = 1`` with all steps is DDPM (Ho et al. 2020).  ``clip``: the least
    and the largest values ``[D]`` that a predicted x_0 may have; eps then follows from x and x_0.
    ``noise [B, D]`` to ``[B, D]``.  Raises ``ParagonError`` for ``steps`` out of range.
    """
    if not 1 <= steps <= schedule.steps:
        raise ParagonError(f"sampler steps: {steps} is out of range; use 1 to {schedule.steps}")
    times = np.linspace(schedule.steps - 1, 0, steps).round().astype(int)  # [steps]
    x = noise
    for now, after in zip(times, [*times[1:], -1], strict=True):
        t = torch.full((len(x),), int(now), device=x.device)  # [B]
        v = predict(x, t)  # [B, D]
        clean, eps = schedule.clean(x, v, t), schedule.epsilon(x, v, t)  # x_0, eps [B, D]
        if clip is not None:
            clean = clean.clamp(*clip)  # [B, D]
            eps = (x - schedule.signal[now] * clean) / schedule.noise[now]  # [B, D]
        alpha = schedule.alpha_bar[now].item()
        alpha_after = schedule.alpha_bar[after].item() if after >= 0 else 1.0
        sigma = eta * ((1 - alpha_after) / (1 - alpha) * (1 - alpha / alpha_after)) ** 0.5
        x = alpha_after**0.5 * clean + max(1 - alpha_after - sigma**2, 0.0) ** 0.5 * eps
        if sigma:
            x = x + sigma * torch.randn(x.shape, generator=generator, device=x.device)
    return x
