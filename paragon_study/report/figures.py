"""The figures of the study: functions that return a matplotlib Figure."""

from collections.abc import Iterable, Mapping
from itertools import cycle
from typing import Any

import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib import ticker
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.dates import AutoDateLocator, ConciseDateFormatter
from matplotlib.figure import Figure
from numpy.typing import ArrayLike

from paragon.data.sequences import Sequences
from paragon.data.table import Dataset
from paragon.errors import ParagonError
from paragon.metrics.people import MOVES
from paragon_study.report import style
from paragon_study.report.style import BLUE, GREY, ORANGE, WEIGHT, look, metric_label, small_print
from paragon_study.report.style import save_figure as save_figure

Curves = Mapping[str, tuple[ArrayLike, ArrayLike]]  # x and y by name
METRICS = {"ndcg@10": "accuracy", "alpha_ndcg@10": "diversity"}  # metric: objective
CURVE_METHODS = [
    "tuned",
    "retrain",
    "paragon",
    "generated",
    "hypernetwork",
    "category_bias",
    "xquad",
    "backbone",
]
TRADE_OFF_METHODS = [method for method in CURVE_METHODS if method != "retrain"]
_CORNER = 0.01  # smaller weights count as 0
_BESIDE: dict[str, Any] = {"loc": "upper left", "bbox_to_anchor": (1, 1), "handlelength": 2.6}
# Colours and lines that differ in grey too.
_LINES = ((BLUE, "-"), (ORANGE, "--"), ("#009E73", "-."), ("#CC79A7", ":"), (GREY, (0, (1, 1))))
_VECTORS: dict[str, dict[str, Any]] = {
    "collected": {"marker": "o", "s": 40, "edgecolors": "white", "linewidths": 0.4},
    "held_out": {"marker": "D", "s": 30, "edgecolors": "black", "linewidths": 1.1},
    "generated": {"marker": "^", "s": 34, "edgecolors": ORANGE, "linewidths": 0.4},
    "paragon": {"marker": "^", "s": 34, "edgecolors": ORANGE, "linewidths": 0.4},
}


def rows_by_method(curve: pd.DataFrame, methods: Iterable[str]) -> dict[str, pd.DataFrame]:
    """Select the rows of the whole catalogue by method, with no weight on a third objective."""
    curve = curve[curve["protocol"] == "full"]
    for name in curve:
        if name.startswith("w_") and name not in ("w_accuracy", "w_diversity"):
            curve = curve[curve[name] < 1e-6]
    groups = dict(list(curve.groupby("method")))
    rows = {method: groups[method] for method in methods if method in groups}
    if not rows:
        raise ParagonError(f"curve: protocol `full` has no rows of {', '.join(methods)}")
    return rows


def _line_look(method: str, alone: bool = False) -> dict[str, Any]:
    """Return keyword arguments of a method's line, or of its points without a line."""
    kind = look(method)
    is_oracle = method in ("tuned", "tuned_alone", "oracles")
    is_hollow = method == "retrain"
    without_line = alone or kind.line == "none"
    if kind.marker == "*":
        size = 7.0
    elif without_line and not is_hollow:
        size = 6.0
    else:
        size = 4.5
    return {
        "label": kind.label,
        "color": kind.colour,
        "linestyle": "none" if without_line else kind.line,
        "linewidth": 2.8 if is_oracle else 1.3,
        "marker": kind.marker,
        "markersize": size,
        "markerfacecolor": "none" if is_hollow else kind.colour,
        "markeredgecolor": kind.colour if is_hollow else "white",
        "markeredgewidth": 1 if is_hollow else 0.5,
        "zorder": {"tuned": 1, "oracles": 1, "generated": 4, "retrain": 5}.get(method, 3),
    }


def _draw_curves(ax: Axes, rows: Mapping[str, pd.DataFrame], metric: str) -> None:
    """Draw means over seeds against the weight of accuracy, with their intervals."""
    if len(rows) <= 6:
        opacity = 0.16
    elif len(rows) <= 10:
        opacity = 0.1
    else:
        opacity = 0.05
    for method, group in rows.items():
        weights, mean, low, high = style.limits_by("w_accuracy", group, metric)
        line = _line_look(method, alone=len(weights) == 1)
        colour = look(method).colour
        is_single = line["linestyle"] == "none"
        has_interval = np.isfinite(low).any()
        if method in ("tuned", "tuned_alone", "oracles", "backbone") and not is_single:
            line["marker"] = "none"
        ax.plot(weights, mean, **line)
        if has_interval and is_single:
            ax.vlines(weights, low, high, color=colour, linewidth=1, zorder=3)
        # Each seed shuffles differently: the band would hide the others.
        elif has_interval and method != "generated_shuffled":
            ax.fill_between(weights, low, high, color=colour, alpha=opacity, linewidth=0)
    ax.set(xlim=(-0.03, 1.03), xticks=np.arange(6) / 5)


