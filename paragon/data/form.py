"""The atomic format: tab-separated text whose header names each field and its type.

It is RecBole's format.  ``user_id:token`` is one string, ``token_seq`` a list
of them separated by spaces, ``float`` a number.  One dataset is up to three
files, ``NAME.inter``, ``NAME.item`` and ``NAME.user``.
"""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import pandas as pd

from paragon.data.places import UNWRITABLE, Place, shown
from paragon.errors import ParagonError

TYPES = ("token", "token_seq", "float", "float_seq")
INTER_HEADER = "user_id:token\titem_id:token\trating:float\ttimestamp:float"
ITEM_HEADER = "item_id:token\ttitle:token_seq\tcategories:token_seq"
USER_HEADER = "user_id:token\tgroup:token"


# Where the names in one field may end: the format's spaces, and what other formats use.
SEPARATORS = re.compile(r"[\s,;|\[\]]+")


def rendered_category(name: str) -> str:
    """A category as one word, because the format separates a list by spaces."""
    return "_".join(filter(None, SEPARATORS.split(name)))


def number(value: float) -> str:
    """The shortest text that reads back as the same number: ``4``, ``3.5``."""
    return str(int(value)) if float(value).is_integer() else repr(float(value))


def render(
    interactions: pd.DataFrame, items: pd.DataFrame, users: pd.DataFrame
) -> dict[str, bytes]:
    """Three tables as the bytes of their atomic files, by suffix; no users, no user file."""
    rows = zip(
        interactions["user_id"],
        interactions["item_id"],
        interactions["rating"],
        interactions["timestamp"],
        strict=True,
    )
    inter = [INTER_HEADER, *(f"{u}\t{i}\t{number(r)}\t{t}" for u, i, r, t in rows)]
    words: dict[str, str] = {}
    item = [ITEM_HEADER]
    for item_id, title, names in items[["item_id", "title", "categories"]].itertuples(index=False):
        for name in names:
            word = rendered_category(name)
            other = words.setdefault(word, name)
            if other != name or not word:
                raise ParagonError(
                    f"categories {shown(other)} and {shown(name)} become the same word in a file, "
                    "where spaces, ',', ';', '|' and brackets turn into '_'; rename one of them"
                    if word
                    else f"category {shown(name)} holds nothing but separators; rename it"
                )
        item.append(f"{item_id}\t{title}\t{' '.join(map(rendered_category, names))}")
    contents = {"inter": lines(inter), "item": lines(item)}
    if len(users):
        group = users["group"].fillna("").astype(str)
        rows = zip(users["user_id"], group, strict=True)
        contents["user"] = lines([USER_HEADER, *(f"{u}\t{g}" for u, g in rows)])
    return contents


def lines(texts: list[str]) -> bytes:
    """The texts as UTF-8 lines, the last one ended too."""
    return ("\n".join(texts) + "\n").encode("utf-8")


@dataclass
class Converted:
    """An atomic file in the making; each row remembers the published file and line it is from.

    ``name`` is the published file (or files) and ``columns`` has the names there
    of columns that are called otherwise, both for the messages.
    """

    header: str
    name: str
    columns: Mapping[str, str] = field(default_factory=dict)
    rows: list[str] = field(default_factory=list)
    origins: list[tuple[str, int]] = field(default_factory=list)

    def add(self, fields: Sequence[str], line: int, name: str = "") -> None:
        """One row, from ``line`` of the file ``name``; its fields must be fit for a line."""
        row = "\t".join(fields)
        self.rows.append(row)
        self.origins.append((name or self.name, line))
        if len(UNWRITABLE.findall(row)) >= len(fields):
            names = [text.partition(":")[0] for text in self.header.split("\t")]
            for column, text in zip(names, fields, strict=True):
                check_text(text, column, len(self.rows) - 1, self.place)

    @property
    def place(self) -> Place:
        """Where the rows come from."""
        return Place(self.name, origins=self.origins, columns=self.columns)

    @property
    def data(self) -> bytes:
        """The file's bytes."""
        return lines([self.header, *self.rows])


def check_text(text: str, column: str, row: int, place: Place) -> None:
    """Refuse what a field of a file cannot hold."""
    if UNWRITABLE.search(text):
        raise place.error(
            row, column, text, "text without tabs, line breaks, NUL and lone surrogates",
            "correct or remove it",
        )  # fmt: skip


@dataclass(frozen=True)
class Parsed:
    """A file's columns: ``frame`` has str and float64 columns, ``types`` their declared types."""

    frame: pd.DataFrame
    types: dict[str, str]
    place: Place


