"""Re-rankers: reorder lists of items for accuracy and diversity.

A re-ranker ``rerank(lists, weight, positions)`` returns indices into the lists, ``[N, positions]``,
best first; weight 1 keeps the order. Settings are chosen on validation events. Shapes: N events, C
candidates, n items, D items of a list, G patterns (sets of categories), M categories, W weights, S
settings, P parameters of an adapter.
"""

from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from itertools import groupby
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from paragon.adapters.frozen import FrozenTask
from paragon.data.sequences import Evaluation, Sequences
from paragon.errors import ParagonError
from paragon.generator.generator import Generator as AdapterGenerator
from paragon.metrics import ranking
from paragon.objectives.table import history_shares
from paragon.objectives.weights import refined

DEPTHS = (50, 200, 1000)  # how many of the best candidates are re-ranked
# Weights of a re-ranker.  Many are close to 1, as probabilities are small beside gains.
_ODDS = 2.0 ** np.arange(-2, 14.5, 0.5)
LAMBDAS = (0.0, *(_ODDS / (1 + _ODDS)).tolist(), 1.0)
LEAST = 0.75  # share of the accuracy, above which weights between are tried
POLICY_DEPTH = 100  # how many of the catalogue's best items `cmr` re-ranks
TOP = 10  # positions, as in the headline metrics


class Setting(NamedTuple):
    """The setting of a re-ranker: whose scores, how many items, and which weight of accuracy."""

    source: int
    temperature: float
    depth: int
    weight: float


@dataclass(frozen=True)
class Ranked:
    """Lists to re-rank, best first."""

    columns: np.ndarray  # [N, D], of the items among the candidates
    items: np.ndarray  # [N, D], their numbers in the catalogue
    relevance: np.ndarray  # [N, D], 0..1, falling
    kinds: np.ndarray  # [N, D], rows in `patterns`
    patterns: np.ndarray  # [G, M], bool
    history: np.ndarray | None = None  # [N, M], shares of the categories in what the user has met

    def reranked(self, rerank: "Rerank", setting: Setting, positions: int) -> np.ndarray:
        """Re-rank the ``setting.depth`` best items; return columns ``[N, up to positions]``."""
        first = np.s_[:, : setting.depth]
        parts = ("columns", "items", "relevance", "kinds")
        lists = replace(self, **{name: getattr(self, name)[first] for name in parts})
        rows, depth = lists.kinds.shape
        asked = rows, min(positions, depth)
        order = np.asarray(rerank(lists, setting.weight, asked[1]))
        row = np.sort(order, -1)
        right = order.shape == asked and order.dtype.kind in "iu" and (np.diff(row) > 0).all()
        if not right or row[:, :1].min(initial=0) < 0 or row[:, -1:].max(initial=0) >= depth:
            raise ParagonError(
                f"a re-ranker must return whole numbers [N, positions] = {asked}, in a row all "
                f"different and from 0 to {depth - 1}, not {order.dtype} {order.shape}"
            )
        return np.take_along_axis(self.columns, order, 1)


Rerank = Callable[[Ranked, float, int], np.ndarray]
Tried = tuple[list[Setting], np.ndarray]  # S settings; accuracy and diversity [S, 2]
# rule(patterns [G, M], N) yields the gains [N, G] at the next position of N lists, and is sent the
# chosen patterns [N].
Rule = Callable[[np.ndarray, int], Generator[np.ndarray, np.ndarray, None]]


def distance(patterns: np.ndarray, rows: int) -> Generator[np.ndarray, np.ndarray, None]:
    """Yield the gains of MMR: Jaccard distance to items above (Carbonell & Goldstein 1998)."""
    apart = 1 - ranking.jaccard(patterns.astype(np.float32))  # [G, G]
    least = np.ones((rows, len(patterns)), dtype=np.float32)  # [N, G]
    while True:
        chosen = yield least
        np.minimum(least, apart[chosen], out=least)


def coverage(patterns: np.ndarray, rows: int) -> Generator[np.ndarray, np.ndarray, None]:
    """Yield the gains of xQuAD, 0..M (Santos, Macdonald & Ounis, WWW 2010).

    A category of the item that r items above have adds (1/2)^r, as in α-DCG at α = 1/2: at weight
    0, the list is the greedy ideal of that metric.
    """
    sets = patterns.astype(np.float32)
    unmet = np.ones((rows, patterns.shape[1]), dtype=np.float32)  # [N, M]
    while True:
        chosen = yield unmet @ sets.T
        unmet *= 1 - sets[chosen] / 2


