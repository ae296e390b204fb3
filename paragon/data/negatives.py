"""Draw negatives: items that a user never interacted with, uniformly at random."""

import numpy as np
import torch

from paragon.data.sequences import Met, Pairs, Sequences
from paragon.errors import ParagonError

LARGE = 1 << 16  # more items than this: rejection instead of keys for the whole catalogue
_KEYS = 1 << 20  # random keys at a time; the system clears every page of larger blocks anew


def check_negatives(rows: np.ndarray, met: Met, count: int, user_ids: list[str]) -> None:
    """Raise ``ParagonError`` if one of the users ``rows`` has fewer than ``count`` negatives.

    ``met``: what each user has met, a row per user.
    """
    # Counts include repeats, so only users who may lack negatives need an exact count.
    doubtful = rows[met.n_items - met.count.numpy()[rows] < count]
    free = [int((~met[user : user + 1].mask()).sum()) for user in doubtful]
    least = min(free, default=count)
    if least < count:
        user = user_ids[doubtful[free.index(least)]]
        fix = f"lower it to {least} or less" if least else "leave out users who met every item"
        raise ParagonError(
            f"data.negatives: user {user!r} has only {least} items without an interaction, "
            f"{count} negatives were asked for; {fix}"
        )


def draw_candidates(
    rows: np.ndarray, targets: np.ndarray, met: Met, count: int, rng: np.random.Generator
) -> np.ndarray:
    """Return the candidate lists of N events: ``[N, 1 + count]`` items.

    The first item of a list is the target; the others are different items that the user has never
    ``met``, drawn uniformly.  ``rows [N]``: the users, as rows of ``met``; ``targets [N]``.
    """
    candidates = np.empty((len(rows), 1 + count), dtype=np.int64)
    candidates[:, 0] = targets
    if not count:
        return candidates
    # In chunks, to save memory.
    if met.n_items > LARGE:
        draw = _redrawn
        step = 1 << 14
    else:
        draw = _smallest_keys
        step = max(1, _KEYS // met.n_items)
    for start in range(0, len(rows), step):
        users = torch.from_numpy(rows[start : start + step])
        candidates[start : start + step, 1:] = draw(met[users], count, rng)
    return candidates


def _smallest_keys(met: Met, count: int, rng: np.random.Generator) -> np.ndarray:
    """Draw ``[R, count]`` different items for the R rows of ``met``.

    Each item gets a random key; the items with the smallest keys are taken.
    """
    keys = rng.random((len(met), met.n_items + 1), dtype=np.float32)  # [R, n + 1], below 1
    keys[met.mask().numpy()] = 2.0
    smallest = np.argpartition(keys, count - 1, axis=1)[:, :count]  # [R, count], in any order
    order = np.argsort(np.take_along_axis(keys, smallest, 1), axis=1, kind="stable")
    return np.take_along_axis(smallest, order, 1)


def _redrawn(met: Met, count: int, rng: np.random.Generator) -> np.ndarray:
    """Draw ``[R, count]`` different items for the R rows of ``met``.

    Items that were met or drawn before are drawn again (rejection).  The time does not grow with
    the number of items.
    """
    row, items = met.entries()
    pairs = Pairs(row.numpy(), items.numpy(), met.n_items)
    users = np.repeat(np.arange(len(met))[:, None], count, axis=1)  # [R, count]
    drawn = rng.integers(1, met.n_items + 1, size=users.shape)  # [R, count]
    while True:
        wrong = pairs.has(users, drawn) | _repeated(drawn)  # [R, count]
        if not wrong.any():
            return drawn
        drawn[wrong] = rng.integers(1, met.n_items + 1, size=int(wrong.sum()))


def _repeated(drawn: np.ndarray) -> np.ndarray:
    """Mark the items of ``drawn [R, count]`` that also occur further left in their row."""
    order = np.argsort(drawn, axis=1, kind="stable")
    values = np.take_along_axis(drawn, order, 1)  # each row sorted
    as_before = values[:, 1:] == values[:, :-1]  # [R, count - 1]
    repeated = np.zeros(drawn.shape, dtype=bool)
    np.put_along_axis(repeated, order[:, 1:], as_before, 1)
    return repeated


class NegativeSampler:
    """Draw training negatives uniformly from items outside a user's training events."""

    def __init__(self, sequences: Sequences) -> None:
        users, items = sequences.train_pairs()  # [N] each
        # Users who met every item have no negatives: treat them as if they had met none.
        counted = sequences.met_in_training().count.numpy()[users] > 0  # [N]
        self.met = Pairs(users[counted], items[counted], sequences.n_items)

    def draw(self, users: np.ndarray, count: int, rng: np.random.Generator) -> np.ndarray:
        """Draw ``count`` items with replacement for each of ``users [...]``: ``[..., count]``."""
        n_items = self.met.n_items
        shape = (*users.shape, count)
        users = np.broadcast_to(users[..., None], shape).reshape(-1)
        items = rng.integers(1, n_items + 1, size=users.shape)
        met = np.flatnonzero(self.met.has(users, items))  # places that are drawn again
        while met.size:
            items[met] = rng.integers(1, n_items + 1, size=met.size)
            met = met[self.met.has(users[met], items[met])]
        return items.reshape(shape)
