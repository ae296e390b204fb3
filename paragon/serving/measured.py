"""What is measured on validation events when a model is exported, with the lists it serves.

Shapes: N events, G balances, O objectives, K items of a list (10), n items, M categories.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from paragon.data.sequences import Evaluation, Sequences
from paragon.metrics import ranking
from paragon.metrics.diversity import ideal_alpha_dcg
from paragon.objectives.weights import simplex_lattice
from paragon.progress import progress
from paragon.rivals.calibration import (
    candidates_of,
    chosen_settings,
    list_quality,
    source_vectors,
    source_weights,
    validation_rows,
)
from paragon.rivals.reranking import RERANKERS
from paragon.serving.engine import Reranker
from paragon.serving.outcome import Outcomes
from paragon.serving.recommender import Recommender
from paragon.serving.requests import RULE, Request

BALANCES = 100  # steps from accuracy alone to the other objective alone
_TOP = 10


def _requests(recommender: Recommender, sequences: Sequences, events: Evaluation) -> list[Request]:
    """Of the users of the events, for the K best items; no weights are in them yet."""
    blocked = sequences.excluded(events)  # [N, n + 1], never true for the target
    requests = []
    for user, position, left_out in zip(events.users, events.positions, blocked, strict=True):
        start = sequences.offsets[user]
        past = slice(start, start + position)
        items, times = sequences.items[past].tolist(), sequences.times[past].tolist()
        known = int(user) if recommender.items.users else -1
        none = np.zeros(0)
        requests.append(Request(items, times, known, 0, none, _TOP, left_out, exclude_seen=False))
    return requests


def quality_of_lists(
    recommender: Recommender, sequences: Sequences, events: Evaluation, weights: np.ndarray
) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    """``NDCG@10 [G, N]`` and, by objective, the mean metric ``[G]`` of the lists for each balance.

    Of weights ``[G, O]``, over the whole catalogue.
    """
    requests = _requests(recommender, sequences, events)
    ideal = ideal_alpha_dcg(sequences.categories, _TOP, excluded=sequences.excluded(events))
    holders = np.minimum(recommender.items.popularity[1:], sequences.n_users)
    information = np.append(0.0, ranking.self_information(holders, sequences.n_users))  # [n + 1]
    ndcg, spread, novelty = [], [], []
    for own in progress(weights, "balances"):
        asked = [replace(request, weights=own.astype(np.float32)) for request in requests]
        shown = recommender.engine.answer(asked).numbers  # [N, K]
        hits, sets = shown == events.targets[:, None], sequences.categories[shown]  # [N, K, M]
        found = list_quality(hits, sets, ideal)
        ndcg.append(found[0])
        spread.append(found[1].mean())
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
    order = np.lexsort(ndcg[::-1])  # of users: by their values, so that it tells nothing else
    return Outcomes(names, weights, ndcg[:, order].astype(np.float32), metrics[other])


def reranker_of(recommender: Recommender, sequences: Sequences) -> Reranker | None:
    """xQuAD with the settings of the evaluated row; None without accuracy or categories."""
    names = recommender.objectives
    if "accuracy" not in names or len(np.unique(sequences.categories[1:], axis=0)) < 2:
        return None
    accuracy = names.index("accuracy")
    # As in the evaluation, whose weights are the multiples of 1 / oracles.
    oracles = recommender.generator.description["collection"]["settings"]["oracles"]
    sources = source_weights(simplex_lattice(len(names), oracles), accuracy)  # [3, O]
    _, events = validation_rows(sequences.valid)
    vectors = source_vectors(recommender.generator, sources)  # [4, P]
    requests = _requests(recommender, sequences, events)
    scores = [recommender.engine.scores(requests, vector) for vector in vectors]
    candidates = candidates_of(sequences, events)["full"]
    chosen = chosen_settings(RERANKERS[RULE], candidates, scores, np.linspace(0, 1, 101))
    return Reranker(accuracy, [setting._asdict() for setting in chosen], sources.numpy())
