"""Compare the results in the working tree with those of a commit, within tolerances."""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

import numpy as np
import pandas as pd
import yaml
from dvc.scm import SCM, SCMError, resolve_rev
from pydantic import ConfigDict, FiniteFloat, TypeAdapter, ValidationError

from paragon.errors import ParagonError
from paragon.params import ROOT, VerifySettings, load_params
from paragon_study.running.studies import recomputed

HEADLINE = "headline_"
# For each file: a prefix for its metrics, and endings of metrics that are not compared: limits
# follow from mean and deviation, and a p-value can jump while its difference hardly changes.
FILES = {
    "headline.json": (HEADLINE, ()),
    "metrics.json": ("", ("_low", "_high")),
    "differences.json": ("difference_", ("_p", "_p_holm", "_seeds_low", "_seeds_high")),
}
VERDICTS = ("equal", "within tolerance", "outside", "missing", "new")
KEYS = ["study", "backbone", "method", "metric"]
PARAMS = PurePosixPath("params.yaml")
WORKING_TREE = "the working tree"
# Of each method: numbers, or null with a note that says why.
_ByMethod = dict[str, dict[str, FiniteFloat | str | None]]
_METRICS = TypeAdapter(_ByMethod, config=ConfigDict(strict=True))
Values = dict[tuple[str, str, str, str], float | None]
Files = dict[PurePosixPath, bytes]


@dataclass(frozen=True)
class Comparison:
    """Metrics with verdicts, the worst first, and what was computed in this folder."""

    revision: str
    table: pd.DataFrame
    recomputed: list[tuple[str, ...]]  # studies
    settings: list[str]  # keys of params.yaml that differ

    @property
    def bad(self) -> pd.DataFrame:
        """The metrics that make the comparison fail."""
        return self.table[self.table["verdict"].isin(["outside", "missing"])]

    @property
    def passed(self) -> bool:
        """Whether something was computed here, and the results agree."""
        return self.bad.empty and bool(self.recomputed)

    def summary(self) -> str:
        """Summarise in one line what was computed here, and the number of metrics by verdict."""
        if self.bad.empty and not self.recomputed:
            return "nothing was recomputed here, so nothing is verified: run `make repro`"
        studies = self.table.set_index(KEYS[:2]).index
        here = studies.isin(self.recomputed)
        settings = f"; params.yaml DIFFERS from it in {', '.join(self.settings)}"
        return (
            f"{'reproduced' if self.passed else 'NOT REPRODUCED'}: the results "
            f"{'agree' if self.bad.empty else 'DIFFER'} with {self.revision}"
            f"{settings if self.settings else ''}; {len(self.recomputed)} of "
            f"{studies.nunique()} studies recomputed here, {_counts(self.table[here])}"
            + ("" if here.all() else f"; not recomputed here, {_counts(self.table[~here])}")
        )


def _counts(table: pd.DataFrame) -> str:
    counts = table["verdict"].value_counts()
    verdicts = ", ".join(f"{counts.get(verdict, 0):,} {verdict}" for verdict in VERDICTS)
    return f"{len(table):,} metrics: {verdicts}"


def compare_with_commit(revision: str = "HEAD", root: Path = ROOT) -> Comparison:
    """Compare ``results/`` with a git revision; raise ``ParagonError`` if missing or invalid."""
    tolerance = load_params(root / "params.yaml").verify
    patterns = ["params.yaml", *(f"results/**/{name}" for name in FILES)]
    commit, old = read_files(revision, root, patterns)
    _, new = read_files(None, root, patterns)
    texts = (yaml.safe_load(files.pop(PARAMS, b"")) or {} for files in (old, new))
    before, now = (pd.json_normalize(text, sep=".").T.to_dict().get(0, {}) for text in texts)
    changed = [key for key in before | now if before.get(key) != now.get(key)]
    if not old:
        raise ParagonError(f"{revision} holds no results to compare with: commit results/")
    if not new:
        raise ParagonError(f"no results/**/metrics.json in {root}: run `dvc repro` first")
    table = compare_metrics(_values(old, revision), _values(new, WORKING_TREE), tolerance)
    label = revision if commit.startswith(revision) else f"{revision} ({commit[:7]})"
    return Comparison(label, table, recomputed(root), changed)


def compare_metrics(committed: Values, now: Values, tolerance: VerifySettings) -> pd.DataFrame:
    """Compare the metrics of both sides; the worst come first."""
    keys = sorted(committed | now)
    there = [np.array([key in side for key in keys]) for side in (committed, now)]
    old, new = (np.array([side.get(key) for key in keys], float) for side in (committed, now))
    gap, allowed = new - old, tolerance.absolute + tolerance.relative * np.abs(old)
    # An undefined measure is a result too: null equals null.
    equal = (old == new) | np.isnan(old) & np.isnan(new)
    conditions = [~there[1], ~there[0], equal, np.abs(gap) <= allowed]
    verdict = np.select(conditions, ["missing", "new", "equal", "within tolerance"], "outside")
    table = pd.DataFrame(keys, columns=KEYS)
    table = table.assign(committed=old, now=new, difference=gap, allowed=allowed, verdict=verdict)
    # Failures (first those without a number), then what is new; of each the headline first.
    with np.errstate(divide="ignore", invalid="ignore"):
        excess = np.where(equal, 0, np.nan_to_num(np.abs(gap) / allowed, nan=np.inf))
    place = table["verdict"].map({"outside": 0, "missing": 0, "new": 1}).fillna(2)
    other = ~table["metric"].str.startswith(HEADLINE)
    return table.iloc[np.lexsort((-excess, other, place))].reset_index(drop=True)


def read_files(revision: str | None, root: Path, patterns: Iterable[str]) -> tuple[str, Files]:
    """Read files by path, and the commit ("" for the working tree, None)."""
    if revision is None:
        here = [path for pattern in patterns for path in sorted(root.glob(pattern))]
        return "", {PurePosixPath(path.relative_to(root)): path.read_bytes() for path in here}
    try:
        git = SCM(root)
        commit = resolve_rev(git, revision)
    except SCMError as error:
        raise ParagonError(f"{error}: name a commit with results (`git log --oneline`)") from error
    files = git.get_fs(commit)
    # `root` may lie inside a larger repository.
    top = PurePosixPath("/", root.resolve().relative_to(Path(git.root_dir).resolve()))
    paths = [path for pattern in patterns for path in files.glob(str(top / pattern))]
    return commit, {PurePosixPath(p).relative_to(top): files.cat_file(p) for p in paths}


def parse_metrics(path: PurePosixPath, content: bytes, revision: str) -> dict[str, dict]:
    """Parse ``{method: {metric: number, null or note}}``; raise ``ParagonError`` otherwise."""
    try:
        return _METRICS.validate_json(content)
    except ValidationError as error:
        first = error.errors()[0]
        reason = " ".join([*map(str, first["loc"][:2]), first["msg"]])
        raise ParagonError(f"{path} of {revision}: {reason}; run `dvc repro` again") from error


def _values(files: Files, revision: str) -> Values:
    """Return the metrics that are compared; a note that says why a metric is null is none."""
    values: Values = {}
    for path, content in files.items():
        study, *rest = path.parts[1:-1] or ("",)
        prefix, left_out = FILES[path.name]
        if path.name == "headline.json" and content.count(b"{") == 1:  # without methods
            content = b'{"headline": ' + content + b"}"
        for method, metrics in parse_metrics(path, content, revision).items():
            for metric, value in metrics.items():
                if not isinstance(value, str) and not metric.endswith(left_out):
                    values[study, "/".join(rest), method, prefix + metric] = value
    return values
