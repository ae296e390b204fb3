"""Adapters: vector and module are one thing, and joint tuning is tuning alone."""

import dataclasses

import numpy as np
import pytest
import torch
from torch.nn.utils import parameters_to_vector

from paragon.adapters import collection as tuning
from paragon.adapters.adapter import Adapter, AdapterForm, adapt, initial_vector, start_vectors
from paragon.adapters.collection import collect, load_collection, save_collection
from paragon.adapters.frozen import frozen_task
from paragon.backbones import build
from paragon.data.negatives import NegativeSampler
from paragon.errors import ParagonError
from paragon.objectives.table import OBJECTIVES
from paragon.objectives.weights import simplex_weights
from tests.conftest import adapter_settings, refused

FORM = AdapterForm(16, 2, 6)  # that of the small settings and the toy data
LISTS = adapter_settings(negatives=5, served=6, served_rows=8)


@pytest.fixture(scope="module")
def pair(backbone, seqs):
    return [frozen_task(backbone, seqs, name, LISTS) for name in ("train", "valid")]


def tune(pair, seqs, weights, start, seeds=(0,)):
    few = {"steps": 12, "batch": 16, "checks": 4, "snapshots": 2, "learning_rate": 0.01}
    settings = LISTS.model_copy(update=few)
    return tuning.tune(*pair, NegativeSampler(seqs), weights, start, settings, seeds)


def some_vectors(count, form=FORM, scale=0.1):
    return scale * torch.randn(count, form.size, generator=torch.Generator().manual_seed(0))


def by_hand(states, items, categories, parts):
    """Scores ``[B, n]`` of one adapter, from its equations."""
    w1, b1, w2, b2, v, u = parts
    adapted = states + (w2 @ torch.relu(w1 @ states.T + b1[:, None]) + b2[:, None]).T
    liking = (v @ adapted.T + u[:, None]).T  # of every category
    return adapted @ items.T + liking @ categories.T


@pytest.mark.parametrize("categories", [0, 6])
def test_vector_to_module_and_back(categories):
    form = AdapterForm(16, 3, categories)
    vector = some_vectors(1, form, scale=1)[0]
    module = Adapter.from_vector(vector, form)
    assert torch.equal(parameters_to_vector(module.parameters()), vector)
    draw = torch.Generator().manual_seed(1)
    states, items = torch.randn(5, 16, generator=draw), torch.randn(9, 16, generator=draw)
    features = torch.randn(9, categories, generator=draw)
    expected = by_hand(states, items, features, form.unflatten(vector))
    table = torch.cat([items, features], 1)
    assert torch.allclose(module(states) @ table.T, expected, atol=1e-4)
    assert torch.allclose(adapt(states, vector[None], form)[0] @ table.T, expected, atol=1e-4)
    with pytest.raises(ParagonError, match=f"17 numbers found.* {form.size}"):
        form.unflatten(torch.zeros(17))


def test_scores_are_products_of_adapted_states_and_items(pair, backbone, seqs):
    valid, vectors, rows = pair[1], some_vectors(3), torch.arange(7)
    features = torch.from_numpy(seqs.categories).float()
    scores = valid.scores(vectors, rows, valid.candidates[rows])
    assert scores.shape == (7, 3, 6)
    for a, vector in enumerate(vectors):
        full = by_hand(valid.states, backbone.item_vectors(), features, FORM.unflatten(vector))
        expected = full[rows].gather(1, valid.candidates[rows])
        assert torch.allclose(scores[:, a], expected, atol=1e-5)
        assert torch.allclose(valid.catalogue_scores(vector), full, atol=1e-5)
        part = valid.catalogue_scores(vector, slice(2, 5))
        assert torch.allclose(part, full[2:5], atol=1e-5)
    bare = backbone.score_catalogue(valid.states)
    assert torch.equal(valid.catalogue_scores(initial_vector(FORM, 0)), bare)


def test_served_is_the_best_that_is_not_met(seqs, settings):
    """Of each adapter its own list, whatever the leading dimensions; a vector for each pair."""
    model = build("deepfm", seqs, settings.backbones, seed=0).eval().requires_grad_(False)
    task, form = frozen_task(model, seqs, "train", LISTS), AdapterForm(model.dim, 2, 6)
    vectors = some_vectors(6, form).view(2, 3, -1)
    rows = torch.tensor([[3, 50, 200, 111], [7, 8, 9, 10]])
    scores, lists = task.serve(vectors, rows)
    assert scores.shape == (2, 3, 4, 1, 6)
    met = seqs.met_in_training().mask()
    for s, a, b in np.ndindex(2, 3, 4):
        row = rows[s, b]
        full = task.catalogue_scores(vectors[s, a])[row].masked_fill(met[task.users[row]], -1e9)
        best = full.argsort(descending=True)[:6]
        assert torch.allclose(scores[s, a, b, 0], full[best], atol=1e-5)
        assert torch.equal(lists.categories[s, a, b], task.catalogue.categories[best])
        assert torch.equal(lists.groups[s, 0, b], task.groups[row])


