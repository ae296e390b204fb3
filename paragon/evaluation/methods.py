"""The table of methods to compare; a new one in ``paragon/rivals`` needs an entry in ``METHODS``.

Shapes: N events, n items, W weights, O objectives, P parameters, S seeds, M categories.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property, partial
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from paragon.adapters import mixtures
from paragon.adapters.collection import Collection
from paragon.adapters.frozen import FrozenEvents, best_of
from paragon.errors import ParagonError
from paragon.evaluation.protocol import PROTOCOLS, Row, Scores, TestSet, rows_of_weights
from paragon.generator.generator import Generator
from paragon.reranking import settings as reranking
from paragon.reranking.rules import RERANKERS, Rerank
from paragon.reranking.settings import Trials, Tried
from paragon.rivals import baselines
from paragon.rivals.end_to_end import END_TO_END, EndToEnd, biased_scores
from paragon.rivals.retrain import Retrained


@dataclass(frozen=True, kw_only=True)
class Trained:
    """The trained models of a study, and the events to measure them on."""

    valid: FrozenEvents  # events as adapters see them
    test: FrozenEvents
    test_set: TestSet
    collection: Collection
    weights: Tensor  # [W, O], of the evaluation
    generators: Mapping[str, Sequence[Generator]]  # by name, then for each seed
    learned: Sequence[Mapping[str, EndToEnd]]  # for each seed, by name
    category_bias: Tensor  # [S, W, M]
    retrain_weights: Tensor  # [R, O]
    retrained: Mapping[int, Iterator[Retrained]]  # by seed, for these weights, loaded when needed
    # Filled by `reranked`, by re-ranker, protocol and adapter: several methods re-rank the same.
    tried: dict[tuple[Rerank, str, bytes], Tried] = field(default_factory=dict)

    @property
    def seeds(self) -> list[int]:
        """The seeds of adapters and generators."""
        return self.collection.description["seeds"]

    @cached_property
    def trials(self) -> dict[str, Trials]:
        """The validation events on which settings of re-rankers are tried, by protocol."""
        return Trials.of(self.test_set.sequences)

    def columns(self) -> tuple[int, int]:
        """Return the columns of accuracy and of diversity, or of the first other objective."""
        objectives = self.test_set.objectives
        accuracy = objectives.index("accuracy")
        if "diversity" in objectives:
            return accuracy, objectives.index("diversity")
        return accuracy, 1 if accuracy == 0 else 0

    def backbone_scores(self) -> np.ndarray:
        """Score with the backbone alone, ``[N, n + 1]``."""
        return self.test.catalogue_scores(torch.zeros(self.test.form.size)).cpu().numpy()


# Adapters [W, P] of the seed with this index, for weights [W, O]; None if there are none.  Of a
# re-ranker: the adapters whose lists it re-ranks, as many as it takes.
Vectors = Callable[[Trained, int, Tensor], Tensor | None]


class Method(NamedTuple):
    """A method of the comparison: its kind, and one way to compute its scores."""

    kind: str  # tuned, generated, mixture, end_to_end, reranked or reference
    mixture: mixtures.Coefficients | None = None  # of collected adapters
    vectors: Vectors | None = None
    rerank: Rerank | None = None  # of the backbone's list, or those of the adapters `vectors`
    rows: Callable[[Trained], Iterator[Row]] | None = None  # anything else
    between: Vectors | None = None  # at the weights of headline and slider, if not as above
    fixed: bool = False  # the same for all weights and seeds

    def adapters(self, trained: Trained, index: int, weights: Tensor) -> Tensor | None:
        """Return adapters ``[W, P]`` for ``weights [W, O]`` of the seed at ``index``, or None.

        Raise ``ParagonError`` if the method returns another number of adapters.
        """
        if self.mixture is not None:
            return mixtures.mixed(trained.collection, self.mixture, index, weights)
        if self.vectors is None or self.rerank is not None:
            return None
        vectors = self.vectors(trained, index, weights)
        if vectors is not None and len(vectors) != len(weights):
            returned = f"{len(vectors)} adapters for {len(weights)} weights"
            raise ParagonError(f"a method's `vectors` must return adapters [W, P], not {returned}")
        return vectors


def _envelope(trained: Trained, index: int, weights: Tensor) -> Tensor:
    """Choose for each weight the best tuned adapter of the seed, by validation task loss."""
    tuned = trained.collection.tuned(index)  # [A + W, P]
    return best_of(trained.valid, tuned, trained.test_set.objectives)(weights)


def _between_tuned(trained: Trained, index: int, weights: Tensor) -> Tensor:
    """Interpolate between all tuned adapters of a seed."""
    collection = trained.collection
    tuned_for = torch.cat([collection.anchors, collection.oracles]).double()  # [A + W, O]
    mix = mixtures.interpolation(tuned_for.numpy(), weights.double().numpy())  # [W, A + W]
    return torch.from_numpy(mix).float() @ collection.tuned(index)


def _tuned_alone(trained: Trained, index: int, weights: Tensor) -> Tensor:
    """Return the adapters that were tuned for exactly the evaluation weights."""
    return trained.collection.oracle_vectors[index]


def _generated(
    trained: Trained, index: int, weights: Tensor, name: str, **sampling: Any
) -> Tensor | None:
    """Generate with the generator ``name``; return None if it was not trained."""
    generators = trained.generators.get(name)
    return generators[index].generate(weights, **sampling) if generators else None


def _end_to_end(trained: Trained, index: int, weights: Tensor, name: str) -> Tensor | None:
    """Generate with an end-to-end rival; return None if it was not trained."""
    rival = trained.learned[index].get(name)
    return None if rival is None else rival.generate(weights)


def _shuffled(trained: Trained, index: int, weights: Tensor) -> Tensor:
    """Generate for permuted weights."""
    rng = np.random.default_rng([trained.seeds[index], 4])  # stream 4: this order
    order = torch.from_numpy(rng.permutation(len(weights)))
    return trained.generators["generated"][index].generate(weights[order])


def _unchanged(trained: Trained, index: int, weights: Tensor) -> Tensor:
    """Return zeros: s' = s."""
    return torch.zeros(len(weights), trained.test.form.size)


