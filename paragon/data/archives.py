"""The files that a dataset is published in: in a folder, perhaps gzipped, or in a zip archive.

Nothing is ever unpacked to disk, so an archive cannot write anywhere; one that tries to (a
path with ``..`` or an absolute one) is refused all the same.
"""

from __future__ import annotations

import gzip
import lzma
import struct
import zipfile
import zlib
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from typing import IO

import pooch

from paragon.data.raw import shown
from paragon.errors import ParagonError

# Whatever zipfile and the decompressors say to bytes that are not what they should be.
_DAMAGED = (
    zipfile.BadZipFile, zlib.error, lzma.LZMAError, struct.error,
    EOFError, OSError, RuntimeError, ValueError,
)  # fmt: skip


class Files:
    """Files by name: in the folder ``path`` and one level down in ``inside``, or in an archive."""

    def __init__(self, path: Path, inside: str = "") -> None:
        self.path, self._inside = Path(path), inside
        self._archive = self._open_archive() if self.path.is_file() else None

    def _open_archive(self) -> zipfile.ZipFile:
        try:
            archive = zipfile.ZipFile(self.path)
        except _DAMAGED as error:
            raise self._unreadable(self.path, error) from None
        for name in archive.namelist():
            parts = PurePosixPath(name.replace("\\", "/")).parts
            if ".." in parts or name.startswith(("/", "\\")) or ":" in (parts or ("",))[0]:
                raise ParagonError(
                    f"{self.path}: the archive holds the path {shown(name)}, which leads out of "
                    "its folder; do not use this file, get it from the official address"
                )
        return archive

    def find(self, filename: str) -> Path | zipfile.Path | None:
        """Where ``filename`` (in a folder also ``filename.gz``) is, or None.

        Of several in an archive, none is more likely meant than the others: an error.
        """
        if self._archive is None:
            folders = (self.path, self.path / self._inside)
            paths = [folder / f"{filename}{end}" for folder in folders for end in ("", ".gz")]
            return next((path for path in paths if path.is_file()), None)
        names = [n for n in self._archive.namelist() if PurePosixPath(n).name == filename]
        if len(names) > 1:
            raise ParagonError(
                f"{self.path}: the archive holds {len(names)} files {filename} "
                f"({', '.join(map(shown, names))}); unpack it and give the folder that is meant"
            )
        return zipfile.Path(self._archive, names[0]) if names else None

    def stems(self, suffix: str) -> list[str]:
        """The names of the files with this suffix, without it; hidden files are left out."""
        names = self._archive.namelist() if self._archive else map(str, self.path.glob("*"))
        paths = map(PurePosixPath, names)
        return sorted(p.stem for p in paths if p.suffix == suffix and not p.name.startswith("."))

    def label(self, filename: str) -> str:
        """The file's name for messages."""
        return str(self.find(filename) or self.path / filename)

    def read(self, filename: str) -> bytes:
        """The whole content, decompressed."""
        with self._open(filename) as file:
            return file.read()

    def lines(self, filename: str) -> Iterator[bytes]:
        """The lines with their ends, one at a time: for files too large to hold."""
        with self._open(filename) as file:
            yield from file

    @contextmanager
    def _open(self, filename: str) -> Iterator[IO[bytes] | gzip.GzipFile]:
        path = self.find(filename)
        if path is None:
            raise ParagonError(f"{self.path / filename} is missing")
        try:
            with path.open("rb") as raw:
                yield gzip.open(raw) if path.name.endswith(".gz") else raw
        except _DAMAGED as error:
            raise self._unreadable(path, error) from None

    def _unreadable(self, path: Path | zipfile.Path, error: Exception) -> ParagonError:
        if isinstance(path, zipfile.Path) or path == self.path:
            return ParagonError(
                f"{self.path} is truncated, damaged or no zip archive: get it again"
            )
        if isinstance(error, OSError) and error.strerror:
            return ParagonError(f"{path} cannot be read: {error.strerror}")
        return ParagonError(f"{path} is truncated, damaged or no gzip archive: get it again")

    def sums(self, filenames: Iterable[str]) -> dict[str, str]:
        """sha256 of the files as they are there, or of the archive itself, by their names."""
        paths = [self.path] if self._archive else [p for f in filenames if (p := self.find(f))]
        return {path.name: pooch.file_hash(str(path)) for path in paths}
