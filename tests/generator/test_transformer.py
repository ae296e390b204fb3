"""The network of the released code: tokens, what it sees, and that it learns."""

import pytest
import torch

from paragon.adapters.adapter import AdapterForm
from paragon.generator.denoisers import TokenDenoiser, token_order
from paragon.generator.generator import load_generator
from paragon.generator.training import train_generator
from paragon.params import load_params
from paragon.storage import save_tensors
from tests.conftest import same_parameters
from tests.generator.conftest import along, held_out, planted_collection

FORMS = [AdapterForm(64, 8), AdapterForm(64, 8, 19), AdapterForm(5, 1, 2), AdapterForm(3, 5, 1)]
FORM = AdapterForm(2, 1, 1)
CHANGE = {"network": "transformer", "width": 16, "heads": 2, "blocks": 2, "dropout": 0.1}
CHANGE |= {"diffusion_steps": 40, "steps": 400, "batch": 16, "learning_rate": 3e-3, "ema": 0.9}
SETTINGS = load_params(overrides={"generator": CHANGE | {"task_batch": 0}}).generator


def curve(weights):
    """A planted collection: vectors ``[..., P]`` on a curve, which one weight moves along."""
    phase = torch.linspace(0, 3, FORM.size)
    return torch.sin(4 * weights[..., :1] + phase) + 0.3 * phase


@pytest.fixture
def denoiser():
    torch.manual_seed(0)
    model = TokenDenoiser(FORM, 2, SETTINGS).eval()
    torch.nn.init.normal_(model.null)
    return model


@pytest.fixture
def batch():
    draw = torch.Generator().manual_seed(1)
    x, weights = torch.randn(5, FORM.size, generator=draw), torch.rand(5, 2, generator=draw)
    return x, torch.tensor([0, 7, 20, 33, 39]), weights, torch.zeros(5, dtype=torch.bool)


@pytest.mark.parametrize("form", FORMS, ids=str)
def test_each_number_of_a_vector_has_one_place_in_the_tokens(form):
    order = token_order(form)
    share = -(-form.dim // form.width)
    assert order.shape == (form.width + -(-form.categories // 2), 2 * form.dim + 1 + share)
    assert sorted(order[order != form.size].tolist()) == list(range(form.size))
    model, vectors = TokenDenoiser(form, 2, SETTINGS), torch.randn(3, form.size)
    tokens = model.tokens(vectors)
    assert torch.equal(model.vectors(tokens), vectors)
    assert tokens.abs().sum() == pytest.approx(vectors.abs().sum().item(), rel=1e-4)  # else zeros


def test_a_token_is_a_hidden_unit_and_two_categories_share_one():
    form = AdapterForm(4, 2, 3)
    vector = torch.arange(1.0, form.size + 1)
    w1, b1, w2, b2, v, u = form.unflatten(vector)
    tokens = TokenDenoiser(form, 2, SETTINGS).tokens(vector[None])[0]
    for unit in range(2):
        own = [w1[unit], b1[unit, None], w2[:, unit], b2[2 * unit : 2 * unit + 2]]
        assert torch.equal(tokens[unit], torch.cat(own))
    rows = torch.cat([v, u[:, None]], 1).flatten()  # a category after the other
    assert torch.equal(torch.cat([tokens[2, :10], tokens[3, :5]]), rows)
    assert not tokens[2, 10:].any() and not tokens[3, 5:].any()


def test_step_weights_and_every_other_token_are_seen_and_no_other_sample(denoiser, batch):
    x, t, weights, keep = batch
    clean = denoiser(x, t, weights, keep)
    assert clean.shape == x.shape
    for row in range(5):
        alone = denoiser(*(part[row : row + 1] for part in batch))
        assert torch.allclose(alone[0], clean[row], atol=1e-5)
    moved = x.clone()
    moved[:, -1] += 1  # u, in the last token; the first number is in the first
    assert (denoiser(moved, t, weights, keep) - clean)[:, 0].abs().min() > 1e-5
    at_other_steps = (denoiser(x, t.flip(0), weights, keep) - clean)[[0, 1, 3, 4]]
    assert at_other_steps.abs().amax(1).min() > 1e-4
    assert (denoiser(x, t, 1 - weights, keep) - clean).abs().amax(1).min() > 1e-4
    dropped = denoiser(x, t, weights, ~keep)  # the null condition, whatever the weights
    assert torch.equal(dropped, denoiser(x, t, 1 - weights, ~keep))
    denoiser.null.data += 1
    for other in (clean, denoiser(x, t, weights, ~keep)):
        assert not torch.allclose(dropped, other, atol=1e-4)


def test_weights_enter_before_every_layer(denoiser, batch):
    seen = []
    silent = lambda h: seen.append(h) or torch.zeros_like(h)  # noqa: E731
    del denoiser.layers
    denoiser.layers = [silent] * 3
    denoiser(*batch)
    expected = denoiser.embed_weights(batch[2]).unsqueeze(1)
    assert all(torch.allclose(h, expected.expand_as(h), atol=1e-6) for h in seen[1:])


@pytest.fixture(scope="module")
def trained():
    """On the planted collection, long enough to learn it."""
    anchors = along(torch.linspace(0, 1, 9))
    vectors = curve(anchors).unsqueeze(1) + torch.tensor([0.01, 0.0]).unsqueeze(1)
    made = planted_collection(anchors, vectors, FORM)
    return train_generator(made, SETTINGS, 0, held_out(), name="paragon_transformer")


@pytest.mark.slow
def test_a_planted_collection_is_learned(trained):
    """At weights between the anchors, against the mean that needs no weights."""
    weights = along(torch.linspace(0.05, 0.95, 8))
    truth, mean = curve(weights), curve(along(torch.linspace(0, 1, 9))).mean(0)
    found = trained.generate(weights, guidance=1.0)
    error = (found - truth).square().mean()
    assert error < 0.25 * (mean - truth).square().mean()
    assert error < (trained.generate(weights.flip(1), guidance=1.0) - truth).square().mean() / 2
    losses = trained.description["curves"]["diffusion_loss"]
    assert sum(losses[-10:]) < 0.5 * sum(losses[:10])


def test_it_is_stored_and_read_as_every_generator(trained, tmp_path):
    save_tensors(tmp_path / "a", trained.model.state_dict(), trained.description)
    loaded, weights = load_generator(tmp_path / "a"), [[0.3, 0.7], [1, 0]]
    assert isinstance(loaded.model.denoiser, TokenDenoiser)
    assert same_parameters(loaded.model, trained.model)
    assert torch.equal(loaded.generate(weights), trained.generate(weights))
    assert torch.equal(loaded.generate(weights), loaded.generate(weights))  # dropout is over
