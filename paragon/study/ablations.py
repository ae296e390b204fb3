"""Ablations: what each choice of the generator buys, point by point, outside the default study.

``ablations/params.yaml`` lists what is tuned (*tuned*), *collections* made of it (fewer
anchors, pooled starts; each task of a joint tuning is independent of the others, so a
part of it is what tuning that part alone gives) and *points*: a generator trained on a
collection, with one choice changed.  ``ablations/dvc.yaml`` runs each as a stage of its
own, so that an interrupted run goes on where it stopped.  Collections and points write
one table each, a row for every method, seed and way of sampling:

* ``choice``: mean task loss on *validation* users at weights that are not those of the
  evaluation.  Settings are chosen by it, and by nothing else.
* the measures of :mod:`paragon.control` on *test* users at the evaluation weights.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Annotated, Any, TypeVar

import numpy as np
import pandas as pd
import torch
import yaml
from pydantic import Field
from torch import Tensor

from paragon import params
from paragon.adapters import mixtures
from paragon.adapters.collection import (
    Collection,
    collect,
    load_collection,
    pooled,
    save_collection,
    subset,
)
from paragon.adapters.frozen import FrozenTask, frozen_task, held_out_losses
from paragon.adapters.mixtures import MIXTURES
from paragon.errors import ParagonError
from paragon.evaluation import testbed
from paragon.evaluation.methods import generated_best
from paragon.evaluation.summary import control_measures
from paragon.evaluation.testbed import Row, TestBed
from paragon.generator.generator import Generator
from paragon.objectives.weights import lift
from paragon.params import ABLATIONS, ARTIFACTS, ROOT, Section, stored
from paragon.storage import write_text
from paragon.study.jobs import train_generators, train_rivals
from paragon.study.study import Study, open_study

T = TypeVar("T")
Mapping = Callable[[Tensor], Tensor]  # weights [W, O] -> adapter vectors [W, P]
CHOICES = 64  # weights at which settings are compared on validation users
BESIDE = (*MIXTURES, "constant")  # need no training


class TunedEntry(Section):
    """All anchors and oracles to tune for a ``backbone``: what is ``change``d of params.yaml."""

    backbone: str
    change: dict[str, Any] = {}


class CollectionEntry(Section):
    """A collection made of the tuned one ``of``.

    ``anchors``: the first weights of the anchors that are kept; ``snapshots``: how many
    of each; ``pooled``: every seed gets the anchors of all seeds, hence of all random
    starts, with neurons ``aligned`` or as they are; ``end_to_end``: rivals that need no
    collection, to be trained at its cost."""

    of: str
    anchors: list[float] | None = None
    snapshots: Annotated[int, Field(ge=0)] | None = None
    pooled: bool = False
    aligned: bool = False
    end_to_end: list[params.EndToEnd] = []


class Way(Section):
    """A way of sampling, the best of so many ``samples``; None: as the generator's settings say."""

    guidance: Annotated[float, Field(ge=0)] | None = None
    steps: params.Count | None = None
    samples: params.Count = 1


class PointEntry(Section):
    """A generator on a ``collection`` with what of params.yaml is ``change``d.

    It is shown as ``value`` of ``variable``.  ``sampling``: further ways of sampling from
    it; the best of several is chosen on validation users.  ``seeds``: the first so many."""

    collection: str
    variable: str
    value: str | int | float
    change: dict[str, dict[str, Any]] = {}
    sampling: list[Way] = []
    seeds: params.Count | None = None


class Ablations(Section):
    """The whole of ablations/params.yaml."""

    dataset: str
    seeds: Annotated[list[int], Field(min_length=1)]
    tuned: dict[str, TunedEntry]
    collections: dict[str, CollectionEntry]
    points: dict[str, PointEntry]


def load_ablations(root: Path = ROOT) -> Ablations:
    """Read and check ablations/params.yaml."""
    path = root / "ablations" / "params.yaml"
    return stored(Ablations, yaml.safe_load(path.read_text(encoding="utf-8")), str(path))


def folder_of(name: str) -> Path:
    """Where what is tuned, or made of a collection, is kept."""
    return ARTIFACTS / "ablations" / name


