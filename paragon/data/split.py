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
# The values of rules that are names; of the others any value will do.
ALLOWED = {"split": SPLITS, "repeats": ("first", None), "ties": ("shuffled", None)}
TRAIN, VALID, TEST = 0, 1, 2  # the part of an event
# A dataset, the ids of its users, the events with a rating that is high enough (index of the user,
# index of the item, and time, `[E]` each, in the order of the file), and the number of all events.
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
    repeats: str | None = None,
    ties: str | None = None,
) -> Sequences:
    """Filter, number, sort and split a dataset, and draw its candidate lists.

    ``dataset``: a dataset, or a function that reads one with its events of at least a rating.

    ``split``: "leave_one_out" holds out the last two events of each user, for validation and test;
    "global_time" cuts the time span at 80 % and at 90 %, and drops later events of users and items
    without training events.

    ``midnight``: for "global_time", cut between whole days of a clock that is this many hours ahead
    of UTC; None: cut at any second.  With 8 and a 5-core, this is the published split of
    MovieLens-1M.

    ``min_rating``: keep events with at least this rating.

    ``k_core``: drop users and items with fewer events, again and again until none is left.

    ``max_users``: keep this many users, drawn at random; None: all.

    ``negatives``: number of items in a candidate list beside the target, drawn without replacement
    from the items that the user has never met.

    ``seed``: of all random draws.

    ``repeats``: "first" keeps the first event of each user and item; None: repeats are refused.
    Lists leave out what the user has met, but not the target, so a repeat gives itself away.

    ``ties``: "shuffled" puts the events of a user at the same second in a random order; None: they
    keep the order of the file.

    Raises ``ParagonError`` if training, validation or test has no event.
    """
    names = {"split": split, "repeats": repeats, "ties": ties}
    for name, value in names.items():
        if value not in ALLOWED[name]:
            problem = f"{value!r} is unknown; choose one of {ALLOWED[name]}"
            raise ParagonError(f"data.{name}: {problem}")
    rules = {
        "split": split,
        "midnight": midnight,
        "min_rating": min_rating,
        "k_core": k_core,
        "max_users": max_users,
        "negatives": negatives,
        "seed": seed,
    }
    later = {"repeats": repeats, "ties": ties}
    for name, value in later.items():
        if value is not None:  # else the description is that of data prepared before this rule
            rules[name] = value
    read = dataset if callable(dataset) else partial(_numbered, dataset)
    dataset, all_user_ids, events, raw = read(min_rating)
    user, item, times, part = _filtered(dataset.name, events, rules)
    del events  # with much data, the memory is needed

    # Number users by first appearance, and items by their place in the catalogue.
    users = pd.unique(user)
    user_ids = [all_user_ids[n] for n in users]
    user_numbers = np.zeros(len(all_user_ids), dtype=user.dtype)
    user_numbers[users] = np.arange(len(users))
    user = user_numbers[user]
    known = np.bincount(item, minlength=len(dataset.items)) > 0
    catalogue = dataset.items[known]
    item_numbers = known.cumsum()  # from 1: 0 is padding
    n_users = len(user_ids)
    n_items = len(catalogue)

    lengths = np.bincount(user)  # [U]
    offsets = np.concatenate([[0], np.cumsum(lengths)])  # [U + 1]
    order = _order(user, times, ties, seed)  # [E]
    times = times[order]
    item = item_numbers[item[order]]
    part = part[order]
    del user, order
    if split == "leave_one_out":
        # Users with fewer than three events would have no training history: only train on them.
        ends = offsets[1:][lengths >= 3]
        part[ends - 2] = VALID
        part[ends - 1] = TEST

    sizes = np.bincount(part, minlength=3).tolist()
    _check_sizes(sizes, dataset.name, split)
    valid, test = _held_out(item, part, offsets, n_items, negatives, seed, user_ids)
    held_out_users = np.concatenate([valid.users, test.users])  # one entry per event
    category_names, categories = _category_table(catalogue["categories"].tolist())
    groups = pd.Categorical(dataset.users.set_index("user_id")["group"].reindex(user_ids))
    counts = {
        "events_raw": raw,
        "events": len(item),
        "users": n_users,
        "items": n_items,
        "train": sizes[TRAIN],
        "valid": sizes[VALID],
        "test": sizes[TEST],
        "test_users": len(np.unique(test.users)),
        "users_without_evaluation": n_users - len(np.unique(held_out_users)),
    }
    description = {
        "dataset": dataset.name,
        "source": dataset.source,
        "fingerprint": dataset.fingerprint,
        **rules,
        "counts": counts,
        "repairs": dataset.repairs,
    }
    return Sequences(
        items=item,
        times=times,
        offsets=offsets,
        n_train=lengths - np.bincount(held_out_users, minlength=n_users),  # [U]
        categories=categories,
        groups=groups.codes.astype(np.int64),
        valid=valid,
        test=test,
        item_ids=catalogue["item_id"].tolist(),
        titles=catalogue["title"].tolist(),
        user_ids=user_ids,
        category_names=category_names,
        group_names=groups.categories.tolist(),
        description=description,
    )


def _order(user: np.ndarray, times: np.ndarray, ties: str | None, seed: int) -> np.ndarray:
    """Return the order ``[E]`` of events by user, then by time, then by the rule for ``ties``."""
    if ties == "shuffled":
        place = np.random.default_rng([seed, 2]).permutation(len(times))  # [E], within a tie
        return np.lexsort((place, times, user))
    return np.lexsort((times, user))  # stable: ties keep the order of the file


