"""Differentiable losses, one for each objective.

A task minimises ``sum_o w_o * loss_o``. Diversity, novelty, recency and calibration judge served
lists: they map scores ``[..., B, A, C]`` of B lists with C items under A tasks to ``[..., A]``, a
mean over lists. Accuracy and fairness judge the scores of the whole catalogue: they map divergences
``[..., A, B]`` of B events to ``[..., A]``. M: categories; n: items. What costs most is there
twice: as an equation in plain torch, and as a kernel with a hand-written gradient.
"""

import math
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

TEMPERATURE = 0.1  # of the soft rank, in units of the score
SOFT_END = 2.0  # how softly a list ends, in ranks
ALPHA = 0.5  # of alpha-DCG: a category of k items above is worth (1 - ALPHA)^k
LEAST = -80.0  # exponents below give numbers close to 0, a hundred times more slowly


def matmul(a: Tensor, b: Tensor) -> Tensor:
    """Multiply ``[..., m, k]`` and ``[k, n]``; on a CPU by numpy, unless a gradient is needed.

    Of the kernels that give the same numbers on all processors, numpy's take a third of the time
    of torch's (``paragon_study.pipeline.determinism``).
    """
    needs_grad = torch.is_grad_enabled() and (a.requires_grad or b.requires_grad)
    if a.device.type != "cpu" or needs_grad:
        return a @ b
    product = a.new_empty(*a.shape[:-1], b.shape[1])
    rows, out = a.detach().reshape(-1, len(b)), product.view(-1, b.shape[1])
    np.matmul(rows.numpy(), b.detach().numpy(), out=out.numpy())
    return product


class Lists(NamedTuple):
    """Features of lists for the objectives."""

    categories: Tensor  # [..., B, C, M], 0 or 1
    popularity: Tensor  # [..., B, C], log-popularity, 0..1
    recency: Tensor  # [..., B, C], 0..1
    history: Tensor  # [..., B, M], shares of the categories in what the user has met
    ideal: float  # alpha-DCG of the best list of this length
    end: int | None = None  # the served list ends here; the items below could enter it


def divergence(scores: Tensor, p: Tensor) -> Tensor:
    """KL divergence of ``softmax(scores)`` from p over the catalogue, ``[..., n]`` to ``[...]``.

    With q = softmax(s) and p the probabilities of the frozen backbone, or 1 for the item that came
    next (then it is the cross-entropy)::

        sum_i p_i log(p_i / q_i) = sum_i p_i log p_i - sum_i p_i s_i + log sum_i exp(s_i)
    """
    expected, top = (p * scores).sum(-1), scores.amax(-1, keepdim=True)
    log_sum = top.squeeze(-1) + (scores - top).clamp(min=LEAST).exp().sum(-1).log()
    return log_sum - expected - torch.special.entr(p).sum(-1)


def accuracy(divergences: Tensor, groups: Tensor) -> Tensor:
    """Mean divergence ``[..., A, B]`` from the frozen backbone, 0 at its scores: ``[..., A]``."""
    return divergences.mean(-1)


def bpr_max(scores: Tensor) -> Tensor:
    """BPR-max without its regulariser (Hidasi & Karatzoglou 2018, eq. 10), in plain torch.

    With t the score of the target and n_j those of the negatives::

        loss = -log sum_j softmax_j(n) * sigmoid(t - n_j)

    The negatives with the highest scores count most. ``scores [..., B, A, C]`` to ``[..., B, A]``.
    """
    target, negatives = scores[..., :1], scores[..., 1:]  # [..., B, A, 1], [..., B, A, C - 1]
    importance = negatives.softmax(-1)  # [..., B, A, C - 1]
    beaten = torch.sigmoid(target - negatives)  # [..., B, A, C - 1]
    return -(importance * beaten).sum(-1).log()  # [..., B, A]


class _Kernel(torch.autograd.Function):
    """A function that saves the gradients ``[..., C]`` of its first inputs in ``forward``."""

    @staticmethod
    def backward(ctx: Any, grad: Tensor, *_: Tensor) -> tuple[Tensor | None, ...]:
        """Return the gradients of the inputs, given that of the first result ``[...]``."""
        slopes = (grad.unsqueeze(-1) * slope for slope in ctx.saved_tensors)
        return *slopes, None, None, None  # torch drops what is beyond the inputs


