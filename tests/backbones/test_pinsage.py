"""PinSage against brute force: the visits of walks, a convolution, the state of a user."""

from dataclasses import replace

import numpy as np
import torch

from paragon.backbones import build
from paragon.backbones.graph import RESTART, STEPS, Convolution, neighbourhoods


def expected_shares(seqs):
    """Shares of visits ``[n + 1, n + 1]`` by following the probability instead of walks."""
    count = seqs.n_items + 1
    bounds = zip(seqs.offsets[:-1], seqs.n_train, strict=True)
    past = [set(seqs.items[start : start + n].tolist()) for start, n in bounds]
    step, shares = np.zeros((2, count, count))
    for item in range(1, count):
        fans = [met for met in past if item in met]
        for met in fans:
            step[item, list(met)] += 1 / len(fans) / len(met)
    for item in range(1, count):
        at = start = np.eye(count)[item]
        for _ in range(STEPS):
            at = (RESTART * start + (1 - RESTART) * at) @ step
            shares[item] += at
        shares[item, item] = 0
    return shares / np.maximum(shares.sum(1, keepdims=True), 1e-9)


def test_neighbours_are_the_items_most_visited_by_walks(seqs):
    walks, again = 8_000, replace(seqs, items=seqs.items.copy())
    again.items[seqs.offsets[:-1] + 1] = again.items[seqs.offsets[:-1]]  # counts once
    expected = expected_shares(again)
    index, shares = neighbourhoods(again, 0, walks=walks, top=seqs.n_items)
    assert (np.diff(shares, axis=1) <= 0).all()
    found = np.zeros_like(expected)
    np.put_along_axis(found, index, shares, 1)
    assert (expected > 0.05).any()
    # Six standard errors of a share of `walks` visits; there are more, though not independent.
    assert (np.abs(found - expected) <= 6 * np.sqrt(expected / walks)).all()
    few, best = neighbourhoods(again, 0, walks=walks, top=5)
    full = (shares[:, :5] > 0).all(1)
    assert full.sum() > 100 and np.array_equal(few[full], index[full, :5])
    kept = shares[full, :5]
    assert np.allclose(best[full], kept / kept.sum(1, keepdims=True), atol=1e-6)
    assert not np.array_equal(*(neighbourhoods(again, seed, walks=99)[0] for seed in (0, 1)))


def test_an_item_nobody_trained_on_has_no_neighbours_but_a_vector(seqs, settings):
    few = replace(seqs, n_train=np.where(np.arange(seqs.n_users) < 3, seqs.n_train, 0))
    known = few.popularity() > 0
    model = build("pinsage", few, settings.backbones, seed=0).eval().requires_grad_(False)
    assert 0 < known.sum() < 100 and not model.weights[~known].any()
    assert torch.allclose(model.weights[known].sum(1), torch.ones(int(known.sum())))
    assert (model.item_vectors()[1:].norm(dim=1) > 0.99).all()


def test_a_convolution_item_by_item():
    torch.manual_seed(0)
    layer, vectors, weights = Convolution(16), torch.randn(6, 16), torch.rand(6, 3)
    index = torch.randint(6, (6, 3))
    found = layer(vectors, index, weights)
    for item in range(6):
        around = torch.zeros(16)
        for other, weight in zip(index[item], weights[item], strict=True):
            message = layer.neighbour.weight @ vectors[other] + layer.neighbour.bias
            around += weight * message.clamp(min=0)
        both = torch.cat([vectors[item], around])
        merged = (layer.merge.weight @ both + layer.merge.bias).clamp(min=0)
        assert torch.allclose(found[item], merged / (merged @ merged) ** 0.5, atol=1e-6)


def test_a_state_is_the_fading_past_of_known_users_and_newcomers(seqs, settings):
    deep = settings.backbones.model_copy(update={"layers": 2})
    model = build("pinsage", seqs, deep, seed=0).eval().requires_grad_(False)
    context = model.context(seqs, seqs.test.users, seqs.test.positions)
    states, vectors = model.states(context), model.item_vectors()
    for row in (0, 7):
        past = context.items[row][context.items[row] > 0].tolist()
        weights = [np.exp(-np.exp(-2) * age) for age in range(len(past))]
        mean = sum(w * vectors[item] for w, item in zip(weights, past[::-1], strict=True))
        expected = np.exp(2) * model.user(mean / sum(weights))
        assert torch.allclose(states[row], expected, atol=1e-5)
    newcomers = replace(context, users=torch.full_like(context.users, -1))
    assert torch.equal(model.states(newcomers), states)
    nobody = model.states(replace(context, items=torch.zeros_like(context.items)))
    assert torch.allclose(nobody[0], np.exp(2) * model.user.bias)


def test_every_step_of_training_sees_the_parameters_of_that_step(seqs, settings):
    run = settings.backbones.model_copy(update={"dropout": 0.0})
    model = build("pinsage", seqs, run, seed=0).train()
    for states, _, _ in model.training_states(seqs, 100, np.random.default_rng(0)):
        vectors = model.item_vectors()
        assert vectors is model.item_vectors()  # made once
        assert torch.equal(vectors, model.convolved())
        states.sum().backward()
        assert model.item.grad.abs().sum() > 0
        with torch.no_grad():
            model.item.mul_(-1)
    assert torch.equal(model.item_vectors(), model.convolved())
