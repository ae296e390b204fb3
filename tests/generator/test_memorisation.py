"""Distances to a collection and what can be had from it without learning."""

import dataclasses

import numpy as np
import pytest
import torch

from paragon.generator.memorisation import average, distances, gaussian, noisy, verdict


def test_distances_by_hand(collection):
    anchors = torch.zeros_like(collection.anchor_vectors)
    anchors[:, :, 0] = torch.tensor([0.0, 1.0, 3.0, 7.0])
    oracles = torch.zeros_like(collection.oracle_vectors)
    oracles[:, :, 1] = 0.5
    vectors = {"anchor_vectors": anchors, "snapshots": anchors.unsqueeze(2).repeat(1, 1, 2, 1)}
    made = dataclasses.replace(collection, **vectors, oracle_vectors=oracles)
    found = distances(made, 0, anchors[0, [0, 0, 1, 2, 3]])  # copies
    assert found["generated"].abs().max() == 0
    # Of the weights 0, 1/4, ..., 1 the last is an anchor's too.
    assert found["tuned"].tolist() == pytest.approx([0.5] * 4)
    assert found["anchor to another anchor"].tolist() == pytest.approx([1, 1, 2, 4])


def test_a_line_over_the_weights_is_what_the_gaussian_fit_returns(collection):
    direction, weights = torch.randn(2, collection.anchor_vectors.shape[-1]), collection.oracles
    line = (collection.anchors @ direction).repeat(2, 1, 1)
    made = dataclasses.replace(collection, anchor_vectors=line, snapshots=line.unsqueeze(2))
    assert torch.allclose(gaussian(made, 1, weights), weights @ direction, atol=1e-4)
    assert torch.allclose(average(made, 1, weights), line[1].mean(0).expand(5, -1))


def test_noise_has_the_length_it_is_given():
    vectors, distance = torch.zeros(3, 50), torch.tensor([0.0, 1.0, 2.5])
    moved = noisy(vectors, distance, np.random.default_rng(0))
    assert torch.allclose(moved.norm(dim=1), distance, atol=1e-5)


def test_the_verdict_says_what_the_numbers_say():
    far = {"tuned": torch.tensor([2.0]), "anchor to another anchor": torch.tensor([3.0])}
    new = verdict({"generated": torch.tensor([1.5]), **far}, {"generated": 1, "x": 4})
    assert new.startswith("Not copies") and "Better" in new and "4.0 % (x)" in new
    old = verdict({"generated": torch.tensor([0.5]), **far}, {"generated": 5, "x": 40, "y": 4})
    assert old.startswith("Close to copies") and "No better" in old and "(y)" in old
