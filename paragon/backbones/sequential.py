"""Sequence models: GRU4Rec, SASRec and TiSASRec, trained on windows of histories.

One pass of a causal model over a window of L events trains all its positions. This is about 15
times cheaper than one history per event. Shapes: B histories or W windows of L events, U users, n
items, d numbers of a state (``dim``), H heads, R intervals.
"""

from collections.abc import Callable, Iterator
from typing import Any, cast

import numpy as np
import pandas as pd
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from paragon import params
from paragon.backbones.base import Backbone, Batch, Context, Dropout, Rng
from paragon.data.sequences import Sequences
from paragon.errors import ParagonError


class SequentialBackbone(Backbone):
    """A causal encoder of histories.

    The item embedding is both the input and the item vectors of the scores.
    """

    encode: Callable[[Tensor, Tensor, Tensor], Tensor]  # of items, times and users: [B, L, d]

    def __init__(self, sequences: Sequences, settings: params.BackboneSettings) -> None:
        super().__init__(sequences, settings)
        self.item_embedding = nn.Embedding(sequences.n_items + 1, self.dim, padding_idx=0)
        nn.init.normal_(self.item_embedding.weight, std=0.02)
        with torch.no_grad():
            self.item_embedding.weight[0].zero_()

    def states(self, context: Context) -> Tensor:
        """Return the state after the last event of each history, ``[B, d]``."""
        last = (context.items > 0).sum(1) - 1  # [B]
        encoded = self.encode(context.items, context.times, context.users)  # [B, L, d]
        rows = torch.arange(len(last), device=last.device)
        return encoded[rows, last.clamp(min=0)]

    def item_vectors(self) -> Tensor:
        """Return the item embedding, ``[n + 1, d]``."""
        return self.item_embedding.weight

    def training_states(self, sequences: Sequences, batch: int, rng: Rng) -> Iterator[Batch]:
        """Yield one epoch in batches of ``batch`` windows: states, users and next items."""
        all_users, all_items, all_times, all_targets = windows(sequences, self.history, rng)
        for rows in self.random_batches(len(all_users), batch, rng):
            users = all_users[rows]
            targets = all_targets[rows]
            encoded = self.encode(
                torch.from_numpy(all_items[rows]).to(self.device),
                torch.from_numpy(all_times[rows]).to(self.device),
                torch.from_numpy(users).to(self.device),
            )  # [rows, L, d]
            inside = targets > 0  # [rows, L]
            states = encoded[torch.from_numpy(inside).to(self.device)]  # [N, d]
            yield states, np.repeat(users, inside.sum(1)), targets[inside]


