"""Sequences of events: what every later stage reads of a dataset.

Items get internal ids 1..n in catalogue order; 0 is padding.  Users get ids 0..U-1 in the order
of their first appearance.  A user's events are sorted by time, *stably*: events of the same second
keep the order of the file.  That tie rule decides what the last event of a user is (76 % of
MovieLens-100K's events share their second with another of the same user), so it belongs to the
protocol.

What a user has met is a piece of one long list: a table of a million users and a million items
would have 10^12 cells, so one is made of a few rows at a time.
"""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from paragon.storage import loading, save_tensors

_GOLDEN = np.uint64(0x9E3779B97F4A7C15)  # 2^64 over the golden ratio: spreads keys evenly


@dataclass(frozen=True)
class Met:
    """What each of R rows (users, or events) has met: a piece of one long list of items.

    Row r met ``items[start[r] : start[r] + count[r]]``, of ``items [E]``, with repeats; ``start
    [R]``, ``count [R]``.  Padding counts as met.  ``free [R]``, if it is given, is an item of each
    row that does not count, the target of an event.
    """

    items: Tensor
    start: Tensor
    count: Tensor
    n_items: int
    free: Tensor | None = None

    @classmethod
    def of(
        cls,
        items: np.ndarray,
        start: np.ndarray,
        count: np.ndarray,
        n_items: int,
        free: np.ndarray | None = None,
    ) -> Met:
        """The same from NumPy's arrays."""
        parts = torch.from_numpy(items), torch.from_numpy(start), torch.from_numpy(count)
        return cls(*parts, n_items, None if free is None else torch.from_numpy(free))

    def __len__(self) -> int:
        return len(self.start)

    def to(self, device: str | torch.device) -> Met:
        """The same on another device."""
        free = self.free if self.free is None else self.free.to(device)
        parts = self.items.to(device), self.start.to(device), self.count.to(device)
        return Met(*parts, self.n_items, free)

    def __getitem__(self, rows: slice | Tensor) -> Met:
        free = self.free if self.free is None else self.free[rows]
        return replace(self, start=self.start[rows], count=self.count[rows], free=free)

    def entries(self) -> tuple[Tensor, Tensor]:
        """Row and item of everything that was met, ``[sum of count]`` each, with repeats."""
        rows = torch.arange(len(self), device=self.start.device)
        row = rows.repeat_interleave(self.count)
        first = self.start - (self.count.cumsum(0) - self.count)  # [R]
        return row, self.items[torch.arange(len(row), device=row.device) + first[row]]

    def mask(self) -> Tensor:
        """``[R, n_items + 1]`` bool, true where an item was met: for a few rows at a time."""
        device = self.start.device
        mask = torch.zeros(len(self), self.n_items + 1, dtype=torch.bool, device=device)
        mask[self.entries()] = True
        mask[:, 0] = True
        if self.free is not None:
            mask[torch.arange(len(self), device=device), self.free] = False
        return mask


class Pairs:
    """The set of the pairs (user, item) that occur.

    ``keys``: user x (n_items + 1) + item of each pair, sorted, as int64.
    """

    def __init__(self, users: np.ndarray, items: np.ndarray, n_items: int) -> None:
        self.n_items = n_items
        self.keys = np.unique(users * np.int64(n_items + 1) + items)
        # Most pairs that are asked for do not occur.  A table with 16 or more cells a pair, in
        # which keys are noted by a hash, tells that of nearly all of them without a search.
        bits = max(4, int(16 * len(self.keys)).bit_length())
        self._shift = np.uint64(64 - bits)
        self._noted = np.zeros(1 << bits, dtype=bool)
        self._noted[self._hash(self.keys)] = True

    def _hash(self, keys: np.ndarray) -> np.ndarray:
        return (keys.astype(np.uint64) * _GOLDEN) >> self._shift

    def has(self, users: np.ndarray, items: np.ndarray) -> np.ndarray:
        """Which pairs of ``users [...]`` and ``items [...]`` occur, bool ``[...]``."""
        keys = users * np.int64(self.n_items + 1) + items
        occurs = self._noted[self._hash(keys)]
        noted = keys[occurs]
        place = np.searchsorted(self.keys, noted)  # a key beyond the last is not noted
        occurs[occurs] = self.keys[np.minimum(place, len(self.keys) - 1)] == noted
        return occurs


@dataclass(frozen=True)
class Evaluation:
    """The events of a validation or test set, with their sampled candidates.

    ``users [N]``; ``positions [N]``: index of the target in the user's sequence, so that the
    history is everything before it; ``candidates [N, 1 + negatives]``: items, the target first.
    """

    users: np.ndarray
    positions: np.ndarray
    candidates: np.ndarray

    def __len__(self) -> int:
        return len(self.users)

    def __getitem__(self, rows: slice) -> Evaluation:
        return Evaluation(self.users[rows], self.positions[rows], self.candidates[rows])

    @property
    def targets(self) -> np.ndarray:
        """Item id of each event's target, ``[N]``."""
        return self.candidates[:, 0]


