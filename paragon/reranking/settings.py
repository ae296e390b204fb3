"""The settings of a re-ranker: which are tried on validation events, and which a weight gets.

The headline chooses of the same settings by share, in ``paragon/evaluation/shares.py``.

Shapes: N events, C candidates, n items, D items of a list, K positions, G patterns (sets of
categories), M categories, W weights, S settings, P parameters of an adapter.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import groupby
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from paragon.adapters.frozen import FrozenEvents
from paragon.data.sequences import Evaluation, Sequences
from paragon.generator.generator import Generator
from paragon.metrics import ranking
from paragon.metrics.lists import TOP, ListQuality
from paragon.objectives.table import history_shares
from paragon.objectives.weights import refined
from paragon.reranking.rules import Ranked, Rerank, Setting

DEPTHS = (50, 200, 1000)  # how many of the best candidates are re-ranked
# Weights of a re-ranker.  Many are close to 1, as probabilities are small beside gains; more are
# tried between two, where the accuracy jumps.
_ODDS = 2.0 ** np.arange(-2, 14.5, 0.5)
LAMBDAS = (0.0, *(_ODDS / (1 + _ODDS)).tolist(), 1.0)
REFINED_ABOVE = 0.75  # share of the accuracy: of more accurate settings, those between are tried
POLICY_DEPTH = 100  # how many of the catalogue's best items `cmr` re-ranks


class Tried(NamedTuple):
    """Settings of a re-ranker, and what they give validation users."""

    settings: list[Setting]
    points: np.ndarray  # [S, 2], NDCG@10 and α-nDCG@10


@dataclass(frozen=True)
class Candidates:
    """The candidates of each event under one protocol, and their categories."""

    items: np.ndarray  # [N, C], ids
    excluded: np.ndarray  # [N, C], bool
    targets: np.ndarray  # [N], column of the target
    kinds: np.ndarray  # [n + 1], for each item of the catalogue, its row in `patterns`
    patterns: np.ndarray  # [G, M], bool
    history: np.ndarray | None = None  # [N, M], shares of the categories in what the user has met

    def best(self, scores: np.ndarray, temperature: float) -> Ranked:
        """Rank the best candidates by ``scores [N, C]``; their relevance is a probability."""
        fewest = int((~self.excluded).sum(1).min())
        columns = ranking.top_k(scores, min(DEPTHS[-1], fewest), self.excluded)  # [N, D]
        top, total = self._softmax(scores, temperature)
        of_best = np.take_along_axis(scores, columns, 1).astype(np.float64)  # [N, D]
        items = np.take_along_axis(self.items, columns, 1)  # [N, D]
        return Ranked(
            columns=columns,
            items=items,
            relevance=np.exp((of_best - top) / temperature) / total,
            kinds=self.kinds[items],
            patterns=self.patterns,
            history=self.history,
        )

    def temperature(self, scores: np.ndarray) -> float:
        """Choose the temperature at which targets are most likely (Guo et al., ICML 2017)."""
        of_target = np.take_along_axis(scores, self.targets[:, None], 1).astype(np.float64)
        unit = float(scores[~self.excluded].std(dtype=np.float64)) or 1.0
        tried = []
        for temperature in unit * 2.0 ** np.arange(-4, 4.5, 0.5):
            top, total = self._softmax(scores, temperature)
            surprise = -((of_target - top) / temperature - np.log(total)).mean()
            tried.append((surprise, temperature))
        return float(min(tried)[1])

    def _softmax(self, scores: np.ndarray, temperature: float) -> tuple[np.ndarray, np.ndarray]:
        """Return the largest score that is not excluded and the denominator, ``[N, 1]`` each."""
        allowed = np.where(self.excluded, -np.inf, scores)  # [N, C]
        top = allowed.max(1, keepdims=True)
        total = np.exp((allowed - top) / temperature).sum(1, keepdims=True, dtype=np.float64)
        return top.astype(np.float64), total


def candidates_of(sequences: Sequences, evaluation: Evaluation) -> dict[str, Candidates]:
    """Return the candidates under both protocols: the stored lists and the catalogue."""
    patterns, kinds = np.unique(sequences.categories, axis=0, return_inverse=True)
    history = history_shares(sequences.met_before(evaluation), sequences.categories).numpy()
    stored = evaluation.candidates  # [N, C], the target first
    excluded = sequences.excluded(evaluation)  # [N, n + 1]
    sampled = Candidates(
        items=stored,
        excluded=np.broadcast_to(False, stored.shape),
        targets=np.zeros(len(evaluation), dtype=np.int64),
        kinds=kinds.reshape(-1),
        patterns=patterns,
        history=history,
    )
    full = Candidates(
        items=np.broadcast_to(np.arange(excluded.shape[1]), excluded.shape),
        excluded=excluded,
        targets=evaluation.targets,
        kinds=kinds.reshape(-1),
        patterns=patterns,
        history=history,
    )
    return {"sampled": sampled, "full": full}


def source_weights(weights: Tensor, accuracy: int) -> Tensor:
    """Choose weights ``[3, O]``: the smallest, middle and largest in column ``accuracy``."""
    order = np.argsort(weights[:, accuracy].numpy(), kind="stable")
    return weights[order[[0, len(order) // 2, -1]].tolist()]


def source_vectors(generator: Generator, weights: object) -> Tensor:
    """Return the adapters ``[1 + 3, P]`` whose lists are re-ranked: zeros, then generated ones."""
    none = torch.zeros(1, generator.form.size)  # s' = s
    return torch.cat([none, generator.generate(weights).cpu()])


@dataclass(frozen=True)
class Trials:
    """The validation events ``sample_rows``, prepared to try settings under one protocol."""

    candidates: Candidates
    quality: ListQuality

    @classmethod
    def of(cls, sequences: Sequences) -> dict[str, "Trials"]:
        """Prepare the events, by protocol."""
        events = sequences.valid[sequences.valid.sample_rows()]
        return {
            protocol: cls(
                candidates,
                ListQuality.of(
                    events.targets, sequences.categories, candidates.items, candidates.excluded
                ),
            )
            for protocol, candidates in candidates_of(sequences, events).items()
        }


def tried_settings(
    rerank: Rerank,
    trials: Trials,
    sources: Sequence[np.ndarray],  # catalogue scores [N, n + 1]
) -> Tried:
    """Measure all settings of a re-ranker on the validation events of ``trials``."""
    candidates = trials.candidates

    def measure(lists: Ranked, weights: np.ndarray) -> np.ndarray:
        points = np.empty((len(weights), 2))
        depth = lists.kinds.shape[1]
        for row, weight in enumerate(weights):
            # `lists` have a source and a temperature already.
            setting = Setting(source=0, temperature=1.0, depth=depth, weight=weight)
            columns = lists.reranked(rerank, setting, TOP)  # [N, K]
            items = np.take_along_axis(candidates.items, columns, 1)  # [N, K]
            ndcg, alpha_ndcg = trials.quality.measure(items)
            points[row] = ndcg.mean(), alpha_ndcg.mean()
        return points

    settings: list[Setting] = []
    points: list[np.ndarray] = []
    for source, of_catalogue in enumerate(sources):
        scores = np.take_along_axis(of_catalogue, candidates.items, 1)  # [N, C]
        temperature = candidates.temperature(scores)
        lists = candidates.best(scores, temperature)
        longest = lists.kinds.shape[1]
        for depth in sorted({min(depth, longest) for depth in DEPTHS}):
            of_depth = partial(measure, lists.first(depth))
            weights, of_weights = refined(LAMBDAS, of_depth, REFINED_ABOVE)
            settings += [Setting(source, temperature, depth, weight) for weight in weights]
            points.append(of_weights)
    return Tried(settings, np.concatenate(points))


def numbered_sources(tried: Sequence[Tried]) -> Tried:
    """Join what was tried with one source each; the sources are numbered in this order."""
    settings = [
        setting._replace(source=source)
        for source, of_source in enumerate(tried)
        for setting in of_source.settings
    ]
    return Tried(settings, np.concatenate([of_source.points for of_source in tried]))


def chosen_settings(tried: Tried, weights: np.ndarray) -> list[Setting]:
    """Choose of the settings ``tried`` one for each of ``weights [W]`` of accuracy, 0..1."""
    settings, points = tried
    unchanged = [index for index, setting in enumerate(settings) if setting.weight == 1]
    end = max(unchanged, key=lambda index: points[index, 0])  # for weight 1
    with_end = [*settings, settings[end]]
    rows = nearest_on_front(np.vstack([points, points[end]]), weights)
    return [with_end[row] for row in rows]


def nearest_on_front(points: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Choose for each weight of accuracy ``[W]`` a row of ``points [S, 2]``: ``[W]``.

    ``points``: accuracy and diversity; the last belongs to weight 1, and others with at least its
    accuracy are ignored. The place on the Pareto front, 0..1, is the mean of accuracy and lack of
    diversity.
    """
    accuracy, diversity = points.T
    order = np.lexsort((-diversity, -accuracy))  # the most accurate first
    order = order[accuracy[order] < accuracy[-1]]
    front = [len(points) - 1]
    for row in order:
        if diversity[row] > diversity[front[-1]]:
            front.append(int(row))
    lost = accuracy[-1] - accuracy[front]  # [F], from 0 up
    won = diversity[front] - diversity[-1]  # [F], from 0 up
    place = 1 - (lost / (lost[-1] or 1) + won / (won[-1] or 1)) / 2  # [F]
    nearest = np.abs(place - weights[:, None]).argmin(1)  # [W]
    return np.array(front)[nearest]


