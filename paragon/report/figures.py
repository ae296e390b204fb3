"""The figures of the study: each function takes plain data and returns a matplotlib Figure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
from matplotlib import ticker
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from paragon.errors import ParagonError
from paragon.metrics.checks import finite
from paragon.report import style as style
from paragon.report.style import drawn, look, metric_label

CURVE_METHODS = (
    "tuned retrain generated generated_shuffled hypernetwork interpolation interpolation_log soup "
    "constant backbone"
).split()
_CLOSE = 0.1  # the close-up panels show differences up to this share of the oracle's range
_NEAR = 0.93  # hypervolumes relative to the oracle's are drawn from here on
_TIMED = {
    "generate": "generate",
    "tune": "tune an adapter",
    "retrain": "retrain from scratch",
    "llm": "one answer of a language model",
}


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
    tuned = frame[frame["method"] == "tuned"]
    figure = style.new(7.2, 2.7 if tuned.empty else 4)
    axes = figure.subplots(
        1 if tuned.empty else 2, len(metrics), sharex=True, squeeze=False,
        height_ratios=[1] if tuned.empty else [2.1, 1],
    )  # fmt: skip
    cut = False
    for metric, column, letter in zip(metrics, axes.T, "abcdefgh", strict=False):
        own = {m: frame[frame["method"] == m] for m in methods}
        for method, rows in own.items():
            table = style.intervals(rows, "w_accuracy", metric)
            style.curve_line(
                column[0], table.index.to_numpy(), table, method, style.band_opacity(methods)
            )
        cut |= style.keep_to_lines(column[0])
        column[0].set(ylabel=metric_label(metric), xlim=(-0.03, 1.03), xticks=np.arange(6) / 5)
        column[0].set_title(letter)
        column[-1].set_xlabel(_weight_label(weights))
        if len(tuned):
            keys = ["seed", "w_accuracy"]
            tables = {}
            for method, rows in own.items():
                both = rows.merge(tuned[[*keys, metric]], on=keys, suffixes=("", "_tuned"))
                both["difference"] = both[metric] - both[f"{metric}_tuned"]
                tables[method] = style.intervals(both, "w_accuracy", "difference")
            style.close_up(column[1], tables, _limit(tuned, metric))
            column[1].set_ylabel("difference\nfrom tuned")
    style.method_legend(figure, axes[0, 0])
    style.note(
        figure, style.seeds_note(frame[frame["method"].isin(methods)], "method", "Bands and bars"),
        "Wide ones are cut off." if cut else "",
        "None for the shuffled generator." if "generated_shuffled" in methods else "", absent,
        f"Lower panels: paired by seed, of methods within {_CLOSE:.0%} of the oracle's range."
        if len(tuned) else "",
    )  # fmt: skip
    return figure


def _weight_label(weights: list[str]) -> str:
    """The axis label of two objectives' weights."""
    return "w_accuracy" + "".join(f"  ({w} = 1 − w_accuracy)" for w in weights if w != "w_accuracy")


def _limit(tuned: pd.DataFrame, metric: str) -> float:
    """How far from the oracle a close-up panel reaches."""
    return _CLOSE * float(np.ptp(tuned.groupby("w_accuracy")[metric].mean())) or 0.01


