"""Read and write RecBole's atomic format: tab-separated text with typed column names.

A header is ``name:type``.  Types are ``token`` (a string), ``token_seq`` (strings separated by
spaces, or here a JSON list of them), ``float`` and ``float_seq``.  A dataset has the files
``NAME.inter`` (interactions), ``NAME.item`` and perhaps ``NAME.user``.
"""

import codecs
import csv
import gzip
import io
import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from importlib.resources.abc import Traversable
from itertools import chain
from pathlib import Path

import pandas as pd

from paragon.data.table import NEEDED, Dataset, RawTable, fingerprint, names_listed
from paragon.errors import ParagonError, shown
from paragon.storage import atomic_folder, check_name

HEADER = re.compile(r"\s*([^:]+):(token|token_seq|float|float_seq)\s*")
# Categories come from the first of these with a column in the file, or from several columns.
CATEGORIES = ("class", "genre", "genres", "categories", "category sub_category subcategory")
csv.field_size_limit(1 << 30)  # columns may hold long texts
MOST_UNPACKED = 1 << 30  # bytes of a file
LFS_POINTER = b"version https://git-lfs.github.com/spec/"
PARQUET = "a Parquet file"
# How files begin that are taken for text.
KINDS = {
    b"PK\3\4": "a zip archive or an Excel workbook",
    b"\x1f\x8b": "compressed with gzip",
    b"BZh": "compressed with bzip2",
    b"\xfd7zXZ": "compressed with xz",
    b"\x28\xb5\x2f\xfd": "compressed with zstd",
    b"7z\xbc\xaf": "a 7z archive",
    b"PAR1": PARQUET,
    b"ARROW1": "an Arrow file",
    b"Obj\1": "an Avro file",
    b"SQLite format 3": "an SQLite database",
    b"\x89HDF": "an HDF5 file",
    b"\xd0\xcf\x11\xe0": "an old Excel workbook",
    b"%PDF": "a PDF",
    b"{": "JSON",
    b"[{": "JSON",
    b"<": "HTML or XML",
}
# In text that is read as Latin-1: the controls between 7f and a0, or four letters with accents in a
# row.  It is in another encoding, such as cp1252, CP437, Shift-JIS or cp1251.
NOT_LATIN_1 = re.compile("[\x80-\x9f]|[\xc0-\xff]{4}")


def write_atomic(dataset: Dataset, folder: Path) -> Path:
    """Write the atomic files of a dataset, and return the folder.

    Raises ``ParagonError`` if the folder holds any other file.
    """
    check_name(dataset.name)
    replace_files(Path(folder), dataset.name, dataset.atomic_files())
    return Path(folder)


def replace_files(folder: Path, name: str, contents: Mapping[str, bytes]) -> None:
    """Replace all files of the dataset ``name``, or none of them if something fails.

    ``contents``: the bytes of each file by suffix, such as ``inter``.
    """
    ours = {f"{name}.{suffix}" for suffix in (*NEEDED, "source.json")}
    with atomic_folder(folder, ours) as new:
        for suffix, data in contents.items():
            (new / f"{name}.{suffix}").write_bytes(data)


def find(folder: Traversable, filename: str) -> Traversable | None:
    """Find ``filename`` or ``filename.gz`` in a folder; None if there is neither.

    Raises ``ParagonError`` if both are there.
    """
    candidates = (folder / filename, folder / f"{filename}.gz")
    paths = [path for path in candidates if path.is_file()]
    if len(paths) > 1:
        raise ParagonError(f"{paths[0]} and {paths[1].name} are both there: remove one of them")
    return paths[0] if paths else None


def read_contents(folder: Traversable, name: str) -> dict[str, bytes]:
    """Read the bytes of ``NAME.inter``, ``NAME.item`` and, if present, ``NAME.user``, by suffix.

    Raises ``ParagonError`` if one of the first two is missing.
    """
    paths = {suffix: find(folder, f"{name}.{suffix}") for suffix in NEEDED}
    for suffix in ("inter", "item"):
        if paths[suffix] is None:
            raise ParagonError(
                f"{folder / name}.{suffix} is missing: run `python -m paragon fetch {name}`, "
                "or with `--from DIR` for your own files"
            )
    return {suffix: read_bytes(path) for suffix, path in paths.items() if path}


def read_start(path: Traversable) -> bytes:
    """Read the first bytes of a file.

    Raises ``ParagonError`` if it cannot be read, or is no file but a folder or a pipe.
    """
    try:
        if isinstance(path, Path) and path.exists() and not path.is_file():  # a pipe may never end
            raise OSError(0, "it is no regular file")
        with path.open("rb") as file:
            return file.read(64)
    except Exception as error:
        raise _unreadable(path, error) from None