def known(entries: dict[str, T], name: str, kind: str) -> T:
    """The entry ``name``, or an error that lists those there are."""
    if name not in entries:
        raise ParagonError(
            f"ablations/params.yaml: {kind}: {name!r} is unknown; known: {', '.join(entries)}"
        )
    return entries[name]


def study_of(plan: Ablations, tuned: str, change: dict[str, Any] | None = None) -> Study:
    """The study with what ``tuned``, and then ``change``, change in params.yaml."""
    entry, merged = known(plan.tuned, tuned, "tuned"), {"run": {"seeds": plan.seeds}}
    for part in (entry.change, change or {}):
        for section, values in part.items():
            merge = isinstance(values, dict)
            merged[section] = {**merged.get(section, {}), **values} if merge else values
    return open_study(plan.dataset, entry.backbone, merged, checked=False)


def tune(name: str) -> None:
    """Tune and store all anchors and oracles of ``name``."""
    plan = load_ablations()
    study = study_of(plan, name)
    sequences = study.load_sequences()
    backbone, about = study.load_backbone(sequences)
    provenance = {"backbone": about["sha256"]}
    made = collect(backbone, sequences, study.params.adapters, plan.seeds, provenance)
    save_collection(made, folder_of(name) / "tuned")


def part_of(tuned: Collection, entry: CollectionEntry) -> Collection:
    """The collection that ``entry`` makes of what was tuned."""
    made = tuned
    if entry.anchors is not None:
        made = subset(made, entry.anchors)
    if entry.snapshots is not None:
        last = tuned.snapshots.shape[2] - entry.snapshots
        made = dataclasses.replace(made, snapshots=made.snapshots[:, :, last:].contiguous())
    return pooled(made, entry.aligned) if entry.pooled else made


def collection(name: str) -> None:
    """Make and store a collection, and measure every rival of the generator on it."""
    plan = load_ablations()
    entry = known(plan.collections, name, "collections")
    tuned = load_collection(folder_of(entry.of) / "tuned")
    made = part_of(tuned, entry)
    save_collection(made, folder_of(name) / "collection")
    change = {
        "adapters": {"anchors": made.anchors.tolist()},  # what the rivals' cost counts
        "rivals": {"end_to_end": entry.end_to_end},
    }
    bench, rows = open_bench(plan, name, change), []
    for index in range(len(plan.seeds)):
        rows.append(bench.row("tuned", index, None))
        rows += [bench.row(m, index, partial(bench.mixed, m, index)) for m in BESIDE]
    if entry.end_to_end:
        for index, models in enumerate(train_rivals(bench.study, folder_of(name))):
            rows += [bench.row(m.description["kind"], index, m.generate) for m in models]
    table = pd.DataFrame(rows)
    table.insert(0, "backbone", bench.study.backbone)
    table.insert(1, "collection", name)
    write(table, f"collection-{name}")


def point(name: str) -> None:
    """Train the generators of a point, side by side, and measure every way of sampling."""
    plan = load_ablations()
    entry = known(plan.points, name, "points")
    change = {**entry.change, "run": {"seeds": plan.seeds[: entry.seeds]}}
    bench = open_bench(plan, entry.collection, change)
    stem = folder_of(entry.collection) / "collection"
    generators = train_generators(bench.study, stem, folder_of(entry.collection) / name)
    rows = []
    for index, generator in enumerate(generators):
        for way in ways(generator.settings, entry):
            method = "generated" if way["samples"] == 1 else "generated_best"
            found = bench.row(method, index, sampler(generator, bench.valid, **way))
            rows.append({**found, **way})
    table = pd.DataFrame(rows)
    table.insert(0, "backbone", bench.study.backbone)
    for place, key in enumerate(("collection", "variable", "value"), 1):
        table.insert(place, key, getattr(entry, key))
    write(table, f"point-{name}")


def ways(settings: params.GeneratorSettings, entry: PointEntry) -> list[dict[str, Any]]:
    """The ways of sampling of a point: that of the settings first."""
    usual = {"guidance": settings.guidance, "steps": settings.sampler_steps, "samples": 1}
    return [usual, *({**usual, **way.model_dump(exclude_none=True)} for way in entry.sampling)]


