"""Compare the results in the working tree with those of a commit, within tolerances."""

import io
import json
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

import numpy as np
import pandas as pd
from dvc.scm import SCM, SCMError, resolve_rev
from pydantic import ConfigDict, FiniteFloat, TypeAdapter, ValidationError
from ruamel.yaml import YAML, YAMLError

from paragon.errors import ParagonError
from paragon.params import ROOT, VerifySettings, load_params
from paragon_study.checking.current import (
    Study,
    different,
    flat,
    made_with_others,
    settings_of,
    stale,
)
from paragon_study.running.studies import recomputed

HEADLINE = "headline_"
# The files with numbers, and what their metrics begin with.  Times of `make bench` are left out.
FILES = {
    "headline.json": HEADLINE,
    "metrics.json": "",
    "differences.json": "difference_",
    "curve.csv": "curve_",
    "data.json": "data_",
}
EDITED = "changed: its results"  # after the study ran, or without a run in this folder
VERDICTS = ("equal", "within tolerance", "outside", "missing", "new")
KEYS = ["study", "backbone", "method", "metric"]
NUMBER = ["method", "metric", "place"]  # of a number in its file; place: seed, protocol, weights
SIGNIFICANT = 0.05  # a p-value has to stay on its side
PARAMS = PurePosixPath("params.yaml")
SETTINGS = "settings.json"  # beside the results of a study: what they were made with
WORKING_TREE = "the working tree"
# Of each method: numbers, or null with a note that says why.
_ByMethod = dict[str, dict[str, FiniteFloat | str | None]]
_METRICS = TypeAdapter(_ByMethod, config=ConfigDict(strict=True))
Files = dict[PurePosixPath, bytes]


@dataclass(frozen=True)
class Comparison:
    """Metrics with verdicts, the worst first, and what was computed in this folder."""

    revision: str
    table: pd.DataFrame
    recomputed: list[Study]  # that are current
    stale: dict[Study, str]  # that were computed here, and what changed since
    settings: list[str]  # keys of params.yaml that differ
    made_otherwise: dict[Study, list[str]]  # keys that were others when the commit's results ran
    not_compared: list[str]  # files of results that differ, such as figures and times

    @property
    def bad(self) -> pd.DataFrame:
        """The metrics that make the comparison fail."""
        return self.table[self.table["verdict"].isin(["outside", "missing"])]

    @property
    def passed(self) -> bool:
        """Whether something current was computed here, and the results and settings agree.

        Results that no run in this folder wrote fail, however close to the commit's they are.
        """
        agrees = self.bad.empty and not self.made_otherwise
        return agrees and bool(self.recomputed) and EDITED not in self.stale.values()

    @property
    def empty(self) -> bool:
        """Whether there is nothing to judge: nothing current was computed here, nothing is bad."""
        return self.bad.empty and not self.recomputed and not self.made_otherwise

    def summary(self) -> str:
        """Summarise in one line what was computed here, and the number of metrics by verdict."""
        old = "; ".join(f"{_name(study)} ({why})" for study, why in self.stale.items())
        not_counted = (
            f"; STALE, so not counted: {old}; run `dvc repro`, or restore results from git"
            if old
            else ""
        )
        if self.empty:
            instead = "" if old else ": run `make repro`"
            return f"nothing was recomputed here, so nothing is verified{instead}{not_counted}"
        verdict = "reproduced in part" if old else "reproduced"
        parts = [
            f"{verdict if self.passed else 'NOT REPRODUCED'}: the results "
            f"{'agree' if self.bad.empty else 'DIFFER'} with {self.revision}"
        ]
        if self.settings:
            parts.append(f"params.yaml DIFFERS from it in {', '.join(self.settings)}")
        for study, keys in self.made_otherwise.items():
            parts.append(f"{_name(study)} was made with OTHER SETTINGS there: {', '.join(keys)}")
        here = self._computed_here()
        studies = self.table.loc[self.table["backbone"] != "", KEYS[:2]].drop_duplicates()
        parts.append(
            f"{len(self.recomputed)} of {len(studies)} studies recomputed here, "
            f"{_counts(self.table[here])}"
        )
        if not here.all():
            parts.append(f"not recomputed here, {_counts(self.table[~here])}")
        if self.not_compared:
            parts.append(f"changed, but NOT COMPARED: {', '.join(self.not_compared)}")
        return "; ".join(parts) + not_counted

    def _computed_here(self) -> np.ndarray:
        """Return which rows are of studies that were computed here, or of their data."""
        here = self.table.set_index(KEYS[:2]).index.isin(self.recomputed)
        of_data = self.table["backbone"].eq("").to_numpy()
        return here | of_data & self.table["study"].isin([s for s, *_ in self.recomputed])


def _name(study: Study) -> str:
    """Write a study, of which data alone have no backbone."""
    return ", ".join(filter(None, study))