def _generated_sources(trained: Trained, index: int, weights: Tensor) -> Tensor:
    """Return adapters ``[1 + 3, P]`` to re-rank: none, and generated ones."""
    few = reranking.source_weights(weights, trained.columns()[0])  # [3, O]
    return reranking.source_vectors(trained.generators["generated"][index], few)


def _reranked_by_hypernetwork(trained: Trained) -> Iterator[Row]:
    """Re-rank the backbone's list by the scores of `hypernetwork` (Chen et al., KDD 2023)."""
    test_set = trained.test_set
    plain = trained.backbone_scores()  # [N, n + 1]
    excluded = test_set.excluded  # [N, n + 1]

    def scores(vectors: Tensor) -> Iterator[Scores]:
        for vector in vectors:
            policy = trained.test.catalogue_scores(vector).cpu().numpy()  # [N, n + 1]
            sampled = np.take_along_axis(policy, test_set.candidates, 1)  # [N, C]
            yield Scores.of(reranking.in_order_of(policy, plain, excluded), sampled)

    for index, seed in enumerate(trained.seeds):
        vectors = _end_to_end(trained, index, trained.weights, "hypernetwork")
        if vectors is not None:
            yield Row("cmr", seed, trained.weights.numpy(), scores(vectors))


def _category_bias(trained: Trained) -> Iterator[Row]:
    """Yield the rows of the backbone's scores with a bias of each category."""
    plain = trained.backbone_scores()  # [N, n + 1]
    categories = trained.test_set.sequences.categories
    for seed, bias in zip(trained.seeds, trained.category_bias, strict=True):
        scores = (Scores.of(biased_scores(plain, categories, u)) for u in bias)
        yield Row("category_bias", seed, trained.weights.numpy(), scores)


