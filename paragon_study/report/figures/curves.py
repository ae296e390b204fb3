"""Plot metrics against the weight of accuracy, and against each other."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from paragon_study.report import style
from paragon_study.report.figures import drawing
from paragon_study.report.style import look, metric_label

METRICS = {"ndcg@10": "accuracy", "alpha_ndcg@10": "diversity"}  # metric: objective
CURVE_METHODS = "tuned retrain generated hypernetwork category_bias xquad backbone".split()
_CLOSE = 0.1  # range of close-up panels, as a share of the oracle's range
_LEAD = ("tuned", "generated", "category_bias", "xquad", "retrain")


@style.drawn
def control_curves(curve: pd.DataFrame, methods: Sequence[str] | None = None) -> Figure:
    """Plot metrics against the weight of accuracy, and paired differences from the oracle."""
    rows = drawing.rows_by_method(curve, "full", methods or CURVE_METHODS, METRICS)
    tuned, beside = rows.get("tuned"), _has_sampled(curve)
    figure = style.new(7.2, 2.7 if tuned is None else 4)
    main, *small = figure.subfigures(1, 1 + beside, width_ratios=[3, 1] if beside else None,
                                     squeeze=False)[0]  # fmt: skip
    heights = [1] if tuned is None else [2.1, 1]
    axes = main.subplots(len(heights), 2, sharex=True, squeeze=False, height_ratios=heights)
    cut = False
    for metric, column in zip(METRICS, axes.T, strict=True):
        cut |= _draw_metric(column[0], rows, metric, "full")
        column[0].set_ylabel(metric_label(metric))
        column[-1].set_xlabel(drawing.WEIGHT)
        if tuned is not None:
            changes = {method: _minus_tuned(table, tuned, metric) for method, table in rows.items()}
            tables = drawing.seed_intervals(changes, "difference")
            cut |= drawing.close_up(column[1], tables, _limit(tuned, metric))
            column[1].set_ylabel("difference\nfrom tuned")
    for part in small:
        sampled = drawing.rows_by_method(curve, "sampled", list(rows), METRICS)
        panels = part.subplots(len(METRICS), 1, sharex=True)
        for ax, metric in zip(panels, METRICS, strict=True):
            cut |= _draw_metric(ax, sampled, metric, "sampled")
            _make_small(ax, 6.5)
            ax.set(xticks=[0, 0.5, 1], ylabel=metric_label(metric).partition(" ")[0])
        panels[-1].set_xlabel(drawing.WEIGHT)
    drawing.method_legend(figure, axes[0, 0])
    style.small_print(
        figure, drawing.seeds_note(rows.values(), "Bands and bars"),
        "What lies far outside is cut off." if cut else "",
        "None for the shuffled generator." if "generated_shuffled" in rows else "",
        _absent_note(methods or (), rows),
        "Lower panels: paired by seed; methods that follow the weights, with a median difference "
        f"of at most {_CLOSE:.0%} of the oracle's range." if tuned is not None else "",
    )  # fmt: skip
    return figure


def _has_sampled(curve: pd.DataFrame) -> bool:
    return bool(curve["protocol"].eq("sampled").any())


def _absent_note(methods: Sequence[str], rows: Mapping[str, pd.DataFrame]) -> str:
    absent = [method for method in methods if method not in rows]
    return f"Not in the table: {', '.join(absent)}." if absent else ""


def _draw_metric(ax: Axes, rows: Mapping[str, pd.DataFrame], metric: str, protocol: str) -> bool:
    """Draw a metric of all methods against the weight; return whether a band was cut off."""
    drawing.draw_curves(ax, drawing.seed_intervals(rows, metric))
    ax.set_title(f"{METRICS[metric]}, {drawing.LISTS[protocol]}")
    return drawing.cut_wide_bands(ax)


def _make_small(ax: Axes, title_size: float) -> None:
    """Adapt lines and text to a small panel."""
    for line in ax.lines:
        line.set(markersize=2.5, markeredgewidth=0.3, linewidth=0.6 * line.get_linewidth())
    ax.tick_params(labelsize=6)
    ax.set_title(ax.get_title("left"), fontsize=title_size)


def _minus_tuned(rows: pd.DataFrame, tuned: pd.DataFrame, metric: str) -> pd.DataFrame:
    """Add ``difference``: the metric minus the oracle's of the same seed and weight."""
    keys = ["seed", "w_accuracy"]
    both = rows.merge(tuned[[*keys, metric]], on=keys, suffixes=("", "_tuned"))
    return both.assign(difference=both[metric] - both[f"{metric}_tuned"])


