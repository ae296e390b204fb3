"""The one form in which every dataset reaches the rest of the package."""

from __future__ import annotations

import hashlib
from collections.abc import Container, Iterable, Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from numbers import Real

import numpy as np
import pandas as pd

from paragon.data import checks
from paragon.data.form import check_text, render
from paragon.data.places import Place, shown, table

# Of several that are there the first counts.
TITLES = ("movie_title", "title", "item_name", "name")
GROUPS = ("group", "gender")


@dataclass(frozen=True, eq=False)
class Dataset:
    """Three checked tables and where they came from.

    ``interactions``: ``user_id``, ``item_id`` (str), ``rating`` (float64),
    ``timestamp`` (int64, seconds since 1970), in file order; the order decides
    ties in time.  ``items``: ``item_id`` (str, unique), ``title`` (str),
    ``categories`` (tuple of str), in catalogue order, every item of the
    interactions among them.  ``users``: ``user_id`` (str, unique), ``group``
    (str or NA); no rows where nothing is known of the users.

    ``source`` says how far the data is known to be the official one,
    ``fingerprint`` is a sha256 over the raw contents, ``repairs`` counts what
    was mended on reading (``paragon.datasets.checks`` lists the repairs).
    """

    name: str
    interactions: pd.DataFrame
    items: pd.DataFrame
    users: pd.DataFrame
    source: str
    fingerprint: str
    repairs: dict[str, int] = field(default_factory=dict)

    @property
    def categories(self) -> tuple[str, ...]:
        """The distinct categories of all items, sorted."""
        return tuple(sorted({name for names in self.items["categories"] for name in names}))

    @property
    def n_categories(self) -> int:
        """How many distinct categories there are."""
        return len(self.categories)

    @classmethod
    def from_frame(
        cls, interactions: object, items: object, users: object = None, name: str = "own"
    ) -> Dataset:
        """A dataset from tables in memory (pandas, polars, or a mapping of columns).

        ``interactions`` needs ``user_id``, ``item_id``, ``timestamp`` (seconds
        since 1970 or datetimes) and may have ``rating``; ``items`` needs
        ``item_id`` and ``categories`` (a list of strings per item) and may have
        ``title``; ``users`` needs ``user_id`` and may have ``group``
        (``TITLES`` and ``GROUPS`` list the other names known).  Ids may be
        strings or integers; they become strings.  Raises ``ParagonError`` with
        table, row and column of the first thing that is wrong.
        """
        repairs: dict[str, int] = {}
        places = [table(f"{which} table") for which in ("interactions", "items", "users")]
        events = _columns(interactions, places[0], ("user_id", "item_id", "timestamp"))
        frame = pd.DataFrame(
            {
                "user_id": _ids(events["user_id"], "user_id", places[0]),
                "item_id": _ids(events["item_id"], "item_id", places[0]),
                "timestamp": _times(events["timestamp"], places[0]),
            }
        )
        if "rating" in events:
            frame["rating"] = _floats(events["rating"], places[0])
        frame = checks.clean_interactions(frame, places[0], repairs)

        known = _columns(items, places[1], ("item_id", "categories"))
        ids = _ids(known["item_id"], "item_id", places[1])
        title = first_of(TITLES, known)
        catalogue = pd.DataFrame(
            {
                "item_id": ids,
                "title": titles(known[title] if title else None, ids, places[1]),
                "categories": _tuples(known["categories"], places[1]),
            }
        )
        catalogue = checks.clean_items(catalogue, places[1], repairs)
        catalogue = checks.add_unknown_items(frame, catalogue, places[0], places[1], repairs)

        people = no_users()
        if users is not None:
            given = _columns(users, places[2], ("user_id",))
            people = pd.DataFrame({"user_id": _ids(given["user_id"], "user_id", places[2])})
            group = first_of(GROUPS, given)
            people["group"] = _texts(given[group], places[2]) if group else ""
            people = checks.clean_users(people, frame, places[2], repairs)
        contents = render(frame, catalogue, people)
        return cls(name, frame, catalogue, people, "own", fingerprint(contents), repairs)


def fingerprint(contents: Mapping[str, bytes]) -> str:
    """sha256 over the files' own sha256 sums, in the order of their suffixes."""
    sums = {suffix: hashlib.sha256(data).hexdigest() for suffix, data in contents.items()}
    lines = "".join(f"{suffix} {sums[suffix]}\n" for suffix in sorted(sums))
    return hashlib.sha256(lines.encode()).hexdigest()


def no_users() -> pd.DataFrame:
    """The users table of a dataset that says nothing of its users."""
    return pd.DataFrame({"user_id": [], "group": []}, dtype=object)


def first_of(names: Iterable[str], table: Container[str]) -> str | None:
    """The first of the names that is a column of the table."""
    return next((name for name in names if name in table), None)


def titles(column: pd.Series | None, ids: pd.Series, place: Place) -> list[str]:
    """One title per item; an item without one is called by its id."""
    if column is None:
        return list(ids)
    return [title or item for title, item in zip(_texts(column, place), ids, strict=True)]


