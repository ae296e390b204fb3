"""Requests and lists, with the checks that Python and HTTP share.

Shapes: B lists of at most k items, n items, O objectives.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import compress
from typing import Annotated, Any, Literal, NamedTuple

import numpy as np
import pandas as pd
from pydantic import BeforeValidator, Field

from paragon.data.sequences import Sequences
from paragon.errors import ParagonError
from paragon.params import LONGEST_ID, Section


def as_list(given: Any) -> Any:
    """Return an iterable as a list; text, mappings and anything else are returned as they are."""
    if isinstance(given, Iterable) and not isinstance(given, str | bytes | Mapping):
        return list(given)
    return given


def _plain(given: Any) -> Any:
    """Return a number of NumPy as a number of Python, anything else as it is."""
    return given.item() if isinstance(given, np.generic) else given


Whole = Annotated[int, BeforeValidator(_plain)]
Seconds = Annotated[Whole, Field(ge=-(2**60), le=2**60)]
Times = Annotated[list[Seconds], BeforeValidator(as_list)]
Id = Annotated[str, Field(max_length=LONGEST_ID)]
Ids = Annotated[list[Id], BeforeValidator(as_list)]


class Past(Section):
    """The history of a user."""

    history: Ids = Field(min_length=1, description="Item ids, oldest first.")
    times: Times | None = Field(None, description="Of each event, in seconds since 1970.")


class Options(Section):
    """The options of a request."""

    k: Whole = Field(10, ge=1, description="The length of the list.")
    only: Ids | None = Field(None, description="Only these items may be recommended.")
    without: Ids | None = Field(None, description="These items may not be recommended.")
    rerank: Literal["xquad"] | None = Field(None, description="Re-rank the list for variety.")
    exclude_seen: bool = Field(True, description="Leave out the items of the history.")
    normalise: bool = Field(False, description="Divide the weights by their sum.")


@dataclass(frozen=True)
class History:
    """A user's item ids, oldest first."""

    items: Sequence[str]
    times: Sequence[int] | None = None  # seconds since 1970, for TiSASRec; None: simultaneous
    user: str | None = None  # an id in the data; LightGCN, NGCF and DeepFM know such users better


class Encoded(NamedTuple):
    """A history in numbers."""

    items: list[int]  # the known ones, 1..n
    times: list[int]  # of the items; zeros if nobody knows
    user: int  # -1 if unknown
    seen: list[int]  # items not to recommend
    unknown: int = 0  # number of unknown items


@dataclass(frozen=True)
class Recommended:
    """One item of a list."""

    item_id: str
    title: str
    categories: tuple[str, ...]
    score: float


@dataclass(frozen=True, repr=False)
class Recommendations(Sequence[Recommended]):
    """One list, best first, with its weights and notes."""

    items: tuple[Recommended, ...]
    weights: dict[str, float]
    notes: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.items)

    def __getitem__(self, place):  # type: ignore[no-untyped-def]
        return self.items[place]

    @property
    def item_ids(self) -> list[str]:
        """The ids, best first."""
        return [item.item_id for item in self.items]

    def to_pandas(self) -> pd.DataFrame:
        """Return a row per item, by rank: ``item_id``, ``title``, ``categories``, ``score``."""
        table = pd.DataFrame([vars(item) for item in self.items])
        table["categories"] = table["categories"].str.join(", ")
        return table.set_axis(pd.RangeIndex(1, len(table) + 1, name="rank"))

    def _caption(self) -> str:
        weights = ", ".join(f"{name} {weight:.3g}" for name, weight in self.weights.items())
        return "\n".join([f"{len(self)} items for {weights}", *self.notes])

    def __repr__(self) -> str:
        table = self.to_pandas().drop(columns="score").rename_axis(None)
        return f"{self._caption()}\n{table.to_string(header=False, max_colwidth=44)}"

    def _repr_html_(self) -> str:
        table = self.to_pandas().drop(columns="score").rename_axis(None)
        return f"<pre>{self._caption()}</pre>{table.to_html(header=False, border=0)}"


@dataclass(frozen=True, repr=False)
class Batch(Sequence[Recommendations | None]):
    """Many lists: ``batch[row]`` is one, or None if ``errors[row]`` says why there is none."""

    data: Sequences
    objectives: list[str]
    numbers: np.ndarray  # [B, k], items from 1, then 0
    scores: np.ndarray  # [B, k]; last digits depend on the other requests, the lists do not
    weights: np.ndarray  # [B, O]
    notes: dict[int, tuple[str, ...]]  # by row
    errors: dict[int, str]  # by row

    def __len__(self) -> int:
        return len(self.numbers)

    def __getitem__(self, row):  # type: ignore[no-untyped-def]
        rows = range(len(self))[row]
        if isinstance(rows, range):
            return [self[i] for i in rows]
        return None if rows in self.errors else self.one(rows)

    def one(self, row: int = 0) -> Recommendations:
        """Return ``batch[row]``, or raise ``ParagonError`` if it has an error."""
        row = range(len(self))[row]  # from -1 the last; IndexError if there is no such row
        if row in self.errors:
            raise ParagonError(self.errors[row])
        data = self.data
        items = []
        for number, score in zip(self.numbers[row], self.scores[row].tolist(), strict=True):
            item = Recommended(
                item_id=data.item_ids[number - 1],
                title=data.titles[number - 1],
                categories=tuple(compress(data.category_names, data.categories[number])),
                score=score,
            )
            items.append(item)
        weights = self.weights[row].astype(float).round(6).tolist()
        return Recommendations(
            items=tuple(items),
            weights=dict(zip(self.objectives, weights, strict=True)),
            notes=self.notes.get(row, ()),
        )

    def to_pandas(self) -> pd.DataFrame:
        """Return a row per item: ``row``, ``rank``, ``item_id``, ``title``, ``score``."""
        rows, places = np.nonzero(self.numbers)
        chosen = self.numbers[rows, places] - 1
        columns = {
            "row": rows,
            "rank": places + 1,
            "item_id": np.array(self.data.item_ids, dtype=object)[chosen],
            "title": np.array(self.data.titles, dtype=object)[chosen],
            "score": self.scores[rows, places],
        }
        return pd.DataFrame(columns)

    def __repr__(self) -> str:
        good = len(self) - len(self.errors)
        count = f"{good:,} lists of up to {self.numbers.shape[1]} items"
        first = [f"row {row} has none: {why}" for row, why in sorted(self.errors.items())[:5]]
        return "\n".join([f"{count}, {len(self.errors):,} errors", *first])
