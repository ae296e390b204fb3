"""Compare the recorded ablations in tables and figures, for notebook 07 and docs/findings.md."""

from collections.abc import Iterable, Sequence
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from matplotlib import ticker
from matplotlib.figure import Figure
from matplotlib.tri import Triangulation

from paragon.evaluation.methods import methods_of
from paragon.metrics.statistics import mean_interval
from paragon.params import ROOT
from paragon.storage import require
from paragon_study.ablations.factorial import DEFAULT
from paragon_study.report import style
from paragon_study.report.style import GREY, look, metric_label
from paragon_study.report.tables import interval_table

MEASURES = ("regret_mean", "outcome_error")  # by loss, and by what is served
# Methods of figures; the first ones are those of tables as well.
IN_TABLES = "generated_best hypernetwork_best best generated paragon hypernetwork nearest".split()
IN_TABLES += "interpolation_log greedy_1000".split()
SHOWN = [*IN_TABLES, *"tuned_alone conditioned category_bias greedy_50".split()]
TABLES = ROOT / "ablations" / "results"


def load_table(kind: str, folder: Path = TABLES) -> pd.DataFrame:
    """Read the recorded rows of a kind: ``factorial``, ``law``, ``budgets`` or ``tuning``."""
    return pd.read_csv(require(folder / f"{kind}.csv", f"python -m paragon trial {kind}"))


def load_factorial(folder: Path = TABLES) -> pd.DataFrame:
    """Read the rows of ``factorial``, with the column ``regret`` in percent; none if no file."""
    if not (folder / "factorial.csv").exists():
        columns = ["name", "generator", "factor", "option", "guidance", "seed", "regret"]
        return pd.DataFrame(columns=columns)
    rows = load_table("factorial", folder)
    return rows.assign(regret=100 * rows["regret_mean"])


def not_recorded(factorial: pd.DataFrame, entries: Iterable[str]) -> str:
    """Say which of the ``entries`` have no rows yet, and which command records them."""
    missing = [name for name in entries if name not in factorial["name"].unique()]
    if not missing:
        return "All entries are recorded."
    return f"Not recorded yet: {', '.join(missing)}. Run `python -m paragon trial factorial`."


def factor_table(factorial: pd.DataFrame, factor: str) -> pd.DataFrame:
    """Tabulate by how much regret changes, in percent, with each option of a ``factor``.

    Rows are generators (or other methods) with an option, columns are entries. A cell is the mean
    difference from the default, seed by seed, ± half of its 95 % interval over seeds. For the
    factor ``default``, it is the regret itself. No rows: none are recorded.
    """
    rows = factorial[factorial["factor"] == factor]
    if rows.empty:
        return pd.DataFrame()
    if factor == DEFAULT:
        return interval_table(rows, "regret", "generator", "name")
    same = ["name", "generator", "seed"]
    default = factorial[factorial["factor"] == DEFAULT].set_index(same)["regret"]
    rows = rows.join(default.rename("default"), on=same)
    change = rows["regret"] - rows["default"]
    label = rows["generator"] + ", " + rows["option"].astype(str).str.replace("_", " ")
    return interval_table(rows.assign(change=change, label=label), "change", "label", "name")


def chosen_guidance(factorial: pd.DataFrame) -> pd.DataFrame:
    """Tabulate the guidance that validation users chose for each seed: generators by entries."""
    rows = factorial[factorial["factor"] == DEFAULT].dropna(subset="guidance")
    if rows.empty:
        return pd.DataFrame()
    text = rows["guidance"].map("{:g}".format)
    chosen = text.groupby([rows["generator"], rows["name"]], sort=False).agg(", ".join)
    return chosen.unstack().rename_axis(index=None, columns=None)


def at_anchors(law: pd.DataFrame, number: int = 10) -> pd.DataFrame:
    """Select methods with this number of tuned adapters, or none; add the column ``setting``."""
    rows = law[law["anchors"].isna() | (law["anchors"] == number)]
    setting = rows["objectives"].map("{} objectives, ".format) + rows["backbone"]
    setting += (", " + rows["dataset"]).mask(rows["dataset"] == "ml-100k", "")
    return rows.assign(setting=setting, regret=100 * rows["regret_mean"])


def paired(rows: pd.DataFrame, one: str, other: str, measure: str) -> pd.DataFrame:
    """Compute ``one`` minus ``other`` by setting: mean and 95 % interval over shared seeds."""
    wide = rows.pivot(index=["setting", "seed"], columns="method", values=measure)
    intervals, changes = {}, (wide[one] - wide[other]).dropna()
    for name, change in changes.groupby("setting", sort=False):
        mean, low, high, _ = mean_interval(change.to_numpy(float))
        intervals[name] = {"difference": mean, "low": low, "high": high, "seeds": len(change)}
    return pd.DataFrame.from_dict(intervals, orient="index")


