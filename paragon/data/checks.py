"""What makes three tables a dataset: every check, and every repair, in one place.

Nothing is repaired in silence.  A repair that cannot change the meaning of the
data is made and counted in ``repairs``; anything else is an error that names
the row.

| found | what happens |
| --- | --- |
| an event equal to an earlier one (user, item, time) | dropped, counted |
| timestamps in milliseconds, all of them | divided by 1,000, counted |
| timestamps with a fraction of a second | rounded down, counted |
| no rating column | ratings are 1, counted |
| items that interactions name and the catalogue lacks, up to 10 % | added, counted |
| items without categories | kept, counted |
| users without a row in the user table, if it has rows of others | kept, counted |
| rows of the item or user table equal to an earlier one | dropped, counted |
| everything else (text, NaN, negative numbers, empty ids, ...) | an error |

Where a fraction of a second is lost, the events are first sorted by their full
time, so that the order within a second, which decides ties, survives.
"""

from __future__ import annotations

import numpy as np
import pandas as pd

from paragon.data.places import UNWRITABLE, Place, shown

MILLISECONDS = 1e11  # as seconds this is the year 5138, as milliseconds it is 1973
TOO_LARGE = 5e12  # as milliseconds this is the year 2128; 20230101120000 is no time at all
UNKNOWN_ITEMS_LIMIT = 0.1

FIX_LINE = "correct or remove it"


def count(repairs: dict[str, int], what: str, number: int) -> None:
    """Note a repair if it was made at all."""
    if number:
        repairs[what] = repairs.get(what, 0) + int(number)


def _first(mask: np.ndarray) -> int | None:
    """Index of the first True, or None."""
    index = int(np.argmax(mask)) if len(mask) else 0
    return index if len(mask) and mask[index] else None


def check_ids(ids: pd.Series, column: str, place: Place) -> None:
    """No id may be empty, padded with spaces, or unfit for a field of a file."""
    codes, unique = pd.factorize(ids)
    for code, value in enumerate(unique):
        if not value or value != value.strip() or UNWRITABLE.search(value):
            row = int(np.argmax(codes == code))
            expected = "an id of printable text without spaces around it"
            raise place.error(row, column, value, expected, FIX_LINE)


def _check_numbers(values: np.ndarray, column: str, place: Place) -> None:
    row = _first(~np.isfinite(values))
    if row is not None:
        raise place.error(row, column, float(values[row]), "a finite number", FIX_LINE)
    row = _first(values < 0)
    if row is not None:
        raise place.error(row, column, float(values[row]), "a number of 0 or more", FIX_LINE)


def _seconds(times: np.ndarray, place: Place, repairs: dict[str, int]) -> np.ndarray:
    """Times in seconds, still with their fraction; a mixture of units is an error."""
    row = _first(times >= TOO_LARGE)
    if row is not None:
        raise place.error(
            row, "timestamp", f"{times[row]:.0f}", "seconds since 1970",
            "this looks like smaller units, or a date written as one number: convert the column",
        )  # fmt: skip
    large = times > MILLISECONDS
    if not large.any():
        return times
    if not large.all():
        # Name the rarer kind: it is the likelier mistake.
        row = _first(large) if large.mean() < 0.5 else _first(~large)
        raise place.error(
            row, "timestamp", f"{times[row]:.0f}", "one unit of time in the whole column",
            "seconds and milliseconds are mixed: correct the column",
        )  # fmt: skip
    count(repairs, "timestamps in milliseconds divided by 1000", len(times))
    return times / 1000.0


def clean_interactions(frame: pd.DataFrame, place: Place, repairs: dict[str, int]) -> pd.DataFrame:
    """Check and repair the events: ``user_id, item_id`` (str), ``rating, timestamp`` (float).

    Returns the contract's columns in file order, ``timestamp`` as int64
    seconds.  A missing ``rating`` column becomes 1.0.
    """
    if frame.empty:
        raise place.whole("there are no interactions below the header; add some")
    check_ids(frame["user_id"], "user_id", place)
    check_ids(frame["item_id"], "item_id", place)
    if "rating" not in frame:
        frame = frame.assign(rating=1.0)
        count(repairs, "interactions without a rating, set to 1", len(frame))
    rating = frame["rating"].to_numpy(np.float64)
    times = frame["timestamp"].to_numpy(np.float64)
    _check_numbers(rating, "rating", place)
    _check_numbers(times, "timestamp", place)
    times = _seconds(times, place, repairs)

    repeated, identical = _repeated(frame, rating, times)
    count(repairs, "duplicate events dropped", identical.sum())
    count(
        repairs,
        "events that repeat user, item and time with another rating dropped",
        (repeated & ~identical).sum(),
    )
    keep = np.flatnonzero(~repeated)
    whole = np.floor(times)
    fractions = int((whole != times)[keep].sum())
    if fractions:
        count(repairs, "timestamps rounded down to the second", fractions)
        keep = keep[np.argsort(times[keep], kind="stable")]
    columns = {
        "user_id": frame["user_id"].to_numpy()[keep],
        "item_id": frame["item_id"].to_numpy()[keep],
        "rating": rating[keep],
        "timestamp": whole[keep].astype(np.int64),
    }
    return pd.DataFrame(columns)


