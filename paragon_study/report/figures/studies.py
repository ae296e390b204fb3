"""Plot all studies in one figure."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd
from matplotlib import ticker
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from paragon_study.report import style
from paragon_study.report.figures import drawing
from paragon_study.report.style import look, metric_label

_NEAR = 0.93  # lower end of the axis of relative hypervolumes
_BESIDE: dict[str, Any] = {"textcoords": "offset points", "va": "center"}


@style.drawn
def all_studies(frame: pd.DataFrame) -> Figure:
    """Plot all studies: panels by dataset and measure, a line per method, a marker per backbone.

    ``frame``: columns dataset, backbone, method, measure, mean, low, high (None for one seed).
    """
    names = "dataset backbone method measure mean low high".split()
    drawing.require_columns(frame, names, "studies")
    datasets, backbones, measures = (
        list(dict.fromkeys(frame[name])) for name in ("dataset", "backbone", "measure")
    )
    backbones.sort(key=[*style.BACKBONES, *backbones].index)
    order = frame[frame["measure"] == measures[0]].groupby("method", sort=False)["mean"].mean()
    methods = dict.fromkeys(order.sort_values(ascending=False, kind="stable").index)
    methods |= dict.fromkeys(frame["method"])
    ran = {name: set(group["method"]) for name, group in frame.groupby("dataset")}
    rows = [[method for method in methods if method in ran[dataset]] for dataset in datasets]
    heights = [len(group) for group in rows]
    figure = style.new(7.2, 0.6 + sum(0.21 * height + 0.3 for height in heights))
    axes = figure.subplots(len(datasets), len(measures), sharex="col", sharey="row",
                           squeeze=False, height_ratios=heights)  # fmt: skip
    for row, dataset, group in zip(axes, datasets, rows, strict=True):
        for ax, measure in zip(row, measures, strict=True):
            part = frame[(frame["dataset"] == dataset) & (frame["measure"] == measure)]
            _draw_study(ax, part, group, [b for b in backbones if b in set(part["backbone"])])
        row[0].set_title(dataset)
    for ax, measure in zip(axes[-1], measures, strict=True):
        ax.set_xlabel(metric_label(measure))
        if measure.endswith("_of_tuned"):
            ax.set_xlim(left=_NEAR - 0.006)  # room for half a marker
        elif measure.startswith("regret"):
            ax.set_xscale("symlog", linthresh=0.1, linscale=0.8)
            ax.margins(x=0.05)
            draw_ticks(ax, [-100, -10, -1, -0.1, 0, 0.1, 1, 10, 100], drawing.percent_mark)
    regret = any(measure.startswith("regret") for measure in measures)
    far = (frame["measure"].str.endswith("_of_tuned") & (frame["mean"] < _NEAR)).any()
    for name in backbones:
        axes[0, 0].plot([], [], look(name).marker, color=look(name).colour, label=look(name).label)
    drawing.method_legend(figure, axes[0, 0])
    style.small_print(
        figure, "Lines: 95% t interval over seeds. Grey: the oracle.",
        "At the edge: values off the scale." if far else "",
        "Regret: logarithmic beyond ±10 %." if regret else "",
    )  # fmt: skip
    return figure


def draw_ticks(ax: Axes, marks: list[float], words: Callable[..., str]) -> None:
    """Draw the ticks that are in view."""
    low, high = ax.get_xlim()
    ax.xaxis.set_major_locator(ticker.FixedLocator([m for m in marks if low <= m <= high]))
    ax.xaxis.set_major_formatter(words)


def _draw_study(ax: Axes, part: pd.DataFrame, methods: list[str], backbones: list[str]) -> None:
    """Draw one dataset and measure, with the backbones of a method side by side."""
    of_tuned = part["measure"].str.endswith("_of_tuned").any()
    rows = np.arange(len(methods))
    for row in rows[::2]:
        ax.axhspan(row - 0.5, row + 0.5, color="#f4f4f4", linewidth=0, zorder=0)
    ax.axvline(1 if of_tuned else 0, color="#a3a3a3", linewidth=2, zorder=1)
    ax.grid(axis="x", color="#e6e6e6", linewidth=0.6)
    for number, backbone in enumerate(backbones):
        table = part[part["backbone"] == backbone].set_index("method")[["mean", "low", "high"]]
        table = table.astype(float).reindex(methods)
        table = table.where(table["mean"] >= _NEAR) if of_tuned else table
        kind, y = look(backbone), rows + 0.8 * ((number + 0.5) / len(backbones) - 0.5)
        ax.hlines(y, table["low"], table["high"], color=kind.colour, linewidth=0.9, zorder=2)
        ax.plot(
            table["mean"], y, kind.marker, color=kind.colour, zorder=3, markeredgewidth=0.3,
            markersize=4 if len(backbones) <= 3 else 3, markeredgecolor="white",
        )  # fmt: skip
    for row, method in enumerate(methods):
        values = part.loc[part["method"] == method, "mean"]
        far = values[values < _NEAR] if of_tuned else values[:0]
        ends = dict.fromkeys(f"{x:.2f}" for x in (far.min(), far.max())) if len(far) else ()
        words = "← " + "–".join(ends) if ends else "" if len(values) else "undefined"
        ax.annotate(words, (0, row), (9, 0), xycoords=("axes fraction", "data"), fontsize=6.5,
                    color="#555555", **_BESIDE)  # fmt: skip
    ax.set_yticks(rows, [look(m).label for m in methods])
    ax.set(ylim=(len(methods) - 0.5, -0.5))
    ax.tick_params(axis="y", length=0)
