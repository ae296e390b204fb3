"""docs/one_file.py computes what the package computes."""

import importlib.util

import numpy as np
import pytest
import torch

from paragon.adapters.adapter import AdapterForm, adapt
from paragon.generator.diffusion import Schedule, ddim, guided
from paragon.generator.generator import Latent
from paragon.metrics.ranking import (
    alpha_dcg,
    alpha_ndcg_at,
    ideal_alpha_dcg,
    ndcg_at,
    target_ranks,
    top_k,
)
from paragon.objectives import losses
from paragon.params import ROOT


@pytest.fixture(scope="module")
def one():
    spec = importlib.util.spec_from_file_location("one_file", ROOT / "docs" / "one_file.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_losses_and_adapters_are_those_of_the_package(one):
    torch.manual_seed(0)
    form = AdapterForm(one.DIM, one.HIDDEN, one.CATEGORIES)
    states, vectors = torch.randn(5, form.dim), torch.randn(3, form.size)
    torch.testing.assert_close(one.adapt(states, vectors), adapt(states, vectors, form))
    scores = torch.randn(3, 5, 12)  # [A, B, C]
    g = torch.randint(2, (5, 12, 4)).float()  # [B, C, M]
    p = torch.randn(5, 12).softmax(-1)
    torch.testing.assert_close(one.divergence(scores, p), losses.divergence(scores, p))
    for end in (None, 5):
        value = one.soft_alpha_dcg(scores, g, end)
        torch.testing.assert_close(value, losses.soft_alpha_dcg(scores, g, end))


def test_diffusion_and_scaling_are_those_of_the_package(one):
    torch.manual_seed(0)
    schedule = Schedule(one.STEPS)
    torch.testing.assert_close((one.SIGNAL, one.NOISE), (schedule.signal, schedule.noise))
    vectors = torch.randn(40, 8) @ torch.diag(torch.linspace(2, 0, 8)) + 1
    latent, package = one.Latent(vectors), Latent.fit(vectors, None)
    torch.testing.assert_close(latent.encode(vectors), package.encode(vectors))
    torch.testing.assert_close(latent.scale, package.scale)
    denoiser, weights = one.Denoiser(8), torch.tensor([0.2, 0.9])
    noise = torch.randn(2, 8)
    generated = one.sample(latent, denoiser, weights, noise, guidance=1.5, steps=4)
    predict = guided(lambda z, t, w, hide: denoiser(z, t, w[:, 0], hide), weights[:, None], 1.5)
    latents = ddim(predict, schedule, noise, steps=4)
    torch.testing.assert_close(generated, latent.decode(latents))


def test_a_planted_study_is_measured_as_by_the_package(one):
    torch.manual_seed(0)
    users, categories = one.planted(np.random.default_rng(0))
    assert all(len(set(items)) == len(items) >= 8 for items in users)
    events = one.events_of(users[:50], lambda length: [length - 1])
    task = one.Task(one.Recommender().requires_grad_(False), *events, categories)
    vectors = 0.1 * torch.randn(2, AdapterForm(one.DIM, one.HIDDEN, one.CATEGORIES).size)
    g, met = categories.numpy() > 0, task.met.numpy()
    ideal = ideal_alpha_dcg(g, 10)
    for measured, scores in zip(one.curve(task, vectors), task.scores(vectors), strict=True):
        ndcg = ndcg_at(target_ranks(scores.numpy(), task.targets.numpy(), met), 10).mean()
        dcg = alpha_dcg(g[top_k(scores.numpy(), 10, met)])
        expected = [ndcg, alpha_ndcg_at(dcg, ideal, 10).mean()]
        assert measured.tolist() == pytest.approx(expected, abs=1e-6)
