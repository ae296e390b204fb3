"""The trials of :mod:`paragon.adapters.transport`: how well adapters do on another recommender.

``transport/params.yaml`` lists *recommenders*, each trained and given adapters of its own, and
*moves* between them.  ``transport/dvc.yaml`` runs each as a stage: ``train`` makes a recommender
with its two collections, with and without the categories' side of the adapters; ``alone`` measures
what needs no old recommender; ``move`` what comes from one.  Tables in ``transport/results`` have
a row for each method, the measures of :mod:`paragon.metrics.control` on test users over the whole
catalogue.  Seconds, of one processor, on the new recommender, are in ``transport/seconds``.
"""

from __future__ import annotations

import dataclasses
import json
import time
from collections.abc import Callable
from functools import partial
from typing import Annotated, Any

import numpy as np
import pandas as pd
import torch
from pydantic import Field
from torch import Tensor

from paragon.adapters import mixtures
from paragon.adapters import transport as maps
from paragon.adapters.adapter import shared_starts
from paragon.adapters.collection import Collection, collect, load_collection, save_collection
from paragon.backbones import load_backbone, save_backbone, train_backbone, training_record
from paragon.data.sequences import Sequences
from paragon.data.split import prepare
from paragon.evaluation.summary import significant
from paragon.evaluation.testbed import Row
from paragon.params import ARTIFACTS, ROOT, Section
from paragon.rivals.calibration import calibrated, validation_rows
from paragon.rivals.category_bias import biased_scores, tune_category_bias
from paragon.sections import Count
from paragon.storage import write_json
from paragon.study.ablations import Plan, write_table
from paragon.study.places import Place
from paragon.study.study import Study, StudyData, merge_changes, open_study

FOLDER = ROOT / "transport"
SIDES = {"item_side": True, "state_only": False}  # adapters with and without the genre term
STORE = ARTIFACTS / "transport"
GRID = 21  # weights at which a moved adapter is tried for `moved_calibrated`


class RecommenderEntry(Section):
    """A ``backbone`` trained from a ``seed``, with a ``change`` of params.yaml.

    ``days``: how many days before the end of the data it is trained; ``of_study``: the default
    study's own is taken instead, which has seed 0."""

    backbone: str
    seed: Annotated[int, Field(ge=0)]
    days: Annotated[float, Field(ge=0)] = 0
    of_study: bool = False
    change: dict[str, dict[str, Any]] = {}


class MoveEntry(Section):
    """From an ``old`` recommender to a ``new`` one, as an example of a ``kind`` of move."""

    kind: str
    old: str
    new: str


class AnchorsEntry(Section):
    """At which ``weights`` of accuracy `moved_two_anchors` is tuned on, for how many ``steps``."""

    weights: list[float]
    steps: Count


class Trials(Plan):
    """The whole of transport/params.yaml; ``rivals``: on which recommenders they are measured."""

    FOLDER = "transport"
    change: dict[str, dict[str, Any]]
    steps: list[Count]
    anchors: AnchorsEntry
    rivals: list[str] = []
    recommenders: dict[str, RecommenderEntry]
    moves: dict[str, MoveEntry]


load_trials = Trials.load


def study_of_recommender(trials: Trials, name: str, item_side: bool = True) -> Study:
    """The study of a recommender: params.yaml with the changes for all and its own."""
    entry = trials.entry("recommenders", name)
    own = {"run": {"seeds": [entry.seed]}, "backbones": {"seed": entry.seed}}
    own |= {"adapters": {"item_side": item_side}}
    merged = merge_changes(trials.change, own, entry.change)
    return open_study(trials.dataset, entry.backbone, merged, checked=False)


def train_recommender(name: str) -> None:
    """Train a recommender and tune both collections; what is there already is not made again."""
    trials = load_trials()
    study, entry = study_of_recommender(trials, name), trials.recommenders[name]
    sequences, folder = sequences_before(study, entry.days), STORE / name
    stem = folder / "backbone"
    seconds: dict[str, float] = {}
    if not stem.with_suffix(".json").exists():
        start = time.process_time()
        if entry.of_study:
            backbone, about = study.load_backbone(sequences)
            record = {key: value for key, value in about.items() if key != "sha256"}
        else:
            settings = study.params.backbones
            backbone, fitted = train_backbone(study.backbone, sequences, settings, study.device)
            record = training_record(study.backbone, sequences, settings, fitted)
            seconds["backbone"] = time.process_time() - start
        save_backbone(backbone, record, stem)
    backbone, about = load_backbone(stem, sequences)
    for side, item_side in SIDES.items():
        if not (folder / f"{side}.json").exists():
            study, start = study_of_recommender(trials, name, item_side), time.process_time()
            seeds, origin = study.params.run.seeds, {"backbone": about["sha256"]}
            made = collect(backbone, sequences, study.params.adapters, seeds, origin)
            save_collection(made, folder / side)
            seconds[side] = time.process_time() - start
    if seconds:
        path = FOLDER / "seconds" / f"train-{name}.json"
        known = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
        write_json(path, known | {key: significant(value, 3) for key, value in seconds.items()})


def sequences_before(study: Study, days: float) -> Sequences:
    """The study's data as they were that many ``days`` before their last event."""
    if not days:
        return study.load_sequences()
    rules = study.params.data
    dataset = StudyData(study.dataset, rules).load()
    times = dataset.interactions["timestamp"]
    before = dataset.interactions[times <= times.max() - 86_400 * days]
    return prepare(dataclasses.replace(dataset, interactions=before), **rules.model_dump())


