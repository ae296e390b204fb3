"""Read tables as they are published: rows of text, Parquet files, and lines of objects."""

import ast
import io
import json
import re
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from hashlib import sha256
from importlib.resources.abc import Traversable
from pathlib import Path
from typing import Any

import pandas as pd

from paragon.data.atomic import decode, read_bytes, split_rows
from paragon.data.table import RawTable
from paragon.errors import ParagonError, shown

# In an object as Python writes it: a string, or a word that JSON writes in another way.
STRING_OR_WORD = re.compile(
    r"""u?(?:'(?:[^'\\]|\\.)*'|"(?:[^"\\]|\\.)*")|\b(?:None|True|False)\b"""
)
WORDS = {"None": "null", "True": "true", "False": "false"}


def read_rows(path: Traversable, separator: str = ",", columns: Sequence[str] = ()) -> RawTable:
    """Read a file of rows.

    Without ``columns``, the first row is a header.  Fields between commas may be in quotes.
    """
    text = decode(str(path), read_bytes(path), latin_1=True)
    return split_rows(str(path), text, separator, columns, quoted=separator == ",")


def read_parquet(path: Traversable, columns: Mapping[str, str]) -> RawTable:
    """Read columns of a Parquet file as text, with times as seconds since 1970; "" is missing.

    ``columns``: the type of each, as DuckDB calls it.  Raises ``ParagonError`` if DuckDB is not
    installed, if the file is damaged, or if a column is missing or has another type.
    """
    try:
        import duckdb
    except ImportError:
        raise ParagonError(
            f"{path} is a Parquet file: install the extra that reads it: pip install '.[scale]'"
        ) from None
    with tempfile.TemporaryDirectory(prefix="paragon-") as scratch, duckdb.connect() as db:
        copy = Path(scratch, "table.parquet")  # the file may be in a zip archive
        copy.write_bytes(read_bytes(path))
        try:
            table = db.read_parquet(str(copy))
            types = dict(zip(table.columns, map(str, table.types), strict=True))
            RawTable(f"{path}", pd.DataFrame(columns=table.columns)).select(*columns)
            for column, expected in columns.items():
                if types[column] != expected:
                    raise ParagonError(
                        f"{path}, column {column}: found the type {types[column]}, expected "
                        f"{expected}; this is another version of the file"
                    )
            frame = table.project(", ".join(map(_as_text, columns, columns.values()))).df()
        except duckdb.Error as error:
            reason = str(error).replace(str(copy), path.name).splitlines()[0]
            raise ParagonError(f"{path}: no whole Parquet file ({reason}); get it again") from None
    return RawTable(f"{path}", frame.astype(object), unit="row")


def _as_text(column: str, kind: str) -> str:
    """Return the SQL of a column as text."""
    value = f"epoch({column})::bigint" if kind == "TIMESTAMP" else column
    return f"coalesce({value}::varchar, '') as {column}"


def read_objects(
    path: Traversable, keys: Sequence[str], wanted: Callable[[str], bool] = bool
) -> RawTable:
    """Read these keys of an object a line, JSON or as Python writes it; None where one is missing.

    ``wanted``: which lines are read, by their text; empty ones are not.  Raises ``ParagonError`` if
    a line is no object, or if no object has one of the keys.
    """
    rows: dict[int, list[Any]] = {}
    met: dict[str, None] = {}  # all keys, in order
    for line, data in enumerate(io.BytesIO(read_bytes(path)), start=1):
        try:
            text = data.decode("utf-8").strip()
            record = _object(text) if text and wanted(text) else None
        except (ValueError, SyntaxError, RecursionError):
            found = shown(data.decode("utf-8", "replace").strip())
            raise ParagonError(
                f"{path}, line {line}: found {found}, expected an object in braces and in UTF-8; "
                "get the file again"
            ) from None
        if record is not None:
            met |= dict.fromkeys(record)
            rows[line] = [record.get(key) for key in keys]
    if rows:
        RawTable(f"{path}", pd.DataFrame(columns=[*met])).select(*keys)
    frame = pd.DataFrame(list(rows.values()), index=list(rows), columns=[*keys], dtype=object)
    return RawTable(f"{path}", frame)


def _object(text: str) -> dict[str, Any]:
    """Return the object that a line is, in JSON or as Python writes it.

    The latter becomes JSON first.  Only single strings are read as Python, so that nothing can be
    deep or become large.  Raises ``ValueError``, ``SyntaxError`` or ``RecursionError`` for anything
    else.
    """
    try:
        record = json.loads(text)
    except ValueError:
        record = json.loads(STRING_OR_WORD.sub(_as_json, text))
    if not isinstance(record, dict):
        raise ValueError("no object")
    return record


def _as_json(match: re.Match) -> str:
    """Return a string or a word of Python as JSON."""
    return WORDS.get(match[0]) or json.dumps(ast.literal_eval(match[0]))


def typed(table: RawTable, headers: Sequence[str], columns: Sequence[str] = ()) -> RawTable:
    """Select ``columns`` and rename them to ``headers``, which are ``name:type``.

    Without ``columns``, they have the names of the headers already.  Raises ``ParagonError`` if an
    id, a title or another ``token`` is not text that a file can hold.
    """
    names = [header.partition(":")[0] for header in headers]
    published = dict(zip(names, columns or names, strict=True))
    for header, column in zip(headers, published.values(), strict=True):
        if header.endswith(":token") or "title" in header:
            table.check_text(column)
    frame = table.frame[[*published.values()]].set_axis([*headers], axis=1)
    return replace(table, frame=frame, published=published)


def in_order(table: RawTable, user: str, item: str, time: str, rating: str = "") -> RawTable:
    """Select the events, and sort them by time; at one time, by the sha256 of user and item.

    Of events at one time, the order of the file decides which is later.  A published order that
    follows the ids would tell which item is the last; this one tells nothing, and is the same on
    all machines.
    """
    ratings = {"rating:float": rating} if rating else {}
    columns = {"user_id:token": user, "item_id:token": item, **ratings, "timestamp:float": time}
    events = typed(table, [*columns], [*columns.values()])
    pairs = zip(table.frame[user], table.frame[item], strict=True)
    drawn = [sha256("\t".join(pair).encode()).digest() for pair in pairs]
    keys = pd.DataFrame({"time": table.numbers(time), "drawn": drawn})
    order = keys.sort_values(["time", "drawn"], kind="stable").index
    return replace(events, frame=events.frame.iloc[order])
