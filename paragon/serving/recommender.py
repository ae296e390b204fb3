"""Recommend items for histories and preference weights, many requests at once.

Shapes: B requests, b of a block, n items, O objectives, M categories, d numbers of an item vector,
z of a state, P adapter parameters, L events of a history.
"""

import copy
from collections.abc import Sequence, Set
from dataclasses import asdict
from functools import cached_property, partial
from hashlib import sha256
from itertools import chain, compress
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from scipy.stats import rankdata
from torch import Tensor

from paragon.adapters.adapter import adapt, item_table
from paragon.adapters.rotation import ItemTable, fit_rotation
from paragon.backbones.base import Backbone, Context
from paragon.data.sequences import Sequences
from paragon.errors import ParagonError, shown
from paragon.generator.generator import Generator, Latent
from paragon.metrics.ranking import top_k
from paragon.objectives.weights import check_weights
from paragon.params import checked
from paragon.reranking.rules import RERANKERS, Setting
from paragon.reranking.settings import Candidates, source_vectors
from paragon.serving.lists import Batch, Encoded, History, Options, Past, Recommendations, as_list
from paragon.serving.outcome import Balance, Outcomes, Promise, furthest, loss_bounds

_ROWS = 256  # requests per block, which fits the cache of a core
_PAIRS = 1 << 16  # (request, item) pairs per block, if each needs a representation
_CACHED = 256  # adapters in the cache
_History = History | Sequence[str]
_NEVER = "this recommender was not measured; an export with accuracy and diversity is"
_POPULAR = "nothing of the history is known: the most popular items, whatever the weights"


class Reranker(NamedTuple):
    """How to re-rank the lists of a few adapters with xQuAD, as for the row `generated_xquad`."""

    accuracy: int  # its index among the objectives
    settings: list[Setting]  # one per weight of accuracy, evenly from 0 to 1
    sources: np.ndarray  # [S, O], weights of the adapters after source 0, the backbone alone

    def setting(self, weights: np.ndarray) -> Setting:
        """Return the setting for weights ``[O]``."""
        return self.settings[round(float(weights[self.accuracy]) * (len(self.settings) - 1))]


