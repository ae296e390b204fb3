"""What the demo shows, computed by the package: the ten best items of every test event.

In this file: the lists of each method that the page has, from the same numbers that the page has
(the bundle).  The page does the same in JavaScript, and a test compares the two for every user.

Shapes: N events, n items, d numbers of a state, M categories, P parameters of an adapter.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import torch
from torch import Tensor

from paragon import params
from paragon.adapters.adapter import Adapter, item_table
from paragon.adapters.frozen import item_features
from paragon.data.sequences import Sequences
from paragon.generator.generator import DiffusionModel, Generator
from paragon.generator.latent import Latent
from paragon.metrics.ranking import top_k
from paragon.rivals.calibration import candidates_of
from paragon.rivals.category_bias import biased_scores
from paragon.rivals.greedy import rerank

STEPS = 100  # the weight of accuracy moves in steps of 1/100
TOP = 10  # items of a list
RERANKED = {"xquad": "xquad", "mmr": "mmr", "generated_xquad": "xquad"}  # method: its rule
METHODS = ("generated", "generated_xquad", "xquad", "mmr", "category_bias", "backbone")


@dataclass(frozen=True)
class Bundle:
    """What the page needs of a study, all but the raw data: tensors and what they are.

    ``tensors``: ``items [n + 1, d]``, ``states [N, d]`` of the test events, ``bias [W, M]`` of
    `category_bias` for the W evaluation weights, ``generator.*`` the generator of the first seed
    and ``noise [K]``, which it starts from; for each re-ranker ``rerank.NAME [101, 4]``, its
    source, temperature, depth and weight; for each method ``front.NAME [101, 4]``, the means of
    NDCG@10 and α-nDCG@10 over the events and their standard errors.  Row r of the last two is the
    weight r/100 of accuracy.
    """

    tensors: dict[str, Tensor]
    description: dict


def weights_of(step: int) -> list[float]:
    """The weights of accuracy and diversity at a step of the slider, 0..100."""
    return [step / STEPS, 1 - step / STEPS]


class Rankings:
    """The best items of all test events, for every method of the demo and every weight."""

    def __init__(self, bundle: Bundle, sequences: Sequences) -> None:
        self.tensors, self.about = bundle.tensors, bundle.description
        self.generator = generator_of(bundle)
        self.states, self.categories = bundle.tensors["states"], sequences.categories
        features = item_features(self.generator.form, sequences, "cpu")  # [n + 1, M]
        categories = torch.empty(0) if features is None else features
        form = self.generator.form
        self.table = item_table(bundle.tensors["items"], categories, form)  # [n + 1, d + M]
        self.candidates = candidates_of(sequences, sequences.test)["full"]
        none = torch.zeros(1, form.size)
        # Whose lists are re-ranked: the backbone's, and those of a few adapters.
        generated = self.generator.generate(self.about["sources"])
        self.sources = torch.cat([none, generated])  # [1 + sources, P]
        self._source_scores = lru_cache(maxsize=8)(lambda source: self.scores(self.sources[source]))

    @torch.no_grad()
    def scores(self, vector: Tensor) -> np.ndarray:
        """Scores ``[N, n + 1]`` of the catalogue under one adapter ``vector [P]``."""
        adapter = Adapter.from_vector(vector, self.generator.form)
        return (adapter(self.states) @ self.table.T).numpy()

    def top(self, method: str, step: int) -> np.ndarray:
        """The ten best items of every event at a step of the slider, best first: ``[N, 10]``."""
        if method in RERANKED:
            return self._reranked(method, step)
        return top_k(self.scored(method, step), TOP, self.candidates.excluded)

    def scored(self, method: str, step: int) -> np.ndarray:
        """Catalogue scores ``[N, n + 1]`` of a method that gives each item a score."""
        if method == "generated":
            return self.scores(self.generator.generate(weights_of(step))[0])
        own = self._source_scores(0)
        if method == "category_bias":
            return biased_scores(own, self.categories, self._bias(step))
        return own

    def _bias(self, step: int) -> Tensor:
        """The tuned bias ``[M]``; between two evaluation weights, a mix of theirs."""
        bias = self.tensors["bias"]  # [W, M]
        place = step * (len(bias) - 1) / STEPS
        low = min(int(place), len(bias) - 2)
        return bias[low] + (place - low) * (bias[low + 1] - bias[low])

    def _reranked(self, method: str, step: int) -> np.ndarray:
        source, temperature, depth, weight = self.tensors[f"rerank.{method}"][step].tolist()
        columns, ranked = self.candidates.best(self._source_scores(int(source)), temperature)
        order = rerank(RERANKED[method], ranked, weight, TOP, int(depth))
        return np.take_along_axis(columns, order, 1)


def generator_of(bundle: Bundle) -> Generator:
    """The generator whose parameters are in a bundle."""
    start, about = "generator.", bundle.description["generator"]
    own = {k.removeprefix(start): v for k, v in bundle.tensors.items() if k.startswith(start)}
    settings = params.GeneratorSettings.model_validate(about["settings"])
    latent = Latent(own["latent.mean"], own["latent.basis"], float(own["latent.scale"]))
    model = DiffusionModel(latent, len(about["floor"]), settings)
    model.load_state_dict(own)
    return Generator(model.eval().requires_grad_(False), about)
