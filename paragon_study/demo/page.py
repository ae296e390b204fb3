"""The demo page, one HTML file, and its bundle: the tensors that it needs of a study.

Shapes: N events, n items, d numbers of a state, M categories, P parameters, W evaluation weights,
O objectives, D settings of the dials.
"""

import base64
import json
import re
from dataclasses import dataclass
from functools import cached_property, lru_cache
from html import escape
from importlib import resources
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from jinja2 import Environment, StrictUndefined
from safetensors.torch import save
from torch import Tensor

from paragon.adapters import mixtures
from paragon.adapters.adapter import Adapter, item_table
from paragon.backbones import BACKBONES, Backbone
from paragon.data.registry import REGISTRY
from paragon.data.sequences import Sequences
from paragon.errors import ParagonError
from paragon.evaluation.methods import Trained
from paragon.evaluation.protocol import TestSet
from paragon.generator.denoisers import Denoiser, sinusoidal
from paragon.generator.generator import Generator, generator_of
from paragon.metrics.lists import TOP, ranks_in
from paragon.metrics.ranking import top_k
from paragon.objectives.table import OBJECTIVES
from paragon.objectives.weights import simplex_lattice
from paragon.reranking import settings as reranking
from paragon.reranking.rules import RERANKERS, Setting
from paragon.rivals.end_to_end import biased_scores
from paragon.storage import loading
from paragon_study.report.style import look, metric_label

STEPS = {2: 100, 3: 20}  # by the number of objectives: dials have multiples of 1 / STEPS
MOST_BYTES = 8 * 1000 * 1000
METHODS = {
    "generated": "Scored through an adapter that is generated for these weights, here and now.",
    "generated_xquad": "A generated adapter's list, or the backbone's, re-ranked by xQuAD.",
    "xquad": "The backbone's list, re-ranked: an item gains by categories that are still missing.",
    "mmr": "The backbone's list, re-ranked: an item gains by its distance to those above it.",
    "category_bias": "The backbone's scores, plus a tuned number for each category of the item.",
    "backbone": "The recommender as it was trained, for accuracy. It does not use the weights.",
}
RERANKED = {"xquad": "xquad", "mmr": "mmr", "generated_xquad": "xquad"}  # method: rule
SCRIPTS = ("tensors", "generator", "adapter", "rivals", "recommender", "front", "page")
# Fields of the data's description that fix the numbering of items and events.
_DATA = ("dataset", "fingerprint", "split", "midnight", "min_rating", "k_core", "max_users")
_DATA_IF_SET = ("repeats", "ties")


@dataclass(frozen=True)
class Bundle:
    """The tensors that the page needs of a study, and their description.

    The tensors are those of :func:`study_tensors`, and for each setting of the dials:

    - ``rerank.NAME [D, 4]``: source, temperature, depth and weight of a re-ranker;
    - ``front.NAME [D, 2 O]``: means of the objectives' metrics, then their standard errors.
    """

    tensors: dict[str, Tensor]
    description: dict

    @property
    def objectives(self) -> list[str]:
        """The objectives, accuracy and diversity first."""
        return self.description["generator"]["collection"]["objectives"]

    @property
    def steps(self) -> int:
        """The number of steps of a dial from 0 to 1."""
        return STEPS[len(self.objectives)]

    @cached_property
    def dials(self) -> np.ndarray:
        """All settings of the dials, counted in steps: integers ``[D, O]``."""
        lattice = simplex_lattice(len(self.objectives), self.steps)
        return (lattice * self.steps).round().int().numpy()

    @cached_property
    def biases(self) -> np.ndarray:
        """The bias of each category by setting ``[D, M]``, interpolated between tuned ones."""
        weights = np.array(self.description["biases"])  # for which they were tuned, [W, O]
        tuned = self.tensors["bias"].double().numpy()  # [W, M]
        mixture = mixtures.interpolation(weights, self.dials / self.steps)  # [D, W]
        return mixture @ tuned

    @cached_property
    def generator(self) -> Generator:
        """The generator of the first seed."""
        tensors = {}
        for key, tensor in self.tensors.items():
            owner, _, name = key.partition(".")
            if owner == "generator":
                tensors[name] = tensor
        return generator_of(tensors, self.description["generator"])


