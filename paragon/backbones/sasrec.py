"""SASRec: self-attention over the history (Kang & McAuley, ICDM 2018).

Shapes: B histories of L events, d numbers of a state (``dim``), H heads.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from paragon import params
from paragon.backbones.base import Dropout
from paragon.backbones.sequential import SequentialBackbone
from paragon.data.sequences import Sequences
from paragon.errors import ParagonError


class SASRec(SequentialBackbone):
    """Causal transformer whose state at a position predicts the next item."""

    name = "sasrec"

    def __init__(self, sequences: Sequences, settings: params.BackboneSettings) -> None:
        super().__init__(sequences, settings)
        self.position_embedding = nn.Parameter(torch.empty(self.history, self.dim))
        self.dropout, self.norm = Dropout(settings.dropout), nn.LayerNorm(self.dim)
        self.blocks = nn.ModuleList(TransformerBlock(settings) for _ in range(settings.layers))
        nn.init.normal_(self.position_embedding, std=0.02)

    def encode(self, items: Tensor, times: Tensor, users: Tensor) -> Tensor:
        """Encode ``items [B, L]``: a state after each event, ``[B, L, dim]``."""
        x = self.item_embedding(items) + self.position_embedding[: items.shape[1]]  # [B, L, d]
        x = self.dropout(self.norm(x))
        for block in self.blocks:
            x = block(x)  # [B, L, d]
        return x


class TransformerBlock(nn.Module):
    """Transformer block with causal attention and layer norms after the residual sums."""

    def __init__(self, settings: params.BackboneSettings) -> None:
        super().__init__()
        dim, self.heads, dropout = settings.dim, settings.heads, settings.dropout
        if dim % self.heads:
            raise ParagonError(
                f"params.yaml: backbones.heads: {self.heads} does not divide dim {dim}"
            )
        self.project, self.merge = nn.Linear(dim, 3 * dim), nn.Linear(dim, dim)
        self.feed = nn.Sequential(
            nn.Linear(dim, dim), nn.ReLU(), Dropout(dropout), nn.Linear(dim, dim)
        )
        self.norm_attention, self.norm_feed = nn.LayerNorm(dim), nn.LayerNorm(dim)
        self.dropout = Dropout(dropout)

    def attend(self, x: Tensor, *context: Any) -> Tensor:
        """Attend from each position to itself and those before it, ``[B, L, dim]``."""
        q, k, v = self.project(x).unflatten(-1, (3, self.heads, -1)).permute(2, 0, 3, 1, 4)
        # [B, H, L, d / H] each. Padding is at the end, so the causal mask hides it too.
        mixed = F.scaled_dot_product_attention(q, k, v, is_causal=True)
        return mixed.transpose(1, 2).flatten(2)

    def forward(self, x: Tensor, *context: Any) -> Tensor:
        """Map ``[B, L, dim]`` to ``[B, L, dim]``; ``context`` goes to :meth:`attend`."""
        x = self.norm_attention(x + self.dropout(self.merge(self.attend(x, *context))))
        return self.norm_feed(x + self.dropout(self.feed(x)))
