"""The whole way on data whose truth is known: does the list that is served follow the weights?

Only the user's favourite category at all weight on accuracy, nearly all eight at all on diversity.
"""

import dataclasses

import numpy as np
import pytest

from paragon.adapters.collection import collect
from paragon.adapters.frozen import frozen_events
from paragon.backbones import train_backbone
from paragon.data.split import prepare
from paragon.evaluation.methods import METHODS, Trained, other_rows
from paragon.evaluation.protocol import Scores, held_out
from paragon.generator.training import losses_on, train_generator
from paragon.metrics.control import set_hv
from paragon.metrics.ranking import top_k
from paragon.objectives.weights import simplex_lattice
from paragon.params import load_params
from tests.evaluation.conftest import table
from tests.planted import planted_dataset

SETTINGS = {
    "backbones": {"dim": 32, "epochs": 8},
    "adapters": {
        **{"anchors": [0.001, 0.15, 0.35, 0.5, 0.7, 1.0], "oracles": 1, "learning_rate": 0.005},
        **{"steps": 500, "checks": 4, "snapshots": 2},
    },
    "generator": {"steps": 300, "blocks": 2},
}


def trained():
    settings = load_params(overrides=SETTINGS)
    sequences, own = prepare(planted_dataset(), negatives=99), settings.adapters
    backbone, _ = train_backbone("sasrec", sequences, settings.backbones)
    # Nothing here needs adapters tuned at the weights of the evaluation.
    collection = collect(backbone, sequences, own, [0])
    collection = dataclasses.replace(collection, oracles=simplex_lattice(2, 10))
    train = frozen_events(backbone, sequences, "train", own)
    losses = losses_on(train, own.objectives, settings.generator.task_rows)
    valid, test, test_set = held_out(sequences, backbone, own, [10])
    generator = train_generator(collection, settings.generator, 0, valid, losses)
    return Trained(
        valid=valid,
        test=test,
        test_set=test_set,
        collection=collection,
        weights=collection.oracles,
        generators={"generated": [generator]},
        learned=[{}],
        category_bias=None,
        retrain_weights=collection.oracles[:0],
        retrained={},
    )


def measured(made, scores):
    """The mean number of categories in the ten items served, and the set HV, of all weights."""
    test_set, counts, points = made.test_set, [], []
    excluded = test_set.sequences.excluded(test_set.evaluation)
    for one in scores:
        items = top_k(table(one), 10, excluded)
        counts.append(test_set.sequences.categories[items].any(1).sum(1).mean())
        found = test_set.measure(one)[0]["full"]
        points.append([found["ndcg@10"], found["alpha_ndcg@10"]])
    return np.array(counts), set_hv(np.array(points))


@pytest.mark.slow
def test_the_served_list_follows_the_weights():
    made = trained()
    vectors = made.generators["generated"][0].generate(made.weights)  # from 0 to 1 on accuracy
    counts, volume = measured(made, [Scores.of_adapter(made.test, vector) for vector in vectors])
    assert counts[10] <= 1.3 and counts[5] >= 3 and counts[1] >= 6.5
    # More accuracy, fewer categories, but for the corner, where both are nearly all.  Training
    # differs a little between processors.
    assert np.diff(counts[1:]).max() <= 0.25
    # Ten items at random would show 8 (1 - (7 / 8)^10) categories, not knowing the catalogue.
    assert counts[0] >= 8 * (1 - (7 / 8) ** 10)
    # Re-ranking sees the list as a whole.  What re-ranks generated lists is as good, to 3 %.
    volumes = {}
    for name in ("mmr", "xquad", "dpp", "generated_xquad"):
        row = next(other_rows(made, name, METHODS[name]))
        _, volumes[name] = measured(made, row.scores)
    both = volumes.pop("generated_xquad")
    assert max(volume, both) >= 0.97 * max(volumes.values())
