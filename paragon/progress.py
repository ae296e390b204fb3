"""A progress bar for people, silence for the pipeline."""

from __future__ import annotations

import os
from collections.abc import Iterable
from typing import TypeVar

from tqdm.auto import tqdm

T = TypeVar("T")
QUIET = "PARAGON_QUIET"


def progress(steps: Iterable[T], unit: str) -> Iterable[T]:
    """``steps`` with a bar; without one where ``PARAGON_QUIET`` is set.

    The notebook runner sets it: a bar shows times, and executed notebooks have
    to come out the same, byte for byte, whenever they run.
    """
    return steps if os.environ.get(QUIET) else tqdm(steps, unit=unit, leave=False)
