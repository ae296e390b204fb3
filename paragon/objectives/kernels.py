"""The losses that cost most, in less time: kernels with gradients written by hand.

:mod:`paragon.objectives.losses` has the same as equations in plain torch. Shapes: B lists of C
items, A adapters, M categories, n items, d numbers of a state.
"""

import math
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

TEMPERATURE = 0.1  # of the soft rank, in units of the score
SOFT_END = 2.0  # how softly a list ends, in ranks
ALPHA = 0.5  # of alpha-DCG: a category of k items above is worth (1 - ALPHA)^k
LEAST = -80.0  # of exponents: below -87, exp gives denormal numbers, a hundred times slower


def matmul(a: Tensor, b: Tensor) -> Tensor:
    """Multiply ``[..., m, k]`` and ``[k, n]``; on a CPU by numpy, unless a gradient is needed.

    Of the kernels that give the same numbers on all processors, numpy's take a third of the time
    of torch's (``paragon_study.pipeline.determinism``).
    """
    needs_grad = torch.is_grad_enabled() and (a.requires_grad or b.requires_grad)
    if a.device.type != "cpu" or needs_grad:
        return a @ b
    product = a.new_empty(*a.shape[:-1], b.shape[1])  # [..., m, n]
    rows = a.detach().reshape(-1, len(b))
    out = product.view(-1, b.shape[1])
    np.matmul(rows.numpy(), b.detach().numpy(), out=out.numpy())
    return product


def best_columns(scores: Tensor, length: int) -> Tensor:
    """Return the columns of the largest ``scores [..., n]``, best first: ``[..., length]``.

    On a CPU, numpy's partition takes a third of the time of torch's ``topk`` for 40 of 1,682.
    """
    if scores.device.type != "cpu":
        return scores.topk(length).indices
    n = scores.shape[-1]
    partitioned = np.argpartition(scores.detach().numpy(), n - length, axis=-1)  # [..., n]
    columns = torch.from_numpy(partitioned[..., n - length :])  # [..., length], in any order
    order = scores.gather(-1, columns).argsort(dim=-1, descending=True, stable=True)
    return columns.gather(-1, order)


def discounts(rank: Tensor, end: int | None) -> tuple[Tensor, Tensor]:
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


class _Kernel(torch.autograd.Function):
    """A function that saves the gradients ``[..., C]`` of its first inputs in ``forward``."""

    @staticmethod
    def backward(ctx: Any, grad: Tensor, *_: Tensor) -> tuple[Tensor | None, ...]:
        """Return the gradients of the inputs, given that of the first result ``[...]``."""
        slopes = (grad.unsqueeze(-1) * slope for slope in ctx.saved_tensors)
        return *slopes, None, None, None  # torch drops what is beyond the inputs


class BprMax(_Kernel):
    """The kernel of :func:`~paragon.objectives.losses.bpr_max`, in log space against overflow.

    With w = softmax(n) and q_j = w_j sigmoid(t - n_j) / sum_k w_k sigmoid(t - n_k)::

        d loss / d n_j = w_j - q_j sigmoid(t - n_j)
        d loss / d t   = sum_j q_j sigmoid(t - n_j) - 1
    """

    @staticmethod
    def forward(ctx: Any, scores: Tensor) -> Tensor:
        """Compute the losses ``[...]`` of scores ``[..., C]``."""
        target = scores[..., :1]  # [..., 1]
        negatives = scores[..., 1:]  # [..., C - 1]
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


