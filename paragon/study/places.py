"""A recommender of the trials in :mod:`paragon.study.transport`, as a place for adapters.

In this file: what an old recommender gives away, and how adapters are tuned and judged on a new
one.

Shapes: N histories of validation users, W evaluation weights, P parameters of an adapter.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from paragon.adapters.collection import Collection
from paragon.adapters.frozen import FrozenTask, frozen_task
from paragon.adapters.transport import ItemSpace
from paragon.adapters.tuning import tune
from paragon.backbones import Backbone, cached_states, context_of
from paragon.data.negatives import NegativeSampler
from paragon.data.sequences import Sequences
from paragon.data.split import prepare
from paragon.evaluation.summary import control_measures
from paragon.evaluation.testbed import Row, TestBed, measure_rows
from paragon.study.study import Study, StudyData


@dataclass(frozen=True)
class Origin:
    """What moving needs of an old recommender: adapters, item table, states ``[N, d]``.

    ``data``: the description of what it was trained on.
    """

    collection: Collection
    space: ItemSpace
    states: Tensor
    data: dict

    @classmethod
    def of(cls, sequences: Sequences, backbone: Backbone, collection: Collection) -> Origin:
        """Of a recommender that was trained on ``sequences``."""
        space, states = space_of(backbone, sequences), states_of(backbone, sequences)
        return cls(collection, space, states, sequences.description)


def sequences_before(study: Study, days: float) -> Sequences:
    """The study's data as they were that many ``days`` before their last event."""
    if not days:
        return study.load_sequences()
    rules = study.params.data
    dataset = StudyData(study.dataset, rules).load()
    times = dataset.interactions["timestamp"]
    before = dataset.interactions[times <= times.max() - 86_400 * days]
    return prepare(replace(dataset, interactions=before), **rules.model_dump())


def space_of(backbone: Backbone, sequences: Sequences) -> ItemSpace:
    """What decides where the adapters of a backbone can go."""
    return ItemSpace(sequences.item_ids, backbone.item_vectors(), sequences.popularity())


def states_of(backbone: Backbone, sequences: Sequences) -> Tensor:
    """The states ``[N, d]`` after the histories of the validation users; targets are not used."""
    events = sequences.valid.users, sequences.valid.positions
    return cached_states(backbone, context_of(sequences, *events, backbone.history))


@dataclass(frozen=True)
class Place:
    """A new recommender with adapters tuned there, and all that judging others there needs.

    ``seconds``: of one processor, by row.
    """

    study: Study
    sequences: Sequences
    backbone: Backbone
    collection: Collection
    train: FrozenTask
    valid: FrozenTask
    test: FrozenTask
    bed: TestBed
    seconds: dict[str, float] = field(default_factory=dict)

    @classmethod
    def of(
        cls, study: Study, sequences: Sequences, backbone: Backbone, collection: Collection
    ) -> Place:
        """Prepare all that judging needs, once."""
        train = frozen_task(backbone, sequences, "train", study.params.adapters)
        held_out = study.held_out(sequences, backbone, cutoffs=[10])
        return cls(study, sequences, backbone, collection, train, *held_out)

    @property
    def seed(self) -> int:
        """The seed of the recommender and of its adapters."""
        return self.study.params.run.seeds[0]

    @property
    def objectives(self) -> list[str]:
        """What the weights are about."""
        return self.study.params.adapters.objectives

    @property
    def weights(self) -> Tensor:
        """The evaluation weights ``[W, O]``."""
        return self.collection.oracles

    @property
    def tuned(self) -> Tensor:
        """The adapters tuned here for them, ``[W, P]``."""
        return self.collection.oracle_vectors[0]

    @contextmanager
    def timed(self, name: str, before: str | None = None) -> Iterator[None]:
        """Keep the processor time of a block, added to that of the row ``before``."""
        start = time.process_time()
        yield
        self.seconds[name] = time.process_time() - start + (self.seconds[before] if before else 0)

    def tuned_on(self, start: Tensor, weights: Tensor, steps: int) -> Tensor:
        """Adapters ``[W, P]`` after ``steps`` from ``start [W, P]``, the rate falling to 0."""
        settings = self.study.params.adapters.model_copy(
            update={"steps": steps, "checks": 1, "snapshots": 0}
        )
        sampler = NegativeSampler(self.sequences)
        tasks = self.train, self.valid, sampler
        return tune(*tasks, weights, start.unsqueeze(0), settings, [self.seed]).vectors[0]

    def rows(
        self, vectors: Mapping[str, Tensor], others: Iterable[Row] = ()
    ) -> list[dict[str, Any]]:
        """Measures on test users, a row for each method and protocol.

        Of adapters ``[W, P]`` by method, and of rows that have none; `tuned` comes first.
        """
        middle = self.tuned[len(self.weights) // 2]
        every = {"tuned": self.tuned, "constant": middle.expand_as(self.tuned), **vectors}
        weights = self.weights.numpy()
        measured = [
            Row(name, self.seed, weights, (self.test.catalogue_scores(v).numpy() for v in own))
            for name, own in every.items()
        ]
        found = []
        curve = measure_rows(self.bed, [*measured, *others])
        for protocol, part in curve.groupby("protocol", sort=False):
            part = part.set_index("method")
            for name in part.index.unique():
                measures = control_measures(part, name, self.objectives)
                values = {key: measure.value for key, measure in measures.items()}
                found.append({"method": name, "protocol": protocol, "seed": self.seed, **values})
        return found

    def own_scores(self, task: FrozenTask) -> np.ndarray:
        """Scores ``[N, n + 1]`` of the backbone without an adapter on the events of ``task``."""
        return task.catalogue_scores(torch.zeros(task.form.size)).numpy()