def sampler(
    generator: Generator, valid: FrozenTask, guidance: float, steps: int, samples: int
) -> Mapping:
    """Weights to vectors: one sample, or for each of the weights the best of several."""

    def generate(weights: Tensor) -> Tensor:
        return generated_best(generator, weights, valid, samples, guidance=guidance, steps=steps)

    return generate


@dataclass(frozen=True)
class Bench:
    """A collection with all that judging vectors on it needs, prepared once.

    ``choices [C, O]``: the weights at which settings are chosen; ``references``: the
    measured rows of the oracle and of `constant`, by seed number, filled as they are needed.
    """

    study: Study
    collection: Collection
    valid: FrozenTask
    test: FrozenTask
    bed: TestBed
    choices: Tensor
    references: dict[int, pd.DataFrame] = field(default_factory=dict)

    def mixed(self, method: str, index: int, weights: Tensor) -> Tensor:
        """Vectors of a rival that is linear in the anchors of seed number ``index``."""
        return mixtures.mixed(self.collection, method, index, weights)

    def curve(self, method: str, index: int, way: Mapping | None) -> pd.DataFrame:
        """Short lists: rows of a method, the oracle and `constant`; no way: the oracle alone."""
        if index not in self.references:  # the same for every method: measured once a seed
            middle = self.mixed("constant", index, self.collection.oracles)
            known = {"tuned": self.collection.oracle_vectors[index], "constant": middle}
            self.references[index] = self._measured(index, known)
        if way is None or method in self.references[index].index:
            return self.references[index]
        own = self._measured(index, {method: way(self.collection.oracles)})
        return pd.concat([own, self.references[index]])

    def _measured(self, index: int, vectors: dict[str, Tensor]) -> pd.DataFrame:
        """One row a method and evaluation weight, for the vectors ``[W, P]`` of each method."""
        weights, score = self.collection.oracles.numpy(), self.test.catalogue_scores
        rows = [
            Row(method, index, weights, [score(v).cpu().numpy() for v in own])
            for method, own in vectors.items()
        ]
        return testbed.run(self.bed, rows).query("protocol == 'sampled'").set_index("method")

    def row(self, method: str, index: int, way: Mapping | None) -> dict[str, Any]:
        """Everything measured of one method for seed number ``index``; no way: the oracle."""
        objectives, choice = self.study.params.adapters.objectives, None
        if way is not None:
            vectors = way(self.choices).to(self.valid.states.device)
            losses = held_out_losses(self.valid, vectors, objectives).cpu()
            choice = (losses * self.choices).sum(-1).mean().item()
        curve = self.curve(method, index, way)
        found = control_measures(curve, method, objectives)
        values = {name: measure.value for name, measure in found.items()}
        seed = self.study.params.run.seeds[index]
        return {"method": method, "seed": seed, "choice": choice, **values}


def open_bench(plan: Ablations, name: str, change: dict[str, Any]) -> Bench:
    """Load the collection ``name`` and all that judging on it needs."""
    study = study_of(plan, known(plan.collections, name, "collections").of, change)
    sequences = study.load_sequences()
    backbone, about = study.load_backbone(sequences)
    found = load_collection(folder_of(name) / "collection", about)
    negatives, objectives = found.description["negatives"], study.params.adapters.objectives
    valid, test = (
        frozen_task(backbone, sequences, part, 1 + negatives) for part in ("valid", "test")
    )
    bed = TestBed(sequences, sequences.test, objectives, negatives=negatives, cutoffs=[10])
    uniform = np.random.default_rng(0).dirichlet(np.ones(len(objectives)), CHOICES)
    choices = lift(torch.from_numpy(uniform).float(), found.anchors.min(0).values)
    return Bench(study, found, valid, test, bed, choices)


def write(table: pd.DataFrame, name: str) -> None:
    """Write a stage's table, six significant digits."""
    path = ABLATIONS / f"{name}.csv"
    write_text(path, table.to_csv(index=False, float_format="%.6g"))