class Rankings:
    """The best items of all test events, for all methods and weights: as the page computes them."""

    def __init__(self, bundle: Bundle, sequences: Sequences) -> None:
        self.tensors = bundle.tensors
        self.generator = bundle.generator
        self.sequences = sequences
        self.weights = bundle.dials / bundle.steps  # [D, O]
        self.biases = bundle.biases  # [D, M]
        self.test_set = TestSet(sequences, sequences.test, bundle.objectives, cutoffs=[TOP])
        categories = torch.from_numpy(sequences.categories).float()
        # The vectors of the items, with their categories: [n + 1, d + M].
        self.table = item_table(self.tensors["items"], categories, self.generator.form)
        self.candidates = reranking.candidates_of(sequences, sequences.test)["full"]
        # Lists to re-rank: the backbone's, and those of a few adapters, [4, P].
        self.sources = reranking.source_vectors(self.generator, bundle.description["sources"])
        self._source_scores = lru_cache(maxsize=8)(lambda source: self.scores(self.sources[source]))

    @torch.no_grad()
    def scores(self, vector: Tensor) -> np.ndarray:
        """Score the catalogue with one adapter ``vector [P]``: ``[N, n + 1]``."""
        adapter = Adapter.from_vector(vector, self.generator.form)
        states = adapter(self.tensors["states"])  # [N, d + M]
        return (states @ self.table.T).numpy()

    def top(self, method: str, row: int) -> np.ndarray:
        """Rank the ten best items of each event at a row of the dials, best first: ``[N, 10]``."""
        if method not in RERANKED:
            return top_k(self.scored(method, row), TOP, self.candidates.excluded)
        source, temperature, depth, weight = self.tensors[f"rerank.{method}"][row].tolist()
        setting = Setting(int(source), temperature, int(depth), weight)
        rule = RERANKERS[RERANKED[method]]
        lists = self.candidates.best(self._source_scores(setting.source), temperature)
        return lists.reranked(rule, setting, TOP)

    def quality(self, method: str, row: int) -> np.ndarray:
        """Compute the objectives' metrics of each event at a row of the dials, ``[O, N]``."""
        items = self.top(method, row)  # [N, 10]
        ranks = ranks_in(items, self.sequences.test.targets)  # [N]
        metrics = self.test_set.metrics("full", ranks, items)
        return np.stack([metrics[name] for name in self.test_set.followed])

    def scored(self, method: str, row: int) -> np.ndarray:
        """Score the catalogue with a method that scores each item: ``[N, n + 1]``."""
        if method == "generated":
            vector = self.generator.generate(self.weights[row])[0]
            return self.scores(vector)
        plain = self._source_scores(0)
        if method == "category_bias":
            bias = torch.from_numpy(self.biases[row]).float()
            return biased_scores(plain, self.sequences.categories, bias)
        return plain

    def opening(self) -> tuple[int, int]:
        """Choose what the page shows first: the row of a test event, and a row of the dials.

        The weights are the setting nearest to equal ones.  The user is the one whose list gains
        most categories there, compared with the list of the backbone; of equal ones, the first.
        Only users are considered whose next title is in both lists, and not in the list for
        diversity alone; if there is none, all users.
        """
        far = np.square(self.weights - 1 / self.weights.shape[1]).sum(1).round(9)  # [D]
        middle = int(far.argmin())
        diverse = int((self.weights[:, 1] == 1).argmax())
        generated = self.top("generated", middle)  # [N, 10]
        backbone = self.top("backbone", middle)  # [N, 10]

        def lists_target(items: np.ndarray) -> np.ndarray:
            return (items == self.sequences.test.targets[:, None]).any(1)  # [N]

        def covered(items: np.ndarray) -> np.ndarray:
            return self.sequences.categories[items].any(1).sum(1)  # [N]

        leaves = lists_target(generated) & lists_target(backbone)
        leaves &= ~lists_target(self.top("generated", diverse))
        gain = covered(generated) - covered(backbone)
        considered = leaves if leaves.any() else np.ones_like(leaves)
        return int(np.where(considered, gain, -np.inf).argmax()), middle


@torch.no_grad()
def denoising_steps(generator: Generator) -> list[dict]:
    """Return what the page needs for each step of `ddim`.

    ``signal`` and ``noise`` of the step, ``after``: alpha_bar of the next one, and ``step``: its
    number as the denoiser embeds it.
    """
    schedule = generator.model.schedule
    denoiser = generator.model.denoiser
    assert isinstance(denoiser, Denoiser)  # others are refused
    count = generator.settings.sampler_steps
    times = np.linspace(schedule.steps - 1, 0, count).round().astype(int)
    embedded = denoiser.embed_step(sinusoidal(torch.from_numpy(times), 64))
    table = pd.DataFrame(
        {
            "signal": schedule.signal[times],
            "noise": schedule.noise[times],
            "after": [*schedule.alpha_bar[times[1:]].tolist(), 1.0],
            "step": embedded.tolist(),
        }
    )
    return table.to_dict("records")


