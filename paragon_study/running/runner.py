"""Run a notebook as a stage of the pipeline and keep an executed copy that never varies.

A source notebook is an input and stays without outputs; papermill executes it, and the copy goes
to ``artifacts/notebooks``.  The same study gives the same bytes, see :func:`normalise`.
"""

from __future__ import annotations

import ast
import os
import re
import shutil
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import nbformat
import papermill
from nbclient.exceptions import DeadKernelError
from nbformat import NotebookNode
from papermill.exceptions import PapermillExecutionError

from paragon.errors import NotebookFailed, ParagonError
from paragon.params import CHECKPOINTS, ROOT, load_params
from paragon.progress import LINE, QUIET
from paragon.storage import check_name, write_text
from paragon_study.pipeline.determinism import environment
from paragon_study.pipeline.memory import VARIABLES
from paragon_study.running.signals import exit_at_signals
from paragon_study.running.times import said_from_time_to_time

KERNEL = "python3"
# Injected everywhere: an edited parameters cell changes no result.
NEUTRAL: dict[str, Any] = {"overrides": {}}
NOISE = ("papermill", "execution", "ExecuteTime")  # metadata of cells that holds clocks
WIDGET = "application/vnd.jupyter.widget-view+json"  # names a model that is gone, by a random id
FRAMES = 12  # lines of a traceback that are shown
_ANSI = re.compile(r"\x1b\[[0-9;]*[A-Za-z]")
_ADDRESS = re.compile(r"\bat 0x[0-9a-fA-F]+")
_STYLED = re.compile(r"\bT_[0-9a-f]{5}(?=_|\b)")  # the random id of a styled pandas table


def run_notebook(name: str, dataset: str, backbone: str | None = None, root: Path = ROOT) -> Path:
    """Execute ``notebooks/NAME.ipynb`` in ``root``; returns the path of the executed copy.

    ``dataset``, ``backbone`` (if given) and the empty ``overrides`` are injected after its cell
    tagged ``parameters``, so that what this cell assigns has no influence.  SIGTERM, SIGINT and
    SIGHUP end the kernel as well.  Long trainings go on from the checkpoints of an interrupted
    run; they lie beside the stage's own folder, which DVC empties first.

    Raises ``ParagonError`` for what the user can correct, also if it was raised inside the
    notebook, and ``NotebookFailed`` for any other failure.  Then the copy is kept as
    ``NAME.failed.ipynb`` and the last good one stays as it was.
    """
    root = root.resolve()
    source = source_path(name, root)
    parameters = {"dataset": dataset} | ({} if backbone is None else {"backbone": backbone})
    _check_parameters(source, parameters)
    target = executed_path(name, dataset, backbone, root)
    failed = target.with_suffix(".failed.ipynb")
    threads = load_params(root / "params.yaml", dataset=dataset, backbone=backbone).run.threads
    checkpoints = root.joinpath("artifacts", *parameters.values(), "checkpoints", name)
    with exit_at_signals(), tempfile.TemporaryDirectory(prefix="paragon-") as scratch:
        copy = Path(scratch) / source.name
        try:
            variables = _variables(root, threads, Path(scratch))
            progress = Path(scratch) / "progress"
            variables |= {CHECKPOINTS: str(checkpoints), LINE: str(progress)}
            with (
                environment(variables),
                said_from_time_to_time(name, progress),
                _stderr_to(Path(scratch) / "stderr"),
            ):
                _execute(source, copy, parameters | NEUTRAL, root)
        except (PapermillExecutionError, RuntimeError) as error:
            if copy.exists():
                _keep(nbformat.read(copy, as_version=4), failed, root)
            raise _explained(error, name, failed, Path(scratch) / "stderr") from None
        notebook = nbformat.read(copy, as_version=4)
    for line in _warnings(notebook):
        print(line, file=sys.stderr)
    _keep(notebook, target, root)
    failed.unlink(missing_ok=True)
    shutil.rmtree(checkpoints, ignore_errors=True)
    return target


