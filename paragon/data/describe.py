"""Describe a dataset in numbers."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd

from paragon.data.sequences import Sequences
from paragon.data.table import Dataset

# Assumed of NDCG@10 over users.  Measured on MovieLens-100K, five recommenders of 0.03 to 0.14: the
# mean square is 0.57 to 0.67 of the mean, and two of different kinds correlate by 0.3 to 0.5.
MEAN = 0.1
SQUARE = 0.65  # mean of the squares, as a share of the mean
ALIKE = 0.5  # correlation of two recommenders
ERRORS = 2.8  # a difference of so many standard errors is beyond chance in four of five samples
FOLLOWS = 0.1  # rank correlation with the ids from which ties are in their order
NO_CHANCE = 4  # and so many standard deviations of what chance would give
MOST_NAMES = 10  # of categories that are listed
GIVEN_UP = (0.2, 0.1, 0.05, 0.02)  # shares of accuracy that a reader may ask for


def describe(dataset: Dataset, sequences: Sequences, ndcg: np.ndarray | None = None) -> pd.Series:
    """Describe a dataset and the ``sequences`` prepared from it: one fact per row, as text.

    ``ndcg``: NDCG@10 of a trained recommender by user, to say how many users are needed.
    """
    events = dataset.interactions
    items = dataset.items
    per_user = events["user_id"].value_counts()
    per_item = events["item_id"].value_counts()
    density = len(events) / (len(per_user) * len(per_item))
    tied = events.duplicated(["user_id", "timestamp"], keep=False).mean()
    times = pd.to_datetime(events["timestamp"], unit="s")
    first = times.min()
    last = times.max()
    per_row = items["categories"].map(len)  # categories of each item
    groups = dataset.users["group"].value_counts()
    valid_users = len(np.unique(sequences.valid.users))
    test_users = len(np.unique(sequences.test.users))
    description = sequences.description
    counts = description["counts"]
    facts = {
        "source": dataset.source,
        "users": f"{len(per_user):,}",
        "items": f"{len(per_item):,} with interactions, {len(items):,} listed",
        "interactions": f"{len(events):,}",
        "density": f"{density:.2%} of all pairs of user and item",
        "interactions of a user": _spread(per_user),
        "interactions of an item": _spread(per_item),
        "time (UTC)": f"{first} to {last}, {(last - first).days:,} days",
        "ties": f"{tied:.1%} of the interactions share their second with another of the same user",
        "categories": _categories(sequences),
        "categories of an item": f"{_spread(per_row)}; {(per_row == 0).sum():,} items without",
        "groups of users": ", ".join(f"{g} {n:,}" for g, n in groups.items()) or "none",
        "repeats": repeats(dataset),
        "repairs": repairs(dataset),
        "split": description["split"] + filters_of(description),
        "kept": f"{counts['events']:,} interactions, {counts['users']:,} users, "
        f"{counts['items']:,} items",
        "training": f"{counts['train']:,} interactions; of {counts['users_without_evaluation']:,} "
        "users everything is training",
        "validation": f"{counts['valid']:,} interactions of {valid_users:,} users",
        "test": f"{counts['test']:,} interactions of {test_users:,} users",
    }
    warnings = {
        "order of ties": _ties_give_away(events, sequences),
        "too few users": _too_few(min(valid_users, test_users), ndcg),
    }
    facts |= {name: warning for name, warning in warnings.items() if warning}
    return pd.Series(facts, name=dataset.name)


def _categories(sequences: Sequences) -> str:
    """List the names of the first categories."""
    names = sequences.category_names
    text = f"{len(names)}: {', '.join(names[:MOST_NAMES]) or 'none'}"
    if len(names) > MOST_NAMES:
        text += f" and {len(names) - MOST_NAMES:,} more"
    if len(np.unique(sequences.categories[1:], axis=0)) < 2:
        text += "; diversity is undefined where all items have the same"
    return text


def _ties_give_away(events: pd.DataFrame, sequences: Sequences) -> str | None:
    """Warn if events of the same second are in the order of the items' ids."""
    along = order_of_ties(events)
    if abs(along) < FOLLOWS or "ties" in sequences.description:
        return None
    test = sequences.test
    ends = sequences.offsets[test.users] + test.positions  # [N], the place of each target
    share = (sequences.times[ends] == sequences.times[ends - 1]).mean()
    return (
        "WARNING: events of the same second follow the ids of the items (rank correlation "
        f"{along:.2f}). Of {share:.0%} of the test events, the target shares its second with "
        "the event before, and its id gives it away; set data.ties: shuffled in params.yaml"
    )


