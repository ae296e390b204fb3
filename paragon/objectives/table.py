"""The table of objectives. To add one, write its loss in this folder and enter it here."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from paragon.data.sequences import Sequences
from paragon.errors import ParagonError
from paragon.objectives import losses
from paragon.objectives.lists import Lists

LABELLED = 0.5  # minimum share of items with a category, for diversity


def _no_categories(sequences: Sequences) -> str | None:
    categories = sequences.categories[1:]
    labelled, count = int(categories.any(1).sum()), len(categories)
    if labelled < LABELLED * count:
        return (
            f"objective `diversity` says little: only {labelled:,} of {count:,} items have a "
            "category, so a list would be diverse for holding any; give items categories or drop it"
        )
    if len(np.unique(categories, axis=0)) >= 2:
        return None
    names = ", ".join(sequences.category_names)
    return (
        f"objective `diversity` is undefined: all items have the same categories ({names}); "
        "give items categories or drop it"
    )


def _no_groups(sequences: Sequences) -> str | None:
    if len(np.unique(sequences.groups[sequences.groups >= 0])) == 2:
        return None
    names = ", ".join(sequences.group_names) or "no groups"
    return f"objective `fairness` needs users of two groups; found: {names}"


class Objective(NamedTuple):
    """One objective: its loss, its metric and the data it needs.

    ``loss(scores [..., B, A, C], lists) -> [..., A]`` is minimised; ``metric`` measures it, larger
    is better; ``short`` is its name in results (``r_div``); ``missing`` says why a dataset does not
    support it, or None; ``served``: judge served lists, not the target against negatives.
    """

    loss: Callable[[Tensor, Lists], Tensor]
    metric: str
    short: str
    missing: Callable[[Sequences], str | None] = lambda sequences: None
    served: bool = False


OBJECTIVES: dict[str, Objective] = {
    "accuracy": Objective(losses.accuracy, "ndcg@10", "acc"),
    "diversity": Objective(losses.diversity, "alpha_ndcg@10", "div", _no_categories, served=True),
    "novelty": Objective(losses.novelty, "novelty@10", "nov", served=True),
    "fairness": Objective(losses.fairness, "parity@10", "fair", _no_groups),
}


class Scored(NamedTuple):
    """Lists with the scores of their items, ``[..., B, A, C]``."""

    scores: Tensor
    lists: Lists


def objective_losses(names: Sequence[str], drawn: Scored, served: Callable[[], Scored]) -> Tensor:
    """Compute the losses of the objectives, ``[..., A, O]``.

    ``drawn``: lists of the target and negatives, scores ``[..., B, A, C]``; ``served()``: the
    lists that each task would serve, ``[..., A, B, 1, C]``, called only if needed.
    """
    entries = [OBJECTIVES[name] for name in names]
    lists = served() if any(entry.served for entry in entries) else drawn
    parts = [
        e.loss(*lists).squeeze(-1) if e.served else e.loss(*drawn) for e in entries
    ]  # [..., A]
    return torch.stack(parts, -1)


def metrics_of(names: Sequence[str]) -> list[str]:
    """Return the metric of each objective, in the order of the weights."""
    return [OBJECTIVES[name].metric for name in names]


def check_names(names: Sequence[str]) -> None:
    """Raise ``ParagonError`` for unknown objectives."""
    for name in names:
        if name not in OBJECTIVES:
            raise ParagonError(
                f"params.yaml: adapters.objectives: {name!r} is unknown; "
                f"known: {', '.join(OBJECTIVES)}"
            )


def check_objectives(names: Sequence[str], sequences: Sequences) -> None:
    """Raise ``ParagonError`` for objectives that are unknown or that the data do not support."""
    check_names(names)
    if not sequences.categories.any():
        raise ParagonError(
            "no item has a category, and every method is measured by the categories in its lists: "
            "give items categories"
        )
    for name in names:
        problem = OBJECTIVES[name].missing(sequences)
        if problem:
            raise ParagonError(problem)
