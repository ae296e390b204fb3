"""Differentiable losses, one for each objective.

An adapter minimises ``sum_o w_o * loss_o``. Diversity, novelty, recency and calibration judge
served lists: they map scores ``[..., B, C]`` of B lists with C items to ``[...]``, a mean over
lists. Accuracy and fairness judge the scores of the whole catalogue: they map divergences
``[..., B]`` of B events to ``[...]``. M: categories; n: items. What costs most is in
:mod:`paragon.objectives.kernels` once more, with a gradient written by hand.
"""

import math
from typing import NamedTuple

import torch
from torch import Tensor

from paragon.objectives.kernels import ALPHA, LEAST, TEMPERATURE, SoftAlphaDCG, discounts


class Lists(NamedTuple):
    """Features of lists for the objectives."""

    categories: Tensor  # [..., B, C, M], 0 or 1
    popularity: Tensor  # [..., B, C], log-popularity, 0..1
    recency: Tensor  # [..., B, C], 0..1
    history: Tensor  # [..., B, M], shares of the categories in what the user has met
    ideal: float  # alpha-DCG of the best list of the served length, which is less than C in tuning
    end: int | None = None  # served length, if items below could enter; None: all C are served


def divergence(scores: Tensor, p: Tensor) -> Tensor:
    """KL divergence of ``softmax(scores)`` from p over the catalogue, ``[..., n]`` to ``[...]``.

    With q = softmax(s) and p the probabilities of the frozen backbone, or 1 for the item that came
    next (then it is the cross-entropy)::

        sum_i p_i log(p_i / q_i) = sum_i p_i log p_i - sum_i p_i s_i + log sum_i exp(s_i)
    """
    expected = (p * scores).sum(-1)  # [...]
    top = scores.amax(-1, keepdim=True)  # [..., 1]
    log_sum = top.squeeze(-1) + (scores - top).clamp(min=LEAST).exp().sum(-1).log()
    return log_sum - expected - torch.special.entr(p).sum(-1)


def accuracy(divergences: Tensor, groups: Tensor) -> Tensor:
    """Mean divergence ``[..., B]`` from the frozen backbone, 0 at its scores: ``[...]``."""
    return divergences.mean(-1)


def bpr_max(scores: Tensor) -> Tensor:
    """BPR-max without its regulariser (Hidasi & Karatzoglou 2018, eq. 10), in plain torch.

    With t the score of the target and n_j those of the negatives::

        loss = -log sum_j softmax_j(n) * sigmoid(t - n_j)

    The negatives with the highest scores count most. ``scores [..., C]`` to ``[...]``.
    """
    target = scores[..., :1]  # [..., 1]
    negatives = scores[..., 1:]  # [..., C - 1]
    importance = negatives.softmax(-1)  # [..., C - 1]
    beaten = torch.sigmoid(target - negatives)  # [..., C - 1]
    return -(importance * beaten).sum(-1).log()  # [...]


def _soft_ranks(scores: Tensor) -> tuple[Tensor, Tensor]:
    """Return P_ij ``[..., C, C]`` and rank_i ``[..., C]`` of :func:`soft_alpha_dcg`."""
    gaps = scores.unsqueeze(-2) - scores.unsqueeze(-1)  # s_j - s_i [..., C, C]
    above = torch.sigmoid(gaps / TEMPERATURE)  # [..., C, C]
    return above, 0.5 + above.sum(-1)


def soft_alpha_dcg(scores: Tensor, categories: Tensor, end: int | None = None) -> Tensor:
    """Differentiable alpha-DCG (Clarke et al. 2008), in plain torch.

    `diversity` uses ``SoftAlphaDCG``, which gives the same in less time; tests compare the two.

    With s_i the score of candidate i, g_im = 1 if it has category m (else 0) and T the
    temperature::

        P_ij    = sigmoid((s_j - s_i) / T)       probability that j is ranked above i
        rank_i  = 1/2 + sum_j P_ij               at least 1, since P_ii = 1/2
        seen_im = sum_j P_ij g_jm - g_im / 2     items above i with category m
        value   = sum_i sum_m g_im (1 - alpha)^seen_im / log2(1 + rank_i)

    As T goes to 0, the value becomes the exact alpha-DCG of the list sorted by score. If only the
    first ``end`` candidates are served, ranks below count less and less
    (:func:`~paragon.objectives.kernels.discounts`).
    ``scores [..., C]`` and ``categories [..., C, M]`` to ``[...]``.
    """
    above, rank = _soft_ranks(scores)  # [..., C, C], [..., C]
    seen = above @ categories - categories / 2  # [..., C, M]
    gain = (categories * (1 - ALPHA) ** seen).sum(-1)  # [..., C]
    discount, _ = discounts(rank, end)  # [..., C]
    return (gain * discount).sum(-1)  # [...]


