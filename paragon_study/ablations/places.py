"""A recommender with adapters tuned for it, as a place where others are tuned and judged.

The ablations try generated adapters there, :mod:`paragon_study.moves.trials` moved ones.

Shapes: N histories of validation users, W evaluation weights, P parameters of an adapter.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from paragon.adapters.collection import Collection
from paragon.adapters.frozen import FrozenTask, frozen_task
from paragon.adapters.transport import ItemSpace
from paragon.adapters.tuning import tune
from paragon.backbones import Backbone, cached_states, context_of
from paragon.data.negatives import NegativeSampler
from paragon.data.sequences import Sequences
from paragon.evaluation.protocol import Row, Scores, TestSet, held_out, measure_rows
from paragon.evaluation.summary import control_measures
from paragon_study.pipeline.study import Study


@dataclass(frozen=True)
class Place:
    """A recommender with adapters tuned for it, and all that judging others on it needs.

    ``items``: the share of the items, drawn at random, that a map to or from here may use.
    ``seconds``: of one processor, by row.
    """

    study: Study
    sequences: Sequences
    backbone: Backbone
    collection: Collection
    items: float = 1
    seconds: dict[str, float] = field(default_factory=dict)

    @cached_property
    def space(self) -> ItemSpace:
        """What decides where the adapters of this recommender can go."""
        ids, vectors = np.array(self.sequences.item_ids), self.backbone.item_vectors()
        drawn = np.random.default_rng(self.seed).permutation(len(ids))
        kept = np.sort(drawn[: round(self.items * len(ids))])
        rows = np.concatenate([[0], 1 + kept])  # row 0 is padding
        return ItemSpace(list(ids[kept]), vectors[rows], self.sequences.popularity()[rows])

    def states(self) -> Tensor:
        """The states ``[N, d]`` after the histories of validation users; targets are not used."""
        events = self.sequences.valid.users, self.sequences.valid.positions
        context = context_of(self.sequences, *events, self.backbone.history)
        return cached_states(self.backbone, context)

    @cached_property
    def train(self) -> FrozenTask:
        """Training events, to tune adapters on."""
        return frozen_task(self.backbone, self.sequences, "train", self.study.params.adapters)

    @cached_property
    def held_out(self) -> tuple[FrozenTask, FrozenTask, TestSet]:
        """Validation and test events, and what measures on the latter."""
        return held_out(self.sequences, self.backbone, self.study.params.adapters, [10])

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
        _ = self.train, self.held_out  # prepared once, before the clock starts
        start = time.process_time()
        yield
        self.seconds[name] = time.process_time() - start + (self.seconds[before] if before else 0)

    def tuned_on(self, start: Tensor, weights: Tensor, steps: int) -> Tensor:
        """Adapters ``[W, P]`` after ``steps`` from ``start [W, P]``, the rate falling to 0."""
        change = {"steps": steps, "checks": 1, "snapshots": 0}
        settings = self.study.params.adapters.model_copy(update=change)
        events = self.train, self.held_out[0], NegativeSampler(self.sequences)
        return tune(*events, weights, start.unsqueeze(0), settings, [self.seed]).vectors[0]

    def measured(
        self, vectors: Mapping[str, Tensor], seed: int, others: Iterable[Row] = ()
    ) -> pd.DataFrame:
        """The curve of adapters ``[W, P]`` by method, and of rows that have none."""
        (_, test, test_set), weights = self.held_out, self.weights.numpy()
        rows = [
            Row(name, seed, weights, (Scores.of_adapter(test, vector) for vector in own))
            for name, own in vectors.items()
        ]
        return measure_rows(test_set, [*rows, *others])[0]

    def table(self, vectors: Mapping[str, Tensor], others: Iterable[Row] = ()) -> pd.DataFrame:
        """Measures on test users, a row for each method and protocol.

        Of adapters ``[W, P]`` by method, and of rows that have none; `tuned` comes first.
        """
        middle = self.tuned[len(self.weights) // 2]
        every = {"tuned": self.tuned, "constant": middle.expand_as(self.tuned), **vectors}
        lines, curve = [], self.measured(every, self.seed, others)
        for protocol, part in curve.groupby("protocol", sort=False):
            part = part.set_index("method")
            for name in part.index.unique():
                measures = control_measures(part, name, self.objectives)
                values = {key: measure.value for key, measure in measures.items()}
                lines.append({"method": name, "protocol": protocol, "seed": self.seed, **values})
        return pd.DataFrame(lines)

    def own_scores(self, task: FrozenTask) -> np.ndarray:
        """Scores ``[N, n + 1]`` of the backbone without an adapter on the events of ``task``."""
        return task.catalogue_scores(torch.zeros(task.form.size)).numpy()
