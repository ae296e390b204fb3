"""The diagrams of the course: one a chapter, boxes and arrows that say the idea before the formula.

A diagram is data: boxes with a place on a grid, and arrows between them.
"""

from __future__ import annotations

import re
from typing import Any, NamedTuple

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import FancyBboxPatch, Patch

from paragon.errors import ParagonError
from paragon.report import style
from paragon.report.figures.drawing import GREY

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
    text: str = ""
    back: bool = False


class Diagram(NamedTuple):
    """Boxes by name, arrows between them (see `arrows_of`), and a sentence below."""

    boxes: dict[str, Box]
    arrows: str
    caption: str


DIAGRAMS = {
    "data": Diagram(
        {
            "events": Box(0, 1, "raw events:\nuser, item, time"),
            "order": Box(1.4, 1, "one sequence\nfor each user"),
            "past": Box(2.8, 1, "all but the\nlast two events"),
            "valid": Box(3.78, 1, "the last\nbut one"),
            "test": Box(4.76, 1, "the last\nevent"),
            "training": Box(2.8, 0, "training:\nfit the model", "made"),
            "stop": Box(3.78, 0, "validation:\nwhen to stop", "made"),
            "result": Box(4.76, 0, "test: the\nresults, once", "made"),
        },
        "events -sort-> order -split-> past -> training; valid -> stop; test -> result",
        "Leave-one-out: the end of every sequence is held out. The history of an event is "
        "everything before it.",
    ),
    "backbones": Diagram(
        {
            "history": Box(0, 0.5, "history\n$i_1, \\dots, i_{t-1}$"),
            "net": Box(1.4, 0.5, "network $f_\\theta$", "trained"),
            "state": Box(2.8, 0.5, "user state $s$"),
            "items": Box(2.8, -0.5, "item vectors $e_i$", "trained"),
            "scores": Box(4.2, 0.5, "a score for\nevery item"),
            "list": Box(5.6, 0.5, "ranked list", "made"),
        },
        "history -> net -> state -$s \\cdot e_i$-> scores; items -> scores -sort-> list",
        "One vector for what is known of the user, one for each item; their product is the score.",
    ),
    "adapters": Diagram(
        {
            "history": Box(0, 0, "history"),
            "net": Box(1.4, 0, "backbone $f_\\theta$", "frozen"),
            "state": Box(2.8, 0, "user state $s$"),
            "adapter": Box(4.2, 0, "adapter $\\phi$", "trained"),
            "scores": Box(5.6, 0, "scores, then\na list", "made"),
            "items": Box(5.6, -1, "items $e_i$, $g_i$", "frozen"),
            "weights": Box(4.2, 1, "weights $w$"),
            "loss": Box(5.6, 1, "task loss of\nthese weights"),
        },
        "history -> net -> state -> adapter -$s'$-> scores; items -> scores; weights -> loss; "
        "scores -> loss =gradient=> adapter",
        "Only the adapter changes. Other weights, another loss, another adapter.",
    ),
    "generator": Diagram(
        {
            "collection": Box(0, 1, "adapters $\\phi$ of\nthe anchors"),
            "clean": Box(1.4, 1, "latent $z_0$"),
            "noisy": Box(2.8, 1, "noisy latent $z_t$"),
            "net": Box(4.2, 1, "denoiser $v_\\eta$", "trained"),
            "loss": Box(5.6, 1, "loss: $\\hat v$ against\nthe true $v_t$"),
            "weights": Box(4.2, 2, "weights $w$"),
            "noise": Box(0, 0, "pure noise $z_T$"),
            "loop": Box(2.1, 0, "the same denoiser,\na few times", "frozen", 1.3),
            "out": Box(4.2, 0, "latent $z_0$ for\nany weights"),
            "adapter": Box(5.6, 0, "a new adapter", "made"),
        },
        "collection -encode-> clean -+ noise-> noisy -> net -> loss; weights -> net; "
        "noise -> loop -less noise-> out -decode-> adapter",
        "Above: training, from adapters to noise and back. Below: sampling, from noise to an "
        "adapter.",
    ),
    "rivals": Diagram(
        {
            "w1": Box(0, 2, "weights $w$"),
            "bias": Box(1.6, 2, "a number for each\ncategory, $u(w)$", "trained", 1.2),
            "fixed1": Box(3.3, 2, "backbone", "frozen"),
            "list1": Box(4.8, 2, "category_bias", "made"),
            "w2": Box(0, 1, "weights $w$"),
            "all": Box(1.6, 1, "adapter", "trained", 1.2),
            "fixed2": Box(3.3, 1, "backbone", "trained"),
            "list2": Box(4.8, 1, "retrain", "made"),
            "w3": Box(0, 0, "any weights $w$"),
            "net": Box(1.6, 0, "a function $h_\\psi$\nmakes an adapter", "trained", 1.2),
            "fixed3": Box(3.3, 0, "backbone", "frozen"),
            "list3": Box(4.8, 0, "hypernetwork,\nlinear_subspace", "made"),
        },
        "w1 -> bias -> fixed1 -> list1; w2 -> all -> fixed2 -> list2; w3 -> net -> fixed3 -> list3",
        "What is trained for new weights: a few numbers, everything, or once and for all a "
        "function of the weights.",
    ),
    "evaluation": Diagram(
        {
            "weights": Box(0, 0, "weights $w$,\nfrom 0 to 1"),
            "method": Box(1.4, 0, "a method", "frozen"),
            "lists": Box(2.8, 0, "a list for each\ntest event"),
            "point": Box(4.2, 0, "accuracy and\ndiversity"),
            "curve": Box(5.6, 0.5, "follows $w$?\ncorrelation", "made"),
            "volume": Box(5.6, -0.5, "reaches far?\nhypervolume", "made"),
        },
        "weights -> method -> lists -measure-> point -> curve; point -> volume",
        "Every method goes through the same steps, on the same test events and the same weights.",
    ),
    "ablations": Diagram(
        {
            "study": Box(0, 1, "the study's\nsettings"),
            "changed": Box(0, 0, "one setting\nchanged"),
            "one": Box(1.5, 1, "a generator", "trained"),
            "other": Box(1.5, 0, "a generator", "trained"),
            "valid": Box(3, 1, "choice, on\nvalidation"),
            "test": Box(3, 0, "regret, on test"),
            "answer": Box(4.5, 0.5, "what the\nsetting buys", "made"),
        },
        "study -> one; changed -> other; one -> valid; one -> test; other -> valid; "
        "other -> test; valid -> answer; test -> answer",
        "Everything else stays as it is, seeds included; so the difference comes from the setting.",
    ),
    "your data": Diagram(
        {
            "table": Box(0, 0, "your table"),
            "data": Box(1.4, 0, "sequences"),
            "net": Box(2.8, 0, "backbone", "trained"),
            "collection": Box(4.2, 0, "adapters of\nthe anchors", "trained"),
            "generator": Box(5.6, 0, "generator", "trained"),
            "use": Box(5.6, -1, "recommender,\ndemo page", "made"),
        },
        "table -> data -> net -> collection -> generator -> use",
        "Notebooks 1 to 4 in one line, on data of your own.",
    ),
}


