"""The generator: latent space, training, the choice of the guidance, saving."""

import dataclasses

import numpy as np
import pytest
import torch
from sklearn.decomposition import PCA

from paragon.adapters.adapter import AdapterForm
from paragon.generator import training
from paragon.generator.diffusion import Schedule
from paragon.generator.generator import Latent, load_generator, load_generators
from paragon.generator.training import losses_on, train_generator
from paragon.objectives.weights import random_weights
from paragon.storage import save_tensors
from tests.conftest import refused, same_parameters, small
from tests.generator.conftest import along, held_out, planted_collection


@pytest.fixture(scope="module")
def losses(tasks, settings):
    return losses_on(tasks["train"], settings.adapters.objectives, 16)


@pytest.fixture(scope="module")
def trained(collection, settings, tasks, losses):
    return train_generator(collection, settings.generator, 0, tasks["valid"], losses)


def test_latent_is_pca():
    draw = torch.Generator().manual_seed(0)
    x = torch.randn(30, 12, generator=draw) @ torch.diag(torch.linspace(3, 0.1, 12))
    latent, oracle = Latent.fit(x, 4), PCA(4).fit(x.numpy())
    expected = oracle.inverse_transform(oracle.transform(x.numpy()))
    assert np.allclose(latent.decode(latent.encode(x)), expected, atol=1e-4)
    assert latent.encode(x).std().item() == pytest.approx(1, rel=1e-3)
    full = Latent.fit(x, None)
    assert torch.allclose(full.decode(full.encode(x)), x, atol=1e-5)


def test_the_gradient_of_the_task_loss_goes_through_the_sampler(
    collection, settings, tasks, losses, monkeypatch
):
    """The first step by hand: of every parameter, with two steps of DDIM."""
    change = {"sampler_steps": 2, "steps": 1, "task_batch": 5}
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
    train_generator(collection, own, 0, tasks["valid"], losses)

    model, schedule = start(collection, own, 0), Schedule(500)
    rng = np.random.default_rng([0, 2, 0])
    vectors, weights = collection.training_set(0)
    rows = rng.integers(len(vectors), size=16)
    clean = model.latent.encode(vectors[rows])
    loss = training.diffusion_loss(model, clean, weights[rows], rng)
    wanted = random_weights(5, collection.anchors.min(0).values, rng)
    x = torch.from_numpy(rng.standard_normal((5, vectors.shape[1]), dtype=np.float32))
    for now, after in ((499, 0), (0, None)):
        keep_all = torch.zeros(5, dtype=torch.bool)
        found = model.denoiser(x, torch.full((5,), now), wanted, keep_all)
        eps = (x - schedule.signal[now] * found) / schedule.noise[now]
        x = found
        if after is not None:
            x = schedule.signal[after] * found + schedule.noise[after] * eps
    sampled = model.latent.mean + model.latent.scale * x
    loss = loss + own.task_strength * (losses(sampled, rng) * wanted).sum(1).mean()
    expected = torch.autograd.grad(loss, [*model.parameters()], allow_unused=True)
    for (name, _), a, b in zip(model.named_parameters(), *slopes, expected, strict=True):
        assert a is b is None or torch.allclose(a, b, rtol=1e-3, atol=1e-5), name


def same(one, other):
    about = [made.description | {"sha256": ""} for made in (one, other)]
    return same_parameters(one.model, other.model) and about[0] == about[1]


def test_the_recipe_of_the_paper_asks_for_no_task_loss(collection, settings, tasks):
    """Without a task batch, training events are not touched, and losses are not needed."""

    def never(*_):
        raise AssertionError("a task loss was asked for")

    own = settings.of_generator("paragon")
    assert settings.generator.task_batch and own.task_batch == 0
    given = collection, own, 0, tasks["valid"]
    made = train_generator(*given, never, "paragon")
    assert same(made, train_generator(*given, None, "paragon"))
    assert [*made.description["curves"]] == ["diffusion_loss"]
    neither = own.model_copy(update={"batch": 0})
    refused("task_batch", train_generator, collection, neither, *given[2:])


