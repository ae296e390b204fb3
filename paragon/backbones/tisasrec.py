"""TiSASRec: self-attention that knows the time between events (Li et al., WSDM 2020).

In this file: how embeddings of time intervals enter attention without an array for every pair of
events.  Shapes: B histories of L events, U users, d numbers of a state (``dim``), R intervals.
"""

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

    The interval between two events is their distance in time, in units of the user's smallest
    non-zero interval *in the training part*, and at most ``intervals``.
    """

    name = "tisasrec"
    units: Tensor  # [U + 1]: one per user, the last (index -1) for users training never saw

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
        self.register_buffer("units", units)
        tables = {"position": history, "interval": intervals + 1}
        self.keys = nn.ParameterDict({k: torch.empty(n, dim) for k, n in tables.items()})
        self.values = nn.ParameterDict({k: torch.empty(n, dim) for k, n in tables.items()})
        for table in (*self.keys.values(), *self.values.values()):
            nn.init.normal_(table, std=0.02)
        self.dropout, self.norm = Dropout(dropout), nn.LayerNorm(dim)
        self.blocks = nn.ModuleList(TimeAwareBlock(dim, heads, dropout) for _ in range(layers))

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
        unit = self.units[users].view(-1, 1, 1)  # [B, 1, 1]
        gaps = (times.unsqueeze(2) - times.unsqueeze(1)).abs()  # [B, L, L], in seconds
        between = (gaps // unit).clamp(max=self.intervals)  # [B, L, L], in units
        later = torch.ones(length, length, dtype=torch.bool, device=items.device).triu(1)
        x = self.dropout(self.norm(self.item_embedding(items)))  # [B, L, d]
        for block in self.blocks:
            x = block(x, between, later, self.keys, self.values)
        return x


class TimeAwareBlock(nn.Module):
    """One transformer block; keys and values get embeddings of positions and intervals.

    The interval part of a logit is ``q_i . table[r_ij]``.  The products of q_i
    with the whole table are computed first and then picked by r_ij.  In the same way attention
    is summed by interval before it is multiplied with the values.  So no ``[B, L, L, d]`` array
    is needed.  Norms follow the residual sums.
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
        k = k + self._split(keys["position"][:length])  # [B, heads, L, d / heads]
        v = v + self._split(values["position"][:length])  # [B, heads, L, d / heads]
        pick = between.unsqueeze(1).expand(-1, self.heads, -1, -1)  # [B, heads, L, L]
        by_interval = q @ self._split(keys["interval"]).mT  # [B, heads, L, R]
        logits = (q @ k.mT + by_interval.gather(-1, pick)) / q.shape[-1] ** 0.5
        attention = padded_softmax(logits.masked_fill(later, -torch.inf))  # [B, heads, L, L]
        gathered = torch.zeros_like(by_interval).scatter_add(-1, pick, attention)
        mixed = attention @ v + gathered @ self._split(values["interval"])
        mixed = mixed.transpose(1, 2).flatten(2)  # [B, L, d]
        x = self.norm_attention(x + self.dropout(self.merge(mixed)))
        return self.norm_feed(x + self.dropout(self.feed(x)))


def padded_softmax(logits: Tensor) -> Tensor:
    """Softmax of ``logits [..., L]`` whose gradient has the same bytes on every machine.

    torch handles eight or sixteen numbers at a time.  The rest at the end of a row gets another
    last digit in its gradient on one thread than on several, in some builds of torch and not in
    others.  So rows are padded to a multiple of sixteen.
    """
    length = logits.shape[-1]
    return F.pad(logits, (0, -length % 16), value=-torch.inf).softmax(-1)[..., :length]


def smallest_intervals(sequences: Sequences) -> Tensor:
    """Each user's smallest non-zero interval between neighbouring training events, ``[U + 1]``.

    In seconds; 1 for a user without one.  The last entry, for unknown users, is the median.
    """
    train = sequences.is_train()
    gaps = np.diff(sequences.times)
    users = np.repeat(np.arange(sequences.n_users), sequences.lengths)
    inside = train[1:] & (users[1:] == users[:-1]) & (gaps > 0)
    none_yet = np.iinfo(np.int64).max
    units = np.full(sequences.n_users, none_yet)
    np.minimum.at(units, users[1:][inside], gaps[inside])
    known = units < none_yet
    units[~known] = 1
    median = int(np.median(units[known])) if known.any() else 1
    return torch.from_numpy(np.append(units, median))
