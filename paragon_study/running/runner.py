"""Run a notebook as a stage and keep a reproducible copy; repair what a killed DVC leaves."""

import logging
import os
import re
import shutil
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from hashlib import file_digest
from pathlib import Path
from typing import Any
from unittest.mock import patch

import nbformat
import papermill
from nbclient.exceptions import DeadKernelError
from nbformat import NotebookNode
from papermill.exceptions import PapermillExecutionError

from paragon.errors import NotebookFailed, ParagonError
from paragon.params import CHECKPOINTS, ROOT, load_params
from paragon.progress import LINE, QUIET, newest_lines
from paragon.storage import atomic_path, check_name, write_text
from paragon_study.pipeline.determinism import STAGE, choose_kernels
from paragon_study.running.studies import FOLDER, record_time

KERNEL = "python3"
# Parameters of notebooks, and the options of the command line that give them.
OPTIONS = {"study_name": "--study", "backbone": "--backbone"}
# Injected, so that an edited parameters cell changes no result.
NEUTRAL: dict[str, Any] = {"overrides": {}}
NOISE = ("papermill", "execution", "ExecuteTime")  # cell metadata with times
WARNING = "WARNING: "  # begins a line that the terminal shows as well
FRAMES = 12  # traceback lines in the error message
SECONDS = 60.0  # between two progress lines
logging.getLogger("papermill").setLevel(logging.ERROR)  # no warning about missing `overrides`
_ANSI = re.compile(r"\x1b\[[0-9;]*[A-Za-z]")
_ADDRESS = re.compile(r"\bat 0x[0-9a-fA-F]+")


def run_notebook(name: str, study: str, backbone: str | None = None, root: Path = ROOT) -> Path:
    """Execute ``notebooks/NAME.ipynb`` in ``root`` and return the path of the executed copy.

    Long trainings resume from checkpoints. Raises ``ParagonError`` for what the user can correct,
    else ``NotebookFailed``: then ``NAME.failed.ipynb`` is kept, and the last good copy stays.
    """
    try:
        return _run_notebook(name, study, backbone, root.resolve())
    except (ParagonError, NotebookFailed) as error:
        if (stage := os.environ.get("DVC_STAGE", "")) and _recorded(stage, root):
            back = (
                f"DVC removed its outputs: `dvc checkout {stage}` brings them back from its cache"
            )
            raise type(error)(f"{error}; {back}") from error
        raise


def _recorded(stage: str, root: Path) -> bool:
    """Whether dvc.lock has the outputs of a stage."""
    lock = root / "dvc.lock"
    return lock.exists() and f"\n  {stage}:\n" in lock.read_text(encoding="utf-8")


def checkout(root: Path) -> dict[str, str]:
    """Return the variables with which a process uses data, settings and packages of ``root``."""
    packages = os.pathsep.join([str(root), os.environ.get("PYTHONPATH", "")])
    return {"PARAGON_ROOT": str(root), "PYTHONPATH": packages}


