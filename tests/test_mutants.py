"""Mistakes that change results and that no other test notices: each is caught by one test here.

Most are leaks (of test events, or of what comes later) or parts of training that one could
forget without an error.  ``tests/defects.yaml`` plants some of them, and those of the released
code.
"""

import dataclasses

import numpy as np
import pytest
import torch
from torch import nn

from paragon.backbones import build
from paragon.backbones.training import Training
from paragon.data.split import prepare
from paragon.data.table import Dataset
from paragon.evaluation.protocol import TestSet
from paragon.generator import training
from paragon.objectives.table import Catalogue
from paragon_study.pipeline.study import Study
from tests.conftest import refused

ITEMS = {"item_id": list("abcdef"), "categories": [[c] for c in "xyxyzx"]}


def small(*events, **rules):
    """Sequences of (user, item) events in the order of time."""
    users, items = zip(*events, strict=True)
    frame = {"user_id": users, "item_id": items, "timestamp": range(len(events))}
    return prepare(Dataset.from_frame(frame, ITEMS), negatives=0, **rules)


def with_other_test_events(seqs):
    """The same training and validation events, with other items tested, later."""
    other, rows = seqs.items.copy(), seqs.offsets[seqs.test.users] + seqs.test.positions
    other[rows], times = 1 + other[rows] % seqs.n_items, seqs.times.copy()
    times[rows] += 5
    candidates = np.column_stack([other[rows], seqs.test.candidates[:, 1:]])
    test = dataclasses.replace(seqs.test, candidates=candidates)
    return dataclasses.replace(seqs, items=other, times=times, test=test)


def test_popularity_is_the_logarithm_of_training_events(seqs):
    count = np.bincount(seqs.items[seqs.is_train()], minlength=seqs.n_items + 1)
    expected = np.log1p(count) / np.log1p(count).max()
    assert np.allclose(Catalogue.of(seqs, 6, "cpu").popularity, expected, atol=1e-6)
    assert len(np.unique(count)) > 3  # else any increasing function would do


def test_a_target_that_was_met_before_stays_a_candidate():
    seqs = small(*[("u", item) for item in "abcedf"], *[("v", item) for item in "abcdef"])
    items, candidates = seqs.items.copy(), seqs.test.candidates.copy()
    items[[3, 5]] = items[[0, 1]]  # the events of u are now a, b, c, a, d, b
    candidates[0, 0] = items[5]
    test = dataclasses.replace(seqs.test, candidates=candidates)
    seqs = dataclasses.replace(seqs, items=items, test=test)
    target, history = seqs.test.targets[0], seqs.items[: seqs.test.positions[0]]
    assert seqs.user_ids[0] == "u" and target in history
    met = np.flatnonzero(seqs.excluded(seqs.test)[0])
    assert set(met) == {0, *history.tolist()} - {target}


def test_a_k_core_keeps_who_has_just_enough_events():
    every = [(user, item) for user in "uvw" for item in "abcd"]  # items have three, users four
    assert small(*every, k_core=3).description["counts"]["events"] == 12
    extra = [*every, ("u", "e"), ("z", "a")]  # one event each: neither belongs to the core
    assert small(*extra, k_core=3).description["counts"]["events"] == 12
    # Without f, z has two events; without z, e has two; without e, only the core is left.
    chain = [*every, ("u", "e"), ("v", "e"), *(("z", item) for item in "aef")]
    assert small(*chain, k_core=3).description["counts"]["events"] == 12


def test_sequences_have_the_facts_of_the_data(dataset, seqs):
    items = dataset.items.set_index("item_id").loc[seqs.item_ids]
    assert seqs.titles == items["title"].tolist() and not seqs.categories[0].any()
    for names, row in zip(items["categories"], seqs.categories[1:], strict=True):
        assert {n for n, has in zip(seqs.category_names, row, strict=True) if has} == set(names)
    people = dataset.users.set_index("user_id")["group"][seqs.user_ids]
    assert [seqs.group_names[g] for g in seqs.groups] == people.tolist()
    half = dataset.users.iloc[::2]
    some = prepare(Dataset.from_frame(dataset.interactions, dataset.items, half), negatives=0)
    known = np.isin(some.user_ids, half["user_id"])
    assert np.array_equal(some.groups != -1, known) and set(some.groups) == {-1, 0}
    about, events, users = seqs.description, len(seqs.items), seqs.n_users
    assert (about["dataset"], about["fingerprint"]) == ("toy", dataset.fingerprint)
    assert (about["source"], about["repairs"]) == (dataset.source, dataset.repairs)
    assert about["counts"] == {
        "events_raw": len(dataset.interactions), "events": events, "users": users,
        "items": seqs.n_items, "train": events - 2 * users, "valid": users, "test": users,
        "test_users": users, "users_without_evaluation": 0,
    }  # fmt: skip


def test_only_users_who_are_judged_need_negatives():
    times = [*range(6), 0, 85, 95, 0, 100]
    frame = {"user_id": ["all"] * 6 + [*"vvvww"], "item_id": [*"abcdefabcad"], "timestamp": times}
    rules = {"split": "global_time", "negatives": 3}
    assert len(prepare(Dataset.from_frame(frame, ITEMS), **rules).test) == 2
    # Now the user who met everything is judged, in validation.
    frame = {name: [*frame[name], new] for name, new in zip(frame, ("v", "f", 0), strict=True)}
    frame["timestamp"][5] = 85
    refused(("data.negatives", "'all'"), prepare, Dataset.from_frame(frame, ITEMS), **rules)