class BprMax(_Kernel):
    """The kernel of :func:`bpr_max` in log space, so that no score overflows.

    With w = softmax(n) and q_j = w_j sigmoid(t - n_j) / sum_k w_k sigmoid(t - n_k)::

        d loss / d n_j = w_j - q_j sigmoid(t - n_j)
        d loss / d t   = sum_j q_j sigmoid(t - n_j) - 1
    """

    @staticmethod
    def forward(ctx: Any, scores: Tensor) -> Tensor:
        """Compute the losses ``[...]`` of scores ``[..., C]``."""
        target, negatives = scores[..., :1], scores[..., 1:]  # [..., 1], [..., C - 1]
        log_w = negatives - negatives.amax(-1, keepdim=True)  # [..., C - 1]
        log_w -= log_w.exp().sum(-1, keepdim=True).log()
        gap = target - negatives  # [..., C - 1]
        log_q = F.logsigmoid(gap).add_(log_w)  # [..., C - 1], not yet divided by the sum
        top = log_q.amax(-1, keepdim=True)  # [..., 1]
        q = log_q.sub_(top).exp_()  # [..., C - 1]
        total = q.sum(-1, keepdim=True)  # [..., 1]
        q_sigmoid = q.div_(total).mul_(gap.sigmoid_())  # [..., C - 1]
        slope = torch.empty_like(scores)  # [..., C]
        slope[..., 1:] = log_w.exp_().sub_(q_sigmoid)
        slope[..., 0] = q_sigmoid.sum(-1) - 1
        ctx.save_for_backward(slope)
        return -(top + total.log()).squeeze(-1)  # [...]


def _soft_ranks(scores: Tensor) -> tuple[Tensor, Tensor]:
    """Return P_ij ``[..., C, C]`` and rank_i ``[..., C]`` of :func:`soft_alpha_dcg`."""
    above = torch.sigmoid((scores.unsqueeze(-2) - scores.unsqueeze(-1)) / TEMPERATURE)
    return above, 0.5 + above.sum(-1)


def _discounts(rank: Tensor, end: int | None) -> tuple[Tensor, Tensor]:
    """Return the discount of each ``rank [..., C]`` and its derivative, ``[..., C]`` each.

    The discount is ``1 / log2(1 + rank)``. With ``end``, it is multiplied by the probability that
    the rank is in the served list, so that the gradient also sees the items just below::

        sigmoid((end + 1/2 - rank) / SOFT_END)
    """
    # Not log2: its last digit depends on the processor (pipeline/determinism.py).
    log_rank = torch.log1p(rank)
    discount = math.log(2) / log_rank
    slope = -discount / (log_rank * (1 + rank))
    if end is None:
        return discount, slope
    inside = torch.sigmoid((end + 0.5 - rank) / SOFT_END)
    falls = -inside * (1 - inside) / SOFT_END
    return discount * inside, slope * inside + discount * falls


def soft_alpha_dcg(scores: Tensor, categories: Tensor, end: int | None = None) -> Tensor:
    """Differentiable alpha-DCG (Clarke et al. 2008), in plain torch.

    With s_i the score of candidate i, g_im = 1 if it has category m (else 0) and T the
    temperature::

        P_ij    = sigmoid((s_j - s_i) / T)       probability that j is ranked above i
        rank_i  = 1/2 + sum_j P_ij               at least 1, since P_ii = 1/2
        seen_im = sum_j P_ij g_jm - g_im / 2     items above i with category m
        value   = sum_i sum_m g_im (1 - alpha)^seen_im / log2(1 + rank_i)

    As T goes to 0, the value becomes the exact alpha-DCG of the list sorted by score. If only the
    first ``end`` candidates are served, ranks below count less and less (:func:`_discounts`).
    ``scores [..., B, A, C]`` and ``categories [..., B, C, M]`` to ``[..., B, A]``.
    """
    g = categories.unsqueeze(-3)  # [..., B, 1, C, M]
    above, rank = _soft_ranks(scores)  # [..., B, A, C, C], [..., B, A, C]
    seen = above @ g - g / 2  # [..., B, A, C, M]
    gain = (g * (1 - ALPHA) ** seen).sum(-1)  # [..., B, A, C]
    discount, _ = _discounts(rank, end)  # [..., B, A, C]
    return (gain * discount).sum(-1)  # [..., B, A]


