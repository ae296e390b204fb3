"""The atomic format: tab-separated text whose header names each column and its type.

It is RecBole's format.  ``user_id:token`` is one string, ``token_seq`` a list of them
separated by spaces, ``float`` a number.  One dataset is up to three files, ``NAME.inter``,
``NAME.item`` and ``NAME.user``.
"""

from __future__ import annotations

import csv
import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from paragon.data.files import Files, replace_folder
from paragon.data.raw import RawTable, decode, read_lines
from paragon.data.table import Dataset, fingerprint
from paragon.errors import ParagonError, shown
from paragon.storage import check_name

TYPES = ("token", "token_seq", "float", "float_seq")
# The files of a dataset, and the columns that each must have.
NEEDED = {"inter": ("user_id", "item_id", "timestamp"), "item": ("item_id",), "user": ("user_id",)}
# The first group of which a column is there gives the categories.
CATEGORIES = (
    *(("class",), ("genre",), ("genres",), ("categories",)),
    ("category", "sub_category", "subcategory"),
)
_MARKS, _MARKS_AND_COMMA = re.compile(r"[|;\[\]]"), re.compile(r"[|;,\[\]]")


def read_atomic(folder: Path, name: str | None = None) -> Dataset:
    """Read and check ``folder/NAME.{inter,item,user}``; the user file may be missing.

    ``NAME`` may be left out if the folder holds one dataset.  Columns used: ``user_id``,
    ``item_id``, ``timestamp`` and, if there, ``rating`` of the interactions; ``item_id``, the
    title and the categories of the items (``TITLES`` of :mod:`paragon.data.checks` and
    ``CATEGORIES`` list the names known); ``user_id`` and ``group`` or ``gender`` of the users.
    Raises ``ParagonError`` with file, line and column.
    """
    files = Files(folder)
    name = name or only_dataset_in(files)
    return dataset_in_files(name, files.path / name, read_contents(files, name))


def write_atomic(dataset: Dataset, folder: Path) -> Path:
    """Write ``folder/NAME.{inter,item,user}`` and return ``folder``.

    The contents are those of :meth:`Dataset.atomic_files`.  The folder is replaced as a whole
    or not at all, and only if it holds nothing else.
    """
    check_name(dataset.name)
    replace_folder(Path(folder), dataset.name, dataset.atomic_files())
    return Path(folder)


def only_dataset_in(files: Files) -> str:
    """The name of the one dataset of atomic files."""
    names = files.stems(".inter")
    if len(names) != 1:
        what = f"{len(names)} files *.inter ({', '.join(names)})" if names else "no file *.inter"
        raise ParagonError(f"{files.path}: found {what}, expected exactly one")
    return names[0]


def read_contents(files: Files, name: str) -> dict[str, bytes]:
    """The raw bytes of ``NAME.inter``, ``NAME.item`` and, where there is one, ``NAME.user``."""
    contents = {}
    for suffix in NEEDED:
        if files.find(f"{name}.{suffix}"):
            contents[suffix] = files.read(f"{name}.{suffix}")
        elif suffix != "user":
            raise ParagonError(
                f"{files.path / name}.{suffix} is missing: run `python -m paragon fetch {name}`, "
                "or with `--from DIR` for your own files"
            )
    return contents


def dataset_in_files(name: str, stem: Path, contents: Mapping[str, bytes]) -> Dataset:
    """The dataset in files already read; messages call them ``stem.inter`` and so on."""
    tables = {suffix: _parse(f"{stem}.{suffix}", data) for suffix, data in contents.items()}
    return replace(dataset_in_tables(name, tables), fingerprint=fingerprint(contents))


def dataset_in_tables(name: str, tables: Mapping[str, RawTable]) -> Dataset:
    """The dataset in tables of text, by suffix, whose columns are called ``name:type``."""
    plain, types = {}, {}
    for suffix, table in tables.items():
        types = dict(column.split(":") for column in table.frame.columns)
        if table.frame.empty:
            raise table.error_in_whole("holds only a header; add one line per row of data")
        plain[suffix] = replace(table, frame=table.frame.set_axis(list(types), axis=1))
        if suffix == "item":
            plain[suffix] = _with_categories(plain[suffix], types)
    return Dataset.from_raw(name, plain["inter"], plain["item"], plain.get("user"))


