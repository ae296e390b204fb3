"""Mixtures of parts of the collection: regret as in the evaluation, with fewer anchors."""

import dataclasses

import pytest
import torch

from paragon.adapters.collection import collect, subset
from paragon.adapters.frozen import frozen_task, held_out_losses
from paragon.errors import ParagonError
from paragon.evaluation import testbed
from paragon.evaluation.methods import adapter_vectors, methods_of
from paragon.evaluation.summary import few_anchors, seed_measures
from paragon.evaluation.testbed import Row, TestBed
from paragon.evaluation.trained import OneSeed, Trained
from paragon.generator.training import train_generator

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


def test_with_all_anchors_it_is_the_regret_of_the_evaluation(
    backbone, seqs, settings, collection, task
):
    """Two ways to the same number: losses of vectors here, scores of the catalogue there."""
    generators = [train_generator(collection, settings.generator, seed) for seed in (3, 1)]
    tasks = {
        "valid": frozen_task(backbone, seqs, "valid", settings.adapters),
        "test": task,
    }
    names = settings.adapters.objectives
    bed = TestBed(seqs, seqs.test, names, negatives=9, served=6, cutoffs=[10])
    both = tasks["valid"], tasks["test"]
    bias, none = torch.zeros(2, 5, 6), collection.oracles[:0]
    trained = Trained(bed, *both, collection, generators, [], [{}, {}], bias, none, {})
    rows = [
        Row(name, seed, collection.oracles.numpy(), [task.catalogue_scores(v) for v in vectors])
        for index, seed in enumerate((3, 1))
        for name in (*MIXTURES, "tuned", "constant")
        for vectors in [adapter_vectors(OneSeed(trained, index), name)]
    ]
    curve = testbed.measure_rows(bed, rows)
    everything = few_anchors(collection, task, [settings.adapters.anchors])
    for method in MIXTURES:
        by_seed = seed_measures(curve, method, "full", names)
        assert list(by_seed) == [3, 1]
        for name in ("mean", "median"):
            expected = [own[f"regret_{name}"].value for own in by_seed.values()]
            found = [measure.value for measure in everything[method][f"regret_{name}_4_anchors"]]
            assert found == pytest.approx(expected, rel=1e-3, abs=1e-4)


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
    with pytest.raises(ParagonError, match=r"0\.31.*there are \[0\.05, 0\.3, 0\.6, 1\.0\]"):
        few_anchors(collection, task, [[0.05, 0.31, 1]])
