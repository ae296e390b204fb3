"""Two versions of the results beside each other: what moved by more than the seeds explain.

Nothing is run: both versions are read from git, or one from the working tree.
"""

from __future__ import annotations

import io
import json
import math
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

import pandas as pd
from scipy.stats import t as student

from paragon.errors import ParagonError
from paragon_study.checking.verify import commit_of, result_texts
from paragon_study.report import figures
from paragon_study.report.tables import as_markdown, plus_minus

# Measures of every method, all of the whole catalogue.
MEASURES = {
    "set_hv_full": "set HV",
    "set_hv_of_tuned_full": "of tuned",
    "r_acc_full": "r acc",
    "r_div_full": "r div",
    "regret_mean_full": "regret",
    "best_acc_full": "best NDCG@10",
}
KINDS = {  # in the order in which they are told
    "beyond": "beyond the spread of the seeds",
    "alone": "of a single run, which has no spread",
    "within": "within the spread",
    "equal": "equal",
}
READ = ("metrics.json", "curve.csv")
WORKING = "the working tree"


@dataclass(frozen=True)
class Moved:
    """One mean in both versions.  ``spread``: half of the 95 % interval of the difference."""

    study: str
    method: str
    measure: str
    before: dict
    after: dict
    difference: float
    spread: float | None

    @property
    def kind(self) -> str:
        """One of ``KINDS``."""
        if self.difference == 0:
            return "equal"
        if self.spread is None:
            return "alone"
        return "beyond" if abs(self.difference) > self.spread else "within"

    @property
    def size(self) -> float:
        """The difference in units of the spread, or relative to the value before."""
        unit = abs(self.before[self.measure]) if self.spread is None else self.spread
        return abs(self.difference) / unit if unit else math.inf

    def cells(self) -> list[str]:
        """A row of the table."""
        ends = [
            plus_minus(row[self.measure], row.get(f"{self.measure}_low"), 4)
            for row in (self.before, self.after)
        ]
        spread = "–" if self.spread is None else f"{self.spread:.4f}"
        names = [self.study, f"`{self.method}`", MEASURES[self.measure]]
        difference = f"{round(self.difference, 4) + 0.0:+.4f}"  # without the 0.0 it could be -0
        return [*names, *ends, difference, spread, KINDS[self.kind].split()[0]]


@dataclass(frozen=True)
class Versions:
    """Two versions of the results.

    ``moved``: every mean that both have, in the order of ``KINDS`` and then of size;
    ``curves``: ``{study: (before, after)}``; ``only``: the studies that one version has alone.
    """

    names: tuple[str, str]
    moved: list[Moved]
    curves: dict[str, tuple[pd.DataFrame, pd.DataFrame]]
    only: tuple[list[str], list[str]]

    def markdown(self, limit: int | None = None) -> str:
        """The comparison for people, with the first ``limit`` of what differs."""
        counts, studies = Counter(row.kind for row in self.moved), len(self.curves)
        told = ", ".join(f"{counts[kind]} {words}" for kind, words in KINDS.items())
        parts = [
            f"### Results: {' → '.join(self.names)}",
            f"{studies} {'study' if studies == 1 else 'studies'}, {len(self.moved)} means: {told}.",
        ]
        parts += [
            f"Only in {name}: {', '.join(own)}."
            for name, own in zip(self.names, self.only, strict=True)
            if own
        ]
        rows = [row for row in self.moved if row.kind != "equal"]
        if rows:
            titles = ["study", "method", "measure", "before", "after", "difference", "spread", ""]
            table = pd.DataFrame([row.cells() for row in rows[:limit]], columns=titles)
            parts.append(as_markdown(table, left=3))
            if limit is not None and len(rows) > limit:
                parts.append(f"... and {len(rows) - limit} more, none of them larger.")
            parts.append(
                "Of the whole catalogue. Spread: half of the 95 % interval of the difference over "
                "seeds (Welch), for each row alone: one row in twenty is beyond it by chance."
            )
        return "\n\n".join(parts)

    def draw(self, path: Path) -> Path:
        """Save the control curves of both versions in one figure."""
        return figures.save_figure(figures.two_versions(self.curves, self.names), path)


def compare_versions(before: str, after: str | None, root: Path) -> Versions:
    """Compare ``results/`` of one revision with those of another, or of the working tree.

    Raises ``ParagonError`` for an unknown revision, or if the two share no study.
    """
    old, new = (_studies(revision, root) for revision in (before, after))
    names = (before, WORKING if after is None else after)
    both = [study for study in old if study in new]
    if not both:
        raise ParagonError(f"{' and '.join(names)} have no study in common: nothing to compare")
    moved = [row for study in both for row in _moved(study, old[study], new[study])]
    moved.sort(key=lambda row: ([*KINDS].index(row.kind), -row.size))
    return Versions(
        names,
        moved,
        {study: (old[study]["curve.csv"], new[study]["curve.csv"]) for study in both},
        (sorted(set(old) - set(new)), sorted(set(new) - set(old))),
    )


def _studies(revision: str | None, root: Path) -> dict[str, dict[str, Any]]:
    """``{study: {file: content}}`` of a revision, or of the working tree."""
    commit = None if revision is None else commit_of(revision, root)
    studies: dict[str, dict[str, Any]] = {}
    for name, text in result_texts(commit, root, READ).items():
        path = PurePosixPath(name)
        own = studies.setdefault(", ".join(path.parts[1:-1]), {})
        try:
            table = path.suffix == ".csv"
            own[path.name] = pd.read_csv(io.StringIO(text)) if table else json.loads(text)
        except ValueError as error:
            where = WORKING if revision is None else revision
            raise ParagonError(f"{name} of {where} cannot be read: {error}") from error
    return {study: own for study, own in sorted(studies.items()) if set(own) == set(READ)}


def _moved(study: str, old: Mapping[str, Any], new: Mapping[str, Any]) -> list[Moved]:
    rows = []
    for method, before in old["metrics.json"].items():
        after = new["metrics.json"].get(method, {})
        curves = [version["curve.csv"] for version in (old, new)]
        seeds = [int(c.loc[c["method"] == method, "seed"].nunique()) for c in curves]
        for measure in MEASURES:
            if before.get(measure) is None or after.get(measure) is None:
                continue
            sds = (before.get(f"{measure}_sd"), after.get(f"{measure}_sd"))
            spread = None if None in sds else welch(sds, seeds)  # type: ignore[arg-type]
            difference = after[measure] - before[measure]
            rows.append(Moved(study, method, measure, before, after, difference, spread))
    return rows


def welch(deviations: tuple[float, float], numbers: list[int]) -> float:
    """Half of the 95 % interval of a difference of two means (Welch, Biometrika 1947).

    ``deviations``: the standard deviations of the two samples; ``numbers``: their sizes, >= 2.
    """
    parts = [sd**2 / n for sd, n in zip(deviations, numbers, strict=True)]
    if not sum(parts):
        return 0.0
    freedom = sum(parts) ** 2 / sum(p**2 / (n - 1) for p, n in zip(parts, numbers, strict=True))
    return float(student.ppf(0.975, freedom) * math.sqrt(sum(parts)))
