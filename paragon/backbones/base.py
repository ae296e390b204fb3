"""The interface of a backbone, through which all other code uses a recommender.

Shapes: B contexts with L past events, N events, C candidates, n items, d numbers of an item vector
(``dim``), z numbers of a state (z = d for most backbones), A adapters.
"""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from paragon import params
from paragon.data.sequences import Sequences
from paragon.errors import ParagonError
from paragon.objectives.kernels import matmul

Adapt = Callable[[Tensor], Tensor]  # changes `h [..., d]`
Rng = np.random.Generator
Batch = tuple[Tensor, np.ndarray, np.ndarray]  # states [N, z], their users [N], target items [N]
PAIRS = 1 << 20  # scores computed at a time: with `h` for each, some hundreds of megabytes
_LEAST = 64  # states in a block at least: smaller products are slow
_CONTEXTS = 2048  # contexts encoded at a time
_UNCHANGED: Adapt = nn.Identity()


@dataclass(frozen=True)
class Context:
    """The input of a recommendation."""

    users: Tensor  # [B], -1 for new users
    items: Tensor  # [B, L], the history, oldest first, then zeros
    times: Tensor  # [B, L], its timestamps in seconds


class Backbone(nn.Module):
    """A recommender with ``score(u, i) = h(u, i) . item_vectors()[i] + b(u, i)``.

    Adapters act on ``h``. For most backbones ``h`` is the user state and ``b`` is 0: a subclass
    implements :meth:`states` and :meth:`item_vectors`. If ``h`` also depends on the item, it
    overrides :meth:`expand` (``docs/backbones.md``).
    """

    name: str
    dim: int  # of h
    history: int  # number of past events that `states` uses

    def __init__(self, sequences: Sequences, settings: params.BackboneSettings) -> None:
        """Build an untrained backbone; sizes come from ``backbones`` in params.yaml."""
        super().__init__()
        self.dim = settings.dim
        self.history = settings.history

    def states(self, context: Context) -> Tensor:
        """Encode users and histories as states ``[B, z]``."""
        raise ParagonError(f"backbone {type(self).__name__}: the method `states` is missing")

    def item_vectors(self) -> Tensor:
        """Return item vectors ``[n + 1, d]``; row 0 is padding and never recommended."""
        raise ParagonError(f"backbone {type(self).__name__}: the method `item_vectors` is missing")

    def expand(self, states: Tensor, candidates: Tensor) -> tuple[Tensor, Tensor | float]:
        """Compute ``h`` and ``b`` for states ``[..., B, z]`` and candidates ``[..., B, C]``.

        ``h`` is ``[..., B, 1, d]`` if it is the same for all candidates, else ``[..., B, C, d]``;
        ``b`` is a number or ``[..., B, C]``.
        """
        return states.unsqueeze(-2), 0.0

    def training_states(self, sequences: Sequences, batch: int, rng: Rng) -> Iterator[Batch]:
        """Yield the batches of one epoch, each of 16 x ``batch`` random training events.

        A subclass may make other batches: their states, users and target items.
        """
        all_users, all_positions = sequences.train_events()
        for rows in self.random_batches(len(all_users), 16 * batch, rng):
            users = all_users[rows]
            positions = all_positions[rows]
            states = self.states(self.context(sequences, users, positions))  # [N, z]
            yield states, users, sequences.targets(users, positions)

    def random_batches(self, count: int, size: int, rng: Rng) -> Iterable[np.ndarray]:
        """Return the numbers below ``count`` in random order, in batches of ``size``."""
        return np.split(rng.permutation(count), range(size, count, size))

    @property
    def device(self) -> torch.device:
        """The device of the parameters."""
        return next(self.parameters()).device

    def context(self, sequences: Sequences, users: np.ndarray, positions: np.ndarray) -> Context:
        """Return the contexts before the events at (user, position), on the backbone's device."""
        items, times = sequences.histories(users, positions, self.history)
        return Context(
            users=torch.from_numpy(users).to(self.device),
            items=torch.from_numpy(items).to(self.device),
            times=torch.from_numpy(times).to(self.device),
        )

    @torch.no_grad()
    def states_before(self, data: Sequences, users: np.ndarray, positions: np.ndarray) -> Tensor:
        """Compute the states ``[N, z]`` before many events at (user, position), without dropout.

        Afterwards the backbone is in evaluation mode.
        """
        self.eval()
        blocks = []
        for start in range(0, len(users), _CONTEXTS):
            rows = slice(start, start + _CONTEXTS)
            context = self.context(data, users[rows], positions[rows])
            blocks.append(self.states(context))
        return torch.cat(blocks)

    def last_states(self, context: Context) -> Tensor:
        """Compute :meth:`states` for serving.

        A backbone may have a faster way here, whose last digits differ.
        """
        return self.states(context)

    @property
    def is_dot_product(self) -> bool:
        """Whether a score is the product of a state and an item vector.

        It is, unless a subclass overrides :meth:`expand`.
        """
        return type(self).expand is Backbone.expand

    def rows_at_a_time(self, rows: int, candidates: int, pairs: int = PAIRS) -> int:
        """Return how many states to score at a time.

        It is ``rows``; but if ``h`` differs by candidate, no more than ``pairs`` of a state and one
        of the ``candidates``, to save memory.
        """
        if self.is_dot_product:
            return rows
        return max(1, pairs // candidates)

    def score(
        self,
        states: Tensor,
        candidates: Tensor,
        adapter: Adapt = _UNCHANGED,
        table: Tensor | None = None,
    ) -> Tensor:
        """Compute the scores ``[..., B, C]`` of candidates for ``states [..., B, z]``.

        ``candidates``: items ``[..., B, C]``, or ``[C]`` shared by all states.  ``adapter``: maps
        ``h`` from d to d' numbers.  ``table [n + 1, d']``: the rows that the adapted ``h`` is
        multiplied with, by default the item vectors.
        """
        table = self.item_vectors() if table is None else table
        # The backward of `embedding` is several times faster than that of indexing on a CPU.
        items = F.embedding(candidates, table)  # [C, d'] or [..., B, C, d']
        return self.score_vectors(states, candidates, items, adapter)

    def score_vectors(
        self, states: Tensor, candidates: Tensor, items: Tensor, adapter: Adapt
    ) -> Tensor:
        """Compute scores as :meth:`score`, with rows ``items [C, d']`` or ``[..., B, C, d']``."""
        hidden, offset = self.expand(states, candidates.expand(*states.shape[:-1], -1))
        hidden = adapter(hidden)  # [..., B, 1 or C, d'] or, for A tasks, [..., A, B, 1 or C, d']
        if hidden.shape[-2] > 1:  # a representation of each candidate
            scores = (hidden * items).sum(-1)
        elif items.ndim == 2:  # one list for all states
            scores = matmul(hidden.squeeze(-2), items.mT)  # [..., B, C]
        else:
            scores = (items @ hidden.mT).squeeze(-1)  # [..., B, C]
        if isinstance(offset, Tensor):
            if offset.ndim < scores.ndim:  # the adapter has added a dimension, of the tasks
                offset = offset.unsqueeze(-3)
            return scores + offset
        return scores + offset if offset else scores  # most backbones have none

    def score_catalogue(
        self, states: Tensor, adapter: Adapt = _UNCHANGED, table: Tensor | None = None
    ) -> Tensor:
        """Compute the scores of all items, ``[N, n + 1]``; column 0 is padding.

        The arguments are those of :meth:`score`.
        """
        return torch.cat(list(self.catalogue_blocks(states, adapter, table)))

    def catalogue_blocks(
        self, states: Tensor, adapter: Adapt = _UNCHANGED, table: Tensor | None = None
    ) -> Iterator[Tensor]:
        """Yield the rows of :meth:`score_catalogue` in blocks ``[R, n + 1]``, to save memory."""
        table = self.item_vectors() if table is None else table
        all_items = torch.arange(len(table), device=states.device)  # [n + 1]
        rows = self.rows_at_a_time(max(_LEAST, PAIRS // len(table)), len(table))
        for block in states.split(rows):  # [R, z]
            yield self.score_vectors(block, all_items, table, adapter)


class Dropout(nn.Module):
    """``nn.Dropout`` at a third of the cost on a CPU, where torch draws one number at a time."""

    def __init__(self, rate: float) -> None:
        super().__init__()
        self.rate = rate

    def forward(self, x: Tensor) -> Tensor:
        """In training, set a share of the numbers to 0 and scale up the others."""
        if not self.training or self.rate == 0:
            return x
        kept = torch.rand_like(x) >= self.rate
        return x * (kept / (1 - self.rate))


def check_backbone(backbone: Backbone, sequences: Sequences) -> None:
    """Try a backbone before training.

    Raises ``ParagonError`` if a method is missing, or if a result has a wrong shape or holds
    numbers that are not finite.
    """

    def check(what: str, value: Tensor, *shapes: tuple[int, ...]) -> None:
        """Raise unless ``value`` has one of the shapes and is finite."""
        if tuple(value.shape) not in shapes:
            wanted = " or ".join(str(list(shape)) for shape in shapes)
            problem = f"has shape {list(value.shape)}, {wanted} is needed"
        elif not torch.isfinite(value).all():
            problem = "holds numbers that are not finite"
        else:
            return
        raise ParagonError(f"backbone {type(backbone).__name__}: `{what}` {problem}")

    backbone.eval()
    valid = sequences.valid[:3]
    dim = backbone.dim
    with torch.no_grad():
        check("item_vectors", backbone.item_vectors(), (sequences.n_items + 1, dim))
        candidates = torch.from_numpy(valid.candidates).to(backbone.device)
        rows, count = candidates.shape
        states = backbone.states_before(sequences, valid.users, valid.positions)
        check("states", states, (rows, dim if backbone.is_dot_product else states.shape[-1]))
        hidden, offset = backbone.expand(states, candidates)
        check("expand: h", hidden, (rows, 1, dim), (rows, count, dim))
        if isinstance(offset, Tensor):
            check("expand: b", offset, (rows, count))
        batches = backbone.training_states(sequences, 1, np.random.default_rng(0))
        drawn, *users_and_targets = next(batches)
        check("training_states: states", drawn, (len(drawn), states.shape[1]))
        for numbers in users_and_targets:
            check("training_states: users, targets", torch.as_tensor(numbers), (len(drawn),))


def mean_of_history(vectors: Tensor, items: Tensor) -> Tensor:
    """Average ``vectors [n + 1, d]`` over histories ``items [B, L]``: ``[B, d]``.

    The mean of an empty history is 0.
    """
    inside = (items > 0).unsqueeze(-1)  # [B, L, 1]
    total = (F.embedding(items, vectors) * inside).sum(1)  # [B, d]
    count = inside.sum(1)  # [B, 1]
    return total / count.clamp(min=1)
