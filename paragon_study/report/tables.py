"""Tables for the notebooks: each function takes data and returns a DataFrame."""

import re
from collections.abc import Iterable, Mapping, Sequence

import numpy as np
import pandas as pd
from pydantic import BaseModel

from paragon.data.sequences import Evaluation, Sequences
from paragon.evaluation.protocol import Scores, TestSet
from paragon.metrics.statistics import is_real, mean_interval

ByMethod = Mapping[str, Mapping]  # metrics.json or differences.json: measures of each method


def settings(section: BaseModel, name: str) -> pd.DataFrame:
    """Tabulate a section of params.yaml, with values as written there."""
    values = section.model_dump().items()
    texts = {key: f"{x:g}" if isinstance(x, float) else str(x) for key, x in values}
    return pd.Series(texts, name=name).to_frame()


def history(sequences: Sequences, user: int) -> pd.DataFrame:
    """Tabulate a user's events, oldest first: time (UTC), title, categories, split."""
    start, stop = sequences.offsets[user : user + 2]
    table = items(sequences, sequences.items[start:stop])
    times = pd.to_datetime(sequences.times[start:stop], unit="s")
    table.insert(0, "time", times.strftime("%Y-%m-%d %H:%M:%S"))
    table["part"] = "train"
    for name in ("valid", "test"):
        evaluation = sequences.evaluation(name)
        table.iloc[evaluation.positions[evaluation.users == user], -1] = name
    return table.rename_axis("event")


def items(sequences: Sequences, ids: Sequence[int] | np.ndarray) -> pd.DataFrame:
    """Tabulate titles and categories of items, numbered from 1."""
    names = np.array(sequences.category_names)
    rows = [(sequences.titles[i - 1], ", ".join(names[sequences.categories[i]])) for i in ids]
    index = pd.RangeIndex(1, len(ids) + 1, name="rank")
    return pd.DataFrame(rows, index, ["title", "categories"])


def ranked_lists(sequences: Sequences, lists: Mapping[str, Sequence[int]]) -> pd.DataFrame:
    """Tabulate ranked lists side by side, with the categories that each item adds."""
    columns, names = {}, np.array(sequences.category_names)
    for label, ids in lists.items():
        rows = sequences.categories[np.asarray(ids)]
        added = rows & ~np.r_[rows[:1] & False, np.logical_or.accumulate(rows)[:-1]]
        titles = [sequences.titles[i - 1] for i in ids]
        columns[label, "title"] = [*titles, ""]
        total = f"{rows.any(0).sum()} in all, {rows.sum(1).mean():.1f} an item"
        columns[label, "new categories"] = [*(", ".join(names[row]) for row in added), total]
    table = pd.DataFrame(columns)
    return table.set_axis([*range(1, len(table)), ""])


def quality(
    scores: Iterable[np.ndarray],
    evaluation: Evaluation,
    sequences: Sequences,
    weights: np.ndarray,
    objectives: Sequence[str],
) -> pd.DataFrame:
    """Tabulate accuracy and diversity of A models: scores ``[N, n + 1]``, weights ``[A, O]``."""
    test_set = TestSet(sequences, evaluation, [*objectives], cutoffs=[10])
    means = [test_set.measure(Scores.of(np.asarray(own)))[0]["full"] for own in scores]
    table = pd.DataFrame(np.asarray(weights, float), columns=[f"w_{name}" for name in objectives])
    return table.join(pd.DataFrame(means)[["ndcg@10", "alpha_ndcg@10"]])


def measures(summary: ByMethod, names: Mapping[str, str]) -> pd.DataFrame:
    """Tabulate ``metrics.json``: methods by measures, NaN if undefined; ``names`` has headings."""
    rows = {method: [row.get(name) for name in names] for method, row in summary.items()}
    return pd.DataFrame.from_dict(rows, orient="index", columns=list(names.values()), dtype=float)


