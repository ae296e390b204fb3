"""The figures of chapter `data`, and the small ones that other chapters use, too."""

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
from paragon.metrics.checks import finite
from paragon_study.report import style
from paragon_study.report.figures.drawing import BLUE, GREY, ORANGE

# Colours and lines in this order: they differ in grey, too.
_LINES = ((BLUE, "-"), (ORANGE, "--"), ("#009E73", "-."), ("#CC79A7", ":"), (GREY, (0, (1, 1))))
_DASHED: dict[str, Any] = {"color": GREY, "linewidth": 0.8, "linestyle": (0, (4, 2))}


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
    _show_dates(ax, 7)
    ax.set(xlabel="month", ylabel="interactions")


def _show_dates(ax: Axes, most: int) -> None:
    """Show at most this number of dates on the x-axis, each as short as possible."""
    locator = AutoDateLocator(minticks=3, maxticks=most)
    ax.xaxis.set_major_locator(locator)
    ax.xaxis.set_major_formatter(ConciseDateFormatter(locator))


def _axes(x_label: str, y_label: str) -> tuple[Figure, Axes]:
    figure = style.new(4.4, 2.5)
    ax = figure.subplots()
    ax.set(xlabel=x_label, ylabel=y_label)
    return figure, ax


def _check_few(name: str, shown: Mapping[str, object]) -> None:
    if not 0 < len(shown) <= len(_LINES):
        raise ParagonError(f"{name}: 1 to {len(_LINES)} fit on one panel; found {len(shown)}")


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
    """Up to five curves ``(x, y)`` on one panel; ``marked``: named places on the x-axis.

    ``dots``: x has whole numbers only, and each of them gets a dot.
    """
    _check_few("curves", curves)
    figure, ax = _axes(x_label, y_label)
    for (name, (x, y)), (colour, line) in zip(curves.items(), _LINES, strict=False):
        x, y = finite(f"{name}, x", x), finite(name, y)
        ax.plot(x, y, color=colour, linestyle=line, marker="o" if dots else None, label=name)
    ax.xaxis.set_major_locator(ticker.MaxNLocator(6, integer=dots))
    for name, place in (marked or {}).items():
        ax.axvline(place, **_DASHED)
        ax.text(place, 1.01, name, transform=ax.get_xaxis_transform(), fontsize=7, color=GREY,
                ha="center")  # fmt: skip
    if len(curves) > 1 or "" not in curves:
        _legend(ax)
    return figure


@style.drawn
def shares_below(
    samples: Mapping[str, ArrayLike], x_label: str, dates: bool = False, log: bool = False
) -> Figure:
    """For each sample the share of its values up to x: the cumulative distribution.

    ``dates``: values are seconds since 1970; ``log``: a logarithmic axis, 0 is drawn at 1/2.
    """
    _check_few("samples", samples)
    figure, ax = _axes(x_label, "share of values up to this one")
    for (name, values), (colour, line) in zip(samples.items(), _LINES, strict=False):
        ordered = np.sort(finite(name, np.ravel(values)))
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
    """One user's events: their place in the sequence against their time, by part of the split."""
    x = np.arange(1, len(parts) + 1)
    minutes = (finite("times", times) - np.min(times)) / 60
    figure, ax = _axes("place in the sequence", "minutes since the first event")
    looks = {"train": (BLUE, "o", 2.5), "valid": ("#009E73", "s", 6), "test": (ORANGE, "^", 7)}
    for part, (colour, marker, size) in looks.items():
        own = np.asarray(parts) == part
        ax.plot(x[own], minutes[own], marker, color=colour, markersize=size, label=part)
    ax.yaxis.set_major_formatter("{x:,.0f}")
    _legend(ax)
    return figure


@style.drawn
def latent_steps(rows: Mapping[str, ArrayLike], what: str = "latent coordinate") -> Figure:
    """Latents one below the other, a row of colours each: what noise does to them, or undoes.

    The colours are the same in every such figure, from -3 to 3: latents are on the scale of noise.
    """
    table = np.stack([finite(name, row) for name, row in rows.items()])
    figure = style.new(5.4, 0.6 + 0.24 * len(table))
    ax = figure.subplots()
    image = ax.imshow(table, cmap="RdBu_r", vmin=-3, vmax=3, aspect="auto")
    ax.set(yticks=range(len(rows)), yticklabels=list(rows), xlabel=what)
    places = np.arange(table.shape[1])
    ax.set_xticks(places, [f"{place + 1}" for place in places], fontsize=6.5)
    ax.tick_params(length=0)
    ax.spines[:].set_visible(False)
    beyond = "both" if np.abs(table).max() > 3 else "neither"
    bar = figure.colorbar(image, ax=ax, pad=0.02, aspect=12, label="its value", extend=beyond)
    bar.outline.set_linewidth(0)
    return figure
