"""The one form in which every dataset reaches the rest of the package."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import pandas as pd

from paragon.data.checks import check_events, check_items, check_users
from paragon.data.raw import RawTable
from paragon.errors import ParagonError, shown

# Where the names in one field may end: the spaces of the atomic format, and what others use.
SEPARATORS = re.compile(r"[\s,;|\[\]]+")
RENAMED = "names of categories written with '_' for spaces and separators"  # among the repairs


@dataclass(frozen=True, eq=False)
class Dataset:
    """Three checked tables and where they came from.

    ``interactions``: ``user_id``, ``item_id`` (str), ``rating`` (float64), ``timestamp``
    (int64, seconds since 1970), in file order; the order decides ties in time.  ``items``:
    ``item_id`` (str, unique), ``title`` (str), ``categories`` (tuple of str), in catalogue
    order, every item of the interactions among them.  ``users``: ``user_id`` (str, unique),
    ``group`` (str or NA); no rows where nothing is known of the users.

    ``source`` says how far the data is known to be the official one, ``fingerprint`` is a
    sha256 over the contents of the files, ``repairs`` counts what was repaired on reading
    (:mod:`paragon.data.checks` lists the repairs).
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

    @property
    def n_categories(self) -> int:
        """The number of distinct categories."""
        return len(self.categories)

    @classmethod
    def from_raw(
        cls, name: str, events: RawTable, items: RawTable, users: RawTable | None
    ) -> Dataset:
        """Check and repair three raw tables (:mod:`paragon.data.checks`); no fingerprint yet."""
        repairs: dict[str, int] = dict(items.repairs)
        interactions = check_events(events, repairs)
        catalogue = check_items(items, interactions, events, repairs)
        people = pd.DataFrame({"user_id": [], "group": []}, dtype=object)
        if users is not None:
            people = check_users(users, interactions, repairs)
        made = {what: int(number) for what, number in repairs.items() if number}
        return cls(name, interactions, catalogue, people, repairs=made)

    @classmethod
    def from_frame(
        cls, interactions: object, items: object, users: object = None, name: str = "own"
    ) -> Dataset:
        """A dataset from tables in memory (pandas, polars, or a mapping of columns).

        ``interactions`` needs ``user_id``, ``item_id``, ``timestamp`` (seconds since 1970 or
        datetimes) and may have ``rating``; ``items`` needs ``item_id`` and ``categories`` (a
        list of strings per item) and may have ``title``; ``users`` needs ``user_id`` and may
        have ``group`` (``TITLES`` and ``GROUPS`` of :mod:`paragon.data.checks` list the other
        names known).  Ids may be strings or integers; they become strings.  Raises
        ``ParagonError`` with table, row and column of the first thing that is wrong.
        """
        events = _raw_table(interactions, "interactions table", "user_id", "item_id", "timestamp")
        times = events.frame["timestamp"]
        if pd.api.types.is_datetime64_any_dtype(times):
            start = pd.Timestamp(0, tz=times.dt.tz).as_unit(times.dt.unit)  # the year 1 fits, too
            seconds = (times - start) / pd.Timedelta(seconds=1)
            events = replace(events, frame=events.frame.assign(timestamp=seconds))
        catalogue = _raw_table(items, "items table", "item_id", "categories")
        people = None if users is None else _raw_table(users, "users table", "user_id")
        dataset = cls.from_raw(name, events, catalogue, people)
        files, changed = dataset.atomic_files(), renamed(dataset.categories)
        repairs = dataset.repairs | ({RENAMED: changed} if changed else {})
        return replace(dataset, fingerprint=fingerprint(files), repairs=repairs)

    def atomic_files(self) -> dict[str, bytes]:
        """The contents of the atomic files (:mod:`paragon.data.atomic`), by suffix.

        Equal datasets give equal bytes; no users, no user file.  A category becomes one word,
        because the format separates categories by spaces; two that become the same word are
        an error.
        """
        events, items, users = self.interactions, self.items, self.users
        words: dict[str, str] = {}
        for name in (name for names in items["categories"] for name in names):
            word = one_word(name)
            if not word:
                raise ParagonError(
                    f"category {shown(name)} holds nothing but separators and quotes; rename it"
                )
            if (other := words.setdefault(word, name)) != name:
                raise ParagonError(
                    f"categories {shown(other)} and {shown(name)} become the same word in a file, "
                    "where spaces, ',', ';', '|' and brackets turn into '_' and quotes at the ends "
                    "are lost; rename one of them"
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
            "categories:token_seq": (" ".join(map(one_word, c)) for c in items["categories"]),
        }
        user = {"user_id:token": users["user_id"], "group:token": users["group"].fillna("")}
        contents = {"inter": atomic_bytes(inter), "item": atomic_bytes(item)}
        return contents | ({"user": atomic_bytes(user)} if len(users) else {})


