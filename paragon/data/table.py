"""Check and repair datasets from files or from tables in memory.

Repairs that cannot change the meaning are made and counted; anything else is an error with file,
line and column (docs/data.md, "What is checked and repaired").
"""

import hashlib
import re
import unicodedata
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import pandas as pd

from paragon.errors import ParagonError, shown
from paragon.params import LONGEST_ID

# Not allowed in a field: separators, NUL, and lone surrogates, which cannot be encoded.
UNWRITABLE = re.compile("[\t\n\r\0\ud800-\udfff]")
NUMBER = re.compile(r"\s*[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?\s*", re.ASCII)
# Characters that are not seen (Default_Ignorable_Code_Point, controls): different text looks equal.
INVISIBLE = re.compile(
    "[\xad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180b-\u180f\u200b-\u200f\u202a-\u202e\u2060-\u206f"
    "\u3164\ufe00-\ufe0f\ufeff\uffa0\ufff0-\ufff8\U0001bca0-\U0001bca3\U0001d173-\U0001d17a"
    "\U000e0000-\U000e0fff\1-\x08\x0e-\x1b\x7f-\x84\x86-\x9f]"
)
# Separators between names, of the atomic format and of others.
SEPARATORS = re.compile(r"[\s,;|\[\]]+")
# Required columns of each table, by file suffix.
NEEDED = {"inter": ("user_id", "item_id", "timestamp"), "item": ("item_id",), "user": ("user_id",)}
# Types of columns in a file; the others are ``token``.
KINDS = {"rating": "float", "timestamp": "float", "title": "token_seq", "categories": "token_seq"}
MILLISECONDS = 1e11  # as seconds this is the year 5138, as milliseconds it is 1973
TOO_LARGE = 5e12  # as milliseconds this is the year 2128; dates as 20230101120000 are larger


@dataclass(frozen=True)
class RawTable:
    """An unchecked table, and where its rows come from."""

    name: str
    frame: pd.DataFrame  # index: the line in the file `name`, or the row in memory
    published: Mapping[str, str] = field(default_factory=dict)  # other column names in the source
    unit: str = "line"

    def check(self, column: str, good: Iterable, expected: str, fix: str = "correct it") -> None:
        """Raise ``ParagonError`` for the first row of the column that is not ``good [rows]``."""
        wrong = ~np.array([*map(bool, good)], dtype=bool)
        if wrong.any():
            row = int(wrong.argmax())
            line, value = self.frame.index[row], self.frame[column].iloc[row]
            value = value.item() if isinstance(value, np.generic) else value
            raise ParagonError(
                f"{self.name}, {self.unit} {line}, column {self.published.get(column, column)}: "
                f"found {shown(value)}, expected {expected}; {fix}"
            )

    def check_text(self, column: str) -> None:
        """Raise ``ParagonError`` for text that a field of a file cannot contain."""
        good = (isinstance(v, str) and not UNWRITABLE.search(v) for v in self.frame[column])
        self.check(column, good, "text without tabs, line breaks, NUL and lone surrogates")

    def ids(self, column: str) -> pd.Series:
        """Return ids as strings; the column may hold strings or integers."""
        values = self.frame[column]
        text = f"visible text of 1 to {LONGEST_ID} characters without spaces around it"
        self.check(column, map(is_id, values), f"an integer, or {text}")
        places, forms = pd.factorize(values.astype(object))
        texts = (unicodedata.normalize("NFC", str(form)) for form in forms)  # composed letters
        plain = [re.sub(r"\A(\d+)\.0+\Z", r"\1", text) for text in texts]
        again = pd.Index(plain, dtype=object).duplicated()
        fix = "another row has the same id in another form, such as 5 and 5.0: write one of them"
        self.check(column, ~again[places], "one form of each id", fix)
        return self.replaced(**{column: map(str, values)}).frame[column]

    def numbers(self, column: str) -> np.ndarray:
        """Return float64 ``[rows]``; raise unless all are finite numbers of 0 or more."""
        values = self.frame[column]
        if pd.api.types.is_any_real_numeric_dtype(values):
            numbers = values.to_numpy("float64", na_value=np.nan)
        else:
            numbers = np.array([*map(_number, values)], dtype=np.float64)
        good = (numbers >= 0) & (numbers < np.inf)
        self.check(column, good, "a finite number of 0 or more")
        return numbers

    def texts(self, *names: str) -> pd.Series:
        """Return the first of these columns as single-line text, or "" if none exists."""
        column = next((name for name in names if name in self.frame), None)
        if column is None:
            return pd.Series("", index=self.frame.index, dtype=object)
        values, spaces = self.frame[column], str.maketrans("\t\n\r", "   ")
        self.check(column, (not isinstance(v, int) or abs(v) < 1 << 64 for v in values), "text")
        known = values.astype(object).where(values.notna(), "")
        table = self.replaced(**{column: (str(value).translate(spaces) for value in known)})
        table.check_text(column)
        return table.frame[column]

    def unique(self, key: str, kind: str, repairs: dict[str, int], **columns: Any) -> pd.DataFrame:
        """Make a table of columns without repeated rows; one id with two contents is an error."""
        frame = pd.DataFrame({key: self.ids(key), **columns})
        repeated = frame.duplicated([key])
        differs = repeated & ~frame.duplicated()
        self.check(key, ~differs, "an id that no earlier row has", "the rows differ: keep one")
        repairs[f"duplicate {kind} dropped"] = repeated.sum()
        return frame[~repeated].reset_index(drop=True)

    def select(self, *columns: str) -> "RawTable":
        """Select columns; raise if one is missing or occurs twice."""
        for column in columns:
            if (times := list(self.frame).count(column)) != 1:
                what = f"column {column} is there {times} times" if times else f"no column {column}"
                have = ", ".join(map(shown, self.frame))
                raise ParagonError(f"{self.name}: {what} among {have}; add or rename it")
        return replace(self, frame=self.frame[list(columns)])

    def replaced(self, **columns: Iterable) -> "RawTable":
        """Return a copy with new values in these columns."""
        index = self.frame.index
        new = {name: pd.Series(list(v), index=index, dtype=object) for name, v in columns.items()}
        return replace(self, frame=self.frame.assign(**new))