def read_bytes(path: Traversable) -> bytes:
    """Read a file, and decompress it if its name ends in ``.gz``.

    Raises ``ParagonError`` if it cannot be read, is only a pointer of Git LFS, or has more than
    ``MOST_UNPACKED`` bytes.
    """
    if read_start(path).startswith(LFS_POINTER):
        raise ParagonError(f"{path} only points to the data in Git LFS: run `git lfs pull` first")
    try:
        with path.open("rb") as packed:
            file = gzip.open(packed) if path.name.endswith(".gz") else packed
            data = file.read(MOST_UNPACKED + 1)
    except Exception as error:  # decompressors raise many kinds
        raise _unreadable(path, error) from None
    if len(data) > MOST_UNPACKED:
        raise ParagonError(f"{path} holds more than {MOST_UNPACKED:,} bytes: use `prepare_large`")
    return data


def _unreadable(path: Traversable, error: Exception) -> ParagonError:
    reason = getattr(error, "strerror", None) or "truncated, damaged or no such archive"
    return ParagonError(f"{path} cannot be read: {reason}; get it again")


def kind_of(data: bytes) -> str:
    """Return what a file is that has these first bytes; "" if it can be text with columns."""
    return next((kind for start, kind in KINDS.items() if data.startswith(start)), "")


def is_utf8(data: bytes) -> bool:
    """Return whether the bytes are text in UTF-8."""
    try:
        data.decode("utf-8")
    except UnicodeDecodeError:
        return False
    return True


def decode(name: str, data: bytes, latin_1: bool = False) -> str:
    """Decode the bytes of a file as UTF-8; line ends become ``\\n``, those at the end are dropped.

    ``latin_1``: text that is not UTF-8 may be Latin-1, but not a mixture of both.  Raises
    ``ParagonError`` with the line if it is neither, is UTF-16 or UTF-32, holds a NUL byte, or is
    empty.
    """
    data = data.removeprefix(codecs.BOM_UTF8)
    kind = kind_of(data)
    if kind:
        raise ParagonError(f"{name} is {kind}; it has to be a text file with columns")
    zeros = data.count(b"\0") / max(len(data), 1)  # UTF-16: of most letters one byte in two is 0
    if data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)) or zeros > 0.25:
        encoding = "UTF-32" if zeros > 0.6 else "UTF-16"
        raise ParagonError(f"{name}, line 1: the text is in {encoding}; save it as UTF-8")
    data = data.replace(b"\r\n", b"\n").rstrip(b"\n")
    if not data.strip():
        raise ParagonError(f"{name}: the file is empty; it needs lines of data")
    invalid = -1  # place of the first byte that cannot be decoded; -1: none
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError as error:
        text = data.decode("latin-1")
        looks_utf8 = re.search("[\xc2-\xf4][\x80-\xbf]", text)
        if looks_utf8 or not latin_1 or NOT_LATIN_1.search(text):
            invalid = error.start
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
    """Split text into a table of fields, whose index is the line that a row begins on.

    ``separator``: a character, or several if no field holds a tab.  The first row is the header,
    unless ``columns`` are given.  ``quoted``: a field may be in double quotes, and then hold
    separators and line breaks.  ``broken``: a list to which the numbers of lines with a wrong
    number of fields are added; such rows are left out, empty lines too.  Without this list, the
    first such line raises ``ParagonError``.
    """
    several = len(separator) > 1  # csv allows only one
    lines = io.StringIO(text.replace(separator, "\t") if several else text, newline="")
    quote = '"' if quoted else None
    reader = csv.reader(
        lines, delimiter="\t" if several else separator, quotechar=quote, strict=True
    )
    rows: dict[int, list[str]] = {}
    header = list(columns)
    line = 1
    try:
        for fields in reader:
            if not header:
                header = fields
            elif len(fields) == len(header):
                rows[line] = fields
            elif broken is None:
                found = shown(separator.join(fields))
                expected = f"{len(header)} fields separated by {separator!r}"
                raise csv.Error(f"found {found}, expected {expected}")
            elif fields:  # not an empty line
                broken.append(line)
            line = reader.line_num + 1  # first line of the next row; a row may have several
    except csv.Error as error:
        raise ParagonError(f"{name}, line {line}: {error}; correct the line") from None
    frame = pd.DataFrame(list(rows.values()), index=list(rows), columns=header, dtype=object)
    return RawTable(name, frame)