def test_guidance_is_the_one_with_the_smallest_task_loss_of_validation(trained, tasks, settings):
    """By hand, one weight and one event at a time."""
    about, valid, found = trained.description, tasks["valid"], {}
    weights = random_weights(32, trained.floor, np.random.default_rng([0, 6]))
    for guidance in settings.generator.guidance:
        vectors, total = trained.generate(weights, guidance=guidance), 0.0
        for row in range(len(valid.states)):
            of_row = valid.losses(vectors, torch.tensor([row]), trained.objectives)  # [W, O]
            total += (of_row * weights).sum(1).mean().item() / len(valid.states)
        found[guidance] = total
    assert [g for g, _ in about["guidance_losses"]] == [1, 1.5, 2, 3] == [*found]
    assert [x for _, x in about["guidance_losses"]] == pytest.approx([*found.values()], rel=1e-4)
    assert about["guidance"] == trained.guidance == min(found, key=found.get)


@pytest.mark.parametrize("best", [1.0, 1.5, 3.0])
def test_the_chosen_guidance_is_used(collection, settings, best):
    """Validation that likes nothing so much as what this guidance generates."""
    own = settings.of_generator("paragon")
    plain = train_generator(collection, own, 0, held_out())
    weights = random_weights(32, plain.floor, np.random.default_rng([0, 6]))
    liked = plain.generate(weights, guidance=best)

    def far(vectors, *_):
        return (vectors - liked).square().sum(-1, keepdim=True).repeat(1, 2)

    made = train_generator(collection, own, 0, held_out(far))
    assert made.description["guidance"] == best
    chosen = made.generate([0.3, 0.7])
    assert torch.equal(chosen, made.generate([0.3, 0.7], guidance=best))
    assert not torch.equal(chosen, made.generate([0.3, 0.7], guidance=best + 1))


SHORT = {"blocks": 1, "width": 16, "heads": 2, "steps": 40, "batch": 8, "diffusion_steps": 50}


@pytest.mark.parametrize("change", [{}, {"network": "transformer", "dropout": 0.1}], ids=str)
@pytest.mark.parametrize("after", [15, 30])
def test_training_taken_up_again_is_the_same_bit_for_bit(
    collection, settings, tasks, losses, tmp_path, change, after, monkeypatch
):
    """Killed in the middle of the steps between two checkpoints, or just after one."""
    own = settings.generator.model_copy(update=SHORT | change)
    given, path = (0, tasks["valid"], losses, "generated"), tmp_path / "c.safetensors"
    monkeypatch.setattr(training, "CHECKPOINT_EVERY", 10)
    whole, steps, take_step = train_generator(collection, own, *given), [], training.take_step

    def counted(*parts):
        if len(steps) == after:
            raise KeyboardInterrupt
        steps.append(take_step(*parts))

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(training, "take_step", counted)
        train_generator(collection, own, *given, path)
    other = own.model_copy(update={"learning_rate": 0.1})
    refused((str(path), "learning_rate"), train_generator, collection, other, *given, path)
    torch.manual_seed(99), torch.rand(7)  # whatever ran in between
    left = []
    monkeypatch.setattr(training, "take_step", lambda *parts: left.append(take_step(*parts)))
    for _ in range(2):  # what is finished is not trained again
        assert same(train_generator(collection, own, *given, path), whole)
        assert len(left) == 40 - after // 10 * 10


