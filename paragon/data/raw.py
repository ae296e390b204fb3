"""Raw tables: text read into columns before their checks, and errors that name the line."""

from __future__ import annotations

import ast
import codecs
import csv
import io
import json
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from decimal import Decimal
from numbers import Real
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from paragon.errors import ParagonError, shown

if TYPE_CHECKING:  # who only serves lists downloads nothing, and has no pooch
    from paragon.data.files import Files

# What no field may contain: tabs and line breaks separate fields and rows in a file, NUL marks
# a file that is no text, and half a surrogate pair cannot be encoded.
UNWRITABLE = re.compile("[\t\n\r\0\ud800-\udfff]")
CORRECT = "correct or remove it"


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

    def ids(self, column: str) -> pd.Series:
        """Ids as strings; an id may come as a string or an integer."""
        values = self.frame[column]
        if pd.api.types.is_float_dtype(values) or pd.api.types.is_bool_dtype(values):
            raise self.error_in_whole(
                f"column {column} holds {values.dtype} values, which cannot keep 64-bit ids "
                "exactly; pass strings or integers"
            )
        if not _is_text(values):
            self.check_each(column, _is_string_or_integer, "a string or an integer")
        table = self.replaced(column, map(str, values))
        table.check_each(column, _is_id, "an id of printable text without spaces around it")
        return table.frame[column]

    def numbers(self, column: str) -> np.ndarray:
        """The column as float64 ``[rows]``, each a finite number of 0 or more.

        The values may be numbers or text that spells them.
        """
        values, of = self.frame[column], pd.api.types
        if isinstance(values.dtype, pd.CategoricalDtype):
            values = values.astype(object)
        is_numeric = of.is_any_real_numeric_dtype(values)
        if not (
            is_numeric or of.is_string_dtype(values.dtype)
        ):  # objects of any kind count as text
            raise self.error_in_whole(f"column {column} holds {values.dtype} values; pass numbers")
        if is_numeric:
            numbers = values.to_numpy("float64", na_value=np.nan)
        else:
            numbers = np.array([_number(value) for value in values], dtype=np.float64)
        row = first_true(~((numbers >= 0) & (numbers < np.inf)))
        if row is not None:
            value = float(numbers[row]) if is_numeric else values.iloc[row]
            index = self.frame.index[row]
            raise self.error(index, column, value, "a finite number of 0 or more")
        return numbers

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
    """NaN for anything that is no number, though ``float`` may make one of it: 1_000, True."""
    if isinstance(value, str):
        is_number = value.isascii() and "_" not in value
    else:
        is_number = isinstance(value, (Real, Decimal)) and not isinstance(
            value, (bool, np.timedelta64)
        )
    try:
        return float(value) if is_number else np.nan  # type: ignore[arg-type]
    except (ValueError, OverflowError):
        return np.nan


def first_true(mask: np.ndarray) -> int | None:
    """Index of the first True, or None."""
    return int(np.argmax(mask)) if mask.any() else None


# --- reading ------------------------------------------------------------------------------------


def decode(name: str, data: bytes, encoding: str = "utf-8") -> str:
    """Text with single newlines, without byte order mark and trailing blank lines."""
    if data.startswith((b"\xff\xfe", b"\xfe\xff")):
        raise ParagonError(f"{name}: the file is UTF-16 or UTF-32; save it as UTF-8")
    data = data.removeprefix(codecs.BOM_UTF8).replace(b"\r\n", b"\n").rstrip(b"\n")
    if not data.strip():
        raise ParagonError(f"{name}: the file is empty; it needs lines of data")
    try:
        return data.decode(encoding)
    except UnicodeDecodeError as error:
        before = data[: error.start].split(b"\n")
        field = before[-1].count(b"\t") + 1
        raise ParagonError(
            f"{name}, line {len(before)}, field {field}: byte 0x{data[error.start]:02x} is not "
            "UTF-8; save the whole file as UTF-8"
        ) from None


def read_text(files: Files, filename: str) -> str:
    """A file's text, in UTF-8 or, as GroupLens writes, Latin-1.

    A file in which some lines are UTF-8 and others are not would come out garbled either way;
    it is refused.
    """
    name, data = files.label(filename), files.read(filename)
    first: dict[str, int] = {}
    for number, line in enumerate(data.split(b"\n"), start=1):
        if not line.isascii():
            encoding = "utf-8"
            try:
                line.decode(encoding)
            except UnicodeDecodeError:
                encoding = "latin-1"
            first.setdefault(encoding, number)
    if len(first) == 2:
        raise ParagonError(
            f"{name}: line {first['utf-8']} is UTF-8 and line {first['latin-1']} is not; save the "
            "whole file in one encoding"
        )
    return decode(name, data, *first)


