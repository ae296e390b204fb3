"""PinSage: convolutions over random-walk neighbourhoods of items (Ying et al., KDD 2018).

Shapes: B contexts of L past events, U users, n items, M categories, T neighbours, d numbers of
a state (``dim``).
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch
from scipy.sparse import csr_array
from torch import Tensor, nn
from torch.nn import functional as F

from paragon import params
from paragon.backbones.base import Backbone, Batch, Context, Dropout, interactions
from paragon.data.sequences import Sequences

WALKS, STEPS, RESTART = 1000, 3, 0.5  # walks per item, steps per walk, restart probability
NEIGHBOURS = 20  # T: neighbours per item
_BLOCK = 256  # items whose walks are drawn at a time; limits memory


class PinSage(Backbone):
    """``score = s . z_i``: ``z_i`` from convolutions, ``s`` a decaying mean of the history."""

    name = "pinsage"
    index: Tensor  # [n + 1, T], see `neighbourhoods`
    weights: Tensor  # [n + 1, T], see `neighbourhoods`
    categories: Tensor  # [n + 1, M]: shares of the item's categories, sum 1

    def __init__(self, sequences: Sequences, settings: params.BackboneSettings) -> None:
        super().__init__(sequences, settings)
        index, weights = neighbourhoods(sequences, settings.seed)
        categories = F.normalize(torch.from_numpy(sequences.categories).float(), p=1, dim=1)
        self.register_buffer("index", torch.from_numpy(index))
        self.register_buffer("weights", torch.from_numpy(weights))
        self.register_buffer("categories", categories)
        dim = self.dim
        self.item = nn.Parameter(torch.empty(len(index), dim).normal_(std=0.1))
        self.category = nn.Parameter(torch.empty(categories.shape[1], dim).normal_(std=0.1))
        self.dropout = Dropout(settings.dropout)
        self.convolutions = nn.ModuleList(Convolution(dim) for _ in range(settings.layers))
        self.fading = nn.Parameter(torch.tensor(-2.0))  # log of the decay rate of past events
        self.scale = nn.Parameter(torch.tensor(2.0))  # log; item vectors have the length 1
        self.user = nn.Linear(dim, dim)
        self._current: Tensor | None = None

    def convolved(self) -> Tensor:
        """Compute item vectors of length 1 after all layers, ``[n + 1, d]``."""
        vectors: Tensor = self.item + self.categories @ self.category  # [n + 1, d]
        for convolution in self.convolutions:
            vectors = convolution(self.dropout(vectors), self.index, self.weights)
        return vectors

    def item_vectors(self) -> Tensor:
        """Return the convolved items ``[n + 1, d]``, computed once per training step."""
        return self._current if self.training and self._current is not None else self.convolved()

    def states(self, context: Context) -> Tensor:
        """Apply a layer to the mean of past items, ``[B, d]``.

        The event ``a`` places before the latest has the weight ``exp(-rate a)``, ``rate`` learned.
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
    ) -> Iterator[Batch]:
        """Yield one epoch as :meth:`Backbone.training_states`, with one convolution per step."""
        try:
            self._current = self.convolved()
            for drawn in super().training_states(sequences, batch, rng):
                yield drawn
                self._current = self.convolved()  # the step has changed the parameters
        finally:
            self._current = None


class Convolution(nn.Module):
    """One layer of algorithm 1 of the paper, for all items at once."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.neighbour, self.merge = nn.Linear(dim, dim), nn.Linear(2 * dim, dim)

    def forward(self, vectors: Tensor, index: Tensor, weights: Tensor) -> Tensor:
        """Convolve ``vectors [N, d]`` over neighbours ``[N, T]``: ``[N, d]``, each of length 1."""
        message = F.relu(self.neighbour(vectors))  # [N, d]
        around = (F.embedding(index, message) * weights.unsqueeze(-1)).sum(1)  # [N, d]
        return F.normalize(F.relu(self.merge(torch.cat([vectors, around], 1))), dim=1)


def neighbourhoods(
    sequences: Sequences, seed: int, walks: int = WALKS, top: int = NEIGHBOURS
) -> tuple[np.ndarray, np.ndarray]:
    """Find the items most visited by random walks from each item; return them and their shares.

    Importance pooling, section 3.2 of the paper. In each of ``STEPS`` steps a walk first returns to
    its start with probability ``RESTART``; then it goes to a random user of the item and to a
    random item of that user. Visits to the start do not count. Both arrays are ``[n + 1, T]``. The
    shares of a row sum to 1; missing neighbours have the share 0, and so has the whole row of an
    item without training events. Of equal counts the first item wins.
    """
    rng, count = np.random.default_rng([seed, 9]), sequences.n_items + 1
    by_user = interactions(sequences)  # [U, n + 1]
    by_item = by_user.T.tocsr()
    index, shares = np.zeros((count, top), dtype=np.int64), np.zeros((count, top), np.float32)
    known = np.flatnonzero(np.diff(by_item.indptr))
    for starts in np.split(known, range(_BLOCK, len(known), _BLOCK)):
        rows = np.arange(len(starts))
        start = at = np.repeat(starts, walks)  # [rows x walks]
        first = np.repeat(rows * count, walks)
        visits = np.zeros(len(starts) * count, dtype=np.int64)
        for _ in range(STEPS):
            at = np.where(rng.random(len(at)) < RESTART, start, at)
            at = _random_neighbours(by_user, _random_neighbours(by_item, at, rng), rng)
            visits += np.bincount(first + at, minlength=len(visits))
        table = visits.reshape(len(starts), count)
        table[rows, starts] = 0
        order = np.argsort(-table, axis=1, kind="stable")[:, :top]  # [rows, <= T]
        count_of = np.take_along_axis(table, order, 1)
        index[starts, : order.shape[1]] = order
        shares[starts, : order.shape[1]] = count_of / count_of.sum(1, keepdims=True).clip(min=1)
    return index, shares


def _random_neighbours(links: csr_array, rows: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Draw one column for each of ``rows [N]``, none of which is empty."""
    return links.indices[links.indptr[rows] + rng.integers(np.diff(links.indptr)[rows])]
