"""DeepFM: a factorisation machine and a network over the same fields (Guo et al., IJCAI 2017).

Fields: user, user group, history, item, categories. Shapes: B contexts, C candidates, U users,
n items, M categories; e = d / 2 numbers of a field's embedding, where d is ``dim``.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from paragon import params
from paragon.backbones.base import Backbone, Context, Dropout, mean_of_history
from paragon.data.sequences import Sequences
from paragon.errors import ParagonError


class DeepFM(Backbone):
    """``score = first order of the item + sum(bi-interaction) + w . deep``, equations 1 to 4.

    An adapter acts on ``h = [bi-interaction, deep]``, each half of ``dim``: the products of all
    pairs of field embeddings, summed per dimension, and the last hidden layer. The item vector is
    ``[1, w]``. The first order of the user is left out: it does not change the ranking.
    """

    name = "deepfm"
    groups: Tensor  # [U + 1]: 0 for unknown, the last entry for new users
    categories: Tensor  # [n + 1, M]: shares of the item's categories, sum 1

    def __init__(self, sequences: Sequences, settings: params.BackboneSettings) -> None:
        super().__init__(sequences, settings)
        e, rest = divmod(self.dim, 2)
        if rest:
            raise ParagonError(f"params.yaml: backbones.dim: {self.dim} is odd; DeepFM halves it")
        groups = torch.from_numpy(sequences.groups) + 1  # [U], 0 for unknown
        categories = torch.from_numpy(sequences.categories).float()  # [n + 1, M]
        self.register_buffer("groups", F.pad(groups, (0, 1)))
        self.register_buffer("categories", F.normalize(categories, p=1, dim=1))
        rows, width = categories.shape  # n + 1, M
        counts = {
            "user": len(self.groups),
            "group": int(self.groups.max()) + 1,
            "past": rows,
            "item": rows,
            "category": width,
        }
        tables = {field: torch.empty(count, e) for field, count in counts.items()}
        self.fields = nn.ParameterDict(tables)
        for table in self.fields.values():
            nn.init.normal_(table, std=0.05)
        with torch.no_grad():  # an unknown user adds nothing
            self.fields["user"][-1].zero_()
        self.first_order = nn.ParameterDict(
            {"item": torch.zeros(rows, 1), "category": torch.zeros(width, 1)}
        )
        # One layer in two halves, so that each is computed once per user or item.
        self.of_user = nn.Linear(3 * e, 2 * e)
        self.of_item = nn.Linear(2 * e, 2 * e, bias=False)
        dropout = Dropout(settings.dropout)
        self.deep = nn.Sequential(nn.ReLU(), dropout, nn.Linear(2 * e, e), nn.ReLU())
        self.output = nn.Parameter(torch.empty(e).normal_(std=e**-0.5))

    def states(self, context: Context) -> Tensor:
        """Join the fields of the user with :func:`_side`: ``[B, 4 e]``."""
        user = torch.where(context.users < 0, len(self.groups) - 1, context.users)  # [B]
        fields = [
            F.embedding(user, self.fields["user"]),
            F.embedding(self.groups[user], self.fields["group"]),
            mean_of_history(self.fields["past"], context.items),
        ]  # [B, e] each
        return _side(fields, self.of_user)

    def item_vectors(self) -> Tensor:
        """Return ``[1, w]`` for all items, ``[n + 1, d]``."""
        row = torch.cat([torch.ones_like(self.output), self.output])  # [d]
        return row.expand(len(self.categories), -1)

    def expand(self, states: Tensor, candidates: Tensor) -> tuple[Tensor, Tensor]:
        """Compute ``h [..., B, C, d]`` and the first order of the items, ``[..., B, C]``.

        The products of all pairs of fields come from sums and squares (Rendle 2010, lemma 3.1).
        """
        item = self.fields["item"]  # [n + 1, e]
        category = self.categories @ self.fields["category"]  # [n + 1, e]
        first_order = self.first_order["item"] + self.categories @ self.first_order["category"]
        side = _side([item, category], self.of_item)  # [n + 1, 4 e]
        table = torch.cat([side, first_order], -1)  # [n + 1, 4 e + 1]
        items = F.embedding(candidates, table)  # [..., B, C, 4 e + 1]
        e = len(self.output)
        sizes = [e, e, 2 * e]
        item_sum, item_squares, item_half = items[..., :-1].split(sizes, -1)
        user_sum, user_squares, user_half = states.unsqueeze(-2).split(sizes, -1)
        interaction = ((user_sum + item_sum).square() - user_squares - item_squares) / 2
        deep = self.deep(user_half + item_half)  # [..., B, C, e]
        return torch.cat([interaction, deep], -1), items[..., -1]


def _side(fields: list[Tensor], layer: nn.Linear) -> Tensor:
    """Join what the fields of a user, or of an item, add to a score: ``[..., 4 e]``.

    ``fields``: ``[..., e]`` each.  The result holds their sum (e numbers), the sum of their squares
    (e), and their half of the first hidden layer (2 e).
    """
    stacked = torch.stack(fields)  # [fields, ..., e]
    half = layer(torch.cat(fields, -1))  # [..., 2 e]
    return torch.cat([stacked.sum(0), stacked.square().sum(0), half], -1)
