"""The diagrams of the course: one a chapter, boxes and arrows that say the idea before the formula.

A diagram is data, in ``diagrams.yaml``: boxes with a place on a grid, and arrows between them.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any, NamedTuple

import yaml
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import FancyBboxPatch, Patch

from paragon.errors import ParagonError
from paragon_study.report import style
from paragon_study.report.figures.drawing import GREY

# What a box stands for: fill, edge, line, and its words in the legend.
KINDS: dict[str, tuple[str, str, Any, str]] = {
    "data": ("#FFFFFF", GREY, "-", "data"),
    "frozen": ("#DCEBF5", "#0072B2", "--", "frozen: does not change"),
    "trained": ("#FBE3D6", "#D55E00", "-", "trained here"),
    "made": ("#DDF1EA", "#009E73", "-", "result"),
}
WIDTH, HEIGHT = 1.12, 0.46  # of a box, in inches


class Box(NamedTuple):
    """A box: its centre in columns and rows, its text and what it stands for."""

    x: float
    y: float
    text: str
    kind: str = "data"
    wide: float = 1.0


class Arrow(NamedTuple):
    """An arrow from one box to another, with words at its middle; ``back``: a gradient."""

    start: str
    end: str
    text: str
    back: bool


class Diagram(NamedTuple):
    """Boxes by name, arrows between them, and a sentence below."""

    boxes: dict[str, Box]
    arrows: list[Arrow]
    caption: str


def _load(path: Path) -> dict[str, Diagram]:
    """The diagrams of the file, by chapter."""
    return {
        name: Diagram(
            {key: Box(*box) for key, box in own["boxes"].items()},
            _arrows(own["arrows"]),
            own["caption"],
        )
        for name, own in yaml.safe_load(path.read_text(encoding="utf-8")).items()
    }


def _arrows(chains: str) -> list[Arrow]:
    """The arrows of chains of boxes, ``a -> b -words-> c; d -> b``; ``=words=>`` for a gradient."""
    arrows = []
    for chain in chains.split("; "):
        start, *rest = re.split(r" ([-=])(?:([^>]+)\1)?> ", chain)
        for line, words, end in zip(rest[::3], rest[1::3], rest[2::3], strict=True):
            arrows.append(Arrow(start, end, words or "", line == "="))
            start = end
    return arrows


DIAGRAMS = _load(Path(style.__file__).with_name("diagrams.yaml"))


@style.drawn
def diagram(name: str) -> Figure:
    """The diagram of a chapter, ``data`` or ``generator`` for instance.

    Raises ``ParagonError`` for a name that has none.
    """
    if name not in DIAGRAMS:
        raise ParagonError(f"diagram: {name!r} is unknown; known: {', '.join(DIAGRAMS)}")
    boxes, arrows, caption = DIAGRAMS[name]
    left, right = (end(box.x for box in boxes.values()) for end in (min, max))
    low, high = (end(box.y for box in boxes.values()) for end in (min, max))
    figure = style.new(1.2 * (right - left) + 1.4, 0.85 * (high - low) + 1.25)
    ax = figure.subplots()
    ax.set(xlim=(1.2 * left - 0.66, 1.2 * right + 0.66), aspect="equal")
    ax.set_ylim(0.85 * low - 0.34, 0.85 * high + 0.34)
    ax.set_axis_off()
    for box in boxes.values():
        _draw_box(ax, box)
    for arrow in arrows:
        _draw_arrow(ax, boxes[arrow.start], boxes[arrow.end], arrow)
    used = [kind for kind in KINDS if any(box.kind == kind for box in boxes.values())]
    handles = [
        Patch(facecolor=fill, edgecolor=edge, linestyle=line, label=words)
        for fill, edge, line, words in map(KINDS.__getitem__, used)
    ]
    figure.legend(handles=handles, loc="outside upper left", ncols=len(used), handlelength=1.6)
    style.small_print(figure, caption)
    return figure


def _size(box: Box) -> tuple[float, float, float, float]:
    """Centre and half sizes of a box, in inches."""
    return 1.2 * box.x, 0.85 * box.y, WIDTH * box.wide / 2, HEIGHT / 2


def _draw_box(ax: Axes, box: Box) -> None:
    x, y, half_width, half_height = _size(box)
    fill, edge, line, _ = KINDS[box.kind]
    corner = x - half_width, y - half_height
    shape = FancyBboxPatch(
        corner, 2 * half_width, 2 * half_height, boxstyle="round,pad=0,rounding_size=0.06",
        facecolor=fill, edgecolor=edge, linestyle=line, linewidth=1.1,
    )  # fmt: skip
    ax.add_patch(shape)
    ax.text(x, y, box.text, ha="center", va="center", fontsize=7.2, linespacing=1.15)


def _draw_arrow(ax: Axes, start: Box, end: Box, arrow: Arrow) -> None:
    """From edge to edge: sideways where the boxes stand apart in x, else up or down."""
    (x, y, w, h), (to_x, to_y, to_w, to_h) = _size(start), _size(end)
    side = (to_x > x) - (to_x < x) if abs(to_x - x) > w + to_w else 0
    over = (to_y > y) - (to_y < y) if not side else 0
    begin = x + side * w, y + over * h
    stop = to_x - side * to_w, to_y - over * to_h
    line = {
        "arrowstyle": "-|>", "color": GREY, "linewidth": 1, "shrinkA": 1, "shrinkB": 1,
        "linestyle": (0, (2, 1.5)) if arrow.back else "-", "mutation_scale": 8,
    }  # fmt: skip
    ax.annotate("", stop, begin, arrowprops=line)
    if arrow.text:
        level = begin[1] == stop[1]
        middle = (begin[0] + stop[0]) / 2, (begin[1] + stop[1]) / 2 + 0.05 * level
        box = None if level else {"facecolor": "white", "edgecolor": "none", "pad": 1}
        ax.text(
            *middle, arrow.text, fontsize=6.5, color=GREY, bbox=box,
            ha="center", va="bottom" if level else "center",
        )  # fmt: skip
