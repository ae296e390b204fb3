"""Read and write RecBole's atomic format: tab-separated text with typed column names.

A column is ``name:token`` (a string), ``token_seq`` (strings separated by spaces) or ``float``.
"""

import codecs
import csv
import gzip
import io
import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from importlib.resources.abc import Traversable
from pathlib import Path

import pandas as pd

from paragon.data.table import NEEDED, Dataset, RawTable, fingerprint
from paragon.errors import ParagonError, shown
from paragon.storage import atomic_folder, check_name

HEADER = re.compile(r"\s*([^:]+):(token|token_seq|float|float_seq)\s*")
# Categories come from the first of these with a column in the file, or from several columns.
CATEGORIES = ("class", "genre", "genres", "categories", "category sub_category subcategory")
csv.field_size_limit(1 << 30)  # columns may hold long texts
MOST_UNPACKED = 1 << 30  # bytes of a file
LFS_POINTER = b"version https://git-lfs.github.com/spec/"


def write_atomic(dataset: Dataset, folder: Path) -> Path:
    """Write the atomic files; raise ``ParagonError`` if the folder holds any other file."""
    check_name(dataset.name)
    replace_files(Path(folder), dataset.name, dataset.atomic_files())
    return Path(folder)


def replace_files(folder: Path, name: str, contents: Mapping[str, bytes]) -> None:
    """Replace all files of ``name`` by ``contents`` (by suffix), or none of them."""
    ours = {f"{name}.{suffix}" for suffix in (*NEEDED, "source.json")}
    with atomic_folder(folder, ours) as new:
        for suffix, data in contents.items():
            (new / f"{name}.{suffix}").write_bytes(data)


def find(folder: Traversable, filename: str) -> Traversable | None:
    """Find a file in a folder, also compressed as ``filename.gz``; both are an error."""
    paths = [p for p in (folder / filename, folder / f"{filename}.gz") if p.is_file()]
    if len(paths) > 1:
        raise ParagonError(f"{paths[0]} and {paths[1].name} are both there: remove one of them")
    return paths[0] if paths else None


def read_contents(folder: Traversable, name: str) -> dict[str, bytes]:
    """Read the bytes of ``NAME.inter``, ``NAME.item`` and, if present, ``NAME.user``."""
    paths = {suffix: find(folder, f"{name}.{suffix}") for suffix in NEEDED}
    for suffix in ("inter", "item"):
        if paths[suffix] is None:
            raise ParagonError(
                f"{folder / name}.{suffix} is missing: run `python -m paragon fetch {name}`, "
                "or with `--from DIR` for your own files"
            )
    return {suffix: read_bytes(path) for suffix, path in paths.items() if path}


def read_bytes(path: Traversable) -> bytes:
    """Read and decompress a file, to at most ``MOST_UNPACKED`` bytes."""
    try:
        with path.open("rb") as packed:
            pointer = packed.read(len(LFS_POINTER)) == LFS_POINTER
            packed.seek(0)
            compressed = path.name.endswith(".gz") and not pointer
            data = (gzip.open(packed) if compressed else packed).read(MOST_UNPACKED + 1)
    except Exception as error:  # decompressors raise many kinds
        reason = getattr(error, "strerror", None) or "truncated, damaged or no such archive"
        raise ParagonError(f"{path} cannot be read: {reason}; get it again") from None
    if pointer:
        raise ParagonError(f"{path} only points to the data in Git LFS: run `git lfs pull` first")
    if len(data) > MOST_UNPACKED:
        raise ParagonError(f"{path} holds more than {MOST_UNPACKED:,} bytes: use `prepare_large`")
    return data


def decode(name: str, data: bytes, latin_1: bool = False) -> str:
    """Decode UTF-8 or, if allowed, Latin-1, but no mixture; normalise newlines."""
    data = data.removeprefix(codecs.BOM_UTF8).replace(b"\r\n", b"\n").rstrip(b"\n")
    if not data.strip():
        raise ParagonError(f"{name}: the file is empty; it needs lines of data")
    try:
        text, invalid = data.decode("utf-8"), -1
    except UnicodeDecodeError as error:
        text = data.decode("latin-1")
        looks_utf8 = re.search("[\xc2-\xf4][\x80-\xbf]", text)
        invalid = error.start if looks_utf8 or not latin_1 else -1
    problems = {"not UTF-8; save it as UTF-8": invalid, "a NUL byte; remove it": data.find(b"\0")}
    for problem, place in problems.items():
        if place >= 0:
            line = data.count(b"\n", 0, place) + 1
            raise ParagonError(f"{name}, line {line}: {problem}")
    return text