@style.drawn
def anchor_law(law: pd.DataFrame, methods: Sequence[str] = SHOWN) -> Figure:
    """Plot regret up to 200 % and control error over the number of tuned adapters, by study."""
    names = [n for n, of in law.groupby("name", sort=False)["anchors"] if of.nunique() > 1]
    figure, axes = style.panels(7.2, 4.4, 2, len(names), **style.SHARED)
    for (measure, name), ax in zip(product(MEASURES, names), axes.flat, strict=True):
        rows = law[law["name"] == name]
        for method in methods:
            kind, own = look(method), rows[rows["method"] == method]
            if own.empty:
                continue
            line: dict[str, Any] = {"label": kind.label, "color": kind.colour, "ls": kind.line}
            if own["anchors"].isna().all():
                ends = rows["anchors"].min(), rows["anchors"].max()
                ax.plot(ends, [own[measure].mean()] * 2, linewidth=1.2, **line)
                continue
            numbers, mean, low, high = style.limits_by("anchors", own, measure)
            ax.plot(numbers, mean, marker=kind.marker, markersize=4, linewidth=1.2, **line)
            ax.vlines(numbers, low, high, color=kind.colour, linewidth=0.7)
        ax.set_xscale("log")
        ticks = sorted(law["anchors"].dropna().unique())
        ax.set_xticks(ticks, [f"{tick:g}" for tick in ticks])
        ax.minorticks_off()
    for ax, of in zip(axes[0], law.groupby("name").first().loc[names].itertuples(), strict=True):
        title = f"{of.objectives} objectives,\n{look(of.backbone).label}, {of.dataset}"
        ax.set_title(title, fontsize=8)
    axes[0, 0].set_ylim(top=min(2, axes[0, 0].get_ylim()[1]))  # of all columns
    axes[0, 0].yaxis.set_major_formatter(ticker.PercentFormatter(1, symbol=""))
    axes[0, 0].set_ylabel("regret, %\n(0 = oracle)", fontsize=8)
    axes[1, 0].set_ylabel("control error\n(0 = oracle)", fontsize=8)
    for ax in axes[1]:
        ax.set_xlabel("tuned adapters", fontsize=8)
    style.method_legend(figure, axes[0, 0], columns=3)
    note = style.seeds_note((rows for _, rows in law.groupby("name")), "Vertical lines")
    style.small_print(figure, note, "Methods without markers do not learn from them.")
    return figure


@style.drawn
def budgets(table: pd.DataFrame) -> Figure:
    """Plot α-nDCG@10 over fetched items: a row for each study, a column for each share."""
    parts = table.groupby(["name", "share"], sort=False)
    names, shares = (table[column].drop_duplicates() for column in ("name", "share"))
    figure, axes = style.panels(7.2, 1 + 1.6 * len(names), len(names), len(shares), **style.SHARED)
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
    style.method_legend(figure, axes[-1, 0], columns=3)
    return figure


def catching_up(table: pd.DataFrame, fetched: int = 20) -> pd.DataFrame:
    """Tabulate the smallest number of items at which xQuAD catches up with `generated`, xQuAD.

    If both fetch as many (95 % interval over users), and for lists as diverse as with ``fetched``
    items by `generated` (over its seeds). Between measured numbers, logarithms are interpolated.
    """
    cells: dict[tuple, dict[str, str]] = {}
    ends = {-np.inf: f"≤ {table['fetched'].min()}", np.inf: f"> {table['fetched'].max()}"}
    for (name, share), rows in table.set_index("fetched").groupby(["name", "share"], sort=False):
        xquad, own = (rows[rows["method"] == method] for method in ("xquad", "generated"))
        lead = {"as many": [xquad[f"difference{end}"] for end in ("", "_high", "_low")]}
        limits = own.loc[fetched, ["alpha_ndcg", "alpha_ndcg_low", "alpha_ndcg_high"]]
        lead[f"{fetched} by generated"] = [xquad["alpha_ndcg"] - limit for limit in limits]
        for row, lines in lead.items():
            pairs = ((line.fillna(-1).cummax(), np.log(line.index)) for line in lines)
            logs = (np.interp(0, *pair, -np.inf, np.inf) for pair in pairs)
            n, low, high = (ends.get(x, f"{np.exp(x):.0f}") for x in logs)
            text = n if n == low == high else f"{n} ({low} to {high})"
            cells.setdefault((name, row), {})[f"{share} %"] = text
    return pd.DataFrame.from_dict(cells, orient="index")


@style.drawn
def ternary(weights: np.ndarray, values: np.ndarray, labels: Sequence[str], metric: str) -> Figure:
    """Plot values ``[W]`` over weights ``[W, 3]`` of three objectives; rows sum to 1."""
    corners = np.array([[0.5, np.sqrt(0.75)], [0, 0], [1, 0]])
    xy = weights @ corners
    figure, ax = style.panels(4.2, 3.3)
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
    edges = "Weights on the edges: right, of {}; left, of {}; below, of {}."
    style.small_print(figure, edges.format(*labels))
    return figure
