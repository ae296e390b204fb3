"""Check and repair datasets from files or from tables in memory.

Repairs that cannot change the meaning are made and counted; anything else is an error with file,
line and column (docs/data.md, "What is checked and repaired").
"""

import hashlib
import json
import re
import unicodedata
from collections.abc import Iterable, Mapping, Set
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import pandas as pd

from paragon.errors import ParagonError, shown
from paragon.params import LONGEST_ID

AN_ID = f"an integer, or visible text of 1 to {LONGEST_ID} characters without spaces around it"
# Not allowed in a field: separators, NUL, and lone surrogates, which cannot be encoded.
UNWRITABLE = re.compile("[\t\n\r\0\ud800-\udfff]")
NUMBER = re.compile(r"\s*[+-]?(\d+(\.\d*)?|\.\d+)([eE][+-]?\d+)?\s*", re.ASCII)
# Characters that are not seen, so that different text looks equal: controls, those of the property
# Default_Ignorable_Code_Point, and letters and signs that are blank.
INVISIBLE = re.compile(
    "[\xad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180b-\u180f\u200b-\u200f\u202a-\u202e\u2060-\u206f"
    "\u2800\u3164\ufe00-\ufe0f\ufeff\uffa0\ufff0-\ufffb\U0001107f\U00013430-\U00013440\U00016fe4"
    "\U0001bca0-\U0001bca3\U0001d159\U0001d173-\U0001d17a\U000e0000-\U000e0fff"
    "\1-\x08\x0e-\x1b\x7f-\x84\x86-\x9f]"
)
# One name of a list, as JSON or Python write it.
QUOTED = re.compile(r"""'(?:[^'\\]|\\['"\\])*'|"(?:[^"\\]|\\.)*\"""")
# Separators between names, of the atomic format and of others.
SEPARATORS = re.compile(r"[\s,;|\[\]]+")
HYPHENS = re.compile("[\u2010-\u2015\u2212]")  # that look like -, among them the minus sign
ANOTHER_FORM = "the same id is there in another form, such as 5 and 5.0: write one of them"
# Required columns of each table, by file suffix.
NEEDED = {"inter": ("user_id", "item_id", "timestamp"), "item": ("item_id",), "user": ("user_id",)}
# Types of columns in a file; the others are ``token``.
KINDS = {"rating": "float", "timestamp": "float", "title": "token_seq", "categories": "token_seq"}
MILLISECONDS = 1e11  # as seconds this is the year 5138, as milliseconds it is 1973
TOO_LARGE = 5e12  # as milliseconds this is the year 2128; dates as 20230101120000 are larger
FIRST = 94_694_400  # 1973 in seconds: years, days and dates as one number are smaller
# 2050 in seconds: days since 1900, as in spreadsheets, are later if they are of 1980 or after.
LAST = 2_524_608_000
# What programs write for an unknown time: the largest in 32 bits, as milliseconds, too, and the end
# of the year 9999.
NO_TIMES = (2**31 - 1, 1000 * (2**31 - 1), 253_402_300_799)
LEADING_ZERO = r"0\d"  # 0502241000 is a date: no number of seconds begins so
SHORTENED_TIMES = "a spreadsheet has shortened the times; export them again as text"
UNITS = ("seconds", "milliseconds", "days")  # since 1970


