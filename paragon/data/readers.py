"""Text to raw tables: lines of fields, csv files and lines of JSON."""

from __future__ import annotations

import ast
import csv
import io
import json
from collections.abc import Callable, Sequence

import pandas as pd

from paragon.data.archives import Files
from paragon.data.raw import RawTable, shown
from paragon.errors import ParagonError

BOM = b"\xef\xbb\xbf"  # the byte order mark of UTF-8


def decode(name: str, data: bytes, encoding: str = "utf-8") -> str:
    """Text with single newlines, without byte order mark and trailing blank lines."""
    if data.startswith((b"\xff\xfe", b"\xfe\xff")):
        raise ParagonError(f"{name}: the file is UTF-16 or UTF-32; save it as UTF-8")
    data = data.removeprefix(BOM).replace(b"\r\n", b"\n").rstrip(b"\n")
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


def read_lines(
    name: str, text: str, separator: str, columns: Sequence[str], first: int = 1
) -> RawTable:
    """Lines of fields without quotes, one field per column; ``first`` is their first line."""
    mark = separator if len(separator) == 1 else "\x1f"  # pandas wants a single character
    if mark != separator and mark in text:
        number = text[: text.index(mark)].count("\n") + first
        raise ParagonError(f"{name}, line {number}: a control character ({mark!r}); remove it")
    text = text.replace(separator, mark)
    lines = text.split("\n") if text else []
    for number, line in enumerate(lines, start=first):
        if line.count(mark) != len(columns) - 1:
            raise _wrong_width(name, number, line.replace(mark, separator), separator, columns)
    frame = pd.DataFrame(columns=columns, dtype=object)
    if lines:
        frame = pd.read_csv(
            io.StringIO(text),
            sep=mark,
            names=columns,
            header=None,
            index_col=False,
            dtype=object,
            quoting=csv.QUOTE_NONE,
            na_filter=False,
            skip_blank_lines=False,
            lineterminator="\n",
        )
    return RawTable(name, frame.set_axis(pd.RangeIndex(first, first + len(lines))))


def _wrong_width(
    name: str, number: int, line: str, separator: str, columns: Sequence[str]
) -> ParagonError:
    fields = line.count(separator) + 1
    column = columns[min(fields, len(columns) - 1)]  # the first that is missing
    expected, advice = "data", "remove the blank line"
    if line.strip():
        between = "tabs" if separator == "\t" else shown(separator)
        expected = f"{len(columns)} fields separated by {between} (this line has {fields})"
        advice = "correct the line"
    return RawTable(name, pd.DataFrame()).error(number, column, line, expected, advice)


def read_text(files: Files, filename: str) -> str:
    """A file's text, in UTF-8 or, as GroupLens writes, Latin-1.

    A file in which some lines are UTF-8 and others are not would come out garbled either way;
    it is refused.
    """
    name, data = files.label(filename), files.read(filename).removeprefix(BOM)
    first: dict[str, int] = {}
    for number, line in enumerate(data.split(b"\n"), start=1):
        if not line.isascii():
            first.setdefault(_encoding(line), number)
    if len(first) == 2:
        raise ParagonError(
            f"{name}: line {first['utf-8']} is UTF-8 and line {first['latin-1']} is not; save the "
            "whole file in one encoding"
        )
    return decode(name, data, *first)


def _encoding(line: bytes) -> str:
    try:
        line.decode("utf-8")
    except UnicodeDecodeError:
        return "latin-1"
    return "utf-8"


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
        line = reader.line_num + 1  # the first of the next row, which may have several
        for fields in reader:
            if len(fields) != len(header):
                raise ParagonError(
                    f"{name}, line {line}: found {len(fields)} fields, expected "
                    f"{len(header)} separated by {delimiter!r}; correct the line"
                )
            rows[line] = fields
            line = reader.line_num + 1
    except csv.Error as error:
        raise ParagonError(f"{name}, line {line}: {error}; correct the line") from None
    values = {c: [row[header.index(c)] for row in rows.values()] for c in columns}
    return RawTable(name, pd.DataFrame(values, index=list(rows), dtype=object))


def parse_object(text: str) -> object:
    """A JSON object, or a Python literal as in older Amazon files; never evaluated as code."""
    try:
        return json.loads(text)
    except ValueError:
        try:
            return ast.literal_eval(text.strip())
        except (SyntaxError, TypeError, MemoryError, RecursionError):
            raise ValueError from None


Parser = Callable[[str], object]


def read_objects(
    files: Files, filename: str, columns: Sequence[str], parse: Parser = parse_object
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
