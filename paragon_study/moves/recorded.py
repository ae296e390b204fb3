"""The tables and the figure of moves/README.md."""

from pathlib import Path

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from paragon.params import ROOT
from paragon.storage import require
from paragon_study.report import style
from paragon_study.report.style import GREY, look, seed_limits
from paragon_study.report.tables import as_markdown, interval_cell

MAIN = ["seed", "warm night", "night", "architecture"]  # the main kinds of moves
COLUMNS = [*MAIN, "one category an item"]  # kinds with a column
KINDS = [*COLUMNS, "width", "graph", "other data", "few items"]  # all kinds, in order
SIDES = {"item_side": "with the item side", "state_only": "without the item side"}
STEPS = (10, 50, 150, 500)  # numbers of tuning steps, as in moves/params.yaml
ROWS = {
    "backbone": "the new backbone alone",
    "as_it_is": "old adapters as they are",
    "random_rotation": "moved by a random rotation",
    "moved": "**moved**, from item tables",
    "moved_means": "moved, and mean states",
    "moved_least_squares": "moved by least squares on states",
    "moved_calibrated": "moved, chosen on validation users",
    "moved_two_anchors": "moved, two anchors tuned further",
    "moved_mean": "mean of moved adapters",
    "moved_ensemble": "mean score of moved adapters",
    "moved_generated": "**moved generator**",
    "moved_hypernetwork": "moved hypernetwork",
    "moved_50": "moved with means, then 50 steps",
    "scratch_50": "from scratch, 50 steps",
    "moved_500": "moved with means, then 500 steps",
    "scratch_500": "from scratch, 500 steps",
    "tuned": "tuned there",
}
# Methods of the figure: label, colour, marker, line.
SHOWN = {
    "from scratch": (GREY, "s", "-", [*(f"scratch_{n}" for n in STEPS), "tuned"]),
    "moved, then tuned on": ("#A6611A", "o", "-", ["moved_means", *(f"moved_{n}" for n in STEPS)]),
    "moved": (look("moved").colour, "D", "none", ["moved"]),
    "chosen on validation users": (look("moved").colour, "^", "none", ["moved_calibrated"]),
    "two anchors tuned on": (look("moved").colour, "v", "none", ["moved_two_anchors"]),
}
FLOORS = {"backbone": ("backbone alone", "--"), "random_rotation": ("random rotation", ":")}


def load_moves(folder: Path = ROOT / "moves" / "results") -> pd.DataFrame:
    """Read a row per move, side and method, with processor ``seconds`` and ``pair`` in words."""
    moves, alone = (_read(folder, kind) for kind in ("moves", "recommenders"))
    alone = alone[~alone["method"].isin(["tuned", "constant"])].rename(columns={"name": "new"})
    keys = ["kind", "old", "new", "name", "items", "fit", "shared", "side"]
    first = moves.drop_duplicates(["kind", "new", "side"])[keys]
    frame = pd.concat([moves, first.merge(alone, on=["new", "side"])], ignore_index=True)
    times = pd.read_csv(folder / "seconds.csv")
    # What is tuned without a move has the time of its recommender, for all moves to it.
    for kind, name in (("moves", "name"), ("recommenders", "new")):
        own = times[times["kind"] == kind].drop(columns="kind").rename(columns={"name": name})
        frame = frame.merge(own.rename(columns={"seconds": kind}), "left", [name, "side", "method"])
    # Recommenders that differ only in their seed share a name.
    ends = (frame[end].str.replace(r"-\d+$", "", regex=True) for end in ("old", "new"))
    share = frame["items"].map(lambda part: f", {100 * part:.0f} % of the items" * (part < 1))
    seconds, pair = frame["moves"].fillna(frame["recommenders"]), next(ends) + " → " + next(ends)
    frame = frame.assign(seconds=seconds, pair=pair + share)
    return frame.sort_values("kind", key=lambda kinds: kinds.map(KINDS.index), kind="stable")


def _read(folder: Path, kind: str) -> pd.DataFrame:
    return pd.read_csv(require(folder / f"{kind}.csv", "make moves")).query("protocol == 'full'")


