"""Folders that are replaced as a whole, so that a failure or a killed process loses nothing."""

from __future__ import annotations

import glob
import os
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path

from paragon.data.raw import shown
from paragon.errors import ParagonError

try:
    import fcntl
except ImportError:  # Windows, where simultaneous fetches are not kept apart
    fcntl = None  # type: ignore[assignment]

OURS = ("inter", "item", "user", "source.json")  # the suffixes of a dataset's files


def replace_folder(target: Path, name: str, files: Mapping[str, bytes]) -> None:
    """Put exactly these files where the atomic files of ``name`` were, all of them or none.

    The new folder is written beside the old one and takes its place at the end.  A folder that
    holds anything else is not ours to remove, and is refused.
    """
    parent = target.parent
    try:
        parent.mkdir(parents=True, exist_ok=True)
        with locked(target):
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
        _put_back(target)
        yield
    finally:
        if handle is not None:
            os.close(handle)


def _put_back(target: Path) -> None:
    for stage in _stages(target):
        if not os.path.lexists(target) and (stage / "old").exists():
            try:
                _clear(stage, target)
            except OSError as error:
                what = f"{target} cannot be put back: {error.strerror or error}"
                raise ParagonError(f"{what}; move {stage / 'old'} there") from None


def _stages(target: Path) -> list[Path]:
    return sorted(target.parent.glob(f".{glob.escape(target.name)}.fetching-*"))


def _clear(stage: Path, target: Path) -> None:
    """Remove a stage; an old folder in it first goes back, unless a new one took its place."""
    if (stage / "old").exists() and not target.exists():
        os.rename(stage / "old", target)
    shutil.rmtree(stage, ignore_errors=True)


def _check_ours(target: Path, name: str) -> None:
    """Refuse a target whose replacement would remove more than a dataset's own files."""
    if not target.is_dir():
        if os.path.lexists(target):
            raise ParagonError(f"{target} is no folder: move it elsewhere, nothing was changed")
        return
    ours = {f"{name}.{suffix}" for suffix in OURS}
    foreign = sorted(p.name for p in target.iterdir() if p.name not in ours or not p.is_file())
    if foreign:
        raise ParagonError(
            f"{target} holds {shown(foreign[0])}, which is not one of the files of {name}: move "
            "it elsewhere, nothing was changed"
        )
