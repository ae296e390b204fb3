"""Rows of the comparison that re-rank a list: the backbone's, or that of generated adapters."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
import torch
from torch import Tensor

from paragon.evaluation.testbed import Row
from paragon.evaluation.trained import Trained
from paragon.rivals.calibration import calibrated, validation_rows
from paragon.rivals.reranking import cmr_scores


def reranked_backbone(rule: str) -> Callable[[Trained], Iterator[Row]]:
    """One row: the backbone's list, re-ranked by a ``rule`` of `paragon.rivals.greedy`."""

    def rows(trained: Trained) -> Iterator[Row]:
        none = torch.zeros(1, trained.test.form.size)  # s' = s
        scores = _calibrated(rule, trained, none)
        yield Row(rule, trained.seeds[0], trained.weights.numpy(), scores, random=False)

    return rows


def reranked_adapters(name: str, rule: str) -> Callable[[Trained], Iterator[Row]]:
    """For each seed a row ``name``: the lists of generated adapters, re-ranked by a ``rule``.

    Of three adapters, for the smallest, the middle and the largest weight of accuracy, and of none.
    Which list is re-ranked for which weight, and how far, is chosen on the validation events.
    """

    def rows(trained: Trained) -> Iterator[Row]:
        order = np.argsort(_of_accuracy(trained), kind="stable")  # [W]
        three = trained.weights[order[[0, len(order) // 2, -1]].tolist()]  # [3, O]
        for seed, generator in zip(trained.seeds, trained.generators, strict=True):
            none = torch.zeros(1, trained.test.form.size)
            sources = torch.cat([none, generator.generate(three).cpu()])
            scores = _calibrated(rule, trained, sources)
            yield Row(name, seed, trained.weights.numpy(), scores)

    return rows


def reranked_by_hypernetwork(trained: Trained) -> Iterator[Row]:
    """One row for each seed: every `hypernetwork` as a re-ranker of the backbone's list.

    The weights make the parameters of what re-ranks (Chen et al., "Controllable Multi-Objective
    Re-ranking with Policy Hypernetworks", KDD 2023): here an adapter, which scores one item at
    a time; theirs looks at the whole list.
    """
    scores, weights = trained.own_scores(), trained.weights
    lists, score = (trained.bed.candidates, trained.bed.excluded), trained.test.catalogue_scores
    for seed, models in zip(trained.seeds, trained.learned, strict=True):
        if "hypernetwork" in models:
            vectors = models["hypernetwork"].generate(weights)
            policies = (score(vector).cpu().numpy() for vector in vectors)
            reranked = (cmr_scores(*lists, scores, policy) for policy in policies)
            yield Row("cmr", seed, weights.numpy(), reranked)


def _calibrated(rule: str, trained: Trained, vectors: Tensor) -> Iterator[dict[str, np.ndarray]]:
    """Scores for each evaluation weight, of re-ranked lists of the adapters ``vectors [V, P]``."""
    bed = trained.bed
    rows, events = validation_rows(bed.sequences.valid)
    sources = [trained.valid.catalogue_scores(v, rows).cpu().numpy() for v in vectors]

    def on_test(source: int) -> np.ndarray:
        return trained.test.catalogue_scores(vectors[source]).cpu().numpy()

    valid, test = (events, sources), (bed.evaluation, on_test)
    weights, positions = _of_accuracy(trained), bed.cutoffs[-1]
    yield from calibrated(rule, bed.sequences, valid, test, weights, positions)


def _of_accuracy(trained: Trained) -> np.ndarray:
    """The weight of accuracy in each evaluation weight, ``[W]``."""
    return trained.weights[:, trained.bed.objectives.index("accuracy")].numpy()
