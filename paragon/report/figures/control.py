"""How methods follow the weights: control curves, Pareto fronts, three objectives at once."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from matplotlib import ticker
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.tri import Triangulation

from paragon.errors import ParagonError
from paragon.metrics.checks import finite
from paragon.report import style
from paragon.report.figures import drawing
from paragon.report.style import look, metric_label

METRICS = ("ndcg@10", "alpha_ndcg@10")
CURVE_METHODS = (
    "tuned retrain generated generated_shuffled hypernetwork interpolation interpolation_log soup "
    "constant backbone"
).split()
_CLOSE = 0.1  # the close-up panels show differences up to this share of the oracle's range


@style.drawn
def control_curves(
    curve: pd.DataFrame,
    protocol: str = "sampled",
    methods: Sequence[str] | None = None,
    metrics: Sequence[str] = METRICS,
) -> Figure:
    """Metrics against the weight on accuracy, and below them the difference from the oracle.

    ``curve`` has one row per method, seed, protocol and weight.  Curves that
    lie on each other above separate below, where differences are paired by
    seed.  Methods that are not in the table are named under the figure if they
    were asked for.
    """
    if methods is None and "method" in curve:
        methods = [m for m in CURVE_METHODS if m in set(curve["method"])] or None
    frame, methods, absent = drawing.rows_to_draw(curve, protocol, methods, metrics)
    weights = [c for c in frame.columns if c.startswith("w_")]
    if len(weights) > 2:
        raise ParagonError(f"curve: {len(weights)} objectives; a curve needs two, use `ternary`")
    tuned = frame[frame["method"] == "tuned"]
    rows = {m: frame[frame["method"] == m] for m in methods}
    figure = style.new(7.2, 2.7 if tuned.empty else 4)
    axes = figure.subplots(
        1 if tuned.empty else 2, len(metrics), sharex=True, squeeze=False,
        height_ratios=[1] if tuned.empty else [2.1, 1],
    )  # fmt: skip
    cut = False
    for metric, column, letter in zip(metrics, axes.T, "abcdefgh", strict=False):
        for method, part in rows.items():
            table = drawing.seed_intervals(part, "w_accuracy", metric)
            drawing.curve_line(column[0], table, method, drawing.band_opacity(methods))
        cut |= drawing.cut_wide_bands(column[0])
        column[0].set(ylabel=metric_label(metric), xlim=(-0.03, 1.03), xticks=np.arange(6) / 5)
        column[0].set_title(letter)
        column[-1].set_xlabel(_weight_label(weights))
        if len(tuned):
            tables = {m: _minus_tuned(part, tuned, metric) for m, part in rows.items()}
            drawing.close_up(column[1], tables, _limit(tuned, metric))
            column[1].set_ylabel("difference\nfrom tuned")
    drawing.method_legend(figure, axes[0, 0])
    style.small_print(
        figure, drawing.seeds_note(pd.concat(rows.values()), "method", "Bands and bars"),
        "Wide ones are cut off." if cut else "",
        "None for the shuffled generator." if "generated_shuffled" in methods else "", absent,
        f"Lower panels: paired by seed, of methods within {_CLOSE:.0%} of the oracle's range."
        if len(tuned) else "",
    )  # fmt: skip
    return figure


def _minus_tuned(rows: pd.DataFrame, tuned: pd.DataFrame, metric: str) -> pd.DataFrame:
    """A method's metric minus the oracle's of the same seed, by weight."""
    keys = ["seed", "w_accuracy"]
    both = rows.merge(tuned[[*keys, metric]], on=keys, suffixes=("", "_tuned"))
    both["difference"] = both[metric] - both[f"{metric}_tuned"]
    return drawing.seed_intervals(both, "w_accuracy", "difference")


def _weight_label(weights: list[str]) -> str:
    """The axis label of two objectives' weights."""
    return "w_accuracy" + "".join(f"  ({w} = 1 − w_accuracy)" for w in weights if w != "w_accuracy")


def _limit(tuned: pd.DataFrame, metric: str) -> float:
    """How far from the oracle a close-up panel reaches."""
    return _CLOSE * float(np.ptp(tuned.groupby("w_accuracy")[metric].mean())) or 0.01


