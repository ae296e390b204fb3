"""Measure methods that may fetch a budget of items, which are then re-ranked.

Shapes: S settings, P parameters of an adapter.
"""

from collections.abc import Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor

from paragon.evaluation.methods import Method, Trained, named
from paragon.evaluation.shares import (
    WEIGHTS,
    Choice,
    TopTen,
    adapters_of,
    all_choices,
    reranker_choice,
    with_shares,
)
from paragon.reranking.rules import RERANKERS
from paragon.reranking.settings import Tried, tried_settings
from paragon.rivals.end_to_end import END_TO_END

# Numbers of items that are fetched, and what fetches them: the backbone, or adapters.
BUDGETS = (10, 20, 50, 100, 200, 1000)
FETCHED = ("xquad", "dpp", "category_bias", "tuned", "generated", "interpolation_log", *END_TO_END)
COARSE = 20  # number of adapters, about, whose lists are re-ranked


def at_budgets(
    trained: Trained,
    shares: Sequence[float],
    budgets: Sequence[int] = BUDGETS,
    names: Sequence[str] = FETCHED,
) -> dict[int, Any]:
    """Measure methods if a budget of items is fetched, by ``with_shares``: by budget.

    The backbone fetches for re-rankers, adapters for all other methods; xQuAD re-ranks what they
    fetch. Settings are about ``COARSE`` of the adapters, evenly, and the weights of the re-ranker.
    """
    known: dict[tuple[Method, int], tuple[Tensor, Tried]] = {}

    def try_all(index: int, method: Method, valid: TopTen) -> tuple[Tensor, Tried] | None:
        """Try the settings for all budgets; return them with the adapters that fetch."""
        if method.rerank is not None:
            vectors: Tensor | None = torch.zeros(1, valid.task.form.size)  # the backbone: s' = s
        else:
            vectors = adapters_of(trained, index, method, WEIGHTS)  # [S, P]
        if vectors is None:
            return None
        vectors = vectors[:: max(1, len(vectors) // COARSE)]
        scores = [valid.task.catalogue_scores(v, valid.rows).cpu().numpy() for v in vectors]
        rerank = method.rerank or RERANKERS["xquad"]
        return vectors, tried_settings(rerank, trained.trials["full"], scores, depths=budgets)

    def choose(
        index: int, method: Method, valid: TopTen, test: TopTen, budget: int
    ) -> Choice | None:
        if (method, index) not in known:
            found = try_all(index, method, valid)
            if found is None:
                return None
            known[method, index] = found
        vectors, tried = known[method, index]
        depth = min(budget, max(setting.depth for setting in tried.settings))
        at = [row for row, setting in enumerate(tried.settings) if setting.depth == depth]
        of_budget = Tried([tried.settings[row] for row in at], tried.points[at])
        return reranker_choice(method.rerank or RERANKERS["xquad"], of_budget, test, vectors)

    methods = named(names)
    out = {}
    for budget in budgets:
        choices = all_choices(trained, methods, partial(choose, budget=budget))
        out[budget] = with_shares(choices, shares)
    return out
