"""From checked requests to lists: one way for one person and for ten thousand.

In this file: nothing is a loop over people.  Each has an adapter of their own, and all adapters
are generated and applied together, in blocks of rows that stay in the processor's cache.

Shapes: B requests, b of them in a block, n items, O objectives, W different weights, M categories,
G weights of accuracy, d numbers of a state, K latent components and P parameters of an adapter, S
sources of re-ranked lists (scores under no adapter and under some), L events of a history, k items
of a list.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from itertools import chain
from typing import Any

import numpy as np
import torch
from torch import Tensor

from paragon.adapters.adapter import adapt, item_table
from paragon.backbones import Backbone, Context
from paragon.generator.generator import Generator
from paragon.metrics.ranking import top_k
from paragon.rivals.calibration import Candidates, Setting, source_vectors
from paragon.rivals.reranking import RERANKERS
from paragon.serving.frozen import states
from paragon.serving.items import Items
from paragon.serving.lists import Batch
from paragon.serving.requests import RULE, Request

_ROWS = 256  # requests answered together; what they need fits the cache of a core
_PAIRS = 1 << 16  # of a request and an item, where each has a representation of its own
_KEPT = 256  # latents that are kept, of weights that may come again
_SAMPLED = 512  # latents sampled at a time
_Described = tuple[np.ndarray, np.ndarray]


class Latents:
    """Latents of adapters by their weights; several threads may ask at once."""

    def __init__(self, generator: Generator) -> None:
        self.generator = generator
        self._kept: dict[bytes, Tensor] = {}  # replaced as a whole, and so the same for a thread

    def of(self, weights: np.ndarray) -> Tensor:
        """Latents ``[B, K]`` of weights ``[B, O]``, float32.

        If they are of few different weights, they are kept for the next call.
        """
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
        """Latents ``[W, K]``, in blocks of rows."""
        blocks = torch.from_numpy(np.ascontiguousarray(weights)).split(_SAMPLED)
        return torch.cat([self.generator.latents(block) for block in blocks])


@dataclass(frozen=True)
class Reranker:
    """xQuAD behind the lists of a few adapters, with the settings of the evaluated row.

    ``settings``: for each of G weights of accuracy, evenly from 0 to 1, the fields of a
    :class:`~paragon.rivals.calibration.Setting`.  They say which list is re-ranked, how many of
    its items and how far, and were chosen on validation events.
    ``sources [S - 1, O]``: the weights of the adapters whose lists are re-ranked; source 0 is the
    backbone alone.  ``accuracy``: the place of accuracy among the objectives.
    """

    accuracy: int
    settings: list[dict[str, Any]]
    sources: np.ndarray

    def __post_init__(self) -> None:
        for own in self.settings:
            Setting(**own)  # those of another version of the package are refused

    def setting(self, weights: np.ndarray) -> Setting:
        """The setting for weights ``[O]``."""
        place = round(float(weights[self.accuracy]) * (len(self.settings) - 1))
        return Setting(**self.settings[place])

    def lists(
        self, scores: np.ndarray, weights: np.ndarray, k: int, described: _Described
    ) -> tuple[np.ndarray, np.ndarray]:
        """Items and their scores ``[b, k]`` in the new order.

        Of ``scores [b, n + 1]``, -inf for what is not to be shown, each under the source of its
        weights ``[b, O]``; ``described``: ``kinds [n + 1]`` and ``patterns [G, M]`` of
        :class:`~paragon.rivals.calibration.Candidates`.  Rows with fewer than k items left stay 0
        and -inf.  No row depends on another one.
        """
        numbers, values = np.zeros((len(scores), k)), np.full((len(scores), k), -np.inf)
        left = np.isfinite(scores).sum(1)  # [b]
        # Rows that are re-ranked as far as each other; one with few items left shortens no other.
        alike: dict[tuple[Setting, int], list[int]] = {}
        for row in np.flatnonzero(left >= k).tolist():
            setting = self.setting(weights[row])
            alike.setdefault((setting, min(setting.depth, int(left[row]))), []).append(row)
        for (setting, depth), rows in alike.items():
            own = scores[rows]  # [r, n + 1]
            excluded = np.isneginf(own)
            every = np.broadcast_to(np.arange(own.shape[1]), own.shape)
            none = np.zeros(len(rows), dtype=np.int64)
            candidates = Candidates(every, excluded, none, *described)
            columns, lists = candidates.best(own, setting.temperature)  # [r, D], D >= depth
            order = RERANKERS[RULE](lists.first(depth), setting.weight, min(k, depth))
            chosen = np.take_along_axis(columns, order, 1)  # [r, min(k, depth)]
            if k > depth:
                chosen = np.concatenate([chosen, top_k(own, k, excluded)[:, depth:]], 1)
            numbers[rows], values[rows] = chosen, np.take_along_axis(own, chosen, 1)
        return numbers, values


class Engine:
    """Computes the lists of a recommender; see there for its parts."""

    def __init__(
        self, backbone: Backbone, generator: Generator, items: Items, reranker: Reranker | None
    ) -> None:
        self.backbone, self.generator, self.items = backbone, generator, items
        self.reranker = reranker
        self.latents = Latents(generator)
        with torch.no_grad():
            vectors = backbone.item_vectors()  # [n + 1, d]
            self._device = vectors.device
            categories = torch.from_numpy(items.categories).float().to(self._device)
            self._table = item_table(vectors, categories, generator.form)  # [n + 1, d + M]
        if reranker is not None:
            vectors = source_vectors(generator, reranker.sources)  # [S, P]
            self._sources = vectors.to(self._device)
            patterns, kinds = np.unique(items.categories, axis=0, return_inverse=True)
            self._described = kinds.reshape(-1), patterns  # [n + 1], [G, M]
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
        step = _ROWS if self.backbone.is_dot_product else max(1, _PAIRS // len(self._table))
        with torch.inference_mode():
            latents = self.latents.of(weights)  # [B, K]; adapters are long, and made by the block
            for start in range(0, len(requests), step):
                rows = slice(start, start + step)
                block = requests[rows]
                vectors = self.generator.model.latent.decode(latents[rows])  # [b, P]
                again = [row for row, r in enumerate(block) if r.rerank]
                if self.reranker is not None and again:  # the adapters that their lists come from
                    sources = [self.reranker.setting(block[row].weights).source for row in again]
                    vectors[again] = self._sources[sources]
                found = self._scores(block, vectors)  # [b, n + 1]
                for k in {r.k for r in block}:  # how long others are decides nothing
                    same = [row for row, r in enumerate(block) if r.k == k]
                    best = self._best([block[row] for row in same], found[same], k)
                    places = start + np.array(same)
                    numbers[places, :k], scores[places, :k] = best
        ends = np.array([r.k for r in requests], dtype=np.int64)  # [B]
        for row in np.flatnonzero(numbers[np.arange(len(ends)), ends - 1] == 0).tolist():
            errors.setdefault(row, self._too_long(requests[row]))
        numbers[list(errors)] = scores[list(errors)] = 0
        notes = {r: own for r, q in enumerate(requests) if r not in errors and (own := _notes(q))}
        return Batch(self.items, self.generator.objectives, numbers, scores, weights, notes, errors)

    def scores(self, requests: list[Request], vector: Tensor) -> np.ndarray:
        """Scores ``[B, n + 1]`` under one adapter ``vector [P]``, -inf for what is not shown."""
        with torch.inference_mode():
            blocks = [requests[i : i + _ROWS] for i in range(0, len(requests), _ROWS)]
            own = vector.to(self._device)
            parts = [self._scores(block, own.expand(len(block), -1)).cpu() for block in blocks]
        return torch.cat(parts).numpy()

    def _scores(self, requests: list[Request], vectors: Tensor) -> Tensor:
        """Scores ``[b, n + 1]`` under adapters ``[b, P]``, -inf for what is not to be shown."""
        known = states(self.backbone, self._context(requests))  # [b, z]
        every = torch.arange(len(self._table), device=self._device)
        adapter = partial(adapt, vectors=vectors, form=self.generator.form)  # of each its own
        scores = self.backbone.score_table(known, every, self._table, adapter)  # [b, n + 1]
        scores[[row for row, r in enumerate(requests) if not r.items]] = self._popular
        scores[:, 0] = -torch.inf
        seen = [r.items if r.exclude_seen else [] for r in requests]
        rows = np.repeat(np.arange(len(requests)), [len(items) for items in seen])
        columns = np.fromiter(chain.from_iterable(seen), np.int64, len(rows))
        scores[torch.from_numpy(rows), torch.from_numpy(columns)] = -torch.inf
        masks = {row: r.blocked for row, r in enumerate(requests) if r.blocked is not None}
        if masks:
            blocked = torch.from_numpy(np.stack([*masks.values()])).to(self._device)  # [r, n + 1]
            scores[[*masks]] = scores[[*masks]].masked_fill(blocked, -torch.inf)
        return scores

    def _best(
        self, requests: list[Request], scores: Tensor, k: int
    ) -> tuple[np.ndarray, np.ndarray]:
        """Items and scores ``[b, k]`` of the lists, 0 where none is left."""
        best = scores.topk(min(k, scores.shape[1] - 1))
        numbers, values = np.zeros((2, len(requests), k))
        width = best.indices.shape[1]
        numbers[:, :width], values[:, :width] = best.indices.cpu(), best.values.cpu()
        again = [row for row, r in enumerate(requests) if r.rerank and r.items]
        if self.reranker is not None and again:
            weights = np.array([requests[row].weights for row in again])
            found = scores[again].cpu().numpy()
            numbers[again], values[again] = self.reranker.lists(found, weights, k, self._described)
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
        gone = {0, *(request.items if request.exclude_seen else [])}
        gone |= set() if request.blocked is None else set(np.flatnonzero(request.blocked))
        left = len(self.items) + 1 - len(gone)
        return f"k: {request.k} is more than the {left} items that are left for this history"


def _notes(request: Request) -> tuple[str, ...]:
    if not request.unknown:
        return ()
    skipped = f"{request.unknown} unknown item{'s' * (request.unknown > 1)} skipped"
    nothing = "nothing of the history is known: the most popular items, whatever the weights"
    return (skipped,) if request.items else (skipped, nothing)