def reranked_lists(
    rerank: Rerank,
    candidates: Candidates,
    events: FrozenEvents,
    vectors: Tensor,
    settings: Sequence[Setting],
    positions: int,
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Yield by setting the scores ``[N, C]`` of the candidates, and the best columns ``[N, K]``."""
    for (source, temperature), alike in groupby(settings, key=lambda setting: setting[:2]):
        of_catalogue = events.catalogue_scores(vectors[source]).cpu().numpy()  # [N, n + 1]
        scores = np.take_along_axis(of_catalogue, candidates.items, 1)  # [N, C]
        lists = candidates.best(scores, temperature)
        for setting in alike:
            yield scores, lists.reranked(rerank, setting, positions)


def reranked_scores(
    rerank: Rerank,
    sequences: Sequences,
    tried: Mapping[str, Tried],
    test: FrozenEvents,
    vectors: Tensor,
    weights: np.ndarray,
    positions: int,
) -> Iterator[dict[str, np.ndarray]]:
    """Yield scores by weight, the first ``positions`` re-ranked, by protocol as in ``tried``."""
    candidates = candidates_of(sequences, sequences.test)
    by_protocol = []
    for protocol, of_protocol in tried.items():
        settings = chosen_settings(of_protocol, weights)
        lists = reranked_lists(rerank, candidates[protocol], test, vectors, settings, positions)
        by_protocol.append(lists)
    for of_weight in zip(*by_protocol, strict=True):
        raised = [on_top(scores, order) for scores, order in of_weight]
        yield dict(zip(tried, raised, strict=True))


def on_top(scores: np.ndarray, order: np.ndarray) -> np.ndarray:
    """Raise columns ``order [N, K]`` of ``scores [N, C]`` above all others, in this order."""
    raised = scores.astype(np.float64)
    above = raised.max(1, keepdims=True) + np.arange(order.shape[1], 0, -1)  # [N, K]
    np.put_along_axis(raised, order, above, 1)
    return raised


def in_order_of(policy: np.ndarray, scores: np.ndarray, excluded: np.ndarray) -> np.ndarray:
    """Re-rank the best of ``scores`` by ``policy``, item by item (Chen et al., KDD 2023).

    All are ``[N, n + 1]``, and so is the result: scores with these items on top.
    """
    depth = min(POLICY_DEPTH, int((~excluded).sum(1).min()))
    best = ranking.top_k(scores, depth, excluded)  # [N, D]
    of_best = np.take_along_axis(policy, best, 1)  # [N, D]
    order = np.argsort(-of_best, axis=1, kind="stable")
    return on_top(scores, np.take_along_axis(best, order, 1))
