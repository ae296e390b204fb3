"""The generator: latent space, training, generation, saving."""

import dataclasses

import numpy as np
import pytest
import torch
from sklearn.decomposition import PCA

from paragon.adapters.adapter import AdapterForm
from paragon.adapters.frozen import frozen_task
from paragon.data.negatives import NegativeSampler
from paragon.errors import ParagonError
from paragon.generator.generator import Latent, load_generator, save_generator
from paragon.generator.training import behaviour as make_behaviour
from paragon.generator.training import train_generator


@pytest.fixture(scope="module")
def behaviour(backbone, seqs, settings, collection):
    train = frozen_task(backbone, seqs, "train", settings.adapters)
    return make_behaviour(train, NegativeSampler(seqs), collection, 0, 16)


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


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"weights": [0.5, 0.6]}, "sum to 1"),
        ({"weights": [0.2, 0.3, 0.5]}, "2 numbers"),
        ({"weights": [0.5, 0.5], "guidance": -1.0}, "guidance"),
        ({"weights": [0.5, 0.5], "guidance": np.nan}, "guidance"),
        ({"weights": [0.5, 0.5], "steps": 0}, "steps"),
        ({"weights": [0.5, 0.5], "steps": 501}, "steps"),
    ],
)
def test_bad_requests(trained, arguments, words):
    with pytest.raises(ParagonError, match=words):
        trained.generate(**arguments)


def test_learns_a_collection_that_follows_the_weights(collection, settings):
    """Vectors that lie on a line over the weights: generation must put new weights on it."""
    draw = torch.Generator().manual_seed(0)
    direction = torch.randn(2, collection.anchor_vectors.shape[-1], generator=draw)

    def weights(first):
        return torch.stack([first, 1 - first], 1)

    anchors = weights(torch.linspace(0.05, 1, 8))
    line = anchors @ direction
    noise = torch.randn(8, 2, line.shape[1], generator=draw)
    made = dataclasses.replace(
        collection,
        anchors=anchors,
        anchor_vectors=line.repeat(2, 1, 1),
        snapshots=(line[:, None] + 0.01 * noise).repeat(2, 1, 1, 1),
    )
    options = {"steps": 1200, "width": 32, "learning_rate": 5e-3, "ema": 0.99, "latent": 2}
    own = settings.generator.model_copy(update={**options, "batch": 64})
    model, between = train_generator(made, own, 0), weights(torch.linspace(0.1, 0.95, 18))
    found = model.generate(between, guidance=1.0)
    error = (found - between @ direction).norm(dim=1)
    spread = (line - line.mean(0)).norm(dim=1).mean()
    assert (error / spread).max() < 0.15
    # Guidance away from the unconditional model overshoots, and 0 ignores the weights.
    assert not torch.allclose(model.generate(between, guidance=4.0), found, atol=0.05)
    one, *_, other = model.generate(between, guidance=0.0)
    assert torch.allclose(one, other, atol=1e-5)
