"""The differentiable objectives of a recommendation list, all to be minimised.

In this file: how accuracy, diversity, novelty and fairness become losses.  Each is a function::

    objective(scores [..., B, A, C], lists) -> losses [..., A]

Shapes: B lists of C items, scored by A adapters (tasks) at once; M categories; leading dimensions
are free (seeds).  ``lists`` holds what is known about the items.  The result is the mean over the B
lists.  The loss of a task with preference weights ``w`` is ``sum_o w_o * objective_o``.

Accuracy and fairness judge lists of the target (item 0) and negatives that were drawn.  Diversity
and novelty judge the list that would be served; what is served differs from task to task, so
there every task has lists of its own.

The losses of accuracy and diversity are here twice: as plain equations to be read
(:func:`bpr_max`, :func:`soft_alpha_dcg`) and as the kernels that training uses
(``kernels.py``), which compute the same value and gradient in less time.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from paragon.objectives.kernels import ALPHA, TEMPERATURE, BprMax, SoftAlphaDCG
from paragon.objectives.lists import Lists


def bpr_max(scores: Tensor) -> Tensor:
    """BPR-max without its regulariser, plainly (Hidasi & Karatzoglou 2018, eq. 10).

    With t the score of the target and n_j those of the negatives::

        loss = -log sum_j softmax_j(n) * sigmoid(t - n_j)

    The negatives with the highest scores count most.  ``scores [..., B, A, C]`` to ``[..., B, A]``.
    """
    target, negatives = scores[..., :1], scores[..., 1:]  # [..., B, A, 1], [..., B, A, C - 1]
    importance = negatives.softmax(-1)  # [..., B, A, C - 1]
    beaten = torch.sigmoid(target - negatives)  # [..., B, A, C - 1]
    return -(importance * beaten).sum(-1).log()  # [..., B, A]


def accuracy(scores: Tensor, lists: Lists) -> Tensor:
    """BPR-max (:func:`bpr_max`), the mean over the lists: ``[..., A]``."""
    return BprMax.apply(scores).mean(-2)  # [..., B, A] -> [..., A]


def soft_alpha_dcg(scores: Tensor, categories: Tensor) -> Tensor:
    """Alpha-DCG (Clarke et al. 2008) made differentiable, plainly.

    With s_i the score of candidate i, g_im = 1 if it has category m (otherwise 0) and T the
    temperature::

        P_ij    = sigmoid((s_j - s_i) / T)       how surely j is ranked above i
        rank_i  = 1/2 + sum_j P_ij               from 1 on, since P_ii = 1/2
        seen_im = sum_j P_ij g_jm - g_im / 2     items above i with category m
        value   = sum_i sum_m g_im (1 - alpha)^seen_im / log2(1 + rank_i)

    As T goes to 0, the value becomes the exact alpha-DCG of the list sorted by score.
    ``scores [..., B, A, C]`` and ``categories [..., B, C, M]`` to ``[..., B, A]``.
    """
    g = categories.unsqueeze(-3)  # [..., B, 1, C, M]
    above = torch.sigmoid((scores.unsqueeze(-2) - scores.unsqueeze(-1)) / TEMPERATURE)
    rank = 0.5 + above.sum(-1)  # above is [..., B, A, C, C], rank [..., B, A, C]
    seen = above @ g - g / 2  # [..., B, A, C, M]
    gain = (g * (1 - ALPHA) ** seen).sum(-1)  # [..., B, A, C]
    return (gain * math.log(2) / torch.log1p(rank)).sum(-1)  # [..., B, A]


def diversity(scores: Tensor, lists: Lists) -> Tensor:
    """The share of the best alpha-DCG that the list lacks (:func:`soft_alpha_dcg`): ``[..., A]``.

    From about 0 (the best list of the catalogue) to 1 (no item has a category).  On this scale a
    weight means the same whatever the number of categories.
    """
    value = SoftAlphaDCG.apply(scores, lists.categories)  # [..., B, A]
    return 1 - value.mean(-2) / lists.ideal  # [..., A]


def novelty(scores: Tensor, lists: Lists) -> Tensor:
    """Expected log-popularity of the items that a user sees: ``[..., A]``.

    With the soft ranks of :func:`soft_alpha_dcg`::

        exposure_i = 1 / log2(1 + rank_i), divided by its sum over the list
        loss       = sum_i exposure_i * popularity_i

    The loss is between 0 (only the least popular items are seen) and 1.
    """
    above = torch.sigmoid((scores.unsqueeze(-2) - scores.unsqueeze(-1)) / TEMPERATURE)
    # The last digit of log2 depends on the processor (study/determinism.py); the base cancels out.
    exposure = 1 / torch.log1p(0.5 + above.sum(-1))  # [..., B, A, C]
    exposure = exposure / exposure.sum(-1, keepdim=True)  # [..., B, A, C]
    return (exposure * lists.popularity.unsqueeze(-2)).sum(-1).mean(-2)  # [..., A]


def fairness(scores: Tensor, lists: Lists) -> Tensor:
    """The accuracy loss of the group that is served worse, and a little of the other: ``[..., A]``.

    With L_a and L_b the mean accuracy losses of the two user groups::

        loss = 0.9 max(L_a, L_b) + 0.1 min(L_a, L_b)

    Users whose group is unknown do not count.
    """
    loss = BprMax.apply(scores)  # [..., B, A]
    means = []
    for group in (0, 1):
        member = (lists.groups == group).to(loss.dtype).unsqueeze(-1)  # [..., B, 1]
        means.append((loss * member).sum(-2) / member.sum(-2).clamp(min=1))  # [..., A]
    return 0.9 * torch.maximum(*means) + 0.1 * torch.minimum(*means)  # [..., A]
