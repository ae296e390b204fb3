"""The atomic format: tab-separated text whose header names each column and its type.

It is RecBole's format.  ``user_id:token`` is one string, ``token_seq`` a list of them
separated by spaces, ``float`` a number.  One dataset is up to three files, ``NAME.inter``,
``NAME.item`` and ``NAME.user``.
"""

from __future__ import annotations

import csv
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from paragon.data.raw import RawTable, decode, find, read_bytes, split_rows
from paragon.data.table import NEEDED, Dataset, fingerprint
from paragon.errors import ParagonError, shown
from paragon.storage import atomic_folder, check_name

TYPES = ("token", "token_seq", "float", "float_seq")
# The first group of which a column is there gives the categories.
CATEGORIES = (
    *(("class",), ("genre",), ("genres",), ("categories",)),
    ("category", "sub_category", "subcategory"),
)


def read_atomic(folder: Path, name: str | None = None) -> Dataset:
    """Read and check ``folder/NAME.{inter,item,user}``; the user file may be missing.

    ``NAME`` may be left out if the folder holds one dataset.  ``NEEDED``, ``TITLES`` and
    ``GROUPS`` of :mod:`paragon.data.table` and ``CATEGORIES`` list the columns that are used.
    Raises ``ParagonError`` with file, line and column.
    """
    name = name or only_dataset_in(folder)
    return dataset_in_files(name, Path(folder) / name, read_contents(folder, name))


def write_atomic(dataset: Dataset, folder: Path) -> Path:
    """Write :meth:`Dataset.atomic_files` as ``folder/NAME.{inter,item,user}``; returns ``folder``.

    It is replaced as a whole or not at all, and only if it holds nothing else.
    """
    check_name(dataset.name)
    replace_files(Path(folder), dataset.name, dataset.atomic_files())
    return Path(folder)


def replace_files(folder: Path, name: str, contents: Mapping[str, bytes]) -> None:
    """Put these files of ``name`` (by suffix) where its files were, all of them or none."""
    ours = {f"{name}.{suffix}" for suffix in (*NEEDED, "source.json")}
    with atomic_folder(folder) as new:
        there = folder.iterdir() if folder.is_dir() else [folder] if folder.exists() else []
        foreign = sorted(p.name for p in there if p.name not in ours or not p.is_file())
        if foreign:
            raise ParagonError(
                f"{folder} holds {shown(foreign[0])}, which is not one of the files of {name}: "
                "move it elsewhere, nothing was changed"
            )
        for suffix, data in contents.items():
            (new / f"{name}.{suffix}").write_bytes(data)


def only_dataset_in(folder: Path) -> str:
    """The name of the one dataset of atomic files; hidden files are left out."""
    names = sorted(path.stem for path in Path(folder).glob("[!.]*.inter"))
    if len(names) != 1:
        raise ParagonError(
            f"{folder}: found {len(names)} files *.inter ({', '.join(names)}), expected exactly one"
        )
    return names[0]


def read_contents(folder: Path, name: str) -> dict[str, bytes]:
    """The raw bytes of ``NAME.inter``, ``NAME.item`` and, where there is one, ``NAME.user``."""
    contents = {}
    for suffix in NEEDED:
        if path := find(folder, f"{name}.{suffix}"):
            contents[suffix] = read_bytes(path)
        elif suffix != "user":
            raise ParagonError(
                f"{Path(folder) / name}.{suffix} is missing: run `python -m paragon fetch {name}`, "
                "or with `--from DIR` for your own files"
            )
    return contents


def dataset_in_files(name: str, stem: Path, contents: Mapping[str, bytes]) -> Dataset:
    """The dataset in files already read; messages call them ``stem.inter`` and so on."""
    tables = {suffix: _parse(f"{stem}.{suffix}", data) for suffix, data in contents.items()}
    return replace(dataset_in_tables(name, tables), fingerprint=fingerprint(contents))


def dataset_in_tables(name: str, tables: Mapping[str, RawTable]) -> Dataset:
    """The dataset in tables of text, by suffix, whose columns are called ``name:type``."""
    plain = {}
    for suffix, table in tables.items():
        if table.frame.empty:
            raise ParagonError(f"{table.name}: there are no rows of data; add some")
        names, types = zip(*(column.split(":") for column in table.frame), strict=True)
        table = replace(table, frame=table.frame.set_axis(names, axis=1))
        table.select(*NEEDED[suffix], *names)
        kinds = dict(zip(names, types, strict=True))
        plain[suffix] = _with_categories(table, kinds) if suffix == "item" else table
    return Dataset.from_raw(name, plain["inter"], plain["item"], plain.get("user"))


def _parse(name: str, data: bytes) -> RawTable:
    """The text in an atomic file, its columns called ``name:type``."""
    table = split_rows(name, decode(name, data))
    for text in table.frame:
        column, _, kind = text.strip().partition(":")
        if kind not in TYPES or not column:
            raise ParagonError(
                f"{name}, line 1: found {shown(text)}, expected name:type with type one of "
                f"{', '.join(TYPES)}, separated by tabs; correct the header"
            )
    return replace(table, frame=table.frame.rename(columns=str.strip))


def _with_categories(table: RawTable, kinds: Mapping[str, str]) -> RawTable:
    """The table of items with the lists of their names in a column ``categories``."""
    group = next((group for group in CATEGORIES if set(group) & set(kinds)), ())
    if not group:
        known = ", ".join(group[0] for group in CATEGORIES)
        raise ParagonError(
            f"{table.name}: no column says which are the categories: call one of them {known} "
            f"(columns found: {', '.join(kinds)})"
        )
    lists = [_split_names(table, name, kinds[name]) for name in group if name in kinds]
    return table.replaced("categories", [sum(parts, []) for parts in zip(*lists, strict=True)])


def _split_names(table: RawTable, column: str, kind: str) -> list[list[str]]:
    """The categories of each row: one for ``token``, else separated by spaces or by ", ".

    Both separators are in use; a comma followed by a space anywhere in the column decides for
    the second.  A lone name of several words that is in no other row's list is then an error,
    because it may be meant the first way.  Quotes around names tell where they end in either case.
    """
    texts, rows = table.frame[column], []
    commas = kind != "token" and texts.str.contains(", ", regex=False).any()
    for row, text in enumerate(texts):
        quoted = len(text) > 1 and text[0] in "'\"" and text[-1] in "'\""
        names, marks = text.split(", " if commas else None), "|;[],"
        if kind == "token":
            names, marks = [text], "|;[]"
        elif quoted:
            try:
                [names] = csv.reader([text], quotechar=text[0], skipinitialspace=True, strict=True)
            except csv.Error:
                raise table.error(row, column, "names in quotes, separated by commas") from None
            marks = "|;[]"
        if any(mark in name for mark in marks for name in names):
            raise table.error(row, column, "names separated by spaces or by ', ' and nothing else")
        rows.append([name.strip("'\" ") if quoted or commas else name for name in names])
    lists = {name for names in rows if len(names) > 1 for name in names}
    for row, (text, names) in enumerate(zip(texts, rows, strict=True)):
        if commas and names == [text] and " " in text and text not in lists:
            fix = "write spaces in a name as '_', or quotes around it"
            raise table.error(row, column, "names separated by ', ' as in other rows", fix)
    return rows