def test_same_inputs_same_bytes_and_back(collection, settings, tasks, losses, trained, tmp_path):
    again = train_generator(collection, settings.generator, 0, tasks["valid"], losses)
    for name, one in (("a", trained), ("b", again)):
        save_tensors(tmp_path / name, one.model.state_dict(), one.description)
    for ending in (".safetensors", ".json"):
        assert (tmp_path / f"a{ending}").read_bytes() == (tmp_path / f"b{ending}").read_bytes()
    loaded, weights = load_generator(tmp_path / "a"), [[0.3, 0.7], [1, 0]]
    assert torch.equal(loaded.generate(weights), trained.generate(weights))
    assert same(loaded, trained)


def test_generators_are_loaded_by_name_seed_and_collection(collection, trained, tmp_path):
    def store(name, seed):
        about = trained.description | {"seed": seed}
        save_tensors(tmp_path / f"{name}-seed{seed}", trained.model.state_dict(), about)

    store("generated", 0), store("generated", 1)
    found = load_generators(tmp_path, "generated", collection)
    assert [made.description["seed"] for made in found] == [0, 1]
    refused("paragon-seed0.safetensors", load_generators, tmp_path, "paragon", collection)
    store("paragon", 0)
    refused("`name`", load_generators, tmp_path, "paragon", collection)
    other = dataclasses.replace(collection, description=collection.description | {"seeds": [1, 0]})
    refused("`seeds`", load_generators, tmp_path, "generated", other)


@pytest.mark.parametrize("named", [False, True])
def test_a_generator_of_the_old_form_is_refused_with_what_to_run(
    collection, trained, tmp_path, named
):
    """As it was stored when networks predicted velocities, and even if it had the new name."""
    new = trained.description
    old = {key: x for key, x in new.items() if not key.startswith("guidance")}
    renamed = {key.replace("task", "behaviour"): x for key, x in new["settings"].items()}
    added = ("network", "predicts", "heads", "dropout", "weight_limit")
    old["settings"] = {key: x for key, x in renamed.items() if key not in added} | {"guidance": 1.0}
    if not named:
        del old["name"]
    save_tensors(tmp_path / "generated-seed0", trained.model.state_dict(), old)
    for call in (
        (load_generators, tmp_path, "generated", collection),
        (load_generator, tmp_path / "generated-seed0"),
    ):
        refused(("generated-seed0", "`generator`"), *call)


def test_a_generator_that_does_not_say_what_it_predicts_is_refused(trained, tmp_path):
    settings = {key: x for key, x in trained.description["settings"].items() if key != "predicts"}
    about = trained.description | {"settings": settings}
    save_tensors(tmp_path / "a", trained.model.state_dict(), about)
    refused(("predicts", "`generator`"), load_generator, tmp_path / "a")


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


@pytest.mark.slow
def test_learns_a_collection_that_follows_the_weights():
    """Vectors that lie on a line over the weights: generation must put new weights on it."""
    draw, form = torch.Generator().manual_seed(0), AdapterForm(16, 2, 6)
    direction = torch.randn(2, form.size, generator=draw)
    anchors, between = (along(torch.linspace(*ends)) for ends in ((0.05, 1, 8), (0.1, 0.95, 18)))
    line = anchors @ direction
    near = 0.01 * torch.randn(8, 3, form.size, generator=draw)
    near[:, -1] = 0
    made = planted_collection(anchors, line.unsqueeze(1) + near, form)
    change = {"steps": 1200, "batch": 64, "learning_rate": 5e-3, "ema": 0.99, "task_batch": 0}
    own = small(generator=change | {"width": 32, "latent": 2}).generator
    model = train_generator(made, own, 0, held_out())
    found = model.generate(between, guidance=1.0, steps=2)
    error = (found - between @ direction).norm(dim=1)
    spread = (line - line.mean(0)).norm(dim=1).mean()
    assert (error / spread).max() < 0.15
    # Guidance away from the unconditional model overshoots, and 0 ignores the weights.
    assert not torch.allclose(model.generate(between, guidance=4.0, steps=2), found, atol=0.05)
    one, *_, other = model.generate(between, guidance=0.0, steps=2)
    assert torch.allclose(one, other, atol=1e-5)
