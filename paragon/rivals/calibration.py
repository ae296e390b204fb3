"""Choose the settings of re-rankers on validation events, so that they are strong rivals.

Shapes: N events, C candidates, n items, D items of a list, M categories, W weights, S settings.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from paragon.data.sequences import Evaluation, Sequences
from paragon.generator.generator import Generator
from paragon.metrics import diversity, ranking
from paragon.rivals.reranking import Ranked, Rerank, on_top

DEPTHS = (50, 200, 1000)  # how many of the best candidates are re-ranked
# Weights of a re-ranker.  Many are close to 1, as probabilities are small beside gains.
_ODDS = 2.0 ** np.arange(-2, 15, 1.0)
LAMBDAS = (0.0, *(_ODDS / (1 + _ODDS)).tolist(), 1.0)
EVENTS = 500  # validation events at most
_TOP = 10  # positions, as in the headline metrics


class Setting(NamedTuple):
    """The setting of a re-ranker: whose scores, how many items, and which weight of accuracy."""

    source: int
    temperature: float
    depth: int
    weight: float


@dataclass(frozen=True)
class Candidates:
    """The candidates of each event under one protocol, and their categories.

    ``items [N, C]``: ids; ``excluded [N, C]`` bool; ``targets [N]``: column of the target;
    ``kinds [n + 1]``: for each item of the catalogue, its row in ``patterns [G, M]`` bool.
    """

    items: np.ndarray
    excluded: np.ndarray
    targets: np.ndarray
    kinds: np.ndarray
    patterns: np.ndarray

    def best(self, scores: np.ndarray, temperature: float) -> tuple[np.ndarray, Ranked]:
        """Return columns ``[N, D]`` of the best candidates, and lists of their probabilities."""
        most = min(DEPTHS[-1], int((~self.excluded).sum(1).min()))
        columns = ranking.top_k(scores, most, self.excluded)
        top, total = _softmax_parts(scores, self.excluded, temperature)
        of_best = np.take_along_axis(scores, columns, 1).astype(np.float64)
        kinds = self.kinds[np.take_along_axis(self.items, columns, 1)]  # [N, D]
        return columns, Ranked(np.exp((of_best - top) / temperature) / total, kinds, self.patterns)

    def temperature(self, scores: np.ndarray) -> float:
        """Choose the temperature at which targets are most likely (Guo et al., ICML 2017)."""
        of_target = np.take_along_axis(scores, self.targets[:, None], 1).astype(np.float64)
        unit = float(scores[~self.excluded].std(dtype=np.float64)) or 1.0
        tried = []
        for temperature in unit * 2.0 ** np.arange(-4, 4.5, 0.5):
            top, total = _softmax_parts(scores, self.excluded, temperature)
            tried.append((-((of_target - top) / temperature - np.log(total)).mean(), temperature))
        return float(min(tried)[1])


def _softmax_parts(
    scores: np.ndarray, excluded: np.ndarray, temperature: float
) -> tuple[np.ndarray, np.ndarray]:
    """Return the largest score that is not excluded and the softmax denominator, ``[N, 1]``."""
    allowed = np.where(excluded, -np.inf, scores)  # [N, C]
    top = allowed.max(1, keepdims=True)
    total = np.exp((allowed - top) / temperature).sum(1, keepdims=True, dtype=np.float64)
    return top.astype(np.float64), total


def candidates_of(sequences: Sequences, evaluation: Evaluation) -> dict[str, Candidates]:
    """Return the candidates under both protocols: the stored lists and the catalogue."""
    patterns, kinds = np.unique(sequences.categories, axis=0, return_inverse=True)
    described = (kinds.reshape(-1), patterns)
    stored, excluded = evaluation.candidates, sequences.excluded(evaluation)
    catalogue = np.broadcast_to(np.arange(excluded.shape[1]), excluded.shape)
    first = np.zeros(len(evaluation), dtype=np.int64)
    none = np.broadcast_to(False, stored.shape)
    return {
        "sampled": Candidates(stored, none, first, *described),
        "full": Candidates(catalogue, excluded, evaluation.targets, *described),
    }


def validation_rows(evaluation: Evaluation) -> tuple[slice, Evaluation]:
    """Return the slice of up to ``EVENTS`` validation events, evenly spaced, and these events."""
    rows = slice(None, None, -(-len(evaluation) // EVENTS))
    return rows, evaluation[rows]


def source_weights(weights: Tensor, accuracy: int) -> Tensor:
    """Choose weights ``[3, O]``: the smallest, middle and largest in column ``accuracy``."""
    order = np.argsort(weights[:, accuracy].numpy(), kind="stable")
    return weights[order[[0, len(order) // 2, -1]].tolist()]


def source_vectors(generator: Generator, weights: object) -> Tensor:
    """Return the adapters ``[1 + 3, P]`` whose lists are re-ranked: zeros, then generated ones."""
    none = torch.zeros(1, generator.form.size)  # s' = s
    return torch.cat([none, generator.generate(weights).cpu()])


def chosen_settings(
    rerank: Rerank, candidates: Candidates, sources: Sequence[np.ndarray], weights: np.ndarray
) -> list[Setting]:
    """Choose the setting of a re-ranker for each of the ``weights [W]`` of accuracy, 0..1.

    All settings are tried on ``sources``, scores ``[N, C]`` of the validation events.
    :func:`placed` chooses by NDCG and α-nDCG.  Weight 1 is the most accurate source as it is.
    """
    ideal = diversity.ideal_alpha_dcg(
        candidates.patterns[candidates.kinds],
        _TOP,
        candidates=candidates.items,
        excluded=candidates.excluded,
    )
    settings, points = [], []
    for source, scores in enumerate(sources):
        temperature = candidates.temperature(scores)
        columns, lists = candidates.best(scores, temperature)
        for depth in sorted({min(depth, columns.shape[1]) for depth in DEPTHS}):
            for weight in LAMBDAS:
                order = rerank(lists.first(depth), weight, min(_TOP, depth))  # [N, 10]
                settings.append(Setting(source, temperature, depth, weight))
                hits = np.take_along_axis(columns, order, 1) == candidates.targets[:, None]
                sets = lists.patterns[np.take_along_axis(lists.kinds, order, 1)]  # [N, 10, M]
                accuracy, spread = list_quality(hits, sets, ideal)
                points.append((float(accuracy.mean()), float(spread.mean())))
    plain = [index for index, setting in enumerate(settings) if setting.weight == 1]
    end = max(plain, key=lambda index: points[index][0])
    settings.append(settings[end])
    points.append(points[end])
    return [settings[index] for index in placed(np.array(points), weights)]


def catalogue_settings(
    rerank: Rerank, sequences: Sequences, sources: Sequence[np.ndarray]
) -> list[Setting]:
    """Choose settings for the weights 0, 0.01, ..., 1 of accuracy, on the whole catalogue.

    ``sources``: scores ``[N, n + 1]`` of the events of :func:`validation_rows`.
    """
    _, events = validation_rows(sequences.valid)
    candidates = candidates_of(sequences, events)["full"]
    return chosen_settings(rerank, candidates, sources, np.arange(101) / 100)


def placed(points: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Choose for each weight of accuracy ``[W]`` a row of ``points [S, 2]``: ``[W]``.

    ``points``: accuracy and diversity; the last one belongs to weight 1, and any other of at
    least its accuracy is ignored.  The place of a point on the Pareto front is the mean of its
    accuracy and its lack of diversity, each scaled to 0..1.  A weight takes the nearest place.
    """
    accuracy, spread = points.T
    order = np.lexsort((-spread, -accuracy))  # the most accurate first
    order = order[accuracy[order] < accuracy[-1]]
    front = [len(points) - 1]
    for row in order:
        if spread[row] > spread[front[-1]]:
            front.append(int(row))
    lost = accuracy[-1] - accuracy[front]  # [F], from 0 up
    won = spread[front] - spread[-1]
    place = 1 - (lost / (lost[-1] or 1) + won / (won[-1] or 1)) / 2
    return np.array(front)[np.abs(place - weights[:, None]).argmin(1)]


