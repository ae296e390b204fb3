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
from paragon.backbones import BACKBONES
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

RENEW = "python -m paragon demo --renew"
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


@dataclass(frozen=True)
class Bundle:
    """The tensors that the page needs of a study, and their description.

    Beside those of :func:`study_tensors`, for each of the weights ``dials``: ``rerank.NAME [D,
    4]``, source, temperature, depth and weight of a re-ranker; ``front.NAME [D, 2 O]``, means of
    the objectives' metrics, then their standard errors.
    """

    tensors: dict[str, Tensor]
    description: dict

    @property
    def objectives(self) -> list[str]:
        """The objectives, accuracy and diversity first."""
        return self.description["generator"]["collection"]["objectives"]

    @property
    def steps(self) -> int:
        """The dials have multiples of one over this number."""
        return STEPS[len(self.objectives)]

    @cached_property
    def dials(self) -> np.ndarray:
        """The settings of the dials, in steps: integers ``[D, O]``."""
        lattice = simplex_lattice(len(self.objectives), self.steps)
        return (lattice * self.steps).round().int().numpy()

    @cached_property
    def biases(self) -> np.ndarray:
        """The bias of each category by row of the dials ``[D, M]``, between tuned ones mixed."""
        tuned_for = np.array(self.description["biases"])  # [W, O]
        mix = mixtures.interpolation(tuned_for, self.dials / self.steps)  # [D, W]
        return mix @ self.tensors["bias"].double().numpy()

    @cached_property
    def generator(self) -> Generator:
        """The generator of the first seed."""
        whole = {name.partition("."): tensor for name, tensor in self.tensors.items()}
        tensors = {name: t for (part, _, name), t in whole.items() if part == "generator"}
        return generator_of(tensors, self.description["generator"])


class Rankings:
    """The best items of all test events, for all methods and weights: as the page computes them."""

    def __init__(self, bundle: Bundle, sequences: Sequences) -> None:
        self.tensors, self.generator, self.sequences = bundle.tensors, bundle.generator, sequences
        self.weights, self.biases = bundle.dials / bundle.steps, bundle.biases  # [D, O], [D, M]
        self.test_set = TestSet(sequences, sequences.test, bundle.objectives, cutoffs=[TOP])
        self.categories, form = sequences.categories, bundle.generator.form
        categories = torch.from_numpy(self.categories).float()
        self.table = item_table(self.tensors["items"], categories, form)  # [n + 1, d + M]
        self.candidates = reranking.candidates_of(sequences, sequences.test)["full"]
        # Lists to re-rank: the backbone's, and those of a few adapters, [4, P].
        self.sources = reranking.source_vectors(self.generator, bundle.description["sources"])
        self._source_scores = lru_cache(maxsize=8)(lambda source: self.scores(self.sources[source]))

    @torch.no_grad()
    def scores(self, vector: Tensor) -> np.ndarray:
        """Score the catalogue with one adapter ``vector [P]``: ``[N, n + 1]``."""
        adapter = Adapter.from_vector(vector, self.generator.form)
        return (adapter(self.tensors["states"]) @ self.table.T).numpy()

    def top(self, method: str, step: int) -> np.ndarray:
        """Rank the ten best items of each event at a row of the dials, best first: ``[N, 10]``."""
        if method not in RERANKED:
            return top_k(self.scored(method, step), TOP, self.candidates.excluded)
        source, temperature, depth, weight = self.tensors[f"rerank.{method}"][step].tolist()
        setting = Setting(int(source), temperature, int(depth), weight)
        lists = self.candidates.best(self._source_scores(setting.source), temperature)
        return lists.reranked(RERANKERS[RERANKED[method]], setting, TOP)

    def quality(self, method: str, step: int) -> np.ndarray:
        """Compute the objectives' metrics of each event at a row of the dials, ``[O, N]``."""
        items = self.top(method, step)  # [N, 10]
        ranks = ranks_in(items, self.sequences.test.targets)  # [N]
        metrics = self.test_set.metrics("full", ranks, items)
        return np.stack([metrics[name] for name in self.test_set.followed])

    def scored(self, method: str, step: int) -> np.ndarray:
        """Score the catalogue with a method that scores each item: ``[N, n + 1]``."""
        if method == "generated":
            return self.scores(self.generator.generate(self.weights[step])[0])
        plain = self._source_scores(0)
        if method == "category_bias":
            bias = torch.from_numpy(self.biases[step]).float()
            return biased_scores(plain, self.categories, bias)
        return plain


