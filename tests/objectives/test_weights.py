"""Weights: what is accepted, what is refused and in which words."""

import numpy as np
import pytest
import torch

from paragon.errors import ParagonError
from paragon.objectives.weights import (
    check_weights,
    lift,
    random_weights,
    simplex_lattice,
    simplex_weights,
)

NAMES = ["accuracy", "diversity"]


def test_one_vector_or_many():
    assert check_weights([0.3, 0.7], NAMES).shape == (1, 2)
    assert check_weights(np.array([[0.3, 0.7], [1, 0]]), NAMES).shape == (2, 2)


@pytest.mark.parametrize(
    ("weights", "words"),
    [
        ([0.5, 0.6], "sum to 1"),
        ([-0.1, 1.1], "negative"),
        ([np.nan, 1.0], "finite"),
        ([0.2, 0.3, 0.5], "2 numbers"),
        ([], "2 numbers"),
        (["a", "b"], "not a table of numbers"),
        ([True, False], "bool"),
        ([[0.5, 0.5], [2, 3]], "row 1: "),
    ],
)
def test_bad_weights(weights, words):
    with pytest.raises(ParagonError, match=words):
        check_weights(weights, NAMES)


def test_names_and_sums():
    named = check_weights({"diversity": 0.25, "accuracy": 0.75}, NAMES)
    assert named.tolist() == [[0.75, 0.25]]
    with pytest.raises(ParagonError, match="'novelty' is unknown"):
        check_weights({"novelty": 1}, NAMES)
    rows = np.random.default_rng(0).gamma(1, 10.0 ** np.arange(-3, 3)[:, None], (6, 2))
    huge = np.array([[1e308, 1e308], [1.5e308, 0.5e308], [1e308, 0]])
    found = check_weights(np.concatenate([rows, huge]), NAMES, normalise=True)
    assert found[6:].tolist() == [[0.5, 0.5], [0.75, 0.25], [1, 0]]
    expected = (rows / rows.sum(1)[:, None]).astype(np.float32)
    assert found[:6].numpy().tobytes() == expected.tobytes()
    for weights, normalise in (([1e308, 1e308], False), ([1e308, -1e-300], True), ([0, 0], True)):
        with pytest.raises(ParagonError, match="weights"):
            check_weights(weights, NAMES, normalise)


def test_first_of_two_weights_is_enough():
    mixed = simplex_weights([0.2, [0.5, 0.5]], NAMES)
    assert torch.allclose(mixed, torch.tensor([[0.2, 0.8], [0.5, 0.5]]))


def test_lattice():
    two = simplex_lattice(2, 10)
    assert torch.allclose(two[:, 0], torch.linspace(0, 1, 11))
    three = simplex_lattice(3, 4)
    assert len(three) == 15 and len({tuple(r.tolist()) for r in three}) == 15
    assert torch.allclose(three.sum(1), torch.ones(15))
    assert three[:6].tolist() == [*([0, n / 4, 1 - n / 4] for n in range(5)), [0.25, 0, 0.75]]


def test_lift_keeps_the_simplex_and_the_floor():
    floor = torch.tensor([0.02, 0.0, 0.1])
    weights = torch.from_numpy(np.random.default_rng(0).dirichlet(np.ones(3), 100)).float()
    lifted = lift(torch.cat([weights, torch.eye(3)]), floor)
    assert torch.allclose(lifted.sum(1), torch.ones(103), atol=1e-6)
    assert (lifted >= floor - 1e-6).all()
    inside = torch.tensor([[0.5, 0.3, 0.2]])
    assert torch.allclose(lift(inside, torch.zeros(3)), inside)


def test_random_weights_are_uniform_above_the_floor():
    floor = torch.tensor([0.1, 0.0, 0.2])
    weights = random_weights(4000, floor, np.random.default_rng(0))
    assert torch.allclose(weights.sum(1), torch.ones(4000), atol=1e-6)
    assert (weights >= floor - 1e-6).all()
    assert torch.equal(weights[:7], random_weights(4000, floor, np.random.default_rng(0))[:7])
    free = random_weights(4000, torch.zeros(3), np.random.default_rng(0))
    assert torch.allclose(free.mean(0), torch.full((3,), 1 / 3), atol=0.015)  # 4 standard errors