@style.drawn
def control_curves(curve: pd.DataFrame, methods: list[str] = CURVE_METHODS) -> Figure:
    """Plot both metrics of the whole catalogue against the weight of accuracy."""
    rows = rows_by_method(curve, methods)
    figure, axes = style.panels(7.2, 3, 1, 2)
    for ax, metric in zip(axes, METRICS, strict=True):
        _draw_curves(ax, rows, metric)
        # Wide bands do not stretch the axis far beyond the lines.
        means = np.concatenate([line.get_ydata() for line in ax.lines])
        low, high = ax.get_ylim()
        room = 0.25 * np.ptp(means)
        if room:
            ax.set_ylim(max(low, means.min() - room), min(high, means.max() + room))
        ax.set(title=METRICS[metric], xlabel=WEIGHT, ylabel=metric_label(metric))
    style.method_legend(figure, ax)
    small_print(figure, style.seeds_note(rows.values(), "Bands and bars"))
    return figure


@style.drawn
def trade_off(
    curve: pd.DataFrame, methods: Iterable[str] = TRADE_OFF_METHODS, shares: Iterable[float] = ()
) -> Figure:
    """Plot diversity over accuracy.

    ``shares`` of the backbone's accuracy are marked; points below half of it are left out then.
    """
    rows = rows_by_method(curve, methods)
    shares = list(shares)
    figure, ax = style.panels(4.6, 4.4)
    wide = {"linewidth": 2, "markersize": 6.5, "markeredgewidth": 1}
    special: dict[str, dict] = {
        "tuned": {"linewidth": 5.5, "marker": "none", "solid_capstyle": "round"},
        "backbone": {"markersize": 15, "linestyle": "none", "zorder": 6},
    }
    backbone = rows["backbone"]["ndcg@10"].mean() if shares else 0.0  # its accuracy
    for method, table in rows.items():
        means = table.groupby("w_accuracy")[list(METRICS)].mean().drop_duplicates()
        means = means[means["ndcg@10"] > 0.5 * backbone]
        line = _line_look(method) | wide | special.get(method, {})
        ax.plot(means["ndcg@10"].to_numpy(), means["alpha_ndcg@10"].to_numpy(), **line)
    for share in shares:
        ax.axvline(share * backbone, color=GREY, linewidth=0.7, zorder=0)
    if shares:
        top = ax.secondary_xaxis("top")
        positions = [share * backbone for share in shares]
        top.set_xticks(positions, [f"{100 * share:g}" for share in shares])
        top.set_xlabel("accuracy kept, %", fontsize=11)
        top.tick_params(labelsize=10)
        ax.set_xlim(0.58 * backbone, 1.04 * backbone)
        ax.set_title("better ↗", loc="right", y=0.9, fontsize=11, backgroundcolor="white")
    ax.set_xlabel("accuracy (NDCG@10)", fontsize=11)
    ax.set_ylabel("diversity (α-nDCG@10)", fontsize=11)
    ax.locator_params(nbins=4)
    ax.tick_params(labelsize=11)
    handles, labels = ax.get_legend_handles_labels()
    figure.legend(
        handles,
        labels,
        loc="outside upper left",
        ncols=2,
        fontsize=9.5,
        handlelength=1.8,
        columnspacing=0.9,
        borderaxespad=0.1,
    )
    return figure


def _mark(
    ax: Axes, x: float, words: str, height: float, shift: float = 1, align: str = "left"
) -> None:
    """Draw a dashed line at ``x``, and words at ``shift * x``, at a height from 0 to 1."""
    ax.axvline(x, color=GREY, linewidth=0.8, linestyle=(0, (4, 2)))
    place = ax.get_xaxis_transform()
    ax.text(shift * x, height, words, transform=place, ha=align, fontsize=7, color=GREY)


