"""Parts shared by figures: checks of tables, intervals over seeds, lines and legends."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib import ticker
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize
from matplotlib.figure import Figure

from paragon.errors import ParagonError
from paragon.evaluation.methods import methods_of
from paragon.metrics.checks import check_array
from paragon.metrics.statistics import mean_interval
from paragon_study.report.style import look

BLUE, ORANGE, GREY = "#0072B2", "#D55E00", "#555555"
LISTS = {"full": "whole catalogue", "sampled": "sampled lists"}  # protocol: words
WEIGHT = "weight of accuracy"
WEIGHT_COLOURS = sns.color_palette("viridis", as_cmap=True)  # also ordered in grey
_ORACLES = ("tuned", "oracles")  # drawn wide and grey, below the others


def require_columns(frame: pd.DataFrame, names: Iterable[str], what: str) -> None:
    """Raise ``ParagonError`` unless the table ``what`` has rows and these columns."""
    if missing := [name for name in names if name not in frame]:
        raise ParagonError(f"{what}: column `{missing[0]}` is missing; it has {[*frame]}")
    if frame.empty:
        raise ParagonError(f"{what}: the table is empty, there is nothing to draw")


def rows_by_method(
    curve: pd.DataFrame, protocol: str, methods: Iterable[str], metrics: Iterable[str]
) -> dict[str, pd.DataFrame]:
    """Select the rows of a protocol by method, for methods in the table."""
    require_columns(curve, ("method", "seed", "protocol", "w_accuracy", *metrics), "curve")
    if sum(name.startswith("w_") for name in curve) > 2:
        raise ParagonError("curve: it has more than two objectives; use `ternary`")
    groups = dict(list(curve[curve["protocol"] == protocol].groupby("method")))
    rows = {method: groups[method] for method in methods if method in groups}
    if not rows:
        raise ParagonError(
            f"curve: none of {', '.join(methods)} is in the rows of protocol `{protocol}`, which "
            f"have {', '.join(groups) or 'nothing'}"
        )
    for method, group in rows.items():
        for metric in metrics:
            check_array(f"curve, `{metric}` of method `{method}`", group[metric])
    return rows


def seed_limits(values: pd.Series) -> tuple[float, float, float]:
    """Return mean and 95 % limits over seeds; for two seeds the two values, for one NaN."""
    if len(values) == 2:
        return float(values.mean()), float(values.min()), float(values.max())
    mean, low, high, _ = mean_interval(values.to_numpy(float))
    return mean, np.nan if low is None else low, np.nan if high is None else high


def seed_intervals(rows: Mapping[str, pd.DataFrame], metric: str) -> dict[str, pd.DataFrame]:
    """Compute `seed_limits` of a metric for each method and weight of accuracy."""
    tables = {}
    for method, group in rows.items():
        limits = {w: seed_limits(values) for w, values in group.groupby("w_accuracy")[metric]}
        columns = ["mean", "low", "high"]
        tables[method] = pd.DataFrame(list(limits.values()), list(limits), columns, dtype=float)
    return tables


def seeds_note(groups: Iterable[pd.DataFrame], what: str) -> str:
    """Write the sentence that explains the intervals."""
    counts = sorted({group["seed"].nunique() for group in groups} - {1})
    if not counts:
        return "One seed, no interval."
    if counts == [2]:
        return f"{what}: the two seeds."
    pair = " (of two: from one to the other)" if counts[0] == 2 else ""
    several = " to ".join(str(n) for n in dict.fromkeys((counts[bool(pair)], counts[-1])))
    return f"{what}: 95% t interval over {several} seeds{pair}."


def line_look(method: str, single: bool) -> dict:
    """Return keyword arguments of a method's line, or of its points alone (``single``)."""
    kind, oracle, hollow = look(method), method in _ORACLES, method == "retrain"
    return {
        "color": kind.colour,
        "linestyle": "none" if single else kind.line,
        "linewidth": 2.8 if oracle else 1.3,
        "marker": kind.marker,
        "markersize": 7 if kind.marker == "*" else 6 if single and not hollow else 4.5,
        "markerfacecolor": "none" if hollow else kind.colour,
        "markeredgecolor": kind.colour if hollow else "white",
        "markeredgewidth": 1 if hollow else 0.5,
        "zorder": {"tuned": 1, "oracles": 1, "generated": 4, "retrain": 5}.get(method, 3),
    }


