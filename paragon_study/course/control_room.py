"""The control room: a notebook widget for any user, titles and weights (n items)."""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import ipywidgets as widgets
import numpy as np
import pandas as pd
import torch
from IPython.display import HTML, display

from paragon.data.sequences import Sequences
from paragon.errors import ParagonError
from paragon.metrics.ranking import top_k
from paragon.objectives.weights import simplex_lattice
from paragon.progress import QUIET
from paragon.serving.lists import History
from paragon.serving.recommender import Recommender
from paragon_study.pipeline.study import open_study
from paragon_study.report import tables

TOP = 10
NOBODY = "nobody: type titles"


@dataclass(frozen=True)
class ControlRoom:
    """A recommender, with data for the names of users and titles."""

    sequences: Sequences
    recommender: Recommender

    @cached_property
    def numbers(self) -> dict[str, int]:
        """The item number of each title; the first one if titles repeat."""
        return {title: n for n, title in reversed([*enumerate(self.sequences.titles, start=1)])}

    def history(self, user: str | None, titles: Sequence[str]) -> History:
        """Join a user's history and ``titles``; raise ``ParagonError`` for an unknown title."""
        data, items, times = self.sequences, [], []
        if user is not None:
            number = data.user_ids.index(user)
            events = slice(*data.offsets[number : number + 2])
            items, times = data.items[events].tolist(), data.times[events].tolist()
        if unknown := [title for title in titles if title not in self.numbers]:
            raise ParagonError(f"title {unknown[0]!r} is not in the dataset")
        items += [self.numbers[title] for title in titles]
        times += [times[-1] if times else 0] * len(titles)
        return History([data.item_ids[item - 1] for item in items], times, user)

    def top(self, history: History, weights: Sequence[float] | None) -> list[int]:
        """Rank the ten best items outside the history; ``weights=None`` uses the backbone alone."""
        own = self.recommender
        if weights is not None:
            return [own.numbers[item] for item in own.recommend(history, weights).item_ids]
        nothing = torch.zeros(own.generator.form.size)
        scores = own.scores([own.encode(history)], nothing)  # [1, n + 1]
        return top_k(scores, TOP, np.isneginf(scores))[0].tolist()

    def grid(self, titles: Sequence[str] = ()) -> pd.DataFrame:
        """Tabulate ten best titles by weights, after ``titles`` or the first user's history."""
        history = self.history(None if titles else self.sequences.user_ids[0], titles)
        names, columns = self.recommender.objectives, {}
        weights = simplex_lattice(len(names), 4 if len(names) == 2 else 2).flip(0).tolist()
        for row in [*weights, None]:
            named = zip(names, row or [], strict=False)
            label = ", ".join(f"{name} {w:g}" for name, w in named) or "backbone alone"
            columns[label] = [self.sequences.titles[item - 1] for item in self.top(history, row)]
        return pd.DataFrame(columns, index=pd.RangeIndex(1, TOP + 1, name="rank"))

    def show(self) -> Any:
        """Return the widget, or the :meth:`grid` when nobody can use it."""
        if os.environ.get(QUIET):
            return self.grid()
        names, users = self.recommender.objectives, [NOBODY, *self.sequences.user_ids]
        # Two objectives need one slider; with more, weights are normalised to sum 1.
        sliders = {
            name: widgets.FloatSlider(1 / len(names), min=0, max=1, step=0.01, description=name)
            for name in (names[:1] if len(names) == 2 else names)
        }
        return widgets.interactive(
            lambda **chosen: display(HTML(self.lists(**chosen))),
            user=widgets.Dropdown(value=users[1], options=users, description="user"),
            titles=widgets.TagsInput(allowed_tags=[*self.numbers], placeholder="type a title"),
            **sliders,
        )

    def lists(self, user: str, titles: Sequence[str], **values: float) -> str:
        """Show the generated list beside that of the backbone as HTML, or what is missing."""
        if user == NOBODY and not titles:
            return "the history is empty: choose a user or type a title"
        weights = [*values.values()]
        weights += [1 - weights[0]] * (len(weights) == 1)  # two objectives, one slider
        total = sum(weights)  # all 0: equal weights
        weights = [w / total if total else 1 / len(weights) for w in weights]
        history = self.history(None if user == NOBODY else user, titles)
        named = zip(self.recommender.objectives, weights, strict=True)
        parts = [" · ".join(f"{n} {w:.2f}" for n, w in named)]
        new, old = self.top(history, weights), self.top(history, None)
        for label, items, other, word in (
            ("generated for these weights", new, old, "new"),
            ("backbone alone", old, new, "left"),
        ):
            marks = {"": ["" if item in other else word for item in items]}
            table = tables.items(self.sequences, items).assign(**marks)
            parts.append(f"<b>{label}</b>{table.to_html(border=0, index_names=False)}")
        columns = "".join(f"<div>{part}</div>" for part in parts)
        return f'<div style="display: flex; flex-wrap: wrap; gap: 1em">{columns}</div>'


def open_room(study: str, backbone: str) -> ControlRoom:
    """Open the control room of a study; raise ``ParagonError`` if the study was not run."""
    sequences, frozen, _, generator = open_study(study, backbone).load_served()
    return ControlRoom(sequences, Recommender(frozen, generator, sequences))
