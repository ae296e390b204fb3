"""Measure generation and its rivals, as ``ablations/params.yaml`` lists them.

Shapes: S seeds, A anchors, W weights, O objectives, P parameters, M categories, C weights for
``choice``, the mean task loss on *validation* users; other measures are on *test* users.
"""

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from functools import cached_property, partial
from itertools import count
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal

import numpy as np
import pandas as pd
import torch
from pydantic import Field
from torch import Tensor

from paragon.adapters import mixtures
from paragon.adapters.collection import Collection, load_collection, save_collection
from paragon.adapters.frozen import best_of, held_out_losses
from paragon.backbones import train_backbone
from paragon.errors import ParagonError
from paragon.evaluation.methods import METHODS
from paragon.evaluation.protocol import Row, Scores
from paragon.evaluation.summary import significant
from paragon.generator.generator import Generator
from paragon.objectives.weights import random_weights, simplex_lattice
from paragon.params import ARTIFACTS, Count, Overridden, Section, load_params, merge_sections
from paragon.rivals.end_to_end import biased_scores, tune_category_bias
from paragon_study.ablations.greedy import GAINS, Greedy
from paragon_study.ablations.trials import Bench, Plan, Vectors, joined, tuned_adapters
from paragon_study.pipeline.jobs import train_generators, train_rivals, training_events
from paragon_study.pipeline.study import Study, open_study

Ways = dict[str, Callable[[Tensor], Tensor]]  # by name: weights [W, O] -> adapters [W, P]
CHOICES = 64  # number of weights for `choice`
FLOOR = 0.01  # of an anchor's weights: without a limit, the loss of an objective is unbounded
GENERATORS = ("paragon", "generated")  # the paper's recipe, and ours
MIXTURES = ("nearest", "interpolation", "interpolation_log", "rbf_log", "ridge_log")
STORE = ARTIFACTS / "ablations"
DEPTHS = (50, 1000)  # numbers of items that greedy re-ranking may choose from


class StudyEntry(Section):
    """A backbone and a dataset, which stands for the study with the same name."""

    dataset: str
    backbone: str


class LawEntry(StudyEntry):
    """A recommender and its objectives; ``anchors``: numbers of tuned adapters to learn from."""

    objectives: list[str]
    oracles: Count
    anchors: Annotated[list[Count], Field(min_length=1)]

    def adapters(self) -> dict[str, Any]:
        """Return its section `adapters`, with all anchors it can need."""
        anchors = spread_weights(len(self.objectives), max(self.anchors))  # [A, O]
        return {
            "objectives": self.objectives,
            "oracles": self.oracles,
            "anchors": anchors.tolist(),
            "start": start_weights(self.objectives),
        }


class FactorialEntry(StudyEntry):
    """A recommender; ``adapters_of``: an override of params.yaml whose adapters it has."""

    adapters_of: str | None = None  # none: the adapters of the default study

    def adapters(self) -> dict[str, Any]:
        """Return what differs in its section `adapters`."""
        if self.adapters_of is None:
            return {}
        override = load_params().overrides.get(self.adapters_of, {})
        if "adapters" not in override:
            problem = f"params.yaml has no overrides.{self.adapters_of}.adapters"
            raise ParagonError(f"ablations/params.yaml: adapters_of: {problem}")
        return override["adapters"]


class Option(Section):
    """What one option of a factor changes in each of the generators ``of``."""

    train: dict[Overridden, dict[str, Any]] = {}  # sections of params.yaml, before the training
    sample: dict[Literal["sampler_steps", "guidance"], Any] = {}  # settings of a trained generator
    of: list[Literal["paragon", "generated"]] = ["paragon", "generated"]


class Ablations(Plan):
    """The content of ablations/params.yaml."""

    FOLDER: ClassVar[str] = "ablations"
    seeds: Annotated[list[int], Field(min_length=1)]
    factorial: dict[str, FactorialEntry] = {}
    factors: dict[str, dict[str, Option]] = {}  # by factor, then by option
    law: dict[str, LawEntry]
    end_to_end: list[str]  # rivals that need no tuned adapters
    equal: Count  # number of tuned adapters, to whose cost theirs is equal
    tried: list[dict[str, Any]] = []  # changes of a backbone's settings
    tuning: dict[str, StudyEntry] = {}

    def follows_from(self, kind: str, name: str) -> list:
        """Return the seeds, the entry, and what else its rows depend on."""
        entry = self.entry(kind, name)
        more: list[Any] = []
        if kind == "factorial":
            more = [entry.adapters(), self.factors]
        if kind == "law":
            more = [self.end_to_end, self.equal]
        if kind == "tuning":
            more = [self.tried]
        return [self.seeds, entry, *more]

    def study(self, kind: str, name: str, change: Mapping[Any, Any] | None = None) -> Study:
        """Open the study of an entry of ``law`` or ``factorial``, with a further ``change``."""
        entry = self.entry(kind, name)
        of_entry = {"run": {"seeds": self.seeds}, "adapters": entry.adapters()}
        changes = merge_sections(of_entry, dict(change or {}))
        return open_study(entry.dataset, entry.backbone, changes, checked=False)