@dataclass(frozen=True)
class RawTable:
    """An unchecked table, and where its rows come from."""

    name: str
    frame: pd.DataFrame  # index: the line in the file `name`, or the row in memory
    published: Mapping[str, str] = field(default_factory=dict)  # other column names in the source
    unit: str = "line"

    def check(self, column: str, good: Iterable, expected: str, fix: str = "correct it") -> None:
        """Raise ``ParagonError`` for the first row of the column that is not ``good [rows]``.

        The message says what was found, what was ``expected``, and the ``fix``.
        """
        wrong = ~np.array([bool(value) for value in good], dtype=bool)
        if wrong.any():
            row = int(wrong.argmax())
            line = self.frame.index[row]
            value = self.frame[column].iloc[row]
            if isinstance(value, np.generic):
                value = value.item()
            raise ParagonError(
                f"{self.name}, {self.unit} {line}, column {self.published.get(column, column)}: "
                f"found {shown(value)}, expected {expected}; {fix}"
            )

    def check_text(self, column: str) -> None:
        """Raise ``ParagonError`` for text that a field of a file cannot contain."""
        good = (isinstance(v, str) and not UNWRITABLE.search(v) for v in self.frame[column])
        self.check(column, good, "text without tabs, line breaks, NUL and lone surrogates")

    def ids(self, column: str) -> pd.Series:
        """Return ids as strings; the column may hold strings or integers.

        Raises ``ParagonError`` for a value that is no id, and for two forms of one id.
        """
        values = self.frame[column]
        self.check(column, map(is_id, values), AN_ID)
        places, forms = pd.factorize(values.astype(object))
        again = pd.Index([_one_form(form) for form in forms], dtype=object).duplicated()
        self.check(column, ~again[places], "one form of each id", ANOTHER_FORM)
        return self.replaced(**{column: map(str, values)}).frame[column]

    def check_forms(self, column: str, names: Iterable[Iterable[str]]) -> None:
        """Raise ``ParagonError`` for a name that an earlier row has in another form.

        ``names``: those of each row.  One may have é as one character, the other as two.
        """
        form_of: dict[str, str] = {}
        good = [
            all(form_of.setdefault(_composed(name), name) == name for name in row) for row in names
        ]
        fix = "an earlier one looks the same, with other characters for an accent: write one form"
        self.check(column, good, "one form of each name", fix)

    def numbers(self, column: str) -> np.ndarray:
        """Return the column as float64 ``[rows]``.

        Raises ``ParagonError`` for anything but a finite number of 0 or more.
        """
        values = self.frame[column]
        if pd.api.types.is_any_real_numeric_dtype(values):
            numbers = values.to_numpy("float64", na_value=np.nan)
        else:
            numbers = np.array([number_of(value) for value in values], dtype=np.float64)
        good = (numbers >= 0) & (numbers < np.inf)
        self.check(column, good, "a finite number of 0 or more")
        return numbers

    def texts(self, *names: str) -> pd.Series:
        """Return the first of these columns that exists, as text of one line; "" if none does.

        Missing values become "", tabs and line breaks become spaces.
        """
        column = next((name for name in names if name in self.frame), None)
        if column is None:
            return pd.Series("", index=self.frame.index, dtype=object)
        values = self.frame[column]
        # An integer with thousands of digits cannot become text.
        good = (not isinstance(value, int) or abs(value) < 1 << 64 for value in values)
        self.check(column, good, "text")
        known = values.astype(object).where(values.notna(), "")
        spaces = str.maketrans("\t\n\r", "   ")
        table = self.replaced(**{column: (str(value).translate(spaces) for value in known)})
        table.check_text(column)
        return table.frame[column]

    def unique(self, key: str, kind: str, repairs: dict[str, int], **columns: Any) -> pd.DataFrame:
        """Make a table of ids and ``columns``, without repeated rows.

        ``key``: the column of the ids; ``kind``: what they are, for the ``repairs``, where the
        number of repeated rows is noted.  Raises ``ParagonError`` if two rows of one id differ.
        """
        frame = pd.DataFrame({key: self.ids(key), **columns})
        repeated = frame.duplicated([key])
        differs = repeated & ~frame.duplicated()
        self.check(key, ~differs, "an id that no earlier row has", "the rows differ: keep one")
        repairs[f"duplicate {kind} dropped"] = repeated.sum()
        return frame[~repeated].reset_index(drop=True)

    def select(self, *columns: str) -> "RawTable":
        """Return a table of these columns; ``ParagonError`` if one is missing or occurs twice."""
        for column in columns:
            times = list(self.frame).count(column)
            if times != 1:
                what = f"column {column} is there {times} times" if times else f"no column {column}"
                have = ", ".join(map(shown, self.frame))
                raise ParagonError(f"{self.name}: {what} among {have}; add or rename it")
        return replace(self, frame=self.frame[list(columns)])

    def replaced(self, **columns: Iterable) -> "RawTable":
        """Return a copy with new values in these columns."""
        new = {}
        for name, values in columns.items():
            new[name] = pd.Series(list(values), index=self.frame.index, dtype=object)
        return replace(self, frame=self.frame.assign(**new))


def is_id(value: object) -> bool:
    """Return whether a value can be the id of a user or an item."""
    # Invisible characters make different ids look equal; floats make different ids equal.
    if isinstance(value, (int, np.integer)):
        return not isinstance(value, bool) and abs(int(value)) < 1 << 64
    if not isinstance(value, str) or len(value) > LONGEST_ID or INVISIBLE.search(value):
        return False
    return value == value.strip() != "" and value.isprintable()