def list_quality(
    hits: np.ndarray, sets: np.ndarray, ideal: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Compute NDCG@K and α-nDCG@K ``[N]`` of lists with ``hits [N, K]`` and ``sets [N, K, M]``."""
    length = hits.shape[1]
    ranks = np.where(hits.any(1), hits.argmax(1) + 1, length + 1)  # [N]
    dcg = diversity.alpha_dcg(sets)
    return ranking.ndcg_at(ranks, length), diversity.alpha_ndcg_at(dcg, ideal, length)


def reranked_scores(
    rerank: Rerank,
    sequences: Sequences,
    valid: tuple[Evaluation, Sequence[np.ndarray]],
    test: tuple[Evaluation, Callable[[int], np.ndarray]],
    weights: np.ndarray,
    positions: int,
) -> Iterator[dict[str, np.ndarray]]:
    """Yield scores ``sampled [N, C]`` and ``full [N, n + 1]`` for each of the ``weights [W]``.

    ``valid``: events and the catalogue scores ``[N, n + 1]`` of each source; ``test``: events and
    a function from the number of a source to its scores.  ``positions``: items to re-rank.
    """
    on_valid, on_test = (candidates_of(sequences, events) for events, _ in (valid, test))
    chosen = {}
    for protocol, candidates in on_valid.items():
        sources = [np.take_along_axis(scores, candidates.items, 1) for scores in valid[1]]
        chosen[protocol] = chosen_settings(rerank, candidates, sources, weights)

    @lru_cache(maxsize=2)  # one for each protocol
    def prepared(
        protocol: str, source: int, temperature: float
    ) -> tuple[np.ndarray, np.ndarray, Ranked]:
        scores = np.take_along_axis(test[1](source), on_test[protocol].items, 1)
        return scores, *on_test[protocol].best(scores, temperature)

    for settings in zip(*chosen.values(), strict=True):
        made = {}
        for protocol, setting in zip(on_test, settings, strict=True):
            scores, columns, lists = prepared(protocol, setting.source, setting.temperature)
            lists = lists.first(setting.depth)
            order = rerank(lists, setting.weight, min(positions, lists.kinds.shape[1]))
            made[protocol] = on_top(scores, np.take_along_axis(columns, order, 1))
        yield made
