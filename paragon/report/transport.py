"""What moving adapters to another recommender found, read from the tables in ``transport/``."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pandas as pd

from paragon.errors import ParagonError
from paragon.metrics.statistics import mean_interval
from paragon.report import markdown as md

KINDS = ["seed", "night", "architecture"]  # of moves, in the order of the tables
SIDES = {"item_side": "with the categories' side", "state_only": "without it"}
ROWS = {
    "backbone": "the new backbone alone",
    "as_it_is": "old adapters as they are",
    "random_rotation": "moved by a random rotation",
    "moved": "**moved**, from item tables",
    "moved_means": "moved, and mean states",
    "moved_least_squares": "moved by least squares on states",
    "moved_calibrated": "moved, chosen on validation users",
    "moved_two_anchors": "moved, two anchors tuned on",
    "moved_10": "moved with means, then 10 steps",
    "scratch_10": "from scratch, 10 steps",
    "moved_50": "moved with means, then 50 steps",
    "scratch_50": "from scratch, 50 steps",
    "moved_150": "moved with means, then 150 steps",
    "scratch_150": "from scratch, 150 steps",
    "category_bias": "category bias",
    "xquad": "xQuAD",
    "tuned": "tuned there",
}
MEASURES = {"set_hv_of_tuned": 3, "r_acc": 2, "r_div": 2, "regret_mean": 2}  # with digits


def load_moves(folder: Path) -> pd.DataFrame:
    """A row for each move, side, method and protocol, with what is measured and ``seconds``.

    Rows of the new recommender alone stand beside every move to it.  Seconds are those of one
    processor; None where nothing has to be computed.  ``pair``: the move in words.
    Raises ``ParagonError`` for a folder without tables.
    """
    moves = [
        pd.read_csv(path).assign(name=path.stem.removeprefix("move-"))
        for path in sorted((folder / "results").glob("move-*.csv"))
    ]
    if not moves:
        raise ParagonError(f"{folder}: no results/move-*.csv; run `dvc repro transport/dvc.yaml`")
    parts = []
    for own in moves:
        name, new, old = (own[key].iloc[0] for key in ("name", "new", "old"))
        own = own.assign(seconds=_seconds(folder, f"move-{name}", own))
        path = folder / "results" / f"alone-{new}.csv"
        if path.exists():
            alone = pd.read_csv(path)
            alone = alone[~alone["method"].isin(own["method"])]
            shared = {key: own[key].iloc[0] for key in ("kind", "old", "name", "fit", "shared")}
            alone = alone.assign(**shared, seconds=_seconds(folder, f"alone-{new}", alone))
            own = pd.concat([own, alone], ignore_index=True)
        whole = _read(folder / "seconds" / f"train-{new}.json")
        tuned = own["method"] == "tuned"
        own.loc[tuned, "seconds"] = own.loc[tuned, "side"].map(whole).astype(float)
        # Of several seeds one pair, but an old night is one of its own.
        pair = " → ".join(re.sub(r"-\d+$", "", part) for part in (old, new))
        parts.append(own.assign(pair=pair))
    frame = pd.concat(parts, ignore_index=True)
    return frame.sort_values("kind", key=lambda kinds: kinds.map(KINDS.index), kind="stable")


def _read(path: Path) -> dict:
    return json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}


def _seconds(folder: Path, name: str, rows: pd.DataFrame) -> list[float | None]:
    found = _read(folder / "seconds" / f"{name}.json")
    return [
        found.get(side, {}).get(m) for side, m in zip(rows["side"], rows["method"], strict=True)
    ]


def tables(folder: Path) -> str:
    """Markdown: all of docs/transport.md that is measured."""
    frame = load_moves(folder)
    parts = ["\n".join(f"- {line}" for line in sentences(frame))]
    for kind in dict.fromkeys(frame["kind"]):
        moves = frame.loc[frame["kind"] == kind, "name"].nunique()
        for side, words in SIDES.items():
            parts.append(f"**Another {kind}**, {words}, {moves} move{'s' * (moves > 1)}:")
            parts.append(moves_table(frame, side, kind))
    titles = "and adapters with the categories' side, then without it"
    parts += [
        f"**Every pair**: share of the set HV of `tuned there`, {titles}:",
        pairs_table(frame),
    ]
    return "\n\n".join(parts)


def sentences(frame: pd.DataFrame) -> list[str]:
    """What came out, a sentence or two for each kind of move."""
    full, lines = frame[frame["protocol"] == "full"], []
    for kind, rows in full.groupby("kind", sort=False):
        means = rows.groupby(["side", "method"])[["set_hv_of_tuned", "regret_mean"]].mean()
        share, regret = means["set_hv_of_tuned"], means["regret_mean"]

        def both(method: str, found: pd.Series) -> str:
            values = (found.get((side, method)) for side in SIDES)
            return " and ".join("–" if v is None else f"{v:.2f}" for v in values)

        lines.append(
            f"**Another {kind}**: moved adapters keep {both('moved', share)} of the set HV of "
            "adapters tuned there, with the categories' side and without it; with mean states "
            f"{both('moved_means', share)}. The new backbone alone has {both('backbone', share)}, "
            f"adapters moved by a random rotation {both('random_rotation', share)}. After 50 steps "
            f"on the new model it is {both('moved_50', share)}, from scratch "
            f"{both('scratch_50', share)}. The regret is {both('moved_means', regret)}, after 50 "
            f"steps {both('moved_50', regret)} (from scratch {both('scratch_50', regret)}), with "
            f"two anchors {both('moved_two_anchors', regret)}."
        )
    return lines


def moves_table(frame: pd.DataFrame, side: str, kind: str) -> str:
    """Markdown: a row for each method, its measures over the whole catalogue for one kind of move.

    Means over moves, of the share of the hypervolume ± half of its 95 % interval.
    """
    rows = frame[(frame["side"] == side) & (frame["kind"] == kind) & (frame["protocol"] == "full")]
    lines = []
    for method, words in ROWS.items():
        own = rows[rows["method"] == method]
        if len(own):
            cells = [_cell(own[name], digits, name) for name, digits in MEASURES.items()]
            spent = own["seconds"].mean()
            lines.append([words, *cells, "–" if pd.isna(spent) else f"{spent:.2g}"])
    titles = ["adapters", "set HV, of tuned", "r acc", "r div", "regret", "seconds"]
    return md.markdown_table(titles, lines)


def pairs_table(frame: pd.DataFrame) -> str:
    """Markdown: every pair of recommenders, its fit and the share that moved adapters keep."""
    full = frame[frame["protocol"] == "full"]
    shown, lines = ("backbone", "moved", "moved_means"), []
    for pair, of_pair in full.groupby("pair", sort=False):
        found = dict(list(of_pair.groupby(["side", "method"])["set_hv_of_tuned"]))
        none = pd.Series(dtype=float)
        cells = [_cell(found.get((side, row), none), 3) for side in SIDES for row in shown]
        fits = of_pair.drop_duplicates("name")["fit"]
        lines.append([pair, str(len(fits)), f"{fits.mean():.2f}", *cells])
    titles = [f"{word}, {row}" for word in ("with", "without") for row in ("alone", *shown[1:])]
    return md.markdown_table(["old → new", "moves", "fit", *titles], lines)


def _cell(values: pd.Series, digits: int, name: str = "set_hv_of_tuned") -> str:
    """A mean ± half of its interval, which only the headline has; a dash where it is undefined."""
    if values.isna().any() or values.empty:
        return "–"
    mean, low, _, _ = mean_interval(values.to_numpy(float))
    return md.plus_minus(mean, low if name == "set_hv_of_tuned" else None, digits)
