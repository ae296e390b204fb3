"""Repair the files of DVC after it was killed.

DVC writes ``dvc.lock`` in place: killed meanwhile, it leaves only the beginning.  So stages copy it
first.  DVC can also leave its list of running commands empty (treeverse/dvc#7615).
"""

from __future__ import annotations

import subprocess
from pathlib import Path

import yaml

from paragon.params import ROOT
from paragon.storage import write_text


def keep_locks(root: Path = ROOT) -> None:
    """Copy the complete lock files, for :func:`recover`."""
    for path, copy in _pairs(root):
        stages = _stages(path)
        if stages and (not _cut(stages, _stages(copy)) or _committed(path, root)):
            write_text(copy, path.read_text(encoding="utf-8"))


def recover(root: Path = ROOT) -> list[str]:
    """Repair incomplete files of DVC and return their names; run it while nothing else runs.

    A file as committed stays: an older checkout may look like a cut newer one.
    """
    mended = []
    for path, copy in _pairs(root):
        if _cut(_stages(path), _stages(copy)) and not _committed(path, root):
            write_text(path, copy.read_text(encoding="utf-8"))
            mended.append(str(path.relative_to(root)))
    running = root / ".dvc" / "tmp" / "rwlock"
    if running.exists() and not running.stat().st_size:
        running.unlink()
        mended.append(str(running.relative_to(root)))
    return mended


def _pairs(root: Path) -> list[tuple[Path, Path]]:
    """List the lock files of the study and of the trials, each with its copy."""
    kept = root / ".dvc" / "tmp" / "whole"
    paths = [*root.glob("dvc.lock"), *root.glob("*/dvc.lock")]
    return [(path, kept / path.relative_to(root)) for path in sorted(paths)]


def _committed(path: Path, root: Path) -> bool:
    """Whether a file equals its version in ``HEAD``."""
    show = ["git", "show", f"HEAD:./{path.relative_to(root).as_posix()}"]
    try:
        done = subprocess.run(show, cwd=root, capture_output=True, check=False)
    except FileNotFoundError:  # no git
        return False
    return done.returncode == 0 and done.stdout == path.read_bytes()


def _stages(path: Path) -> dict[str, int]:
    """Count the outputs of each stage in a lock file; return {} if it cannot be read."""
    try:
        stages = yaml.load(path.read_bytes(), Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader))
        return {name: len(stage.get("outs", ())) for name, stage in stages["stages"].items()}
    except (OSError, yaml.YAMLError, UnicodeDecodeError, AttributeError, KeyError, TypeError):
        return {}


def _cut(stages: dict[str, int], kept: dict[str, int]) -> bool:
    """Whether ``stages`` are the beginning of ``kept``, the last one perhaps incomplete."""
    names = list(stages)
    if names != list(kept)[: len(names)]:
        return False
    return len(names) < len(kept) or any(stages[name] < kept[name] for name in names[-1:])