def windows(
    sequences: Sequences, length: int, rng: Rng
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Cut the training sequences into disjoint windows of ``length`` events.

    Returns users ``[W]``, and items, times and next items ``[W, length]``, which are 0 after the
    end of a window. The first window of a user ends at random, so that an event is seen with
    histories of different lengths.
    """
    inputs = np.maximum(sequences.n_train - 1, 0)  # [U]; the last training event is only a target
    # Windows of a user end at `first`, `first` + length, ... until the inputs are used up.
    first = rng.integers(1, length + 1, size=sequences.n_users)  # [U]
    after_first = -(-(inputs - first).clip(0) // length)  # [U], more windows: rounded up
    counts = np.where(inputs > 0, 1 + after_first, 0)  # [U]
    users = np.repeat(np.arange(sequences.n_users), counts)  # [W]
    before = np.repeat(np.cumsum(counts) - counts, counts)  # [W], windows of earlier users
    number = np.arange(counts.sum()) - before  # [W], of the window among those of its user
    stop = first[users] + number * length  # [W]
    start = np.maximum(stop - length, 0)  # [W]
    steps = start[:, None] + np.arange(length)  # [W, L], positions in the sequence
    inside = steps < np.minimum(stop, inputs[users])[:, None]  # [W, L]
    index = np.where(inside, sequences.offsets[users][:, None] + steps, 0)  # [W, L]
    items = np.where(inside, sequences.items[index], 0)
    times = np.where(inside, sequences.times[index], 0)
    targets = np.where(inside, sequences.items[index + 1], 0)
    return users, items, times, targets


class GRU4Rec(SequentialBackbone):
    """Gated recurrent units over the history (Hidasi & Karatzoglou, CIKM 2018)."""

    name = "gru4rec"

    def __init__(self, sequences: Sequences, settings: params.BackboneSettings) -> None:
        super().__init__(sequences, settings)
        self.gru = nn.GRU(
            self.dim,
            self.dim,
            settings.layers,
            batch_first=True,
            dropout=settings.dropout if settings.layers > 1 else 0.0,  # between layers
        )
        self.dropout = Dropout(settings.dropout)
        self.norm = nn.LayerNorm(self.dim)

    def encode(self, items: Tensor, times: Tensor, users: Tensor) -> Tensor:
        """Encode ``items [B, L]``: a state after each event, ``[B, L, d]``."""
        hidden, _ = self.gru(self.dropout(self.item_embedding(items)))  # [B, L, d]
        return self.norm(self.dropout(hidden))


class SASRec(SequentialBackbone):
    """Causal self-attention over the history (Kang & McAuley, ICDM 2018)."""

    name = "sasrec"

    def __init__(self, sequences: Sequences, settings: params.BackboneSettings) -> None:
        super().__init__(sequences, settings)
        self.position_embedding = nn.Parameter(torch.empty(self.history, self.dim))
        self.dropout = Dropout(settings.dropout)
        self.norm = nn.LayerNorm(self.dim)
        self.blocks = nn.ModuleList(TransformerBlock(settings) for _ in range(settings.layers))
        nn.init.normal_(self.position_embedding, std=0.02)

    def encode(self, items: Tensor, times: Tensor, users: Tensor) -> Tensor:
        """Encode ``items [B, L]``: a state after each event, ``[B, L, d]``."""
        x = self.item_embedding(items) + self.position_embedding[: items.shape[1]]  # [B, L, d]
        x = self.dropout(self.norm(x))
        for block in self.blocks:
            x = block(x)  # [B, L, d]
        return x

    def last_states(self, context: Context) -> Tensor:
        """Compute :meth:`states` ten times faster.

        Only the last event is a query in the last block. So the key and value matrices, W_k and
        W_v, are applied once to the query and once to the mean, not to every event x: q . (W_k x) =
        (W_k^T q) . x, and the weighted mean of W_v x is W_v times the weighted mean of x.
        """
        items = context.items
        count = (items > 0).sum(1)  # [B]
        length = items.shape[1]  # L
        x = self.norm(self.item_embedding(items) + self.position_embedding[:length])  # [B, L, d]
        for earlier in self.blocks[:-1]:
            x = earlier(x)  # [B, L, d]

        block = cast(TransformerBlock, self.blocks[-1])
        rows = torch.arange(len(x), device=x.device)
        last = x[rows, (count - 1).clamp(min=0)]  # [B, d]
        w_q, w_k, w_v = block.project.weight.chunk(3)  # [d, d] each
        b_q, _, b_v = block.project.bias.chunk(3)  # [d]; b_k adds a constant to all logits
        w_k = w_k.unflatten(0, (block.heads, -1))  # [H, d / H, d]
        w_v = w_v.unflatten(0, (block.heads, -1))  # [H, d / H, d]

        q = F.linear(last, w_q, b_q).unflatten(1, (block.heads, -1))  # [B, H, d / H]
        turned = torch.einsum("bhe,hed->bhd", q, w_k)  # [B, H, d]
        logits = turned @ x.mT / q.shape[-1] ** 0.5  # [B, H, L]
        padding = torch.arange(length, device=x.device) >= count.unsqueeze(1)  # [B, L]
        attention = logits.masked_fill(padding.unsqueeze(1), -torch.inf).softmax(-1)  # [B, H, L]
        mean = attention @ x  # [B, H, d]
        mixed = torch.einsum("bhd,hed->bhe", mean, w_v).flatten(1) + b_v  # [B, d]
        y = block.norm_attention(last + block.merge(mixed))  # [B, d]
        return block.norm_feed(y + block.feed(y))  # [B, d]


class TransformerBlock(nn.Module):
    """Transformer block with causal attention and layer norms after the residual sums."""

    def __init__(self, settings: params.BackboneSettings) -> None:
        super().__init__()
        dim = settings.dim
        self.heads = settings.heads
        if dim % self.heads:
            raise ParagonError(f"params.yaml: backbones.heads: {self.heads} does not divide {dim}")
        self.dropout = Dropout(settings.dropout)
        self.project = nn.Linear(dim, 3 * dim)  # to queries, keys and values
        self.merge = nn.Linear(dim, dim)
        self.feed = nn.Sequential(nn.Linear(dim, dim), nn.ReLU(), self.dropout, nn.Linear(dim, dim))
        self.norm_attention = nn.LayerNorm(dim)
        self.norm_feed = nn.LayerNorm(dim)

    def attend(self, x: Tensor, *context: Any) -> Tensor:
        """Attend from each position of ``x [B, L, d]`` to itself and those before it."""
        projected = self.project(x).unflatten(-1, (3, self.heads, -1))  # [B, L, 3, H, d / H]
        q, k, v = projected.permute(2, 0, 3, 1, 4)  # [B, H, L, d / H] each
        # Padding is at the end, so the causal mask hides it too.
        mixed = F.scaled_dot_product_attention(q, k, v, is_causal=True)
        return mixed.transpose(1, 2).flatten(2)  # [B, L, d]

    def forward(self, x: Tensor, *context: Any) -> Tensor:
        """Map ``[B, L, d]`` to ``[B, L, d]``; ``context`` goes to :meth:`attend`."""
        attended = self.merge(self.attend(x, *context))  # [B, L, d]
        x = self.norm_attention(x + self.dropout(attended))
        return self.norm_feed(x + self.dropout(self.feed(x)))


class TiSASRec(SequentialBackbone):
    """Causal attention over items, positions and capped intervals (Li et al., WSDM 2020)."""

    name = "tisasrec"
    units: Tensor  # [U + 1]: one per user, the last for new users (-1)

    def __init__(self, sequences: Sequences, settings: params.BackboneSettings) -> None:
        super().__init__(sequences, settings)
        self.intervals = settings.intervals
        self.register_buffer("units", smallest_intervals(sequences))
        sizes = {"position": self.history, "interval": self.intervals + 1}
        self.keys = nn.ParameterDict({k: torch.empty(n, self.dim) for k, n in sizes.items()})
        self.values = nn.ParameterDict({k: torch.empty(n, self.dim) for k, n in sizes.items()})
        for table in (*self.keys.values(), *self.values.values()):
            nn.init.normal_(table, std=0.02)
        self.dropout = Dropout(settings.dropout)
        self.norm = nn.LayerNorm(self.dim)
        self.blocks = nn.ModuleList(TimeAwareBlock(settings) for _ in range(settings.layers))

    def encode(self, items: Tensor, times: Tensor, users: Tensor) -> Tensor:
        """Encode ``items [B, L]``: a state after each event, ``[B, L, d]``."""
        length = items.shape[1]
        unit = self.units[users].view(-1, 1, 1)  # [B, 1, 1]
        gaps = (times.unsqueeze(2) - times.unsqueeze(1)).abs()  # [B, L, L], in seconds
        between = (gaps // unit).clamp(max=self.intervals)  # [B, L, L], in units
        later = torch.ones(length, length, dtype=torch.bool, device=items.device).triu(1)  # [L, L]
        x = self.dropout(self.norm(self.item_embedding(items)))  # [B, L, d]
        for block in self.blocks:
            x = block(x, between, later, self.keys, self.values)
        return x


class TimeAwareBlock(TransformerBlock):
    """A transformer block whose keys and values get embeddings of positions and intervals.

    The intervals r_ij would need an array ``[B, L, L, d]``. To avoid it, each query q_i is
    multiplied with the whole table of intervals, and r_ij picks one of the products. In the same
    way, attention is summed by interval before it is multiplied with the table of values.
    """

    def _split(self, x: Tensor) -> Tensor:
        """Split ``[..., L, d]`` into heads ``[..., H, L, d / H]``."""
        return x.unflatten(-1, (self.heads, -1)).transpose(-2, -3)

    def attend(self, x: Tensor, *context: Any) -> Tensor:
        """Attend from each position of ``x [B, L, d]`` to itself and those before it.

        ``context``: the intervals ``[B, L, L]``, the mask of later positions ``[L, L]``, and the
        tables of keys and values.
        """
        between, later, keys, values = context
        length = x.shape[1]
        q, k, v = self.project(x).chunk(3, -1)  # [B, L, d] each
        q = self._split(q)  # [B, H, L, d / H]
        k = self._split(k) + self._split(keys["position"][:length])  # [B, H, L, d / H]
        v = self._split(v) + self._split(values["position"][:length])  # [B, H, L, d / H]
        pick = between.unsqueeze(1).expand(-1, self.heads, -1, -1)  # [B, H, L, L]
        by_interval = q @ self._split(keys["interval"]).mT  # [B, H, L, R]
        logits = (q @ k.mT + by_interval.gather(-1, pick)) / q.shape[-1] ** 0.5  # [B, H, L, L]
        attention = logits.masked_fill(later, -torch.inf).softmax(-1)  # [B, H, L, L]
        gathered = torch.zeros_like(by_interval).scatter_add(-1, pick, attention)  # [B, H, L, R]
        mixed = attention @ v + gathered @ self._split(values["interval"])  # [B, H, L, d / H]
        return mixed.transpose(1, 2).flatten(2)  # [B, L, d]


def smallest_intervals(sequences: Sequences) -> Tensor:
    """Return the unit of time of each user in seconds, then that of new users: ``[U + 1]``.

    It is the smallest interval between two training events that is not 0, or 1 if there is none;
    for new users, the median of these intervals.
    """
    users, positions = sequences.train_events()
    index = sequences.offsets[users] + positions
    gaps = sequences.times[index] - sequences.times[index - 1]
    least = pd.Series(gaps[gaps > 0]).groupby(users[gaps > 0]).min()
    units = least.reindex(range(sequences.n_users), fill_value=1).to_numpy(np.int64)
    of_new_users = int(least.median()) if len(least) else 1
    return torch.from_numpy(np.append(units, of_new_users))