def is_id(value: object) -> bool:
    """Return whether a value can be the id of a user or an item."""
    # Invisible characters make different ids look equal; floats make different ids equal.
    if isinstance(value, (int, np.integer)):
        return not isinstance(value, bool) and abs(int(value)) < 1 << 64
    if not isinstance(value, str) or len(value) > LONGEST_ID or INVISIBLE.search(value):
        return False
    return value == value.strip() != "" and value.isprintable()


def _number(value: object) -> float:
    """Parse a number; NaN for what ``float`` accepts but is no number, such as 1_000."""
    try:
        return float(text) if NUMBER.fullmatch(text := str(value)) else np.nan
    except ValueError:  # an integer with thousands of digits
        return np.nan


@dataclass(frozen=True, eq=False)
class Dataset:
    """Three checked tables of a dataset."""

    name: str
    # user_id, item_id (str), rating (float64), timestamp (int64, seconds since 1970) in file order
    interactions: pd.DataFrame
    items: pd.DataFrame  # item_id (str, unique), title (str), categories (tuple of str)
    users: pd.DataFrame  # user_id (str, unique), group (str or NA); perhaps empty
    source: str = "own"  # whether the data are official
    fingerprint: str = ""  # sha256 of the files
    repairs: dict[str, int] = field(default_factory=dict)  # their counts

    @property
    def categories(self) -> tuple[str, ...]:
        """The distinct categories of all items, sorted."""
        return tuple(sorted({name for names in self.items["categories"] for name in names}))

    @classmethod
    def from_raw(cls, name: str, tables: Mapping[str, RawTable], atomic: bool) -> "Dataset":
        """Check and repair raw tables (by suffix), of atomic files or others; no fingerprint."""
        repairs: dict[str, int] = {}
        for table in tables.values():
            if table.frame.empty:
                raise ParagonError(f"{table.name}: there are no rows of data; add some")
        events = _check_events(tables["inter"], repairs)
        items = _check_items(tables["item"], events, tables["inter"].name, repairs)
        nobody = pd.DataFrame({"user_id": [], "group": []}, dtype=object)
        users = _check_users(tables["user"], events, repairs) if "user" in tables else nobody
        dataset = cls(name, events, items, users)
        renamed = 0 if atomic else sum(name != one_word(name) for name in dataset.categories)
        repairs["names of categories written with '_' for spaces and separators"] = renamed
        return replace(dataset, repairs={what: int(n) for what, n in repairs.items() if n})

    @classmethod
    def from_frame(
        cls, interactions: object, items: object, users: object = None, name: str = "own"
    ) -> "Dataset":
        """Check and repair tables in memory (pandas, polars, or a mapping of columns).

        Columns of ``interactions``: ``user_id``, ``item_id``, ``timestamp`` (seconds since 1970 or
        datetimes), optional ``rating``; of ``items``: ``item_id``, ``categories`` (lists of str),
        optional ``title``; of ``users``: ``user_id``, optional ``group``.  Ids are strings or
        integers.  Raises ``ParagonError`` with table, row and column of the first error.
        """
        tables = {"inter": _raw_table(interactions, "interactions table", *NEEDED["inter"])}
        tables["item"] = _raw_table(items, "items table", "item_id", "categories")
        if users is not None and not (isinstance(users, pd.DataFrame) and users.empty):
            tables["user"] = _raw_table(users, "users table", "user_id")
        dataset = cls.from_raw(name, tables, atomic=False)
        return replace(dataset, fingerprint=fingerprint(dataset.atomic_files()))

    def atomic_files(self) -> dict[str, bytes]:
        """Return the atomic files by suffix; ``ParagonError`` if two categories become one."""
        words = pd.Series({name: one_word(name) for name in self.categories}, dtype=object)
        if len(lost := words[words.duplicated() | (words == "")]):
            names = ", ".join(map(shown, words.index[words == lost.iloc[0]]))
            raise ParagonError(
                f"categories {names} become the same word, or none, in a file, where spaces, ',', "
                "';', '|' and brackets turn into '_' and quotes at the ends are lost; rename one"
            )
        tables = {"inter": self.interactions, "item": self.items, "user": self.users.fillna("")}
        return {
            suffix: atomic_bytes(table.rename(columns=lambda c: f"{c}:{KINDS.get(c, 'token')}"))
            for suffix, table in tables.items()
            if not table.empty
        }


