"""What a backbone has to offer, and what sequential ones share."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from paragon import params
from paragon.sequences import Sequences


@dataclass(frozen=True)
class Context:
    """What is known when a recommendation is asked for.

    ``users [B]``, -1 for a user that training never saw; ``items [B, L]`` the
    history, oldest first, left-aligned, 0 after its end; ``times [B, L]`` its
    timestamps in seconds.
    """

    users: Tensor
    items: Tensor
    times: Tensor

    def __len__(self) -> int:
        return len(self.users)

    def __getitem__(self, rows: slice | Tensor) -> Context:
        return Context(self.users[rows], self.items[rows], self.times[rows])


class Backbone(nn.Module):
    """A recommender whose score is a product: ``score(i) = state . item_vectors()[i]``.

    A subclass sets ``dim`` and ``history`` and implements the three methods
    below.  Adapters act on the state, so nothing downstream knows how it came
    about.
    """

    name: str
    dim: int
    history: int  # how many past events `states` looks at

    @classmethod
    def build(cls, sequences: Sequences, settings: params.Backbone) -> Backbone:
        """An untrained backbone for a prepared dataset."""
        raise NotImplementedError

    def states(self, context: Context) -> Tensor:
        """User states ``[B, dim]`` after the given histories."""
        raise NotImplementedError

    def item_vectors(self) -> Tensor:
        """Item vectors ``[n_items + 1, dim]``; row 0 is padding and never scored."""
        raise NotImplementedError

    def training_states(
        self, sequences: Sequences, batch: int, rng: np.random.Generator
    ) -> Iterator[tuple[Tensor, np.ndarray, np.ndarray]]:
        """One epoch in batches: states ``[N, dim]``, their users and target items ``[N]``."""
        raise NotImplementedError


def context_of(
    sequences: Sequences, users, positions, length: int, device: str | torch.device = "cpu"
) -> Context:
    """The contexts of the events at (user, position)."""
    items, times = sequences.histories(users, positions, length)
    return Context(
        torch.from_numpy(users).to(device),
        torch.from_numpy(items).to(device),
        torch.from_numpy(times).to(device),
    )


@torch.no_grad()
def cached_states(backbone: Backbone, context: Context, batch: int = 2048) -> Tensor:
    """States of many contexts, ``[N, dim]``, computed once with dropout off."""
    backbone.eval()
    return torch.cat(
        [backbone.states(context[start : start + batch]) for start in range(0, len(context), batch)]
    )
