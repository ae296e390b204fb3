"""The demo bundle: the tensors that the page needs of a study.

Shapes: N events, n items, d numbers of a state, M categories, P parameters of an adapter, W
evaluation weights.  A test compares :class:`Rankings` with the JavaScript of the page.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property, lru_cache
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from paragon.adapters.adapter import Adapter, item_table
from paragon.data.sequences import Sequences
from paragon.errors import ParagonError
from paragon.evaluation.methods import Trained
from paragon.generator.generator import Generator, generator_of, sinusoidal
from paragon.metrics.ranking import top_k
from paragon.rivals.end_to_end import biased_scores
from paragon.rivals.reranking import (
    RERANKERS,
    Setting,
    candidates_of,
    chosen_settings,
    list_quality,
    source_vectors,
    source_weights,
    validation_rows,
)
from paragon.storage import check_match, load_tensors

RENEW = "python -m paragon demo --renew"
STEPS = 100  # of the slider: the weight of accuracy is step / STEPS
TOP = 10  # items of a list
RERANKED = {"xquad": "xquad", "mmr": "mmr", "generated_xquad": "xquad"}  # method: rule
METHODS = ("generated", "generated_xquad", "xquad", "mmr", "category_bias", "backbone")
# Fields of the data's description that fix the numbering of items and events.
_DATA = ("dataset", "fingerprint", "split", "midnight", "min_rating", "k_core", "max_users")


@dataclass(frozen=True)
class Bundle:
    """The tensors that the page needs of a study, and their description.

    ``items [n + 1, d]``, ``states [N, d]`` of the test events, ``bias [W, M]`` of `category_bias`,
    ``generator.*`` of the first seed and its initial ``noise [K]``.  For each weight of accuracy
    r/100: ``rerank.NAME [101, 4]``, source, temperature, depth and weight of a re-ranker; and
    ``front.NAME [101, 4]``, means of ``NDCG@10`` and ``α-nDCG@10``, then their standard errors.
    """

    tensors: dict[str, Tensor]
    description: dict

    @property
    def generator_tensors(self) -> dict[str, Tensor]:
        """The parameters of the generator."""
        start = "generator."
        names = [name for name in self.tensors if name.startswith(start)]
        return {name.removeprefix(start): self.tensors[name] for name in names}

    @cached_property
    def generator(self) -> Generator:
        """The generator of the first seed."""
        about = self.description["generator"]
        return generator_of(self.generator_tensors, about, "the bundle of the demo")


class Rankings:
    """The best items of all test events, for all methods and weights of the demo."""

    def __init__(self, bundle: Bundle, sequences: Sequences) -> None:
        self.tensors, self.generator = bundle.tensors, bundle.generator
        self.states, self.categories = bundle.tensors["states"], sequences.categories
        form, categories = self.generator.form, torch.from_numpy(self.categories).float()
        self.table = item_table(bundle.tensors["items"], categories, form)  # [n + 1, d + M]
        self.candidates = candidates_of(sequences, sequences.test)["full"]
        # Lists to re-rank: the backbone's, and those of a few adapters.
        sources = bundle.description["sources"]
        self.sources = source_vectors(self.generator, sources)  # [1 + sources, P]
        self._source_scores = lru_cache(maxsize=8)(lambda source: self.scores(self.sources[source]))

    @torch.no_grad()
    def scores(self, vector: Tensor) -> np.ndarray:
        """Score the catalogue with one adapter ``vector [P]``: ``[N, n + 1]``."""
        adapter = Adapter.from_vector(vector, self.generator.form)
        return (adapter(self.states) @ self.table.T).numpy()

    def top(self, method: str, step: int) -> np.ndarray:
        """Rank the ten best items of each event at a slider step, best first: ``[N, 10]``."""
        if method not in RERANKED:
            return top_k(self.scored(method, step), TOP, self.candidates.excluded)
        source, temperature, depth, weight = self.tensors[f"rerank.{method}"][step].tolist()
        lists = self.candidates.best(self._source_scores(int(source)), temperature)
        setting = Setting(int(source), temperature, int(depth), weight)
        return lists.reranked(RERANKERS[RERANKED[method]], setting, TOP)

    def scored(self, method: str, step: int) -> np.ndarray:
        """Score the catalogue with a method that scores each item: ``[N, n + 1]``."""
        if method == "generated":
            return self.scores(self.generator.generate([step / STEPS, 1 - step / STEPS])[0])
        own = self._source_scores(0)
        if method == "category_bias":
            return biased_scores(own, self.categories, bias_at(self.tensors["bias"], step))
        return own


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
    now = zip(schedule.signal[times].tolist(), schedule.noise[times].tolist(), strict=True)
    return [
        {"signal": signal, "noise": noise, "after": alpha, "step": step}
        for (signal, noise), alpha, step in zip(now, after, embedded.tolist(), strict=True)
    ]


def study_tensors(trained: Trained) -> tuple[dict[str, Tensor], dict]:
    """Copy a study's tensors and description; raise ``ParagonError`` if the page cannot show it."""
    generator, sequences = trained.generators[0], trained.test_set.sequences
    settings = generator.settings  # the page implements the defaults only
    reasons = {
        "other objectives": generator.objectives != ["accuracy", "diversity"],
        "other conditioning": settings.conditioning != "adaptive_norm",
        "guidance": settings.guidance != 1,
        "adapters without an item side": not generator.form.categories,
        "a backbone with a state for each item": not trained.test.backbone.is_dot_product,
    }
    for reason in [reason for reason, applies in reasons.items() if applies]:
        raise ParagonError(f"the demo cannot show this study: it has {reason}")
    order = np.argsort(trained.weights[:, 0].numpy(), kind="stable")  # [W]
    own, collection = generator.description, trained.collection.description
    description = {
        "kind": "demo",
        "backbone": trained.test.backbone.name,
        "data": {name: sequences.description[name] for name in _DATA},
        # Checksums distinguish studies with the same settings.
        "made_from": {"backbone": collection["backbone"], "generator": own.get("sha256")},
        "sources": source_weights(trained.weights, 0).tolist(),
        "generator": {
            **{name: own[name] for name in ("seed", "floor", "settings")},
            "collection": {name: own["collection"][name] for name in ("objectives", "form")},
        },
    }
    tensors = {
        "items": trained.test.backbone.item_vectors().detach(),  # [n + 1, d]
        "states": trained.test.states,  # [N, d]
        "bias": trained.category_bias[0][order.tolist()],  # [W, M]
        "noise": generator.noise()[0],  # [K]
        **{f"generator.{name}": t for name, t in generator.model.state_dict().items()},
    }
    return {name: tensor.cpu().contiguous() for name, tensor in tensors.items()}, description


