"""Exercises that check themselves: what a cell says about an answer."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

UNANSWERED = "Not answered yet: put your answer where the three dots are, and run this cell again."
RIGHT = "Right."


def check(
    answer: object,
    expected: object,
    *cases: tuple,
    near: float = 1e-4,
    hints: Sequence[tuple[object, str]] = (),
) -> None:
    """Print whether an answer is right, or why not; raises nothing, whatever the answer.

    ``answer`` and ``expected`` are values: numbers, arrays, words, or tuples of them.  With
    ``cases`` they are functions, and each case holds the arguments of one call.  Numbers may
    differ by ``near``, relative to their size if that is above 1.  ``hints``: answers that are
    easily given, and what is wrong with each.
    """
    try:
        said = _verdict(answer, expected, cases, near, hints)
    except Exception as error:  # an object may fail wherever it is compared or shown
        said = f"Not yet: this answer cannot be compared ({type(error).__name__})."
    print(said)


def _verdict(answer: Any, expected: Any, cases: tuple, near: float, hints: Sequence) -> str:
    for case in cases or [None]:
        where = "" if case is None else f"for {', '.join(map(_shown, case))}: "
        try:
            found = answer if case is None else answer(*case)
        except Exception as error:  # whatever a student's function does
            return f"Not yet: {where}{type(error).__name__}: {error}"
        if _unanswered(found):
            return UNANSWERED
        wanted = expected if case is None else expected(*case)
        if not _same(found, wanted, near):
            hint = next((f" {why}" for slip, why in hints if _same(found, slip, near)), "")
            # The right number would give the answer away; a function has still to be written.
            wrong = "is not right" if case is None else f"was found, not {_shown(wanted)}"
            return f"Not yet: {where}{_shown(found)} {wrong}.{hint}"
    return RIGHT


def _unanswered(found: Any) -> bool:
    return found is ... or (isinstance(found, tuple | list) and any(map(_unanswered, found)))


def _same(found: Any, wanted: Any, near: float) -> bool:
    if isinstance(wanted, tuple):
        alike = isinstance(found, tuple | list) and len(found) == len(wanted)
        return alike and all(_same(f, w, near) for f, w in zip(found, wanted, strict=True))
    if isinstance(wanted, str):
        return isinstance(found, str) and found == wanted
    try:
        one, other = np.asarray(found, float), np.asarray(wanted, float)
    except (TypeError, ValueError, RuntimeError, OverflowError):
        return False
    return one.shape == other.shape and np.allclose(one, other, near, near, equal_nan=True)


def _shown(value: Any) -> str:
    """A value in a few characters."""
    if isinstance(value, tuple):
        return f"({', '.join(map(_shown, value))})"
    if isinstance(value, float):
        return f"{value:.4g}"
    text = " ".join(str(value).split())
    return text if len(text) <= 60 else text[:57] + "..."
