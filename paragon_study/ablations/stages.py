"""Ablations: what each choice of the generator buys, point by point, outside the default study.

``ablations/params.yaml`` lists what is tuned (*tuned*), *collections* made of it (fewer
anchors, pooled starts) and *points*: a generator trained on a collection, with one choice
changed.  Each task of a joint tuning is independent of the others, so that a part of it is
what tuning that part alone gives.  ``ablations/dvc.yaml`` runs each entry as a stage, so that
an interrupted run goes on where it stopped.  Each collection and each point writes one table,
with a row for every method, seed and way of sampling:

* ``choice``: mean task loss on *validation* users at weights that are not those of the
  evaluation.  Settings are chosen by it, and by nothing else.
* the measures of :mod:`paragon.metrics.control` on *test* users at the evaluation weights, over
  the whole catalogue.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property, partial
from pathlib import Path
from typing import Annotated, Any, ClassVar, Self

import numpy as np
import pandas as pd
from pydantic import Field
from torch import Tensor

from paragon import params
from paragon.adapters import mixtures
from paragon.adapters.collection import (
    Collection,
    collect,
    load_collection,
    save_collection,
    subset,
)
from paragon.adapters.frozen import held_out_losses
from paragon.errors import ParagonError
from paragon.evaluation.methods import generated_best, methods_of, mixture_of
from paragon.evaluation.summary import control_measures
from paragon.generator.generator import Generator, load_generator
from paragon.objectives.weights import random_weights
from paragon.params import (
    ABLATIONS,
    ARTIFACTS,
    ROOT,
    Count,
    Section,
    checked,
    merge_sections,
    read_settings,
)
from paragon.storage import write_text
from paragon_study.ablations.alignment import pooled
from paragon_study.ablations.places import Place
from paragon_study.pipeline.jobs import train_generators, train_rivals
from paragon_study.pipeline.study import Study, open_study

WeightsToVectors = Callable[[Tensor], Tensor]  # weights [W, O] -> adapter vectors [W, P]
CHOICES = 64  # weights at which settings are compared on validation users
BESIDE = (*methods_of("mixture"), "constant")  # need no training


class TunedEntry(Section):
    """All anchors and oracles to tune for a ``backbone``, with a ``change`` of params.yaml."""

    backbone: str
    change: dict[str, Any] = {}


class CollectionEntry(Section):
    """A collection made of the tuned entry ``of``.

    ``anchors``: the first weights of the anchors that are kept; ``snapshots``: how many
    of each; ``pooled``: every seed gets the anchors of all seeds, hence of all random
    starts, with neurons ``aligned`` or as they are; ``end_to_end``: rivals that need no
    collection, to be trained at its cost."""

    of: str
    anchors: list[float] | None = None
    snapshots: Annotated[int, Field(ge=0)] | None = None
    pooled: bool = False
    aligned: bool = False
    end_to_end: list[str] = []


class Way(Section):
    """A way of sampling, the best of several ``samples``; None: the generator's own setting."""

    guidance: Annotated[float, Field(ge=0)] | None = None
    steps: Count | None = None
    samples: Count = 1


class PointEntry(Section):
    """A generator on a ``collection``, with a ``change`` of params.yaml.

    It is shown as ``value`` of ``variable``.  ``sampling``: further ways of sampling from
    it; the best of several is chosen on validation users.  ``seeds``: how many, the first ones."""

    collection: str
    variable: str
    value: str | int | float
    change: dict[str, dict[str, Any]] = {}
    sampling: list[Way] = []
    seeds: Count | None = None


class Plan(Section):
    """A params.yaml of its own, beside the dvc.yaml that runs a stage for each of its entries."""

    FOLDER: ClassVar[str]
    dataset: str

    @classmethod
    def load(cls) -> Self:
        """Read and check the file."""
        content = read_settings(ROOT / cls.FOLDER / "params.yaml")
        return checked(cls, content, f"{cls.FOLDER}/params.yaml")

    def entry(self, kind: str, name: str) -> Any:
        """One of the entries of a ``kind``, or an error that lists their names."""
        entries = getattr(self, kind)
        if name not in entries:
            raise ParagonError(
                f"{self.FOLDER}/params.yaml: {kind}: {name!r} is unknown; known: "
                f"{', '.join(entries)}"
            )
        return entries[name]


