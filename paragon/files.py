"""Writing without half-written files, and reading with a hint when a file is missing."""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from paragon.errors import ParagonError


@contextmanager
def atomic_path(target: Path) -> Iterator[Path]:
    """A temporary path beside ``target`` that replaces it only if the block succeeds."""
    target.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(dir=target.parent, prefix=f".{target.name}.", suffix=".part")
    os.close(handle)
    path = Path(name)
    try:
        yield path
        path.chmod(0o644)  # mkstemp makes private files; results are for everyone to read
        os.replace(path, target)
    finally:
        path.unlink(missing_ok=True)


def write_text(target: Path, text: str) -> None:
    """Write a UTF-8 text file atomically."""
    with atomic_path(target) as path:
        path.write_text(text, encoding="utf-8")


def write_json(target: Path, content: object) -> None:
    """Write JSON atomically, keys in the given order; NaN and infinity are refused."""
    write_text(target, json.dumps(content, indent=2, allow_nan=False) + "\n")


def require(path: Path, stage: str) -> Path:
    """``path`` if it exists, else an error that names the command which makes it."""
    if not path.exists():
        raise ParagonError(f"{path} is missing: run `dvc repro` up to the stage `{stage}` first")
    return path
