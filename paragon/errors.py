"""Define errors whose message is for the user."""

from reprlib import Repr

# The beginning of nested lists is enough: in YAML, a few aliases can make billions of values.
BRIEF = Repr()
BRIEF.maxstring = BRIEF.maxlong = BRIEF.maxother = 200


class ParagonError(Exception):
    """An error the user can correct; its one-line message says what is wrong and what to do."""


class NotebookFailed(Exception):
    """A notebook error the user cannot correct; the message is a short traceback."""


def shown(value: object) -> str:
    """Format ``value`` for a message: quoted, on one line, at most 60 characters."""
    try:
        text = BRIEF.repr(value).replace("\n", " ")  # a repr may have several lines
    except ValueError:  # an integer with thousands of digits
        text = f"{type(value).__name__} of too many digits"
    return text if len(text) <= 60 else text[:57] + "..."
