"""How methods follow the weights: control curves and Pareto fronts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure, SubFigure
from matplotlib.lines import Line2D

from paragon.errors import ParagonError
from paragon.report import style
from paragon.report.figures import drawing
from paragon.report.style import look, metric_label

METRICS = ("ndcg@10", "alpha_ndcg@10")
BESIDE = {"full": "sampled", "sampled": "full"}  # what stands beside, smaller
CURVE_METHODS = "tuned retrain generated hypernetwork category_bias xquad backbone".split()
_CLOSE = 0.1  # the close-up panels show differences up to this share of the oracle's range


@style.drawn
def control_curves(
    curve: pd.DataFrame,
    protocol: str = "full",
    methods: Sequence[str] | None = None,
    metrics: Sequence[str] = METRICS,
) -> Figure:
    """Metrics against the weight on accuracy, and below them the difference from the oracle.

    ``curve`` has one row per method, seed, protocol and weight.  Curves that
    lie on each other above separate below, where differences are paired by
    seed.  The other protocol stands beside, smaller.  Methods that are not in
    the table are named under the figure if they were asked for.
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
    beside = bool(curve["protocol"].eq(BESIDE[protocol]).any())
    main, *small = figure.subfigures(1, 1 + beside, width_ratios=[3, 1] if beside else None,
                                     squeeze=False)[0]  # fmt: skip
    axes = main.subplots(
        1 if tuned.empty else 2, len(metrics), sharex=True, squeeze=False,
        height_ratios=[1] if tuned.empty else [2.1, 1],
    )  # fmt: skip
    cut = False
    for metric, column in zip(metrics, axes.T, strict=True):
        cut |= _draw_curves(column[0], rows, metric)
        column[0].set(ylabel=metric_label(metric), xlim=(-0.03, 1.03), xticks=np.arange(6) / 5)
        column[0].set_title(f"{_titled(metric)}, {drawing.LISTS[protocol]}")
        column[-1].set_xlabel(drawing.WEIGHT)
        if len(tuned):
            tables = {m: _minus_tuned(part, tuned, metric) for m, part in rows.items()}
            cut |= drawing.close_up(column[1], tables, _limit(tuned, metric))
            column[1].set_ylabel("difference\nfrom tuned")
    for part in small:
        cut |= _draw_beside(part, curve, BESIDE[protocol], methods, metrics)
    drawing.method_legend(figure, axes[0, 0])
    style.small_print(
        figure, drawing.seeds_note(pd.concat(rows.values()), "method", "Bands and bars"),
        "Wide ones are cut off." if cut else "",
        "None for the shuffled generator." if "generated_shuffled" in methods else "", absent,
        "Lower panels: paired by seed; methods that follow the weights and stay within "
        f"{_CLOSE:.0%} of the oracle's range." if len(tuned) else "",
    )  # fmt: skip
    return figure


def _draw_curves(ax: Axes, rows: Mapping[str, pd.DataFrame], metric: str) -> bool:
    """Every method's metric against the weight; whether a wide band had to be cut off."""
    for method, part in rows.items():
        table = drawing.seed_intervals(part, "w_accuracy", metric)
        drawing.curve_line(ax, table, method, drawing.band_opacity(rows))
    return drawing.cut_wide_bands(ax)


def _draw_beside(
    figure: SubFigure, curve: pd.DataFrame, protocol: str, methods: list[str],
    metrics: Sequence[str],
) -> bool:  # fmt: skip
    """The same curves of the other protocol, small; whether a wide band had to be cut off."""
    frame = drawing.rows_to_draw(curve, protocol, methods, metrics)[0]
    rows = {m: frame[frame["method"] == m] for m in methods}
    cut = False
    axes = figure.subplots(len(metrics), 1, sharex=True, squeeze=False)[:, 0]
    for ax, metric in zip(axes, metrics, strict=True):
        cut |= _draw_curves(ax, rows, metric)
        for drawn in ax.lines:
            _shrink(drawn)
        ax.set(xlim=(-0.03, 1.03), xticks=[0, 0.5, 1])
        ax.set_ylabel(metric_label(metric).partition(" ")[0])
        ax.tick_params(labelsize=6)
        ax.set_title(f"{_titled(metric)}, {drawing.LISTS[protocol]}", fontsize=6.5)
    axes[-1].set_xlabel(drawing.WEIGHT)
    return cut


def _titled(metric: str) -> str:
    """What a metric is about; its own name if it is of none of the two."""
    return {"ndcg": "accuracy", "alpha_ndcg": "diversity"}.get(metric.partition("@")[0], metric)


