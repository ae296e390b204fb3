"""Filter, number, sort and split a dataset, and draw its candidate lists."""

from collections.abc import Callable, Sequence
from functools import partial

import numpy as np
import pandas as pd

from paragon.data.negatives import check_negatives, draw_candidates
from paragon.data.sequences import Evaluation, Met, Sequences
from paragon.data.table import Dataset
from paragon.errors import ParagonError

SPLITS = ("leave_one_out", "global_time")
# A dataset, ids of users, the events of a rating or better (index of user, index of item and time,
# `[E]` each, in the order of the file), and the number of all events.
Numbered = tuple[Dataset, list[str], list[np.ndarray], int]


def prepare(
    dataset: Dataset | Callable[[float], Numbered],
    *,
    split: str = "leave_one_out",
    midnight: float | None = None,
    min_rating: float = 0.0,
    k_core: int = 0,
    max_users: int | None = None,
    negatives: int = 99,
    seed: int = 0,
) -> Sequences:
    """Filter, number, sort and split a dataset (or what reads it), and draw its candidate lists.

    ``split``: ``leave_one_out`` holds out the last two events of each user; ``global_time`` cuts
    the time span at 80 % and 90 % and drops later events of users and items without training
    events.  ``midnight``: cut in whole days of a clock this many hours ahead of UTC (8 and a 5-core
    give the published split of MovieLens-1M).  ``min_rating``: keep ratings from this value on.
    ``k_core``: drop users and items with fewer events, until none is left.  ``max_users``: keep
    this many random users.  ``negatives``: number per evaluation event, from items its user never
    met, without replacement.  Raises ``ParagonError`` if one of the three parts is empty.
    """
    if split not in SPLITS:
        raise ParagonError(f"data.split: {split!r} is unknown; choose one of {SPLITS}")
    rules = {"split": split, "midnight": midnight, "min_rating": min_rating, "k_core": k_core}
    rules |= {"max_users": max_users, "negatives": negatives, "seed": seed}
    read = dataset if callable(dataset) else partial(_numbered, dataset)
    dataset, user_ids, events, raw = read(min_rating)
    user, item, times, part = _filtered(dataset.name, events, rules)
    del events  # with much data, the memory is needed
    users = pd.unique(user)  # by first appearance
    user_ids, places = [user_ids[n] for n in users], np.zeros(len(user_ids), dtype=user.dtype)
    places[users] = np.arange(len(users))
    user = places[user]
    known = np.bincount(item, minlength=len(dataset.items)) > 0
    catalogue, numbers = dataset.items[known], known.cumsum()  # from 1: 0 is padding
    n_users, n_items = len(user_ids), len(catalogue)
    lengths = np.bincount(user)  # [U]
    offsets = np.concatenate([[0], np.cumsum(lengths)])  # [U + 1]
    order = np.lexsort((times, user))  # stable: ties keep the order of the file
    times = times[order]
    item = numbers[item[order]]
    part = part[order]
    del user, order
    if split == "leave_one_out":
        # Users with fewer than three events would have no training history: only train on them.
        ends = offsets[1:][lengths >= 3]
        part[ends - 2], part[ends - 1] = 1, 2

    counts = {"events_raw": raw, "events": len(item), "users": n_users, "items": n_items}
    sizes = np.bincount(part, minlength=3).tolist()
    for name, size in zip(("training", "validation", "test"), sizes, strict=True):
        if not size:
            why = f"no {name} event is left after the split {split}"
            advice = "choose another or looser filters in the section data of params.yaml"
            raise ParagonError(f"dataset {dataset.name}: {why}; {advice}")
    valid, test = _held_out(item, part, offsets, n_items, negatives, seed, user_ids)
    tested = np.concatenate([valid.users, test.users])
    counts |= dict(zip(("train", "valid", "test"), sizes, strict=True))
    counts["test_users"] = len(np.unique(test.users))
    counts["users_without_evaluation"] = n_users - len(np.unique(tested))
    category_names, categories = _category_table(catalogue["categories"].tolist())
    group = pd.Categorical(dataset.users.set_index("user_id")["group"].reindex(user_ids))
    about = {"dataset": dataset.name, "source": dataset.source, "fingerprint": dataset.fingerprint}
    return Sequences(
        items=item,
        times=times,
        offsets=offsets,
        n_train=lengths - np.bincount(tested, minlength=n_users),  # [U]
        categories=categories,
        groups=group.codes.astype(np.int64),
        valid=valid,
        test=test,
        item_ids=catalogue["item_id"].tolist(),
        titles=catalogue["title"].tolist(),
        user_ids=user_ids,
        category_names=category_names,
        group_names=group.categories.tolist(),
        description={**about, **rules, "counts": counts, "repairs": dataset.repairs},
    )


