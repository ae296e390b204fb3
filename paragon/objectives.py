"""The differentiable objectives of a recommendation list, all to be minimised.

Every objective maps scores of candidate lists to losses:

    objective(scores, lists) -> losses

``scores [..., B, A, C]``: B lists of C candidates, scored under A tasks at once
(the target is candidate 0); ``lists`` holds what is known about the candidates,
``[..., B, C]``; the result is ``[..., A]``, the mean over the B lists.  Leading
dimensions are free (seeds).  The loss of a task with preference weights ``w`` is
``sum_o w_o * objective_o`` over :func:`objective_losses`.

To add an objective, write such a function and enter it in ``OBJECTIVES``.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from collections.abc import Sequence as Seq
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from paragon.errors import ParagonError
from paragon.sequences import Sequences

TEMPERATURE = 0.1  # of the soft rank, in units of the score
ALPHA = 0.5  # of alpha-DCG: a category seen k times before is worth (1 - ALPHA)^k


@dataclass(frozen=True)
class Lists:
    """What the objectives may know about candidate lists.

    ``categories [..., B, C, M]`` float multi-hot; ``popularity [..., B, C]``
    log-popularity scaled to 0..1; ``groups [..., B]`` user group, -1 unknown.
    """

    categories: Tensor
    popularity: Tensor
    groups: Tensor


@dataclass(frozen=True)
class Catalogue:
    """Item features on which lists are built: row i belongs to item i, row 0 to padding.

    ``categories [n + 1, M]`` float multi-hot, ``popularity [n + 1]`` log(1 + training
    events), scaled so that the most popular item has 1.
    """

    categories: Tensor
    popularity: Tensor

    @classmethod
    def of(cls, sequences: Sequences) -> Catalogue:
        """The catalogue of a prepared dataset."""
        popularity = torch.from_numpy(sequences.popularity()).float().log1p()
        return cls(torch.from_numpy(sequences.categories).float(), popularity / popularity.max())

    def to(self, device: str | torch.device) -> Catalogue:
        """The same features on another device."""
        return Catalogue(self.categories.to(device), self.popularity.to(device))

    def lists(self, candidates: Tensor, groups: Tensor) -> Lists:
        """Features of candidate lists ``[..., B, C]`` shown to users of ``groups [..., B]``."""
        return Lists(self.categories[candidates], self.popularity[candidates], groups)


def accuracy(scores: Tensor, lists: Lists) -> Tensor:
    """BPR-max without its regulariser (Hidasi & Karatzoglou 2018, eq. 10).

    ``-log sum_j softmax_j(negatives) * sigmoid(target - negative_j)``.
    """
    return _bpr_max(scores).mean(-2)


def _bpr_max(scores: Tensor) -> Tensor:
    """The loss of every list, ``[..., B, A]``, for scores ``[..., B, A, C]``."""
    return _BprMax.apply(scores)


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


def diversity(scores: Tensor, lists: Lists) -> Tensor:
    """Minus the soft alpha-DCG of the whole list (Clarke et al. 2008, made differentiable).

    Ranks and the categories seen above an item come from pairwise sigmoids of
    temperature ``TEMPERATURE``; as it goes to 0 this equals minus the exact
    alpha-DCG of the list sorted by score (equation and test in the docs of the
    repository).
    """
    return _SoftAlphaDCG.apply(scores, lists.categories).mean(-2).neg()


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


def novelty(scores: Tensor, lists: Lists) -> Tensor:
    """Expected log-popularity of what is shown, exposure falling with the soft rank.

    Exposure of an item is ``1 / log2(1 + rank)`` normalised over the list; the
    loss is between 0 (only the least popular items are seen) and 1.
    """
    above = torch.sigmoid((scores.unsqueeze(-2) - scores.unsqueeze(-1)) / TEMPERATURE)
    # Not log2, whose last digit is the processor's (paragon/portable.py); the base cancels.
    exposure = 1 / torch.log1p(0.5 + above.sum(-1))
    exposure = exposure / exposure.sum(-1, keepdim=True)
    return (exposure * lists.popularity.unsqueeze(-2)).sum(-1).mean(-2)


def fairness(scores: Tensor, lists: Lists) -> Tensor:
    """The accuracy loss of the group served worse, with a little of the other.

    ``0.9 max(L_a, L_b) + 0.1 min(L_a, L_b)`` over the mean accuracy losses of
    the two user groups; users of unknown group do not count.
    """
    loss = _bpr_max(scores)
    means = []
    for group in (0, 1):
        member = (lists.groups == group).to(loss.dtype).unsqueeze(-1)
        means.append((loss * member).sum(-2) / member.sum(-2).clamp(min=1))
    return 0.9 * torch.maximum(*means) + 0.1 * torch.minimum(*means)


Objective = Callable[[Tensor, Lists], Tensor]
OBJECTIVES: dict[str, Objective] = {
    "accuracy": accuracy,
    "diversity": diversity,
    "novelty": novelty,
    "fairness": fairness,
}


def objective_losses(names: Seq[str], scores: Tensor, lists: Lists) -> Tensor:
    """The loss of every objective, ``[..., A, O]``, for scores ``[..., B, A, C]``.

    A task's loss is their sum weighted with its preference weights.
    """
    return torch.stack([OBJECTIVES[name](scores, lists) for name in names], -1)


def check_names(names: Seq[str]) -> None:
    """Refuse objectives that do not exist."""
    for name in names:
        if name not in OBJECTIVES:
            raise ParagonError(
                f"params.yaml: adapters.objectives: {name!r} is unknown; "
                f"known: {', '.join(OBJECTIVES)}"
            )


def check_objectives(names: Seq[str], sequences: Sequences) -> None:
    """Refuse objectives that do not exist or that the data cannot support, and say why."""
    check_names(names)
    patterns = np.unique(sequences.categories[1:], axis=0)
    if "diversity" in names and len(patterns) < 2:
        raise ParagonError(
            "objective `diversity` is undefined: all items have the same categories "
            f"({', '.join(sequences.category_names) or 'none'}); give items categories or drop it"
        )
    if "fairness" in names and len(np.unique(sequences.groups[sequences.groups >= 0])) != 2:
        raise ParagonError(
            "objective `fairness` needs users of two groups; "
            f"found: {', '.join(sequences.group_names) or 'no groups'}"
        )