def diversity(scores: Tensor, lists: Lists) -> Tensor:
    """1 - soft alpha-DCG / its ideal, ``[...]``: about 0 (best list) to 1 (no categories)."""
    value = SoftAlphaDCG.apply(scores, lists.categories, lists.end)  # [..., B]
    return 1 - value.mean(-1) / lists.ideal  # [...]


def novelty(scores: Tensor, lists: Lists) -> Tensor:
    """Mean log-popularity of the items, weighted by exposure: ``[...]``, 0..1.

    With the soft ranks of :func:`soft_alpha_dcg`::

        exposure_i = discount of rank_i, divided by its sum over the list
        loss       = sum_i exposure_i * popularity_i
    """
    popularity = _exposure(scores, lists.end) * lists.popularity  # [..., B, C]
    return popularity.sum(-1).mean(-1)  # [...]


def recency(scores: Tensor, lists: Lists) -> Tensor:
    """1 - mean recency of the items, weighted by exposure as in :func:`novelty`: ``[...]``."""
    recent = _exposure(scores, lists.end) * lists.recency  # [..., B, C]
    return 1 - recent.sum(-1).mean(-1)  # [...]


def calibration(scores: Tensor, lists: Lists) -> Tensor:
    """Divergence of a list's categories from the history's, ``[...]``: 0 to 1 (Steck 2018).

    With p_m the share of a category in the history, and q_m in the list, weighted by exposure as in
    :func:`novelty` (an item with several categories counts for each in equal parts)::

        loss = sum_m p_m log(p_m / (0.99 q_m + 0.01 p_m)) / log 100
    """
    sizes = lists.categories.sum(-1, keepdim=True).clamp(min=1)  # [..., B, C, 1]
    in_parts = lists.categories / sizes  # [..., B, C, M]
    exposure = _exposure(scores, lists.end).unsqueeze(-2)  # [..., B, 1, C]
    q = (exposure @ in_parts).squeeze(-2)  # [..., B, M]
    q = q / q.sum(-1, keepdim=True).clamp(min=1e-12)  # some items may have no category
    p = lists.history  # [..., B, M]
    near = (0.99 * q + 0.01 * p).clamp(min=1e-12)  # [..., B, M]
    far = (p * (p.clamp(min=1e-12).log() - near.log())).sum(-1)  # [..., B]
    return far.mean(-1) / math.log(100)  # [...]


def _exposure(scores: Tensor, end: int | None) -> Tensor:
    """Return the exposure of each item, with sum 1, ``[..., C]``; see :func:`novelty`."""
    _, rank = _soft_ranks(scores)  # [..., C]
    exposure, _ = discounts(rank, end)  # [..., C]
    return exposure / exposure.sum(-1, keepdim=True)  # [..., C]


def fairness(divergences: Tensor, groups: Tensor) -> Tensor:
    """``0.9 max(L_a, L_b) + 0.1 min(L_a, L_b)`` of two groups' cross-entropies, ``[..., A]``.

    ``divergences [..., A, B]`` from the items that came next; ``groups [..., B]`` of the users, of
    which -1 is in neither. A group without events counts as the other one.
    """
    means = []
    present = []
    for group in (0, 1):
        member = (groups == group).to(divergences.dtype).unsqueeze(-2)  # [..., 1, B]
        count = member.sum(-1)  # [..., 1]
        means.append((divergences * member).sum(-1) / count.clamp(min=1))  # [..., A]
        present.append(count > 0)
    a = torch.where(present[0], means[0], means[1])  # [..., A]
    b = torch.where(present[1], means[1], means[0])  # [..., A]
    return 0.9 * torch.maximum(a, b) + 0.1 * torch.minimum(a, b)  # [..., A]
