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
from paragon.data.atomic import kind_of, read_start
from paragon.data.sequences import Sequences
from paragon.errors import ParagonError, shown
from paragon.generator.generator import Generator, Latent, load_generator
from paragon.metrics.ranking import top_k
from paragon.objectives.weights import check_weights
from paragon.params import checked
from paragon.reranking.rules import RERANKERS, Setting
from paragon.reranking.settings import Candidates, source_vectors
from paragon.serving.check import check_generator, check_measurements, check_root, stored_in
from paragon.serving.folder import (
    EXPORT,
    FILES,
    FORMAT,
    checksums_of,
    load_exported_backbone,
    load_exported_data,
    parts_of,
)
from paragon.serving.lists import Batch, Encoded, History, Options, Past, Recommendations, as_list
from paragon.serving.outcome import Balance, Outcomes, Promise, furthest, loss_bounds
from paragon.storage import check_match, loading

_ROWS = 256  # requests per block, which fits the cache of a core
_PAIRS = 1 << 16  # pairs of request and item per block, if each has its own `h`
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

    ``popularity [n + 1]``: training events of each item, by default from the data.  ``outcomes``
    and ``reranker`` are measurements, which an export makes; :meth:`weights_for` needs the first,
    the option ``rerank`` the second.  Several threads may use one recommender.
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
        self.backbone = backbone
        self.generator = generator
        self.data = data
        self.popularity = data.popularity() if popularity is None else popularity
        self.outcomes = outcomes
        self.reranker = reranker
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
            # Items with the same categories are of one kind: a row of the patterns.
            self._patterns, kinds = np.unique(data.categories, axis=0, return_inverse=True)
            self._kinds = kinds.reshape(-1)  # [n + 1]
        # Scores of the most popular items, ties in the order of the catalogue.
        rank = -rankdata(-self.popularity, method="ordinal")  # [n + 1]
        self._popular = torch.from_numpy(rank).float().to(self._device)

    @classmethod
    def load(cls, path: str | Path) -> "Recommender":
        """Load and check an exported folder.

        Raises ``ParagonError`` if a file is missing or was altered, or if the files are not of one
        export.  The global random state of torch is left as it was.
        """
        folder = Path(path)
        if folder.is_file():
            kind = kind_of(read_start(folder)) or "a file"
            raise ParagonError(f"{folder} is {kind}; give the folder that `{EXPORT}` makes")
        for name in FILES:
            if not (folder / name).is_file():
                raise ParagonError(
                    f"{folder / name} is missing; `{EXPORT} {folder}` makes the folder"
                )
        stem = folder / "paragon"
        stored_in(stem)
        root = loading(stem, EXPORT, {"format": FORMAT})
        with torch.random.fork_rng(devices=[]), root as (tensors, description):
            expected = {"parts": description["parts"]}  # the checksum of each part
            parts = parts_of(folder)
            check_match(expected, {"parts": checksums_of(parts)}, str(folder), EXPORT)
            data = load_exported_data(folder, parts["sequences"])
            backbone, trained = load_exported_backbone(folder / "backbone", data)
            check_generator(folder / "generator", parts["generator"], data, backbone.dim)
            generator = load_generator(folder / "generator")
            collection = generator.description["collection"]
            check_match({"backbone": trained}, collection, f"{folder / 'generator'}.json", EXPORT)
            check_root(stem, description, data, len(generator.objectives))
            check_measurements(stem, tensors, generator.objectives)
            arrays = {name: tensor.numpy() for name, tensor in tensors.items()}
            outcomes = None
            if "ndcg" in arrays:
                outcomes = Outcomes(**{name: arrays[name] for name in Outcomes._fields})
            reranker = None
            if "sources" in arrays:
                reranker = Reranker(
                    accuracy=generator.objectives.index("accuracy"),
                    settings=[Setting(**setting) for setting in description["settings"]],
                    sources=arrays["sources"],
                )
            # Once more: an export may have replaced the folder meanwhile.
            again = {"parts": checksums_of(parts_of(folder))}
            check_match(expected, again, str(folder), EXPORT)
            loaded = cls(backbone, generator, data, arrays["popularity"], outcomes, reranker)
            loaded._try(str(folder))
            return loaded

    def _try(self, place: str) -> None:
        """Raise ``ParagonError`` if the scores after one item are not finite."""
        past = Encoded(items=[1], times=[0], user=-1, seen=[])
        weights = np.full((1, len(self.objectives)), 1 / len(self.objectives), dtype=np.float32)
        if not np.isfinite(self.scores([past], self.generator.generate(weights)[0])[:, 1:]).all():
            raise ParagonError(f"{place}: its scores are not finite; run `{EXPORT}` again")

    def __repr__(self) -> str:
        names = ", ".join(self.objectives)
        items = f"{len(self.numbers):,} items"
        return f"Recommender({self.backbone.name}, {items}, objectives: {names})"

    def recommend(
        self, history: _History, weights: object, k: int = 10, **options: Any
    ) -> Recommendations:
        """Return the k best items that are not in the history, best first.

        ``history``: item ids, oldest first, or a :class:`History`.  Unknown ids are skipped; if all
        are unknown, the most popular items are returned, with a note.

        ``weights``: numbers of 0 or more in the order of ``objectives``, or by name, such as
        ``{"accuracy": 0.7, "diversity": 0.3}``.  Their sum must be 1, unless ``normalise=True``.

        Options: ``only``: return only items of these ids; ``without``: none of these ids;
        ``exclude_seen=False``: also items of the history; ``rerank="xquad"``: re-rank the list for
        variety, the more the smaller the weight of accuracy.

        Raises ``ParagonError`` for invalid arguments.
        """
        given = history if isinstance(history, History) else History(history)
        return self.recommend_many([given], weights, k, **options).one()

    def recommend_many(
        self, histories: Sequence[_History], weights: object, k: int = 10, **options: Any
    ) -> Batch:
        """Recommend for many histories at once; each list is what :meth:`recommend` returns.

        ``weights [B, O]``: a row per history, or one vector or mapping for all.  Options are those
        of :meth:`recommend`.  An invalid history is reported in ``errors`` of the result; all other
        errors raise ``ParagonError``.
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
        blocked = self._blocked(asked)
        pasts: list[Encoded] = []
        errors: dict[int, str] = {}
        for row, history in enumerate(given):
            try:
                pasts.append(self.encode(history, asked.exclude_seen))
            except ParagonError as error:
                pasts.append(Encoded(items=[], times=[], user=-1, seen=[]))
                errors[row] = str(error)
        rerank = asked.rerank is not None
        numbers, scores, left = self.best(pasts, table, asked.k, blocked, rerank)
        for row in np.flatnonzero(left < asked.k).tolist():
            reason = f"k: {k} is more than the {left[row]} items that are left for this history"
            errors.setdefault(row, reason)
        without_list = list(errors)
        numbers[without_list] = 0
        scores[without_list] = 0
        notes: dict[int, tuple[str, ...]] = {}
        for row, past in enumerate(pasts):
            if past.unknown and row not in errors:
                plural = "s" if past.unknown > 1 else ""
                skipped = f"{past.unknown} unknown item{plural} skipped"
                notes[row] = (skipped,) if past.items else (skipped, _POPULAR)
        return Batch(
            data=self.data,
            objectives=self.objectives,
            numbers=numbers,
            scores=scores,
            weights=table,
            notes=notes,
            errors=errors,
        )

    def encode(self, history: Any, exclude_seen: bool = True) -> Encoded:
        """Check a history and convert it to numbers.

        ``exclude_seen``: items of the history may not be recommended.  Raises ``ParagonError`` if
        the history is invalid, or its user is not known.
        """
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
        numbers = [self.numbers.get(item) for item in past.history]  # None: not known
        items = [number for number in numbers if number is not None]
        return Encoded(
            items=items,
            times=list(compress(times, numbers)),  # of the known items
            user=user,
            seen=items if exclude_seen else [],
            unknown=len(numbers) - len(items),
        )

    def _blocked(self, options: Options) -> Tensor | None:
        """Mark the items that the options ``only`` and ``without`` exclude, bool ``[n + 1]``.

        None if neither is given.  Raises ``ParagonError`` for an unknown item.
        """
        if options.only is None and options.without is None:
            return None
        blocked = np.full(len(self.numbers) + 1, options.only is not None)
        for name, ids in (("only", options.only or []), ("without", options.without or [])):
            unknown = [item for item in ids if item not in self.numbers]
            if unknown:
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
        """Return the best items and their scores ``[B, k]``, best first, and how many there were.

        ``weights [B, O]``; ``blocked [n + 1]``: items that are excluded for all; ``rerank``: with
        xQuAD.  The third result, ``[B]``, is the number of items that were not excluded; if it is
        less than k, the end of the list has no meaning.
        """
        numbers = np.zeros((len(pasts), k), dtype=np.int64)
        scores = np.zeros((len(pasts), k), dtype=np.float32)
        left = np.zeros(len(pasts), dtype=np.int64)
        step = self.backbone.rows_at_a_time(_ROWS, len(self._table), _PAIRS)
        reranker = self.reranker if rerank else None
        with torch.inference_mode():
            for start in range(0, len(pasts), step):
                rows = slice(start, start + step)
                if reranker:  # the adapters whose lists are re-ranked
                    sources = [reranker.setting(row).source for row in weights[rows]]
                    vectors = self._sources[sources]  # [b, P]
                else:
                    vectors = self.adapters(weights[rows])  # [b, P]
                scored = self._scores(pasts[rows], vectors, blocked)  # [b, n + 1]
                best = scored.topk(k)
                numbers[rows] = best.indices.cpu()
                scores[rows] = best.values.cpu()
                left[rows] = scored.isfinite().sum(1).cpu()
                for row, past in enumerate(pasts[rows], start):
                    if not past.items:
                        scores[row] = self.popularity[numbers[row]]
                    elif reranker and left[row] >= k:
                        plain = scored[row - start].cpu().numpy()  # [n + 1]
                        numbers[row] = self._reranked(plain, reranker.setting(weights[row]), k)
                        scores[row] = plain[numbers[row]]
        return numbers, scores, left

    def _reranked(self, scores: np.ndarray, setting: Setting, k: int) -> np.ndarray:
        """Return k items ``[k]`` in the order of xQuAD.

        ``scores [n + 1]``, -inf if excluded.  If xQuAD re-ranks fewer than k items, the next best
        items follow.
        """
        scores = scores[None]  # [1, n + 1]
        excluded = np.isneginf(scores)  # [1, n + 1]
        candidates = Candidates(
            items=np.arange(scores.shape[1])[None],
            excluded=excluded,
            targets=np.zeros(1, dtype=np.int64),  # not used
            kinds=self._kinds,
            patterns=self._patterns,
        )
        lists = candidates.best(scores, setting.temperature)
        chosen = lists.reranked(RERANKERS["xquad"], setting, k)[0]  # [k or depth]
        plain = top_k(scores, k, excluded)[0]  # [k]
        return np.append(chosen, plain[len(chosen) :])

    def adapters(self, weights: np.ndarray) -> Tensor:
        """Return adapters ``[b, P]`` for weights ``[b, O]``; generate those that are not cached."""
        keys = [row.tobytes() for row in weights]
        cached = self._adapters
        new = {key: row for row, key in enumerate(keys) if key not in cached}
        if new:
            wanted = torch.from_numpy(weights[list(new.values())])
            vectors = self.generator.generate(wanted)
            cached = cached | dict(zip(new, vectors, strict=True))
            newest = list(cached.items())[-_CACHED:]
            self._adapters = dict(newest)
        return torch.stack([cached[key] for key in keys])

    def scores(self, pasts: list[Encoded], vector: Tensor) -> np.ndarray:
        """Compute the scores ``[B, n + 1]`` with one adapter ``vector [P]``, -inf if excluded."""
        step = self.backbone.rows_at_a_time(_ROWS, len(self._table), _PAIRS)
        vector = vector.to(self._device)
        blocks = []
        with torch.inference_mode():
            for start in range(0, len(pasts), step):
                block = pasts[start : start + step]
                blocks.append(self._scores(block, vector.expand(len(block), -1)))
        return torch.cat(blocks).cpu().numpy()

    def _scores(
        self, pasts: list[Encoded], vectors: Tensor, blocked: Tensor | None = None
    ) -> Tensor:
        """Compute the scores ``[b, n + 1]`` with adapters ``[b, P]``, -inf if excluded.

        Without a known item in the history, the scores are in the order of popularity.
        """
        states = self._states(pasts)  # [b, z]
        all_items = torch.arange(len(self._table), device=self._device)
        adapter = partial(adapt, vectors=vectors, form=self.generator.form)  # one per row
        scores = self.backbone.score_vectors(states, all_items, self._table, adapter)  # [b, n + 1]
        without_history = [row for row, past in enumerate(pasts) if not past.items]
        scores[without_history] = self._popular
        scores[:, 0] = -torch.inf
        rows = np.repeat(np.arange(len(pasts)), [len(past.seen) for past in pasts])
        seen = np.fromiter(chain.from_iterable(past.seen for past in pasts), np.int64, len(rows))
        scores[torch.from_numpy(rows), torch.from_numpy(seen)] = -torch.inf
        return scores if blocked is None else scores.masked_fill(blocked, -torch.inf)

    def _states(self, pasts: list[Encoded]) -> Tensor:
        """Compute the states after histories, ``[b, z]``."""
        last = slice(-self.backbone.history, None)
        context = Context(
            users=torch.tensor([past.user for past in pasts]).to(self._device),  # [b]
            items=_padded([past.items[last] for past in pasts]).to(self._device),  # [b, L]
            times=_padded([past.times[last] for past in pasts]).to(self._device),  # [b, L]
        )
        return self.backbone.last_states(context)

    def index(self) -> tuple[list[str], np.ndarray]:
        """Return the item ids, and a row ``[e_i, g_i]`` for each: ``[n, d + M]``.

        The row joins the item vector and the categories of the item.  Its product with
        :meth:`query` is the item's score, so one vector index serves all histories and weights.
        Raises ``ParagonError`` for a backbone without such a product.
        """
        if not self.backbone.is_dot_product:
            raise ParagonError(f"index: {self.backbone.name} scores each pair of state and item")
        return list(self.numbers), self._table[1:].cpu().numpy().copy()

    @cached_property
    def index_sha256(self) -> str:
        """The checksum of what :meth:`index` returns.

        Keep it with an index made of it, and give it to :meth:`query`.
        """
        ids, rows = self.index()
        return sha256("\0".join(ids).encode() + rows.data).hexdigest()

    def query(
        self, history: Any, weights: object, normalise: bool = False, index: str | None = None
    ) -> np.ndarray:
        """Return the vector whose products with the rows of :meth:`index` are scores: ``[d + M]``.

        It is ``[s', V s' + u]``: the adapted state, and how much it likes each category.
        ``history``, ``weights``, ``normalise``: as for :meth:`recommend`; ``index``: the
        :attr:`index_sha256` kept with an index.  Raises ``ParagonError`` if the index is of another
        recommender, for invalid arguments, and if nothing of the history is known.
        """
        if (index is not None or not self.backbone.is_dot_product) and index != self.index_sha256:
            raise ParagonError("query: not the index of this recommender; make it from `index()`")
        past = self.encode(history)
        wanted = check_weights(weights, self.objectives, normalise)  # [1, O]
        if len(wanted) > 1:
            raise ParagonError(f"weights: {len(wanted)} rows for one history")
        if not past.items:
            raise ParagonError("query: nothing of the history is known")
        with torch.inference_mode():
            vector = self.adapters(wanted.numpy())  # [1, P]
            states = self._states([past]).unsqueeze(0)  # [1, 1, z]
            adapted = adapt(states, vector, self.generator.form)  # [1, 1, d + M]
            return adapted[0, 0].cpu().numpy()

    def weights_for(
        self, accuracy_loss_at_most: float, *, confidence: float = 0.95, users: float | None = None
    ) -> Balance:
        """Return the most diverse balance that loses at most this share of ``NDCG@10`` (0..1).

        The promise is: with this ``confidence`` (0..1), the mean ``NDCG@10`` of ``users`` new users
        is at most this share below that of accuracy alone.  The new users must be like the
        validation users.  ``users``: None for as many as in validation, ``math.inf`` for the long
        run.  If nothing else can be promised, the balance is accuracy alone.

        Raises ``ParagonError`` for invalid arguments, and if the recommender was not measured.
        """
        if self.outcomes is None:
            raise ParagonError(f"weights_for: {_NEVER}")
        asked = {
            "accuracy_loss_at_most": accuracy_loss_at_most,
            "confidence": confidence,
            "users": users,
        }
        checked(Promise, asked, "weights_for")
        ndcg = self.outcomes.ndcg  # [G, N]
        diversity = self.outcomes.diversity  # [G]
        if users is None:
            users = ndcg.shape[1]
        row = 0  # accuracy alone
        if ndcg[0].any():  # a share of 0 is undefined
            row = furthest(ndcg, accuracy_loss_at_most, confidence, users)
        weights = self.outcomes.weights[row].round(6).tolist()
        return Balance(
            weights=dict(zip(self.objectives, weights, strict=True)),
            loss=float(1 - ndcg[row].mean() / ndcg[0].mean()) if row else 0.0,
            bound=float(loss_bounds(ndcg[[0, row]], confidence, users)[1]),
            diversity=float(diversity[row]),
            before=float(diversity[0]),
            confidence=confidence,
            users=users,
        )

    def move_to(self, backbone: Backbone, data: Sequences | None = None) -> "Recommender":
        """Return a recommender with a retrained ``backbone`` and the same generator.

        Adapters are turned as the item vectors have turned (:mod:`paragon.adapters.rotation`);
        nothing is tuned or measured.  ``data``: the training data of the backbone, by default the
        same.  Raises ``ParagonError`` if the item vectors do not fit, or if categories differ.
        """
        popularity = self.popularity if data is None else data.popularity()
        data = data or self.data
        if data.category_names != self.data.category_names:
            changed = {*data.category_names} ^ {*self.data.category_names}
            names = ", ".join(sorted(changed)[:5]) or "their order"
            raise ParagonError(f"categories differ between the recommenders: {names}")
        old = ItemTable(self.data.item_ids, self.backbone.item_vectors(), self.popularity)
        new = ItemTable(data.item_ids, backbone.item_vectors(), popularity)
        rotation = fit_rotation(old, new)

        # Moving adapters is linear: move mean and basis of the latents.
        form = self.generator.form
        model = copy.deepcopy(self.generator.model)
        latent = model.latent
        basis = torch.eye(latent.size) if latent.basis is None else latent.basis
        model.latent = Latent(
            rotation.vectors(latent.mean.cpu(), form),
            rotation.vectors(basis.cpu(), form),
            latent.scale.item(),
        )
        collection = {
            **self.generator.description["collection"],
            "form": asdict(rotation.form(form)),
            "moved": {"fit": float(f"{rotation.fit:.6g}"), "shared": rotation.shared},
        }
        description = self.generator.description | {"collection": collection}
        generator = Generator(model.to(backbone.item_vectors().device), description)
        return Recommender(backbone, generator, data, popularity)


def _padded(rows: list[list[int]]) -> Tensor:
    """Return rows of numbers as ``[b, L]``, with zeros at the end of shorter ones.

    L is the length of the longest row, and 1 at least.
    """
    counts = np.array([len(row) for row in rows])
    inside = np.arange(max(1, counts.max())) < counts[:, None]  # [b, L]
    padded = np.zeros(inside.shape, dtype=np.int64)
    padded[inside] = np.fromiter(chain.from_iterable(rows), np.int64, counts.sum())
    return torch.from_numpy(padded)
