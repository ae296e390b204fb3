"""An exported model as a folder: what is written, and what is checked before it is used.

In this file: ``manifest.json`` with the version of the format and the checksum of every file,
beside the files that :mod:`paragon.storage` writes (safetensors and JSON).  A folder is written
whole or not at all.
"""

from __future__ import annotations

import hashlib
import json
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import fields
from pathlib import Path
from typing import Any

import numpy as np
import torch

from paragon import __version__
from paragon.backbones import load_backbone
from paragon.data.sequences import load_sequences
from paragon.errors import ParagonError, shown
from paragon.generator.generator import load_generator
from paragon.serving.engine import Reranker
from paragon.serving.frozen import load_frozen
from paragon.serving.items import Items
from paragon.serving.outcome import Outcomes
from paragon.storage import loading, save_tensors, write_json

FORMAT = 1  # of the folder; another number when older versions could not read it any more
MANIFEST = "manifest.json"
AGAIN = "export it again with `python -m paragon export`"


@contextmanager
def new_folder(folder: Path) -> Iterator[Path]:
    """A temporary folder that becomes ``folder`` if the block succeeds; its manifest is written.

    An earlier export is replaced.  Raises ``ParagonError`` for a folder that holds anything else,
    and where nothing can be written.
    """
    try:
        _check_ours(folder)
        folder.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(
            ".part", f".{folder.name}.", folder.parent, ignore_cleanup_errors=True
        ) as scratch:
            made, old = Path(scratch, "new"), Path(scratch, "old")
            made.mkdir()
            yield made
            sums = {path.name: _sha256(path) for path in sorted(made.iterdir())}
            about = {"format": FORMAT, "paragon": __version__, "files": sums}
            write_json(made / MANIFEST, {**about, "sha256": _of(about)})
            try:
                if folder.is_dir():
                    folder.rename(old)
                made.rename(folder)
            finally:  # an interrupt may come between the two as well
                if old.is_dir() and not folder.exists():
                    old.rename(folder)
    except OSError as error:
        raise ParagonError(f"{folder} cannot be written: {error.strerror}") from error


def _check_ours(folder: Path) -> None:
    """Refuse a folder whose replacement would remove more than an earlier export."""
    if folder.exists() and not folder.is_dir():
        raise ParagonError(f"{folder} is a file; choose a folder that does not exist yet")
    there = sorted(folder.iterdir()) if folder.is_dir() else []
    try:
        manifest = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))
        ours = {MANIFEST, *manifest["files"]} if {"format", "paragon"} <= {*manifest} else set()
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        ours = set()  # a web app has a file of this name, too
    other = [path.name for path in there if path.name not in ours or not path.is_file()]
    if other:
        raise ParagonError(
            f"{folder} holds {shown(other[0])}, which is not of an earlier export; choose a folder "
            "that does not exist yet"
        )


def check_folder(folder: Path) -> set[str]:
    """Compare a folder with its manifest; the names of its files.

    Raises ``ParagonError`` for a folder that is no export, one of another version of the format,
    and a file that is missing or altered.
    """
    if folder.exists() and not folder.is_dir():
        raise ParagonError(f"{folder} is a file; give the folder of an export")
    if not folder.is_dir():
        raise ParagonError(f"{folder} does not exist; `python -m paragon export {folder}` makes it")
    path = folder / MANIFEST
    if not path.exists():
        raise ParagonError(f"{folder} is not an exported model: {MANIFEST} is missing; {AGAIN}")
    try:
        manifest = json.loads(path.read_text(encoding="utf-8"))
        version, files, found = manifest["format"], dict(manifest["files"]), manifest["sha256"]
    except OSError as error:
        raise ParagonError(f"{path} cannot be read: {error.strerror}") from error
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise ParagonError(f"{path} is no manifest of an export; {AGAIN}") from error
    if version != FORMAT:
        raise ParagonError(
            f"{folder} has format {version}, this version of paragon reads {FORMAT}; {AGAIN}"
        )
    del manifest["sha256"]
    if _of(manifest) != found:
        raise ParagonError(f"{path} was altered; {AGAIN}")
    for name, checksum in files.items():
        if not (folder / name).is_file():
            raise ParagonError(f"{folder / name} is missing; copy the whole folder, or {AGAIN}")
        if _sha256(folder / name) != checksum and name != "README.md":
            raise ParagonError(
                f"{folder / name} was altered, or is of another export; copy the whole folder, "
                f"or {AGAIN}"
            )
    return set(files)


def load_folder(folder: Path) -> dict[str, Any]:
    """The arguments of a :class:`~paragon.serving.recommender.Recommender`, checked.

    The global random state of torch, which building a network moves, is put back.
    """
    files = check_folder(folder)
    with torch.random.fork_rng(devices=[]):
        if "sequences.json" in files:
            sequences = load_sequences(folder)
            backbone, _ = load_backbone(folder / "backbone", sequences)
            items = Items.of(sequences)
        else:
            items = _load_part(Items, folder / "items")
            backbone = load_frozen(folder / "backbone", items.anonymous())
        generator = load_generator(folder / "generator")
    return {
        "backbone": backbone,
        "generator": generator,
        "items": items,
        "outcomes": _load_part(Outcomes, folder / "validation", files),
        "reranker": _load_part(Reranker, folder / "xquad", files),
    }


def save_part(part: Items | Outcomes | Reranker, stem: Path) -> None:
    """Write arrays to ``stem.safetensors``, the other fields to ``stem.json``; nothing of users."""
    names = [own.name for own in fields(part) if own.init and own.name != "users"]
    values = {name: getattr(part, name) for name in names}
    arrays = {name: value for name, value in values.items() if isinstance(value, np.ndarray)}
    tensors = {name: torch.from_numpy(array) for name, array in arrays.items()}
    save_tensors(stem, tensors, {name: values[name] for name in names if name not in arrays})


def _load_part(kind: type, stem: Path, files: set[str] | None = None) -> Any:
    """Read what :func:`save_part` wrote; None if it is not among the ``files`` of an export."""
    if files is not None and f"{stem.name}.json" not in files:
        return None
    with loading(stem, "python -m paragon export") as (tensors, about):
        values = {name: value for name, value in about.items() if name != "sha256"}
        return kind(**values, **{name: tensor.numpy() for name, tensor in tensors.items()})


def _sha256(path: Path) -> str:
    try:
        return hashlib.sha256(path.read_bytes()).hexdigest()
    except OSError as error:
        raise ParagonError(f"{path} cannot be read: {error.strerror}") from error


def _of(about: dict) -> str:
    return hashlib.sha256(json.dumps(about, sort_keys=True).encode()).hexdigest()
