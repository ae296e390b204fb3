"""What the objectives may know about candidate lists, and the catalogue that it comes from.

Shapes: B lists of C candidates, n items, M categories.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from paragon.data.sequences import Sequences


@dataclass(frozen=True)
class Lists:
    """What the objectives may know about candidate lists.

    ``categories [..., B, C, M]``: float, 1 for each category of the candidate, otherwise 0;
    ``popularity [..., B, C]``: log-popularity scaled to 0..1; ``groups [..., B]``: user group
    0 or 1, -1 where it is unknown.
    """

    categories: Tensor
    popularity: Tensor
    groups: Tensor


@dataclass(frozen=True)
class Catalogue:
    """Features of all items: row i belongs to item i, row 0 to padding.

    ``categories [n + 1, M]``: float, 1 for each category of the item, otherwise 0;
    ``popularity [n + 1]``: log(1 + training events), scaled so that the most popular item has 1.
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
