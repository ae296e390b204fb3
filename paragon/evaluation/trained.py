"""What takes part in the comparison: everything that was trained, and the test events."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from paragon.adapters.collection import Collection
from paragon.adapters.frozen import FrozenTask
from paragon.evaluation.testbed import TestBed
from paragon.generator.generator import Generator
from paragon.generator.published import Published
from paragon.rivals.end_to_end import EndToEnd
from paragon.rivals.retrain import Retrained


@dataclass(frozen=True)
class Trained:
    """All that was trained for a study, with the events that it is measured on.

    ``published``: the paper's generator, for the first seeds or for none; ``learned``: the
    rivals trained end to end, those of each seed by name; ``category_bias [S, W, M]``: numbers
    for every category; ``retrained``: by seed one model for each of the ``retrain_weights
    [R, O]``, which may be loaded when they are needed.
    """

    bed: TestBed
    valid: FrozenTask
    test: FrozenTask
    collection: Collection
    generators: Sequence[Generator]
    published: Sequence[Published]
    learned: Sequence[Mapping[str, EndToEnd]]
    category_bias: Tensor
    retrain_weights: Tensor
    retrained: Mapping[int, Iterator[Retrained]]

    @property
    def weights(self) -> Tensor:
        """The evaluation weights ``[W, O]``."""
        return self.collection.oracles

    @property
    def seeds(self) -> list[int]:
        """The seeds of adapters and generators."""
        return self.collection.description["seeds"]

    def own_scores(self) -> np.ndarray:
        """Scores ``[N, n_items + 1]`` of the backbone without an adapter."""
        return self.test.catalogue_scores(torch.zeros(self.test.form.size)).cpu().numpy()


@dataclass(frozen=True)
class OneSeed:
    """What was trained with the seed of this ``index``."""

    trained: Trained
    index: int

    @property
    def generator(self) -> Generator:
        """The generator of this seed."""
        return self.trained.generators[self.index]

    def shuffled(self) -> tuple[Tensor, np.random.Generator]:
        """The evaluation weights in another order, and the random numbers that go on from there."""
        rng = np.random.default_rng([self.trained.seeds[self.index], 4])
        order = torch.from_numpy(rng.permutation(len(self.trained.weights)))
        return self.trained.weights[order], rng
