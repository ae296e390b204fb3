"""Where something was found: turns a row number into the line a person can look up."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from paragon.errors import ParagonError

# What no field may hold: these separate fields or rows in a file, mark it as no text
# file, or (half a surrogate pair) cannot be encoded.
UNWRITABLE = re.compile("[\t\n\r\0\ud800-\udfff]")


def shown(value: object) -> str:
    """``value`` as it appears in a message: quoted, on one line, at most 60 characters."""
    text = repr(value).replace("\n", " ")  # a value may have a repr of several lines
    return text if len(text) <= 60 else text[:57] + "..."


@dataclass(frozen=True)
class Place:
    """A table's origin: a file with a header (``first=2``) or a table in memory.

    A table that was converted has ``origins``, the file and line of each row,
    and in ``columns`` the names there of columns that were called otherwise.
    """

    name: str
    unit: str = "line"
    first: int = 2
    origins: Sequence[tuple[str, int]] = ()
    columns: Mapping[str, str] = field(default_factory=dict)

    def at(self, row: int) -> str:
        """File and line of 0-based ``row``; -1 is a file's header."""
        name, line = self.origins[row] if self.origins else (self.name, row + self.first)
        return f"{name}, {self.unit} {line}"

    def column(self, name: str) -> str:
        """The column's name where the data come from."""
        return self.columns.get(name, name)

    def error(self, row: int, column: str, found: object, expected: str, do: str) -> ParagonError:
        """The error for 0-based ``row`` of the table; raising it is the caller's."""
        return ParagonError(
            f"{self.at(row)}, column {self.column(column)}: found {shown(found)}, "
            f"expected {expected}; {do}"
        )

    def whole(self, what: str) -> ParagonError:
        """An error about the table as a whole."""
        return ParagonError(f"{self.name}: {what}")


def table(name: str) -> Place:
    """The place of a table in memory, whose rows count from 0 as in pandas."""
    return Place(name, unit="row", first=0)


def files(folder: Path, name: str) -> dict[str, Place]:
    """The places of the atomic files of one dataset, by suffix."""
    return {suffix: Place(str(Path(folder) / f"{name}.{suffix}")) for suffix in SUFFIXES}


SUFFIXES = ("inter", "item", "user")
