"""From a dataset to sequences: filter, index, sort, split, and draw the candidate lists."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from paragon.data.negatives import check_negatives, draw_negatives
from paragon.data.sequences import Evaluation, Sequences
from paragon.errors import ParagonError

if TYPE_CHECKING:
    from paragon.data.table import Dataset


SPLITS = ("leave_one_out", "global_time")


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
        raise ParagonError(f"data.split: {split!r} is unknown; choose one of {SPLITS}")
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
                "another one or looser filters in the section `data` of params.yaml"
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
