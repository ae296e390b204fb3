"""The interface of a backbone, through which all other code uses a recommender.

Shapes: B contexts with L past events, C candidates, n items, d numbers of an item vector (``dim``),
z numbers of a state (z = d for most backbones), A adapters.
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
PAIRS = 1 << 20  # scores computed at a time: some hundreds of megabytes with `h` for each
_LEAST = 64  # minimum number of states in a block; smaller products are slow
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
        self.dim, self.history = settings.dim, settings.history

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
        """Yield an epoch of batches, by default of 16 x ``batch`` random events with histories."""
        users, positions = sequences.train_events()
        for rows in self.random_batches(len(users), 16 * batch, rng):
            events = users[rows], positions[rows]
            states = self.states(self.context(sequences, *events))
            yield states, users[rows], sequences.targets(*events)

    def random_batches(self, count: int, size: int, rng: Rng) -> Iterable[np.ndarray]:
        """Return the numbers below ``count`` in random order, in batches of ``size``."""
        return np.split(rng.permutation(count), range(size, count, size))

    @property
    def device(self) -> torch.device:
        """The device of the parameters."""
        return next(self.parameters()).device

    def context(self, sequences: Sequences, users: np.ndarray, positions: np.ndarray) -> Context:
        """Return the contexts before the events at (user, position)."""
        parts = (users, *sequences.histories(users, positions, self.history))
        return Context(*(torch.from_numpy(part).to(self.device) for part in parts))

    @torch.no_grad()
    def states_before(self, data: Sequences, users: np.ndarray, positions: np.ndarray) -> Tensor:
        """Compute the states ``[N, z]`` before many events at (user, position), dropout off."""
        self.eval()
        blocks = [slice(i, i + _CONTEXTS) for i in range(0, len(users), _CONTEXTS)]
        contexts = (self.context(data, users[rows], positions[rows]) for rows in blocks)
        return torch.cat([self.states(context) for context in contexts])

    def last_states(self, context: Context) -> Tensor:
        """Compute :meth:`states` to serve them: faster, but other last digits, if overridden."""
        return self.states(context)

    @property
    def is_dot_product(self) -> bool:
        """Whether scores are products of states and item vectors: `expand` is not overridden."""
        return type(self).expand is Backbone.expand

    def rows_at_a_time(self, rows: int, candidates: int, pairs: int = PAIRS) -> int:
        """Return how many states to score at a time; ``rows`` unless ``h`` is per pair."""
        return rows if self.is_dot_product else max(1, pairs // candidates)

    def score(
        self,
        states: Tensor,
        candidates: Tensor,
        adapter: Adapt = _UNCHANGED,
        table: Tensor | None = None,
    ) -> Tensor:
        """Score candidates ``[..., B, C]``, or ``[C]`` shared by all states: ``[..., B, C]``.

        ``states [..., B, z]``; ``adapter`` maps ``h`` from d to d' numbers; ``table [n + 1, d']``:
        the rows it is multiplied with, by default the item vectors.
        """
        # The backward of `embedding` is several times faster than that of indexing on a CPU.
        items = F.embedding(candidates, self.item_vectors() if table is None else table)
        return self.score_vectors(states, candidates, items, adapter)

    def score_vectors(
        self, states: Tensor, candidates: Tensor, items: Tensor, adapter: Adapt
    ) -> Tensor:
        """Score as :meth:`score`, with ``items [C, d']`` or ``[..., B, C, d']``."""
        hidden, offset = self.expand(states, candidates.expand(*states.shape[:-1], -1))
        hidden = adapter(hidden)  # [..., B, 1 or C, d'] or, for A tasks, [..., A, B, 1 or C, d']
        if hidden.shape[-2] > 1:  # a representation of each candidate
            scores = (hidden * items).sum(-1)
        elif items.ndim == 2:  # one list for all states
            scores = matmul(hidden.squeeze(-2), items.mT)  # [..., B, C]
        else:
            scores = (items @ hidden.mT).squeeze(-1)  # [..., B, C]
        if not isinstance(offset, Tensor):
            return scores + offset if offset else scores  # most backbones have none
        return scores + (offset.unsqueeze(-3) if offset.ndim < scores.ndim else offset)

    def score_catalogue(
        self, states: Tensor, adapter: Adapt = _UNCHANGED, table: Tensor | None = None
    ) -> Tensor:
        """Score all items, ``[N, n + 1]``; column 0 is padding. Arguments as in :meth:`score`."""
        return torch.cat(list(self.catalogue_blocks(states, adapter, table)))

    def catalogue_blocks(
        self, states: Tensor, adapter: Adapt = _UNCHANGED, table: Tensor | None = None
    ) -> Iterator[Tensor]:
        """Yield the rows of :meth:`score_catalogue` in blocks ``[R, n + 1]``, to save memory."""
        table = self.item_vectors() if table is None else table
        every = torch.arange(len(table), device=states.device)
        rows = self.rows_at_a_time(max(_LEAST, PAIRS // len(table)), len(table))
        for block in states.split(rows):  # [R, z]
            yield self.score_vectors(block, every, table, adapter)


class Dropout(nn.Module):
    """``nn.Dropout`` at a third of the cost on a CPU, where torch draws one number at a time."""

    def __init__(self, rate: float) -> None:
        super().__init__()
        self.rate = rate

    def forward(self, x: Tensor) -> Tensor:
        """In training, set a share of the numbers to 0 and scale up the others."""
        if not self.training or self.rate == 0:
            return x
        return x * ((torch.rand_like(x) >= self.rate) / (1 - self.rate))


def check_backbone(backbone: Backbone, sequences: Sequences) -> None:
    """Try a backbone before training; ``ParagonError`` for missing methods and wrong results."""

    def check(what: str, value: Tensor, *shapes: tuple[int, ...]) -> None:
        problem = "holds numbers that are not finite"
        if tuple(value.shape) not in shapes:
            wanted = " or ".join(str(list(shape)) for shape in shapes)
            problem = f"has shape {list(value.shape)}, {wanted} is needed"
        elif torch.isfinite(value).all():
            return
        raise ParagonError(f"backbone {type(backbone).__name__}: `{what}` {problem}")

    backbone.eval()
    valid, dim = sequences.valid[:3], backbone.dim
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
        drawn, *others = next(backbone.training_states(sequences, 1, np.random.default_rng(0)))
        check("training_states: states", drawn, (len(drawn), states.shape[1]))
        for numbers in others:
            check("training_states: users, targets", torch.as_tensor(numbers), (len(drawn),))


def mean_of_history(vectors: Tensor, items: Tensor) -> Tensor:
    """Average ``vectors [n + 1, d]`` over histories ``items [B, L]``: ``[B, d]``."""
    inside = (items > 0).unsqueeze(-1)  # [B, L, 1]
    total = (F.embedding(items, vectors) * inside).sum(1)  # [B, d]
    return total / inside.sum(1).clamp(min=1)
