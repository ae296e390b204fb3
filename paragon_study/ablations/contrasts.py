"""Compare the recorded ablations in tables and figures, for notebook 07 and docs/findings.md."""

from collections.abc import Mapping, Sequence
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from matplotlib import ticker
from matplotlib.figure import Figure
from matplotlib.tri import Triangulation
from scipy import stats

from paragon.errors import ParagonError
from paragon.evaluation.methods import methods_of
from paragon.metrics.statistics import holm, mean_interval
from paragon.params import ROOT, Params
from paragon.storage import require
from paragon_study.report import style
from paragon_study.report.style import BLUE, GREY, ORANGE, look, metric_label

# Settings in which generation is compared with its rivals.
CORE = {
    "anchors-10": "10 anchors",
    "anchors-4": "4 anchors",
    "anchors-3": "3 anchors",
    "three-objectives": "3 objectives",
}
# Ten anchors of one random start, and of three pooled.
STARTS = {
    "anchors-10": "one start",
    "starts-aligned": "three starts, aligned",
    "starts-pooled": "three starts, as they are",
}
ALONE = "-no-behaviour"  # suffix of points without the behavioural loss
DEFAULT = "anchors-10"  # the point with the settings of the study
# Collections of the same adapters, with comparable validation losses.
SAME_ADAPTERS = (DEFAULT, "snapshots-0")
BESIDE = {"behavioural loss (3 anchors)": "anchors-3"}  # baselines other than DEFAULT
# Labels for variables and values of ablations/params.yaml.
WORDS = {
    "latent": "latent coordinates",
    "snapshots": "snapshots of each anchor",
    "conditioning": "where the weights enter",
    "add_once": "once, at the input",
    "adaptive_norm": "in every layer",
}


def load_tables(folder: Path = ROOT / "ablations" / "results") -> tuple[pd.DataFrame, pd.DataFrame]:
    """Read the recorded collections and points."""
    paths = (folder / "collections.csv", folder / "points.csv")
    collections, points = (pd.read_csv(require(path, "make ablations")) for path in paths)
    return collections, points


def load_budgets(folder: Path = ROOT / "ablations" / "results") -> pd.DataFrame:
    """Read what methods give at budgets of fetched items."""
    return pd.read_csv(require(folder / "budgets.csv", "python -m paragon trial budgets"))


def usual(points: pd.DataFrame) -> pd.DataFrame:
    """Select the rows sampled as the point's settings say."""
    ways = ["guidance", "steps"]
    first = points.groupby("name")[ways].transform("first")
    return points[(points[ways] == first).all(axis=1)]


def core(collections: pd.DataFrame, points: pd.DataFrame) -> pd.DataFrame:
    """Select the rows of the settings ``CORE``, in order, with a label ``setting``."""
    both = pd.concat([collections, points], ignore_index=True)
    both = both.assign(setting=both["name"].map(CORE)).dropna(subset="setting")
    order = list(CORE.values()).index
    return both.sort_values("setting", key=lambda column: column.map(order), kind="stable")


def starts(collections: pd.DataFrame, points: pd.DataFrame) -> pd.DataFrame:
    """Select rivals and unguided generation on ``STARTS``, labelled by ``start`` and ``way``."""
    of = points["collection"]
    named = (points["name"] == of) | (points["name"] == of + ALONE)
    points = points[named & of.isin(STARTS) & (points["guidance"] == 1)]
    kinds = points["name"].str.endswith(ALONE).map({False: "generated", True: "diffusion alone"})
    steps = points["steps"].map(lambda n: f", {n} step" + "s" * (n > 1))
    best = points["samples"].map(lambda n: f", best of {n}" if n > 1 else "")
    points = points.assign(kind=kinds, way=kinds + steps + best, name=points["collection"])
    pooled = points.loc[points["name"] == list(STARTS)[-1], "way"]
    points = points[points["way"].isin(pooled)].sort_values(["kind", "samples", "steps"])
    both = pd.concat([collections.assign(way=collections["method"]), points], ignore_index=True)
    return both.assign(start=both["name"].map(STARTS)).dropna(subset="start")


def paired(rows: pd.DataFrame, one: str, other: str, measure: str) -> pd.DataFrame:
    """Compute ``one`` minus ``other`` by setting: mean and 95 % interval over shared seeds."""
    both = (rows[rows["method"] == method] for method in (one, other))
    merged = pd.merge(*both, on=["setting", "seed"], suffixes=("", "_other"))
    changes = merged[measure] - merged[f"{measure}_other"]
    intervals = {}
    for name, change in changes.groupby(merged["setting"], sort=False):
        mean, low, high, _ = mean_interval(change.to_numpy(float))
        intervals[name] = {"difference": mean, "low": low, "high": high, "seeds": len(change)}
    return pd.DataFrame.from_dict(intervals, orient="index")


