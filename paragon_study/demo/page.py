"""The demo page, one HTML file, and its bundle: the tensors that it needs of a study.

Shapes: N events, n items, d numbers of a state, M categories, P parameters, W evaluation weights.
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

from paragon.adapters.adapter import Adapter, item_table
from paragon.backbones import BACKBONES
from paragon.data.registry import REGISTRY
from paragon.data.sequences import Sequences
from paragon.errors import ParagonError
from paragon.evaluation.methods import Trained
from paragon.generator.generator import Generator, generator_of, sinusoidal
from paragon.metrics.ranking import ideal_alpha_dcg, top_k
from paragon.rivals import reranking
from paragon.rivals.end_to_end import biased_scores
from paragon.storage import loading
from paragon_study.report.style import look

RENEW = "python -m paragon demo --renew"
STEPS = 100  # of the slider: the weight of accuracy is step / STEPS
TOP = 10  # items of a list
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

    Beside those of :func:`study_tensors`, for each weight of accuracy r/100: ``rerank.NAME [101,
    4]``, source, temperature, depth and weight of a re-ranker; ``front.NAME [101, 4]``, means of
    ``NDCG@10`` and ``α-nDCG@10``, then their standard errors.
    """

    tensors: dict[str, Tensor]
    description: dict

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
        self.categories, form = sequences.categories, bundle.generator.form
        categories = torch.from_numpy(self.categories).float()
        self.table = item_table(self.tensors["items"], categories, form)  # [n + 1, d + M]
        self.candidates = reranking.candidates_of(sequences, sequences.test)["full"]
        self.ideal = ideal_alpha_dcg(self.categories, TOP, excluded=self.candidates.excluded)
        # Lists to re-rank: the backbone's, and those of a few adapters, [4, P].
        self.sources = reranking.source_vectors(self.generator, bundle.description["sources"])
        self._source_scores = lru_cache(maxsize=8)(lambda source: self.scores(self.sources[source]))

    @torch.no_grad()
    def scores(self, vector: Tensor) -> np.ndarray:
        """Score the catalogue with one adapter ``vector [P]``: ``[N, n + 1]``."""
        adapter = Adapter.from_vector(vector, self.generator.form)
        return (adapter(self.tensors["states"]) @ self.table.T).numpy()

    def top(self, method: str, step: int) -> np.ndarray:
        """Rank the ten best items of each event at a slider step, best first: ``[N, 10]``."""
        if method not in RERANKED:
            return top_k(self.scored(method, step), TOP, self.candidates.excluded)
        source, temperature, depth, weight = self.tensors[f"rerank.{method}"][step].tolist()
        setting = reranking.Setting(int(source), temperature, int(depth), weight)
        lists = self.candidates.best(self._source_scores(setting.source), temperature)
        return lists.reranked(reranking.RERANKERS[RERANKED[method]], setting, TOP)

    def quality(self, method: str, step: int) -> np.ndarray:
        """Compute NDCG@10 and α-nDCG@10 of each event at a slider step, ``[2, N]``."""
        items = self.top(method, step)  # [N, 10]
        hits = items == self.sequences.test.targets[:, None]
        return np.stack(reranking.list_quality(hits, self.categories[items], self.ideal))

    def scored(self, method: str, step: int) -> np.ndarray:
        """Score the catalogue with a method that scores each item: ``[N, n + 1]``."""
        if method == "generated":
            return self.scores(self.generator.generate([step / STEPS, 1 - step / STEPS])[0])
        plain = self._source_scores(0)
        if method == "category_bias":
            return biased_scores(plain, self.categories, bias_at(self.tensors["bias"], step))
        return plain


def bias_at(bias: Tensor, step: int) -> Tensor:
    """Interpolate ``bias [W, M]`` linearly at a slider step: ``[M]``."""
    place = step * (len(bias) - 1) / STEPS
    low = min(int(place), len(bias) - 2)
    return bias[low] + (place - low) * (bias[low + 1] - bias[low])


@torch.no_grad()
def denoising_steps(generator: Generator) -> list[dict]:
    """Return ``signal``, ``noise``, next alpha_bar ``after``, embedded ``step`` by `ddim` step."""
    schedule, count = generator.schedule, generator.settings.sampler_steps
    times = np.linspace(schedule.steps - 1, 0, count).round().astype(int)
    embedded = generator.model.denoiser.embed_step(sinusoidal(torch.from_numpy(times), 64))
    after = [*schedule.alpha_bar[times[1:]].tolist(), 1.0]
    table = pd.DataFrame({"signal": schedule.signal[times], "noise": schedule.noise[times]})
    return table.assign(after=after, step=embedded.tolist()).to_dict("records")


