"""The denoiser: the network that sees a noisy vector, its diffusion step and the weights.

In this file: how a network predicts v for the preference weights that it is given.  A vector is cut
into tokens, or is one token as a whole; residual blocks follow.  With one token the denoiser is
a residual MLP, with several it is a transformer over parameter tokens, as in Paragon (Shen et al.,
RecSys 2025).  The weights can enter in five ways, see :data:`CONDITIONING`.

Shapes: B samples of D numbers, N tokens of a sample, O objectives, E embeddings of the condition
(1 or O), w the width of the network.
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
    "attention_pooled",  # each token attends to one embedding per objective and adds their mix
    "cross_attention",  # each block has a cross-attention layer to these embeddings
    "adaptive_norm",  # weights and step shift, scale and gate each layer (adaLN-Zero)
)


def sinusoidal(positions: Tensor, size: int) -> Tensor:
    """Sinusoidal embedding ``[..., size]`` of positions ``[...]`` (Vaswani et al. 2017)."""
    rate = torch.exp(
        torch.arange(size // 2, device=positions.device) * (-math.log(1e4) / (size // 2 - 1))
    )  # [size / 2]
    angle = positions.unsqueeze(-1) * rate  # [..., size / 2]
    return torch.cat([angle.sin(), angle.cos()], -1)  # [..., size]


def mlp(inputs: int, width: int) -> nn.Sequential:
    """Two layers from ``[..., inputs]`` to ``[..., width]``, as used for all embeddings."""
    return nn.Sequential(nn.Linear(inputs, width), nn.SiLU(), nn.Linear(width, width))


def feed_forward(width: int) -> nn.Sequential:
    """The two layers at the end of a block, ``[..., width]`` to ``[..., width]``."""
    return nn.Sequential(nn.Linear(width, 2 * width), nn.SiLU(), nn.Linear(2 * width, width))


class WeightEmbedding(nn.Module):
    """Embeds preference weights ``[B, O]`` as one vector, or as one vector per objective.

    The weights enter as they are and as logarithms: close to a corner of the simplex the best
    adapter changes with the order of magnitude of the vanishing weight.  (Fourier features
    gave erratic results between the anchors.)
    """

    def __init__(self, objectives: int, width: int, separate: bool) -> None:
        super().__init__()
        self.separate = separate
        self.embed = mlp(2 if separate else 2 * objectives, width)
        self.null = nn.Parameter(torch.zeros(objectives if separate else 1, width))
        self.objective = nn.Parameter(0.1 * torch.randn(objectives, width)) if separate else None

    def forward(self, weights: Tensor, drop: Tensor) -> Tensor:
        """Embeddings ``[B, E, w]``; where ``drop [B]`` is true, a learned null embedding."""
        # Not log10: its last digit depends on the processor (study/determinism.py).
        logarithm = torch.log(weights + LOG_OFFSET) / -math.log(LOG_OFFSET)  # [B, O]
        features = torch.stack([weights, logarithm], -1)  # [B, O, 2]
        if self.separate:
            embedded = self.embed(features) + self.objective  # [B, O, w]
        else:
            together = features.transpose(1, 2).flatten(1)  # [B, 2 * O]
            embedded = self.embed(together).unsqueeze(1)  # [B, 1, w]
        return torch.where(drop.view(-1, 1, 1), self.null, embedded)  # [B, E, w]


class Denoiser(nn.Module):
    """``denoiser(x [B, D], t [B], weights [B, O], drop [B]) -> v [B, D]``.

    ``size``: D; ``token``: how many numbers make a token (8 gives 137 tokens for an adapter of
    1,096 parameters), ``None`` for the whole vector; the last token is padded with zeros.
    Raises ``ParagonError`` for an unknown ``conditioning`` and for heads that do not divide the
    width.
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
        self.tokens = -(-size // self.token)  # N, rounded up
        self.embed_step = mlp(64, width)
        separate = conditioning in ("attention_pooled", "cross_attention")
        self.embed_weights = WeightEmbedding(objectives, width, separate)
        self.embed_token = nn.Linear(self.token, width)
        self_heads = heads if self.tokens > 1 else None
        cross_heads = heads if conditioning == "cross_attention" else None
        self.blocks = nn.ModuleList(
            AdaptiveBlock(width, self_heads)
            if conditioning == "adaptive_norm"
            else DenoiserBlock(width, self_heads, cross_heads)
            for _ in range(blocks)
        )
        pools = blocks if conditioning == "attention_pooled" else 0
        self.pool_query = nn.ModuleList(nn.Linear(width, width) for _ in range(pools))
        self.norm = nn.LayerNorm(width)
        self.output = nn.Linear(width, self.token)
        nn.init.zeros_(self.output.weight)
        nn.init.zeros_(self.output.bias)

    def forward(self, x: Tensor, t: Tensor, weights: Tensor, drop: Tensor) -> Tensor:
        """The predicted v ``[B, D]`` of noisy vectors ``x [B, D]`` at steps ``t [B]``.

        ``weights [B, O]``; where ``drop [B]`` is true they are not seen.
        """
        step = self.embed_step(sinusoidal(t, 64)).unsqueeze(1)  # [B, 1, w]
        condition = self.embed_weights(weights, drop)  # [B, E, w]
        padded = F.pad(x, (0, self.tokens * self.token - self.size))  # [B, N * token]
        h = self.embed_token(padded.unflatten(1, (self.tokens, self.token)))  # [B, N, w]
        if self.tokens > 1:
            h = h + sinusoidal(torch.arange(self.tokens, device=x.device), h.shape[-1])
        if self.conditioning == "adaptive_norm":
            condition = step + condition  # [B, 1, w]
        else:
            h = h + step  # [B, N, w]
        if self.conditioning == "add_once":
            h = h + condition  # [B, N, w]
        for number, block in enumerate(self.blocks):
            if self.conditioning == "add_every_block":
                h = h + condition  # [B, N, w]
            elif self.conditioning == "attention_pooled":
                likeness = self.pool_query[number](h) @ condition.mT / h.shape[-1] ** 0.5
                h = h + likeness.softmax(-1) @ condition  # [B, N, O] @ [B, O, w]
            h = block(h, condition)  # [B, N, w]
        return self.output(self.norm(h)).flatten(1)[:, : self.size]  # [B, D]


class DenoiserBlock(nn.Module):
    """Residual block, norms first: self-attention and cross-attention if wanted, then an MLP.

    ``heads``, ``cross_heads``: heads of the two attentions, ``None`` for no such layer.
    """

    def __init__(self, width: int, heads: int | None, cross_heads: int | None) -> None:
        super().__init__()
        self.attention = None if heads is None else Attention(width, heads)
        self.cross_attention = None if cross_heads is None else Attention(width, cross_heads)
        layers = 1 + (heads is not None) + (cross_heads is not None)
        self.norms = nn.ModuleList(nn.LayerNorm(width) for _ in range(layers))
        self.mlp = feed_forward(width)

    def forward(self, h: Tensor, condition: Tensor) -> Tensor:
        """``h [B, N, w]`` after the block, given the condition's embeddings ``[B, E, w]``."""
        norms = iter(self.norms)
        if self.attention is not None:
            normed = next(norms)(h)
            h = h + self.attention(normed, normed)  # [B, N, w]
        if self.cross_attention is not None:
            h = h + self.cross_attention(next(norms)(h), condition)  # [B, N, w]
        return h + self.mlp(next(norms)(h))  # [B, N, w]


class AdaptiveBlock(nn.Module):
    """Residual block whose norms are shifted and scaled, and whose layers are gated.

    The condition decides how: adaptive layer norm with gates that start at zero (adaLN-Zero,
    Peebles & Xie 2023, section 3.2).  A new block therefore changes nothing.
    """

    def __init__(self, width: int, heads: int | None) -> None:
        super().__init__()
        self.attention = None if heads is None else Attention(width, heads)
        self.mlp = feed_forward(width)
        self.norm = nn.LayerNorm(width, elementwise_affine=False)
        self.modulate = nn.Linear(width, (3 if heads is None else 6) * width)
        nn.init.zeros_(self.modulate.weight)
        nn.init.zeros_(self.modulate.bias)

    def forward(self, h: Tensor, condition: Tensor) -> Tensor:
        """``h [B, N, w]`` after the block, given the embedded step and weights ``[B, 1, w]``."""
        modulation = self.modulate(F.silu(condition))  # [B, 1, 3 w], with attention [B, 1, 6 w]
        if self.attention is None:
            shift_mlp, scale_mlp, gate_mlp = modulation.chunk(3, -1)  # [B, 1, w] each
        else:
            shift_mlp, scale_mlp, gate_mlp, shift_attention, scale_attention, gate_attention = (
                modulation.chunk(6, -1)  # [B, 1, w] each
            )
            normed = self.norm(h) * (1 + scale_attention) + shift_attention  # [B, N, w]
            h = h + gate_attention * self.attention(normed, normed)  # [B, N, w]
        normed = self.norm(h) * (1 + scale_mlp) + shift_mlp  # [B, N, w]
        return h + gate_mlp * self.mlp(normed)  # [B, N, w]


class Attention(nn.Module):
    """Multi-head attention from tokens ``[B, N, w]`` to tokens ``[B, M, w]``."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.query, self.merge = nn.Linear(width, width), nn.Linear(width, width)
        self.key_value = nn.Linear(width, 2 * width)

    def forward(self, x: Tensor, context: Tensor) -> Tensor:
        """``[B, N, w]``; each sample attends within itself, never across the batch."""
        key, value = self.key_value(context).chunk(2, -1)  # [B, M, w]
        q, k, v = (
            part.unflatten(-1, (self.heads, -1)).transpose(1, 2)  # [B, heads, N or M, w / heads]
            for part in (self.query(x), key, value)
        )
        mixed = F.scaled_dot_product_attention(q, k, v)  # [B, heads, N, w / heads]
        return self.merge(mixed.transpose(1, 2).flatten(2))  # [B, N, w]