def _between_biases(trained: Trained, index: int, weights: Tensor) -> Tensor | None:
    """Interpolate between biases tuned for two objectives, as adapters; None without item side."""
    form = trained.test.form
    if not form.categories:
        return None
    accuracy, other = trained.columns()
    of_two = trained.weights[:, [accuracy, other]].sum(1) > 0.999  # [W]
    grid, order = trained.weights[of_two, accuracy].sort()
    tuned = trained.category_bias[index][of_two][order]  # [grid, M]
    wanted = weights[:, accuracy].numpy()  # [W]
    columns = [np.interp(wanted, grid, of_category) for of_category in tuned.T]
    return form.with_bias(torch.from_numpy(np.stack(columns, 1)).float())


def _recommender(trained: Trained, name: str) -> Iterator[Row]:
    """Yield the row of a recommender that ignores the weights."""
    test_set = trained.test_set
    weights = trained.weights.numpy()
    full = getattr(baselines, name)(test_set.sequences, test_set.evaluation)  # [N, n + 1]
    # These scores give an order, but they are not on the scale of the losses.
    sampled = np.take_along_axis(full, test_set.candidates, 1)  # [N, C]
    scores = [Scores.of(full, sampled, key=name.encode())] * len(weights)
    yield Row(name, trained.seeds[0], weights, scores, random=False)


def _retrain(trained: Trained) -> Iterator[Row]:
    """Yield a row for each seed, at the weights of `retrain`; their losses are not measured."""
    test_set = trained.test_set

    def scores(models: Iterable[Retrained]) -> Iterator[Scores]:
        for model in models:
            full = model.scores(test_set.sequences, test_set.evaluation).cpu().numpy()
            yield Scores.of(full, np.take_along_axis(full, test_set.candidates, 1))

    for seed, models in trained.retrained.items():
        yield Row("retrain", seed, trained.retrain_weights.numpy(), scores(models))


def _mixture(coefficients: mixtures.Coefficients) -> Method:
    return Method("mixture", mixture=coefficients)


XQUAD = RERANKERS["xquad"]
# In the order of the tables.
METHODS = {
    "tuned": Method("tuned", vectors=_envelope, between=_between_tuned),
    # The adapter tuned for exactly these weights; `tuned` may take one tuned for others.
    "tuned_alone": Method("tuned", vectors=_tuned_alone),
    # The paper's recipe, the same without guidance, and the transformer of the released code.
    "paragon": Method("generated", vectors=partial(_generated, name="paragon")),
    "paragon_no_cfg": Method("generated", vectors=partial(_generated, name="paragon", guidance=1)),
    "paragon_transformer": Method(
        "generated", vectors=partial(_generated, name="paragon_transformer")
    ),
    # Ours: the task loss added.
    "generated": Method("generated", vectors=partial(_generated, name="generated")),
    "generated_shuffled": Method("reference", vectors=_shuffled),
    "interpolation": _mixture(mixtures.interpolation),
    "rbf": _mixture(mixtures.rbf),
    "ridge": _mixture(mixtures.ridge),
    "interpolation_log": _mixture(mixtures.in_log_ratios(mixtures.interpolation)),
    "rbf_log": _mixture(mixtures.in_log_ratios(mixtures.rbf)),
    "ridge_log": _mixture(mixtures.in_log_ratios(mixtures.ridge)),
    "nearest": _mixture(mixtures.nearest),
    "soup": Method("reference", mixture=mixtures.soup),
    "constant": Method("reference", mixture=mixtures.constant),
    **{name: Method("end_to_end", vectors=partial(_end_to_end, name=name)) for name in END_TO_END},
    "category_bias": Method("end_to_end", rows=_category_bias, between=_between_biases),
    "backbone": Method("reference", vectors=_unchanged, fixed=True),
    "mmr": Method("reranked", rerank=RERANKERS["mmr"]),
    "xquad": Method("reranked", rerank=XQUAD),
    "dpp": Method("reranked", rerank=RERANKERS["dpp"]),
    "generated_xquad": Method("reranked", rerank=XQUAD, vectors=_generated_sources),
    "popularity": Method("reference", rows=partial(_recommender, name="popularity")),
    "item_knn": Method("reference", rows=partial(_recommender, name="item_knn")),
    "cmr": Method("reranked", rows=_reranked_by_hypernetwork),
    "retrain": Method("tuned", rows=_retrain),
}


