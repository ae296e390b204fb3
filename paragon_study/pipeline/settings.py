"""Check settings of params.yaml that depend on each other."""

import math
import sys
from collections.abc import Iterator
from itertools import chain
from pathlib import Path

import torch

from paragon.backbones import BACKBONES
from paragon.data.registry import REGISTRY
from paragon.errors import ParagonError
from paragon.objectives.table import check_names
from paragon.objectives.weights import simplex_lattice, simplex_weights
from paragon.params import ROOT, Params, load_params
from paragon.rivals.end_to_end import END_TO_END

MOST_ORACLES = 1_000  # limit on evaluation weights; their adapters are tuned together


def check_all(root: Path = ROOT, opened: str | None = None) -> None:
    """Check params.yaml for all its studies, and raise ``ParagonError`` for the first mistake.

    If a study is ``opened``, only its mistakes are errors; those of others are printed as warnings.
    """
    params = load_params(root / "params.yaml")
    for backbone in params.studies.backbones:
        if backbone not in BACKBONES:
            problem = f"{backbone!r} is unknown; known: {', '.join(BACKBONES)}"
            raise ParagonError(f"params.yaml: studies.backbones: {problem}")
    changed = {name for name, entry in params.overrides.items() if entry}
    unknown = changed - {*params.studies.datasets, *params.studies.others, *BACKBONES}
    if unknown and opened is None:
        problem = "is no study of `studies` and no backbone, so it would change nothing"
        raise ParagonError(f"params.yaml: overrides.{min(unknown)} {problem}")
    for study in params.studies.datasets:
        try:
            _check_study(study, params, root)
        except ParagonError as error:
            if opened in (None, study):
                raise
            print(f"WARNING: {error}", file=sys.stderr)


def _check_study(study: str, params: Params, root: Path) -> None:
    """Check a listed study with every backbone."""
    check_dataset_of(study, params, root)
    for backbone in params.studies.backbones:
        for name in {study, backbone} - set(params.overrides):  # DVC needs an entry
            problem = f"is missing; `python -m paragon add {name}` writes it"
            raise ParagonError(f"params.yaml: overrides.{name} {problem}")
        own = load_params(root / "params.yaml", study=study, backbone=backbone)
        check_settings(own, f"params.yaml, study {study} with {backbone}")


def check_dataset_of(study: str, params: Params, root: Path = ROOT) -> None:
    """Raise ``ParagonError`` if a study is named like something else, or its dataset unknown."""
    dataset = params.studies.dataset_of(study)
    known = [*REGISTRY, *sorted(path.name for path in (root / "data").glob("[!.]*"))]
    problem = ""
    if study in BACKBONES:
        problem = f"{study!r} is the name of a backbone; give the study another one"
    elif study != dataset and study in REGISTRY:
        problem = f"{study!r} is the name of a dataset; give the study another one"
    elif study != dataset and dataset not in known:
        problem = f"the dataset {dataset!r} is unknown; known: {', '.join(dict.fromkeys(known))}"
    if problem:
        listed = "datasets" if study in params.studies.datasets else "others"
        raise ParagonError(f"params.yaml: studies.{listed}.{study}: {problem}")


def check_settings(params: Params, where: str) -> None:
    """Refuse invalid settings before training starts; ``where`` names the study in the error."""
    check_names(params.adapters.objectives)
    for key, problem in chain(_size_problems(params), _weight_problems(params)):
        raise ParagonError(f"{where}: {key}: {problem}")


def _size_problems(params: Params) -> Iterator[tuple[str, str]]:
    """Yield key and problem of sizes that do not fit together."""
    a = params.adapters
    most = params.data.negatives
    seeds = params.run.seeds
    for key, number, most_of, limit in (
        ("adapters.snapshots", a.snapshots, "adapters.checks, less the result", a.checks - 1),
        ("adapters.checks", a.checks, "adapters.steps", a.steps),
        ("evaluation.cutoffs", max(params.evaluation.cutoffs), "candidates of a list", 1 + most),
        ("rivals.seeds", params.rivals.seeds, "run.seeds", len(seeds)),
    ):
        if number > limit:
            yield key, f"{number} is more than {limit} ({most_of})"
    if not params.rivals.seeds:
        yield "rivals.seeds", "0 is less than 1: notebook 05 shows what retraining takes"
    if (dim := params.backbones.dim) % (heads := params.backbones.heads):
        yield "backbones.heads", f"{heads} does not divide backbones.dim {dim}"
    for name in params.generators:
        g = params.of_generator(name)
        where = f"generators.{name}"
        if g.sampler_steps > g.diffusion_steps:
            problem = f"{g.sampler_steps} is more than {g.diffusion_steps} (diffusion_steps)"
            yield f"{where}.sampler_steps", problem
        if g.network == "transformer" and g.width % g.heads:
            yield f"{where}.heads", f"{g.heads} does not divide width {g.width}"
        if g.network == "transformer" and g.latent is not None:
            yield f"{where}.latent", "a transformer works on the whole vector: null is needed"
        if not (g.batch or g.task_batch):
            yield f"{where}.batch", "batch and task_batch are 0: nothing would be learned"
    for name in ("paragon", "generated"):
        if name not in params.generators:
            yield "generators", f"{name} is missing; what the study compares starts from it"
    names = params.rivals.end_to_end
    known = list(END_TO_END)
    for name in names:
        if name not in known:
            yield "rivals.end_to_end", f"{name!r} is unknown; known: {', '.join(known)}"
        if names.count(name) > 1:
            yield "rivals.end_to_end", f"{name!r} is there twice"


def _weight_problems(params: Params) -> Iterator[tuple[str, str]]:
    """Yield key and problem of preference weights that do not fit together."""
    a = params.adapters
    names = params.adapters.objectives
    weights = {}
    count = math.comb(a.oracles + len(names) - 1, len(names) - 1)
    if count > MOST_ORACLES:
        problem = f"{a.oracles} make {count:,} evaluation weights, {MOST_ORACLES:,} are the limit"
        yield "adapters.oracles", problem
    try:
        simplex_weights([a.start], names)
    except ParagonError as error:
        yield "adapters.start", str(error)
    lists = {"adapters.anchors": a.anchors, "rivals.retrain_weights": params.rivals.retrain_weights}
    for key, given in lists.items():
        try:
            weights[key] = simplex_weights(given, names)
        except ParagonError as error:
            yield key, str(error)
        if len(weights[key].unique(dim=0)) < len(given):
            yield key, "weights are given twice"
    anchors, retrained = weights.values()
    if torch.linalg.matrix_rank(anchors) < len(names):
        yield "adapters.anchors", "they lie on a line, or an objective has the same weight in all"
    lattice = simplex_lattice(len(names), a.oracles).numpy().round(6).tolist()
    for w in retrained.numpy().round(6).tolist():
        if w not in lattice:
            multiples = f"multiples of 1/{a.oracles} (adapters.oracles)"
            yield "rivals.retrain_weights", f"{w} is none of the evaluation weights, {multiples}"
