"""What a backbone has to offer, and the check that it does.

The few methods through which everything else uses a recommender, whatever its model is: states,
item vectors, scores, batches for training.

Shapes: B contexts with L past events, C candidates, n items, d numbers of an item vector (``dim``),
z numbers of a state (z = d for most backbones), A adapters.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import torch
from scipy.sparse import csr_array
from torch import Tensor, nn
from torch.nn import functional as F

from paragon import params
from paragon.data.sequences import Sequences
from paragon.errors import ParagonError

Adapt = Callable[[Tensor], Tensor]  # changes `h [..., d]`
Batch = tuple[Tensor, np.ndarray, np.ndarray]  # states [N, z], their users [N], target items [N]
PAIRS = 1 << 20  # scores computed at a time: with `h` of each, some hundreds of megabytes
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
    then implements :meth:`states` and :meth:`item_vectors`.  One that combines user and item before
    it scores overrides :meth:`expand` as well.  Adapters act on ``h``, so nothing else depends on
    how ``h`` is made.  ``docs/backbones.md`` builds a backbone in 40 lines.
    """

    name: str
    dim: int  # of h
    history: int  # how many past events `states` looks at

    def __init__(self, sequences: Sequences, settings: params.BackboneSettings) -> None:
        """An untrained backbone for a prepared dataset, sizes from ``backbones`` in params.yaml."""
        super().__init__()
        self.dim, self.history = settings.dim, settings.history

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

    def training_states(
        self, sequences: Sequences, batch: int, rng: np.random.Generator
    ) -> Iterator[Batch]:
        """Draw one epoch in batches: states ``[N, z]``, their users and target items ``[N]``.

        Here: every training event with the history before it, in random batches of
        N = 16 x ``batch``.
        """
        users, positions = sequences.train_events()
        device = self.item_vectors().device
        for rows in self.random_batches(len(users), 16 * batch, rng):
            context = context_of(sequences, users[rows], positions[rows], self.history, device)
            yield self.states(context), users[rows], sequences.targets(users[rows], positions[rows])

    def random_batches(
        self, count: int, size: int, rng: np.random.Generator
    ) -> Iterator[np.ndarray]:
        """The numbers below ``count`` in random order, in batches of ``size``."""
        yield from np.split(rng.permutation(count), range(size, count, size))

    @property
    def is_dot_product(self) -> bool:
        """Whether a score is the product of a state and an item vector: `expand` is that above."""
        return type(self).expand is Backbone.expand

    def rows_at_a_time(self, rows: int, candidates: int, pairs: int = PAIRS) -> int:
        """How many states to score at a time: ``rows``, or fewer if each pair has its own ``h``."""
        return rows if self.is_dot_product else max(1, pairs // candidates)

    def score(
        self,
        states: Tensor,
        candidates: Tensor,
        adapter: Adapt = _unchanged,
        table: Tensor | None = None,
    ) -> Tensor:
        """Scores ``[..., B, C]`` of candidates ``[..., B, C]``, or ``[C]`` that all states share.

        ``states [..., B, z]``; ``table [n + 1, d']``: what an ``adapter`` that makes d' numbers of
        d is multiplied with, the item vectors by default.
        """
        # `embedding` and not indexing: its backward is several times faster on a CPU.
        items = F.embedding(candidates, self.item_vectors() if table is None else table)
        return self.score_vectors(states, candidates, items, adapter)

    def score_vectors(
        self, states: Tensor, candidates: Tensor, items: Tensor, adapter: Adapt = _unchanged
    ) -> Tensor:
        """Scores as :meth:`score`, of candidates whose vectors are ``items [..., C, d']``.

        An adapter that makes ``[..., A, B, 1 or C, d']`` of ``h``, one for each of A tasks, gives
        scores ``[..., A, B, C]``.
        """
        hidden, offset = self.expand(states, candidates.expand(*states.shape[:-1], -1))
        hidden = adapter(hidden)  # [..., B, 1 or C, d'] or [..., A, B, 1 or C, d']
        shared = 2 < items.ndim < hidden.ndim  # the tasks have lists in common
        if hidden.shape[-2] > 1:  # a representation of each candidate
            scores = (hidden * (items.unsqueeze(-4) if shared else items)).sum(-1)
        elif items.ndim == 2:  # one list for all states
            scores = hidden.squeeze(-2) @ items.mT  # [..., B, C]
        elif shared:
            by_list = hidden.squeeze(-2).transpose(-2, -3) @ items.mT  # [..., B, A, C]
            scores = by_list.transpose(-2, -3)  # [..., A, B, C]
        else:
            scores = (items @ hidden.mT).squeeze(-1)  # [..., B, C]
        if not isinstance(offset, Tensor):
            return scores + offset if offset else scores  # most backbones have none
        return scores + (offset.unsqueeze(-3) if offset.ndim < scores.ndim else offset)

    def score_catalogue(
        self, states: Tensor, adapter: Adapt = _unchanged, table: Tensor | None = None
    ) -> Tensor:
        """Scores ``[N, n + 1]`` of every item, in blocks of rows; column 0 has no meaning.

        ``adapter`` and ``table`` as in :meth:`score`.
        """
        return torch.cat(list(self.catalogue_blocks(states, adapter, table)))

    def catalogue_blocks(
        self, states: Tensor, adapter: Adapt = _unchanged, table: Tensor | None = None
    ) -> Iterator[Tensor]:
        """The blocks of :meth:`score_catalogue` one after another, ``[R, n + 1]`` each.

        What needs no more than a block at a time can have any number of states.
        """
        table = self.item_vectors() if table is None else table
        every = torch.arange(len(table), device=states.device)
        items = F.embedding(every, table)  # [n + 1, d']
        rows = self.rows_at_a_time(max(_LEAST, PAIRS // len(table)), len(table))
        for block in states.split(rows):  # [R, z]
            yield self.score_vectors(block, every, items, adapter)


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

    Raises ``ParagonError`` for a missing method, a wrong shape, and numbers that are not finite.
    """
    kind, dim = type(backbone), backbone.dim
    for method in ("states", "item_vectors"):
        if getattr(kind, method) is getattr(Backbone, method):
            raise ParagonError(f"backbone {kind.__name__}: the method `{method}` is missing")

    def check(what: str, value: Tensor, *shapes: tuple[int, ...]) -> None:
        if tuple(value.shape) not in shapes:
            wanted = " or ".join(str(list(shape)) for shape in shapes)
            problem = f"has shape {list(value.shape)}, {wanted} is needed"
        elif torch.isfinite(value).all():
            return
        else:
            problem = "holds numbers that are not finite"
        raise ParagonError(f"backbone {kind.__name__}: `{what}` {problem}")

    backbone.eval()
    valid, three = sequences.valid, slice(0, 3)
    with torch.no_grad():
        items = backbone.item_vectors()
        check("item_vectors", items, (sequences.n_items + 1, dim))
        candidates = torch.from_numpy(valid.candidates[three]).to(items.device)
        rows, count = candidates.shape
        events = valid.users[three], valid.positions[three]
        states = backbone.states(context_of(sequences, *events, backbone.history, items.device))
        check("states", states, (rows, dim if backbone.is_dot_product else states.shape[-1]))
        hidden, offset = backbone.expand(states, candidates)
        check("expand: h", hidden, (rows, 1, dim), (rows, count, dim))
        if isinstance(offset, Tensor):
            check("expand: b", offset, (rows, count))
        drawn, *others = next(backbone.training_states(sequences, 1, np.random.default_rng(0)))
        check("training_states: states", drawn, (len(drawn), states.shape[1]))
        for what, numbers in zip(("users", "targets"), others, strict=True):
            check(f"training_states: {what}", torch.as_tensor(numbers), (len(drawn),))


def context_of(
    sequences: Sequences,
    users: np.ndarray,
    positions: np.ndarray,
    length: int,
    device: str | torch.device = "cpu",
) -> Context:
    """The contexts of the events at (user, position): the last ``length`` events before each."""
    parts = (users, *sequences.histories(users, positions, length))
    return Context(*(torch.from_numpy(part).to(device) for part in parts))


def training_pairs(sequences: Sequences) -> tuple[np.ndarray, np.ndarray]:
    """User and item of every training event, ``[N]`` each."""
    train = sequences.is_train()
    users = np.repeat(np.arange(sequences.n_users), sequences.lengths)
    return users[train], sequences.items[train]


def interactions(sequences: Sequences) -> csr_array:
    """The items of each user in training, ``[U, n + 1]``; a repeated interaction is one entry."""
    pairs, shape = training_pairs(sequences), (sequences.n_users, sequences.n_items + 1)
    return csr_array((np.ones(len(pairs[0])), pairs), shape)


def mean_of_history(vectors: Tensor, items: Tensor) -> Tensor:
    """The mean of ``vectors [n + 1, d]`` over histories ``items [B, L]``: ``[B, d]``."""
    inside = (items > 0).unsqueeze(-1)  # [B, L, 1]
    total = (F.embedding(items, vectors) * inside).sum(1)  # [B, d]
    return total / inside.sum(1).clamp(min=1)


@torch.no_grad()
def cached_states(backbone: Backbone, context: Context, batch: int = 2048) -> Tensor:
    """States of many contexts, ``[N, z]``, computed once with dropout off."""
    backbone.eval()
    starts = range(0, len(context), batch)
    return torch.cat([backbone.states(context[start : start + batch]) for start in starts])
