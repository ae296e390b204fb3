"""Tensors on disk: safetensors with a JSON description beside them, and no pickle."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

from safetensors.torch import load_file, save_file
from torch import Tensor

from paragon.errors import ParagonError
from paragon.files import atomic_path, require, write_json


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
