"""The figures of the study: each function takes plain data and returns a matplotlib Figure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
from matplotlib import ticker
from matplotlib.figure import Figure
from matplotlib.tri import Triangulation

from paragon import plot_style as style
from paragon.arrays import finite
from paragon.errors import ParagonError
from paragon.plot_style import drawn, look, metric_label, save
from paragon.plots_inside import (
    dataset_overview,
    latent_space,
    memorisation,
    training_curves,
    tuning_curves,
)

__all__ = [
    "ablation",
    "control_curves",
    "dataset_overview",
    "latent_space",
    "memorisation",
    "pareto_front",
    "save",
    "ternary",
    "time_to_model",
    "training_curves",
    "tuning_curves",
]

CURVE_METHODS = (
    "tuned retrain generated generated_shuffled interpolation nearest soup constant backbone"
).split()
_CLOSE = 0.1  # the close-up panels show differences up to this share of the oracle's range
_COLOURS = "viridis"  # weights on accuracy, dark to light: ordered in grey too


@drawn
def control_curves(
    curve: pd.DataFrame,
    protocol: str = "sampled",
    methods: Sequence[str] | None = None,
    metrics: Sequence[str] = ("ndcg@10", "alpha_ndcg@10"),
) -> Figure:
    """Metrics against the weight on accuracy, and below them the difference from the oracle.

    ``curve`` has one row per method, seed, protocol and weight.  Curves that
    lie on each other above separate below, where differences are paired by
    seed.  Methods that are not in the table are named under the figure if they
    were asked for.
    """
    if methods is None and "method" in curve:
        methods = [m for m in CURVE_METHODS if m in set(curve["method"])] or None
    frame, methods, absent = style.chosen(curve, protocol, methods, metrics)
    weights = [c for c in frame.columns if c.startswith("w_")]
    if len(weights) > 2:
        raise ParagonError(f"curve: {len(weights)} objectives; a curve needs two, use `ternary`")
    oracle = "tuned" in set(frame["method"])
    figure = style.new(7.2, 4.3 if oracle else 2.7)
    heights = [2.1, 1] if oracle else [1]
    axes = figure.subplots(
        len(heights), len(metrics), sharex=True, squeeze=False, height_ratios=heights
    )
    for panel, (metric, column) in enumerate(zip(metrics, axes.T, strict=True)):
        column[0].set(ylabel=metric_label(metric), xlim=(-0.03, 1.03))
        column[0].set_title("ab"[panel] if panel < 2 else "")
        for method in methods:
            table = style.intervals(frame[frame["method"] == method], "w_accuracy", metric)
            style.curve_line(column[0], table.index.to_numpy(), table, method)
        if oracle:
            limit = _CLOSE * np.ptp(_means(frame, "tuned", metric)) or 0.01
            for method in methods:
                table = style.intervals(_against(frame, method, metric), "w_accuracy", "difference")
                if len(table) and table["mean"].abs().median() <= limit:
                    style.curve_line(column[1], table.index.to_numpy(), table, method)
            column[1].set(ylim=(-limit, limit), ylabel="difference\nfrom tuned")
        other = f"  ({weights[1]} = 1 − {weights[0]})" if len(weights) == 2 else ""
        column[-1].set_xlabel(f"{weights[0]}{other}")
    style.method_legend(figure, axes[0, 0])
    style.note(
        figure,
        style.seeds_note(frame, "Bands and bars"),
        f"Below: paired by seed, clipped at ±{_CLOSE:.0%} of the oracle's range." if oracle else "",
        absent,
    )
    return figure


def _means(frame: pd.DataFrame, method: str, metric: str) -> pd.Series:
    """A method's mean over seeds for every weight."""
    return frame[frame["method"] == method].groupby("w_accuracy")[metric].mean()


def _against(frame: pd.DataFrame, method: str, metric: str) -> pd.DataFrame:
    """A method's rows that have a tuned row of the same seed and weight, with the difference."""
    keys = ["seed", "w_accuracy"]
    tuned, own = (frame.loc[frame["method"] == m, [*keys, metric]] for m in ("tuned", method))
    both = own.merge(tuned, on=keys, suffixes=("", "_tuned"))
    return both.assign(difference=both[metric] - both[f"{metric}_tuned"])


