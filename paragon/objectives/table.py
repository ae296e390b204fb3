"""The table of objectives, and what they cost a list."""

from __future__ import annotations

from collections.abc import Callable
from collections.abc import Sequence as Seq

import numpy as np
import torch
from torch import Tensor

from paragon.data.sequences import Sequences
from paragon.errors import ParagonError
from paragon.objectives.lists import Lists
from paragon.objectives.losses import accuracy, diversity, fairness, novelty

Objective = Callable[[Tensor, Lists], Tensor]
OBJECTIVES: dict[str, Objective] = {
    "accuracy": accuracy,
    "diversity": diversity,
    "novelty": novelty,
    "fairness": fairness,
}


def objective_losses(names: Seq[str], scores: Tensor, lists: Lists) -> Tensor:
    """The loss of every objective, ``[..., A, O]``, for scores ``[..., B, A, C]``.

    A task's loss is their sum weighted with its preference weights.
    """
    return torch.stack([OBJECTIVES[name](scores, lists) for name in names], -1)


def check_names(names: Seq[str]) -> None:
    """Refuse objectives that do not exist."""
    for name in names:
        if name not in OBJECTIVES:
            raise ParagonError(
                f"params.yaml: adapters.objectives: {name!r} is unknown; "
                f"known: {', '.join(OBJECTIVES)}"
            )


def check_objectives(names: Seq[str], sequences: Sequences) -> None:
    """Refuse objectives that do not exist or that the data cannot support, and say why."""
    check_names(names)
    patterns = np.unique(sequences.categories[1:], axis=0)
    if "diversity" in names and len(patterns) < 2:
        raise ParagonError(
            "objective `diversity` is undefined: all items have the same categories "
            f"({', '.join(sequences.category_names) or 'none'}); give items categories or drop it"
        )
    if "fairness" in names and len(np.unique(sequences.groups[sequences.groups >= 0])) != 2:
        raise ParagonError(
            "objective `fairness` needs users of two groups; "
            f"found: {', '.join(sequences.group_names) or 'no groups'}"
        )
