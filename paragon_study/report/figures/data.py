"""Figures of datasets and of training, and simple line plots."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import seaborn as sns
from matplotlib import ticker
from matplotlib.axes import Axes
from matplotlib.dates import AutoDateLocator, ConciseDateFormatter
from matplotlib.figure import Figure
from numpy.typing import ArrayLike

from paragon.errors import ParagonError
from paragon.metrics.checks import check_array
from paragon_study.report import style
from paragon_study.report.figures.drawing import BLUE, GREY, ORANGE, WEIGHT_COLOURS, weight_bar

# Colours and lines that differ in grey too.
_LINES = ((BLUE, "-"), (ORANGE, "--"), ("#009E73", "-."), ("#CC79A7", ":"), (GREY, (0, (1, 1))))
_DASHED: dict[str, Any] = {"color": GREY, "linewidth": 0.8, "linestyle": (0, (4, 2))}
_WORDS: dict[str, Any] = {"fontsize": 7, "color": GREY}


@style.drawn
def dataset_overview(
    popularity: ArrayLike,
    lengths: ArrayLike,
    categories: Mapping[str, int],
    timestamps: ArrayLike,
    carried: ArrayLike,
    parts: Mapping[str, int],
    groups: Sequence[str] | None,
) -> Figure:
    """Plot six views of a dataset.

    popularity: interactions per item; lengths: interactions per user; categories: items per
    category; timestamps: seconds since 1970 per event; carried: categories per item; parts: events
    per part of the split; groups: group of each user, in the order of ``lengths``.
    """
    figure = style.new(7.2, 7.4)
    axes = figure.subplots(3, 2).ravel()
    items, users, kinds, time, load, split = axes
    _draw_items(items, np.sort(check_array("popularity", popularity))[::-1])
    _draw_users(users, check_array("lengths", lengths), groups)
    _draw_categories(kinds, categories)
    _draw_months(time, check_array("timestamps", timestamps))
    numbers = check_array("carried", carried).astype(int)
    values, frequency = np.unique(numbers, return_counts=True)
    load.bar(values, frequency, color=BLUE)
    load.xaxis.set_major_locator(ticker.MaxNLocator(integer=True))
    load.set(xlabel=f"categories of an item (mean {numbers.mean():.2f})", ylabel="items")
    names = list(parts)[::-1]
    bars = split.barh(names, [parts[name] for name in names], color=BLUE)
    split.bar_label(bars, fmt="{:,.0f}", padding=2, **_WORDS)
    split.set(xscale="log", xlim=(1, 10 * max(parts.values())), xlabel="interactions of a part")
    split.tick_params(axis="y", length=0)
    for ax, letter in zip(axes, "abcdef", strict=True):
        ax.set_title(letter)
    for axis in (items.xaxis, items.yaxis, users.xaxis, time.yaxis, load.yaxis, split.xaxis):
        axis.set_major_formatter("{x:,.0f}")
        axis.set_minor_formatter(ticker.NullFormatter())
    users.xaxis.set_major_locator(ticker.LogLocator(subs=(1, 2, 5)))
    return figure


def _draw_items(ax: Axes, popularity: np.ndarray) -> None:
    top = max(1, round(0.2 * len(popularity)))
    share = popularity[:top].sum() / max(popularity.sum(), 1)
    ax.loglog(np.arange(1, len(popularity) + 1), popularity, color=BLUE)
    ax.axvline(top, **_DASHED)
    ax.text(top / 1.15, 0.08, f"top 20% of items:\n{share:.0%} of interactions", ha="right",
            transform=ax.get_xaxis_transform(), **_WORDS)  # fmt: skip
    ax.set(xlabel=f"item, by popularity (n = {len(popularity):,})", ylabel="interactions")


def _draw_users(ax: Axes, lengths: np.ndarray, groups: Sequence[str] | None) -> None:
    hue: dict[str, Any] = {}
    middle = np.median(lengths)
    if groups is not None:
        sizes = {name: sum(g == name for g in groups) for name in sorted(set(groups))}
        named = [f"{g} ({sizes[g]:,})" for g in groups]
        hue = {"hue": named, "hue_order": sorted(set(named)), "multiple": "stack"}
        hue["palette"] = [BLUE, ORANGE, GREY][: len(sizes)] if len(sizes) < 4 else None
    sns.histplot(x=lengths, log_scale=True, bins=30, ax=ax, color=BLUE, alpha=1, **hue)
    ax.axvline(middle, **_DASHED)
    ax.text(middle * 1.08, 0.93, f"median {middle:g}", transform=ax.get_xaxis_transform(), **_WORDS)
    ax.set(xlabel="interactions of a user", ylabel=f"users (n = {len(lengths):,})")


def _draw_categories(ax: Axes, categories: Mapping[str, int]) -> None:
    largest = sorted(categories.items(), key=lambda item: item[1])[-20:]
    bars = ax.barh([name for name, _ in largest], [count for _, count in largest], color=BLUE)
    ax.bar_label(bars, fmt="{:,.0f}", padding=2, fontsize=6.5, color=GREY)
    ax.tick_params(axis="y", labelsize=6.5, length=0)
    some = f", the {len(largest)} largest of {len(categories)}"
    ax.set(xlabel=f"items of a category{some if len(largest) < len(categories) else ''}")
    ax.margins(x=0.1)


def _draw_months(ax: Axes, timestamps: np.ndarray) -> None:
    months = timestamps.astype("datetime64[s]").astype("datetime64[M]").astype(int)
    starts = np.arange(months.min(), months.max() + 1).astype("datetime64[M]")
    events = np.bincount(months - months.min())
    ax.bar(starts.astype("datetime64[D]"), events, width=26, align="edge", color=BLUE)
    _show_dates(ax, 7)
    ax.set(xlabel="month", ylabel="interactions")


def _show_dates(ax: Axes, most: int) -> None:
    """Show at most ``most`` short dates on the x-axis."""
    locator = AutoDateLocator(minticks=3, maxticks=most)
    ax.xaxis.set_major_locator(locator)
    ax.xaxis.set_major_formatter(ConciseDateFormatter(locator))


def _one_panel(x_label: str, y_label: str, curves: Mapping | None = None) -> tuple[Figure, Axes]:
    if curves is not None and not 0 < len(curves) <= len(_LINES):
        raise ParagonError(f"figure: 1 to {len(_LINES)} fit on one panel; got {len(curves)}")
    figure = style.new(4.4, 2.5)
    ax = figure.subplots()
    ax.set(xlabel=x_label, ylabel=y_label)
    return figure, ax


def _legend(ax: Axes) -> None:
    ax.legend(loc="upper left", bbox_to_anchor=(1, 1), handlelength=2.6)


@style.drawn
def lines(
    curves: Mapping[str, tuple[ArrayLike, ArrayLike]],
    x_label: str,
    y_label: str,
    marked: Mapping[str, float] | None = None,
    dots: bool = False,
) -> Figure:
    """Plot up to five curves ``(x, y)``; ``marked`` names x values, ``dots`` marks all points."""
    figure, ax = _one_panel(x_label, y_label, curves)
    for (name, (x, y)), (colour, line) in zip(curves.items(), _LINES, strict=False):
        x, y = check_array(f"{name}, x", x), check_array(name, y)
        ax.plot(x, y, color=colour, linestyle=line, marker="o" if dots else None, label=name)
    ax.xaxis.set_major_locator(ticker.MaxNLocator(6, integer=dots))
    for name, place in (marked or {}).items():
        ax.axvline(place, **_DASHED)
        ax.text(place, 1.01, name, transform=ax.get_xaxis_transform(), ha="center", **_WORDS)
    if [*curves] != [""]:
        _legend(ax)
    return figure


@style.drawn
def shares_below(
    samples: Mapping[str, ArrayLike], x_label: str, dates: bool = False, log: bool = False
) -> Figure:
    """Plot cumulative distributions; ``dates``: seconds since 1970; ``log``: 0 is at 1/2."""
    figure, ax = _one_panel(x_label, "share of values up to this one", samples)
    for (name, values), (colour, line) in zip(samples.items(), _LINES, strict=False):
        ordered = np.sort(check_array(name, np.ravel(values)))
        share = np.arange(1, len(ordered) + 1) / len(ordered)
        x = ordered.astype("datetime64[s]") if dates else np.maximum(ordered, 0.5 if log else -1e99)
        ax.step(x, share, where="post", color=colour, linestyle=line, label=name)
    ax.set_ylim(0, 1)
    ax.yaxis.set_major_formatter(ticker.PercentFormatter(1))
    if log:
        ax.set_xscale("log")
        ax.xaxis.set_major_formatter("{x:,g}")
    if dates:
        _show_dates(ax, 6)
    _legend(ax)
    return figure


@style.drawn
def sequence_in_time(times: ArrayLike, parts: Sequence[str]) -> Figure:
    """Plot one user's events: place in the sequence against time, by part of the split."""
    x = np.arange(1, len(parts) + 1)
    minutes = (check_array("times", times) - np.min(times)) / 60
    figure, ax = _one_panel("place in the sequence", "minutes since the first event")
    looks = {"train": (BLUE, "o", 2.5), "valid": ("#009E73", "s", 6), "test": (ORANGE, "^", 7)}
    for part, (colour, marker, size) in looks.items():
        rows = np.asarray(parts) == part
        ax.plot(x[rows], minutes[rows], marker, color=colour, markersize=size, label=part)
    ax.yaxis.set_major_formatter("{x:,.0f}")
    _legend(ax)
    return figure