def dataset_in_files(
    name: str, stem: str, contents: Mapping[str, bytes], years: bool = False
) -> Dataset:
    """Parse and check the bytes of atomic files, by suffix; the dataset gets their fingerprint.

    Messages name the files ``stem.inter`` and so on.  ``years``: as in :meth:`Dataset.from_raw`.
    Raises ``ParagonError`` for the first error.
    """
    tables = {}
    for suffix, data in contents.items():
        file = f"{stem}.{suffix}"
        tables[suffix] = split_rows(file, decode(file, data))
    dataset = dataset_in_tables(name, tables, years)
    return replace(dataset, fingerprint=fingerprint(contents))


def dataset_in_tables(name: str, tables: Mapping[str, RawTable], years: bool = False) -> Dataset:
    """Make a checked dataset of tables of text (by suffix), whose columns are ``name:type``.

    ``years``: as in :meth:`Dataset.from_raw`.  Raises ``ParagonError`` for the first error.
    """
    plain = {}
    for suffix, table in tables.items():
        headers = [HEADER.fullmatch(text) for text in table.frame]
        if None in headers:
            raise ParagonError(
                f"{table.name}, line 1: found {shown(table.frame.columns[headers.index(None)])}, "
                "expected name:type with type one of token, token_seq, float, float_seq, separated "
                "by tabs; correct the header"
            )
        columns = [match[1] for match in headers if match]
        types = [match[2] for match in headers if match]
        table = replace(table, frame=table.frame.set_axis(columns, axis=1))
        table.select(*NEEDED[suffix], *columns)  # none is missing, none occurs twice
        if suffix == "item":
            table = _with_categories(table, dict(zip(columns, types, strict=True)))
        plain[suffix] = table
    return Dataset.from_raw(name, plain, years)


def _with_categories(table: RawTable, kinds: Mapping[str, str]) -> RawTable:
    """Add a column ``categories`` with the list of category names of each item.

    ``kinds``: the type of each column.
    """
    groups = ([name for name in group.split() if name in kinds] for group in CATEGORIES)
    used = next((group for group in groups if group), [])
    if not used:
        known = ", ".join(group.split()[0] for group in CATEGORIES)
        raise ParagonError(
            f"{table.name}: no column says which are the categories: call one of them {known} "
            f"(columns found: {', '.join(kinds)})"
        )
    by_column = [_split_names(table, name, kinds[name]) for name in used]
    names = [list(chain.from_iterable(lists)) for lists in zip(*by_column, strict=True)]
    table = table.replaced(categories=names)
    published = {"categories": " and ".join(used), **table.published}
    return replace(table, published=published)


def _split_names(table: RawTable, column: str, kind: str) -> list[list[str]]:
    """Split each row of a column into a list of names.

    A ``token`` is one name.  Otherwise a row is a JSON list, or names are separated by ", " if that
    occurs in the column, else by spaces.  Raises ``ParagonError`` for a row that can be read in two
    ways.
    """
    texts = table.frame[column]
    commas = kind != "token" and any(", " in text for text in texts if text[:1] != "[")

    def names_in(text: str) -> list[str] | None:
        """Return the names in one row; None if it cannot be read."""
        quoted = len(text) > 1 and text[0] in "'\"" and text[-1] in "'\""
        forbidden = "|;[]"
        if kind == "token":
            names = [text]
        elif text[:1] == "[":
            return names_listed(text)
        elif quoted:
            try:
                [names] = csv.reader([text], quotechar=text[0], skipinitialspace=True, strict=True)
            except csv.Error:
                return None
        else:
            names = text.split(", " if commas else None)
            forbidden = "|;[],"
        if set(forbidden) & set("".join(names)):
            return None
        if quoted or commas:
            return [name.strip("'\" ") for name in names]
        return names

    def is_clear(text: str, names: list[str]) -> bool:
        """Return whether a row without ", " is one name: spaces may be meant as separators."""
        return not commas or names != [text] or " " not in text or text in known

    rows = [names_in(text) for text in texts]
    expected = "names separated by spaces or by ', ', each in quotes, or a JSON list"
    table.check(column, (names is not None for names in rows), expected)
    lists = [names or [] for names in rows]
    known = {name for names in lists if len(names) > 1 for name in names}
    clear = [is_clear(text, names) for text, names in zip(texts, lists, strict=True)]
    fix = "write quotes around a name with spaces, or the row as a JSON list"
    table.check(column, clear, "names separated by ', ' as in other rows", fix)
    return lists
