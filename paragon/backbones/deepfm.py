"""DeepFM: a factorisation machine and a network over the same fields (Guo et al., IJCAI 2017).

Its fields are the user, the user's group, the recent past, the item and the
item's categories.  User and item meet before the score, so it has a
representation for every pair and not one state a user.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from paragon import params
from paragon.backbones.base import Backbone, Context, Dropout
from paragon.data.sequences import Sequences
from paragon.errors import ParagonError


class DeepFM(Backbone):
    """``score = first order of the item + sum(bi-interaction) + w . deep``, equations 1 to 4.

    What an adapter acts on is ``h = [bi-interaction, deep]``, half of ``dim``
    each: all pairwise products of field embeddings summed per dimension, and the
    last hidden layer.  Its item vector is ``[1, w]`` for every item.  The first
    order of the user is left out: it is the same for all items.
    """

    name = "deepfm"

    def __init__(
        self, groups: Tensor, categories: Tensor, *, dim: int, history: int, dropout: float
    ) -> None:
        """``groups [U + 1]``: 0 unknown, the last entry for newcomers; ``categories [n + 1, M]``:
        each row the shares of the item's categories."""
        super().__init__()
        if dim % 2:
            raise ParagonError(f"params.yaml: backbone.dim: {dim} is odd; DeepFM halves it")
        self.dim, self.history = dim, history
        size = self.size = dim // 2
        self.register_buffer("groups", groups)
        self.register_buffer("categories", categories)
        counts = {
            "user": len(groups),
            "group": int(groups.max()) + 1,
            "past": len(categories),
            "item": len(categories),
            "category": categories.shape[1],
        }
        self.fields = nn.ParameterDict({f: torch.empty(n, size) for f, n in counts.items()})
        for table in self.fields.values():
            nn.init.normal_(table, std=0.05)
        with torch.no_grad():  # what is not known adds nothing
            self.fields["user"][-1].zero_()
        self.first_order = nn.ParameterDict(
            {f: torch.zeros(counts[f], 1) for f in ("item", "category")}
        )
        # One layer on the concatenated fields, in two halves: each side is done once.
        self.of_user = nn.Linear(3 * size, 2 * size)
        self.of_item = nn.Linear(2 * size, 2 * size, bias=False)
        self.deep = nn.Sequential(nn.ReLU(), Dropout(dropout), nn.Linear(2 * size, size), nn.ReLU())
        self.output = nn.Parameter(torch.empty(size).normal_(std=size**-0.5))

    @classmethod
    def build(cls, sequences: Sequences, settings: params.BackboneSettings) -> DeepFM:
        """Sizes from the ``backbone`` section of params.yaml, fields from the prepared data."""
        groups = torch.zeros(sequences.n_users + 1, dtype=torch.long)
        groups[:-1] = torch.from_numpy(sequences.groups) + 1
        categories = F.normalize(torch.from_numpy(sequences.categories).float(), p=1, dim=1)
        sizes = {"dim": settings.dim, "history": settings.history, "dropout": settings.dropout}
        return cls(groups, categories, **sizes)

    def states(self, context: Context) -> Tensor:
        """The user's side of every sum, ``[B, 4 * size]``: see :func:`_side`."""
        inside = (context.items > 0).unsqueeze(-1)
        past = (F.embedding(context.items, self.fields["past"]) * inside).sum(1)
        newcomer = len(self.groups) - 1
        user = torch.where(context.users < 0, newcomer, context.users)
        parts = [
            F.embedding(user, self.fields["user"]),
            F.embedding(self.groups[user], self.fields["group"]),
            past / inside.sum(1).clamp(min=1),
        ]
        return _side(parts, self.of_user)

    def item_vectors(self) -> Tensor:
        """``[1, w]`` for every item, ``[n_items + 1, dim]``."""
        row = torch.cat([torch.ones_like(self.output), self.output])
        return row.expand(len(self.categories), -1)

    def expand(self, states: Tensor, candidates: Tensor) -> tuple[Tensor, Tensor]:
        """A representation a pair ``[..., B, C, dim]``, first orders ``[..., B, C]``."""
        item, category = self.fields["item"], self.categories @ self.fields["category"]
        linear = self.first_order["item"] + self.categories @ self.first_order["category"]
        table = torch.cat([_side([item, category], self.of_item), linear], -1)
        size = self.size
        split = [size, size, 2 * size]
        theirs = F.embedding(candidates, table)
        total, squares, first = theirs[..., :-1].split(split, -1)
        own_total, own_squares, own_first = (s.unsqueeze(-2) for s in states.split(split, -1))
        interaction = ((own_total + total).square() - own_squares - squares) / 2
        return torch.cat([interaction, self.deep(own_first + first)], -1), theirs[..., -1]


def _side(parts: list[Tensor], layer: nn.Linear) -> Tensor:
    """What one side gives to every pair: sum of its fields, of their squares, its half layer."""
    fields = torch.stack(parts)
    return torch.cat([fields.sum(0), fields.square().sum(0), layer(torch.cat(parts, -1))], -1)
