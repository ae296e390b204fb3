"""GRU4Rec: a recurrent network over the history (Hidasi & Karatzoglou, CIKM 2018)."""

from __future__ import annotations

from torch import Tensor, nn

from paragon import params
from paragon.backbones.base import Dropout
from paragon.backbones.sequential import SequentialBackbone
from paragon.data.sequences import Sequences


class GRU4Rec(SequentialBackbone):
    """Gated recurrent units whose state at a position predicts the next item."""

    name = "gru4rec"

    def __init__(self, sequences: Sequences, settings: params.BackboneSettings) -> None:
        super().__init__(sequences, settings)
        dim, layers, dropout = self.dim, settings.layers, settings.dropout
        between = dropout if layers > 1 else 0.0
        self.gru = nn.GRU(dim, dim, layers, batch_first=True, dropout=between)
        self.dropout, self.norm = Dropout(dropout), nn.LayerNorm(dim)

    def encode(self, items: Tensor, times: Tensor, users: Tensor) -> Tensor:
        """Encode ``items [B, L]``: a state after each event, ``[B, L, dim]``."""
        hidden, _ = self.gru(self.dropout(self.item_embedding(items)))  # [B, L, d]
        return self.norm(self.dropout(hidden))
