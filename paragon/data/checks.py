"""What makes three raw tables a dataset: every check and every repair, in one place.

Nothing is repaired in silence.  A repair that cannot change the meaning of the data is made
and counted; anything else is an error that names the file, the line and the column.  The list
is in docs/data.md, "What is checked and repaired".
"""

from __future__ import annotations

import numpy as np
import pandas as pd

from paragon.data.raw import RawTable, first_true
from paragon.errors import shown

# Names of columns; of several that are there the first counts.
TITLES = ("movie_title", "title", "item_name", "name")
GROUPS = ("group", "gender")

MILLISECONDS = 1e11  # as seconds this is the year 5138, as milliseconds it is 1973
TOO_LARGE = 5e12  # as milliseconds this is the year 2128; 20230101120000 is no time at all
UNKNOWN_ITEMS_LIMIT = 0.1


def check_events(table: RawTable, repairs: dict[str, int]) -> pd.DataFrame:
    """The interactions of a dataset; what had to be repaired is counted in ``repairs``."""
    if table.frame.empty:
        raise table.error_in_whole("there are no interactions; add some")
    events = pd.DataFrame({column: table.ids(column) for column in ("user_id", "item_id")})
    rated = "rating" in table.frame
    rating = table.numbers("rating") if rated else 1.0
    repairs["interactions without a rating, set to 1"] = 0 if rated else len(events)
    events = events.assign(rating=rating, timestamp=_seconds(table, repairs))

    repeated = events.duplicated(["user_id", "item_id", "timestamp"]).to_numpy()
    identical = events.duplicated().sum() if repeated.any() else 0
    repairs["duplicate events dropped"] = identical
    other_rating = "events that repeat user, item and time with another rating dropped"
    repairs[other_rating] = repeated.sum() - identical
    events = events[~repeated].reset_index(drop=True)

    fractions = (events["timestamp"] % 1 != 0).sum()
    repairs["timestamps rounded down to the second"] = fractions
    if fractions:  # the order within a second decides ties, and would be lost
        events = events.sort_values("timestamp", kind="stable", ignore_index=True)
    return events.assign(timestamp=np.floor(events["timestamp"]).astype(np.int64))


def _seconds(table: RawTable, repairs: dict[str, int]) -> np.ndarray:
    """Times in seconds, still with their fraction; a mixture of units is an error."""
    times = table.numbers("timestamp")
    large = times > MILLISECONDS
    if (row := first_true(times >= TOO_LARGE)) is not None:
        expected = "seconds since 1970"
        advice = "this looks like smaller units or a date as one number: convert the column"
    elif large.any() and not large.all():
        # Name the rarer kind: it is the likelier mistake.
        row = first_true(large if large.mean() < 0.5 else ~large)
        expected = "one unit of time in the whole column"
        advice = "seconds and milliseconds are mixed: correct the column"
    if row is not None:
        index, value = table.frame.index[row], f"{times[row]:.0f}"
        raise table.error(index, "timestamp", value, expected, advice)
    repairs["timestamps in milliseconds divided by 1000"] = large.sum()
    return times / 1000.0 if large.any() else times


def _without_repeated(
    table: RawTable, frame: pd.DataFrame, key: str, what: str, repairs: dict[str, int]
) -> pd.DataFrame:
    """Drop and count rows equal to an earlier one; one id with two contents is an error."""
    repeated = frame.duplicated([key]).to_numpy()
    row = first_true(repeated & ~frame.duplicated().to_numpy())
    if row is not None:
        expected = "an id that no earlier row has"
        advice = "the rows differ: keep one of them"
        raise table.error(frame.index[row], key, frame[key].iloc[row], expected, advice)
    repairs[f"duplicate {what} dropped"] = repeated.sum()
    return frame[~repeated].reset_index(drop=True)


