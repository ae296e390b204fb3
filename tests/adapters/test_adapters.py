"""Adapters: vector and module are one thing, and joint tuning is tuning alone."""

import dataclasses

import numpy as np
import pytest
import torch

from paragon.adapters import tuning
from paragon.adapters.adapter import Adapter, adapt, initial_vector, unflatten, vector_size
from paragon.adapters.collection import collect, load_collection, save_collection
from paragon.adapters.frozen import frozen_task, held_out_losses
from paragon.data.negatives import NegativeSampler
from paragon.errors import ParagonError
from paragon.objectives.weights import simplex_weights
from paragon.params import load_params

OBJECTIVES = ["accuracy", "diversity"]


@pytest.fixture(scope="module")
def tasks(backbone, seqs):
    return [frozen_task(backbone, seqs, name, 6) for name in ("train", "valid")]


def tune(tasks, seqs, weights, start, seeds=(0,), **change):
    few = {"steps": 12, "batch": 16, "negatives": 5, "checks": 4, "snapshots": 2}
    settings = load_params().adapters.model_copy(
        update={"objectives": OBJECTIVES, "learning_rate": 0.01, **few, **change}
    )
    return tuning.tune(*tasks, NegativeSampler(seqs), weights, start, settings, seeds)


def test_paper_size():
    assert vector_size(64, 8) == 1096 == 8 * 137


def test_vector_to_module_and_back():
    vector = torch.randn(vector_size(16, 3), generator=torch.Generator().manual_seed(0))
    module = Adapter.from_vector(vector, 16)
    assert torch.equal(module.vector(), vector)
    states = torch.randn(5, 16, generator=torch.Generator().manual_seed(1))
    w1, b1, w2, b2 = unflatten(vector, 16)
    by_hand = states + (w2 @ torch.relu(w1 @ states.T + b1[:, None]) + b2[:, None]).T
    assert torch.allclose(module(states), by_hand, atol=1e-6)
    assert torch.allclose(adapt(states, vector[None])[0], by_hand, atol=1e-6)


def test_a_vector_of_the_wrong_size_is_refused():
    with pytest.raises(ParagonError, match="17 numbers found; with states of 64"):
        unflatten(torch.zeros(17), 64)


def test_the_start_changes_nothing():
    start = initial_vector(16, 3, torch.Generator().manual_seed(0))
    states = torch.randn(4, 16)
    assert torch.equal(Adapter.from_vector(start, 16)(states), states)


def test_scores_are_products_of_adapted_states_and_items(tasks, backbone):
    valid = tasks[1]
    vectors = 0.1 * torch.randn(3, vector_size(16, 2))
    rows = torch.arange(7)
    scores = valid.scores(vectors, rows, valid.candidates[rows])
    assert scores.shape == (7, 3, 6)
    for a in range(3):
        state = Adapter.from_vector(vectors[a], 16)(valid.states[rows])
        expected = (backbone.item_vectors()[valid.candidates[rows]] * state[:, None]).sum(-1)
        assert torch.allclose(scores[:, a], expected, atol=1e-5)


def test_catalogue_scores_are_those_of_the_module(tasks, backbone):
    draw = torch.Generator().manual_seed(0)
    vector = 0.1 * torch.randn(vector_size(16, 2), generator=draw)
    expected = Adapter.from_vector(vector, 16)(tasks[1].states) @ backbone.item_vectors().T
    found = tasks[1].catalogue_scores(vector)
    assert torch.allclose(found, expected, atol=1e-5)
    # Not `equal`: a product of fewer rows may be summed in another order.
    part = tasks[1].catalogue_scores(vector, slice(2, 5))
    assert torch.allclose(part, found[2:5], rtol=0, atol=1e-6)


