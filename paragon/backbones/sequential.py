"""What SASRec, GRU4Rec and TiSASRec share: windows in training, the last state in use.

Training encodes windows of L events and takes a loss at every position.  One
history per training event instead costs about 15 times more work for the same
result.  Windows of a user do not overlap, and their phase is drawn anew every
epoch, so that an event is not always seen with the same length of history.
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
        last = (context.items > 0).sum(1) - 1
        encoded = self.encode(context.items, context.times, context.users)
        return encoded[torch.arange(len(context), device=last.device), last.clamp(min=0)]

    def item_vectors(self) -> Tensor:
        """The item embedding, ``[n_items + 1, dim]``."""
        return self.item_embedding.weight

    def training_states(
        self, sequences: Sequences, batch: int, rng: np.random.Generator
    ) -> Iterator[tuple[Tensor, np.ndarray, np.ndarray]]:
        """One epoch in batches of ``batch`` windows: states, users and next items."""
        device = self.item_embedding.weight.device
        users, items, times, targets = windows(sequences, self.history, rng)
        order = rng.permutation(len(users))
        for rows in np.split(order, range(batch, len(order), batch)):
            inside = targets[rows] > 0
            encoded = self.encode(
                *(torch.from_numpy(part[rows]).to(device) for part in (items, times, users))
            )
            yield (
                encoded[torch.from_numpy(inside).to(device)],
                np.repeat(users[rows], inside.sum(1)),
                targets[rows][inside],
            )


def windows(
    sequences: Sequences, length: int, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Cut every user's training sequence into windows of a random phase.

    Returns ``users [W]`` and, each ``[W, length]`` and 0 after its end, the
    input ``items``, their ``times`` and the next items ``targets``.
    """
    inputs = np.maximum(sequences.n_train - 1, 0)  # the last training event is only a target
    # Window ends: phase, phase + L, ... until the inputs are used up; phase in 1..L.
    phase = rng.integers(1, length + 1, size=sequences.n_users)
    counts = np.where(inputs > 0, 1 + -(-(inputs - phase).clip(0) // length), 0)
    users = np.repeat(np.arange(sequences.n_users), counts)
    number = np.arange(counts.sum()) - np.repeat(np.cumsum(counts) - counts, counts)
    stop = phase[users] + number * length
    start = np.maximum(stop - length, 0)
    steps = start[:, None] + np.arange(length)
    inside = steps < np.minimum(stop, inputs[users])[:, None]
    index = np.where(inside, sequences.offsets[users][:, None] + steps, 0)
    return (
        users,
        np.where(inside, sequences.items[index], 0),
        np.where(inside, sequences.times[index], 0),
        np.where(inside, sequences.items[index + 1], 0),
    )
