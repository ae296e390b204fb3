"""Trials of moved generators: of one old recommender, or one that learned from several.

``shared`` in ``transport/params.yaml`` lists them.  The adapters of every *old* recommender are
moved into the coordinates of a *new* one (:mod:`paragon.adapters.transport`), and a generator
learns from all of them together; its behavioural loss moves what it makes back and tries it on the
old recommenders.  It sees nothing of the new one but its item vectors.

To move a generator into other coordinates is to move the mean and the directions of its latent
space, so learning in the coordinates of the new recommender stands for learning in any others.

Shapes: K old recommenders, A weights that each has adapters for, W evaluation weights, P parameters
of an adapter, O objectives.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from paragon.adapters.collection import Collection
from paragon.adapters.transport import Transport, calibrate, candidates, fit_transport
from paragon.data.negatives import NegativeSampler
from paragon.evaluation.protocol import Row, Scores
from paragon.generator.training import Behaviour, behaviour, train_generator
from paragon.rivals.end_to_end import train_end_to_end
from paragon_study.ablations.alignment import pooled
from paragon_study.ablations.places import Place
from paragon_study.ablations.stages import write_table
from paragon_study.moves.recommenders import FOLDER, SIDES, load_trials, place_of


@dataclass(frozen=True)
class Old:
    """An old recommender as the new one sees it: the maps there and back, and its adapters there.

    ``vectors [A, P]``: its anchors, then its adapters for the evaluation weights.
    """

    place: Place
    there: Transport
    back: Transport
    vectors: Tensor

    @classmethod
    def of(cls, place: Place, new: Place) -> Old:
        """Both maps come from the item vectors alone."""
        there, collection = fit_transport(place.space, new.space), place.collection
        own = torch.cat([collection.anchor_vectors[0], collection.oracle_vectors[0]])
        moved = there.vectors(own, collection.form)
        return cls(place, there, fit_transport(new.space, place.space), moved)


def measure_shared(name: str) -> None:
    """Measure generators and simpler ways that start from one or several old recommenders."""
    trials, tables = load_trials(), []
    entry = trials.entry("shared", name)
    for side in SIDES:
        new = place_of(trials, entry.new, side)
        olds = [Old.of(place_of(trials, one, side), new) for one in entry.old]
        fit = max(old.there.fit for old in olds)
        tables.append(new.table(*rows_from(olds, new)).assign(side=side, olds=len(olds), fit=fit))
    table = pd.concat(tables, ignore_index=True)
    front = pd.DataFrame([{"kind": entry.kind, "new": entry.new}] * len(table))
    write_table(FOLDER / "results" / f"shared-{name}.csv", pd.concat([front, table], axis=1))


def rows_from(olds: list[Old], new: Place) -> tuple[dict[str, Tensor], list[Row]]:
    """Adapters ``[W, P]`` for the new recommender by method, and what has scores only.

    `moved` is from the old recommender with the best fit.
    """
    together, count = collected(olds), len(new.weights)
    vectors = {
        "moved": max(olds, key=lambda old: old.there.fit).vectors[-count:],
        "moved_generated": _generated(together, olds, new),
    }
    if len(olds) == 1:
        return {**vectors, "moved_hypernetwork": _hypernetwork(together, olds[0], new)}, []
    each = together.anchor_vectors[0].unflatten(0, (len(olds), -1))  # [K, A, P]
    vectors["moved_mean"] = each.mean(0)[-count:]
    vectors["moved_calibrated"] = _calibrated(olds, new)
    return vectors, [_ensemble(olds, new)]


def collected(olds: list[Old]) -> Collection:
    """The moved adapters of all old recommenders as one collection, one start after the other.

    The hidden units of every old recommender are in the order that is closest to the first.
    """
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


def _generated(together: Collection, olds: list[Old], new: Place) -> Tensor:
    """Adapters ``[W, P]`` of a generator that learned from the moved ones of all ``olds``."""
    settings = new.study.params.generator
    tries = behaviour_of(together, olds, settings.behaviour_rows)
    return train_generator(together, settings, 0, tries).generate(new.weights)


def behaviour_of(together: Collection, olds: list[Old], rows: int) -> Behaviour:
    """The behavioural loss of moved adapters: each step on an old recommender drawn at random."""
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
    """Adapters ``[W, P]`` of a hypernetwork that was trained on the old recommender."""
    params = old.place.study.params
    # As many lists as a collection with these anchors and its generator see.
    adapters = {"anchors": together.anchors[:, 0].tolist()}
    settings = params.model_copy(update={"adapters": params.adapters.model_copy(update=adapters)})
    sampler, seed = NegativeSampler(old.place.sequences), old.place.seed
    rival = train_end_to_end("hypernetwork", old.place.train, sampler, settings, seed)
    return old.there.vectors(rival.generate(new.weights), old.place.collection.form)


def _calibrated(olds: list[Old], new: Place) -> Tensor:
    """Adapters ``[W, P]``, chosen on validation users among the moved ones of all ``olds``."""
    every = torch.cat([candidates(old.there, old.place.collection) for old in olds])  # [C, P]
    return calibrate(new.held_out[0], every, new.weights, new.objectives)


def _ensemble(olds: list[Old], new: Place) -> Row:
    """The mean score of the moved adapters of all ``olds``."""
    task, count = new.held_out[1], len(new.weights)

    def scores() -> Iterator[Scores]:
        for w in range(-count, 0):
            each = [task.catalogue_scores(old.vectors[w]) for old in olds]
            yield Scores.of(torch.stack(each).mean(0).cpu().numpy())  # [N, n + 1]

    return Row("moved_ensemble", new.seed, new.weights.numpy(), scores())
