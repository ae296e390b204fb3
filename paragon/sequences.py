"""From a table of interactions to sequences, splits, windows and candidate lists.

Items get internal ids 1..n in catalogue order; 0 is padding.  Users get ids
0..U-1 in the order of their first appearance in the interactions.  A user's
events are sorted by time, *stably*: events of the same second keep the order
of the file.  That tie rule decides what the last event of a user is (76 % of
MovieLens-100K's events share their second with another of the same user), so
it belongs to the protocol.

Everything here is numpy; nothing knows about models.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from safetensors.numpy import load_file, save_file

from paragon.errors import ParagonError
from paragon.files import atomic_path, require
from paragon.negatives import check_negatives, draw_negatives

if TYPE_CHECKING:
    from paragon.datasets import Dataset

SPLITS = ("leave_one_out", "global_time")


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
        mask = np.zeros((len(evaluation), self.n_items + 1), dtype=bool)
        counts = evaluation.positions
        rows = np.repeat(np.arange(len(evaluation)), counts)
        starts = np.concatenate([[0], np.cumsum(counts)[:-1]])
        steps = np.arange(counts.sum()) - np.repeat(starts, counts)
        mask[rows, self.items[np.repeat(self.offsets[evaluation.users], counts) + steps]] = True
        mask[:, 0] = True
        mask[np.arange(len(evaluation)), evaluation.targets] = False
        return mask

    def is_train(self) -> np.ndarray:
        """Which of the ``[E]`` events belong to training."""
        position = np.arange(len(self.items)) - np.repeat(self.offsets[:-1], self.lengths)
        return position < np.repeat(self.n_train, self.lengths)

    def popularity(self) -> np.ndarray:
        """Number of training events of each item, ``[n_items + 1]``; row 0 is 0."""
        return np.bincount(self.items[self.is_train()], minlength=self.n_items + 1)


def prepare(
    dataset: Dataset,
    *,
    split: str = "leave_one_out",
    midnight: float | None = None,
    min_rating: float = 0.0,
    k_core: int = 0,
    max_users: int | None = None,
    negatives: int = 99,
    seed: int = 0,
) -> Sequences:
    """Filter, index, sort and split a dataset and draw its candidate lists.

    ``split``: ``leave_one_out`` holds out the last two events of every user;
    ``global_time`` cuts the span of time at 80 % and 90 % and then drops the
    later events of users and items that training never saw.  ``midnight`` cuts
    in whole days, of a clock so many hours ahead of UTC (8 and a 5-core give the
    published split of MovieLens-1M); ``None`` cuts at the second.

    ``min_rating`` keeps ratings at or above it; ``k_core`` repeats dropping
    users and items with fewer events until none is left; ``max_users`` keeps
    the first so many users (small studies and tests).  ``negatives`` items per
    evaluation event are drawn uniformly, without replacement, from the items
    the user never interacted with.

    Raises ``ParagonError`` if no event, or none of one of the three parts, is left.
    """
    if split not in SPLITS:
        raise ParagonError(f"preprocess.split: {split!r} is unknown; choose one of {SPLITS}")
    events = dataset.interactions
    counts = {"events_raw": len(events)}
    events = events[events["rating"] >= min_rating]
    events = _k_core(events, k_core)
    if max_users is not None:
        users = pd.unique(events["user_id"])[:max_users]
        events = events[events["user_id"].isin(users)]
    if events.empty:
        raise ParagonError(
            f"dataset {dataset.name}: no event is left after min_rating={min_rating} and "
            f"k_core={k_core}; lower them in params.yaml"
        )

    part = _parts(events, split, midnight)
    if split == "global_time":
        events, part = _drop_unseen(events, part)
    events = events.assign(part=part)

    catalogue = dataset.items[dataset.items["item_id"].isin(set(events["item_id"]))]
    item_ids = catalogue["item_id"].tolist()
    user_ids = pd.unique(events["user_id"]).tolist()
    item_index = pd.Series(np.arange(1, len(item_ids) + 1), index=item_ids)
    user_index = pd.Series(np.arange(len(user_ids)), index=user_ids)
    item = item_index.loc[events["item_id"]].to_numpy()
    user = user_index.loc[events["user_id"]].to_numpy()
    order = np.lexsort((np.arange(len(events)), events["timestamp"].to_numpy(), user))
    item, user = item[order], user[order]
    times, part = events["timestamp"].to_numpy()[order], events["part"].to_numpy()[order]

    lengths = np.bincount(user, minlength=len(user_ids))
    offsets = np.concatenate([[0], np.cumsum(lengths)])
    n_train = np.bincount(user[part == 0], minlength=len(user_ids))
    for number, name in enumerate(("training", "validation", "test")):
        if not (part == number).any():
            raise ParagonError(
                f"dataset {dataset.name}: no {name} event is left after the split {split}; choose "
                "another one or looser filters in the section `preprocess` of params.yaml"
            )
    check_negatives(user[part > 0], user, item, len(item_ids), negatives, user_ids)
    rng = np.random.default_rng(seed)
    evaluations = {}
    for number, name in ((1, "valid"), (2, "test")):
        rows = np.flatnonzero(part == number)
        users, positions = user[rows], rows - offsets[user[rows]]
        evaluations[name] = Evaluation(
            users,
            positions,
            np.column_stack(
                [item[rows], draw_negatives(users, user, item, len(item_ids), negatives, rng)]
            ),
        )

    category_names, categories = _categories(catalogue)
    group_names, groups = _groups(dataset.users, user_ids)
    counts.update(
        events=len(item),
        users=len(user_ids),
        items=len(item_ids),
        train=int((part == 0).sum()),
        valid=int((part == 1).sum()),
        test=int((part == 2).sum()),
        test_users=len(np.unique(user[part == 2])),
        users_without_evaluation=int(
            (np.bincount(user[part > 0], minlength=len(user_ids)) == 0).sum()
        ),
    )
    return Sequences(
        items=item,
        times=times,
        offsets=offsets,
        n_train=n_train,
        categories=categories,
        groups=groups,
        **evaluations,
        item_ids=item_ids,
        titles=catalogue["title"].tolist(),
        user_ids=user_ids,
        category_names=category_names,
        group_names=group_names,
        description={
            "dataset": dataset.name,
            "source": dataset.source,
            "fingerprint": dataset.fingerprint,
            "split": split,
            "midnight": midnight,
            "min_rating": min_rating,
            "k_core": k_core,
            "max_users": max_users,
            "negatives": negatives,
            "seed": seed,
            "counts": counts,
            "repairs": dataset.repairs,
        },
    )


def _k_core(events: pd.DataFrame, k: int) -> pd.DataFrame:
    while k > 1 and not events.empty:
        enough = np.ones(len(events), dtype=bool)
        for column in ("user_id", "item_id"):
            enough &= events.groupby(column)[column].transform("size").to_numpy() >= k
        if enough.all():
            break
        events = events[enough]
    return events


def _parts(events: pd.DataFrame, split: str, midnight: float | None) -> np.ndarray:
    """0 train, 1 validation, 2 test for each event, in the events' own order."""
    time = events["timestamp"].to_numpy()
    if split == "global_time":
        if midnight is not None:
            time = (time + round(3600 * midnight)) // 86_400
        first, last = int(time.min()), int(time.max())
        # In whole numbers: a boundary must not depend on rounding.
        return sum((10 * (time - first) > tenths * (last - first)).astype(int) for tenths in (8, 9))
    order = np.argsort(time, kind="stable")
    ordered = events["user_id"].iloc[order]
    from_end = ordered.groupby(ordered, sort=False).cumcount(ascending=False).to_numpy()
    length = ordered.groupby(ordered, sort=False).transform("size").to_numpy()
    part = np.empty(len(events), dtype=np.int64)
    # A user with fewer than three events has no training history to be judged by:
    # all of it is training data.
    part[order] = np.where(length >= 3, np.maximum(2 - from_end, 0), 0)
    return part


