"""Read params.yaml as typed, checked settings, and define where files are."""

from pathlib import Path
from typing import Annotated, Any, Literal, Self, TypeVar

import yaml
from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    ValidationError,
    model_validator,
)

from paragon.errors import ParagonError, shown
from paragon.storage import NAME, find_root

ROOT = find_root()
DATA = ROOT / "data"
ARTIFACTS = ROOT / "artifacts"
RESULTS = ROOT / "results"
CHECKPOINTS = "PARAGON_CHECKPOINTS"  # environment variable; see `Study.checkpoint`
LONGEST_ID = 256  # characters, in data and in requests


def _distinct(values: list) -> list:
    if len(set(values)) < len(values):
        raise ValueError("one of them is given twice")
    return values


def _containing(value: object, why: str) -> AfterValidator:
    def check(values: list) -> list:
        if value not in values:
            raise ValueError(f"{value} has to be among them: {why}")
        return values

    return AfterValidator(check)


Count = Annotated[int, Field(ge=1, lt=2**31)]
Rate = Annotated[float, Field(gt=0)]
Part = Annotated[float, Field(ge=0, lt=1)]
Seed = Annotated[int, Field(ge=0, lt=2**32)]
Share = Annotated[float, Field(ge=0, le=1)]
Name = Annotated[str, Field(pattern=f"^{NAME}$")]
Names = Annotated[list[Name], Field(min_length=1), AfterValidator(_distinct)]
WithAccuracy = _containing("accuracy", "what else would be recommended?")
# Sections that may differ by study or backbone.
Overridden = Literal[
    "run", "data", "backbones", "adapters", "generator", "generators", "rivals", "evaluation"
]


