"""Trials outside the default study: plans, a bench to measure on, tables of recorded rows."""

import dataclasses
import hashlib
import io
import json
import time
from collections.abc import Callable, Iterable, Mapping
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar, Self

import numpy as np
import pandas as pd
from torch import Tensor

from paragon.adapters.collection import Collection, collect, load_collection, save_collection
from paragon.adapters.frozen import FrozenEvents
from paragon.backbones import Backbone
from paragon.data.sequences import Sequences
from paragon.errors import ParagonError
from paragon.evaluation.protocol import Row, Scores, TestSet, held_out, measure_rows
from paragon.evaluation.summary import control_measures, significant
from paragon.params import ROOT, Section, checked, load_params, read_settings
from paragon.storage import check_match, write_json, write_text
from paragon_study.pipeline.study import Study

Rows = Callable[[Any, str], pd.DataFrame]  # (plan, name of a trial) -> rows
Vectors = Mapping[str, Tensor]  # adapters [W, P] by method
# The sections of params.yaml that the rows of a trial depend on, and by kind where they are others.
SETTINGS = {"data", "backbones", "adapters", "generator", "generators", "rivals"}
SETTINGS_OF = {"tuning": {"data", "backbones"}}


class Plan(Section):
    """The params.yaml in the folder ``FOLDER``; its trials have a kind and a name."""

    FOLDER: ClassVar[str]
    dataset: str

    @classmethod
    def load(cls) -> Self:
        """Read and check the file."""
        content = read_settings(ROOT / cls.FOLDER / "params.yaml")
        return checked(cls, content, f"{cls.FOLDER}/params.yaml")

    def follows_from(self, kind: str, name: str) -> list:
        """Return all parts of the plan on which the rows of a trial depend."""
        raise NotImplementedError

    def entry(self, kind: str, name: str) -> Any:
        """Return an entry; raise ``ParagonError`` with the known names otherwise."""
        entries = getattr(self, kind)
        if name not in entries:
            where = f"{self.FOLDER}/params.yaml: {kind}"
            raise ParagonError(f"{where}: {name!r} is unknown; known: {', '.join(entries)}")
        return entries[name]

    @property
    def results(self) -> Path:
        """The folder of the tables."""
        return ROOT / self.FOLDER / "results"

    def _recorded(self) -> dict[str, dict[str, str]]:
        path = self.results / "settings.json"
        return json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}

    def _checksum(self, kind: str, name: str) -> str:
        entry = self.entry(kind, name)
        study = getattr(entry, "dataset", self.dataset)
        backbone = getattr(entry, "backbone", None)
        params = load_params(study=study, backbone=backbone)
        sections = params.model_dump(include=SETTINGS_OF.get(kind, SETTINGS))
        content = [sections, *self.follows_from(kind, name)]
        text = json.dumps(content, sort_keys=True, default=Section.model_dump)
        return hashlib.sha256(text.encode()).hexdigest()[:12]

    def missing(self, kind: str) -> list[str]:
        """List the trials of a kind without rows, or with rows made with other settings."""
        recorded = self._recorded().get(kind, {})
        names = getattr(self, kind)
        return [name for name in names if recorded.get(name) != self._checksum(kind, name)]

    def run(self, kind: str, names: Iterable[str], rows_of: Rows | None) -> None:
        """Run and record trials; without ``rows_of`` record the settings and keep the rows."""
        for name in names:
            checksum = self._checksum(kind, name)
            if rows_of:
                rows = joined([rows_of(self, name)], name=name)
                replace_rows(self.results / f"{kind}.csv", rows, ["name"])
            recorded = self._recorded()
            recorded.setdefault(kind, {})[name] = checksum
            write_json(self.results / "settings.json", recorded)


def replace_rows(path: Path, rows: pd.DataFrame, key: list[str]) -> None:
    """Replace rows with the same ``key`` or append them; other rows keep every character."""
    as_text: dict[str, Any] = {"dtype": str, "keep_default_na": False}
    written = rows.to_csv(index=False, float_format="%.6g")
    new = pd.read_csv(io.StringIO(written), **as_text)
    old = pd.read_csv(path, **as_text) if path.exists() else new.iloc[:0]
    tables = dict(list(old.groupby(key, sort=False)))
    tables |= dict(list(new.groupby(key, sort=False)))
    columns = list(dict.fromkeys([*old, *new]))
    table = pd.concat(tables.values())[columns]
    write_text(path, table.to_csv(index=False))


def joined(tables: Iterable[pd.DataFrame], **front: object) -> pd.DataFrame:
    """Concatenate tables, and put constant columns in ``front``."""
    table = pd.concat(tables, ignore_index=True)
    constant = pd.DataFrame([front] * len(table))
    return pd.concat([constant, table], axis=1)


def tuned_adapters(
    study: Study, sequences: Sequences, backbone: Backbone, description: dict, stem: Path
) -> Collection:
    """Load the adapters stored at ``stem``, or tune all anchors and oracles of the study.

    ``description`` is that of the backbone.
    """
    settings = study.params.adapters
    seeds = study.params.run.seeds
    try:
        stored = load_collection(stem, description)
        expected = {"settings": settings.model_dump(), "seeds": seeds}
        check_match(expected, stored.description, f"{stem}.json")
        return stored
    except ParagonError:  # missing, incomplete, or made with other settings
        start = time.process_time()
        origin = {"backbone": description["sha256"]}
        tuned = collect(backbone, sequences, settings, seeds, origin)
        seconds = significant(time.process_time() - start, 3)
        with_seconds = tuned.description | {"seconds": seconds}
        save_collection(dataclasses.replace(tuned, description=with_seconds), stem)
        return load_collection(stem)


@dataclasses.dataclass(frozen=True)
class Bench:
    """A recommender with its data and the adapters tuned for it."""

    study: Study
    sequences: Sequences
    backbone: Backbone
    collection: Collection

    @cached_property
    def held_out(self) -> tuple[FrozenEvents, FrozenEvents, TestSet]:
        """Validation events, test events, and the test set."""
        return held_out(self.sequences, self.backbone, self.study.params.adapters, [10])

    @property
    def objectives(self) -> list[str]:
        """The names of the objectives."""
        return self.study.params.adapters.objectives

    @property
    def weights(self) -> Tensor:
        """The evaluation weights ``[W, O]``."""
        return self.collection.oracles

    def curve(self, vectors: Vectors, others: Iterable[Row] = (), index: int = 0) -> pd.DataFrame:
        """Measure adapters ``[W, P]`` of seed ``index``, and further rows, at each weight."""
        _, test, test_set = self.held_out
        weights = self.weights.numpy()
        seed = self.study.params.run.seeds[index]
        rows = [
            Row(name, seed, weights, (Scores.of_adapter(test, vector) for vector in of_method))
            for name, of_method in vectors.items()
        ]
        curve, _ = measure_rows(test_set, [*rows, *others])
        return curve

    def measures(self, curve: pd.DataFrame) -> pd.DataFrame:
        """Summarise a curve in a row per method; it must contain `tuned` and `constant`."""
        rows = []
        for (protocol, seed), of_seed in curve.groupby(["protocol", "seed"], sort=False):
            by_method = of_seed.set_index("method")
            for method in by_method.index.unique():
                row = {"method": method, "protocol": protocol, "seed": seed}
                measures = control_measures(by_method, method, self.objectives)
                for name, measure in measures.items():
                    row[name] = np.nan if measure.value is None else measure.value
                rows.append(row)
        return pd.DataFrame(rows)