def _composed(text: object) -> str:
    """Return text with each letter and its accents as one character, as far as there is one."""
    return unicodedata.normalize("NFC", str(text))


def _one_form(value: object) -> str:
    """Return an id in the form that all its forms have in common.

    A letter has its accents, digits and signs are narrow, and 5.0 is 5; but 05 is another id.
    """
    text = HYPHENS.sub("-", unicodedata.normalize("NFKC", str(value)))
    return re.sub(r"\A([+-]?\d+)\.0*\Z", r"\1", text)


def number_of(value: object) -> float:
    """Return a value as a number; NaN for anything else, also for what Python reads, as 1_000."""
    try:
        text = str(value)
    except ValueError:  # an integer with thousands of digits
        return np.nan
    return float(text) if NUMBER.fullmatch(text) else np.nan


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

    @property
    def repeats(self) -> int:
        """The number of events whose user has another, earlier event with the same item."""
        return int(self.interactions.duplicated(["user_id", "item_id"]).sum())

    @classmethod
    def from_raw(cls, name: str, tables: Mapping[str, RawTable], years: bool = False) -> "Dataset":
        """Check and repair raw tables, by suffix; the dataset has no fingerprint yet.

        ``years``: times have to be in plausible years.  Raises ``ParagonError`` for the first
        error.
        """
        for table in tables.values():
            if table.frame.empty:
                raise ParagonError(f"{table.name}: there are no rows of data; add some")
        repairs: dict[str, int] = {}
        events = _check_events(tables["inter"], repairs, years)
        items = _check_items(tables["item"], events, tables["inter"], repairs)
        if "user" in tables:
            users = _check_users(tables["user"], events, tables["inter"], repairs)
        else:
            users = pd.DataFrame({"user_id": [], "group": []}, dtype=object)
        dataset = cls(name, interactions=events, items=items, users=users)
        made = {what: int(count) for what, count in repairs.items() if count}
        return replace(dataset, repairs=made)

    @classmethod
    def from_frame(
        cls,
        interactions: object,
        items: object,
        users: object = None,
        name: str = "own",
        unit: str = "",
    ) -> "Dataset":
        """Check and repair tables in memory (pandas, polars, or a mapping of columns).

        Columns of ``interactions``: ``user_id``, ``item_id``, ``timestamp`` (seconds since 1970 or
        datetimes), optional ``rating``; of ``items``: ``item_id``, ``categories`` (lists of str),
        optional ``title``; of ``users``: ``user_id``, optional ``group``.  Ids are strings or
        integers.  ``unit``: "seconds" if most times look like years and are right.  Raises
        ``ParagonError`` with table, row and column of the first error.
        """
        tables = {"inter": _raw_table(interactions, "interactions table", *NEEDED["inter"])}
        if not unit:
            _check_no_years(tables["inter"])
        tables["item"] = _raw_table(items, "items table", "item_id", "categories")
        if users is not None and not (isinstance(users, pd.DataFrame) and users.empty):
            tables["user"] = _raw_table(users, "users table", "user_id")
        dataset = cls.from_raw(name, tables)
        return replace(dataset, fingerprint=fingerprint(dataset.atomic_files()))

    def atomic_files(self) -> dict[str, bytes]:
        """Return the bytes of the atomic files, by suffix.

        Categories are words separated by spaces, or JSON lists if one of them is no single word.
        """
        items = self.items
        if not all(map(_is_word, self.categories)):
            lists = [json.dumps(names, ensure_ascii=False) for names in items["categories"]]
            items = items.assign(categories=lists)
        tables = {"inter": self.interactions, "item": items, "user": self.users.fillna("")}
        files = {}
        for suffix, table in tables.items():
            if not table.empty:
                headers = {column: f"{column}:{KINDS.get(column, 'token')}" for column in table}
                files[suffix] = atomic_bytes(table.rename(columns=headers))
        return files


def _is_word(name: str) -> bool:
    """Return whether a name can be among words separated by spaces."""
    return not SEPARATORS.search(name) and name.strip("'\"") == name


def names_listed(text: str) -> list[str] | None:
    """Return the names in a list of JSON or Python, perhaps of such lists; None if it is none.

    A tuple of Python is such a list.
    """
    around = QUOTED.sub("", text).replace("(", "[").replace(")", "]")
    if re.fullmatch(r"[\s,\[\]]*", around) is None or around.count("[") != around.count("]"):
        return None
    names = []
    for quoted in QUOTED.findall(text):
        if quoted[0] == "'":
            names.append(re.sub(r"\\(.)", r"\1", quoted[1:-1]))
            continue
        try:
            names.append(json.loads(quoted))
        except ValueError:  # a control character, or a backslash before anything
            return None
    return names


