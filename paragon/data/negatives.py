"""Draw negatives: items that a user never interacted with, uniformly at random."""

import numpy as np
import torch

from paragon.data.sequences import Met, Pairs, Sequences
from paragon.errors import ParagonError

LARGE = 1 << 16  # more items than this: rejection instead of keys for the whole catalogue
_KEYS = 1 << 20  # random keys at a time; the system clears every page of larger blocks anew


def check_negatives(rows: np.ndarray, met: Met, count: int, user_ids: list[str]) -> None:
    """Raise ``ParagonError`` if one of the users ``rows`` has fewer than ``count`` negatives."""
    # Counts include repeats, so only users who may lack negatives need an exact count.
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
    """Return targets, then distinct items never ``met`` by users ``rows``: ``[N, 1 + count]``."""
    candidates = np.empty((len(rows), 1 + count), dtype=np.int64)
    candidates[:, 0] = targets
    # In chunks, to save memory.
    large = met.n_items > LARGE
    draw, step = (_redrawn, 1 << 14) if large else (_smallest_keys, max(1, _KEYS // met.n_items))
    for start in range(0, len(rows) if count else 0, step):
        users = torch.from_numpy(rows[start : start + step])
        candidates[start : start + step, 1:] = draw(met[users], count, rng)
    return candidates


def _smallest_keys(met: Met, count: int, rng: np.random.Generator) -> np.ndarray:
    """Draw ``[R, count]`` for R rows of ``met``: the items with the smallest random keys."""
    keys = rng.random((len(met), met.n_items + 1), dtype=np.float32)
    keys[met.mask().numpy()] = 2.0
    best = np.argpartition(keys, count - 1, axis=1)[:, :count]
    order = np.argsort(np.take_along_axis(keys, best, 1), axis=1, kind="stable")
    return np.take_along_axis(best, order, 1)


def _redrawn(met: Met, count: int, rng: np.random.Generator) -> np.ndarray:
    """Draw ``[R, count]`` by rejection, in a time that does not grow with the number of items."""
    row, items = met.entries()
    pairs = Pairs(row.numpy(), items.numpy(), met.n_items)
    users = np.repeat(np.arange(len(met))[:, None], count, axis=1)  # [R, count]
    drawn = rng.integers(1, met.n_items + 1, size=users.shape)
    while (wrong := pairs.has(users, drawn) | _repeated(drawn)).any():
        drawn[wrong] = rng.integers(1, met.n_items + 1, size=int(wrong.sum()))
    return drawn


def _repeated(drawn: np.ndarray) -> np.ndarray:
    """Mark items ``[R, count]`` that also occur further left in their row."""
    order = np.argsort(drawn, axis=1, kind="stable")
    values = np.take_along_axis(drawn, order, 1)
    same = np.zeros(drawn.shape, dtype=bool)
    np.put_along_axis(same, order[:, 1:], values[:, 1:] == values[:, :-1], 1)
    return same


class NegativeSampler:
    """Draw training negatives uniformly from items outside a user's training events."""

    def __init__(self, sequences: Sequences) -> None:
        users, items = sequences.train_pairs()  # [N] each
        # Users who met every item have no negatives: treat them as if they had met none.
        counted = sequences.met_in_training().count.numpy()[users] > 0  # [N]
        self.met = Pairs(users[counted], items[counted], sequences.n_items)

    def draw(self, users: np.ndarray, count: int, rng: np.random.Generator) -> np.ndarray:
        """Draw ``count`` items with replacement for each of ``users [...]``: ``[..., count]``."""
        n_items, shape = self.met.n_items, (*users.shape, count)
        users = np.broadcast_to(users[..., None], shape).reshape(-1)
        items = rng.integers(1, n_items + 1, size=users.shape)
        left = np.flatnonzero(self.met.has(users, items))
        while left.size:
            items[left] = rng.integers(1, n_items + 1, size=left.size)
            left = left[self.met.has(users[left], items[left])]
        return items.reshape(shape)
