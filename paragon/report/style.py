"""What all figures share: one look per method, labels, style, layout and saving.

Colours are the Okabe-Ito set and Paul Tol's muted set, which stay apart for
colour-blind readers; markers and dashes carry the same information in grey.
Figures are made without pyplot, so nothing is left open and a notebook shows
each of them once.
"""

from __future__ import annotations

import functools
import io
import textwrap
import zlib
from collections.abc import Callable, Iterable, Sequence, Sized
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any, NamedTuple

import matplotlib
import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.backend_bases import RendererBase
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from paragon.errors import ParagonError
from paragon.metrics.checks import finite
from paragon.metrics.statistics import mean_interval
from paragon.storage import atomic_path


class Look(NamedTuple):
    """How one method appears in every figure."""

    label: str
    colour: str
    marker: str
    line: object = "-"


_DASH, _DOT, _DASHDOT = (0, (5, 1.5)), (0, (1, 1.3)), (0, (5, 1.5, 1, 1.5))
LOOKS = {
    "tuned": Look("tuned (oracle)", "#a3a3a3", "o"),  # drawn wide, beneath the others
    "retrain": Look("retrained", "#000000", "D", "none"),
    "generated": Look("generated", "#D55E00", "o"),
    "generated_best": Look("generated, best of 8", "#882255", "^", _DASH),
    "generated_cfg": Look("generated, guided", "#661100", "v", _DASHDOT),
    "generated_no_cfg": Look("generated, no guidance", "#E69F00", "v", _DASHDOT),
    "generated_shuffled": Look("generated, shuffled", "#CC79A7", "X", _DOT),
    "hypernetwork": Look("hypernetwork", "#332288", "P"),
    "linear_subspace": Look("linear subspace", "#44AA99", "<", _DASH),
    "interpolation": Look("interpolation", "#0072B2", "s", _DASH),
    "rbf": Look("thin-plate spline", "#6699CC", "h", _DASHDOT),
    "ridge": Look("ridge regression", "#117733", "p", _DASHDOT),
    "interpolation_log": Look("interpolation, log-ratios", "#1F77B4", "D", _DOT),
    "rbf_log": Look("thin-plate spline, log-ratios", "#9BB7D4", "h", _DOT),
    "ridge_log": Look("ridge regression, log-ratios", "#2CA02C", "p", _DOT),
    "nearest": Look("nearest anchor", "#56B4E9", "v", _DASHDOT),
    "nearest_noise": Look("nearest + noise", "#88CCEE", "d", _DOT),
    "soup": Look("soup of two", "#009E73", "^", _DASHDOT),
    "cmr": Look("hypernetwork, re-ranking", "#6A51A3", "P", _DOT),
    "mmr": Look("MMR re-ranking", "#999933", ">", _DASH),
    "llm": Look("LLM re-ranking", "#B8860B", "8", _DASH),
    "constant": Look("constant (middle)", "#555555", "s", _DOT),
    "backbone": Look("backbone alone", "#222222", "*", _DASH),
    "item_knn": Look("item kNN", "#AA4499", "H", _DOT),
    "popularity": Look("popularity", "#777777", "X", _DASHDOT),
}
BACKBONES = {
    "sasrec": Look("SASRec", "#0072B2", "o"),
    "gru4rec": Look("GRU4Rec", "#E69F00", "s"),
    "tisasrec": Look("TiSASRec", "#009E73", "D"),
    "lightgcn": Look("LightGCN", "#CC79A7", "^"),
    "ngcf": Look("NGCF", "#882255", "v"),
    "deepfm": Look("DeepFM", "#000000", "P"),
}
_SPARE = [f"C{i}" for i in range(10)]  # seaborn's colour-blind cycle, for methods not listed

METRICS = {
    "regret": "regret (0 = oracle, 1 = always the middle weight)",
    "regret_mean": "regret (0 = oracle, 1 = always the middle)",
    "set_hv": "hypervolume of the set (NDCG@10 × α-nDCG@10)",
    "set_hv_of_tuned": "hypervolume of the set relative to the oracle's",
    "alpha_ndcg_published@10": "α-nDCG@10 on the published scale",
    "mean_hv": "mean of NDCG@10 × α-nDCG@10",
    "range_ratio": "range of NDCG@10 relative to the oracle's",
}

_STYLE = {
    "figure.dpi": 144,
    "svg.hashsalt": "paragon",  # ids in an SVG follow from its content
    "pdf.fonttype": 42,
    "font.family": "DejaVu Sans",  # comes with matplotlib: the same on every machine
    "font.size": 8,
    "axes.labelsize": 8,
    "axes.titlesize": 8.5,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "axes.linewidth": 0.7,
    "xtick.labelsize": 7.5,
    "ytick.labelsize": 7.5,
    "xtick.major.width": 0.7,
    "ytick.major.width": 0.7,
    "xtick.major.size": 3,
    "ytick.major.size": 3,
    "xtick.minor.size": 0,
    "ytick.minor.size": 0,
    "legend.fontsize": 7.5,
    "legend.frameon": False,
    "lines.linewidth": 1.3,
    "lines.markersize": 4.5,
    "axes.spines.top": False,
    "axes.spines.right": False,
}


