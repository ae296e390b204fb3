"""The denoiser: (noisy vector, step, preference weights) to predicted v.

A vector is cut into tokens, or is one token as a whole; residual blocks follow.
With one token it is a residual MLP, with several a transformer over parameter
tokens, as in Paragon (Shen et al., RecSys 2025).  How the weights enter is a
choice of its own, see :data:`CONDITIONING`.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from paragon.errors import ParagonError
from paragon.objectives.weights import LOG_OFFSET

CONDITIONING = (
    "add_once",  # the embedded weights are added to the tokens before the first block
    "add_every_block",  # and again before each block (Paragon's default)
    "attention_pooled",  # each token attends to one embedding an objective; the mix is added
    "cross_attention",  # a cross-attention layer to these embeddings in each block
    "adaptive_norm",  # weights and step shift, scale and gate each layer (adaLN-Zero)
)


def sinusoidal(positions: Tensor, size: int) -> Tensor:
    """Sinusoidal embedding ``[..., size]`` of positions ``[...]`` (Vaswani et al. 2017)."""
    rate = torch.exp(
        torch.arange(size // 2, device=positions.device) * (-math.log(1e4) / (size // 2 - 1))
    )
    angle = positions.unsqueeze(-1) * rate
    return torch.cat([angle.sin(), angle.cos()], -1)


def mlp(inside: int, width: int) -> nn.Sequential:
    """Two layers, as used for all embeddings."""
    return nn.Sequential(nn.Linear(inside, width), nn.SiLU(), nn.Linear(width, width))


class WeightEmbedding(nn.Module):
    """Embeds preference weights ``[B, O]`` as one vector, or as one an objective.

    The weights enter raw and as logarithms: close to a corner of the simplex the
    best adapter changes with the order of magnitude of the vanishing weight.
    (Fourier features were erratic between the anchors.)
    """

    def __init__(self, objectives: int, width: int, separate: bool) -> None:
        super().__init__()
        self.separate = separate
        self.embed = mlp(2 if separate else 2 * objectives, width)
        self.null = nn.Parameter(torch.zeros(objectives if separate else 1, width))
        self.name = nn.Parameter(0.1 * torch.randn(objectives, width)) if separate else None

    def forward(self, weights: Tensor, drop: Tensor) -> Tensor:
        """``[B, 1 or O, width]``; where ``drop [B]`` is true, a learned null embedding."""
        # Not log10, whose last digit is the processor's (paragon/portable.py).
        logarithm = torch.log(weights + LOG_OFFSET) / -math.log(LOG_OFFSET)
        features = torch.stack([weights, logarithm], -1)
        if self.separate:
            embedded = self.embed(features) + self.name
        else:
            embedded = self.embed(features.transpose(1, 2).flatten(1)).unsqueeze(1)
        return torch.where(drop.view(-1, 1, 1), self.null, embedded)


class Denoiser(nn.Module):
    """``denoiser(x [B, D], t [B], weights [B, O], drop [B]) -> v [B, D]``.

    ``token``: how many numbers make a token (8 gives 137 tokens of an adapter of
    1,096 numbers), ``None`` for the whole vector; the last token is padded.
    """

    def __init__(
        self,
        size: int,
        objectives: int,
        *,
        width: int,
        blocks: int,
        conditioning: str = "adaptive_norm",
        token: int | None = None,
        heads: int = 8,
    ) -> None:
        super().__init__()
        if conditioning not in CONDITIONING:
            raise ParagonError(
                f"params.yaml: generator.conditioning: {conditioning!r} is unknown; "
                f"known: {', '.join(CONDITIONING)}"
            )
        if width % heads:
            raise ParagonError(
                f"params.yaml: generator.heads: {heads} does not divide generator.width {width}"
            )
        self.size, self.token, self.conditioning = size, token or size, conditioning
        self.tokens = -(-size // self.token)
        self.step = mlp(64, width)
        separate = conditioning in ("attention_pooled", "cross_attention")
        self.weights = WeightEmbedding(objectives, width, separate)
        self.enter = nn.Linear(self.token, width)
        kind = AdaptiveBlock if conditioning == "adaptive_norm" else Block
        cross = conditioning == "cross_attention"
        self.blocks = nn.ModuleList(
            kind(width, heads if self.tokens > 1 else None, heads if cross else None)
            for _ in range(blocks)
        )
        self.pool = nn.ModuleList(
            nn.Linear(width, width)
            for _ in range(blocks if conditioning == "attention_pooled" else 0)
        )
        self.norm = nn.LayerNorm(width)
        self.leave = nn.Linear(width, self.token)
        nn.init.zeros_(self.leave.weight)
        nn.init.zeros_(self.leave.bias)

    def forward(self, x: Tensor, t: Tensor, weights: Tensor, drop: Tensor) -> Tensor:
        """Predicted v."""
        step = self.step(sinusoidal(t, 64)).unsqueeze(1)
        condition = self.weights(weights, drop)
        padded = F.pad(x, (0, self.tokens * self.token - self.size))
        h = self.enter(padded.unflatten(1, (self.tokens, self.token)))
        if self.tokens > 1:
            h = h + sinusoidal(torch.arange(self.tokens, device=x.device), h.shape[-1])
        if self.conditioning == "adaptive_norm":
            condition = step + condition
        else:
            h = h + step
        if self.conditioning == "add_once":
            h = h + condition
        for number, block in enumerate(self.blocks):
            if self.conditioning == "add_every_block":
                h = h + condition
            elif self.conditioning == "attention_pooled":
                likeness = self.pool[number](h) @ condition.mT / h.shape[-1] ** 0.5
                h = h + likeness.softmax(-1) @ condition
            h = block(h, condition)
        return self.leave(self.norm(h)).flatten(1)[:, : self.size]


class Block(nn.Module):
    """Pre-norm residual block: self-attention and cross-attention where asked for, MLP."""

    def __init__(self, width: int, heads: int | None, cross: int | None) -> None:
        super().__init__()
        self.attend = None if heads is None else Attention(width, heads)
        self.cross = None if cross is None else Attention(width, cross)
        layers = 1 + (heads is not None) + (cross is not None)
        self.norms = nn.ModuleList(nn.LayerNorm(width) for _ in range(layers))
        self.feed = feed_forward(width)

    def forward(self, h: Tensor, condition: Tensor) -> Tensor:
        """``h [B, N, width]`` given the condition's embeddings ``[B, K, width]``."""
        norms = iter(self.norms)
        if self.attend is not None:
            normed = next(norms)(h)
            h = h + self.attend(normed, normed)
        if self.cross is not None:
            h = h + self.cross(next(norms)(h), condition)
        return h + self.feed(next(norms)(h))


