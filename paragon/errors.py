"""The exceptions whose message is for the user."""

from __future__ import annotations


class ParagonError(Exception):
    """Something the user can mend: a file, a key, a value or a missing step.

    The message is a single line: what was wrong, where, what was found and what to do.
    """


class NotebookFailed(Exception):
    """A notebook failed in a way that the user cannot correct: a short traceback, many lines."""


def shown(value: object) -> str:
    """``value`` as it appears in a message: quoted, on one line, at most 60 characters."""
    try:
        text = repr(value).replace("\n", " ")  # a value may have a repr of several lines
    except ValueError:  # Python writes no number of thousands of digits
        text = f"{type(value).__name__} of too many digits"
    return text if len(text) <= 60 else text[:57] + "..."
