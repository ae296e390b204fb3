"""The noise schedule and the algebra of v-prediction.

In this file: how noise is mixed into a clean vector, and how a predicted v gives back both parts::

    x_t = a_t x_0 + s_t eps,      a_t = sqrt(alpha_bar_t),  s_t = sqrt(1 - alpha_bar_t)
    v_t = a_t eps - s_t x_0       (Salimans & Ho 2022, section 4 and appendix D)
    x_0 = a_t x_t - s_t v_t,      eps = s_t x_t + a_t v_t

The last line follows from a_t^2 + s_t^2 = 1, at every noise level.

Shapes: B vectors of D numbers, T steps.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor


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
        self.beta = beta.clamp(max=0.999)
        self.alpha_bar = torch.cumprod(1 - self.beta, 0)  # [T]
        # NumPy's square root is exact on every processor, torch's is not (study/determinism.py).
        alpha_bar = self.alpha_bar.numpy()
        self.signal = torch.from_numpy(np.sqrt(alpha_bar)).float().to(device)  # a_t [T]
        self.noise = torch.from_numpy(np.sqrt(1 - alpha_bar)).float().to(device)  # s_t [T]

    def _at(self, t: Tensor, like: Tensor) -> tuple[Tensor, Tensor]:
        """``a_t`` and ``s_t``, ``[B, 1]``, to be multiplied with ``like [B, D]``."""
        shape = (-1,) + (1,) * (like.ndim - 1)
        return self.signal[t].view(shape), self.noise[t].view(shape)

    def diffuse(self, clean: Tensor, noise: Tensor, t: Tensor) -> Tensor:
        """``x_t [B, D]`` of clean vectors and noise ``[B, D]`` at steps ``t [B]``."""
        a, s = self._at(t, clean)
        return a * clean + s * noise

    def velocity(self, clean: Tensor, noise: Tensor, t: Tensor) -> Tensor:
        """The training target ``v_t``, ``[B, D]``."""
        a, s = self._at(t, clean)
        return a * noise - s * clean

    def clean(self, noisy: Tensor, v: Tensor, t: Tensor) -> Tensor:
        """The ``x_0`` that a predicted ``v`` implies, ``[B, D]``."""
        a, s = self._at(t, noisy)
        return a * noisy - s * v

    def epsilon(self, noisy: Tensor, v: Tensor, t: Tensor) -> Tensor:
        """The noise that a predicted ``v`` implies, ``[B, D]``."""
        a, s = self._at(t, noisy)
        return s * noisy + a * v
