"""Read the results that a commit or this folder holds, and what they were made with."""

import io
import json
import stat
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
import pandas as pd
from dvc.scm import SCM, SCMError, resolve_rev
from pydantic import ConfigDict, FiniteFloat, TypeAdapter, ValidationError
from ruamel.yaml import YAML, YAMLError

from paragon.errors import ParagonError, shown
from paragon_study.checking.current import flat

HEADLINE = "headline_"
# The files with numbers, and what their metrics begin with.  Times of `make bench` are left out.
NUMBERS = {
    "headline.json": HEADLINE,
    "metrics.json": "",
    "differences.json": "difference_",
    "curve.csv": "curve_",
}
SETTINGS = "settings.json"  # beside the results of a study: what they were made with
DATA = "data.json"  # beside the folders of a study's backbones: its data
_SUBMODULE = 0o160000  # the mode of such an entry, which has no content, in a git tree
KEY = ["method", "metric", "place"]  # of a number in its file; place: seed, protocol, weights
# Of each method: numbers, or null with a note that says why.
_METRICS = TypeAdapter(
    dict[str, dict[str, FiniteFloat | str | None]], config=ConfigDict(strict=True)
)
# Of a params.yaml, which may be that of an older version.
_SECTIONS = TypeAdapter(dict[str, dict[str, Any] | None], config=ConfigDict(strict=True))
_OVERRIDES = TypeAdapter(
    dict[str, dict[str, dict[str, Any] | None] | None], config=ConfigDict(strict=True)
)


@dataclass(frozen=True)
class Version:
    """Files of a commit or of the working tree, by path."""

    name: str  # for messages
    commit: str  # its SHA-1, or "" for the working tree
    files: dict[PurePosixPath, bytes]

    def unreadable(self, path: PurePosixPath, why: object) -> ParagonError:
        """Return the error that says why a file is not valid, and what to do."""
        reason = " ".join(str(why).split())[:200]
        advice = "run `dvc repro` again, or restore it from git"
        if self.commit:
            advice = "name a commit that has it whole (`git log --oneline`)"
        return ParagonError(f"{path} of {self.name}: {reason}; {advice}")

    def metrics(self, path: PurePosixPath) -> dict[str, dict]:
        """Return ``{method: {metric: number, null or note}}``."""
        content = self._json(path)
        first = next(iter(content.values()), None)
        if path.name == "headline.json" and not isinstance(first, dict | None):
            content = {"headline": content}  # of an older version, without methods
        try:
            return _METRICS.validate_python(content)
        except ValidationError as error:
            raise self.unreadable(path, _first(error)) from error

    def curve(self, path: PurePosixPath) -> pd.DataFrame:
        """Return curve.csv, as texts, by method and place; its column `seed` is kept."""
        try:
            curve = pd.read_csv(io.BytesIO(self.files[path]), dtype=str)
        except ValueError as error:
            raise self.unreadable(path, error) from error
        missing = [name for name in ("method", "seed", "protocol") if name not in curve]
        if missing:
            raise self.unreadable(path, f"it lacks the column {missing[0]!r}")
        weights = [name for name in curve if name.startswith("w_")]
        place = curve["seed"].str.cat(curve[["protocol", *weights]], sep=" ")
        table = curve.assign(place=place).drop(columns=["protocol", *weights])
        table = table.set_index(["method", "place"])
        if not table.index.is_unique:
            twice = table.index[table.index.duplicated()][0]
            raise self.unreadable(path, f"the row of {' '.join(map(str, twice))} is there twice")
        return table

    def numbers(self, path: PurePosixPath) -> pd.Series:
        """Return the numbers of a file of ``NUMBERS``, by ``KEY``; a note is no number.

        There are none if the file is missing.
        """
        if path not in self.files:
            rows: list[tuple] = []
        elif path.name == "curve.csv":
            return self._of_curve(path)
        else:
            rows = [
                (method, NUMBERS[path.name] + metric, "", value)
                for method, metrics in self.metrics(path).items()
                for metric, value in metrics.items()
                if not isinstance(value, str)
            ]
        table = pd.DataFrame(rows, columns=[*KEY, "value"]).astype({"value": float})
        return table.set_index(KEY)["value"]

    def record(self, path: PurePosixPath) -> dict[str, Any]:
        """Return what settings.json or data.json holds, with dots in the keys.

        Where the data came from is left out: the same data has several sources.
        """
        content = self._json(path)
        if path.name == DATA:
            content.pop("source", None)
        try:
            return flat(content)
        except RecursionError as error:
            raise self.unreadable(path, error) from error

    def params(self, path: PurePosixPath) -> dict[str, Any]:
        """Return the sections of a params.yaml; none if it is missing."""
        try:
            content = YAML(typ="safe").load(self.files.get(path, b"")) or {}
            _SECTIONS.validate_python(content)
            _OVERRIDES.validate_python(content.get("overrides") or {})
            flat(content)  # nothing in it contains itself
        except ValidationError as error:
            raise self.unreadable(path, _first(error)) from error
        except (YAMLError, ValueError, RecursionError) as error:
            raise self.unreadable(path, error) from error
        return content

    def _of_curve(self, path: PurePosixPath) -> pd.Series:
        try:
            values = self.curve(path).drop(columns="seed").astype(float)
        except ValueError as error:
            raise self.unreadable(path, error) from error
        if np.isinf(values.to_numpy()).any():
            raise self.unreadable(path, "a number is not finite")
        values.columns = pd.Index(NUMBERS[path.name] + values.columns, name="metric")
        return values.stack(future_stack=True).reorder_levels(KEY)

    def _json(self, path: PurePosixPath) -> dict[str, Any]:
        try:
            content = json.loads(self.files[path], object_pairs_hook=_distinct)
            if not isinstance(content, dict):
                raise ValueError(f"a JSON object is needed, found {shown(content)}")
        except (ValueError, RecursionError) as error:
            raise self.unreadable(path, error) from error
        return content


