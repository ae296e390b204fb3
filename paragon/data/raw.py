"""Read raw tables of text, with errors that name file, row, column and fix."""

from __future__ import annotations

import ast
import codecs
import csv
import gzip
import io
import json
import re
import zlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from paragon.errors import ParagonError, shown

# Not allowed in a field: separators, NUL, and lone surrogates, which cannot be encoded.
UNWRITABLE = re.compile("[\t\n\r\0\ud800-\udfff]")
csv.field_size_limit(1 << 30)  # columns may hold long texts
NUMBER = re.compile(r"\s*[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?\s*", re.ASCII)


@dataclass(frozen=True)
class RawTable:
    """An unchecked table, and where its rows come from.

    Index of ``frame``: the line in the file ``name``, or (file, line), or the row of a table in
    memory.  ``published``: column names in the source, if different.  ``renamed``: number of
    categories with a changed name.
    """

    name: str
    frame: pd.DataFrame
    published: Mapping[str, str] = field(default_factory=dict)
    unit: str = "line"
    renamed: int = 0

    def error(self, row: int, column: str, expected: str, fix: str = "correct it") -> ParagonError:
        """Make the error for one field, in this row (from 0 on) of the frame."""
        index, value = self.frame.index[row], self.frame[column].iloc[row]
        name, line = index if isinstance(index, tuple) else (self.name, index)
        value = value.item() if isinstance(value, np.generic) else value
        return ParagonError(
            f"{name}, {self.unit} {line}, column {self.published.get(column, column)}: "
            f"found {shown(value)}, expected {expected}; {fix}"
        )

    def check(self, column: str, fits: Callable[[Any], object], expected: str, *fix: str) -> None:
        """Raise an error for the first value of a column that does not fit."""
        for row, value in enumerate(self.frame[column]):
            if not fits(value):
                raise self.error(row, column, expected, *fix)

    def check_text(self, column: str) -> None:
        """Raise an error for text that a field of a file cannot contain."""
        expected = "text without tabs, line breaks, NUL and lone surrogates"
        self.check(column, lambda v: isinstance(v, str) and not UNWRITABLE.search(v), expected)

    def ids(self, column: str) -> pd.Series:
        """Return ids as strings; the column may hold strings or integers."""
        expected = "an id: an integer, or printable text without spaces around it"
        self.check(column, _is_id, expected)
        return self.replaced(column, map(str, self.frame[column])).frame[column]

    def numbers(self, column: str) -> np.ndarray:
        """Return float64 ``[rows]``; raise unless all are finite numbers of 0 or more."""
        values = self.frame[column]
        if pd.api.types.is_any_real_numeric_dtype(values):
            numbers = values.to_numpy("float64", na_value=np.nan)
        else:
            numbers = np.array(list(map(_number, values)), dtype=np.float64)
        wrong = ~((numbers >= 0) & (numbers < np.inf))
        if wrong.any():
            raise self.error(int(wrong.argmax()), column, "a finite number of 0 or more")
        return numbers

    def select(self, *columns: str) -> RawTable:
        """Select columns; raise if one is missing or occurs twice."""
        for column in columns:
            if (times := list(self.frame).count(column)) != 1:
                what = f"column {column} is there {times} times" if times else f"no column {column}"
                have = ", ".join(map(shown, self.frame))
                raise ParagonError(f"{self.name}: {what} among {have}; add or rename it")
        return replace(self, frame=self.frame[list(columns)])

    def replaced(self, column: str, values: Iterable) -> RawTable:
        """Return a copy with new values in a column."""
        series = pd.Series(list(values), index=self.frame.index, dtype=object)
        return replace(self, frame=self.frame.assign(**{column: series}))


def _is_id(value: object) -> bool:
    # Invisible characters make different ids look equal; floats make different ids equal.
    if isinstance(value, (int, np.integer)):
        return not isinstance(value, bool) and abs(int(value)) < 1 << 64
    return isinstance(value, str) and value == value.strip() != "" and value.isprintable()


def _number(value: object) -> float:
    """Parse a number; NaN for what ``float`` accepts but is no number, such as 1_000."""
    try:
        return float(text) if NUMBER.fullmatch(text := str(value)) else np.nan
    except ValueError:  # an integer with thousands of digits
        return np.nan


# --- reading ------------------------------------------------------------------------------------


