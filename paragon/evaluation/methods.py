"""The table of methods: how the rows of each come about.

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
    """A row of the comparison: its kind, and one way to its scores.

    ``mixture``: coefficients of the collected adapters; ``model``: a module trained end to
    end, ``model(start [P], objectives, settings)``; ``vectors``: an adapter for each
    evaluation weight, ``[W, P]``, or None where the method does not apply; ``rows``:
    everything else.
    """

    kind: str
    mixture: Coefficients | None = None
    model: type[nn.Module] | None = None
    vectors: Callable[[OneSeed], Tensor | None] | None = None
    rows: Callable[[Trained], Iterator[Row]] | None = None


# In the order of the tables.
METHODS = {
    "tuned": Method("oracle", vectors=lambda one: one.trained.collection.oracle_vectors[one.index]),
    "generated": Method(
        "generated", vectors=lambda one: one.generator.generate(one.trained.weights)
    ),
    "generated_best": Method(
        "generated",
        vectors=lambda one: generated_best(one.generator, one.trained.weights, one.trained.valid),
    ),
    "generated_shuffled": Method(
        "reference", vectors=lambda one: one.generator.generate(one.shuffled()[0])
    ),
    "generated_cfg": Method("generated", vectors=_guided),
    "generated_no_cfg": Method("generated", vectors=_not_guided),
    "paragon": Method("generated", vectors=_published),
    "paragon_no_cfg": Method("generated", vectors=partial(_published, guidance=1.0)),
    "interpolation": Method("mixture", mixture=interpolation),
    "rbf": Method("mixture", mixture=rbf),
    "ridge": Method("mixture", mixture=ridge),
    "interpolation_log": Method("mixture", mixture=in_log_ratios(interpolation)),
    "rbf_log": Method("mixture", mixture=in_log_ratios(rbf)),
    "ridge_log": Method("mixture", mixture=in_log_ratios(ridge)),
    "nearest": Method("mixture", mixture=nearest),
    "soup": Method("reference", mixture=soup),
    "constant": Method("reference", mixture=constant),
    "hypernetwork": Method("end_to_end", model=Hypernetwork),
    "linear_subspace": Method("end_to_end", model=LinearSubspace),
    "nearest_noise": Method("reference", vectors=_nearest_noise),
    "category_bias": Method("end_to_end", rows=_category_bias),
    "backbone": Method(
        "reference",
        vectors=lambda one: torch.zeros_like(one.trained.collection.oracle_vectors[one.index]),
    ),
    "mmr": Method("reranked", rows=reranked_backbone("mmr")),
    "xquad": Method("reranked", rows=reranked_backbone("xquad")),
    "dpp": Method("reranked", rows=reranked_backbone("dpp")),
    "generated_xquad": Method("reranked", rows=reranked_adapters("generated_xquad", "xquad")),
    "popularity": Method("reference", rows=_same_for_all_weights("popularity", popularity)),
    "item_knn": Method("reference", rows=_same_for_all_weights("item_knn", item_knn)),
    "cmr": Method("reranked", rows=reranked_by_hypernetwork),
    "retrain": Method("oracle", rows=_retrain),
}


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
