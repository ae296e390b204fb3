"""Describe a dataset in numbers."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd

from paragon.data.sequences import Sequences
from paragon.data.table import Dataset

MEAN, DEVIATION = 0.11, 0.22  # of NDCG@10 over users, typically
GIVEN_UP = (0.2, 0.1, 0.05, 0.02)  # shares of accuracy that a reader may ask for


def describe(dataset: Dataset, sequences: Sequences) -> pd.Series:
    """Return one fact per row, as text, on a dataset and on the ``sequences`` prepared from it."""
    events, items = dataset.interactions, dataset.items
    users, met = events["user_id"].value_counts(), events["item_id"].value_counts()
    tied = events.duplicated(["user_id", "timestamp"], keep=False).mean()
    times = pd.to_datetime(events["timestamp"], unit="s")
    carried, names = items["categories"].map(len), sequences.category_names
    same = len(np.unique(sequences.categories[1:], axis=0)) < 2
    groups = dataset.users["group"].value_counts()
    valid, test = (len(np.unique(part.users)) for part in (sequences.valid, sequences.test))
    about, counts = sequences.description, sequences.description["counts"]
    facts = {
        "source": dataset.source,
        "users": f"{len(users):,}",
        "items": f"{len(met):,} with interactions, {len(items):,} listed",
        "interactions": f"{len(events):,}",
        "density": f"{len(events) / (len(users) * len(met)):.2%} of all pairs of user and item",
        "interactions of a user": _spread(users),
        "interactions of an item": _spread(met),
        "time (UTC)": f"{times.min()} to {times.max()}, {(times.max() - times.min()).days:,} days",
        "ties": f"{tied:.1%} of the interactions share their second with another of the same user",
        "categories": f"{len(names)}: {', '.join(names) or 'none'}"
        + ("; diversity is undefined where all items have the same" if same else ""),
        "categories of an item": f"{_spread(carried)}; {(carried == 0).sum():,} items without",
        "groups of users": ", ".join(f"{g} {n:,}" for g, n in groups.items()) or "none",
        "repairs": repairs(dataset),
        "split": about["split"] + filters_of(about),
        "kept": f"{counts['events']:,} interactions, {counts['users']:,} users, "
        f"{counts['items']:,} items",
        "training": f"{counts['train']:,} interactions; of {counts['users_without_evaluation']:,} "
        "users everything is training",
        "validation": f"{counts['valid']:,} interactions of {valid:,} users",
        "test": f"{counts['test']:,} interactions of {test:,} users",
    }
    # With this many users, two standard errors of NDCG@10 equal the share that is given up.
    needed = {share: round((2 * DEVIATION / (share * MEAN)) ** 2) for share in GIVEN_UP}
    if few := [f"{n:,} for {share:.0%}" for share, n in needed.items() if min(valid, test) < n]:
        facts["too few users"] = (
            "to tell a loss of accuracy from chance. Needed for a loss of so much are about "
            f"{', '.join(few)} (fewer to compare two methods); lists can be served all the same"
        )
    return pd.Series(facts, name=dataset.name)


def repairs(dataset: Dataset) -> str:
    """List the repairs made when the data were read, each with its count."""
    return ", ".join(f"{n:,} {what}" for what, n in dataset.repairs.items()) or "none"


def _spread(values: pd.Series) -> str:
    return f"{values.min():,} to {values.max():,}, median {values.median():g}"


def filters_of(about: Mapping[str, Any]) -> str:
    """Name the settings of a split that are not the defaults, each after a comma."""
    defaults = {"min_rating": 0, "k_core": 0, "midnight": None}
    return "".join(f", {k} {about[k]:g}" for k, usual in defaults.items() if about[k] != usual)