@drawn
def pareto_front(
    curve: pd.DataFrame,
    protocol: str = "sampled",
    methods: Sequence[str] | None = None,
    metrics: Sequence[str] = ("ndcg@10", "alpha_ndcg@10"),
) -> Figure:
    """Two metrics against each other, and the distance of each method's points from the oracle's.

    Left: means over seeds, a line through a method's non-dominated points,
    open markers for its dominated ones, grey the area under the oracle's
    staircase.  Right, for two objectives: how far a point lies beyond
    (positive) or behind the straight lines between the oracle's non-dominated
    points of the same seed, in units of the metrics, against its weight.
    """
    frame, methods, absent = style.chosen(curve, protocol, methods, metrics)
    weights = [c for c in frame.columns if c.startswith("w_")]
    own = {m: frame[frame["method"] == m] for m in methods}
    tuned = frame[frame["method"] == "tuned"]
    close = len(tuned) > 0 and len(weights) <= 2
    figure = style.new(7.2 if close else 5, 3)
    axes = figure.subplots(1, 2 if close else 1, squeeze=False)[0]
    points = {m: rows.groupby(weights)[list(metrics)].mean().to_numpy() for m, rows in own.items()}
    for method, xy in points.items():
        kind, front = look(method), _front(xy)
        single = bool(np.ptp(xy, axis=0).max() < 1e-9)
        axes[0].plot(
            *(front[:1] if single else front).T, label=kind.label,
            **style.line_look(method, single or kind.line == "none"),
        )  # fmt: skip
        behind = xy[~(xy[:, None] == front).all(-1).any(1)]
        open_marker = {"mfc": "none", "mec": kind.colour, "mew": 0.8, "ms": 4, "ls": "none"}
        if len(behind) and not single:
            axes[0].plot(*behind.T, kind.marker, **open_marker, zorder=2)
    axes[0].set(xlabel=metric_label(metrics[0]), ylabel=metric_label(metrics[1]))
    if len(tuned):
        axes[0].set(xlim=axes[0].get_xlim(), ylim=axes[0].get_ylim())  # before the grey area
        stairs = _front(tuned.groupby(weights)[list(metrics)].mean())
        axes[0].fill_between(
            [-1, *stairs[:, 0]], [stairs[0, 1], *stairs[:, 1]], -1,
            step="pre", color="#f2f2f2", linewidth=0, zorder=0,
        )  # fmt: skip
    if close:
        tables = {m: _beyond(rows, tuned, metrics) for m, rows in own.items()}
        style.close_up(axes[1], tables, min(_limit(tuned, metric) for metric in metrics))
        axes[1].set(xticks=np.arange(6) / 5, ylabel="distance beyond the front of tuned")
        axes[1].set_xlabel(_weight_label(weights))
        for ax, letter in zip(axes, "ab", strict=True):
            ax.set_title(letter)
    style.method_legend(figure, axes[0])
    style.note(
        figure, "Open markers: dominated within the method.",
        "Grey: area under the oracle's staircase." if len(tuned) else "",
        style.seeds_note(frame[frame["method"].isin(methods)], "method", "Bands and bars")
        if close else "", absent,
    )  # fmt: skip
    return figure


def _front(points: object) -> np.ndarray:
    """Non-dominated points [F, 2] (both maximised), ordered by the first."""
    points = np.unique(np.asarray(points, float), axis=0)
    best = np.maximum.accumulate(points[::-1, 1])[::-1]
    return points[points[:, 1] > np.r_[best[1:], -np.inf]]


