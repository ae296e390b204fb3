"""The denoiser: a residual MLP that predicts v from a noisy vector, its step and the weights.

Shapes: B samples of D numbers, O objectives, w the width of the network.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from paragon.objectives.weights import LOG_OFFSET


def sinusoidal(positions: Tensor, size: int) -> Tensor:
    """Embed positions ``[...]`` as sines and cosines, ``[..., size]`` (Vaswani et al. 2017)."""
    number = torch.arange(size // 2, device=positions.device)
    rate = torch.exp(number * (-math.log(1e4) / (size // 2 - 1)))  # [size / 2]
    angle = positions.unsqueeze(-1) * rate  # [..., size / 2]
    return torch.cat([angle.sin(), angle.cos()], -1)  # [..., size]


def mlp(inputs: int, hidden: int, outputs: int) -> nn.Sequential:
    """Build a network of two layers, ``[..., inputs]`` to ``[..., outputs]``."""
    return nn.Sequential(nn.Linear(inputs, hidden), nn.SiLU(), nn.Linear(hidden, outputs))


class WeightEmbedding(nn.Module):
    """Embed preference weights and their logarithms: near a corner, orders of magnitude matter."""

    def __init__(self, objectives: int, width: int) -> None:
        super().__init__()
        self.embed = mlp(2 * objectives, width, width)
        self.null = nn.Parameter(torch.zeros(1, width))

    def forward(self, weights: Tensor, drop: Tensor) -> Tensor:
        """Return embeddings ``[B, w]``, or a learned null embedding where ``drop [B]`` is true."""
        # Not log10: its last digit depends on the processor (pipeline/determinism.py).
        logarithm = torch.log(weights + LOG_OFFSET) / -math.log(LOG_OFFSET)  # [B, O]
        embedded = self.embed(torch.cat([weights, logarithm], -1))  # [B, 2 O] -> [B, w]
        return torch.where(drop.unsqueeze(1), self.null, embedded)  # [B, w]


class Denoiser(nn.Module):
    """Predict v; weights and step enter every block (``adaptive_norm``) or once (``add_once``)."""

    def __init__(
        self, size: int, objectives: int, *, width: int, blocks: int, conditioning: str
    ) -> None:
        super().__init__()
        self.adaptive = conditioning == "adaptive_norm"
        self.embed_step = mlp(64, width, width)
        self.embed_weights = WeightEmbedding(objectives, width)
        self.embed_token = nn.Linear(size, width)
        self.blocks = nn.ModuleList(Block(width, self.adaptive) for _ in range(blocks))
        self.norm = nn.LayerNorm(width)
        self.output = nn.Linear(width, size)
        nn.init.zeros_(self.output.weight)
        nn.init.zeros_(self.output.bias)

    def forward(self, x: Tensor, t: Tensor, weights: Tensor, drop: Tensor) -> Tensor:
        """Predict v ``[B, D]`` for noisy vectors ``x [B, D]`` at steps ``t [B]``.

        ``weights [B, O]`` are hidden where ``drop [B]`` is true.
        """
        step = self.embed_step(sinusoidal(t, 64))  # [B, w]
        condition = self.embed_weights(weights, drop)  # [B, w]
        h = self.embed_token(x)  # [B, w]
        if not self.adaptive:
            h = h + step + condition  # [B, w]
        condition = step + condition  # [B, w], of adaptive blocks
        for block in self.blocks:
            h = block(h, condition)  # [B, w]
        return self.output(self.norm(h))  # [B, D]


class Block(nn.Module):
    """Residual block; if ``adaptive``, adaLN-Zero (Peebles & Xie 2023, section 3.2)."""

    def __init__(self, width: int, adaptive: bool) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(width, elementwise_affine=not adaptive)
        self.mlp = mlp(width, 2 * width, width)
        self.modulate = nn.Linear(width, 3 * width) if adaptive else None
        if self.modulate is not None:  # zeros: a new block is the identity
            nn.init.zeros_(self.modulate.weight)
            nn.init.zeros_(self.modulate.bias)

    def forward(self, h: Tensor, condition: Tensor) -> Tensor:
        """Apply the block to ``h [B, w]``, given the embedded step and weights ``[B, w]``."""
        if self.modulate is None:
            return h + self.mlp(self.norm(h))  # [B, w]
        shift, scale, gate = self.modulate(F.silu(condition)).chunk(3, -1)  # [B, w] each
        return h + gate * self.mlp(self.norm(h) * (1 + scale) + shift)  # [B, w]