def atomic_bytes(frame: pd.DataFrame) -> bytes:
    """Encode a table as an atomic file: a header, then a line per row.

    Lists of words are separated by spaces, numbers become the shortest text that is equal.
    """

    def text(value: Any) -> str:
        if isinstance(value, (list, tuple)):
            return " ".join(value)
        if isinstance(value, str):
            return value
        if float(value).is_integer():
            return str(int(value))
        return repr(float(value))

    lines = ["\t".join(frame.columns)]
    for row in frame.itertuples(index=False, name=None):
        lines.append("\t".join(text(value) for value in row))
    return "".join(f"{line}\n" for line in lines).encode("utf-8")


def sums_of(contents: Mapping[str, bytes]) -> dict[str, str]:
    """Compute the sha256 of each file."""
    return {suffix: hashlib.sha256(data).hexdigest() for suffix, data in contents.items()}


def fingerprint(contents: Mapping[str, bytes]) -> str:
    """Compute one sha256 of all files: that of a text with their sums, in order of suffix."""
    lines = [f"{suffix} {sha256}\n" for suffix, sha256 in sorted(sums_of(contents).items())]
    return hashlib.sha256("".join(lines).encode()).hexdigest()


def _raw_table(source: Any, name: str, *required: str) -> RawTable:
    """Convert an object with columns to a raw table, whose rows are counted from 0.

    Datetimes become seconds since 1970.  Raises ``ParagonError`` if it is no table, or if a
    ``required`` column is missing.
    """
    try:
        names = list(getattr(source, "columns", source))
        columns = {str(column): source[column] for column in names}
        if any(isinstance(values, (str, bytes, Mapping, Set)) for values in columns.values()):
            raise TypeError("a column is a single string, a mapping or a set")
        if len(columns) < len(names):
            raise ValueError("two columns have the same name")
        frame = pd.DataFrame({column: list(values) for column, values in columns.items()})
    except Exception as error:  # objects that are not tables may raise anything
        raise ParagonError(
            f"{name}: expected a table with columns of one length, found {type(source).__name__} "
            f"({shown(str(error))}); pass one of pandas or polars, or a mapping of lists"
        ) from None
    RawTable(name, frame).select(*required)
    table = RawTable(name, frame, unit="row")
    times = frame.get("timestamp", pd.Series(dtype=object))
    kind = str(getattr(columns.get("timestamp"), "dtype", times.dtype)).lower()
    fix = "a time in 32 bits is off by up to a minute: take the times from the source again"
    table.check("timestamp", [kind not in ("float16", "float32")] * len(frame), "64 bits", fix)
    if pd.api.types.is_datetime64_any_dtype(times):
        start = pd.Timestamp(0, tz=times.dt.tz).as_unit(times.dt.unit)  # also fits the year 1
        seconds = (times - start) / pd.Timedelta(seconds=1)
        table.check("timestamp", ~(seconds >= LAST), "a time before 2050")
        frame["timestamp"] = seconds
    return table


def _check_no_years(table: RawTable) -> None:
    """Raise ``ParagonError`` if most times are numbers such as 2009: seconds of the first hour."""
    times = table.numbers("timestamp")
    years = (times >= 1900) & (times < 2100)
    fix = "this looks like a year: pass dates, or unit='seconds' if it is right"
    table.check("timestamp", ~years | (years.mean() <= 0.5), "seconds since 1970", fix)


