"""Compare the results in the working tree with those of a commit, within tolerances."""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

import numpy as np
import pandas as pd

from paragon.errors import ParagonError
from paragon.params import ROOT, Section, VerifySettings, checked, load_params
from paragon_study.checking.current import (
    Study,
    different,
    flat,
    made_with_others,
    settings_of,
    stale,
)
from paragon_study.checking.recorded import (
    DATA,
    HEADLINE,
    KEY,
    NUMBERS,
    SETTINGS,
    Version,
    read_version,
)
from paragon_study.running.studies import recomputed

EDITED = "changed: its results"  # after the study ran, or without a run in this folder
VERDICTS = ("equal", "within tolerance", "outside", "missing", "new")
STUDY = ["study", "backbone"]
SIGNIFICANT = 0.05  # a p-value has to stay on its side
PARAMS = PurePosixPath("params.yaml")
PIPELINE = PurePosixPath("dvc.yaml")


@dataclass(frozen=True)
class Comparison:
    """Metrics with verdicts, the worst first, and what was computed in this folder."""

    revision: str
    table: pd.DataFrame
    recomputed: list[Study]  # that are current, and of which the commit has numbers
    stale: dict[Study, str]  # that were computed here, and what changed since
    unknown: list[Study]  # that were computed here, and of which the commit has no number
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
        not_counted = self._not_counted()
        if self.empty:
            instead = [] if not_counted else ["run `make repro`"]
            nothing = "nothing was recomputed here that can be compared, so nothing is verified"
            return "; ".join([nothing, *not_counted, *instead])
        parts = [self._verdict()]
        if self.settings:
            parts.append(f"params.yaml DIFFERS from it in {', '.join(self.settings)}")
        for study, keys in self.made_otherwise.items():
            what = f"{_name(study)} was made with OTHER SETTINGS OR DATA there"
            parts.append(f"{what}: {', '.join(keys)}")
        here = self._computed_here()
        studies = self.table[STUDY].drop_duplicates()
        parts.append(
            f"{len(self.recomputed)} of {len(studies)} studies recomputed here, "
            f"{_counts(self.table[here])}"
        )
        if not here.all():
            parts.append(f"not recomputed here, {_counts(self.table[~here])}")
        if self.not_compared:
            parts.append(f"changed, but NOT COMPARED: {', '.join(self.not_compared)}")
        return "; ".join(parts + not_counted)

    def _verdict(self) -> str:
        if not self.bad.empty:
            return f"NOT REPRODUCED: the results DIFFER from {self.revision}"
        if not self.passed:
            return f"NOT REPRODUCED, though no number is outside its tolerance of {self.revision}"
        new = self.table.loc[self._computed_here(), "verdict"].eq("new").any()
        in_part = " in part" if self.stale or self.unknown or new else ""
        return f"reproduced{in_part}: the results agree with {self.revision}"

    def _not_counted(self) -> list[str]:
        parts = []
        if self.stale:
            old = "; ".join(f"{_name(study)} ({why})" for study, why in self.stale.items())
            parts.append(
                f"STALE, so not counted: {old}; run `dvc repro`, or restore results from git"
            )
        if self.unknown:
            names = "; ".join(map(_name, self.unknown))
            parts.append(f"NOT IN {self.revision}, so not counted: {names}")
        return parts

    def _computed_here(self) -> np.ndarray:
        """Return which rows are of studies that were computed here."""
        return self.table.set_index(STUDY).index.isin(self.recomputed)


class _Tolerance(Section):
    verify: VerifySettings


def _name(study: Study) -> str:
    """Write a study, of which data alone have no backbone."""
    return ", ".join(filter(None, study))


def _counts(table: pd.DataFrame) -> str:
    counts = table["verdict"].value_counts()
    verdicts = ", ".join(f"{counts.get(verdict, 0):,} {verdict}" for verdict in VERDICTS)
    return f"{len(table):,} metrics: {verdicts}"


