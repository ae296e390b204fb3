"""Exercises that check the reader's answers."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from paragon_study.course.answers import MISTAKES

UNANSWERED = "Not answered yet: put your answer where the three dots are, and run this cell again."
RIGHT = "Right."


def check(
    answer: object, expected: object, *cases: tuple, near: float = 1e-4, hints: Sequence = ()
) -> None:
    """Print whether an answer is right, or why not; never raise.

    ``answer`` and ``expected`` are numbers, arrays, words, tuples of them, or functions of the
    ``cases``. ``near``: tolerance, relative above 1. ``hints``: wrong answers and explanations.
    """
    hints = hints or (MISTAKES.get(expected, ()) if callable(expected) else ())
    try:
        tried = [_verdict(answer, expected, case, near, hints) for case in cases or [None]]
        wrong = [(verdict, hint) for verdict, hint in tried if verdict != RIGHT]
        verdict, hint = next((pair for pair in wrong if pair[1]), (wrong or tried)[0])
        print(verdict + hint)
    except Exception as error:  # comparing or printing any object may fail
        print(f"Not yet: this answer cannot be compared ({type(error).__name__}).")


def _verdict(
    answer: Any, expected: Any, case: tuple | None, near: float, hints: Sequence
) -> tuple[str, str]:
    asked = case is not None and callable(answer)
    shown = ", ".join(_short(part) for part in case or () if not callable(part))
    where = f"for {shown}: " if asked and shown else ""

    def value(of: Any) -> Any:
        return of(*case) if case is not None and callable(of) else of

    try:
        given = value(answer)
    except Exception as error:  # from the student's function
        return f"Not yet: {where}{type(error).__name__}: {error}", ""
    if _unanswered(given):
        return UNANSWERED, ""
    wanted = value(expected)
    if _same(given, wanted, near):
        return RIGHT, ""
    hint = next((f" {why}" for slip, why in hints if _same(given, value(slip), near)), "")
    # The right number would give the answer away; for a function it does not.
    return f"Not yet: {where}{_short(given)} is not {_short(wanted) if asked else 'right'}.", hint


def _unanswered(given: Any) -> bool:
    return given is ... or (isinstance(given, tuple | list) and any(map(_unanswered, given)))


def _same(given: Any, wanted: Any, near: float) -> bool:
    if isinstance(wanted, tuple):
        alike = isinstance(given, tuple | list) and len(given) == len(wanted)
        return alike and all(_same(g, w, near) for g, w in zip(given, wanted, strict=True))
    if isinstance(wanted, str):
        return isinstance(given, str) and given == wanted
    try:
        one, other = np.asarray(given, float), np.asarray(wanted, float)
    except (TypeError, ValueError, RuntimeError, OverflowError):
        return False
    return one.shape == other.shape and np.allclose(one, other, near, near, equal_nan=True)


def _short(value: Any) -> str:
    if isinstance(value, tuple):
        return f"({', '.join(map(_short, value))})"
    text = f"{value:.4g}" if isinstance(value, float) else " ".join(str(value).split())
    return text if len(text) <= 60 else text[:57] + "..."
