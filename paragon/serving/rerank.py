"""Choose how an exported recommender re-ranks its lists with xQuAD.

Shapes: O objectives, P adapter parameters.
"""

import numpy as np

from paragon.data.sequences import Sequences
from paragon.objectives.weights import simplex_lattice
from paragon.reranking import settings as reranking
from paragon.reranking.rules import RERANKERS
from paragon.serving.lists import Encoded
from paragon.serving.recommender import Recommender, Reranker


def choose_reranker(
    recommender: Recommender, sequences: Sequences, pasts: list[Encoded]
) -> Reranker | None:
    """Choose the settings of xQuAD on validation events, as in the evaluation.

    ``pasts``: the histories of the validation events ``sample_rows``.  None if all items have the
    same categories: then no list is more diverse than another.
    """
    if len(np.unique(sequences.categories[1:], axis=0)) < 2:
        return None
    names = recommender.objectives
    accuracy = names.index("accuracy")
    # Evaluation weights are the multiples of 1 / oracles.
    oracles = recommender.generator.description["collection"]["settings"]["oracles"]
    lattice = simplex_lattice(len(names), oracles)
    sources = reranking.source_weights(lattice, accuracy)  # [3, O]
    vectors = reranking.source_vectors(recommender.generator, sources)  # [4, P]
    scores = [recommender.scores(pasts, vector) for vector in vectors]
    trials = reranking.Trials.of(sequences)["full"]
    tried = reranking.tried_settings(RERANKERS["xquad"], trials, scores)
    settings = reranking.chosen_settings(tried, np.arange(101) / 100)
    return Reranker(accuracy, settings, sources.numpy())