def _show_dates(ax: Axes, most: int) -> None:
    """Show at most ``most`` short dates on the x-axis."""
    locator = AutoDateLocator(minticks=3, maxticks=most)
    ax.xaxis.set_major_locator(locator)
    ax.xaxis.set_major_formatter(ConciseDateFormatter(locator))


@style.drawn
def dataset_overview(dataset: Dataset, sequences: Sequences) -> Figure:
    """Plot six views of a dataset: items, users, categories, months, and parts of its split."""
    events = dataset.interactions
    categories = dataset.items["categories"]  # a list for each item
    figure, axes = style.panels(7.2, 8.4, 3, 2)
    items, users, kinds, months, load, split = axes.flat

    # (a) Interactions of items, by popularity.
    counts = events["item_id"].value_counts().to_numpy()
    top = max(1, round(0.2 * len(counts)))
    items.loglog(np.arange(1, len(counts) + 1), counts, color=BLUE)
    share = counts[:top].sum() / counts.sum()
    words = f"top 20% of items:\n{share:.0%} of interactions"
    _mark(items, top, words, 0.08, shift=1 / 1.15, align="right")
    items.set(xlabel=f"item, by popularity (n = {len(counts):,})", ylabel="interactions")

    # (b) Interactions of users, by group if there are groups.
    lengths = events["user_id"].value_counts()
    colours: dict[str, Any] = {}
    if len(dataset.users):
        groups = dataset.users.set_index("user_id")["group"].reindex(lengths.index)
        groups = groups.fillna("unknown")
        sizes = groups.map(groups.value_counts()).map("{:,}".format)
        labels = groups + " (" + sizes + ")"
        few = labels.nunique() < 4
        colours = {
            "hue": labels.to_numpy(),
            "hue_order": sorted(set(labels)),
            "multiple": "stack",
            "palette": [BLUE, ORANGE, GREY][: labels.nunique()] if few else None,
        }
    sns.histplot(x=lengths, log_scale=True, bins=30, ax=users, color=BLUE, alpha=1, **colours)
    _mark(users, lengths.median(), f"median {lengths.median():g}", 0.93, shift=1.08)
    users.set(xlabel="interactions of a user", ylabel=f"users (n = {len(lengths):,})")
    users.xaxis.set_major_locator(ticker.LogLocator(subs=(1, 2, 5)))

    # (c) Items of the largest categories.
    items_of_category = categories.explode().value_counts()
    largest = items_of_category.sort_values(kind="stable")[-20:]
    bars = kinds.barh(largest.index, largest, color=BLUE)
    kinds.bar_label(bars, fmt="{:,.0f}", padding=2, fontsize=6.5, color=GREY)
    kinds.tick_params(axis="y", labelsize=6.5, length=0)
    label = "items of a category"
    if len(items_of_category) > 20:
        label += f", the 20 largest of {len(items_of_category)}"
    kinds.set(xlabel=label)
    kinds.margins(x=0.1)

    # (d) Interactions by month.
    times = pd.to_datetime(events["timestamp"], unit="s")
    by_month = pd.Series(1, times).resample("MS").sum()
    months.bar(by_month.index, by_month, width=26, align="edge", color=BLUE)
    months.set(xlabel="month", ylabel="interactions")
    _show_dates(months, 7)

    # (e) Categories of an item.
    per_item = categories.map(len)
    numbers, items_with_number = np.unique(per_item, return_counts=True)
    load.bar(numbers, items_with_number, color=BLUE)
    load.xaxis.set_major_locator(ticker.MaxNLocator(integer=True))
    load.set(xlabel=f"categories of an item (mean {per_item.mean():.2f})", ylabel="items")

    # (f) Interactions of the parts of the split.
    names = ["test", "valid", "train"]
    interactions = [sequences.description["counts"][name] for name in names]
    bars = split.barh(names, interactions, color=BLUE)
    split.bar_label(bars, fmt="{:,.0f}", padding=2, fontsize=7, color=GREY)
    split.set(xscale="log", xlim=(1, 10 * max(interactions)), xlabel="interactions of a part")
    split.tick_params(axis="y", length=0)

    for ax, letter in zip(axes.flat, "abcdef", strict=True):
        ax.set_title(letter)
    for axis in (items.xaxis, items.yaxis, users.xaxis, months.yaxis, load.yaxis, split.xaxis):
        axis.set_major_formatter("{x:,.0f}")
        axis.set_minor_formatter(ticker.NullFormatter())
    return figure


