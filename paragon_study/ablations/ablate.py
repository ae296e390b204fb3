"""Measure generation and its rivals, as ``ablations/params.yaml`` lists them.

Shapes: S seeds, A anchors, W weights, O objectives, P parameters, M categories, C weights for
``choice``, the mean task loss on *validation* users; other measures are on *test* users.
"""

import time
from collections.abc import Callable, Iterable
from dataclasses import replace
from functools import cached_property, partial
from itertools import count
from typing import Annotated, Any, ClassVar

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
from paragon.evaluation.evaluate import over_seeds, shares_from_generated, significant
from paragon.evaluation.methods import METHODS
from paragon.evaluation.protocol import Row, Scores
from paragon.evaluation.shares import at_budgets
from paragon.generator.generator import Generator
from paragon.objectives.weights import random_weights, simplex_lattice
from paragon.params import ARTIFACTS, Count, Section, merge_sections
from paragon.rivals.end_to_end import biased_scores, tune_category_bias
from paragon_study.ablations.greedy import GAINS, Greedy
from paragon_study.ablations.trials import Bench, Plan, joined, tuned_adapters
from paragon_study.pipeline.jobs import train_generators, train_rivals, training_task
from paragon_study.pipeline.study import Study, open_study

Ways = dict[str, Callable[[Tensor], Tensor]]  # by name: weights [W, O] -> adapters [W, P]
CHOICES = 64  # number of weights for `choice`
FLOOR = 0.01  # of an anchor's weights: without a limit, the loss of an objective is unbounded
MIXTURES = ("nearest", "interpolation", "interpolation_log", "rbf_log", "ridge_log")
STORE = ARTIFACTS / "ablations"
DEPTHS = (50, 1000)  # numbers of items that greedy re-ranking may choose from


class StudyEntry(Section):
    """A study whose methods are measured at budgets of fetched items."""

    dataset: str
    backbone: str


class LawEntry(StudyEntry):
    """A recommender and its objectives; ``anchors``: numbers of tuned adapters to learn from."""

    objectives: list[str]
    oracles: Count
    drawn: Annotated[int, Field(ge=0)] = 0  # random evaluation weights, beside the lattice
    anchors: Annotated[list[Count], Field(min_length=1)]
    variants: list[str] | None = None  # those measured; default: all
    end_to_end: bool = True  # also rivals that need no tuned adapters


class VariantEntry(Section):
    """A generator with other settings, measured for these numbers of tuned adapters."""

    anchors: list[Count]
    change: dict[str, Any] = {}


class Ablations(Plan):
    """The content of ablations/params.yaml."""

    FOLDER: ClassVar[str] = "ablations"
    seeds: Annotated[list[int], Field(min_length=1)]
    end_to_end: list[str]  # rivals that need no tuned adapters
    equal: Count  # number of tuned adapters, to whose cost theirs is equal
    variants: dict[str, VariantEntry]
    law: dict[str, LawEntry]
    budgets: dict[str, StudyEntry] = {}
    tried: list[dict[str, Any]] = []  # changes of a backbone's settings
    tuning: dict[str, StudyEntry] = {}

    def follows_from(self, kind: str, name: str) -> list:
        """Return the seeds, the entry, and what else its rows depend on."""
        more: Any = {"law": [self.end_to_end, self.equal, self.variants], "tuning": [self.tried]}
        return [self.seeds, self.entry(kind, name), *more.get(kind, [])]

    def study(self, name: str, change: dict[str, Any] | None = None) -> Study:
        """Open the study of an entry of ``law``: anchors that it can need, then drawn weights."""
        entry = self.entry("law", name)
        anchors = spread_weights(len(entry.objectives), max(entry.anchors))
        drawn = random_weights(entry.drawn, anchors.min(0).values, np.random.default_rng(1))
        adapters = {"objectives": entry.objectives, "oracles": entry.oracles}
        adapters["anchors"] = torch.cat([anchors, drawn]).tolist()
        changes = merge_sections({"run": {"seeds": self.seeds}, "adapters": adapters}, change or {})
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


