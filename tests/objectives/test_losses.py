"""The differentiable objectives against exact and independent answers."""

import numpy as np
import pytest
import torch
from scipy.special import rel_entr

from paragon.metrics.ranking import alpha_dcg
from paragon.objectives import kernels, losses
from paragon.objectives.kernels import BprMax, CatalogueSoftmax, Retrieval, SoftAlphaDCG
from paragon.objectives.losses import Lists
from paragon.objectives.table import served

IDEAL = 7.0


def lists_for(rows, length, categories=5):
    rng = np.random.default_rng(0)
    return Lists(
        torch.from_numpy(rng.random((rows, length, categories)) < 0.4).float(),
        *torch.from_numpy(rng.random((2, rows, length))).float(),
        torch.from_numpy(rng.dirichlet(np.ones(categories), rows)).float(),
        ideal=IDEAL,
    )


def scores_for(adapters, rows, length):
    rng = np.random.default_rng(1)
    return torch.from_numpy(rng.standard_normal((adapters, rows, length))).float()


@pytest.mark.parametrize("scale", [1, 1e4])
def test_divergence_is_the_relative_entropy_of_scipy(scale):
    draw = np.random.default_rng(0)
    scores = torch.from_numpy(scale * draw.standard_normal((2, 3, 20))).requires_grad_()
    p = torch.from_numpy(draw.dirichlet(np.ones(20), 3))  # [3, 20], as the frozen backbone's
    p[2] = torch.eye(20)[7]  # one item, as the item that came next
    found, q = losses.divergence(scores, p), scores.detach().softmax(-1)
    if scale == 1:
        expected = rel_entr(p.numpy(), q.numpy()).sum(-1)
        assert np.allclose(found.detach(), expected, rtol=1e-12)
    assert torch.allclose(found[:, 2], -scores.log_softmax(-1)[:, 2, 7], rtol=1e-12)
    (slope,) = torch.autograd.grad(found.sum(), scores)  # finite for large scores, too
    assert torch.allclose(slope, q - p, atol=1e-12)


@pytest.mark.parametrize("block", [1, 500, 1 << 19])
def test_retrieval_is_the_search_in_all_scores(block, monkeypatch):
    """Value, gradient and lists, with ties, met items and a dimension for seeds."""
    monkeypatch.setattr(Retrieval, "BLOCK", block)
    rng = np.random.default_rng(0)
    states = torch.from_numpy(rng.integers(-2, 3, (2, 3, 5, 4)) / 2.0).requires_grad_()
    items = torch.from_numpy(rng.integers(-2, 3, (31, 4)) / 1.0)  # few values: many ties
    items[0] = 100  # padding: neither counted nor served
    met = torch.from_numpy(rng.random((2, 5, 31)) < 0.4)
    met[..., 0] = True
    log_sum, lists = Retrieval.apply(states, items, met, 6)
    scores = states @ items.T  # [2, 3, 5, 31]
    expected = scores[..., 1:].logsumexp(-1)
    assert torch.allclose(log_sum, expected, rtol=1e-12)
    weight = torch.from_numpy(rng.random(expected.shape))
    slopes = [torch.autograd.grad((x * weight).sum(), states)[0] for x in (log_sum, expected)]
    assert torch.allclose(*slopes, atol=1e-12) and not lists.requires_grad
    hidden = met.unsqueeze(1).expand_as(scores)
    assert not hidden.gather(-1, lists).any()
    assert all(len(set(row.tolist())) == 6 for row in lists.flatten(0, -2))
    best = [scores.gather(-1, x) for x in (lists, served(scores, hidden, 6))]
    assert torch.equal(*best)  # of equal scores, either item will do


def test_accuracy_is_the_mean_divergence_and_has_no_use_for_groups():
    divergences = torch.tensor([[1.0, 2, 6], [0, 0, 0]])
    assert losses.accuracy(divergences, torch.zeros(3)).tolist() == pytest.approx([3, 0])


