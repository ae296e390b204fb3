"""The generator: latent space, training, generation, saving."""

import dataclasses

import numpy as np
import pytest
import torch

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
    x = torch.randn(30, 12, generator=torch.Generator().manual_seed(0)) @ torch.diag(
        torch.linspace(3, 0.1, 12)
    )
    latent = Latent.fit(x, 4)
    from sklearn.decomposition import PCA

    oracle = PCA(4).fit(x.numpy())
    expected = oracle.inverse_transform(oracle.transform(x.numpy()))
    assert np.allclose(latent.decode(latent.encode(x)).detach().numpy(), expected, atol=1e-4)
    assert latent.encode(x).std().item() == pytest.approx(1, rel=1e-3)
    full = Latent.fit(x, None)
    assert torch.allclose(full.decode(full.encode(x)), x, atol=1e-5)


def test_same_inputs_same_bytes(collection, settings, behaviour, trained, tmp_path):
    again = train_generator(collection, settings.generator, 0, behaviour)
    for name, one in (("a", trained), ("b", again)):
        save_generator(one, tmp_path / name)
    for ending in (".safetensors", ".json"):
        assert (tmp_path / f"a{ending}").read_bytes() == (tmp_path / f"b{ending}").read_bytes()


def test_round_trip(trained, tmp_path):
    save_generator(trained, tmp_path / "g")
    loaded = load_generator(tmp_path / "g")
    weights = [[0.3, 0.7], [1, 0]]
    assert torch.equal(loaded.generate(weights), trained.generate(weights))
    assert loaded.description["collection"] == trained.description["collection"]


def test_shapes_noise_and_batches(trained):
    one = trained.generate([0.3, 0.7])
    assert one.shape == (1, AdapterForm(16, 2, 6).size)
    many = trained.generate([[0.3, 0.7], [0.8, 0.2]])
    assert torch.allclose(many[0], one[0], atol=1e-5)
    assert torch.equal(trained.generate([0.3, 0.7]), one)
    assert not torch.allclose(trained.generate([0.3, 0.7], sample=1), one, atol=1e-4)


def test_corners_are_lifted_to_the_anchors(trained):
    assert trained.floor.tolist() == pytest.approx([0.05, 0.0])
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
    direction = torch.randn(
        2, collection.anchor_vectors.shape[-1], generator=torch.Generator().manual_seed(0)
    )
    first = torch.linspace(0.05, 1, 8).unsqueeze(1)
    anchors = torch.cat([first, 1 - first], 1)
    line = anchors @ direction
    noise = torch.randn(8, 2, line.shape[1], generator=torch.Generator().manual_seed(1))
    snapshots = line[:, None] + 0.01 * noise
    made = dataclasses.replace(
        collection,
        anchors=anchors,
        anchor_vectors=line[None].repeat(2, 1, 1),
        snapshots=snapshots[None].repeat(2, 1, 1, 1),
    )
    options = {
        "steps": 3000,
        "width": 32,
        "learning_rate": 3e-3,
        "ema": 0.99,
        "latent": 2,
        "batch": 64,
    }
    model = train_generator(made, settings.generator.model_copy(update=options), 0)
    between = torch.linspace(0.1, 0.95, 18).unsqueeze(1)
    weights = torch.cat([between, 1 - between], 1)
    error = (model.generate(weights, guidance=1.0) - weights @ direction).norm(dim=1)
    spread = (line - line.mean(0)).norm(dim=1).mean()
    assert (error / spread).max() < 0.15
    # Guidance away from the unconditional model overshoots, and 0 ignores the weights.
    assert not torch.allclose(
        model.generate(weights, guidance=4.0), model.generate(weights, guidance=1.0), atol=0.05
    )
    one, *_, other = model.generate(weights, guidance=0.0)
    assert torch.allclose(one, other, atol=1e-5)
