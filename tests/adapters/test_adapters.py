"""Adapters: vector and module are one thing, and joint tuning is tuning alone."""

import dataclasses

import numpy as np
import pytest
import torch
from torch.nn.utils import parameters_to_vector

from paragon.adapters import collection as tuning
from paragon.adapters.adapter import Adapter, AdapterForm, adapt, initial_vector, start_vectors
from paragon.adapters.collection import collect, load_collection, save_collection
from paragon.adapters.frozen import frozen_events, held_out_losses
from paragon.backbones import build
from paragon.objectives.table import OBJECTIVES
from paragon.objectives.weights import simplex_weights
from tests.conftest import PARTS, adapter_settings, refused

FORM = AdapterForm(16, 2, 6)  # that of the small settings and the toy data
LISTS = adapter_settings(served=6)
ALL = list(OBJECTIVES)


@pytest.fixture(scope="module")
def pair(backbone, seqs):
    return [frozen_events(backbone, seqs, name, LISTS) for name in ("train", "valid")]


def tune(pair, weights, start, seeds=(0,)):
    few = {"steps": 12, "batch": 16, "checks": 4, "snapshots": 2, "learning_rate": 0.01}
    return tuning.tune(*pair, weights, start, LISTS.model_copy(update=few), seeds)


def test_adapters_that_are_not_finite_are_refused_and_not_replaced(pair):
    start = start_vectors(FORM, 1, [0])
    start[0, 0, 0] = torch.nan
    refused("adapters.learning_rate", tune, pair, torch.tensor([[0.5, 0.5]]), start)


def some_vectors(count, form=FORM, scale=0.1):
    return scale * torch.randn(count, form.size, generator=torch.Generator().manual_seed(0))


def plain_losses(task, seqs, module, rows, names):
    """Losses of one adapter on training events, from its scores of all items."""
    scores = task.backbone.score_catalogue(task.states[rows], module, task.items)  # [B, n + 1]
    met = seqs.met_in_training().mask()[seqs.train_events()[0][rows]]
    best = scores.masked_fill(met, -torch.inf).topk(8).indices  # [B, L]: six are served
    log_q = scores[:, 1:].log_softmax(-1)
    p = task.backbone.score_catalogue(task.states[rows])[:, 1:].softmax(-1)
    lists = scores.gather(1, best), task.catalogue.lists(best, task.history[rows], 6)
    of_next = -log_q.gather(1, task.targets[rows, None] - 1).squeeze(1)  # [B]
    far = {"backbone": (p * (p.log() - log_q)).sum(-1), "next item": of_next}
    entries = [OBJECTIVES[name] for name in names]
    given = [(far[e.reference], task.groups[rows]) if e.reference else lists for e in entries]
    return torch.stack([e.loss(*g).squeeze() for e, g in zip(entries, given, strict=True)])


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
    refused(("17", str(form.size)), form.unflatten, torch.zeros(17))


def test_scores_are_products_of_adapted_states_and_items(pair, backbone, seqs):
    valid, features = pair[1], torch.from_numpy(seqs.categories).float()
    for vector in some_vectors(2):
        full = by_hand(valid.states, backbone.item_vectors(), features, FORM.unflatten(vector))
        assert torch.allclose(valid.catalogue_scores(vector), full, atol=1e-5)
        part = valid.catalogue_scores(vector, slice(2, 5))
        assert torch.allclose(part, full[2:5], atol=1e-5)
    bare = backbone.score_catalogue(valid.states)
    assert torch.equal(valid.catalogue_scores(initial_vector(FORM, 0)), bare)


@pytest.fixture(scope="module", params=["sasrec", "deepfm"])
def task(request, seqs, settings):
    """Training events of a dot product, and of a backbone with a vector for each pair."""
    model = build(request.param, seqs, settings.backbones, seed=0).eval().requires_grad_(False)
    return frozen_events(model, seqs, "train", LISTS)


def test_losses_and_gradients_are_those_of_the_scores_of_all_items(task, seqs):
    """Of two seeds with three adapters each, against one adapter at a time in plain torch."""
    vectors = some_vectors(6, task.form).view(2, 3, -1).requires_grad_()
    rows = torch.tensor([[3, 50, 200, 111], [7, 8, 9, 10]])
    losses = task.losses(vectors, rows, ALL)  # [2, 3, O]
    mix = torch.rand(losses.shape, generator=torch.Generator().manual_seed(1))
    (slopes,) = torch.autograd.grad((losses * mix).sum(), vectors)
    for s, a in np.ndindex(2, 3):
        module = Adapter.from_vector(vectors[s, a].detach(), task.form)
        expected = plain_losses(task, seqs, module, rows[s], ALL)
        assert torch.allclose(losses[s, a], expected, atol=1e-5)
        slope = torch.autograd.grad((expected * mix[s, a]).sum(), [*module.parameters()])
        assert torch.allclose(slopes[s, a], parameters_to_vector(slope), atol=1e-4)


