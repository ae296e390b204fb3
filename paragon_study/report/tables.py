"""Tables for the notebooks: each function takes data and returns a DataFrame."""

import re
from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike
from pydantic import BaseModel
from torch import Tensor

from paragon.adapters.frozen import FrozenEvents
from paragon.data.sequences import Sequences
from paragon.evaluation.protocol import Scores, TestSet
from paragon.metrics.ranking import top_k
from paragon.metrics.statistics import is_real, mean_interval

ByMethod = Mapping[str, Mapping]  # metrics.json or differences.json: measures of each method


def settings(section: BaseModel, name: str) -> pd.DataFrame:
    """Tabulate a section of params.yaml, with values as written there."""
    texts = {}
    for key, value in section.model_dump().items():
        texts[key] = f"{value:g}" if isinstance(value, float) else str(value)
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
        positions = evaluation.positions[evaluation.users == user]
        table.iloc[positions, -1] = name
    return table.rename_axis("event")


def items(sequences: Sequences, ids: Sequence[int] | np.ndarray) -> pd.DataFrame:
    """Tabulate titles and categories of items, numbered from 1."""
    category_names = np.array(sequences.category_names)
    rows = []
    for item in ids:
        categories = category_names[sequences.categories[item]]
        rows.append((sequences.titles[item - 1], ", ".join(categories)))
    index = pd.RangeIndex(1, len(ids) + 1, name="rank")
    return pd.DataFrame(rows, index, ["title", "categories"])


def ranked_lists(
    sequences: Sequences, scores: Mapping[str, ArrayLike], row: int = 0, length: int = 8
) -> pd.DataFrame:
    """Tabulate lists for one test event side by side, with the categories that each item adds.

    ``scores`` has the scores ``[n + 1]`` of the catalogue for each list. Items that the user met
    before are left out. ``row`` is the number of the test event; the first one is of our user.
    """
    category_names = np.array(sequences.category_names)
    excluded = sequences.excluded(sequences.test[row : row + 1])  # [1, n + 1]
    columns = {}
    for label, of_items in scores.items():
        best = top_k(np.asarray(of_items)[None], length, excluded)[0]  # [length]
        categories = sequences.categories[best]  # [length, M]
        seen = np.logical_or.accumulate(categories)  # up to and including each item
        seen_above = np.zeros_like(seen)
        seen_above[1:] = seen[:-1]
        added = categories & ~seen_above
        titles = [sequences.titles[item - 1] for item in best]
        columns[label, "title"] = [*titles, ""]
        new = [", ".join(category_names[of_item]) for of_item in added]
        total = f"{categories.any(0).sum()} in all, {categories.sum(1).mean():.1f} an item"
        columns[label, "new categories"] = [*new, total]
    table = pd.DataFrame(columns)
    return table.set_axis([*range(1, length + 1), ""])


def validation_curve(
    method: str,
    vectors: Tensor,
    weights: ArrayLike,
    valid: FrozenEvents,
    sequences: Sequences,
    objectives: Sequence[str],
) -> pd.DataFrame:
    """Measure a method on the validation events: rows as in ``curve.csv``, of one seed.

    ``vectors [W, P]`` has its adapter for each of the ``weights [W, O]``. The whole catalogue is
    ranked for each validation event; accuracy and diversity of the ten best items are averaged.
    """
    test_set = TestSet(sequences, sequences.valid, [*objectives], cutoffs=[10])
    means = []
    for vector in vectors:
        scores = valid.catalogue_scores(vector).cpu().numpy()  # [N, n + 1]
        by_protocol, _ = test_set.measure(Scores.of(scores))
        means.append(by_protocol["full"])
    names = [f"w_{objective}" for objective in objectives]
    table = pd.DataFrame(np.asarray(weights, float), columns=names)
    table = table.join(pd.DataFrame(means)[["ndcg@10", "alpha_ndcg@10"]])
    return table.assign(method=method, seed=0, protocol="full")


def measures(summary: ByMethod, names: Mapping[str, str]) -> pd.DataFrame:
    """Tabulate ``metrics.json``: methods by measures, NaN if undefined; ``names`` has headings."""
    rows = {method: [row.get(name) for name in names] for method, row in summary.items()}
    return pd.DataFrame.from_dict(rows, orient="index", columns=list(names.values()), dtype=float)


