"""Curves of training and tuning, for the chapters from `backbones` to `rivals`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import ArrayLike

from paragon.errors import ParagonError
from paragon.metrics.checks import finite
from paragon_study.report import style
from paragon_study.report.figures.drawing import BLUE, WEIGHT_COLOURS, weight_bar


@style.drawn
def training_curves(
    curves: Mapping[str, Mapping[str, Sequence[float] | tuple]], x_label: str | Mapping = "step"
) -> Figure:
    """A column for each model, a panel for each of its series.

    A series is a sequence of values (x is then 1, 2, …) or a pair
    ``(x, values)``.  Long series are shown as a running mean over the raw
    values; a series that spans more than a factor of 30 has a log scale.
    ``x_label`` is one label or one per model.
    """
    if not curves or not all(curves.values()):
        raise ParagonError("curves: there is no series to draw")
    rows = max(map(len, curves.values()))
    figure = style.new(min(7.2, 2.6 * len(curves) + 0.6), 0.5 + 1.6 * rows)
    axes = figure.subplots(rows, len(curves), squeeze=False, sharex="col")
    for column, (model, group) in zip(axes.T, curves.items(), strict=True):
        for ax, (name, series) in zip(column, group.items(), strict=False):
            _draw_series(ax, f"{model}, {name}", series)
            ax.set_ylabel(name.replace("_", " "))
            ax.locator_params(axis="x", integer=True)
        column[0].set_title(style.BACKBONES[model].label if model in style.BACKBONES else model)
        label = x_label if isinstance(x_label, str) else x_label.get(model, "step")
        column[len(group) - 1].set_xlabel(label)
        column[len(group) - 1].tick_params(labelbottom=True)
        for ax in column[len(group) :]:
            ax.set_axis_off()
    return figure


def _draw_series(ax: Axes, name: str, series: Sequence[float] | tuple) -> None:
    if isinstance(series, tuple) and len(series) == 2 and np.ndim(series[0]) == 1:
        x, y = finite(f"{name}, x", series[0]), finite(name, series[1])
    else:
        y = finite(name, series)
        x = np.arange(1, len(y) + 1)
    if len(x) != len(y):
        raise ParagonError(f"{name}: {len(x)} steps for {len(y)} values")
    window = len(y) // 40 if len(y) >= 200 else 1
    if window > 1:
        ax.plot(x, y, color=BLUE, alpha=0.25, linewidth=0.5)
        total = np.convolve(y, np.ones(window), "same")
        y = total / np.convolve(np.ones(len(y)), np.ones(window), "same")
    ax.plot(x, y, color=BLUE, marker="o" if len(y) <= 40 else None, markersize=2.5)
    if y.min() > 0 and y.max() > 30 * y.min():
        ax.set_yscale("log")
        ax.yaxis.set_major_formatter("{x:g}")


@style.drawn
def tuning_curves(steps: ArrayLike, validation: ArrayLike, weights: ArrayLike) -> Figure:
    """Validation task loss of every task above its own best, over the steps of joint tuning.

    steps ``[T]``, validation ``[A, T]``, weights ``[A]`` (of accuracy: the colour).
    A dot at the lower edge marks where a task is at its best.
    """
    x, losses = finite("steps", steps), finite("validation", validation, 2)
    shares = finite("weights", weights)
    if losses.shape != (len(shares), len(x)):
        raise ParagonError(
            f"validation: shape {losses.shape} for {len(shares)} weights and {len(x)} steps"
        )
    excess = losses - losses.min(1, keepdims=True)
    positive = excess[excess > 0]
    floor = 10 ** np.floor(np.log10(np.quantile(positive, 0.02))) if len(positive) else 1e-6
    figure = style.new(4.6, 2.9)
    ax = figure.subplots()
    for line, weight in zip(excess, shares, strict=True):
        ax.plot(x, np.maximum(line, floor), color=WEIGHT_COLOURS(weight), linewidth=1.1)
        best, colour = x[line.argmin()], WEIGHT_COLOURS(weight)
        ax.plot(best, floor, "o", color=colour, markersize=5, clip_on=False, zorder=4)
    ax.set(yscale="log", ylim=(floor, None), xlim=(x.min(), x.max()))
    ax.yaxis.set_major_formatter("{x:g}")
    ax.set(xlabel="step", ylabel="validation task loss\nin excess of the task's best")
    weight_bar(ax)
    style.small_print(figure, "Dots: each task's best step.")
    return figure
