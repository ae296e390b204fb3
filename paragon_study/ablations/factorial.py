"""Measure what a generator's start, prediction, space, loss, steps and guidance change.

``factors`` of ablations/params.yaml lists the options of each factor. One is changed at a time, and
the rest keeps the settings of the study. Shapes: S seeds, W weights, P parameters.
"""

import copy
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import pandas as pd
from torch import Tensor

from paragon.adapters.collection import Collection
from paragon.adapters.frozen import FrozenEvents
from paragon.generator.generator import Generator
from paragon.generator.training import with_best_guidance
from paragon.params import GeneratorSettings, checked
from paragon_study.ablations.ablate import (
    GENERATORS,
    STORE,
    AblationBench,
    Ablations,
    Ways,
    mixed_ways,
    trained_generators,
)
from paragon_study.ablations.trials import joined, tuned_adapters

DEFAULT = "default"  # the factor, and the option, of what keeps all settings
MIXED = ("nearest", "interpolation_log")  # measured for each collection, beside `tuned_alone`


class Variant(NamedTuple):
    """The generators and adapters of one option of a factor."""

    factor: str
    option: str
    generators: Mapping[str, list[Generator]]  # by name, then for each seed
    collection: Collection | None  # if its adapters are other ones than those of the default


def measure_factorial(plan: Ablations, name: str) -> pd.DataFrame:
    """Measure both generators with each option of each factor; a row for each and seed.

    All are compared with `tuned` of the default adapters, whatever they learned from. Rows of
    `tuned_alone` and of mixtures show each collection without a generator.
    """
    entry = plan.entry("factorial", name)
    study = plan.study("factorial", name)
    folder = STORE / "factorial" / name
    sequences, backbone, description = study.load_frozen()
    tuned = tuned_adapters(study, sequences, backbone, description, folder / "tuned")
    bench = AblationBench(study, sequences, backbone, tuned)
    variants = list(make_variants(plan, name, bench, folder))
    tables = [rows_of_seed(bench, variants, index) for index in range(len(plan.seeds))]
    objectives = len(bench.objectives)
    return joined(tables, dataset=entry.dataset, backbone=entry.backbone, objectives=objectives)


def make_variants(
    plan: Ablations, entry: str, bench: AblationBench, folder: Path
) -> Iterator[Variant]:
    """Make the default, then each option of each factor; load from ``folder`` what is stored."""
    valid, _, _ = bench.held_out
    default = trained_generators(bench.study, GENERATORS, bench.collection, folder / DEFAULT)
    yield Variant(DEFAULT, DEFAULT, default, bench.collection)
    for factor, options in plan.factors.items():
        for option, change in options.items():
            stored = folder / f"{factor}-{option}"
            collection: Collection | None = None
            generators: dict[str, list[Generator]] = {name: default[name] for name in change.of}
            if change.train:
                study = plan.study("factorial", entry, change.train)
                if "adapters" in change.train:
                    sequences, backbone, description = study.load_frozen()
                    stem = stored / "tuned"
                    collection = tuned_adapters(study, sequences, backbone, description, stem)
                learned = collection or bench.collection
                generators = trained_generators(study, change.of, learned, stored)
            if change.sample:
                for name, models in generators.items():
                    generators[name] = [resampled(model, change.sample, valid) for model in models]
            yield Variant(factor, option, generators, collection)


def resampled(generator: Generator, change: Mapping[Any, Any], valid: FrozenEvents) -> Generator:
    """Let a trained generator sample with changed settings; choose its guidance as in training."""
    settings = generator.settings.model_dump() | dict(change)
    model = copy.copy(generator.model)  # with the same parameters
    model.settings = checked(GeneratorSettings, settings, "ablations/params.yaml: factors")
    return with_best_guidance(Generator(model, generator.description), valid)


def rows_of_seed(bench: AblationBench, variants: list[Variant], index: int) -> pd.DataFrame:
    """Measure all variants for the seed at ``index``; a row for each of their methods."""
    ways: Ways = {}
    tuned: dict[str, Tensor] = {}  # [W, P] each
    columns: dict[str, dict[str, Any]] = {}

    def add(method: str, variant: Variant, choices: dict[str, Any]) -> str:
        """Note the columns of a row; return the name under which it is measured."""
        key = f"{method} {variant.factor} {variant.option}"
        columns[key] = {
            "generator": method,
            "factor": variant.factor,
            "option": variant.option,
            **choices,
        }
        return key

    for variant in variants:
        for method, models in variant.generators.items():
            model = models[index]
            key = add(method, variant, choices_of(model))
            ways[key] = model.generate
        if variant.collection:
            start = {"start": start_of(variant.collection.description)}
            for method, way in mixed_ways(variant.collection, MIXED, index).items():
                key = add(method, variant, start)
                ways[key] = way
            key = add("tuned_alone", variant, start)
            tuned[key] = variant.collection.oracle_vectors[index]

    rows = bench.rows(ways, index, tuned=tuned).set_index("method")
    table = pd.DataFrame.from_dict(columns, orient="index")
    return table.join(rows).reset_index(drop=True)


def choices_of(generator: Generator) -> dict[str, Any]:
    """Return the columns that say how a generator was trained, and how it samples."""
    settings = generator.settings
    batches = {"diffusion": settings.batch, "task": settings.task_batch}
    losses = [loss for loss, size in batches.items() if size]
    # Only the task loss samples in training.
    trained_steps = generator.description["settings"]["sampler_steps"]
    return {
        "start": start_of(generator.description["collection"]),
        "predicts": settings.predicts,
        "latent": settings.latent or "whole",
        "loss": "both" if len(losses) > 1 else losses[0],
        "trained_steps": trained_steps if settings.task_batch else None,
        "steps": settings.sampler_steps,
        "guidance": generator.guidance,
    }


def start_of(collection: dict[str, Any]) -> str:
    """Return what the adapters of a collection with this description were tuned from."""
    return "common" if collection["settings"]["start_steps"] else "untrained"
