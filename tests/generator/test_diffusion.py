"""The diffusion core against diffusers and against exact answers."""

import numpy as np
import pytest
import torch
from diffusers import DDIMScheduler, DDPMScheduler

from paragon.generator.diffusion import Schedule, ddim, guided
from paragon.generator.generator import Denoiser
from paragon.generator.training import diffusion_loss
from paragon.params import load_params

STEPS = 50
BETAS = STEPS, 20 * 1e-4, 20 * 0.02, "linear"


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def make():
    torch.manual_seed(0)
    change = {"generator": {"width": 32, "blocks": 2}}
    model = Denoiser(6, 2, load_params(overrides=change).generator)
    with torch.no_grad():  # the zero initialisation would make every test trivial
        for parameter in model.parameters():
            parameter.add_(0.1 * torch.randn(parameter.shape))
    return model.eval()


@pytest.fixture
def denoiser():
    return make()


@pytest.fixture
def batch():
    x, noise = torch.randn(5, 6, generator=generator()), torch.randn(5, 6, generator=generator(2))
    return x, torch.tensor([0, 7, 20, 33, 49]), torch.rand(5, 2, generator=generator(1)), noise


def test_schedule_agrees_with_diffusers(batch):
    oracle, schedule = DDPMScheduler(*BETAS), Schedule(STEPS)
    x, t, _, noise = batch
    noisy, v = schedule.diffuse(x, noise, t), schedule.velocity(x, noise, t)
    assert torch.allclose(noisy, oracle.add_noise(x, noise, t), atol=1e-6)
    assert torch.allclose(v, oracle.get_velocity(x, noise, t), atol=1e-6)
    assert torch.allclose(schedule.clean(noisy, v, t), x, atol=1e-5)
    assert torch.allclose(schedule.epsilon(noisy, v, t), noise, atol=1e-5)


@pytest.mark.parametrize(("eta", "limit"), [(0.0, None), (1.0, None), (1.0, 0.4)])
def test_ddim_agrees_with_diffusers(denoiser, batch, eta, limit):
    """Without noise; with all of it, as in DDPM; and clipped, as the paper's generator."""
    options = {"clip_sample": limit is not None, "prediction_type": "v_prediction"}
    if eta:
        options |= {"variance_type": "fixed_small", "clip_sample_range": limit or 1.0}
        oracle = DDPMScheduler(*BETAS, **options)
    else:
        options |= {"timestep_spacing": "linspace", "set_alpha_to_one": True}
        oracle = DDIMScheduler(*BETAS, **options)
        oracle.set_timesteps(STEPS)
    predict, x, draw = guided(denoiser, batch[2], 1.0), batch[3], generator(7)
    clip = limit and (torch.tensor(-limit), torch.tensor(limit))
    sampling = {"steps": STEPS, "eta": eta, "clip": clip, "generator": generator(7)}
    found = ddim(predict, Schedule(STEPS), x, **sampling)
    with torch.no_grad():
        for t in oracle.timesteps:
            # diffusers draws its own noise; it takes none at t = 0, as we do
            x = oracle.step(predict(x, t.repeat(5)), t, x, generator=draw).prev_sample
    assert torch.allclose(found, x, atol=1e-3 if eta else 1e-4)


def test_after_a_clip_the_noise_is_what_is_left(denoiser, batch):
    """Three steps by hand, with predictions that are cut off."""
    predict, schedule = guided(denoiser, batch[2], 1.0), Schedule(STEPS)
    x, limit = 2 * batch[0], torch.full((6,), 0.1)
    for now, after in ((49, 24), (24, 0), (0, None)):
        t = torch.full((5,), now)
        clean = schedule.clean(x, predict(x, t), t).clamp(-limit, limit)
        left = (x - schedule.signal[now] * clean) / schedule.noise[now]
        x = clean
        if after is not None:
            x = schedule.signal[after] * clean + schedule.noise[after] * left
    found = ddim(predict, schedule, 2 * batch[0], steps=3, clip=(-limit, limit))
    assert torch.allclose(found, x, atol=1e-5) and 0 < (found.abs() < 0.1).sum() < found.numel()


def test_guidance_one_is_the_conditional_model(denoiser, batch):
    (x, t, condition, _), keep, asked = batch, torch.zeros(5, dtype=torch.bool), []

    def listening(x, *rest):
        asked.append(len(x))
        return denoiser(x, *rest)

    null, conditional = (denoiser(x, t, condition, drop) for drop in (~keep, keep))
    found = [guided(listening, condition, g)(x, t) for g in (0.0, 1.0, 1.0 + 1e-9, 3.0)]
    assert asked == [5, 5, 10, 10]  # without guidance the denoiser is asked once
    assert torch.equal(found[0], null) and torch.equal(found[1], conditional)
    assert torch.allclose(found[2], conditional, atol=1e-6)
    assert torch.allclose(found[3], null + 3 * (conditional - null), atol=1e-5)
    assert not torch.allclose(found[3], conditional, atol=1e-2)


def test_a_denoiser_hears_its_condition_and_nobody_elses(batch):
    """Samples of a batch do not meet; weights, step and dropping each matter."""
    model, (x, t, condition, _) = make(), batch
    keep = torch.zeros(5, dtype=torch.bool)
    v = model(x, t, condition, keep)
    assert v.shape == x.shape
    for row in range(5):
        alone = model(*(part[row : row + 1] for part in (x, t, condition, keep)))
        assert torch.allclose(alone[0], v[row], atol=1e-5)
    assert not torch.allclose(model(x, t, 1 - condition, keep), v, atol=1e-4)
    assert not torch.allclose(model(x, t.flip(0), condition, keep), v, atol=1e-4)
    null = model(x, t, condition, ~keep)
    assert not torch.allclose(null, v, atol=1e-4)
    assert torch.equal(null, model(x, t, 1 - condition, ~keep))


def test_a_denoiser_that_knows_the_clean_latents_has_no_loss(batch):
    clean, _, weights, _ = batch
    schedule, rng = Schedule(STEPS), np.random.default_rng(0)

    def exact(x, t, weights, drop):
        a, s = schedule.signal[t][:, None], schedule.noise[t][:, None]
        return (a * x - clean) / s

    loss = diffusion_loss(exact, schedule, clean, weights, rng, 0.1)
    assert loss.item() == pytest.approx(0, abs=1e-6)


def test_the_condition_is_dropped_with_its_probability_and_every_row_counts(batch):
    clean, _, weights, _ = (part.repeat(400, 1) if part.ndim > 1 else part for part in batch)
    dropped = []

    def listening(x, t, weights, drop):
        dropped.append(drop.float().mean().item())
        return torch.zeros_like(x)

    def loss_of(share, clean=clean):
        rng = np.random.default_rng(0)
        return diffusion_loss(listening, Schedule(STEPS), clean, weights, rng, share).item()

    losses = [loss_of(share) for share in (0.0, 0.3, 1.0)]
    assert dropped == pytest.approx([0, 0.3, 1], abs=0.04)  # 2,000 rows: 4 standard errors
    assert losses == [losses[0]] * 3
    for row in (0, -1):
        changed = clean.clone()
        changed[row] += 100
        assert loss_of(0.3, changed) > losses[0]