def study_tensors(trained: Trained) -> tuple[dict[str, Tensor], dict]:
    """Copy a study's tensors and description; raise ``ParagonError`` if the page cannot show it."""
    generator = trained.generators["generated"][0]
    backbone = trained.test.backbone
    sequences = trained.test_set.sequences
    _check_can_be_shown(generator, backbone)
    of_generator = generator.description
    of_collection = of_generator["collection"]
    description = {
        "kind": "demo",
        "backbone": backbone.name,
        "data": _about(sequences),
        # Checksums distinguish studies with the same settings.
        "made_from": {
            "backbone": trained.collection.description["backbone"],
            "generator": of_generator.get("sha256"),
        },
        "sources": reranking.source_weights(trained.weights, 0).tolist(),
        "biases": trained.weights.tolist(),  # for which they were tuned, [W, O]
        "generator": {
            **{name: of_generator[name] for name in ("seed", "floor", "settings", "guidance")},
            "collection": {name: of_collection[name] for name in ("objectives", "form")},
        },
    }
    tensors = {
        "items": backbone.item_vectors().detach(),  # [n + 1, d]
        "states": trained.test.states,  # [N, d]
        "bias": trained.category_bias[0],  # [W, M]
        "noise": generator.noise()[0],  # [K]
    }
    for name, tensor in generator.model.state_dict().items():
        tensors[f"generator.{name}"] = tensor
    return {name: tensor.cpu().contiguous() for name, tensor in tensors.items()}, description


def _check_can_be_shown(generator: Generator, backbone: Backbone) -> None:
    """Raise ``ParagonError`` for what the scripts of the page do not implement."""
    objectives = generator.objectives
    settings = generator.settings
    has_other_objectives = (
        objectives[:2] != ["accuracy", "diversity"]
        or len(objectives) not in STEPS
        or "fairness" in objectives  # its metric is no mean over users
    )
    reasons = {
        "other objectives": has_other_objectives,
        "a generator that predicts the velocity": settings.predicts != "clean",
        "a transformer as the generator's network": settings.network != "residual",
        "adapters without an item side": not generator.form.categories,
        "a backbone with a state for each item": not backbone.is_dot_product,
    }
    for reason, applies in reasons.items():
        if applies:
            raise ParagonError(f"the demo cannot show this study: it has {reason}")


def make_bundle(trained: Trained) -> Bundle:
    """Make the bundle: choose re-rankers on validation events, measure methods on test events."""
    tensors, description = study_tensors(trained)
    bundle = Bundle(tensors, description)
    sequences = trained.test_set.sequences
    rankings = Rankings(bundle, sequences)
    sample = sequences.valid.sample_rows()
    sources = []
    for vector in rankings.sources:
        scores = trained.valid.catalogue_scores(vector, sample)
        sources.append(scores.cpu().numpy())
    shortest = int((~rankings.candidates.excluded).sum(1).min())  # list of a test event
    trials = reranking.Trials.of(sequences)["full"]
    for method, rule in RERANKED.items():
        of_method = sources if method.startswith("generated") else sources[:1]
        tried = reranking.tried_settings(RERANKERS[rule], trials, of_method)
        chosen = reranking.chosen_settings(tried, rankings.weights[:, 0])
        rows = []
        for setting in chosen:
            depth = min(setting.depth, shortest)
            rows.append([setting.source, setting.temperature, depth, setting.weight])
        tensors[f"rerank.{method}"] = torch.tensor(rows).double()  # [D, 4]
    settings = len(rankings.weights)
    for method in METHODS:
        points = []
        # The backbone ignores the weights: its point is repeated.
        for row in range(settings if method != "backbone" else 1):
            values = rankings.quality(method, row)  # [O, N]
            errors = values.std(1, ddof=1) / values.shape[1] ** 0.5  # [O]
            points.append([*values.mean(1), *errors])
        shape = settings, 2 * len(bundle.objectives)
        tensors[f"front.{method}"] = torch.from_numpy(np.resize(points, shape))
    return bundle


def measured_again(bundle: Bundle, sequences: Sequences, curve: pd.DataFrame) -> pd.DataFrame:
    """Tabulate the metrics of the bundle's lists beside those of ``curve``.

    A row for each method and each weight of the curve that the dials have.
    """
    rankings = Rankings(bundle, sequences)
    metrics = rankings.test_set.followed
    weights = [f"w_{objective}" for objective in bundle.objectives]
    rows = curve[curve["protocol"].eq("full") & curve["method"].isin(METHODS)]
    rows = rows[rows["seed"] == bundle.description["generator"]["seed"]]
    asked = rows[weights].to_numpy()[:, None]  # [R, 1, O]
    same = np.isclose(asked, rankings.weights, atol=1e-4).all(2)  # [R, D]
    on_dials = same.any(1)  # [R]
    rows = rows[on_dials]
    settings = same[on_dials].argmax(1)  # rows of the dials
    values = [
        rankings.quality(method, setting).mean(1)
        for method, setting in zip(rows["method"], settings, strict=True)
    ]
    here = pd.DataFrame(values, rows.index, [f"{metric} here" for metric in metrics])
    return rows[["method", *weights, *metrics]].join(here)


