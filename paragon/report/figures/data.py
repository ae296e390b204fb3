"""The figure of chapter `data`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import seaborn as sns
from matplotlib import dates, ticker
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import ArrayLike

from paragon.metrics.checks import finite
from paragon.report import style
from paragon.report.figures.drawing import BLUE, GREY, ORANGE

_DASHED: dict[str, Any] = {"color": GREY, "linewidth": 0.8, "linestyle": (0, (4, 2))}


@style.drawn
def dataset_overview(
    popularity: ArrayLike,
    lengths: ArrayLike,
    categories: Mapping[str, int],
    timestamps: ArrayLike,
    carried: ArrayLike,
    parts: Mapping[str, int],
    groups: Sequence[str] | None = None,
) -> Figure:
    """Six views of a dataset.

    popularity: interactions per item; lengths: interactions per user; categories:
    items per category; timestamps: seconds since 1970 per event; carried:
    categories per item; parts: events per part of the split; groups: the group
    of each user, in the order of ``lengths``.
    """
    descending = np.sort(finite("popularity", popularity))[::-1]
    events, times = finite("lengths", lengths), finite("timestamps", timestamps)
    counts, numbers = finite("categories", list(categories.values())), finite("carried", carried)
    figure = style.new(7.2, 7.4)
    (items, users), (kinds, time), (load, split) = figure.subplots(3, 2)
    _draw_items(items, descending)
    _draw_users(users, events, groups)
    _draw_categories(kinds, list(categories), counts)
    _draw_months(time, times)
    values, frequency = np.unique(numbers.astype(int), return_counts=True)
    load.bar(values, frequency, color=BLUE)
    load.xaxis.set_major_locator(ticker.MaxNLocator(integer=True))
    load.set(xlabel=f"categories of an item (mean {numbers.mean():.2f})", ylabel="items")
    names = list(parts)[::-1]
    bars = split.barh(names, [parts[name] for name in names], color=BLUE)
    split.bar_label(bars, fmt="{:,.0f}", padding=2, fontsize=7, color=GREY)
    split.set(xscale="log", xlim=(1, 10 * max(parts.values())), xlabel="interactions of a part")
    split.tick_params(axis="y", length=0)
    for ax, letter in zip((items, users, kinds, time, load, split), "abcdef", strict=True):
        ax.set_title(letter)
    for axis in (items.xaxis, items.yaxis, users.xaxis, time.yaxis, load.yaxis, split.xaxis):
        axis.set_major_formatter(ticker.FuncFormatter(lambda x, _: f"{x:,.0f}"))
        axis.set_minor_formatter(ticker.NullFormatter())
    users.xaxis.set_major_locator(ticker.LogLocator(subs=(1, 2, 5)))
    return figure


def _draw_items(ax: Axes, popularity: np.ndarray) -> None:
    top = max(1, round(0.2 * len(popularity)))
    share = popularity[:top].sum() / max(popularity.sum(), 1)
    ax.loglog(np.arange(1, len(popularity) + 1), popularity, color=BLUE)
    ax.axvline(top, **_DASHED)
    ax.text(top / 1.15, 0.08, f"top 20% of items:\n{share:.0%} of interactions", ha="right",
            transform=ax.get_xaxis_transform(), fontsize=7, color=GREY)  # fmt: skip
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
    ax.text(middle * 1.08, 0.93, f"median {middle:g}", fontsize=7, color=GREY,
            transform=ax.get_xaxis_transform())  # fmt: skip
    ax.set(xlabel="interactions of a user", ylabel=f"users (n = {len(lengths):,})")


def _draw_categories(ax: Axes, names: list[str], counts: np.ndarray) -> None:
    order = np.argsort(counts, kind="stable")[-20:]
    bars = ax.barh([names[i] for i in order], counts[order], color=BLUE)
    ax.bar_label(bars, fmt="{:,.0f}", padding=2, fontsize=6.5, color=GREY)
    ax.tick_params(axis="y", labelsize=6.5, length=0)
    shown = "" if len(order) == len(counts) else f", the {len(order)} largest of {len(counts)}"
    ax.set(xlabel=f"items of a category{shown}")
    ax.margins(x=0.1)


def _draw_months(ax: Axes, timestamps: np.ndarray) -> None:
    months = timestamps.astype("datetime64[s]").astype("datetime64[M]").astype(int)
    starts = np.arange(months.min(), months.max() + 1).astype("datetime64[M]")
    events = np.bincount(months - months.min())
    ax.bar(starts.astype("datetime64[D]"), events, width=26, align="edge", color=BLUE)
    locator = dates.AutoDateLocator(minticks=3, maxticks=7)
    ax.xaxis.set_major_locator(locator)
    ax.xaxis.set_major_formatter(dates.ConciseDateFormatter(locator))
    ax.set(xlabel="month", ylabel="interactions")