def look(name: str) -> Look:
    """The look of a method or backbone; one not listed gets one that depends on its name only."""
    known = LOOKS.get(name) or BACKBONES.get(name)
    number = zlib.crc32(name.encode())
    marker = "ovs^D<>pPX"[number // 10 % 10]
    return known or Look(name.replace("_", " "), _SPARE[number % 10], marker)


def metric_label(metric: str) -> str:
    """A metric's name as an axis label, with its range."""
    name, at, k = metric.partition("@")
    known = {"ndcg": "NDCG", "alpha_ndcg": "α-nDCG", "hr": "hit rate", "coverage": "coverage"}
    return METRICS.get(metric) or (
        f"{known[name]}{at}{k} (0–1)" if name in known else metric.replace("_", " ")
    )


def in_style() -> AbstractContextManager:
    """The package's style, for the time of a ``with`` block."""
    style = {**sns.axes_style("ticks"), **_STYLE}
    style["axes.prop_cycle"] = matplotlib.cycler(color=sns.color_palette("colorblind"))
    return matplotlib.rc_context(style)


class _Shown(Figure):
    """A figure that a notebook can show without pyplot, crisp at its size in inches.

    It keeps its style whenever it is drawn: matplotlib decides on the number
    of ticks from the settings of that moment.
    """

    def draw(self, renderer: RendererBase) -> None:
        with in_style():
            super().draw(renderer)

    def _repr_png_(self) -> tuple[bytes, dict]:
        data = io.BytesIO()
        self.savefig(data, format="png", metadata={"Software": None})
        width, height = (round(96 * inches) for inches in self.get_size_inches())
        return data.getvalue(), {"width": width, "height": height}


def new(width: float, height: float) -> Figure:
    """An empty figure, sizes in inches; 7.2 is the text width of a two-column page."""
    figure = _Shown(figsize=(width, height), layout="constrained")
    FigureCanvasAgg(figure)
    return figure


def drawn(function: Callable[..., Figure]) -> Callable[..., Figure]:
    """Draw in the package's style and fix the layout once, so that saving never moves anything."""

    @functools.wraps(function)
    def draw(*args: Any, **kwargs: Any) -> Figure:
        with in_style():
            figure = function(*args, **kwargs)
            figure.draw_without_rendering()
            figure.set_layout_engine("none")
        return figure

    return draw


def save(figure: Figure, path: Path | str) -> Path:
    """Write a figure as .png, .svg or .pdf: atomically, and the same bytes for the same figure."""
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


def note(figure: Figure, *sentences: str) -> None:
    """Small print under a figure, in as many lines as its width asks for."""
    text = " ".join(s for s in sentences if s)
    if text:
        text = textwrap.fill(text, round(21 * figure.get_figwidth()))
        figure.supxlabel(text, x=0.01, ha="left", fontsize=6.5, color="#555555")


def columns(frame: pd.DataFrame, names: Iterable[str], what: str) -> pd.DataFrame:
    """``frame`` if it has rows and these columns, else an error that says what is missing."""
    for name in names:
        if name not in frame.columns:
            have = ", ".join(map(str, frame.columns)) or "none"
            raise ParagonError(f"{what}: column `{name}` is missing; it has {have}")
    if frame.empty:
        raise ParagonError(f"{what}: the table is empty, there is nothing to draw")
    return frame


def chosen(
    curve: pd.DataFrame, protocol: str, methods: Sequence[str] | None, metrics: Sequence[str]
) -> tuple[pd.DataFrame, list[str], str]:
    """One protocol's rows, the methods to draw that are in them, and a sentence on the others."""
    columns(curve, ("method", "seed", "protocol", "w_accuracy", *metrics), "curve")
    frame = curve[curve["protocol"] == protocol]
    if frame.empty:
        have = ", ".join(sorted(curve["protocol"].unique()))
        raise ParagonError(f"curve: no rows of protocol `{protocol}`; it has {have}")
    have = set(frame["method"])
    wanted = list(methods) if methods is not None else [*LOOKS, *sorted(have - set(LOOKS))]
    present = [m for m in wanted if m in have]
    if not present:
        raise ParagonError(
            f"curve: none of {', '.join(wanted)} is in the table; it has {', '.join(sorted(have))}"
        )
    drawn_rows = frame[frame["method"].isin([*present, "tuned"])]
    for metric in metrics:
        for method, values in drawn_rows.groupby("method")[metric]:
            finite(f"curve, `{metric}` of method `{method}`", values)
    absent = [m for m in wanted if m not in have] if methods is not None else []
    return frame, present, f"Not in the table: {', '.join(absent)}." if absent else ""


def intervals(frame: pd.DataFrame, by: str, metric: str) -> pd.DataFrame:
    """Mean over seeds and its 95 % limits (NaN with one seed) for every value of ``by``."""
    groups = frame.groupby(by, sort=True)[metric]
    names = ["mean", "low", "high"]
    rows = {key: interval(values) for key, values in groups}
    return pd.DataFrame(list(rows.values()), list(rows), columns=names, dtype=float)


def interval(values: pd.Series) -> tuple[float, float, float]:
    """Mean over seeds and its 95 % limits, NaN with one seed."""
    mean, low, high, _ = mean_interval(values.to_numpy(float))
    return mean, np.nan if low is None else low, np.nan if high is None else high


def seeds_note(frame: pd.DataFrame, by: str | list[str], what: str) -> str:
    """The sentence that says what a band is, of what has one."""
    counts = frame.groupby(by, sort=False)["seed"].nunique()
    counts = counts[counts > 1]
    if counts.empty:
        return "One seed, no interval."
    few, many = counts.min(), counts.max()
    return f"{what}: 95% t interval over {many if few == many else f'{few} to {many}'} seeds."


def curve_line(ax: Axes, x: np.ndarray, table: pd.DataFrame, method: str, band: float) -> None:
    """Draw a method's mean over seeds: line and band of that opacity, or points with bars."""
    kind, oracle = look(method), method == "tuned"
    single = len(x) == 1 or kind.line == "none"
    ax.plot(x, table["mean"], **line_look(method, single), label=kind.label)
    if oracle and not single:
        ax.lines[-1].set_marker("none")
    if table["low"].notna().any():
        low, high = table["low"], table["high"]
        if single:
            ax.vlines(x, low, high, color=kind.colour, linewidth=1, zorder=3)
        else:
            # Every seed shuffles differently: that band would only hide the others.
            if method != "generated_shuffled":
                ax.fill_between(x, low, high, color=kind.colour, alpha=band, linewidth=0)


def keep_to_lines(ax: Axes) -> bool:
    """Let no band stretch the axis far beyond the lines; whether one had to be cut off."""
    means = np.concatenate([line.get_ydata() for line in ax.lines])
    room = 0.25 * np.ptp(means)
    low, high = ax.get_ylim()
    if room:
        ax.set_ylim(max(low, means.min() - room), min(high, means.max() + room))
    return ax.get_ylim() != (low, high)


def line_look(method: str, single: bool) -> dict:
    """Keyword arguments of a method's line or, for ``single``, of its points alone."""
    kind, oracle, hollow = look(method), method == "tuned", method == "retrain"
    return {
        "color": kind.colour,
        "linestyle": "none" if single else kind.line,
        "linewidth": 5 if oracle else 1.3,
        "alpha": 0.75 if oracle else 1,
        "solid_capstyle": "round",
        "marker": kind.marker,
        "markersize": 7 if kind.marker == "*" else 6 if single and not hollow else 4.5,
        "markerfacecolor": "none" if hollow else kind.colour,
        "markeredgecolor": kind.colour if hollow else "white",
        "markeredgewidth": 1 if hollow else 0.5,
        "zorder": {"tuned": 1, "generated": 4, "retrain": 5}.get(method, 3),
    }


def close_up(ax: Axes, tables: dict[str, pd.DataFrame], limit: float) -> None:
    """Differences from the oracle, of the methods whose median stays within the limit."""
    near = {m: t for m, t in tables.items() if len(t) and t["mean"].abs().median() <= limit}
    reach = [t.abs().max().max() for m, t in near.items()]
    for method, table in near.items():
        curve_line(ax, table.index.to_numpy(), table, method, band_opacity(near))
    edge = min(limit, 1.15 * max(reach, default=limit)) or limit
    ax.set(ylim=(-edge, edge), xlim=(-0.03, 1.03))


def band_opacity(methods: Sized) -> float:
    """Fainter bands where many methods lie on each other."""
    return 0.16 if len(methods) <= 6 else 0.1 if len(methods) <= 10 else 0.05


def method_legend(figure: Figure, ax: Axes) -> None:
    """One legend for the whole figure, above the panels."""
    handles, labels = ax.get_legend_handles_labels()
    figure.legend(
        handles, labels, loc="outside upper left", ncols=min(4, len(labels)), handlelength=2.6,
        columnspacing=1.4, labelspacing=0.4, borderaxespad=0.2,
    )  # fmt: skip
    figure.set_figheight(figure.get_figheight() + 0.19 * -(-len(labels) // 4))
