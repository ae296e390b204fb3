"""A bias per category: what is tuned, and what it does."""

import numpy as np
import torch

from paragon.adapters.frozen import frozen_task
from paragon.data.negatives import NegativeSampler
from paragon.rivals.category_bias import BiasTask, biased_scores, tune_category_bias
from tests.conftest import adapter_settings


def test_it_is_the_constant_part_of_an_adapter_and_follows_the_weights(backbone, seqs):
    few = adapter_settings(steps=60, batch=64, served_rows=32)
    bias = tune_category_bias(frozen_task(backbone, seqs, "train", few), seqs, few, [0, 1])
    assert bias.shape == (2, 5, 6)  # seeds, evaluation weights, categories
    assert not torch.allclose(bias[0, 0], bias[0, -1], atol=0.05)
    task = frozen_task(backbone, seqs, "valid", few)
    vector = torch.zeros(task.form.size)
    vector[-6:] = bias[0, 2]
    plain = backbone.score_catalogue(task.states).numpy()
    scores = biased_scores(plain, seqs.categories, bias[0, 2])
    assert scores.dtype == plain.dtype
    assert np.allclose(task.catalogue_scores(vector).numpy(), scores, atol=1e-5)


def test_it_is_tuned_as_an_adapter_of_which_only_the_bias_changes(backbone, seqs):
    """Scores, served lists and losses, for two seeds at once, are those of such an adapter."""
    train = frozen_task(backbone, seqs, "train", adapter_settings())
    bias = torch.randn(2, 3, 6, generator=torch.Generator().manual_seed(0)).requires_grad_()
    vectors = torch.zeros(2, 3, train.form.size)
    vectors[..., -6:] = bias.detach()
    vectors.requires_grad_()
    rng = np.random.default_rng(0)
    drawn = [train.draw(NegativeSampler(seqs), 40, 5, rng) for _ in range(2)]
    rows, candidates = (torch.stack(part) for part in zip(*drawn, strict=True))
    lists = rows, candidates, ["accuracy", "diversity"]
    losses = [BiasTask(**vars(train)).losses(bias, *lists), train.losses(vectors, *lists)]
    assert torch.allclose(*losses, atol=1e-5) and losses[0].shape == (2, 3, 2)
    found, expected = torch.autograd.grad([loss.sum() for loss in losses], [bias, vectors])
    assert torch.allclose(found, expected[..., -6:], atol=1e-5)