def tables(folder: Path = ROOT / "moves" / "results") -> str:
    """Return all measured tables of moves/README.md in Markdown."""
    moves, parts = load_moves(folder), []
    main = moves[moves["kind"].isin(COLUMNS)]
    for side, words in SIDES.items():
        parts += [f"**Moves**, {words}:", method_table(main[main["side"] == side])]
    trials = _read(folder, "generators").sort_values(["olds", "kind", "side"])
    trials["kind"] += trials["side"].map({"item_side": "", "state_only": ", without the item side"})
    parts += ["**Moved generators**:", method_table(trials)]
    return "\n\n".join([*parts, "**Every pair**, moved from item tables:", pairs_table(moves)])


def method_table(frame: pd.DataFrame) -> str:
    """Return a Markdown table of hypervolume ± half of its 95 % interval and regret, by kind."""
    kinds, lines = list(dict.fromkeys(frame["kind"])), []
    for method, words in ROWS.items():
        own = frame[frame["method"] == method]
        cells = [_cell(own[own["kind"] == kind]) for kind in kinds]
        if "seconds" in frame:
            seconds = own.loc[own["kind"].isin(MAIN), "seconds"].mean()
            cells.append("–" if pd.isna(seconds) else f"{seconds:.2g}")
        if len(own):
            lines.append([words, *cells])
    titles = ["adapters", *kinds, *["seconds"] * ("seconds" in frame)]
    return as_markdown(pd.DataFrame(lines, columns=titles))


def pairs_table(frame: pd.DataFrame) -> str:
    """Return a Markdown table of all pairs of recommenders, with fit and results."""
    lines = []
    for pair, rows in frame[frame["method"] == "moved"].groupby("pair", sort=False):
        sides = [rows[rows["side"] == side] for side in SIDES]
        number = str(rows["name"].nunique())
        lines.append([pair, number, f"{rows['fit'].mean():.2f}", *map(_cell, sides)])
    return as_markdown(pd.DataFrame(lines, columns=["old → new", "moves", "fit", *SIDES.values()]))


def _cell(rows: pd.DataFrame) -> str:
    volume = interval_cell(rows["set_hv_of_tuned"], 2)
    regret = rows["regret_mean"].mean()
    return volume if pd.isna(regret) else f"{volume}, {100 * regret:z.0f} %"


@style.drawn
def moved_adapters(frame: pd.DataFrame) -> Figure:
    """Plot the share of the hypervolume of `tuned` against processor seconds, by kind and side."""
    frame = frame[frame["kind"].isin(MAIN)]
    kinds = list(dict.fromkeys(frame["kind"]))
    figure, axes = style.panels(7.2, 0.5 + 2.3 * len(kinds), len(kinds), 2, **style.SHARED)
    for row, kind in zip(axes, kinds, strict=True):
        for ax, (side, words) in zip(row, SIDES.items(), strict=True):
            _panel(ax, frame[(frame["kind"] == kind) & (frame["side"] == side)])
            ax.set_title(f"another {kind}, {words}", fontsize=8)
        row[0].set_ylabel("hypervolume relative\nto adapters tuned there")
    for ax in axes[-1]:
        ax.set_xlabel("seconds of one processor after training, log scale")
    figure.legend(*axes[0, 0].get_legend_handles_labels(), loc="outside upper left", ncols=3)
    style.small_print(figure, "Means over moves; bars: 95% t intervals.")
    return figure


def _panel(ax: Axes, rows: pd.DataFrame) -> None:
    """Draw the mean of each method over moves with its interval; baselines as lines."""
    by_method = dict(list(rows.groupby("method")))
    for name, (colour, marker, line, methods) in SHOWN.items():
        groups = [by_method[method] for method in methods if method in by_method]
        if groups:
            x = [group["seconds"].mean() for group in groups]
            mean, low, high = zip(*(seed_limits(g["set_hv_of_tuned"]) for g in groups), strict=True)
            ax.plot(x, mean, marker=marker, ls=line, color=colour, ms=5, linewidth=1.2, label=name)
            ax.vlines(x, low, high, color=colour, linewidth=0.8)
    for method, (name, line) in FLOORS.items():
        if method in by_method:
            height = by_method[method]["set_hv_of_tuned"].mean()
            colour = look("backbone").colour if method == "backbone" else GREY
            ax.axhline(height, color=colour, linestyle=line, linewidth=1, label=name)
    ax.set_xscale("log")
    ax.xaxis.set_major_formatter("{x:g}")
    ax.grid(axis="y", color="#e6e6e6", linewidth=0.6)
