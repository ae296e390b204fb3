"""The lab: a copy of the notebooks in ``lab/``, full or small, that cannot change the study."""

import os
import shutil
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import nbformat

from paragon.errors import ParagonError
from paragon.params import ROOT, load_params, read_settings
from paragon.storage import MARK
from paragon_study.pipeline.determinism import STAGE, choose_kernels, keep_memory
from paragon_study.running.runner import checkout, run_notebook
from paragon_study.running.studies import with_comments

if TYPE_CHECKING:  # of kernels
    from IPython.display import Markdown

SMALL = Path(__file__).with_name("small.yaml")
COPIED = [
    "docs",
    "paragon",
    "paragon_study",
    "notebooks",
    "results",
    "ablations",
    # Pages link to these.
    "benchmarks",
    "tests",
    "README.md",
    "CONTRIBUTING.md",
]
NOTE = """> **This is the small lab**, with {users} users and little training. Lists follow the
> weights, as in the study. Which method is better is noise here: see
> [docs/executed](../docs/executed)."""
FULL_NOTE = "> **This is the lab**, a copy of the study at full size, which stays as it is."
STUDY_NOTE = """> **This is no lab.** What runs here replaces artifacts and results of the study in
> `{root}`. Notebooks of a lab belong into its folder `notebooks`."""
# What `headline_of` shows.
SHOWN = ("backbone", "tuned", "paragon", "generated", "hypernetwork", "xquad")
# The first cell of each notebook of a lab, whose own packages any kernel has to find.
BEGIN = """import sys
from pathlib import Path

if not Path({lab!r}).is_dir():  # else the packages of the study would be taken
    raise FileNotFoundError("this lab was in " + {lab!r} + ": move it back, or make another one")
sys.path.insert(0, {lab!r})
from paragon_study.course.lab import begin

begin()"""


def begin(root: Path = ROOT) -> "Markdown":
    """Set up the kernel like that of a stage, however it was started, and say where it works.

    Libraries read the settings when they are loaded: call it first.
    """
    from IPython.display import Markdown

    choose_kernels()
    keep_memory()
    return Markdown(banner(root))


def banner(root: Path) -> str:
    """Say in Markdown what is in a folder: a small lab, a full one, or the study itself."""
    mark = root / MARK
    if not mark.exists():
        return STUDY_NOTE.format(root=root)
    if mark.read_text(encoding="utf-8") == "full":
        return FULL_NOTE
    return NOTE.format(users=load_params(root / "params.yaml").data.max_users or "all")


def write_small_params(path: Path, root: Path = ROOT) -> None:
    """Write params.yaml with the values of ``small.yaml``; its comments stay."""
    yaml = with_comments()
    content = yaml.load((root / "params.yaml").read_text(encoding="utf-8"))
    for section, values in read_settings(SMALL).items():
        content[section].update(values)
    with path.open("w", encoding="utf-8") as file:
        yaml.dump(content, file)


def make_lab(full: bool = False, root: Path = ROOT, say: Callable[[str], None] = print) -> Path:
    """Make ``root/lab`` unless it exists, from the study or in small (four minutes)."""
    lab = root / "lab"
    mode = "full" if full else "small"
    if lab.exists():
        mark = lab / MARK
        if not mark.exists() or mark.read_text(encoding="utf-8") != mode:
            raise ParagonError(f"{lab}: is no {mode} lab; remove it first: make lab-reset")
        return lab
    needed = {"data": "python -m paragon fetch"}
    if full:
        needed["artifacts"] = "make repro"
    for name, command in needed.items():
        if not (root / name).is_dir():
            raise ParagonError(f"{root / name}: not found; run `{command}` first")

    draft = root / "lab.part"  # renamed when complete
    shutil.rmtree(draft, ignore_errors=True)
    draft.mkdir()
    (draft / "data").symlink_to(os.path.join("..", "data"))  # the largest, and only read
    copied = [*COPIED, "artifacts"] if full else COPIED
    for name in copied:
        source = root / name
        if source.is_dir():
            shutil.copytree(source, draft / name)
        elif source.exists():
            shutil.copy2(source, draft / name)
    if full:
        shutil.copy2(root / "params.yaml", draft)
    else:
        write_small_params(draft / "params.yaml", root)
        _run_small_study(draft, say)
    (draft / MARK).write_text(mode, encoding="utf-8")
    begins = BEGIN.format(lab=str(lab))
    for path in (draft / "notebooks").glob("*.ipynb"):
        notebook = nbformat.read(path, as_version=4)
        said = {"text/markdown": banner(draft), "text/plain": ""}  # before it is run
        output = nbformat.v4.new_output("display_data", said)
        notebook.cells.insert(1, nbformat.v4.new_code_cell(begins, id="begin", outputs=[output]))
        nbformat.write(notebook, path)
    return draft.rename(lab)


def _run_small_study(lab: Path, say: Callable[[str], None]) -> None:
    """Run the stages with few users and steps."""
    for path in sorted((lab / "notebooks").glob("0[1-6]_*.ipynb")):
        say(f"lab: {path.stem}, with few users and steps")
        backbone = None if path.stem.startswith("01") else "sasrec"
        run_notebook(path.stem, "ml-100k", backbone, lab)


def headline_of(lab: Path) -> str:
    """Tabulate what the small study in ``lab`` measured: a method a line."""
    import pandas as pd

    from paragon_study.report.style import look
    from paragon_study.report.tables import plus_minus
    from paragon_study.report.trainings import load_results

    measured = load_results(lab / "results" / "ml-100k" / "sasrec" / "headline.json")
    rows = {}
    for method in SHOWN:
        value = measured.get(method, {}).get
        rows[look(method).label] = {
            "98 %": plus_minus(value("alpha_ndcg_98"), None, 2),
            "80 %": plus_minus(value("alpha_ndcg_80"), None, 2),
        }
    table = pd.DataFrame.from_dict(rows, orient="index").to_string()
    return f"diversity (0 to 1), with so much accuracy kept\n{table}"


def check_user(options: Sequence[str]) -> None:
    """Raise ``ParagonError`` for root, before minutes of work: JupyterLab would refuse it then."""
    if hasattr(os, "geteuid") and os.geteuid() == 0 and "--allow-root" not in options:
        instead = "use another account, or in a container `make lab OPTIONS=--allow-root`"
        raise ParagonError(f"JupyterLab does not start as root: {instead}")


def open_lab(lab: Path, options: Sequence[str]) -> None:
    """Replace this process by JupyterLab in the lab; kernels use its packages and settings."""
    own = STAGE | checkout(lab)
    # With this Python, whose programs may not be on the PATH.
    command = [sys.executable, "-m", "jupyterlab", f"--notebook-dir={lab}", *options]
    os.execve(sys.executable, command, os.environ | own)
