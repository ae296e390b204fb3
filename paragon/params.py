"""params.yaml as typed, checked settings, and where files are.

A misspelt key or a wrong type is an error that names the key; nothing is
guessed.  Paths resolve from the root of the repository, so that a notebook
finds them from whatever folder it is started in.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

from paragon.errors import ParagonError
from paragon.storage import NAME

ROOT = Path(os.environ.get("PARAGON_ROOT", Path(__file__).resolve().parent.parent))
DATA, ARTIFACTS, RESULTS = ROOT / "data", ROOT / "artifacts", ROOT / "results"
# Beside their plan, not in results/: the study's stage `compare` depends on all of that folder.
ABLATIONS = ROOT / "ablations" / "results"

MOST_VALUES = 100_000  # in params.yaml; a few aliases can stand for billions

Count = Annotated[int, Field(ge=1)]
Rate = Annotated[float, Field(gt=0)]
Part = Annotated[float, Field(ge=0, lt=1)]
Seed = Annotated[int, Field(ge=0, lt=2**32)]
Share = Annotated[float, Field(ge=0, le=1)]
Name = Annotated[str, Field(pattern=f"^{NAME}$")]


class Section(BaseModel):
    """Base of all sections: no unknown keys, no silent conversion, no change afterwards."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True, allow_inf_nan=False)


class DataSettings(Section):
    """Which events count, how they are split, and how many negatives a list of candidates has.

    ``midnight``: `global_time` cuts in whole days, of a clock this many hours ahead of UTC."""

    split: Literal["leave_one_out", "global_time"]
    midnight: float | None
    min_rating: float
    k_core: Annotated[int, Field(ge=0)]
    max_users: Count | None
    negatives: Count
    seed: Seed


class BackboneSettings(Section):
    """The recommender that will be frozen, and its training; ``intervals`` is TiSASRec's alone."""

    dim: Count
    history: Count
    layers: Count
    heads: Count
    dropout: Part
    intervals: Count
    epochs: Count
    patience: Count
    batch: Count
    learning_rate: Rate
    negatives: Count
    seed: Seed


class AdapterSettings(Section):
    """Joint tuning; ``events``: the largest number of training events, null for all.

    ``anchors``: weights that the generator learns from, as vectors or, of two objectives, the
    first weight; ``oracles``: the evaluation weights are the multiples of 1/oracles."""

    objectives: Annotated[list[str], Field(min_length=2)]
    width: Count
    anchors: Annotated[list[float | list[float]], Field(min_length=2)]
    oracles: Count
    events: Count | None
    steps: Count
    batch: Count
    negatives: Count
    learning_rate: Rate
    checks: Count
    snapshots: Count

    @field_validator("objectives")
    @classmethod
    def _with_accuracy(cls, names: list[str]) -> list[str]:
        if len(set(names)) < len(names):
            raise ValueError("an objective is named twice")
        if "accuracy" not in names:
            raise ValueError("accuracy has to be among them: what else would be recommended?")
        return names


class GeneratorSettings(Section):
    """The generator: latent space, denoiser, noise, training, sampling.

    ``latent``: principal components, null for the full vector; ``token``: numbers of a
    transformer's token, null for a residual MLP on the whole."""

    latent: Count | None
    token: Count | None
    conditioning: Literal[
        "add_once", "add_every_block", "attention_pooled", "cross_attention", "adaptive_norm"
    ]
    heads: Count
    width: Count
    blocks: Count
    diffusion_steps: Count
    steps: Count
    batch: Count
    learning_rate: Rate
    ema: Share
    condition_drop: Share
    behaviour_batch: Annotated[int, Field(ge=0)]
    behaviour_rows: Count
    behaviour_strength: Annotated[float, Field(ge=0)]
    sampler_steps: Count
    guidance: Annotated[float, Field(ge=0, le=100)]


class RivalSettings(Section):
    """`retrain`: its weights, the number of ``seeds``, and the largest number of ``epochs``.

    ``end_to_end``: rivals that need no collection.  Each of their steps has this number of
    ``weights`` and of training events (``rows``); ``width``, ``blocks``: of the hypernetwork."""

    epochs: Count
    patience: Count
    seeds: Count
    retrain_weights: Annotated[list[float | list[float]], Field(min_length=1)]
    end_to_end: list[str]
    weights: Count
    rows: Count
    width: Count
    blocks: Count
    learning_rate: Rate


class EvaluationSettings(Section):
    """The cutoffs k of the metrics; how often the test users are resampled for intervals.

    The smallest p-value is 2 / (resamples + 1), before Holm's correction.  ``few_anchors``:
    subsets of the anchors, by their first weights, that mixtures are tried on as well."""

    cutoffs: Annotated[list[Count], Field(min_length=1)]
    resamples: Annotated[int, Field(ge=100)]
    few_anchors: list[Annotated[list[float], Field(min_length=3)]]

    @field_validator("cutoffs")
    @classmethod
    def _has_the_headline(cls, cutoffs: list[int]) -> list[int]:
        if 10 not in cutoffs:
            raise ValueError("10 has to be among them: the headline metrics are those of ten items")
        return cutoffs