@style.drawn
def pareto_front(
    curve: pd.DataFrame,
    protocol: str = "sampled",
    methods: Sequence[str] | None = None,
    metrics: Sequence[str] = METRICS,
) -> Figure:
    """Two metrics against each other, and the distance of each method's points from the oracle's.

    Left: means over seeds, a line through a method's non-dominated points,
    open markers for its dominated ones, grey the area under the oracle's
    staircase.  Right, for two objectives: how far a point lies beyond
    (positive) or behind the straight lines between the oracle's non-dominated
    points of the same seed, in units of the metrics, against its weight.
    """
    frame, methods, absent = drawing.rows_to_draw(curve, protocol, methods, metrics)
    weights = [c for c in frame.columns if c.startswith("w_")]
    rows = {m: frame[frame["method"] == m] for m in methods}
    tuned = frame[frame["method"] == "tuned"]
    close = len(tuned) > 0 and len(weights) <= 2
    figure = style.new(7.2 if close else 5, 3)
    axes = figure.subplots(1, 2 if close else 1, squeeze=False)[0]
    for method, part in rows.items():
        _draw_points(axes[0], method, part.groupby(weights)[list(metrics)].mean().to_numpy())
    axes[0].set(xlabel=metric_label(metrics[0]), ylabel=metric_label(metrics[1]))
    if len(tuned):
        axes[0].set(xlim=axes[0].get_xlim(), ylim=axes[0].get_ylim())  # before the grey area
        stairs = _not_dominated(tuned.groupby(weights)[list(metrics)].mean())
        axes[0].fill_between(
            [-1, *stairs[:, 0]], [stairs[0, 1], *stairs[:, 1]], -1,
            step="pre", color="#f2f2f2", linewidth=0, zorder=0,
        )  # fmt: skip
    if close:
        tables = {m: _beyond(part, tuned, metrics) for m, part in rows.items()}
        drawing.close_up(axes[1], tables, min(_limit(tuned, metric) for metric in metrics))
        axes[1].set(xticks=np.arange(6) / 5, ylabel="distance beyond the front of tuned")
        axes[1].set_xlabel(_weight_label(weights))
        for ax, letter in zip(axes, "ab", strict=True):
            ax.set_title(letter)
    drawing.method_legend(figure, axes[0])
    seeds = drawing.seeds_note(pd.concat(rows.values()), "method", "Bands and bars")
    style.small_print(
        figure, "Open markers: dominated within the method.",
        "Grey: area under the oracle's staircase." if len(tuned) else "",
        seeds if close else "", absent,
    )  # fmt: skip
    return figure


def _draw_points(ax: Axes, method: str, xy: np.ndarray) -> None:
    """A line through the non-dominated points ``[W, 2]``, open markers for the others."""
    kind, front = look(method), _not_dominated(xy)
    single = bool(np.ptp(xy, axis=0).max() < 1e-9)
    line = drawing.line_look(method, single or kind.line == "none")
    ax.plot(*(front[:1] if single else front).T, label=kind.label, **line)
    behind = xy[~(xy[:, None] == front).all(-1).any(1)]
    look_behind: dict[str, Any] = {"mfc": "none", "mec": kind.colour, "mew": 0.8, "ms": 4}
    if len(behind) and not single:
        ax.plot(*behind.T, kind.marker, **look_behind, ls="none", zorder=2)


def _not_dominated(points: object) -> np.ndarray:
    """Non-dominated points [F, 2] (both maximised), ordered by the first."""
    points = np.unique(np.asarray(points, float), axis=0)
    best = np.maximum.accumulate(points[::-1, 1])[::-1]
    return points[points[:, 1] > np.r_[best[1:], -np.inf]]


def _beyond(rows: pd.DataFrame, tuned: pd.DataFrame, metrics: Sequence[str]) -> pd.DataFrame:
    """Signed distance of a method's points from the oracle's front of the same seed, by weight."""
    parts = [pd.DataFrame(columns=["w_accuracy", "gap"], dtype=float)]
    for seed, part in rows.groupby("seed"):
        front = _not_dominated(tuned.loc[tuned["seed"] == seed, list(metrics)])
        if len(front):
            edge = np.vstack([[0, front[0, 1]], front, [front[-1, 0], 0]])
            xy = part[list(metrics)].to_numpy(float)
            start, step = edge[:-1], np.diff(edge, axis=0)
            along = ((xy[:, None] - start) * step).sum(-1) / np.maximum((step**2).sum(-1), 1e-18)
            foot = start + along.clip(0, 1)[..., None] * step
            gap = np.linalg.norm(xy[:, None] - foot, axis=-1).min(1)
            inside = (xy[:, 0] <= front[-1, 0]) & (xy[:, 1] <= np.interp(xy[:, 0], *front.T))
            parts.append(part[["w_accuracy"]].assign(gap=np.where(inside, -gap, gap)))
    return drawing.seed_intervals(pd.concat(parts), "w_accuracy", "gap")


