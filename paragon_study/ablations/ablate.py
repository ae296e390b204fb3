"""Measure ablations of the generator, as listed in ``ablations/params.yaml``.

``choice``: mean task loss on *validation* users, by which settings are chosen; others: on *test*
users. Shapes: S seeds, A anchors, W weights, O objectives, K snapshots, P parameters, d numbers of
a state, h hidden units, C weights for `choice`.
"""

import dataclasses
from collections.abc import Callable, Mapping
from functools import cached_property, partial
from typing import Annotated, Any, ClassVar

import numpy as np
import pandas as pd
import torch
from pydantic import Field
from scipy.optimize import linear_sum_assignment
from torch import Tensor

from paragon.adapters import mixtures
from paragon.adapters.adapter import AdapterForm
from paragon.adapters.collection import Collection, load_collection, save_collection, subset
from paragon.adapters.frozen import held_out_losses
from paragon.errors import ParagonError
from paragon.evaluation.evaluate import over_seeds, shares_from_generated
from paragon.evaluation.methods import generated_best, methods_of, mixture_of
from paragon.evaluation.shares import at_budgets
from paragon.generator.generator import Generator, load_generators
from paragon.objectives.weights import random_weights
from paragon.params import ARTIFACTS, Count, Section, merge_sections
from paragon.storage import check_match
from paragon_study.ablations.trials import Bench, Plan, joined, tuned_adapters
from paragon_study.pipeline.jobs import train_generators, train_rivals
from paragon_study.pipeline.study import Study, open_study

WeightsToVectors = Callable[[Tensor], Tensor]  # weights [W, O] -> adapter vectors [W, P]
CHOICES = 64  # number of weights for `choice`
STORE = ARTIFACTS / "ablations"


class CollectionEntry(Section):
    """A collection made of the tuned entry ``of``."""

    of: str
    anchors: list[float] | None = None  # first weights of the anchors to keep
    snapshots: Annotated[int, Field(ge=0)] | None = None  # number per anchor
    pooled: bool = False  # each seed gets the anchors of all random starts
    aligned: bool = False  # with their hidden units aligned
    end_to_end: list[str] = []  # rivals to train with the same budget


class Sampling(Section):
    """A way of sampling; None means the generator's setting."""

    guidance: Annotated[float, Field(ge=0)] | None = None
    steps: Count | None = None
    samples: Count = 1  # keeps the best on validation users


class PointEntry(Section):
    """A generator on a ``collection``, with ``variable`` set to ``value``."""

    collection: str
    variable: str
    value: str | int | float
    change: dict[str, dict[str, Any]] = {}
    sampling: list[Sampling] = []  # additional ways of sampling


class BudgetEntry(Section):
    """A study whose methods are measured at budgets of fetched items."""

    dataset: str
    backbone: str


class Ablations(Plan):
    """The content of ablations/params.yaml."""

    FOLDER: ClassVar[str] = "ablations"
    backbone: str
    seeds: Annotated[list[int], Field(min_length=1)]
    tuned: dict[str, dict[str, dict[str, Any]]]  # changes of params.yaml by name
    collections: dict[str, CollectionEntry]
    points: dict[str, PointEntry]
    budgets: dict[str, BudgetEntry] = {}

    def follows_from(self, kind: str, name: str) -> list:
        """Return the seeds, the entry, and the entries it depends on."""
        entry = self.entry(kind, name)
        if kind == "budgets":
            return [self.seeds, entry]
        if kind == "points":
            return [*self.follows_from("collections", entry.collection), entry]
        return [self.backbone, self.seeds, self.entry("tuned", entry.of), entry]

    def study(self, tuned: str, change: dict[str, Any] | None = None) -> Study:
        """Open the study with the changes of the entry ``tuned``, then ``change``."""
        first = {"run": {"seeds": self.seeds}}
        changes = merge_sections(first, self.entry("tuned", tuned), change or {})
        return open_study(self.dataset, self.backbone, changes, checked=False)


class AblationBench(Bench):
    """A collection on its backbone."""

    @cached_property
    def choices(self) -> Tensor:
        """The weights ``[C, O]`` at which settings are chosen."""
        floor = self.collection.anchors.min(0).values
        return random_weights(CHOICES, floor, np.random.default_rng(0))

    def mixed(self, method: str, index: int, weights: Tensor) -> Tensor:
        """Predict vectors from the anchors of seed number ``index`` with a linear rival."""
        return mixtures.mixed(self.collection, mixture_of(method), index, weights)

    def compared(self, ways: Mapping[str, WeightsToVectors], index: int = 0) -> pd.DataFrame:
        """Measure ways to make adapters for seed number ``index``, with `tuned` and `constant`."""
        vectors = {
            "tuned": self.collection.oracle_vectors[index],
            **{name: way(self.weights) for name, way in ways.items()},
            "constant": self.mixed("constant", index, self.weights),
        }
        return self.curve(vectors, index=index).query("protocol == 'full'")

    def rows(self, ways: Mapping[str, WeightsToVectors], index: int = 0) -> pd.DataFrame:
        """Compute all measures of several ``ways``, of `tuned` and of `constant`."""
        loss = {name: self.choice(way) for name, way in ways.items()}
        table = self.measures(self.compared(ways, index)).drop(columns="protocol")
        table.insert(2, "choice", table["method"].map(loss))
        return table

    def choice(self, way: WeightsToVectors) -> float:
        """Compute the mean task loss on validation users."""
        (valid, _, _), vectors = self.held_out, way(self.choices)
        losses = held_out_losses(valid, vectors.to(valid.states.device), self.objectives).cpu()
        return (losses * self.choices).sum(-1).mean().item()


