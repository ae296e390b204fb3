"""Store a prepared dataset: each user's events in order of time, and the split.

Items are numbered 1..n in the order of the catalogue; 0 is padding.  Users are numbered 0..U-1 in
the order in which they first appear.  Events at the same time keep the order of the file.  Shapes:
E events, U users, N evaluation events, M categories.
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
    """The items that each of R rows (users or events) has met: slices of one long list.

    Padding (item 0) counts as met in every row.
    """

    items: Tensor  # [E]; row r has met items[start[r] : start[r] + count[r]]
    start: Tensor  # [R]
    count: Tensor  # [R]
    n_items: int
    free: Tensor | None = None  # [R], one item per row that counts as not met, such as a target

    @classmethod
    def of(
        cls,
        n_items: int,
        items: np.ndarray,
        start: np.ndarray,
        count: np.ndarray,
        free: np.ndarray | None = None,
    ) -> "Met":
        """Build from NumPy arrays, which have the meaning of the fields."""
        return cls(
            items=torch.from_numpy(items),
            start=torch.from_numpy(start),
            count=torch.from_numpy(count),
            n_items=n_items,
            free=None if free is None else torch.from_numpy(free),
        )

    def __len__(self) -> int:
        return len(self.start)

    def to(self, device: str | torch.device) -> "Met":
        """Copy to a device."""
        return replace(
            self,
            items=self.items.to(device),
            start=self.start.to(device),
            count=self.count.to(device),
            free=None if self.free is None else self.free.to(device),
        )

    def __getitem__(self, rows: slice | Tensor) -> "Met":
        free = None if self.free is None else self.free[rows]
        return replace(self, start=self.start[rows], count=self.count[rows], free=free)

    def entries(self) -> tuple[Tensor, Tensor]:
        """Return the row and the item of each entry, ``[sum of count]`` each.

        An item that a row has met twice has two entries.
        """
        rows = torch.arange(len(self), device=self.start.device)
        row = rows.repeat_interleave(self.count)  # [entries]
        before = self.count.cumsum(0) - self.count  # [R], entries of the rows above
        shift = self.start - before  # [R], from the place of an entry to its place in `items`
        place = torch.arange(len(row), device=row.device) + shift[row]  # [entries]
        return row, self.items[place]

    def total(self, features: Tensor) -> Tensor:
        """Add up ``features [n_items + 1, M]`` over the entries of each row: ``[R, M]``."""
        row, item = self.entries()
        total = features.new_zeros(len(self), features.shape[1])
        return total.index_add_(0, row, features[item])

    def mask(self) -> Tensor:
        """Mark what was met: bool ``[R, n_items + 1]``.

        It takes much memory: use it on few rows at a time.
        """
        device = self.start.device
        mask = torch.zeros(len(self), self.n_items + 1, dtype=torch.bool, device=device)
        mask[self.entries()] = True
        mask[:, 0] = True
        if self.free is not None:
            mask[torch.arange(len(self), device=device), self.free] = False
        return mask


class Pairs:
    """A set of (user, item) pairs, to test quickly whether a pair occurs.

    ``keys``: one number per pair, user x (n_items + 1) + item, sorted.
    """

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
        """Return the places of keys in the hash table."""
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
        """Return a slice of at most ``EVENTS`` events, evenly spaced."""
        step = -(-len(self) // EVENTS)  # rounded up
        return slice(None, None, step)


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
        """Return user and position of every training event that has a history, ``[N]`` each.

        The first event of a user has the position 0; it has no history.
        """
        counts = np.maximum(self.n_train - 1, 0)  # [U]
        users = np.repeat(np.arange(self.n_users), counts)
        before = np.repeat(np.cumsum(counts) - counts, counts)  # such events of earlier users
        positions = np.arange(counts.sum()) - before + 1
        return users, positions

    def targets(self, users: np.ndarray, positions: np.ndarray) -> np.ndarray:
        """Return the items at (user, position), ``[N]``."""
        return self.items[self.offsets[users] + positions]

    def histories(
        self, users: np.ndarray, positions: np.ndarray, length: int
    ) -> tuple[np.ndarray, np.ndarray]:
        """Return the last ``length`` items and their times before each (user, position).

        Both are ``[N, length]``, oldest first; shorter histories end with zeros.
        """
        start = np.maximum(positions - length, 0)  # [N]
        steps = start[:, None] + np.arange(length)  # [N, length]
        inside = steps < positions[:, None]
        index = np.where(inside, self.offsets[users][:, None] + steps, 0)
        items = np.where(inside, self.items[index], 0)
        times = np.where(inside, self.times[index], 0)
        return items, times

    def excluded(self, evaluation: Evaluation) -> np.ndarray:
        """Mark what may not be recommended for N events: bool ``[N, n_items + 1]``.

        This is padding and what the user has met before, but never the target.
        """
        return self.met_before(evaluation).mask().numpy()

    def met_before(self, evaluation: Evaluation) -> Met:
        """Return :meth:`excluded` in compact form, with one row per event."""
        return Met.of(
            self.n_items,
            items=self.items,
            start=self.offsets[evaluation.users],
            count=evaluation.positions,
            free=evaluation.targets,
        )

    def met_in_training(self) -> Met:
        """Return the training items of each user, a row per user.

        A user whose training items are the whole catalogue has none here.
        """
        counts = self.n_train.copy()
        for user in np.flatnonzero(counts >= self.n_items):
            start = self.offsets[user]
            trained = self.items[start : start + counts[user]]
            if len(np.unique(trained)) == self.n_items:
                counts[user] = 0
        return Met.of(self.n_items, items=self.items, start=self.offsets[:-1], count=counts)

    def is_train(self) -> np.ndarray:
        """Mark the training events, bool ``[E]``."""
        position = np.arange(len(self.items)) - np.repeat(self.offsets[:-1], self.lengths)
        return position < np.repeat(self.n_train, self.lengths)

    def train_pairs(self) -> tuple[np.ndarray, np.ndarray]:
        """Return user and item of every training event, ``[N]`` each."""
        users = np.repeat(np.arange(self.n_users), self.n_train)
        return users, self.items[self.is_train()]

    def popularity(self) -> np.ndarray:
        """Count the training events of each item, ``[n_items + 1]``; row 0 is 0."""
        return np.bincount(self.items[self.is_train()], minlength=self.n_items + 1)

    def recency(self) -> np.ndarray:
        """Rank items by the mean time of their training events: ``[n_items + 1]``.

        The oldest has the rank 0, the newest 1.  Items without a training event count as the
        oldest; row 0 (padding) is 0.
        """
        train = self.is_train()  # [E]
        since_first = (
            self.times[train] - self.times.min() + 1.0
        )  # seconds since the first event + 1
        total = np.bincount(self.items[train], since_first, self.n_items + 1)
        mean = total / np.maximum(self.popularity(), 1)
        rank = rankdata(mean[1:]) - 1
        return np.append(0.0, rank / max(self.n_items - 1, 1))


def save_sequences(sequences: Sequences, folder: Path) -> None:
    """Write ``sequences.safetensors`` (arrays) and ``sequences.json`` (names, description)."""
    values = dict(vars(sequences))
    for split in ("valid", "test"):
        evaluation = values.pop(split)
        values |= {f"{split}.{name}": array for name, array in vars(evaluation).items()}
    arrays = [name for name, value in values.items() if isinstance(value, np.ndarray)]
    tensors = {name: torch.from_numpy(values.pop(name)) for name in arrays}
    save_tensors(folder / "sequences", tensors, description=values)


def load_sequences(folder: Path) -> Sequences:
    """Read what :func:`save_sequences` wrote; raise ``ParagonError`` if missing or altered."""
    with loading(folder / "sequences", "data") as (tensors, description):
        values: dict[str, Any] = {name: tensor.numpy() for name, tensor in tensors.items()}
        names = [field.name for field in fields(Evaluation)]
        for split in ("valid", "test"):
            arrays = {name: values.pop(f"{split}.{name}") for name in names}
            values[split] = Evaluation(**arrays)
        del description["sha256"]
        return Sequences(**values, **description)
