"""What a killed DVC leaves half-written, and how it becomes whole again.

DVC writes ``dvc.lock``, which says what every stage was made from, in place.  Killed meanwhile, it
leaves the beginning of the file: DVC then refuses to run, or has forgotten stages.  So every stage
begins with a copy.  The list of running commands has the same fault (treeverse/dvc#7615): killed
in that moment, DVC leaves it empty.
"""

from __future__ import annotations

import subprocess
from pathlib import Path

import yaml

from paragon.params import ROOT
from paragon.storage import write_text


def keep_locks(root: Path = ROOT) -> None:
    """Copy every lock file that is whole; what :func:`recover` starts from."""
    for path, copy in _pairs(root):
        stages = _stages(path)
        if stages and (not _cut(stages, _stages(copy)) or _committed(path, root)):
            write_text(copy, path.read_text(encoding="utf-8"))


def recover(root: Path = ROOT) -> list[str]:
    """Make whole what DVC left half-written; the names of these files.

    A lock file becomes that of the beginning of the last stage, which the next ``dvc repro`` then
    runs again.  That of an older checkout, which may be the beginning of a newer one, stays.
    Nothing may run meanwhile.
    """
    mended = []
    for path, copy in _pairs(root):  # DVC leaves a lock file, if empty
        if _cut(_stages(path), _stages(copy)) and not _committed(path, root):
            write_text(path, copy.read_text(encoding="utf-8"))
            mended.append(str(path.relative_to(root)))
    running = root / ".dvc" / "tmp" / "rwlock"
    if running.exists() and not running.stat().st_size:
        running.unlink()
        mended.append(str(running.relative_to(root)))
    return mended


def _pairs(root: Path) -> list[tuple[Path, Path]]:
    """Each lock file that is there, of the study and of the pipelines beside it, and its copy."""
    kept = root / ".dvc" / "tmp" / "whole"
    paths = [*root.glob("dvc.lock"), *root.glob("*/dvc.lock")]
    return [(path, kept / path.relative_to(root)) for path in sorted(paths)]


def _committed(path: Path, root: Path) -> bool:
    """Whether a file is as ``HEAD`` has it."""
    show = ["git", "show", f"HEAD:./{path.relative_to(root).as_posix()}"]
    try:
        done = subprocess.run(show, cwd=root, capture_output=True, check=False)
    except FileNotFoundError:  # git is not installed
        return False
    return done.returncode == 0 and done.stdout == path.read_bytes()


def _stages(path: Path) -> dict[str, int]:
    """How many outputs each stage of a lock file has; of none that can be read, nothing."""
    try:
        stages = yaml.load(path.read_bytes(), Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader))
        return {name: len(stage.get("outs", ())) for name, stage in stages["stages"].items()}
    except (OSError, yaml.YAMLError, UnicodeDecodeError, AttributeError, KeyError, TypeError):
        return {}


def _cut(stages: dict[str, int], kept: dict[str, int]) -> bool:
    """Whether the ``stages`` are the beginning of those ``kept``, the last perhaps not complete."""
    names = list(stages)
    if names != list(kept)[: len(names)]:
        return False
    return len(names) < len(kept) or any(stages[name] < kept[name] for name in names[-1:])
