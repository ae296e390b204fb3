"""Re-rankers with settings that are chosen on validation events, so that they are strong rivals.

In this file: how the weight of accuracy becomes the weight of a re-ranker.  Three steps, for each
protocol by itself:

1. Scores become probabilities: a softmax over the candidates, at the temperature of the largest
   likelihood of the targets (Guo et al., ICML 2017).  A list that is sure of itself then changes
   later than one that is not.
2. Every setting is tried on the validation events: whose scores are re-ranked, how many of the
   best items, and with which weight.  NDCG and α-nDCG of the ten best items are kept.
3. Of the settings that no other one beats in both, each evaluation weight takes the one at its
   place between the most diverse and the most accurate.

Shapes: N events, C candidates, n items, D items of a list, M categories, W evaluation weights,
S settings, O objectives, P parameters of an adapter.
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
# Weights of a re-ranker.  Probabilities are small beside gains, hence the many close to 1.
_ODDS = 2.0 ** np.arange(-2, 15, 1.0)
LAMBDAS = (0.0, *(_ODDS / (1 + _ODDS)).tolist(), 1.0)
EVENTS = 500  # at most this number of validation events, spread evenly, chooses the settings
_TOP = 10  # the headline metrics are those of ten items


class Setting(NamedTuple):
    """What one weight of accuracy means: whose scores, how many items, with which weight."""

    source: int
    temperature: float
    depth: int
    weight: float


@dataclass(frozen=True)
class Candidates:
    """What may be recommended to each event under one protocol, and how it is described.

    ``items [N, C]``: their ids; ``excluded [N, C]`` bool; ``targets [N]``: column of the target;
    ``kinds [n + 1]``: of each item of the catalogue its row in ``patterns [G, M]`` bool.
    """

    items: np.ndarray
    excluded: np.ndarray
    targets: np.ndarray
    kinds: np.ndarray
    patterns: np.ndarray

    def best(self, scores: np.ndarray, temperature: float) -> tuple[np.ndarray, Ranked]:
        """Columns ``[N, D]`` of the best candidates, and the lists of their probabilities.

        From ``scores [N, C]``; D is the largest depth, or as many candidates as every event has.
        """
        most = min(DEPTHS[-1], int((~self.excluded).sum(1).min()))
        columns = ranking.top_k(scores, most, self.excluded)
        top, total = _softmax_parts(scores, self.excluded, temperature)
        of_best = np.take_along_axis(scores, columns, 1).astype(np.float64)
        kinds = self.kinds[np.take_along_axis(self.items, columns, 1)]  # [N, D]
        return columns, Ranked(np.exp((of_best - top) / temperature) / total, kinds, self.patterns)

    def temperature(self, scores: np.ndarray) -> float:
        """The temperature at which the targets are likeliest, in steps of half an octave."""
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
    """The largest score ``[N, 1]`` that is not excluded, and the softmax's denominator."""
    allowed = np.where(excluded, -np.inf, scores)  # [N, C]
    top = allowed.max(1, keepdims=True)
    total = np.exp((allowed - top) / temperature).sum(1, keepdims=True, dtype=np.float64)
    return top.astype(np.float64), total


def candidates_of(sequences: Sequences, evaluation: Evaluation) -> dict[str, Candidates]:
    """The candidates of the events under both protocols: the stored lists, the catalogue."""
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
    """Which validation events choose the settings, and these events."""
    rows = slice(None, None, -(-len(evaluation) // EVENTS))
    return rows, evaluation[rows]


def source_weights(weights: Tensor, accuracy: int) -> Tensor:
    """The weights ``[3, O]`` of the adapters whose lists are re-ranked, beside the backbone's.

    Of ``weights [W, O]`` those with the smallest, the middle and the largest weight of
    ``accuracy``, a column of them.
    """
    order = np.argsort(weights[:, accuracy].numpy(), kind="stable")
    return weights[order[[0, len(order) // 2, -1]].tolist()]


def source_vectors(generator: Generator, weights: object) -> Tensor:
    """The adapters ``[1 + 3, P]`` whose lists are re-ranked: none, and those of the weights."""
    none = torch.zeros(1, generator.form.size)  # s' = s
    return torch.cat([none, generator.generate(weights).cpu()])


def chosen_settings(
    rerank: Rerank, candidates: Candidates, sources: Sequence[np.ndarray], weights: np.ndarray
) -> list[Setting]:
    """The setting of a re-ranker for each of the ``weights [W]`` of accuracy, 0..1.

    ``sources``: scores of the validation events' ``candidates``, ``[N, C]`` each.  Weight 1 is
    the order of the most accurate one as it is.
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


def placed(points: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """For each weight of accuracy ``[W]`` the row of ``points [S, 2]`` at its place: ``[W]``.

    ``points``: accuracy and diversity.  The last of them is the end of weight 1, so that what is
    more accurate is left out.  The others that count are those that no point beats in both.
    Their place from 0 to 1 is the mean of how far accuracy has risen and diversity fallen.
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
    """NDCG@K and α-nDCG@K ``[N]`` of lists.

    ``hits [N, K]``: true where the target stands; ``sets [N, K, M]``: the categories of the
    items; ``ideal``: see :func:`~paragon.metrics.diversity.alpha_ndcg_at`.
    """
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
    """Scores of the test events under both protocols, for each of the ``weights [W]`` in turn.

    ``valid``: events with the catalogue scores ``[N, n + 1]`` of each source on them; ``test``:
    events with a function from the number of a source to its catalogue scores.  ``positions``:
    how many are re-ranked, the rest of a list follows in its own order.  Gives ``sampled [N, C]``
    and ``full [N, n + 1]``.
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
