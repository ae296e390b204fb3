"""The one form in which every dataset reaches the rest of the package."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

import numpy as np
import pandas as pd

from paragon.datasets import checks
from paragon.datasets.form import render
from paragon.datasets.places import Place, table


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
        """How many distinct categories there are; diversity is undefined below 2."""
        return len(self.categories)

    @classmethod
    def from_frame(
        cls, interactions: object, items: object, users: object = None, name: str = "own"
    ) -> Dataset:
        """A dataset from tables in memory (pandas, polars, or a mapping of columns).

        ``interactions`` needs ``user_id``, ``item_id``, ``timestamp`` (seconds
        since 1970 or datetimes) and may have ``rating``; ``items`` needs
        ``item_id`` and ``categories`` (a list of strings per item) and may have
        ``title``; ``users`` needs ``user_id`` and may have ``group``.  Ids may be
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
            frame["rating"] = _floats(events["rating"], "rating", places[0])
        frame = checks.clean_interactions(frame, places[0], repairs)

        known = _columns(items, places[1], ("item_id", "categories"))
        ids = _ids(known["item_id"], "item_id", places[1])
        catalogue = pd.DataFrame(
            {
                "item_id": ids,
                "title": titles(known.get("title"), ids),
                "categories": _tuples(known["categories"], places[1]),
            }
        )
        catalogue = checks.clean_items(catalogue, places[1], repairs)
        catalogue = checks.add_unknown_items(frame, catalogue, places[0], places[1], repairs)

        people = no_users()
        if users is not None:
            given = _columns(users, places[2], ("user_id",))
            people = pd.DataFrame({"user_id": _ids(given["user_id"], "user_id", places[2])})
            group = given.get("group")
            people["group"] = "" if group is None else _texts(group)
            people = checks.clean_users(people, places[2], repairs)
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


def titles(column: pd.Series | None, ids: pd.Series) -> list[str]:
    """One title per item; an item without one is called by its id."""
    if column is None:
        return list(ids)
    return [title or item for title, item in zip(_texts(column), ids, strict=True)]


def _columns(source: object, place: Place, required: Iterable[str]) -> dict[str, pd.Series]:
    """The named columns of any table-like object as pandas Series with plain row numbers."""
    if isinstance(source, pd.DataFrame):
        found = {str(name): source[name].reset_index(drop=True) for name in source.columns}
    elif isinstance(source, Mapping):
        found = {str(name): pd.Series(list(values)) for name, values in source.items()}
    elif hasattr(source, "columns"):  # polars and its like
        found = {str(name): pd.Series(source[name].to_list()) for name in source.columns}
    else:
        raise place.whole(f"expected a table with columns, found {type(source).__name__}")
    for name in required:
        if name not in found:
            have = ", ".join(found) or "none"
            raise place.whole(f"column {name} is missing (columns found: {have}); add it")
    return found


def _texts(column: pd.Series) -> list[str]:
    """Strings, with "" for anything missing and one space for tabs and line breaks."""
    missing = column.isna().to_numpy()
    return [
        "" if gone else str(value).translate(_ONE_LINE)
        for value, gone in zip(column, missing, strict=True)
    ]


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
        else:
            raise place.error(row, name, value, "a string or an integer", checks.FIX_LINE)
    return pd.Series(values, dtype=str)


def _floats(column: pd.Series, name: str, place: Place) -> np.ndarray:
    numbers = pd.to_numeric(column, errors="coerce").astype("float64").to_numpy()
    bad = np.flatnonzero(np.isnan(numbers))
    if len(bad):
        row = int(bad[0])
        raise place.error(row, name, column.iloc[row], "a number", checks.FIX_LINE)
    return numbers


def _times(column: pd.Series, place: Place) -> np.ndarray:
    """Seconds since 1970 as floats, from numbers or datetimes."""
    if not pd.api.types.is_datetime64_any_dtype(column):
        return _floats(column, "timestamp", place)
    start = pd.Timestamp(0, tz=column.dt.tz)
    return _floats((column - start) / pd.Timedelta(seconds=1), "timestamp", place)


def _tuples(column: pd.Series, place: Place) -> list[tuple[str, ...]]:
    tuples = []
    for row, value in enumerate(column):
        if isinstance(value, (list, tuple, np.ndarray, pd.Series)):
            if all(isinstance(name, str) for name in value):
                tuples.append(distinct(value))
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
