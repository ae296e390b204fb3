"""Histories and preference weights in, ranked items out: what a user imports first.

>>> from paragon import Recommender
>>> recommender = Recommender.load("model")
>>> recommender.recommend(["50", "181"], weights={"accuracy": 0.7, "diversity": 0.3}, k=5)

In this file: what can be asked.  ``engine.py`` computes the answers.

Shapes: B requests, O objectives.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np

from paragon.backbones import Backbone
from paragon.data.sequences import Sequences
from paragon.errors import ParagonError
from paragon.generator.generator import Generator
from paragon.serving.engine import Engine
from paragon.serving.items import Items
from paragon.serving.lists import Batch, Recommendations
from paragon.serving.move import fit_between, move_generator
from paragon.serving.outcome import Balance, Outcomes
from paragon.serving.requests import (
    History,
    Request,
    check_filter,
    check_history,
    check_k,
    check_many_weights,
    check_one_weights,
    check_rerank,
)
from paragon.serving.reranker import Reranker


class Recommender:
    """A frozen backbone whose balance of objectives follows the weights of each call.

    It changes nothing in the process (no number of threads, no random state) and may be used by
    several threads at once.  ``outcomes`` and ``reranker`` are measured on validation events when
    a model is exported; without them `weights_for` and `rerank` are not possible.
    """

    def __init__(
        self,
        backbone: Backbone,
        generator: Generator,
        items: Items | Sequences,
        outcomes: Outcomes | None = None,
        reranker: Reranker | None = None,
    ) -> None:
        self.items = Items.of(items) if isinstance(items, Sequences) else items
        self.backbone, self.generator = backbone, generator
        self.outcomes, self.reranker = outcomes, reranker
        self.engine = Engine(backbone, generator, self.items, reranker)

    @classmethod
    def load(cls, path: str | Path) -> Recommender:
        """The recommender of an exported folder (``python -m paragon export``).

        Raises ``ParagonError`` where a file is missing, altered, or of another version.
        """
        from paragon.serving.folder import load_folder

        return cls(**load_folder(Path(path)))

    def move_to(self, backbone: Backbone, items: Items | Sequences | None = None) -> Recommender:
        """The same control for a ``backbone`` that was trained anew; nothing is tuned.

        ``items``: its items, those of this recommender if left out.  What was measured on
        validation events is not carried over.  ``generator.description`` says under
        ``collection`` and ``moved`` how well the two fit.  Raises ``ParagonError`` where they do
        not (:mod:`paragon.adapters.transport`).
        """
        own = Items.of(items) if isinstance(items, Sequences) else items or self.items
        transport = fit_between(self.backbone, self.items, backbone, own)
        return Recommender(backbone, move_generator(self.generator, transport), own)

    @property
    def objectives(self) -> list[str]:
        """What the weights are about, in their order."""
        return self.generator.objectives

    def __repr__(self) -> str:
        return (
            f"Recommender({self.backbone.name}, {len(self.items):,} items, objectives: "
            f"{', '.join(self.objectives)})"
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
        """The k best items that are not in the history, best first.

        ``history``: item ids, oldest first, or a :class:`History`.  Unknown ids are skipped; if
        all are unknown, the most popular items are shown; ``notes`` of the result say so.
        ``weights``: ``{"accuracy": 0.7, "diversity": 0.3}``, or O numbers in the order of
        :attr:`objectives`, with the sum 1; ``normalise`` divides them by their sum.
        ``only``, ``without``: ids that alone may be shown, or may not.  ``rerank="xquad"``: re-rank
        the list of an adapter for variety; the weights then say how far.

        Raises ``ParagonError`` for whatever cannot be meant, for example a text instead of a list.
        """
        row = check_one_weights(weights, self.objectives, normalise)
        request = self.request(history, row, k, only, without, rerank, exclude_seen)
        return self.answer([request]).one()

    def recommend_many(
        self,
        histories: Sequence[History | Sequence[str]],
        weights: object,
        k: int = 10,
        *,
        only: Iterable[str] | None = None,
        without: Iterable[str] | None = None,
        rerank: str | None = None,
        exclude_seen: bool = True,
        normalise: bool = False,
    ) -> Batch:
        """:meth:`recommend` for many people at once, each with weights of their own.

        ``weights [B, O]``: a row for each of B histories, or one vector (or mapping) for all.
        A history that cannot be served does not stop the others: ``errors`` of the result names
        it.  Raises ``ParagonError`` for whatever else cannot be meant.
        """
        if isinstance(histories, str | bytes) or not isinstance(histories, Iterable):
            raise ParagonError(f"histories: {histories!r} is not a list of histories")
        histories = list(histories)
        if histories and all(isinstance(history, str) for history in histories[:2]):
            raise ParagonError("histories: one history was given; put it into a list of histories")
        table = check_many_weights(weights, self.objectives, len(histories), normalise)
        k, rerank = check_k(k, self.items), self._reranking(rerank)
        blocked = check_filter(only, without, self.items)
        requests: list[Request] = []
        refused: dict[int, str] = {}
        for row, (history, own) in enumerate(zip(histories, table, strict=True)):
            try:
                items, times, user, unknown = check_history(history, self.items)
            except ParagonError as error:
                refused[row] = str(error)
                items, times, user, unknown = [], None, -1, 1
            requests.append(
                Request(items, times, user, unknown, own, k, blocked, rerank, exclude_seen)
            )
        return self.engine.answer(requests, refused)

    def weights_for(
        self, accuracy_loss_at_most: float, *, confidence: float = 0.95, users: float | None = None
    ) -> Balance:
        """The most diverse balance that costs at most this share of NDCG@10, as weights.

        See :meth:`paragon.serving.outcome.Outcomes.weights_for` for what is promised, and of whom.
        """
        if self.outcomes is None:
            raise ParagonError(
                "this recommender was never measured on validation events; one that was exported "
                "(`python -m paragon export DIR`) was"
            )
        return self.outcomes.weights_for(accuracy_loss_at_most, confidence, users)

    def answer(self, requests: list[Request]) -> Batch:
        """The lists of checked requests (:meth:`request`), all in one computation."""
        return self.engine.answer(requests)

    def request(
        self,
        history: History | Sequence[str],
        weights: np.ndarray,
        k: int = 10,
        only: Iterable[str] | None = None,
        without: Iterable[str] | None = None,
        rerank: str | None = None,
        exclude_seen: bool = True,
    ) -> Request:
        """What :meth:`answer` takes: everything checked; ``weights [O]`` are so already."""
        k, rerank = check_k(k, self.items), self._reranking(rerank)
        found = check_history(history, self.items)
        blocked = check_filter(only, without, self.items)
        return Request(*found, weights, k, blocked, rerank, exclude_seen)

    def _reranking(self, rerank: object) -> str | None:
        name = check_rerank(rerank)
        if name is not None and self.reranker is None:
            raise ParagonError(
                f"rerank: {name!r} was never fitted on validation events; a recommender that was "
                "exported (`python -m paragon export DIR`) has it"
            )
        return name
