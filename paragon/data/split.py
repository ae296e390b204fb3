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
    in whole days, of a clock ``midnight`` hours ahead of UTC (8 and a 5-core give the
    published split of MovieLens-1M); ``None`` cuts at the second.

    ``min_rating`` keeps ratings at or above it; ``k_core`` repeats dropping
    users and items with fewer events until none is left; ``max_users`` keeps
    only the first users (small studies and tests).  ``negatives`` items per
    evaluation event are drawn uniformly, without replacement, from the items
    the user never interacted with.

    Raises ``ParagonError`` if no event, or none of one of the three parts, is left.
    """
    if split not in SPLITS:
        raise ParagonError(f"data.split: {split!r} is unknown; choose one of {SPLITS}")
    events = _filtered(dataset, min_rating, k_core, max_users)
    events = events.assign(part=_parts(events, split, midnight))
    if split == "global_time":
        events = _without_unseen(events)
    for number, name in enumerate(("training", "validation", "test")):
        if not (events["part"] == number).any():
            raise ParagonError(
                f"dataset {dataset.name}: no {name} event is left after the split {split}; choose "
                "another one or looser filters in the section `data` of params.yaml"
            )
    rules = {"split": split, "midnight": midnight, "min_rating": min_rating, "k_core": k_core}
    rules |= {"max_users": max_users, "negatives": negatives, "seed": seed}
    return _sequences(dataset, events, rules)


def _sequences(dataset: Dataset, events: pd.DataFrame, rules: dict) -> Sequences:
    """Index, sort and describe the ``events``, whose column ``part`` is their part of the split."""
    catalogue = dataset.items[dataset.items["item_id"].isin(set(events["item_id"]))]
    item_ids = catalogue["item_id"].tolist()
    user_ids = pd.unique(events["user_id"]).tolist()
    user, item, times, part = _in_order(events, user_ids, item_ids)  # all [E]
    n_users, n_items, negatives = len(user_ids), len(item_ids), rules["negatives"]
    check_negatives(user[part > 0], user, item, n_items, negatives, user_ids)
    rng = np.random.default_rng(rules["seed"])
    lengths = np.bincount(user, minlength=n_users)  # [U]
    category_names, categories = _categories(catalogue)
    group_names, groups = _groups(dataset.users, user_ids)
    counts = {"events_raw": len(dataset.interactions), **_counts(user, part, n_users, n_items)}
    return Sequences(
        items=item,
        times=times,
        offsets=np.concatenate([[0], np.cumsum(lengths)]),  # [U + 1]
        n_train=np.bincount(user[part == 0], minlength=n_users),  # [U]
        categories=categories,
        groups=groups,
        valid=_evaluation(user, item, part == 1, n_items, negatives, rng),
        test=_evaluation(user, item, part == 2, n_items, negatives, rng),
        item_ids=item_ids,
        titles=catalogue["title"].tolist(),
        user_ids=user_ids,
        category_names=category_names,
        group_names=group_names,
        description={
            "dataset": dataset.name,
            "source": dataset.source,
            "fingerprint": dataset.fingerprint,
            **rules,
            "counts": counts,
            "repairs": dataset.repairs,
        },
    )


def _filtered(
    dataset: Dataset, min_rating: float, k_core: int, max_users: int | None
) -> pd.DataFrame:
    """The events that count, in the order of the file."""
    events = dataset.interactions
    events = _k_core(events[events["rating"] >= min_rating], k_core)
    if max_users is not None:
        users = pd.unique(events["user_id"])[:max_users]
        events = events[events["user_id"].isin(users)]
    if events.empty:
        raise ParagonError(
            f"dataset {dataset.name}: no event is left after min_rating={min_rating} and "
            f"k_core={k_core}; lower them in params.yaml"
        )
    return events


def _k_core(events: pd.DataFrame, k: int) -> pd.DataFrame:
    """Drop users and items with fewer than k events until there are none."""
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


def _without_unseen(events: pd.DataFrame) -> pd.DataFrame:
    """Drop validation and test events of users or items that training never saw."""
    train = events[events["part"] == 0]
    return events[
        events["user_id"].isin(set(train["user_id"]))
        & events["item_id"].isin(set(train["item_id"]))
    ]


def _in_order(
    events: pd.DataFrame, user_ids: list[str], item_ids: list[str]
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """User, item (from 1 on), time and part of each event ``[E]``: by user, then time, stably."""
    user = pd.Series(np.arange(len(user_ids)), index=user_ids).loc[events["user_id"]].to_numpy()
    item = pd.Series(np.arange(len(item_ids)), index=item_ids).loc[events["item_id"]].to_numpy()
    times, part = events["timestamp"].to_numpy(), events["part"].to_numpy()
    order = np.lexsort((times, user))  # stable: ties keep the order of the file
    return user[order], item[order] + 1, times[order], part[order]


def _evaluation(
    user: np.ndarray,
    item: np.ndarray,
    chosen: np.ndarray,
    n_items: int,
    negatives: int,
    rng: np.random.Generator,
) -> Evaluation:
    """The ``chosen`` [E] bool of all events, N of them, with candidates ``[N, 1 + negatives]``."""
    rows = np.flatnonzero(chosen)  # [N]
    users = user[rows]
    positions = rows - np.searchsorted(user, users)  # the events are sorted by user
    drawn = draw_negatives(users, user, item, n_items, negatives, rng)
    return Evaluation(users, positions, np.column_stack([item[rows], drawn]))


def _counts(user: np.ndarray, part: np.ndarray, n_users: int, n_items: int) -> dict[str, int]:
    train, valid, test = (int((part == number).sum()) for number in range(3))
    return {
        "events": len(user),
        "users": n_users,
        "items": n_items,
        "train": train,
        "valid": valid,
        "test": test,
        "test_users": len(np.unique(user[part == 2])),
        "users_without_evaluation": n_users - len(np.unique(user[part > 0])),
    }


def _categories(catalogue: pd.DataFrame) -> tuple[list[str], np.ndarray]:
    """Names, sorted, and the multi-hot matrix ``[n_items + 1, M]``, row 0 (padding) all false."""
    names = sorted({category for row in catalogue["categories"] for category in row})
    index = {name: column for column, name in enumerate(names)}
    matrix = np.zeros((len(catalogue) + 1, len(names)), dtype=bool)
    for row, cats in enumerate(catalogue["categories"], start=1):
        matrix[row, [index[name] for name in cats]] = True
    return names, matrix


def _groups(users: pd.DataFrame, user_ids: list[str]) -> tuple[list[str], np.ndarray]:
    """Names, sorted, and each user's index among them ``[U]``, -1 where it is unknown."""
    if users.empty or "group" not in users:
        return [], np.full(len(user_ids), -1)
    group = users.set_index("user_id")["group"].reindex(user_ids)
    names = sorted(group.dropna().unique())
    return names, pd.Categorical(group, categories=names).codes.astype(np.int64)