def _check_events(table: RawTable, repairs: dict[str, int], years: bool) -> pd.DataFrame:
    """Check the events and make them a table of user, item, rating and time in seconds.

    What is repaired is counted in ``repairs``.  ``years``: times have to be in plausible years.
    """
    users = table.ids("user_id")
    items = table.ids("item_id")
    events = pd.DataFrame({"user_id": users, "item_id": items})
    rated = "rating" in table.frame
    repairs["interactions without a rating, set to 1"] = 0 if rated else len(events)
    rating = table.numbers("rating") if rated else 1.0
    times = table.numbers("timestamp")
    if not pd.api.types.is_any_real_numeric_dtype(table.frame["timestamp"]):
        texts = table.frame["timestamp"].astype(str)
        table.check("timestamp", ~texts.map(is_rounded), "seconds since 1970", SHORTENED_TIMES)
        fix = "a number of seconds begins with no 0: is it a date? Convert the column"
        table.check("timestamp", ~texts.str.match(LEADING_ZERO), "seconds since 1970", fix)

    good = (times < TOO_LARGE) & ~_are_dates(times)
    fix = "this looks like smaller units or a date as one number: convert the column"
    table.check("timestamp", good, "seconds since 1970", fix)
    large = times > MILLISECONDS
    in_milliseconds = large.mean() >= 0.5  # the rarer unit is more likely the mistake
    fix = "seconds and milliseconds are mixed: correct the column"
    table.check("timestamp", large == in_milliseconds, "one unit in the whole column", fix)
    repairs["timestamps in milliseconds divided by 1000"] = large.sum()
    if years:
        fix = "convert the column, or say that it is right with `--unit seconds`"
        table.check("timestamp", are_plausible(times), "seconds since 1970, of 1973 to 2049", fix)
    times = in_seconds(times)
    events = events.assign(rating=rating, timestamp=times)

    fractions = (events["timestamp"] % 1 != 0).sum()
    repairs["timestamps rounded down to the second"] = fractions
    if fractions:  # rounding would lose the order within a second, which decides ties
        events = events.sort_values("timestamp", kind="stable", ignore_index=True)
    events = events.assign(timestamp=np.floor(events["timestamp"]).astype(np.int64))

    repeated = events.duplicated(["user_id", "item_id", "timestamp"])
    identical = events.duplicated().sum()
    repairs["duplicate events dropped"] = identical
    other_rating = "events that repeat user, item and time with another rating dropped"
    repairs[other_rating] = repeated.sum() - identical
    return events[~repeated].reset_index(drop=True)


def in_seconds(times: np.ndarray, unit: str = "") -> np.ndarray:
    """Convert times to seconds.

    Without a ``unit``, they are milliseconds if at least half of them are too large for seconds.
    """
    if unit == "days":
        return times * 86_400.0
    if unit == "milliseconds" or (not unit and _are_milliseconds(times)):
        return times / 1000.0
    return times


def _are_milliseconds(times: np.ndarray) -> bool:
    """Return whether at least half of the times are too large for seconds."""
    return bool((times > MILLISECONDS).mean() >= 0.5)


def are_plausible(times: np.ndarray, unit: str = "") -> np.ndarray:
    """Mark times that can be those of events: bool ``[rows]``.

    None may be after 2049.  Without a ``unit``, all have one unit, at most half look like dates,
    none is in ``NO_TIMES``, and none before 1973 (a missing time as 0, a year, a day since 1900).
    """
    seconds = in_seconds(times, unit)
    good = seconds < LAST
    if not unit:
        good &= ~np.isin(times, NO_TIMES) & (seconds >= FIRST)
        if _are_milliseconds(times):
            good &= times > MILLISECONDS
        short = _are_short_dates(times)
        good &= ~short | (short.mean() <= 0.5)
    return good


def is_rounded(text: str) -> bool:
    """Return whether a number has fewer digits than its size needs, as 1.70E+09."""
    found = re.fullmatch(r"[+-]?\d(?:[.,](\d+))?[eE]\+?(\d+)", text)
    return found is not None and len(found[1] or "") < int(found[2])


def _are_short_dates(times: np.ndarray) -> np.ndarray:
    """Mark numbers such as 2402131030, 240213103000 and 130220241030: bool ``[rows]``."""
    digits = np.floor(np.log10(times + 1)) + 1
    pairs = [
        np.floor(times / 10.0 ** np.maximum(digits - end, 0)) % 100 for end in (2, 4, 6, 8, 10)
    ]
    day, month = ((pair >= 1) & (pair <= most) for pair, most in ((pairs[2], 31), (pairs[1], 12)))
    short = np.isin(digits, (10, 12)) & month & day & (pairs[3] < 24) & (pairs[4] < 60)
    year = 100 * pairs[2] + pairs[3]
    first, second = pairs[:2]
    both = (
        (first >= 1)
        & (second >= 1)
        & (first + second <= 31 + 12)
        & (np.minimum(first, second) <= 12)
    )
    long = (digits == 12) & both & (year >= 1900) & (year < 2100)
    return short | long