def arrows_of(chains: str) -> list[Arrow]:
    """The arrows of chains of boxes, ``a -> b -words-> c; d -> b``; ``=words=>`` for a gradient."""
    arrows = []
    for chain in chains.split("; "):
        start, *rest = re.split(r" ([-=])(?:([^>]+)\1)?> ", chain)
        for line, words, end in zip(rest[::3], rest[1::3], rest[2::3], strict=True):
            arrows.append(Arrow(start, end, words or "", line == "="))
            start = end
    return arrows


@style.drawn
def diagram(name: str) -> Figure:
    """The diagram of a chapter, ``data`` or ``generator`` for instance.

    Raises ``ParagonError`` for a name that has none.
    """
    if name not in DIAGRAMS:
        raise ParagonError(f"diagram: {name!r} is unknown; known: {', '.join(DIAGRAMS)}")
    boxes, chains, caption = DIAGRAMS[name]
    left, right = (end(box.x for box in boxes.values()) for end in (min, max))
    low, high = (end(box.y for box in boxes.values()) for end in (min, max))
    figure = style.new(1.2 * (right - left) + 1.4, 0.85 * (high - low) + 1.25)
    ax = figure.subplots()
    ax.set(xlim=(1.2 * left - 0.66, 1.2 * right + 0.66), aspect="equal")
    ax.set_ylim(0.85 * low - 0.34, 0.85 * high + 0.34)
    ax.set_axis_off()
    for box in boxes.values():
        _draw_box(ax, box)
    for arrow in arrows_of(chains):
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
