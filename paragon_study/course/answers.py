"""Answers of exercises that a notebook would give away, and common mistakes.

``MISTAKES`` maps the function of an answer to wrong versions of it, which take the same arguments,
each with a hint.
"""

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import pandas as pd

from paragon.rivals.end_to_end import equal_steps


def from_clean(z: float, c: float, a: float, s: float) -> tuple[float, float]:
    """Exercise 04.1: noise and velocity of the noisy latent ``z`` whose clean latent is ``c``."""
    noise = (z - a * c) / s
    velocity = a * noise - s * c
    return noise, velocity


def velocity(none: float, of_weights: float, g: float) -> float:
    """Exercise 04.2: the velocity under guidance ``g``: the formula of the clean latent holds."""
    return none + g * (of_weights - none)


def left_over(width: int, size: int) -> float:
    """Exercise 04.3: the share of noise that a network of this width cannot give back."""
    return 1 - width / size


def equal_cost(settings: Any, section: str = "rivals", **change: int) -> int:
    """Exercise 05.1: the steps of a rival at equal cost.

    A ``change`` of the settings of a ``section`` gives the number of a common mistake.
    """
    changed = getattr(settings, section).model_copy(update=change)
    return equal_steps(settings.model_copy(update={section: changed}))


def times_saved(settings: Any, epochs: float, events: int, together: bool = True) -> float:
    """Exercise 05.2: events that retraining reads, over those that the preparations read.

    Not ``together``: of the preparations, tuning alone.
    """
    adapters = settings.adapters
    generator = settings.generator
    prepared = (adapters.start_steps + adapters.steps) * adapters.batch
    if together:
        prepared += generator.steps * generator.task_rows
    return epochs * events / prepared


def of_a_person(shown: int, wanted: int, close: int = 1) -> str:
    """Exercise 06.4: what a person says who sees ``shown`` categories and wants ``wanted``."""
    if abs(shown - wanted) <= close:
        return "enough"
    return "more" if shown < wanted else "less"


def factor(law: pd.DataFrame) -> float:
    """Exercise 07.2: the regret of `nearest` with five anchors, over that with twenty."""
    five, twenty = _regret_of_nearest(law)
    return five / twenty


def farthest(rows: pd.DataFrame, largest: bool = True) -> str:
    """Exercise 07.3: the method whose ranks by loss and by list are farthest apart (or closest)."""
    ranks = _means(rows).rank()
    distance = (ranks["regret"] - ranks["outcome_error"]).abs()
    return str(distance.idxmax() if largest else distance.idxmin())


def shared(recommender: Any, liked: list, ends: tuple[float, float] = (0.9, 0.1)) -> str:
    """Exercise 08.3: the items in the lists at both ``ends``, sorted, as one text.

    ``ends`` has two weights of accuracy.
    """
    one, other = ends
    first = recommender.recommend(liked, weights=[one, 1 - one]).item_ids
    second = recommender.recommend(liked, weights=[other, 1 - other]).item_ids
    return " ".join(sorted(set(first) & set(second)))


def new_w1(w1: Any, r: Any) -> Any:
    """Exercise 09.2: the first layer for states that were rotated by ``r``."""
    return w1 @ r


def left(as_it_is: pd.DataFrame, moved: pd.DataFrame, size: Callable = np.ptp) -> float:
    """Exercise 09.3: the range of diversity without moving, as a share of that after moving."""
    without = size(as_it_is["alpha_ndcg@10"])
    return float(without / size(moved["alpha_ndcg@10"]))


def _regret_of_nearest(law: pd.DataFrame) -> tuple[float, float]:
    """Return the mean regret of `nearest` with five and with twenty anchors."""
    rows = law[(law["method"] == "nearest") & (law["name"] == "3-sasrec")]
    means = rows.groupby("anchors")["regret_mean"].mean()
    return means[5], means[20]


def _means(rows: pd.DataFrame) -> pd.DataFrame:
    """Return the mean regret and distance from `tuned` of methods that have both."""
    rows = rows[rows["setting"] == "3 objectives, sasrec"]
    return rows.groupby("method")[["regret", "outcome_error"]].mean().dropna()


def _difference(law: pd.DataFrame) -> float:
    five, twenty = _regret_of_nearest(law)
    return five - twenty


MISTAKES: dict[Callable[..., Any], list[tuple[Callable[..., Any], str]]] = {
    velocity: [
        (lambda none, w, g: g * w, "Guidance multiplies the difference of the two, not the whole."),
        (lambda none, w, g: none + g * w, "Add g times the *difference*, not g times the second."),
        (lambda none, w, g: w + g * (w - none), "This starts at the second; start at the first."),
    ],
    equal_cost: [
        (partial(equal_cost, section="generator", task_batch=0), "The generator is missing."),
        (partial(equal_cost, section="adapters", steps=0), "Tuning the anchors is missing."),
        (partial(equal_cost, section="adapters", start_steps=0), "The common start is missing."),
        (partial(equal_cost, rows=1), "A step takes `weights` times `rows` lists."),
    ],
    times_saved: [
        (partial(times_saved, together=False), "The generator has to be trained, too."),
        (
            lambda settings, epochs, events: 1 / times_saved(settings, epochs, events),
            "This is the share that preparing reads.",
        ),
        (lambda s, _, events: times_saved(s, 1, events), "Each epoch reads all events."),
    ],
    factor: [
        (_difference, "This is the difference, not the factor."),
        (lambda law: 1 / factor(law), "This is the factor from five anchors to twenty."),
        (lambda law: factor(law) - 1, "This is by how much it is larger, not by which factor."),
    ],
    farthest: [
        (lambda rows: _means(rows)["outcome_error"].idxmax(), "It is farthest from `tuned`."),
        (lambda rows: _means(rows)["regret"].idxmax(), "This one has the largest regret."),
        (partial(farthest, largest=False), "Its ranks are the closest."),
    ],
    shared: [
        (partial(shared, ends=(0.9, 0.9)), "These are all items of the more accurate list."),
        (partial(shared, ends=(0.1, 0.1)), "These are all items of the more diverse list."),
        (partial(shared, ends=(1.0, 0.0)), "The weights are 0.9 and 0.1, not 1 and 0."),
    ],
    new_w1: [
        (lambda w1, r: w1 @ r.T, "This one is for the way back, from new states to old ones."),
        (lambda w1, r: w1, "This one still reads old states."),
        (lambda w1, r: r[: len(w1), : len(w1)] @ w1, "The states are rotated: on the other side."),
    ],
    left: [
        (
            lambda as_it_is, moved: 1 - left(as_it_is, moved),
            "This is the share that is lost, not what is left.",
        ),
        (lambda as_it_is, moved: left(moved, as_it_is), "Divide by the range after the move."),
        (partial(left, size=np.max), "Divide the ranges, not the largest values."),
    ],
}
