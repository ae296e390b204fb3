"""Rivals trained end to end: exact minima, equal cost, saving."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch

from paragon.adapters.adapter import AdapterForm
from paragon.adapters.frozen import frozen_task
from paragon.data.negatives import NegativeSampler
from paragon.rivals import end_to_end
from paragon.rivals.end_to_end import END_TO_END, train_end_to_end
from tests.conftest import adapter_settings, refused, small

ABOUT = {"sha256": "of the backbone"}


@pytest.fixture
def task(tasks):
    return tasks["train"]


def test_as_many_lists_as_the_collection_and_the_behavioural_loss(settings):
    tuning = 4 * 20 * 32  # anchors, steps, batch of the small settings
    behaviour = 30 * 2 * 16
    assert end_to_end.equal_steps(settings) == (tuning + behaviour) // (2 * 16)


def test_training_starts_from_the_start_of_the_collection(settings):
    start = torch.randn(50, generator=torch.Generator().manual_seed(0))
    weights = torch.tensor([[0.2, 0.8], [1.0, 0.0]])
    for kind in END_TO_END.values():
        assert torch.allclose(kind(start, 2, settings.rivals)(weights), start.expand(2, -1))


@pytest.mark.parametrize("name", END_TO_END)
def test_a_known_minimum_is_found(name):
    """Where each objective is a squared distance, the best vector is the mixture of their ends."""
    form = AdapterForm(16, 2, 6)
    ends = 0.3 * torch.randn(2, form.size, generator=torch.Generator().manual_seed(1))
    bowl = SimpleNamespace(
        states=torch.zeros(4, 16),
        form=form,
        draw=lambda sampler, rows, negatives, rng: (None, None),
        losses=lambda vectors, *_: (vectors.unsqueeze(-2) - ends).square().sum(-1),
    )
    rivals = {"weights": 32, "rows": 1, "learning_rate": 0.01, "width": 32}
    rival = train_end_to_end(name, bowl, None, small(rivals=rivals, adapters={"steps": 150}), 0)
    weights = torch.tensor([[0.05, 0.95], [0.4, 0.6], [0.9, 0.1]])
    error = (rival.generate(weights) - weights @ ends).norm(dim=1)
    assert error.max() < 0.05 * (ends[0] - ends[1]).norm()


@pytest.mark.parametrize("name", END_TO_END)
def test_it_listens_and_same_inputs_are_the_same_bytes(name, task, seqs, settings, tmp_path):
    parts = name, task, NegativeSampler(seqs), settings, 0, {"backbone": ABOUT["sha256"]}
    for folder in "ab":
        end_to_end.save_end_to_end(rival := train_end_to_end(*parts), tmp_path / folder)
    for ending in (".safetensors", ".json"):
        first, second = (tmp_path / f / f"{name}-seed0{ending}" for f in "ab")
        assert first.read_bytes() == second.read_bytes()
    loaded = end_to_end.load_end_to_end(tmp_path / "a", name, 0, ABOUT)
    found = loaded.generate([[0.3, 0.7], [0.8, 0.2]])
    assert torch.equal(found, rival.generate([[0.3, 0.7], [0.8, 0.2]]))
    assert not torch.allclose(*found, atol=1e-4)
    assert torch.equal(rival.generate([0.0, 1.0]), rival.generate([0.05, 0.95]))  # lifted
    refused("weights", rival.generate, [0.5, 0.6])
    for word, seed, about in (("`backbone` differs", 0, {"sha256": "other"}), ("rivals", 1, ABOUT)):
        refused(word, end_to_end.load_end_to_end, tmp_path / "a", name, seed, about)


def test_category_bias_follows_the_weights_and_is_the_constant_part_of_an_adapter(backbone, seqs):
    few = adapter_settings(steps=60, batch=64, served_rows=32)
    task = frozen_task(backbone, seqs, "train", few)
    bias = end_to_end.tune_category_bias(task, seqs, few, [0, 1])
    assert bias.shape == (2, 5, 6)  # seeds, evaluation weights, categories
    assert not torch.allclose(bias[0, 0], bias[0, -1], atol=0.05)
    vector = torch.cat([torch.zeros(task.form.size - 6), bias[0, 2]])
    plain = backbone.score_catalogue(task.states).numpy()
    scores = end_to_end.biased_scores(plain, seqs.categories, bias[0, 2])
    assert scores.dtype == plain.dtype
    assert np.allclose(task.catalogue_scores(vector).numpy(), scores, atol=1e-5)


def test_category_bias_is_tuned_as_an_adapter_of_which_only_the_bias_changes(task, seqs):
    """Scores, served lists and losses, for two seeds at once, are those of such an adapter."""
    bias = torch.randn(2, 3, 6, generator=torch.Generator().manual_seed(0)).requires_grad_()
    vectors = torch.cat([torch.zeros(2, 3, task.form.size - 6), bias], -1)
    rng = np.random.default_rng(0)
    drawn = [task.draw(NegativeSampler(seqs), 40, 5, rng) for _ in range(2)]
    rows, candidates = (torch.stack(part) for part in zip(*drawn, strict=True))
    lists = rows, candidates, ["accuracy", "diversity"]
    losses = [end_to_end.BiasTask(**vars(task)).losses(bias, *lists), task.losses(vectors, *lists)]
    assert torch.allclose(*losses, atol=1e-5) and losses[0].shape == (2, 3, 2)
    found, expected = (torch.autograd.grad(loss.sum(), bias)[0] for loss in losses)
    assert torch.allclose(found, expected, atol=1e-5)
