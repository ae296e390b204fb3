"""The figure of moved adapters: what they reach against what they cost on the new recommender."""

from __future__ import annotations

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from paragon_study.report import style
from paragon_study.report.figures.drawing import GREY, require_columns, seed_limits
from paragon_study.report.style import look
from paragon_study.report.transport import MAIN, SIDES, STEPS

# Colours that no method of a study has.
_TEAL, _BROWN = look("moved").colour, "#A6611A"
# Name in the legend: colour, marker, line and methods.
_SHOWN = {
    "from scratch": (GREY, "s", "-", [*(f"scratch_{n}" for n in STEPS), "tuned"]),
    "moved, then tuned on": (_BROWN, "o", "-", ["moved_means", *(f"moved_{n}" for n in STEPS)]),
    "moved": (_TEAL, "D", "none", ["moved"]),
    "chosen on validation users": (_TEAL, "^", "none", ["moved_calibrated"]),
    "two anchors tuned on": (_TEAL, "v", "none", ["moved_two_anchors"]),
}
_FLOORS = {
    "backbone": ("backbone alone", look("backbone").colour, "--"),
    "random_rotation": ("random rotation", GREY, ":"),
}


@style.drawn
def moved_adapters(frame: pd.DataFrame) -> Figure:
    """Share of the hypervolume of `tuned` against seconds of one processor, logarithmic.

    A row for each kind of move, a column with and one without the item side; means over
    moves, bars: 95 % t intervals.  ``frame``: of `load_moves`.
    """
    columns = ("kind", "side", "method", "protocol", "seconds", "set_hv_of_tuned")
    require_columns(frame, columns, "moves")
    full = frame[(frame["protocol"] == "full") & frame["kind"].isin(MAIN)]
    kinds = list(dict.fromkeys(full["kind"]))
    figure = style.new(7.2, 0.5 + 2.3 * len(kinds))
    axes = figure.subplots(len(kinds), 2, sharex=True, sharey="row", squeeze=False)
    for row, kind in zip(axes, kinds, strict=True):
        for ax, (side, words) in zip(row, SIDES.items(), strict=True):
            _panel(ax, full[(full["kind"] == kind) & (full["side"] == side)])
            ax.set_title(f"another {kind}, {words}", fontsize=8)
        row[0].set_ylabel("hypervolume relative\nto adapters tuned there")
    for ax in axes[-1]:
        ax.set_xlabel("seconds of one processor after training, log scale")
    handles, labels = axes[0, 0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside upper left", ncols=3)
    style.small_print(figure, "Means over moves; bars: 95% t intervals.")
    return figure


def _panel(ax: Axes, rows: pd.DataFrame) -> None:
    """Means of every method over moves, with a bar each; floors as lines."""
    by_method = dict(list(rows.groupby("method")))
    for name, (colour, marker, line, methods) in _SHOWN.items():
        groups = [by_method[method] for method in methods if method in by_method]
        if groups:
            x = [group["seconds"].mean() for group in groups]
            mean, low, high = zip(*(seed_limits(g["set_hv_of_tuned"]) for g in groups), strict=True)
            ax.plot(x, mean, marker=marker, linestyle=line, color=colour, markersize=5,
                    linewidth=1.2, label=name)  # fmt: skip
            ax.vlines(x, low, high, color=colour, linewidth=0.8)
    for method, (name, colour, line) in _FLOORS.items():
        if method in by_method:
            height = by_method[method]["set_hv_of_tuned"].mean()
            ax.axhline(height, color=colour, linestyle=line, linewidth=1, label=name)
    ax.set_xscale("log")
    ax.xaxis.set_major_formatter("{x:g}")
    ax.grid(axis="y", color="#e6e6e6", linewidth=0.6)
