"""Adapters: vector and module are one thing, and joint tuning is tuning alone."""

import dataclasses

import numpy as np
import pytest
import torch

from paragon.adapters import tuning
from paragon.adapters.adapter import (
    Adapter,
    AdapterForm,
    adapt,
    initial_vector,
    start_vectors,
)
from paragon.adapters.collection import collect, load_collection, save_collection
from paragon.adapters.frozen import frozen_task
from paragon.backbones import build
from paragon.data.negatives import NegativeSampler
from paragon.errors import ParagonError
from paragon.objectives.weights import simplex_weights
from tests.conftest import adapter_settings

OBJECTIVES = ["accuracy", "diversity"]
FORM = AdapterForm(16, 2, 6)  # that of the small settings and the toy data
LISTS = adapter_settings(negatives=5, served=6, served_rows=8)


@pytest.fixture(scope="module")
def tasks(backbone, seqs):
    return [frozen_task(backbone, seqs, name, LISTS) for name in ("train", "valid")]


def tune(tasks, seqs, weights, start, seeds=(0,), **change):
    few = {"steps": 12, "batch": 16, "checks": 4, "snapshots": 2, "learning_rate": 0.01}
    settings = LISTS.model_copy(update={**few, **change})
    return tuning.tune(*tasks, NegativeSampler(seqs), weights, start, settings, seeds)


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
    assert torch.equal(module.vector(), vector)
    draw = torch.Generator().manual_seed(1)
    states, items = torch.randn(5, 16, generator=draw), torch.randn(9, 16, generator=draw)
    features = torch.randn(9, categories, generator=draw)
    expected = by_hand(states, items, features, form.unflatten(vector))
    table = torch.cat([items, features], 1)
    assert torch.allclose(module(states) @ table.T, expected, atol=1e-4)
    assert torch.allclose(adapt(states, vector[None], form)[0] @ table.T, expected, atol=1e-4)


def test_a_vector_of_the_wrong_size_is_refused():
    with pytest.raises(ParagonError, match="17 numbers found; states of 64.* need 1096"):
        AdapterForm(64, 8).unflatten(torch.zeros(17))


def test_the_start_changes_nothing(tasks, backbone):
    start = initial_vector(FORM, torch.Generator().manual_seed(0))
    bare = backbone.score_catalogue(tasks[1].states)
    assert torch.equal(tasks[1].catalogue_scores(start), bare)


def test_scores_are_products_of_adapted_states_and_items(tasks, backbone, seqs):
    valid, vectors = tasks[1], some_vectors(3)
    categories = torch.from_numpy(seqs.categories).float()
    rows = torch.arange(7)
    scores = valid.scores(vectors, rows, valid.candidates[rows])
    assert scores.shape == (7, 3, 6)
    for a in range(3):
        parts = FORM.unflatten(vectors[a])
        full = by_hand(valid.states[rows], backbone.item_vectors(), categories, parts)
        assert torch.allclose(scores[:, a], full.gather(1, valid.candidates[rows]), atol=1e-5)


@pytest.mark.parametrize("name", ["sasrec", "deepfm"])
def test_served_is_the_best_that_is_not_met(name, seqs, settings):
    """Of each adapter its own list, whatever the leading dimensions."""
    model = build(name, seqs, settings.backbones, seed=0).eval().requires_grad_(False)
    task, form = frozen_task(model, seqs, "train", LISTS), AdapterForm(model.dim, 2, 6)
    vectors = some_vectors(6, form).view(2, 3, -1)
    rows = torch.tensor([[3, 50, 200, 111], [7, 8, 9, 10]])
    scores, lists = task.serve(vectors, rows)
    assert scores.shape == (2, 3, 4, 1, 6)
    names = np.array([set() for _ in range(seqs.n_users)])
    for user, item in seqs.met_in_training().mask().nonzero().tolist():
        names[user].add(item)
    for s in range(2):
        for a in range(3):
            full = task.catalogue_scores(vectors[s, a])
            for b, row in enumerate(rows[s].tolist()):
                left = [i for i in range(1, seqs.n_items + 1) if i not in names[task.users[row]]]
                best = sorted(left, key=lambda i: -full[row, i])[:6]
                assert torch.allclose(scores[s, a, b, 0], full[row, best], atol=1e-5)
                expected = torch.from_numpy(seqs.categories[best]).float()
                assert torch.equal(lists.categories[s, a, b], expected)
                assert torch.equal(lists.groups[s, 0, b], task.groups[row])


def test_served_lists_pass_the_gradient_of_their_scores(tasks):
    train, rows = tasks[0], torch.arange(8)
    vector = some_vectors(1).requires_grad_(True)
    served = train.serve(vector, rows).scores.sum()
    (found,) = torch.autograd.grad(served, vector)
    step, direction = 1e-2, torch.ones(FORM.size)
    moved = [train.serve(vector + sign * step * direction, rows) for sign in (1, -1)]
    slope = (moved[0].scores.sum() - moved[1].scores.sum()) / (2 * step)
    assert (found[0] @ direction).item() == pytest.approx(slope.item(), rel=0.02)


def test_a_user_who_met_nearly_everything_is_named(backbone, seqs):
    with pytest.raises(ParagonError, match=r"lists of 130 items.* of 40 users.*adapters.served"):
        frozen_task(backbone, seqs, "train", adapter_settings(served=130))