def _too_few(users: int, ndcg: np.ndarray | None) -> str | None:
    """Warn if a loss of accuracy needs more ``users``; ``ndcg`` as for :func:`describe`."""
    mean, square, known = MEAN, SQUARE, "assumed"
    if ndcg is not None and ndcg.any():
        mean, known = float(ndcg.mean()), "measured"
        square = float((ndcg**2).mean()) / mean
    too_few = []
    for share in GIVEN_UP:
        needed = users_needed(share, mean, square)
        if users < needed:
            too_few.append(f"{needed:,} for {share:.0%}")
    if not too_few:
        return None
    return (
        "to tell a loss of accuracy from chance. Needed for a loss of so much are about "
        f"{', '.join(too_few)}, if NDCG@10 is about {mean:.3g} ({known}), and that of two "
        f"recommenders correlates by {ALIKE} over users (half the NDCG@10 needs twice as many "
        "users, lists that are more alike need fewer); lists can be served all the same"
    )


def users_needed(share: float, mean: float = MEAN, square: float = SQUARE) -> int:
    """Return the users needed to find that one recommender is a ``share`` worse than another.

    ``mean``: NDCG@10 of one of them; ``square``: the mean of its squares over users, divided by it.
    Each user has one event, both recommenders are measured by NDCG@10 on the same users, and the
    difference is beyond chance (5 %) in four of five samples of so many users.
    """
    variance = square * mean - mean**2  # of one recommender
    of_difference = 2 * (1 - ALIKE) * variance
    return round(int(of_difference * (ERRORS / (share * mean)) ** 2), -2)


def order_of_ties(events: pd.DataFrame) -> float:
    """Return the rank correlation of the order in the file and the ids of items, -1..1.

    It is that of Spearman among the events of a user at the same second, in the mean over all such
    groups, those of n events with the weight n - 1.  If chance alone can explain it, 0 is returned.
    """
    tied = events[events.duplicated(["user_id", "timestamp"], keep=False)]
    if tied.empty:
        return 0.0
    ids = tied["item_id"]
    if ids.str.fullmatch(r"[0-9]+").all():
        ids = ids.astype(float)
    groups = ids.groupby([tied["user_id"], tied["timestamp"]], sort=False)
    size = groups.transform("size")
    middle = (size + 1) / 2
    in_file = groups.cumcount() + 1 - middle
    by_id = groups.rank() - middle
    weights = ((size - 1) / size).sum()  # n - 1 for each group
    # Spearman's formula without ties: 12 times the sum of products, over n (n + 1) (n - 1).
    correlation = (12 * in_file * by_id / (size * (size + 1))).sum() / weights
    # By chance, that of a group has the variance 1 / (n - 1), so the mean has 1 / weights.
    by_chance = weights**-0.5
    return float(correlation) if abs(correlation) > NO_CHANCE * by_chance else 0.0


def repairs(dataset: Dataset) -> str:
    """List the repairs made when the data were read, each with its count."""
    return ", ".join(f"{n:,} {what}" for what, n in dataset.repairs.items()) or "none"


def repeats(dataset: Dataset) -> str:
    """Say how many events repeat an item that the user has met, and what to set."""
    count = dataset.repeats
    if not count:
        return "none"
    share = count / len(dataset.interactions)
    return (
        f"{count:,} interactions ({share:.1%}) repeat an item that the user has met; with "
        "data.repeats: first in params.yaml, the first of each user and item is kept"
    )


def _spread(values: pd.Series) -> str:
    """Return the smallest, the largest and the median value as text."""
    return f"{values.min():,} to {values.max():,}, median {values.median():g}"


def filters_of(description: Mapping[str, Any]) -> str:
    """List the settings of a split that are not the defaults, each after a comma.

    ``description``: that of the sequences.
    """
    defaults = {"min_rating": 0, "k_core": 0, "midnight": None, "repeats": None, "ties": None}
    values = {name: description.get(name, usual) for name, usual in defaults.items()}
    changed = {name: value for name, value in values.items() if value != defaults[name]}
    words = {n: v if isinstance(v, str) else f"{v:g}" for n, v in changed.items()}
    return "".join(f", {name} {word}" for name, word in words.items())
