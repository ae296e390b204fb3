"""Getting the official files, into a folder that is thrown away afterwards."""

from __future__ import annotations

import logging
import subprocess
import sys
import zipfile
from pathlib import Path

import pooch

from paragon.data.raw import sha256_of
from paragon.data.registry import Download, Entry
from paragon.errors import ParagonError

_IN_WHEEL = "recbole/dataset_example/ml-100k/ml-100k"


def from_wheel(entry: Entry, scratch: Path) -> dict[str, bytes]:
    """The atomic files out of the RecBole wheel, which is neither installed nor imported."""
    command = [sys.executable, "-m", "pip", "download", "recbole==1.2.1", "--no-deps"]
    command += ["--only-binary=:all:", "--dest", str(scratch)]
    command += ["--quiet", "--disable-pip-version-check"]
    result = subprocess.run(command, capture_output=True, text=True, stdin=subprocess.DEVNULL)
    wheel = scratch / entry.wheel.filename
    if result.returncode or not wheel.is_file():
        said = [line for line in result.stderr.splitlines() if line.strip()]
        raise ParagonError(
            f"pip could not download {entry.wheel.filename} ({said[-1] if said else 'no reason'}): "
            + _advice(entry, wheel=True)
        )
    return unpack_wheel(entry, wheel)


def unpack_wheel(entry: Entry, wheel: Path) -> dict[str, bytes]:
    """The three files of a wheel whose checksum is right."""
    _check(wheel, entry.wheel, entry)
    with zipfile.ZipFile(wheel) as archive:
        return {suffix: archive.read(f"{_IN_WHEEL}.{suffix}") for suffix in entry.files}


def from_official(entry: Entry, scratch: Path) -> list[Path]:
    """Download every archive of the entry into ``scratch`` and check it."""
    if not entry.archives:
        raise ParagonError(entry.bring)
    return [_retrieve(archive, entry, scratch) for archive in entry.archives]


def _retrieve(archive: Download, entry: Entry, scratch: Path) -> Path:
    pooch.get_logger().setLevel(logging.WARNING)
    try:
        # Without a hash here: ``_check`` below says more about a wrong one.
        path = Path(
            pooch.retrieve(archive.url, known_hash=None, fname=archive.filename, path=scratch)
        )
    except (OSError, ValueError) as error:  # requests' exceptions are OSErrors
        reason = str(error) or type(error).__name__
        if len(reason) > 120 or "\n" in reason:  # a chain of nested causes
            reason = type(error).__name__
        raise ParagonError(
            f"{archive.url} could not be downloaded ({reason}): " + _advice(entry)
        ) from None
    _check(path, archive, entry)
    return path


def _check(path: Path, archive: Download, entry: Entry) -> None:
    if archive.sha256 is None:
        return
    found = sha256_of(path)
    if found != archive.sha256:
        size = f"{path.stat().st_size:,}" + (f" of {archive.size:,}" if archive.size else "")
        raise ParagonError(
            f"{archive.filename} was not received as published ({size} bytes, sha256 {found}, "
            f"expected {archive.sha256}); nothing was kept: "
            + _advice(entry, wheel=archive is entry.wheel)
        )


def _advice(entry: Entry, wheel: bool = False) -> str:
    command = f"python -m paragon fetch {entry.name}"
    other = ""
    if entry.wheel:
        other = f"use the other source with `{command}{' --source official' * wheel}`, "
    return f"try again later, {other}or bring the files with `{command} --from DIR`"
