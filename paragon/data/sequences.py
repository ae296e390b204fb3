"""Store a prepared dataset: each user's events in order of time, and the split.

Items are numbered 1..n in catalogue order, 0 is padding; users 0..U-1 by first appearance. Events
of equal times keep the order of the file.
"""

from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from scipy.stats import rankdata
from torch import Tensor

from paragon.storage import loading, save_tensors

EVENTS = 2000  # at most, on which settings are chosen
_GOLDEN = np.uint64(0x9E3779B97F4A7C15)  # 2^64 / golden ratio: spreads keys evenly


@dataclass(frozen=True)
class Met:
    """The items each of R rows (users or events) has met, beside padding, as slices of one list."""

    items: Tensor  # [E]; row r met items[start[r] : start[r] + count[r]]
    start: Tensor  # [R]
    count: Tensor  # [R]
    n_items: int
    free: Tensor | None = None  # [R], one item per row that does not count, such as a target

    @classmethod
    def of(cls, n_items: int, *arrays: np.ndarray) -> "Met":
        """Build from NumPy arrays: ``items``, ``start``, ``count`` and perhaps ``free``."""
        items, start, count, *free = map(torch.from_numpy, arrays)
        return cls(items, start, count, n_items, *free)

    def __len__(self) -> int:
        return len(self.start)

    def to(self, device: str | torch.device) -> "Met":
        """Copy to a device."""
        there = vars(self).items()
        tensors: dict[str, Any] = {n: v.to(device) for n, v in there if isinstance(v, Tensor)}
        return replace(self, **tensors)

    def __getitem__(self, rows: slice | Tensor) -> "Met":
        free = self.free if self.free is None else self.free[rows]
        return replace(self, start=self.start[rows], count=self.count[rows], free=free)

    def entries(self) -> tuple[Tensor, Tensor]:
        """Return row and item of each entry, ``[sum of count]`` each, with repeats."""
        rows = torch.arange(len(self), device=self.start.device)
        row = rows.repeat_interleave(self.count)
        first = self.start - (self.count.cumsum(0) - self.count)  # [R]
        return row, self.items[torch.arange(len(row), device=row.device) + first[row]]

    def total(self, features: Tensor) -> Tensor:
        """Add up ``features [n_items + 1, M]`` over the entries of each row, ``[R, M]``."""
        row, item = self.entries()
        total = features.new_zeros(len(self), features.shape[1])
        return total.index_add_(0, row, features[item])

    def mask(self) -> Tensor:
        """Return ``[R, n_items + 1]`` bool, true where an item was met; use it on few rows."""
        device = self.start.device
        mask = torch.zeros(len(self), self.n_items + 1, dtype=torch.bool, device=device)
        mask[self.entries()] = True
        mask[:, 0] = True
        if self.free is not None:
            mask[torch.arange(len(self), device=device), self.free] = False
        return mask


class Pairs:
    """The set of (user, item) pairs that occur; ``keys``: user x (n_items + 1) + item, sorted."""

    def __init__(self, users: np.ndarray, items: np.ndarray, n_items: int) -> None:
        self.n_items = n_items
        self.keys = np.unique(users * np.int64(n_items + 1) + items)
        # Most pairs tested do not occur.  A hash table of booleans, at least 16 per pair,
        # rejects nearly all of them without a search.
        bits = max(4, int(16 * len(self.keys)).bit_length())
        self._shift = np.uint64(64 - bits)
        self._noted = np.zeros(1 << bits, dtype=bool)
        self._noted[self._hash(self.keys)] = True

    def _hash(self, keys: np.ndarray) -> np.ndarray:
        return (keys.astype(np.uint64) * _GOLDEN) >> self._shift

    def has(self, users: np.ndarray, items: np.ndarray) -> np.ndarray:
        """Test which pairs of ``users [...]`` and ``items [...]`` occur: bool ``[...]``."""
        keys = users * np.int64(self.n_items + 1) + items
        occurs = self._noted[self._hash(keys)]
        noted = keys[occurs]
        place = np.searchsorted(self.keys, noted)  # len(keys) for a key beyond the last
        occurs[occurs] = self.keys[np.minimum(place, len(self.keys) - 1)] == noted
        return occurs


