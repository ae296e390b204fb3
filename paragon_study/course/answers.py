"""Answers to exercises that would give themselves away in a notebook, and common mistakes.

An answer is a function of what the exercise gives; a mistake has the same arguments.
"""

from collections.abc import Callable
from typing import Any

import pandas as pd


def velocity(none: float, of_weights: float, g: float) -> float:
    """Exercise 04.2: the velocity under guidance ``g``."""
    return none + g * (of_weights - none)


def changes(settings: Any, epochs: float, events: int, together: bool = True) -> int:
    """Exercise 05.2: changes of the weights until retraining reads as much as preparing."""
    prepared = settings.adapters.steps * settings.adapters.batch
    if together:
        prepared += settings.generator.steps * settings.generator.behaviour_rows
    return int(-(-prepared // (epochs * events)))


def factor(rows: pd.DataFrame) -> float:
    """Exercise 07.2: the regret of `interpolation` with three anchors, over that with ten."""
    few, many = _of_interpolation(rows)
    return few / many


def farthest(rows: pd.DataFrame) -> str:
    """Exercise 07.3: the method whose mean and median are farthest apart, with three anchors."""
    means = _with_three(rows)
    return str((means["regret"] - means["median"]).abs().idxmax())


def shared(recommender: Any, liked: list, ends: tuple[float, float] = (0.9, 0.1)) -> str:
    """Exercise 08.3: the items in the lists at both ``ends``, sorted, as one text."""
    lists = [set(recommender.recommend(liked, weights=[w, 1 - w]).item_ids) for w in ends]
    return " ".join(sorted(set.intersection(*lists)))


def new_w1(w1: Any, r: Any) -> Any:
    """Exercise 09.2: the first layer for states that were rotated by ``r``."""
    return w1 @ r


def left(before: pd.DataFrame, after: pd.DataFrame) -> float:
    """Exercise 09.3: the range of diversity that is left, as a share."""
    ranges = [
        table["alpha_ndcg@10"].max() - table["alpha_ndcg@10"].min() for table in (before, after)
    ]
    return float(ranges[0] / ranges[1])


def _of_interpolation(rows: pd.DataFrame) -> tuple[float, float]:
    means = rows[rows["method"] == "interpolation"].groupby("setting")["regret"].mean()
    return means["3 anchors"], means["10 anchors"]


def _with_three(rows: pd.DataFrame) -> pd.DataFrame:
    chosen = rows[rows["setting"] == "3 anchors"].groupby("method")
    return chosen[["regret", "median"]].mean().dropna()


MISTAKES: dict[Callable[..., Any], list[tuple[Callable[..., Any], str]]] = {
    velocity: [
        (lambda none, w, g: g * w, "Guidance multiplies the difference of the two, not the whole."),
        (lambda none, w, g: none + g * w, "Add g times the *difference*, not g times the second."),
        (lambda none, w, g: w + g * (w - none), "With g = 1 nothing may change: start without."),
    ],
    changes: [
        (
            lambda s, epochs, events: changes(s, epochs, events, together=False),
            "The generator has to be trained, too.",
        ),
        (lambda *given: changes(*given) - 1, "After that many, retraining has still read less."),
        (
            lambda s, epochs, events: changes(s, 1, events),
            "Retraining reads the events in each epoch.",
        ),
    ],
    factor: [
        (
            lambda rows: _of_interpolation(rows)[0] - _of_interpolation(rows)[1],
            "This is the difference, not the factor.",
        ),
        (lambda rows: 1 / factor(rows), "This is the factor from three anchors to ten."),
        (lambda rows: factor(rows) - 1, "This is by how much it grows, not by which factor."),
    ],
    farthest: [
        (
            lambda rows: str(_with_three(rows)["regret"].idxmax()),
            "This one has the largest mean; its median is large, too.",
        ),
        (
            lambda rows: str(_with_three(rows)["median"].idxmax()),
            "This one has the largest median.",
        ),
        (
            lambda rows: str(_with_three(rows).diff(axis=1)["median"].abs().idxmin()),
            "Its mean and median are the closest.",
        ),
    ],
    shared: [
        (
            lambda r, liked: shared(r, liked, (0.9, 0.9)),
            "These are all items of the more accurate list.",
        ),
        (
            lambda r, liked: shared(r, liked, (0.1, 0.1)),
            "These are all items of the more diverse list.",
        ),
        (
            lambda r, liked: shared(r, liked, (1.0, 0.0)),
            "The weights are 0.9 and 0.1, not 1 and 0.",
        ),
    ],
    new_w1: [
        (lambda w1, r: w1 @ r.T, "This one is for the way back, from new states to old ones."),
        (lambda w1, r: w1, "This one still reads old states."),
        (
            lambda w1, r: r[: len(w1), : len(w1)] @ w1,
            "It is the states that are rotated, on the other side.",
        ),
    ],
    left: [
        (
            lambda before, after: 1 - left(before, after),
            "This is the share that is lost, not the one that is left.",
        ),
        (lambda before, after: left(after, before), "Divide by the range after the move."),
        (
            lambda before, after: float(
                before["alpha_ndcg@10"].max() / after["alpha_ndcg@10"].max()
            ),
            "Divide the ranges, not the largest values.",
        ),
    ],
}
