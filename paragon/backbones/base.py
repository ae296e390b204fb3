"""What a backbone has to offer, and the check that it does.

In this file: the few methods through which everything else uses a recommender, whatever its
model is: states, item vectors, scores, batches for training.

Shapes: B contexts with L past events, C candidates, n items, d numbers of an item vector (``dim``),
z numbers of a state (z = d for most backbones).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from paragon import params
from paragon.data.sequences import Sequences
from paragon.errors import ParagonError

Adapt = Callable[[Tensor], Tensor]  # changes `h [..., d]`
_BLOCK = 1 << 20  # scores computed at a time: with `h` of each, some hundreds of megabytes
_LEAST = 64  # states in a block, where the catalogue is large: fewer would not be worth the product


def _unchanged(hidden: Tensor) -> Tensor:
    return hidden


@dataclass(frozen=True)
class Context:
    """What is known when a recommendation is asked for.

    ``users [B]``: -1 for a user that training never saw; ``items [B, L]``: the history, oldest
    first, from the left, 0 after its end; ``times [B, L]``: its timestamps in seconds.
    """

    users: Tensor
    items: Tensor
    times: Tensor

    def __len__(self) -> int:
        return len(self.users)

    def __getitem__(self, rows: slice | Tensor) -> Context:
        return Context(self.users[rows], self.items[rows], self.times[rows])


class Backbone(nn.Module):
    """A recommender with ``score(u, i) = h(u, i) . item_vectors()[i] + b(u, i)``.

    For most backbones ``h`` is a user state, the same for all items, and ``b`` is 0.  A subclass
    then sets ``dim`` and ``history`` and implements :meth:`build`, :meth:`states` and
    :meth:`item_vectors`.  One that combines user and item before it scores overrides
    :meth:`expand` as well.  Adapters act on ``h``, so nothing else depends on how ``h`` is made.
    ``docs/backbones.md`` builds a backbone in 40 lines.
    """

    name: str
    dim: int  # of h
    history: int  # how many past events `states` looks at

    @classmethod
    def build(cls, sequences: Sequences, settings: params.BackboneSettings) -> Backbone:
        """An untrained backbone for a prepared dataset."""
        raise NotImplementedError

    def states(self, context: Context) -> Tensor:
        """What is known of each user after the given history, ``[B, z]``; often z = d."""
        raise NotImplementedError

    def item_vectors(self) -> Tensor:
        """Item vectors ``[n + 1, d]``; row 0 is padding and never recommended."""
        raise NotImplementedError

    def expand(self, states: Tensor, candidates: Tensor) -> tuple[Tensor, Tensor | float]:
        """``h`` and ``b`` for states ``[..., B, z]`` and candidates ``[..., B, C]``.

        ``h [..., B, 1, d]`` if it is the same for all candidates, otherwise
        ``h [..., B, C, d]``; ``b`` is a number or ``[..., B, C]``.
        """
        return states.unsqueeze(-2), 0.0

    @property
    def is_dot_product(self) -> bool:
        """Whether a score is the product of a state and an item vector: `expand` is that above."""
        return type(self).expand is Backbone.expand

    def training_states(
        self, sequences: Sequences, batch: int, rng: np.random.Generator
    ) -> Iterator[tuple[Tensor, np.ndarray, np.ndarray]]:
        """One epoch in batches: states ``[N, z]``, their users ``[N]`` and target items ``[N]``.

        Here: every training event with the history before it, in random batches of
        N = 16 x ``batch``.
        """
        users, positions = sequences.train_events()
        device, order = self.item_vectors().device, rng.permutation(len(users))
        for rows in np.split(order, range(16 * batch, len(order), 16 * batch)):
            context = context_of(sequences, users[rows], positions[rows], self.history, device)
            yield self.states(context), users[rows], sequences.targets(users[rows], positions[rows])

    def score(
        self,
        states: Tensor,
        candidates: Tensor,
        adapter: Adapt = _unchanged,
        features: Tensor | None = None,
    ) -> Tensor:
        """Scores ``[B, C]`` of candidates ``[B, C]`` for states ``[B, z]``, through an adapter.

        ``features [n + 1, M]`` stand behind the item vectors for an adapter that makes d + M
        numbers of d.
        """
        hidden, offset = self.expand(states, candidates)
        hidden = adapter(hidden)  # [B, 1, d] or [B, C, d]
        # `embedding` and not indexing: its backward is several times faster on a CPU.
        items = F.embedding(candidates, self._table(features))  # [B, C, d]
        if hidden.shape[-2] == 1:
            return (items @ hidden.mT).squeeze(-1) + offset  # [B, C]
        return (hidden * items).sum(-1) + offset  # [B, C]

    def score_catalogue(
        self, states: Tensor, adapter: Adapt = _unchanged, features: Tensor | None = None
    ) -> Tensor:
        """Scores ``[N, n + 1]`` of every item, in blocks of rows; column 0 has no meaning.

        ``adapter`` and ``features`` as in :meth:`score`.
        """
        return torch.cat(list(self.catalogue_blocks(states, adapter, features)))

    def catalogue_blocks(
        self, states: Tensor, adapter: Adapt = _unchanged, features: Tensor | None = None
    ) -> Iterator[Tensor]:
        """The blocks of :meth:`score_catalogue` one after another, ``[R, n + 1]`` each.

        What needs no more than a block at a time can have any number of states.
        """
        table = self._table(features)
        every = torch.arange(len(table), device=states.device)
        table = F.embedding(every, table)
        least = _LEAST if self.is_dot_product else 1
        for block in states.split(max(least, _BLOCK // len(table))):  # [R, z]
            yield self.score_table(block, every, table, adapter)

    def score_items(self, states: Tensor, items: Tensor) -> Tensor:
        """Scores ``[N, C]`` of the same ``items [C]`` for all states ``[N, z]``, no adapter."""
        return self.score_table(states, items, F.embedding(items, self._table(None)), _unchanged)

    def score_table(self, states: Tensor, items: Tensor, table: Tensor, adapter: Adapt) -> Tensor:
        """Scores ``[N, C]`` of ``items [C]``, whose vectors are ``table [C, d]``."""
        hidden, offset = self.expand(states, items.expand(len(states), -1))
        hidden = adapter(hidden)  # [N, 1, d] or [N, C, d]
        if hidden.shape[-2] == 1:
            scores = hidden.squeeze(-2) @ table.T  # [N, C]
        else:
            scores = (hidden * table).sum(-1)  # [N, C]
        return scores + offset

    def _table(self, features: Tensor | None) -> Tensor:
        items = self.item_vectors()  # [n + 1, d]
        return items if features is None else torch.cat([items, features], 1)


class Dropout(nn.Module):
    """``nn.Dropout`` at a third of its cost on a CPU, where torch's draws number by number."""

    def __init__(self, rate: float) -> None:
        super().__init__()
        self.rate = rate

    def forward(self, x: Tensor) -> Tensor:
        """In training, set a share of the numbers to 0 and scale the others up; ``[...]``."""
        if not self.training or self.rate == 0:
            return x
        return x * ((torch.rand_like(x) >= self.rate) / (1 - self.rate))


