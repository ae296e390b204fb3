"""Sequence models and the windows of histories on which they are trained.

One pass of a causal model over a window of L events trains all positions, about 15 times cheaper
than one history per event. Shapes: B histories or W windows of L events, state d (``dim``).
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch
from torch import Tensor, nn

from paragon import params
from paragon.backbones.base import Backbone, Batch, Context
from paragon.data.sequences import Sequences


class SequentialBackbone(Backbone):
    """A causal encoder of histories; state and input share the item embedding."""

    def __init__(self, sequences: Sequences, settings: params.BackboneSettings) -> None:
        super().__init__(sequences, settings)
        self.item_embedding = nn.Embedding(sequences.n_items + 1, self.dim, padding_idx=0)
        nn.init.normal_(self.item_embedding.weight, std=0.02)
        with torch.no_grad():
            self.item_embedding.weight[0].zero_()

    def encode(self, items: Tensor, times: Tensor, users: Tensor) -> Tensor:
        """Encode ``items [B, L]``: a state after each event, ``[B, L, dim]``.

        ``times [B, L]`` are seconds; ``users [B]`` is -1 for new users.
        """
        raise NotImplementedError

    def states(self, context: Context) -> Tensor:
        """Return the state after the last event of each history, ``[B, dim]``."""
        last = (context.items > 0).sum(1) - 1  # [B]
        encoded = self.encode(context.items, context.times, context.users)  # [B, L, d]
        return encoded[torch.arange(len(context), device=last.device), last.clamp(min=0)]

    def item_vectors(self) -> Tensor:
        """Return the item embedding, ``[n + 1, dim]``."""
        return self.item_embedding.weight

    def training_states(
        self, sequences: Sequences, batch: int, rng: np.random.Generator
    ) -> Iterator[Batch]:
        """Yield one epoch in batches of ``batch`` windows: states, users and next items."""
        parts = windows(sequences, self.history, rng)
        device = self.item_embedding.weight.device
        for rows in self.random_batches(len(parts[0]), batch, rng):
            users, items, times, targets = (part[rows] for part in parts)
            inputs = (torch.from_numpy(part).to(device) for part in (items, times, users))
            encoded = self.encode(*inputs)  # [rows, L, d]
            inside = targets > 0  # [rows, L]
            states = encoded[torch.from_numpy(inside).to(device)]  # [N, d]
            yield states, np.repeat(users, inside.sum(1)), targets[inside]


def windows(
    sequences: Sequences, length: int, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Cut training sequences into disjoint windows: users, items, times and next items.

    Users are ``[W]``, the rest ``[W, length]``, 0 after the end. The first window of a user ends
    at random, so that an event is seen with histories of different lengths.
    """
    inputs = np.maximum(sequences.n_train - 1, 0)  # the last training event is only a target
    # Windows end at `first`, `first` + length, ... until the inputs are used up.
    first = rng.integers(1, length + 1, size=sequences.n_users)
    counts = np.where(inputs > 0, 1 + -(-(inputs - first).clip(0) // length), 0)  # per user
    users = np.repeat(np.arange(sequences.n_users), counts)  # [W]
    number = np.arange(counts.sum()) - np.repeat(np.cumsum(counts) - counts, counts)  # within user
    stop = first[users] + number * length  # [W]
    start = np.maximum(stop - length, 0)
    steps = start[:, None] + np.arange(length)  # [W, L], positions in the user's sequence
    inside = steps < np.minimum(stop, inputs[users])[:, None]
    index = np.where(inside, sequences.offsets[users][:, None] + steps, 0)
    parts = sequences.items[index], sequences.times[index], sequences.items[index + 1]
    items, times, targets = (np.where(inside, part, 0) for part in parts)
    return users, items, times, targets
