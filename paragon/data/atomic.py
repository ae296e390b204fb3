"""Read and write RecBole's atomic format: tab-separated text with typed column names.

A column is ``name:token`` (a string), ``token_seq`` (strings separated by spaces) or ``float``.
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
# Categories come from the first group with a column in the file.
CATEGORIES = (
    *(("class",), ("genre",), ("genres",), ("categories",)),
    ("category", "sub_category", "subcategory"),
)


def read_atomic(folder: Path, name: str | None = None) -> Dataset:
    """Read and check ``folder/NAME.{inter,item,user}``; ``ParagonError`` names file and line."""
    name = name or only_dataset_in(folder)
    return dataset_in_files(name, Path(folder) / name, read_contents(folder, name))


def write_atomic(dataset: Dataset, folder: Path) -> Path:
    """Write the atomic files; raise ``ParagonError`` if the folder holds any other file."""
    check_name(dataset.name)
    replace_files(Path(folder), dataset.name, dataset.atomic_files())
    return Path(folder)


def replace_files(folder: Path, name: str, contents: Mapping[str, bytes]) -> None:
    """Replace all files of ``name`` by ``contents`` (by suffix), or none of them."""
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
    """Return the name of the only dataset in a folder; hidden files are ignored."""
    names = sorted(path.stem for path in Path(folder).glob("[!.]*.inter"))
    if len(names) != 1:
        raise ParagonError(
            f"{folder}: found {len(names)} files *.inter ({', '.join(names)}), expected exactly one"
        )
    return names[0]


def read_contents(folder: Path, name: str) -> dict[str, bytes]:
    """Read the bytes of ``NAME.inter``, ``NAME.item`` and, if present, ``NAME.user``."""
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
    """Parse and check files already read; messages name them ``stem.inter`` and so on."""
    tables = {suffix: _parse(f"{stem}.{suffix}", data) for suffix, data in contents.items()}
    return replace(dataset_in_tables(name, tables), fingerprint=fingerprint(contents))


def dataset_in_tables(name: str, tables: Mapping[str, RawTable]) -> Dataset:
    """Check tables of text (by suffix) with columns ``name:type`` as a dataset."""
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
    """Split an atomic file into a table of text with columns ``name:type``."""
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
    """Add a column ``categories`` with the list of category names of each item."""
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
    """Split each row into category names: one for ``token``, else separated by " " or ", ".

    If ", " occurs in the column, it separates.  A lone name with spaces, not in a list of another
    row, is then ambiguous: an error.
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