def make_bundle(trained: Trained) -> Bundle:
    """Make the bundle: choose re-rankers on validation events, measure methods on test events."""
    tensors, description = study_tensors(trained)
    sequences, ideal = trained.test_set.sequences, trained.test_set.ideal["full"]
    lists = Rankings(Bundle(tensors, description), sequences)
    rows = validation_rows(sequences.valid)
    sources = [trained.valid.catalogue_scores(v, rows).cpu().numpy() for v in lists.sources]
    most = int((~lists.candidates.excluded).sum(1).min())  # the shortest list of a test event
    for method, rule in RERANKED.items():
        own = sources if method.startswith("generated") else sources[:1]
        chosen = chosen_settings(RERANKERS[rule], sequences, own, np.arange(STEPS + 1) / STEPS)
        settings = [[*s[:2], min(s.depth, most), s.weight] for s in chosen]
        tensors[f"rerank.{method}"] = torch.tensor(settings).double()
    for method in METHODS:
        points = []
        for step in range(STEPS + 1) if method != "backbone" else [0]:  # which ignores weights
            items = lists.top(method, step)  # [N, 10]
            hits = items == sequences.test.targets[:, None]
            both = list_quality(hits, sequences.categories[items], ideal)  # [N] each
            errors = [values.std(ddof=1) / len(values) ** 0.5 for values in both]
            points.append([*(values.mean() for values in both), *errors])
        tensors[f"front.{method}"] = torch.from_numpy(np.resize(points, (STEPS + 1, 4)))
    return Bundle(tensors, description)


def load_bundle(stem: Path, sequences: Sequences) -> Bundle:
    """Load a bundle; raise ``ParagonError`` if missing, altered, or made with other data."""
    tensors, description = load_tensors(stem, RENEW)
    expected = {"kind": "demo", "data": {name: sequences.description[name] for name in _DATA}}
    check_match(expected, description, f"{stem}.json")
    return Bundle(tensors, description)