def information(seqs):
    return TestSet(seqs, seqs.test, ["accuracy"], cutoffs=[1]).information


def test_novelty_does_not_count_test_events(seqs):
    """How well an item is known is what training knows."""
    other = with_other_test_events(seqs)
    assert not np.array_equal(seqs.items, other.items)
    assert np.array_equal(information(seqs), information(other))


def test_an_item_met_twice_has_one_holder():
    """Novelty is about people who know an item, not about events."""
    other = [("v", item) for item in "bacfde"]
    once = small(*[("u", item) for item in "acdef"], *other)
    again = small(*[("u", item) for item in "abcdef"], *other)
    items = again.items.copy()
    items[1] = items[0]  # the events of u are now a, a, c, d, e, f
    again = dataclasses.replace(again, items=items)
    assert np.array_equal(information(once), information(again))
    assert len(np.unique(information(again))) == 2


def test_what_is_reported_is_measured_on_all_test_events(
    backbone, collection, seqs, settings, monkeypatch
):
    study = Study("toy", "sasrec", settings)
    known = {"frozen": (seqs, backbone, {}), "collection": collection}
    for name in {n for n in dir(Study) if n.startswith("load_")} - {"load_trained"}:
        value = known.get(name.removeprefix("load_"), [])
        monkeypatch.setattr(Study, name, lambda *_, value=value: value)
    trained = study.load_trained()
    assert trained.test_set.evaluation is seqs.test and len(seqs.test) == seqs.n_users
    assert np.array_equal(trained.test.targets, seqs.test.targets)
    assert np.array_equal(trained.valid.targets, seqs.valid.targets)
    assert trained.test_set.frozen is trained.test


def test_training_stops_by_validation_and_never_by_test_events(seqs, settings):
    def trained(sequences):
        model = build("sasrec", sequences, settings.backbones, seed=0)
        training = Training(model, sequences, settings.backbones)
        return training.fit(0), model.state_dict()

    (fitted, state), (again, same) = trained(seqs), trained(with_other_test_events(seqs))
    assert fitted == again and all(torch.equal(state[name], same[name]) for name in state)


def test_a_step_never_follows_a_gradient_longer_than_one():
    layer = nn.Linear(3, 1, bias=False)
    before = layer.weight.detach().clone()
    optimizer = torch.optim.SGD(layer.parameters(), lr=1.0)
    training.take_step(1e4 * layer(torch.ones(3)).sum(), layer, optimizer)
    moved = (layer.weight - before).detach()
    assert moved.norm().item() == pytest.approx(1, rel=1e-4)
    assert (moved < 0).all()


def test_a_generator_holds_averaged_parameters(collection, settings, tasks, monkeypatch):
    """By hand: the moving average of the parameters after each step, its memory short at first.

    The rate of the steps falls as a cosine.
    """
    states, rates, take_step = [], [], training.take_step

    def keep(loss, model, optimizer):
        rates.append(optimizer.param_groups[0]["lr"])
        take_step(loss, model, optimizer)
        states.append(torch.cat([p.detach().flatten() for p in model.parameters()]))

    monkeypatch.setattr(training, "take_step", keep)
    own = settings.of_generator("paragon")
    changed = own.model_copy(update={"ema": 0.9, "learning_rate": 0.01})
    start = training.untrained(collection, changed, 0).parameters()
    found = training.train_generator(collection, changed, 0, tasks["valid"]).model.parameters()
    average, found = (torch.cat([p.detach().flatten() for p in own]) for own in (start, found))
    for step, state in enumerate(states):
        decay = min(0.9, step / (step + 10))
        average = decay * average + (1 - decay) * state
    assert len(states) == settings.generator.steps == 30
    assert rates == pytest.approx(0.005 * (1 + np.cos(np.pi * np.arange(30) / 30)))
    assert torch.allclose(average, found, atol=1e-5) and not torch.allclose(states[-1], found)


def test_the_task_loss_weighs_the_objectives_and_moves_the_generator(collection, settings, tasks):
    """Charged for the distance from one point per objective, it moves to that of the weights."""
    change = {"latent": None, "task_batch": 8, "steps": 150, "learning_rate": 0.01}
    own = settings.generator.model_copy(update=change | {"guidance": [1.0]})
    scale = training.untrained(collection, own, 0).latent.scale
    middle = collection.anchor_vectors[0].mean(0)
    points = torch.stack([middle + scale, middle - scale])  # [O, P]

    def far(vectors, rng):
        return ((vectors.unsqueeze(1) - points) / scale).square().mean(2)  # [B, O]

    wanted = torch.tensor([[0.9, 0.1], [0.1, 0.9]])
    without, valid = own.model_copy(update={"task_batch": 0}), tasks["valid"]
    plain, moved = (
        (training.train_generator(collection, *given).generate(wanted) - points).norm(dim=1)
        for given in ((without, 0, valid), (own, 0, valid, far))
    )
    assert (moved < 0.7 * plain).all()
