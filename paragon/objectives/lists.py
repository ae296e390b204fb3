"""Build the lists that the objectives judge, and the features of their items.

Shapes: B lists of C candidates, n items, M categories.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from paragon.data.sequences import Met, Sequences
from paragon.errors import ParagonError
from paragon.metrics.diversity import ideal_alpha_dcg


@dataclass(frozen=True)
class Lists:
    """Features of lists for the objectives.

    ``categories [..., B, C, M]``: 0 or 1; ``popularity [..., B, C]``: log-popularity, 0..1;
    ``groups [..., B]``: 0, 1 or -1 (unknown); ``ideal``: alpha-DCG of the best list this long.
    """

    categories: Tensor
    popularity: Tensor
    groups: Tensor
    ideal: float


@dataclass(frozen=True)
class Catalogue:
    """Features of all items; row 0 is padding.

    ``categories [n + 1, M]``: 0 or 1; ``popularity [n + 1]``: log(1 + training events) over its
    maximum; ``ideal``: by length, the alpha-DCG of the greedily best list of the catalogue.
    """

    categories: Tensor
    popularity: Tensor
    ideal: list[float]

    @classmethod
    def of(cls, sequences: Sequences, longest: int) -> Catalogue:
        """Build the catalogue of a prepared dataset, for lists of up to ``longest`` items."""
        popularity = torch.from_numpy(sequences.popularity()).float().log1p()
        ideal = ideal_alpha_dcg(sequences.categories[1:], longest)[0]  # [longest]
        categories = torch.from_numpy(sequences.categories).float()
        return cls(categories, popularity / popularity.max(), ideal.tolist())

    def to(self, device: str | torch.device) -> Catalogue:
        """Copy the features to another device."""
        return Catalogue(self.categories.to(device), self.popularity.to(device), self.ideal)

    def lists(self, items: Tensor, groups: Tensor) -> Lists:
        """Return the features of lists ``[..., B, C]`` for users of ``groups [..., B]``."""
        ideal = self.ideal[min(items.shape[-1], len(self.ideal)) - 1]
        return Lists(self.categories[items], self.popularity[items], groups, ideal)


@torch.no_grad()
def served(scores: Tensor, met: Tensor, length: int) -> Tensor:
    """Pick the ``length`` best items that a user has not met: ``[..., length]``, no gradient.

    ``scores``, ``met [..., n + 1]``: scores of the catalogue, and True for items to leave out.
    """
    # Adding takes a third of the time of `masked_fill`.
    return (scores + torch.where(met, -torch.inf, 0.0)).topk(length).indices


def check_served(met: Met, length: int) -> None:
    """Raise ``ParagonError`` if some user has fewer than ``length`` items left to recommend."""
    # `count` includes repeats, so only users with a high count need an exact check.
    doubtful = torch.nonzero(met.n_items - met.count < length).squeeze(1)
    left = (~met[doubtful].mask()).sum(1)
    short = int((left < length).sum())
    if short:
        raise ParagonError(
            f"adapters.served: lists of {length} items are to be served, but {short} of "
            f"{len(met)} users have met so many of the {met.n_items} items that fewer are "
            f"left (the least: {int(left.min())}); lower adapters.served in params.yaml"
        )