def with_limits(summary: ByMethod, names: Mapping[str, str], digits: int = 4) -> pd.DataFrame:
    """Format `measures` as text, ± half of the 95 % interval over seeds; "–" if undefined."""
    columns = {}
    for name, title in names.items():
        places = 1 if name.startswith("regret") else digits
        columns[title] = [
            plus_minus(row.get(name), row.get(f"{name}_low"), places, name)
            for row in summary.values()
        ]
    return pd.DataFrame(columns, index=list(summary))


def shares_table(summary: ByMethod, differences: ByMethod) -> pd.DataFrame:
    """Tabulate NDCG@10 kept and α-nDCG@10 by share of the accuracy, one row for each method.

    An arrow marks a difference from `generated` that is beyond chance.
    """
    names = [name for name in summary.get("backbone", {}) if re.fullmatch(r"kept_[\d.]+", name)]
    shares = [name.removeprefix("kept_") for name in names]
    rows = {}
    for method, row in summary.items():
        if not names or names[0] not in row:
            continue
        kept = [None if row[name] is None else 100 * row[name] for name in names]
        cells = {"NDCG@10 kept, %": " ".join(plus_minus(percent, None, 0) for percent in kept)}
        difference = differences.get(method, {})
        for share in shares:
            heading = f"{share} %" if share in shares[1:] else f"α-nDCG@10 at {share} %"
            cells[heading] = share_cell(row, difference, share)
        rows[method] = cells
    return pd.DataFrame.from_dict(rows, orient="index")


def share_cell(row: Mapping, difference: Mapping, share: str) -> str:
    """Format α-nDCG@10 at a share, with an arrow if it differs from `generated` beyond chance."""
    measure = f"alpha_ndcg_{share}"
    arrow = ""
    if is_real(difference, measure):
        arrow = "↑" if difference[measure] > 0 else "↓"
    return plus_minus(row.get(measure), None, 3) + arrow


def plus_minus(mean: float | None, low: float | None, digits: int, name: str = "") -> str:
    """Format a mean ± the distance to its lower limit; "–" if undefined, regret in per cent."""
    if mean is None or np.isnan(mean):
        return "–"
    scale = 100 if name.startswith("regret") else 1
    text = f"{scale * mean:z.{digits}f}"
    if low is None or np.isnan(low) or low == mean:  # one seed, or no variation
        return text
    return f"{text} ± {scale * (mean - low):.{digits}f}"


def in_form(values: pd.Series, form: str) -> str:
    """Write numbers as one text, by a form: a kind and the digits of numbers, ``span .2f``.

    Kinds: ``mean``, ``min``, ``max``, ``span`` (from the smallest to the largest) and ``percent``
    (the same in per cent).
    """
    kind, _, digits = form.partition(" ")
    if kind not in ("span", "percent"):
        return f"{values.agg(kind):z{digits}}"
    scale = 100 if kind == "percent" else 1
    ends = [f"{scale * end:z{digits}}" for end in (values.min(), values.max())]
    text = " to ".join(dict.fromkeys(ends))
    return f"{text} %" if kind == "percent" else text


def interval_cell(values: pd.Series, digits: int) -> str:
    """Format a mean ± half of its 95 % interval over values; a dash if one is undefined."""
    if values.isna().any() or values.empty:
        return "–"
    interval = mean_interval(values.to_numpy(float))
    return plus_minus(interval.mean, interval.low, digits)


def as_markdown(table: pd.DataFrame, left: int = 1) -> str:
    """Format a table of text in Markdown, with its index; align ``left`` columns left."""
    if table.index.name is not None:
        table = table.reset_index()
    sides = ["left"] * left + ["right"] * (table.shape[1] - left)
    text = table.to_markdown(index=False, disable_numparse=True, colalign=sides)
    # Without padding: runs of spaces become one, rows of dashes become three.
    text = re.sub(r"(?<=---)-+", "", text)
    return re.sub(r" {2,}", " ", text)


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
    name = f"{measure}_{protocol}"
    headings = {
        name: "difference",
        f"{name}_low": "low",
        f"{name}_high": "high",
        f"{name}_p": "p",
        f"{name}_p_holm": "p (Holm)",
        f"{name}_seeds_low": "seeds low",
        f"{name}_seeds_high": "seeds high",
    }
    table = measures(differences, headings)
    table = table.sort_values("difference", ascending=False, kind="stable").round(4)
    table = table + 0.0  # no negative zero
    table = table.astype(object).where(table.notna(), "–")
    return table.assign(real=[is_real(differences[method], name) for method in table.index])
