"""What is measured on validation events when a model is exported, with the lists it serves.

Shapes: N events, G balances, O objectives, K items of a list (10), n items, M categories.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch

from paragon.data.sequences import Evaluation, Sequences
from paragon.metrics import diversity, ranking
from paragon.objectives.weights import simplex_lattice
from paragon.progress import progress
from paragon.rivals.calibration import candidates_of, chosen_settings, validation_rows
from paragon.serving.outcome import Outcomes
from paragon.serving.recommender import Recommender
from paragon.serving.requests import Request
from paragon.serving.reranker import RULE, Reranker

BALANCES = 100  # steps from accuracy alone to the other objective alone
_TOP = 10


def requests_of(
    sequences: Sequences, events: Evaluation, people: bool
) -> Callable[[np.ndarray], list[Request]]:
    """A function from weights ``[O]`` to the requests of the events, for the K best items.

    ``people``: whether a model knows their users.
    """
    pasts = []
    for user, position in zip(events.users, events.positions, strict=True):
        start = sequences.offsets[user]
        past = slice(start, start + position)
        items, times = sequences.items[past].tolist(), sequences.times[past].tolist()
        # An item met before that is the target now may be shown, as in the evaluation.
        blocked = np.zeros(sequences.n_items + 1, dtype=bool)
        blocked[items] = True
        blocked[sequences.items[start + position]] = False
        pasts.append((items, times, int(user) if people else -1, 0, blocked))

    def of(weights: np.ndarray) -> list[Request]:
        return [
            Request(i, t, u, x, weights, _TOP, blocked, exclude_seen=False)
            for i, t, u, x, blocked in pasts
        ]

    return of


def quality_of_lists(
    recommender: Recommender, sequences: Sequences, events: Evaluation, weights: np.ndarray
) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    """NDCG@10 ``[G, N]`` and, by objective, the mean metric ``[G]`` of the lists for each balance.

    Of weights ``[G, O]``, over the whole catalogue.  Diversity is NaN where no item has a category.
    """
    requests = requests_of(sequences, events, bool(recommender.items.users))
    ideal = diversity.ideal_alpha_dcg(
        sequences.categories, _TOP, excluded=sequences.excluded(events)
    )
    holders = np.minimum(recommender.items.popularity[1:], sequences.n_users)
    information = np.append(0.0, ranking.self_information(holders, sequences.n_users))  # [n + 1]
    ndcg, spread, novelty = [], [], []
    for own in progress(weights, "balances"):
        shown = recommender.answer(requests(own.astype(np.float32))).numbers  # [N, K]
        hit = shown == events.targets[:, None]
        ranks = np.where(hit.any(1), hit.argmax(1) + 1, _TOP + 1)  # [N]
        ndcg.append(ranking.ndcg_at(ranks, _TOP))
        lists = sequences.categories[shown]  # [N, K, M]
        spread.append(diversity.alpha_ndcg_at(lists, ideal, _TOP).mean() if ideal.any() else np.nan)
        novelty.append(ranking.novelty_at(shown, information, _TOP).mean())
    return np.array(ndcg), {"diversity": np.array(spread), "novelty": np.array(novelty)}


def outcomes_of(recommender: Recommender, sequences: Sequences) -> Outcomes | None:
    """The outcomes of balances from accuracy alone to diversity alone, on validation events.

    With other objectives, novelty takes the place of diversity; None where there is neither, or
    no accuracy.
    """
    names = recommender.objectives
    other = next((name for name in ("diversity", "novelty") if name in names), None)
    if "accuracy" not in names or other is None:
        return None
    share = np.linspace(0, 1, BALANCES + 1)
    weights = np.zeros((len(share), len(names)))
    weights[:, names.index("accuracy")], weights[:, names.index(other)] = 1 - share, share
    ndcg, metrics = quality_of_lists(recommender, sequences, sequences.valid, weights)
    order = np.random.default_rng(0).permutation(ndcg.shape[1])  # of users: it tells nothing
    return Outcomes(names, weights, ndcg[:, order].astype(np.float32), metrics[other])


def reranker_of(recommender: Recommender, sequences: Sequences) -> Reranker | None:
    """xQuAD with the settings of the evaluated row; None without accuracy or categories."""
    names = recommender.objectives
    if "accuracy" not in names or len(np.unique(sequences.categories[1:], axis=0)) < 2:
        return None
    accuracy = names.index("accuracy")
    # As in the evaluation: adapters for the smallest, the middle and the largest weight of
    # accuracy among its weights, which are the multiples of 1 / oracles.
    oracles = recommender.generator.description["collection"]["settings"]["oracles"]
    grid = simplex_lattice(len(names), oracles).numpy()  # [W, O]
    order = np.argsort(grid[:, accuracy], kind="stable")
    sources = grid[order[[0, len(order) // 2, -1]]]  # [3, O]
    _, events = validation_rows(sequences.valid)
    none = torch.zeros(1, recommender.generator.form.size)
    vectors = torch.cat([none, recommender.generator.generate(sources).cpu()])  # [4, P]
    requests = requests_of(sequences, events, bool(recommender.items.users))(grid[0])
    scores = [recommender.engine.scores(requests, vector) for vector in vectors]
    candidates = candidates_of(sequences, events)["full"]
    share = np.linspace(0, 1, 101)
    settings = chosen_settings(RULE, candidates, scores, share)
    return Reranker(settings, sources, accuracy, sequences.categories)
