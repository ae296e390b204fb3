"""The lists that come out: shown in a notebook, in a terminal, and as tables."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from html import escape
from typing import NamedTuple

import numpy as np
import pandas as pd

from paragon.errors import ParagonError
from paragon.serving.items import Items


class Recommended(NamedTuple):
    """One item of a list."""

    item_id: str
    title: str
    categories: tuple[str, ...]
    score: float


@dataclass(frozen=True)
class Recommendations(Sequence[Recommended]):
    """One list, best first, with the weights it was made for and what there is to note."""

    entries: tuple[Recommended, ...]
    weights: dict[str, float]
    notes: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.entries)

    def __getitem__(self, place):  # type: ignore[no-untyped-def]
        return self.entries[place]

    @property
    def item_ids(self) -> list[str]:
        """The ids, best first."""
        return [entry.item_id for entry in self.entries]

    def to_pandas(self) -> pd.DataFrame:
        """A row an item, from rank 1 on: ``item_id``, ``title``, ``categories``, ``score``."""
        table = pd.DataFrame(list(self.entries), columns=list(Recommended._fields))
        table["categories"] = [", ".join(names) for names in table["categories"]]
        table.index = pd.RangeIndex(1, len(table) + 1, name="rank")
        return table

    def __repr__(self) -> str:
        titles = [_cut(entry.title or entry.item_id, 48) for entry in self.entries]
        width = max(map(len, titles), default=0)
        lines = [
            f"{rank:>3}  {title:{width}}  {_cut(', '.join(entry.categories), 44)}".rstrip()
            for rank, (title, entry) in enumerate(zip(titles, self.entries, strict=True), start=1)
        ]
        return "\n".join([self._caption(), *lines, *(f"note: {note}" for note in self.notes)])

    def _repr_html_(self) -> str:
        pad = "padding: 0.15em 1em 0.15em 0"
        rows = "".join(
            f'<tr><td style="text-align: right; {pad}">{rank}</td>'
            f'<td style="text-align: left; {pad}">{escape(entry.title or entry.item_id)}</td>'
            f'<td style="text-align: left; {pad}; opacity: 0.7">'
            f"{escape(', '.join(entry.categories))}</td></tr>"
            for rank, entry in enumerate(self.entries, start=1)
        )
        notes = "".join(f"<p><em>{escape(note)}</em></p>" for note in self.notes)
        table = f'<table style="border-collapse: collapse; color: inherit"><tbody>{rows}</tbody>'
        return f"<p>{escape(self._caption())}</p>{table}</table>{notes}"

    def _caption(self) -> str:
        shown = ", ".join(f"{name} {weight:.3g}" for name, weight in self.weights.items())
        return f"{len(self)} items for {shown}"


@dataclass(frozen=True)
class Batch(Sequence[Recommendations | None]):
    """Many lists: ``batch[row]`` is one of them, or None where ``errors[row]`` says why.

    ``numbers [B, k]``: items from 1, 0 where a list has ended; ``scores [B, k]``; ``weights
    [B, O]``; ``notes``: what there is to note, by row.
    """

    items: Items = field(repr=False)
    objectives: list[str]
    numbers: np.ndarray
    scores: np.ndarray
    weights: np.ndarray
    notes: dict[int, tuple[str, ...]]
    errors: dict[int, str]

    def __len__(self) -> int:
        return len(self.numbers)

    def __getitem__(self, row):  # type: ignore[no-untyped-def]
        if isinstance(row, slice):
            return [self[i] for i in range(*row.indices(len(self)))]
        row = range(len(self))[row]
        if row in self.errors:
            return None
        items, shown = self.items, self.numbers[row]
        entries = [
            Recommended(items.ids[n - 1], items.titles[n - 1], items.categories_of(n), float(score))
            for n, score in zip(shown, self.scores[row], strict=True)
            if n
        ]
        weights = self.weights[row].astype(float).round(6).tolist()
        named = dict(zip(self.objectives, weights, strict=True))
        return Recommendations(tuple(entries), named, self.notes.get(row, ()))

    def one(self, row: int = 0) -> Recommendations:
        """``batch[row]``; raises ``ParagonError`` where there is none."""
        row = range(len(self))[row]
        if row in self.errors:
            raise ParagonError(self.errors[row])
        return self[row]

    def to_pandas(self) -> pd.DataFrame:
        """A row an item of every list: ``row``, ``rank``, ``item_id``, ``title``, ``score``."""
        rows, places = np.nonzero(self.numbers)
        chosen, names = self.numbers[rows, places] - 1, (self.items.ids, self.items.titles)
        ids, titles = (np.array(own, dtype=object)[chosen] for own in names)
        columns = {"row": rows, "rank": places + 1, "item_id": ids, "title": titles}
        return pd.DataFrame(columns | {"score": self.scores[rows, places]})

    def __repr__(self) -> str:
        served = len(self) - len(self.errors)
        lines = [f"{served:,} lists of up to {self.numbers.shape[1]} items"]
        lines += [f"row {row} has none: {self.errors[row]}" for row in sorted(self.errors)[:5]]
        more = len(self.errors) - 5
        return "\n".join([*lines, *([f"... and {more} more (errors)"] if more > 0 else [])])


def _cut(text: str, length: int) -> str:
    return text if len(text) <= length else text[: length - 1] + "…"