def _counts(table: pd.DataFrame) -> str:
    counts = table["verdict"].value_counts()
    verdicts = ", ".join(f"{counts.get(verdict, 0):,} {verdict}" for verdict in VERDICTS)
    return f"{len(table):,} metrics: {verdicts}"


def compare_with_commit(revision: str = "HEAD", root: Path = ROOT) -> Comparison:
    """Compare ``results/`` with a git revision; raise ``ParagonError`` if missing or invalid."""
    patterns = [str(PARAMS), "results/**/*.*"]
    commit, old = read_files(revision, root, patterns)
    _, new = read_files(None, root, patterns)
    before, now = (_settings(files.pop(PARAMS, b""), PARAMS) for files in (old, new))
    recorded, recorded_now = (_take(files, {SETTINGS}) for files in (old, new))
    compared, compared_now = (_take(files, FILES) for files in (old, new))
    not_compared = [path for path in sorted(old | new) if old.get(path) != new.get(path)]
    old, new = compared, compared_now
    if not old:
        raise ParagonError(f"{revision} holds no results to compare with: commit results/")
    if not new:
        raise ParagonError(f"no results/**/metrics.json in {root}: run `dvc repro` first")
    # The tolerances of the commit: nobody passes by raising those of the working tree.
    tolerance = load_params(root / "params.yaml").verify
    if "verify" in before:
        tolerance = VerifySettings(**before["verify"])
    tables = [_compare_file(path, old, new, revision, tolerance) for path in sorted(old | new)]
    table = worst_first(pd.concat(tables, ignore_index=True))
    computed = recomputed(root)
    outdated = {study: EDITED for study, same in computed.items() if not same}
    outdated |= dict.fromkeys(_not_run_here(table, computed), EDITED)
    outdated |= stale([study for study, same in computed.items() if same], root)
    current = [study for study in computed if study not in outdated]
    otherwise = {}
    for path in sorted(old):
        if path.name == "metrics.json":
            study = _study_of(path)
            settings = path.with_name(SETTINGS)
            keys = different(settings_of(study, before), settings_of(study, now))
            keys += _differing_records(settings, recorded, recorded_now, study, before)
            otherwise[study] = list(dict.fromkeys(keys))
        elif path.name == "data.json" and path in new:
            texts = _texts(path, old[path], revision)
            texts_now = _texts(path, new[path], WORKING_TREE)
            otherwise[_study_of(path)] = different(texts, texts_now)
    label = revision if commit.startswith(revision) else f"{revision} ({commit[:7]})"
    return Comparison(
        revision=label,
        table=table,
        recomputed=current,
        stale=outdated,
        settings=different(flat(before), flat(now)),
        made_otherwise={study: keys for study, keys in otherwise.items() if keys},
        not_compared=[str(path) for path in not_compared if _study_of(path) not in computed],
    )


def _not_run_here(table: pd.DataFrame, computed: Iterable[Study]) -> list[Study]:
    """List the studies (and data: with an empty backbone) that changed, but did not run here."""
    verdicts = table["verdict"].isin(["within tolerance", "new"])
    changed = table.loc[verdicts, KEYS[:2]].drop_duplicates()
    ran = {*computed} | {(study, "") for study, *_ in computed}
    return [study for study in changed.itertuples(index=False, name=None) if study not in ran]


def _take(files: Files, names: Collection[str]) -> Files:
    """Move the files of these names out of ``files``."""
    return {path: files.pop(path) for path in [*files] if path.name in names}


def _differing_records(
    path: PurePosixPath, recorded: Files, recorded_now: Files, study: Study, before: dict
) -> list[str]:
    """List the keys in which a committed settings.json differs from what it should equal.

    That is what params.yaml of the commit sets for the study, and the same file in this folder.
    """
    if path not in recorded:  # of an older version
        return []
    made_with = _settings(recorded[path], path)
    keys = made_with_others(study, made_with, before)
    if path not in recorded_now:
        return [*keys, f"{SETTINGS}, which is missing here"]
    return keys + different(flat(made_with), flat(_settings(recorded_now[path], path)))


def _settings(content: bytes, path: PurePosixPath) -> dict:
    """Parse params.yaml, or settings as JSON, which is YAML, too."""
    try:
        return YAML(typ="safe").load(content) or {}
    except (YAMLError, ValueError) as error:
        reason = " ".join(str(error).split())[:200]
        raise ParagonError(f"{path} cannot be read: {reason}; restore it from git") from error


def _study_of(path: PurePosixPath) -> Study:
    """Return the study of a file of results: name and backbone."""
    study, *rest = path.parts[1:-1] or ("",)
    return study, "/".join(rest)


def _compare_file(
    path: PurePosixPath, old: Files, new: Files, revision: str, tolerance: VerifySettings
) -> pd.DataFrame:
    """Compare the numbers of a file that one version or both have."""
    committed = _numbers(path, old.get(path), revision)
    now = _numbers(path, new.get(path), WORKING_TREE)
    table = compare_numbers(committed, now, tolerance)
    study, backbone = _study_of(path)
    return table.assign(study=study, backbone=backbone)