class Recommender:
    """A frozen backbone whose balance of objectives follows the weights of each call.

    It is thread-safe.  ``popularity [n + 1]``: training events per item, by default from the data.
    `weights_for` and `rerank` need measurements, which an export makes.
    """

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
        self.objectives: list[str] = generator.objectives  # in the order of the weights
        self.numbers = {name: number for number, name in enumerate(data.item_ids, start=1)}
        self.users = {name: number for number, name in enumerate(data.user_ids) if name}
        self._adapters: dict[bytes, Tensor] = {}  # replaced as a whole, for thread safety
        vectors = backbone.item_vectors().detach()  # [n + 1, d]
        self._device = vectors.device
        categories = torch.from_numpy(data.categories).float().to(self._device)
        self._table = item_table(vectors, categories, generator.form)  # [n + 1, d + M]
        if reranker is not None:
            self._sources = source_vectors(generator, reranker.sources).to(self._device)  # [S, P]
            patterns, kinds = np.unique(data.categories, axis=0, return_inverse=True)
            self._described = kinds.reshape(-1), patterns  # [n + 1], [G, M]
        # By popularity, ties in catalogue order.
        rank = -rankdata(-self.popularity, method="ordinal")  # [n + 1]
        self._popular = torch.from_numpy(rank).float().to(self._device)

    @classmethod
    def load(cls, path: str | Path) -> "Recommender":
        """Load an exported folder; raise ``ParagonError`` if it is incomplete or altered."""
        from paragon.serving.export import load_folder

        return load_folder(Path(path))

    def __repr__(self) -> str:
        names, items = ", ".join(self.objectives), f"{len(self.numbers):,} items"
        return f"Recommender({self.backbone.name}, {items}, objectives: {names})"

    def recommend(
        self, history: _History, weights: object, k: int = 10, **options: Any
    ) -> Recommendations:
        """Return the k best items that are not in the history, best first.

        ``history``: item ids, oldest first, or a :class:`History`.  Unknown ids are skipped; if all
        are unknown, the most popular items are returned, with a note.  ``weights``: numbers in the
        order of ``objectives``, or ``{"accuracy": 0.7, "diversity": 0.3}``, with sum 1 unless
        ``normalise=True``.  ``only``: return only these ids; ``without``: none of these;
        ``exclude_seen=False``: also items of the history.  ``rerank="xquad"``: re-rank for variety,
        as far as the weight of accuracy says.  Raises ``ParagonError`` for invalid arguments.
        """
        given = history if isinstance(history, History) else History(history)
        return self.recommend_many([given], weights, k, **options).one()

    def recommend_many(
        self, histories: Sequence[_History], weights: object, k: int = 10, **options: Any
    ) -> Batch:
        """Call :meth:`recommend` for many histories at once; each list is what it would be alone.

        ``weights [B, O]``: a row per history, or one vector or mapping for all.  An invalid history
        is reported in ``errors`` of the result; other errors raise ``ParagonError``.
        """
        given = as_list(histories)
        if not isinstance(given, list) or {str} == {type(history) for history in given[:2]}:
            raise ParagonError(f"histories: {shown(histories)} is not a list of lists of item ids")
        asked = checked(Options, {"k": k, **options}, "request.")
        table = check_weights(weights, self.objectives, asked.normalise).numpy()  # [1 or B, O]
        if len(table) not in (1, len(given)):
            raise ParagonError(f"weights: {len(table)} rows for {len(given)} histories")
        table = np.broadcast_to(table, (len(given), len(self.objectives)))
        if asked.k > len(self.numbers):
            raise ParagonError(f"k: {shown(k)} is more than the {len(self.numbers):,} items")
        if asked.rerank and self.reranker is None:
            raise ParagonError(f"rerank: {_NEVER}")
        blocked, pasts, errors = self._blocked(asked), [], {}
        for row, history in enumerate(given):
            try:
                pasts.append(self.encode(history, asked.exclude_seen))
            except ParagonError as error:
                pasts.append(Encoded([], [], -1, []))
                errors[row] = str(error)
        numbers, scores, left = self.best(pasts, table, asked.k, blocked, asked.rerank is not None)
        for row in np.flatnonzero(left < asked.k).tolist():
            reason = f"k: {k} is more than the {left[row]} items that are left for this history"
            errors.setdefault(row, reason)
        numbers[list(errors)] = scores[list(errors)] = 0
        notes: dict[int, tuple[str, ...]] = {}
        for row, past in enumerate(pasts):
            if past.unknown and row not in errors:
                skipped = f"{past.unknown} unknown item{'s' * (past.unknown > 1)} skipped"
                notes[row] = (skipped,) if past.items else (skipped, _POPULAR)
        return Batch(self.data, self.objectives, numbers, scores, table, notes, errors)

    def encode(self, history: Any, exclude_seen: bool = True) -> Encoded:
        """Check a history and convert it to numbers; raise ``ParagonError`` if it is invalid."""
        given = history if isinstance(history, History) else History(history)
        if isinstance(given.items, Set):
            raise ParagonError("history: a set has no order; give a list, oldest first")
        past = checked(Past, {"history": given.items, "times": given.times}, "request.")
        user = self.users.get(given.user, -1) if isinstance(given.user, str) else -1
        if user < 0 and given.user is not None:
            why = "" if self.users else "; nobody is known to a model exported without people"
            raise ParagonError(f"user: {shown(given.user)} is not in the data{why}; leave it out")
        times = [0] * len(past.history) if past.times is None else past.times
        if len(times) != len(past.history) or times != sorted(times):
            needed = "one for each item is needed, in order, oldest first"
            raise ParagonError(f"times: {needed}; found {len(times)} for {len(past.history)} items")
        numbers = list(map(self.numbers.get, past.history))
        items = [number for number in numbers if number]
        seen = items if exclude_seen else []
        return Encoded(items, [*compress(times, numbers)], user, seen, len(numbers) - len(items))

    def _blocked(self, options: Options) -> Tensor | None:
        """Mark the items that a filter excludes, ``[n + 1]``."""
        if options.only is None and options.without is None:
            return None
        blocked = np.full(len(self.numbers) + 1, options.only is not None)
        for name, ids in (("only", options.only or []), ("without", options.without or [])):
            if unknown := [item for item in ids if item not in self.numbers]:
                count = f" (of {len(unknown)})" if len(unknown) > 1 else ""
                raise ParagonError(f"{name}: item {shown(unknown[0])}{count} is not known")
            blocked[[self.numbers[item] for item in ids]] = name == "without"
        return torch.from_numpy(blocked).to(self._device)

    def best(
        self,
        pasts: list[Encoded],
        weights: np.ndarray,
        k: int,
        blocked: Tensor | None = None,
        rerank: bool = False,
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Return the best items and their scores ``[B, k]``, and how many were left ``[B]``."""
        shape, left = (len(pasts), k), np.zeros(len(pasts), dtype=np.int64)
        numbers, scores = np.zeros(shape, dtype=np.int64), np.zeros(shape, dtype=np.float32)
        step = self.backbone.rows_at_a_time(_ROWS, len(self._table), _PAIRS)
        reranker = self.reranker if rerank else None
        with torch.inference_mode():
            for start in range(0, len(pasts), step):
                rows = slice(start, start + step)
                if reranker:  # the adapters whose lists are re-ranked
                    vectors = self._sources[[reranker.setting(w).source for w in weights[rows]]]
                else:
                    vectors = self.adapters(weights[rows])
                scored = self._scores(pasts[rows], vectors, blocked)  # [b, n + 1]
                best = scored.topk(k)
                numbers[rows], scores[rows] = best.indices.cpu(), best.values.cpu()
                left[rows] = scored.isfinite().sum(1).cpu()
                for row, past in enumerate(pasts[rows], start):
                    if not past.items:
                        scores[row] = self.popularity[numbers[row]]
                    elif reranker and left[row] >= k:
                        plain = scored[row - start].cpu().numpy()
                        numbers[row] = self._reranked(plain, reranker.setting(weights[row]), k)
                        scores[row] = plain[numbers[row]]
        return numbers, scores, left

    def _reranked(self, scores: np.ndarray, setting: Setting, k: int) -> np.ndarray:
        """Return the k best items in the new order of ``scores [n + 1]``, -inf if excluded."""
        scores, excluded = scores[None], np.isneginf(scores)[None]  # [1, n + 1]
        items, first = np.arange(scores.shape[1])[None], np.zeros(1, dtype=np.int64)
        candidates = Candidates(items, excluded, first, *self._described)
        lists = candidates.best(scores, setting.temperature)
        chosen = lists.reranked(RERANKERS["xquad"], setting, k)[0]  # [k or depth]
        return np.append(chosen, top_k(scores, k, excluded)[0, len(chosen) :])

    def adapters(self, weights: np.ndarray) -> Tensor:
        """Return adapters ``[b, P]`` for weights ``[b, O]``; generate those that are not cached."""
        keys, cached = [row.tobytes() for row in weights], self._adapters
        new = {key: row for row, key in enumerate(keys) if key not in cached}
        if new:
            vectors = self.generator.generate(torch.from_numpy(weights[[*new.values()]]))
            cached = cached | dict(zip(new, vectors, strict=True))
            self._adapters = dict([*cached.items()][-_CACHED:])  # the newest
        return torch.stack([cached[key] for key in keys])

    def scores(self, pasts: list[Encoded], vector: Tensor) -> np.ndarray:
        """Compute scores ``[B, n + 1]`` for one adapter ``vector [P]``, -inf if excluded."""
        step = self.backbone.rows_at_a_time(_ROWS, len(self._table), _PAIRS)
        blocks = [pasts[start : start + step] for start in range(0, len(pasts), step)]
        vector = vector.to(self._device)
        with torch.inference_mode():
            parts = [self._scores(block, vector.expand(len(block), -1)) for block in blocks]
        return torch.cat(parts).cpu().numpy()

    def _scores(
        self, pasts: list[Encoded], vectors: Tensor, blocked: Tensor | None = None
    ) -> Tensor:
        """Compute scores ``[b, n + 1]`` for adapters ``[b, P]``, -inf if excluded."""
        states = self._states(pasts)  # [b, z]
        every = torch.arange(len(self._table), device=self._device)
        adapter = partial(adapt, vectors=vectors, form=self.generator.form)  # one per row
        scores = self.backbone.score_vectors(states, every, self._table, adapter)  # [b, n + 1]
        scores[[row for row, past in enumerate(pasts) if not past.items]] = self._popular
        scores[:, 0] = -torch.inf
        rows = np.repeat(np.arange(len(pasts)), [len(past.seen) for past in pasts])
        seen = np.fromiter(chain.from_iterable(past.seen for past in pasts), np.int64, len(rows))
        scores[torch.from_numpy(rows), torch.from_numpy(seen)] = -torch.inf
        return scores if blocked is None else scores.masked_fill(blocked, -torch.inf)

    def _states(self, pasts: list[Encoded]) -> Tensor:
        """Compute the states after histories, ``[b, z]``."""
        last = slice(-self.backbone.history, None)
        items = _padded([past.items[last] for past in pasts])  # [b, L]
        times = _padded([past.times[last] for past in pasts])  # [b, L]
        users = torch.tensor([past.user for past in pasts])
        context = Context(*(part.to(self._device) for part in (users, items, times)))
        return self.backbone.last_states(context)

    def index(self) -> tuple[list[str], np.ndarray]:
        """Return the item ids and their fixed rows ``[e_i, g_i]``, ``[n, d + M]``.

        The product of a row with :meth:`query` is the item's score: one vector index serves all
        histories and weights. Raises ``ParagonError`` for a backbone without such a product.
        """
        if not self.backbone.is_dot_product:
            raise ParagonError(f"index: {self.backbone.name} scores each pair of state and item")
        return list(self.numbers), self._table[1:].cpu().numpy().copy()

    @cached_property
    def index_sha256(self) -> str:
        """The checksum of what :meth:`index` returns: keep it with an index made of it."""
        ids, rows = self.index()
        return sha256("\0".join(ids).encode() + rows.data).hexdigest()

    def query(
        self, history: Any, weights: object, normalise: bool = False, index: str | None = None
    ) -> np.ndarray:
        """Return the query ``[s', V s' + u]`` of a history under weights, ``[d + M]``.

        ``index``: the :attr:`index_sha256` kept with an index. Raises ``ParagonError`` if it is of
        another recommender, for invalid arguments, and if nothing of the history is known.
        """
        if (index is not None or not self.backbone.is_dot_product) and index != self.index_sha256:
            raise ParagonError("query: not the index of this recommender; make it from `index()`")
        past, wanted = self.encode(history), check_weights(weights, self.objectives, normalise)
        if len(wanted) > 1:
            raise ParagonError(f"weights: {len(wanted)} rows for one history")
        if not past.items:
            raise ParagonError("query: nothing of the history is known")
        with torch.inference_mode():
            vector = self.adapters(wanted.numpy())  # [1, P]
            adapted = adapt(self._states([past]).unsqueeze(0), vector, self.generator.form)
            return adapted[0, 0].cpu().numpy()  # of [1, 1, d + M]

    def weights_for(
        self, accuracy_loss_at_most: float, *, confidence: float = 0.95, users: float | None = None
    ) -> Balance:
        """Return the most diverse balance that loses at most this share of ``NDCG@10`` (0..1).

        With this ``confidence``, the mean of ``users`` new users, who must be like the validation
        users, is at most this share below that of accuracy alone (returned if nothing else can be
        promised). ``users``: None for as many as in validation, ``math.inf`` for the long run.
        """
        if self.outcomes is None:
            raise ParagonError(f"weights_for: {_NEVER}")
        given = {"accuracy_loss_at_most": accuracy_loss_at_most, "confidence": confidence}
        checked(Promise, given | {"users": users}, "weights_for")
        ndcg, diversity = self.outcomes.ndcg, self.outcomes.diversity
        row, users = 0, ndcg.shape[1] if users is None else users
        if ndcg[0].any():  # a share of 0 is undefined
            row = furthest(ndcg, accuracy_loss_at_most, confidence, users)
        weights = self.outcomes.weights[row].round(6).tolist()
        named = dict(zip(self.objectives, weights, strict=True))
        loss = float(1 - ndcg[row].mean() / ndcg[0].mean()) if row else 0.0
        bound = float(loss_bounds(ndcg[[0, row]], confidence, users)[1])
        after, before = float(diversity[row]), float(diversity[0])
        return Balance(named, loss, bound, after, before, confidence, users)

    def move_to(self, backbone: Backbone, data: Sequences | None = None) -> "Recommender":
        """Move the generator to a retrained ``backbone``, without tuning and measurements.

        ``data``: its training data, by default the same. Raises ``ParagonError`` if the two do not
        fit (:mod:`paragon.adapters.rotation`), or if categories differ.
        """
        popularity = self.popularity if data is None else data.popularity()
        data = data or self.data
        if data.category_names != self.data.category_names:
            changed = {*data.category_names} ^ {*self.data.category_names}
            names = ", ".join(sorted(changed)[:5]) or "their order"
            raise ParagonError(f"categories differ between the recommenders: {names}")
        old = ItemTable(self.data.item_ids, self.backbone.item_vectors(), self.popularity)
        rotation = fit_rotation(old, ItemTable(data.item_ids, backbone.item_vectors(), popularity))
        # Moving adapters is linear: move mean and basis of the latents.
        model, form = copy.deepcopy(self.generator.model), self.generator.form
        latent = model.latent
        axes = torch.eye(latent.size) if latent.basis is None else latent.basis
        mean, basis = (rotation.vectors(v.cpu(), form) for v in (latent.mean, axes))
        model.latent = Latent(mean, basis, latent.scale.item())
        about = self.generator.description
        moved = {"fit": float(f"{rotation.fit:.6g}"), "shared": rotation.shared}
        collection = about["collection"] | {"form": asdict(rotation.form(form)), "moved": moved}
        description = about | {"collection": collection}
        generator = Generator(model.to(backbone.item_vectors().device), description)
        return Recommender(backbone, generator, data, popularity)


def _padded(rows: list[list[int]]) -> Tensor:
    """Return rows of the same length ``[b, L]``, at least 1, with zeros at the end."""
    counts = np.array([len(row) for row in rows])
    inside = np.arange(max(1, counts.max())) < counts[:, None]  # [b, L]
    padded = np.zeros(inside.shape, dtype=np.int64)
    padded[inside] = np.fromiter(chain.from_iterable(rows), np.int64, counts.sum())
    return torch.from_numpy(padded)
