"""The table of methods to compare; a new one in ``paragon/rivals`` needs an entry in ``METHODS``.

Shapes: N events, n items, W evaluation weights, O objectives, P parameters, S seeds, M categories.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from paragon.adapters import mixtures
from paragon.adapters.collection import Collection
from paragon.adapters.frozen import FrozenTask, best_of
from paragon.evaluation.protocol import PROTOCOLS, Row, Scores, TestSet, rows_of_weights
from paragon.generator.generator import Generator
from paragon.rivals import baselines, reranking
from paragon.rivals.end_to_end import END_TO_END, EndToEnd, biased_scores
from paragon.rivals.reranking import RERANKERS, Rerank, Tried
from paragon.rivals.retrain import Retrained


@dataclass(frozen=True)
class Trained:
    """The trained models of a study, and the events to measure them on."""

    valid: FrozenTask  # events as adapters see them
    test: FrozenTask
    test_set: TestSet
    collection: Collection
    weights: Tensor  # [W, O], of the evaluation
    generators: Mapping[str, Sequence[Generator]]  # by name, then for each seed
    learned: Sequence[Mapping[str, EndToEnd]]  # for each seed, by name
    category_bias: Tensor  # [S, W, M]
    retrain_weights: Tensor  # [R, O]
    retrained: Mapping[int, Iterator[Retrained]]  # by seed, for these weights, loaded when needed
    tried: dict[tuple, dict[str, Tried]] = field(default_factory=dict)  # see `tried_settings`

    @property
    def seeds(self) -> list[int]:
        """The seeds of adapters and generators."""
        return self.collection.description["seeds"]

    def oracles(self, index: int) -> Tensor:
        """Return the adapters ``[W, P]`` of a seed that were tuned for the evaluation weights."""
        return self.collection.oracle_vectors[index]

    def backbone_scores(self) -> np.ndarray:
        """Score with the backbone alone, ``[N, n + 1]``."""
        return self.test.catalogue_scores(torch.zeros(self.test.form.size)).cpu().numpy()


class Method(NamedTuple):
    """A method of the comparison: its kind, and one way to compute its scores."""

    kind: str  # oracle, generated, mixture, end_to_end, reranked or reference
    mixture: mixtures.Coefficients | None = None  # of collected adapters
    # Adapters [W, P] of the seed with this index, or None if the method does not apply to it.
    vectors: Callable[[Trained, int], Tensor | None] | None = None
    rerank: Rerank | None = None  # of the backbone's list, or those of the adapters `vectors`
    rows: Callable[[Trained], Iterator[Row]] | None = None  # anything else


def _envelope(trained: Trained, index: int) -> Tensor:
    """Choose for each weight the best tuned adapter of the seed, by validation task loss."""
    tuned = trained.collection.tuned(index)  # [A + W, P]
    return best_of(trained.valid, tuned, trained.test_set.objectives)(trained.weights)


def _generated(trained: Trained, index: int, name: str, **sampling: Any) -> Tensor | None:
    """Generate with the generator ``name``; return None if it was not trained."""
    generators = trained.generators.get(name)
    return generators[index].generate(trained.weights, **sampling) if generators else None


def _end_to_end(trained: Trained, index: int, name: str) -> Tensor | None:
    """Generate with an end-to-end rival; return None if it was not trained."""
    rival = trained.learned[index].get(name)
    return None if rival is None else rival.generate(trained.weights)


def _shuffled(trained: Trained, index: int) -> Tensor:
    """Generate for permuted evaluation weights."""
    order = np.random.default_rng([trained.seeds[index], 4]).permutation(len(trained.weights))
    shuffled = trained.weights[torch.from_numpy(order)]
    return trained.generators["generated"][index].generate(shuffled)


def _sources(trained: Trained, index: int, tuned: bool = False) -> Tensor:
    """Return adapters ``[1 + 3, P]`` to re-rank: none, and generated ones or anchors near them."""
    accuracy = trained.test_set.objectives.index("accuracy")
    weights = reranking.source_weights(trained.weights, accuracy)
    if not tuned:
        return reranking.source_vectors(trained.generators["generated"][index], weights)
    anchors = mixtures.mixed(trained.collection, mixtures.nearest, index, weights)  # [3, P]
    return torch.cat([torch.zeros_like(anchors[:1]), anchors])


def _reranked_by_hypernetwork(trained: Trained) -> Iterator[Row]:
    """Re-rank the backbone's list by the scores of `hypernetwork` (Chen et al., KDD 2023)."""
    test_set, plain = trained.test_set, trained.backbone_scores()
    excluded = test_set.excluded

    def scores(vectors: Tensor) -> Iterator[Scores]:
        for vector in vectors:
            policy = trained.test.catalogue_scores(vector).cpu().numpy()
            sampled = np.take_along_axis(policy, test_set.candidates, 1)
            yield Scores.of(reranking.in_order_of(policy, plain, excluded), sampled)

    for index, seed in enumerate(trained.seeds):
        if (vectors := _end_to_end(trained, index, "hypernetwork")) is not None:
            yield Row("cmr", seed, trained.weights.numpy(), scores(vectors))


