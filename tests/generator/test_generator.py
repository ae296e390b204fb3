"""The generator: latent space, training, generation, saving, distances to its collection."""

import dataclasses

import numpy as np
import pytest
import torch
from sklearn.decomposition import PCA

from paragon.adapters.adapter import AdapterForm
from paragon.data.negatives import NegativeSampler
from paragon.generator.generator import Latent, load_generator, save_generator
from paragon.generator.memorisation import average, distances, gaussian, noisy, verdict
from paragon.generator.training import behaviour as make_behaviour
from paragon.generator.training import train_generator
from tests.conftest import refused, small


@pytest.fixture(scope="module")
def behaviour(tasks, seqs, collection):
    return make_behaviour(tasks["train"], NegativeSampler(seqs), collection, 0, 16)


@pytest.fixture(scope="module")
def trained(collection, settings, behaviour):
    return train_generator(collection, settings.generator, 0, behaviour)


def test_latent_is_pca():
    draw = torch.Generator().manual_seed(0)
    x = torch.randn(30, 12, generator=draw) @ torch.diag(torch.linspace(3, 0.1, 12))
    latent, oracle = Latent.fit(x, 4), PCA(4).fit(x.numpy())
    expected = oracle.inverse_transform(oracle.transform(x.numpy()))
    assert np.allclose(latent.decode(latent.encode(x)).numpy(), expected, atol=1e-4)
    assert latent.encode(x).std().item() == pytest.approx(1, rel=1e-3)
    full = Latent.fit(x, None)
    assert torch.allclose(full.decode(full.encode(x)), x, atol=1e-5)


def test_same_inputs_same_bytes_and_back(collection, settings, behaviour, trained, tmp_path):
    again = train_generator(collection, settings.generator, 0, behaviour)
    for name, one in (("a", trained), ("b", again)):
        save_generator(one, tmp_path / name)
    for ending in (".safetensors", ".json"):
        assert (tmp_path / f"a{ending}").read_bytes() == (tmp_path / f"b{ending}").read_bytes()
    loaded, weights = load_generator(tmp_path / "a"), [[0.3, 0.7], [1, 0]]
    assert torch.equal(loaded.generate(weights), trained.generate(weights))
    assert loaded.description["collection"] == trained.description["collection"]


def test_shapes_noise_and_batches(trained):
    one = trained.generate([0.3, 0.7])
    assert one.shape == (1, AdapterForm(16, 2, 6).size)
    many = trained.generate([[0.3, 0.7], [0.8, 0.2]])
    assert torch.allclose(many[0], one[0], atol=1e-5)
    assert torch.equal(trained.generate([0.3, 0.7]), one)
    assert not torch.allclose(trained.generate([0.3, 0.7], sample=1), one, atol=1e-4)
    assert trained.floor.tolist() == pytest.approx([0.05, 0.0])  # corners are lifted to it
    assert torch.equal(trained.generate([0.0, 1.0]), trained.generate([0.05, 0.95]))
    refused("sum to 1", trained.generate, [0.5, 0.6])
    for name, value in (("guidance", np.nan), ("guidance", -1.0), ("steps", 0), ("steps", 501)):
        refused(name, trained.generate, [0.5, 0.5], **{name: value})


def test_learns_a_collection_that_follows_the_weights(collection):
    """Vectors that lie on a line over the weights: generation must put new weights on it."""
    draw = torch.Generator().manual_seed(0)
    direction = torch.randn(2, collection.anchor_vectors.shape[-1], generator=draw)
    anchors, between = (
        torch.stack([first, 1 - first], 1)
        for first in (torch.linspace(0.05, 1, 8), torch.linspace(0.1, 0.95, 18))
    )
    line = anchors @ direction
    snapshots = line[:, None] + 0.01 * torch.randn(8, 2, line.shape[1], generator=draw)
    vectors = {"anchor_vectors": line.repeat(2, 1, 1), "snapshots": snapshots.repeat(2, 1, 1, 1)}
    made = dataclasses.replace(collection, anchors=anchors, **vectors)
    change = {"steps": 1200, "batch": 64, "learning_rate": 5e-3, "ema": 0.99}
    own = small(generator=change | {"width": 32, "latent": 2}).generator
    model = train_generator(made, own, 0)
    found = model.generate(between, guidance=1.0)
    error = (found - between @ direction).norm(dim=1)
    spread = (line - line.mean(0)).norm(dim=1).mean()
    assert (error / spread).max() < 0.15
    # Guidance away from the unconditional model overshoots, and 0 ignores the weights.
    assert not torch.allclose(model.generate(between, guidance=4.0), found, atol=0.05)
    one, *_, other = model.generate(between, guidance=0.0)
    assert torch.allclose(one, other, atol=1e-5)


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