def _columns(source: object, place: Place, required: Iterable[str]) -> dict[str, pd.Series]:
    """The named columns of any table-like object as pandas Series with plain row numbers."""
    try:
        if isinstance(source, pd.DataFrame):
            pairs = [(name, column.reset_index(drop=True)) for name, column in source.items()]
        elif isinstance(source, Mapping):
            pairs = [(name, _series(values)) for name, values in source.items()]
        else:  # polars and its like
            pairs = [(name, _series(source[name].to_list())) for name in source.columns]
    except Exception as error:  # whatever an object says that is no table, or not yet one
        raise place.whole(
            f"expected a table with columns, found {type(source).__name__} "
            f"({shown(str(error))}); pass one of pandas or polars, or a mapping of lists"
        ) from None
    found: dict[str, pd.Series] = {}
    for name, column in pairs:
        if str(name) in found:
            raise place.whole(f"column {name} is there twice; rename one of them")
        found[str(name)] = column.rename(str(name))
    for name in required:
        if name not in found:
            have = ", ".join(found) or "none"
            raise place.whole(f"column {name} is missing (columns found: {have}); add it")
    lengths = {name: len(column) for name, column in found.items()}
    if len(set(lengths.values())) > 1:
        sizes = ", ".join(f"{name} {length}" for name, length in lengths.items())
        raise place.whole(f"the columns differ in length ({sizes}); give each row a value")
    return found


def _series(values: Iterable) -> pd.Series:
    if isinstance(values, (str, bytes)):
        raise TypeError("a column is a single string")
    if isinstance(values, pd.Series):
        return values.reset_index(drop=True)
    values = values if isinstance(values, np.ndarray) else list(values)
    try:
        return pd.Series(values)
    except UnicodeEncodeError:  # pyarrow's, where it is installed; the row is found later
        return pd.Series(values, dtype=object)


def _texts(column: pd.Series, place: Place) -> list[str]:
    """Strings, with "" for anything missing and one space for tabs and line breaks."""
    texts = []
    for row, (value, missing) in enumerate(zip(column, column.isna(), strict=True)):
        texts.append("" if missing else str(value).translate(_ONE_LINE))
        check_text(texts[-1], str(column.name), row, place)
    return texts


_ONE_LINE = str.maketrans("\t\n\r", "   ")


def _ids(column: pd.Series, name: str, place: Place) -> pd.Series:
    if pd.api.types.is_float_dtype(column) or pd.api.types.is_bool_dtype(column):
        raise place.whole(
            f"column {name} holds {column.dtype} values, which cannot keep 64-bit ids exactly; "
            "pass strings or integers"
        )
    values = []
    for row, value in enumerate(column):
        if isinstance(value, str) or (
            isinstance(value, (int, np.integer)) and not isinstance(value, bool)
        ):
            values.append(str(value))
            check_text(values[-1], name, row, place)
        else:
            raise place.error(row, name, value, "a string or an integer", checks.FIX_LINE)
    return pd.Series(values, dtype=str)


def _floats(column: pd.Series, place: Place) -> np.ndarray:
    """Floats from numbers, or from text that spells them."""
    of = pd.api.types
    if isinstance(column.dtype, pd.CategoricalDtype):
        column = column.astype(object)
    numeric = of.is_numeric_dtype(column) and not of.is_bool_dtype(column)
    if of.is_complex_dtype(column) or not (numeric or of.is_string_dtype(column.dtype)):
        raise place.whole(f"column {column.name} holds {column.dtype} values; pass numbers")
    if column.dtype == object:
        numbers = np.array([_number(value) for value in column])
    else:
        numbers = pd.to_numeric(column, errors="coerce").to_numpy("float64", na_value=np.nan)
    bad = np.flatnonzero(np.isnan(numbers))
    if len(bad):
        row = int(bad[0])
        raise place.error(row, column.name, column.iloc[row], "a number", checks.FIX_LINE)
    return numbers


def _number(value: object) -> float:
    """NaN for anything that is no number, though ``float`` may make one of it."""
    if isinstance(value, (bool, np.timedelta64)) or not isinstance(value, (str, Real, Decimal)):
        return np.nan
    try:
        return float(value)
    except (ValueError, OverflowError):
        return np.nan


def _times(column: pd.Series, place: Place) -> np.ndarray:
    """Seconds since 1970 as floats, from numbers or datetimes."""
    if not pd.api.types.is_datetime64_any_dtype(column):
        return _floats(column, place)
    start = pd.Timestamp(0, tz=column.dt.tz)
    return _floats(((column - start) / pd.Timedelta(seconds=1)).rename(column.name), place)


def _tuples(column: pd.Series, place: Place) -> list[tuple[str, ...]]:
    tuples = []
    for row, value in enumerate(column):
        if isinstance(value, (list, tuple, np.ndarray, pd.Series)):
            if all(isinstance(name, str) for name in value):
                tuples.append(distinct(value))
                for name in tuples[-1]:
                    check_text(" ".join(name.split()), "categories", row, place)
                continue
        elif value is None or value is pd.NA or (isinstance(value, float) and np.isnan(value)):
            tuples.append(())
            continue
        raise place.error(
            row, "categories", value, "a list of strings", "one list per item, empty if unknown"
        )
    return tuples


def distinct(names: Iterable[str]) -> tuple[str, ...]:
    """The names without blanks and repetitions, in their order."""
    return tuple(dict.fromkeys(text for name in names if (text := name.strip())))
