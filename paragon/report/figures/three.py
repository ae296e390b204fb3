"""Three objectives at once: a value over their weights, and three metrics against each other."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib import ticker
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.tri import Triangulation

from paragon.errors import ParagonError
from paragon.metrics.checks import finite
from paragon.report import style
from paragon.report.figures import drawing
from paragon.report.style import look, metric_label


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
        ax.set_box_aspect(None, zoom=0.85)  # room for the names of the axes
        for axis, label in zip((ax.xaxis, ax.yaxis, ax.zaxis), labels, strict=True):
            axis.set_label_text(metric_label(label), fontsize=7)
            axis.set_tick_params(labelsize=6, pad=-1)
            axis.set_major_locator(ticker.MaxNLocator(4))
            axis.set_pane_color((1, 1, 1, 0))
    drawing.method_legend(figure, figure.axes[0])
    style.small_print(figure, "The same points from two sides. Stems: of the first group.")
    return figure
