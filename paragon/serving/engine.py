"""From checked requests to lists: one way for one person and for ten thousand.

In this file: nothing is a loop over people.  Each has an adapter of their own, and all adapters
are generated and applied together, in blocks of rows that stay in the processor's cache.

Shapes: B requests, b of them in a block, n items, O objectives, M categories, d numbers of a state,
P parameters of an adapter, S sources of re-ranked lists, L events of a history, k items of a list.
"""

from __future__ import annotations

from itertools import chain

import numpy as np
import torch
from torch import Tensor

from paragon.adapters.adapter import adapt, item_table
from paragon.adapters.frozen import item_features
from paragon.backbones import Backbone, Context
from paragon.generator.generator import Generator
from paragon.serving.frozen import states
from paragon.serving.items import Items
from paragon.serving.lists import Batch
from paragon.serving.requests import Request
from paragon.serving.reranker import Reranker
from paragon.serving.vectors import Vectors

_ROWS = 256  # requests answered together; what they need fits the cache of a core
_PAIRS = 1 << 16  # of a request and an item, where each has a representation of its own


class Engine:
    """Computes the lists of a recommender; see there for its parts."""

    def __init__(
        self, backbone: Backbone, generator: Generator, items: Items, reranker: Reranker | None
    ) -> None:
        self.backbone, self.generator, self.items = backbone, generator, items
        self.reranker = reranker
        self.vectors = Vectors(generator)
        with torch.no_grad():
            vectors = backbone.item_vectors()  # [n + 1, d]
            self._device = vectors.device
            features = item_features(generator.form, self.items.anonymous(), self._device)
            features = vectors[:, :0] if features is None else features
            self._table = item_table(vectors, features, generator.form)  # [n + 1, d + M]
        if reranker is not None:
            none = torch.zeros(1, generator.form.size, device=self._device)  # s' = s
            self._sources = torch.cat([none, generator.generate(reranker.sources)])  # [S, P]
        # Of two items that are equally popular, the first.
        order = np.argsort(-self.items.popularity[1:], kind="stable") + 1
        rank = np.zeros(len(self.items) + 1, dtype=np.float32)
        rank[order] = np.arange(len(order), 0, -1)
        self._popular = torch.from_numpy(rank).to(self._device)  # [n + 1]

    def answer(self, requests: list[Request], refused: dict[int, str] | None = None) -> Batch:
        """The lists of checked requests; those of the rows ``refused`` stay empty."""
        errors, longest = dict(refused or {}), max((r.k for r in requests), default=1)
        shape = (len(requests), longest)
        numbers, scores = np.zeros(shape, dtype=np.int64), np.zeros(shape, dtype=np.float32)
        weights = np.array([r.weights for r in requests], dtype=np.float32)  # [B, O]
        weights = weights.reshape(-1, len(self.generator.objectives))
        plain = type(self.backbone).expand is Backbone.expand
        step = _ROWS if plain else max(1, _PAIRS // len(self._table))
        with torch.inference_mode():
            vectors = self.vectors.of(weights)
            for start in range(0, len(requests), step):
                rows = slice(start, start + step)
                block = requests[rows]
                found = self._scores(block, self._sourced(block, vectors(rows)))  # [b, n + 1]
                numbers[rows], scores[rows] = self._best(block, found, longest)
        ends = np.array([r.k for r in requests], dtype=np.int64)  # [B]
        for row in np.flatnonzero(numbers[np.arange(len(ends)), ends - 1] == 0).tolist():
            errors.setdefault(row, self._too_long(requests[row]))
        beyond = np.arange(longest) >= ends[:, None]  # [B, k]
        beyond[list(errors)] = True
        numbers[beyond] = scores[beyond] = 0
        notes = {r: own for r, q in enumerate(requests) if r not in errors and (own := _notes(q))}
        return Batch(self.items, self.generator.objectives, numbers, scores, weights, notes, errors)

    def scores(self, requests: list[Request], vector: Tensor) -> np.ndarray:
        """Scores ``[B, n + 1]`` under one adapter ``vector [P]``, -inf for what is not shown."""
        with torch.inference_mode():
            blocks = [requests[i : i + _ROWS] for i in range(0, len(requests), _ROWS)]
            own = vector.to(self._device)
            parts = [self._scores(block, own.expand(len(block), -1)).cpu() for block in blocks]
        return torch.cat(parts).numpy()

    def _sourced(self, requests: list[Request], vectors: Tensor) -> Tensor:
        """``vectors [b, P]``; where a list is re-ranked, the adapter that it comes from."""
        again = [row for row, r in enumerate(requests) if r.rerank]
        if again and self.reranker is not None:
            chosen = [self.reranker.setting(requests[row].weights).source for row in again]
            vectors[again] = self._sources[chosen]
        return vectors

    def _scores(self, requests: list[Request], vectors: Tensor) -> Tensor:
        """Scores ``[b, n + 1]`` under adapters ``[b, P]``, -inf for what is not to be shown."""
        known = states(self.backbone, self._context(requests))  # [b, z]
        every = torch.arange(len(self._table), device=self._device).expand(len(requests), -1)
        hidden, offset = self.backbone.expand(known, every)  # [b, 1 or n + 1, d]
        adapted = adapt(hidden, vectors, self.generator.form)  # [b, 1 or n + 1, d + M]
        if adapted.shape[1] == 1:
            scores = adapted.squeeze(1) @ self._table.T  # [b, n + 1]
        else:
            scores = (adapted * self._table).sum(-1)  # [b, n + 1]
        scores = scores + offset
        scores[[row for row, r in enumerate(requests) if not r.items]] = self._popular
        scores[:, 0] = -torch.inf
        seen = [r.items if r.exclude_seen else [] for r in requests]
        rows = np.repeat(np.arange(len(requests)), [len(items) for items in seen])
        columns = np.fromiter(chain.from_iterable(seen), np.int64, len(rows))
        scores[torch.from_numpy(rows), torch.from_numpy(columns)] = -torch.inf
        masks = {id(r.blocked): r.blocked for r in requests if r.blocked is not None}
        for name, mask in masks.items():
            own = [row for row, r in enumerate(requests) if id(r.blocked) == name]
            blocked = torch.from_numpy(mask).to(self._device)  # [n + 1]
            scores[own] = scores[own].masked_fill(blocked, -torch.inf)
        return scores

    def _best(
        self, requests: list[Request], scores: Tensor, k: int
    ) -> tuple[np.ndarray, np.ndarray]:
        """Items and scores ``[b, k]`` of the lists, 0 where none is left."""
        best = scores.topk(min(k, scores.shape[1] - 1))
        numbers, values = np.zeros((2, len(requests), k))
        width = best.indices.shape[1]
        numbers[:, :width], values[:, :width] = best.indices.cpu(), best.values.cpu()
        if self.reranker is not None:
            again = [row for row, r in enumerate(requests) if r.rerank and r.items]
            if again:
                weights = np.array([requests[row].weights for row in again])
                lists = self.reranker.lists(scores[again].cpu().numpy(), weights, k)
                numbers[again], values[again] = lists
        numbers[np.isneginf(values)] = 0
        popular = [row for row, r in enumerate(requests) if not r.items]
        values[popular] = self.items.popularity[numbers[popular].astype(np.int64)]
        return numbers.astype(np.int64), np.where(numbers > 0, values, 0).astype(np.float32)

    def _context(self, requests: list[Request]) -> Context:
        """The last events of each history, from the left, 0 after its end: ``[b, L]``."""
        recent = slice(-self.backbone.history, None)
        items = [r.items[recent] for r in requests]
        counts = np.array([len(own) for own in items])
        inside = np.arange(max(1, counts.max())) < counts[:, None]  # [b, L]
        padded, times = np.zeros(inside.shape, dtype=np.int64), np.zeros(inside.shape, np.int64)
        padded[inside] = np.fromiter(chain.from_iterable(items), np.int64, counts.sum())
        for row, request in enumerate(requests):
            if request.times is not None:
                times[row, : counts[row]] = request.times[recent]
        parts = (np.array([r.user for r in requests]), padded, times)
        return Context(*(torch.from_numpy(part).to(self._device) for part in parts))

    def _too_long(self, request: Request) -> str:
        blocked = (
            np.zeros(len(self.items) + 1, bool) if request.blocked is None else request.blocked
        )
        gone = (
            set(np.flatnonzero(blocked)) | {0} | set(request.items if request.exclude_seen else [])
        )
        left = len(self.items) + 1 - len(gone)
        return f"k: {request.k} is more than the {left} items that are left for this history"


def _notes(request: Request) -> tuple[str, ...]:
    if not request.unknown:
        return ()
    skipped = f"{request.unknown} unknown item{'s' * (request.unknown > 1)} skipped"
    if request.items:
        return (skipped,)
    return (
        skipped,
        "nothing of the history is known: the most popular items, whatever the weights",
    )