def _check_sizes(sizes: list[int], dataset: str, split: str) -> None:
    """Refuse a split without training, validation or test events; ``sizes`` in this order."""
    for name, size in zip(("training", "validation", "test"), sizes, strict=True):
        if not size:
            why = f"no {name} event is left after the split {split}"
            advice = "choose another or looser filters in the section data of params.yaml"
            raise ParagonError(f"dataset {dataset}: {why}; {advice}")


def _held_out(
    item: np.ndarray,
    part: np.ndarray,
    offsets: np.ndarray,
    n_items: int,
    negatives: int,
    seed: int,
    user_ids: list[str],
) -> list[Evaluation]:
    """Return the validation and the test events, with their candidate lists.

    ``item [E]`` and ``part [E]`` are sorted by user; user u has the events ``offsets[u]`` to
    ``offsets[u + 1]``.
    """
    events = [np.flatnonzero(part == number) for number in (VALID, TEST)]
    users = [np.searchsorted(offsets, rows, side="right") - 1 for rows in events]
    met = Met.of(n_items, items=item, start=offsets[:-1], count=np.diff(offsets))
    check_negatives(np.unique(np.concatenate(users)), met, negatives, user_ids)
    rng = np.random.default_rng(seed)
    evaluations = []
    for rows, users_of_rows in zip(events, users, strict=True):
        candidates = draw_candidates(users_of_rows, item[rows], met, negatives, rng)
        positions = rows - offsets[users_of_rows]
        evaluations.append(Evaluation(users_of_rows, positions, candidates))
    return evaluations


def _category_table(categories: list[Sequence[str]]) -> tuple[list[str], np.ndarray]:
    """Return the names of all categories, sorted, and which of them each item has.

    ``categories``: those of each item.  The table is bool ``[n + 1, M]``; row 0 is padding.
    """
    names = sorted({name for of_item in categories for name in of_item})
    index = {name: column for column, name in enumerate(names)}
    table = np.zeros((len(categories) + 1, len(names)), dtype=bool)
    for row, of_item in enumerate(categories, start=1):
        table[row, [index[name] for name in of_item]] = True
    return names, table


def _numbered(dataset: Dataset, min_rating: float) -> Numbered:
    """Number users by first appearance and items by their place in the table of items."""
    rated = dataset.interactions[dataset.interactions["rating"] >= min_rating]
    user, user_ids = pd.factorize(rated["user_id"])
    item = pd.Index(dataset.items["item_id"]).get_indexer(rated["item_id"])
    events = [user, item, rated["timestamp"].to_numpy()]
    return dataset, list(user_ids), events, len(dataset.interactions)


def _filtered(name: str, events: list[np.ndarray], rules: dict) -> list[np.ndarray]:
    """Return user, item, time and part of the events that the rules keep, ``[E]`` each.

    With the split "global_time" the part is that of the event; with "leave_one_out" it is TRAIN for
    all, and held out are events later.
    """
    repeated = _repeated(*events)
    if repeated.any() and "repeats" not in rules:
        raise ParagonError(
            f"dataset {name}: {repeated.sum():,} of {len(repeated):,} events repeat an item that "
            "the user has met; lists leave out what was met, which gives such targets away: set "
            "data.repeats: first in params.yaml to keep the first event of each user and item"
        )
    if repeated.any():
        events = [column[~repeated] for column in events]
    while rules["k_core"] > 1 and len(events[0]):
        counts = [np.bincount(numbers)[numbers] for numbers in events[:2]]
        enough = np.minimum(*counts) >= rules["k_core"]
        if enough.all():
            break
        events = [column[enough] for column in events]
    users = pd.unique(events[0])
    most = rules["max_users"]
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
        part = np.zeros(len(times), dtype=np.int8)
        return [user, item, times, part]
    part = _part_of_time(times, rules["midnight"])
    train = part == TRAIN
    # Evaluate only users and items that training has seen.
    seen = np.isin(user, user[train]) & np.isin(item, item[train])
    return [user[seen], item[seen], times[seen], part[seen]]


def _repeated(user: np.ndarray, item: np.ndarray, times: np.ndarray) -> np.ndarray:
    """Mark the events whose user has an earlier event with the same item: bool ``[E]``."""
    order = np.argsort(times, kind="stable")  # [E]
    pairs = user.astype(np.int64) * (item.max(initial=0) + 1) + item  # [E], a number for each pair
    repeated = np.empty(len(order), dtype=bool)
    repeated[order] = pd.Series(pairs[order]).duplicated()
    return repeated


def _part_of_time(times: np.ndarray, midnight: float | None) -> np.ndarray:
    """Return TRAIN in the first 80 % of the time, VALID in the next 10 %, then TEST: int8 ``[E]``.

    ``midnight``: as for :func:`prepare`.
    """
    if midnight is not None:
        times = (times + round(3600 * midnight)) // 86_400  # whole days
    first, last = int(times.min()), int(times.max())
    span = last - first
    # In integers, so that boundaries do not depend on rounding.
    after_80 = 10 * (times - first) > 8 * span  # [E]
    after_90 = 10 * (times - first) > 9 * span  # [E]
    return after_80.astype(np.int8) + after_90
