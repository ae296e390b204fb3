"""PinSage: convolutions over random-walk neighbourhoods of items (Ying et al., KDD 2018).

In this file: a graph backbone without an embedding of the user.  Short random walks over the
training interactions find the neighbours of each item and how much each counts.  Item vectors
are made of the item, its categories and its neighbourhood; a user is the recent past.

Shapes: B contexts of L past events, U users, n items, M categories, T neighbours, d numbers of
a state (``dim``).
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from paragon import params
from paragon.backbones.base import Backbone, Context, Dropout
from paragon.data.sequences import Sequences

WALKS, STEPS, RESTART = 1000, 3, 0.5  # walks from each item, their steps, chance to start again
NEIGHBOURS = 20  # T: the most visited items that a convolution looks at
_BLOCK = 256  # items whose walks are taken at a time: memory grows with it


class PinSage(Backbone):
    """``score = s . z_i``, with ``z`` from convolutions and ``s`` a fading mean of the past.

    ``index [n + 1, T]`` and ``weights [n + 1, T]`` are those of :func:`neighbourhoods`,
    ``categories [n + 1, M]`` has in each row the shares of the item's categories, with the sum 1.
    """

    name = "pinsage"
    index: Tensor
    weights: Tensor
    categories: Tensor

    def __init__(
        self,
        index: Tensor,
        weights: Tensor,
        categories: Tensor,
        *,
        dim: int,
        history: int,
        layers: int,
        dropout: float,
    ) -> None:
        super().__init__()
        self.dim, self.history = dim, history
        self.register_buffer("index", index)
        self.register_buffer("weights", weights)
        self.register_buffer("categories", categories)
        self.item = nn.Parameter(torch.empty(len(index), dim).normal_(std=0.1))
        self.category = nn.Parameter(torch.empty(categories.shape[1], dim).normal_(std=0.1))
        self.dropout = Dropout(dropout)
        self.convolutions = nn.ModuleList(Convolution(dim) for _ in range(layers))
        self.fading = nn.Parameter(torch.tensor(-2.0))  # log of the rate at which events fade
        self.scale = nn.Parameter(torch.tensor(2.0))  # log; item vectors have the length 1
        self.user = nn.Linear(dim, dim)
        self._current: Tensor | None = None

    @classmethod
    def build(cls, sequences: Sequences, settings: params.BackboneSettings) -> PinSage:
        """Sizes from the ``backbone`` section of params.yaml, neighbours from training events."""
        index, weights = neighbourhoods(sequences, settings.seed)
        categories = F.normalize(torch.from_numpy(sequences.categories).float(), p=1, dim=1)
        names = ("dim", "history", "layers", "dropout")
        sizes = {name: getattr(settings, name) for name in names}
        return cls(torch.from_numpy(index), torch.from_numpy(weights), categories, **sizes)

    def convolved(self) -> Tensor:
        """Item vectors of length 1 after all layers, ``[n + 1, d]``."""
        vectors: Tensor = self.item + self.categories @ self.category  # [n + 1, d]
        for convolution in self.convolutions:
            vectors = convolution(self.dropout(vectors), self.index, self.weights)
        return vectors

    def item_vectors(self) -> Tensor:
        """The convolved items, ``[n + 1, d]``; within a training step they are made once."""
        return self._current if self.training and self._current is not None else self.convolved()

    def states(self, context: Context) -> Tensor:
        """A layer on the mean of past items, in which recent ones count more, ``[B, d]``.

        The event ``a`` places before the latest has the weight ``exp(-rate a)``, with one rate,
        learned, for all.  A state without a past is the same for everyone.
        """
        inside = context.items > 0  # [B, L]
        age = inside.sum(1, keepdim=True) - 1 - torch.arange(inside.shape[1], device=inside.device)
        weights = (-self.fading.exp() * age.clamp(min=0)).exp() * inside  # [B, L]
        past = F.embedding(context.items, self.item_vectors())  # [B, L, d]
        total = (weights.unsqueeze(1) @ past).squeeze(1)  # [B, d]
        mean = total / weights.sum(1, keepdim=True).clamp(min=1)  # the latest counts 1
        state: Tensor = self.user(mean) * self.scale.exp()  # [B, d]
        return state

    def training_states(
        self, sequences: Sequences, batch: int, rng: np.random.Generator
    ) -> Iterator[tuple[Tensor, np.ndarray, np.ndarray]]:
        """One epoch as :meth:`Backbone.training_states`, with one convolution in each step."""
        try:
            self._current = self.convolved()
            for states in super().training_states(sequences, batch, rng):
                yield states
                self._current = self.convolved()  # the step has changed the parameters
        finally:
            self._current = None


class Convolution(nn.Module):
    """A layer of the paper's algorithm 1 for all items at once."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.neighbour, self.merge = nn.Linear(dim, dim), nn.Linear(2 * dim, dim)

    def forward(self, vectors: Tensor, index: Tensor, weights: Tensor) -> Tensor:
        """Of ``vectors [N, d]`` with neighbours and weights ``[N, T]``: ``[N, d]``, length 1."""
        message = F.relu(self.neighbour(vectors))  # [N, d]
        around = (F.embedding(index, message) * weights.unsqueeze(-1)).sum(1)  # [N, d]
        return F.normalize(F.relu(self.merge(torch.cat([vectors, around], 1))), dim=1)


