"""The table of methods: for each its look in figures and how its rows come about.

To add a rival, write it in a file of ``paragon/rivals`` and enter it in ``METHODS``: as a
``mixture`` of the collected adapters, as a ``model`` that is trained end to end, as
``vectors`` (an adapter for each weight) or as ``rows`` (scores of any other kind).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from paragon.adapters.frozen import FrozenTask, held_out_losses
from paragon.adapters.mixtures import (
    Coefficients,
    constant,
    in_log_ratios,
    interpolation,
    mixed,
    nearest,
    rbf,
    ridge,
    soup,
)
from paragon.data.sequences import Evaluation, Sequences
from paragon.errors import ParagonError
from paragon.evaluation.blocks import InBlocks
from paragon.evaluation.reranked import (
    reranked_adapters,
    reranked_backbone,
    reranked_by_hypernetwork,
)
from paragon.evaluation.testbed import Row, rows_of_weights
from paragon.evaluation.trained import OneSeed, Trained
from paragon.generator.generator import Generator
from paragon.generator.memorisation import noisy, to_nearest
from paragon.rivals.category_bias import biased_scores
from paragon.rivals.end_to_end import Hypernetwork, LinearSubspace
from paragon.rivals.reranking import item_knn, popularity

# What a method does.  Mixtures follow the weights between the anchors.
KINDS = ("oracle", "generated", "mixture", "end_to_end", "reranked", "reference")
_DASH, _DOT, _DASHDOT = (0, (5, 1.5)), (0, (1, 1.3)), (0, (5, 1.5, 1, 1.5))


def generated_best(
    generator: Generator, weights: Tensor, valid: FrozenTask, samples: int = 8, **sampling: Any
) -> Tensor:
    """For each weight the best of several generated vectors, by validation task loss.

    ``sampling``: further arguments of :meth:`Generator.generate`.
    """
    drawn = torch.stack([generator.generate(weights, sample=i, **sampling) for i in range(samples)])
    flat = drawn.flatten(0, 1).to(valid.states.device)
    losses = held_out_losses(valid, flat, generator.objectives).cpu()
    task = (losses.view(samples, len(weights), -1) * weights).sum(-1)
    return drawn[task.argmin(0), torch.arange(len(weights))]


def _guided(one: OneSeed) -> Tensor | None:
    """With guidance, of a generator that uses none."""
    if one.generator.settings.guidance != 1:
        return None
    # A step or two from pure noise would carry the guided difference too far.
    return one.generator.generate(one.trained.weights, guidance=1.5, steps=10)


def _not_guided(one: OneSeed) -> Tensor | None:
    """Without guidance, of a generator that uses it."""
    if one.generator.settings.guidance == 1:
        return None
    return one.generator.generate(one.trained.weights, guidance=1.0)


def _published(one: OneSeed, **sampling: Any) -> Tensor | None:
    """The paper's generator, where it was trained for this seed."""
    published = one.trained.published
    if one.index >= len(published):
        return None
    return published[one.index].generate(one.trained.weights, **sampling)


def _category_bias(trained: Trained) -> Iterator[Row]:
    """One row for each seed."""
    own, categories = trained.own_scores(), trained.bed.sequences.categories
    for seed, bias in zip(trained.seeds, trained.category_bias, strict=True):
        scores = (biased_scores(own, categories, u) for u in bias)
        yield Row("category_bias", seed, trained.weights.numpy(), scores)


def _nearest_noise(one: OneSeed) -> Tensor:
    """Moved as far as generated vectors lie from all collected ones: is novelty alone worth it?"""
    generated = one.generator.generate(one.trained.weights)
    far = to_nearest(generated, one.trained.collection.training_set(one.index)[0])
    _, rng = one.shuffled()
    return noisy(mixed(one.trained.collection, nearest, one.index, one.trained.weights), far, rng)


