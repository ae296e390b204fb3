"""Adapters: small residual modules on user states, also stored as flat parameter vectors.

Shapes: S seeds, A adapters, B states, d numbers of a state, h hidden units, M categories, P
parameters of an adapter, n items.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from paragon.errors import ParagonError


class Parts(NamedTuple):
    """The parameters of adapters as separate tensors."""

    w1: Tensor  # [..., h, d]
    b1: Tensor  # [..., h]
    w2: Tensor  # [..., d, h]
    b2: Tensor  # [..., d]
    v: Tensor  # [..., M, d]
    u: Tensor  # [..., M]


@dataclass(frozen=True)
class AdapterForm:
    """The sizes of an adapter: d, h and M (0: without an item side)."""

    dim: int
    width: int
    categories: int = 0

    @property
    def size(self) -> int:
        """The number of parameters P: 2 d h + h + d + M (d + 1)."""
        d, h = self.dim, self.width
        return 2 * d * h + h + d + self.categories * (d + 1)

    def unflatten(self, vectors: Tensor) -> Parts:
        """Split vectors ``[..., P]`` into views. Raise ``ParagonError`` for a wrong length."""
        d = self.dim
        h = self.width
        m = self.categories
        length = vectors.shape[-1]
        if length != self.size:
            sizes = f"states of {d} numbers, a bottleneck of {h} and {m} categories"
            raise ParagonError(f"adapter vector: {length} numbers found; {sizes} need {self.size}")
        w1, b1, w2, b2, v, u = vectors.split([h * d, h, d * h, d, m * d, m], -1)
        return Parts(
            w1=w1.unflatten(-1, (h, d)),
            b1=b1,
            w2=w2.unflatten(-1, (d, h)),
            b2=b2,
            v=v.unflatten(-1, (m, d)),
            u=u,
        )

    def with_bias(self, bias: Tensor) -> Tensor:
        """Build adapters ``[..., P]`` that only add ``bias [..., M]``, by category, to scores."""
        others = self.size - self.categories
        return F.pad(bias, (others, 0))  # u is the last part


def adapt(states: Tensor, vectors: Tensor, form: AdapterForm) -> Tensor:
    """Apply adapters ``[..., A, P]`` to states ``[..., 1 or A, B, d]``: ``[..., A, B, d + M]``.

    A residual bottleneck (Houlsby et al., ICML 2019) changes the state s. The item side, which is
    not in the paper, adds a preference for each category::

        s'      = s + W2 relu(W1 s + b1) + b2
        score_i = s' . e_i + g_i . (V s' + u)

    Item i has the vector e_i; g_i is 1 for each of its categories, else 0. The result is
    ``[s', V s' + u]``; its product with a row of :func:`item_table` is the score.
    """
    w1, b1, w2, b2, v, u = form.unflatten(vectors)
    hidden = torch.relu(states @ w1.mT + b1.unsqueeze(-2))  # [..., A, B, h]
    adapted = states + hidden @ w2.mT + b2.unsqueeze(-2)  # [..., A, B, d]
    if not form.categories:
        return adapted
    return torch.cat([adapted, adapted @ v.mT + u.unsqueeze(-2)], -1)  # [..., A, B, d + M]


def item_table(items: Tensor, categories: Tensor, form: AdapterForm) -> Tensor:
    """Build the rows ``[e_i, g_i]`` for the scores of adapted states: ``[n + 1, d + M]``."""
    return torch.cat([items, categories], 1) if form.categories else items


def initial_vector(form: AdapterForm, seed: int) -> Tensor:
    """Draw a start ``[P]``: W1 as in ``nn.Linear``, the rest zero, so that it changes no state."""
    vector = torch.zeros(form.size)  # [P]
    bound = 1 / math.sqrt(form.dim)
    generator = torch.Generator().manual_seed(seed)
    vector[: form.width * form.dim].uniform_(-bound, bound, generator=generator)  # W1
    return vector


def start_vectors(form: AdapterForm, tasks: int, seeds: Sequence[int]) -> Tensor:
    """Draw starts ``[S, A, P]``, one per seed: a common start keeps vectors comparable."""
    return torch.stack([initial_vector(form, seed).repeat(tasks, 1) for seed in seeds])


class Adapter(nn.Module):
    """One adapter as a torch module; its parameters, flattened, are the vector."""

    def __init__(self, form: AdapterForm) -> None:
        super().__init__()
        self.form = form
        self.down = nn.Linear(form.dim, form.width)
        self.up = nn.Linear(form.width, form.dim)
        self.liking = nn.Linear(form.dim, form.categories) if form.categories else None

    @classmethod
    def from_vector(cls, vector: Tensor, form: AdapterForm) -> "Adapter":
        """Build the module with the parameters ``vector [P]``."""
        adapter = cls(form)
        with torch.no_grad():
            # Without an item side the last two values are empty, and have no parameters.
            for parameter, value in zip(adapter.parameters(), form.unflatten(vector), strict=False):
                parameter.copy_(value)
        return adapter

    def forward(self, states: Tensor) -> Tensor:
        """Apply this adapter as :func:`adapt` does: ``[..., d]`` to ``[..., d + M]``."""
        adapted = states + self.up(torch.relu(self.down(states)))  # [..., d]
        if self.liking is None:
            return adapted
        return torch.cat([adapted, self.liking(adapted)], -1)  # [..., d + M]
