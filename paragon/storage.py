"""Tensors on disk: safetensors with a JSON description beside them, and no pickle."""

from __future__ import annotations

import hashlib
import json
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from safetensors.torch import load_file, save_file
from torch import Tensor

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


def save_tensors(stem: Path, tensors: dict[str, Tensor], description: dict) -> None:
    """Write ``stem.safetensors`` and, beside it, its description ``stem.json``.

    The description gets the checksum of the tensors, so that the two cannot be
    mixed up.
    """
    with atomic_path(stem.with_name(stem.name + ".safetensors")) as path:
        save_file({name: t.detach().cpu().contiguous() for name, t in tensors.items()}, path)
        checksum = hashlib.sha256(path.read_bytes()).hexdigest()
    write_json(stem.with_name(stem.name + ".json"), {**description, "sha256": checksum})


def load_tensors(stem: Path, stage: str) -> tuple[dict[str, Tensor], dict]:
    """Read what :func:`save_tensors` wrote; ``stage`` is named if it is missing."""
    path = require(stem.with_name(stem.name + ".safetensors"), stage)
    about = require(stem.with_name(stem.name + ".json"), stage)
    try:
        description = json.loads(about.read_text(encoding="utf-8"))
    except json.JSONDecodeError as error:
        raise ParagonError(
            f"{about}: not valid JSON ({error}); run stage `{stage}` again"
        ) from error
    if hashlib.sha256(path.read_bytes()).hexdigest() != description.get("sha256"):
        raise ParagonError(
            f"{path}: its checksum differs from the one in {about.name}; run stage `{stage}` again"
        )
    return load_file(path), description


def check_match(ours: dict, theirs: dict, what: str) -> None:
    """Compare two descriptions of the same things field by field; a difference is an error."""
    for field, value in ours.items():
        if theirs.get(field) != value:
            raise ParagonError(
                f"{what}: field `{field}` differs: {value!r} here, {theirs.get(field)!r} there; "
                "they were not made for each other"
            )
