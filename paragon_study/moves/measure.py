"""Measure adapters and generators that were moved to another recommender, on its test users.

Shapes: W evaluation weights, O objectives, P parameters of an adapter, d numbers of an old state, e
of a new one, K old recommenders, A weights that each has adapters for.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import partial
from typing import NamedTuple

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from paragon.adapters.adapter import start_vectors
from paragon.adapters.collection import Collection
from paragon.adapters.rotation import AdapterMap, fit_rotation, procrustes
from paragon.data.negatives import NegativeSampler
from paragon.evaluation.evaluate import significant
from paragon.evaluation.protocol import Row, Scores
from paragon.generator.training import Behaviour, behaviour, train_generator
from paragon.rivals.end_to_end import train_end_to_end
from paragon_study.ablations.ablate import pooled
from paragon_study.ablations.trials import joined, replace_rows
from paragon_study.moves import maps
from paragon_study.moves.recommenders import SIDES, Moves, Place, named_by_title, place_of


def measure_recommender(plan: Moves, name: str) -> pd.DataFrame:
    """Measure the backbone, and adapters tuned from scratch, without any move."""
    tables = []
    for side in SIDES:
        place = place_of(plan, name, side)
        form, weights = place.collection.form, place.weights
        start = start_vectors(form, len(weights), [place.seed])[0]  # [W, P]
        vectors = {"backbone": torch.zeros_like(place.tuned)}
        for steps in plan.steps:
            with place.timed(row := f"scratch_{steps}"):
                vectors[row] = place.tuned_on(start, weights, steps)
        tables.append(table_of(place, vectors).assign(side=side))
        place.seconds["tuned"] = place.collection.description["seconds"]
        write_seconds(plan, "recommenders", name, side, place.seconds)
    return joined(tables)


def measure_move(plan: Moves, name: str) -> pd.DataFrame:
    """Measure the adapters of an old recommender on a new one."""
    entry, known, tables = plan.moves[name], plan.recommenders, []
    other = known[entry.old].dataset != known[entry.new].dataset
    for side in ["state_only"] if other else SIDES:  # categories differ
        old, place = (place_of(plan, one, side) for one in (entry.old, entry.new))
        if other:
            old, place = named_by_title(old), named_by_title(place)
        old = dataclasses.replace(old, items=entry.items)
        rotation = fit_rotation(old.table, place.table)
        vectors = moved(place, old, plan) | controls(place, old, rotation)
        about = {"side": side, "fit": rotation.fit, "shared": rotation.shared}
        tables.append(table_of(place, vectors).assign(**about))
        write_seconds(plan, "moves", name, side, place.seconds)
    return joined(tables, **entry.model_dump())


def measure_generator(plan: Moves, name: str) -> pd.DataFrame:
    """Measure generators trained on moved adapters, and simpler methods."""
    entry, tables = plan.generators[name], []
    for side in SIDES:
        new = place_of(plan, entry.new, side)
        olds = [Old.of(place_of(plan, one, side), new) for one in entry.old]
        about = {"side": side, "olds": len(olds), "fit": max(old.there.fit for old in olds)}
        tables.append(table_of(new, *rows_from(olds, new)).assign(**about))
    return joined(tables, kind=entry.kind, new=entry.new)


TRIALS = {
    "recommenders": measure_recommender,
    "moves": measure_move,
    "generators": measure_generator,
}


def write_seconds(plan: Moves, kind: str, name: str, side: str, seconds: dict[str, float]) -> None:
    """Write the processor seconds of the methods of a trial."""
    lines = [(kind, name, side, row, significant(value, 3)) for row, value in seconds.items()]
    key = ["kind", "name", "side"]
    table = pd.DataFrame(lines, columns=[*key, "method", "seconds"])
    replace_rows(plan.results / "seconds.csv", table, key)


def table_of(
    place: Place, vectors: Mapping[str, Tensor], others: Iterable[Row] = ()
) -> pd.DataFrame:
    """Measure adapters ``[W, P]`` by method, and further rows, together with `tuned`."""
    middle = place.tuned[len(place.weights) // 2].expand_as(place.tuned)
    first = {"tuned": place.tuned, "constant": middle}
    return place.measures(place.curve({**first, **vectors}, others))


def controls(place: Place, old: Place, rotation: AdapterMap) -> dict[str, Tensor]:
    """Return controls ``[W, P]``: unchanged adapters, and a random rotation of the same scale."""
    form, vectors = old.collection.form, old.tuned
    rng = torch.Generator().manual_seed(place.seed)
    noise = torch.randn(rotation.write.shape, generator=rng, dtype=torch.double)  # [d, e]
    ones = torch.ones(len(noise), dtype=torch.double)
    turn = procrustes(torch.eye(len(noise), dtype=torch.double), noise, ones)
    scale = rotation.read.norm() / turn.norm()
    aimless = dataclasses.replace(rotation, read=scale * turn.T, write=turn / scale)
    rows = {"random_rotation": aimless.vectors(vectors, form)}
    return rows if form != place.collection.form else {"as_it_is": vectors, **rows}


def moved(place: Place, old: Place, plan: Moves) -> dict[str, Tensor]:
    """Move adapters ``[W, P]`` from ``old`` with each method."""
    states, rows = old.states(), {}
    fit = partial(fit_rotation, old.table, place.table)
    ways: dict[str, Callable[[], AdapterMap]] = {
        "moved": fit,
        "moved_means": lambda: maps.with_means(fit(), states, place.states()),
        "moved_least_squares": lambda: maps.least_squares(fit(), states, place.states()),
    }
    if old.sequences.description != place.sequences.description:
        del ways["moved_least_squares"]  # it needs the same histories, row by row
    for name, way in ways.items():
        with place.timed(name):
            rows[name] = way().vectors(old.tuned, old.collection.form)
    choice = maps.candidates(ways["moved_means"](), old.collection)
    start, weights = rows["moved_means"], place.weights
    with place.timed("moved_calibrated", "moved_means"):
        valid = place.held_out[0]
        rows["moved_calibrated"] = maps.calibrate(valid, choice, weights, place.objectives)
    with place.timed("moved_two_anchors", "moved_means"):
        two = [int((weights[:, 0] - weight).abs().argmin()) for weight in plan.anchors]
        further = place.tuned_on(start[two], weights[two], plan.anchor_steps)
        change = further - start[two]
        rows["moved_two_anchors"] = maps.corrected(start, weights, weights[two], change)
    for steps in plan.steps:
        with place.timed(name := f"moved_{steps}", "moved_means"):
            rows[name] = place.tuned_on(start, weights, steps)
    return rows


class Old(NamedTuple):
    """An old recommender, maps there and back, moved ``vectors [A, P]``: anchors, oracles."""

    place: Place
    there: AdapterMap
    back: AdapterMap
    vectors: Tensor

    @classmethod
    def of(cls, place: Place, new: Place) -> Old:
        """Fit both maps from the item vectors alone."""
        there, own = fit_rotation(place.table, new.table), place.collection
        vectors = torch.cat([own.anchor_vectors[0], own.oracle_vectors[0]])
        back = fit_rotation(new.table, place.table)
        return cls(place, there, back, there.vectors(vectors, own.form))


def rows_from(olds: list[Old], new: Place) -> tuple[dict[str, Tensor], list[Row]]:
    """Make adapters ``[W, P]`` by method, and rows with scores only; `moved` has the best fit."""
    together, count = collected(olds), len(new.weights)
    settings = new.study.params.generator
    tries = behaviour_of(together, olds, settings.behaviour_rows)
    vectors = {
        "moved": max(olds, key=lambda old: old.there.fit).vectors[-count:],
        "moved_generated": train_generator(together, settings, 0, tries).generate(new.weights),
    }
    if len(olds) == 1:
        return {**vectors, "moved_hypernetwork": _hypernetwork(together, olds[0], new)}, []
    each = together.anchor_vectors[0].unflatten(0, (len(olds), -1))  # [K, A, P]
    choice = torch.cat([maps.candidates(old.there, old.place.collection) for old in olds])
    vectors["moved_mean"] = each.mean(0)[-count:]
    valid = new.held_out[0]
    vectors["moved_calibrated"] = maps.calibrate(valid, choice, new.weights, new.objectives)
    return vectors, [Row("moved_ensemble", new.seed, new.weights.numpy(), _mean_scores(olds, new))]


def collected(olds: list[Old]) -> Collection:
    """Join the moved adapters into one collection, as starts whose hidden units are aligned."""
    own = olds[0].place.collection
    vectors = torch.stack([old.vectors for old in olds])  # [K, A, P]
    form = dataclasses.asdict(olds[0].there.form(own.form))
    together = dataclasses.replace(
        own,
        anchors=torch.cat([own.anchors, own.oracles]),  # [A, O]
        anchor_vectors=vectors,
        snapshots=vectors.unsqueeze(2)[:, :, :0],  # none
        description=own.description | {"form": form, "seeds": list(range(len(olds)))},
    )
    return pooled(together, aligned=True)


def behaviour_of(together: Collection, olds: list[Old], rows: int) -> Behaviour:
    """Make a loss that moves adapters back and evaluates each batch on a random old recommender."""
    tries = [
        behaviour(old.place.train, NegativeSampler(old.place.sequences), together, 0, rows)
        for old in olds
    ]

    def task_losses(vectors: Tensor, rng: np.random.Generator) -> Tensor:
        drawn = int(rng.integers(len(olds)))
        own = olds[drawn].back.vectors(vectors, together.form)  # [B, P]
        return tries[drawn].task_losses(own, rng)  # [B, O]

    return Behaviour(task_losses, tries[0].reference)


def _hypernetwork(together: Collection, old: Old, new: Place) -> Tensor:
    """Train a hypernetwork on the old recommender; return its moved adapters ``[W, P]``."""
    params = old.place.study.params
    # These anchors set the training budget.
    adapters = {"anchors": together.anchors[:, 0].tolist()}
    settings = params.model_copy(update={"adapters": params.adapters.model_copy(update=adapters)})
    sampler, seed = NegativeSampler(old.place.sequences), old.place.seed
    rival = train_end_to_end("hypernetwork", old.place.train, sampler, settings, seed)
    return old.there.vectors(rival.generate(new.weights), old.place.collection.form)


def _mean_scores(olds: list[Old], new: Place) -> Iterator[Scores]:
    """Yield the mean scores ``[N, n + 1]`` of the moved adapters of all ``olds``, by weight."""
    for w in range(-len(new.weights), 0):
        each = [new.held_out[1].catalogue_scores(old.vectors[w]) for old in olds]
        yield Scores.of(torch.stack(each).mean(0).cpu().numpy())
