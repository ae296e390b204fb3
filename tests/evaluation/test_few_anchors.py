"""Mixtures of parts of the collection: regret as in the evaluation, with fewer anchors."""

import dataclasses

import pytest
import torch

from paragon.adapters.frozen import frozen_task, held_out_losses
from paragon.adapters.mixtures import mixed
from paragon.evaluation.evaluate import control_measures, few_anchors
from paragon.evaluation.methods import methods_of, mixture_of
from paragon.evaluation.protocol import Row, Scores, measure_rows
from tests.conftest import refused
from tests.evaluation.conftest import make_test_set

MIXTURES = methods_of("mixture")


@pytest.fixture(scope="module")
def task(backbone, seqs, settings):
    return frozen_task(backbone, seqs, "test", settings.adapters)


@pytest.fixture(scope="module")
def random_collection(collection, settings, task):
    """Random anchors, and as oracles the best of many on the test events: regret has a unit."""
    draw = torch.Generator().manual_seed(0)

    def random(*shape):
        return 0.5 * torch.randn(*shape, task.form.size, generator=draw)

    oracles = []
    for pool in (random(50), random(50)):
        losses = held_out_losses(task, pool, settings.adapters.objectives)  # [50, O]
        oracles.append(pool[(losses @ collection.oracles.T).argmin(0)])
    vectors = {"anchor_vectors": random(2, 4), "oracle_vectors": torch.stack(oracles)}
    return dataclasses.replace(collection, **vectors)


def test_with_all_anchors_it_is_the_regret_of_the_evaluation(
    seqs, settings, random_collection, task
):
    """Two ways to the same number: losses of vectors here, scores of the catalogue there."""
    collection, weights = random_collection, random_collection.oracles
    rows = []
    for index in (0, 1):
        vectors = {"tuned": collection.oracle_vectors[index]} | {
            name: mixed(collection, mixture_of(name), index, weights)
            for name in (*MIXTURES, "constant")
        }
        for name, own in vectors.items():
            scores = [Scores.of_adapter(task, v) for v in own]
            rows.append(Row(name, index, weights.numpy(), scores))
    curve, _ = measure_rows(make_test_set(seqs, negatives=9, cutoffs=[10]), rows)
    with_all = few_anchors(collection, task, [settings.adapters.anchors])
    for seed in (0, 1):
        table = curve.query(f"protocol == 'full' and seed == {seed}").set_index("method")
        for method in MIXTURES:
            expected = control_measures(table, method, settings.adapters.objectives)
            for name in ("mean", "median"):
                regret = with_all[method][f"regret_{name}_4_anchors"][seed].value
                value = expected[f"regret_{name}"].value
                assert regret == pytest.approx(value, rel=1e-3, abs=1e-4)


def test_only_the_chosen_anchors_count(random_collection, task):
    """The other one is replaced by nonsense, and nothing changes."""
    subsets = [[0.05, 0.6, 1], [0.05, 0.3, 0.6, 1]]
    measures = few_anchors(random_collection, task, subsets)
    vectors = random_collection.anchor_vectors.clone()
    vectors[:, 1] = 7.0
    garbled = dataclasses.replace(random_collection, anchor_vectors=vectors)
    again = few_anchors(garbled, task, subsets)
    for method in MIXTURES:
        assert again[method]["regret_mean_3_anchors"] == measures[method]["regret_mean_3_anchors"]
    name = "regret_mean_4_anchors"
    assert again["interpolation"][name] != measures["interpolation"][name]
    refused("0.31", few_anchors, random_collection, task, [[0.05, 0.31, 1]])
