"""Show a progress bar, or write its line to a file for the pipeline."""

import io
import os
from collections.abc import Iterable
from contextlib import suppress
from operator import length_hint
from pathlib import Path
from typing import Any, TypeVar

from tqdm.auto import tqdm
from tqdm.std import tqdm as text_bar  # in a notebook, `tqdm.auto` makes a widget, not a line

T = TypeVar("T")
QUIET = "PARAGON_QUIET"
LINE = "PARAGON_PROGRESS"  # environment variable: the file for the line
SECONDS = 15.0  # between two lines, and before the first


def progress(steps: Iterable[T], unit: str) -> Iterable[T]:
    """Yield ``steps`` with a progress bar, or write its line to a file for the pipeline.

    If nobody knows how many steps there are, it says how many are done, and for how long.
    """
    form: dict[str, Any] = {"unit": f" {unit}", "leave": False}
    if length_hint(steps, -1) < 0:
        form["bar_format"] = "{n_fmt}{unit} [{elapsed}]"
    if LINE in os.environ:
        form = {"bar_format": "{l_bar}{r_bar}", "delay": SECONDS, "mininterval": SECONDS} | form
        return text_bar(steps, file=_Line(), **form)
    return steps if os.environ.get(QUIET) else tqdm(steps, **form)


def line_of(process: int) -> str | None:
    """Return the file for the line of a process that works beside the one with the file."""
    return f"{os.environ[LINE]}-{process}" if LINE in os.environ else None


def newest_lines(file: Path) -> str:
    """Read the newest line of the pipeline, and those of the processes beside it."""
    texts = []
    for path in (file, *sorted(file.parent.glob(f"{file.name}-*"))):
        with suppress(OSError):  # no file yet, or no longer
            texts.append(path.read_text(encoding="utf-8"))
    return "; ".join(filter(None, texts))  # empty during a write


class _Line(io.StringIO):
    """Keep only the newest line that tqdm writes, in a file."""

    def write(self, text: str) -> int:
        if line := text.strip("\r\n "):
            with suppress(OSError):  # a full disk, for example, must not stop training
                Path(os.environ[LINE]).write_text(line, encoding="utf-8")
        return len(text)