@style.drawn
def training_curves(
    curves: Mapping[str, Mapping[str, Sequence[float] | tuple]], x_label: str | Mapping = "step"
) -> Figure:
    """Plot series, values or ``(x, values)``: a column per model, a panel per series."""
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
    x, y = series if isinstance(series, tuple) else (np.arange(1, len(series) + 1), series)
    x, y = check_array(f"{name}, x", x), check_array(name, y)
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
    """Plot losses ``[A, T]`` above their best over steps ``[T]``, coloured by weights ``[A]``."""
    x, losses = check_array("steps", steps), check_array("validation", validation, "NM")
    excess = losses - losses.min(1, keepdims=True)
    positive = excess[excess > 0]
    floor = 10 ** np.floor(np.log10(np.quantile(positive, 0.02))) if len(positive) else 1e-6
    figure = style.new(4.6, 2.9)
    ax = figure.subplots()
    for line, weight in zip(excess, check_array("weights", weights), strict=True):
        colour = WEIGHT_COLOURS(weight)
        ax.plot(x, np.maximum(line, floor), color=colour, linewidth=1.1)
        ax.plot(x[line.argmin()], floor, "o", color=colour, markersize=5, clip_on=False, zorder=4)
    ax.set(yscale="log", ylim=(floor, None), xlim=(x.min(), x.max()))
    ax.yaxis.set_major_formatter("{x:g}")
    ax.set(xlabel="step", ylabel="validation task loss\nin excess of the task's best")
    weight_bar(ax)
    style.small_print(figure, "Dots: each task's best step.")
    return figure