def _limit(tuned: pd.DataFrame, metric: str) -> float:
    """Return the largest distance from the oracle in a close-up panel."""
    return _CLOSE * float(np.ptp(tuned.groupby("w_accuracy")[metric].mean())) or 0.01


@style.drawn
def pareto_front(curve: pd.DataFrame, methods: Sequence[str]) -> Figure:
    """Plot two metrics against each other, and each method's distance from the oracle's front.

    Left: means over seeds; open markers are dominated.  Middle: signed distance from the oracle's
    front of the same seed, beyond it positive.  Right: sampled lists.
    """
    rows = drawing.rows_by_method(curve, "full", methods, METRICS)
    tuned, both = rows.get("tuned"), _has_sampled(curve)
    widths = [1.7] + [1.2] * (tuned is not None) + [1] * both
    figure = style.new(1.6 + 1.45 * sum(widths), 3)
    axes = list(figure.subplots(1, len(widths), squeeze=False, width_ratios=widths)[0])
    _draw_front(axes[0], rows, "full")
    if both:
        sampled = drawing.rows_by_method(curve, "sampled", list(rows), METRICS)
        _draw_front(axes[-1], sampled, "sampled")
        _make_small(axes[-1], 7)
    cut, notes = False, []
    if tuned is not None:
        tables = drawing.seed_intervals(
            {m: _beyond(table, tuned) for m, table in rows.items()}, "gap"
        )
        cut = drawing.close_up(axes[1], tables, min(_limit(tuned, metric) for metric in METRICS))
        axes[1].set(xlabel=drawing.WEIGHT, xticks=[0, 0.5, 1], title="beyond or behind tuned")
        axes[1].set_ylabel("distance from the front\n(units of the metrics, 0–1)")
        notes = [
            "Grey: area under the oracle's staircase.",
            "Middle: methods that follow the weights and stay near the oracle.",
            drawing.seeds_note(rows.values(), "Bands and bars"),
        ]
    drawing.method_legend(figure, axes[0])
    style.small_print(
        figure, "Open markers: dominated within the method (retrained: all are open).", *notes,
        "What lies far outside is cut off." if cut else "", _absent_note(methods, rows),
    )  # fmt: skip
    return figure


def _draw_front(ax: Axes, rows: Mapping[str, pd.DataFrame], protocol: str) -> None:
    """Draw the means over seeds of all methods, over the area of the oracle."""
    fronts = {}
    for method, table in rows.items():
        xy, kind = table.groupby("w_accuracy")[list(METRICS)].mean().to_numpy(), look(method)
        front = fronts[method] = _not_dominated(xy)
        single = bool(np.ptp(xy, axis=0).max() < 1e-9)
        line = drawing.line_look(method, single or kind.line == "none")
        ax.plot(*(front[:1] if single else front).T, label=kind.label, **line)
        behind = xy[~(xy[:, None] == front).all(-1).any(1)]
        if len(behind) and not single:
            ax.plot(*behind.T, kind.marker, mfc="none", mec=kind.colour, mew=0.8, ms=4, zorder=2)
    ax.set(xlabel=metric_label("ndcg@10"), ylabel=metric_label("alpha_ndcg@10"))
    ax.set_title(drawing.LISTS[protocol])
    if "tuned" in fronts:
        ax.set(xlim=ax.get_xlim(), ylim=ax.get_ylim())  # the grey area must not change them
        x, y = fronts["tuned"].T
        ax.fill_between([-1, *x], [y[0], *y], -1, step="pre", color="#f2f2f2", linewidth=0,
                        zorder=0)  # fmt: skip


def _not_dominated(points: object) -> np.ndarray:
    """Return the non-dominated points [F, 2] (both maximised), ordered by the first metric."""
    points = np.unique(np.asarray(points, float), axis=0)
    best = np.maximum.accumulate(points[::-1, 1])[::-1]
    return points[points[:, 1] > np.r_[best[1:], -np.inf]]


