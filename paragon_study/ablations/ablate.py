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
from paragon.evaluation.differences import shares_from_generated
from paragon.evaluation.methods import METHODS
from paragon.evaluation.protocol import Row, Scores
from paragon.evaluation.summary import over_seeds, significant
from paragon.generator.generator import Generator
from paragon.objectives.weights import random_weights, simplex_lattice
from paragon.params import ARTIFACTS, Count, Overridden, Section, load_params, merge_sections
from paragon.rivals.end_to_end import biased_scores, tune_category_bias
from paragon_study.ablations.budgets import at_budgets
from paragon_study.ablations.greedy import GAINS, Greedy
from paragon_study.ablations.trials import Bench, Plan, Vectors, joined, tuned_adapters
from paragon_study.pipeline.jobs import train_generators, train_rivals, training_task
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
    drawn: Annotated[int, Field(ge=0)] = 0  # random evaluation weights, beside the lattice
    anchors: Annotated[list[Count], Field(min_length=1)]
    end_to_end: bool = True  # also rivals that need no tuned adapters

    def adapters(self) -> dict[str, Any]:
        """Return its section `adapters`: all anchors it can need, then the drawn weights."""
        anchors = spread_weights(len(self.objectives), max(self.anchors))  # [A, O]
        floor = anchors.min(0).values  # [O]
        drawn = random_weights(self.drawn, floor, np.random.default_rng(1))
        return {
            "objectives": self.objectives,
            "oracles": self.oracles,
            "anchors": torch.cat([anchors, drawn]).tolist(),
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
    budgets: dict[str, StudyEntry] = {}
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
        own = {"run": {"seeds": self.seeds}, "adapters": entry.adapters()}
        changes = merge_sections(own, dict(change or {}))
        return open_study(entry.dataset, entry.backbone, changes, checked=False)


def spread_weights(objectives: int, number: int) -> Tensor:
    """Choose ``[number, O]`` far apart, at least ``FLOOR``: corners, then the farthest from all."""
    lattices = (simplex_lattice(objectives, steps) for steps in count(2))
    grid = next(lattice for lattice in lattices if len(lattice) > 100).double()
    chosen = torch.eye(objectives, dtype=torch.float64)
    while len(chosen) < number:
        distance = (grid[:, None] - chosen).square().sum(-1).amin(1)  # [grid]
        farthest = distance.round(decimals=9).argmax(0, keepdim=True)  # [1]
        chosen = torch.cat([chosen, grid[farthest]])
    return (FLOOR + (1 - objectives * FLOOR) * chosen[:number]).float()


def start_weights(objectives: Sequence[str]) -> list[float]:
    """Choose the weights ``[O]`` that all tuning starts from: little accuracy, the rest alike.

    As in params.yaml: 0.15 of two objectives, 0.3 of more.
    """
    accuracy = 0.15 if len(objectives) == 2 else 0.3
    other = (1 - accuracy) / (len(objectives) - 1)
    return [accuracy if name == "accuracy" else other for name in objectives]


class AblationBench(Bench):
    """Tuned adapters on their backbone: the oracle, and the unit of regret."""

    @cached_property
    def choices(self) -> Tensor:
        """The weights ``[C, O]`` at which settings are chosen, and candidates generated."""
        floor = self.collection.anchors.min(0).values
        return random_weights(CHOICES, floor, np.random.default_rng(0))

    def best(self, vectors: Tensor) -> Callable[[Tensor], Tensor]:
        """Make a way that chooses among ``vectors [A, P]`` by validation task loss."""
        return best_of(self.held_out[0], vectors, self.objectives)

    def choice(self, way: Callable[[Tensor], Tensor]) -> float:
        """Compute the mean task loss on validation users."""
        valid = self.held_out[0]
        vectors = way(self.choices).to(valid.states.device)  # [C, P]
        losses = held_out_losses(valid, vectors, self.objectives).cpu()  # [C, O]
        return (losses * self.choices).sum(-1).mean().item()

    def rows(
        self,
        ways: Ways,
        index: int = 0,
        others: Iterable[Row] = (),
        tuned: Vectors | None = None,
    ) -> pd.DataFrame:
        """Compute all measures for the seed at ``index``; a row for each method.

        Methods: ``ways`` to make adapters, ``others`` with scores of their own, and more ``tuned``
        adapters ``[W, P]``. `tuned` (the oracle), `constant` and `tuned_alone` are always there.
        """
        constant = mixtures.mixed(self.collection, mixtures.constant, index, self.weights)
        oracle = self.best(self.collection.tuned(index))
        vectors = {"tuned": oracle(self.weights), "constant": constant}
        # The adapter tuned for a weight, though `tuned` may be a better one, of another weight.
        vectors["tuned_alone"] = self.collection.oracle_vectors[index]
        vectors |= tuned or {}
        vectors |= {name: way(self.weights) for name, way in ways.items()}
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


def drawn_as_oracles(tuned: Collection, anchors: int) -> Collection:
    """Make oracles of all anchors but the first ones, so that nothing learns from them."""
    return replace(
        first_anchors(tuned, anchors),
        oracles=torch.cat([tuned.oracles, tuned.anchors[anchors:]]),
        oracle_vectors=torch.cat([tuned.oracle_vectors, tuned.anchor_vectors[:, anchors:]], 1),
    )


def trained_generators(
    study: Study, names: Sequence[str], tuned: Collection, folder: Path
) -> dict[str, list[Generator]]:
    """Load the generators of the adapters ``tuned``, by name and seed; train what is not stored."""
    stem = folder / "collection"
    save_collection(tuned, stem)
    stored = load_collection(stem)
    found: dict[str, list[Generator]] = {}
    for name in names:
        try:
            found[name] = study.load_generators(name, stored, folder)
        except ParagonError:  # missing, incomplete, or made with other settings
            continue
    missing = [name for name in names if name not in found]
    if missing:
        found |= train_generators(study, missing, stem, folder)
    return {name: found[name] for name in names}


def mixed_ways(collection: Collection, names: Sequence[str], index: int) -> Ways:
    """Make ways that mix the anchors of the seed at ``index``, by the name of the mixture."""
    return {
        name: partial(mixtures.mixed, collection, form, index)
        for name in names
        if (form := METHODS[name].mixture)
    }


def measure_law(plan: Ablations, name: str) -> pd.DataFrame:
    """Measure generators and rivals for each number of tuned adapters; a row for each and seed."""
    entry = plan.entry("law", name)
    study = plan.study("law", name)
    folder = STORE / "law" / name
    sequences, backbone, about = study.load_frozen()
    tuned = tuned_adapters(study, sequences, backbone, about, folder / "tuned")
    tuned = drawn_as_oracles(tuned, max(entry.anchors))
    # One oracle and one middle adapter, however many anchors the entry has.
    bench = AblationBench(study, sequences, backbone, first_anchors(tuned, plan.equal))

    collections = {number: first_anchors(tuned, number) for number in entry.anchors}
    generators: dict[str, list[Generator]] = {}
    for number, collection in collections.items():
        own = trained_generators(study, GENERATORS, collection, folder / f"anchors-{number}")
        generators |= {f"{name} {number}": by_seed for name, by_seed in own.items()}
    # Rivals without tuned adapters may cost as much as some of these.
    budget = {"anchors": tuned.anchors[: plan.equal].tolist()}
    names = plan.end_to_end if entry.end_to_end else []
    change = {"adapters": budget, "rivals": {"end_to_end": names}}
    rivals = train_rivals(plan.study("law", name, change), folder)
    train, _ = training_task(study)
    biases = tune_category_bias(train, tuned.oracles, study.params.adapters, plan.seeds)
    unchanged = torch.zeros(tuned.form.size)
    plain = bench.held_out[1].catalogue_scores(unchanged).cpu().numpy()  # [N, n + 1]
    rerankers = [Greedy(bench, depth) for depth in DEPTHS if GAINS.issuperset(entry.objectives)]

    tables = []
    for index, seed in enumerate(plan.seeds):
        ways: Ways = {method: models[index].generate for method, models in generators.items()}
        ways |= {method: model.generate for method, model in rivals[index].items()}
        for key in [key for key in ways if key.startswith(("generated", "hypernetwork"))]:
            method, _, number = key.partition(" ")
            ways[f"{method}_best {number}"] = bench.best(ways[key](bench.choices))
        for number, collection in collections.items():
            mixed = mixed_ways(collection, MIXTURES, index)
            ways |= {f"{method} {number}": way for method, way in mixed.items()}
            ways[f"best {number}"] = bench.best(collection.anchor_vectors[index])
        ways["backbone"] = lambda weights: unchanged.expand(len(weights), -1)
        by_weight = (biased_scores(plain, sequences.categories, bias) for bias in biases[index])
        category_bias = Row("category_bias", seed, bench.weights.numpy(), map(Scores.of, by_weight))
        oracles = bench.best(bench.collection.tuned(index))(bench.weights)  # [W, P]
        reranked = [reranker.row(seed, oracles) for reranker in rerankers]
        tables.append(bench.rows(ways, index, [category_bias, *reranked]))
    objectives = len(entry.objectives)
    table = joined(tables, dataset=entry.dataset, backbone=entry.backbone, objectives=objectives)
    table[["method", "anchors"]] = table["method"].str.partition(" ")[[0, 2]]
    return table


def measure_budgets(plan: Ablations, name: str) -> pd.DataFrame:
    """Measure a study at budgets of fetched items: a row for each budget, method and share."""
    entry = plan.entry("budgets", name)
    study = open_study(entry.dataset, entry.backbone, {"run": {"seeds": plan.seeds}})
    trained, rows = study.load_trained(), []
    settings, users = study.params.evaluation, trained.test_set.evaluation.users
    for budget, (measures, at_shares) in at_budgets(trained, settings.shares).items():
        differences = shares_from_generated(at_shares, users, settings.resamples)
        for method, by_name in measures.items():
            values = over_seeds(by_name)
            for key, value in differences.get(method, {}).items():
                values[key.replace("alpha_ndcg", "difference")] = value
            for share in (f"_{100 * share:g}" for share in settings.shares):
                own = {k.replace(share, ""): v for k, v in values.items() if share in k}
                front = {"fetched": budget, "method": method, "share": pd.to_numeric(share[1:])}
                rows.append(front | {k: v for k, v in own.items() if not k.endswith("_note")})
    return pd.DataFrame(rows)


def measure_tuning(plan: Ablations, name: str) -> pd.DataFrame:
    """Train a backbone with each change of its settings; a row for each, ``ndcg`` of validation."""
    entry, rows = plan.entry("tuning", name), []
    for change in plan.tried:
        study = open_study(entry.dataset, entry.backbone, {"backbones": change}, checked=False)
        start = time.process_time()
        fitted = train_backbone(entry.backbone, study.load_sequences(), study.params.backbones)[1]
        changed = ", ".join(f"{key} {value}" for key, value in change.items()) or "the study"
        seconds = significant(time.process_time() - start, 3)
        rows.append((changed, -min(fitted.validation), fitted.epochs, seconds))
    return pd.DataFrame(rows, columns=["change", "ndcg", "epochs", "seconds"])
