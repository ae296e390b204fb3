"""SASRec: self-attention over the history (Kang & McAuley, ICDM 2018).

In this file: how a small causal transformer turns a history into states.  Shapes: B histories of
L events, d numbers of a state (``dim``).
"""

from __future__ import annotations

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

    def __init__(
        self, n_items: int, *, dim: int, history: int, layers: int, heads: int, dropout: float
    ) -> None:
        super().__init__(n_items, dim=dim, history=history)
        self.position_embedding = nn.Parameter(torch.empty(history, dim))
        self.dropout = Dropout(dropout)
        self.norm = nn.LayerNorm(dim)
        self.blocks = nn.ModuleList(TransformerBlock(dim, heads, dropout) for _ in range(layers))
        nn.init.normal_(self.position_embedding, std=0.02)

    @classmethod
    def build(cls, sequences: Sequences, settings: params.BackboneSettings) -> SASRec:
        """Sizes from the ``backbone`` section of params.yaml."""
        check_heads(settings)
        sizes = {k: getattr(settings, k) for k in ("dim", "history", "layers", "heads", "dropout")}
        return cls(sequences.n_items, **sizes)

    def encode(self, items: Tensor, times: Tensor, users: Tensor) -> Tensor:
        """States after every event of ``items [B, L]``: ``[B, L, dim]``."""
        x = self.item_embedding(items) + self.position_embedding[: items.shape[1]]  # [B, L, d]
        x = self.dropout(self.norm(x))
        for block in self.blocks:
            x = block(x)  # [B, L, d]
        return x


def check_heads(settings: params.BackboneSettings) -> None:
    """Raise ``ParagonError`` unless ``dim`` is a multiple of ``heads``, as attention needs."""
    if settings.dim % settings.heads:
        raise ParagonError(
            f"params.yaml: backbone.heads: {settings.heads} does not divide dim {settings.dim}"
        )


class TransformerBlock(nn.Module):
    """One transformer block with causal attention; norms follow the residual sums."""

    def __init__(self, dim: int, heads: int, dropout: float) -> None:
        super().__init__()
        self.heads, self.rate = heads, dropout
        self.project = nn.Linear(dim, 3 * dim)
        self.merge = nn.Linear(dim, dim)
        self.feed = nn.Sequential(
            nn.Linear(dim, dim), nn.ReLU(), Dropout(dropout), nn.Linear(dim, dim)
        )
        self.norm_attention, self.norm_feed = nn.LayerNorm(dim), nn.LayerNorm(dim)
        self.dropout = Dropout(dropout)

    def forward(self, x: Tensor) -> Tensor:
        """``[B, L, dim]`` to ``[B, L, dim]``; a position sees itself and the ones before it."""
        batch, length, _ = x.shape
        qkv = self.project(x).view(batch, length, 3, self.heads, -1)  # [B, L, 3, heads, d / heads]
        q, k, v = qkv.permute(2, 0, 3, 1, 4)  # [B, heads, L, d / heads] each
        # Histories start at the left, so the causal mask hides the padding as well.
        mixed = F.scaled_dot_product_attention(q, k, v, is_causal=True)
        mixed = mixed.transpose(1, 2).flatten(2)  # [B, L, d]
        x = self.norm_attention(x + self.dropout(self.merge(mixed)))
        return self.norm_feed(x + self.dropout(self.feed(x)))
