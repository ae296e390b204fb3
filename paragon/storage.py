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
FILES = r"(summary|timing)\..*|all\.csv"  # in results/; DVC looks at none (.dvcignore)
MARK = ".paragon-lab"  # a file in a folder with settings, artifacts and results of its own


def find_root() -> Path:
    """Return the folder of params.yaml, artifacts and results.

    It is the environment variable PARAGON_ROOT, else the nearest folder above the working directory
    with the file MARK, else the checkout.
    """
    if given := os.environ.get("PARAGON_ROOT"):
        return Path(given)
    checkout = Path(__file__).resolve().parent.parent
    try:
        here = Path.cwd()
    except OSError:  # it was deleted
        return checkout
    return next((f for f in (here, *here.parents) if (f / MARK).is_file()), checkout)


def check_name(name: str, kind: str = "dataset") -> None:
    """Raise ``ParagonError`` if ``name`` is not allowed.

    ``kind`` is what has this name, "dataset", "study" or "backbone"; it is a word of the message.
    """
    if not re.fullmatch(NAME, name):
        raise ParagonError(
            f"{shown(name)} is not a name for a {kind}: use up to 64 letters, digits, '.', '_' and "
            "'-', a letter or digit first"
        )
    if re.fullmatch(FILES, name):
        raise ParagonError(f"{shown(name)} is the name of a file in results/: take another one")


@contextmanager
def atomic_path(target: Path) -> Iterator[Path]:
    """Yield the path of a new file, which replaces ``target`` when the block succeeds.

    If the block fails, the new file is deleted and ``target`` keeps its content.  Raises
    ``ParagonError`` if the file cannot be written.
    """
    unfinished = target.with_name(f".{target.name}.{uuid4().hex}.part")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        yield unfinished
        os.replace(unfinished, target)
    except (OSError, ValueError) as error:  # ValueError: NaN in JSON
        why = getattr(error, "strerror", None) or error
        raise ParagonError(f"{target} cannot be written: {why}; what was there is kept") from error
    finally:
        with suppress(OSError):
            unfinished.unlink()


@contextmanager
def atomic_folder(target: Path, ours: Collection[str]) -> Iterator[Path]:
    """Yield an empty folder, which replaces ``target`` as a whole when the block succeeds.

    If the block fails, ``target`` keeps its content.  ``ours``: the names of the files that may be
    replaced.  Raises ``ParagonError`` if ``target`` holds anything else, or cannot be written.
    """
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with locked(target), ExitStack() as at_the_end:
            there: list[Path] = []
            if target.is_dir():
                there = list(target.iterdir())
            elif target.exists():
                there = [target]
            foreign = sorted(p.name for p in there if p.name not in ours or not p.is_file())
            if foreign:
                raise ParagonError(
                    f"{target} holds {shown(foreign[0])}, which was not written by this command: "
                    "move it elsewhere, nothing was changed"
                )
            stage = Path(tempfile.mkdtemp(dir=target.parent, prefix=f".{target.name}.stage-"))
            at_the_end.callback(_clear, stage, target)
            (stage / "new").mkdir()
            yield stage / "new"
            if target.exists():
                os.rename(target, stage / "old")
            os.rename(stage / "new", target)
    except OSError as error:
        raise ParagonError(f"{target} cannot be written: {error.strerror or error}") from None


@contextmanager
def locked(target: Path) -> Iterator[None]:
    """Lock ``target`` against other processes, where the system has file locks.

    If a process was killed while it replaced ``target``, the old content is put back first.
    """
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
    """Remove the temporary folder ``stage``.

    If ``target`` is missing, the old folder that the stage holds is put back first.
    """
    old = stage / "old"
    if old.exists() and not os.path.lexists(target):
        try:
            os.rename(old, target)
        except OSError as error:
            raise ParagonError(f"{target} cannot be put back ({error}); move {old} there") from None
    shutil.rmtree(stage, ignore_errors=True)


def write_text(target: Path, text: str) -> None:
    """Write a text file in UTF-8, completely or not at all."""
    with atomic_path(target) as path:
        path.write_text(text, encoding="utf-8")


def write_json(target: Path, content: object) -> None:
    """Write a JSON file, completely or not at all, with keys in the given order.

    Raises ``ParagonError`` if a number is NaN or infinite.
    """
    with atomic_path(target) as path:
        text = json.dumps(content, indent=2, allow_nan=False) + "\n"
        path.write_text(text, encoding="utf-8")


def require(path: Path, stage: str) -> Path:
    """Return ``path`` if it exists, else raise a ``ParagonError`` that says how to make it.

    ``stage``, here and below, is what makes the file: a stage of the pipeline or, if it contains a
    space, a whole command.
    """
    if not path.exists():
        how = f"run `{stage}`" if " " in stage else f"run `dvc repro` up to the stage `{stage}`"
        raise ParagonError(f"{path} is missing: {_in_lab(stage) or f'{how} first'}")
    return path


