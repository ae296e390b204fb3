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
        self.bench, self.depth = bench, depth
        sequences, test_set = bench.sequences, bench.held_out[2]
        recency = test_set.catalogue.recency.numpy()
        self.of_items = {"novelty": test_set.information, "recency": recency}  # [n + 1] each
        self.tries = TestSet(sequences, sequences.valid, bench.objectives, cutoffs=[TOP])
        by_factors, self.temperature = self.prepare("valid", None)
        self.on_test, _ = self.prepare("test", self.temperature)  # the same for all seeds
        # Factors of the gains: that of accuracy is 1, or all but one are 0.
        names = bench.objectives
        several = 2.0 ** np.arange(-14, 4.1, FINEST * (len(names) - 1))
        options = [(1.0,) if name == "accuracy" else (0.0, *several) for name in names]
        self.factors = np.concatenate([np.eye(len(names)), [*product(*options)]])  # [S, O]
        self.points = self.measured(map(by_factors, self.factors))  # [S, O]

    def prepare(self, part: str, temperature: float | None) -> tuple[ByFactors, float]:
        """Rank the events of a part; by default, choose the temperature of probabilities on it."""
        sequences, objectives = self.bench.sequences, self.bench.objectives
        events, (valid, test, _) = sequences.evaluation(part), self.bench.held_out
        task = valid if part == "valid" else test
        plain = torch.zeros(self.bench.collection.form.size)  # the backbone: s' = s
        scores = task.catalogue_scores(plain).cpu().numpy()  # [N, n + 1]
        candidates = candidates_of(sequences, events)["full"]
        temperature = temperature or candidates.temperature(scores)
        lists = candidates.best(scores, temperature)

        def by_factors(factors: np.ndarray) -> Scores:
            named = dict(zip(objectives, factors, strict=True))
            weight = 1 / (1 + named.pop("diversity", 0.0))  # of all gains but that of diversity
            alone = named.pop("accuracy", 0.0) * lists.relevance  # [N, D]
            for name, factor in named.items():
                alone = alone + factor * self.of_items[name][lists.columns]
            setting = Setting(0, temperature, self.depth, weight)
            best = replace(lists, relevance=alone).reranked(RERANKERS["xquad"], setting, TOP)
            table = on_top(scores, best)  # [N, n + 1]
            # With scores of their own for sampled lists, no losses are measured.
            return Scores.of(table, np.take_along_axis(table, events.candidates, 1))

        return by_factors, temperature

    def measured(self, rows: Iterable[Scores]) -> np.ndarray:
        """Measure rows on validation events: the metrics of the objectives, ``[rows, O]``."""
        names = metrics_of(self.tries.objectives)
        means = (self.tries.measure(scores)[0]["full"] for scores in rows)
        return np.array([[mean[name] for name in names] for mean in means])

    def row(self, seed: int, tuned: Tensor) -> Row:
        """Choose for each weight the factors that come closest to ``tuned [W, P]``, by outcome."""
        valid, weights = self.bench.held_out[0], self.bench.weights.numpy()
        asked = self.measured(Scores.of_adapter(valid, vector) for vector in tuned)  # [W, O]
        far = np.abs(self.points - asked[:, None]) / np.ptp(asked, axis=0)  # [W, S, O]
        chosen = self.factors[far.mean(-1).argmin(1)]  # [W, O]
        return Row(f"greedy_{self.depth}", seed, weights, map(self.on_test, chosen), random=False)
