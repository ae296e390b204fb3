"""The figures of notebook 07: changed settings, and three objectives."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
from matplotlib import ticker
from matplotlib.figure import Figure
from matplotlib.tri import Triangulation

from paragon.errors import ParagonError
from paragon_study.ablations.contrasts import wording
from paragon_study.report import style
from paragon_study.report.style import BLUE, GREY, ORANGE, look, metric_label


@style.drawn
def changed_choices(frame: pd.DataFrame, metric: str, default: Mapping[str, object]) -> Figure:
    """Plot ``metric`` and seed intervals by variable and value; filled markers: ``default``."""
    variables = dict(list(frame.groupby("variable", sort=False)))
    sizes = [rows["value"].nunique() for rows in variables.values()]
    figure = style.new(5.2, 0.7 + sum(0.2 * n + 0.22 for n in sizes))
    heights = [n + 0.3 for n in sizes]
    axes = figure.subplots(len(sizes), 1, sharex=True, squeeze=False, height_ratios=heights)[:, 0]
    for ax, (variable, rows) in zip(axes, variables.items(), strict=True):
        # Numbers by size, then words.
        values = rows["value"].drop_duplicates()
        values = values.sort_values(key=lambda v: pd.to_numeric(v, errors="coerce"), kind="stable")
        for row, value in enumerate(values):
            mean, low, high = style.seed_limits(rows.loc[rows["value"] == value, metric])
            usual = value == default.get(variable)
            colour = ORANGE if usual else BLUE
            ax.hlines(row, low, high, color=colour, linewidth=1.4)
            ax.plot(mean, row, "o", color=colour, mfc=colour if usual else "white")
        ax.set_yticks(range(len(values)), [wording(value) for value in values])
        ax.set(ylim=(len(values) - 0.4, -0.6))
        ax.grid(axis="x", color="#e6e6e6", linewidth=0.6)
        ax.tick_params(axis="y", length=0)
        ax.set_title(wording(variable), fontsize=8, pad=2)
        ax.tick_params(axis="x", length=3 if ax is axes[-1] else 0)
    axes[-1].set_xlabel(metric_label(metric))
    if metric.startswith("regret"):
        axes[-1].xaxis.set_major_formatter(style.percent_mark)
    groups = (rows for _, rows in frame.groupby(["variable", "value"]))
    style.small_print(figure, style.seeds_note(groups, "Lines"), "Filled: the default.")
    return figure


@style.drawn
def ternary(weights: np.ndarray, values: np.ndarray, labels: Sequence[str], metric: str) -> Figure:
    """Plot values ``[W]`` over weights ``[W, 3]`` of three objectives; rows sum to 1."""
    if weights.shape != (len(values), 3) or len(labels) != 3:
        raise ParagonError(f"weights: shape {weights.shape}; three objectives are needed")
    if (weights < -1e-9).any() or (abs(weights.sum(1) - 1) > 1e-4).any():
        raise ParagonError("weights: every row must be non-negative and sum to 1")
    corners = np.array([[0.5, np.sqrt(0.75)], [0, 0], [1, 0]])
    xy = weights @ corners
    figure = style.new(4.2, 3.3)
    ax = figure.subplots()
    filled = ax.tricontourf(Triangulation(*xy.T), values, levels=12, cmap=style.WEIGHT_COLOURS)
    ax.plot(*xy.T, "o", color="white", mec="black", mew=0.4, markersize=2.2, clip_on=False)
    ax.plot(*corners[[0, 1, 2, 0]].T, color="black", linewidth=0.8)
    # Edges show the weight of the corner they lead to.
    shifts = [((0, 8), "center", "bottom"), ((-2, -8), "center", "top"), ((2, -8), "center", "top")]
    for corner, name, (offset, ha, va) in zip(corners, labels, shifts, strict=True):
        ax.annotate(f"{name} = 1", corner, offset, textcoords="offset points", ha=ha, va=va,
                    weight="bold")  # fmt: skip
    edges = ((1, 2, (0, -3), "center", "top"), (2, 0, (4, 0), "left", "center"),
             (0, 1, (-4, 0), "right", "center"))  # fmt: skip
    for start, end, shift, ha, va in edges:
        for share in (0.2, 0.4, 0.6, 0.8):
            point = (1 - share) * corners[start] + share * corners[end]
            ax.annotate(f"{share:g}", point, shift, textcoords="offset points", ha=ha, va=va,
                        fontsize=6, color=GREY)  # fmt: skip
    ax.set_aspect("equal")
    ax.set_axis_off()
    style.colour_bar(ax, filled, metric_label(metric), pad=0.08, shrink=0.85)
    first, second, third = labels
    style.small_print(
        figure, f"Weights on the edges: right, of {first}; left, of {second}; below, of {third}."
    )
    return figure


@style.drawn
def front_3d(points: Mapping[str, np.ndarray], labels: Sequence[str]) -> Figure:
    """Plot three metrics, ``[W, 3]`` by method, from two sides; stems show the depth."""
    low, high = (end(np.vstack(list(points.values())), axis=0) for end in (np.min, np.max))
    floor = low[2] - 0.05 * max(high[2] - low[2], 1e-9)
    figure = style.new(7.2, 3.0)
    for number, turn in enumerate((30, -60), 1):  # vertical axes on the outside
        ax = figure.add_subplot(1, 2, number, projection="3d", azim=turn, elev=22)
        for name, values in points.items():
            kind, oracle = look(name), name == "tuned"
            ax.plot(
                *values.T, kind.marker, color=kind.colour, label=kind.label, linestyle="none",
                markersize=7 if oracle else 4, **{"markerfacecolor": "none"} if oracle else {},
            )  # fmt: skip
        for x, y, z in next(iter(points.values())):
            ax.plot([x, x], [y, y], [floor, z], color="#cccccc", linewidth=0.6, zorder=0)
        ax.set_zlim(floor, None)
        ax.set_box_aspect(None, zoom=0.87)  # room for axis labels
        for axis, label in zip((ax.xaxis, ax.yaxis, ax.zaxis), labels, strict=True):
            axis.set_label_text(metric_label(label), fontsize=7)
            axis.set_tick_params(labelsize=6, pad=-1)
            axis.set_major_locator(ticker.MaxNLocator(4))
            axis.set_pane_color((1, 1, 1, 0))
    style.method_legend(figure, figure.axes[0])
    first = look(next(iter(points))).label
    style.small_print(figure, f"The same points from two sides. Stems: of {first}.")
    return figure