def one_word(name: str) -> str:
    """Write a category as one word, without quotes at its ends."""
    return "_".join(filter(None, SEPARATORS.split(name))).strip("'\"")


def atomic_bytes(frame: pd.DataFrame) -> bytes:
    """Encode a table as an atomic file; names become words, numbers the shortest equal text."""

    def text(value: Any) -> str:
        if isinstance(value, (list, tuple)):
            return " ".join(dict.fromkeys(filter(None, map(one_word, value))))
        if isinstance(value, str):
            return value
        return str(int(value)) if float(value).is_integer() else repr(float(value))

    rows = (map(text, row) for row in frame.itertuples(index=False, name=None))
    return "".join("\t".join(row) + "\n" for row in (frame.columns, *rows)).encode("utf-8")


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
        columns = {str(column): source[column] for column in names}
        if any(isinstance(values, (str, bytes)) for values in columns.values()):
            raise TypeError("a column is a single string")
        if len(columns) < len(names):
            raise ValueError("two columns have the same name")
        frame = pd.DataFrame({column: list(values) for column, values in columns.items()})
    except Exception as error:  # objects that are not tables may raise anything
        raise ParagonError(
            f"{name}: expected a table with columns of one length, found {type(source).__name__} "
            f"({shown(str(error))}); pass one of pandas or polars, or a mapping of lists"
        ) from None
    RawTable(name, frame).select(*required)
    times = frame.get("timestamp")
    if pd.api.types.is_datetime64_any_dtype(times):
        start = pd.Timestamp(0, tz=times.dt.tz).as_unit(times.dt.unit)  # also fits the year 1
        frame["timestamp"] = (times - start) / pd.Timedelta(seconds=1)
    return RawTable(name, frame, unit="row")