def points_of(rows: pd.DataFrame, measures: Sequence[str]) -> pd.DataFrame:
    """Compute means and limits over seeds, in the format of ``figures.all_studies``."""
    points = []
    for key, group in rows.groupby(["setting", "backbone", "method"], sort=False):
        for measure in measures:
            if group[measure].notna().all():  # no mean over a part of the seeds
                points.append((*key, measure, *mean_interval(group[measure].to_numpy(float))[:3]))
    return pd.DataFrame(points, columns="dataset backbone method measure mean low high".split())


def defaults(settings: Params) -> dict[str, object]:
    """Return the study's default for each variable that is changed."""
    generator = settings.generator
    return {
        "anchors": str(len(settings.adapters.anchors)),
        "behavioural loss": "on",
        "behavioural loss (3 anchors)": "on",
        "conditioning": generator.conditioning,
        "item side": "on" if settings.adapters.item_side else "none",
        "latent": str(generator.latent),
        "snapshots": str(settings.adapters.snapshots),
    }


def one_at_a_time(rows: pd.DataFrame, settings: Params, variables: Sequence[str]) -> pd.DataFrame:
    """Select the rows of some variables, with the default point of the same seeds."""
    parts = []
    for variable in variables:
        changed = rows[(rows["variable"] == variable) & (rows["name"] != DEFAULT)]
        same = (rows["name"] == BESIDE.get(variable, DEFAULT)) & rows["seed"].isin(changed["seed"])
        value = defaults(settings)[variable]
        parts += [changed, rows[same].assign(variable=variable, value=value)]
    return pd.concat(parts, ignore_index=True).astype({"value": str})


def single_changes(collections: pd.DataFrame, points: pd.DataFrame) -> pd.DataFrame:
    """Compare single changes of the generator or its collection with the study's settings.

    ``change`` of `choice` (above 0 is worse): mean over seeds, as a share of the lead of the
    study over the middle adapter.  ``p (Holm)``: paired t test over seeds.
    """
    same = points["collection"].isin(SAME_ADAPTERS) & ~points["name"].str.endswith(ALONE)
    points = points[same & (points["method"] == "generated")]
    base = points[points["name"] == DEFAULT].set_index("seed")["choice"]
    middle = collections[(collections["name"] == DEFAULT) & (collections["method"] == "constant")]
    worth = middle["choice"].mean() - base.mean()
    changes = {}
    for _, rows in points[points["name"] != DEFAULT].groupby("name", sort=False):
        more = (rows.set_index("seed")["choice"] - base).dropna().to_numpy() / worth
        if len(more) > 1:
            name = ": ".join(_label(rows[key].iloc[0]) for key in ("variable", "value"))
            changes[name] = {"change": more.mean(), "p (Holm)": stats.ttest_1samp(more, 0).pvalue}
    table = pd.DataFrame.from_dict(changes, orient="index")
    return table.assign(**{"p (Holm)": holm(table["p (Holm)"])})


def _label(name: object) -> str:
    """Label a variable or a value."""
    return WORDS.get(str(name), str(name))


@style.drawn
def changed_choices(frame: pd.DataFrame, metric: str, default: Mapping[str, object]) -> Figure:
    """Plot ``metric`` and seed intervals by variable and value; filled markers: ``default``."""
    variables = dict(list(frame.groupby("variable", sort=False)))
    heights = [rows["value"].nunique() + 0.3 for rows in variables.values()]
    figure = style.new(5.2, 0.7 + sum(0.2 * height + 0.16 for height in heights))
    axes = figure.subplots(len(heights), 1, sharex=True, squeeze=False, height_ratios=heights)[:, 0]
    for ax, (variable, rows) in zip(axes, variables.items(), strict=True):
        # Numbers by size, then words.
        values = rows["value"].drop_duplicates()
        values = values.sort_values(key=lambda v: pd.to_numeric(v, errors="coerce"), kind="stable")
        for row, value in enumerate(values):
            mean, low, high = style.seed_limits(rows.loc[rows["value"] == value, metric])
            colour, fill = (ORANGE,) * 2 if value == default.get(variable) else (BLUE, "white")
            ax.hlines(row, low, high, color=colour, linewidth=1.4)
            ax.plot(mean, row, "o", color=colour, mfc=fill)
        ax.set_yticks(range(len(values)), [_label(value) for value in values])
        ax.set(ylim=(len(values) - 0.4, -0.6))
        ax.grid(axis="x", color="#e6e6e6", linewidth=0.6)
        ax.tick_params(axis="y", length=0)
        ax.set_title(_label(variable), fontsize=8, pad=2)
        ax.tick_params(axis="x", length=3 if ax is axes[-1] else 0)
    axes[-1].set_xlabel(metric_label(metric))
    if metric.startswith("regret"):
        axes[-1].xaxis.set_major_formatter(style.percent_mark)
    groups = (rows for _, rows in frame.groupby(["variable", "value"]))
    style.small_print(figure, style.seeds_note(groups, "Lines"), "Filled: the default.")
    return figure