def test_diversity_tends_to_exact_alpha_dcg(monkeypatch):
    for module in (kernels, losses):
        monkeypatch.setattr(module, "TEMPERATURE", 1e-4)
    scores, lists = scores_for(2, 20, 12), lists_for(20, 12)
    found = losses.diversity(scores, lists)
    order = scores.argsort(-1, descending=True).numpy()
    g = lists.categories.numpy() > 0
    for adapter in range(2):
        ranked = np.take_along_axis(g, order[adapter, :, :, None], 1)
        exact = alpha_dcg(ranked, kernels.ALPHA)[:, -1].mean()
        assert IDEAL * (1 - found[adapter].item()) == pytest.approx(exact, rel=1e-5)


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


KERNELS = [
    (losses.bpr_max, BprMax, 1, None),
    (losses.soft_alpha_dcg, SoftAlphaDCG, 2, None),
    (losses.soft_alpha_dcg, SoftAlphaDCG, 3, 4),  # four are served
]


@pytest.mark.parametrize("leading", [(), (2,)])
@pytest.mark.parametrize(("equation", "kernel", "inputs", "end"), KERNELS)
def test_kernels_are_the_plain_equations(equation, kernel, inputs, end, leading):
    """Value and gradient, for any weights of the lists and with a dimension for seeds."""
    rng = np.random.default_rng(4)
    scores = torch.from_numpy(rng.standard_normal((*leading, 6, 10))).requires_grad_(True)
    categories = torch.from_numpy(rng.random((*leading, 6, 10, 5)) < 0.4).double()
    values = [f(*(scores, categories, end)[:inputs]) for f in (equation, kernel.apply)]
    assert values[0].shape == (*leading, 6) and torch.allclose(*values, atol=1e-12)
    weight = torch.from_numpy(rng.random(values[0].shape))
    gradients = [torch.autograd.grad((x * weight).sum(), scores)[0] for x in values]
    assert torch.allclose(*gradients, atol=1e-10)


def test_seeds_the_layout_in_memory_and_the_size_of_blocks_change_nothing(monkeypatch):
    scores, lists = scores_for(3, 6, 10), lists_for(6, 10)
    turned = scores.transpose(0, 1).contiguous().transpose(0, 1)
    assert not turned.is_contiguous()
    two = Lists(*(torch.stack([x, x]).unsqueeze(1) for x in lists[:4]), ideal=IDEAL)
    for objective in (losses.diversity, losses.novelty, losses.recency, losses.calibration):
        alone = objective(scores, lists)
        assert torch.equal(objective(turned, lists), alone), objective
        both = objective(torch.stack([scores, scores]), two)
        assert torch.allclose(both, torch.stack([alone, alone]), atol=1e-6), objective
    whole = losses.diversity(scores, lists)
    monkeypatch.setattr(SoftAlphaDCG, "BLOCK", 1)
    assert torch.allclose(losses.diversity(scores, lists), whole, atol=1e-6)


def test_below_the_end_of_the_list_ranks_count_less_and_less():
    """By hand, at ranks apart: each counts with the probability that it is in the list."""
    rank = torch.arange(1.0, 31)
    found, slope = kernels.discounts(rank.requires_grad_(), 10)
    inside = 1 / (1 + np.exp((np.arange(1, 31) - 10.5) / kernels.SOFT_END))
    assert np.allclose(found.detach(), inside / np.log2(1 + np.arange(1, 31)), rtol=1e-5)
    assert inside[9] > 0.5 > inside[10] and inside[0] > 0.99 and inside[-1] < 1e-4
    assert torch.allclose(torch.autograd.grad(found.sum(), rank)[0], slope, rtol=1e-4)
    whole, slope = kernels.discounts(rank, None)
    assert np.allclose(whole.detach(), 1 / np.log2(1 + np.arange(1, 31)), rtol=1e-5)
    assert torch.allclose(torch.autograd.grad(whole.sum(), rank)[0], slope, rtol=1e-4)


