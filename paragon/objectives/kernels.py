"""The two objectives that tuning spends its time on, with their gradients written out."""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn import functional as F

TEMPERATURE = 0.1  # of the soft rank, in units of the score
ALPHA = 0.5  # of alpha-DCG: a category seen k times before is worth (1 - ALPHA)^k


class _BprMax(torch.autograd.Function):
    """``-log sum_j w_j sigmoid(t - n_j)``, ``w = softmax(n)``, computed with logarithms.

    Nothing overflows for scores that are far apart.  With the shares
    ``q_j = w_j sigmoid(t - n_j) / sum`` the gradient is ``w_j - q_j sigmoid(t - n_j)`` for a
    negative and minus the sum of ``q_j (1 - sigmoid(t - n_j))`` for the target: written out, it
    is found along with the value, in a third of the time that autograd takes over short lists.
    """

    @staticmethod
    def forward(ctx, scores: Tensor) -> Tensor:
        target, negatives = scores[..., :1], scores[..., 1:]
        log_w = negatives - negatives.amax(-1, keepdim=True)
        log_w -= log_w.exp().sum(-1, keepdim=True).log()
        gap = target - negatives
        log_q = F.logsigmoid(gap).add_(log_w)
        top = log_q.amax(-1, keepdim=True)
        q = log_q.sub_(top).exp_()
        total = q.sum(-1, keepdim=True)
        q_sigmoid = q.div_(total).mul_(gap.sigmoid_())
        slope = torch.empty_like(scores)
        slope[..., 1:] = log_w.exp_().sub_(q_sigmoid)
        slope[..., 0] = q_sigmoid.sum(-1) - 1
        ctx.save_for_backward(slope)
        return -(top + total.log()).squeeze(-1)

    @staticmethod
    def backward(ctx, grad: Tensor) -> Tensor:
        (slope,) = ctx.saved_tensors
        return grad.unsqueeze(-1) * slope


class _SoftAlphaDCG(torch.autograd.Function):
    """Soft alpha-DCG ``[..., A]`` of scores ``[..., A, C]`` and categories ``[..., C, M]``.

    With ``P_ij = sigmoid((s_j - s_i) / T)``, the probability that j stands above i:
    ``rank_i = 1/2 + sum_j P_ij`` (1/2 repairs j = i), ``seen_im = sum_j P_ij g_jm - g_im / 2``,
    value = ``sum_i sum_m g_im (1 - ALPHA)^seen_im / log2(1 + rank_i)``.

    The gradient is written out because the C x C intermediates are what joint
    tuning spends its time on: autograd would keep and revisit each of them.
    Here a block of lists is finished, gradient included, while it is in cache.
    """

    BLOCK = 1 << 18  # elements of P handled at a time

    @staticmethod
    def forward(ctx, scores: Tensor, categories: Tensor) -> Tensor:
        tasks, length = scores.shape[-2:]
        flat = scores.reshape(-1, tasks, length).contiguous()
        cats = categories.expand(*scores.shape[:-2], *categories.shape[-2:])
        cats = cats.reshape(-1, length, categories.shape[-1])
        step = max(1, _SoftAlphaDCG.BLOCK // (tasks * length * length))
        parts = [
            _soft_alpha_dcg(s, g) for s, g in zip(flat.split(step), cats.split(step), strict=True)
        ]
        ctx.save_for_backward(torch.cat([p[1] for p in parts]).reshape(scores.shape))
        return torch.cat([p[0] for p in parts]).reshape(scores.shape[:-1])

    @staticmethod
    def backward(ctx, grad: Tensor) -> tuple[Tensor, None]:
        (slope,) = ctx.saved_tensors
        return grad.unsqueeze(-1) * slope, None


def _soft_alpha_dcg(scores: Tensor, categories: Tensor) -> tuple[Tensor, Tensor]:
    """Value ``[R, A]`` and gradient ``[R, A, C]`` for scores ``[R, A, C]``.

    What is the same for all tasks, or for a row of the C x C intermediates, is applied where it
    costs least: memory traffic is what the time goes into.
    """
    rows, tasks, length = scores.shape
    scaled, decay = scores / TEMPERATURE, math.log(1 - ALPHA)
    above = (scaled.unsqueeze(-2) - scaled.unsqueeze(-1)).sigmoid_()
    rank = 0.5 + above.sum(-1)
    # [R, A*C, C] @ [R, C, M]: the tasks share the list's categories.
    seen = above.view(rows, tasks * length, length) @ categories  # and g / 2 too much
    worth = seen.mul_(decay).exp_().view(rows, tasks, length, -1).mul_(categories.unsqueeze(1))
    excess = (1 - ALPHA) ** -0.5  # where g counts it is 1, so that the half is one factor
    gain = excess * worth.sum(-1)
    log_rank = torch.log1p(rank)
    discount = math.log(2) / log_rank
    value = (gain * discount).sum(-1)

    d_rank = -gain * discount / (log_rank * (1 + rank))
    d_above = (worth.view(rows, tasks * length, -1) @ categories.mT).view_as(above)
    d_above = d_above.mul_((excess * decay * discount).unsqueeze(-1)).add_(d_rank.unsqueeze(-1))
    d_pair = d_above.mul_(torch.addcmul(above, above, above, value=-1))  # P (1 - P)
    return value, (d_pair.sum(-2) - d_pair.sum(-1)) / TEMPERATURE