class SoftAlphaDCG(_Kernel):
    """The kernel of :func:`soft_alpha_dcg`, for scores ``[..., A, C]``."""

    BLOCK = 1 << 18  # P_ij computed at a time: they fit into the processor's cache

    @staticmethod
    def forward(ctx: Any, scores: Tensor, categories: Tensor, end: int | None = None) -> Tensor:
        """Compute the soft alpha-DCG of each list under each task, ``[..., A]``."""
        (tasks, length), kinds = scores.shape[-2:], categories.shape[-1]
        flat = scores.reshape(-1, tasks, length).contiguous()  # [R, A, C]
        per_list = categories.expand(*scores.shape[:-2], length, kinds).reshape(-1, length, kinds)
        rows = max(1, SoftAlphaDCG.BLOCK // (tasks * length * length))
        wanted = ctx.needs_input_grad[0]
        blocks = zip(flat.split(rows), per_list.split(rows), strict=True)  # [r, A, C], [r, C, M]
        parts = [_value_and_gradient(s, g, end, wanted) for s, g in blocks]
        values, slopes = zip(*parts, strict=True)  # of [r, A], of [r, A, C]
        if wanted:
            ctx.save_for_backward(torch.cat(slopes).reshape(scores.shape))
        return torch.cat(values).reshape(scores.shape[:-1])


def _value_and_gradient(
    scores: Tensor, categories: Tensor, end: int | None, wanted: bool
) -> tuple[Tensor, Tensor]:
    """Compute value ``[R, A]`` and gradient ``[R, A, C]``, the latter empty unless ``wanted``.

    Scores are ``[R, A, C]``, categories ``[R, C, M]``. With worth_im = g_im (1 - alpha)^seen_im,
    gain_i = sum_m worth_im and discount_i of rank_i (:func:`_discounts`), the chain rule gives::

        d value / d P_ij = log(1 - alpha) discount_i sum_m worth_im g_jm
                           + gain_i d discount_i / d rank_i
        d value / d s_k  = sum_i d_ik - sum_j d_kj,    d_ij = (d value / d P_ij) P_ij (1 - P_ij) / T

    Most of the time goes into moving memory, so common factors are applied to the smallest arrays.
    """
    rows, tasks, length = scores.shape
    scaled, decay = scores / TEMPERATURE, math.log(1 - ALPHA)
    above = (scaled.unsqueeze(-2) - scaled.unsqueeze(-1)).sigmoid_()  # P [R, A, C, C]
    rank = 0.5 + above.sum(-1)  # [R, A, C]
    # `seen` is too large by g / 2, see `excess`.
    seen = above.view(rows, tasks * length, length) @ categories  # [R, A * C, M]
    worth = seen.mul_(decay).exp_().view(rows, tasks, length, -1)  # [R, A, C, M]
    worth = worth.mul_(categories.unsqueeze(1))
    excess = (1 - ALPHA) ** -0.5  # corrects g / 2: where g is 0, worth is 0 as well
    gain = excess * worth.sum(-1)  # [R, A, C]
    discount, slope = _discounts(rank, end)  # [R, A, C] each
    value = (gain * discount).sum(-1)  # [R, A]
    if not wanted:
        return value, value.new_empty(0)

    d_rank = gain * slope  # [R, A, C]
    d_above = (worth.view(rows, tasks * length, -1) @ categories.mT).view_as(above)  # [R, A, C, C]
    d_above = d_above.mul_((excess * decay * discount).unsqueeze(-1)).add_(d_rank.unsqueeze(-1))
    d_pair = d_above.mul_(torch.addcmul(above, above, above, value=-1))  # times P (1 - P)
    return value, (d_pair.sum(-2) - d_pair.sum(-1)) / TEMPERATURE  # [R, A], [R, A, C]


def diversity(scores: Tensor, lists: Lists) -> Tensor:
    """1 - soft alpha-DCG / its ideal, ``[..., A]``: about 0 (best list) to 1 (no categories)."""
    value = SoftAlphaDCG.apply(scores, lists.categories, lists.end)  # [..., B, A]
    return 1 - value.mean(-2) / lists.ideal  # [..., A]


def novelty(scores: Tensor, lists: Lists) -> Tensor:
    """Mean log-popularity of the items, weighted by exposure: ``[..., A]``, 0..1.

    With the soft ranks of :func:`soft_alpha_dcg`::

        exposure_i = discount of rank_i (:func:`_discounts`), divided by its sum over the list
        loss       = sum_i exposure_i * popularity_i
    """
    popularity = _exposure(scores, lists.end) * lists.popularity.unsqueeze(-2)  # [..., B, A, C]
    return popularity.sum(-1).mean(-2)  # [..., A]


def recency(scores: Tensor, lists: Lists) -> Tensor:
    """1 - mean recency of the items, weighted by exposure as in :func:`novelty`: ``[..., A]``."""
    recent = _exposure(scores, lists.end) * lists.recency.unsqueeze(-2)  # [..., B, A, C]
    return 1 - recent.sum(-1).mean(-2)  # [..., A]


def calibration(scores: Tensor, lists: Lists) -> Tensor:
    """Divergence of a list's categories from the history's, ``[..., A]``: 0 to 1 (Steck 2018).

    With p_m the share of a category in the history, and q_m in the list, weighted by exposure as in
    :func:`novelty` (an item with several categories counts for each in equal parts)::

        loss = sum_m p_m log(p_m / (0.99 q_m + 0.01 p_m)) / log 100
    """
    sizes = lists.categories.sum(-1, keepdim=True).clamp(min=1)  # [..., B, C, 1]
    q = _exposure(scores, lists.end) @ (lists.categories / sizes)  # [..., B, A, M]
    q = q / q.sum(-1, keepdim=True).clamp(min=1e-12)  # some items may have no category
    p = lists.history.unsqueeze(-2)  # [..., B, 1, M]
    near = (0.99 * q + 0.01 * p).clamp(min=1e-12)  # [..., B, A, M]
    far = (p * (p.clamp(min=1e-12).log() - near.log())).sum(-1)  # [..., B, A]
    return far.mean(-2) / math.log(100)  # [..., A]


def _exposure(scores: Tensor, end: int | None) -> Tensor:
    """Return the exposure of each item, with sum 1, ``[..., B, A, C]``; see :func:`novelty`."""
    exposure, _ = _discounts(_soft_ranks(scores)[1], end)  # [..., B, A, C]
    return exposure / exposure.sum(-1, keepdim=True)  # [..., B, A, C]


def fairness(divergences: Tensor, groups: Tensor) -> Tensor:
    """``0.9 max(L_a, L_b) + 0.1 min(L_a, L_b)`` of two groups' cross-entropies, ``[..., A]``.

    ``divergences [..., A, B]`` from the items that came next; ``groups [..., B]`` of the users.
    """
    means = []
    for group in (0, 1):
        member = (groups == group).to(divergences.dtype).unsqueeze(-2)  # [..., 1, B]
        means.append((divergences * member).sum(-1) / member.sum(-1).clamp(min=1))  # [..., A]
    return 0.9 * torch.maximum(*means) + 0.1 * torch.minimum(*means)  # [..., A]


class CatalogueSoftmax(_Kernel):
    """``cross_entropy(states @ items.T, targets)`` without an array of all N x n scores.

    With ``p = softmax(scores)``: ``d loss / d scores = (p - onehot(target)) / N``.
    """

    BLOCK = 1 << 19  # scores computed at a time: they fit into the processor's cache

    @staticmethod
    def forward(ctx: Any, states: Tensor, items: Tensor, targets: Tensor) -> Tensor:
        """Compute the mean loss ``[]`` of states ``[N, d]``, items ``[n, d]``, targets ``[N]``."""
        d_states, d_items = torch.empty_like(states), torch.zeros_like(items)
        total = states.new_zeros(())
        rows = max(1, CatalogueSoftmax.BLOCK // len(items))
        blocks = (part.split(rows) for part in (states, targets.unsqueeze(1), d_states))
        for state, target, d_state in zip(*blocks, strict=True):  # [R, d], [R, 1], [R, d]
            p = matmul(state, items.T)  # [R, n], scores first
            p -= p.gather(1, target)
            top = p.amax(1, keepdim=True)  # [R, 1]
            p = p.sub_(top).exp_()
            each = p.sum(1, keepdim=True)  # [R, 1]
            total += (top + each.log()).sum()
            p = p.div_(each).scatter_add_(1, target, -torch.ones_like(each))  # p - onehot
            d_state.copy_(matmul(p, items))
            d_items += matmul(p.T, state)
        ctx.save_for_backward(d_states.div_(len(states)), d_items.div_(len(states)))
        return total / len(states)


class Retrieval(_Kernel):
    """Search the catalogue without an array of all scores: best items and ``log sum exp(scores)``.

    With ``q = softmax(scores)``: ``d log_sum / d state = sum_i q_i e_i``.
    """

    BLOCK = 1 << 19  # scores computed at a time: they fit into the processor's cache

    @staticmethod
    def forward(
        ctx: Any, states: Tensor, items: Tensor, met: Tensor, length: int
    ) -> tuple[Tensor, Tensor]:
        """Return ``log_sum [..., A, B]`` and the best items not met, ``[..., A, B, length]``.

        ``states [..., A, B, d]``; ``items [n + 1, d]``, row 0 is padding; ``met [..., B, n + 1]``.
        """
        table, hidden = items[1:], torch.where(met[..., 1:], -torch.inf, 0.0).unsqueeze(-3)
        tasks = max(1, Retrieval.BLOCK // hidden.numel())  # at a time
        sums, best, slopes, wanted = [], [], [], ctx.needs_input_grad[0]
        for part in states.split(tasks, -3):  # [..., a, B, d]
            scores = matmul(part, table.T)  # [..., a, B, n]
            best.append((scores + hidden).topk(length).indices + 1)
            top = scores.amax(-1, keepdim=True)  # [..., a, B, 1]
            q = scores.sub_(top).clamp_(min=LEAST).exp_()
            total = q.sum(-1, keepdim=True)  # [..., a, B, 1]
            sums.append((top + total.log()).squeeze(-1))
            if wanted:
                slopes.append(matmul(q, table).div_(total))  # [..., a, B, d]
        if wanted:
            ctx.save_for_backward(torch.cat(slopes, -3))
        lists = torch.cat(best, -3)
        ctx.mark_non_differentiable(lists)
        return torch.cat(sums, -2), lists