def test_accuracy_is_0_where_nothing_changes_and_has_no_use_for_targets(task):
    start, rows = initial_vector(task.form, 0).repeat(1, 1).requires_grad_(), torch.arange(40)
    none = task.losses(start, rows, ["accuracy"])
    assert none.item() == pytest.approx(0, abs=1e-5)
    assert torch.autograd.grad(none.sum(), start)[0].abs().max() < 1e-5
    other = dataclasses.replace(task, targets=task.targets.flip(0))
    found, same = (one.losses(some_vectors(2, task.form), rows, ALL) for one in (task, other))
    assert (found[:, 0] > 1e-4).all()
    assert (found == same).all(0).tolist() == [name != "fairness" for name in ALL]


def test_a_user_who_met_nearly_everything_is_named(backbone, seqs):
    least = int((~seqs.met_in_training().mask()).sum(1).min())
    frozen_events(backbone, seqs, "train", adapter_settings(served=least))
    named = "adapters.served", str(least + 1), f"1 of {seqs.n_users}"
    more = adapter_settings(served=least + 1)
    refused(named, frozen_events, backbone, seqs, "train", more)


def test_tuning_searches_below_the_served_list_as_far_as_every_user_has_items(backbone, seqs):
    """Training events do, and no others; not if less is to be searched than is served."""
    least = int((~seqs.met_in_training().mask()).sum(1).min())
    for searched, expected in ((20, 20), (least, least), (least + 1, least), (3, 6)):
        own = adapter_settings(served=6, searched=searched)
        train, *others = (frozen_events(backbone, seqs, p, own) for p in PARTS)
        assert [one.served for one in (train, *others)] == [6] * 3
        assert [one.searched for one in (train, *others)] == [expected, 6, 6]
        lists, _ = train.search(some_vectors(2), torch.arange(3))
        assert lists.scores.shape == (2, 3, expected)
        assert lists.lists.end == (6 if expected > 6 else None)


def test_of_many_training_events_some_of_every_user_are_taken(pair, backbone, seqs):
    train, count = pair[0], len(pair[0].states) // 2
    half = LISTS.model_copy(update={"events": count})
    few = frozen_events(backbone, seqs, "train", half)
    assert len(few.states) == len(few.targets) == len(few.groups) == count
    rows = [np.flatnonzero((train.states == state).all(1))[0] for state in few.states]
    users = seqs.train_events()[0]
    assert set(users[rows]) == set(users)
    for name in ("targets", "groups"):  # of the first: others have the state of another event
        assert torch.equal(getattr(train, name)[rows[:20]], getattr(few, name)[:20])
    assert torch.equal(train.met[rows[:20]].mask(), few.met.mask()[:20])
    known = frozen_events(backbone, seqs, "train", half, states=few.states + 1)
    assert torch.equal(known.states, few.states + 1)


def test_joint_tuning_equals_tuning_alone(pair):
    weights = simplex_weights([0.1, 0.5, 0.9], LISTS.objectives)  # 1 starts with rounding alone
    start = initial_vector(FORM, 0)
    joint = tune(pair, weights, start.repeat(2, 3, 1), seeds=[0, 1])
    for s, a in ((0, 0), (1, 1), (1, 2)):
        alone = tune(pair, weights[a : a + 1], start.repeat(1, 1, 1), seeds=[s])
        assert torch.allclose(joint.vectors[s, a], alone.vectors[0, 0], atol=1e-5)
        assert torch.allclose(joint.validation[s, a], alone.validation[0, 0], atol=1e-4)
    assert not torch.allclose(joint.vectors[0], joint.vectors[1], atol=1e-3)


def test_tuning_equals_plain_training_of_a_module(pair, seqs):
    """An independent loop: nn.Module, autograd of the module, torch's Adam, one task."""
    weights, start = simplex_weights([0.4], LISTS.objectives), initial_vector(FORM, 0)
    found = tune(pair, weights, start[None, None])
    train, module, passed = pair[0], Adapter.from_vector(start, FORM), []
    optimizer = torch.optim.Adam(module.parameters(), lr=0.01)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, 12)
    rng = np.random.default_rng([0, 1])
    for _ in range(12):
        rows = rng.integers(len(train.states), size=16)
        loss = weights[0] @ plain_losses(train, seqs, module, rows, LISTS.objectives)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
        passed.append(parameters_to_vector(module.parameters()).detach())
    assert torch.allclose(passed[11], found.vectors[0, 0], atol=1e-5)
    # Checked after 3, 6, 9 and 12 steps; two snapshots come before the end.
    assert torch.allclose(torch.stack(passed[5:9:3]), found.snapshots[0, 0], atol=1e-5)