def _about(sequences: Sequences) -> dict:
    """Select what fixes the numbering of items and events from the data's description."""
    about = sequences.description
    optional = {name: about[name] for name in _DATA_IF_SET if name in about}
    return {name: about[name] for name in _DATA} | optional


def load_bundle(stem: Path, sequences: Sequences, renew: str) -> Bundle:
    """Load a bundle; raise ``ParagonError`` if missing, altered, or made with other data.

    ``renew``: the command that makes it again.
    """
    expected = {"kind": "demo", "data": _about(sequences)}
    with loading(stem, renew, expected) as (tensors, description):
        bundle = Bundle(tensors, description)
        _ = bundle.generator  # fails for tensors of another version
        return bundle


def build_page(bundle: Bundle, sequences: Sequences) -> str:
    """Build the HTML page of a bundle and its data; raise ``ParagonError`` above 8 MB."""
    folder = resources.files("paragon_study.demo")
    files = {file.name: file.read_text("utf-8") for file in folder.iterdir() if file.is_file()}
    environment = Environment(undefined=StrictUndefined, trim_blocks=True)
    template = environment.from_string(files["page.html.j2"])
    dataset = sequences.description["dataset"]
    title = REGISTRY[dataset].title.partition(":")[0] if dataset in REGISTRY else dataset
    data = json.dumps(_data(bundle, sequences), separators=(",", ":"))
    parameters = sum(tensor.numel() for tensor in bundle.generator.model.state_dict().values())
    objectives = bundle.objectives
    page = template.render(
        style=_colours() + files["page.css"],
        script="\n".join(files[f"{name}.js"] for name in SCRIPTS),
        data=data.replace("<", "\\u003c"),  # no title can end the script
        bundle=base64.b64encode(save(bundle.tensors)).decode(),
        dataset=escape(title),
        backbone=BACKBONES[bundle.description["backbone"]].__name__,
        items=f"{sequences.n_items:,}",
        users=f"{len(sequences.test):,}",
        seed=bundle.description["generator"]["seed"],
        parameters=f"{parameters:,}",
        biases=len(bundle.tensors["bias"]),
        dials=objectives[:1] if len(objectives) == 2 else objectives,
        last=objectives[-1],
        steps=bundle.steps,
    )
    size = len(page.encode())
    if size > MOST_BYTES:
        raise ParagonError(f"the page has {size / 1e6:.1f} MB, more than {MOST_BYTES / 1e6:g} MB")
    return page


def _data(bundle: Bundle, sequences: Sequences) -> dict:
    """Return the `data` of the scripts: names, histories, and how methods are drawn."""
    test = sequences.test
    opening = Rankings(bundle, sequences).opening()
    starts = sequences.offsets[test.users]  # [N]
    ends = starts + test.positions  # [N]
    histories = [
        sequences.items[start:end].tolist() for start, end in zip(starts, ends, strict=True)
    ]
    # "Mask, The" becomes "The Mask".
    titles = [re.sub(r"^(.*), (The|A|An)$", r"\2 \1", title) for title in sequences.titles]
    methods = []
    for name, words in METHODS.items():
        label, _, marker, line = look(name)
        dashes = line[1] if isinstance(line, tuple) else ()
        dash = " ".join(f"{3 * length:g}" for length in dashes) or "none"  # SVG units
        methods.append(
            {"name": name, "label": label, "about": words, "marker": marker, "dash": dash}
        )
    metrics = []
    for objective in bundle.objectives:
        label = metric_label(OBJECTIVES[objective].metric)
        metrics.append(label.split(" (")[0])  # without its range
    return {
        "about": bundle.description,
        "steps": denoising_steps(bundle.generator),
        "dials": bundle.dials.tolist(),
        "opening": dict(zip(("user", "step"), opening, strict=True)),
        "metrics": metrics,
        "biases": bundle.biases.round(6).tolist(),
        "methods": methods,
        "users": [sequences.user_ids[user] for user in test.users],
        "histories": histories,
        "targets": test.targets.tolist(),
        "titles": ["", *titles],
        "categories": sequences.category_names,
        "sets": [np.flatnonzero(row).tolist() for row in sequences.categories],
    }


def _colours() -> str:
    """Return the colours of the methods as CSS variables, lighter for dark pages."""
    light = ""
    dark = ""
    for name in METHODS:
        colour = look(name).colour
        light += f"--{name}: {colour}; "
        dark += f"--{name}: color-mix(in srgb, {colour} 65%, white); "
    return f":root {{ {light}}}\n@media (prefers-color-scheme: dark) {{ :root {{ {dark}}} }}\n"
