"""From a trained recommender to a folder that is served without the study that made it."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from paragon.backbones import Backbone, save_backbone
from paragon.data.sequences import Sequences, save_sequences
from paragon.generator.generator import Generator, save_generator
from paragon.objectives.weights import simplex_lattice
from paragon.serving.card import model_card
from paragon.serving.folder import new_folder, save_reranker
from paragon.serving.frozen import load_frozen, save_frozen
from paragon.serving.items import Items, save_items
from paragon.serving.measured import outcomes_of, quality_of_lists, reranker_of
from paragon.serving.outcome import save_outcomes
from paragon.serving.recommender import Recommender
from paragon.storage import write_text


def export_folder(
    folder: Path,
    sequences: Sequences,
    backbone: Backbone,
    description: dict,
    generator: Generator,
    people: bool = False,
) -> None:
    """Write a backbone and a generator to ``folder``, measured as they will serve.

    ``description``: of the backbone.  ``people``: with the histories and ids of all users, and
    what the backbone knows of each.  Without them nothing about single people is written
    (:mod:`paragon.serving.frozen`).  Raises ``ParagonError`` for a folder that holds other files.
    """
    with new_folder(folder) as made:
        save_generator(generator, made / "generator")
        if people:
            save_sequences(sequences, made)
            about = {key: value for key, value in description.items() if key != "sha256"}
            save_backbone(backbone, about, made / "backbone")
            recommender = Recommender(backbone, generator, sequences)
        else:
            items = Items.of(sequences, people=False)
            save_items(items, made / "items")
            save_frozen(backbone, description, made / "backbone")
            device = backbone.item_vectors().device
            frozen, _ = load_frozen(made / "backbone", items.anonymous())
            recommender = Recommender(frozen.to(device), generator, items)
        outcomes = outcomes_of(recommender, sequences)
        if outcomes is not None:
            save_outcomes(outcomes, made / "validation")
        reranker = reranker_of(recommender, sequences)
        if reranker is not None:
            save_reranker(reranker, made / "xquad")
        card = _card(recommender, sequences, people)
        write_text(made / "README.md", card)


def _card(recommender: Recommender, sequences: Sequences, people: bool) -> str:
    """The model card, with what the test events say of a few balances."""
    names = recommender.objectives
    steps = 10 if len(names) == 2 else 3
    grid = simplex_lattice(len(names), steps).numpy()[::-1]  # [W, O]
    ndcg, metrics = quality_of_lists(recommender, sequences, sequences.test, grid)
    means = ndcg.mean(1).tolist(), np.asarray(metrics["diversity"]).tolist()
    return model_card(recommender, people=people, weights=grid, ndcg=means[0], diversity=means[1])