def save_tensors(stem: Path, tensors: Mapping[str, "Tensor"], description: dict) -> None:
    """Write tensors to ``stem.safetensors`` and their description to ``stem.json``.

    The description gets the field ``sha256``, a checksum of both.
    """
    from safetensors.torch import save

    on_cpu = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    data = save(on_cpu)
    with_checksum = {**description, "sha256": _checksum(data, description)}
    # Both are written before either replaces an old one.
    with atomic_path(Path(f"{stem}.safetensors")) as path:
        path.write_bytes(data)
        write_json(Path(f"{stem}.json"), with_checksum)


def load_tensors(stem: Path, stage: str) -> tuple[dict[str, "Tensor"], dict]:
    """Read the tensors and the description that :func:`save_tensors` wrote.

    Raises ``ParagonError`` if a file is missing or was altered, or if a number is not finite.
    """
    import torch
    from safetensors.torch import load

    path = require(Path(f"{stem}.safetensors"), stage)
    description_path = require(Path(f"{stem}.json"), stage)
    try:
        data = path.read_bytes()
        description = json.loads(description_path.read_text(encoding="utf-8"))
        if not isinstance(description, dict):
            raise ValueError("a JSON object is needed")
        if _checksum(data, description) != description.get("sha256"):
            raise ValueError("its checksum differs from the recorded one: one of them was altered")
        tensors = load(data)
        for name, tensor in tensors.items():
            if tensor.is_floating_point() and not torch.isfinite(tensor).all():
                raise ValueError(f"`{name}` holds numbers that are not finite")
    except (OSError, ValueError, RecursionError, SafetensorError) as error:
        files = f"{path} or its {description_path.name}"
        raise ParagonError(f"{files} cannot be read ({error}); {_again(stage)}") from error
    return tensors, description


def _again(stage: str) -> str:
    """Return the advice to run a stage, or a whole command, once more."""
    if " " in stage:
        return f"run `{stage}` again"
    return _in_lab(stage) or f"run `python -m paragon recover`, then stage `{stage}` again"


def _in_lab(stage: str) -> str:
    """Return the advice to run the notebook of a stage; "" outside a lab, which has no stages."""
    root = find_root()
    if not (root / MARK).is_file():
        return ""
    notebooks = (path.stem for path in root.glob("notebooks/*.ipynb"))
    notebook = next((name for name in notebooks if name.partition("_")[2] == stage), "")
    return notebook and f"run all cells of notebook {notebook}, then those of the next ones"


@contextmanager
def loading(
    stem: Path, stage: str, expected: dict | None = None
) -> Iterator[tuple[dict[str, "Tensor"], dict]]:
    """Load tensors and their description, for a block that makes an object of them.

    Raises ``ParagonError`` if the description has not the fields ``expected``.  An error in the
    block, such as a missing key or a wrong shape, becomes a ``ParagonError`` too.
    """
    tensors, description = load_tensors(stem, stage)
    check_match(expected or {}, description, f"{stem}.json", stage)
    try:
        yield tensors, description
    except (KeyError, TypeError, ValueError, IndexError, AttributeError, RuntimeError) as error:
        reason = " ".join(f"{type(error).__name__}: {error}".split())[:200]
        made = f"{stem}.json: made by another version of the package ({reason})"
        raise ParagonError(f"{made}; {_again(stage)}") from error


def check_match(expected: dict, found: dict, what: str, stage: str = "") -> None:
    """Raise ``ParagonError`` for the first field of ``found`` that differs from ``expected``.

    Fields that ``expected`` has not are ignored; but a field that is a mapping in both must have
    the same keys.  ``what`` names the description in the message.
    """
    for field, value in expected.items():
        there = found.get(field)
        if isinstance(value, dict) and isinstance(there, dict):
            all_keys = {key: value.get(key) for key in [*value, *there]}
            check_match(all_keys, there, f"{what}: {field}", stage)
        elif there != value:
            values = f"expected {value!r:.99}, found {there!r:.99}"
            advice = "they were not made for each other"
            if stage:
                advice += f", {_again(stage)}"
            raise ParagonError(f"{what}: field `{field:.99}` differs: {values}; {advice}")


def _checksum(data: bytes, description: dict) -> str:
    """Compute the SHA-256 of the data and of the description, its field ``sha256`` left out."""
    fields = {key: value for key, value in description.items() if key != "sha256"}
    text = json.dumps(fields, sort_keys=True)
    return hashlib.sha256(data + text.encode()).hexdigest()