def open_bench(plan: Ablations, name: str, change: dict[str, Any] | None = None) -> AblationBench:
    """Load or make the collection ``name``; tune adapters that are not stored."""
    entry = plan.entry("collections", name)
    study = plan.study(entry.of)
    sequences, backbone, about = study.load_frozen()
    tuned = tuned_adapters(study, sequences, backbone, about, STORE / entry.of / "tuned")
    stem = STORE / name / "collection"  # read by the training jobs
    save_collection(derive_collection(tuned, entry), stem)
    study = plan.study(entry.of, change)
    return AblationBench(study, sequences, backbone, load_collection(stem, about))


def derive_collection(tuned: Collection, entry: CollectionEntry) -> Collection:
    """Select and pool tuned adapters as ``entry`` says."""
    derived = tuned if entry.anchors is None else subset(tuned, entry.anchors)
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


def measure_collection(plan: Ablations, name: str) -> pd.DataFrame:
    """Measure all rivals of the generator on a collection."""
    entry, bench, tables = plan.entry("collections", name), open_bench(plan, name), []
    change = {
        "adapters": {"anchors": bench.collection.anchors.tolist()},  # part of the rivals' budget
        "rivals": {"end_to_end": entry.end_to_end},
    }
    for index, models in enumerate(train_rivals(plan.study(entry.of, change), STORE / name)):
        names = (*methods_of("mixture"), "constant")
        ways = {method: partial(bench.mixed, method, index) for method in names}
        tables.append(bench.rows(ways | {n: m.generate for n, m in models.items()}, index))
    return joined(tables, backbone=plan.backbone, collection=name)


def measure_point(plan: Ablations, name: str) -> pd.DataFrame:
    """Measure all ways of sampling from the generators of a point."""
    entry, tables = plan.entry("points", name), []
    bench, generators = load_point(plan, name)
    settings = bench.study.params.generator
    usual = {"guidance": settings.guidance, "steps": settings.sampler_steps, "samples": 1}
    more = ({**usual, **way.model_dump(exclude_none=True)} for way in entry.sampling)
    sampled = [usual, *more]
    for index, generator in enumerate(generators):
        ways = {
            str(number): partial(generated_best, generator, valid=bench.held_out[0], **way)
            for number, way in enumerate(sampled)
        }
        table = bench.rows(ways, index).set_index("method").loc[list(ways)].reset_index(drop=True)
        methods = ["generated" if way["samples"] == 1 else "generated_best" for way in sampled]
        table.insert(0, "method", methods)
        tables.append(pd.concat([table, pd.DataFrame(sampled)], axis=1))
    about = entry.model_dump(include={"collection", "variable", "value"})
    return joined(tables, backbone=plan.backbone, **about)


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
                front = {"fetched": budget, "method": method, "share": int(share[1:])}
                rows.append(front | {k: v for k, v in own.items() if not k.endswith("_note")})
    return pd.DataFrame(rows)


TRIALS = {
    "collections": measure_collection,
    "points": measure_point,
    "budgets": measure_budgets,
}


def load_point(plan: Ablations, name: str) -> tuple[AblationBench, list[Generator]]:
    """Load a point's collection and generators by seed; train what is not stored."""
    entry = plan.entry("points", name)
    bench, folder = open_bench(plan, entry.collection, entry.change), STORE / entry.collection
    try:
        generators = load_generators(folder / name, bench.collection)
        settings = {"settings": bench.study.params.generator.model_dump()}
        for generator in generators:
            check_match(settings, generator.description, str(folder / name))
        return bench, generators
    except ParagonError:  # missing, incomplete, or made with other settings
        return bench, train_generators(bench.study, folder / "collection", folder / name)


def matching(vector: Tensor, reference: Tensor, form: AdapterForm) -> Tensor:
    """Order ``[h]`` of the hidden units of ``vector [P]`` that is closest to ``reference [P]``.

    It maximises the sum of inner products of the units' incoming and outgoing weights (Ainsworth et
    al., "Git Re-Basin", ICLR 2023, section 3.2).
    """
    parts = (form.unflatten(one) for one in (reference, vector))
    first, second = (torch.cat([p.w1, p.b1.unsqueeze(1), p.w2.T], 1) for p in parts)  # [h, 2 d + 1]
    products = (first @ second.T).numpy()  # [h, h]
    return torch.from_numpy(linear_sum_assignment(products, maximize=True)[1])


def permute(vectors: Tensor, order: Tensor, form: AdapterForm) -> Tensor:
    """Reorder the hidden units of vectors ``[..., P]``; the functions stay the same."""
    w1, b1, w2, b2, v, u = form.unflatten(vectors)
    units = w1[..., order, :].flatten(-2), b1[..., order], w2[..., order].flatten(-2)
    return torch.cat([*units, b2, v.flatten(-2), u], -1)  # [..., P]


def pooled(collection: Collection, aligned: bool) -> Collection:
    """Give each seed the anchors of all, ``[S * A, O]``, with hidden units ``aligned`` or not."""
    form, middle = collection.form, len(collection.anchors) // 2
    vectors, snapshots = list(collection.anchor_vectors), list(collection.snapshots)  # by seed
    seeds = len(vectors)
    for seed in range(1, seeds if aligned else 1):
        order = matching(vectors[seed][middle], vectors[0][middle], form)
        vectors[seed] = permute(vectors[seed], order, form)
        snapshots[seed] = permute(snapshots[seed], order, form)
    return dataclasses.replace(
        collection,
        anchors=collection.anchors.repeat(seeds, 1),
        anchor_vectors=torch.cat(vectors).repeat(seeds, 1, 1),  # [S, S * A, P]
        snapshots=torch.cat(snapshots).repeat(seeds, 1, 1, 1),  # [S, S * A, K, P]
        description=collection.description | {"starts": seeds},
    )