def test_a_user_who_met_nearly_everything_is_named(backbone, seqs):
    least = int((~seqs.met_in_training().mask()).sum(1).min())
    frozen_task(backbone, seqs, "train", adapter_settings(served=least))
    words = rf"{least + 1} items.* 1 of {seqs.n_users} users.*adapters.served"
    with pytest.raises(ParagonError, match=words):
        frozen_task(backbone, seqs, "train", adapter_settings(served=least + 1))


def test_of_many_training_events_some_of_every_user_are_taken(pair, backbone, seqs):
    train = pair[0]
    half = LISTS.model_copy(update={"events": len(train.users) // 2})
    few = frozen_task(backbone, seqs, "train", half)
    assert len(few.states) == len(few.targets) == len(train.users) // 2
    assert set(few.users) == set(train.users)
    rows = [np.flatnonzero((train.states == state).all(1))[0] for state in few.states[:20]]
    assert np.array_equal(train.targets[rows], few.targets[:20])
    known = frozen_task(backbone, seqs, "train", half, states=few.states + 1)  # not computed again
    assert torch.equal(known.states, few.states + 1)


def test_joint_tuning_equals_tuning_alone(pair, seqs):
    weights = simplex_weights([0.1, 0.5, 1.0], LISTS.objectives)
    start = initial_vector(FORM, 0)
    joint = tune(pair, seqs, weights, start.repeat(2, 3, 1), seeds=[0, 1])
    for s, a in ((0, 0), (1, 1), (1, 2)):
        alone = tune(pair, seqs, weights[a : a + 1], start.repeat(1, 1, 1), seeds=[s])
        assert torch.allclose(joint.vectors[s, a], alone.vectors[0, 0], atol=1e-5)
        assert torch.allclose(joint.validation[s, a], alone.validation[0, 0], atol=1e-4)
    assert not torch.allclose(joint.vectors[0], joint.vectors[1], atol=1e-3)


def test_tuning_equals_plain_training_of_a_module(pair, seqs):
    """An independent loop: nn.Module, autograd of the module, torch's Adam, one task."""
    weights, start = simplex_weights([0.4], LISTS.objectives), initial_vector(FORM, 0)
    found = tune(pair, seqs, weights, start[None, None]).vectors[0, 0]
    train, module = pair[0], Adapter.from_vector(start, FORM)
    optimizer = torch.optim.Adam(module.parameters(), lr=0.01)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, 12)
    rng, sampler = np.random.default_rng([0, 1]), NegativeSampler(seqs)
    for _ in range(12):
        rows, candidates = train.draw(sampler, 16, 5, rng)
        scores = module(train.states[rows]) @ train.items.T  # [16, n + 1]
        met = seqs.met_in_training().mask()[train.users[rows[:8]]]
        best = scores[:8].masked_fill(met, -torch.inf).topk(6).indices
        loss = 0.0
        for weight, name, of in ((0.4, "accuracy", candidates), (0.6, "diversity", best)):
            lists = train.catalogue.lists(of, train.groups[rows[: len(of)]])
            listed = scores[: len(of)].gather(1, of)[:, None]
            loss = loss + weight * OBJECTIVES[name].loss(listed, lists)[0]
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
    assert torch.allclose(parameters_to_vector(module.parameters()), found, atol=1e-5)


def test_collection_round_trip_and_training_set(collection, tmp_path):
    assert collection.anchor_vectors.shape == (2, 4, FORM.size)
    assert collection.oracle_vectors.shape[:2] == (2, 5)
    vectors, weights = collection.training_set(1)
    assert len(vectors) == len(weights) == 4 * 3
    assert torch.equal(vectors[2], collection.anchor_vectors[1, 0])
    described = {"description": collection.description | {"backbone": "abc"}}
    save_collection(dataclasses.replace(collection, **described), stem := tmp_path / "collection")
    loaded = load_collection(stem, {"sha256": "abc"})
    assert torch.equal(loaded.snapshots, collection.snapshots)
    refused("`backbone` differs", load_collection, stem, {"sha256": "other"})
    broken = collection.anchor_vectors.clone()
    broken[0, 1, 3] = torch.nan
    save_collection(dataclasses.replace(collection, anchor_vectors=broken), stem)
    refused("not finite", load_collection, stem)


def test_a_task_that_ends_no_better_than_it_started_keeps_its_start(backbone, seqs, monkeypatch):
    """By its end alone, however low the loss was before; snapshots as well."""
    settings = adapter_settings(anchors=[0.2, 1], oracles=1, snapshots=1)
    ends = torch.tensor([[9.0, 0.0], [0.0, 9.0], [9.0, 9.0], [0.0, 0.0]])  # of each task, [4, T]

    def tune(train, valid, sampler, weights, start, *rest):
        return tuning.Tuned(start + 1, start.unsqueeze(2) + 1, ends.unsqueeze(0), torch.arange(2))

    monkeypatch.setattr(tuning, "tune", tune)
    made, start = collect(backbone, seqs, settings, [0]), start_vectors(FORM, 4, [0])[0]
    changed = torch.cat([made.anchor_vectors, made.oracle_vectors], 1)[0] - start
    assert changed[:, 0].tolist() == [1, 0, 0, 1]
    assert (made.snapshots[0, :, 0] - start[:2])[:, 0].tolist() == [1, 0]