def split_rows(
    name: str,
    text: str,
    separator: str = "\t",
    columns: Sequence[str] = (),
    quoted: bool = False,
    broken: list[int] | None = None,
) -> RawTable:
    """Split text into fields; the first row is a header unless ``columns`` are given.

    Lines with another number of fields are left out and go to ``broken``; None: they are an error.
    """
    lines, quote = io.StringIO(text, newline=""), '"' if quoted else None
    reader = csv.reader(lines, delimiter=separator, quotechar=quote, strict=True)
    rows: dict[int, list[str]] = {}
    line, header = 1, list(columns)
    try:
        for fields in reader:
            if not header:
                header = fields
            elif len(fields) != len(header) and broken is not None:
                broken += [line] * bool(fields)  # no empty line
            elif len(fields) != len(header):
                found, expected = shown(separator.join(fields)), f"{len(header)} fields"
                raise csv.Error(f"found {found}, expected {expected} separated by {separator!r}")
            else:
                rows[line] = fields
            line = reader.line_num + 1  # first line of the next row; a row may have several
    except csv.Error as error:
        raise ParagonError(f"{name}, line {line}: {error}; correct the line") from None
    return RawTable(name, pd.DataFrame([*rows.values()], [*rows], header, dtype=object))


def dataset_in_files(name: str, stem: str, contents: Mapping[str, bytes]) -> Dataset:
    """Parse and check files already read; messages name them ``stem.inter`` and so on."""
    files = {suffix: (f"{stem}.{suffix}", data) for suffix, data in contents.items()}
    tables = {s: split_rows(file, decode(file, data)) for s, (file, data) in files.items()}
    return replace(dataset_in_tables(name, tables), fingerprint=fingerprint(contents))


def dataset_in_tables(name: str, tables: Mapping[str, RawTable]) -> Dataset:
    """Check tables of text (by suffix) with columns ``name:type`` as a dataset."""
    plain = {}
    for suffix, table in tables.items():
        headers = [HEADER.fullmatch(text) for text in table.frame]
        if None in headers:
            raise ParagonError(
                f"{table.name}, line 1: found {shown(table.frame.columns[headers.index(None)])}, "
                "expected name:type with type one of token, token_seq, float, float_seq, separated "
                "by tabs; correct the header"
            )
        kinds = [(match[1], match[2]) for match in headers if match]
        table = replace(table, frame=table.frame.set_axis([name for name, _ in kinds], axis=1))
        table.select(*NEEDED[suffix], *table.frame)
        plain[suffix] = _with_categories(table, dict(kinds)) if suffix == "item" else table
    return Dataset.from_raw(name, plain, atomic=True)


def _with_categories(table: RawTable, kinds: Mapping[str, str]) -> RawTable:
    """Add a column ``categories`` with the list of category names of each item."""
    groups = ([name for name in group.split() if name in kinds] for group in CATEGORIES)
    used = next(filter(None, groups), [])
    if not used:
        known = ", ".join(group.split()[0] for group in CATEGORIES)
        raise ParagonError(
            f"{table.name}: no column says which are the categories: call one of them {known} "
            f"(columns found: {', '.join(kinds)})"
        )
    lists = [_split_names(table, name, kinds[name]) for name in used]
    table = table.replaced(categories=[sum(parts, []) for parts in zip(*lists, strict=True)])
    return replace(table, published={"categories": " and ".join(used)} | {**table.published})


def _split_names(table: RawTable, column: str, kind: str) -> list[list[str]]:
    """Split rows into names: one for ``token``, else separated by ", " if that occurs, or " "."""
    texts = table.frame[column]
    commas = kind != "token" and any(", " in text for text in texts)

    def names_in(text: str) -> list[str] | None:
        quoted = len(text) > 1 and text[0] in "'\"" and text[-1] in "'\""
        names, marks = [text], "|;[]"
        if kind != "token" and quoted:
            try:
                [names] = csv.reader([text], quotechar=text[0], skipinitialspace=True, strict=True)
            except csv.Error:
                return None
        elif kind != "token":
            names, marks = text.split(", " if commas else None), "|;[],"
        if set(marks) & set("".join(names)):
            return None
        return [name.strip("'\" ") for name in names] if quoted or commas else names

    rows = [*map(names_in, texts)]
    expected = "names separated by spaces or by ', ', or each in quotes"
    table.check(column, (names is not None for names in rows), expected)
    lists = [names or [] for names in rows]
    known = {name for names in lists if len(names) > 1 for name in names}
    clear = (
        not commas or names != [text] or " " not in text or text in known
        for text, names in zip(texts, lists, strict=True)
    )
    fix = "write spaces in a name as '_', or quotes around it"
    table.check(column, clear, "names separated by ', ' as in other rows", fix)
    return lists
