"""A trained backbone, made ready to serve: without people, and with less to compute.

In this file: what of each backbone belongs to single people, and what is left without it.

* SASRec and GRU4Rec know no users.
* TiSASRec keeps the smallest interval of each user; the one for unknown users stays.
* LightGCN and NGCF have an embedding for each user, and their graph is the raw data.  The item
  vectors after the last layer stay; a state is the mean of those of the history.
* PinSage keeps the neighbours of each item, which for a rare item are one person's history.  Here
  too the item vectors after the last layer stay, and the layer that makes a state.
* DeepFM has an embedding for each user and group; those for unknown ones stay.

So somebody unknown gets the same list with people and without, and somebody known is treated
as unknown.

Shapes: B histories of L events, n items, d numbers of a state, H heads.
"""

from __future__ import annotations

from pathlib import Path
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from paragon import params
from paragon.backbones import BACKBONES, Backbone, Context
from paragon.backbones.lightgcn import GraphBackbone
from paragon.backbones.pinsage import PinSage
from paragon.backbones.sasrec import SASRec, TransformerBlock
from paragon.data.sequences import Sequences
from paragon.storage import loading, save_tensors


class MeanOfItems(Backbone):
    """LightGCN or NGCF after the last layer: ``item_vectors [n + 1, d]`` as numbers."""

    name = "mean_of_items"
    history = GraphBackbone.history
    vectors: Tensor

    def __init__(self, n_items: int, settings: params.BackboneSettings) -> None:
        super().__init__()
        self.dim = settings.dim
        self.register_buffer("vectors", torch.zeros(n_items + 1, self.dim))

    @classmethod
    def build(cls, sequences: Sequences, settings: params.BackboneSettings) -> MeanOfItems:
        """Of the right size, without meaningful numbers."""
        return cls(sequences.n_items, settings)

    def item_vectors(self) -> Tensor:
        """``[n + 1, d]``."""
        return self.vectors

    def _vectors(self) -> tuple[Tensor, Tensor]:
        return self.vectors[:1], self.vectors  # nobody is known

    states = GraphBackbone.states  # type: ignore[assignment]


class FadingMeanOfItems(MeanOfItems):
    """PinSage after the last layer: item vectors as numbers, and the layer that makes a state."""

    name = "fading_mean_of_items"

    def __init__(self, n_items: int, settings: params.BackboneSettings) -> None:
        super().__init__(n_items, settings)
        self.history = settings.history
        self.fading, self.scale = (nn.Parameter(torch.zeros(())) for _ in range(2))
        self.user = nn.Linear(self.dim, self.dim)

    states = PinSage.states  # type: ignore[assignment]


_AFTER_THE_GRAPH = {"lightgcn": MeanOfItems, "ngcf": MeanOfItems, "pinsage": FadingMeanOfItems}
_KINDS: dict[str, type[Backbone]] = BACKBONES | {k.name: k for k in _AFTER_THE_GRAPH.values()}
_UNKNOWN = {"units": -1, "groups": -1, "fields.user": -1, "fields.group": 0}  # the row that stays


def save_frozen(backbone: Backbone, description: dict, stem: Path) -> None:
    """Write a backbone without people to ``stem.safetensors`` and ``stem.json``.

    ``description``: of the trained backbone.  Where it stays in what is written, so does its
    checksum, as ``trained``.
    """
    tensors, kind = dict(backbone.state_dict()), backbone.name
    if kind in _AFTER_THE_GRAPH:
        kept = ("fading", "scale", "user.weight", "user.bias")
        tensors = {name: tensors[name] for name in kept if name in tensors}
        tensors["vectors"] = backbone.item_vectors().detach()
        kind = _AFTER_THE_GRAPH[kind].name
    tensors |= {name: tensors[name][[row]] for name, row in _UNKNOWN.items() if name in tensors}
    about = {name: description[name] for name in ("backbone", "data", "settings", "versions")}
    about |= {"kind": kind, "trained": description["sha256"]}
    save_tensors(stem, {name: tensor.clone() for name, tensor in tensors.items()}, about)


def load_frozen(stem: Path, sequences: Sequences) -> Backbone:
    """Read what :func:`save_frozen` wrote; ``sequences`` without people."""
    with loading(stem, "python -m paragon export") as (tensors, description):
        settings = params.stored(params.BackboneSettings, description["settings"], f"{stem}.json")
        backbone = _KINDS[description["kind"]].build(sequences, settings)
        backbone.load_state_dict(tensors)
        backbone.name = description["backbone"]
    return backbone.eval().requires_grad_(False)


def states(backbone: Backbone, context: Context) -> Tensor:
    """``backbone.states(context)``, ``[B, z]``; for SASRec in a tenth of the time.

    Only the state after the last event is asked for.  In the last block a single query is left,
    and the products with the key and value matrices can be taken on its side: the logit
    q . (W_k x) is (W_k^T q) . x, and the mean of W_v x is W_v times the mean of x.
    """
    if not isinstance(backbone, SASRec):
        return backbone.states(context)
    items = context.items
    count, length = (items > 0).sum(1), items.shape[1]  # [B], L
    x = F.embedding(items, backbone.item_vectors())  # [B, L, d]
    x = backbone.norm(x + backbone.position_embedding[:length])  # [B, L, d]
    for earlier in backbone.blocks[:-1]:
        x = earlier(x)  # [B, L, d]
    block = cast(TransformerBlock, backbone.blocks[-1])
    last = x[torch.arange(len(x), device=x.device), (count - 1).clamp(min=0)]  # [B, d]
    w_q, w_k, w_v = block.project.weight.chunk(3)  # [d, d] each
    b_q, _, b_v = block.project.bias.chunk(3)  # [d]; b_k adds the same to every logit
    q = F.linear(last, w_q, b_q).unflatten(1, (block.heads, -1))  # [B, H, d / H]
    w_k, w_v = (w.unflatten(0, (block.heads, -1)) for w in (w_k, w_v))  # [H, d / H, d]
    logits = torch.einsum("bhe,hed->bhd", q, w_k) @ x.mT / q.shape[-1] ** 0.5  # [B, H, L]
    padding = torch.arange(length, device=x.device) >= count.unsqueeze(1)  # [B, L]
    attention = logits.masked_fill(padding.unsqueeze(1), -torch.inf).softmax(-1)  # [B, H, L]
    mixed = torch.einsum("bhd,hed->bhe", attention @ x, w_v).flatten(1) + b_v  # [B, d]
    y = block.norm_attention(last + block.merge(mixed))  # [B, d]
    return block.norm_feed(y + block.feed(y))  # [B, d]