@style.drawn
def lines(
    curves: Curves,
    x_label: str,
    y_label: str,
    marked: Mapping | None = None,
    dots: bool = False,
    log: bool = False,
) -> Figure:
    """Plot curves ``(x, y)`` by name.

    ``marked`` has places on the x-axis by name. ``dots``: draw each point. ``log``: of the y-axis.
    """
    figure, ax = style.panels(4.4, 2.5)
    ax.set(xlabel=x_label, ylabel=y_label, yscale="log" if log else "linear")
    looks = zip(curves.items(), cycle(_LINES), strict=False)
    for (name, (x, y)), (colour, line) in looks:
        ax.plot(
            np.asarray(x, float),
            np.asarray(y, float),
            color=colour,
            linestyle=line,
            marker="o" if dots else None,
            label=name,
        )
    ax.xaxis.set_major_locator(ticker.MaxNLocator(6, integer=dots))
    if marked:
        for name, position in marked.items():
            _mark(ax, position, name, 1.01, align="center")
    if list(curves) != [""]:
        ax.legend(**_BESIDE)
    return figure


SLIDERS = ("tuned", "paragon", "generated", "hypernetwork", "nearest", "category_bias", "xquad")


@style.drawn
def people(summary: Mapping[str, Mapping], methods: Iterable[str] = SLIDERS) -> Figure:
    """Plot how many people are content after each move, and the accuracy of their lists."""
    moves = range(MOVES + 1)
    figure, (ax, kept) = style.panels(7.2, 3, 1, 2)
    for place, method in enumerate(methods):
        row = summary.get(method, {})
        if row.get("content_0") is None:
            continue
        line = _line_look(method)
        ax.plot(moves, [100 * row[f"content_{move}"] for move in moves], **line)
        alone = line | {"linestyle": "none", "markersize": 7}
        kept.plot([place], [100 * (row["content_kept"] or np.nan)], **alone)
    ax.set(title="content people, %", xlabel="moves")
    kept.set(title="accuracy of their lists, % of the backbone", xticks=[])
    style.method_legend(figure, ax)
    return figure


@style.drawn
def shares_below(
    samples: Mapping[str, ArrayLike], x_label: str, dates: bool = False, log: bool = False
) -> Figure:
    """Plot cumulative distributions of samples.

    ``dates``: values are seconds since 1970. ``log``: the x-axis is logarithmic, with 0 at 1/2.
    """
    figure, ax = style.panels(4.4, 2.5)
    ax.set(xlabel=x_label, ylabel="share of values up to this one", ylim=(0, 1))
    for (name, values), (colour, line) in zip(samples.items(), cycle(_LINES), strict=False):
        x = np.sort(np.ravel(np.asarray(values)))
        if dates:
            x = x.astype("datetime64[s]")
        elif log:
            x = np.maximum(x, 0.5)
        share = np.arange(1, len(x) + 1) / len(x)
        ax.step(x, share, where="post", color=colour, linestyle=line, label=name)
    ax.yaxis.set_major_formatter(ticker.PercentFormatter(1))
    if log:
        ax.set_xscale("log")
        ax.xaxis.set_major_formatter("{x:,g}")
    if dates:
        _show_dates(ax, 6)
    ax.legend(**_BESIDE)
    return figure


@style.drawn
def sequence_in_time(times: ArrayLike, parts: list[str]) -> Figure:
    """Plot one user's events: place in the sequence against time, by part of the split."""
    x = np.arange(1, len(parts) + 1)
    minutes = (np.asarray(times) - np.min(times)) / 60
    figure, ax = style.panels(4.4, 2.5)
    looks = {"train": (BLUE, "o", 2.5), "valid": ("#009E73", "s", 6), "test": (ORANGE, "^", 7)}
    for part, (colour, marker, size) in looks.items():
        rows = np.asarray(parts) == part
        ax.plot(x[rows], minutes[rows], marker, color=colour, markersize=size, label=part)
    ax.set(xlabel="place in the sequence", ylabel="minutes since the first event")
    ax.yaxis.set_major_formatter("{x:,.0f}")
    ax.legend(**_BESIDE)
    return figure


