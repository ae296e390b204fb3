"""The adapter: a small residual module, and the same thing as one flat vector.

In this file: how about two thousand numbers change a frozen recommender.  An adapter has two
sides.  The first is a residual bottleneck on the backbone's user state s (Houlsby et al., ICML
2019)::

    s' = s + W2 relu(W1 s + b1) + b2         W1 [h, d], b1 [h], W2 [d, h], b2 [d]

The second, which the paper does not have, says how much this state likes each category::

    score_i = s' . e_i + g_i . (V s' + u)    V [M, d], u [M]

Here e_i is the item vector, and g_i has a 1 for each category of the item, else 0.  Without this
side, an adapter can prefer a category only as far as the item vectors show it; the run
``no-item-side`` of the ablations measures what that costs.  All parameters are kept as one flat
vector ``[W1, b1, W2, b2, V, u]``, which a diffusion model can learn.

Shapes: S seeds, A adapters (tasks), B states; d numbers of a state, h hidden units, M categories
(0: the adapter of the paper), P parameters, n items.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor, nn

from paragon.errors import ParagonError


class Parts(NamedTuple):
    """The parameters of adapters."""

    w1: Tensor  # [..., h, d]
    b1: Tensor  # [..., h]
    w2: Tensor  # [..., d, h]
    b2: Tensor  # [..., d]
    v: Tensor  # [..., M, d]
    u: Tensor  # [..., M]


@dataclass(frozen=True)
class AdapterForm:
    """The sizes of an adapter: d, h, and M (0 for an adapter without an item side)."""

    dim: int
    width: int
    categories: int = 0

    @property
    def size(self) -> int:
        """The number of parameters P: 2 d h + h + d + M (d + 1)."""
        d, h = self.dim, self.width
        return 2 * d * h + h + d + self.categories * (d + 1)

    def unflatten(self, vectors: Tensor) -> Parts:
        """Views of vectors ``[..., P]``.  Raises ``ParagonError`` for another length."""
        d, h, m = self.dim, self.width, self.categories
        if vectors.shape[-1] != self.size:
            raise ParagonError(
                f"adapter vector: {vectors.shape[-1]} numbers found; states of {d} numbers, a "
                f"bottleneck of {h} and {m} categories need {self.size}"
            )
        w1, b1, w2, b2, v, u = vectors.split([h * d, h, d * h, d, m * d, m], -1)
        return Parts(
            w1.unflatten(-1, (h, d)), b1, w2.unflatten(-1, (d, h)), b2, v.unflatten(-1, (m, d)), u
        )


def adapt(states: Tensor, vectors: Tensor, form: AdapterForm) -> Tensor:
    """States ``[..., 1 or A, B, d]``, each changed by every adapter ``[..., A, P]``.

    The result ``[..., A, B, d + M]`` holds s' and behind it V s' + u, so that its product with
    a row of :func:`item_table` is the score.
    """
    w1, b1, w2, b2, v, u = form.unflatten(vectors)
    hidden = torch.relu(states @ w1.mT + b1.unsqueeze(-2))  # [..., A, B, h]
    adapted = states + hidden @ w2.mT + b2.unsqueeze(-2)  # [..., A, B, d]
    if not form.categories:
        return adapted
    return torch.cat([adapted, adapted @ v.mT + u.unsqueeze(-2)], -1)  # [..., A, B, d + M]


def item_table(items: Tensor, categories: Tensor, form: AdapterForm) -> Tensor:
    """``[e_i, g_i]`` for every item, ``[n + 1, d + M]``: what adapted states are multiplied with.

    Without an item side it is the item vectors ``[n + 1, d]`` alone.
    """
    return torch.cat([items, categories], 1) if form.categories else items


def initial_vector(form: AdapterForm, generator: torch.Generator) -> Tensor:
    """A random start ``[P]``: W1 as in ``nn.Linear``, all else zero, so that nothing changes."""
    vector = torch.zeros(form.size)  # [P]
    bound = 1 / math.sqrt(form.dim)
    vector[: form.width * form.dim].uniform_(-bound, bound, generator=generator)  # W1
    return vector


def start_vectors(form: AdapterForm, tasks: int, seeds: Sequence[int]) -> Tensor:
    """The vectors that tuning starts from, ``[S, A, P]``: random, the same for all tasks of a seed.

    Two networks can compute the same with their hidden units in another order.  Vectors that
    grew from one start keep the order, so they can be compared and mixed number by number.
    """
    vectors = [initial_vector(form, torch.Generator().manual_seed(seed)) for seed in seeds]
    return torch.stack(vectors).unsqueeze(1).repeat(1, tasks, 1)  # [S, P] -> [S, A, P]


class Adapter(nn.Module):
    """One adapter as a module, to be put behind a backbone."""

    def __init__(self, form: AdapterForm) -> None:
        super().__init__()
        self.form = form
        self.down, self.up = nn.Linear(form.dim, form.width), nn.Linear(form.width, form.dim)
        self.liking = nn.Linear(form.dim, form.categories) if form.categories else None

    @classmethod
    def from_vector(cls, vector: Tensor, form: AdapterForm) -> Adapter:
        """The module whose parameters are ``vector [P]``."""
        adapter = cls(form)
        with torch.no_grad():
            for parameter, value in zip(adapter.parameters(), form.unflatten(vector), strict=False):
                parameter.copy_(value)
        return adapter

    def vector(self) -> Tensor:
        """The flat parameter vector ``[P]``."""
        return torch.cat([parameter.detach().flatten() for parameter in self.parameters()])

    def forward(self, states: Tensor) -> Tensor:
        """What :func:`adapt` gives for one adapter: ``[..., d]`` to ``[..., d + M]``."""
        adapted = states + self.up(torch.relu(self.down(states)))  # [..., d]
        if self.liking is None:
            return adapted
        return torch.cat([adapted, self.liking(adapted)], -1)  # [..., d + M]