@torch.no_grad()
def denoising_steps(generator: Generator) -> list[dict]:
    """Return ``signal``, ``noise``, next alpha_bar ``after``, embedded ``step`` by `ddim` step."""
    model, count = generator.model, generator.settings.sampler_steps
    schedule, denoiser = model.schedule, model.denoiser
    assert isinstance(denoiser, Denoiser)  # others are refused
    times = np.linspace(schedule.steps - 1, 0, count).round().astype(int)
    embedded = denoiser.embed_step(sinusoidal(torch.from_numpy(times), 64))
    after = [*schedule.alpha_bar[times[1:]].tolist(), 1.0]
    table = pd.DataFrame({"signal": schedule.signal[times], "noise": schedule.noise[times]})
    return table.assign(after=after, step=embedded.tolist()).to_dict("records")


def study_tensors(trained: Trained) -> tuple[dict[str, Tensor], dict]:
    """Copy a study's tensors and description; raise ``ParagonError`` if the page cannot show it."""
    generator, sequences = trained.generators["generated"][0], trained.test_set.sequences
    settings, backbone = generator.settings, trained.test.backbone
    reasons = {  # what the page does not implement
        "other objectives": generator.objectives[:2] != ["accuracy", "diversity"]
        or len(generator.objectives) not in STEPS
        or "fairness" in generator.objectives,  # whose metric is no mean over users
        "a generator that predicts the velocity": settings.predicts != "clean",
        "a transformer as the generator's network": settings.network != "residual",
        "adapters without an item side": not generator.form.categories,
        "a backbone with a state for each item": not backbone.is_dot_product,
    }
    for reason in [reason for reason, applies in reasons.items() if applies]:
        raise ParagonError(f"the demo cannot show this study: it has {reason}")
    about, collection = generator.description, trained.collection.description
    description = {
        "kind": "demo",
        "backbone": backbone.name,
        "data": {name: sequences.description[name] for name in _DATA},
        # Checksums distinguish studies with the same settings.
        "made_from": {"backbone": collection["backbone"], "generator": about.get("sha256")},
        "sources": reranking.source_weights(trained.weights, 0).tolist(),
        "biases": trained.weights.tolist(),  # for which they were tuned, [W, O]
        "generator": {
            **{name: about[name] for name in ("seed", "floor", "settings", "guidance")},
            "collection": {name: about["collection"][name] for name in ("objectives", "form")},
        },
    }
    tensors = {
        "items": backbone.item_vectors().detach(),  # [n + 1, d]
        "states": trained.test.states,  # [N, d]
        "bias": trained.category_bias[0],  # [W, M]
        "noise": generator.noise()[0],  # [K]
        **{f"generator.{name}": t for name, t in generator.model.state_dict().items()},
    }
    return {name: tensor.cpu().contiguous() for name, tensor in tensors.items()}, description


def make_bundle(trained: Trained) -> Bundle:
    """Make the bundle: choose re-rankers on validation events, measure methods on test events."""
    tensors, description = study_tensors(trained)
    sequences = trained.test_set.sequences
    lists = Rankings(bundle := Bundle(tensors, description), sequences)
    rows = sequences.valid.sample_rows()
    sources = [trained.valid.catalogue_scores(v, rows).cpu().numpy() for v in lists.sources]
    most = int((~lists.candidates.excluded).sum(1).min())  # the shortest list of a test event
    for method, rule in RERANKED.items():
        scores = sources if method.startswith("generated") else sources[:1]
        tried = reranking.tried_settings(RERANKERS[rule], sequences, scores)
        chosen = reranking.chosen_settings(tried, lists.weights[:, 0])
        settings = [[*s[:2], min(s.depth, most), s.weight] for s in chosen]
        tensors[f"rerank.{method}"] = torch.tensor(settings).double()
    for method in METHODS:
        points = []
        for row in range(len(lists.weights)) if method != "backbone" else [0]:  # ignores weights
            found = lists.quality(method, row)  # [O, N]
            points.append([*found.mean(1), *found.std(1, ddof=1) / found.shape[1] ** 0.5])
        shape = len(lists.weights), 2 * len(bundle.objectives)
        tensors[f"front.{method}"] = torch.from_numpy(np.resize(points, shape))
    return bundle


