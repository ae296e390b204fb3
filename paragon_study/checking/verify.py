"""Compare the results in the working tree with those of a commit, within tolerances.

A metric may differ by ``absolute + relative * |committed|`` (section ``verify`` of params.yaml).
"""

from __future__ import annotations

import io
import json
import subprocess
import tarfile
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

import numpy as np
import pandas as pd

from paragon.errors import ParagonError
from paragon.params import ROOT, VerifySettings, load_params
from paragon_study.running.times import recomputed

# For each file: a prefix for its metrics, and endings of metrics that are not compared: limits
# follow from mean and deviation, and a p-value can jump while its difference hardly changes.
FILES = {
    "metrics.json": ("", ("_low", "_high")),
    "differences.json": ("difference_", ("_p", "_p_holm", "_seeds_low", "_seeds_high")),
}
VERDICTS = ("equal", "within tolerance", "outside", "missing", "new")
KEYS = ["dataset", "backbone", "method", "metric"]
Values = dict[tuple[str, str, str, str], float | None]


@dataclass(frozen=True)
class Comparison:
    """Metrics with verdicts, the worst first; ``recomputed``: studies computed in this folder."""

    revision: str
    table: pd.DataFrame
    recomputed: list[tuple[str, str]]

    @property
    def agrees(self) -> bool:
        """Whether no metric is missing or outside its tolerance."""
        return not _bad(self.table).any()

    @property
    def passed(self) -> bool:
        """Whether something was computed here, and the results agree."""
        return self.agrees and bool(self.recomputed)

    @property
    def unequal(self) -> pd.DataFrame:
        """The metrics that are not equal."""
        return self.table[self.table["verdict"] != "equal"]

    def summary(self) -> str:
        """Summarise in one line what was computed here, and the number of metrics by verdict."""
        if self.agrees and not self.recomputed:
            return (
                "nothing was recomputed here, so nothing is verified: the results are those of "
                f"{self.revision} because they came with it; run `make repro`"
            )
        counts = self.table["verdict"].value_counts()
        return (
            f"{'reproduced' if self.passed else 'NOT REPRODUCED'}: the results "
            f"{'agree' if self.agrees else 'DIFFER'} with {self.revision}; {len(self.recomputed)} "
            f"of {len(self.table.groupby(KEYS[:2]))} studies recomputed here; "
            f"{len(self.table)} metrics: "
            + ", ".join(f"{counts.get(verdict, 0)} {verdict}" for verdict in VERDICTS)
        )


def compare_with_commit(revision: str = "HEAD", root: Path = ROOT) -> Comparison:
    """Compare ``results/`` with a git revision; raise ``ParagonError`` if missing or invalid."""
    tolerance = load_params(root / "params.yaml").verify
    commit = commit_of(revision, root)
    committed, now = (_values(version, root) for version in (commit, None))
    where = "results/**/metrics.json"
    if not committed:
        raise ParagonError(f"{revision} holds no {where}: nothing to compare with; commit results/")
    if not now:
        raise ParagonError(f"no {where} in {root}: run `dvc repro` first")
    table = compare_metrics(committed, now, tolerance)
    studies = set(zip(table["dataset"], table["backbone"], strict=True))
    label = revision if commit.startswith(revision) else f"{revision} ({commit[:7]})"
    return Comparison(label, table, [s for s in recomputed(root) if s in studies])


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
    # Failures first (those without a number lead), then new metrics, then the rest.
    with np.errstate(divide="ignore", invalid="ignore"):
        excess = np.where(gap == 0, 0, np.nan_to_num(np.abs(gap) / allowed, nan=np.inf))
    excess = np.where(equal | (verdict == "new"), 0, excess)
    return table.iloc[np.lexsort((-excess, verdict != "new", ~_bad(table)))].reset_index(drop=True)


def _bad(table: pd.DataFrame) -> pd.Series:
    """Mark the metrics that make the comparison fail."""
    return table["verdict"].isin(["outside", "missing"])


def commit_of(revision: str, root: Path) -> str:
    """Return the hash of a revision; raise ``ParagonError`` if there is none, or no repository."""
    hash_of = _git(
        *(root, "rev-parse", "--verify", "--quiet", "--end-of-options"),
        f"{revision}^{{commit}}",
        otherwise=f"git knows no commit {revision!r}; `git log --oneline` lists them",
    )
    return hash_of.decode().strip()


def result_texts(commit: str | None, root: Path, names: Iterable[str]) -> dict[PurePosixPath, str]:
    """Read the named files in ``results/`` of a commit, or of the working tree for None."""
    if commit is None:
        paths = sorted(path for name in names for path in (root / "results").rglob(name))
        data = {PurePosixPath(path.relative_to(root)): path.read_bytes() for path in paths}
    else:  # paths relative to `root`, which may lie inside a larger repository
        if not _git(root, "ls-tree", "--name-only", commit, "--", "results"):
            return {}
        with tarfile.open(fileobj=io.BytesIO(_git(root, "archive", commit, "results"))) as tar:
            files = {PurePosixPath(m.name): tar.extractfile(m) for m in tar}
            data = {p: file.read() for p, file in files.items() if file and p.name in names}
    texts = {}
    for path, content in data.items():
        try:
            texts[path] = content.decode("utf-8")
        except UnicodeDecodeError as error:
            raise _unreadable(path, commit, f"not valid UTF-8 ({error.reason})") from error
    return texts


def _git(root: Path, *arguments: str, otherwise: str = "git failed") -> bytes:
    """Run a git command and return its output; raise its error as one line, or ``otherwise``."""
    try:
        done = subprocess.run(["git", *arguments], cwd=root, capture_output=True, check=False)
    except FileNotFoundError as error:
        raise ParagonError("git is not installed, it holds the results to compare with") from error
    if done.returncode == 0:
        return done.stdout
    complaint = done.stderr.decode(errors="replace").strip().partition("\n")[0]
    if "not a git repository" in complaint:
        raise ParagonError(
            f"{root} is not a git repository, which holds the results to compare with; in a "
            "released archive make it one before the run: `git init && git add . && git commit`"
        )
    raise ParagonError(f"{root}: git says {complaint!r}" if complaint else otherwise)


def _values(commit: str | None, root: Path) -> Values:
    """Read the metrics of all studies of a commit, or of the working tree."""
    values: Values = {}
    for path, text in result_texts(commit, root, FILES).items():
        dataset, *rest = path.parts[1:-1] or ("",)
        prefix, left_out = FILES[path.name]
        try:
            content = json.loads(text, parse_constant=_refuse)
        except ValueError as error:
            raise _unreadable(path, commit, f"not valid JSON ({error})") from error
        if not isinstance(content, dict):
            raise _unreadable(path, commit, "a mapping of methods is needed")
        for method, metrics in content.items():
            for metric, value in (metrics if isinstance(metrics, dict) else {"": metrics}).items():
                # A string says why a metric is null; it is no metric.
                if isinstance(value, str) or metric.endswith(left_out):
                    continue
                if isinstance(value, bool) or not isinstance(value, int | float | None):
                    raise _unreadable(path, commit, f"{method}.{metric} is {value!r}, no number")
                values[dataset, "/".join(rest), method, prefix + metric] = value
    return values


def _unreadable(path: PurePosixPath, commit: str | None, reason: str) -> ParagonError:
    where = f"{path} of {commit[:7]}" if commit else f"{path}"
    return ParagonError(f"{where}: {reason}; run `dvc repro` again")


def _refuse(constant: str) -> None:
    raise ValueError(f"{constant} is not a number")