def with_limits(summary: ByMethod, names: Mapping[str, str], digits: int = 4) -> pd.DataFrame:
    """Format `measures` as text, ± half of the 95 % interval over seeds; "–" if undefined."""
    cells = {}
    for name, title in names.items():
        places = 1 if name.startswith("regret") else digits
        ends = [(row.get(name), row.get(f"{name}_low")) for row in summary.values()]
        cells[title] = [plus_minus(*pair, places, name) for pair in ends]
    return pd.DataFrame(cells, index=list(summary))


def shares_table(summary: ByMethod, differences: ByMethod) -> pd.DataFrame:
    """Tabulate NDCG@10 kept and α-nDCG@10 by share; arrows: beyond chance from `generated`."""
    names = [n for n in summary.get("backbone", {}) if re.fullmatch(r"kept_[\d.]+", n)]
    shares, rows = [name.removeprefix("kept_") for name in names], {}
    for method, row in summary.items():
        if names and names[0] in row:
            kept = [None if row[name] is None else 100 * row[name] for name in names]
            rows[method] = {"NDCG@10 kept, %": " ".join(plus_minus(x, None, 0) for x in kept)}
            for share in shares:
                measure, change = f"alpha_ndcg_{share}", differences.get(method, {})
                mark = ("↑" if change[measure] > 0 else "↓") if is_real(change, measure) else ""
                cell = plus_minus(row[measure], None, 3) + mark
                rows[method][f"{'' if share in shares[1:] else 'α-nDCG@10 at '}{share} %"] = cell
    return pd.DataFrame.from_dict(rows, orient="index")


def plus_minus(mean: float | None, low: float | None, digits: int, name: str = "") -> str:
    """Format a mean ± the distance to its lower limit; "–" if undefined, regret in per cent."""
    if mean is None or np.isnan(mean):
        return "–"
    scale = 100 if name.startswith("regret") else 1
    text = f"{scale * mean:z.{digits}f}"
    if low is None or np.isnan(low) or low == mean:  # one seed, or no variation
        return text
    return f"{text} ± {scale * (mean - low):.{digits}f}"


def interval_cell(values: pd.Series, digits: int) -> str:
    """Format a mean ± half of its 95 % interval over values; a dash if one is undefined."""
    if values.isna().any() or values.empty:
        return "–"
    return plus_minus(*mean_interval(values.to_numpy(float))[:2], digits)


def as_markdown(table: pd.DataFrame, left: int = 1) -> str:
    """Format a table of text in Markdown, with its index; align ``left`` columns left."""
    if table.index.name is not None:
        table = table.reset_index()
    sides = ["left"] * left + ["right"] * (table.shape[1] - left)
    text = table.to_markdown(index=False, disable_numparse=True, colalign=sides)
    return re.sub(r" {2,}|(?<=---)-+", lambda match: " " * (match[0][0] == " "), text)  # no padding


def interval_table(
    rows: pd.DataFrame, measure: str, index: str, columns: str, digits: int = 1
) -> pd.DataFrame:
    """Tabulate `interval_cell` over seeds by index and column."""
    known = rows.dropna(subset=[measure])
    groups = rows.groupby([index, columns], sort=False)[measure]
    table = groups.agg(interval_cell, digits=digits).unstack()
    table = table.reindex(index=known[index].unique(), columns=known[columns].unique())
    return table.rename_axis(index=None, columns=None).fillna("–")


def difference_table(
    differences: ByMethod, protocol: str = "full", measure: str = "set_hv"
) -> pd.DataFrame:
    """Tabulate a measure minus that of `generated` from ``differences.json``, largest first."""
    endings = {"": "difference", "_low": "low", "_high": "high", "_p": "p", "_p_holm": "p (Holm)"}
    endings |= {"_seeds_low": "seeds low", "_seeds_high": "seeds high"}
    name = f"{measure}_{protocol}"
    table = measures(differences, {name + ending: title for ending, title in endings.items()})
    table = table.sort_values("difference", ascending=False, kind="stable").round(4)
    table = table + 0.0  # no negative zero
    table = table.astype(object).where(table.notna(), "–")
    return table.assign(real=[is_real(differences[method], name) for method in table.index])
