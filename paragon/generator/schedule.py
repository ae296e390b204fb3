"""The noise schedule and the algebra of v-prediction."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor


class Schedule:
    """Linear beta schedule over T steps (Ho et al. 2020, section 4).

    Their beta, 1e-4 to 0.02, is meant for 1,000 steps.  It is scaled by 1000 / T,
    so that the last step is pure noise for any T: otherwise (at T = 500 a trace of
    8 % of the vector is left) sampling starts from a distribution that training
    never saw, and the extremes are drawn towards the mean.

    ``x_t = a_t x_0 + s_t eps`` with ``a_t = sqrt(alpha_bar_t)`` and
    ``s_t = sqrt(1 - alpha_bar_t)``, t = 0 .. T - 1.  The denoiser predicts
    ``v_t = a_t eps - s_t x_0`` (Salimans & Ho 2022, section 4), from which both
    ``x_0`` and ``eps`` follow at every noise level.
    """

    def __init__(
        self,
        steps: int,
        first: float = 1e-4,
        last: float = 0.02,
        device: str | torch.device = "cpu",
    ) -> None:
        self.steps = steps
        beta = torch.linspace(first, last, steps, dtype=torch.float64) * (1000 / steps)
        self.beta = beta.clamp(max=0.999)
        self.alpha_bar = torch.cumprod(1 - self.beta, 0)
        # NumPy's square root is exact on every processor, torch's is not (paragon/portable.py).
        share = self.alpha_bar.numpy()
        self.signal = torch.from_numpy(np.sqrt(share)).float().to(device)
        self.noise = torch.from_numpy(np.sqrt(1 - share)).float().to(device)

    def _at(self, t: Tensor, like: Tensor) -> tuple[Tensor, Tensor]:
        shape = (-1,) + (1,) * (like.ndim - 1)
        return self.signal[t].view(shape), self.noise[t].view(shape)

    def diffuse(self, clean: Tensor, noise: Tensor, t: Tensor) -> Tensor:
        """``x_t`` for clean vectors and noise ``[B, D]`` at steps ``t [B]``."""
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
