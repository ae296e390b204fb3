"""Plot adapter vectors and their distances from the collection."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import seaborn as sns
from matplotlib import ticker
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import ArrayLike

from paragon.errors import ParagonError
from paragon.metrics.checks import check_array
from paragon_study.report import style
from paragon_study.report.figures.drawing import BLUE, GREY, ORANGE, WEIGHT_COLOURS, weight_bar

_CORNER = 0.01  # smaller weights count as 0
_LOOKS: dict[str, dict[str, Any]] = {
    "collected": {"marker": "o", "s": 40, "edgecolors": "white", "linewidths": 0.4},
    "held-out oracle": {"marker": "D", "s": 30, "edgecolors": "black", "linewidths": 1.1},
    "generated": {"marker": "^", "s": 34, "edgecolors": ORANGE, "linewidths": 1.1},
}


class _Plane:
    """The first two principal components of vectors ``[N, P]``."""

    def __init__(self, vectors: np.ndarray) -> None:
        self.centre = vectors.mean(0)
        _, spread, basis = np.linalg.svd(vectors - self.centre, full_matrices=False)
        # The same sign on all machines.
        self.basis = basis[:2] * np.where(basis[:2].sum(1, keepdims=True) < 0, -1, 1)
        self.share = spread**2 / max((spread**2).sum(), np.finfo(float).tiny)

    def project(self, vectors: np.ndarray) -> np.ndarray:
        return (vectors - self.centre) @ self.basis.T

    def label(self, ax: Axes) -> None:
        for number, (axis, share) in enumerate(zip((ax.xaxis, ax.yaxis), self.share, strict=False)):
            axis.set_label_text(f"component {number + 1} ({share:.0%} of variance)")


@style.drawn
def latent_space(
    collected: np.ndarray,
    collected_weights: np.ndarray,
    generated: np.ndarray | None,
    generated_weights: np.ndarray | None,
    held_out: np.ndarray | None = None,
    held_out_weights: np.ndarray | None = None,
) -> Figure:
    """Plot adapter vectors in the first two principal components of the collection.

    collected: ``[A, K, P]`` (K snapshots or seeds of A anchors) or ``[N, P]``; generated
    ``[W, P]``; held-out oracles ``[H, P]``; each with weights ``[.., O]``.  Adapters with all
    weight on one objective are distant: they do not count for the components, and lie at the edge.
    """
    vectors, weights = np.asarray(collected, float), np.asarray(collected_weights, float)
    if vectors.ndim == 3:
        weights = np.repeat(weights, vectors.shape[1], axis=0)
        vectors = vectors.reshape(-1, vectors.shape[-1])
    groups = {
        "collected": (vectors, weights),
        "held-out oracle": (held_out, held_out_weights),
        "generated": (generated, generated_weights),
    }
    clouds = {
        key: (check_array(key, v, "NM"), check_array(f"{key} weights", w, "NM"))
        for key, (v, w) in groups.items()
        if v is not None and w is not None
    }
    # Corners count in groups with fewer than three other vectors.
    off = {key: v[w.min(1) >= _CORNER] for key, (v, w) in clouds.items()}
    inner = {key: group if len(group) > 2 else clouds[key][0] for key, group in off.items()}
    plane = _Plane(inner["collected"])
    points = plane.project(np.vstack(list(inner.values())))
    centre, edge = (points.max(0) + points.min(0)) / 2, 0.56 * np.ptp(points, axis=0) + 1e-9
    figure = style.new(5.2, 1.2 + 4 * float(np.clip(edge[1] / edge[0], 0.45, 0.8)))
    ax = figure.subplots()
    ax.set(xlim=centre[0] + [-edge[0], edge[0]], ylim=centre[1] + [-edge[1], edge[1]])
    beyond = 0
    for key, (v, w) in clouds.items():
        xy, order = plane.project(v), np.argsort(w[:, 0], kind="stable")
        beyond += int((np.abs(xy - centre) > edge).any(1).sum())
        xy = np.clip(xy, centre - edge, centre + edge)
        if key == "generated":
            ax.plot(*xy[order].T, color=ORANGE, linewidth=0.8, zorder=1)
        ax.scatter(
            xy[:, 0], xy[:, 1], c=w[:, 0], cmap=WEIGHT_COLOURS, vmin=0, vmax=1,
            label=f"{key} (n = {len(v)})", zorder=3, clip_on=False, **_LOOKS[key],
        )  # fmt: skip
    plane.label(ax)
    box = figure.legend(loc="outside upper left", ncols=3, columnspacing=1.2, handletextpad=0.2)
    for handle in filter(None, box.legend_handles):
        handle.set(array=None, facecolor="#b0b0b0")
    weight_bar(ax)
    few = f"At the edge: {beyond} adapters with all weight on one objective, off the scale."
    style.small_print(figure, few if beyond else "")
    return figure


@style.drawn
def modes(clouds: Mapping[str, np.ndarray]) -> Figure:
    """Plot groups of vectors ``[N, P]`` in their principal components, the last two on top."""
    groups = {name: check_array(name, values, "NM") for name, values in clouds.items()}
    plane = _Plane(np.vstack(list(groups.values())))
    figure = style.new(5.2, 3.6)
    ax = figure.subplots()
    palette, last = sns.color_palette("colorblind"), len(groups) - 2
    for number, (name, values) in enumerate(groups.items()):
        marks: dict[str, Any] = {"marker": "osDv"[number % 4], "color": palette[number % 10]}
        marks |= {"s": 22, "alpha": 0.7, "linewidths": 0}
        if number >= last:
            marker = {"marker": "X^"[number - last], "s": 34, "edgecolors": "black"}
            marks = {"color": ["white", ORANGE][number - last], "linewidths": 0.7, **marker}
        ax.scatter(*plane.project(values).T, label=name, zorder=2 + (number >= last), **marks)
    plane.label(ax)
    figure.legend(loc="outside upper left", ncols=5, columnspacing=0.8, handletextpad=0.1)
    return figure


@style.drawn
def nearest_distances(distances: Mapping[str, ArrayLike]) -> Figure:
    """Plot distances to the nearest collected vector by group: box, median and values."""
    if not distances:
        raise ParagonError("distances: there is no group to draw")
    groups = {name: check_array(name, values) for name, values in distances.items()}
    together = np.concatenate(list(groups.values()))
    log = bool(together.min() > 0 and together.max() > 30 * together.min())
    figure = style.new(5.2, 0.7 + 0.42 * len(groups))
    ax = figure.subplots()
    if log:
        ax.set_xscale("log")
    for row, values in enumerate(groups.values()):
        low, first, middle, third, high = np.quantile(values, [0, 0.25, 0.5, 0.75, 1])
        ax.hlines(row, low, high, color=GREY, linewidth=0.8, zorder=1)
        ax.barh(row, third - first, 0.6, first, color="#e8e8e8", edgecolor=GREY, linewidth=0.8)
        ax.vlines(middle, row - 0.3, row + 0.3, color=ORANGE, linewidth=1.8, zorder=4)
        jitter = 0.2 * np.sin(7.0 * np.arange(len(values)))  # reproducible
        ax.plot(values, row + jitter, "o", color=BLUE, alpha=0.6, markersize=2.6, mew=0, zorder=3)
    ax.invert_yaxis()
    ax.set_yticks(range(len(groups)), [f"{n} (n = {len(v)})" for n, v in groups.items()])
    ax.set(xlabel="L2 distance to the nearest collected vector" + (", log scale" if log else ""))
    if log:
        ax.xaxis.set_major_locator(ticker.LogLocator(subs=(1, 2, 5)))
        ax.xaxis.set_major_formatter("{x:g}")
        ax.xaxis.set_minor_formatter(ticker.NullFormatter())
    else:
        ax.set_xlim(left=0)
    ax.tick_params(axis="y", length=0)
    return figure


@style.drawn
def latent_steps(rows: Mapping[str, ArrayLike], what: str = "latent coordinate") -> Figure:
    """Plot latents as rows of colours from -3 to 3, for example over steps of noise."""
    table = np.stack([check_array(name, row) for name, row in rows.items()])
    figure = style.new(5.4, 0.6 + 0.24 * len(table))
    ax = figure.subplots()
    image = ax.imshow(table, cmap="RdBu_r", vmin=-3, vmax=3, aspect="auto")
    ax.set(yticks=range(len(rows)), yticklabels=list(rows), xlabel=what)
    places = np.arange(table.shape[1])
    ax.set_xticks(places, [f"{place + 1}" for place in places], fontsize=6.5)
    ax.tick_params(length=0)
    ax.spines[:].set_visible(False)
    beyond = "both" if np.abs(table).max() > 3 else "neither"
    bar = figure.colorbar(image, ax=ax, pad=0.02, aspect=12, label="its value", extend=beyond)
    bar.outline.set_linewidth(0)
    return figure
