"""Check and repair datasets from files or from tables in memory.

Repairs that cannot change the meaning are made and counted; anything else is an error with file,
line and column (docs/data.md, "What is checked and repaired").
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import pandas as pd

from paragon.data.raw import UNWRITABLE, RawTable
from paragon.errors import ParagonError, shown

# Separators between names, of the atomic format and of others.
SEPARATORS = re.compile(r"[\s,;|\[\]]+")
# Required columns of each table, by file suffix.
NEEDED = {"inter": ("user_id", "item_id", "timestamp"), "item": ("item_id",), "user": ("user_id",)}
# Possible column names; the first one present is used.
TITLES = ("movie_title", "title", "item_name", "name")
GROUPS = ("group", "gender")
RENAMED = "names of categories written with '_' for spaces and separators"  # among the repairs
MILLISECONDS = 1e11  # as seconds this is the year 5138, as milliseconds it is 1973
TOO_LARGE = 5e12  # as milliseconds this is the year 2128; dates as 20230101120000 are larger
UNKNOWN_ITEMS_LIMIT = 0.1


@dataclass(frozen=True, eq=False)
class Dataset:
    """Three checked tables of a dataset.

    ``interactions``: ``user_id``, ``item_id`` (str), ``rating`` (float64), ``timestamp`` (int64,
    seconds since 1970), in file order, which decides ties.  ``items``: ``item_id`` (str, unique),
    ``title`` (str), ``categories`` (tuple of str), in catalogue order, with all items of the
    interactions.  ``users``: ``user_id`` (str, unique), ``group`` (str or NA), perhaps empty.
    ``source``: whether the data are official.  ``fingerprint``: sha256 of the files.  ``repairs``:
    their counts.
    """

    name: str
    interactions: pd.DataFrame
    items: pd.DataFrame
    users: pd.DataFrame
    source: str = "own"
    fingerprint: str = ""
    repairs: dict[str, int] = field(default_factory=dict)

    @property
    def categories(self) -> tuple[str, ...]:
        """The distinct categories of all items, sorted."""
        return tuple(sorted({name for names in self.items["categories"] for name in names}))

    @classmethod
    def from_raw(
        cls, name: str, events: RawTable, items: RawTable, users: RawTable | None
    ) -> Dataset:
        """Check and repair three raw tables; the fingerprint stays empty."""
        repairs: dict[str, int] = {}
        interactions = _check_events(events, repairs)
        catalogue = _check_items(items, interactions, events.name, repairs)
        people = pd.DataFrame({"user_id": [], "group": []}, dtype=object)
        if users is not None:
            people = _check_users(users, interactions, repairs)
        counted = {repair: int(number) for repair, number in repairs.items() if number}
        return cls(name, interactions, catalogue, people, repairs=counted)

    @classmethod
    def from_frame(
        cls, interactions: object, items: object, users: object = None, name: str = "own"
    ) -> Dataset:
        """Check and repair tables in memory (pandas, polars, or a mapping of columns).

        Columns of ``interactions``: ``user_id``, ``item_id``, ``timestamp`` (seconds since 1970 or
        datetimes), optional ``rating``; of ``items``: ``item_id``, ``categories`` (lists of str),
        optional ``title``; of ``users``: ``user_id``, optional ``group``.  Ids are strings or
        integers.  Raises ``ParagonError`` with table, row and column of the first error.
        """
        events = _raw_table(interactions, "interactions table", *NEEDED["inter"])
        times = events.frame["timestamp"]
        if pd.api.types.is_datetime64_any_dtype(times):
            start = pd.Timestamp(0, tz=times.dt.tz).as_unit(times.dt.unit)  # also fits the year 1
            seconds = (times - start) / pd.Timedelta(seconds=1)
            events = replace(events, frame=events.frame.assign(timestamp=seconds))
        catalogue = _raw_table(items, "items table", "item_id", "categories")
        people = None if users is None else _raw_table(users, "users table", *NEEDED["user"])
        dataset = cls.from_raw(name, events, catalogue, people)
        changed = sum(category != one_word(category) for category in dataset.categories)
        repairs = dataset.repairs | ({RENAMED: changed} if changed else {})
        return replace(dataset, fingerprint=fingerprint(dataset.atomic_files()), repairs=repairs)

    def atomic_files(self) -> dict[str, bytes]:
        """Return the contents of the atomic files by suffix; equal datasets give equal bytes.

        Raises ``ParagonError`` if two categories, written as one word each, become equal.
        """
        events, items, users = self.interactions, self.items, self.users
        words = {name: one_word(name) for name in self.categories}
        of_word: dict[str, list[str]] = {}
        for name, word in words.items():
            of_word.setdefault(word, []).append(name)
            if not word or len(of_word[word]) > 1:
                raise ParagonError(
                    f"categories {', '.join(map(shown, of_word[word]))} become the same word, or "
                    "none, in a file, where spaces, ',', ';', '|' and brackets turn into '_' and "
                    "quotes at the ends are lost; rename one of them"
                )
        inter = {
            "user_id:token": events["user_id"],
            "item_id:token": events["item_id"],
            "rating:float": map(number_text, events["rating"]),
            "timestamp:float": map(str, events["timestamp"]),
        }
        item = {
            "item_id:token": items["item_id"],
            "title:token_seq": items["title"],
            "categories:token_seq": (
                " ".join(words[n] for n in row) for row in items["categories"]
            ),
        }
        user = {"user_id:token": users["user_id"], "group:token": users["group"].fillna("")}
        contents = {"inter": atomic_bytes(inter), "item": atomic_bytes(item)}
        return contents | ({"user": atomic_bytes(user)} if len(users) else {})


def one_word(name: str) -> str:
    """Write a category as one word, without quotes at its ends."""
    return "_".join(filter(None, SEPARATORS.split(name))).strip("'\"")


def number_text(value: float) -> str:
    """Write a number as the shortest text that reads back equal: ``4``, ``3.5``."""
    return str(int(value)) if float(value).is_integer() else repr(float(value))


def atomic_bytes(columns: Mapping[str, Iterable[str]]) -> bytes:
    """Encode columns of text as an atomic file; the keys are the header."""
    rows = zip(*columns.values(), strict=True)
    return "".join("\t".join(row) + "\n" for row in (tuple(columns), *rows)).encode("utf-8")


def sums_of(contents: Mapping[str, bytes]) -> dict[str, str]:
    """Compute the sha256 of each file."""
    return {suffix: hashlib.sha256(data).hexdigest() for suffix, data in contents.items()}


def fingerprint(contents: Mapping[str, bytes]) -> str:
    """Compute the sha256 of the files' sha256 sums, in order of suffix."""
    lines = "".join(f"{suffix} {sha256}\n" for suffix, sha256 in sorted(sums_of(contents).items()))
    return hashlib.sha256(lines.encode()).hexdigest()


