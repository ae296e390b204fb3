"""Greedy re-ranking by the weighted sum of all gains, without adapters, for any objectives.

Shapes: N events, n items, D items of a list, O objectives, S settings, W weights.
"""

from collections.abc import Callable, Iterable
from dataclasses import replace
from itertools import product

import numpy as np
import torch
from torch import Tensor

from paragon.evaluation.protocol import Row, Scores, TestSet
from paragon.metrics.lists import TOP
from paragon.objectives.table import metrics_of
from paragon.reranking.rules import RERANKERS, Setting
from paragon.reranking.settings import candidates_of, on_top
from paragon_study.ablations.trials import Bench

FINEST = 0.75  # between exponents of factors; with more objectives, a multiple of it
GAINS = frozenset({"accuracy", "diversity", "novelty", "recency"})  # objectives with a gain
ByFactors = Callable[[np.ndarray], Scores]  # of factors [O]


class Greedy:
    """Re-ranks the backbone's best ``depth`` items by probability, novelty, recency, xQuAD gain."""

    def __init__(self, bench: Bench, depth: int) -> None:
        self.bench = bench
        self.depth = depth
        sequences = bench.sequences
        names = bench.objectives
        _, _, test_set = bench.held_out
        self.of_items = {
            "novelty": test_set.information,  # [n + 1]
            "recency": test_set.catalogue.recency.numpy(),  # [n + 1]
        }
        self.tries = TestSet(sequences, sequences.valid, names, cutoffs=[TOP])
        by_factors, self.temperature = self.prepare("valid", None)
        self.on_test, _ = self.prepare("test", self.temperature)  # the same for all seeds
        # Factors of the gains: that of accuracy is 1, or all but one are 0.
        powers_of_two = 2.0 ** np.arange(-14, 4.1, FINEST * (len(names) - 1))
        options = [(1.0,) if name == "accuracy" else (0.0, *powers_of_two) for name in names]
        combined = list(product(*options))
        self.factors = np.concatenate([np.eye(len(names)), combined])  # [S, O]
        self.points = self.measured(by_factors(factors) for factors in self.factors)  # [S, O]

    def prepare(self, part: str, temperature: float | None) -> tuple[ByFactors, float]:
        """Rank the events of a part; return a function from factors to scores, and a temperature.

        The temperature is that of the probabilities; None: choose it on these events.
        """
        sequences = self.bench.sequences
        objectives = self.bench.objectives
        events = sequences.evaluation(part)
        valid, test, _ = self.bench.held_out
        task = valid if part == "valid" else test
        unchanged = torch.zeros(self.bench.collection.form.size)  # the backbone: s' = s
        scores = task.catalogue_scores(unchanged).cpu().numpy()  # [N, n + 1]
        candidates = candidates_of(sequences, events)["full"]
        temperature = temperature or candidates.temperature(scores)
        lists = candidates.best(scores, temperature)

        def by_factors(factors: np.ndarray) -> Scores:
            factor_of = dict(zip(objectives, factors, strict=True))
            diversity = factor_of.pop("diversity", 0.0)
            gain = factor_of.pop("accuracy", 0.0) * lists.relevance  # [N, D], of an item alone
            for name, factor in factor_of.items():
                gain = gain + factor * self.of_items[name][lists.columns]
            weight = 1 / (1 + diversity)  # of all gains but that of diversity
            setting = Setting(0, temperature, self.depth, weight)
            best = replace(lists, relevance=gain).reranked(RERANKERS["xquad"], setting, TOP)
            table = on_top(scores, best)  # [N, n + 1]
            # With scores of their own for sampled lists, no losses are measured.
            return Scores.of(table, np.take_along_axis(table, events.candidates, 1))

        return by_factors, temperature

    def measured(self, rows: Iterable[Scores]) -> np.ndarray:
        """Measure rows on validation events: the metrics of the objectives, ``[rows, O]``."""
        names = metrics_of(self.tries.objectives)
        points = []
        for scores in rows:
            means, _ = self.tries.measure(scores)
            points.append([means["full"][name] for name in names])
        return np.array(points)

    def row(self, seed: int, tuned: Tensor) -> Row:
        """Choose for each weight the factors that come closest to ``tuned [W, P]``, by outcome."""
        valid, _, _ = self.bench.held_out
        asked = self.measured(Scores.of_adapter(valid, vector) for vector in tuned)  # [W, O]
        ranges = np.ptp(asked, axis=0)  # [O]
        distances = np.abs(self.points - asked[:, None]) / ranges  # [W, S, O]
        closest = distances.mean(-1).argmin(1)  # [W]
        scores = (self.on_test(factors) for factors in self.factors[closest])
        weights = self.bench.weights.numpy()
        return Row(f"greedy_{self.depth}", seed, weights, scores, random=False)
