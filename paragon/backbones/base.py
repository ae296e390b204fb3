"""What a backbone has to offer, and the check that it does."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from paragon import params
from paragon.data.sequences import Sequences
from paragon.errors import ParagonError

Adapt = Callable[[Tensor], Tensor]  # maps `h`, whatever its leading dimensions
_BLOCK = 1 << 20  # scores of a block of rows: with `h` of each, some hundreds of megabytes


def _unchanged(hidden: Tensor) -> Tensor:
    return hidden


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
    """A recommender with ``score(u, i) = h(u, i) . item_vectors()[i] + b(u, i)``.

    For most ``h`` is a user state, the same for all items, and ``b`` is 0; a
    subclass then sets ``dim`` and ``history`` and implements :meth:`build`,
    :meth:`states` and :meth:`item_vectors`.  One that looks at user and item
    together before it scores overrides :meth:`expand` as well.  Adapters act on
    ``h``, so nothing downstream knows how it came about.  ``docs/backbones.md``
    builds one in 40 lines.
    """

    name: str
    dim: int  # of h
    history: int  # how many past events `states` looks at

    @classmethod
    def build(cls, sequences: Sequences, settings: params.BackboneSettings) -> Backbone:
        """An untrained backbone for a prepared dataset."""
        raise NotImplementedError

    def states(self, context: Context) -> Tensor:
        """What is known of each user after the given history, ``[B, S]``; S = dim in most."""
        raise NotImplementedError

    def item_vectors(self) -> Tensor:
        """Item vectors ``[n_items + 1, dim]``; row 0 is padding and never scored."""
        raise NotImplementedError

    def expand(self, states: Tensor, candidates: Tensor) -> tuple[Tensor, Tensor | float]:
        """``h`` and ``b`` for states ``[..., B, S]`` and candidates ``[..., B, C]``.

        ``h [..., B, K, dim]``, K = 1 where it is the same for all candidates, else
        K = C; ``b`` is a number or ``[..., B, C]``.
        """
        return states.unsqueeze(-2), 0.0

    def training_states(
        self, sequences: Sequences, batch: int, rng: np.random.Generator
    ) -> Iterator[tuple[Tensor, np.ndarray, np.ndarray]]:
        """One epoch in batches: states ``[N, S]``, their users and target items ``[N]``.

        Here every training event with the history before it, in random batches of
        16 x ``batch``.
        """
        users, positions = sequences.train_events()
        device, order = self.item_vectors().device, rng.permutation(len(users))
        for rows in np.split(order, range(16 * batch, len(order), 16 * batch)):
            context = context_of(sequences, users[rows], positions[rows], self.history, device)
            yield self.states(context), users[rows], sequences.targets(users[rows], positions[rows])

    def score(self, states: Tensor, candidates: Tensor, adapter: Adapt = _unchanged) -> Tensor:
        """Scores ``[B, C]`` of candidates ``[B, C]``, with ``h`` sent through an adapter."""
        hidden, offset = self.expand(states, candidates)
        # `embedding` and not indexing: its backward is several times faster on a CPU.
        vectors = F.embedding(candidates, self.item_vectors())
        return _products(adapter(hidden), vectors) + offset

    def score_catalogue(self, states: Tensor, adapter: Adapt = _unchanged) -> Tensor:
        """Scores of every item, ``[N, n_items + 1]``, in blocks of rows; column 0 means nothing."""
        items = self.item_vectors()
        everything = torch.arange(len(items), device=items.device)
        parts = []
        for part in states.split(max(1, _BLOCK // len(items))):
            hidden, offset = self.expand(part, everything.expand(len(part), -1))
            hidden = adapter(hidden)
            own = hidden.shape[-2] > 1
            product = (hidden * items).sum(-1) if own else hidden.squeeze(-2) @ items.T
            parts.append(product + offset)
        return torch.cat(parts)


class Dropout(nn.Module):
    """``nn.Dropout`` at a third of its cost on a CPU, where that draws bit by bit."""

    def __init__(self, rate: float) -> None:
        super().__init__()
        self.rate = rate

    def forward(self, x: Tensor) -> Tensor:
        """Zero a share of the numbers while training, and make up for it in the others."""
        if not self.training or self.rate == 0:
            return x
        return x * ((torch.rand_like(x) >= self.rate) / (1 - self.rate))


def _products(hidden: Tensor, vectors: Tensor) -> Tensor:
    """``[..., B, C]`` of ``[..., B, 1 or C, d]`` and ``[..., B, C, d]``."""
    if hidden.shape[-2] == 1:
        return (vectors @ hidden.mT).squeeze(-1)
    return (hidden * vectors).sum(-1)


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

    def check(what: str, value: Tensor, *shapes: tuple[int | None, ...]) -> None:
        fits = [
            len(shape) == value.ndim
            and all(n in (None, m) for n, m in zip(shape, value.shape, strict=True))
            for shape in shapes
        ]
        if not any(fits):
            wanted = " or ".join(str([n or "any" for n in shape]) for shape in shapes)
            raise ParagonError(
                f"backbone {kind.__name__}: `{what}` has shape {list(value.shape)}, "
                f"{wanted.replace(chr(39), '')} is needed"
            )
        if not torch.isfinite(value).all():
            raise ParagonError(
                f"backbone {kind.__name__}: `{what}` holds numbers that are not finite"
            )

    backbone.eval()
    few = slice(0, 3)
    with torch.no_grad():
        items = backbone.item_vectors()
        check("item_vectors", items, (sequences.n_items + 1, backbone.dim))
        part = sequences.valid
        candidates = torch.from_numpy(part.candidates[few]).to(items.device)
        rows, count = candidates.shape
        context = context_of(
            sequences, part.users[few], part.positions[few], backbone.history, items.device
        )
        states = backbone.states(context)
        inherited = kind.expand is Backbone.expand
        check("states", states, (rows, backbone.dim if inherited else None))
        hidden, offset = backbone.expand(states, candidates)
        check("expand: h", hidden, (rows, 1, backbone.dim), (rows, count, backbone.dim))
        if isinstance(offset, Tensor):
            check("expand: b", offset, (rows, count))
        first = next(backbone.training_states(sequences, 1, np.random.default_rng(0)))
        check("training_states: states", first[0], (None, states.shape[1]))
        for what, numbers in zip(("users", "targets"), first[1:], strict=True):
            found = torch.as_tensor(np.asarray(numbers))
            check(f"training_states: {what}", found, (len(first[0]),))


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