def _raw_table(source: Any, name: str, *required: str) -> RawTable:
    """Convert a table-like object to a raw table with rows counted from 0."""
    try:
        names = list(getattr(source, "columns", source))
        frame = pd.DataFrame({str(column): _values(source[column]) for column in names})
        if len(frame.columns) < len(names):
            raise ValueError("two columns have the same name")
    except Exception as error:  # objects that are not tables may raise anything
        raise ParagonError(
            f"{name}: expected a table with columns of one length, found {type(source).__name__} "
            f"({shown(str(error))}); pass one of pandas or polars, or a mapping of lists"
        ) from None
    table = RawTable(name, frame, unit="row")
    table.select(*required)
    return table


def _values(column: Any) -> list:
    if isinstance(column, (str, bytes)):
        raise TypeError("a column is a single string")
    return column.to_list() if hasattr(column, "to_list") else list(column)


# --- checks and repairs -------------------------------------------------------------------------


def _check_events(table: RawTable, repairs: dict[str, int]) -> pd.DataFrame:
    """Check the interactions, and count their ``repairs``."""
    if table.frame.empty:
        raise ParagonError(f"{table.name}: there are no interactions; add some")
    events = pd.DataFrame({column: table.ids(column) for column in ("user_id", "item_id")})
    rated = "rating" in table.frame
    repairs["interactions without a rating, set to 1"] = 0 if rated else len(events)
    rating = table.numbers("rating") if rated else 1.0
    events = events.assign(rating=rating, timestamp=_seconds(table, repairs))

    repeated = events.duplicated(["user_id", "item_id", "timestamp"]).to_numpy()
    repairs["duplicate events dropped"] = identical = events.duplicated().sum()
    other_rating = "events that repeat user, item and time with another rating dropped"
    repairs[other_rating] = repeated.sum() - identical
    events = events[~repeated].reset_index(drop=True)

    fractions = (events["timestamp"] % 1 != 0).sum()
    repairs["timestamps rounded down to the second"] = fractions
    if fractions:  # rounding would lose the order within a second, which decides ties
        events = events.sort_values("timestamp", kind="stable", ignore_index=True)
    return events.assign(timestamp=np.floor(events["timestamp"]).astype(np.int64))


