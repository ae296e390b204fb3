"""Checks of what several sections of params.yaml say together."""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path

from paragon.backbones import BACKBONES
from paragon.errors import ParagonError
from paragon.evaluation.methods import METHODS, methods_of
from paragon.objectives.table import check_names
from paragon.objectives.weights import simplex_lattice, simplex_weights
from paragon.params import ROOT, Params, load_params

MOST_ORACLES = 1_000  # evaluation weights; all their adapters are tuned at once


def check_settings(params: Params, where: str) -> None:
    """Refuse, before anything is trained, what would fail hours later.

    ``where`` names the file and the study in the message.
    """
    check_names(params.adapters.objectives)
    for key, problem in _problems(params):
        raise ParagonError(f"{where}: {key}: {problem}")


def _problems(params: Params) -> Iterator[tuple[str, str]]:
    """Key and problem, the first one first."""
    a, g = params.adapters, params.generator
    if a.snapshots >= a.checks:
        yield (
            "adapters.snapshots",
            f"{a.snapshots} have to be fewer than the {a.checks} checks (adapters.checks), the "
            "last of which is the result",
        )
    if a.checks > a.steps:
        yield "adapters.checks", f"{a.checks} of them in {a.steps} steps (adapters.steps)"
    for section, size in (("backbones", "dim"), ("generator", "width"), ("published", "width")):
        own = getattr(params, section)
        if (whole := getattr(own, size)) % own.heads:
            yield f"{section}.heads", f"{own.heads} does not divide {section}.{size} {whole}"
    if g.sampler_steps > g.diffusion_steps:
        yield (
            "generator.sampler_steps",
            f"{g.sampler_steps} are more than the {g.diffusion_steps} diffusion steps",
        )
    if a.negatives > params.data.negatives:
        yield (
            "adapters.negatives",
            f"{a.negatives} are more than the stored candidates (data.negatives: "
            f"{params.data.negatives})",
        )
    if max(params.evaluation.cutoffs) > 1 + params.data.negatives:
        yield (
            "evaluation.cutoffs",
            f"{max(params.evaluation.cutoffs)} is more than the {1 + params.data.negatives} "
            "candidates of a list (data.negatives and the target)",
        )
    known = [name for name in methods_of("end_to_end") if METHODS[name].model is not None]
    for name in params.rivals.end_to_end:
        if name not in known:
            yield "rivals.end_to_end", f"{name!r} is unknown; known: {', '.join(known)}"
        if params.rivals.end_to_end.count(name) > 1:
            yield "rivals.end_to_end", f"{name!r} is there twice"
    for section in ("rivals", "published"):
        if (count := getattr(params, section).seeds) > len(params.run.seeds):
            yield f"{section}.seeds", f"{count} are more than the {len(params.run.seeds)} run.seeds"
    yield from _weight_problems(params)


def _weight_problems(params: Params) -> Iterator[tuple[str, str]]:
    """The same of everything that names preference weights."""
    a, names = params.adapters, params.adapters.objectives
    count = math.comb(a.oracles + len(names) - 1, len(names) - 1)
    if count > MOST_ORACLES:
        yield (
            "adapters.oracles",
            f"{a.oracles} make {count:,} evaluation weights, each with an adapter of its own; "
            f"{MOST_ORACLES:,} are the limit",
        )
    try:
        anchors = simplex_weights(key := a.anchors, names)
        retrained = simplex_weights(key := params.rivals.retrain_weights, names)
    except ParagonError as error:
        name = "adapters.anchors" if key is a.anchors else "rivals.retrain_weights"
        yield name, str(error)
        return
    if len(anchors.unique(dim=0)) < len(anchors):
        yield "adapters.anchors", "an anchor is given twice"
    if any(len(column.unique()) == 1 for column in anchors.T):
        yield "adapters.anchors", "an objective has the same weight in all of them"
    grid = simplex_lattice(len(names), a.oracles)
    known = {tuple(w) for w in grid.numpy().round(6).tolist()}
    if len(retrained.unique(dim=0)) < len(retrained):
        yield "rivals.retrain_weights", "weights are given twice"
    for w in retrained.numpy().round(6).tolist():
        if tuple(w) not in known:
            yield (
                "rivals.retrain_weights",
                f"{w} is none of the evaluation weights, multiples of 1/{a.oracles} "
                "(adapters.oracles)",
            )
    first = [round(w, 6) for w in anchors[:, 0].double().tolist()]
    for chosen in params.evaluation.few_anchors:
        if len(set(chosen)) < len(chosen):
            yield "evaluation.few_anchors", "an anchor is given twice"
        for weight in chosen:
            if round(weight, 6) not in first:
                yield "evaluation.few_anchors", f"no anchor has the first weight {weight:g}"


def check_all(root: Path = ROOT) -> None:
    """Check params.yaml for every study that it names."""
    path = root / "params.yaml"
    params = load_params(path)
    for dataset in params.studies.datasets:
        if dataset in BACKBONES:
            raise ParagonError(
                f"params.yaml: studies.datasets: {dataset!r} is the name of a backbone; fetch the "
                "dataset under another name"
            )
        for backbone in params.studies.backbones:
            if backbone not in BACKBONES:
                raise ParagonError(
                    f"params.yaml: studies.backbones: {backbone!r} is unknown; known: "
                    f"{', '.join(BACKBONES)}"
                )
            for name in {dataset, backbone} - set(params.overrides):  # DVC needs an entry
                raise ParagonError(
                    f"params.yaml: overrides.{name} is missing, at least {{}}; "
                    f"`python -m paragon add {name}` writes it"
                )
            own = load_params(path, dataset=dataset, backbone=backbone)
            check_settings(own, f"params.yaml, study {dataset} with {backbone}")