@style.drawn
def budgets(table: pd.DataFrame) -> Figure:
    """Plot α-nDCG@10 over fetched items: a row for each study, a column for each share."""
    parts = table.groupby(["name", "share"], sort=False)
    names, shares = (table[column].drop_duplicates() for column in ("name", "share"))
    figure = style.new(7.2, 0.9 + 1.6 * len(names))
    axes = figure.subplots(len(names), len(shares), sharex=True, sharey="row", squeeze=False)
    for ax, (name, share) in zip(axes.flat, product(names, shares), strict=True):
        for method, rows in parts.get_group((name, share)).groupby("method", sort=False):
            kind, fetch = look(method), method not in methods_of("reranked")
            label = f"{kind.label}, then xQuAD" if fetch else kind.label
            ax.plot(rows["fetched"], rows["alpha_ndcg"], label=label, color=kind.colour,
                    ls=kind.line, marker=kind.marker, markersize=4, linewidth=1.2)  # fmt: skip
        ax.set_xscale("log")
        ax.set_xticks([10, 100, 1000], ["10", "100", "1,000"])
        ax.minorticks_off()
    for ax, share in zip(axes[0], shares, strict=True):
        ax.set_title(f"{share} % of the accuracy", fontsize=8)
    for ax, name in zip(axes[:, 0], names, strict=True):
        ax.set_ylabel(f"{name}\nα-nDCG@10", fontsize=8)
    figure.supxlabel("items fetched, then re-ranked", fontsize=8)
    style.method_legend(figure, axes[0, 0], columns=3)
    return figure


@style.drawn
def ternary(weights: np.ndarray, values: np.ndarray, labels: Sequence[str], metric: str) -> Figure:
    """Plot values ``[W]`` over weights ``[W, 3]`` of three objectives; rows sum to 1."""
    if weights.shape != (len(values), 3) or len(labels) != 3:
        raise ParagonError(f"weights: shape {weights.shape}; three objectives are needed")
    if (weights < -1e-9).any() or (abs(weights.sum(1) - 1) > 1e-4).any():
        raise ParagonError("weights: every row must be non-negative and sum to 1")
    corners = np.array([[0.5, np.sqrt(0.75)], [0, 0], [1, 0]])
    xy = weights @ corners
    figure = style.new(4.2, 3.3)
    ax = figure.subplots()
    filled = ax.tricontourf(Triangulation(*xy.T), values, levels=12, cmap=style.WEIGHT_COLOURS)
    ax.plot(*xy.T, "o", color="white", mec="black", mew=0.4, markersize=2.2, clip_on=False)
    ax.plot(*corners[[0, 1, 2, 0]].T, color="black", linewidth=0.8)
    outward = corners - corners.mean(0)
    centred: dict[str, Any] = {"textcoords": "offset points", "ha": "center", "va": "center"}
    for number, name in enumerate(labels):
        ax.annotate(f"{name} = 1", corners[number], 20 * outward[number], **centred, weight="bold")
        # The edge that leads from the next corner to the one after it shows the weight there.
        start, end = corners[(number + 1) % 3], corners[(number + 2) % 3]
        for share in (0.2, 0.4, 0.6, 0.8):
            point = (1 - share) * start + share * end
            ax.annotate(f"{share:g}", point, -13 * outward[number], **centred, fontsize=6, c=GREY)
    ax.set_aspect("equal")
    ax.set_axis_off()
    style.colour_bar(ax, filled, metric_label(metric), pad=0.08, shrink=0.85)
    first, second, third = labels
    style.small_print(
        figure, f"Weights on the edges: right, of {first}; left, of {second}; below, of {third}."
    )
    return figure


@style.drawn
def front_3d(points: Mapping[str, np.ndarray], labels: Sequence[str]) -> Figure:
    """Plot three metrics, ``[W, 3]`` by method, from two sides; stems show the depth."""
    low, high = (end(np.vstack(list(points.values())), axis=0) for end in (np.min, np.max))
    floor = low[2] - 0.05 * max(high[2] - low[2], 1e-9)
    figure = style.new(7.2, 3.0)
    for number, turn in enumerate((30, -60), 1):  # vertical axes on the outside
        ax = figure.add_subplot(1, 2, number, projection="3d", azim=turn, elev=22)
        for name, values in points.items():
            kind, oracle = look(name), name == "tuned"
            ax.plot(
                *values.T, kind.marker, color=kind.colour, label=kind.label, linestyle="none",
                markersize=7 if oracle else 4, fillstyle="none" if oracle else "full",
            )  # fmt: skip
        for x, y, z in next(iter(points.values())):
            ax.plot([x, x], [y, y], [floor, z], color="#cccccc", linewidth=0.6, zorder=0)
        ax.set_zlim(floor, None)
        ax.set_box_aspect(None, zoom=0.87)  # room for axis labels
        for axis, label in zip((ax.xaxis, ax.yaxis, ax.zaxis), labels, strict=True):
            axis.set_label_text(metric_label(label), fontsize=7)
            axis.set_tick_params(labelsize=6, pad=-1)
            axis.set_major_locator(ticker.MaxNLocator(4))
            axis.set_pane_color((1, 1, 1, 0))
    style.method_legend(figure, figure.axes[0])
    first = look(next(iter(points))).label
    style.small_print(figure, f"The same points from two sides. Stems: of {first}.")
    return figure
