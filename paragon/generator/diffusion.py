"""Diffusion of B vectors of D numbers: noise schedule, guidance and sampling.

Everything here works with the *clean* vector that a network predicts from a noisy one.
"""

from collections.abc import Callable, Sequence

import numpy as np
import torch
from torch import Tensor, nn

from paragon.errors import ParagonError

# From x_t [B, D] and t [B] to a prediction of the clean x_0 [B, D], at a fixed condition.
Predict = Callable[[Tensor, Tensor], Tensor]


class Schedule(nn.Module):
    """Linear beta schedule over T = ``steps`` steps, t = 0 .. T - 1 (Ho et al. 2020, section 4)::

        x_t = a_t x_0 + s_t eps,    a_t = sqrt(alpha_bar_t),   s_t = sqrt(1 - alpha_bar_t)

    x_0 is the clean vector, eps the noise. Given x_t, one of x_0 and eps gives the other.

    Beta, from 1e-4 to 0.02, is scaled by 1000 / T, so that the last step is nearly pure noise
    unless T is a few steps.
    Without this, 8 % of the signal remains at T = 500, and samples are pulled towards the mean.
    """

    signal: Tensor  # a_t [T]
    noise: Tensor  # s_t [T]

    def __init__(self, steps: int, device: str | torch.device = "cpu") -> None:
        super().__init__()
        self.steps = steps
        beta = torch.linspace(1e-4, 0.02, steps, dtype=torch.float64) * (1000 / steps)  # [T]
        self.alpha_bar = torch.cumprod(1 - beta.clamp(max=0.999), 0)  # [T]
        # NumPy's square root is exact on every processor, torch's is not (pipeline/determinism.py).
        alpha_bar = self.alpha_bar.numpy()
        signal = torch.from_numpy(np.sqrt(alpha_bar)).float().to(device)
        noise = torch.from_numpy(np.sqrt(1 - alpha_bar)).float().to(device)
        # They follow the model to its device, and are not stored with it.
        self.register_buffer("signal", signal, persistent=False)
        self.register_buffer("noise", noise, persistent=False)

    def _at(self, t: Tensor) -> tuple[Tensor, Tensor]:
        """Return ``a_t`` and ``s_t`` at steps ``t [B]``, ``[B, 1]`` each."""
        return self.signal[t].unsqueeze(-1), self.noise[t].unsqueeze(-1)

    def diffuse(self, clean: Tensor, noise: Tensor, t: Tensor) -> Tensor:
        """Mix clean vectors with noise ``[B, D]``: ``x_t [B, D]`` at steps ``t [B]``."""
        a, s = self._at(t)
        return a * clean + s * noise

    def clean(self, noisy: Tensor, v: Tensor, t: Tensor) -> Tensor:
        """Recover ``x_0 [B, D]`` from ``x_t`` and a velocity ``v = a_t eps - s_t x_0``.

        Some networks predict v (Salimans & Ho 2022, section 4 and appendix D).
        """
        a, s = self._at(t)
        return a * noisy - s * v

    def loss_factor(self, t: Tensor, limit: float) -> Tensor:
        """Return the factor ``min(1 / s_t^2, limit)`` of squared errors of x_0: ``[B, 1]``.

        Without the limit, this is the squared error of v. It grows to thousands where there is
        hardly any noise, and nothing to learn (Hang et al., ICCV 2023: Min-SNR).
        """
        _, s = self._at(t)
        return s.square().reciprocal().clamp(max=limit)


def standard_normal(shape: Sequence[int], rng: np.random.Generator) -> Tensor:
    """Draw a tensor of normal random numbers."""
    return torch.from_numpy(rng.standard_normal(shape, dtype=np.float32))


def guided(predict: Callable[..., Tensor], condition: Tensor, guidance: float) -> Predict:
    """Guide by ``x_null + g (x_cond - x_null)``, g in 0..100 (Ho & Salimans 2022, eq. 6,
    with g = 1 + w).

    ``predict(x_t, t, condition [B, O], drop [B])`` ignores the condition where ``drop`` is true.
    Guiding x_0 is the same as guiding v or eps: at a given x_t, each is linear in the other.
    """
    if not 0 <= guidance <= 100:
        raise ParagonError(f"guidance: {guidance} is out of range; use 0 to 100 (1: no guidance)")
    drop = torch.ones(len(condition), dtype=torch.bool, device=condition.device)  # [B]
    if guidance in (0, 1):  # unconditional or conditional: one evaluation is enough
        return lambda x, t: predict(x, t, condition, drop if guidance == 0 else ~drop)

    def both(x: Tensor, t: Tensor) -> Tensor:
        twice = [torch.cat([part, part]) for part in (x, t, condition)]
        x_null, x_condition = predict(*twice, torch.cat([drop, ~drop])).chunk(2)  # [B, D] each
        return x_null + guidance * (x_condition - x_null)  # [B, D]

    return both


def ideal(collected: Tensor, schedule: Schedule) -> Predict:
    """Return the best possible denoiser of the vectors ``collected [N, D]``, without training.

    If each of them is equally likely, the mean of x_0 given x_t is (Scarvelis et al. 2023)::

        sum_i p_i x_i,    p = softmax_i(-|x_t - a_t x_i|^2 / (2 s_t^2))

    No network has a smaller expected squared error on these vectors.
    """

    def predict(x: Tensor, t: Tensor) -> Tensor:
        a, s = schedule.signal[t], schedule.noise[t]  # [B] each
        apart = x.unsqueeze(1) - a.view(-1, 1, 1) * collected  # [B, N, D]
        p = (-apart.square().sum(-1) / (2 * s.square().unsqueeze(1))).softmax(-1)  # [B, N]
        return p @ collected  # [B, D]

    return predict


def ddim(predict: Predict, schedule: Schedule, noise: Tensor, steps: int) -> Tensor:
    """Sample ``[B, D]`` from ``noise [B, D]`` by DDIM over ``steps`` evenly spaced times.

    At each time x_0 is predicted, and eps follows from it. Both are mixed for the next, less noisy
    time t' (Song et al. 2021, eq. 12 with sigma = 0, so no new noise is drawn)::

        x_t' = a_t' x_0 + s_t' eps

    After the last time, a = 1 and s = 0. Raise ``ParagonError`` for ``steps`` out of range.
    """
    if not 1 <= steps <= schedule.steps:
        raise ParagonError(f"sampler steps: {steps} is out of range; use 1 to {schedule.steps}")
    times = np.linspace(schedule.steps - 1, 0, steps).round().astype(int)  # [steps]
    x = noise
    for now, after in zip(times, [*times[1:], -1], strict=True):
        t = torch.full((len(x),), int(now), device=x.device)  # [B]
        clean = predict(x, t)  # x_0 [B, D]
        eps = (x - schedule.signal[now] * clean) / schedule.noise[now]  # [B, D]
        alpha_bar = schedule.alpha_bar[after].item() if after >= 0 else 1.0
        x = alpha_bar**0.5 * clean + (1 - alpha_bar) ** 0.5 * eps  # [B, D]
    return x