@dataclass(frozen=True)
class Evaluation:
    """The events of a validation or test set, with their sampled candidates."""

    users: np.ndarray  # [N]
    positions: np.ndarray  # [N], of the target in the user's sequence, after the history
    candidates: np.ndarray  # [N, 1 + negatives], items, the target first

    def __len__(self) -> int:
        return len(self.users)

    def __getitem__(self, rows: slice) -> "Evaluation":
        return Evaluation(self.users[rows], self.positions[rows], self.candidates[rows])

    @property
    def targets(self) -> np.ndarray:
        """The target item of each event, ``[N]``."""
        return self.candidates[:, 0]

    def sample_rows(self) -> slice:
        """Return the slice of up to ``EVENTS`` events, evenly spaced."""
        return slice(None, None, -(-len(self) // EVENTS))


@dataclass(frozen=True)
class Sequences:
    """A dataset, prepared and split."""

    items: np.ndarray  # [E], one user after another
    times: np.ndarray  # [E]
    offsets: np.ndarray  # [U + 1]; user u has the events offsets[u] : offsets[u + 1]
    n_train: np.ndarray  # [U], how many of them, from the first on, are for training
    categories: np.ndarray  # [n_items + 1, M], multi-hot; row 0 (padding) is all false
    groups: np.ndarray  # [U], index into `group_names`, or -1
    valid: Evaluation
    test: Evaluation
    item_ids: list[str]
    titles: list[str]
    user_ids: list[str]
    category_names: list[str]
    group_names: list[str]
    description: dict

    @property
    def n_items(self) -> int:
        """Number of items, without padding."""
        return len(self.item_ids)

    @property
    def n_users(self) -> int:
        """Number of users."""
        return len(self.user_ids)

    @property
    def lengths(self) -> np.ndarray:
        """Number of events of each user, ``[U]``."""
        return np.diff(self.offsets)

    def evaluation(self, name: str) -> Evaluation:
        """Return the part ``valid`` or ``test``."""
        return {"valid": self.valid, "test": self.test}[name]

    def train_events(self) -> tuple[np.ndarray, np.ndarray]:
        """Return (user, position) of every training event with a history."""
        counts = np.maximum(self.n_train - 1, 0)
        users = np.repeat(np.arange(self.n_users), counts)
        positions = np.arange(counts.sum()) - np.repeat(np.cumsum(counts) - counts, counts) + 1
        return users, positions

    def targets(self, users: np.ndarray, positions: np.ndarray) -> np.ndarray:
        """Return the items at (user, position), ``[N]``."""
        return self.items[self.offsets[users] + positions]

    def histories(
        self, users: np.ndarray, positions: np.ndarray, length: int
    ) -> tuple[np.ndarray, np.ndarray]:
        """Return items and times ``[N, length]`` before each position, 0 at the right."""
        start = np.maximum(positions - length, 0)
        steps = start[:, None] + np.arange(length)
        inside = steps < positions[:, None]
        index = np.where(inside, self.offsets[users][:, None] + steps, 0)
        return np.where(inside, self.items[index], 0), np.where(inside, self.times[index], 0)

    def excluded(self, evaluation: Evaluation) -> np.ndarray:
        """Mark padding and items met before, but not the target: ``[N, n_items + 1]`` bool."""
        return self.met_before(evaluation).mask().numpy()

    def met_before(self, evaluation: Evaluation) -> Met:
        """Return :meth:`excluded` in compact form, with one row per event."""
        start, free = self.offsets[evaluation.users], evaluation.targets
        return Met.of(self.n_items, self.items, start, evaluation.positions, free)

    def met_in_training(self) -> Met:
        """Return each user's training items; none if they are the whole catalogue."""
        counts = self.n_train.copy()
        for user in np.flatnonzero(counts >= self.n_items):
            if len(np.unique(self.items[self.offsets[user] :][: counts[user]])) == self.n_items:
                counts[user] = 0
        return Met.of(self.n_items, self.items, self.offsets[:-1], counts)

    def is_train(self) -> np.ndarray:
        """Mark the training events, bool ``[E]``."""
        position = np.arange(len(self.items)) - np.repeat(self.offsets[:-1], self.lengths)
        return position < np.repeat(self.n_train, self.lengths)

    def train_pairs(self) -> tuple[np.ndarray, np.ndarray]:
        """Return user and item of every training event, ``[N]`` each."""
        return np.repeat(np.arange(self.n_users), self.n_train), self.items[self.is_train()]

    def popularity(self) -> np.ndarray:
        """Count the training events of each item, ``[n_items + 1]``; row 0 is 0."""
        return np.bincount(self.items[self.is_train()], minlength=self.n_items + 1)

    def recency(self) -> np.ndarray:
        """Rank items by the mean time of their training events, 0 (oldest) .. 1: ``[n_items + 1]``.

        Items without a training event count as the oldest; row 0 is 0.
        """
        items, times = (part[self.is_train()] for part in (self.items, self.times))
        total = np.bincount(items, times - self.times.min() + 1.0, self.n_items + 1)
        rank = rankdata((total / np.maximum(self.popularity(), 1))[1:]) - 1
        return np.append(0.0, rank / max(self.n_items - 1, 1))


def save_sequences(sequences: Sequences, folder: Path) -> None:
    """Write ``sequences.safetensors`` (arrays) and ``sequences.json`` (names, description)."""
    about = dict(vars(sequences))
    for part in ("valid", "test"):
        about |= {f"{part}.{name}": array for name, array in vars(about.pop(part)).items()}
    arrays = [name for name, value in about.items() if isinstance(value, np.ndarray)]
    tensors = {name: torch.from_numpy(about.pop(name)) for name in arrays}
    save_tensors(folder / "sequences", tensors, about)


def load_sequences(folder: Path) -> Sequences:
    """Read what :func:`save_sequences` wrote; raise ``ParagonError`` if missing or altered."""
    with loading(folder / "sequences", "data") as (tensors, about):
        arrays: dict[str, Any] = {name: tensor.numpy() for name, tensor in tensors.items()}
        for part in ("valid", "test"):
            columns = (arrays.pop(f"{part}.{field.name}") for field in fields(Evaluation))
            arrays[part] = Evaluation(*columns)
        del about["sha256"]
        return Sequences(**arrays, **about)
