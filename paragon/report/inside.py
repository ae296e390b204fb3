"""Figures of what goes into the study and what is learned: data, training, vectors.

Import them from :mod:`paragon.plots`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import seaborn as sns
from matplotlib import dates, ticker
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize
from matplotlib.figure import Figure
from matplotlib.tri import Triangulation

from paragon.errors import ParagonError
from paragon.metrics.checks import finite
from paragon.report import style as style
from paragon.report.style import drawn

_WEIGHTS = sns.color_palette("viridis", as_cmap=True)  # dark to light: ordered in grey too
_BLUE, _ORANGE, _GREY = "#0072B2", "#D55E00", "#555555"


@drawn
def dataset_overview(
    popularity: Sequence[int],
    lengths: Sequence[int],
    categories: Mapping[str, int],
    timestamps: Sequence[float],
    carried: Sequence[int],
    parts: Mapping[str, int],
    groups: Sequence[str] | None = None,
) -> Figure:
    """Six views of a dataset.

    popularity: interactions per item; lengths: interactions per user; categories:
    items per category; timestamps: seconds since 1970 per event; carried:
    categories per item; parts: events per part of the split; groups: the group
    of each user, in the order of ``lengths``.
    """
    popularity = np.sort(finite("popularity", popularity))[::-1]
    lengths, timestamps = finite("lengths", lengths), finite("timestamps", timestamps)
    counts = finite("categories", list(categories.values()))
    carried = finite("carried", carried)
    figure = style.new(7.2, 6.6)
    (items, users), (kinds, time), (load, split) = figure.subplots(3, 2)

    top = max(1, round(0.2 * len(popularity)))
    share = popularity[:top].sum() / max(popularity.sum(), 1)
    items.loglog(np.arange(1, len(popularity) + 1), popularity, color=_BLUE)
    items.axvline(top, color=_GREY, linewidth=0.8, linestyle=(0, (4, 2)))
    items.text(top / 1.15, 0.08, f"top 20% of items:\n{share:.0%} of interactions", ha="right",
               transform=items.get_xaxis_transform(), fontsize=7, color=_GREY)  # fmt: skip
    items.set(xlabel=f"item, by popularity (n = {len(popularity):,})", ylabel="interactions")

    middle = np.median(lengths)
    hue = {}
    if groups is not None:
        sizes = {name: sum(g == name for g in groups) for name in sorted(set(groups))}
        named = [f"{g} ({sizes[g]:,})" for g in groups]
        hue = {"hue": named, "hue_order": sorted(set(named)), "multiple": "stack"}
        hue["palette"] = [_BLUE, _ORANGE, _GREY][: len(sizes)] if len(sizes) < 4 else None
    sns.histplot(x=lengths, log_scale=True, bins=30, ax=users, color=_BLUE, alpha=1, **hue)
    users.axvline(middle, color=_GREY, linewidth=0.8, linestyle=(0, (4, 2)))
    users.text(middle * 1.08, 0.93, f"median {middle:g}", fontsize=7, color=_GREY,
               transform=users.get_xaxis_transform())  # fmt: skip
    users.set(xlabel="interactions of a user", ylabel=f"users (n = {len(lengths):,})")

    order = np.argsort(counts, kind="stable")[-20:]
    bars = kinds.barh([list(categories)[i] for i in order], counts[order], color=_BLUE)
    kinds.bar_label(bars, fmt="{:,.0f}", padding=2, fontsize=5.5, color=_GREY)
    kinds.tick_params(axis="y", labelsize=5.5, length=0)
    shown = "" if len(order) == len(counts) else f", the {len(order)} largest of {len(counts)}"
    kinds.set(xlabel=f"items of a category{shown}")

    months = timestamps.astype("datetime64[s]").astype("datetime64[M]").astype(int)
    events = np.bincount(months - months.min())
    starts = np.arange(months.min(), months.max() + 1).astype("datetime64[M]")
    time.bar(starts.astype("datetime64[D]"), events, width=26, align="edge", color=_BLUE)
    locator = dates.AutoDateLocator(minticks=3, maxticks=7)
    time.xaxis.set_major_locator(locator)
    time.xaxis.set_major_formatter(dates.ConciseDateFormatter(locator))
    time.set(xlabel="month", ylabel="interactions")
    values, frequency = np.unique(carried.astype(int), return_counts=True)
    load.bar(values, frequency, color=_BLUE)
    load.xaxis.set_major_locator(ticker.MaxNLocator(integer=True))
    load.set(xlabel=f"categories of an item (mean {carried.mean():.2f})", ylabel="items")

    names = list(parts)[::-1]
    bars = split.barh(names, [parts[name] for name in names], color=_BLUE)
    split.bar_label(bars, fmt="{:,.0f}", padding=2, fontsize=7, color=_GREY)
    split.set(xscale="log", xlim=(1, 10 * max(parts.values())), xlabel="interactions of a part")
    split.tick_params(axis="y", length=0)
    for ax, letter in zip((items, users, kinds, time, load, split), "abcdef", strict=True):
        ax.set_title(letter)
    for axis in (items.xaxis, items.yaxis, users.xaxis, time.yaxis, load.yaxis, split.xaxis):
        axis.set_major_formatter(ticker.FuncFormatter(lambda x, _: f"{x:,.0f}"))
        axis.set_minor_formatter(ticker.NullFormatter())
    users.xaxis.set_major_locator(ticker.LogLocator(subs=(1, 2, 5)))
    kinds.margins(x=0.1)
    return figure


@drawn
def latent_space(
    collected: np.ndarray,
    collected_weights: np.ndarray,
    generated: np.ndarray,
    generated_weights: np.ndarray,
    held_out: np.ndarray | None = None,
    held_out_weights: np.ndarray | None = None,
    objective: int = 0,
    name: str = "w_accuracy",
) -> Figure:
    """Adapter vectors in the first two principal components of the collection.

    collected: ``[A, K, P]`` (K snapshots or seeds of A anchors) or ``[N, P]``,
    generated ``[W, P]``, held-out oracles ``[H, P]``, each with its weights
    ``[.., O]``, one row a vector or, for ``[A, K, P]``, one row an anchor.
    Colour is the weight of ``objective``.
    """
    vectors, weights = np.asarray(collected, float), np.asarray(collected_weights, float)
    if vectors.ndim == 3:
        if len(weights) == len(vectors) and weights.ndim == 2:
            weights = np.repeat(weights, vectors.shape[1], axis=0)
        vectors = vectors.reshape(-1, vectors.shape[-1])
    clouds = {
        "collected": (vectors, weights.reshape(-1, weights.shape[-1])),
        "held-out oracle": (held_out, held_out_weights),
        "generated": (generated, generated_weights),
    }
    clouds = {k: (finite(k, v, 2), finite(f"{k} weights", w, 2)) for k, (v, w) in clouds.items()
              if v is not None}  # fmt: skip
    vectors = clouds["collected"][0]
    for key, (v, w) in clouds.items():
        if len(v) != len(w) or v.shape[1] != vectors.shape[1]:
            raise ParagonError(f"{key}: vectors {v.shape} and weights {w.shape} do not match")
    if min(vectors.shape) < 2:
        raise ParagonError(f"collected: two components need two vectors, found {vectors.shape}")
    centre = vectors.mean(0)
    _, spread, basis = np.linalg.svd(vectors - centre, full_matrices=False)
    basis = basis[:2] * np.where(basis[:2].sum(1, keepdims=True) < 0, -1, 1)  # a sign that stays
    share = spread**2 / max((spread**2).sum(), np.finfo(float).tiny)

    reach = np.ptp((np.vstack([v for v, _ in clouds.values()]) - centre) @ basis.T, axis=0)
    figure = style.new(5.2, 1 + 4 * float(np.clip(reach[1] / max(reach[0], 1e-12), 0.4, 0.8)))
    ax = figure.subplots()
    looks = {
        "collected": {"marker": "o", "s": 34, "alpha": 0.55, "linewidths": 0, "zorder": 2},
        "held-out oracle": {"marker": "D", "s": 26, "edgecolors": "black", "linewidths": 0.8},
        "generated": {"marker": "^", "s": 30, "edgecolors": _ORANGE, "linewidths": 0.9},
    }
    for key, (v, w) in clouds.items():
        xy, order = (v - centre) @ basis.T, np.argsort(w[:, objective], kind="stable")
        if key == "generated":
            ax.plot(*xy[order].T, color=_ORANGE, linewidth=0.8, zorder=1)
        ax.scatter(
            *xy.T, c=w[:, objective], cmap=_WEIGHTS, vmin=0, vmax=1,
            label=f"{key} (n = {len(v)})", **{"zorder": 3, **looks[key]},
        )  # fmt: skip
    for axis, part, number in ((ax.xaxis, share[0], 1), (ax.yaxis, share[1], 2)):
        axis.set_label_text(f"component {number} ({part:.1%} of variance)")
    ax.set_aspect("equal", adjustable="datalim")
    box = figure.legend(loc="outside upper left", ncols=3, columnspacing=1.2, handletextpad=0.2)
    for handle in box.legend_handles:
        handle.set(array=None, facecolor="#b0b0b0")
    _colour_bar(ax, ScalarMappable(Normalize(0, 1), _WEIGHTS), name)
    return figure


def _colour_bar(
    ax: Axes, colours: ScalarMappable, label: str, pad: float = 0.03, shrink: float = 1
) -> None:
    bar = ax.figure.colorbar(colours, ax=ax, aspect=30, pad=pad, shrink=shrink)
    bar.set_label(label)
    bar.outline.set_linewidth(0)


@drawn
def training_curves(
    curves: Mapping[str, Mapping[str, Sequence[float] | tuple]], x_label: str | Mapping = "step"
) -> Figure:
    """A column for each model, a panel for each of its series.

    A series is a sequence of values (x is then 1, 2, …) or a pair
    ``(x, values)``.  Long series are shown as a running mean over the raw
    values; a series that spans more than a factor of 30 has a log scale.
    ``x_label`` is one label or one per model.
    """
    if not curves or not all(curves.values()):
        raise ParagonError("curves: there is no series to draw")
    rows = max(map(len, curves.values()))
    figure = style.new(min(7.2, 2.6 * len(curves) + 0.6), 0.5 + 1.6 * rows)
    axes = figure.subplots(rows, len(curves), squeeze=False, sharex="col")
    for column, (model, group) in zip(axes.T, curves.items(), strict=True):
        for ax, (name, series) in zip(column, group.items(), strict=False):
            pair = isinstance(series, tuple) and len(series) == 2 and np.ndim(series[0]) == 1
            y = finite(f"{model}, {name}", series[1] if pair else series)
            x = finite(f"{model}, {name}, x", series[0]) if pair else np.arange(1, len(y) + 1)
            if len(x) != len(y):
                raise ParagonError(f"{model}, {name}: {len(x)} steps for {len(y)} values")
            window = len(y) // 40 if len(y) >= 200 else 1
            if window > 1:
                ax.plot(x, y, color=_BLUE, alpha=0.25, linewidth=0.5)
                total = np.convolve(y, np.ones(window), "same")
                y = total / np.convolve(np.ones(len(y)), np.ones(window), "same")
            ax.plot(x, y, color=_BLUE, marker="o" if len(y) <= 40 else None, markersize=2.5)
            if y.min() > 0 and y.max() > 30 * y.min():
                ax.set_yscale("log")
                ax.yaxis.set_major_formatter(ticker.FuncFormatter(lambda v, _: f"{v:g}"))
            ax.set_ylabel(name)
        column[0].set_title(model)
        label = x_label if isinstance(x_label, str) else x_label.get(model, "step")
        column[len(group) - 1].set_xlabel(label)
        column[len(group) - 1].tick_params(labelbottom=True)
        for ax in column[len(group) :]:
            ax.set_axis_off()
    return figure


@drawn
def tuning_curves(
    steps: Sequence[float], validation: np.ndarray, weights: Sequence[float]
) -> Figure:
    """Validation task loss of every task above its own best, over the steps of joint tuning.

    steps ``[T]``, validation ``[A, T]``, weights ``[A]`` (of accuracy: the colour).
    A dot at the lower edge marks where a task is at its best.
    """
    steps, losses = finite("steps", steps), finite("validation", validation, 2)
    weights = finite("weights", weights)
    if losses.shape != (len(weights), len(steps)):
        raise ParagonError(
            f"validation: shape {losses.shape} for {len(weights)} weights and {len(steps)} steps"
        )
    excess = losses - losses.min(1, keepdims=True)
    positive = excess[excess > 0]
    floor = 10 ** np.floor(np.log10(np.quantile(positive, 0.02))) if len(positive) else 1e-6
    figure = style.new(4.6, 2.9)
    ax = figure.subplots()
    for line, weight in zip(excess, weights, strict=True):
        ax.plot(steps, np.maximum(line, floor), color=_WEIGHTS(weight), linewidth=1.1)
        best = steps[line.argmin()]
        ax.plot(best, floor, "o", color=_WEIGHTS(weight), markersize=5, clip_on=False, zorder=4)
    ax.set(yscale="log", ylim=(floor, None), xlim=(steps.min(), steps.max()))
    ax.yaxis.set_major_formatter(ticker.FuncFormatter(lambda v, _: f"{v:g}"))
    ax.set(xlabel="step", ylabel="validation task loss\nin excess of the task's best")
    _colour_bar(ax, ScalarMappable(Normalize(0, 1), _WEIGHTS), "w_accuracy")
    style.note(figure, "Dots: each task's best step.")
    return figure


@drawn
def memorisation(distances: Mapping[str, Sequence[float]]) -> Figure:
    """Distances to the nearest collected vector, a row a group: box, median and every value."""
    if not distances:
        raise ParagonError("distances: there is no group to draw")
    groups = {name: finite(name, values) for name, values in distances.items()}
    every = np.concatenate(list(groups.values()))
    log = bool(every.min() > 0 and every.max() > 30 * every.min())
    figure = style.new(5.2, 0.7 + 0.42 * len(groups))
    ax = figure.subplots()
    if log:
        ax.set_xscale("log")
    for row, values in enumerate(groups.values()):
        low, first, middle, third, high = np.quantile(values, [0, 0.25, 0.5, 0.75, 1])
        ax.hlines(row, low, high, color=_GREY, linewidth=0.8, zorder=1)
        ax.barh(row, third - first, 0.6, first, color="#e8e8e8", edgecolor=_GREY, linewidth=0.8)
        ax.vlines(middle, row - 0.3, row + 0.3, color=_ORANGE, linewidth=1.8, zorder=4)
        jitter = 0.2 * np.sin(7.0 * np.arange(len(values)))  # spread, and the same every time
        ax.plot(values, row + jitter, "o", color=_BLUE, alpha=0.6, markersize=2.6, mew=0, zorder=3)
    ax.invert_yaxis()
    ax.set_yticks(range(len(groups)), [f"{n} (n = {len(v)})" for n, v in groups.items()])
    ax.set(xlabel="L2 distance to the nearest collected vector" + (", log scale" if log else ""))
    if log:
        ax.xaxis.set_major_locator(ticker.LogLocator(subs=(1, 2, 5)))
        ax.xaxis.set_major_formatter(ticker.FuncFormatter(lambda v, _: f"{v:g}"))
        ax.xaxis.set_minor_formatter(ticker.NullFormatter())
    else:
        ax.set_xlim(left=0)
    ax.tick_params(axis="y", length=0)
    return figure


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
    figure = style.new(4.2, 3.3)
    ax = figure.subplots()
    filled = ax.tricontourf(Triangulation(*xy.T), values, levels=12, cmap=_WEIGHTS)
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
    _colour_bar(ax, filled, title, shrink=0.85, pad=0.08)
    style.note(figure, "Numbers on an edge: the weight of the corner it leads to, anticlockwise.")
    return figure