def _beyond(rows: pd.DataFrame, tuned: pd.DataFrame) -> pd.DataFrame:
    """Compute ``gap``: signed distance of points from the oracle's front of the same seed."""
    parts = [pd.DataFrame(columns=["w_accuracy", "gap"], dtype=float)]
    for seed, part in rows.groupby("seed"):
        front = _not_dominated(tuned.loc[tuned["seed"] == seed, list(METRICS)])
        if len(front):
            edge = np.vstack([[0, front[0, 1]], front, [front[-1, 0], 0]])
            xy = part[list(METRICS)].to_numpy(float)
            start, step = edge[:-1], np.diff(edge, axis=0)
            along = ((xy[:, None] - start) * step).sum(-1) / np.maximum((step**2).sum(-1), 1e-18)
            foot = start + along.clip(0, 1)[..., None] * step
            gap = np.linalg.norm(xy[:, None] - foot, axis=-1).min(1)
            inside = (xy[:, 0] <= front[-1, 0]) & (xy[:, 1] <= np.interp(xy[:, 0], *front.T))
            parts.append(part[["w_accuracy"]].assign(gap=np.where(inside, -gap, gap)))
    return pd.concat(parts)


@style.drawn
def lead(curve: pd.DataFrame) -> Figure:
    """Plot accuracy and diversity of the whole catalogue's ten best, legible on a phone."""
    rows = drawing.rows_by_method(curve, "full", _LEAD, METRICS)
    figure = style.new(3.9, 4.5)
    axes = figure.subplots(2, 1, sharex=True)
    wide = {"linewidth": 2, "markersize": 7.5, "markeredgewidth": 1, "markevery": 2}
    wider: dict[str, dict] = {
        "tuned": {"linewidth": 5.5, "marker": "none", "solid_capstyle": "round"},
        "retrain": {"markersize": 9, "markeredgewidth": 2, "markevery": 1, "clip_on": False},
    }
    for ax, (metric, about) in zip(axes, METRICS.items(), strict=True):
        for method, table in drawing.seed_intervals(rows, metric).items():
            line = drawing.line_look(method, method == "retrain") | wide | wider.get(method, {})
            ax.plot(table.index, table["mean"], label=look(method).label, **line)
        ax.set_ylabel(f"{about}\n({metric_label(metric).partition(' ')[0]})", fontsize=11)
        ax.margins(y=0.12)
        ax.locator_params(axis="y", nbins=3)
        ax.tick_params(labelsize=11)
    axes[-1].set_xticks([0, 0.5, 1], ["0", "0.5", "1"])
    axes[-1].set_xlabel(drawing.WEIGHT, fontsize=11)
    handles, labels = axes[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside upper left", ncols=2, fontsize=10.5,
                  handlelength=1.8, columnspacing=0.9, borderaxespad=0.1)  # fmt: skip
    return figure


@style.drawn
def two_versions(
    curves: Mapping[str, tuple[pd.DataFrame, pd.DataFrame]], names: tuple[str, str]
) -> Figure:
    """Plot the control curves of pairs (before, after): studies in rows, metrics in columns."""
    figure = style.new(7.2, 0.7 + 1.9 * len(curves))
    axes = figure.subplots(len(curves), 2, sharex=True, squeeze=False)
    drawn: list[pd.DataFrame] = []
    for panels, (study, versions) in zip(axes, curves.items(), strict=True):
        for curve, name, line in zip(versions, names, ("--", "-"), strict=True):
            rows = drawing.rows_by_method(curve, "full", ["tuned", "generated"], METRICS)
            drawn += rows.values()
            for ax, metric in zip(panels, METRICS, strict=True):
                tables = drawing.seed_intervals(rows, metric)
                drawing.draw_curves(ax, tables, 0.12, line, f": {name}")
                ax.set_ylabel(metric_label(metric))
        panels[0].set_title(study)
    for ax in axes[-1]:
        ax.set_xlabel(drawing.WEIGHT)
    drawing.method_legend(figure, axes[0, 0], columns=2)
    style.small_print(figure, drawing.seeds_note(drawn, "Bands"), "Whole catalogue.")
    return figure
