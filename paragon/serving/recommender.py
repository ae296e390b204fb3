"""Recommend items for histories and preference weights."""

from __future__ import annotations

import copy
import dataclasses
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from paragon.adapters.rotation import AdapterMap, ItemTable, fit_rotation
from paragon.backbones import Backbone
from paragon.data.sequences import Sequences
from paragon.errors import ParagonError, shown
from paragon.generator.generator import Generator, Latent
from paragon.objectives.weights import check_weights
from paragon.params import checked
from paragon.serving.engine import Engine
from paragon.serving.lists import Batch, History, Options, Past, Recommendations, Request, as_list
from paragon.serving.outcome import Balance

_NEVER = "never measured on validation events; `python -m paragon export DIR` does it"


class Recommender(Engine):
    """A frozen backbone whose balance of objectives follows the weights of each call.

    It is thread-safe.  `weights_for` and `rerank` need measurements, which an export makes.
    """

    @classmethod
    def load(cls, path: str | Path) -> Recommender:
        """Load an exported folder; raise ``ParagonError`` if it is incomplete or altered."""
        from paragon.serving.export import load_folder

        return load_folder(Path(path))

    @property
    def objectives(self) -> list[str]:
        """The objectives, in the order of the weights."""
        return self.generator.objectives

    def __repr__(self) -> str:
        names = ", ".join(self.objectives)
        return (
            f"Recommender({self.backbone.name}, {len(self.numbers):,} items, objectives: {names})"
        )

    def recommend(
        self,
        history: History | Sequence[str],
        weights: object,
        k: int = 10,
        *,
        only: Iterable[str] | None = None,
        without: Iterable[str] | None = None,
        rerank: str | None = None,
        exclude_seen: bool = True,
        normalise: bool = False,
    ) -> Recommendations:
        """Return the k best items that are not in the history, best first.

        ``history``: item ids, oldest first, or a :class:`History`.  Unknown ids are skipped; if all
        are unknown, the most popular items are returned, with a note.  ``weights``: numbers in the
        order of :attr:`objectives`, or ``{"accuracy": 0.7, "diversity": 0.3}``, with sum 1 unless
        ``normalise``.  ``only``: return only these ids; ``without``: none of these.
        ``rerank="xquad"``: re-rank for variety, as far as the weights say.  Raises ``ParagonError``
        for invalid arguments.
        """
        options: dict[str, Any] = {"k": k, "only": only, "without": without, "rerank": rerank}
        options |= {"exclude_seen": exclude_seen, "normalise": normalise}
        return self._answered([history], weights, options).one()

    def recommend_many(
        self,
        histories: Sequence[History | Sequence[str]],
        weights: object,
        k: int = 10,
        **options: Any,
    ) -> Batch:
        """Call :meth:`recommend` for many histories at once.

        ``weights [B, O]``: a row per history, or one vector or mapping for all.  An invalid history
        is reported in ``errors`` of the result; other errors raise ``ParagonError``.
        """
        wanted = as_list(histories)
        if not isinstance(wanted, list) or {str} == {type(own) for own in wanted[:2]}:
            raise ParagonError(f"histories: {shown(histories)} is not a list of lists of item ids")
        return self._answered(wanted, weights, {"k": k, **options})

    def _answered(self, histories: list[Any], weights: object, options: dict[str, Any]) -> Batch:
        asked = self.requests(histories, weights, checked(Options, options, "request."))
        return self.answer(*asked)

    def requests(
        self, histories: list[Any], weights: object, options: Options
    ) -> tuple[list[Request], dict[int, str]]:
        """Check and convert requests; also return, by row, why a history is refused."""
        table = check_weights(weights, self.objectives, options.normalise).numpy()
        if len(table) not in (1, len(histories)):
            raise ParagonError(f"weights: {len(table)} rows for {len(histories)} histories")
        table = np.broadcast_to(table, (len(histories), len(self.objectives)))
        if options.k > len(self.numbers):
            raise ParagonError(
                f"k: {shown(options.k)} is more than the {len(self.numbers):,} items"
            )
        if options.rerank and self.reranker is None:
            raise ParagonError(f"rerank: {_NEVER}")
        how = (options.k, self._blocked(options), options.rerank, options.exclude_seen)
        requests, refused = [], {}
        for row, history in enumerate(histories):
            try:
                past = self._past(history)
            except ParagonError as error:
                past, refused[row] = ([], None, -1, 0), str(error)
            requests.append(Request(*past, table[row], *how))
        return requests, refused

    def _past(self, history: Any) -> tuple[list[int], list[int] | None, int, int]:
        """Return ``items``, ``times``, ``user`` and ``unknown`` of a :class:`Request`."""
        own = history if isinstance(history, History) else History(history)
        past = checked(Past, {"history": own.items, "times": own.times}, "request.")
        if own.user is not None and (not isinstance(own.user, str) or own.user not in self.users):
            why = "" if self.users else "; nobody is known to a model exported without people"
            raise ParagonError(f"user: {shown(own.user)} is not in the data{why}; leave it out")
        user = -1 if own.user is None else self.users[own.user]
        found, times = list(map(self.numbers.get, past.history)), past.times
        known = [number for number in found if number is not None] if None in found else found
        if times is not None:
            times = [time for time, number in zip(times, found, strict=True) if number]
        return known, times, user, len(found) - len(known)  # type: ignore[return-value]

    def _blocked(self, options: Options) -> np.ndarray | None:
        """Mark the items that a filter excludes, ``[n + 1]``."""
        if options.only is None and options.without is None:
            return None
        blocked = np.full(len(self.numbers) + 1, options.only is not None)
        for name, ids in (("only", options.only or []), ("without", options.without or [])):
            unknown = [item for item in ids if item not in self.numbers]
            if unknown:
                more = f" and {len(unknown) - 1} more" if len(unknown) > 1 else ""
                raise ParagonError(f"{name}: item {shown(unknown[0])}{more} is not known")
            blocked[[self.numbers[item] for item in ids]] = name == "without"
        return blocked

    def weights_for(
        self, accuracy_loss_at_most: float, *, confidence: float = 0.95, users: float | None = None
    ) -> Balance:
        """Return the most diverse balance that loses at most this share of ``NDCG@10`` (0..1).

        With this ``confidence``, the mean of ``users`` new users, who must be like the validation
        users, is at most this share below that of accuracy alone.  ``users``: None for the number
        of validation users, ``math.inf`` for the long run.  If nothing can be promised, returns
        accuracy alone.
        """
        if self.outcomes is None:
            raise ParagonError(f"weights_for: {_NEVER}")
        return self.outcomes.weights_for(accuracy_loss_at_most, confidence, users)

    def move_to(self, backbone: Backbone, data: Sequences | None = None) -> Recommender:
        """Move the generator to a retrained ``backbone`` without tuning.

        ``data``: its training data, by default the same as here.  Validation results are not moved.
        ``generator.description["collection"]["moved"]`` says how well the two fit.  Raises
        ``ParagonError`` if they do not (:mod:`paragon.adapters.rotation`), or if categories differ.
        """
        popularity = self.popularity if data is None else data.popularity()
        data = data or self.data
        names = self.data.category_names, data.category_names
        if names[0] != names[1]:
            changed = sorted({*names[0]} ^ {*names[1]}) or ["their order"]
            raise ParagonError(
                f"categories differ between the recommenders: {', '.join(changed[:5])}; adapters "
                "say how much of each is liked"
            )
        rotation = fit_rotation(
            ItemTable(self.data.item_ids, self.backbone.item_vectors(), self.popularity),
            ItemTable(data.item_ids, backbone.item_vectors(), popularity),
        )
        generator = _moved(self.generator, rotation, backbone.item_vectors().device)
        return Recommender(backbone, generator, data, popularity)


def _moved(generator: Generator, rotation: AdapterMap, device: torch.device) -> Generator:
    """Move a generator's adapters, a linear map, by moving mean and basis of the latents."""
    model, old = copy.deepcopy(generator.model), generator.form
    mean, basis = (rotation.vectors(v.cpu(), old) for v in (model.latent.mean, model.latent.basis))
    model.latent = Latent(mean, basis, model.latent.scale.item())
    collection = generator.description["collection"] | {
        "form": dataclasses.asdict(rotation.form(old)),
        "moved": {"fit": float(f"{rotation.fit:.6g}"), "shared": rotation.shared},
    }
    return Generator(model.to(device), generator.description | {"collection": collection})