class Section(BaseModel):
    """Base of all sections: immutable, without unknown keys or type conversion."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True, allow_inf_nan=False)


class DataSettings(Section):
    """Filters of events, the split, and the number of negatives in each candidate list.

    The meaning of each key: :func:`paragon.data.split.prepare`.
    """

    split: Literal["leave_one_out", "global_time"]
    midnight: Annotated[float, Field(ge=-24, le=24)] | None  # clock of days, hours ahead of UTC
    min_rating: float
    k_core: Annotated[int, Field(ge=0, lt=2**31)]
    max_users: Count | None
    negatives: Count
    seed: Seed
    repeats: Literal["first"] | None = None  # null: repeats of an item by a user are refused
    ties: Literal["shuffled"] | None = None  # null: events of the same second keep the file's order


class BackboneSettings(Section):
    """Architecture and training of the backbone."""

    dim: Count
    history: Count
    layers: Count
    heads: Count
    dropout: Part
    intervals: Count  # of TiSASRec only
    epochs: Count
    patience: Count
    batch: Count
    learning_rate: Rate
    loss: Literal["softmax", "bpr_max"]
    negatives: Count | None  # `softmax`: shared by a batch, null: all items; `bpr_max`: unmet
    seed: Seed


class AdapterSettings(Section):
    """Joint tuning of adapters."""

    objectives: Annotated[list[str], Field(min_length=2), AfterValidator(_distinct), WithAccuracy]
    width: Count
    anchors: Annotated[list[float | list[float]], Field(min_length=2)]  # what the generator learns
    oracles: Count  # steps from 0 to 1: weights that are multiples of 1/oracles are evaluated
    item_side: bool  # adapters also change how much a state likes each category
    served: Annotated[int, Field(ge=2)]  # length of served lists, for diversity and novelty
    searched: Annotated[int, Field(ge=2)]  # in tuning: the list, and items that could enter it
    events: Count | None  # training events at most, null: all
    start: float | list[float]  # weights of the adapter that all others of a seed start from
    start_steps: Annotated[int, Field(ge=0)]  # of tuning it; 0: start untrained
    steps: Count
    batch: Count
    learning_rate: Rate
    checks: Count
    snapshots: Annotated[int, Field(ge=0)]  # checkpoints kept of each tuning, beside its end


class GeneratorSettings(Section):
    """One generator: its network, its training, and how it samples."""

    network: Literal["residual", "transformer"]  # `transformer`: of the released code
    predicts: Literal["clean", "velocity"]  # what the network predicts from a noisy vector
    latent: Count | None  # number of principal components, null: the full vector
    width: Annotated[int, Field(ge=4, multiple_of=2)]
    blocks: Count
    heads: Count  # of the transformer only
    dropout: Part  # of the transformer only
    diffusion_steps: Count
    steps: Count
    batch: Annotated[int, Field(ge=0)]  # collected vectors of a step, 0: no diffusion loss
    weight_limit: Rate  # of the diffusion loss, where there is little noise
    learning_rate: Rate
    ema: Share
    condition_drop: Share
    task_batch: Annotated[int, Field(ge=0)]  # weights of a step, 0: no task loss
    task_rows: Count  # training events of a step, for the task loss
    task_strength: Annotated[float, Field(ge=0)]  # what the task loss is multiplied by
    sampler_steps: Count
    # Of these, the one with the smallest task loss of validation users is taken; 1: no guidance.
    guidance: Annotated[
        list[Annotated[float, Field(ge=0, le=100)]], Field(min_length=1), AfterValidator(_distinct)
    ]


class RivalSettings(Section):
    """Training of the rivals; `retrain` uses the first four keys, end-to-end rivals the others."""

    epochs: Count
    patience: Count
    seeds: Annotated[int, Field(ge=0)]
    retrain_weights: Annotated[list[float | list[float]], Field(min_length=1)]
    end_to_end: list[str]  # those that need no collection of adapters
    weights: Count  # of a step
    rows: Count  # events of a step
    width: Count  # of the hypernetwork, like `blocks`
    blocks: Count
    learning_rate: Rate


class EvaluationSettings(Section):
    """Cutoffs k of the metrics, shares of accuracy, and resamples of users."""

    cutoffs: Annotated[list[Count], _containing(10, "the headline metrics are of ten items")]
    # Shares of the backbone's accuracy: how diverse are lists of a method that keeps this share?
    shares: Annotated[list[Annotated[float, Field(gt=0, le=1)]], Field(min_length=1)]
    # The smallest p-value of 30 methods after Holm, 30 * 2 / (resamples + 1), is below .05.
    resamples: Annotated[int, Field(ge=1200)]


class VerifySettings(Section):
    """Largest deviation from a committed metric that passes.

    It is ``absolute + relative * |committed|``.
    """

    relative: Annotated[float, Field(ge=0)]
    absolute: Annotated[float, Field(ge=0)]


def _by_study(value: object) -> object:
    if isinstance(value, list):
        raise ValueError("each study needs its dataset, as in {ml-100k: ml-100k}")
    return value


class StudiesSettings(Section):
    """Studies, each a name and its dataset, and backbones; a study is run with each of them."""

    # By study: those that `dvc repro` runs.
    datasets: Annotated[dict[Name, Name], Field(min_length=1), BeforeValidator(_by_study)]
    backbones: Names
    others: dict[Name, Name] = {}  # likewise: those that can be added

    @model_validator(mode="after")
    def _no_study_twice(self) -> Self:
        if twice := sorted(self.datasets.keys() & self.others.keys()):
            raise ValueError(f"{twice[0]} is in datasets and in others: keep one of them")
        return self

    def dataset_of(self, study: str) -> str:
        """Return the dataset of a study; one that is not listed is called like its dataset."""
        return (self.datasets | self.others).get(study, study)


class RunSettings(Section):
    """Seeds of adapters and generators, and device (``auto``: CUDA if available)."""

    seeds: Annotated[list[Seed], Field(min_length=1), AfterValidator(_distinct)]
    device: Annotated[str, Field(pattern=r"^(auto|cpu|cuda(:\d+)?)$")]


class Params(Section):
    """All sections of params.yaml."""

    studies: StudiesSettings
    run: RunSettings
    data: DataSettings
    backbones: BackboneSettings
    adapters: AdapterSettings
    generator: GeneratorSettings
    generators: dict[Name, dict[str, Any]]  # by name: what differs from `generator`
    rivals: RivalSettings
    evaluation: EvaluationSettings
    verify: VerifySettings
    overrides: dict[Name, Any] = {}  # each is checked when it is used

    def of_generator(self, name: str) -> GeneratorSettings:
        """Return the settings of the generator ``name``.

        They are the section ``generator``, with the values that ``generators`` has for this name.
        """
        content = self.generator.model_dump() | self.generators[name]
        return checked(GeneratorSettings, content, f"params.yaml: generators.{name}.")


# Sections that change no result: what is run, and what is compared.
NO_RESULT = {"studies", "verify", "overrides"}


class Overrides(Section):
    """The settings that a study or a backbone changes."""

    overrides: dict[Name, dict[Overridden, dict[str, Any]]]


S = TypeVar("S", bound=Section)


def load_params(
    path: Path | None = None,
    overrides: dict | None = None,
    study: str | None = None,
    backbone: str | None = None,
) -> Params:
    """Read params.yaml (or ``path``) and check it.

    Values are replaced in this order: by the overrides in the file of ``study``, by those of
    ``backbone``, and by ``overrides``.  Raises ``ParagonError`` for the first wrong key.
    """
    path = path or ROOT / "params.yaml"
    content = read_settings(path)
    params = checked(Params, content, path.name)
    in_file: dict = params.overrides
    for name in (study, backbone):
        if name:
            entry = {name: in_file.get(name, {})}
            changes: dict = checked(Overrides, {"overrides": entry}, path.name).overrides[name]
            content = merge_sections(content, changes)
            params = checked(Params, content, f"{path.name}: overrides.{name}.")
    content = merge_sections(content, overrides or {})
    return checked(Params, content, path.name)


def merge_sections(*changes: dict[str, Any]) -> dict[str, Any]:
    """Merge changes into one mapping of sections, key by key; the last change wins."""
    merged: dict[str, Any] = {}
    for change in changes:
        for section, values in change.items():
            before = merged.get(section)
            if isinstance(values, dict) and isinstance(before, dict):
                merged[section] = {**before, **values}
            else:
                merged[section] = values
    return merged


def read_settings(path: Path) -> dict:
    """Read a YAML file of settings.

    Raises ``ParagonError`` if it cannot be read, is not valid YAML, or is no mapping.
    """
    try:
        content = yaml.load(path.read_text(encoding="utf-8"), Loader=_Loader)
    except OSError as error:
        raise ParagonError(f"{path}: {error.strerror}; run from a checkout") from error
    except (yaml.YAMLError, RecursionError, ValueError) as error:  # ValueError: no UTF-8, a date
        reason = " ".join(str(error).split())
        raise ParagonError(f"{path}: not valid YAML: {reason}") from error
    if not isinstance(content, dict):
        raise ParagonError(f"{path}: needs a mapping of sections, found {type(content).__name__}")
    return content


class _Loader(yaml.SafeLoader):
    """Refuse a repeated key, where YAML would keep the last one."""

    def compose_mapping_node(self, anchor: Any) -> Any:
        node = super().compose_mapping_node(anchor)
        names: list = []
        for key, _ in node.value:
            if key.value in names and key.tag != "tag:yaml.org,2002:merge":
                problem = f"the key {key.value!r} is there twice"
                raise yaml.MarkedYAMLError(problem=problem, problem_mark=key.start_mark)
            names.append(key.value)
        return node


def checked(section: type[S], content: dict, where: str) -> S:
    """Return ``content`` as a checked ``section``.

    Raises a ``ParagonError`` that names the first wrong key.  ``where`` says in the message where
    the content stands; if it ends with a dot, the key follows at once.
    """
    try:
        return section.model_validate(content)
    except ValidationError as error:
        # A misspelt key is also a missing key: name the misspelt one.
        first = min(error.errors(), key=lambda e: e["type"] != "extra_forbidden")
        key = ".".join(str(part) for part in first["loc"])
        found = "" if first["type"] == "missing" else f", found {shown(first['input'])}"
        place = f"{where}{key}" if where.endswith(".") else f"{where}: {key}"
        reason = first["msg"].removeprefix("Value error, ")
        raise ParagonError(f"{place}: {reason}{found}") from error
