"""Compare two versions of the results: which differences are larger than the seeds explain?"""

import io
import math
from dataclasses import dataclass
from pathlib import Path

import pandas as pd
from scipy.stats import t as student

from paragon.errors import ParagonError
from paragon_study.checking.verify import WORKING_TREE, parse_metrics, read_files
from paragon_study.report.tables import as_markdown, plus_minus

# Measures of methods, over the whole catalogue.
MEASURES = {
    "set_hv_full": "set HV",
    "set_hv_of_tuned_full": "of tuned",
    "r_acc_full": "r acc",
    "r_div_full": "r div",
    "regret_mean_full": "regret",
    "best_acc_full": "best NDCG@10",
}
KINDS = {  # in the order of the report
    "beyond": "beyond the spread of the seeds",
    "alone": "of a single run, which has no spread",
    "within": "within the spread",
    "equal": "equal",
}
COLUMNS = ["study", "method", "measure", "before", "after", "difference", "spread", "kind"]


@dataclass(frozen=True)
class Versions:
    """Two versions of the results."""

    names: tuple[str, str]
    moved: pd.DataFrame  # means that both have; `spread`: half of the interval of the difference
    studies: list[str]  # that both have
    only: tuple[list[str], list[str]]  # studies and methods that one version alone has

    def markdown(self, limit: int | None = None) -> str:
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
            if limit is not None and len(rows) > limit:
                parts.append(f"... and {len(rows) - limit} more, none of them larger.")
            parts.append(
                "Of the whole catalogue. Spread: half of the 95 % interval of the difference over "
                "seeds (Welch), for each row alone: one row in twenty is beyond it by chance."
            )
        return "\n\n".join(parts)


def compare_versions(before: str, after: str | None, root: Path) -> Versions:
    """Compare ``results/`` of two versions (None: the working tree), which must share a study."""
    old, new = (_studies(revision, root) for revision in (before, after))
    names = (before, after or WORKING_TREE)
    both = [study for study in old if study in new]
    if not both:
        raise ParagonError(f"{' and '.join(names)} have no study in common: nothing to compare")
    moved = pd.DataFrame([row for study in both for row in _moved(study, old[study], new[study])])
    return Versions(
        names,
        moved.sort_values(["order", "size"], ascending=[True, False], kind="stable"),
        both,
        (_only(old, new), _only(new, old)),
    )


def _only(here: dict[str, dict], there: dict[str, dict]) -> list[str]:
    """Name the studies that are not ``there``, and the methods of common ones that are not."""
    names = [study for study in here if study not in there]
    for study in (study for study in here if study in there):
        known = there[study]["metrics.json"]
        if methods := [f"`{name}`" for name in here[study]["metrics.json"] if name not in known]:
            names.append(f"{study}: {', '.join(methods)}")
    return names


def _studies(revision: str | None, root: Path) -> dict[str, dict]:
    """Read ``{study: {file: content}}`` of a revision, or of the working tree."""
    studies: dict[str, dict] = {}
    files = read_files(revision, root, ("results/**/metrics.json", "results/**/curve.csv"))[1]
    for path, content in files.items():
        study = studies.setdefault(", ".join(path.parts[1:-1]), {})
        if path.suffix == ".csv":
            study[path.name] = pd.read_csv(io.BytesIO(content))
        else:
            study[path.name] = parse_metrics(path, content, revision or WORKING_TREE)
    return {study: files for study, files in sorted(studies.items()) if len(files) == 2}


def _moved(study: str, before: dict, after: dict) -> list[dict]:
    """Compare the means of all methods and measures that both versions have."""
    rows, versions = [], (before, after)
    seeds = [version["curve.csv"].groupby("method")["seed"].nunique() for version in versions]
    for method in before["metrics.json"]:
        pair = [version["metrics.json"].get(method, {}) for version in versions]
        for measure, title in MEASURES.items():
            means, deviations = ([v.get(measure + end) for v in pair] for end in ("", "_sd"))
            if None in means:
                continue
            gap, spread = means[1] - means[0], None
            if None not in deviations:
                spread = welch(deviations, [int(numbers[method]) for numbers in seeds])
            kind = "alone" if spread is None else "beyond" if abs(gap) > spread else "within"
            kind, unit = kind if gap else "equal", means[0] if spread is None else spread
            ends = [plus_minus(v[measure], v.get(f"{measure}_low"), 4) for v in pair]
            row = dict(zip(COLUMNS, (study, method, title, *ends, gap, spread, kind), strict=True))
            size = abs(gap / unit) if unit else math.inf
            rows.append(row | {"order": [*KINDS].index(kind), "size": size})
    return rows


def welch(deviations: list[float], numbers: list[int]) -> float:
    """Half of the 95 % interval of a mean difference (Welch, Biometrika 1947); ``numbers`` >= 2."""
    parts = [sd**2 / n for sd, n in zip(deviations, numbers, strict=True)]
    if not sum(parts):
        return 0.0
    freedom = sum(parts) ** 2 / sum(p**2 / (n - 1) for p, n in zip(parts, numbers, strict=True))
    return float(student.ppf(0.975, freedom) * math.sqrt(sum(parts)))