def neighbourhoods(
    sequences: Sequences, seed: int, walks: int = WALKS, top: int = NEIGHBOURS
) -> tuple[np.ndarray, np.ndarray]:
    """The most visited items of random walks from each item: ``[n + 1, T]`` and shares of visits.

    Section 3.2 of the paper (importance pooling).  A walk makes ``STEPS`` steps: to a random user
    who has the item in training and to a random item of that user.  Before each, it returns to
    its start with the chance ``RESTART``.  Visits of the start itself do not count.  The shares
    ``[n + 1, T]`` have the sum 1.  Where there are fewer neighbours the rest has the share 0; items
    without training events, as padding, have none.  Of equal counts the first item wins.
    """
    rng, count = np.random.default_rng([seed, 9]), sequences.n_items + 1
    step = _Steps(sequences)
    index, shares = np.zeros((count, top), dtype=np.int64), np.zeros((count, top), np.float32)
    known = np.flatnonzero(step.item_degree)
    for starts in np.split(known, range(_BLOCK, len(known), _BLOCK)):
        rows = np.arange(len(starts))
        start = at = np.repeat(starts, walks)  # [rows x walks]
        first = np.repeat(rows * count, walks)
        visits = np.zeros(len(starts) * count, dtype=np.int64)
        for _ in range(STEPS):
            at = step(np.where(rng.random(len(at)) < RESTART, start, at), rng)
            visits += np.bincount(first + at, minlength=len(visits))
        table = visits.reshape(len(starts), count)
        table[rows, starts] = 0
        order = np.argsort(-table, axis=1, kind="stable")[:, :top]  # [rows, <= T]
        found = np.take_along_axis(table, order, 1)
        index[starts, : order.shape[1]] = order
        shares[starts, : order.shape[1]] = found / found.sum(1, keepdims=True).clip(min=1)
    return index, shares


class _Steps:
    """From items to random users who have them in training and to random items of those."""

    def __init__(self, sequences: Sequences) -> None:
        train = sequences.is_train()
        users = np.repeat(np.arange(sequences.n_users), sequences.lengths)[train]
        pairs = np.unique(np.column_stack([users, sequences.items[train]]), axis=0)
        self.item_degree = np.bincount(pairs[:, 1], minlength=sequences.n_items + 1)
        self.user_degree = np.bincount(pairs[:, 0], minlength=sequences.n_users)
        self.items = pairs[:, 1]  # user by user
        self.users = pairs[np.argsort(pairs[:, 1], kind="stable"), 0]  # item by item
        self.item_start = np.cumsum(self.item_degree) - self.item_degree
        self.user_start = np.cumsum(self.user_degree) - self.user_degree

    def __call__(self, items: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """One step from each of ``items [N]``, all with training events: ``[N]``."""
        users = self.users[self.item_start[items] + rng.integers(self.item_degree[items])]
        return self.items[self.user_start[users] + rng.integers(self.user_degree[users])]