def _repeated(
    frame: pd.DataFrame, rating: np.ndarray, times: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Masks of events whose user, item and time (and also rating) stood before."""
    keys = pd.DataFrame(
        {
            "user": pd.factorize(frame["user_id"])[0],
            "item": pd.factorize(frame["item_id"])[0],
            "time": times,
            "rating": rating,
        }
    )
    repeated = keys.duplicated(["user", "item", "time"]).to_numpy()
    return repeated, keys.duplicated().to_numpy() & repeated


def _unique_rows(
    frame: pd.DataFrame, key: str, place: Place, repairs: dict[str, int], what: str
) -> pd.DataFrame:
    """Drop and count rows equal to an earlier one; one id with two contents is an error."""
    repeated = frame.duplicated([key]).to_numpy()
    if not repeated.any():
        return frame
    identical = frame.duplicated().to_numpy()
    row = _first(repeated & ~identical)
    if row is not None:
        raise place.error(
            row, key, frame[key].iloc[row], "an id that no earlier row has",
            "the rows differ: keep one of them",
        )  # fmt: skip
    count(repairs, f"duplicate {what} dropped", repeated.sum())
    return frame[~repeated].reset_index(drop=True)


def clean_items(frame: pd.DataFrame, place: Place, repairs: dict[str, int]) -> pd.DataFrame:
    """Check the catalogue: ``item_id, title`` (str), ``categories`` (tuple of str)."""
    if frame.empty:
        raise place.whole("there are no items below the header; add one line per item")
    check_ids(frame["item_id"], "item_id", place)
    items = _unique_rows(frame, "item_id", place, repairs, "items")
    bare = sum(not categories for categories in items["categories"])
    count(repairs, "items without categories", bare)
    return items[["item_id", "title", "categories"]]


def clean_users(
    frame: pd.DataFrame, interactions: pd.DataFrame, place: Place, repairs: dict[str, int]
) -> pd.DataFrame:
    """Check the users: ``user_id`` (str), ``group`` (str; empty becomes NA).

    A table that knows none of the users has other ids, which is an error.
    """
    if not frame.empty:
        check_ids(frame["user_id"], "user_id", place)
        frame = _unique_rows(frame, "user_id", place, repairs, "users")
        active = pd.unique(interactions["user_id"])
        known = pd.Series(active).isin(frame["user_id"])
        if not known.any():
            raise place.whole(
                f"column {place.column('user_id')} has none of the {len(active)} users of the "
                f"interactions, the first of them {shown(active[0])}; use the same ids"
            )
        count(repairs, "users missing from the user table, of unknown group", (~known).sum())
    group = frame["group"].astype(object)
    return pd.DataFrame({"user_id": frame["user_id"], "group": group.where(group != "", pd.NA)})


def add_unknown_items(
    interactions: pd.DataFrame,
    items: pd.DataFrame,
    place: Place,
    catalogue: Place,
    repairs: dict[str, int],
) -> pd.DataFrame:
    """The catalogue with every item of the interactions in it.

    Unknown items are appended in the order of their first event, titled by
    their id and without categories.  More than 10 % of them means that the ids
    of the two tables do not belong together, which is an error.
    """
    seen = pd.unique(interactions["item_id"])
    known = set(items["item_id"])
    unknown = [item for item in seen if item not in known]
    if not unknown:
        return items
    if len(unknown) > UNKNOWN_ITEMS_LIMIT * len(seen):
        raise place.whole(
            f"{len(unknown)} of {len(seen)} items, the first of them {shown(unknown[0])}, are not "
            f"in column {catalogue.column('item_id')} of {catalogue.name}; add them there, or use "
            "the ids of that table"
        )
    count(repairs, "items missing from the catalogue added without categories", len(unknown))
    extra = pd.DataFrame({"item_id": unknown, "title": unknown, "categories": [()] * len(unknown)})
    return pd.concat([items, extra], ignore_index=True)
