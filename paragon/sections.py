"""What params.yaml may say: one class a section, typed and checked."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator

from paragon.storage import NAME

Count = Annotated[int, Field(ge=1, lt=2**31)]
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
    midnight: Annotated[float, Field(ge=-24, le=24)] | None
    min_rating: float
    k_core: Annotated[int, Field(ge=0, lt=2**31)]
    max_users: Count | None
    negatives: Count
    seed: Seed


class BackboneSettings(Section):
    """The recommender that will be frozen, and its training; ``intervals`` is TiSASRec's alone.

    ``loss``: with `softmax` the events of a batch share their ``negatives``, null for the whole
    catalogue; with `bpr_max` they are drawn for each event among what its user has not met."""

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
    loss: Literal["softmax", "bpr_max"]
    negatives: Count | None
    seed: Seed


class AdapterSettings(Section):
    """Joint tuning; ``events``: the largest number of training events, null for all.

    ``item_side``: whether an adapter also says how much a state likes each category; ``served``:
    the length of the lists that diversity and novelty judge, the best of the whole catalogue, of
    the first ``served_rows`` events of a batch.

    ``anchors``: weights that the generator learns from, as vectors or, of two objectives, the
    first weight; ``oracles``: the evaluation weights are the multiples of 1/oracles."""

    objectives: Annotated[list[str], Field(min_length=2)]
    width: Count
    anchors: Annotated[list[float | list[float]], Field(min_length=2)]
    oracles: Count
    item_side: bool
    served: Annotated[int, Field(ge=2)]
    served_rows: Count
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


class PublishedSettings(Section):
    """The generator as published, `paragon`: a transformer over parameter tokens, and DDPM.

    ``seeds``: for the first of the seeds, 0 leaves it out.  Training ends after ``steps``, or
    after ``patience`` checks (one every ``check`` steps) without a lower task loss on validation
    events; the scale of ``guidance`` is chosen there among those given."""

    seeds: Annotated[int, Field(ge=0)]
    width: Count
    heads: Count
    blocks: Count
    dropout: Part
    diffusion_steps: Count
    steps: Count
    check: Count
    patience: Count
    batch: Count
    learning_rate: Rate
    ema: Share
    condition_drop: Share
    guidance: Annotated[list[Annotated[float, Field(ge=0, le=100)]], Field(min_length=1)]


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


class VerifySettings(Section):
    """How far a metric may lie from the committed one: ``absolute + relative * |committed|``."""

    relative: Annotated[float, Field(ge=0)]
    absolute: Annotated[float, Field(ge=0)]


class StudiesSettings(Section):
    """Which studies there are: every dataset with every backbone."""

    datasets: Annotated[list[Name], Field(min_length=1)]
    backbones: Annotated[list[Name], Field(min_length=1)]

    @field_validator("datasets", "backbones")
    @classmethod
    def _distinct(cls, names: list[str]) -> list[str]:
        if len(set(names)) < len(names):
            raise ValueError("a name is given twice")
        return names


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