def study_tensors(trained: Trained) -> tuple[dict[str, Tensor], dict]:
    """Copy a study's tensors and description; raise ``ParagonError`` if the page cannot show it."""
    generator, sequences = trained.generators[0], trained.test_set.sequences
    settings, backbone = generator.settings, trained.test.backbone
    reasons = {  # the page implements the defaults only
        "other objectives": generator.objectives != ["accuracy", "diversity"],
        "guidance": settings.guidance != 1,
        "adapters without an item side": not generator.form.categories,
        "a backbone with a state for each item": not backbone.is_dot_product,
    }
    for reason in [reason for reason, applies in reasons.items() if applies]:
        raise ParagonError(f"the demo cannot show this study: it has {reason}")
    order = np.argsort(trained.weights[:, 0].numpy(), kind="stable")  # [W]
    about, collection = generator.description, trained.collection.description
    description = {
        "kind": "demo",
        "backbone": backbone.name,
        "data": {name: sequences.description[name] for name in _DATA},
        # Checksums distinguish studies with the same settings.
        "made_from": {"backbone": collection["backbone"], "generator": about.get("sha256")},
        "sources": reranking.source_weights(trained.weights, 0).tolist(),
        "generator": {
            **{name: about[name] for name in ("seed", "floor", "settings")},
            "collection": {name: about["collection"][name] for name in ("objectives", "form")},
        },
    }
    tensors = {
        "items": backbone.item_vectors().detach(),  # [n + 1, d]
        "states": trained.test.states,  # [N, d]
        "bias": trained.category_bias[0][order.tolist()],  # [W, M]
        "noise": generator.noise()[0],  # [K]
        **{f"generator.{name}": t for name, t in generator.model.state_dict().items()},
    }
    return {name: tensor.cpu().contiguous() for name, tensor in tensors.items()}, description


def make_bundle(trained: Trained) -> Bundle:
    """Make the bundle: choose re-rankers on validation events, measure methods on test events."""
    tensors, description = study_tensors(trained)
    sequences = trained.test_set.sequences
    lists = Rankings(Bundle(tensors, description), sequences)
    rows = reranking.validation_rows(sequences.valid)
    sources = [trained.valid.catalogue_scores(v, rows).cpu().numpy() for v in lists.sources]
    most = int((~lists.candidates.excluded).sum(1).min())  # the shortest list of a test event
    for method, rule in RERANKED.items():
        scores = sources if method.startswith("generated") else sources[:1]
        tried = reranking.tried_settings(reranking.RERANKERS[rule], sequences, scores)
        chosen = reranking.chosen_settings(tried, np.arange(STEPS + 1) / STEPS)
        settings = [[*s[:2], min(s.depth, most), s.weight] for s in chosen]
        tensors[f"rerank.{method}"] = torch.tensor(settings).double()
    for method in METHODS:
        points = []
        for step in range(STEPS + 1) if method != "backbone" else [0]:  # which ignores weights
            both = lists.quality(method, step)  # [2, N]
            errors = both.std(1, ddof=1) / both.shape[1] ** 0.5
            points.append([*both.mean(1), *errors])
        tensors[f"front.{method}"] = torch.from_numpy(np.resize(points, (STEPS + 1, 4)))
    return Bundle(tensors, description)


def measured_again(bundle: Bundle, sequences: Sequences, curve: pd.DataFrame) -> pd.DataFrame:
    """Tabulate NDCG@10 and α-nDCG@10 by method and weight, of the recorded ``curve`` and here."""
    lists, names = Rankings(bundle, sequences), ["ndcg@10", "alpha_ndcg@10"]
    rows = curve[curve["protocol"].eq("full") & curve["method"].isin(METHODS)]
    rows = rows[rows["seed"] == bundle.description["generator"]["seed"]]
    steps = (STEPS * rows["w_accuracy"]).round().astype(int)
    found = [lists.quality(m, s).mean(1) for m, s in zip(rows["method"], steps, strict=True)]
    here = pd.DataFrame(found, rows.index, [f"{name} here" for name in names])
    return rows[["method", "w_accuracy", *names]].join(here)


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
        "biases": [bias_at(bundle.tensors["bias"], step).tolist() for step in range(STEPS + 1)],
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
