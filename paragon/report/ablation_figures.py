"""The figures of the ablations, notebook 06; those of the study are in :mod:`paragon.plots`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib import ticker
from matplotlib.figure import Figure

from paragon.errors import ParagonError
from paragon.metrics.checks import finite
from paragon.report import style as style
from paragon.report.style import drawn, look, metric_label


@drawn
def ablation(
    frame: pd.DataFrame, metric: str, default: Mapping[str, object] | None = None
) -> Figure:
    """A panel per variable, a row per value: mean of ``metric`` with its interval over seeds.

    ``frame`` has the columns variable, value, seed and ``metric``; ``default``
    says which value of a variable the study uses (filled marker; the others are open).
    """
    style.columns(frame, ("variable", "value", "seed", metric), "ablation")
    finite(f"ablation, {metric}", frame[metric].to_numpy(float))
    variables = list(dict.fromkeys(frame["variable"]))
    sizes = [frame.loc[frame["variable"] == v, "value"].nunique() for v in variables]
    figure = style.new(5.2, 0.7 + sum(0.2 * n + 0.22 for n in sizes))
    axes = figure.subplots(len(sizes), 1, sharex=True, squeeze=False,
                           height_ratios=[n + 0.3 for n in sizes])[:, 0]  # fmt: skip
    for ax, variable in zip(axes, variables, strict=True):
        rows = frame[frame["variable"] == variable]
        values = sorted(dict.fromkeys(rows["value"]), key=_size)
        usual = (default or {}).get(variable)
        for place, value in enumerate(values):
            mean, low, high = style.interval(rows.loc[rows["value"] == value, metric])
            colour = "#D55E00" if value == usual else "#0072B2"
            ax.hlines(place, low, high, color=colour, linewidth=1.4)
            ax.plot(mean, place, "o", color=colour, mfc=colour if value == usual else "white")
        ax.set_yticks(range(len(values)), [f"{v:g}" if isinstance(v, float) else v for v in values])
        ax.set(ylim=(len(values) - 0.4, -0.6))
        ax.set_title(variable.replace("_", " "), fontsize=8, pad=2)
        ax.grid(axis="x", color="#e6e6e6", linewidth=0.6)
        ax.tick_params(axis="y", length=0)
        ax.tick_params(axis="x", length=3 if ax is axes[-1] else 0)
    axes[-1].set_xlabel(metric_label(metric))
    seeds = style.seeds_note(frame, ["variable", "value"], "Lines")
    style.note(figure, seeds, "Filled: the default." if default else "")
    return figure


def _size(value: object) -> float:
    """Where a value comes among others: numbers by size, then words as they are."""
    try:
        return float(value)
    except ValueError:
        return np.inf


@drawn
def modes(clouds: Mapping[str, np.ndarray]) -> Figure:
    """Groups of vectors ``[N, P]`` in the first two principal components of all that are shown.

    The last two groups stand out: they are drawn over the others.
    """
    groups = {name: finite(name, values, 2) for name, values in clouds.items()}
    if len(groups) < 3:
        raise ParagonError("modes: at least three groups are needed")
    every = np.vstack(list(groups.values()))
    centre = every.mean(0)
    _, spread, basis = np.linalg.svd(every - centre, full_matrices=False)
    basis = basis[:2] * np.where(basis[:2].sum(1, keepdims=True) < 0, -1, 1)
    share = spread**2 / max((spread**2).sum(), np.finfo(float).tiny)
    figure = style.new(5.2, 3.6)
    ax = figure.subplots()
    palette, last = sns.color_palette("colorblind"), len(groups) - 2
    for number, (name, values) in enumerate(groups.items()):
        xy = (values - centre) @ basis.T
        marks = {"s": 22, "alpha": 0.7, "color": palette[number % 10], "linewidths": 0}
        if number >= last:
            marker = {"marker": "X^"[number - last], "s": 34, "edgecolors": "black"}
            marks = {"color": ["white", "#D55E00"][number - last], "linewidths": 0.7, **marker}
        ax.scatter(*xy.T, label=name, zorder=2 + (number >= last), **marks)
    ax.set_xlabel(f"component 1 ({share[0]:.1%} of variance)")
    ax.set_ylabel(f"component 2 ({share[1]:.1%} of variance)")
    figure.legend(loc="outside upper left", ncols=4, columnspacing=1.2, handletextpad=0.2)
    return figure


@drawn
def front(points: Mapping[str, np.ndarray], labels: Sequence[str]) -> Figure:
    """Three metrics against each other, seen from two sides: ``[W, 3]`` for each method.

    Points lie on stems from the floor, without which depth cannot be read.
    """
    groups = {name: finite(name, values, 2) for name, values in points.items()}
    if any(values.shape[1] != 3 for values in groups.values()) or len(labels) != 3:
        raise ParagonError("front: points and labels of three metrics are needed")
    every = np.vstack(list(groups.values()))
    low, high = every.min(0), every.max(0)
    floor = low[2] - 0.05 * max(high[2] - low[2], 1e-9)
    figure = style.new(7.2, 3.4)
    for number, turn in enumerate((-60, 30), 1):
        ax = figure.add_subplot(1, 2, number, projection="3d", azim=turn, elev=22)
        for name, values in groups.items():
            kind = look(name)
            face = {"markerfacecolor": "none"} if name == "tuned" else {}
            ax.plot(
                *values.T, kind.marker, color=kind.colour, label=kind.label, linestyle="none",
                markersize=7 if name == "tuned" else 4, **face,
            )  # fmt: skip
        for x, y, z in next(iter(groups.values())):
            ax.plot([x, x], [y, y], [floor, z], color="#cccccc", linewidth=0.6, zorder=0)
        ax.set_zlim(floor, None)
        for axis, label in zip((ax.xaxis, ax.yaxis, ax.zaxis), labels, strict=True):
            axis.set_label_text(metric_label(label))
            axis.set_tick_params(labelsize=6, pad=-1)
            axis.set_major_locator(ticker.MaxNLocator(4))
            axis.set_pane_color((1, 1, 1, 0))
    style.method_legend(figure, figure.axes[0])
    style.note(figure, "The same points from two sides. Stems: of the first group.")
    return figure