def test_catalogue_scores_are_those_of_the_module(tasks, backbone, seqs):
    vector, categories = some_vectors(1)[0], torch.from_numpy(seqs.categories).float()
    table = torch.cat([backbone.item_vectors(), categories], 1)
    expected = Adapter.from_vector(vector, FORM)(tasks[1].states) @ table.T
    found = tasks[1].catalogue_scores(vector)
    assert torch.allclose(found, expected, atol=1e-5)
    # Not `equal`: a product of fewer rows may be summed in another order.
    part = tasks[1].catalogue_scores(vector, slice(2, 5))
    assert torch.allclose(part, found[2:5], rtol=0, atol=1e-6)


def test_of_many_training_events_some_of_every_user_are_taken(backbone, seqs):
    every = frozen_task(backbone, seqs, "train", LISTS)
    half = LISTS.model_copy(update={"events": len(every.users) // 2})
    few = frozen_task(backbone, seqs, "train", half)
    assert len(few.states) == len(few.targets) == len(every.users) // 2
    assert set(few.users) == set(every.users)
    rows = [np.flatnonzero((every.states == state).all(1))[0] for state in few.states[:20]]
    assert np.array_equal(every.targets[rows], few.targets[:20])


def test_states_that_are_known_are_not_computed_again(backbone, seqs):
    settings = LISTS.model_copy(update={"events": 50})
    few = frozen_task(backbone, seqs, "train", settings)
    known = frozen_task(backbone, seqs, "train", settings, states=few.states + 1)
    assert torch.equal(known.states, few.states + 1)
    assert np.array_equal(known.targets, few.targets) and np.array_equal(known.users, few.users)


def test_joint_tuning_equals_tuning_alone(tasks, seqs):
    weights = simplex_weights([0.1, 0.5, 1.0], OBJECTIVES)
    start = initial_vector(FORM, torch.Generator().manual_seed(0))
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
    start = initial_vector(FORM, torch.Generator().manual_seed(0))
    found = tune(tasks, seqs, weights, start[None, None]).vectors[0, 0]
    train, module = tasks[0], Adapter.from_vector(start, FORM)
    met = seqs.met_in_training().mask()
    optimizer = torch.optim.Adam(module.parameters(), lr=0.01)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, 12)
    rng, sampler = np.random.default_rng([0, 1]), NegativeSampler(seqs)
    from paragon.objectives.table import OBJECTIVES as functions

    for _ in range(12):
        rows, candidates = train.draw(sampler, 16, 5, rng)
        every = module(train.states[rows]) @ train.items.T  # [16, n + 1]
        lists = train.catalogue.lists(candidates, train.groups[rows])
        drawn = functions["accuracy"].loss(every.gather(1, candidates)[:, None], lists)[0]
        best = every[:8].masked_fill(met[train.users[rows[:8]]], -torch.inf).topk(6).indices
        lists = train.catalogue.lists(best, train.groups[rows[:8]])
        own = functions["diversity"].loss(every[:8].gather(1, best)[:, None], lists)[0]
        loss = 0.4 * drawn + 0.6 * own
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
    assert torch.allclose(module.vector(), found, atol=1e-5)


def test_collection_round_trip_and_training_set(backbone, seqs, settings, tmp_path):
    collection = collect(backbone, seqs, settings.adapters, [0, 1], {"backbone": "abc"})
    assert collection.anchor_vectors.shape == (2, 4, FORM.size)
    assert collection.oracle_vectors.shape[:2] == (2, 5)
    vectors, weights = collection.training_set(1)
    assert len(vectors) == len(weights) == 4 * 3
    assert torch.equal(vectors[2], collection.anchor_vectors[1, 0])
    save_collection(collection, tmp_path / "collection")
    loaded = load_collection(tmp_path / "collection")
    assert torch.equal(loaded.snapshots, collection.snapshots)
    assert loaded.description["backbone"] == "abc"


def test_a_task_that_ends_no_better_than_it_started_keeps_its_start(backbone, seqs, monkeypatch):
    """By its end alone, however low the loss was before; snapshots as well."""
    settings = adapter_settings(anchors=[0.2, 1], oracles=1, snapshots=1)
    form = frozen_task(backbone, seqs, "valid", settings).form
    ends = torch.tensor([[9.0, 0.0], [0.0, 9.0], [9.0, 9.0], [0.0, 0.0]])  # of each task, [4, T]

    def tune(train, valid, sampler, weights, start, *rest):
        return tuning.Tuned(start + 1, start.unsqueeze(2) + 1, ends.unsqueeze(0), torch.arange(2))

    monkeypatch.setattr("paragon.adapters.collection.tune", tune)
    made = collect(backbone, seqs, settings, [0])
    changed = (
        torch.cat([made.anchor_vectors, made.oracle_vectors], 1)[0] - start_vectors(form, 4, [0])[0]
    )
    assert changed[:, 0].tolist() == [1, 0, 0, 1]
    assert (made.snapshots[0, :, 0] - start_vectors(form, 2, [0])[0])[:, 0].tolist() == [1, 0]


def test_nan_in_a_collection_is_named(backbone, seqs, settings, tmp_path):
    collection = collect(backbone, seqs, settings.adapters, [0])
    broken = collection.anchor_vectors.clone()
    broken[0, 1, 3] = torch.nan
    broken = dataclasses.replace(collection, anchor_vectors=broken)
    save_collection(broken, tmp_path / "collection")
    with pytest.raises(ParagonError, match="anchor_vectors.*not finite"):
        load_collection(tmp_path / "collection")
