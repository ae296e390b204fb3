"""Weights: what is accepted, and what is refused."""

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
        ({"novelty": 1}, "'novelty' is unknown"),
    ],
)
def test_bad_weights(weights, words):
    with pytest.raises(ParagonError, match=words):
        check_weights(weights, NAMES)


def test_names_rows_and_sums():
    assert check_weights([0.3, 0.7], NAMES).shape == (1, 2)
    named = check_weights({"diversity": 0.25, "accuracy": 0.75}, NAMES)
    assert named.tolist() == [[0.75, 0.25]]
    mixed = simplex_weights([0.2, [0.5, 0.5]], NAMES)  # the first of two is enough
    assert torch.allclose(mixed, torch.tensor([[0.2, 0.8], [0.5, 0.5]]))
    rows = np.random.default_rng(0).gamma(1, 10.0 ** np.arange(-3, 3)[:, None], (6, 2))
    huge = np.array([[1e308, 1e308], [1.5e308, 0.5e308], [1e308, 0]])
    found = check_weights(np.concatenate([rows, huge]), NAMES, normalise=True)
    assert found[6:].tolist() == [[0.5, 0.5], [0.75, 0.25], [1, 0]]
    expected = (rows / rows.sum(1)[:, None]).astype(np.float32)
    assert found[:6].numpy().tobytes() == expected.tobytes()
    for weights, normalise in (([1e308, 1e308], False), ([1e308, -1e-300], True), ([0, 0], True)):
        with pytest.raises(ParagonError, match="weights"):
            check_weights(weights, NAMES, normalise)


def test_lattice():
    assert torch.allclose(simplex_lattice(2, 10)[:, 0], torch.linspace(0, 1, 11))
    three = simplex_lattice(3, 4)
    assert len(three) == 15 and len({tuple(r.tolist()) for r in three}) == 15
    assert torch.allclose(three.sum(1), torch.ones(15))
    assert three[:6].tolist() == [*([0, n / 4, 1 - n / 4] for n in range(5)), [0.25, 0, 0.75]]


def test_random_and_lifted_weights_are_on_the_simplex_above_the_floor():
    floor, none = torch.tensor([0.1, 0.0, 0.2]), torch.zeros(3)
    weights, again = (random_weights(4000, floor, np.random.default_rng(0)) for _ in range(2))
    assert torch.equal(weights, again)
    for found in (weights, lift(torch.eye(3), floor)):
        assert torch.allclose(found.sum(1), torch.ones(len(found)), atol=1e-6)
        assert (found >= floor - 1e-6).all()
    inside = torch.tensor([[0.5, 0.3, 0.2]])
    assert torch.allclose(lift(inside, none), inside)
    free = random_weights(4000, none, np.random.default_rng(0))
    assert torch.allclose(free.mean(0), torch.full((3,), 1 / 3), atol=0.015)  # 4 standard errors
