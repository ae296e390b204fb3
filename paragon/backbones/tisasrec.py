"""TiSASRec: self-attention that knows the time between events (Li et al., WSDM 2020).

How embeddings of time intervals enter attention without an array for every pair of events.
Shapes: B histories of L events, U users, d numbers of a state (``dim``), H heads, R intervals.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from paragon import params
from paragon.backbones.base import Dropout
from paragon.backbones.sasrec import TransformerBlock
from paragon.backbones.sequential import SequentialBackbone
from paragon.data.sequences import Sequences


class TiSASRec(SequentialBackbone):
    """Causal attention over items, positions and personalised time intervals.

    The interval between two events is their distance in time, in units of the user's smallest
    non-zero interval *in the training part*, and at most ``intervals``.
    """

    name = "tisasrec"
    units: Tensor  # [U + 1]: one per user, the last (index -1) for users training never saw

    def __init__(self, sequences: Sequences, settings: params.BackboneSettings) -> None:
        super().__init__(sequences, settings)
        self.intervals, dim = settings.intervals, self.dim
        self.register_buffer("units", smallest_intervals(sequences))
        sizes = {"position": self.history, "interval": self.intervals + 1}
        self.keys = nn.ParameterDict({k: torch.empty(n, dim) for k, n in sizes.items()})
        self.values = nn.ParameterDict({k: torch.empty(n, dim) for k, n in sizes.items()})
        for table in (*self.keys.values(), *self.values.values()):
            nn.init.normal_(table, std=0.02)
        self.dropout, self.norm = Dropout(settings.dropout), nn.LayerNorm(dim)
        self.blocks = nn.ModuleList(TimeAwareBlock(settings) for _ in range(settings.layers))

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


class TimeAwareBlock(TransformerBlock):
    """A transformer block whose keys and values get embeddings of positions and intervals.

    The interval part of a logit is ``q_i . table[r_ij]``.  The products of q_i with the whole table
    are computed first and then picked by r_ij.  In the same way attention is summed by interval
    before it is multiplied with the values.  So no ``[B, L, L, d]`` array is needed.
    """

    def _split(self, x: Tensor) -> Tensor:
        """``[..., L, dim]`` to ``[..., H, L, dim / H]``."""
        return x.unflatten(-1, (self.heads, -1)).transpose(-2, -3)

    def attend(self, x: Tensor, *context: Any) -> Tensor:
        """``x [B, L, dim]``; intervals ``[B, L, L]``, future mask ``[L, L]``, keys and values."""
        between, later, keys, values = context
        length = x.shape[1]
        q, k, v = (self._split(part) for part in self.project(x).chunk(3, -1))
        k = k + self._split(keys["position"][:length])  # [B, H, L, d / H]
        v = v + self._split(values["position"][:length])  # [B, H, L, d / H]
        pick = between.unsqueeze(1).expand(-1, self.heads, -1, -1)  # [B, H, L, L]
        by_interval = q @ self._split(keys["interval"]).mT  # [B, H, L, R]
        logits = (q @ k.mT + by_interval.gather(-1, pick)) / q.shape[-1] ** 0.5
        attention = padded_softmax(logits.masked_fill(later, -torch.inf))  # [B, H, L, L]
        gathered = torch.zeros_like(by_interval).scatter_add(-1, pick, attention)
        mixed = attention @ v + gathered @ self._split(values["interval"])
        return mixed.transpose(1, 2).flatten(2)  # [B, L, d]


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
    users, positions = sequences.train_events()
    index = sequences.offsets[users] + positions
    gaps = sequences.times[index] - sequences.times[index - 1]
    least = pd.Series(gaps[gaps > 0]).groupby(users[gaps > 0]).min()
    units = least.reindex(range(sequences.n_users), fill_value=1).to_numpy(np.int64)
    return torch.from_numpy(np.append(units, int(least.median()) if len(least) else 1))