def _held_out(
    item: np.ndarray,
    part: np.ndarray,
    offsets: np.ndarray,
    n_items: int,
    negatives: int,
    seed: int,
    user_ids: list[str],
) -> list[Evaluation]:
    """Draw the candidate lists of the validation and the test events."""
    parts = [np.flatnonzero(part == number) for number in (1, 2)]
    users = [np.searchsorted(offsets, rows, side="right") - 1 for rows in parts]
    met, rng = Met.of(n_items, item, offsets[:-1], np.diff(offsets)), np.random.default_rng(seed)
    check_negatives(np.unique(np.concatenate(users)), met, negatives, user_ids)
    return [
        Evaluation(u, rows - offsets[u], draw_candidates(u, item[rows], met, negatives, rng))
        for rows, u in zip(parts, users, strict=True)
    ]


def _category_table(categories: list[Sequence[str]]) -> tuple[list[str], np.ndarray]:
    """Return the names of all categories, and which of them each item has, ``[n + 1, M]``."""
    names = sorted({name for of_item in categories for name in of_item})
    index = {name: column for column, name in enumerate(names)}
    table = np.zeros((len(categories) + 1, len(names)), dtype=bool)  # row 0 is padding
    for row, of_item in enumerate(categories, start=1):
        table[row, [index[name] for name in of_item]] = True
    return names, table


def _numbered(dataset: Dataset, min_rating: float) -> Numbered:
    rated = dataset.interactions[dataset.interactions["rating"] >= min_rating]
    user, user_ids = pd.factorize(rated["user_id"])
    item = pd.Index(dataset.items["item_id"]).get_indexer(rated["item_id"])
    events = [user, item, rated["timestamp"].to_numpy()]
    return dataset, list(user_ids), events, len(dataset.interactions)


def _filtered(name: str, events: list[np.ndarray], rules: dict) -> list[np.ndarray]:
    """Return users, items and times of the events that the rules keep, and a part for each.

    The part is 0 for training, or else, with ``global_time``, 1 for validation and 2 for the test.
    """
    while rules["k_core"] > 1 and len(events[0]):
        counts = [np.bincount(numbers)[numbers] for numbers in events[:2]]
        enough = np.minimum(*counts) >= rules["k_core"]
        if enough.all():
            break
        events = [column[enough] for column in events]
    users, most = pd.unique(events[0]), rules["max_users"]
    if not len(users):
        raise ParagonError(
            f"dataset {name}: no event is left after min_rating={rules['min_rating']} and "
            f"k_core={rules['k_core']}; lower them in params.yaml"
        )
    if most is not None and len(users) > most:
        # Files are often sorted, so the first users may differ from the others.
        users = np.random.default_rng([rules["seed"], 1]).choice(users, most, replace=False)
        chosen = np.isin(events[0], users)
        events = [column[chosen] for column in events]
    user, item, times = events
    if rules["split"] == "leave_one_out":  # held out once events are in order
        return [*events, np.zeros(len(times), dtype=np.int8)]
    part = _part_of_time(times, rules["midnight"])
    train = part == 0  # evaluate only what training saw
    seen = np.isin(user, user[train]) & np.isin(item, item[train])
    return [column[seen] for column in (*events, part)]


def _part_of_time(times: np.ndarray, midnight: float | None) -> np.ndarray:
    """Return 0 in the first 80 % of the time, 1 in the next 10 %, 2 in the last: ``[E]``."""
    if midnight is not None:
        times = (times + round(3600 * midnight)) // 86_400
    first, last = int(times.min()), int(times.max())
    # In integers, so that boundaries do not depend on rounding.
    eighty, ninety = (10 * (times - first) > tenths * (last - first) for tenths in (8, 9))
    return eighty.astype(np.int8) + ninety