def draw_curves(
    ax: Axes,
    tables: Mapping[str, pd.DataFrame],
    band: float | None = None,
    line: str = "",
    suffix: str = "",
) -> None:
    """Draw means over seeds against the weight of accuracy; ``band``: opacity of intervals."""
    if band is None:  # fainter with many methods
        band = 0.16 if len(tables) <= 6 else 0.1 if len(tables) <= 10 else 0.05
    for method, table in tables.items():
        kind, x, low, high = look(method), table.index.to_numpy(), table["low"], table["high"]
        single = len(x) == 1 or kind.line == "none"
        drawn = line_look(method, single) | ({"linestyle": line} if line else {})
        ax.plot(x, table["mean"], **drawn, label=kind.label + suffix)
        if method in (*_ORACLES, "backbone") and not single:
            ax.lines[-1].set_marker("none")
        if single and low.notna().any():
            ax.vlines(x, low, high, color=kind.colour, linewidth=1, zorder=3)
        # Each seed shuffles differently: the band would hide the others.
        elif low.notna().any() and method != "generated_shuffled":
            ax.fill_between(x, low, high, color=kind.colour, alpha=band, linewidth=0)
    ax.set(xlim=(-0.03, 1.03), xticks=np.arange(6) / 5)


def cut_wide_bands(ax: Axes) -> bool:
    """Keep bands from stretching the axis far beyond the lines; return whether one was cut."""
    means = np.concatenate([line.get_ydata() for line in ax.lines])
    room = 0.25 * np.ptp(means)
    low, high = ax.get_ylim()
    if room:
        ax.set_ylim(max(low, means.min() - room), min(high, means.max() + room))
    return ax.get_ylim() != (low, high)


def close_up(ax: Axes, tables: Mapping[str, pd.DataFrame], limit: float) -> bool:
    """Draw differences of methods near the oracle; return whether an interval was cut off."""
    far_or_fixed = {m for m, table in tables.items() if table["mean"].abs().median() > limit}
    far_or_fixed |= {"tuned", *methods_of("reference")}
    near = {method: table for method, table in tables.items() if method not in far_or_fixed}
    ax.axhline(0, color=look("tuned").colour, linewidth=2.8, zorder=1)
    reach = 1.1 * max((table.abs().max().max() for table in near.values()), default=limit) or limit
    edge = min(2 * limit, reach)
    for method, table in near.items():
        if look(method).line == "none":  # no half markers at the edge
            near[method] = table[table["mean"].abs() < 0.95 * edge]
    draw_curves(ax, near)
    ax.set_ylim(-edge, edge)
    return reach > edge


def percent_mark(share: float, _: object = None) -> str:
    """Format a share as a tick label in per cent, without the sign."""
    return f"{round(100 * share, 6):g}".replace("-", "−")


def method_legend(figure: Figure, ax: Axes, columns: int = 4) -> None:
    """Draw one legend for the whole figure, above the panels."""
    handles, labels = ax.get_legend_handles_labels()
    figure.legend(
        handles, labels, loc="outside upper left", ncols=min(columns, len(labels)),
        handlelength=2.6, columnspacing=1.4, labelspacing=0.4, borderaxespad=0.2,
    )  # fmt: skip
    figure.set_figheight(figure.get_figheight() + 0.19 * -(-len(labels) // columns))


def weight_bar(ax: Axes) -> None:
    """Draw a legend of ``WEIGHT_COLOURS`` beside the axes."""
    colour_bar(ax, ScalarMappable(Normalize(0, 1), WEIGHT_COLOURS), WEIGHT, 0.03, 1)


def colour_bar(ax: Axes, colours: ScalarMappable, label: str, pad: float, shrink: float) -> None:
    """Draw a legend of colours beside the axes."""
    marks = ticker.MaxNLocator(5)
    bar = ax.figure.colorbar(colours, ax=ax, aspect=30, pad=pad, shrink=shrink, ticks=marks)
    bar.set_label(label)
    bar.outline.set_linewidth(0)
