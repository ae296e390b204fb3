"""The adapter: a small residual module, and the same thing as one flat vector.

In this file: how about a thousand numbers change a frozen recommender.  An adapter is a residual
bottleneck on the backbone's user state (Houlsby et al., ICML 2019),

    s' = s + W2 relu(W1 s + b1) + b2,      W1 in R^{h x d}, W2 in R^{d x h}

It has 1,096 parameters at d = 64, h = 8.  They are kept as one flat vector ``[W1, b1, W2, b2]``,
the form in which a diffusion model can learn them.

Shapes: S seeds, A adapters (tasks), B states; d numbers of a state, h hidden units, P parameters.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from paragon.errors import ParagonError


def vector_size(dim: int, width: int) -> int:
    """The number of parameters P of an adapter with ``width`` hidden units: 2 d h + h + d."""
    return 2 * dim * width + width + dim


def unflatten(vectors: Tensor, dim: int) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Views ``W1 [..., h, d], b1 [..., h], W2 [..., d, h], b2 [..., d]`` of ``[..., P]``.

    Raises ``ParagonError`` if no h fits the length of the vectors.
    """
    width, rest = divmod(vectors.shape[-1] - dim, 2 * dim + 1)
    if rest or width < 1:
        raise ParagonError(
            f"adapter vector: {vectors.shape[-1]} numbers found; with states of {dim} numbers and "
            f"a bottleneck of width h there are {dim} + {2 * dim + 1} h"
        )
    w1, b1, w2, b2 = vectors.split([width * dim, width, dim * width, dim], -1)
    return w1.unflatten(-1, (width, dim)), b1, w2.unflatten(-1, (dim, width)), b2


def adapt(states: Tensor, vectors: Tensor) -> Tensor:
    """States ``[..., B, d]``, each changed by every adapter ``[..., A, P]``: ``[..., A, B, d]``."""
    w1, b1, w2, b2 = unflatten(vectors, states.shape[-1])
    states = states.unsqueeze(-3)  # [..., 1, B, d]
    hidden = torch.relu(states @ w1.mT + b1.unsqueeze(-2))  # [..., A, B, h]
    return states + hidden @ w2.mT + b2.unsqueeze(-2)  # [..., A, B, d]


def initial_vector(dim: int, width: int, generator: torch.Generator) -> Tensor:
    """A random start ``[P]``: W1 as in ``nn.Linear``, all else zero, so that s' = s."""
    vector = torch.zeros(vector_size(dim, width))  # [P]
    bound = 1 / math.sqrt(dim)
    vector[: width * dim].uniform_(-bound, bound, generator=generator)  # W1
    return vector


def shared_starts(dim: int, width: int, tasks: int, seeds: Sequence[int]) -> Tensor:
    """The vectors that tuning starts from, ``[S, A, P]``: random for each seed, one for all tasks.

    Two networks can compute the same with their hidden units in another order.  Vectors that
    grew from one start keep the order, so they can be compared and mixed number by number.
    """
    vectors = [initial_vector(dim, width, torch.Generator().manual_seed(seed)) for seed in seeds]
    return torch.stack(vectors).unsqueeze(1).repeat(1, tasks, 1)  # [S, P] -> [S, A, P]


class Adapter(nn.Module):
    """One adapter as a module, to be put behind a backbone."""

    def __init__(self, dim: int, width: int) -> None:
        super().__init__()
        self.down, self.up = nn.Linear(dim, width), nn.Linear(width, dim)

    @classmethod
    def from_vector(cls, vector: Tensor, dim: int) -> Adapter:
        """The module whose parameters are ``vector [P]``."""
        w1, b1, w2, b2 = unflatten(vector, dim)
        adapter = cls(dim, len(b1))
        with torch.no_grad():
            for parameter, value in zip(adapter.parameters(), (w1, b1, w2, b2), strict=True):
                parameter.copy_(value)
        return adapter

    def vector(self) -> Tensor:
        """The flat parameter vector ``[P]``."""
        return torch.cat([parameter.detach().flatten() for parameter in self.parameters()])

    def forward(self, states: Tensor) -> Tensor:
        """Changed states, of the same shape as ``states [..., d]``."""
        return states + self.up(torch.relu(self.down(states)))  # [..., d]