@dataclass(frozen=True)
class Sequences:
    """A dataset, split: what every later stage reads.

    ``items``, ``times`` ``[E]`` hold the users' sequences one after another (user ``u`` owns
    ``offsets[u]:offsets[u+1]``), of which the first ``n_train[u]`` events are for training.
    ``categories [n_items + 1, M]`` is the multi-hot category matrix, row 0 (padding) all false.
    ``groups [U]`` indexes ``group_names``, -1 where the group is unknown.
    """

    items: np.ndarray
    times: np.ndarray
    offsets: np.ndarray
    n_train: np.ndarray
    categories: np.ndarray
    groups: np.ndarray
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
        """Number of items of the catalogue, padding not counted."""
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
        """``valid`` or ``test``."""
        return {"valid": self.valid, "test": self.test}[name]

    def train_events(self) -> tuple[np.ndarray, np.ndarray]:
        """(user, position) of every training event that has a history before it."""
        counts = np.maximum(self.n_train - 1, 0)
        users = np.repeat(np.arange(self.n_users), counts)
        positions = np.arange(counts.sum()) - np.repeat(np.cumsum(counts) - counts, counts) + 1
        return users, positions

    def targets(self, users: np.ndarray, positions: np.ndarray) -> np.ndarray:
        """Item ids at (user, position), ``[N]``."""
        return self.items[self.offsets[users] + positions]

    def histories(
        self, users: np.ndarray, positions: np.ndarray, length: int
    ) -> tuple[np.ndarray, np.ndarray]:
        """Items and times ``[N, length]`` of the last events before each (user, position).

        Left-aligned: the oldest event first, zeros (padding) after the newest.  A causal model
        therefore needs no padding mask.
        """
        start = np.maximum(positions - length, 0)
        steps = start[:, None] + np.arange(length)
        inside = steps < positions[:, None]
        index = np.where(inside, self.offsets[users][:, None] + steps, 0)
        return np.where(inside, self.items[index], 0), np.where(inside, self.times[index], 0)

    def excluded(self, evaluation: Evaluation) -> np.ndarray:
        """Items that the full-catalogue protocol leaves out, ``[N, n_items + 1]`` bool.

        Everything the user met before the target (training and validation items) and padding;
        never the target itself.
        """
        return self.met_before(evaluation).mask().numpy()

    def met_before(self, evaluation: Evaluation) -> Met:
        """What :meth:`excluded` says, without the table: a row for each event."""
        start, free = self.offsets[evaluation.users], evaluation.targets
        return Met.of(self.items, start, evaluation.positions, self.n_items, free)

    def met_in_training(self) -> Met:
        """What each user met in training; nothing for a user who met the whole catalogue."""
        counts = self.n_train.copy()
        for user in np.flatnonzero(counts >= self.n_items):
            start = self.offsets[user]
            if len(np.unique(self.items[start : start + counts[user]])) == self.n_items:
                counts[user] = 0
        return Met.of(self.items, self.offsets[:-1], counts, self.n_items)

    def is_train(self) -> np.ndarray:
        """Which of the ``[E]`` events belong to training."""
        position = np.arange(len(self.items)) - np.repeat(self.offsets[:-1], self.lengths)
        return position < np.repeat(self.n_train, self.lengths)

    def popularity(self) -> np.ndarray:
        """Number of training events of each item, ``[n_items + 1]``; row 0 is 0."""
        return np.bincount(self.items[self.is_train()], minlength=self.n_items + 1)


_EVENTS = [field.name for field in fields(Evaluation)]
_PARTS = ("valid", "test")


def save_sequences(sequences: Sequences, folder: Path) -> None:
    """Write ``sequences.safetensors`` (arrays) and ``sequences.json`` (names, description)."""
    content = {name: value for name, value in vars(sequences).items() if name not in _PARTS}
    for part in _PARTS:
        content |= {f"{part}.{name}": a for name, a in vars(sequences.evaluation(part)).items()}
    arrays = {name: value for name, value in content.items() if isinstance(value, np.ndarray)}
    tensors = {name: torch.from_numpy(array) for name, array in arrays.items()}
    names = {name: value for name, value in content.items() if name not in arrays}
    save_tensors(folder / "sequences", tensors, names)


def load_sequences(folder: Path) -> Sequences:
    """Read what :func:`save_sequences` wrote.

    Raises ``ParagonError``, with the stage to run, for a missing or altered file.
    """
    with loading(folder / "sequences", "data") as (tensors, about):
        arrays = {name: tensor.numpy() for name, tensor in tensors.items()}
        parts = {p: Evaluation(*(arrays.pop(f"{p}.{name}") for name in _EVENTS)) for p in _PARTS}
        known: dict[str, Any] = arrays | parts
        names = {f.name: about[f.name] for f in fields(Sequences) if f.name not in known}
        return Sequences(**known, **names)