def spread_weights(objectives: int, number: int) -> Tensor:
    """Choose weights ``[number, O]`` that are far apart, all at least ``FLOOR``.

    First come the corners of the simplex, then always the point farthest from those chosen.
    """
    lattices = (simplex_lattice(objectives, steps) for steps in count(2))
    grid = next(lattice for lattice in lattices if len(lattice) > 100).double()  # [G, O]
    chosen = torch.eye(objectives, dtype=torch.float64)  # [chosen, O]
    while len(chosen) < number:
        squares = (grid[:, None] - chosen).square().sum(-1)  # [G, chosen]
        to_nearest = squares.amin(1).round(decimals=9)  # [G]
        farthest = to_nearest.argmax(0, keepdim=True)  # [1]
        chosen = torch.cat([chosen, grid[farthest]])
    spread = FLOOR + (1 - objectives * FLOOR) * chosen[:number]
    return spread.float()


def start_weights(objectives: Sequence[str]) -> list[float]:
    """Choose the weights ``[O]`` that all tuning starts from: little accuracy, the rest alike.

    As in params.yaml: 0.15 of two objectives, 0.3 of more.
    """
    accuracy = 0.15 if len(objectives) == 2 else 0.3
    other = (1 - accuracy) / (len(objectives) - 1)
    return [accuracy if name == "accuracy" else other for name in objectives]


class AblationBench(Bench):
    """Tuned adapters on their backbone: `tuned`, and the unit of regret."""

    @cached_property
    def choices(self) -> Tensor:
        """The weights ``[C, O]`` at which settings are chosen, and candidates generated."""
        floor = self.collection.anchors.min(0).values  # [O]
        return random_weights(CHOICES, floor, np.random.default_rng(0))

    def best(self, vectors: Tensor) -> Callable[[Tensor], Tensor]:
        """Make a way that chooses among ``vectors [A, P]`` by validation task loss."""
        valid, _, _ = self.held_out
        return best_of(valid, vectors, self.objectives)

    def choice(self, way: Callable[[Tensor], Tensor]) -> float:
        """Compute the mean task loss of a way on validation users, at the weights `choices`."""
        valid, _, _ = self.held_out
        vectors = way(self.choices).to(valid.states.device)  # [C, P]
        losses = held_out_losses(valid, vectors, self.objectives).cpu()  # [C, O]
        task_losses = (losses * self.choices).sum(-1)  # [C]
        return task_losses.mean().item()

    def rows(
        self,
        ways: Ways,
        index: int = 0,
        others: Iterable[Row] = (),
        tuned: Vectors | None = None,
    ) -> pd.DataFrame:
        """Compute all measures for the seed at ``index``; a row for each method.

        Methods: ``ways`` to make adapters, ``others`` with scores of their own, and more ``tuned``
        adapters ``[W, P]``. `tuned`, `constant` and `tuned_alone` are always there.
        """
        best_tuned = self.best(self.collection.tuned(index))
        vectors = {
            "tuned": best_tuned(self.weights),
            "constant": mixtures.mixed(self.collection, mixtures.constant, index, self.weights),
            # The adapter tuned for a weight, though `tuned` may be a better one, of another weight.
            "tuned_alone": self.collection.oracle_vectors[index],
        }
        if tuned:
            vectors |= tuned
        for name, way in ways.items():
            vectors[name] = way(self.weights)
        curve = self.curve(vectors, others, index).query("protocol == 'full'")
        table = self.measures(curve).drop(columns="protocol").set_index("method")
        table["choice"] = pd.Series({name: self.choice(way) for name, way in ways.items()})
        return table.reset_index()


def first_anchors(collection: Collection, number: int) -> Collection:
    """Keep the first anchors."""
    return replace(
        collection,
        anchors=collection.anchors[:number],
        anchor_vectors=collection.anchor_vectors[:, :number],
        snapshots=collection.snapshots[:, :number],
    )


def trained_generators(
    study: Study, names: Sequence[str], tuned: Collection, folder: Path
) -> dict[str, list[Generator]]:
    """Load the generators of the adapters ``tuned``, by name and seed; train what is not stored."""
    stem = folder / "collection"
    save_collection(tuned, stem)
    stored = load_collection(stem)
    generators: dict[str, list[Generator]] = {}
    for name in names:
        try:
            generators[name] = study.load_generators(name, stored, folder)
        except ParagonError:  # missing, incomplete, or made with other settings
            continue
    missing = [name for name in names if name not in generators]
    if missing:
        generators |= train_generators(study, missing, stem, folder)
    return {name: generators[name] for name in names}


