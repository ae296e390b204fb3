"""Reading the files that datasets are published in: folders, gzip and zip archives.

Nothing is ever unpacked to disk, so an archive cannot write anywhere; one that
tries to (a path with ``..`` or an absolute one) is refused all the same.
"""

from __future__ import annotations

import gzip
import hashlib
import json
import lzma
import math
import struct
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

from paragon.data.places import Place, shown
from paragon.errors import ParagonError


def sha256_of(path: Path) -> str:
    """Hex sha256 of a file."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


class Folder:
    """Files in a folder, each as it is or gzipped; also one level down in ``inside``."""

    def __init__(self, path: Path, inside: str = ""):
        self.path = Path(path)
        self._places = [self.path, self.path / inside] if inside else [self.path]

    def find(self, filename: str) -> Path | None:
        """Where ``filename`` or ``filename.gz`` lies, or None."""
        for place in self._places:
            for path in (place / filename, place / f"{filename}.gz"):
                if path.is_file():
                    return path
        return None

    def label(self, filename: str) -> str:
        """The file's name for messages."""
        return str(self.find(filename) or self.path / filename)

    def read(self, filename: str) -> bytes:
        """The whole content, decompressed."""
        return b"".join(self.lines(filename))

    def lines(self, filename: str) -> Iterator[bytes]:
        """The lines with their ends, one at a time: for files too large to hold."""
        path = self.find(filename)
        if path is None:
            raise ParagonError(f"{self.path / filename} is missing")
        opened = gzip.open if path.suffix == ".gz" else open
        try:
            with opened(path, "rb") as file:
                yield from file
        except (EOFError, zlib.error, gzip.BadGzipFile):
            raise ParagonError(f"{path} is truncated or damaged: get it again") from None
        except OSError as error:
            raise ParagonError(f"{path} cannot be read: {error.strerror}") from None

    def sums(self, filenames: tuple[str, ...]) -> dict[str, str]:
        """sha256 of the files as they lie there, by their names."""
        paths = [path for name in filenames if (path := self.find(name))]
        return {path.name: sha256_of(path) for path in paths}


# Whatever zipfile and the decompressors say to bytes that are not what they should be.
_BAD_ZIP = (
    zipfile.BadZipFile, zlib.error, lzma.LZMAError, struct.error,
    EOFError, OSError, RuntimeError, ValueError,
)  # fmt: skip


class Archive:
    """Files in a zip archive, found by their last path component."""

    def __init__(self, path: Path):
        self.path = Path(path)
        try:
            with zipfile.ZipFile(self.path) as archive:
                names = archive.namelist()
        except _BAD_ZIP:
            raise _damaged(self.path) from None
        for name in names:
            parts = PurePosixPath(name.replace("\\", "/")).parts
            if ".." in parts or name.startswith(("/", "\\")) or ":" in (parts or ("",))[0]:
                raise ParagonError(
                    f"{self.path}: the archive holds the path {shown(name)}, which leads out of "
                    "its folder; do not use this file, get it from the official address"
                )
        self._members: dict[str, list[str]] = {}
        for name in names:
            self._members.setdefault(PurePosixPath(name).name, []).append(name)

    def find(self, filename: str) -> str | None:
        """The member's name, or None; of several, none is more likely meant than the others."""
        found = self._members.get(filename, [])
        if len(found) > 1:
            raise ParagonError(
                f"{self.path}: the archive holds {len(found)} files {filename} "
                f"({', '.join(map(shown, found))}); unpack it and give the folder that is meant"
            )
        return found[0] if found else None

    def label(self, filename: str) -> str:
        """The file's name for messages."""
        return f"{self.path}:{self.find(filename) or filename}"

    def read(self, filename: str) -> bytes:
        """The whole content."""
        member = self.find(filename)
        if member is None:
            raise ParagonError(f"{self.path} holds no {filename}")
        try:
            with zipfile.ZipFile(self.path) as archive:
                return archive.read(member)
        except _BAD_ZIP:
            raise _damaged(self.path) from None

    def lines(self, filename: str) -> Iterator[bytes]:
        """The lines with their ends."""
        yield from self.read(filename).splitlines(keepends=True)

    def sums(self, filenames: tuple[str, ...]) -> dict[str, str]:
        """sha256 of the archive itself, by its name."""
        return {self.path.name: sha256_of(self.path)}


Source = Folder | Archive
Row = tuple[int, list[str]]  # the line it starts on, and its fields


def place_of(source: Source, filename: str) -> Place:
    """A published file as a place whose rows are counted as its lines are, from 1."""
    return Place(source.label(filename), first=0)


def _damaged(path: Path) -> ParagonError:
    return ParagonError(f"{path} is truncated, damaged or no zip archive: get it again")


def text_of(source: Source, filename: str) -> str:
    """A file's text, in UTF-8 or, as GroupLens writes, Latin-1.

    A file in which some lines are UTF-8 and others are not would come out
    garbled either way; it is refused.
    """
    data = source.read(filename).removeprefix(b"\xef\xbb\xbf").replace(b"\r\n", b"\n")
    if not data.strip():
        raise ParagonError(f"{source.label(filename)}: the file is empty")
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError:
        pass
    foreign: dict[bool, int] = {}
    for row, line in enumerate(data.split(b"\n"), start=1):
        if not line.isascii():
            foreign.setdefault(_is_utf8(line), row)
    if len(foreign) == 2:
        raise ParagonError(
            f"{source.label(filename)}: line {foreign[True]} is UTF-8 and line {foreign[False]} is "
            "not; save the whole file in one encoding"
        )
    return data.decode("latin-1")


def _is_utf8(line: bytes) -> bool:
    try:
        line.decode("utf-8")
    except UnicodeDecodeError:
        return False
    return True


def rows(
    source: Source,
    filename: str,
    separator: str,
    columns: tuple[str, ...],
    numeric: tuple[str, ...] = (),
) -> Iterator[Row]:
    """Line number and fields of each line of a headless file, counted and the numbers checked."""
    wanted = [(columns.index(name), name) for name in numeric]
    body = text_of(source, filename).rstrip("\n")
    for number, line in enumerate(body.split("\n"), start=1):
        fields = line.split(separator)
        if len(fields) != len(columns):
            raise ParagonError(
                f"{source.label(filename)}, line {number}: found {shown(line)}, expected "
                f"{len(columns)} fields separated by {shown(separator)}, not {len(fields)}"
            )
        for index, name in wanted:
            check_number(source, filename, number, name, fields[index])
        yield number, fields


def check_number(source: Source, filename: str, line: int, column: str, text: object) -> None:
    """Refuse a field that is no number, here where the user's own line can be named."""
    try:
        value = math.nan if isinstance(text, bool) else float(text)
    except (TypeError, ValueError, OverflowError):
        value = math.nan
    if not 0 <= value < math.inf:
        raise place_of(source, filename).error(
            line, column, text, "a finite number of 0 or more", "correct or remove the line"
        )


def json_lines(source: Source, filename: str, parse=json.loads) -> Iterator[tuple[int, dict]]:
    """Line number and object of each line; ``parse`` raises ValueError on anything else."""
    for number, line in enumerate(source.lines(filename), start=1):
        if not line.strip():
            continue
        try:
            record = parse(line.decode("utf-8"))
            if not isinstance(record, dict):
                raise ValueError
        except (ValueError, RecursionError):  # what cannot be decoded is a ValueError too
            raise ParagonError(
                f"{source.label(filename)}, line {number}: found "
                f"{shown(line[:40].decode('utf-8', 'replace'))}, expected one JSON object a line"
            ) from None
        yield number, record