def _beyond(own: pd.DataFrame, tuned: pd.DataFrame, metrics: Sequence[str]) -> pd.DataFrame:
    """Signed distance of a method's points from the oracle's front of the same seed, by weight."""
    parts = [pd.DataFrame(columns=["w_accuracy", "gap"], dtype=float)]
    for seed, rows in own.groupby("seed"):
        front = _front(tuned.loc[tuned["seed"] == seed, list(metrics)])
        if len(front):
            edge = np.vstack([[0, front[0, 1]], front, [front[-1, 0], 0]])
            xy = rows[list(metrics)].to_numpy(float)
            start, step = edge[:-1], np.diff(edge, axis=0)
            along = ((xy[:, None] - start) * step).sum(-1) / np.maximum((step**2).sum(-1), 1e-18)
            foot = start + along.clip(0, 1)[..., None] * step
            gap = np.linalg.norm(xy[:, None] - foot, axis=-1).min(1)
            inside = (xy[:, 0] <= front[-1, 0]) & (xy[:, 1] <= np.interp(xy[:, 0], *front.T))
            parts.append(rows[["w_accuracy"]].assign(gap=np.where(inside, -gap, gap)))
    return style.intervals(pd.concat(parts), "w_accuracy", "gap")


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
        face = "white" if method == "retrain" else colour
        ax.plot(p50, row, kind.marker, color=colour, mfc=face, markersize=6.5, zorder=3)
        ratio = ""
        if full and method != "retrain":
            factor, word = (full / p50, "faster") if p50 < full else (p50 / full, "slower")
            ratio = f"   {_digits(factor)} × {word}"
        ax.annotate(
            f"{_human(p50)}{ratio}", (max(p50, p99 or 0), row), (8, 0), va="center", fontsize=7.5,
            textcoords="offset points", bbox={"fc": "white", "ec": "none", "pad": 1},
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
    ax.set_yticks(range(len(order)), [_TIMED.get(m, look(m).label) for m in order])
    ax.tick_params(axis="y", length=0)
    ax.set_xlabel("time from new weights to a ready model, log scale")
    if isinstance(machine, Mapping):
        machine = "; ".join(f"{k} {v}" for k, v in machine.items())
    facts = machine or ""
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
def published(ours: Mapping[str, pd.DataFrame], theirs: Mapping[str, Mapping]) -> Figure:
    """Published curves beside ours: a column of panels a backbone, a row a metric.

    ``ours``: the long table of a study for each backbone; ``theirs``: for each backbone and
    metric the values at evenly spaced weights on accuracy, a sequence a run.
    """
    metrics = list(next(iter(theirs.values())))
    figure = style.new(7.2, 0.7 + 2.1 * len(metrics))
    axes = figure.subplots(len(metrics), len(ours), sharex=True, sharey="row", squeeze=False)
    for backbone, curve, column in zip(ours, ours.values(), axes.T, strict=True):
        methods = ["tuned", "generated", "retrain"]
        frame, methods, _ = style.chosen(curve, "sampled", methods, metrics)
        for ax, metric in zip(column, metrics, strict=True):
            for method in methods:
                rows = frame[frame["method"] == method]
                table = style.intervals(rows, "w_accuracy", metric)
                style.curve_line(ax, table.index.to_numpy(), table, method, 0.16)
            for number, values in enumerate(theirs[backbone][metric]):
                ax.plot(
                    np.linspace(0, 1, len(values)), values, "o--", color="#332288", linewidth=1,
                    markersize=3, label="published" if number == 0 else None,
                )  # fmt: skip
        column[0].set_title(look(backbone).label)
        column[-1].set_xlabel("w_accuracy")
    for ax, metric in zip(axes[:, 0], metrics, strict=True):
        ax.set(ylabel=metric_label(metric), xlim=(-0.03, 1.03), xticks=np.arange(6) / 5)
    style.method_legend(figure, axes[0, 0])
    style.note(
        figure, style.seeds_note(frame[frame["method"].isin(methods)], "method", "Bands and bars"),
        "Published: two runs; their weights are taken as evenly spaced.",
    )  # fmt: skip
    return figure


@drawn
def studies(frame: pd.DataFrame) -> Figure:
    """A row of panels per dataset, a line per method, a marker per backbone: every study at once.

    ``frame`` has the columns dataset, backbone, method, measure, mean, low and high (the
    limits of the interval over seeds, None with one seed); a column of panels per measure.
    Methods are in the order of their mean of the first measure, the same in all panels.
    Measures of the oracle's hypervolume start where methods that come close to it do, and
    what lies below is written at the edge; regret is on a logarithmic scale beyond 0.1.
    """
    style.columns(frame, "dataset backbone method measure mean low high".split(), "studies")
    finite("studies, mean", frame["mean"].to_numpy(float))
    datasets, backbones, measures = (
        list(dict.fromkeys(frame[name])) for name in ("dataset", "backbone", "measure")
    )
    backbones.sort(key=[*style.BACKBONES, *backbones].index)
    order = frame[frame["measure"] == measures[0]].groupby("method", sort=False)["mean"].mean()
    methods = list(order.sort_values(ascending=False, kind="stable").index)
    methods += [m for m in dict.fromkeys(frame["method"]) if m not in methods]
    figure = style.new(7.2, 0.6 + (0.19 * len(methods) + 0.3) * len(datasets))
    axes = figure.subplots(len(datasets), len(measures), sharex="col", sharey=True, squeeze=False)
    for row, dataset in zip(axes, datasets, strict=True):
        for ax, measure in zip(row, measures, strict=True):
            part = frame[(frame["dataset"] == dataset) & (frame["measure"] == measure)]
            _study_panel(ax, part, methods, [b for b in backbones if b in set(part["backbone"])])
        row[0].set_title(dataset)
    for ax, measure in zip(axes[-1], measures, strict=True):
        ax.set_xlabel(metric_label(measure))
        if measure.endswith("_of_tuned"):
            ax.set_xlim(left=_NEAR)
        elif measure.startswith("regret"):
            ax.set_xscale("symlog", linthresh=0.1, linscale=0.8)
            low, high = ax.get_xlim()
            marks = [-100, -10, -1, -0.1, 0, 0.1, 1, 10, 100]
            ax.xaxis.set_major_locator(ticker.FixedLocator([m for m in marks if low <= m <= high]))
            ax.xaxis.set_major_formatter(ticker.FuncFormatter(_signed))
    far = (frame["measure"].str.endswith("_of_tuned") & (frame["mean"] < _NEAR)).any()
    for name in backbones:
        kind = look(name)
        axes[0, 0].plot([], [], kind.marker, color=kind.colour, label=kind.label)
    style.method_legend(figure, axes[0, 0])
    style.note(
        figure, "Lines: 95% t interval over seeds. Grey: the oracle.",
        "No mark: undefined or not run.",
        "At the edge: values off the scale." if far else "",
        "Regret: logarithmic beyond ±0.1." if any(m.startswith("regret") for m in measures) else "",
    )  # fmt: skip
    return figure


def _signed(x: float, _: object = None) -> str:
    """A tick label with a true minus sign."""
    return f"{x:g}".replace("-", "−")


def _study_panel(ax: Axes, part: pd.DataFrame, methods: list[str], backbones: list[str]) -> None:
    """One dataset and measure: points with intervals, the backbones of a method side by side."""
    of_tuned = part["measure"].str.endswith("_of_tuned").any()
    places = np.arange(len(methods))
    for place in places[::2]:
        ax.axhspan(place - 0.5, place + 0.5, color="#f4f4f4", linewidth=0, zorder=0)
    ax.axvline(1 if of_tuned else 0, color="#a3a3a3", linewidth=2, zorder=1)
    ax.grid(axis="x", color="#e6e6e6", linewidth=0.6)
    for number, backbone in enumerate(backbones):
        own = part[part["backbone"] == backbone].set_index("method")[["mean", "low", "high"]]
        own = own.astype(float).reindex(methods)
        if of_tuned:
            own = own.where(own["mean"] >= _NEAR)
        kind, y = look(backbone), places + 0.8 * ((number + 0.5) / len(backbones) - 0.5)
        ax.hlines(y, own["low"], own["high"], color=kind.colour, linewidth=0.9, zorder=2)
        ax.plot(
            own["mean"], y, kind.marker, color=kind.colour, zorder=3, markeredgewidth=0.3,
            markersize=4 if len(backbones) <= 3 else 3, markeredgecolor="white",
        )  # fmt: skip
    if of_tuned:
        for place, method in enumerate(methods):
            far = part.loc[(part["method"] == method) & (part["mean"] < _NEAR), "mean"]
            ends = dict.fromkeys(f"{x:.2f}" for x in (far.min(), far.max())) if len(far) else ()
            text = "← " + "–".join(ends) if ends else ""
            ax.annotate(
                text, (0, place), (2, 0), xycoords=("axes fraction", "data"), va="center",
                textcoords="offset points", fontsize=6.5, color="#555555",
            )  # fmt: skip
    ax.set_yticks(places, [look(m).label for m in methods])
    ax.set(ylim=(len(methods) - 0.5, -0.5))
    ax.tick_params(axis="y", length=0)