def _category_bias(trained: Trained) -> Iterator[Row]:
    plain, categories = trained.backbone_scores(), trained.test_set.sequences.categories
    for seed, bias in zip(trained.seeds, trained.category_bias, strict=True):
        scores = (Scores.of(biased_scores(plain, categories, u)) for u in bias)
        yield Row("category_bias", seed, trained.weights.numpy(), scores)


def _recommender(trained: Trained, name: str) -> Iterator[Row]:
    """Yield the row of a recommender that ignores the weights."""
    test_set, weights = trained.test_set, trained.weights.numpy()
    full = getattr(baselines, name)(test_set.sequences, test_set.evaluation)
    # These scores give an order, but they are not on the scale of the losses.
    sampled = np.take_along_axis(full, test_set.candidates, 1)
    scores = [Scores.of(full, sampled, key=name.encode())] * len(weights)
    yield Row(name, trained.seeds[0], weights, scores, random=False)


def _retrain(trained: Trained) -> Iterator[Row]:
    """Yield a row for each seed, at the weights of `retrain`; their losses are not measured."""
    test_set = trained.test_set
    for seed, models in trained.retrained.items():
        tables = (m.scores(test_set.sequences, test_set.evaluation).cpu().numpy() for m in models)
        scores = (Scores.of(x, np.take_along_axis(x, test_set.candidates, 1)) for x in tables)
        yield Row("retrain", seed, trained.retrain_weights.numpy(), scores)


XQUAD = RERANKERS["xquad"]
# In the order of the tables.
METHODS = {
    "tuned": Method("oracle", vectors=_envelope),
    # The adapter tuned for exactly these weights; `tuned` may take one tuned for others.
    "tuned_alone": Method(
        "oracle", vectors=lambda trained, i: trained.collection.oracle_vectors[i]
    ),
    # The paper's recipe, the same without guidance, and the transformer of the released code.
    "paragon": Method("generated", vectors=partial(_generated, name="paragon")),
    "paragon_no_cfg": Method("generated", vectors=partial(_generated, name="paragon", guidance=1)),
    "paragon_transformer": Method(
        "generated", vectors=partial(_generated, name="paragon_transformer")
    ),
    # Ours: the task loss added.
    "generated": Method("generated", vectors=partial(_generated, name="generated")),
    "generated_shuffled": Method("reference", vectors=_shuffled),
    "interpolation": Method("mixture", mixture=mixtures.interpolation),
    "rbf": Method("mixture", mixture=mixtures.rbf),
    "ridge": Method("mixture", mixture=mixtures.ridge),
    "interpolation_log": Method("mixture", mixture=mixtures.in_log_ratios(mixtures.interpolation)),
    "rbf_log": Method("mixture", mixture=mixtures.in_log_ratios(mixtures.rbf)),
    "ridge_log": Method("mixture", mixture=mixtures.in_log_ratios(mixtures.ridge)),
    "nearest": Method("mixture", mixture=mixtures.nearest),
    "soup": Method("reference", mixture=mixtures.soup),
    "constant": Method("reference", mixture=mixtures.constant),
    **{name: Method("end_to_end", vectors=partial(_end_to_end, name=name)) for name in END_TO_END},
    "category_bias": Method("end_to_end", rows=_category_bias),
    "backbone": Method(  # zeros: s' = s
        "reference",
        vectors=lambda trained, i: torch.zeros_like(trained.oracles(i)),
    ),
    "mmr": Method("reranked", rerank=RERANKERS["mmr"]),
    "xquad": Method("reranked", rerank=XQUAD),
    "dpp": Method("reranked", rerank=RERANKERS["dpp"]),
    "generated_xquad": Method("reranked", rerank=XQUAD, vectors=_sources),
    "tuned_xquad": Method("reranked", rerank=XQUAD, vectors=partial(_sources, tuned=True)),
    "popularity": Method("reference", rows=partial(_recommender, name="popularity")),
    "item_knn": Method("reference", rows=partial(_recommender, name="item_knn")),
    "cmr": Method("reranked", rows=_reranked_by_hypernetwork),
    "retrain": Method("oracle", rows=_retrain),
}