def _run_notebook(name: str, study: str, backbone: str | None, root: Path) -> Path:
    start = time.monotonic()
    parameters = {"study_name": study} | ({} if backbone is None else {"backbone": backbone})
    source = _checked_source(name, parameters, root)
    run = "/".join([*parameters.values(), name])  # several may run side by side
    target = root / FOLDER / f"{run}.ipynb"
    failed = target.with_suffix(".failed.ipynb")
    load_params(root / "params.yaml", study=study, backbone=backbone)  # wrong settings end it here
    checkpoints = root.joinpath("artifacts", *parameters.values(), "checkpoints", name)
    with tempfile.TemporaryDirectory(prefix="paragon-") as scratch:
        copy = Path(scratch) / source.name
        line = Path(scratch) / "progress"
        variables = STAGE | {
            QUIET: "1",
            LINE: str(line),
            CHECKPOINTS: str(checkpoints),
            **checkout(root),
            # No IPython profile or kernel of the user.
            "IPYTHONDIR": os.path.join(scratch, "ipython"),
            "JUPYTER_PREFER_ENV_PATH": "1",
            "PYDEVD_DISABLE_FILE_VALIDATION": "1",  # no note by the kernel
        }
        try:
            with patch.dict(os.environ, variables), _progress_of(run, line):
                choose_kernels()  # whoever calls: a notebook of a lab has the same, `begin`
                # An immediate end saves a second; nothing is left to write.  180 s: a busy machine.
                papermill.execute_notebook(
                    source, copy, parameters | NEUTRAL, kernel_name=KERNEL, language="python",
                    cwd=root, progress_bar=False, shutdown_kernel="immediate", start_timeout=180,
                    extra_arguments=["--log-level=CRITICAL"],  # no transport messages
                )  # fmt: skip
        except (PapermillExecutionError, RuntimeError) as error:
            if copy.exists():
                write_text(failed, normalised(nbformat.read(copy, as_version=4), root))
            raise _explained(error, name, failed) from None
        notebook = nbformat.read(copy, as_version=4)
    for output in (out for cell in notebook.cells for out in cell.get("outputs", [])):
        if output.get("name") == "stderr":  # printed, not kept
            print(output.text, end="", file=sys.stderr)
        elif output.output_type == "stream":  # kept, and its warnings are printed as well
            for line in output.text.splitlines():
                if line.startswith(WARNING):
                    print(f"{name}: {line}", file=sys.stderr)
    write_text(target, normalised(notebook, root))
    failed.unlink(missing_ok=True)
    shutil.rmtree(checkpoints, ignore_errors=True)
    record_time(time.monotonic() - start, run, root)
    return target


def code_cells(path: Path) -> list[NotebookNode]:
    """Read the code cells of a stored notebook, in order."""
    try:
        notebook = nbformat.read(path, as_version=4)
    except (nbformat.reader.NotJSONError, nbformat.ValidationError, UnicodeDecodeError) as error:
        reason = " ".join(str(error).split())[:80]
        raise ParagonError(f"{path}: not a notebook ({reason}); restore it from git") from error
    return [cell for cell in notebook.cells if cell.cell_type == "code"]


def normalised(notebook: NotebookNode, root: Path) -> str:
    """Write a notebook without what differs between runs: times, versions, ids, folder."""
    kernel = {"display_name": "Python 3", "language": "python", "name": KERNEL}
    metadata = {"kernelspec": kernel, "language_info": {"name": "python"}}
    notebook.metadata = nbformat.from_dict(metadata)
    notebook.nbformat = 4
    notebook.nbformat_minor = 5
    for number, cell in enumerate(notebook.cells):
        cell.id = f"cell-{number}"
        for key in NOISE:
            cell.metadata.pop(key, None)
        if cell.cell_type == "code":
            cell.outputs = _outputs(cell.outputs)
    text = nbformat.writes(notebook).replace(f"{root}{os.sep}", "")
    return _ADDRESS.sub("at 0x0", text) + "\n"


def _outputs(outputs: list[NotebookNode]) -> list[NotebookNode]:
    """Keep what is printed and shown: without warnings, each stream in one piece."""
    kept: list[NotebookNode] = []
    for output in (output for output in outputs if output.get("name") != "stderr"):
        if kept and output.output_type == kept[-1].output_type == "stream":
            kept[-1].text += output.text
        else:
            kept.append(output)
    return kept


def _checked_source(name: str, given: dict[str, str], root: Path) -> Path:
    """Return ``notebooks/NAME.ipynb``, whose ``parameters`` cell has exactly the given names."""
    known = sorted(path.stem for path in (root / "notebooks").glob("*.ipynb"))
    if name not in known:
        raise ParagonError(f"unknown notebook {name!r}: there are {', '.join(known) or 'none'}")
    for parameter, value in given.items():
        check_name(value, OPTIONS[parameter].removeprefix("--"))
    source = root / "notebooks" / f"{name}.ipynb"
    code_cells(source)  # refuses what is no notebook
    assigned = papermill.inspect_notebook(source)
    changes = assigned.get("overrides", {"default": "{}"})["default"]
    if changes != "{}":
        instead = "change params.yaml, empty `overrides` (or try in `make lab`)"
        raise ParagonError(f"{source}: its first cell sets `overrides` to {changes}: {instead}")
    if missing := sorted(set(assigned) - set(given) - set(NEUTRAL)):
        raise ParagonError(f"notebook {name} needs {OPTIONS.get(missing[0], missing[0])}")
    if surplus := sorted(set(given) - set(assigned)):
        raise ParagonError(f"notebook {name} takes no {OPTIONS[surplus[0]]}")
    return source


