"""The control room: a widget for any study that was run, any history and any weights.

In this file: what the demo page shows, in a notebook.  A history is what a user of the dataset did,
or titles that somebody types, or both; there may be two objectives or more.

Shapes: O objectives, n items.
"""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import ipywidgets as widgets
import pandas as pd
import torch

from paragon.adapters.adapter import Adapter
from paragon.adapters.frozen import item_features
from paragon.backbones import Backbone, Context
from paragon.data.sequences import Sequences
from paragon.errors import ParagonError
from paragon.generator.generator import Generator
from paragon.objectives.weights import simplex_lattice
from paragon.progress import QUIET
from paragon.report import tables
from paragon.study.study import open_study

TOP = 10
NOBODY = "nobody: type titles"


@dataclass(frozen=True)
class ControlRoom:
    """A recommender and what is needed to talk to it: names of users, titles, weights."""

    sequences: Sequences
    backbone: Backbone
    generator: Generator

    @cached_property
    def numbers(self) -> dict[str, int]:
        """The number of each title; of several with the same title, that of the first."""
        return {title: n for n, title in reversed([*enumerate(self.sequences.titles, start=1)])}

    def context(self, user: str | None, titles: Sequence[str]) -> Context:
        """All that a ``user`` did, then the ``titles``; somebody unknown did these only.

        Raises ``ParagonError`` for names that are not in the dataset and for an empty history.
        """
        items, times, number = [], [], -1
        if user is not None:
            if user not in self.sequences.user_ids:
                raise ParagonError(f"user {user!r} is not in the dataset")
            number = self.sequences.user_ids.index(user)
            events = slice(*self.sequences.offsets[number : number + 2])
            items, times = (
                a[events].tolist() for a in (self.sequences.items, self.sequences.times)
            )
        for title in titles:
            if title not in self.numbers:
                raise ParagonError(f"title {title!r} is not in the dataset")
            items.append(self.numbers[title])
            times.append(times[-1] if times else 0)
        if not items:
            raise ParagonError("the history is empty: choose a user or type a title")
        return Context(torch.tensor([number]), torch.tensor([items]), torch.tensor([times]))

    @torch.no_grad()
    def top(self, context: Context, weights: Sequence[float] | None) -> list[int]:
        """The ten best items that are not in the history; ``None``: by the backbone alone."""
        device, form = self.backbone.item_vectors().device, self.generator.form
        vector = torch.zeros(form.size) if weights is None else self.generator.generate(weights)[0]
        adapter = Adapter.from_vector(vector.to(device), form).to(device)
        recent = slice(-self.backbone.history, None)
        parts = (context.users, context.items[:, recent], context.times[:, recent])
        states = self.backbone.states(Context(*(part.to(device) for part in parts)))  # [1, z]
        features = item_features(form, self.sequences, device)
        scores = self.backbone.score_catalogue(states, adapter, features)[0]  # [n + 1]
        scores[[0, *context.items[0].tolist()]] = -torch.inf  # padding, and what was met
        return scores.topk(TOP).indices.tolist()

    def grid(self, user: str | None = None, titles: Sequence[str] = ()) -> pd.DataFrame:
        """The titles of the ten best, a column for each of some weights and the backbone alone.

        Of the first user of the dataset, if nothing is said.
        """
        if user is None and not titles:
            user = self.sequences.user_ids[0]
        context, names = self.context(user, titles), self.generator.objectives
        columns = {}
        for weights in simplex_lattice(len(names), 4 if len(names) == 2 else 2).flip(0).tolist():
            label = ", ".join(f"{n} {w:g}" for n, w in zip(names, weights, strict=True))
            columns[label] = self.top(context, weights)
        columns["backbone alone"] = self.top(context, None)
        found = {k: [self.sequences.titles[i - 1] for i in ids] for k, ids in columns.items()}
        return pd.DataFrame(found, index=pd.RangeIndex(1, TOP + 1, name="rank"))

    def show(self) -> Any:
        """The widget; where nobody is there to use it, the :meth:`grid`."""
        return self.grid() if os.environ.get(QUIET) else _Panel(self).box


class _Panel:
    """The widget's controls and what they change."""

    def __init__(self, room: ControlRoom) -> None:
        self.room, names = room, room.generator.objectives
        users = [NOBODY, *room.sequences.user_ids]
        self.user = widgets.Dropdown(value=users[1], options=users, description="user")
        self.titles = widgets.TagsInput(
            allowed_tags=list(room.numbers), placeholder="type a title", allow_duplicates=False
        )
        # Two weights are one choice; of more, each has a slider and their sum is made 1.
        shown = names[:1] if len(names) == 2 else names
        start = 1 / len(names)
        self.sliders = [
            widgets.FloatSlider(
                value=start, min=0, max=1, step=0.01, description=name, layout={"width": "60%"}
            )
            for name in shown
        ]
        self.said, self.lists = widgets.HTML(), [widgets.HTML(), widgets.HTML()]
        for control in (self.user, self.titles, *self.sliders):
            control.observe(lambda _: self.update(), "value")
        self.box = widgets.VBox(
            [widgets.HBox([self.user, self.titles]), *self.sliders, self.said,
             widgets.HBox(self.lists)]
        )  # fmt: skip
        self.update()

    def weights(self) -> list[float]:
        """What the sliders say, with the sum 1; all at 0 count the same."""
        values = [slider.value for slider in self.sliders]
        if len(values) == 1:
            return [values[0], 1 - values[0]]
        total = sum(values)
        return [value / total if total else 1 / len(values) for value in values]

    def update(self) -> None:
        """Show the lists of what is chosen now, or say in words why there are none."""
        user = None if self.user.value == NOBODY else self.user.value
        weights, names = self.weights(), self.room.generator.objectives
        try:
            context = self.room.context(user, self.titles.value)
        except ParagonError as error:
            self.said.value = str(error)
            return
        start = time.perf_counter()
        new = self.room.top(context, weights)
        spent = 1000 * (time.perf_counter() - start)
        old = self.room.top(context, None)
        said = " · ".join(f"{n} {w:.2f}" for n, w in zip(names, weights, strict=True))
        self.said.value = f"{said} · {spent:.1f} ms"
        marks = [
            ["" if i in old else "new" for i in new],
            ["" if i in new else "left" for i in old],
        ]
        labels = ("generated for these weights", "backbone alone")
        for place, label, ids, marked in zip(self.lists, labels, (new, old), marks, strict=True):
            table = tables.items(self.room.sequences, ids).assign(**{"": marked})
            place.value = (
                f"<b>{label}</b>{table.to_html(border=0, justify='left', index_names=False)}"
            )


def open_room(dataset: str, backbone: str) -> ControlRoom:
    """The control room of a study, with the generator of its first seed.

    Raises ``ParagonError``, with the stage to run, for a study that was not run.
    """
    sequences, frozen, _, generator = open_study(dataset, backbone).load_served()
    return ControlRoom(sequences, frozen, generator)
