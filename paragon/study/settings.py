"""params.yaml as a whole: checks across its sections, and which studies it has."""

from __future__ import annotations

import math
from collections.abc import Iterator
from io import StringIO
from pathlib import Path

from ruamel.yaml import YAML

from paragon.backbones import BACKBONES
from paragon.errors import ParagonError
from paragon.evaluation.methods import METHODS, methods_of
from paragon.objectives.table import check_names
from paragon.objectives.weights import simplex_lattice, simplex_weights
from paragon.params import ROOT, Params, load_params
from paragon.storage import check_name, write_text

# What an entry of `special` in params.yaml holds, since each stage depends on its own part.
SPECIAL = (
    *("run", "data", "backbones", "adapters", "generator", "published", "rivals"),
    "evaluation",
)
MOST_ORACLES = 1_000  # evaluation weights; all their adapters are tuned at once


def check_settings(params: Params, where: str) -> None:
    """Refuse, before anything is trained, what would fail hours later.

    What one section says alone is checked when it is read; here is what several say
    together.  ``where`` names the file and the study in the message.
    """
    check_names(params.adapters.objectives)
    for key, problem in _problems(params):
        raise ParagonError(f"{where}: {key}: {problem}")


def _problems(params: Params) -> Iterator[tuple[str, str]]:
    """Key and problem, the first one first."""
    a, g, b = params.adapters, params.generator, params.backbones
    if a.snapshots >= a.checks:
        yield (
            "adapters.snapshots",
            f"{a.snapshots} have to be fewer than the {a.checks} checks (adapters.checks), the "
            "last of which is the result",
        )
    if a.checks > a.steps:
        yield "adapters.checks", f"{a.checks} of them in {a.steps} steps (adapters.steps)"
    if b.dim % b.heads:
        yield "backbones.heads", f"{b.heads} does not divide backbones.dim {b.dim}"
    if g.width % g.heads:
        yield "generator.heads", f"{g.heads} does not divide generator.width {g.width}"
    if params.published.width % params.published.heads:
        yield (
            "published.heads",
            f"{params.published.heads} does not divide published.width {params.published.width}",
        )
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
            for name in (dataset, backbone):
                missing = sorted(set(SPECIAL) - set(params.special.get(name, {})))
                if missing:
                    raise ParagonError(
                        f"params.yaml: special.{name}: {missing[0]} is missing; an entry has all "
                        f"of {', '.join(SPECIAL)} ({{}} where nothing differs); "
                        f"`python -m paragon add {name}` writes one"
                    )
            own = load_params(path, dataset=dataset, backbone=backbone)
            check_settings(own, f"params.yaml, study {dataset} with {backbone}")


def add(name: str, root: Path = ROOT) -> str:
    """Enter a dataset or a backbone in params.yaml; returns what was done, in words.

    Comments and layout of the file stay.  Raises ``ParagonError`` if ``name`` is
    neither a backbone nor a folder of ``data/``, or both, and for a file that is not valid.
    """
    check_name(name, "dataset or backbone")
    path = root / "params.yaml"
    load_params(path)
    fetched = (root / "data" / name).is_dir()
    if name in BACKBONES:
        if fetched:
            raise ParagonError(
                f"{name!r} is a backbone and there is a dataset data/{name}: which is meant cannot "
                "be told; fetch the dataset under another name and remove that folder"
            )
        kind = "backbones"
    elif fetched:
        kind = "datasets"
    else:
        raise ParagonError(
            f"{name!r} is no backbone ({', '.join(BACKBONES)}) and there is no data/{name}: "
            f"fetch a dataset first, with `python -m paragon fetch {name}`, or with `--from DIR`"
        )
    yaml = YAML()
    yaml.preserve_quotes, yaml.width = True, 4096
    yaml.representer.add_representer(
        type(None), lambda r, _: r.represent_scalar("tag:yaml.org,2002:null", "null")
    )
    content = yaml.load(path.read_text(encoding="utf-8"))
    if name in content["studies"][kind]:
        return f"params.yaml: {kind} has {name} already"
    content["studies"][kind].append(name)
    special = content["special"]
    same = [entry for entry in special.values() if not any(entry.values())]
    special.setdefault(name, same[0] if same else {section: {} for section in SPECIAL})
    text = StringIO()
    yaml.dump(content, text)
    write_text(path, text.getvalue())
    return f"params.yaml: {name} added to {kind}"


def studies_of(name: str, root: Path = ROOT) -> list[str]:
    """The stages ``evaluation@...`` of all studies in params.yaml with a dataset or backbone."""
    check_name(name, "dataset or backbone")
    params = load_params(root / "params.yaml")
    found = [
        f"evaluation@{dataset}-{backbone}"
        for dataset in params.studies.datasets
        for backbone in params.studies.backbones
        if name in (dataset, backbone)
    ]
    if not found:
        raise ParagonError(f"params.yaml: no study has {name!r}: `python -m paragon add {name}`")
    return found
