"""Do the numbers of a study agree with each other?  Each is computed anew from those it is made of.

A number that was edited, or left over from another run, disagrees with the rest of its study.
"""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from scipy.stats import t as student

from paragon.errors import ParagonError
from paragon.evaluation.differences import REFERENCE
from paragon.evaluation.evaluate import headline
from paragon.evaluation.summary import summarise
from paragon.metrics.statistics import CONFIDENCE, REAL, holm
from paragon.storage import require
from paragon_study.report.tables import ByMethod
from paragon_study.report.trainings import load_results

# Files have six digits.
ROUNDED = 1e-4  # relative
SIX_DIGITS = 2e-6  # absolute, of the difference of two numbers below 1
OF_CURVE = 1e-3  # relative, of measures that are computed again from rounded curves
LEAST = 1e-4  # absolute, of the same
ENDINGS = ("_sd", "_low", "_high", "_note")
COUNTS = "violations_"  # of steps beyond a threshold, which rounding can cross
BORDER = 0.005  # a p-value so close to .05 can be on another side than its interval


def disagreements(folder: Path) -> Iterator[str]:
    """Yield file, key and numbers of a study ``<study>/<backbone>`` that do not agree."""
    metrics = load_results(folder / "metrics.json")
    differences = load_results(folder / "differences.json")
    curve = pd.read_csv(require(folder / "curve.csv", "evaluation"))
    try:
        shown = load_results(folder / "headline.json")
        yield from _different(folder / "headline.json", shown, headline(metrics), 0, 0)
        seeds = curve.groupby("method")["seed"].nunique()
        yield from _limits(folder / "metrics.json", metrics, seeds)
        yield from _of_curve(folder / "metrics.json", metrics, curve)
        yield from _of_differences(folder / "differences.json", differences, metrics)
    except (KeyError, TypeError, AttributeError) as error:  # not in the form of results
        raise ParagonError(f"{folder}: {error!r}; run `dvc repro` again") from error


def _different(
    path: Path, found: ByMethod, expected: ByMethod, relative: float, absolute: float
) -> Iterator[str]:
    """Yield the keys in which recorded numbers differ from expected ones."""
    for method in {**expected, **found}:
        there = found.get(method, {})
        should = expected.get(method, {})
        for key in {**should, **there}:
            value = there.get(key)
            other = should.get(key)
            numbers = [x for x in (value, other) if isinstance(x, int | float)]
            if len(numbers) == 1 or (numbers and not _close(value, other, relative, absolute)):
                yield _problem(path, method, key, value, other)


def _close(value: Any, other: Any, relative: float, absolute: float = 0.0) -> bool:
    return abs(value - other) <= absolute + relative * abs(other)


def _problem(path: Path, method: str, key: str, value: object, other: object) -> str:
    place = "/".join(path.parts[-4:])
    return f"{place}: {method}.{key} is {value}, from the other numbers it is {other}"


def _limits(path: Path, metrics: ByMethod, seeds: pd.Series) -> Iterator[str]:
    """Check that limits lie around their mean, as far as deviation and seeds say."""
    for method, row in metrics.items():
        for key in (key.removesuffix("_low") for key in row if key.endswith("_low")):
            mean, low, high = (float(row[key + end] or 0) for end in ("", "_low", "_high"))
            error = ROUNDED * max(map(abs, (mean, low, high)))
            if abs((low + high) / 2 - mean) > error or low > high:
                yield _problem(path, method, key, mean, (low + high) / 2)
            deviation = row.get(f"{key}_sd")
            number = seeds.get(method, 0)
            if isinstance(deviation, float) and number > 1 and not re.search(r"_[\d.]+$", key):
                width = student.ppf((1 + CONFIDENCE) / 2, number - 1) / np.sqrt(number)
                if abs((high - low) / 2 - width * deviation) > error + ROUNDED * deviation:
                    yield _problem(path, method, f"{key}_low", low, mean - width * deviation)


def _of_curve(path: Path, metrics: ByMethod, curve: pd.DataFrame) -> Iterator[str]:
    """Check the means of the whole catalogue against the curve."""
    objectives = [name.removeprefix("w_") for name in curve if name.startswith("w_")]
    expected = summarise(curve[curve["protocol"] == "full"], objectives)
    for method, row in expected.items():
        own = {k: x for k, x in row.items() if not k.startswith(COUNTS) and not k.endswith(ENDINGS)}
        found = {key: metrics[method].get(key) for key in own}
        yield from _different(path, {method: found}, {method: own}, OF_CURVE, LEAST)


def _of_differences(path: Path, differences: ByMethod, metrics: ByMethod) -> Iterator[str]:
    """Check differences against their means, and p-values against intervals and each other."""
    keys = {key for row in differences.values() for key in row if key.endswith("_p")}
    for name in sorted(key.removesuffix("_p") for key in keys):
        yield from _p_values(path, differences, name)
        for method, row in differences.items():
            gap, low, high = (row.get(name + end) for end in ("", "_seeds_low", "_seeds_high"))
            if gap is None:
                continue
            if low is not None and high is not None:
                middle = (low + high) / 2
                if abs(middle - gap) > ROUNDED * max(map(abs, (gap, low, high))):
                    yield _problem(path, method, name, gap, middle)
            own, other = (metrics.get(m, {}).get(name) for m in (method, REFERENCE))
            if name.startswith("alpha_ndcg") and own is not None and other is not None:
                if not _close(gap, own - other, ROUNDED, SIX_DIGITS):
                    yield _problem(path, method, name, gap, f"{own - other:.6g}")


def _p_values(path: Path, differences: ByMethod, name: str) -> Iterator[str]:
    """Check that Holm's correction follows from all p-values, and they from their intervals."""
    rows = {m: row for m, row in differences.items() if row.get(f"{name}_p") is not None}
    if not rows:
        return
    adjusted = holm(np.array([row[f"{name}_p"] for row in rows.values()]))
    for (method, row), expected in zip(rows.items(), adjusted, strict=True):
        p_value = row[f"{name}_p"]
        p_holm = row[f"{name}_p_holm"]
        if not _close(p_holm, expected, ROUNDED):
            yield _problem(path, method, f"{name}_p_holm", p_holm, f"{expected:.6g}")
        without_0 = row[f"{name}_low"] > 0 or row[f"{name}_high"] < 0
        if without_0 != (p_value < REAL) and abs(p_value - REAL) > BORDER:
            side = f"{'below' if without_0 else 'above'} {REAL}"
            yield _problem(path, method, f"{name}_p", p_value, side)
