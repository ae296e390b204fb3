"""Compare two versions of the results: which differences are larger than the seeds explain?"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike
from scipy.stats import t as student

from paragon.errors import ParagonError
from paragon_study.checking.recorded import Version, read_version
from paragon_study.report.tables import as_markdown, plus_minus

# Measures of methods, over the whole catalogue.
MEASURES = {
    "set_hv_full": "set HV",
    "set_hv_of_tuned_full": "of tuned",
    "r_acc_full": "r acc",
    "r_div_full": "r div",
    "regret_mean_full": "regret %",
    "best_acc_full": "best NDCG@10",
    "asked_acc": "asked − got, accuracy",
    "asked_div": "asked − got, diversity",
    "moves": "moves of a person",
    "outcome_error_full": "distance from tuned",
    "outcome_error_alone_full": "distance from tuned alone",
    **{f"alpha_ndcg_{share}": f"α-nDCG@10 at {share} %" for share in (98, 95, 90, 80)},
}
KINDS = {  # in the order of the report
    "beyond": "beyond the spread of the seeds",
    "alone": "of a single run, which has no spread",
    "within": "within the spread",
    "equal": "equal",
}
KEYS = ["study", "method", "measure"]
NUMBERS = ["mean", "low", "sd", "seeds"]
COLUMNS = [*KEYS, "before", "after", "difference", "spread", "kind"]


@dataclass(frozen=True)
class Versions:
    """Two versions of the results."""

    names: tuple[str, str]
    moved: pd.DataFrame  # means that both have; `spread`: half of the interval of the difference
    studies: list[str]  # that both have
    only: tuple[list[str], list[str]]  # studies and methods that one version alone has

    def markdown(self, limit: int = 30) -> str:
        """Format the comparison, with the first ``limit`` differences."""
        counts = self.moved["kind"].value_counts()
        numbers = ", ".join(f"{counts.get(kind, 0)} {words}" for kind, words in KINDS.items())
        studies = f"{len(self.studies)} {'study' if len(self.studies) == 1 else 'studies'}"
        parts = [f"### Results: {' → '.join(self.names)}"]
        for name, only in zip(self.names, self.only, strict=True):
            parts += [f"**Only in {name}**: {'; '.join(only)}."] if only else []
        parts.append(f"{studies} in both, {len(self.moved)} means: {numbers}.")
        rows = self.moved.loc[self.moved["kind"] != "equal", COLUMNS]
        if len(rows):
            cells = rows.assign(
                method="`" + rows["method"] + "`",
                difference=rows["difference"].map("{:+z.4f}".format),
                spread=rows["spread"].map("{:.4f}".format, na_action="ignore").fillna("–"),
            )
            parts.append(as_markdown(cells[:limit], left=3))
            if len(rows) > limit:
                parts.append(f"... and {len(rows) - limit} more, none of them larger.")
            parts.append(
                f"Compared, of the whole catalogue: {', '.join(MEASURES.values())}; `verify` "
                "compares all numbers. Spread: half of the 95 % interval of the difference over "
                "seeds (Welch), for each row alone: one row in twenty is beyond it by chance."
            )
        return "\n\n".join(parts)


def compare_versions(before: str, after: str | None, root: Path) -> Versions:
    """Compare ``results/`` of two versions (None: the working tree), which must share a study."""
    patterns = ("results/**/metrics.json", "results/**/curve.csv")
    versions = [read_version(revision, root, patterns) for revision in (before, after)]
    names = (before, after or versions[1].name)
    old, new = map(_means, versions)
    rows = old.merge(new, on=KEYS, suffixes=("_before", "_after"))
    if rows.empty:
        raise ParagonError(f"{' and '.join(names)} have no study in common: nothing to compare")
    means, lows, deviations, seeds = ((rows[f"{n}_before"], rows[f"{n}_after"]) for n in NUMBERS)
    gap = means[1] - means[0]
    spread = welch(deviations, seeds)
    conditions = [gap == 0, np.isnan(spread), abs(gap) > spread]
    kind = np.select(conditions, ["equal", "alone", "beyond"], "within")
    moved = rows[KEYS].assign(difference=gap, spread=spread, kind=pd.Categorical(kind, [*KINDS]))
    moved["size"] = abs(gap / np.where(np.isnan(spread), means[0], spread))
    for side, ends in zip(("before", "after"), zip(means, lows, strict=True), strict=True):
        moved[side] = [plus_minus(*pair, 4) for pair in zip(*ends, strict=True)]
    moved = moved.sort_values(["kind", "size"], ascending=[True, False])
    return Versions(names, moved, list(rows["study"].unique()), (_only(old, new), _only(new, old)))


def _only(here: pd.DataFrame, there: pd.DataFrame) -> list[str]:
    """Name the studies that are not ``there``, and the methods of common ones that are not."""
    names = []
    for study, rows in here.groupby("study"):
        known = there.loc[there["study"] == study, "method"]
        methods = [f"`{name}`" for name in rows["method"].unique() if name not in {*known}]
        if methods:
            names.append(f"{study}: {', '.join(methods)}" if len(known) else study)
    return names


def _means(version: Version) -> pd.DataFrame:
    """Read mean, lower limit, deviation and number of seeds, by study, method and measure."""
    lines = []
    files = version.files
    for path in sorted(path for path in files if path.with_name("curve.csv") in files):
        if path.name == "metrics.json":
            study = ", ".join(path.parts[1:-1])
            curve = version.curve(path.with_name("curve.csv"))
            seeds = curve.groupby("method")["seed"].nunique()
            for method, row in version.metrics(path).items():
                for name, title in MEASURES.items():
                    scale = 100 if name.startswith("regret") else 1  # a file has 1 for 100 %
                    values = (row.get(name + end) for end in ("", "_low", "_sd"))
                    numbers = (None if x is None else scale * float(x) for x in values)
                    lines.append((study, method, title, *numbers, seeds.get(method)))
    table = pd.DataFrame(lines, columns=[*KEYS, *NUMBERS])
    return table.astype(dict.fromkeys(NUMBERS, float)).dropna(subset="mean")


def welch(deviations: ArrayLike, numbers: ArrayLike) -> np.ndarray:
    """Half of the 95 % interval of mean differences (Welch, Biometrika 1947); arguments ``[2, n]``.

    NaN without a deviation; ``numbers`` of values >= 2.
    """
    numbers = np.asarray(numbers)
    parts = np.square(deviations) / numbers
    total = parts.sum(0)
    with np.errstate(invalid="ignore"):
        freedom = total**2 / (parts**2 / (numbers - 1)).sum(0)
    return np.where(total > 0, student.ppf(0.975, freedom) * np.sqrt(total), total)