def one_word(name: str) -> str:
    """A category as one word, because the atomic format separates a list by spaces.

    Without quotes at its ends: they would be read as the ends of a name.
    """
    return "_".join(filter(None, SEPARATORS.split(name))).strip("'\"")


def renamed(names: Iterable[str]) -> int:
    """How many different names :func:`one_word` changes."""
    return sum(name != one_word(name) for name in set(names))


def number_text(value: float) -> str:
    """The shortest text that reads back as the same number: ``4``, ``3.5``."""
    return str(int(value)) if float(value).is_integer() else repr(float(value))


def atomic_bytes(columns: Mapping[str, Iterable[str]]) -> bytes:
    """Columns of text as the content of an atomic file; the keys are the header."""
    rows = zip(*columns.values(), strict=True)
    return "".join("\t".join(row) + "\n" for row in (tuple(columns), *rows)).encode("utf-8")


def sums_of(contents: Mapping[str, bytes]) -> dict[str, str]:
    """sha256 of each of the files."""
    return {suffix: hashlib.sha256(data).hexdigest() for suffix, data in contents.items()}


def fingerprint(contents: Mapping[str, bytes]) -> str:
    """sha256 over the files' own sha256 sums, in the order of their suffixes."""
    lines = "".join(f"{suffix} {own}\n" for suffix, own in sorted(sums_of(contents).items()))
    return hashlib.sha256(lines.encode()).hexdigest()


def _raw_table(source: Any, name: str, *required: str) -> RawTable:
    """Any table-like object as a raw table, whose rows count from 0 as in pandas."""
    table = RawTable(name, pd.DataFrame(), unit="row")
    try:
        names = list(getattr(source, "columns", source))
        columns = {str(column): _series(source[column]) for column in names}
    except Exception as error:  # whatever an object says that is no table, or not yet one
        raise table.error_in_whole(
            f"expected a table with columns, found {type(source).__name__} "
            f"({shown(str(error))}); pass one of pandas or polars, or a mapping of lists"
        ) from None
    if len(columns) < len(names):
        twice = next(column for column in columns if list(map(str, names)).count(column) > 1)
        raise table.error_in_whole(f"column {twice} is there twice; rename one of them")
    for column in required:
        if column not in columns:
            have = ", ".join(columns) or "none"
            what = f"column {column} is missing (columns found: {have}); add it"
            raise table.error_in_whole(what)
    if len({len(series) for series in columns.values()}) > 1:
        sizes = ", ".join(f"{column} {len(series)}" for column, series in columns.items())
        raise table.error_in_whole(f"the columns differ in length ({sizes}); give each row a value")
    return replace(table, frame=pd.DataFrame(columns))


def _series(values: Any) -> pd.Series:
    if isinstance(values, (str, bytes)):
        raise TypeError("a column is a single string")
    if isinstance(values, pd.Series):
        return values.reset_index(drop=True)
    if not isinstance(values, np.ndarray):
        values = values.to_list() if hasattr(values, "to_list") else list(values)  # polars has it
    try:
        return pd.Series(values)
    except UnicodeEncodeError:  # pyarrow's, where it is installed; the row is found later
        return pd.Series(values, dtype=object)