class SoftAlphaDCG(_Kernel):
    """The kernel of :func:`~paragon.objectives.losses.soft_alpha_dcg`."""

    BLOCK = 1 << 18  # P_ij computed at a time: they fit into the processor's cache

    @staticmethod
    def forward(ctx: Any, scores: Tensor, categories: Tensor, end: int | None = None) -> Tensor:
        """Compute the soft alpha-DCG of each list, scores ``[..., C]`` to ``[...]``."""
        length, kinds = categories.shape[-2:]
        flat = scores.reshape(-1, length).contiguous()  # [R, C]
        per_list = categories.expand(*scores.shape, kinds).reshape(-1, length, kinds)  # [R, C, M]
        rows = max(1, SoftAlphaDCG.BLOCK // (length * length))
        wanted = ctx.needs_input_grad[0]
        blocks = zip(flat.split(rows), per_list.split(rows), strict=True)  # [r, C], [r, C, M]
        values: list[Tensor] = []  # of [r]
        slopes: list[Tensor] = []  # of [r, C]
        for block, g in blocks:
            value, slope = _value_and_gradient(block, g, end, wanted)
            values.append(value)
            slopes.append(slope)
        if wanted:
            ctx.save_for_backward(torch.cat(slopes).reshape(scores.shape))
        return torch.cat(values).reshape(scores.shape[:-1])


def _value_and_gradient(
    scores: Tensor, categories: Tensor, end: int | None, wanted: bool
) -> tuple[Tensor, Tensor]:
    """Compute value ``[R]`` and gradient ``[R, C]``, the latter empty unless ``wanted``.

    Scores are ``[R, C]``, categories ``[R, C, M]``. With worth_im = g_im (1 - alpha)^seen_im,
    gain_i = sum_m worth_im and discount_i of rank_i (:func:`discounts`), the chain rule gives::

        d value / d P_ij = log(1 - alpha) discount_i sum_m worth_im g_jm
                           + gain_i d discount_i / d rank_i
        d value / d s_k  = sum_i d_ik - sum_j d_kj,    d_ij = (d value / d P_ij) P_ij (1 - P_ij) / T

    Most of the time goes into moving memory, so common factors are applied to the smallest arrays.
    """
    scaled = scores / TEMPERATURE  # [R, C]
    decay = math.log(1 - ALPHA)
    above = (scaled.unsqueeze(-2) - scaled.unsqueeze(-1)).sigmoid_()  # P [R, C, C]
    rank = 0.5 + above.sum(-1)  # [R, C]
    # P_ii is 1/2, so `seen` is too large by g / 2, and `worth` below is too small. Where g is 1,
    # `correction` makes up for it; where g is 0, the worth is 0 as well.
    seen = above @ categories  # [R, C, M]
    worth = seen.mul_(decay).exp_().mul_(categories)  # [R, C, M]
    correction = (1 - ALPHA) ** -0.5
    gain = correction * worth.sum(-1)  # [R, C]
    discount, slope = discounts(rank, end)  # [R, C] each
    value = (gain * discount).sum(-1)  # [R]
    if not wanted:
        return value, value.new_empty(0)

    d_rank = gain * slope  # [R, C]
    d_above = worth @ categories.mT  # [R, C, C]
    d_above = d_above.mul_((correction * decay * discount).unsqueeze(-1)).add_(d_rank.unsqueeze(-1))
    spread = torch.addcmul(above, above, above, value=-1)  # P (1 - P) [R, C, C]
    d_pair = d_above.mul_(spread)
    gradient = (d_pair.sum(-2) - d_pair.sum(-1)) / TEMPERATURE  # [R, C]
    return value, gradient


class CatalogueSoftmax(_Kernel):
    """``cross_entropy(states @ items.T, targets)`` without an array of all N x n scores.

    With ``p = softmax(scores)``: ``d loss / d scores = (p - onehot(target)) / N``.
    """

    BLOCK = 1 << 19  # scores computed at a time: they fit into the processor's cache

    @staticmethod
    def forward(ctx: Any, states: Tensor, items: Tensor, targets: Tensor) -> Tensor:
        """Compute the mean loss ``[]`` of states ``[N, d]``, items ``[n, d]``, targets ``[N]``."""
        d_states = torch.empty_like(states)  # [N, d]
        d_items = torch.zeros_like(items)  # [n, d]
        total = states.new_zeros(())
        rows = max(1, CatalogueSoftmax.BLOCK // len(items))
        blocks = (part.split(rows) for part in (states, targets.unsqueeze(1), d_states))
        for state, target, d_state in zip(*blocks, strict=True):  # [R, d], [R, 1], [R, d]
            gap = matmul(state, items.T)  # [R, n]
            gap -= gap.gather(1, target)  # to the target's score, so log sum exp(gap) is the loss
            top = gap.amax(1, keepdim=True)  # [R, 1]
            p = gap.sub_(top).exp_()  # [R, n], in the same memory
            denominator = p.sum(1, keepdim=True)  # [R, 1]
            total += (top + denominator.log()).sum()
            p = p.div_(denominator)
            d_scores = p.scatter_add_(1, target, -torch.ones_like(top))  # p - onehot
            d_state.copy_(matmul(d_scores, items))
            d_items += matmul(d_scores.T, state)
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
        table = items[1:]  # [n, d]
        penalty = torch.where(met[..., 1:], -torch.inf, 0.0).unsqueeze(-3)  # [..., 1, B, n]
        adapters = max(1, Retrieval.BLOCK // penalty.numel())  # at a time
        wanted = ctx.needs_input_grad[0]
        sums: list[Tensor] = []
        best: list[Tensor] = []
        slopes: list[Tensor] = []
        for part in states.split(adapters, -3):  # [..., a, B, d]
            scores = matmul(part, table.T)  # [..., a, B, n]
            best.append(best_columns(scores + penalty, length) + 1)
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
