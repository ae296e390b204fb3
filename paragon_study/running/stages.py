"""Which stages DVC would run, and repair of what DVC leaves when it is killed."""

from pathlib import Path

from dvc.dvcfile import Lockfile
from dvc.exceptions import DvcException
from dvc.repo import Repo
from dvc.utils.strictyaml import load

from paragon.errors import ParagonError
from paragon.params import ROOT


def changed_stages(root: Path = ROOT) -> list[str]:
    """List the stages that `dvc repro` would run, each with what changed: three names at most."""
    try:
        with Repo(str(root)) as repo:
            stages = repo.status()
    except DvcException as error:  # of params.yaml or dvc.yaml, over several lines
        raise ParagonError("DVC: " + " ".join(str(error).split())) from error
    lines = []
    for stage, changes in stages.items():
        names = []
        for change in changes:  # "changed command", or {"changed deps": {path: how}}
            kinds = change.values() if isinstance(change, dict) else [[change]]
            names += [str(name) for paths in kinds for name in paths]
        more = f" and {len(names) - 3} more" if len(names) > 3 else ""
        lines.append(f"{stage}: {', '.join(names[:3])}{more}")
    return lines


def recover(root: Path = ROOT) -> list[str]:
    """Remove files that a killed DVC left incomplete, and return their names.

    DVC writes ``dvc.lock`` in place; without it, it takes stages from its run cache. It can also
    leave its list of running commands empty (treeverse/dvc#7615). Call it while nothing else runs.
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
