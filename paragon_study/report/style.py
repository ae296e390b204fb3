"""The style of figures: looks of methods, labels, intervals over seeds, legends, saving."""

import functools
import io
import math
import textwrap
import zlib
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, NamedTuple

import matplotlib.style
import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib import ticker
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.figure import Figure

from paragon.metrics.statistics import mean_interval
from paragon.storage import atomic_path

BLUE = "#0072B2"
ORANGE = "#D55E00"
GREY = "#555555"
WEIGHT = "weight of accuracy"
WEIGHT_COLOURS = sns.color_palette("viridis", as_cmap=True)  # also ordered in grey
SHARED: dict[str, Any] = {"sharex": True, "sharey": "row", "squeeze": False}  # of `panels`
STYLE = [sns.axes_style("ticks"), Path(__file__).with_name("paragon.mplstyle")]


class Look(NamedTuple):
    """The appearance of a method or backbone in all figures."""

    label: str
    colour: str
    marker: str
    line: object = "-"


_DASH = (0, (5, 1.5))
_DOT = (0, (1, 1.3))
_DASHDOT = (0, (5, 1.5, 1, 1.5))

# Colours for colour-blind readers: the sets of Okabe-Ito and Paul Tol (muted).  Markers and dashes
# distinguish methods in grey.
METHODS = {
    "tuned": Look("tuned (reference)", "#a3a3a3", "o"),  # wide, below the others
    "tuned_alone": Look("tuned for exactly these weights", "#777777", "s", _DOT),
    "paragon": Look("Paragon, the paper's recipe", "#882255", "D", _DASH),
    "paragon_no_cfg": Look("Paragon without guidance", "#B3446C", "d", _DOT),
    "paragon_transformer": Look("Paragon, released architecture", "#661100", "v", _DASHDOT),
    "generated": Look("Paragon with task loss (ours)", "#D55E00", "o"),
    "generated_shuffled": Look("ours, weights shuffled", "#CC79A7", "X", _DOT),
    "interpolation": Look("interpolation", "#0072B2", "s", _DASH),
    "rbf": Look("thin-plate spline", "#6699CC", "h", _DASHDOT),
    "ridge": Look("ridge regression", "#117733", "p", _DASHDOT),
    "interpolation_log": Look("interpolation, log-ratios", "#1F77B4", "D", _DOT),
    "rbf_log": Look("thin-plate spline, log-ratios", "#7A9CC6", "h", _DOT),
    "ridge_log": Look("ridge regression, log-ratios", "#2CA02C", "p", _DOT),
    "nearest": Look("nearest anchor", "#56B4E9", "v", _DASHDOT),
    "soup": Look("soup of two", "#009E73", "^", _DASHDOT),
    "constant": Look("constant (middle)", "#555555", "s", _DOT),
    "hypernetwork": Look("hypernetwork (no diffusion)", "#332288", "P"),
    "conditioned": Look("conditioned adapter", "#117733", "X", _DASHDOT),
    "linear_subspace": Look("linear subspace", "#44AA99", "<", _DASH),
    # In the ablations only.
    "generated_best": Look("ours, best of 64", "#661100", "*"),
    "hypernetwork_best": Look("hypernetwork, best of 64", "#332288", "*", _DOT),
    "best": Look("best of the tuned, by validation", "#004488", "*"),
    "greedy_50": Look("greedy re-ranking of 50", "#8C564B", ">", _DOT),
    "greedy_1000": Look("greedy re-ranking of 1,000", "#004D40", "<", _DASH),
    "category_bias": Look("category bias", "#BFA200", "8", _DASHDOT),
    "backbone": Look("backbone alone", "#222222", "*", _DASH),
    "mmr": Look("MMR re-ranking", "#999933", ">", _DASH),
    "xquad": Look("xQuAD re-ranking", "#004D40", "<", _DASH),
    "dpp": Look("DPP re-ranking", "#8C564B", "p", _DOT),
    "generated_xquad": Look("ours, then xQuAD", "#E7298A", "d", _DASHDOT),
    "popularity": Look("popularity", "#777777", "X", _DASHDOT),
    "item_knn": Look("item kNN", "#AA4499", "H", _DOT),
    "cmr": Look("hypernetwork, re-ranking", "#6A51A3", "P", _DOT),
    "retrain": Look("retrained", "#000000", "D", "none"),
    # In notebooks 03 and 09.
    "oracles": Look("oracles", "#a3a3a3", "o"),
    "anchors": Look("anchors", BLUE, "D", _DASH),
    "moved": Look("moved", "#018571", "D"),
    "as_it_is": Look("as it is", GREY, "o", _DOT),
}

BACKBONES = {
    "sasrec": Look("SASRec", "#0072B2", "o"),
    "gru4rec": Look("GRU4Rec", "#E69F00", "s"),
    "tisasrec": Look("TiSASRec", "#009E73", "D"),
    "lightgcn": Look("LightGCN", "#CC79A7", "^"),
    "ngcf": Look("NGCF", "#882255", "v"),
    "pinsage": Look("PinSage", "#56B4E9", "X"),
    "deepfm": Look("DeepFM", "#000000", "P"),
}


