"""A progress bar for people; for the pipeline a line in a file that its terminal reads."""

from __future__ import annotations

import io
import os
from collections.abc import Iterable, Sized
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
    """``steps`` with a bar; without one where ``PARAGON_QUIET`` is set.

    The notebook runner sets it: a bar shows times, and executed notebooks have to come out the
    same, byte for byte, whenever they run.  With ``PARAGON_PROGRESS`` the file of this name holds
    how far the steps are, a comma, and the seconds that are left if the number of steps is known.
    """
    path = os.environ.get(LINE)
    if path:
        known = isinstance(steps, Sized)
        form = "{n_fmt} of {total_fmt} {unit},{remaining_s}" if known else "{n_fmt} {unit},"
        rare = {"delay": SECONDS, "mininterval": SECONDS, "maxinterval": 4 * SECONDS}
        return text_bar(steps, unit=unit, leave=False, file=_Line(path), bar_format=form, **rare)
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