def _drop_unseen(events: pd.DataFrame, part: np.ndarray) -> tuple[pd.DataFrame, np.ndarray]:
    """Drop validation and test events of users or items that training never saw."""
    train = events[part == 0]
    keep = (part == 0) | (
        events["user_id"].isin(set(train["user_id"]))
        & events["item_id"].isin(set(train["item_id"]))
    ).to_numpy()
    return events[keep], part[keep]


def _categories(catalogue: pd.DataFrame) -> tuple[list[str], np.ndarray]:
    names = sorted({category for row in catalogue["categories"] for category in row})
    index = {name: column for column, name in enumerate(names)}
    matrix = np.zeros((len(catalogue) + 1, len(names)), dtype=bool)
    for row, cats in enumerate(catalogue["categories"], start=1):
        matrix[row, [index[name] for name in cats]] = True
    return names, matrix


def _groups(users: pd.DataFrame, user_ids: list[str]) -> tuple[list[str], np.ndarray]:
    if users.empty or "group" not in users:
        return [], np.full(len(user_ids), -1)
    group = users.set_index("user_id")["group"].reindex(user_ids)
    names = sorted(group.dropna().unique())
    return names, pd.Categorical(group, categories=names).codes.astype(np.int64)


_ARRAYS = ("items", "times", "offsets", "n_train", "categories", "groups")
_NAMES = ("item_ids", "titles", "user_ids", "category_names", "group_names", "description")


def save(sequences: Sequences, folder: Path) -> None:
    """Write ``sequences.safetensors`` (arrays) and ``sequences.json`` (names, description)."""
    arrays = {name: getattr(sequences, name) for name in _ARRAYS}
    for name in ("valid", "test"):
        evaluation = sequences.evaluation(name)
        for field in ("users", "positions", "candidates"):
            arrays[f"{name}.{field}"] = getattr(evaluation, field)
    folder.mkdir(parents=True, exist_ok=True)
    with atomic_path(folder / "sequences.safetensors") as path:
        save_file({name: np.ascontiguousarray(array) for name, array in arrays.items()}, path)
    with atomic_path(folder / "sequences.json") as path:
        text = json.dumps({name: getattr(sequences, name) for name in _NAMES}, indent=1)
        path.write_text(text + "\n", encoding="utf-8")


def load(folder: Path) -> Sequences:
    """Read what :func:`save` wrote; a missing file says which stage makes it."""
    arrays = load_file(require(folder / "sequences.safetensors", "preprocess"))
    names = json.loads(require(folder / "sequences.json", "preprocess").read_text("utf-8"))
    evaluations = {
        name: Evaluation(
            *(arrays[f"{name}.{field}"] for field in ("users", "positions", "candidates"))
        )
        for name in ("valid", "test")
    }
    return Sequences(**{name: arrays[name] for name in _ARRAYS}, **evaluations, **names)
