"""The paper's generator: tokens, denoiser, clipping, training, and training taken up again."""

import dataclasses

import numpy as np
import pytest
import torch

from paragon.adapters.adapter import AdapterForm
from paragon.adapters.collection import Collection
from paragon.generator.training import take_step
from paragon.params import PublishedSettings
from paragon.rivals.published import TokenDenoiser, load_published, token_order, train_published
from paragon.storage import save_tensors
from tests.conftest import refused, same_parameters

FORMS = [AdapterForm(64, 8), AdapterForm(64, 8, 19), AdapterForm(5, 1, 2), AdapterForm(3, 5, 1)]
FORM = AdapterForm(2, 1, 1)
SETTINGS = PublishedSettings(
    seeds=1, width=16, heads=2, blocks=2, dropout=0.1, diffusion_steps=40, steps=40, check=10,
    patience=9, batch=16, learning_rate=3e-3, ema=0.9, condition_drop=0.1, guidance=[1.5, 2.0],
)  # fmt: skip


def curve(weights):
    """A planted collection: vectors ``[..., P]`` on a curve, which one weight moves along."""
    w = weights[..., :1]
    phase = torch.linspace(0, 3, FORM.size)
    return torch.sin(4 * w + phase) + 0.3 * phase


def planted(scale=1.0):
    first = torch.linspace(0, 1, 9)
    anchors = torch.stack([first, 1 - first], -1)
    vectors = scale * curve(anchors)[None]  # one seed
    description = {"objectives": ["accuracy", "diversity"], "seeds": [0], "scale": scale}
    description["form"] = dataclasses.asdict(FORM)
    snapshots, none = vectors.unsqueeze(2) + 0.01, torch.zeros(0)
    return Collection(anchors, anchors, vectors, vectors, snapshots, none, none, description)


def held_out(vectors):
    """Both objectives are the distance from the curve, at the weights of the anchors."""
    distance = (vectors - curve(planted().anchors)).square().mean(-1)
    return distance.unsqueeze(1).repeat(1, 2)


def train(checkpoint=None, collection=None, judge=held_out, **changes):
    settings = SETTINGS.model_copy(update=changes)
    return train_published(collection or planted(), settings, 0, judge, checkpoint)


def same(one, other):
    return same_parameters(one, other) and one.description == other.description


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
    v = denoiser(x, t, weights, keep)
    assert v.shape == x.shape
    for row in range(5):
        alone = denoiser(*(part[row : row + 1] for part in batch))
        assert torch.allclose(alone[0], v[row], atol=1e-5)
    moved = x.clone()
    moved[:, -1] += 1  # u, in the last token; the first number is in the first
    assert (denoiser(moved, t, weights, keep) - v)[:, 0].abs().min() > 1e-5
    assert (denoiser(x, t.flip(0), weights, keep) - v)[[0, 1, 3, 4]].abs().amax(1).min() > 1e-4
    assert (denoiser(x, t, 1 - weights, keep) - v).abs().amax(1).min() > 1e-4
    dropped = denoiser(x, t, weights, ~keep)  # the null condition, whatever the weights
    assert torch.equal(dropped, denoiser(x, t, 1 - weights, ~keep))
    denoiser.null.data += 1
    for other in (v, denoiser(x, t, weights, ~keep)):
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
    return train(steps=600, check=200)


def test_a_planted_collection_is_learned(trained):
    """At weights between the anchors, against the mean that needs no weights."""
    first = torch.linspace(0.05, 0.95, 8)
    weights = torch.stack([first, 1 - first], -1)
    truth, mean = curve(weights), curve(planted().anchors).mean(0)
    found = trained.generate(weights, guidance=1.0)
    error = (found - truth).square().mean()
    assert error < 0.25 * (mean - truth).square().mean()
    assert error < (trained.generate(weights.flip(1), guidance=1.0) - truth).square().mean() / 2
    losses = trained.description["curves"]["v_loss"]
    assert losses[-1] < 0.7 * losses[0]


