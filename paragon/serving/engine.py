"""Compute lists for many requests together, in blocks, each with its adapter.

Shapes: B requests, b of a block, n items, O objectives, M categories, d numbers of an item vector,
z of a state, K latent components, P adapter parameters, L events of a history, H heads.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from itertools import chain
from typing import cast

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from paragon.adapters.adapter import adapt, item_table
from paragon.backbones.base import Backbone, Context
from paragon.backbones.sequential import SASRec, TransformerBlock
from paragon.data.sequences import Sequences
from paragon.generator.generator import Generator
from paragon.metrics.ranking import top_k
from paragon.rivals.reranking import RERANKERS, Candidates, Setting, source_vectors
from paragon.serving.lists import Batch, Request
from paragon.serving.outcome import Outcomes

_ROWS = 256  # requests per block, which fits the cache of a core
_PAIRS = 1 << 16  # (request, item) pairs per block, if each needs a representation
_KEPT = 256  # latents in the cache
_SAMPLED = 512  # latents sampled at a time


@dataclass(frozen=True)
class Reranker:
    """Re-rank with xQuAD the lists of a few adapters, as for the result `generated_xquad`.

    ``accuracy``: its index.  ``settings``: one per weight of accuracy, evenly from 0 to 1, chosen
    on validation events.  ``sources [S, O]``: weights of the adapters, after source 0, the backbone
    alone.
    """

    accuracy: int
    settings: list[Setting]
    sources: np.ndarray

    def setting(self, weights: np.ndarray) -> Setting:
        """Return the setting for weights ``[O]``."""
        return self.settings[round(float(weights[self.accuracy]) * (len(self.settings) - 1))]

    def best(
        self, scores: np.ndarray, weights: np.ndarray, k: int, *described: np.ndarray
    ) -> np.ndarray:
        """Return the k best items in the new order of ``scores [n + 1]``, -inf if excluded."""
        scores = scores[None]  # [1, n + 1]
        excluded = np.isneginf(scores)
        setting, items = self.setting(weights), np.arange(scores.shape[1])[None]
        candidates = Candidates(items, excluded, np.zeros(1, dtype=np.int64), *described)
        lists = candidates.best(scores, setting.temperature)
        chosen = lists.reranked(RERANKERS["xquad"], setting, k)[0]  # [k or depth]
        return np.append(chosen, top_k(scores, k, excluded)[0, len(chosen) :])


class Engine:
    """Compute lists; ``popularity [n + 1]``: training events per item, by default from the data."""

    def __init__(
        self,
        backbone: Backbone,
        generator: Generator,
        data: Sequences,
        popularity: np.ndarray | None = None,
        outcomes: Outcomes | None = None,
        reranker: Reranker | None = None,
    ) -> None:
        self.backbone, self.generator, self.data = backbone, generator, data
        self.popularity = data.popularity() if popularity is None else popularity
        self.outcomes, self.reranker = outcomes, reranker
        self.numbers = {name: number for number, name in enumerate(data.item_ids, start=1)}
        self.users = {name: number for number, name in enumerate(data.user_ids) if name}
        self._kept: dict[bytes, Tensor] = {}  # replaced as a whole, for thread safety
        with torch.no_grad():
            vectors = backbone.item_vectors()  # [n + 1, d]
            self._device = vectors.device
            categories = torch.from_numpy(data.categories).float().to(self._device)
            self._table = item_table(vectors, categories, generator.form)  # [n + 1, d + M]
        if reranker is not None:
            self._sources = source_vectors(generator, reranker.sources).to(self._device)  # [S, P]
            patterns, kinds = np.unique(data.categories, axis=0, return_inverse=True)
            self._described = kinds.reshape(-1), patterns  # [n + 1], [G, M]
        # By popularity, ties in catalogue order.
        place = np.argsort(np.argsort(-self.popularity[1:], kind="stable"))  # [n]
        rank = torch.from_numpy(np.append(0, len(place) - place)).float()
        self._popular = rank.to(self._device)  # [n + 1]

    def answer(self, requests: list[Request], refused: dict[int, str] | None = None) -> Batch:
        """Compute the lists of checked requests, independently; ``refused`` rows stay empty."""
        errors, longest = dict(refused or {}), max((r.k for r in requests), default=1)
        shape = (len(requests), longest)
        numbers, scores = np.zeros(shape, dtype=np.int64), np.zeros(shape, dtype=np.float32)
        weights = np.array([r.weights for r in requests], dtype=np.float32)  # [B, O]
        weights = weights.reshape(-1, len(self.generator.objectives))
        step = self.backbone.rows_at_a_time(_ROWS, len(self._table), _PAIRS)
        with torch.inference_mode():
            latents = self.latents(weights)  # [B, K]; the longer adapters are decoded by block
            for start in range(0, len(requests), step):
                block = requests[start : start + step]
                vectors = self.generator.model.latent.decode(latents[start : start + step])
                for row, r in enumerate(block):
                    if r.rerank and self.reranker:  # the adapter whose list is re-ranked
                        vectors[row] = self._sources[self.reranker.setting(r.weights).source]
                found = self._scores(block, vectors)  # [b, n + 1]
                for k in {r.k for r in block}:
                    same = [row for row, r in enumerate(block) if r.k == k]
                    best = self._best([block[row] for row in same], found[same], k)
                    places = start + np.array(same)
                    numbers[places, :k], scores[places, :k] = best
                    for row in places[best[0][:, -1] == 0].tolist():  # no item in the last place
                        left = int(found[row - start].isfinite().sum())
                        words = f"k: {k} is more than the {left} items that are left"
                        errors.setdefault(row, f"{words} for this history")
        numbers[list(errors)] = scores[list(errors)] = 0
        notes = {r: own for r, q in enumerate(requests) if r not in errors and (own := _notes(q))}
        return Batch(self.data, self.generator.objectives, numbers, scores, weights, notes, errors)

    def latents(self, weights: np.ndarray) -> Tensor:
        """Return latents ``[B, K]`` of weights ``[B, O]``; cache them if few weights differ."""
        different, rows = np.unique(weights, axis=0, return_inverse=True)
        if not 0 < len(different) <= _KEPT:
            return self.sample(different)[rows.reshape(-1)]
        keys, kept = [row.tobytes() for row in different], self._kept
        new = [row for row, key in enumerate(keys) if key not in kept]
        if new:
            made = self.sample(different[new])
            kept = kept | dict(zip((keys[row] for row in new), made, strict=True))
            self._kept = dict([*kept.items()][-_KEPT:])  # the newest
        return torch.stack([kept[key] for key in keys])[rows.reshape(-1)]

    def sample(self, weights: np.ndarray) -> Tensor:
        """Sample latents ``[B, K]`` in blocks of rows."""
        blocks = torch.from_numpy(np.ascontiguousarray(weights)).split(_SAMPLED)
        return torch.cat([self.generator.latents(block) for block in blocks])

    def scores(self, requests: list[Request], vector: Tensor) -> np.ndarray:
        """Compute scores ``[B, n + 1]`` for one adapter ``vector [P]``, -inf if excluded."""
        with torch.inference_mode():
            blocks = [requests[i : i + _ROWS] for i in range(0, len(requests), _ROWS)]
            own = vector.to(self._device)
            parts = [self._scores(block, own.expand(len(block), -1)).cpu() for block in blocks]
        return torch.cat(parts).numpy()

    def _scores(self, requests: list[Request], vectors: Tensor) -> Tensor:
        """Compute scores ``[b, n + 1]`` for adapters ``[b, P]``, -inf if excluded."""
        known = last_states(self.backbone, self._context(requests))  # [b, z]
        items = torch.arange(len(self._table), device=self._device)
        adapter = partial(adapt, vectors=vectors, form=self.generator.form)  # one per row
        scores = self.backbone.score_vectors(known, items, self._table, adapter)  # [b, n + 1]
        scores[[row for row, r in enumerate(requests) if not r.items]] = self._popular
        scores[:, 0] = -torch.inf
        seen = [r.items if r.exclude_seen else [] for r in requests]
        rows = np.repeat(np.arange(len(requests)), [len(own) for own in seen])
        columns = np.fromiter(chain.from_iterable(seen), np.int64, len(rows))
        scores[torch.from_numpy(rows), torch.from_numpy(columns)] = -torch.inf
        for row, request in enumerate(requests):
            if request.blocked is not None:
                scores[row, torch.from_numpy(request.blocked).to(self._device)] = -torch.inf
        return scores

    def _best(
        self, requests: list[Request], scores: Tensor, k: int
    ) -> tuple[np.ndarray, np.ndarray]:
        """Return items and scores ``[b, k]`` of the lists, 0 where none is left."""
        best = scores.topk(k)
        numbers, values = best.indices.cpu().numpy(), best.values.cpu().numpy()
        gone = np.isneginf(values)
        for row, request in enumerate(requests):
            if not request.items:
                values[row] = self.popularity[numbers[row]]
            elif request.rerank and self.reranker and not gone[row].any():
                own = scores[row].cpu().numpy()
                numbers[row] = self.reranker.best(own, request.weights, k, *self._described)
                values[row] = own[numbers[row]]
        numbers[gone] = values[gone] = 0
        return numbers, values

    def _context(self, requests: list[Request]) -> Context:
        """Return the last events of each history, left-aligned and padded with 0: ``[b, L]``."""
        recent = slice(-self.backbone.history, None)
        items = [r.items[recent] for r in requests]
        counts = np.array([len(own) for own in items])
        inside = np.arange(max(1, counts.max())) < counts[:, None]  # [b, L]
        padded, times = np.zeros((2, *inside.shape), dtype=np.int64)
        padded[inside] = np.fromiter(chain.from_iterable(items), np.int64, counts.sum())
        for row, request in enumerate(requests):
            if request.times is not None:
                times[row, : counts[row]] = request.times[recent]
        parts = (np.array([r.user for r in requests]), padded, times)
        return Context(*(torch.from_numpy(part).to(self._device) for part in parts))


def _notes(request: Request) -> tuple[str, ...]:
    if not request.unknown:
        return ()
    skipped = f"{request.unknown} unknown item{'s' * (request.unknown > 1)} skipped"
    nothing = "nothing of the history is known: the most popular items, whatever the weights"
    return (skipped,) if request.items else (skipped, nothing)


def last_states(backbone: Backbone, context: Context) -> Tensor:
    """Compute ``backbone.states(context)``, ``[B, z]``, ten times faster for SASRec.

    Only the last event is a query in the last block, so key and value matrices apply to its side:
    q . (W_k x) = (W_k^T q) . x, and the mean of W_v x is W_v times the mean of x.
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
    b_q, _, b_v = block.project.bias.chunk(3)  # [d]; b_k adds a constant to all logits
    q = F.linear(last, w_q, b_q).unflatten(1, (block.heads, -1))  # [B, H, d / H]
    w_k, w_v = (w.unflatten(0, (block.heads, -1)) for w in (w_k, w_v))  # [H, d / H, d]
    logits = torch.einsum("bhe,hed->bhd", q, w_k) @ x.mT / q.shape[-1] ** 0.5  # [B, H, L]
    padding = torch.arange(length, device=x.device) >= count.unsqueeze(1)  # [B, L]
    attention = logits.masked_fill(padding.unsqueeze(1), -torch.inf).softmax(-1)  # [B, H, L]
    mixed = torch.einsum("bhd,hed->bhe", attention @ x, w_v).flatten(1) + b_v  # [B, d]
    y = block.norm_attention(last + block.merge(mixed))  # [B, d]
    return block.norm_feed(y + block.feed(y))  # [B, d]
