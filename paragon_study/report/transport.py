"""What moving adapters to another recommender found, read from the tables in ``transport/``."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pandas as pd

from paragon.errors import ParagonError
from paragon_study.report.tables import as_markdown, interval_cell

MAIN = ["seed", "warm night", "night", "architecture"]  # the main kinds of moves, on MovieLens-100K
COLUMNS = [*MAIN, "one category an item"]  # those with a column
KINDS = [*COLUMNS, "width", "graph", "other data", "few items"]  # all of them, in their order
SIDES = {"item_side": "with the item side", "state_only": "without the item side"}
STEPS = (10, 50, 150, 500)  # after which adapters are measured, as in transport/params.yaml
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
    **{
        f"{way}_{steps}": f"{words} {steps} steps"
        for steps in STEPS
        for way, words in {"moved": "moved with means, then", "scratch": "from scratch,"}.items()
    },
    "category_bias": "category bias",
    "mmr": "MMR",
    "xquad": "xQuAD",
    "tuned": "tuned there",
}


def load_moves(folder: Path) -> pd.DataFrame:
    """A row for each move, side, method and protocol, with what is measured and ``seconds``.

    Rows of a new recommender alone stand beside the first move of a kind to it.  Seconds are those
    of one processor; None where nothing has to be computed.  ``pair``: the move in words.
    Raises ``ParagonError`` for a folder without tables.
    """
    moves = [
        pd.read_csv(path).assign(name=path.stem.removeprefix("move-"))
        for path in sorted((folder / "results").glob("move-*.csv"))
    ]
    if not moves:
        raise ParagonError(f"{folder}: no results/move-*.csv; run `dvc repro transport/dvc.yaml`")
    parts, seen = [], set()
    for own in moves:
        name, kind, new, old, items = (
            own[key].iloc[0] for key in ("name", "kind", "new", "old", "items")
        )
        own = own.assign(seconds=_seconds(folder, f"move-{name}", own))
        path = folder / "results" / f"alone-{new}.csv"
        if path.exists() and (kind, new) not in seen:
            seen.add((kind, new))
            alone = pd.read_csv(path)
            alone = alone[~alone["method"].isin(own["method"]) & alone["side"].isin(own["side"])]
            shared = {key: own[key].iloc[0] for key in ("kind", "old", "name", "fit", "shared")}
            alone = alone.assign(**shared, seconds=_seconds(folder, f"alone-{new}", alone))
            own = pd.concat([own, alone], ignore_index=True)
        whole = _read(folder / "seconds" / f"train-{new}.json")
        tuned = own["method"] == "tuned"
        own.loc[tuned, "seconds"] = own.loc[tuned, "side"].map(whole).astype(float)
        # Of several seeds one pair, but an old night is one of its own.
        pair = " → ".join(re.sub(r"-\d+$", "", part) for part in (old, new))
        pair += f", {100 * items:.0f} % of the items" if items < 1 else ""
        parts.append(own.assign(pair=pair))
    frame = pd.concat(parts, ignore_index=True)
    return frame.sort_values("kind", key=lambda kinds: kinds.map(KINDS.index), kind="stable")


def load_shared(folder: Path) -> pd.DataFrame:
    """A row for each trial of a moved generator, side, method and protocol; none without trials.

    The kind says the side, so that a table has both.
    """
    found = [pd.read_csv(path) for path in sorted((folder / "results").glob("shared-*.csv"))]
    if not found:
        return pd.DataFrame(columns=["kind", "olds", "method", "protocol", "set_hv_of_tuned"])
    frame = pd.concat(found, ignore_index=True).sort_values(["olds", "kind", "side"])
    which = frame["side"].map({"item_side": "", "state_only": ", without the item side"})
    return frame.assign(kind=frame["kind"] + which, side="both")


def _read(path: Path) -> dict:
    return json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}


def _seconds(folder: Path, name: str, rows: pd.DataFrame) -> list[float | None]:
    found = _read(folder / "seconds" / f"{name}.json")
    return [
        found.get(side, {}).get(m) for side, m in zip(rows["side"], rows["method"], strict=True)
    ]


def tables(folder: Path) -> str:
    """Markdown: all of docs/transport.md that is measured."""
    frame = load_moves(folder).query("protocol == 'full'")
    main = frame[frame["kind"].isin(COLUMNS)]
    parts = []
    for side, words in SIDES.items():
        parts += [
            f"**Set HV, of tuned**, {words}; the seconds are means over moves on MovieLens-100K:",
            measure_table(main, side, "set_hv_of_tuned", 2),
            f"**Regret**, {words}, in per cent:",
            measure_table(main, side, "regret_mean", 0, 100),
        ]
    if len(shared := load_shared(folder).query("protocol == 'full'")):
        parts += [
            "**Set HV, of tuned**, moved generators:",
            measure_table(shared, "both", "set_hv_of_tuned", 2),
            "**Regret**, moved generators, in per cent:",
            measure_table(shared, "both", "regret_mean", 0, 100),
        ]
    for side, words in SIDES.items():
        parts += [f"**Every pair**, moved from item tables, {words}:", pairs_table(frame, side)]
    return "\n\n".join(parts)


def measure_table(
    frame: pd.DataFrame, side: str, measure: str, digits: int, scale: float = 1
) -> str:
    """Markdown: a row for each method with adapters of one side, a column for each kind of move.

    Means ± half of their 95 % interval over moves.  The share of the hypervolume has the seconds
    of the main kinds beside it, where there are any.
    """
    frame = frame[frame["side"] == side]
    kinds, lines = list(dict.fromkeys(frame["kind"])), []
    timed = measure == "set_hv_of_tuned" and "seconds" in frame
    for method, words in ROWS.items():
        own = frame[frame["method"] == method]
        if own[measure].notna().any():
            found = (own.loc[own["kind"] == kind, measure] * scale for kind in kinds)
            cells = [interval_cell(values, digits) for values in found]
            if timed:
                spent = own.loc[own["kind"].isin(MAIN), "seconds"].mean()
                cells.append("–" if pd.isna(spent) else f"{spent:.2g}")
            lines.append([words, *cells])
    return as_markdown(pd.DataFrame(lines, columns=["adapters", *kinds, *["seconds"] * timed]))


def pairs_table(frame: pd.DataFrame, side: str) -> str:
    """Markdown: every pair of recommenders, the fit, and what adapters of one side reach there."""
    shown = {
        "set HV, of tuned": ("moved", "set_hv_of_tuned", 2, 1),
        "as they are": ("as_it_is", "set_hv_of_tuned", 2, 1),
        "regret %": ("moved", "regret_mean", 0, 100),
        "as they are, regret %": ("as_it_is", "regret_mean", 0, 100),
        "r acc": ("moved", "r_acc", 2, 1),
        "r div": ("moved", "r_div", 2, 1),
    }
    lines = []
    for pair, of_pair in frame[frame["side"] == side].groupby("pair", sort=False):
        by_method = dict(list(of_pair.groupby("method")))
        cells = [
            interval_cell(by_method[method][name] * scale, digits) if method in by_method else "–"
            for method, name, digits, scale in shown.values()
        ]
        fits = by_method["moved"]["fit"]
        words = pair.replace(" ", "\N{NO-BREAK SPACE}")  # on one line of a page
        lines.append([words, str(len(fits)), f"{fits.mean():.2f}", *cells])
    return as_markdown(pd.DataFrame(lines, columns=["old → new", "moves", "fit", *shown]))