def volume(patterns: np.ndarray, rows: int) -> Generator[np.ndarray, np.ndarray, None]:
    """Yield gains of greedy MAP inference in a determinantal point process, 0 and more.

    The kernel is L = I + S, where S counts shared categories; the gain is the increase of log det
    L, by Algorithm 1 of Chen, Zhang & Zhou (NeurIPS 2018).
    """
    sets, events = patterns.astype(np.float32), np.arange(rows)
    kernel = sets @ sets.T  # [G, G]: S
    ratio = np.tile(1 + np.diag(kernel), (rows, 1))  # [N, G]: det L with the item over without it
    factor: list[np.ndarray] = []  # [N, G] for each position
    while True:
        # Round, so that the order of summation does not break ties.
        chosen = yield np.round(np.log(ratio), 4)
        row = kernel[chosen]  # [N, G]
        for above in factor:
            row = row - above[events, chosen, None] * above
        row = row / np.sqrt(ratio[events, chosen, None])
        factor.append(row)
        ratio = np.maximum(ratio - row * row, 1)  # below 1 by rounding only


def greedy(rule: Rule, lists: Ranked, weight: float, positions: int) -> np.ndarray:
    """Fill positions by ``weight * relevance + (1 - weight) * gain``; ties: the more relevant."""
    rows, depth = lists.kinds.shape
    events = np.arange(rows)
    search = rule(lists.patterns, rows)
    cells = lists.kinds + events[:, None] * len(lists.patterns)  # indices in the flat [N, G]
    alone = (weight * lists.relevance).astype(np.float32)  # [N, D]
    chosen = np.empty((rows, positions), dtype=np.int64)
    gains = next(search)  # [N, G]
    for position in range(positions):
        merit = alone + (np.float32(1 - weight) * gains).take(cells)  # [N, D]
        chosen[:, position] = column = merit.argmax(1)
        alone[events, column] = -np.inf
        if position + 1 < positions:
            gains = search.send(lists.kinds[events, column])
    return chosen


RERANKERS: dict[str, Rerank] = {
    "mmr": partial(greedy, distance),
    "xquad": partial(greedy, coverage),
    "dpp": partial(greedy, volume),
}


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
        most = min(DEPTHS[-1], int((~self.excluded).sum(1).min()))
        columns = ranking.top_k(scores, most, self.excluded)  # [N, D]
        top, total = self._softmax(scores, temperature)
        of_best = np.take_along_axis(scores, columns, 1).astype(np.float64)
        items = np.take_along_axis(self.items, columns, 1)  # [N, D]
        relevance = np.exp((of_best - top) / temperature) / total
        return Ranked(columns, items, relevance, self.kinds[items], self.patterns, self.history)

    def temperature(self, scores: np.ndarray) -> float:
        """Choose the temperature at which targets are most likely (Guo et al., ICML 2017)."""
        of_target = np.take_along_axis(scores, self.targets[:, None], 1).astype(np.float64)
        unit = float(scores[~self.excluded].std(dtype=np.float64)) or 1.0
        tried = []
        for temperature in unit * 2.0 ** np.arange(-4, 4.5, 0.5):
            top, total = self._softmax(scores, temperature)
            tried.append((-((of_target - top) / temperature - np.log(total)).mean(), temperature))
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
    described = (kinds.reshape(-1), patterns, history)
    stored, excluded = evaluation.candidates, sequences.excluded(evaluation)
    catalogue = np.broadcast_to(np.arange(excluded.shape[1]), excluded.shape)
    first = np.zeros(len(evaluation), dtype=np.int64)
    none = np.broadcast_to(False, stored.shape)
    return {
        "sampled": Candidates(stored, none, first, *described),
        "full": Candidates(catalogue, excluded, evaluation.targets, *described),
    }