@drawn
def pareto_front(
    curve: pd.DataFrame,
    protocol: str = "sampled",
    methods: Sequence[str] | None = None,
    metrics: Sequence[str] = ("ndcg@10", "alpha_ndcg@10"),
) -> Figure:
    """Two metrics against each other, and the distance of each method's points from the oracle's.

    Left: means over seeds, a line through a method's non-dominated points,
    open markers for its dominated ones, grey for the area under the oracle's
    staircase.  Right: how much higher or lower a point lies than the straight
    lines between the oracle's non-dominated points of the same seed; beyond
    their ends the end point counts.
    """
    frame, methods, absent = style.chosen(curve, protocol, methods, metrics)
    oracle = "tuned" in set(frame["method"])
    weights = [c for c in frame.columns if c.startswith("w_")]
    figure = style.new(7.2 if oracle else 5, 3.3)
    axes = figure.subplots(1, 2 if oracle else 1, squeeze=False)[0]
    points = {
        m: frame[frame["method"] == m].groupby(weights)[list(metrics)].mean().to_numpy()
        for m in methods
    }
    for method, xy in points.items():
        kind, front = look(method), _front(xy)
        single = np.ptp(xy, axis=0).max() < 1e-9
        axes[0].plot(
            *(front[:1] if single else front).T,
            color=kind.colour,
            marker=kind.marker,
            linestyle="none" if single or method == "retrain" else kind.line,
            linewidth=5 if method == "tuned" else 1.2,
            alpha=0.75 if method == "tuned" else 1,
            markersize=8 if kind.marker == "*" else 6 if single else 4.5,
            markeredgecolor="black" if method == "retrain" else "white",
            markerfacecolor="white" if method == "retrain" else kind.colour,
            markeredgewidth=0.5,
            zorder=1 if method == "tuned" else 5 if method in ("generated", "retrain") else 3,
            label=kind.label,
        )
        rest = xy[~(xy[:, None] == front).all(-1).any(1)]
        axes[0].plot(
            *rest.T, kind.marker, mfc="none", mec=kind.colour, mew=0.8, ms=4, ls="none", zorder=2
        )
    if oracle:
        stairs = _front(frame[frame["method"] == "tuned"].groupby(weights)[list(metrics)].mean())
        low = min(xy[:, 1].min() for xy in points.values())
        axes[0].fill_between(
            np.r_[0, stairs[:, 0]], np.r_[stairs[0, 1], stairs[:, 1]], low - 1,
            step="pre", color="#f2f2f2", linewidth=0, zorder=0,
        )  # fmt: skip
        limit = _CLOSE * np.ptp(stairs[:, 1]) or 0.01
        for method in methods:
            gaps = _front_gaps(frame, method, weights, metrics)
            if len(gaps) and gaps["mean"].abs().median() <= limit:
                style.curve_line(axes[1], gaps["x"].to_numpy(), gaps, method)
        axes[1].axhline(0, color="#a3a3a3", linewidth=5, alpha=0.75, zorder=1)
        axes[1].set(ylim=(-limit, limit), xlabel=metric_label(metrics[0]))
        axes[1].set_ylabel(
            f"{metric_label(metrics[1]).split(' (')[0]}, difference from front of tuned"
        )
        axes[1].set_title("b")
    every = np.concatenate(list(points.values()))
    (left, bottom), (right, top) = every.min(0), every.max(0)
    pad = 0.04 * (right - left + 1e-3), 0.06 * (top - bottom + 1e-3)
    axes[0].set(xlim=(left - pad[0], right + pad[0]), ylim=(bottom - pad[1], top + pad[1]))
    axes[0].set(xlabel=metric_label(metrics[0]), ylabel=metric_label(metrics[1]))
    axes[0].set_title("a")
    style.method_legend(figure, axes[0])
    style.note(
        figure,
        "Open markers: dominated within the method.",
        f"Right: {style.seeds_note(frame, 'bands')}" if oracle else "",
        f"Clipped at ±{_CLOSE:.0%} of the oracle's range." if oracle else "",
        absent,
    )
    return figure