def kernel(anchors: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Average the anchors by a Gaussian of the distance of the weights, as wide as their spacing.

    It is what one step of diffusion from pure noise gives in closed form, if the density of anchors
    and weights is smoothed (Scarvelis et al., "Closed-Form Diffusion Models", 2023).
    """
    between = np.linalg.norm(anchors[:, None] - anchors, axis=-1)  # [A, A]
    np.fill_diagonal(between, np.inf)
    width = between.min(1).mean()
    square = np.square(weights[:, None] - anchors).sum(-1)  # [W, A]
    near = np.exp((square.min(1, keepdims=True) - square) / (2 * width**2))  # [W, A]
    return near / near.sum(1, keepdims=True)


class AblationBench(Bench):
    """All tuned adapters of an entry of ``law``, on their backbone."""

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
        valid, vectors = self.held_out[0], way(self.choices)
        losses = held_out_losses(valid, vectors.to(valid.states.device), self.objectives).cpu()
        return (losses * self.choices).sum(-1).mean().item()

    def rows(self, ways: Ways, index: int = 0, others: Iterable[Row] = ()) -> pd.DataFrame:
        """Compute all measures of ways to make adapters, of ``others``, `tuned` and `constant`."""
        constant = mixtures.mixed(self.collection, mixtures.constant, index, self.weights)
        oracle = self.best(self.collection.tuned(index))
        vectors = {"tuned": oracle(self.weights), "constant": constant}
        # The adapter tuned for a weight, though `tuned` may be a better one, of another weight.
        vectors["tuned_alone"] = self.collection.oracle_vectors[index]
        vectors |= {name: way(self.weights) for name, way in ways.items()}
        curve = self.curve(vectors, others, index).query("protocol == 'full'")
        table = self.measures(curve).drop(columns="protocol").set_index("method")
        table["choice"] = pd.Series({name: self.choice(way) for name, way in ways.items()})
        return table.reset_index()


def first_anchors(collection: Collection, number: int) -> Collection:
    """Keep the first anchors."""
    anchors, vectors = collection.anchors[:number], collection.anchor_vectors[:, :number]
    snapshots = collection.snapshots[:, :number]
    return replace(collection, anchors=anchors, anchor_vectors=vectors, snapshots=snapshots)


def load_variant(
    plan: Ablations, name: str, tuned: Collection, variant: str, number: int
) -> list[Generator]:
    """Load the generators of a variant by seed; train what is not stored."""
    folder = STORE / name / f"anchors-{number}"
    study = plan.study(name, {"generator": plan.variants[variant].change})
    stem = folder / "collection"
    save_collection(first_anchors(tuned, number), stem)
    try:
        return study.load_generators(load_collection(stem), folder / variant)
    except ParagonError:  # missing, incomplete, or made with other settings
        return train_generators(study, stem, folder / variant)


def measure_law(plan: Ablations, name: str) -> pd.DataFrame:
    """Measure generators and rivals for each number of tuned adapters; a row for each and seed."""
    entry, study, tables = plan.entry("law", name), plan.study(name), []
    names, most = entry.objectives, max(entry.anchors)
    sequences, backbone, about = study.load_frozen()
    tuned = tuned_adapters(study, sequences, backbone, about, STORE / name / "tuned")
    oracles = torch.cat([tuned.oracles, tuned.anchors[most:]])  # [W, O], with those drawn
    vectors = torch.cat([tuned.oracle_vectors, tuned.anchor_vectors[:, most:]], 1)  # [S, W, P]
    tuned = replace(first_anchors(tuned, most), oracles=oracles, oracle_vectors=vectors)
    # One oracle and one middle adapter, however many anchors the entry has.
    bench = AblationBench(study, sequences, backbone, first_anchors(tuned, plan.equal))
    generators = {
        f"{variant} {number}": load_variant(plan, name, tuned, variant, number)
        for variant in entry.variants or plan.variants
        for number in entry.anchors
        if number in plan.entry("variants", variant).anchors
    }
    equal = {"anchors": tuned.anchors[: plan.equal].tolist()}  # part of their budget
    learned = {"end_to_end": plan.end_to_end if entry.end_to_end else []}
    rivals = train_rivals(plan.study(name, {"adapters": equal, "rivals": learned}), STORE / name)
    parts = tuned.oracles, study.params.adapters, plan.seeds
    biases = tune_category_bias(training_task(study)[0], *parts)  # [S, W, M]
    forms = {n: mixture for n in MIXTURES if (mixture := METHODS[n].mixture)}
    forms["kernel"] = mixtures.in_log_ratios(kernel)
    plain = bench.held_out[1].catalogue_scores(torch.zeros(tuned.form.size)).cpu().numpy()
    rerankers = [Greedy(bench, depth) for depth in DEPTHS if GAINS.issuperset(names)]
    for index, seed in enumerate(plan.seeds):
        ways: Ways = {n: models[index].generate for n, models in generators.items()}
        ways |= {n: model.generate for n, model in rivals[index].items()}
        for n in [n for n in ways if n.startswith(("generated", "hypernetwork"))]:
            method, _, number = n.partition(" ")
            ways[f"{method}_best {number}"] = bench.best(ways[n](bench.choices))
        for number in entry.anchors:
            collection = first_anchors(tuned, number)
            for n, form in forms.items():
                ways[f"{n} {number}"] = partial(mixtures.mixed, collection, form, index)
            ways[f"best {number}"] = bench.best(collection.anchor_vectors[index])
        ways["backbone"] = lambda weights: torch.zeros(len(weights), tuned.form.size)
        tables_of = (biased_scores(plain, sequences.categories, u) for u in biases[index])
        bias = Row("category_bias", seed, bench.weights.numpy(), map(Scores.of, tables_of))
        oracles = bench.best(bench.collection.tuned(index))(bench.weights)
        others = bias, *(reranker.row(seed, oracles) for reranker in rerankers)
        tables.append(bench.rows(ways, index, others))
    table = joined(tables, dataset=entry.dataset, backbone=entry.backbone, objectives=len(names))
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