def _check_events(table: RawTable, repairs: dict[str, int]) -> pd.DataFrame:
    events = pd.DataFrame({column: table.ids(column) for column in ("user_id", "item_id")})
    rated = "rating" in table.frame
    repairs["interactions without a rating, set to 1"] = 0 if rated else len(events)
    rating, times = table.numbers("rating") if rated else 1.0, table.numbers("timestamp")

    fix = "this looks like smaller units or a date as one number: convert the column"
    day = times // 10 ** np.maximum(np.log10(times + 1) // 1 - 7, 0)  # the first eight digits
    year, month, day = day // 10_000, day // 100 % 100, day % 100
    dates = (year >= 1900) & (year < 2100) & (month >= 1) & (month <= 12) & (day >= 1) & (day <= 31)
    dates &= dates.mean() >= 0.5  # of the seconds of these years, one in thirty looks like a date
    table.check("timestamp", (times < TOO_LARGE) & ~dates, "seconds since 1970", fix)
    large = times > MILLISECONDS
    most = large.mean() >= 0.5  # the rarer unit is more likely the mistake
    fix = "seconds and milliseconds are mixed: correct the column"
    table.check("timestamp", large == most, "one unit in the whole column", fix)
    repairs["timestamps in milliseconds divided by 1000"] = large.sum()
    events = events.assign(rating=rating, timestamp=times / 1000.0 if most else times)

    fractions = (events["timestamp"] % 1 != 0).sum()
    repairs["timestamps rounded down to the second"] = fractions
    if fractions:  # rounding would lose the order within a second, which decides ties
        events = events.sort_values("timestamp", kind="stable", ignore_index=True)
    events = events.assign(timestamp=np.floor(events["timestamp"]).astype(np.int64))

    repeated = events.duplicated(["user_id", "item_id", "timestamp"])
    repairs["duplicate events dropped"] = identical = events.duplicated().sum()
    other_rating = "events that repeat user, item and time with another rating dropped"
    repairs[other_rating] = repeated.sum() - identical
    return events[~repeated].reset_index(drop=True)


def _check_items(
    table: RawTable, events: pd.DataFrame, events_name: str, repairs: dict[str, int]
) -> pd.DataFrame:
    """Check items; append unknown items of ``events``, of which over 10 % are an error."""
    ids, titles = table.ids("item_id"), table.texts("movie_title", "title", "item_name", "name")
    categories = table.replaced(categories=map(_category_names, table.frame["categories"]))
    expected, names = "a list of visible text, empty if unknown", categories.frame["categories"]
    table.check("categories", names.notna(), expected)
    titles = titles.where(titles != "", ids)
    items = table.unique("item_id", "items", repairs, title=titles, categories=names)
    repairs["items without categories"] = (items["categories"].map(len) == 0).sum()

    met = events["item_id"].drop_duplicates()
    unknown = met[~met.isin(items["item_id"])].tolist()
    if len(unknown) > 0.1 * len(met):
        place = f"column {table.published.get('item_id', 'item_id')} of {table.name}"
        raise ParagonError(
            f"{events_name}: {len(unknown)} of {len(met)} items, the first of them "
            f"{shown(unknown[0])}, are not in {place}; add them there, or use the ids of that table"
        )
    repairs["items missing from the catalogue added without categories"] = len(unknown)
    extra = {"item_id": unknown, "title": unknown, "categories": [()] * len(unknown)}
    return pd.concat([items, pd.DataFrame(extra)], ignore_index=True) if unknown else items


def _category_names(value: Any) -> tuple[str, ...] | None:
    """Return the distinct names in a list, () if missing, None for anything else."""
    if not pd.api.types.is_list_like(value, allow_sets=False) or isinstance(value, Mapping):
        return () if value is None or value is pd.NA or value != value else None
    names = list(value)
    good = all(isinstance(n, str) and not UNWRITABLE.search(" ".join(n.split())) for n in names)
    if not good or INVISIBLE.search("".join(names)):
        return None
    return tuple(dict.fromkeys(filter(None, map(str.strip, names))))


def _check_users(table: RawTable, events: pd.DataFrame, repairs: dict[str, int]) -> pd.DataFrame:
    """Check the users; raise if none of the users of the ``events`` is among them."""
    groups = table.texts("group", "gender")
    users = table.unique("user_id", "users", repairs, group=groups.where(groups != "", pd.NA))
    active = events["user_id"].drop_duplicates()
    unknown = ~active.isin(users["user_id"])
    if unknown.all():
        raise ParagonError(
            f"{table.name}: column {table.published.get('user_id', 'user_id')} has none of the "
            f"{len(active)} users of interactions, such as {shown(active.iloc[0])}; use equal ids"
        )
    repairs["users missing from the user table, of unknown group"] = unknown.sum()
    return users
