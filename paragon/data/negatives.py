"""Negatives: items that a user never interacted with, drawn uniformly.

Two draws for two purposes: candidate lists of validation and test are drawn
once, without replacement, and stored; training negatives are drawn anew in
every step, with replacement, which costs next to nothing.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from paragon.errors import ParagonError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from paragon.data.sequences import Sequences


def check_negatives(
    rows: np.ndarray,
    users: np.ndarray,
    items: np.ndarray,
    n_items: int,
    count: int,
    user_ids: Sequence[str],
) -> None:
    """Refuse a ``count`` that :func:`draw_negatives` cannot draw for each of the users ``rows``."""
    free = n_items - _seen(users, items, n_items)[:, 1:].sum(1)
    worst = rows[np.argmin(free[rows])]
    if free[worst] >= count:
        return
    remedy = (
        f"lower data.negatives in params.yaml to {free[worst]} or less (for this dataset "
        "alone under `special`)"
        if free[worst]
        else "there is nothing to rank for a user who met every item; leave such users out"
    )
    raise ParagonError(
        f"data.negatives: user {user_ids[worst]!r} has only {free[worst]} items without an "
        f"interaction, {count} negatives were asked for; {remedy}"
    )


def _seen(users: np.ndarray, items: np.ndarray, n_items: int) -> np.ndarray:
    """What each user interacted with, ``[U, n_items + 1]`` bool; padding counts as met."""
    seen = np.zeros((users.max() + 1, n_items + 1), dtype=bool)
    seen[users, items] = True
    seen[:, 0] = True
    return seen


def draw_negatives(
    rows: np.ndarray,
    users: np.ndarray,
    items: np.ndarray,
    n_items: int,
    count: int,
    rng: np.random.Generator,
) -> np.ndarray:
    """Uniform negatives without replacement for each row's user, ``[len(rows), count]``.

    ``users [E]``, ``items [E]`` are all interactions: what a user ever touched,
    in any split, is never a negative.  :func:`check_negatives` says whether
    there are enough.
    """
    if count == 0:
        return np.empty((len(rows), 0), dtype=np.int64)
    seen = _seen(users, items, n_items)
    # Smallest random keys win: exact sampling without replacement, in chunks for memory.
    out = np.empty((len(rows), count), dtype=np.int64)
    for start in range(0, len(rows), 512):
        chunk = rows[start : start + 512]
        keys = rng.random((len(chunk), n_items + 1), dtype=np.float32)
        keys[seen[chunk]] = 2.0
        best = np.argpartition(keys, count - 1, axis=1)[:, :count]
        order = np.argsort(np.take_along_axis(keys, best, 1), axis=1, kind="stable")
        out[start : start + 512] = np.take_along_axis(best, order, 1)
    return out


class NegativeSampler:
    """Uniform training negatives among the items that a user's training part lacks."""

    def __init__(self, sequences: Sequences) -> None:
        train = sequences.is_train()
        users = np.repeat(np.arange(sequences.n_users), sequences.lengths)
        self.seen = np.zeros((sequences.n_users, sequences.n_items + 1), dtype=bool)
        self.seen[users[train], sequences.items[train]] = True
        self.seen[self.seen[:, 1:].all(1)] = False  # who met everything has no true negative

    def draw(self, users: np.ndarray, count: int, rng: np.random.Generator) -> np.ndarray:
        """``count`` items, with replacement, for each of ``users [...]``: ``[..., count]``."""
        n_items = self.seen.shape[1] - 1
        users = np.broadcast_to(users[..., None], (*users.shape, count))
        items = rng.integers(1, n_items + 1, size=users.shape)
        while (met := self.seen[users, items]).any():
            items[met] = rng.integers(1, n_items + 1, size=int(met.sum()))
        return items
