"""Denoisers: (noisy vector, step, condition) to predicted v.

All share one signature, ``denoiser(x [B, D], t [B], condition [B, O], drop [B])``:
where ``drop`` is true, a learned null embedding stands in for the condition.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn


def sinusoidal(positions: Tensor, size: int) -> Tensor:
    """Sinusoidal embedding ``[..., size]`` of positions ``[...]`` (Vaswani et al. 2017)."""
    rate = torch.exp(
        torch.arange(size // 2, device=positions.device) * (-math.log(1e4) / (size // 2 - 1))
    )
    angle = positions.unsqueeze(-1) * rate
    return torch.cat([angle.sin(), angle.cos()], -1)


class Condition(nn.Module):
    """Embeds step and preference weights; the weights' part can be dropped.

    The weights enter a small MLP, raw and as logarithms: close to a corner of the
    simplex the best adapter changes with the order of magnitude of the vanishing
    weight.  (Fourier features were erratic between the anchors.)
    """

    def __init__(self, objectives: int, width: int) -> None:
        super().__init__()
        self.step = nn.Sequential(nn.Linear(64, width), nn.SiLU(), nn.Linear(width, width))
        self.weights = nn.Sequential(
            nn.Linear(2 * objectives, width), nn.SiLU(), nn.Linear(width, width)
        )
        self.null = nn.Parameter(torch.zeros(width))

    def forward(self, t: Tensor, weights: Tensor, drop: Tensor) -> Tensor:
        """``[B, width]``."""
        features = torch.cat([weights, torch.log10(weights + 1e-3) / 3], -1)
        embedded = torch.where(drop.unsqueeze(-1), self.null, self.weights(features))
        return self.step(sinusoidal(t, 64)) + embedded


class ResidualMLP(nn.Module):
    """Residual MLP with adaptive layer norm: for latent vectors of a few dozen numbers."""

    def __init__(self, size: int, objectives: int, *, width: int, blocks: int) -> None:
        super().__init__()
        self.condition = Condition(objectives, width)
        self.enter = nn.Linear(size, width)
        self.blocks = nn.ModuleList(AdaptiveBlock(width) for _ in range(blocks))
        self.norm = nn.LayerNorm(width)
        self.leave = nn.Linear(width, size)
        nn.init.zeros_(self.leave.weight)
        nn.init.zeros_(self.leave.bias)

    def forward(self, x: Tensor, t: Tensor, condition: Tensor, drop: Tensor) -> Tensor:
        """Predicted v, ``[B, D]``."""
        c = self.condition(t, condition, drop)
        h = self.enter(x)
        for block in self.blocks:
            h = block(h, c)
        return self.leave(self.norm(h))


class AdaptiveBlock(nn.Module):
    """MLP whose norm the condition shifts, scales and gates.

    Adaptive layer norm, gate starting at zero (adaLN-Zero, Peebles & Xie 2023).
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(width, elementwise_affine=False)
        self.modulate = nn.Linear(width, 3 * width)
        self.mlp = nn.Sequential(
            nn.Linear(width, 2 * width), nn.SiLU(), nn.Linear(2 * width, width)
        )
        nn.init.zeros_(self.modulate.weight)
        nn.init.zeros_(self.modulate.bias)

    def forward(self, h: Tensor, c: Tensor) -> Tensor:
        """``[B, width]`` given the embedded condition ``[B, width]``."""
        shift, scale, gate = self.modulate(nn.functional.silu(c)).chunk(3, -1)
        return h + gate * self.mlp(self.norm(h) * (1 + scale) + shift)