def source_path(name: str, root: Path) -> Path:
    """``notebooks/NAME.ipynb``; an error that lists the notebooks if there is none."""
    path = root / "notebooks" / f"{name}.ipynb"
    known = sorted(found.stem for found in (root / "notebooks").glob("*.ipynb"))
    if name not in known:
        raise ParagonError(f"unknown notebook {name!r}: there are {', '.join(known) or 'none'}")
    return path


def executed_path(name: str, dataset: str, backbone: str | None, root: Path) -> Path:
    """``artifacts/notebooks/DATASET[/BACKBONE]/NAME.ipynb``; names may not lead elsewhere."""
    parts = [dataset] if backbone is None else [dataset, backbone]
    for kind, part in zip(("dataset", "backbone"), parts, strict=False):
        check_name(part, kind)
    return root.joinpath("artifacts", "notebooks", *parts, f"{name}.ipynb")


def code_cells(path: Path) -> list[NotebookNode]:
    """The code cells of a stored notebook, in order."""
    try:
        notebook = nbformat.read(path, as_version=4)
    except (nbformat.reader.NotJSONError, nbformat.ValidationError, UnicodeDecodeError) as error:
        reason = " ".join(str(error).split())[:80]
        raise ParagonError(f"{path}: not a notebook ({reason}); restore it from git") from error
    return [cell for cell in notebook.cells if cell.cell_type == "code"]


def normalise(notebook: NotebookNode, root: Path) -> NotebookNode:
    """A copy without the differences between two runs of the same notebook.

    Removed: clocks and versions, random ids of cells, tables and objects, widgets, the standard
    error, the folder of the checkout.  Pieces of one output stream are joined.
    """
    notebook = nbformat.from_dict(notebook)
    kernel = {"display_name": "Python 3", "language": "python", "name": KERNEL}
    metadata = {"kernelspec": kernel, "language_info": {"name": "python"}}
    notebook.metadata = nbformat.from_dict(metadata)
    notebook.nbformat, notebook.nbformat_minor = 4, 5
    for number, cell in enumerate(notebook.cells):
        cell.id = f"cell-{number}"
        for key in NOISE:
            cell.metadata.pop(key, None)
        if cell.cell_type == "code":
            cell.outputs = _outputs(cell.outputs, root)
    return notebook


def _keep(notebook: NotebookNode, path: Path, root: Path) -> None:
    write_text(path, nbformat.writes(normalise(notebook, root)) + "\n")


def _check_parameters(source: Path, given: dict[str, str]) -> None:
    """One cell is tagged ``parameters``: it assigns the names that are given, and does no more.

    Its ``overrides`` are empty: they would have no influence here, which whoever saved some
    may not expect.
    """
    cells = [cell for cell in code_cells(source) if "parameters" in cell.metadata.get("tags", [])]
    if len(cells) != 1:
        raise ParagonError(f"{source}: {len(cells)} cells are tagged `parameters`, 1 is needed")
    assigned: set[str] = set()
    try:
        for line in ast.parse(cells[0].source).body:
            value = ast.literal_eval(line.value)
            targets: list[Any] = line.targets if isinstance(line, ast.Assign) else [line.target]
            names = {target.id for target in targets}
            if value and names & set(NEUTRAL):
                raise ParagonError(
                    f"{source}: its first cell sets `overrides` to {value}; the pipeline takes "
                    "params.yaml alone: change that file, empty `overrides` (or try in `make lab`)"
                )
            assigned |= names
    except (SyntaxError, ValueError, TypeError, AttributeError):
        raise ParagonError(
            f"{source}: the cell tagged `parameters` may only assign values to names; "
            "restore it from git"
        ) from None
    for missing in sorted(assigned - set(given) - set(NEUTRAL)):
        raise ParagonError(f"notebook {source.stem} needs --{missing}")
    for surplus in sorted(set(given) - assigned):
        raise ParagonError(f"notebook {source.stem} takes no --{surplus}")