@style.drawn
def training_curves(curves: Mapping[str, Mapping], x_label: str | Mapping = "step") -> Figure:
    """Plot the training of models: a column for each model, a panel for each of its series.

    A series has values, or is a pair ``(x, values)``. ``x_label`` may differ by model.
    """
    rows = max(len(series) for series in curves.values())
    width = min(7.2, 2.6 * len(curves) + 0.6)
    height = 0.5 + 1.6 * rows
    figure, axes = style.panels(width, height, rows, len(curves), squeeze=False, sharex="col")
    for column, (model, series_of_model) in zip(axes.T, curves.items(), strict=True):
        for ax, (name, series) in zip(column, series_of_model.items(), strict=False):
            if isinstance(series, tuple):
                x, y = series
            else:
                x, y = range(1, len(series) + 1), series
            _draw_series(ax, pd.Series(np.asarray(y, float), np.asarray(x, float)))
            ax.set_ylabel(name.replace("_", " "))
            ax.locator_params(axis="x", integer=True)
        title = style.BACKBONES[model].label if model in style.BACKBONES else model
        column[0].set_title(title)
        last = column[len(series_of_model) - 1]
        last.set_xlabel(x_label if isinstance(x_label, str) else x_label.get(model, "step"))
        last.tick_params(labelbottom=True)
        for ax in column[len(series_of_model) :]:
            ax.set_axis_off()
    return figure


