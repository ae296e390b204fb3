"""Mixtures of parts of the collection: regret as in the evaluation, with fewer anchors."""

import dataclasses

import pytest
import torch

from paragon.adapters.collection import collect, subset
from paragon.adapters.frozen import frozen_task, held_out_losses
from paragon.adapters.mixtures import mixed
from paragon.errors import ParagonError
from paragon.evaluation.methods import methods_of, mixture_of
from paragon.evaluation.protocol import Row, Scores, measure_rows
from paragon.evaluation.summary import control_measures, few_anchors
from tests.evaluation.conftest import make_test_set

MIXTURES = methods_of("mixture")


@pytest.fixture(scope="module")
def task(backbone, seqs, settings):
    return frozen_task(backbone, seqs, "test", settings.adapters)


@pytest.fixture(scope="module")
def collection(backbone, seqs, settings, task):
    """Random anchors, and as oracles the best of many on the test events: regret has a unit."""
    made, draw = (
        collect(backbone, seqs, settings.adapters, [3, 1]),
        torch.Generator().manual_seed(0),
    )

    def random(*shape):
        return 0.5 * torch.randn(*shape, task.form.size, generator=draw)

    oracles = []
    for pool in (random(50), random(50)):
        losses = held_out_losses(task, pool, settings.adapters.objectives)  # [50, O]
        oracles.append(pool[(losses @ made.oracles.T).argmin(0)])
    vectors = {"anchor_vectors": random(2, 4), "oracle_vectors": torch.stack(oracles)}
    return dataclasses.replace(made, **vectors)


def test_with_all_anchors_it_is_the_regret_of_the_evaluation(seqs, settings, collection, task):
    """Two ways to the same number: losses of vectors here, scores of the catalogue there."""
    names, weights = settings.adapters.objectives, collection.oracles
    rows = []
    for index, seed in enumerate((3, 1)):
        vectors = {
            name: mixed(collection, mixture_of(name), index, weights)
            for name in (*MIXTURES, "constant")
        }
        vectors["tuned"] = collection.oracle_vectors[index]
        for name, own in vectors.items():
            rows.append(Row(name, seed, weights.numpy(), [Scores.of_adapter(task, v) for v in own]))
    curve, _ = measure_rows(make_test_set(seqs, negatives=9, cutoffs=[10]), rows)
    everything = few_anchors(collection, task, [settings.adapters.anchors])
    for number, seed in enumerate((3, 1)):
        table = curve.query(f"protocol == 'full' and seed == {seed}").set_index("method")
        for method in MIXTURES:
            expected = control_measures(table, method, names)
            for name in ("mean", "median"):
                found = everything[method][f"regret_{name}_4_anchors"][number].value
                value = expected[f"regret_{name}"].value
                assert found == pytest.approx(value, rel=1e-3, abs=1e-4)


def test_only_the_chosen_anchors_count(collection, task):
    """The other one is replaced by nonsense, and nothing changes."""
    chosen = [0.05, 0.6, 1]
    part = subset(collection, chosen)
    assert part.anchors[:, 0].tolist() == pytest.approx(chosen)
    assert (part.anchor_vectors[:, 1] == collection.anchor_vectors[:, 2]).all()
    found = few_anchors(collection, task, [chosen, [0.05, 0.3, 0.6, 1]])
    assert set(found["nearest"]) == {
        f"regret_{name}_{n}_anchors" for name in ("mean", "median") for n in (3, 4)
    }
    assert all(len(values) == 2 for own in found.values() for values in own.values())
    vectors = collection.anchor_vectors.clone()
    vectors[:, 1] = 7.0
    garbled = dataclasses.replace(collection, anchor_vectors=vectors)
    again = few_anchors(garbled, task, [chosen, [0.05, 0.3, 0.6, 1]])
    for method in MIXTURES:
        assert again[method]["regret_mean_3_anchors"] == found[method]["regret_mean_3_anchors"]
    name = "regret_mean_4_anchors"
    assert again["interpolation"][name] != found["interpolation"][name]


def test_an_anchor_that_is_not_there_is_named(collection, task):
    with pytest.raises(ParagonError, match=r"0\.31"):
        few_anchors(collection, task, [[0.05, 0.31, 1]])