def methods_of(kind: str) -> list[str]:
    """Return the names of all methods of a kind."""
    return [name for name, method in METHODS.items() if method.kind == kind]


def adapter_vectors(trained: Trained, index: int, name: str) -> Tensor | None:
    """Return the adapters ``[W, P]`` of a method for the seed of this index, or None."""
    method = METHODS[name]
    if method.mixture is not None:
        return mixtures.mixed(trained.collection, method.mixture, index, trained.weights)
    return None if method.vectors is None or method.rerank else method.vectors(trained, index)


def reranked(trained: Trained, index: int, name: str) -> tuple[Tensor, dict[str, Tried]]:
    """Return the adapters whose lists a method re-ranks, and its settings tried by protocol."""
    method, sequences = METHODS[name], trained.test_set.sequences
    assert method.rerank is not None
    vectors = method.vectors and method.vectors(trained, index)
    if vectors is None:
        vectors = torch.zeros(1, trained.test.form.size)  # the backbone: s' = s
    if (name, index) not in trained.tried:
        rows = sequences.valid.sample_rows()
        sources = [trained.valid.catalogue_scores(v, rows).cpu().numpy() for v in vectors]
        parts = method.rerank, sequences, sources
        trained.tried[name, index] = {p: reranking.tried_settings(*parts, p) for p in PROTOCOLS}
    return vectors, trained.tried[name, index]


def other_rows(trained: Trained, name: str) -> Iterator[Row]:
    """Yield the rows of a method that is not a set of adapters."""
    method, test_set = METHODS[name], trained.test_set
    if method.rows is not None:
        yield from method.rows(trained)
    elif method.rerank is not None:
        weights, random = trained.weights.numpy(), method.vectors is not None
        accuracy = weights[:, test_set.objectives.index("accuracy")]
        for index, seed in enumerate(trained.seeds if random else trained.seeds[:1]):
            vectors, tried = reranked(trained, index, name)
            parts = method.rerank, test_set.sequences, tried, trained.test, vectors, accuracy
            both = reranking.reranked_scores(*parts, test_set.cutoffs[-1])
            scores = (Scores.of(by["full"], by["sampled"]) for by in both)
            yield Row(name, seed, weights, scores, random)


def all_rows(trained: Trained, names: Iterable[str] = METHODS) -> Iterator[Row]:
    """Yield the rows of methods; raise ``ParagonError`` if `retrain` has a weight not evaluated."""
    weights = trained.weights.numpy()
    rows_of_weights("retrain", trained.retrain_weights.numpy(), weights)
    for index, seed in enumerate(trained.seeds):
        for name in names:
            if (vectors := adapter_vectors(trained, index, name)) is not None:
                scores = (Scores.of_adapter(trained.test, vector) for vector in vectors)
                yield Row(name, seed, weights, scores)
    for name in names:
        yield from other_rows(trained, name)
