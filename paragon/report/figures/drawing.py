"""What several figures share: checks of their tables, intervals over seeds, lines and legends."""

from __future__ import annotations

from collections.abc import Iterable, Sequence, Sized

import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib import ticker
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.figure import Figure

from paragon.errors import ParagonError
from paragon.evaluation.methods import METHODS
from paragon.metrics.checks import finite
from paragon.metrics.statistics import mean_interval
from paragon.report.style import look

BLUE, ORANGE, GREY = "#0072B2", "#D55E00", "#555555"
LISTS = {"full": "whole catalogue", "sampled": "sampled lists"}  # a protocol in words
WEIGHT = "weight of accuracy"
WEIGHT_COLOURS = sns.color_palette("viridis", as_cmap=True)  # dark to light: ordered in grey too


def require_columns(frame: pd.DataFrame, names: Iterable[str], what: str) -> None:
    """An error that says what is missing, unless the table has rows and these columns."""
    for name in names:
        if name not in frame.columns:
            have = ", ".join(map(str, frame.columns)) or "none"
            raise ParagonError(f"{what}: column `{name}` is missing; it has {have}")
    if frame.empty:
        raise ParagonError(f"{what}: the table is empty, there is nothing to draw")


def rows_to_draw(
    curve: pd.DataFrame, protocol: str, methods: Sequence[str] | None, metrics: Sequence[str]
) -> tuple[pd.DataFrame, list[str], str]:
    """One protocol's rows, the methods to draw that are in them, and a sentence on the others."""
    require_columns(curve, ("method", "seed", "protocol", "w_accuracy", *metrics), "curve")
    frame = curve[curve["protocol"] == protocol]
    if frame.empty:
        protocols = ", ".join(sorted(curve["protocol"].unique()))
        raise ParagonError(f"curve: no rows of protocol `{protocol}`; it has {protocols}")
    have = set(frame["method"])
    wanted = list(methods) if methods is not None else [*METHODS, *sorted(have - set(METHODS))]
    present = [m for m in wanted if m in have]
    if not present:
        raise ParagonError(
            f"curve: none of {', '.join(wanted)} is in the table; it has {', '.join(sorted(have))}"
        )
    to_draw = frame[frame["method"].isin([*present, "tuned"])]
    for metric in metrics:
        for method, values in to_draw.groupby("method")[metric]:
            finite(f"curve, `{metric}` of method `{method}`", values)
    absent = [m for m in wanted if m not in have] if methods is not None else []
    return frame, present, f"Not in the table: {', '.join(absent)}." if absent else ""


def seed_limits(values: pd.Series) -> tuple[float, float, float]:
    """Mean over seeds and its 95 % limits; of two seeds their values, of one NaN.

    The t interval of two seeds is nine standard deviations wide on each side: it would fill the
    panel, and hide what the two show.
    """
    if len(values) == 2:
        return float(values.mean()), float(values.min()), float(values.max())
    mean, low, high, _ = mean_interval(values.to_numpy(float))
    return mean, np.nan if low is None else low, np.nan if high is None else high


def seed_intervals(frame: pd.DataFrame, by: str, metric: str) -> pd.DataFrame:
    """What `seed_limits` says of every value of ``by``."""
    rows = {key: seed_limits(values) for key, values in frame.groupby(by, sort=True)[metric]}
    return pd.DataFrame(list(rows.values()), list(rows), ["mean", "low", "high"], dtype=float)


def seeds_note(frame: pd.DataFrame, by: str | list[str], what: str) -> str:
    """The sentence that says what a band is, of what has one."""
    counts = frame.groupby(by, sort=False)["seed"].nunique()
    counts = counts[counts > 1]
    if counts.empty:
        return "One seed, no interval."
    several = counts[counts > 2]
    if several.empty:
        return f"{what}: the two seeds."
    few, many = several.min(), several.max()
    pair = " (of two: from one to the other)" if len(several) < len(counts) else ""
    return f"{what}: 95% t interval over {many if few == many else f'{few} to {many}'} seeds{pair}."