def _front(points: object) -> np.ndarray:
    """Non-dominated points [F, 2] (both maximised), ordered by the first."""
    points = np.unique(np.asarray(points, float), axis=0)
    best = np.maximum.accumulate(points[::-1, 1])[::-1]
    return points[points[:, 1] > np.r_[best[1:], -np.inf]]


def _front_gaps(
    frame: pd.DataFrame, method: str, weights: list[str], metrics: Sequence[str]
) -> pd.DataFrame:
    """Height of a method's points above the oracle's front of the same seed: x, mean, low, high."""
    x, y = metrics
    parts = []
    for _, seed in frame.groupby("seed"):
        front = seed[seed["method"] == "tuned"]
        own = seed[seed["method"] == method]
        if len(front) and len(own):
            front = _front(front[[x, y]])
            parts.append(own.assign(gap=own[y] - np.interp(own[x], *front.T)))
    if not parts:
        return pd.DataFrame()
    both = pd.concat(parts)
    both["w"] = both[weights].apply(tuple, axis=1)
    table = style.intervals(both, "w", "gap")
    table["x"] = both.groupby("w", sort=True)[x].mean().to_numpy()
    return table.sort_values("x")


@drawn
def time_to_model(
    timing: Mapping[str, Mapping[str, float]],
    machine: str | Mapping[str, object] | None = None,
    claim: float | None = 0.946,
) -> Figure:
    """Seconds from new weights to a ready model: dot at the median, line to the 99th percentile.

    ``timing`` has ``p50`` and, where measured, ``p99`` per method.  With
    ``retrain`` among them, each is compared with it, and ``claim`` marks the
    published saving.
    """
    times = {k: v for k, v in timing.items() if isinstance(v, Mapping) and "p50" in v}
    if not times:
        raise ParagonError("timing: no method with a `p50`; nothing to draw")
    for method, row in times.items():
        if (finite(f"timing, {method}", [row["p50"], row.get("p99", row["p50"])]) <= 0).any():
            raise ParagonError(f"timing, {method}: seconds must be greater than 0")
    order = sorted(times, key=lambda m: -times[m]["p50"])
    full = times.get("retrain", {}).get("p50")
    figure = style.new(6, 0.9 + 0.36 * len(order))
    ax = figure.subplots()
    for row, method in enumerate(order):
        p50, p99 = times[method]["p50"], times[method].get("p99")
        kind = look({"generate": "generated", "tune": "tuned"}.get(method, method))
        colour = "#000000" if method in ("tune", "tuned") else kind.colour
        ax.plot([p50, p99 or p50], [row, row], color=colour, linewidth=1.6, zorder=2)
        ax.plot(p50, row, kind.marker, color=colour, markersize=6.5, zorder=3)
        ratio = "" if not full or method == "retrain" else (
            f"  {_digits(full / p50)} × faster" if p50 < full else f"  {_digits(p50 / full)} × slower"
        )  # fmt: skip
        ax.annotate(
            f"{_human(p50)}{ratio}", (max(p50, p99 or 0), row), (7, 0), va="center",
            textcoords="offset points", fontsize=7.5,
        )  # fmt: skip
    values = [x for row in times.values() for x in (row["p50"], row.get("p99")) if x]
    if full and claim:
        line = full * (1 - claim)
        values.append(line)
        ax.axvline(line, color="#777777", linewidth=0.8, linestyle=(0, (4, 2)), zorder=1)
        ax.annotate(
            f"published saving, {claim:.1%}", (line, 1), xycoords=("data", "axes fraction"),
            xytext=(-3, 2), textcoords="offset points", fontsize=6.5, color="#555555", ha="right",
        )  # fmt: skip
    ax.set(xscale="log", xlim=(min(values) / 2, max(values) * 8), ylim=(-0.6, len(order) - 0.4))
    marks = [1e-6, 1e-5, 1e-4, 1e-3, 0.01, 0.1, 1, 10, 60, 600, 3600, 36000, 864000]
    low, high = ax.get_xlim()
    ax.xaxis.set_major_locator(ticker.FixedLocator([m for m in marks if low <= m <= high]))
    ax.xaxis.set_major_formatter(ticker.FuncFormatter(lambda x, _: _human(x)))
    ax.xaxis.set_minor_locator(ticker.NullLocator())
    ax.grid(axis="x", color="#e6e6e6", linewidth=0.6, zorder=0)
    ax.set_yticks(range(len(order)), order)
    ax.tick_params(axis="y", length=0)
    ax.set_xlabel("time from new weights to a ready model, log scale")
    facts = machine if isinstance(machine, str) or not machine else "; ".join(
        f"{k} {v}" for k, v in machine.items()
    )  # fmt: skip
    style.note(figure, "Dot: median; line: to the 99th percentile.", f"{facts}." if facts else "")
    return figure


