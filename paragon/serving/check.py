"""Check the files of an exported folder before anything is made of them.

A checksum shows damage, but whoever changes a file can compute it anew. So each type, shape and
bound is checked here, and a size in a description never decides how much memory is taken. Shapes: U
users, n items, M categories, E events, N evaluation events, O objectives, G balances, P adapter
parameters, K latent components.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any, NamedTuple, TypeVar

import numpy as np
import torch
from pydantic import AfterValidator, ConfigDict, Field
from safetensors import SafetensorError, safe_open
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from paragon.adapters.adapter import AdapterForm
from paragon.data.sequences import Sequences
from paragon.errors import ParagonError, shown
from paragon.generator.denoisers import Denoiser, TokenDenoiser
from paragon.objectives.table import check_names
from paragon.objectives.weights import check_weights
from paragon.params import (
    LONGEST_ID,
    BackboneSettings,
    Count,
    GeneratorSettings,
    Section,
    Seed,
    Share,
    checked,
)

GRAPHS = ("lightgcn", "ngcf", "pinsage")  # backbones whose graph is made of histories
MOST_LAYERS = 100  # of a network
MOST_WIDTH = 1 << 16  # of a layer
MOST_STEPS = 1_000  # of a diffusion: an adapter waits for each that is sampled
MOST_SETTINGS = 5_000  # of re-rankers
_AGAIN = "run `python -m paragon export` again"
_TYPES = {
    torch.bool: "BOOL",
    torch.int64: "I64",
    torch.float32: "F32",
    torch.float64: "F64",
}  # as safetensors calls them
S = TypeVar("S", bound=Section)


class Stored(NamedTuple):
    """A tensor as the head of a file describes it."""

    dtype: str
    shape: tuple[int, ...]

    def __str__(self) -> str:
        return f"{self.dtype} {list(self.shape)}"


def _visible(text: str) -> str:
    text.encode()  # ValueError for half a character, which no answer could hold
    return text


def _printable(text: str) -> str:
    if not text.isprintable():  # a terminal would obey it
        raise ValueError("a line break or a control character is in it")
    return text


def _distinct(values: list[str]) -> list[str]:
    if len(set(values)) < len(values):
        raise ValueError("one of them is given twice")
    return values


Text = Annotated[str, AfterValidator(_visible)]
_Id = Annotated[Text, Field(max_length=LONGEST_ID)]
_Distinct = AfterValidator(_distinct)


class _Known(Section):
    """What is used of a description; it may have more."""

    model_config = ConfigDict(extra="ignore")


class _Data(Section):
    item_ids: Annotated[list[_Id], Field(min_length=1), _Distinct]
    titles: list[Text]
    user_ids: Annotated[list[Text], Field(min_length=1), _Distinct]
    category_names: list[Text]
    group_names: list[Text]
    description: dict[str, Any]
    sha256: str


class _Backbone(_Known):
    backbone: str
    data: dict[str, Any]
    settings: BackboneSettings
    people: bool
    trained: str
    warning: Annotated[str, AfterValidator(_printable)] | None = None


class _Form(Section):
    dim: Count
    width: Count
    categories: Annotated[int, Field(ge=0)]


class _Tuning(_Known):
    objectives: list[str]
    oracles: Count


class _Collection(_Known):
    objectives: Annotated[list[str], Field(min_length=2), _Distinct]
    form: _Form
    settings: _Tuning
    backbone: str


class _Generator(_Known):
    kind: str
    seed: Seed
    floor: list[Share]
    settings: GeneratorSettings
    collection: _Collection
    guidance: Annotated[float, Field(ge=0, le=100)]


class _Setting(Section):
    source: Annotated[int, Field(ge=0)]
    temperature: Annotated[float, Field(ge=1e-6, le=1e6)]  # relevance would be 0 or infinite
    depth: Count
    weight: Share


class _Root(Section):
    format: int
    paragon: str
    parts: dict[str, str]
    settings: Annotated[list[_Setting], Field(max_length=MOST_SETTINGS)]
    sha256: str


def stored_in(stem: Path) -> dict[str, Stored]:
    """Return what the head of a file says of its tensors; ``ParagonError`` for other types.

    A file without a valid head has none: reading it will fail, and say why.
    """
    path = Path(f"{stem}.safetensors")
    try:
        with safe_open(path, "numpy") as file:
            slices = {name: file.get_slice(name) for name in file.keys()}  # noqa: SIM118
            found = {n: Stored(s.get_dtype(), tuple(s.get_shape())) for n, s in slices.items()}
    except (OSError, SafetensorError):
        return {}
    for name, tensor in found.items():
        if tensor.dtype not in _TYPES.values():
            needed = ", ".join(_TYPES.values())
            raise _wrong(path, f"`{name}` is {tensor}; one of {needed} is needed")
    return found


def check_data(stem: Path, description: dict) -> None:
    """Check the part ``sequences``."""
    names = _described(_Data, stem, description)
    n = len(names.item_ids)
    if len(names.titles) != n:
        raise _wrong(f"{stem}.json", f"titles: {len(names.titles)} found, {n} are needed")
    users = len(names.user_ids)
    found = stored_in(stem)
    events = _length(found, "items")
    expected = {
        "items": Stored("I64", (events,)),
        "times": Stored("I64", (events,)),
        "offsets": Stored("I64", (users + 1,)),
        "n_train": Stored("I64", (users,)),
        "categories": Stored("BOOL", (n + 1, len(names.category_names))),
        "groups": Stored("I64", (users,)),
    }
    for split in ("valid", "test"):
        count = _length(found, f"{split}.users")
        candidates = _length(found, f"{split}.candidates", 1)
        expected[f"{split}.users"] = Stored("I64", (count,))
        expected[f"{split}.positions"] = Stored("I64", (count,))
        expected[f"{split}.candidates"] = Stored("I64", (count, max(candidates, 1)))
    _compare(stem, found, expected)


def check_events(stem: Path, data: Sequences) -> None:
    """Check that numbers of users, items, events and groups are those of some."""
    _within(stem, "offsets", data.offsets[[0]], 0, 0)
    _within(stem, "offsets", data.offsets[[-1]], len(data.items), len(data.items))
    _within(stem, "offsets", data.lengths, 0, len(data.items))
    _within(stem, "items", data.items, 1, data.n_items)
    _within(stem, "n_train", data.n_train, 0, data.lengths)
    _within(stem, "groups", data.groups, -1, len(data.group_names) - 1)
    _within(stem, "categories", data.categories[0], 0, 0)  # of padding
    for split in ("valid", "test"):
        part = data.evaluation(split)
        _within(stem, f"{split}.users", part.users, 0, data.n_users - 1)
        _within(stem, f"{split}.positions", part.positions, 0, data.lengths[part.users] - 1)
        _within(stem, f"{split}.candidates", part.candidates, 1, data.n_items)


def check_backbone_part(
    stem: Path, description: dict, data: Sequences, kinds: Mapping[str, Callable[..., nn.Module]]
) -> BackboneSettings:
    """Check the part ``backbone``, which is one of ``kinds``, and return its settings as served."""
    about = _described(_Backbone, stem, description)
    if about.backbone not in kinds:
        raise _wrong(f"{stem}.json", f"backbone: {shown(about.backbone)} is unknown")
    settings = about.settings
    _at_most(stem, "settings.layers", settings.layers, MOST_LAYERS)
    _at_most(stem, "settings.dim", settings.dim, MOST_WIDTH)
    if not about.people and about.backbone in GRAPHS:
        # Without people there is no graph: the final embeddings were stored.
        settings = settings.model_copy(update={"layers": 0})
    with _sketching(stem):
        model = kinds[about.backbone](_without_events(data), settings)
    _compare(stem, stored_in(stem), _expected(model))
    return settings


def check_parameters(stem: Path, tensors: Mapping[str, Tensor], data: Sequences) -> None:
    """Check the numbers in a backbone that are no weights but rows of tables, or divide."""
    bounds = {"units": (1, None), "index": (0, data.n_items), "groups": (0, None)}
    if "fields.group" in tensors:
        bounds["groups"] = (0, len(tensors["fields.group"]) - 1)
    for name in bounds.keys() & tensors.keys():
        least, most = bounds[name]
        values = tensors[name].numpy()
        _within(stem, name, values, least, values.max() if most is None else most)


def check_generator(stem: Path, description: dict, data: Sequences, dim: int) -> None:
    """Check the part ``generator`` for the data and a backbone of ``dim`` numbers."""
    about = _described(_Generator, stem, description)
    settings = about.settings
    objectives = about.collection.objectives
    form = AdapterForm(**dict(about.collection.form))
    with _naming(f"{stem}.json"):
        check_names(objectives)
    categories = data.categories.shape[1]
    for key, value, allowed in (
        ("kind", about.kind, ["generator"]),
        ("collection.form.dim", form.dim, [dim]),
        ("collection.form.categories", form.categories, [0, categories]),
        ("floor: length", len(about.floor), [len(objectives)]),
        ("floor: sum below 1", sum(about.floor) < 1, [True]),
        ("collection.settings.objectives", about.collection.settings.objectives, [objectives]),
        ("collection.objectives: accuracy", "accuracy" in objectives, [True]),
    ):
        if value not in allowed:
            needed = " or ".join(map(str, allowed))
            raise _wrong(f"{stem}.json", f"{key}: {shown(value)} found, {needed} is needed")
    _at_most(stem, "settings.blocks", settings.blocks, MOST_LAYERS)
    _at_most(stem, "settings.width", settings.width, MOST_WIDTH)
    _at_most(stem, "settings.diffusion_steps", settings.diffusion_steps, MOST_STEPS)
    _at_most(stem, "settings.sampler_steps", settings.sampler_steps, settings.diffusion_steps)

    found = stored_in(stem)
    latents = form.size
    expected = {"latent.mean": Stored("F32", (form.size,)), "latent.scale": Stored("F32", ())}
    if "latent.basis" in found:
        latents = _length(found, "latent.basis")
        expected["latent.basis"] = Stored("F32", (latents, form.size))
    _compare(stem, {name: found[name] for name in expected.keys() & found.keys()}, expected)
    with _sketching(stem):
        network: nn.Module
        if settings.network == "transformer":
            if latents != form.size:
                raise ValueError("`latent.basis`: the transformer needs all components")
            network = TokenDenoiser(form, len(objectives), settings)
        else:
            network = Denoiser(latents, len(objectives), settings)
    expected |= {f"denoiser.{name}": tensor for name, tensor in _expected(network).items()}
    _compare(stem, found, expected)


def check_root(stem: Path, description: dict, data: Sequences, objectives: int) -> None:
    """Check the file of measurements and its description."""
    about = _described(_Root, stem, description)
    found = stored_in(stem)
    expected = {"popularity": Stored("I64", (data.n_items + 1,))}
    if found.keys() & {"weights", "ndcg", "diversity"}:
        balances = max(1, _length(found, "weights"))
        users = max(2, _length(found, "ndcg", 1))  # one has no interval
        expected["weights"] = Stored("F64", (balances, objectives))
        expected["ndcg"] = Stored("F32", (balances, users))
        expected["diversity"] = Stored("F64", (balances,))
    sources = 0
    if about.settings or "sources" in found:
        sources = max(1, _length(found, "sources"))
        expected["sources"] = Stored("F32", (sources, objectives))
        if not about.settings:
            raise _wrong(f"{stem}.json", "settings: none found, `sources` needs some")
    _compare(stem, found, expected)
    for number, setting in enumerate(about.settings):
        _at_most(stem, f"settings.{number}.source", setting.source, sources)


def check_measurements(
    stem: Path, tensors: Mapping[str, Tensor], objectives: Sequence[str]
) -> None:
    """Check the numbers of the measurements."""
    counts = tensors["popularity"].numpy()
    _within(stem, "popularity", counts, 0, counts.max())
    for name in ("ndcg", "diversity"):
        if name in tensors:
            values = tensors[name].numpy()
            _within(stem, name, values, 0, 1 if name == "ndcg" else values.max())
    for name in ("weights", "sources"):
        if name in tensors:
            with _naming(f"{stem}.safetensors: `{name}`"):
                check_weights(tensors[name].numpy(), objectives)


def _described(section: type[S], stem: Path, description: dict) -> S:
    """Return a description as a checked ``section``."""
    try:
        return checked(section, description, f"{stem}.json")
    except ParagonError as error:
        raise ParagonError(f"{error}; {_AGAIN}") from error


def _wrong(path: Path | str, problem: str) -> ParagonError:
    return ParagonError(f"{path}: {problem}; {_AGAIN}")


def _at_most(stem: Path, key: str, value: int, most: int) -> None:
    if value > most:
        raise _wrong(f"{stem}.json", f"{key}: {value} found, {most} at most is needed")


def _within(
    stem: Path, name: str, values: np.ndarray, least: float, most: float | np.ndarray
) -> None:
    """Check that ``least <= values <= most``."""
    outside = values[(values < least) | (values > most)]
    if len(outside):
        raise _wrong(f"{stem}.safetensors", f"`{name}`: {outside[0]} is out of range")


def _length(found: Mapping[str, Stored], name: str, axis: int = 0) -> int:
    """Return a length that the file itself decides; 0 if the tensor has it not."""
    shape = found[name].shape if name in found else ()
    return shape[axis] if axis < len(shape) else 0


def _compare(stem: Path, found: Mapping[str, Stored], expected: Mapping[str, Stored]) -> None:
    """Raise ``ParagonError`` for the first tensor that is missing, unknown or of another shape."""
    for name in sorted({*found, *expected}):
        there = found.get(name, "missing")
        needed = expected.get(name, "none")
        if there != needed:
            raise _wrong(
                f"{stem}.safetensors", f"`{name:.60}` is {there!s:.60}, {needed!s:.60} is needed"
            )


class _Undrawn(TorchFunctionMode):
    """Draw no normal numbers: there is no memory to fill, and torch would load sympy for it."""

    def __torch_function__(
        self, function: Any, types: Any, args: tuple = (), kwargs: dict | None = None
    ) -> Any:
        if getattr(function, "__name__", None) == "normal_":  # of a tensor, or of nn.init
            return [*args, *(kwargs or {}).values()][0]
        return function(*args, **(kwargs or {}))


@contextmanager
def _sketching(stem: Path) -> Iterator[None]:
    """Build modules without memory for their parameters, whatever sizes a description has."""
    problems = (ArithmeticError, AssertionError, LookupError, RuntimeError, TypeError, ValueError)
    with _naming(f"{stem}.json"), torch.device("meta"), _Undrawn():
        try:
            yield
        except problems as error:
            reason = " ".join(str(error).split())[:200]
            raise ParagonError(f"settings: {type(error).__name__}: {reason}") from error


@contextmanager
def _naming(place: str) -> Iterator[None]:
    """Begin the message of an error with the place."""
    try:
        yield
    except ParagonError as error:
        raise _wrong(place, str(error)) from error


def _expected(model: nn.Module) -> dict[str, Stored]:
    """Return type and shape of each tensor of a module."""
    state = model.state_dict()
    return {name: Stored(_TYPES[t.dtype], tuple(t.shape)) for name, t in state.items()}


def _without_events(data: Sequences) -> Sequences:
    """Keep all sizes, and no event: graphs are made of events, and take time."""
    none = np.zeros(0, dtype=np.int64)
    return replace(
        data,
        items=none,
        times=none,
        offsets=np.zeros_like(data.offsets),
        n_train=np.zeros_like(data.n_train),
    )