def look(name: str) -> Look:
    """Return the look of a method or backbone; unknown names get one derived from the name."""
    known = METHODS | BACKBONES
    if name in known:
        return known[name]
    number = zlib.crc32(name.encode())
    colour = sns.color_palette("colorblind").as_hex()[number % 10]
    marker = "ovs^D<>pPX"[number // 10 % 10]
    return Look(name.replace("_", " "), colour, marker)


def metric_label(metric: str) -> str:
    """Return the axis label of a metric, with its range."""
    names = {"ndcg@10": "NDCG@10", "alpha_ndcg@10": "α-nDCG@10"}
    return names.get(metric, metric) + " (0–1)"


class _NotebookFigure(Figure):
    """A figure that notebooks show without pyplot."""

    def _repr_png_(self) -> tuple[bytes, dict]:
        data = io.BytesIO()
        with matplotlib.style.context(STYLE):  # or other ticks would not fit the layout
            self.savefig(data, format="png", metadata={"Software": None})
        width, height = self.get_size_inches()
        pixels = {"width": round(96 * width), "height": round(96 * height)}
        return data.getvalue(), pixels


def panels(width: float, height: float, *shape: int, **options: Any) -> tuple[Figure, Any]:
    """Make a figure with panels, sizes in inches; two text columns are 7.2 wide.

    ``shape`` and ``options`` are those of `Figure.subplots`.
    """
    figure = _NotebookFigure(figsize=(width, height), layout="constrained")
    return figure, figure.subplots(*shape, **options)


def drawn(function: Callable[..., Figure]) -> Callable[..., Figure]:
    """Decorate a figure function: use the package's style and fix the layout once."""

    @functools.wraps(function)
    def draw(*args: Any, **kwargs: Any) -> Figure:
        with matplotlib.style.context(STYLE):
            figure = function(*args, **kwargs)
            figure.draw_without_rendering()
            figure.set_layout_engine("none")
        return figure

    return draw


def save_figure(figure: Figure, path: Path) -> None:
    """Write a figure as PNG, atomically and with reproducible bytes."""
    with matplotlib.style.context(STYLE), atomic_path(path) as part:
        figure.savefig(part, format="png", dpi=200, metadata={"Software": None})


def small_print(figure: Figure, *sentences: str) -> None:
    """Write small print below a figure, wrapped to its width."""
    characters = round(21 * figure.get_figwidth())  # of a line
    text = textwrap.fill(" ".join(sentences), characters)
    figure.supxlabel(text, x=0.01, ha="left", fontsize=6.5, color=GREY)


def seed_limits(values: pd.Series) -> tuple[float, float, float]:
    """Return mean and 95 % limits over seeds; for two seeds the two values, for one NaN."""
    if len(values) == 2:
        return float(values.mean()), float(values.min()), float(values.max())
    interval = mean_interval(values.to_numpy(float))
    low = np.nan if interval.low is None else interval.low
    high = np.nan if interval.high is None else interval.high
    return interval.mean, low, high


def limits_by(column: str, rows: pd.DataFrame, measure: str) -> tuple[pd.Index, ...]:
    """Compute `seed_limits` of a measure for each value of a column: values, mean, low, high."""
    limits = rows.groupby(column)[measure].apply(seed_limits)
    mean, low, high = np.array(limits.tolist()).T
    return limits.index, mean, low, high


def seeds_note(groups: Iterable[pd.DataFrame], what: str) -> str:
    """Write the sentence that explains the intervals."""
    counts = sorted({group["seed"].nunique() for group in groups} - {1})
    if not counts:
        return "One seed, no interval."
    if counts == [2]:
        return f"{what}: the two seeds."
    pair = " (of two: from one to the other)" if counts[0] == 2 else ""
    return f"{what}: 95% t interval over {counts[-1]} seeds{pair}."


def method_legend(figure: Figure, ax: Axes, columns: int = 4) -> None:
    """Draw one legend for the whole figure, above the panels."""
    handles, labels = ax.get_legend_handles_labels()
    figure.legend(
        handles,
        labels,
        loc="outside upper left",
        ncols=min(columns, len(labels)),
        handlelength=2.6,
        columnspacing=1.4,
        labelspacing=0.4,
        borderaxespad=0.2,
    )
    rows = math.ceil(len(labels) / columns)
    figure.set_figheight(figure.get_figheight() + 0.19 * rows)


def colour_bar(ax: Axes, colours: ScalarMappable, label: str, pad: float, shrink: float) -> None:
    """Draw a legend of colours beside the axes."""
    marks = ticker.MaxNLocator(5)
    bar = ax.figure.colorbar(colours, ax=ax, aspect=30, pad=pad, shrink=shrink, ticks=marks)
    bar.set_label(label)
    bar.outline.set_linewidth(0)
