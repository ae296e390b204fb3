"""Show a progress bar, or write its line to a file for the pipeline."""

import io
import os
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from typing import TypeVar

from tqdm.auto import tqdm
from tqdm.std import tqdm as text_bar  # in a notebook, `tqdm.auto` makes a widget, not a line

T = TypeVar("T")
QUIET = "PARAGON_QUIET"
LINE = "PARAGON_PROGRESS"  # environment variable: the file for the line
SECONDS = 15.0  # between two lines, and before the first


def progress(steps: Iterable[T], unit: str) -> Iterable[T]:
    """Yield ``steps`` with a progress bar, or write its line to a file for the pipeline."""
    if LINE in os.environ:
        form = {"bar_format": "{l_bar}{r_bar}", "delay": SECONDS, "mininterval": SECONDS}
        return text_bar(steps, unit=f" {unit}", leave=False, file=_Line(), **form)
    return steps if os.environ.get(QUIET) else tqdm(steps, unit=unit, leave=False)


class _Line(io.StringIO):
    """Keep only the newest line that tqdm writes, in a file."""

    def write(self, text: str) -> int:
        if line := text.strip("\r\n "):
            with suppress(OSError):  # a full disk, for example, must not stop training
                Path(os.environ[LINE]).write_text(line, encoding="utf-8")
        return len(text)