@style.drawn
def ternary(
    weights: np.ndarray, values: np.ndarray, labels: Sequence[str], title: str = "value"
) -> Figure:
    """A value over the weights of three objectives; each corner is all weight on its objective.

    weights ``[W, 3]`` with rows that sum to 1, values ``[W]``, one label per objective.
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
    figure = style.new(4.2, 3.3)
    ax = figure.subplots()
    filled = ax.tricontourf(Triangulation(*xy.T), values, levels=12, cmap=drawing.WEIGHT_COLOURS)
    ax.plot(*xy.T, "o", color="white", mec="black", mew=0.4, markersize=2.2, clip_on=False)
    ax.plot(*corners[[0, 1, 2, 0]].T, color="black", linewidth=0.8)
    _label_triangle(ax, corners, labels)
    ax.set_aspect("equal")
    ax.set_axis_off()
    drawing.colour_bar(ax, filled, title, shrink=0.85, pad=0.08)
    note = "Numbers on an edge: the weight of the corner it leads to, anticlockwise."
    style.small_print(figure, note)
    return figure


def _label_triangle(ax: Axes, corners: np.ndarray, labels: Sequence[str]) -> None:
    """Names at the corners; on each edge the weight of the corner it leads to."""
    shifts = [((0, 8), "center", "bottom"), ((-2, -8), "center", "top"), ((2, -8), "center", "top")]
    for corner, name, (offset, ha, va) in zip(corners, labels, shifts, strict=True):
        ax.annotate(f"{name} = 1", corner, offset, textcoords="offset points", ha=ha, va=va,
                    weight="bold")  # fmt: skip
    for start, end, ha, va in ((1, 2, "center", "top"), (2, 0, "left", "center"),
                               (0, 1, "right", "center")):  # fmt: skip
        for share in (0.2, 0.4, 0.6, 0.8):
            point = (1 - share) * corners[start] + share * corners[end]
            shift = {"top": (0, -3), "center": (4 if ha == "left" else -4, 0)}[va]
            ax.annotate(f"{share:g}", point, shift, textcoords="offset points", ha=ha, va=va,
                        fontsize=6, color="#555555")  # fmt: skip


@style.drawn
def front_3d(points: Mapping[str, np.ndarray], labels: Sequence[str]) -> Figure:
    """Three metrics against each other, seen from two sides: ``[W, 3]`` for each method.

    Points lie on stems from the floor, without which depth cannot be read.
    """
    groups = {name: finite(name, values, 2) for name, values in points.items()}
    if any(values.shape[1] != 3 for values in groups.values()) or len(labels) != 3:
        raise ParagonError("front: points and labels of three metrics are needed")
    low, high = (end(np.vstack(list(groups.values())), axis=0) for end in (np.min, np.max))
    floor = low[2] - 0.05 * max(high[2] - low[2], 1e-9)
    figure = style.new(7.2, 3.4)
    for number, turn in enumerate((-60, 30), 1):
        ax = figure.add_subplot(1, 2, number, projection="3d", azim=turn, elev=22)
        for name, values in groups.items():
            kind, oracle = look(name), name == "tuned"
            ax.plot(
                *values.T, kind.marker, color=kind.colour, label=kind.label, linestyle="none",
                markersize=7 if oracle else 4, **{"markerfacecolor": "none"} if oracle else {},
            )  # fmt: skip
        for x, y, z in next(iter(groups.values())):
            ax.plot([x, x], [y, y], [floor, z], color="#cccccc", linewidth=0.6, zorder=0)
        ax.set_zlim(floor, None)
        for axis, label in zip((ax.xaxis, ax.yaxis, ax.zaxis), labels, strict=True):
            axis.set_label_text(metric_label(label))
            axis.set_tick_params(labelsize=6, pad=-1)
            axis.set_major_locator(ticker.MaxNLocator(4))
            axis.set_pane_color((1, 1, 1, 0))
    drawing.method_legend(figure, figure.axes[0])
    style.small_print(figure, "The same points from two sides. Stems: of the first group.")
    return figure
