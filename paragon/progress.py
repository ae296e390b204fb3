"""A progress bar for people; for the pipeline a line in a file that its terminal reads."""

from __future__ import annotations

import io
import os
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from typing import TypeVar

from tqdm.auto import tqdm
from tqdm.std import tqdm as text_bar  # in a kernel `tqdm.auto` makes a widget, not a line

T = TypeVar("T")
QUIET = "PARAGON_QUIET"
LINE = "PARAGON_PROGRESS"  # the file of the line
SECONDS = 15.0  # between two lines, and before the first


def progress(steps: Iterable[T], unit: str) -> Iterable[T]:
    """Yield ``steps`` with a bar; without one where ``PARAGON_QUIET`` is set.

    The notebook runner sets it: a bar shows times, and executed notebooks have to come out the
    same, byte for byte, whenever they run.  With ``PARAGON_PROGRESS`` the bar's line goes to the
    file of this name.
    """
    if path := os.environ.get(LINE):
        form = {"bar_format": "{l_bar}{r_bar}", "delay": SECONDS, "mininterval": SECONDS}
        return text_bar(steps, unit=f" {unit}", leave=False, file=_Line(path), **form)
    return steps if os.environ.get(QUIET) else tqdm(steps, unit=unit, leave=False)


class _Line(io.StringIO):
    """Where tqdm writes a line over the last one: here, a file that holds one line."""

    def __init__(self, path: str) -> None:
        super().__init__()
        self.path = Path(path)

    def write(self, text: str) -> int:
        if line := text.strip("\r\n "):
            with suppress(OSError):  # a full disk, say: no training ends for want of a line
                self.path.write_text(line, encoding="utf-8")
        return len(text)