def compare_with_commit(revision: str = "HEAD", root: Path = ROOT) -> Comparison:
    """Compare ``results/`` with a git revision; raise ``ParagonError`` if missing or invalid."""
    patterns = [str(PARAMS), str(PIPELINE), "results/**/*.*"]
    there = read_version(revision, root, patterns)
    here = read_version(None, root, patterns)
    if not any(path.name in NUMBERS for path in there.files):
        raise ParagonError(f"{there.name} holds no results to compare with: commit results/")
    if not any(path.name in NUMBERS for path in here.files):
        raise ParagonError(f"no results/**/metrics.json in {root}: run `dvc repro` first")
    if PIPELINE in there.files and PIPELINE not in here.files:
        raise ParagonError(f"{root / PIPELINE} is missing, which says what is stale: restore it")
    before = there.params(PARAMS)
    now = here.params(PARAMS)
    # The tolerances of the commit: nobody passes by raising those of the working tree.
    tolerance = load_params(root / PARAMS).verify
    if "verify" in before:
        committed = {"verify": before["verify"]}
        tolerance = checked(_Tolerance, committed, f"{PARAMS} of {there.name}").verify
    paths = sorted({*there.files, *here.files})
    tables = [_compare_file(path, there, here, tolerance) for path in paths if path.name in NUMBERS]
    table = worst_first(pd.concat(tables, ignore_index=True))
    computed = recomputed(root)
    outdated = {study: EDITED for study, same in computed.items() if not same}
    outdated |= dict.fromkeys(_not_run_here(table, computed), EDITED)
    outdated |= stale([study for study, same in computed.items() if same], root)
    current = [study for study in computed if study not in outdated]
    committed_studies = _studies(table[table["verdict"] != "new"])
    differing = [path for path in paths if there.files.get(path) != here.files.get(path)]
    return Comparison(
        revision=there.name,
        table=table,
        recomputed=[study for study in current if study in committed_studies],
        stale=outdated,
        unknown=[study for study in current if study not in committed_studies],
        settings=different(flat(before), flat(now)),
        made_otherwise=_made_otherwise(there, here, before, now),
        not_compared=[str(path) for path in differing if _not_compared(path, computed)],
    )


def _studies(table: pd.DataFrame) -> list[Study]:
    return list(table[STUDY].drop_duplicates().itertuples(index=False, name=None))


def _not_run_here(table: pd.DataFrame, computed: Iterable[Study]) -> list[Study]:
    """List the studies whose numbers changed, but that did not run here."""
    changed = table["verdict"].isin(["within tolerance", "new"])
    return [study for study in _studies(table[changed]) if study not in computed]


def _not_compared(path: PurePosixPath, computed: Iterable[Study]) -> bool:
    """Whether a file of results holds no number, nor a record, and no run here wrote it."""
    compared = path in (PARAMS, PIPELINE) or path.name in {*NUMBERS, SETTINGS, DATA}
    return not compared and _study_of(path) not in computed


def _made_otherwise(
    there: Version, here: Version, before: dict, now: dict
) -> dict[Study, list[str]]:
    """List by study in which settings and facts of its data the versions differ.

    The settings are those of params.yaml, and what settings.json has recorded of them, which has to
    be what params.yaml of the commit says.
    """
    otherwise = {}
    for path in sorted(there.files):
        study = _study_of(path)
        if path.name == "metrics.json":
            keys = different(settings_of(study, before), settings_of(study, now))
            record = path.with_name(SETTINGS)
            if record in there.files:  # not of an older version
                keys += made_with_others(study, there.record(record), before)
                keys += _differing_record(record, there, here)
        elif path.name == DATA:
            keys = _differing_record(path, there, here)
        else:
            continue
        otherwise[study] = list(dict.fromkeys(keys))
    return {study: keys for study, keys in otherwise.items() if keys}


def _differing_record(path: PurePosixPath, there: Version, here: Version) -> list[str]:
    if path not in here.files:
        return [f"{path.name}, which is missing here"]
    return different(there.record(path), here.record(path))


def _study_of(path: PurePosixPath) -> Study:
    """Return the study of a file of results: name and backbone."""
    study, *rest = path.parts[1:-1] or ("",)
    return study, "/".join(rest)


def _compare_file(
    path: PurePosixPath, there: Version, here: Version, tolerance: VerifySettings
) -> pd.DataFrame:
    """Compare the numbers of a file that one version or both have."""
    table = compare_numbers(there.numbers(path), here.numbers(path), tolerance)
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
    table = both[KEY].assign(committed=old, now=new, difference=gap, allowed=allowed)
    table = worst_first(table.assign(verdict=verdict)).drop_duplicates(KEY[:2])
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
