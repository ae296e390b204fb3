"""The generator: latent space, training, generation, saving."""

import dataclasses

import numpy as np
import pytest
import torch
from sklearn.decomposition import PCA

from paragon.adapters.adapter import AdapterForm
from paragon.generator import training
from paragon.generator.diffusion import Schedule
from paragon.generator.generator import Latent, load_generator
from paragon.generator.training import behaviour as make_behaviour
from paragon.generator.training import train_generator
from paragon.objectives.weights import random_weights
from paragon.storage import save_tensors
from tests.conftest import refused, small


@pytest.fixture(scope="module")
def behaviour(tasks, settings):
    return make_behaviour(tasks["train"], settings.adapters.objectives, 16)


@pytest.fixture(scope="module")
def trained(collection, settings, behaviour):
    return train_generator(collection, settings.generator, 0, behaviour)


def test_latent_is_pca():
    draw = torch.Generator().manual_seed(0)
    x = torch.randn(30, 12, generator=draw) @ torch.diag(torch.linspace(3, 0.1, 12))
    latent, oracle = Latent.fit(x, 4), PCA(4).fit(x.numpy())
    expected = oracle.inverse_transform(oracle.transform(x.numpy()))
    assert np.allclose(latent.decode(latent.encode(x)), expected, atol=1e-4)
    assert latent.encode(x).std().item() == pytest.approx(1, rel=1e-3)
    full = Latent.fit(x, None)
    assert torch.allclose(full.decode(full.encode(x)), x, atol=1e-5)


def test_the_gradient_of_the_behavioural_loss_goes_through_the_sampler(
    collection, settings, behaviour, monkeypatch
):
    """The first step by hand: of every parameter, with two steps of DDIM."""
    change = {"sampler_steps": 2, "steps": 1, "behaviour_batch": 5}
    own, untrained, slopes = settings.generator.model_copy(update=change), training.untrained, []

    def start(*given):
        model = untrained(*given)  # its zeros would hide most of the gradient
        for parameter in model.parameters():
            parameter.data.add_(0.1 * torch.randn(parameter.shape))
        return model

    def keep(loss, model, *_):
        slopes.append(torch.autograd.grad(loss, [*model.parameters()], allow_unused=True))

    monkeypatch.setattr(training, "untrained", start)
    monkeypatch.setattr(training, "take_step", keep)
    train_generator(collection, own, 0, behaviour)

    model, schedule, rng = start(collection, own, 0), Schedule(500), np.random.default_rng([0, 2])
    vectors, weights = collection.training_set(0)
    rows = rng.integers(len(vectors), size=16)
    clean = model.latent.encode(vectors[rows])
    drop = own.condition_drop
    loss = training.diffusion_loss(model.denoiser, schedule, clean, weights[rows], rng, drop)
    wanted = random_weights(5, collection.anchors.min(0).values, rng)
    x = torch.from_numpy(rng.standard_normal((5, vectors.shape[1]), dtype=np.float32))
    for now, after in ((499, 0), (0, None)):
        v = model.denoiser(x, torch.full((5,), now), wanted, torch.zeros(5, dtype=torch.bool))
        a, s = schedule.signal[now], schedule.noise[now]
        x, eps = a * x - s * v, s * x + a * v
        if after is not None:
            x = schedule.signal[after] * x + schedule.noise[after] * eps
    sampled = model.latent.mean + model.latent.scale * x
    tasks = (behaviour(sampled, rng) * wanted).sum(1)
    loss = loss + own.behaviour_strength * tasks.mean()
    expected = torch.autograd.grad(loss, [*model.parameters()], allow_unused=True)
    for (name, _), a, b in zip(model.named_parameters(), *slopes, expected, strict=True):
        assert a is b is None or torch.allclose(a, b, rtol=1e-3, atol=1e-5), name


def test_same_inputs_same_bytes_and_back(collection, settings, behaviour, trained, tmp_path):
    again = train_generator(collection, settings.generator, 0, behaviour)
    for name, one in (("a", trained), ("b", again)):
        save_tensors(tmp_path / name, one.model.state_dict(), one.description)
    for ending in (".safetensors", ".json"):
        assert (tmp_path / f"a{ending}").read_bytes() == (tmp_path / f"b{ending}").read_bytes()
    loaded, weights = load_generator(tmp_path / "a"), [[0.3, 0.7], [1, 0]]
    assert torch.equal(loaded.generate(weights), trained.generate(weights))
    assert loaded.description["collection"] == trained.description["collection"]


def test_shapes_and_batches(trained):
    one = trained.generate([0.3, 0.7])
    assert one.shape == (1, AdapterForm(16, 2, 6).size)
    many = trained.generate([[0.3, 0.7], [0.8, 0.2]])
    assert torch.allclose(many[0], one[0], atol=1e-5)
    assert torch.equal(trained.generate([0.3, 0.7]), one)
    assert trained.floor.tolist() == pytest.approx([0.05, 0.0])  # corners are lifted to it
    assert torch.equal(trained.generate([0.0, 1.0]), trained.generate([0.05, 0.95]))
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
    found = model.generate(between, guidance=1.0, steps=2)
    error = (found - between @ direction).norm(dim=1)
    spread = (line - line.mean(0)).norm(dim=1).mean()
    assert (error / spread).max() < 0.15
    # Guidance away from the unconditional model overshoots, and 0 ignores the weights.
    assert not torch.allclose(model.generate(between, guidance=4.0, steps=2), found, atol=0.05)
    one, *_, other = model.generate(between, guidance=0.0, steps=2)
    assert torch.allclose(one, other, atol=1e-5)
