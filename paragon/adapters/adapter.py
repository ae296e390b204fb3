"""Adapters, tuned together: many preference weights (and seeds) in one computation.

An adapter is a residual bottleneck on the frozen backbone's user state,

    s' = s + W2 relu(W1 s + b1) + b2,      W1 in R^{h x d},

1,096 numbers at d = 64, h = 8.  Its parameters live as one flat vector
``[W1, b1, W2, b2]``: the form in which a diffusion model can learn them.

The backbone never changes, so its states are computed once and cached; what is
left of an adapter's training is small enough to run all tasks of all seeds as
one batched computation (:func:`tune`).
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from paragon.errors import ParagonError


def vector_size(dim: int, width: int) -> int:
    """Length of the parameter vector of an adapter of bottleneck ``width``."""
    return 2 * dim * width + width + dim


def unflatten(vectors: Tensor, dim: int) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Views ``W1 [..., h, d], b1 [..., h], W2 [..., d, h], b2 [..., d]`` of ``[..., P]``."""
    width, rest = divmod(vectors.shape[-1] - dim, 2 * dim + 1)
    if rest or width < 1:
        raise ParagonError(
            f"adapter vector: {vectors.shape[-1]} numbers found; with states of {dim} numbers and "
            f"a bottleneck of width h there are {dim} + {2 * dim + 1} h"
        )
    w1, b1, w2, b2 = vectors.split([width * dim, width, dim * width, dim], -1)
    return w1.unflatten(-1, (width, dim)), b1, w2.unflatten(-1, (dim, width)), b2


def adapt(states: Tensor, vectors: Tensor) -> Tensor:
    """Adapted states ``[..., A, B, d]`` of states ``[..., B, d]`` under vectors ``[..., A, P]``."""
    w1, b1, w2, b2 = unflatten(vectors, states.shape[-1])
    states = states.unsqueeze(-3)
    hidden = torch.relu(states @ w1.mT + b1.unsqueeze(-2))
    return states + hidden @ w2.mT + b2.unsqueeze(-2)


def initial_vector(dim: int, width: int, generator: torch.Generator) -> Tensor:
    """A random start ``[P]``: W1 as in ``nn.Linear``, all else zero, so that s' = s."""
    vector = torch.zeros(vector_size(dim, width))
    bound = 1 / math.sqrt(dim)
    vector[: width * dim].uniform_(-bound, bound, generator=generator)
    return vector


def shared_starts(dim: int, width: int, tasks: int, seeds: Sequence[int]) -> Tensor:
    """A random start a seed, the same for each of its tasks, ``[S, A, P]``.

    That is what makes the end points of a seed comparable.
    """
    vectors = [initial_vector(dim, width, torch.Generator().manual_seed(seed)) for seed in seeds]
    return torch.stack(vectors).unsqueeze(1).repeat(1, tasks, 1)


class Adapter(nn.Module):
    """One adapter as a module, to install behind a backbone and to check the vector form."""

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
        return torch.cat([p.detach().flatten() for p in self.parameters()])

    def forward(self, states: Tensor) -> Tensor:
        """Adapted states, same shape as ``states [..., d]``."""
        return states + self.up(torch.relu(self.down(states)))
