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

import torch
from torch import Tensor

from paragon.objectives.kernels import TEMPERATURE, _BprMax, _SoftAlphaDCG
from paragon.objectives.lists import Lists


def accuracy(scores: Tensor, lists: Lists) -> Tensor:
    """BPR-max without its regulariser (Hidasi & Karatzoglou 2018, eq. 10).

    ``-log sum_j softmax_j(negatives) * sigmoid(target - negative_j)``.
    """
    return _bpr_max(scores).mean(-2)


def _bpr_max(scores: Tensor) -> Tensor:
    """The loss of every list, ``[..., B, A]``, for scores ``[..., B, A, C]``."""
    return _BprMax.apply(scores)


def diversity(scores: Tensor, lists: Lists) -> Tensor:
    """Minus the soft alpha-DCG of the whole list (Clarke et al. 2008, made differentiable).

    Ranks and the categories seen above an item come from pairwise sigmoids of
    temperature ``TEMPERATURE``; as it goes to 0 this equals minus the exact
    alpha-DCG of the list sorted by score (equation and test in the docs of the
    repository).
    """
    return _SoftAlphaDCG.apply(scores, lists.categories).mean(-2).neg()


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