def measured_again(bundle: Bundle, sequences: Sequences, curve: pd.DataFrame) -> pd.DataFrame:
    """Tabulate the metrics by method and weights that are dialled, as in ``curve`` and here."""
    lists = Rankings(bundle, sequences)
    names, columns = lists.test_set.followed, [f"w_{o}" for o in bundle.objectives]
    rows = curve[curve["protocol"].eq("full") & curve["method"].isin(METHODS)]
    rows = rows[rows["seed"] == bundle.description["generator"]["seed"]]
    same = np.isclose(rows[columns].to_numpy()[:, None], lists.weights, atol=1e-4).all(2)  # [R, D]
    rows, dialled = rows[same.any(1)], same[same.any(1)].argmax(1)
    found = [lists.quality(m, d).mean(1) for m, d in zip(rows["method"], dialled, strict=True)]
    here = pd.DataFrame(found, rows.index, [f"{name} here" for name in names])
    return rows[["method", *columns, *names]].join(here)


def load_bundle(stem: Path, sequences: Sequences) -> Bundle:
    """Load a bundle; raise ``ParagonError`` if missing, altered, or made with other data."""
    expected = {"kind": "demo", "data": {name: sequences.description[name] for name in _DATA}}
    with loading(stem, RENEW, expected) as (tensors, description):
        bundle = Bundle(tensors, description)
        _ = bundle.generator  # fails for tensors of another version
        return bundle


def build_page(bundle: Bundle, sequences: Sequences) -> str:
    """Build the HTML page of a bundle and its data; raise ``ParagonError`` above 8 MB."""
    folder = resources.files("paragon_study.demo")
    parts = {part.name: part.read_text("utf-8") for part in folder.iterdir() if part.is_file()}
    template = Environment(undefined=StrictUndefined, trim_blocks=True)
    dataset, about = sequences.description["dataset"], bundle.description
    title = REGISTRY[dataset].title.partition(":")[0] if dataset in REGISTRY else dataset
    page = template.from_string(parts["page.html.j2"]).render(
        style=_colours() + parts["page.css"],
        script="\n".join(parts[f"{name}.js"] for name in SCRIPTS),
        data=json.dumps(_data(bundle, sequences), separators=(",", ":")).replace("<", "\\u003c"),
        bundle=base64.b64encode(save(bundle.tensors)).decode(),
        dataset=escape(title),
        backbone=BACKBONES[about["backbone"]].__name__,
        items=f"{sequences.n_items:,}",
        users=f"{len(sequences.test):,}",
        seed=about["generator"]["seed"],
        parameters=f"{sum(t.numel() for t in bundle.generator.model.state_dict().values()):,}",
        biases=len(bundle.tensors["bias"]),
        dials=bundle.objectives[: 1 if len(bundle.objectives) == 2 else None],
        last=bundle.objectives[-1],
        steps=bundle.steps,
    )
    if (size := len(page.encode())) > MOST_BYTES:
        raise ParagonError(f"the page has {size / 1e6:.1f} MB, more than {MOST_BYTES / 1e6:g} MB")
    return page


def _data(bundle: Bundle, sequences: Sequences) -> dict:
    """Return the `data` of the scripts: names, histories, and how methods are drawn."""
    test, start = sequences.test, sequences.offsets[sequences.test.users]  # [N]
    pasts = zip(start, start + test.positions, strict=True)
    # "Mask, The" becomes "The Mask".
    titles = [re.sub(r"^(.*), (The|A|An)$", r"\2 \1", title) for title in sequences.titles]
    methods = []
    for name, words in METHODS.items():
        label, _, marker, line = look(name)
        dashes = line[1] if isinstance(line, tuple) else ()
        dash = " ".join(f"{3 * length:g}" for length in dashes) or "none"  # SVG units
        drawn = {"name": name, "label": label, "about": words, "marker": marker, "dash": dash}
        methods.append(drawn)
    return {
        "about": bundle.description,
        "steps": denoising_steps(bundle.generator),
        "dials": bundle.dials.tolist(),
        "metrics": [metric_label(OBJECTIVES[o].metric).split(" (")[0] for o in bundle.objectives],
        "biases": bundle.biases.round(6).tolist(),
        "methods": methods,
        "users": [sequences.user_ids[user] for user in test.users],
        "histories": [sequences.items[a:b].tolist() for a, b in pasts],
        "targets": test.targets.tolist(),
        "titles": ["", *titles],
        "categories": sequences.category_names,
        "sets": [np.flatnonzero(row).tolist() for row in sequences.categories],
    }


def _colours() -> str:
    """Return the colours of the methods as CSS variables, lighter for dark pages."""
    colours = {name: look(name).colour for name in METHODS}
    light = "".join(f"--{n}: {c}; " for n, c in colours.items())
    dark = "".join(f"--{n}: color-mix(in srgb, {c} 65%, white); " for n, c in colours.items())
    return f":root {{ {light}}}\n@media (prefers-color-scheme: dark) {{ :root {{ {dark}}} }}\n"