def find(folder: Path, filename: str) -> Path | None:
    """Find a file in a folder, also compressed as ``filename.gz``."""
    paths = (folder / filename, folder / f"{filename}.gz")
    return next((path for path in paths if path.is_file()), None)


def read_bytes(path: Path) -> bytes:
    """Read and decompress a file."""
    try:
        data = path.read_bytes()
        return gzip.decompress(data) if path.suffix == ".gz" else data
    except (OSError, EOFError, zlib.error) as error:
        reason = getattr(error, "strerror", None) or "truncated, damaged or no gzip archive"
        raise ParagonError(f"{path} cannot be read: {reason}; get it again") from None


def decode(name: str, data: bytes, latin_1: bool = False) -> str:
    """Decode UTF-8 or, if allowed, Latin-1, but no mixture; normalise newlines."""
    data = data.removeprefix(codecs.BOM_UTF8).replace(b"\r\n", b"\n").rstrip(b"\n")
    if not data.strip():
        raise ParagonError(f"{name}: the file is empty; it needs lines of data")
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError as error:
        text = data.decode("latin-1")
        if not latin_1 or re.search("[\xc2-\xf4][\x80-\xbf]", text):  # looks like UTF-8
            line = data.count(b"\n", 0, error.start) + 1
            raise ParagonError(f"{name}, line {line}: not UTF-8; save the file as UTF-8") from None
    if "\0" in text:
        line = text.count("\n", 0, text.index("\0")) + 1
        raise ParagonError(f"{name}, line {line}: a NUL byte; this is not a text file")
    return text


def split_rows(
    name: str, text: str, separator: str = "\t", columns: Sequence[str] = (), quoted: bool = False
) -> RawTable:
    """Split text into fields; the first row is a header unless ``columns`` are given."""
    reader = csv.reader(
        io.StringIO(text, newline=""),
        delimiter=separator,
        quoting=csv.QUOTE_MINIMAL if quoted else csv.QUOTE_NONE,
        strict=True,
    )
    rows: list[list[str]] = []
    lines, line, header = [], 1, list(columns)
    try:
        for fields in reader:
            header = header or fields
            if len(fields) != len(header):
                raise ParagonError(
                    f"{name}, line {line}: found {shown(separator.join(fields))}, expected "
                    f"{len(header)} fields separated by {separator!r}; correct the line"
                )
            rows.append(fields)
            lines.append(line)
            line = reader.line_num + 1  # first line of the next row; a row may have several
    except csv.Error as error:
        raise ParagonError(f"{name}, line {line}: {error}; correct the line") from None
    start = 0 if columns else 1  # below the header
    return RawTable(name, pd.DataFrame(rows[start:], lines[start:], header, dtype=object))


def read_rows(
    folder: Path, filename: str, separator: str = "", columns: Sequence[str] = ()
) -> RawTable:
    """Read a file of rows, unquoted with ``columns``, else with a header; guess tab or comma."""
    name, text = _read_text(folder, filename)
    if len(separator) > 1:  # csv allows only one character
        text, separator = text.replace(separator, "\t"), "\t"
    separator = separator or ("\t" if "\t" in text.partition("\n")[0] else ",")
    return split_rows(name, text, separator, columns, quoted=not columns)


def read_objects(
    folder: Path, filename: str, columns: Sequence[str], wanted: Callable[[str], object] = str.strip
) -> RawTable:
    """Read these fields from each ``wanted`` line, a JSON object or a Python literal."""
    name, text = _read_text(folder, filename)
    records: dict[int, list] = {}
    for line, given in enumerate(text.split("\n"), 1):
        if wanted(given):
            records[line] = [_parse_object(name, line, given).get(column) for column in columns]
    frame = pd.DataFrame.from_dict(records, orient="index", columns=list(columns), dtype=object)
    return RawTable(name, frame)


def _read_text(folder: Path, filename: str) -> tuple[str, str]:
    path = find(folder, filename) or folder / filename
    return str(path), decode(str(path), read_bytes(path), latin_1=True)


def _parse_object(name: str, line: int, text: str) -> dict:
    """Parse a JSON object, or a Python literal as in older Amazon files, without ``eval``."""
    for parse in (json.loads, ast.literal_eval):
        try:
            record = parse(text.strip())
        except (ValueError, SyntaxError, TypeError, MemoryError, RecursionError):
            continue
        if isinstance(record, dict):
            return record
    expected = "one JSON object a line; correct or remove it"
    raise ParagonError(f"{name}, line {line}: found {shown(text[:40])}, expected {expected}")