def parse(place: Place, data: bytes, needed: tuple[str, ...], numeric: tuple[str, ...]) -> Parsed:
    """The columns of an atomic file's content, which lies or came from ``place``.

    ``needed`` must be there; columns of ``numeric`` that are there become
    float64, all others stay str.  Raises ``ParagonError`` with the line and
    column of the first field that cannot be read.
    """
    data = _text(place, data)
    head, _, body = data.partition(b"\n")
    types = _header(place, head.decode("utf-8"), needed)
    if not body:
        raise place.whole("holds only a header; add one line per row of data")
    _check_widths(place, body, list(types))
    options = {
        "sep": "\t",
        "header": None,
        "names": list(types),
        "index_col": False,
        "quoting": csv.QUOTE_NONE,
        "na_filter": False,
        "skip_blank_lines": False,
        "lineterminator": "\n",
        "engine": "c",
    }
    floats = [name for name in types if name in numeric]
    dtypes = {name: (np.float64 if name in floats else str) for name in types}
    try:
        for name, text in zip(types, body.partition(b"\n")[0].split(b"\t"), strict=True):
            if name in floats:
                float(text)  # read_csv takes a column of nothing but True and False for numbers
        frame = pd.read_csv(io.BytesIO(body), dtype=dtypes, **options)
    except (ValueError, OverflowError):
        # Only now look for the culprit: reading once more as text is slow but exact.
        frame = pd.read_csv(io.BytesIO(body), dtype=str, **options)
        raise _not_a_number(frame, floats, place) from None
    return Parsed(frame, types, place)


def _text(place: Place, data: bytes) -> bytes:
    """Checked UTF-8 with single newlines, without byte order mark and trailing blank lines."""
    if data.startswith((b"\xff\xfe", b"\xfe\xff")):
        raise ParagonError(f"{place.at(-1)}: the file is UTF-16; save it as UTF-8")
    data = data.removeprefix(b"\xef\xbb\xbf").replace(b"\r\n", b"\n").rstrip(b"\n")
    if not data.strip():
        raise place.whole("the file is empty; it needs a header and data")
    try:
        data.decode("utf-8")
    except UnicodeDecodeError as error:
        start = data.rfind(b"\n", 0, error.start) + 1
        column = data.count(b"\t", start, error.start) + 1
        raise ParagonError(
            f"{place.at(_row(data, error.start))}, field {column}: byte "
            f"0x{data[error.start]:02x} is not UTF-8; save the whole file as UTF-8"
        ) from None
    if b"\0" in data:
        where = place.at(_row(data, data.index(b"\0")))
        raise ParagonError(f"{where}: a NUL byte; this is not a text file")
    return data


def _row(data: bytes, position: int) -> int:
    """The row in which a byte stands; -1 is the header."""
    return data.count(b"\n", 0, position) - 1


def _header(place: Place, head: str, needed: tuple[str, ...]) -> dict[str, str]:
    line = place.at(-1)
    fields = head.split("\t")
    if len(fields) == 1 and any(mark in head for mark in ",;|") or "::" in head:
        raise ParagonError(
            f"{line}: no tabs in {shown(head)}; the fields must be separated by tabs"
        )
    types: dict[str, str] = {}
    for column, text in enumerate(fields, start=1):
        name, _, kind = text.strip().partition(":")
        if kind not in TYPES or not name:
            raise ParagonError(
                f"{line}, field {column}: found {shown(text)}, expected name:type with "
                f"type one of {', '.join(TYPES)}; correct the header"
            )
        if name in types:
            raise ParagonError(f"{line}, field {column}: {name!r} a second time; rename it")
        types[name] = kind
    for name in needed:
        if name not in types:
            raise ParagonError(
                f"{line}: no column {name} among {', '.join(map(shown, types))}; add or rename it"
            )
    return types


def _check_widths(place: Place, body: bytes, names: list[str]) -> None:
    """Every line has as many fields as the header; counted on the bytes, without parsing."""
    array = np.frombuffer(body, dtype=np.uint8)
    ends = np.append(np.flatnonzero(array == ord("\n")), len(array))
    tabs = np.searchsorted(np.flatnonzero(array == ord("\t")), ends)
    found = np.diff(tabs, prepend=0) + 1
    bad = np.flatnonzero(found != len(names))
    if not len(bad):
        return
    row = int(bad[0])
    start = int(ends[row - 1]) + 1 if row else 0
    text = body[start : int(ends[row])].decode("utf-8")
    column = names[min(int(found[row]), len(names) - 1)]  # the first that is missing
    if not text.strip():
        raise place.error(row, column, text, "data", "remove the blank line")
    expected = f"{len(names)} fields separated by tabs (this line has {int(found[row])})"
    raise place.error(row, column, text, expected, "correct the line")


def _not_a_number(frame: pd.DataFrame, floats: list[str], place: Place) -> ParagonError:
    for name in floats:
        bad = np.flatnonzero(pd.to_numeric(frame[name], errors="coerce").isna().to_numpy())
        if len(bad):
            row = int(bad[0])
            text = frame[name].iloc[row]
            return place.error(row, name, text, "a number", "correct or remove the line")
    return place.whole(f"a field of {', '.join(floats)} cannot be read as a number; correct it")
