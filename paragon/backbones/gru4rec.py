"""GRU4Rec: a recurrent network over the history (Hidasi & Karatzoglou, CIKM 2018).

Shapes: B histories of L events, d numbers of a state (``dim``).
"""

from __future__ import annotations

from torch import Tensor, nn

from paragon import params
from paragon.backbones.base import Dropout
from paragon.backbones.sequential import SequentialBackbone
from paragon.data.sequences import Sequences


class GRU4Rec(SequentialBackbone):
    """Gated recurrent units whose state at a position predicts the next item."""

    name = "gru4rec"

    def __init__(
        self, n_items: int, *, dim: int, history: int, layers: int, dropout: float
    ) -> None:
        super().__init__(n_items, dim=dim, history=history)
        between = dropout if layers > 1 else 0.0
        self.gru = nn.GRU(dim, dim, layers, batch_first=True, dropout=between)
        self.dropout, self.norm = Dropout(dropout), nn.LayerNorm(dim)

    @classmethod
    def build(cls, sequences: Sequences, settings: params.BackboneSettings) -> GRU4Rec:
        """Sizes from the ``backbone`` section of params.yaml."""
        sizes = {k: getattr(settings, k) for k in ("dim", "history", "layers", "dropout")}
        return cls(sequences.n_items, **sizes)

    def encode(self, items: Tensor, times: Tensor, users: Tensor) -> Tensor:
        """States after every event of ``items [B, L]``: ``[B, L, dim]``."""
        hidden, _ = self.gru(self.dropout(self.item_embedding(items)))  # [B, L, d]
        return self.norm(self.dropout(hidden))