def check_items(
    table: RawTable, events: pd.DataFrame, events_table: RawTable, repairs: dict[str, int]
) -> pd.DataFrame:
    """The items of a dataset; ``table`` has lists of strings as ``categories``.

    Unknown items of the ``events`` are appended in the order of their first event, titled by
    their id and without categories.  More than 10 % of them means that the ids of the two
    tables do not belong together, which is an error.
    """
    if table.frame.empty:
        raise table.error_in_whole("there are no items; add one row per item")
    ids, titles = table.ids("item_id"), _texts(table, TITLES)
    items = pd.DataFrame({"item_id": ids, "title": titles.where(titles != "", ids)})
    items["categories"] = pd.Series(_category_tuples(table), index=ids.index, dtype=object)
    items = _without_repeated(table, items, "item_id", "items", repairs)
    repairs["items without categories"] = sum(not names for names in items["categories"])

    met = events["item_id"].drop_duplicates()
    unknown = met[~met.isin(items["item_id"])].tolist()
    if len(unknown) > UNKNOWN_ITEMS_LIMIT * len(met):
        raise events_table.error_in_whole(
            f"{len(unknown)} of {len(met)} items, the first of them {shown(unknown[0])}, are not "
            f"in column {table.published_name('item_id')} of {table.name}; add them "
            "there, or use the ids of that table"
        )
    repairs["items missing from the catalogue added without categories"] = len(unknown)
    if not unknown:
        return items
    extra = pd.DataFrame({"item_id": unknown, "title": unknown, "categories": [()] * len(unknown)})
    return pd.concat([items, extra], ignore_index=True)


def _category_tuples(table: RawTable) -> list[tuple[str, ...]]:
    """Each item's categories without blanks and repetitions, in their order."""
    tuples: list[tuple[str, ...]] = []
    for index, value in table.frame["categories"].items():
        if value is None or value is pd.NA or (isinstance(value, float) and np.isnan(value)):
            value = ()
        is_list = isinstance(value, (list, tuple, np.ndarray, pd.Series))
        if not is_list or not all(isinstance(name, str) for name in value):
            advice = "one list per item, empty if unknown"
            raise table.error(index, "categories", value, "a list of strings", advice)
        tuples.append(tuple(dict.fromkeys(text for name in value if (text := name.strip()))))
    words = [" ".join(" ".join(names).split()) for names in tuples]  # line breaks become spaces
    table.replaced("categories", words).check_text("categories")
    return tuples


def check_users(table: RawTable, events: pd.DataFrame, repairs: dict[str, int]) -> pd.DataFrame:
    """The users of a dataset; a table with none of the users of the ``events`` is an error."""
    users = pd.DataFrame({"user_id": table.ids("user_id"), "group": _texts(table, GROUPS)})
    if len(users):
        users = _without_repeated(table, users, "user_id", "users", repairs)
        active = events["user_id"].drop_duplicates()
        unknown = ~active.isin(users["user_id"])
        if unknown.all():
            raise table.error_in_whole(
                f"column {table.published_name('user_id')} has none of the "
                f"{len(active)} users of the interactions, the first of them "
                f"{shown(active.iloc[0])}; use the same ids"
            )
        repairs["users missing from the user table, of unknown group"] = unknown.sum()
    group = users["group"].astype(object)
    return users.assign(group=group.where(group != "", pd.NA))


def _texts(table: RawTable, names: tuple[str, ...]) -> pd.Series:
    """The first of the columns that is there, as text; "" where there is none.

    Tabs and line breaks become spaces.
    """
    column = next((name for name in names if name in table.frame), None)
    if column is None:
        return pd.Series("", index=table.frame.index, dtype=object)
    values, spaces = table.frame[column], str.maketrans("\t\n\r", "   ")
    pairs = zip(values, values.isna(), strict=True)
    texts = ("" if missing else str(value).translate(spaces) for value, missing in pairs)
    table = table.replaced(column, texts)
    table.check_text(column)
    return table.frame[column]
