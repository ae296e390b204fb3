"""A recommender with tuned adapters, on which other adapters are measured.

Shapes: W evaluation weights, O objectives, P parameters of an adapter.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import pandas as pd
from torch import Tensor

from paragon.adapters.collection import Collection
from paragon.adapters.frozen import FrozenTask
from paragon.backbones import Backbone
from paragon.data.sequences import Sequences
from paragon.evaluation.protocol import Row, Scores, TestSet, held_out, measure_rows
from paragon.evaluation.summary import control_measures
from paragon_study.pipeline.study import Study


@dataclass(frozen=True)
class Bench:
    """A recommender with its data and the adapters tuned for it."""

    study: Study
    sequences: Sequences
    backbone: Backbone
    collection: Collection

    @cached_property
    def held_out(self) -> tuple[FrozenTask, FrozenTask, TestSet]:
        """Validation events, test events, and the test set."""
        return held_out(self.sequences, self.backbone, self.study.params.adapters, [10])

    @property
    def objectives(self) -> list[str]:
        """The names of the objectives."""
        return self.study.params.adapters.objectives

    @property
    def weights(self) -> Tensor:
        """The evaluation weights ``[W, O]``."""
        return self.collection.oracles

    def curve(
        self, vectors: Mapping[str, Tensor], others: Iterable[Row] = (), index: int = 0
    ) -> pd.DataFrame:
        """Measure adapters ``[W, P]`` of seed ``index``, and further rows, at each weight."""
        (_, test, test_set), weights = self.held_out, self.weights.numpy()
        seed = self.study.params.run.seeds[index]
        rows = [
            Row(name, seed, weights, (Scores.of_adapter(test, vector) for vector in own))
            for name, own in vectors.items()
        ]
        return measure_rows(test_set, [*rows, *others])[0]

    def measures(self, curve: pd.DataFrame) -> pd.DataFrame:
        """Summarise a curve in a row per method; it must contain `tuned` and `constant`."""
        lines = []
        for (protocol, seed), part in curve.groupby(["protocol", "seed"], sort=False):
            part = part.set_index("method")
            for name in part.index.unique():
                measures = control_measures(part, name, self.objectives)
                values = {k: np.nan if m.value is None else m.value for k, m in measures.items()}
                lines.append({"method": name, "protocol": protocol, "seed": seed, **values})
        return pd.DataFrame(lines)