def line_look(method: str, single: bool) -> dict:
    """Keyword arguments of a method's line or, for ``single``, of its points alone."""
    kind, oracle, hollow = look(method), method == "tuned", method == "retrain"
    return {
        "color": kind.colour,
        "linestyle": "none" if single else kind.line,
        "linewidth": 2.8 if oracle else 1.3,
        "marker": kind.marker,
        "markersize": 7 if kind.marker == "*" else 6 if single and not hollow else 4.5,
        "markerfacecolor": "none" if hollow else kind.colour,
        "markeredgecolor": kind.colour if hollow else "white",
        "markeredgewidth": 1 if hollow else 0.5,
        "zorder": {"tuned": 1, "generated": 4, "retrain": 5}.get(method, 3),
    }


def curve_line(
    ax: Axes, table: pd.DataFrame, method: str, band: float, line: str = "", suffix: str = ""
) -> None:
    """Draw a method's mean over seeds: line and band of that opacity, or points with bars.

    ``table``: what `seed_intervals` gives, its index is x; ``line``: another style than the
    method's; ``suffix`` of its name in the legend.
    """
    kind, x, low, high = look(method), table.index.to_numpy(), table["low"], table["high"]
    single = len(x) == 1 or kind.line == "none"
    drawn = line_look(method, single) | ({"linestyle": line} if line else {})
    ax.plot(x, table["mean"], **drawn, label=kind.label + suffix)
    if method in ("tuned", "backbone") and not single:
        ax.lines[-1].set_marker("none")
    if single and low.notna().any():
        ax.vlines(x, low, high, color=kind.colour, linewidth=1, zorder=3)
    # Every seed shuffles differently: that band would only hide the others.
    elif low.notna().any() and method != "generated_shuffled":
        ax.fill_between(x, low, high, color=kind.colour, alpha=band, linewidth=0)


def cut_wide_bands(ax: Axes) -> bool:
    """Let no band stretch the axis far beyond the lines; whether one had to be cut off."""
    means = np.concatenate([line.get_ydata() for line in ax.lines])
    room = 0.25 * np.ptp(means)
    low, high = ax.get_ylim()
    if room:
        ax.set_ylim(max(low, means.min() - room), min(high, means.max() + room))
    return ax.get_ylim() != (low, high)


def close_up(ax: Axes, tables: dict[str, pd.DataFrame], limit: float) -> bool:
    """Differences from the oracle, of methods that follow the weights and stay near it.

    Near: the median difference is within the limit; intervals are shown up to twice the limit.
    Returns whether something was cut off.
    """
    near = {
        method: table
        for method, table in tables.items()
        if len(table) and table["mean"].abs().median() <= limit
        and method != "tuned" and getattr(METHODS.get(method), "kind", "") != "reference"
    }  # fmt: skip
    ax.axhline(0, color=look("tuned").colour, linewidth=2.8, zorder=1)
    reach = 1.1 * max((table.abs().max().max() for table in near.values()), default=limit) or limit
    edge = min(2 * limit, reach)
    for method, table in near.items():
        if look(method).line == "none":  # no half of a marker at the edge
            table = table[table["mean"].abs() < 0.95 * edge]
        curve_line(ax, table, method, band_opacity(near))
    ax.set(ylim=(-edge, edge), xlim=(-0.03, 1.03))
    return reach > edge


def band_opacity(methods: Sized) -> float:
    """Fainter bands where many methods lie on each other."""
    return 0.16 if len(methods) <= 6 else 0.1 if len(methods) <= 10 else 0.05


def percent_mark(share: float, _: object = None) -> str:
    """The tick label of a share: without the sign of per cent, which the axis names."""
    return f"{round(100 * share, 6):g}".replace("-", "−")


def method_legend(figure: Figure, ax: Axes, columns: int = 4) -> None:
    """One legend for the whole figure, above the panels."""
    handles, labels = ax.get_legend_handles_labels()
    figure.legend(
        handles, labels, loc="outside upper left", ncols=min(columns, len(labels)),
        handlelength=2.6, columnspacing=1.4, labelspacing=0.4, borderaxespad=0.2,
    )  # fmt: skip
    figure.set_figheight(figure.get_figheight() + 0.19 * -(-len(labels) // columns))


def colour_bar(
    ax: Axes, colours: ScalarMappable, label: str, pad: float = 0.03, shrink: float = 1
) -> None:
    """A legend of colours beside the axes."""
    marks = ticker.MaxNLocator(5)
    bar = ax.figure.colorbar(colours, ax=ax, aspect=30, pad=pad, shrink=shrink, ticks=marks)
    bar.set_label(label)
    bar.outline.set_linewidth(0)
