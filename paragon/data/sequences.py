"""From a table of interactions to sequences, splits, windows and candidate lists.

Items get internal ids 1..n in catalogue order; 0 is padding.  Users get ids
0..U-1 in the order of their first appearance in the interactions.  A user's
events are sorted by time, *stably*: events of the same second keep the order
of the file.  That tie rule decides what the last event of a user is (76 % of
MovieLens-100K's events share their second with another of the same user), so
it belongs to the protocol.

The arrays are numpy's; nothing here knows about models.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from paragon.data.met import Met
from paragon.storage import loading, save_tensors


@dataclass(frozen=True)
class Evaluation:
    """The events of a validation or test set, with their sampled candidates.

    ``users [N]``; ``positions [N]``: index of the target in the user's
    sequence, so that the history is everything before it; ``candidates
    [N, 1 + negatives]``: item ids, the target in column 0.
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

    ``items``, ``times`` ``[E]`` hold the users' sequences one after another
    (user ``u`` owns ``offsets[u]:offsets[u+1]``), of which the first
    ``n_train[u]`` events are for training.  ``categories [n_items + 1, M]`` is
    the multi-hot category matrix, row 0 (padding) all false.  ``groups [U]``
    indexes ``group_names``, -1 where the group is unknown.
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
        starts = np.concatenate([[0], np.cumsum(counts)[:-1]])
        positions = np.arange(counts.sum()) - np.repeat(starts, counts) + 1
        return users, positions

    def targets(self, users: np.ndarray, positions: np.ndarray) -> np.ndarray:
        """Item ids at (user, position), ``[N]``."""
        return self.items[self.offsets[users] + positions]

    def histories(
        self, users: np.ndarray, positions: np.ndarray, length: int
    ) -> tuple[np.ndarray, np.ndarray]:
        """The last ``length`` events before each (user, position).

        Returns ``items [N, length]`` and ``times [N, length]``, left-aligned:
        the oldest event first, zeros (padding) after the newest.  A causal
        model therefore needs no padding mask.
        """
        start = np.maximum(positions - length, 0)
        steps = start[:, None] + np.arange(length)
        inside = steps < positions[:, None]
        index = np.where(inside, self.offsets[users][:, None] + steps, 0)
        items = np.where(inside, self.items[index], 0)
        times = np.where(inside, self.times[index], 0)
        return items, times

    def excluded(self, evaluation: Evaluation) -> np.ndarray:
        """Items that the full-catalogue protocol leaves out, ``[N, n_items + 1]`` bool.

        Everything the user met before the target (training and validation
        items) and padding; never the target itself.
        """
        return self.met_before(evaluation).mask().numpy()

    def met_before(self, evaluation: Evaluation) -> Met:
        """What :meth:`excluded` says, without the table: a row for each event."""
        start = self.offsets[evaluation.users]
        free = evaluation.targets
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


_ARRAYS = ("items", "times", "offsets", "n_train", "categories", "groups")
_EVENTS = ("users", "positions", "candidates")
_NAMES = ("item_ids", "titles", "user_ids", "category_names", "group_names", "description")


def save_sequences(sequences: Sequences, folder: Path) -> None:
    """Write ``sequences.safetensors`` (arrays) and ``sequences.json`` (names, description)."""
    arrays = {name: getattr(sequences, name) for name in _ARRAYS}
    for part in ("valid", "test"):
        evaluation = sequences.evaluation(part)
        arrays |= {f"{part}.{name}": getattr(evaluation, name) for name in _EVENTS}
    tensors = {name: torch.from_numpy(array) for name, array in arrays.items()}
    names = {name: getattr(sequences, name) for name in _NAMES}
    save_tensors(folder / "sequences", tensors, names)


def load_sequences(folder: Path) -> Sequences:
    """Read what :func:`save_sequences` wrote.

    Raises ``ParagonError``, with the stage to run, for a missing or altered file.
    """
    with loading(folder / "sequences", "data") as (tensors, names):
        arrays = {name: tensor.numpy() for name, tensor in tensors.items()}
        valid, test = (
            Evaluation(*(arrays[f"{part}.{name}"] for name in _EVENTS))
            for part in ("valid", "test")
        )
        fields = {name: arrays[name] for name in _ARRAYS} | {name: names[name] for name in _NAMES}
        return Sequences(**fields, valid=valid, test=test)