def test_guidance_is_the_best_on_validation_events(trained):
    anchors = planted().anchors
    losses = [held_out(trained.generate(anchors, guidance=g))[:, 0].mean() for g in (1.5, 2.0)]
    about = trained.description
    assert about["guidance_losses"] == pytest.approx([float(x) for x in losses])
    assert about["guidance"] == [1.5, 2.0][int(np.argmin(losses))]
    chosen = trained.generate(anchors)
    assert torch.equal(chosen, trained.generate(anchors, guidance=about["guidance"]))
    assert not torch.allclose(chosen, trained.generate(anchors, guidance=1.0), atol=1e-3)


def judged(*losses):
    """Judge each check by the next of the losses."""
    losses = iter(losses)
    return lambda vectors: torch.full((len(vectors), 2), next(losses, 9.0))


def test_training_ends_when_validation_gains_no_more():
    made = train(judge=judged(3.0, 2.0, 2.5, 2.0, 1.0), steps=1000, patience=2)
    assert made.description["curves"]["task_loss"] == [3.0, 2.0, 2.5, 2.0]
    assert made.description["step"] == 40
    # What is kept is the second check: the same parameters as after two stretches.
    again = train(judge=judged(3.0, 2.0, 2.5), steps=1000, patience=1)
    assert same_parameters(made, again)


def test_the_rate_falls_as_a_cosine_and_parameters_are_averaged(monkeypatch):
    """Over all stretches, each step recorded."""
    rates, averaged = [], None

    def recording(loss, model, optimizer, schedule):
        nonlocal averaged
        rates.append(optimizer.param_groups[0]["lr"])
        take_step(loss, model, optimizer, schedule)
        now = model.denoiser.output.weight.detach().double().numpy().copy()
        decay = min(0.9, (len(rates) - 1) / (len(rates) + 9))
        averaged = now if averaged is None else decay * averaged + (1 - decay) * now

    monkeypatch.setattr("paragon.rivals.published.take_step", recording)
    made = train(judge=judged(4.0, 3.0, 2.0, 1.0))  # so the last is the best
    expected = [3e-3 * (1 + np.cos(np.pi * step / 40)) / 2 for step in range(40)]
    assert rates == pytest.approx(expected)
    assert np.allclose(made.denoiser.output.weight, averaged, atol=1e-6)


def interrupted(checkpoint, after):
    """Train up to this number of checks, as if the process had been killed then."""
    calls = iter(range(after))

    def judged(vectors):
        if next(calls, None) is None:
            raise KeyboardInterrupt
        return held_out(vectors)

    with pytest.raises(KeyboardInterrupt):
        train(checkpoint, judge=judged)


@pytest.mark.parametrize("after", [1, 4])
def test_training_taken_up_again_is_the_same_bit_for_bit(tmp_path, after, monkeypatch):
    whole, steps = train(), []
    interrupted(tmp_path / "c", after)
    if after == 1:
        for change in ({"learning_rate": 1e-3}, {"collection": planted(2.0)}):
            refused("differs", train, tmp_path / "c", **change)
    torch.manual_seed(99), torch.rand(7)  # whatever ran in between
    step = "paragon.rivals.published.take_step"
    monkeypatch.setattr(step, lambda *args: steps.append(take_step(*args)))
    for _ in range(2):  # what is finished is not trained again
        assert same(train(tmp_path / "c"), whole)
        assert len(steps) == 10 * (4 - after)


def test_a_round_trip(tmp_path):
    save_tensors(tmp_path / "a", (made := train()).state_dict(), made.description)
    loaded = load_published(tmp_path / "a", planted().description)
    del loaded.description["sha256"]
    weights = [[0.3, 0.7], [1, 0]]
    assert same(loaded, made) and torch.equal(loaded.generate(weights), made.generate(weights))
    refused("`scale` differs", load_published, tmp_path / "a", planted(2.0).description)
