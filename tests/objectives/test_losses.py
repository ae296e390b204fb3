"""The differentiable objectives against exact and independent answers."""

import numpy as np
import pytest
import torch

from paragon.metrics.ranking import alpha_dcg
from paragon.objectives import losses
from paragon.objectives.losses import BprMax, CatalogueSoftmax, Lists, SoftAlphaDCG
from paragon.objectives.table import OBJECTIVES

IDEAL = 7.0


def lists_for(rows, length, categories=5, seed=0, groups=None):
    rng = np.random.default_rng(seed)
    return Lists(
        torch.from_numpy(rng.random((rows, length, categories)) < 0.4).float(),
        torch.from_numpy(rng.random((rows, length))).float(),
        torch.zeros(rows, dtype=torch.long) if groups is None else groups,
        ideal=IDEAL,
    )


def scores_for(rows, tasks, length, seed=1, scale=1.0):
    rng = np.random.default_rng(seed)
    return torch.from_numpy(scale * rng.standard_normal((rows, tasks, length))).float()


def test_accuracy_survives_large_scores():
    scores = scores_for(4, 2, 10, scale=1e4).requires_grad_(True)
    loss = losses.accuracy(scores, lists_for(4, 10)).sum()
    loss.backward()
    assert torch.isfinite(loss) and torch.isfinite(scores.grad).all()


def test_diversity_tends_to_exact_alpha_dcg(monkeypatch):
    monkeypatch.setattr(losses, "TEMPERATURE", 1e-4)
    scores, lists = scores_for(20, 2, 12), lists_for(20, 12)
    found = losses.diversity(scores, lists)
    order = scores.argsort(-1, descending=True).numpy()
    g = lists.categories.numpy() > 0
    for task in range(2):
        ranked = np.take_along_axis(g, order[:, task, :, None], 1)
        exact = alpha_dcg(ranked, losses.ALPHA)[:, -1].mean()
        assert IDEAL * (1 - found[task].item()) == pytest.approx(exact, rel=1e-5)


@pytest.mark.parametrize("rows", [1, 3, 50])
def test_the_softmax_over_the_catalogue_in_blocks_is_cross_entropy(rows, monkeypatch):
    monkeypatch.setattr(CatalogueSoftmax, "BLOCK", rows * 30)
    rng = np.random.default_rng(0)
    states, items = (
        torch.from_numpy(5 * rng.standard_normal((n, 4))).requires_grad_() for n in (20, 30)
    )
    targets = torch.from_numpy(rng.integers(30, size=20))
    expected = torch.nn.functional.cross_entropy(states @ items.T, targets)
    found = CatalogueSoftmax.apply(states, items, targets)
    assert found.item() == pytest.approx(expected.item(), rel=1e-12)
    slopes = (torch.autograd.grad(3 * loss, (states, items)) for loss in (found, expected))
    for a, b in zip(*slopes, strict=True):
        assert torch.allclose(a, b, atol=1e-12)


KERNELS = [(losses.bpr_max, BprMax, 1), (losses.soft_alpha_dcg, SoftAlphaDCG, 2)]


@pytest.mark.parametrize("leading", [(), (2,)])
@pytest.mark.parametrize(("equation", "kernel", "inputs"), KERNELS)
def test_kernels_are_the_plain_equations(equation, kernel, inputs, leading):
    """Value and gradient, for any weights of the lists and with a dimension for seeds."""
    rng = np.random.default_rng(4)
    scores = torch.from_numpy(rng.standard_normal((*leading, 6, 3, 10))).requires_grad_(True)
    categories = torch.from_numpy(rng.random((*leading, 6, 10, 5)) < 0.4).double()
    values = [f(*(scores, categories)[:inputs]) for f in (equation, kernel.apply)]
    assert values[0].shape == (*leading, 6, 3) and torch.allclose(*values, atol=1e-12)
    weight = torch.from_numpy(rng.random(values[0].shape))
    gradients = [torch.autograd.grad((x * weight).sum(), scores)[0] for x in values]
    assert torch.allclose(*gradients, atol=1e-10)


def test_seeds_the_layout_in_memory_and_the_size_of_blocks_change_nothing(monkeypatch):
    scores, lists = scores_for(6, 3, 10), lists_for(6, 10)
    turned = scores.transpose(0, 1).contiguous().transpose(0, 1)
    assert not turned.is_contiguous()
    two = Lists(*(torch.stack([x, x]) for x in lists[:3]), ideal=IDEAL)
    for name, (objective, *_) in OBJECTIVES.items():
        alone = objective(scores, lists)
        assert torch.equal(objective(turned, lists), alone), name
        both = objective(torch.stack([scores, scores]), two)
        assert torch.allclose(both, torch.stack([alone, alone]), atol=1e-6), name
    whole = losses.diversity(scores, lists)
    monkeypatch.setattr(SoftAlphaDCG, "BLOCK", 1)
    assert torch.allclose(losses.diversity(scores, lists), whole, atol=1e-6)


def test_novelty_prefers_the_unpopular_first():
    lists = Lists(torch.ones(1, 3, 1), torch.tensor([[0.0, 0.5, 1.0]]), torch.zeros(1), 1)
    good, bad = torch.tensor([[[3.0, 2, 1]]]), torch.tensor([[[1.0, 2, 3]]])
    exposure = 1 / np.log2(1 + np.arange(1, 4))
    exposure /= exposure.sum()
    assert losses.novelty(good, lists).item() == pytest.approx(exposure @ [0, 0.5, 1], abs=1e-4)
    assert losses.novelty(bad, lists).item() == pytest.approx(exposure @ [1, 0.5, 0], abs=1e-4)


@pytest.mark.parametrize("groups", [[0, 0, 1, 1, 1, -1], [0, 1, 1, 1, 1, -1]])
def test_fairness_weighs_the_group_served_worse(groups):
    groups, scores = torch.tensor(groups), scores_for(6, 2, 10)
    lists = lists_for(6, 10, groups=groups)
    a, b = (losses.accuracy(scores[groups == group], lists) for group in (0, 1))
    expected = 0.9 * torch.maximum(a, b) + 0.1 * torch.minimum(a, b)
    assert torch.allclose(losses.fairness(scores, lists), expected, atol=1e-6)