class Ablations(Plan):
    """The whole of ablations/params.yaml."""

    FOLDER = "ablations"
    seeds: Annotated[list[int], Field(min_length=1)]
    tuned: dict[str, TunedEntry]
    collections: dict[str, CollectionEntry]
    points: dict[str, PointEntry]


load_ablations = Ablations.load


def folder_of(name: str) -> Path:
    """The folder of a tuned entry, or of a collection and its points."""
    return ARTIFACTS / "ablations" / name


def study_of(plan: Ablations, tuned: str, change: dict[str, Any] | None = None) -> Study:
    """The study with the changes to params.yaml of the entry ``tuned`` and then of ``change``."""
    entry = plan.entry("tuned", tuned)
    changes = merge_sections({"run": {"seeds": plan.seeds}}, entry.change, change or {})
    return open_study(plan.dataset, entry.backbone, changes, checked=False)


def tune_entry(name: str) -> None:
    """Tune and store all anchors and oracles of ``name``."""
    plan = load_ablations()
    study = study_of(plan, name)
    sequences, backbone, about = study.load_frozen()
    provenance = {"backbone": about["sha256"]}
    tuned = collect(backbone, sequences, study.params.adapters, plan.seeds, provenance)
    save_collection(tuned, folder_of(name) / "tuned")


def derive_collection(tuned: Collection, entry: CollectionEntry) -> Collection:
    """The collection that ``entry`` makes of what was tuned."""
    derived = tuned
    if entry.anchors is not None:
        derived = subset(derived, entry.anchors)
    if entry.snapshots is not None:
        first = (stored := tuned.snapshots.shape[2]) - entry.snapshots
        if first < 0:
            raise ParagonError(
                f"snapshots: {entry.snapshots} of each anchor are asked for, {stored} were stored "
                "(adapters.snapshots)"
            )
        last = derived.snapshots[:, :, first:].contiguous()
        derived = dataclasses.replace(derived, snapshots=last)
    return pooled(derived, entry.aligned) if entry.pooled else derived


def make_collection(name: str) -> None:
    """Make and store a collection, and measure every rival of the generator on it."""
    plan = load_ablations()
    entry = plan.entry("collections", name)
    derived = derive_collection(load_collection(folder_of(entry.of) / "tuned"), entry)
    save_collection(derived, folder_of(name) / "collection")
    change = {
        "adapters": {"anchors": derived.anchors.tolist()},  # they count in the rivals' cost
        "rivals": {"end_to_end": entry.end_to_end},
    }
    bench, rows = open_bench(plan, name, change), []
    for index in range(len(plan.seeds)):
        rows.append(bench.row("tuned", index, None))
        rows += [bench.row(m, index, partial(bench.mixed, m, index)) for m in BESIDE]
    if entry.end_to_end:
        for index, models in enumerate(train_rivals(bench.study, folder_of(name))):
            rows += [bench.row(kind, index, m.generate) for kind, m in models.items()]
    about = {"backbone": bench.study.backbone, "collection": name}
    write_table(ABLATIONS / f"collection-{name}.csv", pd.DataFrame([about | r for r in rows]))