@contextmanager
def _progress_of(run: str, line: Path) -> Iterator[None]:
    """Print the progress that a running notebook writes to a file."""
    over = threading.Event()

    def say() -> None:
        last = ""
        while not over.wait(SECONDS):
            now = newest_lines(line)
            if now not in ("", last):
                print(f"{run}: {now}", flush=True)
                last = now

    speaker = threading.Thread(target=say, daemon=True)
    speaker.start()
    try:
        yield
    finally:
        over.set()
        speaker.join()


def _explained(error: PapermillExecutionError | RuntimeError, name: str, failed: Path) -> Exception:
    """Turn a failed cell or a dead kernel into a message for the command line."""
    if isinstance(error, DeadKernelError):
        return ParagonError(f"notebook {name}: the kernel died, perhaps for memory; see {failed}")
    if isinstance(error, RuntimeError):  # the kernel did not start
        return NotebookFailed(f"notebook {name}: {error}")
    if error.ename == "ParagonError":
        return ParagonError(error.evalue)
    lines = _ANSI.sub("", "\n".join(error.traceback)).rstrip().splitlines()
    first = f"notebook {name} failed with {error.ename}; see {failed}"
    return NotebookFailed("\n".join([first, *lines[-FRAMES:]]))


def recover(root: Path = ROOT) -> list[str]:
    """Remove files that a killed DVC or a disk left damaged, and return their names; call it alone.

    DVC writes ``dvc.lock`` in place, and can leave its list of commands empty (treeverse/dvc#7615).
    It believes its cache and the times of outputs: a file with a flipped bit stays as it is for
    ever.  So damaged files of the cache are replaced by a good output, or removed, and all outputs
    get a new time: the next ``dvc repro`` reads them, and runs what is not as it was.
    """
    from dvc.dvcfile import Lockfile  # slow
    from dvc.exceptions import DvcException
    from dvc.utils.strictyaml import load

    removed = []
    lock = root / "dvc.lock"
    running = root / ".dvc" / "tmp" / "rwlock"
    stages: dict = {}
    if lock.exists():
        whole = False
        with suppress(DvcException):
            stages = load(str(lock), schema=Lockfile.SCHEMA)[0].get("stages", {})
            whole = lock.read_bytes().endswith(b"\n")
        removed += [] if whole else [lock]
    if running.exists() and not running.stat().st_size:
        removed.append(running)
    for file in removed:
        file.unlink()
    outputs = _outputs_of(stages, root)
    for file in outputs:
        os.utime(file)
    damaged = _damaged(root)
    good = {md5_of(file): file for file in outputs if damaged}
    for file in damaged:
        file.unlink()
        if (name := file.parent.name + file.name) in good:
            with atomic_path(file) as copy:
                shutil.copyfile(good[name], copy)
                copy.chmod(0o444)
    return [os.path.relpath(file, root) for file in [*removed, *damaged]]


def _outputs_of(stages: dict, root: Path) -> list[Path]:
    """List the files that dvc.lock has as outputs, and that are there."""
    outputs = [root / out["path"] for stage in stages.values() for out in stage.get("outs", [])]
    files = [file for out in outputs for file in (out.rglob("*") if out.is_dir() else [out])]
    return [file for file in files if file.is_file()]


def _damaged(root: Path) -> list[Path]:
    """List the files of DVC's cache whose content is not the one that they are named after."""
    from dvc.exceptions import NotDvcRepoError  # slow
    from dvc.repo import Repo

    try:
        with Repo(str(root)) as repo:
            cache = Path(repo.cache.local.path)
    except NotDvcRepoError:
        return []
    files = sorted(file for file in cache.glob("??/*") if file.is_file())
    return [f for f in files if md5_of(f) != f.parent.name + f.name.removesuffix(".dir")]


def md5_of(path: Path) -> str:
    """Return the name that DVC gives to the content of a file."""
    with open(path, "rb") as file:
        return file_digest(file, "md5").hexdigest()
