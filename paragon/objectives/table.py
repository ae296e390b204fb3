"""The table of objectives, and the lists that they judge.

To add an objective, write its loss in this folder and enter it in ``OBJECTIVES``. Shapes: B lists
of C candidates, A adapters, O objectives, n items, M categories.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple

import numpy as np
import torch
from torch import Tensor

from paragon.data.sequences import Met, Pairs, Sequences
from paragon.errors import ParagonError
from paragon.metrics.ranking import ideal_alpha_dcg, self_information
from paragon.objectives import losses
from paragon.objectives.kernels import best_columns
from paragon.objectives.losses import Lists

# What catalogue scores diverge from: the frozen backbone, or the item that came next.
Reference = Literal["backbone", "next item"]
Diverge = Callable[[Reference], Tensor]  # to divergences [..., A, B]
LABELLED = 0.5  # minimum share of items with a category, for diversity


def _no_categories(sequences: Sequences) -> str | None:
    categories = sequences.categories[1:]
    labelled, count = int(categories.any(1).sum()), len(categories)
    if labelled < LABELLED * count:
        reason = f"says little: only {labelled:,} of {count:,} items have a category"
    elif (categories == categories[0]).all():
        names = ", ".join(sequences.category_names)
        reason = f"is undefined: all items have the same categories ({names})"
    else:
        return None
    return f"{reason}; give items categories or drop it"


def _no_groups(sequences: Sequences) -> str | None:
    if len(np.unique(sequences.groups[sequences.groups >= 0])) == 2:
        return None
    names = ", ".join(sequences.group_names) or "no groups"
    return f"needs users of two groups; found: {names}"


def _no_times(sequences: Sequences) -> str | None:
    same = np.ptp(sequences.times[sequences.is_train()]) == 0
    return "is undefined: all training events have the same time" if same else None


class Objective(NamedTuple):
    """One objective: its loss, its metric and the data it needs."""

    # Without a reference `loss(scores, lists)`, scores [..., B, C]; with one
    # `loss(divergences, groups)`, [..., A, B] and [..., B].  The result lacks the last axis of the
    # first argument: it is a mean over lists.
    loss: Callable[..., Tensor]
    metric: str  # measures it; larger is better
    short: str  # its name in results (`r_div`)
    missing: Callable[[Sequences], str | None] = lambda sequences: None  # why data lack it
    reference: Reference | None = None
    by_group: bool = False  # no mean over events: it needs all of them at once


OBJECTIVES: dict[str, Objective] = {
    "accuracy": Objective(losses.accuracy, "ndcg@10", "acc", reference="backbone"),
    "diversity": Objective(losses.diversity, "alpha_ndcg@10", "div", _no_categories),
    "novelty": Objective(losses.novelty, "novelty@10", "nov"),
    "fairness": Objective(
        losses.fairness, "parity@10", "fair", _no_groups, "next item", by_group=True
    ),
    "calibration": Objective(losses.calibration, "calibration@10", "cal", _no_categories),
    "recency": Objective(losses.recency, "recency@10", "rec", _no_times),
}


def metrics_of(names: Sequence[str]) -> list[str]:
    """Return the metric of each objective, in the order of the weights."""
    return [OBJECTIVES[name].metric for name in names]


def check_names(names: Sequence[str]) -> None:
    """Raise ``ParagonError`` for unknown objectives."""
    unknown = [name for name in names if name not in OBJECTIVES]
    if unknown:
        known = f"is unknown; known: {', '.join(OBJECTIVES)}"
        raise ParagonError(f"params.yaml: adapters.objectives: {unknown[0]!r} {known}")


def check_objectives(names: Sequence[str], sequences: Sequences) -> None:
    """Raise ``ParagonError`` for objectives that are unknown or that the data do not support."""
    check_names(names)
    if not sequences.categories.any():
        raise ParagonError("no item has a category, by which all lists are measured; give some")
    for name in names:
        problem = OBJECTIVES[name].missing(sequences)
        if problem:
            raise ParagonError(f"objective `{name}` {problem}")


class Scored(NamedTuple):
    """The lists that each adapter would serve, with the scores of their items."""

    scores: Tensor  # [..., A, B, C]
    lists: Lists

    def losses(self, names: Sequence[str], groups: Tensor, diverge: Diverge) -> Tensor:
        """Compute the losses ``[..., A, O]`` of objectives, for users in ``groups [..., B]``."""
        values: list[Tensor] = []  # of [..., A]
        for name in names:
            objective = OBJECTIVES[name]
            if objective.reference:
                value = objective.loss(diverge(objective.reference), groups)
            else:
                value = objective.loss(self.scores, self.lists)
            values.append(value)
        return torch.stack(values, -1)


@dataclass(frozen=True)
class Catalogue:
    """Features of all items; row 0 is padding."""

    categories: Tensor  # [n + 1, M], 0 or 1
    popularity: Tensor  # [n + 1], log(1 + training events) over its maximum
    recency: Tensor  # [n + 1], 0..1
    ideal: list[float]  # by length: alpha-DCG of the greedily best list of the catalogue

    @classmethod
    def of(cls, sequences: Sequences, longest: int, device: str | torch.device) -> "Catalogue":
        """Build the catalogue of a prepared dataset, for lists of up to ``longest`` items."""
        popularity = torch.from_numpy(sequences.popularity()).float().log1p()
        ideal = ideal_alpha_dcg(sequences.categories[1:], longest)[0]  # [longest]
        popularity = (popularity / popularity.max()).to(device)
        categories = torch.from_numpy(sequences.categories).float().to(device)
        recency = torch.from_numpy(sequences.recency()).float().to(device)
        return cls(categories, popularity, recency, ideal.tolist())

    def lists(self, items: Tensor, history: Tensor, served: int | None = None) -> Lists:
        """Return the features of lists ``[..., B, C]`` for users with ``history [..., B, M]``.

        ``served``: only so many of the best items form the list, and it ends softly; if there are
        no more items than that, or for None, all of them do.
        """
        length = items.shape[-1]
        end = None
        if served is not None and served < length:
            length = end = served
        return Lists(
            categories=self.categories[items],
            popularity=self.popularity[items],
            recency=self.recency[items],
            history=history,
            ideal=self.ideal[min(length, len(self.ideal)) - 1],
            end=end,
        )


def information_of(sequences: Sequences) -> np.ndarray:
    """Return ``self_information`` of each item, from users in training, ``[n + 1]``; row 0 is 0."""
    met = Pairs(*sequences.train_pairs(), sequences.n_items)  # each pair once
    holders = np.bincount(met.keys % (sequences.n_items + 1), minlength=sequences.n_items + 1)
    return np.append(0.0, self_information(holders[1:], sequences.n_users))


def history_shares(met: Met, categories: np.ndarray) -> Tensor:
    """Return the share of each category in what users have met, float64 ``[R, M]``, sum 1 or 0.

    ``categories [n + 1, M]``; an item with several counts for each in equal parts (Steck 2018).
    """
    shares = torch.from_numpy(categories / np.maximum(categories.sum(1, keepdims=True), 1))
    total = met.total(shares)  # [R, M]
    return total / total.sum(1, keepdim=True).clamp(min=1e-12)


@torch.no_grad()
def served(scores: Tensor, met: Tensor, length: int) -> Tensor:
    """Pick the ``length`` best items not ``met [..., n + 1]``: ``[..., length]``, no gradient."""
    # Adding takes a third of the time of `masked_fill`.
    return best_columns(scores + torch.where(met, -torch.inf, 0.0), length)


def fewest_unmet(met: Met, most: int) -> int:
    """Return how many items are left for the user with the fewest, or ``most`` if that is less."""
    # `count` includes repeats, so only users with a high count need an exact look.
    doubtful = torch.nonzero(met.n_items - met.count < most).squeeze(1)
    if not len(doubtful):
        return most
    left = (~met[doubtful].mask()).sum(1)
    return min(most, int(left.min()))


def check_served(met: Met, length: int) -> None:
    """Raise ``ParagonError`` if some user has fewer than ``length`` items left to recommend."""
    fewest = fewest_unmet(met, length)
    if fewest < length:
        doubtful = torch.nonzero(met.n_items - met.count < length).squeeze(1)
        short = int(((~met[doubtful].mask()).sum(1) < length).sum())
        reason = f"{short} of {len(met)} users have fewer left (the least: {fewest})"
        wanted = f"lists of {length} items are to be served, but {reason}"
        raise ParagonError(f"params.yaml: adapters.served: {wanted}; lower adapters.served")
