"""Scores of the catalogue, some events at a time, and all that measuring needs of them.

So the events times the items need not fit into memory: of every event there remain the rank of
its target, the items that it is shown, and the scores that the losses are of.

Shapes: N events, R of them in a block, C candidates, n items, L items of a served list.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from functools import partial

import numpy as np
import torch
from torch import Tensor

from paragon.adapters.frozen import FrozenTask
from paragon.errors import ParagonError
from paragon.metrics import ranking
from paragon.metrics.checks import row_blocks
from paragon.objectives.lists import served


@dataclass(frozen=True)
class InBlocks:
    """Scores that are computed when they are needed: ``blocks()``, ``[R, n + 1]`` each.

    Equal ``key``, equal scores.
    """

    blocks: Callable[[], Iterable[Tensor]]
    key: bytes

    @classmethod
    def of(cls, task: FrozenTask, vector: Tensor) -> InBlocks:
        """Those of the events of a ``task`` under an adapter ``vector [P]``."""
        return cls(partial(task.catalogue_blocks, vector), vector.cpu().numpy().tobytes())

    def checked(self, where: str) -> InBlocks:
        """The same, with a ``ParagonError`` that says ``where`` a score is not finite."""

        def blocks() -> Iterator[Tensor]:
            for block in self.blocks():
                if not torch.isfinite(block).all():
                    raise ParagonError(f"{where} are not finite")
                yield block

        return replace(self, blocks=blocks)


Scores = np.ndarray | dict[str, np.ndarray] | InBlocks  # see TestBed.measure


def blocks_of(scores: Scores) -> Iterator[tuple[tuple[int, int], np.ndarray, np.ndarray | None]]:
    """The first event and the one after the last, their scores ``[R, n + 1]``, and ``[R, C]``
    where candidates have their own."""
    if isinstance(scores, InBlocks):
        start = 0
        for block in scores.blocks():
            yield (start, start + len(block)), block.cpu().numpy(), None
            start += len(block)
        return
    whole = scores["full"] if isinstance(scores, dict) else scores
    for rows in row_blocks(*whole.shape):
        sampled = scores["sampled"][rows] if isinstance(scores, dict) else None
        yield (rows.start, rows.stop), whole[rows], sampled


def lists_of(
    full: np.ndarray, sampled: np.ndarray | None, candidates: np.ndarray, excluded: np.ndarray,
    depth: int, lengths: tuple[int, int],
) -> dict[str, np.ndarray]:  # fmt: skip
    """What scores ``full [R, n + 1]`` say of R events, under both protocols.

    ``ranks_* [R]`` of the targets and ``shown_* [R, depth]``, the best items; ``sampled [R, C]``:
    scores of the ``candidates [R, C]`` where they are not those of ``full``.  Where they are, also
    what the losses need: ``drawn [R, lengths[0]]``, the scores of the first candidates, ``served
    [R, lengths[1]]``, the items that are served, and ``served_scores``.  ``excluded [R, n + 1]``:
    what the full protocol leaves out.
    """
    found = {}
    if sampled is None:
        sampled = np.take_along_axis(full, candidates, 1)
        found["drawn"] = sampled[:, : lengths[0]].astype(np.float32)
        scores = torch.from_numpy(full).float()
        best = served(scores, torch.from_numpy(excluded), lengths[1])
        found |= {"served": best.numpy(), "served_scores": scores.gather(1, best).numpy()}
    found["ranks_sampled"] = ranking.target_ranks(sampled)
    found["ranks_full"] = ranking.target_ranks(full, candidates[:, 0], excluded)
    found["shown_sampled"] = np.take_along_axis(candidates, ranking.top_k(sampled, depth), 1)
    found["shown_full"] = ranking.top_k(full, depth, excluded)
    return found
