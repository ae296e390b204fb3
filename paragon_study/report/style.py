"""The style of figures: colours, labels, layout and saving, without pyplot."""

from __future__ import annotations

import functools
import io
import textwrap
import zlib
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any, NamedTuple

import matplotlib
import seaborn as sns
from cycler import cycler
from matplotlib.backend_bases import RendererBase
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from paragon.errors import ParagonError
from paragon.storage import atomic_path


class Look(NamedTuple):
    """The appearance of a method or backbone in all figures."""

    label: str
    colour: str
    marker: str
    line: object = "-"


_DASH, _DOT, _DASHDOT = (0, (5, 1.5)), (0, (1, 1.3)), (0, (5, 1.5, 1, 1.5))

# Colours for colour-blind readers: the sets of Okabe-Ito and Paul Tol (muted).  Markers and dashes
# distinguish methods in grey.
METHODS = {
    "tuned": Look("tuned (oracle)", "#a3a3a3", "o"),  # wide, below the others
    "generated": Look("generated", "#D55E00", "o"),
    "generated_best": Look("generated, best of 8", "#882255", "^", _DASH),
    "generated_shuffled": Look("generated, shuffled", "#CC79A7", "X", _DOT),
    "generated_cfg": Look("generated, guided", "#661100", "v", _DASHDOT),
    "generated_no_cfg": Look("generated, no guidance", "#E69F00", "v", _DASHDOT),
    "paragon": Look("Paragon, as published", "#B3446C", "D", _DASHDOT),
    "paragon_no_cfg": Look("Paragon, no guidance", "#E25822", "d", _DOT),
    "interpolation": Look("interpolation", "#0072B2", "s", _DASH),
    "rbf": Look("thin-plate spline", "#6699CC", "h", _DASHDOT),
    "ridge": Look("ridge regression", "#117733", "p", _DASHDOT),
    "interpolation_log": Look("interpolation, log-ratios", "#1F77B4", "D", _DOT),
    "rbf_log": Look("thin-plate spline, log-ratios", "#9BB7D4", "h", _DOT),
    "ridge_log": Look("ridge regression, log-ratios", "#2CA02C", "p", _DOT),
    "nearest": Look("nearest anchor", "#56B4E9", "v", _DASHDOT),
    "soup": Look("soup of two", "#009E73", "^", _DASHDOT),
    "constant": Look("constant (middle)", "#555555", "s", _DOT),
    "hypernetwork": Look("hypernetwork", "#332288", "P"),
    "linear_subspace": Look("linear subspace", "#44AA99", "<", _DASH),
    "nearest_noise": Look("nearest + noise", "#88CCEE", "d", _DOT),
    "category_bias": Look("category bias", "#DDCC77", "8", _DASHDOT),
    "backbone": Look("backbone alone", "#222222", "*", _DASH),
    "mmr": Look("MMR re-ranking", "#999933", ">", _DASH),
    "xquad": Look("xQuAD re-ranking", "#004D40", "<", _DASH),
    "dpp": Look("DPP re-ranking", "#8C564B", "p", _DOT),
    "generated_xquad": Look("generated, xQuAD", "#E7298A", "d", _DASHDOT),
    "popularity": Look("popularity", "#777777", "X", _DASHDOT),
    "item_knn": Look("item kNN", "#AA4499", "H", _DOT),
    "cmr": Look("hypernetwork, re-ranking", "#6A51A3", "P", _DOT),
    "retrain": Look("retrained", "#000000", "D", "none"),
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

# Adapters outside the comparison.
ADAPTERS = {
    "oracles": Look("oracles (tuned)", METHODS["tuned"].colour, "o"),
    "anchors": Look("anchors", "#0072B2", "D", _DASH),
    "moved": Look("moved", "#018571", "D"),
    "as_it_is": Look("as it is", "#555555", "o", _DOT),
}

# Datasets that take the place of backbones (`in_few_panels`).
DATASETS = {
    "ml-100k-paper": Look("ml-100k-paper", "#332288", "p"),
    "ml-1m": Look("ml-1m", "#CC3311", "*"),
}

METRICS = {
    "ndcg@10": "NDCG@10 (0–1)",
    "alpha_ndcg@10": "α-nDCG@10 (0–1)",
    "novelty@10": "novelty@10 (0–1)",
    "regret_mean": "regret, % (0 = oracle, 100 = always the middle)",
    "set_hv": "hypervolume of the set (NDCG@10 × α-nDCG@10)",
    "set_hv_of_tuned": "hypervolume, share of the oracle's",
    "alpha_ndcg_published@10": "α-nDCG@10 on the published scale",
    "choice": "choice: mean task loss of validation users at random weights",
}

_STYLE = matplotlib.rc_params_from_file(
    Path(__file__).with_name("paragon.mplstyle"), use_default_template=False
)


def look(name: str) -> Look:
    """Return the look of a method or backbone; unknown names get one derived from the name."""
    number = zlib.crc32(name.encode())  # a colour of the cycle C0 to C9
    spare = Look(name.replace("_", " "), f"C{number % 10}", "ovs^D<>pPX"[number // 10 % 10])
    return (METHODS | BACKBONES | ADAPTERS | DATASETS).get(name, spare)


def metric_label(metric: str) -> str:
    """Return the axis label of a metric, with its range."""
    return METRICS.get(metric, metric.replace("_", " "))


def in_style() -> AbstractContextManager:
    """Return a context in which matplotlib uses the package's style."""
    style = {**sns.axes_style("ticks"), **_STYLE}
    style["axes.prop_cycle"] = cycler(color=sns.color_palette("colorblind"))
    return matplotlib.rc_context(style)


class _Shown(Figure):
    """A figure that notebooks show without pyplot, drawn in the package's style."""

    def draw(self, renderer: RendererBase) -> None:
        with in_style():
            super().draw(renderer)

    def _repr_png_(self) -> tuple[bytes, dict]:
        data = io.BytesIO()
        self.savefig(data, format="png", metadata={"Software": None})
        width, height = (round(96 * inches) for inches in self.get_size_inches())
        return data.getvalue(), {"width": width, "height": height}


def new(width: float, height: float) -> Figure:
    """Make an empty figure, sizes in inches; two text columns are 7.2 wide."""
    figure = _Shown(figsize=(width, height), layout="constrained")
    FigureCanvasAgg(figure)
    return figure


def drawn(function: Callable[..., Figure]) -> Callable[..., Figure]:
    """Decorate a figure function: use the package's style and fix the layout once."""

    @functools.wraps(function)
    def draw(*args: Any, **kwargs: Any) -> Figure:
        with in_style():
            figure = function(*args, **kwargs)
            figure.draw_without_rendering()
            figure.set_layout_engine("none")
        return figure

    return draw


def save_figure(figure: Figure, path: Path | str) -> Path:
    """Write a figure as .png, .svg or .pdf, atomically and with reproducible bytes."""
    path = Path(path)
    clocks = {
        ".png": {"Software": None},
        ".svg": {"Date": None, "Creator": None},
        ".pdf": {"CreationDate": None, "Creator": None, "Producer": None},
    }
    if path.suffix not in clocks:
        raise ParagonError(f"{path}: a figure is saved as .png, .svg or .pdf")
    with in_style(), atomic_path(path) as part:
        figure.savefig(part, format=path.suffix[1:], dpi=200, metadata=clocks[path.suffix])
    return path


def small_print(figure: Figure, *sentences: str) -> None:
    """Write small print below a figure, wrapped to its width."""
    text = " ".join(s for s in sentences if s)
    if text:
        text = textwrap.fill(text, round(21 * figure.get_figwidth()))
        figure.supxlabel(text, x=0.01, ha="left", fontsize=6.5, color="#555555")
