"""Small figures of the course: curves on one panel, shares, latents step by step."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib import ticker
from matplotlib.axes import Axes
from matplotlib.dates import AutoDateLocator, ConciseDateFormatter
from matplotlib.figure import Figure
from numpy.typing import ArrayLike

from paragon.errors import ParagonError
from paragon.metrics.checks import finite
from paragon.report import style
from paragon.report.figures.drawing import BLUE, GREY, ORANGE

# Colours and lines in this order: they differ in grey, too.
_LINES = ((BLUE, "-"), (ORANGE, "--"), ("#009E73", "-."), ("#CC79A7", ":"), (GREY, (0, (1, 1))))


def _axes(x_label: str, y_label: str) -> tuple[Figure, Axes]:
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
    """Up to five curves ``(x, y)`` on one panel; ``marked``: named places on the x-axis.

    ``dots``: x has whole numbers only, and each of them gets a dot.
    """
    if not 0 < len(curves) <= len(_LINES):
        raise ParagonError(f"curves: 1 to {len(_LINES)} fit on one panel; found {len(curves)}")
    figure, ax = _axes(x_label, y_label)
    for (name, (x, y)), (colour, line) in zip(curves.items(), _LINES, strict=False):
        x, y = finite(f"{name}, x", x), finite(name, y)
        ax.plot(x, y, color=colour, linestyle=line, marker="o" if dots else None, label=name)
    ax.xaxis.set_major_locator(ticker.MaxNLocator(6, integer=dots))
    for name, place in (marked or {}).items():
        ax.axvline(place, color=GREY, linewidth=0.8, linestyle=(0, (4, 2)))
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
    figure, ax = _axes(x_label, "share of them up to here")
    for (name, values), (colour, line) in zip(samples.items(), _LINES, strict=False):
        ordered = np.sort(finite(name, np.ravel(values)))
        share = np.arange(1, len(ordered) + 1) / len(ordered)
        x = ordered.astype("datetime64[s]") if dates else np.maximum(ordered, 0.5 if log else -1e99)
        ax.step(x, share, where="post", color=colour, linestyle=line, label=name)
    ax.set_ylim(0, 1)
    ax.yaxis.set_major_formatter(ticker.PercentFormatter(1))
    if log:
        ax.set_xscale("log")
        ax.xaxis.set_major_formatter(ticker.FuncFormatter(lambda v, _: f"{v:,g}"))
    if dates:
        locator = AutoDateLocator(minticks=3, maxticks=6)
        ax.xaxis.set_major_locator(locator)
        ax.xaxis.set_major_formatter(ConciseDateFormatter(locator))
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
    ax.yaxis.set_major_formatter(ticker.FuncFormatter(lambda v, _: f"{v:,.0f}"))
    _legend(ax)
    return figure


@style.drawn
def latent_steps(rows: Mapping[str, ArrayLike], what: str = "latent coordinate") -> Figure:
    """Latents one below the other, a row of colours each: what noise does to them, or undoes."""
    table = np.stack([finite(name, row) for name, row in rows.items()])
    limit = max(np.abs(table).max(), 1e-9)
    figure = style.new(5.4, 0.6 + 0.24 * len(table))
    ax = figure.subplots()
    image = ax.imshow(table, cmap="RdBu_r", vmin=-limit, vmax=limit, aspect="auto")
    ax.set(yticks=range(len(rows)), yticklabels=list(rows), xlabel=what)
    places = np.arange(table.shape[1])
    ax.set_xticks(places, [f"{place + 1}" for place in places], fontsize=6.5)
    ax.tick_params(length=0)
    ax.spines[:].set_visible(False)
    figure.colorbar(image, ax=ax, pad=0.02, aspect=12).outline.set_linewidth(0)
    return figure
