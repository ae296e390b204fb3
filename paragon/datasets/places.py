"""Where something was found: turns a row number into the line a person can look up."""

from __future__ import annotations

from dataclasses import dataclass

from paragon.errors import ParagonError


def shown(value: object) -> str:
    """``value`` as it appears in a message: quoted, on one line, at most 60 characters."""
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "..."


@dataclass(frozen=True)
class Place:
    """A table's origin: a file with a header (``first=2``) or a table in memory."""

    name: str
    unit: str = "line"
    first: int = 2

    def error(self, row: int, column: str, found: object, expected: str, do: str) -> ParagonError:
        """The error for 0-based ``row`` of the table; raising it is the caller's."""
        return ParagonError(
            f"{self.name}, {self.unit} {row + self.first}, column {column}: found {shown(found)}, "
            f"expected {expected}; {do}"
        )

    def whole(self, what: str) -> ParagonError:
        """An error about the table as a whole."""
        return ParagonError(f"{self.name}: {what}")


def table(name: str) -> Place:
    """The place of a table in memory, whose rows count from 0 as in pandas."""
    return Place(name, unit="row", first=0)