def place_of(trials: Trials, name: str, side: str) -> Place:
    """What :func:`train_recommender` made, with the data and adapters of one ``side``."""
    study = study_of_recommender(trials, name, SIDES[side])
    sequences = sequences_before(study, trials.recommenders[name].days)
    backbone, about = load_backbone(STORE / name / "backbone", sequences)
    return Place(study, sequences, backbone, load_collection(STORE / name / side, about))


def measure_alone(name: str) -> None:
    """Measure what a recommender has of its own: tuning from scratch, and what has no adapter."""
    trials, tables, seconds = load_trials(), [], {}
    for side in SIDES:
        place = place_of(trials, name, side)
        start = shared_starts(place.collection.form, len(place.weights), [place.seed])[0]  # [W, P]
        vectors = {"backbone": torch.zeros_like(place.tuned)}
        for steps in trials.steps:
            with place.timed(row := f"scratch_{steps}"):
                vectors[row] = place.tuned_on(start, place.weights, steps)
        rivals = SIDES[side] and name in trials.rivals  # they are no adapters and have no side
        others = [_category_bias(place), _xquad(place)] if rivals else []
        tables.append(place.table(vectors, others).assign(side=side))
        seconds[side] = place.seconds
    _write(f"alone-{name}", {"new": name}, tables, seconds)


def _category_bias(place: Place) -> Row:
    """The row `category_bias` of the study: a number for each category, no adapter."""
    settings = place.study.params.adapters
    with place.timed("category_bias"):
        bias = tune_category_bias(place.backbone, place.sequences, settings, [place.seed])[0]
    own, categories = place.own_scores(place.held_out[1]), place.sequences.categories
    scores = (biased_scores(own, categories, one) for one in bias)  # one [M]
    return Row("category_bias", place.seed, place.weights.numpy(), scores)


def _xquad(place: Place) -> Row:
    """The row `xquad` of the study: the list of the backbone, re-ranked."""
    with place.timed("xquad"):
        rows, events = validation_rows(place.sequences.valid)
        weights = place.weights[:, place.objectives.index("accuracy")].numpy()
        valid, test, bed = place.held_out
        chosen_on = (events, [place.own_scores(valid)[rows]])
        shown = (bed.evaluation, lambda _: place.own_scores(test))
        cut = bed.cutoffs[-1]
        scores = list(calibrated("xquad", place.sequences, chosen_on, shown, weights, cut))
    return Row("xquad", place.seed, place.weights.numpy(), scores)


def measure_move(name: str) -> None:
    """Measure the adapters of an old recommender on a new one."""
    trials, tables, seconds = load_trials(), [], {}
    entry = trials.entry("moves", name)
    for side in SIDES:
        old, place = (place_of(trials, one, side) for one in (entry.old, entry.new))
        fitted = maps.fit_transport(old.space, place.space)
        vectors = {**_moved(place, old, trials), **_controls(place, old, fitted)}
        about = {"side": side, "fit": fitted.fit, "shared": fitted.shared}
        tables.append(place.table(vectors).assign(**about))
        seconds[side] = place.seconds
    _write(f"move-{name}", entry.model_dump(), tables, seconds)


def _controls(place: Place, old: Place, fitted: maps.Transport) -> dict[str, Tensor]:
    """Adapters ``[W, P]`` as they are, and moved by a rotation that is drawn at random."""
    form, vectors = old.collection.form, old.collection.oracle_vectors[0]
    rng = torch.Generator().manual_seed(place.seed)
    noise = torch.randn(fitted.write.shape, generator=rng, dtype=torch.double)  # [d, e]
    ones = torch.ones(len(noise), dtype=torch.double)
    turn = maps.procrustes(torch.eye(len(noise), dtype=torch.double), noise, ones)
    aimless = dataclasses.replace(fitted, read=turn.T, write=turn)
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
    candidates = _candidates(ways[means](), old.collection)
    with place.timed("moved_calibrated", means):
        rows["moved_calibrated"] = _calibrated(place, candidates)
    with place.timed("moved_two_anchors", means):
        rows["moved_two_anchors"] = _two_anchors(place, rows[means], trials.anchors)
    for steps in trials.steps:
        with place.timed(name := f"moved_{steps}", means):
            rows[name] = place.tuned_on(rows[means], place.weights, steps)
    return rows


def _candidates(way: maps.Transport, old: Collection) -> Tensor:
    """Adapters ``[C, P]`` that `moved_calibrated` chooses from: every gain and weight."""
    given = torch.cat([old.anchors, old.oracles]).double().numpy()
    vectors = torch.cat([old.anchor_vectors[0], old.oracle_vectors[0]])
    first = np.linspace(0, 1, GRID)
    grid = np.stack([first, 1 - first], 1)  # [GRID, 2]
    mix = mixtures.in_log_ratios(mixtures.interpolation)(given, grid)
    dense = torch.from_numpy(mix).float() @ vectors  # [GRID, P]
    return torch.cat([way.vectors(dense, old.form, gain) for gain in maps.GAINS])


def _calibrated(place: Place, candidates: Tensor) -> Tensor:
    chosen = maps.calibrate(place.held_out[0], candidates, place.weights, place.objectives)
    return candidates[chosen]


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
