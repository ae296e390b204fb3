"""TiSASRec: self-attention that knows the time between events (Li et al., WSDM 2020).

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

    Intervals are in units of the user's smallest non-zero interval *in the training part*, and
    at most ``intervals``.
    """

    name = "tisasrec"
    units: Tensor  # [U + 1]: one per user, the last for new users (-1)

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
        """Encode ``items [B, L]``: a state after each event, ``[B, L, dim]``."""
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

    To avoid a ``[B, L, L, d]`` array, q_i is multiplied with the whole interval table before r_ij
    picks a logit, and attention is summed by interval before it is multiplied with the values.
    """

    def _split(self, x: Tensor) -> Tensor:
        """Split ``[..., L, dim]`` into heads ``[..., H, L, dim / H]``."""
        return x.unflatten(-1, (self.heads, -1)).transpose(-2, -3)

    def attend(self, x: Tensor, *context: Any) -> Tensor:
        """Attend over ``x [B, L, dim]`` with intervals ``[B, L, L]`` and future mask ``[L, L]``."""
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
    """Softmax of ``logits [..., L]``, padded so that gradients are bit-identical on all machines.

    In some builds of torch, the gradient at the end of an unpadded row depends on the threads.
    """
    length = logits.shape[-1]
    return F.pad(logits, (0, -length % 16), value=-torch.inf).softmax(-1)[..., :length]


def smallest_intervals(sequences: Sequences) -> Tensor:
    """Return each user's smallest non-zero training interval in seconds, ``[U + 1]``.

    A user without one gets 1. The last entry, for new users, is the median.
    """
    users, positions = sequences.train_events()
    index = sequences.offsets[users] + positions
    gaps = sequences.times[index] - sequences.times[index - 1]
    least = pd.Series(gaps[gaps > 0]).groupby(users[gaps > 0]).min()
    units = least.reindex(range(sequences.n_users), fill_value=1).to_numpy(np.int64)
    return torch.from_numpy(np.append(units, int(least.median()) if len(least) else 1))
