"""Raw tables: columns before their checks, and errors that name the line of a file."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from decimal import Decimal
from numbers import Real
from typing import Any

import numpy as np
import pandas as pd

from paragon.errors import ParagonError

# What no field may contain: tabs and line breaks separate fields and rows in a file, NUL marks
# a file that is no text, and half a surrogate pair cannot be encoded.
UNWRITABLE = re.compile("[\t\n\r\0\ud800-\udfff]")
CORRECT = "correct or remove it"
_ONE_LINE = str.maketrans("\t\n\r", "   ")


def shown(value: object) -> str:
    """``value`` as it appears in a message: quoted, on one line, at most 60 characters."""
    text = repr(value).replace("\n", " ")  # a value may have a repr of several lines
    return text if len(text) <= 60 else text[:57] + "..."


@dataclass(frozen=True)
class RawTable:
    """A table before its checks, and where its rows come from.

    The index of ``frame`` has the line of each row in the file ``name``, or the pair
    (file, line) if the rows come from several files, or the row of a table in memory (then
    ``unit`` is "row").  ``published`` has the names that columns have there, where they differ.
    ``repairs`` counts what was repaired when the table was made.
    """

    name: str
    frame: pd.DataFrame
    published: Mapping[str, str] = field(default_factory=dict)
    unit: str = "line"
    repairs: Mapping[str, int] = field(default_factory=dict)

    def error(
        self, index: object, column: str, value: object, expected: str, advice: str = CORRECT
    ) -> ParagonError:
        """The error for one field; ``index`` is the row's in the index of the frame."""
        name, line = index if isinstance(index, tuple) else (self.name, index)
        return ParagonError(
            f"{name}, {self.unit} {line}, column {self.published_name(column)}: "
            f"found {shown(value)}, expected {expected}; {advice}"
        )

    def published_name(self, column: str) -> str:
        """What the column, whose name here may end in ``:type``, is called in the file."""
        plain = column.partition(":")[0]
        return self.published.get(plain, plain)

    def error_in_whole(self, what: str) -> ParagonError:
        """An error about the table as a whole."""
        return ParagonError(f"{self.name}: {what}")

    def check_each(
        self, column: str, fits: Callable[[Any], object], expected: str, advice: str = CORRECT
    ) -> None:
        """Raise an error for the first value that does not fit."""
        values = self.frame[column]
        if _is_text(values):
            values = values.drop_duplicates()  # the first of equal values keeps its line
        for index, value in values.items():
            if not fits(value):
                raise self.error(index, column, value, expected, advice)

    def check_text(self, column: str) -> None:
        """Refuse what a field of a file cannot contain."""
        expected = "text without tabs, line breaks, NUL and lone surrogates"
        self.check_each(column, lambda value: not UNWRITABLE.search(value), expected)

    def ids(self, column: str) -> RawTable:
        """The table with ids as strings; an id may come as a string or an integer."""
        values = self.frame[column]
        if pd.api.types.is_float_dtype(values) or pd.api.types.is_bool_dtype(values):
            raise self.error_in_whole(
                f"column {column} holds {values.dtype} values, which cannot keep 64-bit ids "
                "exactly; pass strings or integers"
            )
        if not _is_text(values):
            self.check_each(column, _is_string_or_integer, "a string or an integer")
            values = [str(value) for value in values]
        table = self.replaced(column, values)
        table.check_each(column, _is_id, "an id of printable text without spaces around it")
        return table

    def numbers(self, column: str) -> np.ndarray:
        """The column as float64 ``[rows]``, each a finite number of 0 or more.

        The values may be numbers or text that spells them.
        """
        values, of = self.frame[column], pd.api.types
        if isinstance(values.dtype, pd.CategoricalDtype):
            values = values.astype(object)
        is_numeric = of.is_numeric_dtype(values) and not of.is_bool_dtype(values)
        if of.is_complex_dtype(values) or not (is_numeric or of.is_string_dtype(values.dtype)):
            raise self.error_in_whole(f"column {column} holds {values.dtype} values; pass numbers")
        if is_numeric:
            numbers = values.to_numpy("float64", na_value=np.nan)
        elif _is_text(values):
            codes, texts = pd.factorize(values)
            numbers = np.asarray(pd.to_numeric(texts, errors="coerce"), np.float64)[codes]
        else:
            numbers = np.array([_number(value) for value in values], dtype=np.float64)
        row = first_true(~((numbers >= 0) & (numbers < np.inf)))
        if row is not None:
            value = float(numbers[row]) if is_numeric else values.iloc[row]
            index = self.frame.index[row]
            raise self.error(index, column, value, "a finite number of 0 or more")
        return numbers

    def texts(self, names: Iterable[str]) -> pd.Series:
        """The first of the columns that is there, as text; "" where there is none.

        Tabs and line breaks become spaces.
        """
        column = next((name for name in names if name in self.frame), None)
        if column is None:
            return pd.Series("", index=self.frame.index, dtype=object)
        values = self.frame[column]
        pairs = zip(values, values.isna(), strict=True)
        texts = ["" if missing else str(value).translate(_ONE_LINE) for value, missing in pairs]
        table = self.replaced(column, texts)
        table.check_text(column)
        return table.frame[column]

    def replaced(self, column: str, values: Iterable) -> RawTable:
        """The table with other values in a column."""
        series = pd.Series(list(values), index=self.frame.index, dtype=object)
        return replace(self, frame=self.frame.assign(**{column: series}))


def _is_text(values: pd.Series) -> bool:
    return pd.api.types.infer_dtype(values.astype(object), skipna=False) == "string"


def _is_string_or_integer(value: object) -> bool:
    return isinstance(value, (str, int, np.integer)) and not isinstance(value, bool)


def _is_id(text: str) -> bool:
    # Invisible characters would make two ids of what looks like one.
    return bool(text) and text == text.strip() and text.isprintable()


def _number(value: object) -> float:
    """NaN for anything that is no number, though ``float`` may make one of it."""
    if isinstance(value, (bool, np.timedelta64)) or not isinstance(value, (str, Real, Decimal)):
        return np.nan
    try:
        return float(value)
    except (ValueError, OverflowError):
        return np.nan


def first_true(mask: np.ndarray) -> int | None:
    """Index of the first True, or None."""
    return int(np.argmax(mask)) if mask.any() else None
