"""Histories and preference weights in, ranked items out: what a user imports first.

>>> from paragon import Recommender
>>> recommender = Recommender.load("model")
>>> recommender.recommend(["50", "181"], weights={"accuracy": 0.7, "diversity": 0.3}, k=5)

In this file: what can be asked.  ``engine.py`` computes the answers.

Shapes: B requests, O objectives.
"""

from __future__ import annotations

import copy
import dataclasses
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
import torch

from paragon.adapters.transport import ItemSpace, Transport, fit_transport
from paragon.backbones import Backbone
from paragon.data.sequences import Sequences
from paragon.errors import ParagonError, shown
from paragon.generator.generator import Generator, Latent
from paragon.serving.engine import Engine, Reranker
from paragon.serving.folder import load_folder
from paragon.serving.items import Items
from paragon.serving.lists import Batch, Recommendations
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
        self.items = Items.of(items)
        self.backbone, self.generator = backbone, generator
        self.outcomes, self.reranker = outcomes, reranker
        self.engine = Engine(backbone, generator, self.items, reranker)

    @classmethod
    def load(cls, path: str | Path) -> Recommender:
        """The recommender of an exported folder (``python -m paragon export``).

        Raises ``ParagonError`` where a file is missing, altered, or of another version.
        """
        return cls(**load_folder(Path(path)))

    def move_to(self, backbone: Backbone, items: Items | Sequences | None = None) -> Recommender:
        """The same control for a ``backbone`` that was trained anew; nothing is tuned.

        ``items``: its items, those of this recommender if left out.  What was measured on
        validation events is not carried over.  ``generator.description`` says under
        ``collection`` and ``moved`` how well the two fit.  Raises ``ParagonError`` where they do
        not (:mod:`paragon.adapters.transport`), and for other categories.
        """
        own = Items.of(items or self.items)
        names = self.items.category_names, own.category_names
        if names[0] != names[1]:
            changed = sorted({*names[0]} ^ {*names[1]}) or ["their order"]
            raise ParagonError(
                f"categories differ between the recommenders: {', '.join(changed[:5])}; adapters "
                "say how much of each category is liked, so both need the same"
            )
        vectors = backbone.item_vectors()
        transport = fit_transport(
            ItemSpace(self.items.ids, self.backbone.item_vectors(), self.items.popularity),
            ItemSpace(own.ids, vectors, own.popularity),
        )
        return Recommender(backbone, _moved(self.generator, transport, vectors.device), own)

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

        Raises ``ParagonError`` for what makes no sense, for example a text instead of a list.
        """
        row = check_one_weights(weights, self.objectives, normalise)
        options = self.options(k, only, without, rerank, exclude_seen)
        request = Request(*check_history(history, self.items), row, *options)
        return self.engine.answer([request]).one()

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
        it.  Raises ``ParagonError`` for anything else that makes no sense.
        """
        if isinstance(histories, str | bytes) or not isinstance(histories, Iterable):
            raise ParagonError(f"histories: {shown(histories)} is not a list of histories")
        histories = list(histories)
        if histories and all(isinstance(history, str) for history in histories[:2]):
            raise ParagonError("histories: one history was given; put it into a list of histories")
        table = check_many_weights(weights, self.objectives, len(histories), normalise)
        options = self.options(k, only, without, rerank, exclude_seen)
        requests: list[Request] = []
        refused: dict[int, str] = {}
        for row, (history, own) in enumerate(zip(histories, table, strict=True)):
            try:
                found = check_history(history, self.items)
            except ParagonError as error:
                refused[row], found = str(error), ([], None, -1, 1)
            requests.append(Request(*found, own, *options))
        return self.engine.answer(requests, refused)

    def weights_for(
        self, accuracy_loss_at_most: float, *, confidence: float = 0.95, users: float | None = None
    ) -> Balance:
        """The most diverse balance that costs at most this share of ``NDCG@10``, as weights.

        See :meth:`paragon.serving.outcome.Outcomes.weights_for` for what is promised, and of whom.
        """
        if self.outcomes is None:
            raise ParagonError(
                "this recommender was never measured on validation events; one that was exported "
                "(`python -m paragon export DIR`) was"
            )
        return self.outcomes.weights_for(accuracy_loss_at_most, confidence, users)

    def options(
        self,
        k: object,
        only: Iterable[str] | None = None,
        without: Iterable[str] | None = None,
        rerank: object = None,
        exclude_seen: bool = True,
    ) -> tuple[int, np.ndarray | None, str | None, bool]:
        """What a :class:`Request` has after its weights: the options of a list, checked."""
        again = check_rerank(rerank, fitted=self.reranker is not None)
        return check_k(k, self.items), check_filter(only, without, self.items), again, exclude_seen


def _moved(generator: Generator, transport: Transport, device: torch.device) -> Generator:
    """A generator on ``device`` whose adapters are moved.

    A generated adapter is a linear function of its latent, and the map of adapters is linear too.
    So the mean and the directions of the latent space are moved; the diffusion model stays.
    """
    model, old = copy.deepcopy(generator.model), generator.form
    mean, basis = (transport.vectors(v.cpu(), old) for v in (model.latent.mean, model.latent.basis))
    model.latent = Latent(mean, basis, model.latent.scale.item())
    collection = generator.description["collection"] | {
        "form": dataclasses.asdict(transport.form(old)),
        "moved": transport.description,
    }
    return Generator(model.to(device), generator.description | {"collection": collection})