def _digits(x: float) -> str:
    """Two significant digits, thousands separated."""
    return f"{float(f'{x:.2g}'):,.0f}" if x >= 10 else f"{x:.1f}"


def _human(seconds: float) -> str:
    """A duration in the unit a person would use."""
    units = ((86400, "d"), (3600, "h"), (60, "min"), (1, "s"), (1e-3, "ms"), (1e-6, "µs"))
    size, unit = next((u for u in units if seconds >= u[0] * 0.9995), units[-1])
    return f"{float(f'{seconds / size:.2g}'):g} {unit}"


@drawn
def ternary(
    weights: np.ndarray, values: np.ndarray, labels: Sequence[str], title: str = "value"
) -> Figure:
    """A value over the weights of three objectives; each corner is all weight on its objective.

    weights ``[W, 3]`` with rows that sum to 1, values ``[W]``, one label an objective.
    """
    weights, values = finite("weights", weights, 2), finite("values", values)
    if weights.shape != (len(values), 3) or len(labels) != 3:
        raise ParagonError(
            f"weights: shape {weights.shape} for {len(values)} values and {len(labels)} labels; "
            "three objectives are needed"
        )
    if (weights < -1e-9).any() or (abs(weights.sum(1) - 1) > 1e-4).any():
        raise ParagonError("weights: every row must be non-negative and sum to 1")
    corners = np.array([[0.5, np.sqrt(0.75)], [0, 0], [1, 0]])
    xy = weights @ corners
    if np.linalg.matrix_rank(xy - xy[0], tol=1e-9) < 2:
        raise ParagonError("weights: at least three points that are not on one line are needed")
    figure = style.new(4.2, 3.4)
    ax = figure.subplots()
    filled = ax.tricontourf(Triangulation(*xy.T), values, levels=12, cmap=_COLOURS)
    ax.plot(*xy.T, "o", color="white", mec="black", mew=0.4, markersize=2.2, clip_on=False)
    ax.plot(*corners[[0, 1, 2, 0]].T, color="black", linewidth=0.8)
    places = [((0, 8), "center", "bottom"), ((-2, -8), "center", "top"), ((2, -8), "center", "top")]
    for corner, name, (offset, ha, va) in zip(corners, labels, places, strict=True):
        ax.annotate(f"{name} = 1", corner, offset, textcoords="offset points", ha=ha, va=va,
                    weight="bold")  # fmt: skip
    # On each edge the share of the corner that it leads to, counter-clockwise.
    for start, end, ha, va in ((1, 2, "center", "top"), (2, 0, "left", "center"),
                               (0, 1, "right", "center")):  # fmt: skip
        for share in (0.2, 0.4, 0.6, 0.8):
            place = (1 - share) * corners[start] + share * corners[end]
            shift = {"top": (0, -3), "center": (4 if ha == "left" else -4, 0)}[va]
            ax.annotate(f"{share:g}", place, shift, textcoords="offset points", ha=ha, va=va,
                        fontsize=6, color="#555555")  # fmt: skip
    ax.set_aspect("equal")
    ax.set_axis_off()
    bar = figure.colorbar(filled, ax=ax, aspect=25, shrink=0.85, pad=0.08)
    bar.set_label(title)
    bar.outline.set_linewidth(0)
    return figure


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
        values = list(dict.fromkeys(rows["value"]))
        if all(isinstance(v, int | float) for v in values):
            values.sort()
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
    style.note(
        figure,
        style.seeds_note(frame, "Lines"),
        "Filled: the default." if default else "",
    )
    return figure