def test_objectives_of_a_longer_search_are_those_of_its_discounts(monkeypatch):
    """With scores far apart, by hand: six of ten items are served."""
    for module in (kernels, losses):
        monkeypatch.setattr(module, "TEMPERATURE", 1e-3)
    scores, lists = scores_for(2, 20, 10), lists_for(20, 10)._replace(end=6)
    discount, _ = kernels.discounts(torch.arange(1.0, 11), 6)
    share = (discount / discount.sum()).numpy()
    order = scores.argsort(-1, descending=True).numpy()
    for adapter in range(2):
        popularity, recency = (
            np.take_along_axis(x.numpy(), order[adapter], 1)
            for x in (lists.popularity, lists.recency)
        )
        found = [judge(scores, lists)[adapter] for judge in (losses.novelty, losses.recency)]
        expected = (popularity @ share).mean(), 1 - (recency @ share).mean()
        assert [x.item() for x in found] == pytest.approx(expected, abs=1e-3)
        ranked = np.take_along_axis(lists.categories.numpy(), order[adapter, :, :, None], 1)
        q = np.einsum("bcm,c->bm", ranked / ranked.sum(2, keepdims=True).clip(1), share)
        p = lists.history.numpy()
        q = q / q.sum(1, keepdims=True)
        far = rel_entr(p, 0.99 * q + 0.01 * p).sum(1).mean() / np.log(100)
        assert losses.calibration(scores, lists)[adapter].item() == pytest.approx(far, abs=1e-3)
        above = np.cumsum(ranked, 1) - ranked
        gain = (ranked * (1 - kernels.ALPHA) ** above).sum(2) @ discount.numpy()
        value = IDEAL * (1 - losses.diversity(scores, lists)[adapter].item())
        assert value == pytest.approx(gain.mean(), rel=1e-3)


EXPOSURE = 1 / np.log2(1 + np.arange(1, 4))
EXPOSURE /= EXPOSURE.sum()
FIRST_IS_BEST, LAST_IS_BEST = torch.tensor([[3.0, 2, 1]]), torch.tensor([[1.0, 2, 3]])


def test_novelty_and_recency_weigh_items_by_exposure():
    values = torch.tensor([[0.0, 0.5, 1.0]])
    lists = Lists(torch.ones(1, 3, 1), values, values, torch.ones(1, 1), 1)
    for scores, sign in ((FIRST_IS_BEST, 1), (LAST_IS_BEST, -1)):
        expected = EXPOSURE[::sign] @ [0, 0.5, 1]
        assert losses.novelty(scores, lists).item() == pytest.approx(expected, abs=1e-4)
        assert losses.recency(scores, lists).item() == pytest.approx(1 - expected, abs=1e-4)


def test_calibration_is_the_divergence_of_the_exposed_categories_from_the_history():
    sets = np.array([[1.0, 0, 0], [1, 1, 0], [0, 0, 0]])  # [C, M]; the last has no category
    for p in ([0.2, 0.3, 0.5], [1, 0, 0], [0, 0, 0]):  # the last user has met nothing
        rows = (torch.tensor(x, dtype=torch.float32) for x in (sets[None], [p]))
        categories, history = rows
        lists = Lists(categories, torch.zeros(1, 3), torch.zeros(1, 3), history, 1)
        for scores, sign in ((FIRST_IS_BEST, 1), (LAST_IS_BEST, -1)):
            q = EXPOSURE[::sign] @ (sets / sets.sum(1, keepdims=True).clip(1))
            expected = rel_entr(p, 0.99 * q / q.sum() + 0.01 * np.array(p)).sum() / np.log(100)
            assert losses.calibration(scores, lists).item() == pytest.approx(expected, abs=1e-3)


def test_fairness_weighs_the_group_served_worse():
    """By hand: means of the two groups, 3 and 1, then 1 and 5; users without a group do not count.

    A batch may lack a group: the other one alone counts.
    """
    divergences = torch.tensor([[2.0, 4, 0, 2, 9], [1, 1, 4, 6, 9]])  # [A, B]
    groups = torch.tensor([[0, 0, 1, 1, -1], [1, 1, 0, 0, -1]])  # of two seeds
    by_hand = torch.tensor([0.9 * 3 + 0.1 * 1, 0.9 * 5 + 0.1 * 1])
    found = losses.fairness(divergences.expand(2, 2, 5), groups)
    assert torch.allclose(found, by_hand.expand(2, 2))
    for rows, group in ((slice(2), 0), (slice(2, 4), 1)):
        alone = losses.fairness(divergences[:, rows], groups[0, rows])
        assert torch.allclose(alone, divergences[:, rows].mean(1)), group
