"""Write files completely or not at all, and tensors with a checksum and without pickle."""

import glob
import hashlib
import json
import os
import re
import shutil
import tempfile
from collections.abc import Collection, Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING
from uuid import uuid4

from safetensors import SafetensorError

from paragon.errors import ParagonError, shown

if TYPE_CHECKING:  # torch takes a second to load
    from torch import Tensor

# The name of a study, dataset or backbone becomes a folder, a DVC stage and a word of a command.
NAME = r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}"


def check_name(name: str, kind: str = "dataset") -> None:
    """Raise ``ParagonError`` if ``name`` is not allowed for a dataset, study or backbone."""
    if not re.fullmatch(NAME, name):
        raise ParagonError(
            f"{shown(name)} is not a name for a {kind}: use up to 64 letters, digits, '.', '_' and "
            "'-', a letter or digit first"
        )


@contextmanager
def atomic_path(target: Path) -> Iterator[Path]:
    """Yield a path that replaces ``target`` on success; raise ``ParagonError`` if it cannot."""
    part = target.with_name(f".{target.name}.{uuid4().hex}.part")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        yield part
        os.replace(part, target)
    except (OSError, ValueError) as error:  # ValueError: NaN in JSON
        why = getattr(error, "strerror", None) or error
        raise ParagonError(f"{target} cannot be written: {why}; what was there is kept") from error
    finally:
        with suppress(OSError):
            part.unlink()


@contextmanager
def atomic_folder(target: Path, ours: Collection[str]) -> Iterator[Path]:
    """Yield an empty folder that replaces ``target``, as a whole, only if the block succeeds.

    Raises ``ParagonError`` if ``target`` holds anything but files with the names ``ours``.
    """
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with locked(target), ExitStack() as last:
            there = target.iterdir() if target.is_dir() else [target] if target.exists() else []
            if foreign := sorted(p.name for p in there if p.name not in ours or not p.is_file()):
                raise ParagonError(
                    f"{target} holds {shown(foreign[0])}, which was not written by this command: "
                    "move it elsewhere, nothing was changed"
                )
            stage = Path(tempfile.mkdtemp(dir=target.parent, prefix=f".{target.name}.stage-"))
            last.callback(_clear, stage, target)
            (stage / "new").mkdir()
            yield stage / "new"
            if target.exists():
                os.rename(target, stage / "old")
            os.rename(stage / "new", target)
    except OSError as error:
        raise ParagonError(f"{target} cannot be written: {error.strerror or error}") from None


@contextmanager
def locked(target: Path) -> Iterator[None]:
    """Lock ``target`` against other processes; restore it if one was killed while replacing it."""
    with ExitStack() as stack:
        with suppress(OSError, ImportError):
            import fcntl

            handle = os.open(target.parent, os.O_RDONLY)
            stack.callback(os.close, handle)
            fcntl.flock(handle, fcntl.LOCK_EX)
            for stage in target.parent.glob(f".{glob.escape(target.name)}.stage-*"):
                _clear(stage, target)
        yield


def _clear(stage: Path, target: Path) -> None:
    """Remove a stage; first put its old folder back if ``target`` is missing."""
    old = stage / "old"
    if old.exists() and not os.path.lexists(target):
        try:
            os.rename(old, target)
        except OSError as error:
            raise ParagonError(f"{target} cannot be put back ({error}); move {old} there") from None
    shutil.rmtree(stage, ignore_errors=True)


def write_text(target: Path, text: str) -> None:
    """Write a UTF-8 text file atomically."""
    with atomic_path(target) as path:
        path.write_text(text, encoding="utf-8")


def write_json(target: Path, content: object) -> None:
    """Write JSON atomically, keys in the given order; refuse NaN and infinity."""
    with atomic_path(target) as path:
        path.write_text(json.dumps(content, indent=2, allow_nan=False) + "\n", encoding="utf-8")


def require(path: Path, stage: str) -> Path:
    """Return ``path`` if it exists, else raise a ``ParagonError`` that names what makes it.

    ``stage``, here and below: a stage of the pipeline or, with a space in it, a whole command.
    """
    if not path.exists():
        run = f"run `{stage}`" if " " in stage else f"run `dvc repro` up to the stage `{stage}`"
        raise ParagonError(f"{path} is missing: {run} first")
    return path


def save_tensors(stem: Path, tensors: Mapping[str, "Tensor"], description: dict) -> None:
    """Write ``stem.safetensors`` and its description ``stem.json``, with a checksum of both."""
    from safetensors.torch import save

    data = save({name: t.detach().cpu().contiguous() for name, t in tensors.items()})
    # Both are written before either replaces an old one.
    with atomic_path(Path(f"{stem}.safetensors")) as path:
        path.write_bytes(data)
        write_json(Path(f"{stem}.json"), {**description, "sha256": _checksum(data, description)})


def load_tensors(stem: Path, stage: str) -> tuple[dict[str, "Tensor"], dict]:
    """Read what :func:`save_tensors` wrote; ``ParagonError`` if missing, altered or not finite."""
    import torch
    from safetensors.torch import load

    path, about = (require(Path(f"{stem}.{kind}"), stage) for kind in ("safetensors", "json"))
    try:
        data = path.read_bytes()
        description = json.loads(about.read_text(encoding="utf-8"))
        if not isinstance(description, dict):
            raise ValueError("a JSON object is needed")
        if _checksum(data, description) != description.get("sha256"):
            raise ValueError("its checksum differs from the recorded one: one of them was altered")
        tensors = load(data)
        for name, tensor in tensors.items():
            if tensor.is_floating_point() and not torch.isfinite(tensor).all():
                raise ValueError(f"`{name}` holds numbers that are not finite")
    except (OSError, ValueError, RecursionError, SafetensorError) as error:
        files = f"{path} or its {about.name}"
        raise ParagonError(f"{files} cannot be read ({error}); {_again(stage)}") from error
    return tensors, description


def _again(stage: str) -> str:
    return f"run {'' if ' ' in stage else 'stage '}`{stage}` again"


@contextmanager
def loading(
    stem: Path, stage: str, expected: dict | None = None
) -> Iterator[tuple[dict[str, "Tensor"], dict]]:
    """Load tensors and a description as ``expected``; turn errors into ``ParagonError``."""
    tensors, description = load_tensors(stem, stage)
    check_match(expected or {}, description, f"{stem}.json", stage)
    try:
        yield tensors, description
    except (KeyError, TypeError, ValueError, IndexError, AttributeError, RuntimeError) as error:
        reason = " ".join(f"{type(error).__name__}: {error}".split())[:200]
        made = f"{stem}.json: made by another version of the package ({reason})"
        raise ParagonError(f"{made}; {_again(stage)}") from error


def check_match(expected: dict, found: dict, what: str, stage: str = "") -> None:
    """Raise ``ParagonError`` for the first field of ``found`` not as ``expected``."""
    for field, value in expected.items():
        there = found.get(field)
        if isinstance(value, dict) and isinstance(there, dict):
            both = {key: value.get(key) for key in [*value, *there]}
            check_match(both, there, f"{what}: {field}", stage)
        elif there != value:
            again = f"; they were not made for each other{f', {_again(stage)}' if stage else ''}"
            values = f"expected {value!r:.99}, found {there!r:.99}"
            raise ParagonError(f"{what}: field `{field:.99}` differs: {values}{again}")


def _checksum(data: bytes, description: dict) -> str:
    """Compute the SHA-256 of the data and the description, without its checksum."""
    rest = {key: value for key, value in description.items() if key != "sha256"}
    return hashlib.sha256(data + json.dumps(rest, sort_keys=True).encode()).hexdigest()
