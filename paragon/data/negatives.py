"""Negatives: items that a user never interacted with, drawn uniformly.

Candidate lists of validation and test are drawn once, without replacement, and stored; training
negatives are drawn anew in each step, with replacement, which costs next to nothing.
"""

from __future__ import annotations

import numpy as np
import torch

from paragon.data.sequences import Met, Pairs, Sequences
from paragon.errors import ParagonError

LARGE = 1 << 16  # items from which on candidates are drawn one by one, not from the whole catalogue
_KEYS = 1 << 20  # random keys at a time: of large blocks the system clears every page anew


def check_negatives(rows: np.ndarray, met: Met, count: int, user_ids: list[str]) -> None:
    """Refuse a ``count`` that :func:`draw_candidates` cannot draw for the users ``rows``."""
    # Who has met few things, counted with repeats, has enough left: most need no closer look.
    doubtful = rows[met.n_items - met.count.numpy()[rows] < count]
    free = [int((~met[user : user + 1].mask()).sum()) for user in doubtful]
    if free and (least := min(free)) < count:
        user = user_ids[doubtful[free.index(least)]]
        fix = f"lower it to {least} or less" if least else "leave out users who met every item"
        raise ParagonError(
            f"data.negatives: user {user!r} has only {least} items without an interaction, "
            f"{count} negatives were asked for; {fix}"
        )


def draw_candidates(
    rows: np.ndarray, targets: np.ndarray, met: Met, count: int, rng: np.random.Generator
) -> np.ndarray:
    """Targets ``[N]`` and, behind them, uniform negatives without replacement: ``[N, 1 + count]``.

    ``rows [N]``: the users.  What they ever ``met``, in any split, is never a negative.  From a
    catalogue of more than ``LARGE`` items they are drawn one by one until none was met and none
    repeats: the same distribution, other numbers.
    """
    candidates = np.empty((len(rows), 1 + count), dtype=np.int64)
    candidates[:, 0] = targets
    # Smallest random keys win: exact sampling without replacement, in chunks for memory.
    large = met.n_items > LARGE
    draw, step = (_redrawn, 1 << 14) if large else (_smallest_keys, max(1, _KEYS // met.n_items))
    for start in range(0, len(rows) if count else 0, step):
        users = torch.from_numpy(rows[start : start + step])
        candidates[start : start + step, 1:] = draw(met[users], count, rng)
    return candidates


def _smallest_keys(met: Met, count: int, rng: np.random.Generator) -> np.ndarray:
    """Negatives ``[R, count]`` for R rows of ``met``: a random key for every item."""
    keys = rng.random((len(met), met.n_items + 1), dtype=np.float32)
    keys[met.mask().numpy()] = 2.0
    best = np.argpartition(keys, count - 1, axis=1)[:, :count]
    order = np.argsort(np.take_along_axis(keys, best, 1), axis=1, kind="stable")
    return np.take_along_axis(best, order, 1)


def _redrawn(met: Met, count: int, rng: np.random.Generator) -> np.ndarray:
    """The same in a time that does not grow with the items: what is no negative is drawn again."""
    row, items = met.entries()
    pairs = Pairs(row.numpy(), items.numpy(), met.n_items)
    users = np.repeat(np.arange(len(met))[:, None], count, axis=1)  # [R, count]
    drawn = rng.integers(1, met.n_items + 1, size=users.shape)
    while (wrong := pairs.has(users, drawn) | _repeated(drawn)).any():
        drawn[wrong] = rng.integers(1, met.n_items + 1, size=int(wrong.sum()))
    return drawn


def _repeated(drawn: np.ndarray) -> np.ndarray:
    """Which of the items ``[R, count]`` stand further left in their row, too: bool."""
    order = np.argsort(drawn, axis=1, kind="stable")
    values = np.take_along_axis(drawn, order, 1)
    same = np.zeros(drawn.shape, dtype=bool)
    np.put_along_axis(same, order[:, 1:], values[:, 1:] == values[:, :-1], 1)
    return same


class NegativeSampler:
    """Uniform training negatives among the items that a user's training part lacks."""

    def __init__(self, sequences: Sequences) -> None:
        users = np.repeat(np.arange(sequences.n_users), sequences.lengths)  # [E]
        # Who met everything has no true negative, and counts as having met nothing.
        counts = sequences.met_in_training().count.numpy() > 0  # [U]
        counted = sequences.is_train() & counts[users]
        self.met = Pairs(users[counted], sequences.items[counted], sequences.n_items)

    def draw(self, users: np.ndarray, count: int, rng: np.random.Generator) -> np.ndarray:
        """``count`` items, with replacement, for each of ``users [...]``: ``[..., count]``."""
        n_items, shape = self.met.n_items, (*users.shape, count)
        users = np.broadcast_to(users[..., None], shape).reshape(-1)
        items = rng.integers(1, n_items + 1, size=users.shape)
        left = np.flatnonzero(self.met.has(users, items))  # what has to be drawn again
        while left.size:
            items[left] = rng.integers(1, n_items + 1, size=left.size)
            left = left[self.met.has(users[left], items[left])]
        return items.reshape(shape)