def _seconds(table: RawTable, repairs: dict[str, int]) -> np.ndarray:
    """Convert times to seconds, with fractions; mixed units are an error."""
    times = table.numbers("timestamp")
    large, too_large = times > MILLISECONDS, times >= TOO_LARGE
    if too_large.any():
        fix = "this looks like smaller units or a date as one number: convert the column"
        raise table.error(int(too_large.argmax()), "timestamp", "seconds since 1970", fix)
    if large.any() and not large.all():
        rarer = large if large.mean() < 0.5 else ~large  # more likely the mistake
        fix = "seconds and milliseconds are mixed: correct the column"
        raise table.error(int(rarer.argmax()), "timestamp", "one unit in the whole column", fix)
    repairs["timestamps in milliseconds divided by 1000"] = large.sum()
    return times / 1000.0 if large.any() else times


def _check_items(
    table: RawTable, events: pd.DataFrame, events_name: str, repairs: dict[str, int]
) -> pd.DataFrame:
    """Check the items, and append unknown items of the ``events`` without categories.

    More than 10 % unknown items mean that the tables do not belong together: an error.
    """
    if table.frame.empty:
        raise ParagonError(f"{table.name}: there are no items; add one row per item")
    ids, titles = table.ids("item_id"), _texts(table, TITLES)
    categories = [_category_names(value) for value in table.frame["categories"]]
    if None in categories:
        expected = "a list of strings, empty if unknown"
        raise table.error(categories.index(None), "categories", expected)
    items = pd.DataFrame({"item_id": ids, "title": titles.where(titles != "", ids)})
    items["categories"] = pd.Series(categories, index=ids.index, dtype=object)
    items = _without_repeated(table, items, "item_id", "items", repairs)
    repairs["items without categories"] = sum(not names for names in items["categories"])

    met = events["item_id"].drop_duplicates()
    unknown = met[~met.isin(items["item_id"])].tolist()
    if len(unknown) > UNKNOWN_ITEMS_LIMIT * len(met):
        column = table.published.get("item_id", "item_id")
        raise ParagonError(
            f"{events_name}: {len(unknown)} of {len(met)} items, the first of them "
            f"{shown(unknown[0])}, are not in column {column} of {table.name}; add them there, or "
            "use the ids of that table"
        )
    repairs["items missing from the catalogue added without categories"] = len(unknown)
    extra = {"item_id": unknown, "title": unknown, "categories": [()] * len(unknown)}
    return pd.concat([items, pd.DataFrame(extra)], ignore_index=True) if unknown else items


def _category_names(value: Any) -> tuple[str, ...] | None:
    """Return the distinct names in a list, () if missing, None for anything else."""
    if not pd.api.types.is_list_like(value, allow_sets=False) or isinstance(value, Mapping):
        return () if value is None or value is pd.NA or value != value else None
    names = list(value)
    if not all(isinstance(n, str) and not UNWRITABLE.search(" ".join(n.split())) for n in names):
        return None
    return tuple(dict.fromkeys(filter(None, map(str.strip, names))))


def _check_users(table: RawTable, events: pd.DataFrame, repairs: dict[str, int]) -> pd.DataFrame:
    """Check the users; raise if none of the users of the ``events`` is among them."""
    users = pd.DataFrame({"user_id": table.ids("user_id"), "group": _texts(table, GROUPS)})
    users = _without_repeated(table, users, "user_id", "users", repairs)
    active = events["user_id"].drop_duplicates()
    unknown = ~active.isin(users["user_id"])
    if len(users) and unknown.all():
        raise ParagonError(
            f"{table.name}: column {table.published.get('user_id', 'user_id')} has none of the "
            f"{len(active)} users of the interactions, the first of them "
            f"{shown(active.iloc[0])}; use the same ids"
        )
    repairs["users missing from the user table, of unknown group"] = unknown.sum() * bool(
        len(users)
    )
    group = users["group"].astype(object)
    return users.assign(group=group.where(group != "", pd.NA))


def _without_repeated(
    table: RawTable, frame: pd.DataFrame, key: str, kind: str, repairs: dict[str, int]
) -> pd.DataFrame:
    """Drop and count repeated rows; one id with two contents is an error."""
    repeated = frame.duplicated([key]).to_numpy()
    differs = repeated & ~frame.duplicated().to_numpy()
    if differs.any():
        fix = "the rows differ: keep one of them"
        raise table.error(int(differs.argmax()), key, "an id that no earlier row has", fix)
    repairs[f"duplicate {kind} dropped"] = repeated.sum()
    return frame[~repeated].reset_index(drop=True)


def _texts(table: RawTable, names: tuple[str, ...]) -> pd.Series:
    """Return the first of these columns as single-line text, or "" if none exists."""
    column = next((name for name in names if name in table.frame), None)
    if column is None:
        return pd.Series("", index=table.frame.index, dtype=object)
    values, spaces = table.frame[column], str.maketrans("\t\n\r", "   ")
    pairs = zip(values, values.isna(), strict=True)
    texts = ("" if missing else str(value).translate(spaces) for value, missing in pairs)
    table = table.replaced(column, texts)
    table.check_text(column)
    return table.frame[column]
