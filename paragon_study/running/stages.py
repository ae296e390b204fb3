"""Repair of what DVC leaves when it is killed."""

from pathlib import Path

from dvc.dvcfile import Lockfile
from dvc.exceptions import DvcException
from dvc.utils.strictyaml import load

from paragon.params import ROOT


def recover(root: Path = ROOT) -> list[str]:
    """Remove files that a killed DVC left incomplete, and return their names; call it alone.

    DVC writes ``dvc.lock`` in place, and can leave its list of commands empty (treeverse/dvc#7615).
    """
    removed, lock, running = [], root / "dvc.lock", root / ".dvc" / "tmp" / "rwlock"
    if lock.exists():
        try:
            load(str(lock), schema=Lockfile.SCHEMA)
            whole = lock.read_bytes().endswith(b"\n")
        except DvcException:
            whole = False
        removed += [] if whole else [lock]
    if running.exists() and not running.stat().st_size:
        removed.append(running)
    for file in removed:
        file.unlink()
    return [str(file.relative_to(root)) for file in removed]