def compare_numbers(
    committed: pd.Series, now: pd.Series, tolerance: VerifySettings
) -> pd.DataFrame:
    """Compare numbers by method, metric and place; of all places of a metric, keep the worst."""
    both = pd.merge(
        committed.to_frame("committed"), now.to_frame("now"), "outer",
        left_index=True, right_index=True, indicator="in",
    ).reset_index()  # fmt: skip
    old = both["committed"]
    new = both["now"]
    gap = new - old
    allowed = tolerance.absolute + tolerance.relative * old.abs()
    # An undefined measure is a result too: null equals null.
    equal = (old == new) | (old.isna() & new.isna())
    is_p = both["metric"].str.endswith(("_p", "_p_holm"))
    crossed = is_p & ((old < SIGNIFICANT) != (new < SIGNIFICANT))
    conditions = [
        both["in"] == "left_only",
        both["in"] == "right_only",
        equal,
        (gap.abs() <= allowed) & ~crossed,
    ]
    verdict = np.select(conditions, ["missing", "new", "equal", "within tolerance"], "outside")
    table = both[NUMBER].assign(committed=old, now=new, difference=gap, allowed=allowed)
    table = worst_first(table.assign(verdict=verdict)).drop_duplicates(NUMBER[:2])
    where = table["place"].where(table["verdict"] != "equal", "")
    table["metric"] += where.where(where == "", " at " + where)
    return table.drop(columns="place")


def worst_first(table: pd.DataFrame) -> pd.DataFrame:
    """Sort failures (first those without a number), then what is new; the headline first."""
    equal = table["verdict"] == "equal"
    with np.errstate(divide="ignore", invalid="ignore"):
        share = np.abs(table["difference"]) / table["allowed"]
        excess = np.where(equal, 0, np.nan_to_num(share, nan=np.inf))
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
        raise _unreadable(path, revision, reason) from error


def _numbers(path: PurePosixPath, content: bytes | None, revision: str) -> pd.Series:
    """Return the numbers of a file by method, metric and place; a note is none."""
    rows: list[tuple] = []
    if content is not None and path.name == "curve.csv":
        return _of_curve(path, content, revision)
    if content is not None and path.name == "data.json":
        rows = [("data", metric, "", value) for metric, value in _of_data(path, content, revision)]
    elif content is not None:
        if path.name == "headline.json" and content.count(b"{") == 1:  # without methods
            content = b'{"headline": ' + content + b"}"
        for method, metrics in parse_metrics(path, content, revision).items():
            known = ((m, value) for m, value in metrics.items() if not isinstance(value, str))
            rows += [(method, FILES[path.name] + metric, "", value) for metric, value in known]
    table = pd.DataFrame(rows, columns=[*NUMBER, "value"]).astype({"value": float})
    return table.set_index(NUMBER)["value"]


def _read_data(path: PurePosixPath, content: bytes, revision: str) -> dict:
    """Return what data.json holds, with dots in the keys."""
    try:
        return flat(json.loads(content))
    except (ValueError, RecursionError) as error:
        raise _unreadable(path, revision, error) from error


def _texts(path: PurePosixPath, content: bytes, revision: str) -> dict[str, str]:
    """Return the texts of data.json, such as the fingerprint; the same data has several sources."""
    values = _read_data(path, content, revision)
    return {key: x for key, x in values.items() if isinstance(x, str) and key != "source"}


def _of_data(path: PurePosixPath, content: bytes, revision: str) -> list[tuple[str, float | None]]:
    """Return the numbers of data.json, with dots in their names."""
    values = _read_data(path, content, revision)
    numbers = ((k, x) for k, x in values.items() if x is None or isinstance(x, int | float))
    return [(FILES[path.name] + key, value) for key, value in numbers]


def _of_curve(path: PurePosixPath, content: bytes, revision: str) -> pd.Series:
    """Return the numbers of curve.csv; their place is the row: seed, protocol and weights."""
    try:
        curve = pd.read_csv(io.BytesIO(content), dtype=str)
        names = [name for name in curve if name.startswith("w_")]
        place = curve["seed"].str.cat(curve[["protocol", *names]], sep=" ")
        table = curve.assign(place=place).drop(columns=["seed", "protocol", *names])
        values = table.set_index(["method", "place"], verify_integrity=True).astype(float)
    except (KeyError, ValueError) as error:
        raise _unreadable(path, revision, error) from error
    if np.isinf(values.to_numpy()).any():
        raise _unreadable(path, revision, "a number is not finite")
    values.columns = pd.Index(FILES[path.name] + values.columns, name="metric")
    return values.stack(future_stack=True).reorder_levels(NUMBER)


def _unreadable(path: PurePosixPath, revision: str, why: object) -> ParagonError:
    reason = " ".join(str(why).split())[:200]
    return ParagonError(f"{path} of {revision}: {reason}; run `dvc repro` again")
