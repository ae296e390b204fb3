"""History and preference weights in, ranked items out: what a user imports first.

>>> from paragon.recommender import Recommender
>>> recommender = Recommender.load("ml-100k", "sasrec")
>>> recommender.recommend(["50", "181"], weights=[0.7, 0.3], k=5)  # somebody new
>>> recommender.recommend(recommender.history_of("196"), weights=[0.7, 0.3])
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import pandas as pd
import torch

from paragon.adapters.adapter import Adapter
from paragon.adapters.frozen import item_features
from paragon.backbones import Backbone, Context
from paragon.data.sequences import Sequences
from paragon.errors import ParagonError
from paragon.generator.generator import Generator
from paragon.report import tables
from paragon.study.study import open_study


@dataclass(frozen=True)
class History:
    """What somebody did: ``items``, ids, oldest first.

    ``times``, in seconds since 1970, and ``user``, an id of the dataset, may be unknown.  Without
    times all events count as simultaneous, which only TiSASRec minds; somebody unknown has no
    embedding and no group, which LightGCN, NGCF and DeepFM mind.
    """

    items: list[str]
    times: list[int] | None = None
    user: str | None = None

    def first(self, count: int) -> History:
        """The first ``count`` events: what was known then."""
        return History(self.items[:count], self.times and self.times[:count], self.user)


class Recommender:
    """A frozen backbone whose balance of objectives follows the weights of each call."""

    def __init__(self, backbone: Backbone, generator: Generator, sequences: Sequences) -> None:
        self.backbone, self.generator, self.sequences = backbone, generator, sequences
        self._item = {name: number for number, name in enumerate(sequences.item_ids, start=1)}
        self._user = {name: number for number, name in enumerate(sequences.user_ids)}

    @classmethod
    def load(cls, dataset: str, backbone: str) -> Recommender:
        """The recommender that the pipeline made, with the generator of the first seed."""
        study = open_study(dataset, backbone)
        sequences = study.load_sequences()
        frozen, description = study.load_backbone(sequences)
        generators = study.load_generators(study.load_collection(description))
        return cls(frozen, generators[0], sequences)

    @property
    def objectives(self) -> list[str]:
        """What the weights are about, in their order."""
        return self.generator.objectives

    def adapter(self, weights: object) -> Adapter:
        """Generate the adapter for one weight vector ``[O]`` and install it: a ready module."""
        vector = self.generator.generate(weights)[0]
        return Adapter.from_vector(vector, self.generator.form).to(self._device)

    def history_of(self, user: str) -> History:
        """Everything a user of the dataset did, events of validation and test included."""
        number = self._number_of(user)
        start, stop = self.sequences.offsets[number : number + 2]
        items = [self.sequences.item_ids[i - 1] for i in self.sequences.items[start:stop]]
        return History(items, self.sequences.times[start:stop].tolist(), user)

    @torch.no_grad()
    def recommend(
        self,
        history: History | Sequence[str],
        weights: object,
        k: int = 10,
        adapter: Adapter | None = None,
    ) -> pd.DataFrame:
        """The k best items that are not in the history, best first.

        ``history``: what :meth:`history_of` gives, or the item ids of somebody else, oldest
        first; ``weights``: O numbers, one an objective, with sum 1; ``adapter`` spares the
        generation when many users share their weights.

        Returns a table, a row an item from rank 1 on: ``item_id``, title, categories and
        ``score``.  Raises ``ParagonError`` for an empty history, a name that is not in the
        dataset, times that do not match the items, impossible weights, and a k out of range.
        """
        history = history if isinstance(history, History) else History(list(history))
        items = self._numbers(history.items)
        times = [0] * len(items) if history.times is None else history.times
        if len(times) != len(items):
            raise ParagonError(f"history: {len(items)} items with {len(times)} times")
        if not 1 <= k <= self.sequences.n_items - len(set(items)):
            raise ParagonError(f"k: {k} is out of range; {self.sequences.n_items} items are known")
        adapter = self.adapter(weights) if adapter is None else adapter
        user = -1 if history.user is None else self._number_of(history.user)
        recent = slice(-self.backbone.history, None)
        context = Context(
            torch.tensor([user], device=self._device),
            torch.tensor([items[recent]], device=self._device),
            torch.tensor([times[recent]], device=self._device),
        )
        states = self.backbone.states(context)  # [1, z]
        features = item_features(adapter.form, self.sequences, self._device)
        scores = self.backbone.score_catalogue(states, adapter, features)[0]  # [n + 1]
        scores[[0, *items]] = -torch.inf  # padding, and what was met
        best = scores.topk(k)
        table = tables.items(self.sequences, best.indices.tolist())
        table.insert(0, "item_id", [self.sequences.item_ids[i - 1] for i in best.indices])
        return table.assign(score=best.values.cpu().numpy())

    @property
    def _device(self) -> torch.device:
        return self.backbone.item_vectors().device

    def _number_of(self, user: str) -> int:
        if user not in self._user:
            raise ParagonError(f"user {user!r} is not in the dataset")
        return self._user[user]

    def _numbers(self, history: Sequence[str]) -> list[int]:
        if not len(history):
            raise ParagonError("history: at least one item is needed")
        for item in history:
            if item not in self._item:
                raise ParagonError(f"history: item {item!r} is not in the dataset")
        return [self._item[item] for item in history]