def _variables(root: Path, threads: int, scratch: Path) -> dict[str, str]:
    """What the kernel inherits.

    The number of threads changes the order of sums, a hash seed the order of sets, and a
    user's IPython profile or ``python3`` kernel could change anything.
    """
    paths = [str(root), os.environ.get("PYTHONPATH", "")]
    libraries = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")
    return dict.fromkeys(libraries, str(threads)) | {
        QUIET: "1",
        "PARAGON_ROOT": str(root),
        "PYTHONPATH": os.pathsep.join(filter(None, paths)),  # this checkout's package
        "PYTHONHASHSEED": "0",
        **VARIABLES,
        "IPYTHONDIR": str(scratch / "ipython"),
        "JUPYTER_PREFER_ENV_PATH": "1",
        "PYDEVD_DISABLE_FILE_VALIDATION": "1",  # else the kernel prints a note on frozen modules
    }


@contextmanager
def _stderr_to(path: Path) -> Iterator[None]:
    """Send what this process and those it starts write to file descriptor 2 to a file.

    The output of cells reaches the notebook all the same.  This is what libraries in C write:
    ZeroMQ may complain about its sockets when a kernel ends (zeromq/libzmq#1307).
    """
    sys.stderr.flush()
    before = os.dup(2)
    try:
        with path.open("wb") as file:
            os.dup2(file.fileno(), 2)
        yield
    finally:
        os.dup2(before, 2)
        os.close(before)


def _execute(source: Path, copy: Path, parameters: dict[str, Any], root: Path) -> None:
    papermill.execute_notebook(
        source,
        copy,
        parameters,
        kernel_name=KERNEL,
        language="python",
        cwd=root,
        progress_bar=False,
        extra_arguments=["--log-level=CRITICAL"],  # without its notes on transport
        # A second sooner than by its own exit, in which it takes torch apart; nothing is left to
        # write then, and workers end with it.
        shutdown_kernel="immediate",
        start_timeout=180,  # seconds: imports are slow on a busy machine with a cold disk
    )


def _explained(
    error: PapermillExecutionError | RuntimeError, name: str, failed: Path, stderr: Path
) -> Exception:
    """What the command line shows for a failed cell or a dead kernel."""
    if isinstance(error, DeadKernelError):
        return ParagonError(
            f"notebook {name}: the kernel died, most likely because memory ran out; close other "
            f"programs, or lower the batch sizes in params.yaml (so far: {failed})"
        )
    if isinstance(error, RuntimeError):  # of a kernel that does not start; it may have said why
        said = stderr.read_text(encoding="utf-8", errors="replace") if stderr.exists() else ""
        return NotebookFailed(
            "\n".join([f"notebook {name}: {error}", *said.rstrip().splitlines()[-FRAMES:]])
        )
    if error.ename == "ParagonError":
        return ParagonError(error.evalue)
    lines = _ANSI.sub("", "\n".join(error.traceback)).rstrip().splitlines()
    shown = (["..."] if len(lines) > FRAMES else []) + lines[-FRAMES:]
    return NotebookFailed(
        "\n".join([f"notebook {name} failed with {error.ename}; see {failed}", *shown])
    )


def _warnings(notebook: NotebookNode) -> list[str]:
    """What the cells wrote to the standard error, which the executed copy leaves out."""
    return [
        line
        for cell in notebook.cells
        for output in cell.get("outputs", [])
        if output.get("name") == "stderr"
        for line in output.text.splitlines()
    ]


def _outputs(outputs: list[NotebookNode], root: Path) -> list[NotebookNode]:
    kept: list[NotebookNode] = []
    for output in outputs:
        if output.get("name") == "stderr" or WIDGET in output.get("data", {}):
            continue
        if kept and output.output_type == kept[-1].output_type == "stream":
            kept[-1].text += output.text
        else:
            kept.append(output)
    for output in kept:
        if output.output_type == "stream":
            output.text = _steady(output.text, root)
        for kind, content in output.get("data", {}).items():
            if kind.startswith("text/") and isinstance(content, str):
                output.data[kind] = _steady(content, root)
    return kept


def _steady(text: str, root: Path) -> str:
    """Text without the folder of the checkout, object addresses and ids of styled tables."""
    text = _ADDRESS.sub("at 0x0", text.replace(f"{root}{os.sep}", ""))
    ids: dict[str, str] = {}
    return _STYLED.sub(lambda found: ids.setdefault(found[0], f"T_{len(ids):05d}"), text)
