"""The figure of chapter `ablations`."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter

from paragon.metrics.checks import finite
from paragon.report import style
from paragon.report.figures.drawing import (
    BLUE,
    ORANGE,
    percent_mark,
    require_columns,
    seed_limits,
    seeds_note,
)


@style.drawn
def changed_choices(
    frame: pd.DataFrame, metric: str, default: Mapping[str, object] | None = None
) -> Figure:
    """A panel per variable, a row per value: mean of ``metric`` with its interval over seeds.

    ``frame`` has the columns variable, value, seed and ``metric``; ``default``
    says which value of a variable the study uses (filled marker; the others are open).
    """
    require_columns(frame, ("variable", "value", "seed", metric), "ablation")
    finite(f"ablation, {metric}", frame[metric].to_numpy(float))
    variables = list(dict.fromkeys(frame["variable"]))
    sizes = [frame.loc[frame["variable"] == v, "value"].nunique() for v in variables]
    figure = style.new(5.2, 0.7 + sum(0.2 * n + 0.22 for n in sizes))
    heights = [n + 0.3 for n in sizes]
    axes = figure.subplots(len(sizes), 1, sharex=True, squeeze=False, height_ratios=heights)[:, 0]
    for ax, variable in zip(axes, variables, strict=True):
        rows = frame[frame["variable"] == variable]
        _draw_values(ax, rows.set_index("value")[metric], (default or {}).get(variable))
        ax.set_title(variable.replace("_", " "), fontsize=8, pad=2)
        ax.tick_params(axis="x", length=3 if ax is axes[-1] else 0)
    axes[-1].set_xlabel(style.metric_label(metric))
    if metric.startswith("regret"):
        axes[-1].xaxis.set_major_formatter(FuncFormatter(percent_mark))
    seeds = seeds_note(frame, ["variable", "value"], "Lines")
    style.small_print(figure, seeds, "Filled: the default." if default else "")
    return figure


def _draw_values(ax: Axes, metric: pd.Series, usual: object) -> None:
    """A row for each value of a variable, which is the index of ``metric``."""
    values = sorted(dict.fromkeys(metric.index), key=_size)
    for row, value in enumerate(values):
        mean, low, high = seed_limits(metric[metric.index == value])
        colour = ORANGE if value == usual else BLUE
        ax.hlines(row, low, high, color=colour, linewidth=1.4)
        ax.plot(mean, row, "o", color=colour, mfc=colour if value == usual else "white")
    ax.set_yticks(range(len(values)), [f"{v:g}" if isinstance(v, float) else v for v in values])
    ax.set(ylim=(len(values) - 0.4, -0.6))
    ax.grid(axis="x", color="#e6e6e6", linewidth=0.6)
    ax.tick_params(axis="y", length=0)


def _size(value: float | str) -> float:
    """Where a value comes among others: numbers by size, then words as they are."""
    try:
        return float(value)
    except ValueError:
        return np.inf