def read_lines(
    name: str, text: str, separator: str, columns: Sequence[str], first: int = 1
) -> RawTable:
    """Lines of fields without quotes, one field per column; ``first`` is their first line."""
    rows = [line.split(separator) for line in text.split("\n")] if text else []
    lines = pd.RangeIndex(first, first + len(rows))
    for number, fields in zip(lines, rows, strict=True):
        if len(fields) != len(columns):
            line, width = separator.join(fields), len(fields)
            expected, advice = "data", "remove the blank line"
            if line.strip():
                between = "tabs" if separator == "\t" else shown(separator)
                expected = f"{len(columns)} fields separated by {between} (this line has {width})"
                advice = "correct the line"
            column = columns[min(width, len(columns) - 1)]  # the first that is missing
            raise RawTable(name, pd.DataFrame()).error(number, column, line, expected, advice)
    return RawTable(name, pd.DataFrame(rows, lines, columns, dtype=object))


def read_headless(files: Files, filename: str, separator: str, columns: Sequence[str]) -> RawTable:
    """The columns of a file without a header, its fields never quoted."""
    return read_lines(files.label(filename), read_text(files, filename), separator, columns)


def read_quoted(files: Files, filename: str, columns: Sequence[str]) -> RawTable:
    """The columns of a csv file with a header, whose fields may be quoted.

    They are separated by tabs if the header has one, else by commas.
    """
    name, line, text = files.label(filename), 1, read_text(files, filename)
    delimiter = "\t" if "\t" in text.partition("\n")[0] else ","
    reader = csv.reader(io.StringIO(text), delimiter=delimiter, strict=True)
    rows: dict[int, list[str]] = {}  # by their lines
    try:
        header = next(reader)
        for column in columns:
            if (times := header.count(column)) != 1:
                have = ", ".join(map(shown, header))
                raise ParagonError(
                    f"{name}, line 1: {times or 'no'} column{'s' * (times > 1)} {column} among "
                    f"{have}, separated by {delimiter!r}; correct the header"
                )
        places = [header.index(column) for column in columns]
        line = reader.line_num + 1  # the first of the next row, which may have several
        for fields in reader:
            if len(fields) != len(header):
                raise ParagonError(
                    f"{name}, line {line}: found {len(fields)} fields, expected "
                    f"{len(header)} separated by {delimiter!r}; correct the line"
                )
            rows[line] = [fields[place] for place in places]
            line = reader.line_num + 1
    except csv.Error as error:
        raise ParagonError(f"{name}, line {line}: {error}; correct the line") from None
    frame = pd.DataFrame.from_dict(rows, orient="index", columns=list(columns), dtype=object)
    return RawTable(name, frame)


def parse_object(text: str) -> object:
    """A JSON object, or a Python literal as in older Amazon files; never evaluated as code."""
    try:
        return json.loads(text)
    except ValueError:
        try:
            return ast.literal_eval(text.strip())
        except (SyntaxError, TypeError, MemoryError, RecursionError):
            raise ValueError from None


def read_objects(
    files: Files,
    filename: str,
    columns: Sequence[str],
    parse: Callable[[str], object] = parse_object,
) -> RawTable:
    """These fields of one object per line; ``parse`` raises ValueError on anything else."""
    name = files.label(filename)
    records: dict[int, list] = {}
    for number, line in enumerate(files.lines(filename), start=1):
        if not line.strip():
            continue
        try:
            record = parse(line.decode("utf-8"))
            if not isinstance(record, dict):
                raise ValueError
        except (ValueError, RecursionError):  # what cannot be decoded is a ValueError too
            raise ParagonError(
                f"{name}, line {number}: found {shown(line[:40].decode('utf-8', 'replace'))}, "
                "expected one JSON object a line; correct or remove it"
            ) from None
        records[number] = [record.get(column) for column in columns]
    frame = pd.DataFrame.from_dict(records, orient="index", columns=list(columns), dtype=object)
    return RawTable(name, frame)