def check_backbone(backbone: Backbone, sequences: Sequences) -> None:
    """Try a backbone on a few events and name what it lacks or does wrong, before training.

    Raises ``ParagonError`` for a missing method or size, a wrong shape, and
    numbers that are not finite.
    """
    kind = type(backbone)
    for method in ("states", "item_vectors"):
        if getattr(kind, method) is getattr(Backbone, method):
            raise ParagonError(f"backbone {kind.__name__}: the method `{method}` is missing")
    for size in ("dim", "history"):
        if not isinstance(getattr(backbone, size, None), int):
            raise ParagonError(f"backbone {kind.__name__}: the whole number `{size}` is missing")
    backbone.eval()
    check, valid, three = partial(_check_tensor, kind.__name__), sequences.valid, slice(0, 3)
    with torch.no_grad():
        items = backbone.item_vectors()
        check("item_vectors", items, (sequences.n_items + 1, backbone.dim))
        candidates = torch.from_numpy(valid.candidates[three]).to(items.device)
        rows, count = candidates.shape
        events = valid.users[three], valid.positions[three]
        states = backbone.states(context_of(sequences, *events, backbone.history, items.device))
        check("states", states, (rows, backbone.dim if backbone.is_dot_product else None))
        hidden, offset = backbone.expand(states, candidates)
        check("expand: h", hidden, (rows, 1, backbone.dim), (rows, count, backbone.dim))
        if isinstance(offset, Tensor):
            check("expand: b", offset, (rows, count))
        batch = next(backbone.training_states(sequences, 1, np.random.default_rng(0)))
        check("training_states: states", batch[0], (None, states.shape[1]))
        for what, numbers in zip(("users", "targets"), batch[1:], strict=True):
            tensor = torch.as_tensor(np.asarray(numbers))
            check(f"training_states: {what}", tensor, (len(batch[0]),))


def _check_tensor(kind: str, what: str, value: Tensor, *shapes: tuple[int | None, ...]) -> None:
    """Refuse a tensor that has none of the ``shapes`` (None: any size) or is not finite."""
    fits = [
        len(shape) == value.ndim
        and all(n in (None, m) for n, m in zip(shape, value.shape, strict=True))
        for shape in shapes
    ]
    if not any(fits):
        wanted = " or ".join(str([n or "any" for n in shape]) for shape in shapes)
        raise ParagonError(
            f"backbone {kind}: `{what}` has shape {list(value.shape)}, "
            f"{wanted.replace(chr(39), '')} is needed"
        )
    if not torch.isfinite(value).all():
        raise ParagonError(f"backbone {kind}: `{what}` holds numbers that are not finite")


def context_of(
    sequences: Sequences,
    users: np.ndarray,
    positions: np.ndarray,
    length: int,
    device: str | torch.device = "cpu",
) -> Context:
    """The contexts of the events at (user, position): the last ``length`` events before each."""
    items, times = sequences.histories(users, positions, length)
    return Context(
        torch.from_numpy(users).to(device),
        torch.from_numpy(items).to(device),
        torch.from_numpy(times).to(device),
    )


@torch.no_grad()
def cached_states(backbone: Backbone, context: Context, batch: int = 2048) -> Tensor:
    """States of many contexts, ``[N, z]``, computed once with dropout off."""
    backbone.eval()
    return torch.cat(
        [backbone.states(context[start : start + batch]) for start in range(0, len(context), batch)]
    )
