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
        numbers: dict[str, int] = {}
        for number, title in enumerate(self.sequences.titles, start=1):
            numbers.setdefault(title, number)
        return numbers

    def history(self, user: str | None, titles: Sequence[str]) -> History:
        """Join a user's history and ``titles``; raise ``ParagonError`` for an unknown title."""
        items: list[int] = []
        times: list[int] = []
        if user is not None:
            number = self.sequences.user_ids.index(user)
            start, stop = self.sequences.offsets[number : number + 2]
            items = self.sequences.items[start:stop].tolist()
            times = self.sequences.times[start:stop].tolist()
        latest = times[-1] if times else 0
        for title in titles:
            if title not in self.numbers:
                raise ParagonError(f"title {title!r} is not in the dataset")
            items.append(self.numbers[title])
            times.append(latest)
        return History([self.sequences.item_ids[item - 1] for item in items], times, user)

    def top(self, history: History, weights: Sequence[float] | None) -> list[int]:
        """Rank the ten best items outside the history; ``weights=None`` uses the backbone alone."""
        recommender = self.recommender
        if weights is not None:
            best = recommender.recommend(history, weights).item_ids
            return [recommender.numbers[item] for item in best]
        unchanged = torch.zeros(recommender.generator.form.size)  # an adapter without effect
        scores = recommender.scores([recommender.encode(history)], unchanged)  # [1, n + 1]
        return top_k(scores, TOP, np.isneginf(scores))[0].tolist()

    def grid(self, titles: Sequence[str] = ()) -> pd.DataFrame:
        """Tabulate ten best titles by weights, after ``titles`` or the first user's history."""
        history = self.history(None if titles else self.sequences.user_ids[0], titles)
        objectives = self.recommender.objectives
        steps = 4 if len(objectives) == 2 else 2
        lattice = simplex_lattice(len(objectives), steps).flip(0).tolist()
        columns = {}
        for weights in lattice:
            named = zip(objectives, weights, strict=True)
            label = ", ".join(f"{name} {weight:g}" for name, weight in named)
            columns[label] = self._titles(self.top(history, weights))
        columns["backbone alone"] = self._titles(self.top(history, None))
        return pd.DataFrame(columns, index=pd.RangeIndex(1, TOP + 1, name="rank"))

    def _titles(self, items: Sequence[int]) -> list[str]:
        return [self.sequences.titles[item - 1] for item in items]

    def show(self) -> Any:
        """Return the widget, or the :meth:`grid` when nobody can use it."""
        if os.environ.get(QUIET):
            return self.grid()
        objectives = self.recommender.objectives
        users = [NOBODY, *self.sequences.user_ids]
        # Two objectives need one slider; with more, weights are normalised to sum 1.
        with_slider = objectives[:1] if len(objectives) == 2 else objectives
        equal = 1 / len(objectives)
        controls = {
            "user": widgets.Dropdown(value=users[1], options=users, description="user"),
            "titles": widgets.TagsInput(allowed_tags=[*self.numbers], placeholder="type a title"),
        } | {
            name: widgets.FloatSlider(equal, min=0, max=1, step=0.01, description=name)
            for name in with_slider
        }
        # `widgets.interactive` has a widget for output, with which a client can wait for ever for a
        # notebook that it executes (jupyter/nbclient#312).
        lists = widgets.HTML()

        def update(_: object = None) -> None:
            lists.value = self.lists(**{name: one.value for name, one in controls.items()})

        for one in controls.values():
            one.observe(update, "value")
        update()
        return widgets.VBox([*controls.values(), lists])

    def lists(self, user: str, titles: Sequence[str], **values: float) -> str:
        """Return the generated list beside that of the backbone as HTML, or what is missing.

        ``values`` are those of the sliders, by objective.
        """
        if user == NOBODY and not titles:
            return "the history is empty: choose a user or type a title"
        weights = list(values.values())
        if len(weights) == 1:  # two objectives, one slider
            weights.append(1 - weights[0])
        total = sum(weights)
        if total:
            weights = [weight / total for weight in weights]
        else:
            weights = [1 / len(weights)] * len(weights)
        history = self.history(None if user == NOBODY else user, titles)
        generated = self.top(history, weights)
        plain = self.top(history, None)
        named = zip(self.recommender.objectives, weights, strict=True)
        columns = [
            " · ".join(f"{name} {weight:.2f}" for name, weight in named),
            self._column("generated for these weights", generated, plain, "new"),
            self._column("backbone alone", plain, generated, "left"),
        ]
        columns_html = "".join(f"<div>{column}</div>" for column in columns)
        return f'<div style="display: flex; flex-wrap: wrap; gap: 1em">{columns_html}</div>'

    def _column(self, label: str, items: list[int], other: list[int], mark: str) -> str:
        """Return a list as HTML; items that are not in the ``other`` list get a ``mark``."""
        marks = ["" if item in other else mark for item in items]
        table = tables.items(self.sequences, items).assign(**{"": marks})
        return f"<b>{label}</b>{table.to_html(border=0, index_names=False)}"


def open_room(study: str, backbone: str) -> ControlRoom:
    """Open the control room of a study; raise ``ParagonError`` if the study was not run."""
    sequences, frozen, _, generator = open_study(study, backbone).load_served()
    return ControlRoom(sequences, Recommender(frozen, generator, sequences))
