"""LightGCN (He et al., SIGIR 2020) and NGCF (Wang et al., SIGIR 2019).

User and item embeddings are propagated over the graph of training interactions.
Shapes: U users, n items, V = U + n + 1 nodes, B contexts, d numbers of a state (``dim``).
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from paragon import params
from paragon.backbones.base import (
    Backbone,
    Batch,
    Context,
    Dropout,
    interactions,
    mean_of_history,
    training_pairs,
)
from paragon.data.sequences import Sequences
from paragon.errors import ParagonError


class GraphBackbone(Backbone):
    """User and item embeddings, which a subclass propagates over the graph.

    The state of a new user is the mean of the item vectors in the history.
    """

    HISTORY = 50  # used for new users only
    graph: Tensor  # [V, V], sparse: fixed by the data, not a parameter

    def __init__(
        self, sequences: Sequences, settings: params.BackboneSettings, width: int | None = None
    ) -> None:
        super().__init__(sequences, settings)
        self.n_users, self.layers, self.history = sequences.n_users, settings.layers, self.HISTORY
        self.register_buffer("graph", normalised_graph(sequences), persistent=False)
        self.embedding = nn.Parameter(torch.empty(self.graph.shape[0], width or self.dim))  # [V, d]
        nn.init.normal_(self.embedding, std=0.1)
        self._current: tuple[Tensor, Tensor] | None = None

    def propagate(self) -> Tensor:
        """Compute the final embeddings of users, then of items 0..n: ``[V, d]``."""
        raise NotImplementedError

    def _vectors(self) -> tuple[Tensor, Tensor]:
        """Return user and item vectors, propagated once per training step."""
        if self.training and self._current is not None:
            return self._current
        final = self.propagate()
        return final[: self.n_users], final[self.n_users :]

    def states(self, context: Context) -> Tensor:
        """Return the propagated user embeddings, ``[B, d]``."""
        users, items = self._vectors()  # [U, d], [n + 1, d]
        history = mean_of_history(items, context.items)  # [B, d]
        known = (context.users >= 0).unsqueeze(-1)  # [B, 1]
        return torch.where(known, users[context.users.clamp(min=0)], history)

    def item_vectors(self) -> Tensor:
        """Return the propagated item embeddings, ``[n + 1, d]``."""
        return self._vectors()[1]

    def training_states(
        self, sequences: Sequences, batch: int, rng: np.random.Generator
    ) -> Iterator[Batch]:
        """Yield one epoch of training pairs, in random batches of 16 x ``batch``."""
        users, items = training_pairs(sequences)
        try:
            for rows in self.random_batches(len(users), 16 * batch, rng):
                self._current = None
                self._current = self._vectors()
                index = torch.from_numpy(users[rows]).to(self.embedding.device)
                yield F.embedding(index, self._current[0]), users[rows], items[rows]
        finally:
            self._current = None


class LightGCN(GraphBackbone):
    """The mean over layers of neighbour averages; only the embeddings are learned."""

    name = "lightgcn"

    def propagate(self) -> Tensor:
        """LightGCN, equations 7 and 8, with equal layer weights."""
        layers: list[Tensor] = [self.embedding]  # [V, d]
        for _ in range(self.layers):
            layers.append(torch.sparse.mm(self.graph, layers[-1]))  # [V, d]
        return torch.stack(layers).mean(0)


class NGCF(GraphBackbone):
    """Transformed messages and their products with the receiver; layers are concatenated."""

    name = "ngcf"

    def __init__(self, sequences: Sequences, settings: params.BackboneSettings) -> None:
        width, rest = divmod(settings.dim, settings.layers + 1)
        if rest:
            raise ParagonError(
                f"params.yaml: backbones.dim: {settings.dim} is not a multiple of layers + 1 = "
                f"{settings.layers + 1}, as NGCF needs, which concatenates its layers"
            )
        super().__init__(sequences, settings, width)
        self.neighbour = nn.ModuleList(nn.Linear(width, width) for _ in range(self.layers))
        self.product = nn.ModuleList(nn.Linear(width, width) for _ in range(self.layers))
        self.dropout = Dropout(settings.dropout)

    def propagate(self) -> Tensor:
        """NGCF, equation 7: each layer is ``leaky_relu((L + I) E W1 + (L E * E) W2)``."""
        layers: list[Tensor] = [self.embedding]  # [V, width]
        current: Tensor = self.embedding
        for neighbour, product in zip(self.neighbour, self.product, strict=True):
            message = torch.sparse.mm(self.graph, current)  # [V, width]
            current = F.leaky_relu(neighbour(message + current) + product(message * current), 0.2)
            current = self.dropout(current)
            layers.append(F.normalize(current, dim=1))
        return torch.cat(layers, 1)  # [V, d]


def normalised_graph(sequences: Sequences) -> Tensor:
    """Build the sparse ``D^-1/2 A D^-1/2`` of the training interactions, ``[V, V]``.

    A: adjacency, D: degrees. Nodes are the users, then items 0..n (0, padding, has no edges).
    """
    users, items = interactions(sequences).nonzero()
    users, items = users.astype(np.int64), items.astype(np.int64) + sequences.n_users
    rows, columns = np.concatenate([users, items]), np.concatenate([items, users])
    size = sequences.n_users + sequences.n_items + 1
    degree = np.bincount(rows, minlength=size)
    values = 1 / np.sqrt(degree[rows] * degree[columns])
    index = torch.from_numpy(np.stack([rows, columns]))
    graph = torch.sparse_coo_tensor(
        index, torch.from_numpy(values).float(), (size, size), check_invariants=True
    )
    return graph.coalesce()