def _draw_series(ax: Axes, series: pd.Series) -> None:
    """Draw a series, smoothed if it is long, on a logarithmic axis if it falls far."""
    if len(series) >= 200:
        ax.plot(series, color=BLUE, alpha=0.25, linewidth=0.5)
        series = series.rolling(len(series) // 40, center=True, min_periods=1).mean()
    ax.plot(series, color=BLUE, marker="o" if len(series) <= 40 else None, markersize=2.5)
    if series.min() > 0 and series.max() > 30 * series.min():
        ax.set_yscale("log")
        ax.yaxis.set_major_formatter("{x:g}")


@style.drawn
def tuning_curves(steps: ArrayLike, validation: ArrayLike, weights: ArrayLike) -> Figure:
    """Plot losses ``[A, T]`` above their best over steps ``[T]``, coloured by weights ``[A]``."""
    x = np.asarray(steps)  # [T]
    losses = np.asarray(validation, float)  # [A, T]
    excess = losses - losses.min(1, keepdims=True)  # [A, T]
    positive = excess[excess > 0]
    floor = 1e-6  # of the axis: the power of ten below nearly all values
    if len(positive):
        floor = 10 ** np.floor(np.log10(np.quantile(positive, 0.02)))
    figure, ax = style.panels(4.6, 2.9)
    for line, weight in zip(excess, np.asarray(weights), strict=True):
        colour = style.WEIGHT_COLOURS(weight)
        ax.plot(x, np.maximum(line, floor), color=colour, linewidth=1.1)
        ax.plot(x[line.argmin()], floor, "o", color=colour, markersize=5, clip_on=False, zorder=4)
    ax.set(yscale="log", ylim=(floor, None), xlim=(x.min(), x.max()))
    ax.set(xlabel="step", ylabel="validation task loss\nin excess of the task's best")
    style.colour_bar(ax, ScalarMappable(cmap=style.WEIGHT_COLOURS), WEIGHT, 0.03, 1)
    small_print(figure, "Dots: each task's best step.")
    return figure


@style.drawn
def latent_space(**groups: tuple[ArrayLike, ArrayLike]) -> Figure:
    """Plot vectors ``[N, P]`` of each group by their weights ``[N, O]``, in two components.

    The components are those of the collected vectors. Vectors with a weight near 0 may be far
    away: the components and the axes ignore them, and they are drawn at the edge.
    """
    vectors = {name: np.asarray(group[0], float) for name, group in groups.items()}  # [N, P]
    weights = {name: np.asarray(group[1], float) for name, group in groups.items()}  # [N, O]
    inner = {}
    for name in groups:
        off_corners = vectors[name][weights[name].min(1) >= _CORNER]
        # In a small group the corners count, too.
        inner[name] = off_corners if len(off_corners) > 2 else vectors[name]
    mean = inner["collected"].mean(0)  # [P]
    _, spread, directions = np.linalg.svd(inner["collected"] - mean, full_matrices=False)
    shares = spread**2 / max((spread**2).sum(), np.finfo(float).tiny)  # of variance
    basis = directions[:2]  # [2, P]
    # The same sign on all machines.
    basis = basis * np.where(basis.sum(1, keepdims=True) < 0, -1, 1)

    points = (np.vstack(list(inner.values())) - mean) @ basis.T  # [all, 2]
    centre = (points.max(0) + points.min(0)) / 2
    reach = 0.56 * np.ptp(points, axis=0) + 1e-9  # from the centre to the edge
    ratio = float(np.clip(reach[1] / reach[0], 0.45, 0.8))
    figure, ax = style.panels(5.2, 1.2 + 4 * ratio)
    ax.set(xlim=centre[0] + [-reach[0], reach[0]], ylim=centre[1] + [-reach[1], reach[1]])
    ax.set_xlabel(f"component 1 ({shares[0]:.0%} of variance)")
    ax.set_ylabel(f"component 2 ({shares[1]:.0%} of variance)")
    beyond = 0
    for name in groups:
        places = (vectors[name] - mean) @ basis.T  # [N, 2]
        xy = places.clip(centre - reach, centre + reach)
        beyond += (xy != places).any(1).sum()
        of_accuracy = weights[name][:, 0]  # [N]
        if name in ("generated", "paragon"):
            line = xy[np.argsort(of_accuracy, kind="stable")]
            ax.plot(line[:, 0], line[:, 1], color=ORANGE, linewidth=0.8, zorder=1)
        ax.scatter(
            xy[:, 0],
            xy[:, 1],
            c=of_accuracy,
            cmap=style.WEIGHT_COLOURS,
            vmin=0,
            vmax=1,
            label=f"{name.replace('_', '-')} (n = {len(xy)})",
            clip_on=False,
            zorder=3,
            **_VECTORS[name],
        )
    legend = figure.legend(loc="outside upper left", ncols=3, columnspacing=1.2, handletextpad=0.2)
    for handle in filter(None, legend.legend_handles):
        handle.set(array=None, facecolor="#b0b0b0")
    style.colour_bar(ax, ScalarMappable(cmap=style.WEIGHT_COLOURS), WEIGHT, 0.03, 1)
    note = f"At the edge: {beyond} adapters with all weight on one objective, off the scale."
    small_print(figure, note if beyond else "")
    return figure


@style.drawn
def nearest_distances(distances: Mapping[str, ArrayLike]) -> Figure:
    """Plot distances to the nearest collected vector by group: box, median and values."""
    groups = {}
    for name, of_group in distances.items():
        values = np.asarray(of_group)
        groups[f"{name} (n = {values.size})"] = values
    figure, ax = style.panels(5.2, 0.7 + 0.42 * len(groups))
    sns.boxplot(
        groups,
        orient="h",
        ax=ax,
        whis=(0, 100),
        width=0.6,
        color="#e8e8e8",
        linecolor=GREY,
        linewidth=0.8,
        medianprops={"color": ORANGE, "linewidth": 1.8},
        showcaps=False,
        saturation=1,
    )
    for row, values in enumerate(groups.values()):
        jitter = 0.2 * np.sin(7.0 * np.arange(len(values)))  # reproducible
        ax.plot(values, row + jitter, "o", color=BLUE, alpha=0.6, markersize=2.6, mew=0, zorder=3)
    ax.set(xlabel="L2 distance to the nearest collected vector", xlim=(0, None))
    ax.tick_params(axis="y", length=0)
    return figure


@style.drawn
def latent_steps(rows: Mapping[str, ArrayLike], what: str = "latent coordinate") -> Figure:
    """Plot latents as rows of colours from -3 to 3, for example over steps of noise."""
    table = np.stack([np.asarray(row, float) for row in rows.values()])
    figure, ax = style.panels(5.4, 0.6 + 0.24 * len(table))
    extend = "both" if np.abs(table).max() > 3 else "neither"
    sns.heatmap(
        table,
        cmap="RdBu_r",
        vmin=-3,
        vmax=3,
        ax=ax,
        cbar_kws={"label": "its value", "extend": extend, "pad": 0.02, "aspect": 12},
        xticklabels=range(1, table.shape[1] + 1),
        yticklabels=list(rows),
    )
    ax.set_xlabel(what)
    ax.tick_params(length=0, axis="both", rotation=0)
    ax.tick_params(axis="x", labelsize=6.5)
    return figure
