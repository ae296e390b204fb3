"""What users have met, in memory that grows with the events and not with users x items.

A table of a million users and a million items would have 10^12 cells.  Who met what has as many
entries as there are events; a table is made of a few rows at a time.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

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
        every = torch.arange(len(self), device=self.start.device)
        row = every.repeat_interleave(self.count)
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
        # Most pairs that are asked for do not occur.  A table of 16 or more places a pair, at
        # which keys are noted by a hash, tells that of nearly all of them without a search.
        bits = max(4, int(16 * len(self.keys)).bit_length())
        self._shift = np.uint64(64 - bits)
        self._noted = np.zeros(1 << bits, dtype=bool)
        self._noted[self._place(self.keys)] = True

    def _place(self, keys: np.ndarray) -> np.ndarray:
        return (keys.astype(np.uint64) * _GOLDEN) >> self._shift

    def has(self, users: np.ndarray, items: np.ndarray) -> np.ndarray:
        """Which pairs of ``users [...]`` and ``items [...]`` occur, bool ``[...]``."""
        keys = users * np.int64(self.n_items + 1) + items
        found = self._noted[self._place(keys)]
        asked = keys[found]
        place = np.searchsorted(self.keys, asked)  # a key beyond the last is not noted
        found[found] = self.keys[np.minimum(place, len(self.keys) - 1)] == asked
        return found
