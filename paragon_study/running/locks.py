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

COPY = ".dvc/tmp/whole/dvc.lock"


def keep_lock(root: Path = ROOT) -> None:
    """Copy a complete dvc.lock, for :func:`recover`."""
    stages = _stages(root / "dvc.lock")
    if stages and (not _is_cut(stages, _stages(root / COPY)) or _is_committed(root)):
        write_text(root / COPY, (root / "dvc.lock").read_text(encoding="utf-8"))


def recover(root: Path = ROOT) -> list[str]:
    """Repair incomplete files of DVC and return their names; run it while nothing else runs.

    A file as committed stays: an older checkout may look like a cut newer one.
    """
    repaired, path, copy = [], root / "dvc.lock", root / COPY
    if path.exists() and _is_cut(_stages(path), _stages(copy)) and not _is_committed(root):
        write_text(path, copy.read_text(encoding="utf-8"))
        repaired.append("dvc.lock")
    running = root / ".dvc" / "tmp" / "rwlock"
    if running.exists() and not running.stat().st_size:
        running.unlink()
        repaired.append(str(running.relative_to(root)))
    return repaired


def _is_committed(root: Path) -> bool:
    """Whether dvc.lock equals its version in ``HEAD``; no without git."""
    try:
        show = ["git", "show", "HEAD:./dvc.lock"]
        done = subprocess.run(show, cwd=root, capture_output=True, check=False)
        return done.returncode == 0 and done.stdout == (root / "dvc.lock").read_bytes()
    except FileNotFoundError:
        return False


def _stages(path: Path) -> dict[str, int]:
    """Count the outputs of each stage in a lock file; return {} if it cannot be read."""
    try:
        stages = yaml.load(path.read_bytes(), Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader))
        return {name: len(stage.get("outs", ())) for name, stage in stages["stages"].items()}
    except (OSError, yaml.YAMLError, UnicodeDecodeError, AttributeError, KeyError, TypeError):
        return {}


def _is_cut(stages: dict[str, int], kept: dict[str, int]) -> bool:
    """Whether ``stages`` are the beginning of ``kept``, the last one perhaps incomplete."""
    names = list(stages)
    if names != list(kept)[: len(names)]:
        return False
    return len(names) < len(kept) or any(stages[name] < kept[name] for name in names[-1:])
