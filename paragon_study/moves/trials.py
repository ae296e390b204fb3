"""The trials of :mod:`paragon.adapters.transport`: how well adapters do on another recommender.

``transport/params.yaml`` lists *recommenders*, each trained and given adapters of its own, and
*moves* between them.  ``transport/dvc.yaml`` runs each as a stage: ``train`` makes a recommender
(:mod:`paragon_study.moves.recommenders`); ``alone`` measures what needs no old recommender;
``move`` what comes from one.  Tables in ``transport/results`` have a row for each method, of
:mod:`paragon.metrics.control` on test users over the whole catalogue.  Seconds, of one processor,
on the new recommender, are in ``transport/seconds``.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from functools import partial

import pandas as pd
import torch
from torch import Tensor

from paragon.adapters import transport as maps
from paragon.adapters.adapter import start_vectors
from paragon.evaluation.protocol import Row, Scores
from paragon.evaluation.summary import significant
from paragon.rivals.calibration import reranked_scores, validation_rows
from paragon.rivals.category_bias import biased_scores, tune_category_bias
from paragon.rivals.reranking import RERANKERS
from paragon.storage import write_json
from paragon_study.ablations.places import Place
from paragon_study.ablations.stages import write_table
from paragon_study.moves.recommenders import (
    FOLDER,
    SIDES,
    AnchorsEntry,
    Trials,
    load_trials,
    named_by_title,
    place_of,
)


def measure_alone(name: str) -> None:
    """Measure what a recommender has of its own: tuning from scratch, and what has no adapter."""
    trials, tables, seconds = load_trials(), [], {}
    for side in SIDES:
        place = place_of(trials, name, side)
        start = start_vectors(place.collection.form, len(place.weights), [place.seed])[0]  # [W, P]
        vectors = {"backbone": torch.zeros_like(place.tuned)}
        for steps in trials.steps:
            with place.timed(row := f"scratch_{steps}"):
                vectors[row] = place.tuned_on(start, place.weights, steps)
        rivals = SIDES[side] and name in trials.rivals  # they are no adapters and have no side
        others = _rivals(place) if rivals else []
        tables.append(place.table(vectors, others).assign(side=side))
        seconds[side] = place.seconds
    _write(f"alone-{name}", {"new": name}, tables, seconds)


def _rivals(place: Place) -> list[Row]:
    """What works without adapters, measured on this recommender."""
    return [_category_bias(place), _reranked(place, "mmr"), _reranked(place, "xquad")]


def _category_bias(place: Place) -> Row:
    """The row `category_bias` of the study: a number for each category, no adapter."""
    settings = place.study.params.adapters
    with place.timed("category_bias"):
        bias = tune_category_bias(place.train, place.sequences, settings, [place.seed])[0]
    own, categories = place.own_scores(place.held_out[1]), place.sequences.categories
    scores = (Scores.of(biased_scores(own, categories, one)) for one in bias)  # one [M]
    return Row("category_bias", place.seed, place.weights.numpy(), scores)


def _reranked(place: Place, rule: str) -> Row:
    """A row `mmr` or `xquad` of the study: the list of the backbone, re-ranked."""
    with place.timed(rule):
        rows, events = validation_rows(place.sequences.valid)
        weights = place.weights[:, place.objectives.index("accuracy")].numpy()
        valid, test, test_set = place.held_out
        chosen_on = (events, [place.own_scores(valid)[rows]])
        shown = (test_set.evaluation, lambda _: place.own_scores(test))
        cut = test_set.cutoffs[-1]
        made = reranked_scores(RERANKERS[rule], place.sequences, chosen_on, shown, weights, cut)
        scores = [Scores.of(**both) for both in made]
    return Row(rule, place.seed, place.weights.numpy(), scores)


def measure_move(name: str) -> None:
    """Measure the adapters of an old recommender on a new one."""
    trials, tables, seconds = load_trials(), [], {}
    entry = trials.entry("moves", name)
    known = trials.recommenders
    other = known[entry.old].dataset != known[entry.new].dataset
    for side in ["state_only"] if other else SIDES:  # other data, other categories
        old, place = (place_of(trials, one, side) for one in (entry.old, entry.new))
        if other:
            old, place = named_by_title(old), named_by_title(place)
        old = dataclasses.replace(old, items=entry.items)
        fitted = maps.fit_transport(old.space, place.space)
        vectors = {**_moved(place, old, trials), **_controls(place, old, fitted)}
        about = {"side": side, "fit": fitted.fit, "shared": fitted.shared}
        tables.append(place.table(vectors).assign(**about))
        seconds[side] = place.seconds
    _write(f"move-{name}", entry.model_dump(), tables, seconds)


def _controls(place: Place, old: Place, fitted: maps.Transport) -> dict[str, Tensor]:
    """Adapters ``[W, P]`` as they are, and moved by a rotation that is drawn at random.

    With the scale of the fitted one.
    """
    form, vectors = old.collection.form, old.collection.oracle_vectors[0]
    rng = torch.Generator().manual_seed(place.seed)
    noise = torch.randn(fitted.write.shape, generator=rng, dtype=torch.double)  # [d, e]
    ones = torch.ones(len(noise), dtype=torch.double)
    turn = maps.procrustes(torch.eye(len(noise), dtype=torch.double), noise, ones)
    scale = fitted.read.norm() / turn.norm()
    aimless = dataclasses.replace(fitted, read=scale * turn.T, write=turn / scale)
    rows = {"random_rotation": aimless.vectors(vectors, form)}
    return rows if form != place.collection.form else {"as_it_is": vectors, **rows}


def _moved(place: Place, old: Place, trials: Trials) -> dict[str, Tensor]:
    """Adapters ``[W, P]`` of every row that is moved from ``old``."""
    form, vectors = old.collection.form, old.collection.oracle_vectors[0]
    states = old.states()
    fit = partial(maps.fit_transport, old.space, place.space)
    ways: dict[str, Callable[[], maps.Transport]] = {
        "moved": fit,
        "moved_means": lambda: maps.with_means(fit(), states, place.states()),
        "moved_least_squares": lambda: maps.least_squares(fit(), states, place.states()),
    }
    if old.sequences.description != place.sequences.description:
        del ways["moved_least_squares"]  # these are not the same histories, row by row
    rows, means = {}, "moved_means"
    for name, way in ways.items():
        with place.timed(name):
            rows[name] = way().vectors(vectors, form)
    candidates = maps.candidates(ways[means](), old.collection)
    with place.timed("moved_calibrated", means):
        rows["moved_calibrated"] = maps.calibrate(
            place.held_out[0], candidates, place.weights, place.objectives
        )
    with place.timed("moved_two_anchors", means):
        rows["moved_two_anchors"] = _two_anchors(place, rows[means], trials.anchors)
    for steps in trials.steps:
        with place.timed(name := f"moved_{steps}", means):
            rows[name] = place.tuned_on(rows[means], place.weights, steps)
    return rows


def _two_anchors(place: Place, moved: Tensor, entry: AnchorsEntry) -> Tensor:
    """Adapters ``[W, P]``: two of them are tuned on, all are corrected by what that changed."""
    index = [int((place.weights[:, 0] - weight).abs().argmin()) for weight in entry.weights]
    anchors, start = place.weights[index], moved[index]
    differences = place.tuned_on(start, anchors, entry.steps) - start
    return maps.corrected(moved, place.weights, anchors, differences)


def _write(name: str, about: dict, tables: list[pd.DataFrame], seconds: dict[str, dict]) -> None:
    """Write a stage's table, ``about`` in front of every row, and its seconds."""
    table = pd.concat(tables, ignore_index=True)
    front = pd.DataFrame([about] * len(table))
    write_table(FOLDER / "results" / f"{name}.csv", pd.concat([front, table], axis=1))
    for own in seconds.values():
        own |= {row: significant(value, 3) for row, value in own.items()}
    write_json(FOLDER / "seconds" / f"{name}.json", seconds)
