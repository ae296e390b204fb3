"""What SASRec, GRU4Rec and TiSASRec share: they read histories and are trained on windows.

In this file: why sequence models are cheap to train.  A causal model gives a state after every
event, so one pass over a window of L events trains all of its positions at once; one history per
training event would cost about 15 times as much for the same result.  The windows of a user do
not overlap.  Where they begin is drawn anew every epoch, so that an event is not always seen
with the same length of history.

Shapes: B histories or W windows of L events, d numbers of a state (``dim``).
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch
from torch import Tensor, nn

from paragon.backbones.base import Backbone, Context
from paragon.data.sequences import Sequences


class SequentialBackbone(Backbone):
    """A causal encoder of histories; state and input share the item embedding."""

    def __init__(self, n_items: int, *, dim: int, history: int) -> None:
        super().__init__()
        self.dim, self.history = dim, history
        self.item_embedding = nn.Embedding(n_items + 1, dim, padding_idx=0)
        nn.init.normal_(self.item_embedding.weight, std=0.02)
        with torch.no_grad():
            self.item_embedding.weight[0].zero_()

    def encode(self, items: Tensor, times: Tensor, users: Tensor) -> Tensor:
        """States after every event of ``items [B, L]``: ``[B, L, dim]``.

        ``times [B, L]`` are seconds; ``users [B]``, -1 where training never saw the user.
        """
        raise NotImplementedError

    def states(self, context: Context) -> Tensor:
        """The state after the last event of each history, ``[B, dim]``."""
        last = (context.items > 0).sum(1) - 1  # [B]
        encoded = self.encode(context.items, context.times, context.users)  # [B, L, d]
        return encoded[torch.arange(len(context), device=last.device), last.clamp(min=0)]

    def item_vectors(self) -> Tensor:
        """The item embedding, ``[n_items + 1, dim]``."""
        return self.item_embedding.weight

    def training_states(
        self, sequences: Sequences, batch: int, rng: np.random.Generator
    ) -> Iterator[tuple[Tensor, np.ndarray, np.ndarray]]:
        """One epoch in batches of ``batch`` windows: states, users and next items."""
        parts = windows(sequences, self.history, rng)
        order = rng.permutation(len(parts[0]))
        for rows in np.split(order, range(batch, len(order), batch)):
            yield self.window_states(parts, rows)

    def window_states(
        self, parts: tuple[np.ndarray, ...], rows: np.ndarray
    ) -> tuple[Tensor, np.ndarray, np.ndarray]:
        """States ``[N, d]``, users and next items ``[N]`` of some rows of `windows`."""
        device = self.item_embedding.weight.device
        users, items, times, targets = (part[rows] for part in parts)
        inputs = (torch.from_numpy(part).to(device) for part in (items, times, users))
        encoded = self.encode(*inputs)  # [rows, L, d]
        inside = targets > 0  # [rows, L]
        states = encoded[torch.from_numpy(inside).to(device)]  # [N, d]
        return states, np.repeat(users, inside.sum(1)), targets[inside]


def windows(
    sequences: Sequences, length: int, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Cut every user's training sequence into windows; where the first one ends is random.

    Returns ``users [W]`` and, each ``[W, length]`` and 0 after its end, the
    input ``items``, their ``times`` and the next items ``targets``.
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
    return (
        users,
        np.where(inside, sequences.items[index], 0),
        np.where(inside, sequences.times[index], 0),
        np.where(inside, sequences.items[index + 1], 0),
    )