def test_of_many_training_events_some_of_every_user_are_taken(backbone, seqs):
    every = frozen_task(backbone, seqs, "train", 6)
    few = frozen_task(backbone, seqs, "train", 6, most=len(every.users) // 2)
    assert len(few.states) == len(few.targets) == len(every.users) // 2
    assert set(few.users) == set(every.users)
    rows = [np.flatnonzero((every.states == state).all(1))[0] for state in few.states[:20]]
    assert np.array_equal(every.targets[rows], few.targets[:20])


def test_states_that_are_known_are_not_computed_again(backbone, seqs):
    few = frozen_task(backbone, seqs, "train", 6, most=50)
    known = frozen_task(backbone, seqs, "train", 6, most=50, states=few.states + 1)
    assert torch.equal(known.states, few.states + 1)
    assert np.array_equal(known.targets, few.targets) and np.array_equal(known.users, few.users)


def test_joint_tuning_equals_tuning_alone(tasks, seqs):
    weights = simplex_weights([0.1, 0.5, 1.0], OBJECTIVES)
    start = initial_vector(16, 2, torch.Generator().manual_seed(0))
    starts = start.repeat(2, 3, 1)
    joint = tune(tasks, seqs, weights, starts, seeds=[0, 1])
    for s in range(2):
        for a in range(3):
            alone = tune(tasks, seqs, weights[a : a + 1], start.repeat(1, 1, 1), seeds=[s])
            assert torch.allclose(joint.vectors[s, a], alone.vectors[0, 0], atol=1e-5)
            assert torch.allclose(joint.validation[s, a], alone.validation[0, 0], atol=1e-4)
    assert not torch.allclose(joint.vectors[0], joint.vectors[1], atol=1e-3)


def test_tuning_equals_plain_training_of_a_module(tasks, seqs):
    """An independent loop: nn.Module, autograd of the module, torch's Adam, one task."""
    weights = simplex_weights([0.4], OBJECTIVES)
    start = initial_vector(16, 2, torch.Generator().manual_seed(0))
    found = tune(tasks, seqs, weights, start[None, None]).vectors[0, 0]
    train, module = tasks[0], Adapter.from_vector(start, 16)
    optimizer = torch.optim.Adam(module.parameters(), lr=0.01)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, 12)
    rng, sampler = np.random.default_rng([0, 1]), NegativeSampler(seqs)
    from paragon.objectives.table import OBJECTIVES as functions

    for _ in range(12):
        rows, candidates = train.draw(sampler, 16, 5, rng)
        scores = (module(train.states[rows])[:, None] * train.items[candidates]).sum(-1)
        lists = train.catalogue.lists(candidates, train.groups[rows])
        parts = [functions[name].loss(scores[:, None], lists)[0] for name in OBJECTIVES]
        loss = 0.4 * parts[0] + 0.6 * parts[1]
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
    assert torch.allclose(module.vector(), found, atol=1e-5)


def test_tuning_lowers_the_loss_and_follows_the_weights(tasks, seqs):
    weights = simplex_weights([0.05, 1.0], OBJECTIVES)
    start = initial_vector(16, 2, torch.Generator().manual_seed(0)).repeat(1, 2, 1)
    tuned = tune(tasks, seqs, weights, start, steps=150, batch=64)
    before = held_out_losses(tasks[0].__class__(**vars(tasks[1])), start[0], OBJECTIVES)
    after = held_out_losses(tasks[1], tuned.vectors[0], OBJECTIVES)
    assert after[0, 1] < before[0, 1] - 0.05  # diversity improves where it is asked for
    assert after[0, 1] < after[1, 1]


def test_a_single_check_leaves_no_snapshots(tasks, seqs):
    start = initial_vector(16, 2, torch.Generator().manual_seed(0))[None, None]
    weights = simplex_weights([0.4], OBJECTIVES)
    assert tune(tasks, seqs, weights, start, checks=1, snapshots=0).snapshots.shape[2] == 0


def test_collection_round_trip_and_training_set(backbone, seqs, settings, tmp_path):
    collection = collect(backbone, seqs, settings.adapters, [0, 1], {"backbone": "abc"})
    assert collection.anchor_vectors.shape == (2, 4, vector_size(16, 2))
    assert collection.oracle_vectors.shape[:2] == (2, 5)
    vectors, weights = collection.training_set(1)
    assert len(vectors) == len(weights) == 4 * 3
    assert torch.equal(vectors[2], collection.anchor_vectors[1, 0])
    save_collection(collection, tmp_path / "collection")
    loaded = load_collection(tmp_path / "collection")
    assert torch.equal(loaded.snapshots, collection.snapshots)
    assert loaded.description["backbone"] == "abc"


def test_nan_in_a_collection_is_named(backbone, seqs, settings, tmp_path):
    collection = collect(backbone, seqs, settings.adapters, [0])
    broken = collection.anchor_vectors.clone()
    broken[0, 1, 3] = torch.nan
    broken = dataclasses.replace(collection, anchor_vectors=broken)
    save_collection(broken, tmp_path / "collection")
    with pytest.raises(ParagonError, match="anchor_vectors.*not finite"):
        load_collection(tmp_path / "collection")


def test_altered_tensors_are_noticed(backbone, seqs, settings, tmp_path):
    collection = collect(backbone, seqs, settings.adapters, [0])
    save_collection(collection, tmp_path / "collection")
    path = tmp_path / "collection.safetensors"
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    with pytest.raises(ParagonError, match="checksum"):
        load_collection(tmp_path / "collection")
