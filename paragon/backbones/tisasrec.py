"""TiSASRec: self-attention that knows the time between events (Li et al., WSDM 2020)."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from paragon import params
from paragon.backbones.base import Dropout
from paragon.backbones.sasrec import check_heads
from paragon.backbones.sequential import SequentialBackbone
from paragon.data.sequences import Sequences


class TiSASRec(SequentialBackbone):
    """Causal attention over items, positions and personalised time intervals.

    The interval between two events is their distance in units of the user's
    smallest non-zero interval *in the training part*, cut at ``intervals``.
    """

    name = "tisasrec"

    def __init__(
        self,
        n_items: int,
        units: Tensor,
        *,
        dim: int,
        history: int,
        layers: int,
        heads: int,
        dropout: float,
        intervals: int,
    ) -> None:
        super().__init__(n_items, dim=dim, history=history)
        self.intervals = intervals
        # One unit a user, the last one (index -1) for users that training never saw.
        self.register_buffer("units", units)
        tables = {"position": history, "interval": intervals + 1}
        self.keys = nn.ParameterDict({n: torch.empty(s, dim) for n, s in tables.items()})
        self.values = nn.ParameterDict({n: torch.empty(s, dim) for n, s in tables.items()})
        for table in (*self.keys.values(), *self.values.values()):
            nn.init.normal_(table, std=0.02)
        self.dropout, self.norm = Dropout(dropout), nn.LayerNorm(dim)
        self.blocks = nn.ModuleList(TimeBlock(dim, heads, dropout) for _ in range(layers))

    @classmethod
    def build(cls, sequences: Sequences, settings: params.BackboneSettings) -> TiSASRec:
        """Sizes from the ``backbone`` section of params.yaml, units from the training events."""
        check_heads(settings)
        names = ("dim", "history", "layers", "heads", "dropout", "intervals")
        sizes = {k: getattr(settings, k) for k in names}
        return cls(sequences.n_items, smallest_intervals(sequences), **sizes)

    def encode(self, items: Tensor, times: Tensor, users: Tensor) -> Tensor:
        """States after every event of ``items [B, L]``: ``[B, L, dim]``."""
        length = items.shape[1]
        unit = self.units[users].view(-1, 1, 1)
        gaps = (times.unsqueeze(2) - times.unsqueeze(1)).abs()
        between = (gaps // unit).clamp(max=self.intervals)
        later = torch.ones(length, length, dtype=torch.bool, device=items.device).triu(1)
        x = self.dropout(self.norm(self.item_embedding(items)))
        for block in self.blocks:
            x = block(x, between, later, self.keys, self.values)
        return x


class TimeBlock(nn.Module):
    """One post-norm block; keys and values get embeddings of positions and intervals.

    The interval part of a logit is ``q_i . R[r_ij]``: all products with the table R
    are taken first and then picked by r_ij, and the attention is gathered by
    interval before it meets the values.  No ``[B, L, L, dim]`` array arises.
    """

    def __init__(self, dim: int, heads: int, dropout: float) -> None:
        super().__init__()
        self.heads = heads
        self.project, self.merge = nn.Linear(dim, 3 * dim), nn.Linear(dim, dim)
        self.feed = nn.Sequential(
            nn.Linear(dim, dim), nn.ReLU(), Dropout(dropout), nn.Linear(dim, dim)
        )
        self.norm_attention, self.norm_feed = nn.LayerNorm(dim), nn.LayerNorm(dim)
        self.dropout = Dropout(dropout)

    def _split(self, x: Tensor) -> Tensor:
        """``[..., L, dim]`` to ``[..., heads, L, dim / heads]``."""
        return x.unflatten(-1, (self.heads, -1)).transpose(-2, -3)

    def forward(
        self,
        x: Tensor,
        between: Tensor,
        later: Tensor,
        keys: nn.ParameterDict,
        values: nn.ParameterDict,
    ) -> Tensor:
        """``x [B, L, dim]``, intervals ``between [B, L, L]``, future mask ``later [L, L]``."""
        length = x.shape[1]
        q, k, v = (self._split(part) for part in self.project(x).chunk(3, -1))
        k = k + self._split(keys["position"][:length])
        v = v + self._split(values["position"][:length])
        pick = between.unsqueeze(1).expand(-1, self.heads, -1, -1)
        by_interval = q @ self._split(keys["interval"]).mT
        logits = (q @ k.mT + by_interval.gather(-1, pick)) / q.shape[-1] ** 0.5
        attention = padded_softmax(logits.masked_fill(later, -torch.inf))
        gathered = torch.zeros_like(by_interval).scatter_add(-1, pick, attention)
        mixed = attention @ v + gathered @ self._split(values["interval"])
        mixed = mixed.transpose(1, 2).flatten(2)
        x = self.norm_attention(x + self.dropout(self.merge(mixed)))
        return self.norm_feed(x + self.dropout(self.feed(x)))


def padded_softmax(logits: Tensor) -> Tensor:
    """Softmax of ``logits [..., L]`` whose gradient has the same bytes whatever runs it.

    torch takes eight numbers at a time.  What is left at the end of a row enters its gradient
    with another last digit on one thread than on several, in some builds of torch and not in
    others; so rows are made a multiple of eight long.
    """
    length = logits.shape[-1]
    return F.pad(logits, (0, -length % 8), value=-torch.inf).softmax(-1)[..., :length]


def smallest_intervals(sequences: Sequences) -> Tensor:
    """Smallest non-zero interval between neighbouring training events, in seconds, ``[U + 1]``.

    1 where a user has none; the last entry, for unknown users, is the median.
    """
    train = sequences.is_train()
    gaps = np.diff(sequences.times)
    users = np.repeat(np.arange(sequences.n_users), sequences.lengths)
    inside = train[1:] & (users[1:] == users[:-1]) & (gaps > 0)
    units = np.full(sequences.n_users, np.iinfo(np.int64).max)
    np.minimum.at(units, users[1:][inside], gaps[inside])
    found = units < np.iinfo(np.int64).max
    units[~found] = 1
    median = int(np.median(units[found])) if found.any() else 1
    return torch.from_numpy(np.append(units, median))