def source_weights(weights: Tensor, accuracy: int) -> Tensor:
    """Choose weights ``[3, O]``: the smallest, middle and largest in column ``accuracy``."""
    order = np.argsort(weights[:, accuracy].numpy(), kind="stable")
    return weights[order[[0, len(order) // 2, -1]].tolist()]


def source_vectors(generator: AdapterGenerator, weights: object) -> Tensor:
    """Return the adapters ``[1 + 3, P]`` whose lists are re-ranked: zeros, then generated ones."""
    none = torch.zeros(1, generator.form.size)  # s' = s
    return torch.cat([none, generator.generate(weights).cpu()])


def tried_settings(
    rerank: Rerank,
    sequences: Sequences,
    sources: Sequence[np.ndarray],  # catalogue scores [N, n + 1] of events `sample_rows`
    protocol: str = "full",
    depths: Sequence[int] = DEPTHS,
) -> Tried:
    """Measure all settings of a re-ranker: NDCG@10 and α-nDCG@10, ``[S, 2]``."""
    events = sequences.valid[sequences.valid.sample_rows()]
    candidates = candidates_of(sequences, events)[protocol]
    items, categories = candidates.items, candidates.patterns[candidates.kinds]  # [n + 1, M]
    ideal = ranking.ideal_alpha_dcg(categories, TOP, candidates=items, excluded=candidates.excluded)

    def measure(lists: Ranked, depth: int, weights: np.ndarray) -> np.ndarray:
        points = np.empty((len(weights), 2))
        for row, weight in enumerate(weights):
            columns = lists.reranked(rerank, Setting(0, 1.0, depth, weight), TOP)  # [N, 10]
            hits = columns == candidates.targets[:, None]
            sets = categories[np.take_along_axis(items, columns, 1)]  # [N, 10, M]
            points[row] = [quality.mean() for quality in list_quality(hits, sets, ideal)]
        return points

    least = LEAST if len(sources) < 5 else np.inf  # with many sources, LAMBDAS are enough
    settings, points = [], []
    for source, scores in enumerate(sources):
        scores = np.take_along_axis(scores, items, 1)  # [N, C]
        temperature = candidates.temperature(scores)
        lists = candidates.best(scores, temperature)
        for depth in sorted({min(depth, lists.kinds.shape[1]) for depth in depths}):
            weights, found = refined(LAMBDAS, partial(measure, lists, depth), least)
            settings += [Setting(source, temperature, depth, weight) for weight in weights]
            points.append(found)
    return settings, np.concatenate(points)


def chosen_settings(tried: Tried, weights: np.ndarray) -> list[Setting]:
    """Choose of the settings ``tried`` one for each of ``weights [W]`` of accuracy, 0..1."""
    settings, points = tried
    plain = [index for index, setting in enumerate(settings) if setting.weight == 1]
    end = max(plain, key=lambda index: points[index, 0])  # for weight 1
    rows = nearest_on_front(np.vstack([points, points[end]]), weights)
    return [[*settings, settings[end]][row] for row in rows]


def nearest_on_front(points: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Choose for each weight of accuracy ``[W]`` a row of ``points [S, 2]``: ``[W]``.

    ``points``: accuracy and diversity; the last belongs to weight 1, and any other of its accuracy
    is ignored. The place on the Pareto front, 0..1, is the mean of accuracy and lack of diversity.
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


def list_quality(hits: np.ndarray, sets: np.ndarray, ideal: np.ndarray) -> tuple[np.ndarray, ...]:
    """Compute NDCG@K and α-nDCG@K ``[N]`` of lists with ``hits [N, K]`` and ``sets [N, K, M]``."""
    length = hits.shape[1]
    ranks = np.where(hits.any(1), hits.argmax(1) + 1, length + 1)  # [N]
    alpha_ndcg = ranking.alpha_ndcg_at(ranking.alpha_dcg(sets), ideal, length)
    return ranking.ndcg_at(ranks, length), alpha_ndcg


def reranked_lists(
    rerank: Rerank,
    candidates: Candidates,
    task: FrozenTask,
    vectors: Tensor,
    settings: Sequence[Setting],
    positions: int,
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Yield by setting the scores ``[N, C]`` of the candidates, and the best columns ``[N, K]``."""
    for (source, temperature), alike in groupby(settings, key=lambda setting: setting[:2]):
        scores = task.catalogue_scores(vectors[source]).cpu().numpy()
        scores = np.take_along_axis(scores, candidates.items, 1)
        lists = candidates.best(scores, temperature)
        for setting in alike:
            yield scores, lists.reranked(rerank, setting, positions)


def reranked_scores(
    rerank: Rerank,
    sequences: Sequences,
    tried: Mapping[str, Tried],
    test: FrozenTask,
    vectors: Tensor,
    weights: np.ndarray,
    positions: int,
) -> Iterator[dict[str, np.ndarray]]:
    """Yield scores by weight, the first ``positions`` re-ranked, by protocol as in ``tried``."""
    tested = candidates_of(sequences, sequences.test)
    parts = []
    for name, found in tried.items():
        settings = chosen_settings(found, weights)
        parts.append(reranked_lists(rerank, tested[name], test, vectors, settings, positions))
    for both in zip(*parts, strict=True):
        yield {name: on_top(*part) for name, part in zip(tried, both, strict=True)}


def on_top(scores: np.ndarray, order: np.ndarray) -> np.ndarray:
    """Raise columns ``order [N, K]`` of ``scores [N, C]`` above all others, in this order."""
    raised = scores.astype(np.float64)
    above = raised.max(1, keepdims=True) + np.arange(order.shape[1], 0, -1)  # [N, K]
    np.put_along_axis(raised, order, above, 1)
    return raised


def in_order_of(policy: np.ndarray, scores: np.ndarray, excluded: np.ndarray) -> np.ndarray:
    """Re-rank the best of ``scores`` by ``policy``, item by item (Chen et al., KDD 2023)."""
    depth = min(POLICY_DEPTH, int((~excluded).sum(1).min()))
    best = ranking.top_k(scores, depth, excluded)  # [N, D]
    order = np.argsort(-np.take_along_axis(policy, best, 1), axis=1, kind="stable")
    return on_top(scores, np.take_along_axis(best, order, 1))
