"""Are the results in the working tree those of a commit, within stated tolerances?

The same machine gives the same bytes; another one sums in another order.  So each metric may differ
by ``absolute + relative * |committed|``, with both numbers from the section ``verify`` of
params.yaml.

Two kinds of numbers are left out.  The limits of intervals over seeds follow from the mean and
the standard deviation, which are compared.  And a p-value is a share of resamples: a difference
that moves well within its tolerance may change it from .2 to .02.
"""

from __future__ import annotations

import json
import math
import subprocess
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import partial
from pathlib import Path, PurePosixPath

import pandas as pd

from paragon.errors import ParagonError
from paragon.params import ROOT, VerifySettings, load_params
from paragon_study.running.times import recomputed

# For each file: the start of its metrics' names here, and the endings of what is left out.
FILES = {
    "metrics.json": ("", ("_low", "_high")),
    "differences.json": ("difference_", ("_p", "_p_holm", "_seeds_low", "_seeds_high")),
}
HEADER = (
    *("dataset", "backbone", "method", "metric"),
    *("committed", "now", "difference", "allowed", "verdict"),
)
VERDICTS = {  # and their words in the summary
    **{"equal": "equal", "within": "within tolerance", "outside": "outside"},
    **{"missing": "missing", "new": "new"},
}
StudyName = tuple[str, str]  # dataset, backbone
Key = tuple[str, str, str, str]  # dataset, backbone, method, metric
Values = dict[Key, float | None]


@dataclass(frozen=True)
class MetricChange:
    """One metric, committed and now; ``difference`` is None unless both are numbers.

    ``verdict``: ``equal``, ``within`` or ``outside`` the tolerance, ``missing``
    (committed, no longer there) or ``new`` (nothing to compare it with).
    """

    key: Key
    committed: float | None
    now: float | None
    verdict: str
    difference: float | None = None
    allowed: float | None = None

    @property
    def bad(self) -> bool:
        """Whether this metric makes the results differ from those of the commit."""
        return self.verdict in ("outside", "missing")

    @property
    def badness(self) -> float:
        """The difference in units of what is allowed; infinite where there is no number."""
        if self.difference and self.allowed:
            return abs(self.difference) / self.allowed
        return math.inf if self.bad else 0.0

    def cells(self) -> tuple[str, ...]:
        """A line of the table, in the order of ``HEADER``."""
        ends = [
            "-" if self.verdict == absent else "null" if value is None else f"{value:.6g}"
            for value, absent in ((self.committed, "new"), (self.now, "missing"))
        ]
        gaps = ["-" if gap is None else f"{gap:.2g}" for gap in (self.difference, self.allowed)]
        return (*self.key, *ends, *gaps, self.verdict)


@dataclass(frozen=True)
class Comparison:
    """All metrics, the worst first, the revision they were compared with, and what ran here.

    ``recomputed``: the studies whose results are as an evaluation in this folder wrote them.
    """

    revision: str
    rows: list[MetricChange]
    recomputed: list[StudyName]

    @property
    def agrees(self) -> bool:
        """Whether no metric is missing or outside its tolerance."""
        return not any(row.bad for row in self.rows)

    @property
    def untouched(self) -> bool:
        """Whether the results agree for no other reason than that nothing was computed here."""
        return self.agrees and not self.recomputed

    @property
    def passed(self) -> bool:
        """Whether something was computed here, and the results agree."""
        return self.agrees and bool(self.recomputed)

    @property
    def studies(self) -> set[StudyName]:
        """Every dataset and backbone that was compared."""
        return {row.key[:2] for row in self.rows}

    def summary(self) -> str:
        """One line: what was computed here, and how many metrics have which verdict."""
        if self.untouched:
            return (
                "nothing was recomputed here, so nothing is verified: the results are those of "
                f"{self.revision} because they came with it; run `make repro`"
            )
        counts = Counter(row.verdict for row in self.rows)
        every = len(self.studies)
        return (
            f"{'reproduced' if self.passed else 'NOT REPRODUCED'}: the results "
            f"{'agree' if self.agrees else 'DIFFER'} with {self.revision}; {len(self.recomputed)} "
            f"of {every} {'study was' if every == 1 else 'studies were'} recomputed here; "
            f"{len(self.rows)} metrics: "
            + ", ".join(f"{counts[verdict]} {words}" for verdict, words in VERDICTS.items())
        )

    @property
    def unequal(self) -> int:
        """How many metrics are not equal; they lead ``rows``."""
        return sum(row.verdict != "equal" for row in self.rows)

    def table(self, limit: int | None = None) -> str:
        """The first ``limit`` rows, the worst of all, as aligned text."""
        frame = pd.DataFrame([row.cells() for row in self.rows[:limit]], columns=HEADER)
        return frame.to_string(index=False)