def methods_of(kind: str) -> list[str]:
    """Return the names of all methods of a kind."""
    return [name for name, method in METHODS.items() if method.kind == kind]


def named(names: Iterable[str]) -> dict[str, Method]:
    """Select entries of ``METHODS``."""
    return {name: METHODS[name] for name in names}


def reranked(trained: Trained, index: int, method: Method) -> tuple[Tensor, dict[str, Tried]]:
    """Return the adapters whose lists a method re-ranks, and its settings tried by protocol."""
    assert method.rerank is not None
    vectors = None
    if method.vectors is not None:
        vectors = method.vectors(trained, index, trained.weights)
    if vectors is None:
        vectors = torch.zeros(1, trained.test.form.size)  # the backbone: s' = s
    by_protocol = {}
    for protocol in PROTOCOLS:
        of_sources = [_tried(trained, method.rerank, protocol, vector) for vector in vectors]
        by_protocol[protocol] = reranking.numbered_sources(of_sources)
    return vectors, by_protocol


def _tried(trained: Trained, rerank: Rerank, protocol: str, vector: Tensor) -> Tried:
    """Try the settings of a re-ranker of the lists under an adapter ``[P]``, if not yet done."""
    key = (rerank, protocol, vector.cpu().numpy().tobytes())
    if key not in trained.tried:
        rows = trained.test_set.sequences.valid.sample_rows()
        scores = trained.valid.catalogue_scores(vector, rows).cpu().numpy()  # [N, n + 1]
        trials = trained.trials[protocol]
        trained.tried[key] = reranking.tried_settings(rerank, trials, [scores])
    return trained.tried[key]


def _reranked_rows(trained: Trained, name: str, method: Method) -> Iterator[Row]:
    """Yield a row of a re-ranker for each seed, or one if it re-ranks the backbone's list."""
    assert method.rerank is not None
    test_set = trained.test_set
    weights = trained.weights.numpy()
    random = method.vectors is not None
    for index, seed in enumerate(trained.seeds if random else trained.seeds[:1]):
        vectors, tried = reranked(trained, index, method)
        by_weight = reranking.reranked_scores(
            method.rerank,
            test_set.sequences,
            tried,
            trained.test,
            vectors,
            weights[:, trained.columns()[0]],
            positions=test_set.cutoffs[-1],
        )
        scores = (Scores.of(by["full"], by["sampled"]) for by in by_weight)
        yield Row(name, seed, weights, scores, random)


def other_rows(trained: Trained, name: str, method: Method) -> Iterator[Row]:
    """Yield the rows of a method that is not a set of adapters."""
    if method.rows is not None:
        yield from method.rows(trained)
    elif method.rerank is not None:
        yield from _reranked_rows(trained, name, method)


def all_rows(trained: Trained, methods: Mapping[str, Method] = METHODS) -> Iterator[Row]:
    """Yield the rows of methods; raise ``ParagonError`` if `retrain` has a weight not evaluated."""
    weights = trained.weights.numpy()
    rows_of_weights("retrain", trained.retrain_weights.numpy(), weights)
    for index, seed in enumerate(trained.seeds):
        for name, method in methods.items():
            vectors = method.adapters(trained, index, trained.weights)
            if vectors is not None:
                scores = (Scores.of_adapter(trained.test, vector) for vector in vectors)
                yield Row(name, seed, weights, scores)
    for name, method in methods.items():
        yield from other_rows(trained, name, method)
