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
    if not hints and callable(expected):
        hints = MISTAKES.get(expected, ())
    try:
        verdicts = [_verdict(answer, expected, case, near, hints) for case in cases or [None]]
        # Of the wrong cases, the first with a hint.
        wrong = [verdict for verdict in verdicts if verdict[0] != RIGHT]
        with_hint = [verdict for verdict in wrong if verdict[1]]
        text, hint = [*with_hint, *wrong, *verdicts][0]
        print(text + hint)
    except Exception as error:  # comparing or printing any object may fail
        print(f"Not yet: this answer cannot be compared ({type(error).__name__}).")


def _verdict(
    answer: Any, expected: Any, case: tuple | None, near: float, hints: Sequence
) -> tuple[str, str]:
    """Return what is said of an answer to one case, and a hint or an empty text."""
    asks_for_function = case is not None and callable(answer)
    where = ""
    if asks_for_function:
        values = [argument for argument in case or () if not callable(argument)]
        arguments = ", ".join(_short(argument) for argument in values)
        where = f"for {arguments}: " if arguments else ""

    def value(function_or_value: Any) -> Any:
        if case is not None and callable(function_or_value):
            return function_or_value(*case)
        return function_or_value

    try:
        given = value(answer)
    except Exception as error:  # from the student's function
        return f"Not yet: {where}{type(error).__name__}: {error}", ""
    if _unanswered(given):
        return UNANSWERED, ""
    right = value(expected)
    if _same(given, right, near):
        return RIGHT, ""
    hint = ""
    for mistake, explanation in hints:
        if _same(given, value(mistake), near):
            hint = f" {explanation}"
            break
    # The right number would give the answer away; for a function it does not.
    instead = _short(right) if asks_for_function else "right"
    return f"Not yet: {where}{_short(given)} is not {instead}.", hint


def _unanswered(given: Any) -> bool:
    """Return whether an answer still has the three dots somewhere."""
    if isinstance(given, tuple | list):
        return any(_unanswered(part) for part in given)
    return given is ...


def _same(given: Any, right: Any, near: float) -> bool:
    """Return whether two values are the same, numbers up to the tolerance ``near``."""
    if isinstance(right, tuple):
        if not isinstance(given, tuple | list) or len(given) != len(right):
            return False
        return all(_same(g, r, near) for g, r in zip(given, right, strict=True))
    if isinstance(right, str):
        return isinstance(given, str) and given == right
    try:
        given_numbers = np.asarray(given, float)
        right_numbers = np.asarray(right, float)
    except (TypeError, ValueError, RuntimeError, OverflowError):
        return False
    if given_numbers.shape != right_numbers.shape:
        return False
    return np.allclose(given_numbers, right_numbers, near, near, equal_nan=True)


def _short(value: Any) -> str:
    """Return a value as text of at most 60 characters."""
    if isinstance(value, tuple):
        return f"({', '.join(_short(part) for part in value)})"
    text = f"{value:.4g}" if isinstance(value, float) else " ".join(str(value).split())
    return text if len(text) <= 60 else text[:57] + "..."