def read_version(revision: str | None, root: Path, patterns: Iterable[str]) -> Version:
    """Read the files that match, of a git revision or of the working tree (None).

    Raises ``ParagonError`` if there is no such commit.
    """
    if revision is None:
        found = {path for pattern in patterns for path in root.glob(pattern) if path.is_file()}
        files = {PurePosixPath(path.relative_to(root)): path.read_bytes() for path in found}
        return Version("the working tree", "", files)
    try:
        if not revision.strip():
            raise SCMError("it is empty")
        git = SCM(root)
        commit = resolve_rev(git, revision)
        resolve_rev(git, f"{commit}^{{commit}}")  # neither a folder nor a file
    except SCMError as error:
        reason = " ".join(str(error).split())
        what = f"{shown(revision)} is no commit here ({reason})"
        raise ParagonError(f"{what}: name one with results (`git log --oneline`)") from error
    tree = git.get_fs(commit)
    # `root` may lie inside a larger repository.
    top = PurePosixPath("/", root.resolve().relative_to(Path(git.root_dir).resolve()))
    matches = {path for pattern in patterns for path in tree.glob(str(top / pattern))}
    files = {
        PurePosixPath(path).relative_to(top): tree.cat_file(path)
        for path in matches
        if tree.isfile(path) and stat.S_IFMT(tree.info(path)["mode"]) != _SUBMODULE
    }
    name = revision if commit.startswith(revision) else f"{revision} ({commit[:7]})"
    return Version(name, commit, files)


def _distinct(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Make an object of JSON, which may have no key twice."""
    content: dict[str, Any] = {}
    for key, value in pairs:
        if key in content:
            raise ValueError(f"the key {shown(key)} is there twice")
        content[key] = value
    return content


def _first(error: ValidationError) -> str:
    """Say where the first problem is, and what."""
    first = error.errors()[0]
    return " ".join([*map(str, first["loc"][:2]), first["msg"]])