def train_point(name: str) -> None:
    """Train the generators of a point, side by side, and measure every way of sampling."""
    plan = load_ablations()
    entry = plan.entry("points", name)
    change = {**entry.change, "run": {"seeds": plan.seeds[: entry.seeds]}}
    bench, folder = open_bench(plan, entry.collection, change), folder_of(entry.collection)
    generators = train_generators(bench.study, folder / "collection", folder / name)
    rows = []
    for index, generator in enumerate(generators):
        for way in ways_of_sampling(generator.settings, entry):
            method = "generated" if way["samples"] == 1 else "generated_best"
            sampled = partial(generated_best, generator, valid=bench.held_out[0], **way)
            rows.append(bench.row(method, index, sampled) | way)
    about = {"backbone": bench.study.backbone}
    about |= entry.model_dump(include={"collection", "variable", "value"})
    write_table(ABLATIONS / f"point-{name}.csv", pd.DataFrame([about | r for r in rows]))


def ways_of_sampling(settings: params.GeneratorSettings, entry: PointEntry) -> list[dict[str, Any]]:
    """The ways of sampling of a point: that of the settings first."""
    usual = {"guidance": settings.guidance, "steps": settings.sampler_steps, "samples": 1}
    return [usual, *({**usual, **way.model_dump(exclude_none=True)} for way in entry.sampling)]


@dataclass(frozen=True)
class Bench(Place):
    """A collection on its backbone, as a place to judge vectors of its seeds.

    ``references``: the measured rows of the oracle and of `constant`, by seed number, measured
    when first needed.
    """

    references: dict[int, pd.DataFrame] = field(default_factory=dict)

    @cached_property
    def choices(self) -> Tensor:
        """The weights ``[C, O]`` at which settings are chosen."""
        floor = self.collection.anchors.min(0).values
        return random_weights(CHOICES, floor, np.random.default_rng(0))

    def mixed(self, method: str, index: int, weights: Tensor) -> Tensor:
        """Vectors of a rival that is linear in the anchors of seed number ``index``."""
        return mixtures.mixed(self.collection, mixture_of(method), index, weights)

    def curve(self, method: str, index: int, way: WeightsToVectors | None) -> pd.DataFrame:
        """A method, the oracle and `constant` over the whole catalogue; no way: the last two."""
        if index not in self.references:  # the same for every method: once for each seed
            middle = self.mixed("constant", index, self.weights)
            vectors = {"tuned": self.collection.oracle_vectors[index], "constant": middle}
            self.references[index] = self._of_catalogue(vectors, index)
        if way is None or method in self.references[index].index:
            return self.references[index]
        own = self._of_catalogue({method: way(self.weights)}, index)
        return pd.concat([own, self.references[index]])

    def _of_catalogue(self, vectors: dict[str, Tensor], index: int) -> pd.DataFrame:
        return self.measured(vectors, index).query("protocol == 'full'").set_index("method")

    def row(self, method: str, index: int, way: WeightsToVectors | None) -> dict[str, Any]:
        """Everything measured of one method for seed number ``index``; no way: the oracle."""
        (valid, _, _), choice = self.held_out, None
        if way is not None:
            vectors = way(self.choices).to(valid.states.device)
            losses = held_out_losses(valid, vectors, self.objectives).cpu()
            choice = (losses * self.choices).sum(-1).mean().item()
        measures = control_measures(self.curve(method, index, way), method, self.objectives)
        values = {name: measure.value for name, measure in measures.items()}
        seed = self.study.params.run.seeds[index]
        return {"method": method, "seed": seed, "choice": choice, **values}


def load_point(plan: Ablations, name: str) -> tuple[Collection, Generator]:
    """The collection of a point, and its generator of seed 0."""
    at = folder_of(plan.entry("points", name).collection)
    return load_collection(at / "collection"), load_generator(at / name / "seed0")


def open_bench(plan: Ablations, name: str, change: dict[str, Any]) -> Bench:
    """Load the collection ``name`` and all that judging on it needs."""
    study = study_of(plan, plan.entry("collections", name).of, change)
    sequences, backbone, about = study.load_frozen()
    collection = load_collection(folder_of(name) / "collection", about)
    return Bench(study, sequences, backbone, collection)


def write_table(path: Path, table: pd.DataFrame) -> None:
    """Write the table of a stage; six significant digits."""
    write_text(path, table.to_csv(index=False, float_format="%.6g"))