def _are_dates(times: np.ndarray) -> np.ndarray:
    """Mark numbers that are dates such as 20200913 or 20200913120000: bool ``[rows]``.

    All are False if less than half of them look like dates: of the seconds of these years, one in
    thirty does.
    """
    digits = np.log10(times + 1) // 1 + 1
    first_eight = times // 10 ** np.maximum(digits - 8, 0)
    year = first_eight // 10_000
    month = first_eight // 100 % 100
    day = first_eight % 100
    dates = (year >= 1900) & (year < 2100) & (month >= 1) & (month <= 12) & (day >= 1) & (day <= 31)
    return dates & (dates.mean() >= 0.5)


def _check_items(
    table: RawTable, events: pd.DataFrame, raw_events: RawTable, repairs: dict[str, int]
) -> pd.DataFrame:
    """Check the items and make them a table of id, title and categories.

    ``raw_events``: the table that the ``events`` come from.  Items of events that the catalogue has
    not are added without categories.  Raises ``ParagonError`` if they are more than 10 % of the
    items of the events, or if one is in the catalogue in another form.
    """
    ids = table.ids("item_id")
    titles = table.texts("movie_title", "title", "item_name", "name")
    names = [_category_names(value) for value in table.frame["categories"]]
    categories = table.replaced(categories=names).frame["categories"]
    table.check("categories", categories.notna(), "a list of visible text, empty if unknown")
    titles = titles.where(titles != "", ids)
    table.check_forms("categories", categories)
    items = table.unique("item_id", "items", repairs, title=titles, categories=categories)
    repairs["items without categories"] = (items["categories"].map(len) == 0).sum()

    met = events["item_id"].drop_duplicates()
    unknown = met[~met.isin(items["item_id"])].tolist()
    _check_other_forms("item_id", unknown, table, raw_events)
    if len(unknown) > 0.1 * len(met):
        place = f"column {table.published.get('item_id', 'item_id')} of {table.name}"
        raise ParagonError(
            f"{raw_events.name}: {len(unknown)} of {len(met)} items, the first of them "
            f"{shown(unknown[0])}, are not in {place}; add them there, or use the ids of that table"
        )
    repairs["items missing from the catalogue added without categories"] = len(unknown)
    if not unknown:
        return items
    extra = {"item_id": unknown, "title": unknown, "categories": [()] * len(unknown)}
    return pd.concat([items, pd.DataFrame(extra)], ignore_index=True)


def _check_other_forms(
    column: str, unknown: Iterable[str], table: RawTable, raw_events: RawTable
) -> None:
    """Raise ``ParagonError`` if the table has ids of events, but in another form.

    ``unknown``: ids of events that the ``column`` of the table has not.
    """
    known = set(map(_one_form, table.frame[column]))
    again = [text for text in unknown if _one_form(text) in known]
    good = ~raw_events.frame[column].map(str).isin(again)
    raw_events.check(column, good, f"the id as in {table.name}", ANOTHER_FORM)


def _category_names(value: Any) -> tuple[str, ...] | None:
    """Return the distinct names in a list, () for a missing value, None for anything else."""
    if not pd.api.types.is_list_like(value, allow_sets=False) or isinstance(value, Mapping):
        missing = value is None or value is pd.NA or value != value  # NaN
        return () if missing else None
    names = list(value)
    for name in names:
        if not isinstance(name, str) or UNWRITABLE.search(" ".join(name.split())):
            return None
    if INVISIBLE.search("".join(names)):
        return None
    stripped = [name.strip() for name in names]
    return tuple(dict.fromkeys(name for name in stripped if name))


def _check_users(
    table: RawTable, events: pd.DataFrame, raw_events: RawTable, repairs: dict[str, int]
) -> pd.DataFrame:
    """Check the users and make them a table of id and group.

    ``raw_events``: the table that the ``events`` come from.  Raises ``ParagonError`` if the table
    has none of the users of the events, or one of them in another form.
    """
    groups = table.texts("group", "gender")
    table.check_forms("group" if "group" in table.frame else "gender", ([name] for name in groups))
    users = table.unique("user_id", "users", repairs, group=groups.where(groups != "", pd.NA))
    active = events["user_id"].drop_duplicates()
    unknown = ~active.isin(users["user_id"])
    _check_other_forms("user_id", active[unknown], table, raw_events)
    if unknown.all():
        raise ParagonError(
            f"{table.name}: column {table.published.get('user_id', 'user_id')} has none of the "
            f"{len(active)} users of interactions, such as {shown(active.iloc[0])}; use equal ids"
        )
    repairs["users missing from the user table, of unknown group"] = unknown.sum()
    return users