def _parse(name: str, data: bytes) -> RawTable:
    """The text in an atomic file, its columns called ``name:type``."""
    text = decode(name, data)
    if "\0" in text:
        line = text.count("\n", 0, text.index("\0")) + 1
        raise ParagonError(f"{name}, line {line}: a NUL byte; this is not a text file")
    header, _, body = text.partition("\n")
    columns = _header(name, header, NEEDED[name.rpartition(".")[2]])
    return read_lines(name, body, "\t", columns, first=2)


def _header(name: str, line: str, needed: Sequence[str]) -> list[str]:
    where, fields = f"{name}, line 1", line.split("\t")
    if len(fields) == 1 and any(mark in line for mark in ",;|") or "::" in line:
        raise ParagonError(
            f"{where}: no tabs in {shown(line)}; the fields must be separated by tabs"
        )
    names: list[str] = []
    for number, text in enumerate(fields, start=1):
        column, _, kind = text.strip().partition(":")
        if kind not in TYPES or not column:
            raise ParagonError(
                f"{where}, field {number}: found {shown(text)}, expected name:type with "
                f"type one of {', '.join(TYPES)}; correct the header"
            )
        if column in names:
            raise ParagonError(f"{where}, field {number}: {column!r} a second time; rename it")
        names.append(column)
    for column in needed:
        if column not in names:
            have = ", ".join(map(shown, names))
            raise ParagonError(f"{where}: no column {column} among {have}; add or rename it")
    return [text.strip() for text in fields]


def _with_categories(table: RawTable, types: Mapping[str, str]) -> RawTable:
    """The table of items with the lists of their names in a column ``categories``."""
    group = next((group for group in CATEGORIES if set(group) & set(types)), ())
    if not group:
        known = ", ".join(group[0] for group in CATEGORIES)
        raise table.error_in_whole(
            f"no column says which are the categories: call one of them {known} "
            f"(columns found: {', '.join(types)})"
        )
    lists = [_split_names(table, name, types[name]) for name in group if name in types]
    return table.replaced("categories", [sum(parts, []) for parts in zip(*lists, strict=True)])


def _split_names(table: RawTable, column: str, kind: str) -> list[list[str]]:
    """The categories of each row: one for ``token``, else separated by spaces or ", ".

    Both separators are in use; a comma followed by a space anywhere in the column decides for
    the second.  A row of several words that no other row shows to be one name is then an
    error, because it may be meant the first way.  Quotes around names tell where they end in
    either case.
    """
    texts = table.frame[column]
    commas = kind != "token" and any(", " in text for text in texts)
    wholes, rows = [], []
    for index, text in texts.items():
        whole = [text] if kind == "token" else _quoted_names(table, column, index, text)
        parts = [part.strip("'\" ") for part in text.split(", ")] if commas else text.split()
        wholes.append(whole)
        rows.append(whole or parts)
    shared = {name for names in rows if len(names) > 1 for name in names}
    for (index, text), whole, names in zip(texts.items(), wholes, rows, strict=True):
        marks = _MARKS if whole else _MARKS_AND_COMMA
        if any(map(marks.search, names)):
            expected = "names separated by spaces or by ', '"
            raise table.error(index, column, text, expected, "put no other separator in a name")
        alone = commas and not whole and len(names) == 1 and names[0] not in shared
        if alone and " " in names[0]:
            expected = "names separated by ', ' as in other rows"
            advice = "write spaces in a name as '_', or quotes around it"
            raise table.error(index, column, text, expected, advice)
    return rows


def _quoted_names(table: RawTable, column: str, index: object, text: str) -> list[str]:
    """The names in a text of quoted names separated by commas; none in any other text."""
    if len(text) < 2 or text[0] not in "'\"" or text[-1] not in "'\"":
        return []
    try:
        names = next(csv.reader([text], quotechar=text[0], skipinitialspace=True, strict=True))
    except csv.Error:
        raise table.error(index, column, text, "names in quotes, separated by commas") from None
    return [name.strip("'\"") for name in names]