def mixed_ways(collection: Collection, names: Sequence[str], index: int) -> Ways:
    """Make ways that mix the anchors of the seed at ``index``, by the name of the mixture."""
    ways: Ways = {}
    for name in names:
        mixture = METHODS[name].mixture
        if mixture:
            ways[name] = partial(mixtures.mixed, collection, mixture, index)
    return ways


def measure_law(plan: Ablations, name: str) -> pd.DataFrame:
    """Measure generators and rivals for each number of tuned adapters; a row for each and seed."""
    entry = plan.entry("law", name)
    study = plan.study("law", name)
    folder = STORE / "law" / name
    sequences, backbone, description = study.load_frozen()
    tuned = tuned_adapters(study, sequences, backbone, description, folder / "tuned")
    # One `tuned` and one middle adapter, however many anchors the entry has.
    bench = AblationBench(study, sequences, backbone, first_anchors(tuned, plan.equal))

    collections = {number: first_anchors(tuned, number) for number in entry.anchors}
    generators: dict[str, list[Generator]] = {}
    for number, collection in collections.items():
        stored = folder / f"anchors-{number}"
        for method, by_seed in trained_generators(study, GENERATORS, collection, stored).items():
            generators[f"{method} {number}"] = by_seed
    # Rivals without tuned adapters may cost as much as some of these.
    change = {
        "adapters": {"anchors": tuned.anchors[: plan.equal].tolist()},
        "rivals": {"end_to_end": plan.end_to_end},
    }
    rivals = train_rivals(plan.study("law", name, change), folder)
    train, _ = training_events(study)
    biases = tune_category_bias(train, tuned.oracles, study.params.adapters, plan.seeds)
    _, test, _ = bench.held_out
    unchanged = torch.zeros(tuned.form.size)  # the adapter without effect
    plain = test.catalogue_scores(unchanged).cpu().numpy()  # [N, n + 1]
    rerankers = []
    if GAINS.issuperset(entry.objectives):
        rerankers = [Greedy(bench, depth) for depth in DEPTHS]

    tables = []
    for index, seed in enumerate(plan.seeds):
        learned: Ways = {}
        for method, models in generators.items():
            learned[method] = models[index].generate
        for method, rival in rivals[index].items():
            learned[method] = rival.generate
        ways = dict(learned)
        for key, way in learned.items():
            method, _, number = key.partition(" ")
            if key.startswith(("generated", "hypernetwork")):
                ways[f"{method}_best {number}"] = bench.best(way(bench.choices))
        for number, collection in collections.items():
            for method, way in mixed_ways(collection, MIXTURES, index).items():
                ways[f"{method} {number}"] = way
            ways[f"best {number}"] = bench.best(collection.anchor_vectors[index])
        ways["backbone"] = lambda weights: unchanged.expand(len(weights), -1)

        scores = (
            Scores.of(biased_scores(plain, sequences.categories, bias)) for bias in biases[index]
        )
        category_bias = Row("category_bias", seed, bench.weights.numpy(), scores)
        best_tuned = bench.best(bench.collection.tuned(index))
        tuned_vectors = best_tuned(bench.weights)  # [W, P]
        reranked = [reranker.row(seed, tuned_vectors) for reranker in rerankers]
        tables.append(bench.rows(ways, index, [category_bias, *reranked]))
    objectives = len(entry.objectives)
    table = joined(tables, dataset=entry.dataset, backbone=entry.backbone, objectives=objectives)
    # "paragon 10" is the method `paragon` with ten anchors.
    names = table["method"].str.partition(" ")
    table["method"] = names[0]
    table["anchors"] = names[2]
    return table


def measure_tuning(plan: Ablations, name: str) -> pd.DataFrame:
    """Train a backbone with each change of its settings; a row for each, ``ndcg`` of validation."""
    entry = plan.entry("tuning", name)
    rows = []
    for change in plan.tried:
        study = open_study(entry.dataset, entry.backbone, {"backbones": change}, checked=False)
        start = time.process_time()
        sequences = study.load_sequences()
        _, fitted = train_backbone(entry.backbone, sequences, study.params.backbones)
        seconds = significant(time.process_time() - start, 3)
        changed = ", ".join(f"{key} {value}" for key, value in change.items()) or "the study"
        rows.append((changed, -min(fitted.validation), fitted.epochs, seconds))
    return pd.DataFrame(rows, columns=["change", "ndcg", "epochs", "seconds"])