def compare_with_commit(revision: str = "HEAD", root: Path = ROOT) -> Comparison:
    """Compare ``results/`` in the working tree with those of a git revision.

    Raises ``ParagonError`` if ``root`` is no git repository, the revision is
    unknown, one of the two has no results, or a file is not what it should be.
    """
    tolerance = load_params(root / "params.yaml").verify
    commit = commit_of(revision, root)
    committed: Values = {}
    for name, text in result_texts(commit, root, FILES).items():
        committed |= _parsed(f"{name} of {commit[:7]}", name, text)
    where = "results/**/metrics.json"
    if not committed:
        raise ParagonError(f"{revision} holds no {where}: nothing to compare with; commit results/")
    now: Values = {}
    for name, text in result_texts(None, root, FILES).items():
        now |= _parsed(name, name, text)
    if not now:
        raise ParagonError(f"no {where} in {root}: run `dvc repro` first")
    label = revision if commit.startswith(revision) else f"{revision} ({commit[:7]})"
    rows = compare_metrics(committed, now, tolerance)
    studies = {row.key[:2] for row in rows}
    return Comparison(label, rows, [s for s in recomputed(root) if s in studies])


def compare_metrics(
    committed: Values, now: Values, tolerance: VerifySettings
) -> list[MetricChange]:
    """The change of every metric of either side, the worst first."""
    rows = [_change(key, committed, now, tolerance) for key in committed | now]
    # Failures lead, those without a number first; what is new follows, then the rest.
    return sorted(rows, key=lambda row: (not row.bad, row.verdict != "new", -row.badness, row.key))


def _change(key: Key, committed: Values, now: Values, tolerance: VerifySettings) -> MetricChange:
    old, new = committed.get(key), now.get(key)
    if key not in now or key not in committed:
        return MetricChange(key, old, new, "new" if key in now else "missing")
    if old is None or new is None:  # an undefined measure is a result too
        return MetricChange(key, old, new, "equal" if old is new else "outside")
    difference, allowed = new - old, tolerance.absolute + tolerance.relative * abs(old)
    verdict = "equal" if old == new else "within" if abs(difference) <= allowed else "outside"
    return MetricChange(key, old, new, verdict, difference, allowed)


def commit_of(revision: str, root: Path) -> str:
    """The hash of a revision; raises ``ParagonError`` if there is none, or no repository."""
    return _git(
        root,
        *("rev-parse", "--verify", "--quiet", "--end-of-options", f"{revision}^{{commit}}"),
        problem=f"git knows no commit {revision!r}; `git log --oneline` lists them",
    ).strip()


def result_texts(commit: str | None, root: Path, names: Iterable[str]) -> dict[str, str]:
    """The files with these names in ``results/`` of a commit or, without one, of the working tree.

    They come as ``{path from the root: text}``.
    """
    if commit is None:
        paths = sorted(path for name in names for path in (root / "results").rglob(name))
        found = {path.relative_to(root).as_posix(): path for path in paths}
        return {name: _text(name, partial(p.read_text, "utf-8")) for name, p in found.items()}
    # "./" and a plain pathspec: both relative to root, which may lie inside a larger repository.
    listed = _git(root, "ls-tree", "-r", "-z", "--name-only", commit, "--", "results")
    return {
        name: _text(f"{name} of {commit[:7]}", partial(_git, root, "show", f"{commit}:./{name}"))
        for name in filter(None, listed.split("\0"))
        if PurePosixPath(name).name in names
    }


def _text(where: str, read: Callable[[], str]) -> str:
    """What is read; ``where`` names it in errors."""
    try:
        return read()
    except UnicodeDecodeError as error:
        raise ParagonError(
            f"{where}: not valid UTF-8 ({error.reason}); run `dvc repro` again"
        ) from error


def _git(root: Path, *arguments: str, problem: str = "git failed") -> str:
    """What a git command prints; its failure as one line, ``problem`` if git does not complain."""
    try:
        done = subprocess.run(
            ["git", *arguments], cwd=root, capture_output=True, encoding="utf-8", check=False
        )
    except FileNotFoundError as error:
        raise ParagonError("git is not installed, it holds the results to compare with") from error
    if done.returncode == 0:
        return done.stdout
    complaint = done.stderr.strip().partition("\n")[0]
    if "not a git repository" in complaint:
        raise ParagonError(
            f"{root} is not a git repository, which holds the results to compare with; in a "
            "released archive make it one before the run: `git init && git add . && git commit`"
        )
    raise ParagonError(f"{root}: git says {complaint!r}" if complaint else problem)


def _parsed(where: str, name: str, text: str) -> Values:
    """The metrics in the text of one file; ``where`` names it in errors."""
    dataset, *rest = PurePosixPath(name).parts[1:-1] or ("",)
    prefix, left_out = FILES[PurePosixPath(name).name]
    try:
        content = json.loads(text, parse_constant=_refuse)
    except ValueError as error:
        raise ParagonError(f"{where}: not valid JSON ({error}); run `dvc repro` again") from error
    if not isinstance(content, dict):
        raise ParagonError(f"{where}: a mapping of methods is needed, run `dvc repro` again")
    values: Values = {}
    for method, metrics in content.items():
        for metric, value in (metrics if isinstance(metrics, dict) else {"": metrics}).items():
            # A string is a note that says why a metric is null: no metric itself.
            if isinstance(value, str) or metric.endswith(left_out):
                continue
            if isinstance(value, bool) or not isinstance(value, int | float | None):
                raise ParagonError(
                    f"{where}: {method}.{metric} is {value!r}, a number or null is needed"
                )
            values[dataset, "/".join(rest), method, prefix + metric] = value
    return values


def _refuse(constant: str) -> None:
    raise ValueError(f"{constant} is not a number")