def _shrink(line: Line2D) -> None:
    """Make a line fit for a small panel."""
    line.set(markersize=2.5, markeredgewidth=0.3, linewidth=0.6 * line.get_linewidth())


def _minus_tuned(rows: pd.DataFrame, tuned: pd.DataFrame, metric: str) -> pd.DataFrame:
    """A method's metric minus the oracle's of the same seed, by weight."""
    keys = ["seed", "w_accuracy"]
    both = rows.merge(tuned[[*keys, metric]], on=keys, suffixes=("", "_tuned"))
    both["difference"] = both[metric] - both[f"{metric}_tuned"]
    return drawing.seed_intervals(both, "w_accuracy", "difference")


def _limit(tuned: pd.DataFrame, metric: str) -> float:
    """How far from the oracle a close-up panel reaches."""
    return _CLOSE * float(np.ptp(tuned.groupby("w_accuracy")[metric].mean())) or 0.01


@style.drawn
def pareto_front(
    curve: pd.DataFrame,
    protocol: str = "full",
    methods: Sequence[str] | None = None,
    metrics: Sequence[str] = METRICS,
) -> Figure:
    """Two metrics against each other, and the distance of each method's points from the oracle's.

    Left: means over seeds, a line through a method's non-dominated points,
    open markers for its dominated ones, grey the area under the oracle's
    staircase.  Middle, for two objectives: how far a point lies beyond
    (positive) or behind the straight lines between the oracle's non-dominated
    points of the same seed, in units of the metrics, against its weight.
    Right, smaller: the front under the other protocol.
    """
    frame, methods, absent = drawing.rows_to_draw(curve, protocol, methods, metrics)
    weights = [c for c in frame.columns if c.startswith("w_")]
    rows = {m: frame[frame["method"] == m] for m in methods}
    tuned = frame[frame["method"] == "tuned"]
    close = len(tuned) > 0 and len(weights) <= 2
    other = BESIDE[protocol]
    both = bool(curve["protocol"].eq(other).any())
    widths = [1.7] + [1.2] * close + [1] * both
    figure = style.new(1.6 + 1.45 * sum(widths), 3)
    axes = list(figure.subplots(1, len(widths), squeeze=False, width_ratios=widths)[0])
    _draw_front(axes[0], frame, methods, weights, metrics)
    axes[0].set_title(drawing.LISTS[protocol])
    if both:
        beside = axes.pop()
        small = drawing.rows_to_draw(curve, other, methods, metrics)[0]
        _draw_front(beside, small, methods, weights, metrics)
        beside.set_title(drawing.LISTS[other], fontsize=7)
        beside.tick_params(labelsize=6)
        for drawn in beside.lines:
            _shrink(drawn)
    cut = False
    if close:
        tables = {m: _beyond(part, tuned, metrics) for m, part in rows.items()}
        cut = drawing.close_up(axes[1], tables, min(_limit(tuned, metric) for metric in metrics))
        axes[1].set(xticks=[0, 0.5, 1], ylabel="distance beyond the front of tuned")
        axes[1].set_xlabel(drawing.WEIGHT)
        axes[1].set_title("beyond or behind tuned")
    drawing.method_legend(figure, axes[0])
    seeds = drawing.seeds_note(pd.concat(rows.values()), "method", "Bands and bars")
    style.small_print(
        figure, "Open markers: dominated within the method.",
        "Grey: area under the oracle's staircase." if len(tuned) else "",
        "Middle: methods that follow the weights and stay near the oracle." if close else "",
        seeds if close else "", "Wide ones are cut off." if cut else "", absent,
    )  # fmt: skip
    return figure


def _draw_front(
    ax: Axes, frame: pd.DataFrame, methods: list[str], weights: list[str], metrics: Sequence[str]
) -> None:
    """Means over seeds of every method, one metric against the other, over the oracle's area."""
    for method in methods:
        part = frame[frame["method"] == method]
        _draw_points(ax, method, part.groupby(weights)[list(metrics)].mean().to_numpy())
    ax.set(xlabel=metric_label(metrics[0]), ylabel=metric_label(metrics[1]))
    tuned = frame[frame["method"] == "tuned"]
    if len(tuned):
        ax.set(xlim=ax.get_xlim(), ylim=ax.get_ylim())  # before the grey area
        stairs = _not_dominated(tuned.groupby(weights)[list(metrics)].mean())
        ax.fill_between(
            [-1, *stairs[:, 0]], [stairs[0, 1], *stairs[:, 1]], -1,
            step="pre", color="#f2f2f2", linewidth=0, zorder=0,
        )  # fmt: skip


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