class AdaptiveBlock(nn.Module):
    """Residual block whose norms the condition shifts, scales and gates.

    Adaptive layer norm, gates starting at zero (adaLN-Zero, Peebles & Xie 2023).
    """

    def __init__(self, width: int, heads: int | None, cross: int | None = None) -> None:
        super().__init__()
        self.attend = None if heads is None else Attention(width, heads)
        self.feed = feed_forward(width)
        self.norm = nn.LayerNorm(width, elementwise_affine=False)
        self.modulate = nn.Linear(width, (3 if heads is None else 6) * width)
        nn.init.zeros_(self.modulate.weight)
        nn.init.zeros_(self.modulate.bias)

    def forward(self, h: Tensor, condition: Tensor) -> Tensor:
        """``h [B, N, width]`` given the embedded step and weights ``[B, 1, width]``."""
        parts = self.modulate(F.silu(condition)).chunk(self.modulate.out_features // h.shape[-1], 2)
        if self.attend is not None:
            normed = self._adapted(h, *parts[3:5])
            h = h + parts[5] * self.attend(normed, normed)
        return h + parts[2] * self.feed(self._adapted(h, *parts[:2]))

    def _adapted(self, h: Tensor, shift: Tensor, scale: Tensor) -> Tensor:
        return self.norm(h) * (1 + scale) + shift


class Attention(nn.Module):
    """Multi-head attention from tokens ``[B, N, width]`` to tokens ``[B, M, width]``."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.query, self.merge = nn.Linear(width, width), nn.Linear(width, width)
        self.key_value = nn.Linear(width, 2 * width)

    def forward(self, x: Tensor, context: Tensor) -> Tensor:
        """``[B, N, width]``; each sample attends within itself, never across the batch."""
        q, k, v = (
            part.unflatten(-1, (self.heads, -1)).transpose(1, 2)
            for part in (self.query(x), *self.key_value(context).chunk(2, -1))
        )
        mixed = F.scaled_dot_product_attention(q, k, v)
        return self.merge(mixed.transpose(1, 2).flatten(2))


def feed_forward(width: int) -> nn.Sequential:
    """The MLP of a block."""
    return nn.Sequential(nn.Linear(width, 2 * width), nn.SiLU(), nn.Linear(2 * width, width))
