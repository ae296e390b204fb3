"""Filter, number, sort and split a dataset, and draw its candidate lists."""

import numpy as np
import pandas as pd

from paragon.data.negatives import check_negatives, draw_candidates
from paragon.data.sequences import Evaluation, Met, Sequences
from paragon.data.table import Dataset
from paragon.errors import ParagonError

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
    """Filter, number, sort and split a dataset, and draw its candidate lists.

    ``split``: ``leave_one_out`` holds out the last two events of each user; ``global_time`` cuts
    the time span at 80 % and 90 % and drops later events of users and items without training
    events.  ``midnight``: cut in whole days of a clock this many hours ahead of UTC (8 and a 5-core
    give the published split of MovieLens-1M).  ``min_rating``: keep ratings from this value on.
    ``k_core``: drop users and items with fewer events, until none is left.  ``max_users``: keep
    this many random users.  ``negatives``: number per evaluation event, from items its user never
    met, without replacement.  Raises ``ParagonError`` if one of the three parts is empty.
    """
    check_split(split)
    rules = {"split": split, "midnight": midnight, "min_rating": min_rating, "k_core": k_core}
    rules |= {"max_users": max_users, "negatives": negatives, "seed": seed}
    events = dataset.interactions[dataset.interactions["rating"] >= min_rating]
    events = _k_core(events, k_core)
    users = pd.unique(events["user_id"])
    if max_users is not None and len(users) > max_users:
        # Files are often sorted, so the first users may differ from the others.
        users = np.random.default_rng([seed, 1]).choice(users, max_users, replace=False)
        events = events[events["user_id"].isin(users)]
    if events.empty:
        raise ParagonError(
            f"dataset {dataset.name}: no event is left after min_rating={min_rating} and "
            f"k_core={k_core}; lower them in params.yaml"
        )
    events = events.assign(part=_parts(events, split, midnight))
    if split == "global_time":
        train = events[events["part"] == 0]
        for column in ("user_id", "item_id"):  # evaluate only what training saw
            events = events[events[column].isin(set(train[column]))]
    catalogue = dataset.items[dataset.items["item_id"].isin(set(events["item_id"]))]
    user, user_ids = pd.factorize(events["user_id"])
    item = pd.Index(catalogue["item_id"]).get_indexer(events["item_id"]) + 1  # 0 is padding
    times, part = events["timestamp"].to_numpy(), events["part"].to_numpy()
    order = np.lexsort((times, user))  # stable: ties keep the order of the file
    ordered = item[order], times[order], part[order], np.bincount(user)
    return assemble(dataset, catalogue, list(user_ids), ordered, rules, len(dataset.interactions))


def check_split(split: str) -> None:
    """Raise ``ParagonError`` for an unknown split."""
    if split not in SPLITS:
        raise ParagonError(f"data.split: {split!r} is unknown; choose one of {SPLITS}")


def _k_core(events: pd.DataFrame, k: int) -> pd.DataFrame:
    while k > 1 and not events.empty:
        columns = ("user_id", "item_id")
        counts = [events.groupby(c)[c].transform("size").to_numpy() for c in columns]
        enough = np.minimum(*counts) >= k
        if enough.all():
            break
        events = events[enough]
    return events


def _parts(events: pd.DataFrame, split: str, midnight: float | None) -> np.ndarray:
    """Assign each event to a part: 0 training, 1 validation, 2 test."""
    time = events["timestamp"].to_numpy()
    if split == "global_time":
        if midnight is not None:
            time = (time + round(3600 * midnight)) // 86_400
        first, last = int(time.min()), int(time.max())
        # In integers, so that boundaries do not depend on rounding.
        return sum((10 * (time - first) > tenths * (last - first)).astype(int) for tenths in (8, 9))
    order = np.argsort(time, kind="stable")
    users = events.iloc[order].groupby("user_id", sort=False)["user_id"]
    from_end, length = users.cumcount(ascending=False), users.transform("size")
    part = np.empty(len(events), dtype=np.int64)
    # Users with fewer than three events would have no training history: only train on them.
    part[order] = np.where(length >= 3, np.maximum(2 - from_end, 0), 0)
    return part


def assemble(
    dataset: Dataset,
    catalogue: pd.DataFrame,
    user_ids: list[str],
    events: tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray],
    rules: dict,
    raw: int,
) -> Sequences:
    """Draw candidate lists and build the sequences of ordered events.

    ``events``: items, times and parts (1 validation, 2 test) ``[E]`` by user and time, and counts
    per user ``[U]``.  ``raw``: number of events before filtering.
    """
    item, times, part, lengths = events
    n_users, n_items = len(user_ids), len(catalogue)
    counts = {"events_raw": raw, "events": len(item), "users": n_users, "items": n_items}
    sizes = np.bincount(part, minlength=3).tolist()
    for name, size in zip(("training", "validation", "test"), sizes, strict=True):
        if not size:
            raise ParagonError(
                f"dataset {dataset.name}: no {name} event is left after the split "
                f"{rules['split']}; choose another one or looser filters in the section `data` of "
                "params.yaml"
            )
    offsets = np.concatenate([[0], np.cumsum(lengths)])  # [U + 1]
    rows_of_parts = [np.flatnonzero(part == number) for number in (1, 2)]
    users_of_parts = [np.searchsorted(offsets, rows, side="right") - 1 for rows in rows_of_parts]
    met, users = Met.of(n_items, item, offsets[:-1], lengths), np.concatenate(users_of_parts)
    check_negatives(np.unique(users), met, rules["negatives"], user_ids)
    rng = np.random.default_rng(rules["seed"])
    parts = []
    for rows, row_users in zip(rows_of_parts, users_of_parts, strict=True):
        candidates = draw_candidates(row_users, item[rows], met, rules["negatives"], rng)
        parts.append(Evaluation(row_users, rows - offsets[row_users], candidates))
    valid, test = parts
    counts |= dict(zip(("train", "valid", "test"), sizes, strict=True))
    counts["test_users"] = len(np.unique(test.users))
    counts["users_without_evaluation"] = n_users - len(np.unique(users))

    category_names = sorted({name for names in catalogue["categories"] for name in names})
    index = {name: column for column, name in enumerate(category_names)}
    categories = np.zeros((n_items + 1, len(index)), dtype=bool)  # row 0 is padding
    for row, names in enumerate(catalogue["categories"], start=1):
        categories[row, [index[name] for name in names]] = True
    group = dataset.users.set_index("user_id")["group"].reindex(user_ids)
    group_names = sorted(group.dropna().unique())
    about = {"dataset": dataset.name, "source": dataset.source, "fingerprint": dataset.fingerprint}
    return Sequences(
        items=item,
        times=times,
        offsets=offsets,
        n_train=lengths - np.bincount(users, minlength=n_users),  # [U]
        categories=categories,
        groups=pd.Categorical(group, categories=group_names).codes.astype(np.int64),
        valid=valid,
        test=test,
        item_ids=catalogue["item_id"].tolist(),
        titles=catalogue["title"].tolist(),
        user_ids=user_ids,
        category_names=category_names,
        group_names=group_names,
        description={**about, **rules, "counts": counts, "repairs": dataset.repairs},
    )
