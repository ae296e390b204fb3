"""Differentiable losses for accuracy, diversity, novelty and fairness of recommendation lists.

Each maps scores ``[..., B, A, C]`` of B lists with C items under A tasks to ``[..., A]``, a mean
over lists. M: categories. Item 0 is the target. A task minimises ``sum_o w_o * loss_o``.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor

from paragon.objectives.kernels import ALPHA, TEMPERATURE, BprMax, SoftAlphaDCG


class Lists(NamedTuple):
    """Features of lists for the objectives."""

    categories: Tensor  # [..., B, C, M], 0 or 1
    popularity: Tensor  # [..., B, C], log-popularity, 0..1
    groups: Tensor  # [..., B], of the users: 0, 1 or -1 (unknown)
    ideal: float  # alpha-DCG of the best list of this length


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


def accuracy(scores: Tensor, lists: Lists) -> Tensor:
    """Mean BPR-max over the lists, ``[..., A]``."""
    return BprMax.apply(scores).mean(-2)  # [..., B, A] -> [..., A]


def _soft_ranks(scores: Tensor) -> tuple[Tensor, Tensor]:
    """Return P_ij ``[..., C, C]`` and rank_i ``[..., C]`` of :func:`soft_alpha_dcg`."""
    above = torch.sigmoid((scores.unsqueeze(-2) - scores.unsqueeze(-1)) / TEMPERATURE)
    return above, 0.5 + above.sum(-1)


def soft_alpha_dcg(scores: Tensor, categories: Tensor) -> Tensor:
    """Differentiable alpha-DCG (Clarke et al. 2008), in plain torch.

    With s_i the score of candidate i, g_im = 1 if it has category m (else 0) and T the
    temperature::

        P_ij    = sigmoid((s_j - s_i) / T)       probability that j is ranked above i
        rank_i  = 1/2 + sum_j P_ij               at least 1, since P_ii = 1/2
        seen_im = sum_j P_ij g_jm - g_im / 2     items above i with category m
        value   = sum_i sum_m g_im (1 - alpha)^seen_im / log2(1 + rank_i)

    As T goes to 0, the value becomes the exact alpha-DCG of the list sorted by score.
    ``scores [..., B, A, C]`` and ``categories [..., B, C, M]`` to ``[..., B, A]``.
    """
    g = categories.unsqueeze(-3)  # [..., B, 1, C, M]
    above, rank = _soft_ranks(scores)  # [..., B, A, C, C], [..., B, A, C]
    seen = above @ g - g / 2  # [..., B, A, C, M]
    gain = (g * (1 - ALPHA) ** seen).sum(-1)  # [..., B, A, C]
    return (gain * math.log(2) / torch.log1p(rank)).sum(-1)  # [..., B, A]


def diversity(scores: Tensor, lists: Lists) -> Tensor:
    """1 - soft alpha-DCG / its ideal, ``[..., A]``: about 0 (best list) to 1 (no categories)."""
    value = SoftAlphaDCG.apply(scores, lists.categories)  # [..., B, A]
    return 1 - value.mean(-2) / lists.ideal  # [..., A]


def novelty(scores: Tensor, lists: Lists) -> Tensor:
    """Mean log-popularity of the items, weighted by exposure: ``[..., A]``, 0..1.

    With the soft ranks of :func:`soft_alpha_dcg`::

        exposure_i = 1 / log2(1 + rank_i), divided by its sum over the list
        loss       = sum_i exposure_i * popularity_i
    """
    # Not log2: its last digit depends on the processor (pipeline/determinism.py).
    exposure = 1 / torch.log1p(_soft_ranks(scores)[1])  # [..., B, A, C]
    exposure = exposure / exposure.sum(-1, keepdim=True)  # [..., B, A, C]
    return (exposure * lists.popularity.unsqueeze(-2)).sum(-1).mean(-2)  # [..., A]


def fairness(scores: Tensor, lists: Lists) -> Tensor:
    """``0.9 max(L_a, L_b) + 0.1 min(L_a, L_b)``, ``[..., A]``.

    L_a and L_b are the mean accuracy losses of the two user groups; unknown groups do not count.
    """
    loss = BprMax.apply(scores)  # [..., B, A]
    means = []
    for group in (0, 1):
        member = (lists.groups == group).to(loss.dtype).unsqueeze(-1)  # [..., B, 1]
        means.append((loss * member).sum(-2) / member.sum(-2).clamp(min=1))  # [..., A]
    return 0.9 * torch.maximum(*means) + 0.1 * torch.minimum(*means)  # [..., A]