class LlmSettings(Section):
    """The row `llm`: how many titles of the history and how many candidates it is shown.

    ``requests``: the limit of one run, retries included; ``concurrency``: how many at a time;
    ``timeout`` in seconds; ``temperature``: null leaves it to the server."""

    enabled: bool
    history: Count
    candidates: Annotated[int, Field(ge=2)]
    requests: Count
    concurrency: Count
    timeout: Rate
    retries: Annotated[int, Field(ge=0)]
    temperature: Annotated[float, Field(ge=0)] | None
    seed: Seed


class VerifySettings(Section):
    """How far a metric may lie from the committed one: ``absolute + relative * |committed|``."""

    relative: Annotated[float, Field(ge=0)]
    absolute: Annotated[float, Field(ge=0)]


class StudiesSettings(Section):
    """Which studies there are: every dataset with every backbone."""

    datasets: Annotated[list[Name], Field(min_length=1)]
    backbones: Annotated[list[Name], Field(min_length=1)]


class RunSettings(Section):
    """Random ``seeds`` of adapters and generators, CPU ``threads``, and the ``device``.

    ``auto`` is a CUDA GPU if there is one, else the CPU."""

    seeds: Annotated[list[Seed], Field(min_length=1)]
    threads: Count
    device: Annotated[str, Field(pattern=r"^(auto|cpu|cuda(:\d+)?)$")]

    @field_validator("seeds")
    @classmethod
    def _distinct(cls, seeds: list[int]) -> list[int]:
        if len(set(seeds)) < len(seeds):
            raise ValueError("a seed is given twice")
        return seeds


class Params(Section):
    """The whole of params.yaml."""

    studies: StudiesSettings
    run: RunSettings
    data: DataSettings
    backbones: BackboneSettings
    adapters: AdapterSettings
    generator: GeneratorSettings
    rivals: RivalSettings
    evaluation: EvaluationSettings
    llm: LlmSettings
    verify: VerifySettings
    special: dict[Name, dict[str, dict[str, Any]]] = {}


S = TypeVar("S", bound=Section)


def stored(section: type[S], values: dict, where: str) -> S:
    """Settings read back from a stored description; other versions may have had other keys."""
    try:
        return section.model_validate(values)
    except ValidationError as error:
        key = ".".join(str(part) for part in error.errors()[0]["loc"])
        raise ParagonError(
            f"{where}: settings.{key}: {error.errors()[0]['msg']}; "
            "made by another version of the package, run its stage again"
        ) from error


def load_params(
    path: Path | None = None,
    overrides: dict | None = None,
    dataset: str | None = None,
    backbone: str | None = None,
) -> Params:
    """Read and check params.yaml.

    What ``special`` says of the ``dataset`` and then of the ``backbone`` wins over
    the sections, and ``overrides`` {section: {key: value}} win over both.
    """
    path = path or ROOT / "params.yaml"
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise ParagonError(f"{path}: not found; run from a checkout of the repository") from error
    except yaml.YAMLError as error:
        raise ParagonError(f"{path}: not valid YAML: {' '.join(str(error).split())}") from error
    if not isinstance(content, dict):
        raise ParagonError(
            f"{path}: a mapping of sections is needed, found {type(content).__name__}"
        )
    if _size(content) > MOST_VALUES:
        raise ParagonError(
            f"{path}: more than {MOST_VALUES:,} values; aliases that repeat aliases?"
        )
    params = _checked(content, path.name)
    changes = [(f"special.{n}.", params.special.get(n, {})) for n in (dataset, backbone) if n]
    for where, change in [*changes, ("", overrides or {})]:
        for section, values in change.items():
            merge = isinstance(values, dict) and isinstance(content.get(section), dict)
            content[section] = {**content[section], **values} if merge else values
        params = _checked(content, f"{path.name}: {where}" if where else path.name)
    return params


def _size(content: object) -> int:
    """How many values there are, aliases written out; counting ends beyond ``MOST_VALUES``."""
    waiting, count = [content], 0
    while waiting and count <= MOST_VALUES:
        value = waiting.pop()
        count += 1
        if isinstance(value, dict | list):
            waiting += value.values() if isinstance(value, dict) else value
    return count


def _checked(content: dict, where: str) -> Params:
    """``content`` as parameters, or an error that names the first key that is wrong."""
    try:
        return Params.model_validate(content)
    except ValidationError as error:
        # A misspelt key is also a missing one: name what the person wrote.
        first = min(error.errors(), key=lambda e: e["type"] != "extra_forbidden")
        key = ".".join(str(part) for part in first["loc"])
        found = "" if first["type"] == "missing" else f", found {first['input']!r}"
        more = f" (and {error.error_count() - 1} more)" if error.error_count() > 1 else ""
        place = f"{where}{key}" if where.endswith(".") else f"{where}: {key}"
        raise ParagonError(f"{place}: {first['msg']}{found}{more}") from error
