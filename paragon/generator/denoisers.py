"""The networks that denoise: a residual network, and the transformer of the released code.

Both map noisy vectors ``[B, D]``, steps ``[B]`` and weights ``[B, O]`` to vectors ``[B, D]``.
Shapes: B samples of D numbers, O objectives, w the width of the network, P parameters of an
adapter, N tokens of n numbers.
"""

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from paragon.adapters.adapter import AdapterForm
from paragon.objectives.weights import LOG_OFFSET
from paragon.params import GeneratorSettings


def sinusoidal(positions: Tensor, size: int) -> Tensor:
    """Embed positions ``[...]`` as sines and cosines, ``[..., size]`` (Vaswani et al. 2017)."""
    number = torch.arange(size // 2, device=positions.device)
    rate = torch.exp(number * (-math.log(1e4) / (size // 2 - 1)))  # [size / 2]
    angle = positions.unsqueeze(-1) * rate  # [..., size / 2]
    return torch.cat([angle.sin(), angle.cos()], -1)  # [..., size]


def mlp(inputs: int, hidden: int, outputs: int, activation: nn.Module | None = None) -> nn.Module:
    """Build a network of two layers, ``[..., inputs]`` to ``[..., outputs]``; default: SiLU."""
    between = activation or nn.SiLU()
    return nn.Sequential(nn.Linear(inputs, hidden), between, nn.Linear(hidden, outputs))


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


class Block(nn.Module):
    """Residual block with adaLN-Zero (Peebles & Xie 2023, section 3.2)."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(width, elementwise_affine=False)
        self.mlp = mlp(width, 2 * width, width)
        self.modulate = nn.Linear(width, 3 * width)
        nn.init.zeros_(self.modulate.weight)  # a new block is the identity
        nn.init.zeros_(self.modulate.bias)

    def forward(self, h: Tensor, condition: Tensor) -> Tensor:
        """Apply the block to ``h [B, w]``, given the embedded step and weights ``[B, w]``."""
        shift, scale, gate = self.modulate(F.silu(condition)).chunk(3, -1)  # [B, w] each
        return h + gate * self.mlp(self.norm(h) * (1 + scale) + shift)  # [B, w]


class Denoiser(nn.Module):
    """A residual network; weights and step enter every block."""

    def __init__(self, size: int, objectives: int, settings: GeneratorSettings) -> None:
        super().__init__()
        width = settings.width
        self.embed_step = mlp(64, width, width)
        self.embed_weights = WeightEmbedding(objectives, width)
        self.embed_token = nn.Linear(size, width)  # of the whole vector; files have this name
        self.blocks = nn.ModuleList(Block(width) for _ in range(settings.blocks))
        self.norm = nn.LayerNorm(width)
        self.output = nn.Linear(width, size)
        nn.init.zeros_(self.output.weight)
        nn.init.zeros_(self.output.bias)

    def forward(self, x: Tensor, t: Tensor, weights: Tensor, drop: Tensor) -> Tensor:
        """Map noisy ``x [B, D]`` at steps ``t [B]`` to ``[B, D]``; ``drop [B]`` hides weights."""
        condition = self.embed_step(sinusoidal(t, 64)) + self.embed_weights(weights, drop)  # [B, w]
        h = self.embed_token(x)  # [B, w]
        for block in self.blocks:
            h = block(h, condition)  # [B, w]
        return self.output(self.norm(h))  # [B, D]


def token_order(form: AdapterForm) -> Tensor:
    """Return the position in the vector of each number of the tokens, ``[N, n]``.

    Each of h hidden units has a token: its row of W1, its b1, its column of W2, a share of b2.
    Then every two of M categories have one: their rows of V and their u. Tokens are filled up with
    zeros; their position is P, one beyond the vector.
    """
    d = form.dim
    h = form.width
    zero = form.size
    at = form.unflatten(torch.arange(form.size))  # the positions of each part
    share = -(-d // h)  # of b2, rounded up
    b2 = F.pad(at.b2, (0, h * share - d), value=zero).view(h, share)
    units = torch.cat([at.w1, at.b1.unsqueeze(1), at.w2.T, b2], 1)  # [h, n]
    categories = torch.cat([at.v, at.u.unsqueeze(1)], 1)  # [M, d + 1]
    categories = F.pad(categories, (0, 0, 0, form.categories % 2), value=zero)
    pairs = categories.view(len(categories) // 2, 2 * (d + 1))  # [M / 2, 2 (d + 1)]
    padded = F.pad(pairs, (0, units.shape[1] - 2 * (d + 1)), value=zero)  # [M / 2, n]
    return torch.cat([units, padded])


class TokenDenoiser(nn.Module):
    """The released architecture: a transformer over tokens; every layer is given the weights.

    As in the released code, a step is added to the tokens once, the weights before every layer.
    A token here has the numbers of one hidden unit; the released code cuts the vector into pieces
    of equal length.
    """

    order: Tensor  # [N, n]
    back: Tensor  # [P], the position of each number of a vector in the flat tokens

    def __init__(self, form: AdapterForm, objectives: int, settings: GeneratorSettings) -> None:
        super().__init__()
        width = settings.width
        heads = settings.heads
        order = token_order(form)
        self.register_buffer("order", order, persistent=False)
        self.register_buffer("back", order.flatten().argsort()[: form.size], persistent=False)
        self.embed_token = nn.Linear(order.shape[1], width)
        self.embed_step = mlp(width, width, width, nn.GELU())
        self.embed_weights = mlp(objectives, width, width, nn.GELU())
        self.null = nn.Parameter(torch.zeros(width))
        self.layers = nn.ModuleList(
            nn.TransformerEncoderLayer(width, heads, 4 * width, settings.dropout, batch_first=True)
            for _ in range(settings.blocks)
        )
        self.output = nn.Linear(width, order.shape[1])

    def tokens(self, vectors: Tensor) -> Tensor:
        """Split vectors ``[B, P]`` into tokens ``[B, N, n]``."""
        with_zero = F.pad(vectors, (0, 1))  # [B, P + 1]
        return with_zero[:, self.order]

    def vectors(self, tokens: Tensor) -> Tensor:
        """Join tokens ``[B, N, n]`` to vectors ``[B, P]``, without the added zeros."""
        return tokens.flatten(1)[:, self.back]

    def forward(self, x: Tensor, t: Tensor, weights: Tensor, drop: Tensor) -> Tensor:
        """Map noisy ``x [B, P]`` at steps ``t [B]`` to ``[B, P]``; ``drop [B]`` hides weights."""
        h = self.embed_token(self.tokens(x))  # [B, N, w]
        width = h.shape[-1]
        h = h + sinusoidal(torch.arange(h.shape[1], device=x.device), width)  # [B, N, w]
        h = h + self.embed_step(sinusoidal(t, width)).unsqueeze(1)  # [B, N, w]
        embedded = self.embed_weights(weights)  # [B, w]
        condition = torch.where(drop.unsqueeze(1), self.null, embedded)  # [B, w]
        for layer in self.layers:
            h = layer(h + condition.unsqueeze(1))  # [B, N, w]
        return self.vectors(self.output(h))  # [B, P]