def test_all_adapters_of_a_seed_start_from_one_that_was_tuned(backbone, seqs, monkeypatch):
    """Anchors and oracles; the start is what tuning for its weights alone gives, seed by seed."""
    few = {"anchors": [0.2, 1], "oracles": 1, "start": [0.3, 0.7], "start_steps": 7, "steps": 9}
    own, seeds = adapter_settings(**few, snapshots=1), [0, 1]
    train, starts = frozen_events(backbone, seqs, "train", own), []
    tune = tuning.tune

    def listening(*given):
        starts.append(given[3])
        return tune(*given)

    monkeypatch.setattr(tuning, "tune", listening)
    made = collect(backbone, seqs, own, seeds)
    short = own.model_copy(update={"steps": 7})
    for seed in seeds:
        untrained = initial_vector(FORM, seed)[None, None]
        alone = tune(train, None, torch.tensor([[0.3, 0.7]]), untrained, short, [seed]).vectors
        assert torch.allclose(starts[-1][seed], alone[0].expand(4, -1), atol=1e-5)
        assert not torch.allclose(alone, untrained, atol=1e-2)
    assert made.anchor_vectors.shape == made.oracle_vectors.shape == (2, 2, FORM.size)
    untrained = start_vectors(FORM, 4, seeds)
    without = own.model_copy(update={"start_steps": 0})
    assert torch.equal(tuning.common_start(train, untrained, without, seeds), untrained)
    starts.clear()
    collect(backbone, seqs, without, seeds)
    assert len(starts) == 1 and torch.equal(starts[0], untrained)


def test_collection_round_trip_and_training_set(collection, tmp_path):
    assert collection.anchor_vectors.shape == (2, 4, FORM.size)
    assert collection.oracle_vectors.shape[:2] == (2, 5)
    moved = collection.anchor_vectors - start_vectors(FORM, 4, [0, 1])
    assert (moved[:, 1:3].norm(dim=-1) > 1).all()  # else half of the tests would have no object
    vectors, weights = collection.training_set(1)
    assert len(vectors) == len(weights) == 4 * 3
    assert torch.equal(vectors[2], collection.anchor_vectors[1, 0])
    described = {"description": collection.description | {"backbone": "abc"}}
    save_collection(dataclasses.replace(collection, **described), stem := tmp_path / "collection")
    loaded = load_collection(stem, {"sha256": "abc"})
    assert torch.equal(loaded.snapshots, collection.snapshots)
    refused("`backbone`", load_collection, stem, {"sha256": "other"})
    broken = collection.anchor_vectors.clone()
    broken[0, 1, 3] = torch.nan
    save_collection(dataclasses.replace(collection, anchor_vectors=broken), stem)
    refused(str(stem), load_collection, stem)


@pytest.mark.parametrize("start_steps", [0, 20])
def test_a_task_that_ends_no_better_than_without_an_adapter_becomes_none(
    backbone, seqs, monkeypatch, start_steps
):
    """By its end alone, however low the loss was before; snapshots as well."""
    settings = adapter_settings(anchors=[0.2, 1], oracles=1, snapshots=1, start_steps=start_steps)
    # Of each task, [4, T]; with all weight on accuracy an untrained adapter has the loss 0.
    ends = torch.tensor([[9.0, -1], [-1, 9], [9, 9], [-1, -1]])

    def tune(train, valid, weights, start, *rest):
        return tuning.Tuned(start + 1, start.unsqueeze(2) + 1, ends.unsqueeze(0), torch.arange(2))

    monkeypatch.setattr(tuning, "tune", tune)
    made, none = collect(backbone, seqs, settings, [0]), start_vectors(FORM, 4, [0])[0]
    changed = torch.cat([made.anchor_vectors, made.oracle_vectors], 1)[0] - none
    moved = 2 if start_steps else 1  # tuned once more if its start was tuned
    assert changed[:, 0].tolist() == [moved, 0, 0, moved]
    assert (made.snapshots[0, :, 0] - none[:2])[:, 0].tolist() == [moved, 0]


def test_losses_of_held_out_events_do_not_depend_on_blocks(backbone, seqs, monkeypatch):
    """Fairness compares two groups of all events, not of each block."""
    names = ["accuracy", "diversity", "fairness"]
    own = adapter_settings(objectives=names)
    valid = frozen_events(backbone, seqs, "valid", own)
    vectors = 0.3 * torch.randn(3, valid.form.size, generator=torch.Generator().manual_seed(0))
    found = []
    for size in (1, 7, len(valid.states)):
        monkeypatch.setattr(type(backbone), "rows_at_a_time", lambda self, most, pairs, n=size: n)
        found.append(held_out_losses(valid, vectors, names))
    assert torch.allclose(found[0], found[2], rtol=1e-4)
    assert torch.allclose(found[1], found[2], rtol=1e-4)
    all_at_once = valid.losses(vectors, torch.arange(len(valid.states)), names)
    assert torch.allclose(found[2], all_at_once, rtol=1e-4)