def _same_for_all_weights(
    name: str, recommend: Callable[[Sequences, Evaluation], np.ndarray]
) -> Callable[[Trained], Iterator[Row]]:
    """A recommender that does not hear the weights: ``recommend(sequences, evaluation)``."""

    def rows(trained: Trained) -> Iterator[Row]:
        bed, weights = trained.bed, trained.weights.numpy()
        full = recommend(bed.sequences, bed.evaluation)
        # Counts and sums of similarities: an order, but not on the scale of the losses.
        both = {"sampled": np.take_along_axis(full, bed.candidates, 1), "full": full}
        yield Row(name, trained.seeds[0], weights, [both] * len(weights), random=False)

    return rows


def _retrain(trained: Trained) -> Iterator[Row]:
    """One row for each seed, at its own weights."""
    weights = trained.retrain_weights.numpy()
    for seed, models in trained.retrained.items():
        bed = trained.bed
        scores = (model.scores(bed.sequences, bed.evaluation).cpu().numpy() for model in models)
        yield Row("retrain", seed, weights, scores)


@dataclass(frozen=True)
class Method:
    """A row of the comparison: its look in every figure, its kind, and one way to its scores.

    ``mixture``: coefficients of the collected adapters; ``model``: a module trained end to
    end, ``model(start [P], objectives, settings)``; ``vectors``: an adapter for each
    evaluation weight, ``[W, P]``, or None where the method does not apply; ``rows``:
    everything else.
    """

    kind: str
    label: str
    colour: str
    marker: str
    line: object = "-"
    mixture: Coefficients | None = None
    model: type[nn.Module] | None = None
    vectors: Callable[[OneSeed], Tensor | None] | None = None
    rows: Callable[[Trained], Iterator[Row]] | None = None


# In the order of the tables.  Colours are the Okabe-Ito set and Paul Tol's muted set, which
# colour-blind readers can distinguish; markers and dashes carry the same information in grey.
METHODS = {
    "tuned": Method(
        "oracle", "tuned (oracle)", "#a3a3a3", "o",  # drawn wide, beneath the others
        vectors=lambda one: one.trained.collection.oracle_vectors[one.index],
    ),
    "generated": Method(
        "generated", "generated", "#D55E00", "o",
        vectors=lambda one: one.generator.generate(one.trained.weights),
    ),
    "generated_best": Method(
        "generated", "generated, best of 8", "#882255", "^", _DASH,
        vectors=lambda one: generated_best(one.generator, one.trained.weights, one.trained.valid),
    ),
    "generated_shuffled": Method(
        "reference", "generated, shuffled", "#CC79A7", "X", _DOT,
        vectors=lambda one: one.generator.generate(one.shuffled()[0]),
    ),
    "generated_cfg": Method(
        "generated", "generated, guided", "#661100", "v", _DASHDOT, vectors=_guided
    ),
    "generated_no_cfg": Method(
        "generated", "generated, no guidance", "#E69F00", "v", _DASHDOT, vectors=_not_guided
    ),
    "paragon": Method(
        "generated", "Paragon, as published", "#B3446C", "D", _DASHDOT, vectors=_published
    ),
    "paragon_no_cfg": Method(
        "generated", "Paragon, no guidance", "#E25822", "d", _DOT,
        vectors=partial(_published, guidance=1.0),
    ),
    "interpolation": Method(
        "mixture", "interpolation", "#0072B2", "s", _DASH, mixture=interpolation
    ),
    "rbf": Method("mixture", "thin-plate spline", "#6699CC", "h", _DASHDOT, mixture=rbf),
    "ridge": Method("mixture", "ridge regression", "#117733", "p", _DASHDOT, mixture=ridge),
    "interpolation_log": Method(
        "mixture", "interpolation, log-ratios", "#1F77B4", "D", _DOT,
        mixture=in_log_ratios(interpolation),
    ),
    "rbf_log": Method(
        "mixture", "thin-plate spline, log-ratios", "#9BB7D4", "h", _DOT,
        mixture=in_log_ratios(rbf),
    ),
    "ridge_log": Method(
        "mixture", "ridge regression, log-ratios", "#2CA02C", "p", _DOT,
        mixture=in_log_ratios(ridge),
    ),
    "nearest": Method("mixture", "nearest anchor", "#56B4E9", "v", _DASHDOT, mixture=nearest),
    "soup": Method("reference", "soup of two", "#009E73", "^", _DASHDOT, mixture=soup),
    "constant": Method("reference", "constant (middle)", "#555555", "s", _DOT, mixture=constant),
    "hypernetwork": Method("end_to_end", "hypernetwork", "#332288", "P", model=Hypernetwork),
    "linear_subspace": Method(
        "end_to_end", "linear subspace", "#44AA99", "<", _DASH, model=LinearSubspace
    ),
    "nearest_noise": Method(
        "reference", "nearest + noise", "#88CCEE", "d", _DOT, vectors=_nearest_noise
    ),
    "category_bias": Method(
        "end_to_end", "category bias", "#DDCC77", "8", _DASHDOT, rows=_category_bias
    ),
    "backbone": Method(
        "reference", "backbone alone", "#222222", "*", _DASH,  # zeros: s' = s
        vectors=lambda one: torch.zeros_like(one.trained.collection.oracle_vectors[one.index]),
    ),
    "mmr": Method(
        "reranked", "MMR re-ranking", "#999933", ">", _DASH, rows=reranked_backbone("mmr")
    ),
    "xquad": Method(
        "reranked", "xQuAD re-ranking", "#004D40", "<", _DASH, rows=reranked_backbone("xquad")
    ),
    "dpp": Method(
        "reranked", "DPP re-ranking", "#8C564B", "p", _DOT, rows=reranked_backbone("dpp")
    ),
    "generated_xquad": Method(
        "reranked", "generated, xQuAD", "#E7298A", "d", _DASHDOT,
        rows=reranked_adapters("generated_xquad", "xquad"),
    ),
    "popularity": Method(
        "reference", "popularity", "#777777", "X", _DASHDOT,
        rows=_same_for_all_weights("popularity", popularity),
    ),
    "item_knn": Method(
        "reference", "item kNN", "#AA4499", "H", _DOT,
        rows=_same_for_all_weights("item_knn", item_knn),
    ),
    "cmr": Method(
        "reranked", "hypernetwork, re-ranking", "#6A51A3", "P", _DOT,
        rows=reranked_by_hypernetwork,
    ),
    "retrain": Method("oracle", "retrained", "#000000", "D", "none", rows=_retrain),
}  # fmt: skip


def methods_of(kind: str) -> list[str]:
    """The names of all methods of a kind."""
    return [name for name, method in METHODS.items() if method.kind == kind]


def mixture_of(name: str) -> Coefficients:
    """The coefficients of a method that mixes the collected adapters."""
    mixture = METHODS[name].mixture
    if mixture is None:
        raise ParagonError(f"method {name}: it is no mixture of adapters")
    return mixture


def model_of(name: str) -> type[nn.Module]:
    """The module of a method that is trained end to end."""
    model = METHODS[name].model
    if model is None:
        raise ParagonError(f"method {name}: it is not trained end to end")
    return model


def adapter_vectors(one: OneSeed, name: str) -> Tensor | None:
    """The adapters ``[W, P]`` of a method for one seed; None if it has none here."""
    method, trained = METHODS[name], one.trained
    if method.mixture is not None:
        return mixed(trained.collection, method.mixture, one.index, trained.weights)
    if method.model is not None:
        rival = trained.learned[one.index].get(name)
        return None if rival is None else rival.generate(trained.weights)
    return None if method.vectors is None else method.vectors(one)


def all_rows(trained: Trained) -> Iterator[Row]:
    """Every row of the comparison: the adapters of all seeds, then all others.

    Before anything is measured it raises ``ParagonError`` if `retrain` has weights that are not
    among those of the evaluation.
    """
    weights = trained.weights.numpy()
    rows_of_weights("retrain", trained.retrain_weights.numpy(), weights)
    for index, seed in enumerate(trained.seeds):
        for name in METHODS:
            vectors = adapter_vectors(OneSeed(trained, index), name)
            if vectors is not None:
                scores = (InBlocks.of(trained.test, vector) for vector in vectors)
                yield Row(name, seed, weights, scores)
    for method in METHODS.values():
        if method.rows is not None:
            yield from method.rows(trained)
