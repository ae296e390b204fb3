"""The recommenders of the trials of :mod:`paragon_study.moves.trials`, and how each was trained.

``transport/params.yaml`` lists them.  Each has two collections of adapters, with and without the
item side.
"""

from __future__ import annotations

import dataclasses
import json
import time
from collections import Counter
from pathlib import Path
from typing import Annotated, Any

from pydantic import Field
from torch import Tensor

from paragon.adapters.collection import collect, load_collection, save_collection
from paragon.adapters.transport import shared_items
from paragon.backbones import (
    Backbone,
    Fitted,
    Training,
    build,
    fit,
    load_backbone,
    save_backbone,
    train_backbone,
    training_record,
)
from paragon.data.sequences import Sequences
from paragon.data.split import prepare
from paragon.errors import ParagonError
from paragon.evaluation.summary import significant
from paragon.params import ARTIFACTS, ROOT, Count, Section, merge_sections
from paragon.storage import check_match, load_tensors, write_json
from paragon_study.ablations.places import Place
from paragon_study.ablations.stages import Plan
from paragon_study.pipeline.study import Study, StudyData, open_study

FOLDER = ROOT / "transport"
SIDES = {"item_side": True, "state_only": False}  # adapters with and without the genre term
STORE = ARTIFACTS / "transport"


class RecommenderEntry(Section):
    """A ``backbone`` trained from a ``seed``, with a ``change`` of params.yaml.

    ``dataset``: another one than that of all.  ``days``: how many days before the end of the data
    it is trained; ``warm``: how many days before the end its first training was, after which it
    was trained further on all data.
    """

    backbone: str
    seed: Annotated[int, Field(ge=0)]
    dataset: str | None = None
    days: Annotated[float, Field(ge=0)] = 0
    warm: Annotated[float, Field(ge=0)] = 0
    change: dict[str, dict[str, Any]] = {}


class MoveEntry(Section):
    """From an ``old`` recommender to a ``new`` one, as an example of a ``kind`` of move.

    ``items``: the share of the old recommender's items that the map may use, drawn at random.
    """

    kind: str
    old: str
    new: str
    items: Annotated[float, Field(gt=0, le=1)] = 1


class AnchorsEntry(Section):
    """At which ``weights`` of accuracy `moved_two_anchors` is tuned on, for how many ``steps``."""

    weights: list[float]
    steps: Count


class SharedEntry(Section):
    """From several ``old`` recommenders to a ``new`` one, as an example of a ``kind``."""

    kind: str
    old: Annotated[list[str], Field(min_length=1)]
    new: str


class Trials(Plan):
    """The whole of transport/params.yaml; ``rivals``: on which recommenders they are measured."""

    FOLDER = "transport"
    change: dict[str, dict[str, Any]]
    steps: list[Count]
    anchors: AnchorsEntry
    rivals: list[str] = []
    recommenders: dict[str, RecommenderEntry]
    moves: dict[str, MoveEntry]
    shared: dict[str, SharedEntry] = {}


load_trials = Trials.load


def study_of_recommender(trials: Trials, name: str, item_side: bool = True) -> Study:
    """The study of a recommender: params.yaml with the changes for all and its own."""
    entry = trials.entry("recommenders", name)
    own = {"run": {"seeds": [entry.seed]}, "backbones": {"seed": entry.seed}}
    own |= {"adapters": {"item_side": item_side}}
    changes = merge_sections(trials.change, own, entry.change)
    return open_study(entry.dataset or trials.dataset, entry.backbone, changes, checked=False)


def train_recommender(name: str) -> None:
    """Train a recommender and tune both collections; what is there already is not made again.

    The stage keeps its folder (``persist`` in transport/dvc.yaml), so that what was interrupted
    goes on; what lies in it may have been made with other settings, and is then replaced.
    """
    trials = load_trials()
    study, entry = study_of_recommender(trials, name), trials.recommenders[name]
    sequences, folder = sequences_before(study, entry.days), STORE / name
    stem, settings = folder / "backbone", study.params.backbones
    seconds: dict[str, float] = {}
    asked: dict[str, Any] = {"backbone": study.backbone, "data": sequences.description}
    asked |= {"settings": settings.model_dump(), "warm": entry.warm or None}
    if not _is_made(stem, asked):
        start = time.process_time()
        if entry.warm:
            backbone, fitted = _trained_further(study, entry.warm, sequences)
        else:
            backbone, fitted = train_backbone(study.backbone, sequences, settings, study.device)
        seconds["backbone"] = time.process_time() - start
        record = training_record(study.backbone, sequences, settings, fitted)
        # Only the days of a warm start are in no setting.
        save_backbone(backbone, record | ({"warm": entry.warm} if entry.warm else {}), stem)
    backbone, about = load_backbone(stem, sequences)
    for side, item_side in SIDES.items():
        own, origin = study_of_recommender(trials, name, item_side).params, about["sha256"]
        asked = {"settings": own.adapters.model_dump(), "seeds": own.run.seeds, "backbone": origin}
        if not _is_made(folder / side, asked):
            start = time.process_time()
            made = collect(backbone, sequences, own.adapters, own.run.seeds, {"backbone": origin})
            save_collection(made, folder / side)
            seconds[side] = time.process_time() - start
    if seconds:
        path = FOLDER / "seconds" / f"train-{name}.json"
        known = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
        write_json(path, known | {key: significant(value, 3) for key, value in seconds.items()})


def _is_made(stem: Path, asked: dict[str, Any]) -> bool:
    """Whether what is stored there is whole, and was made as is ``asked`` now."""
    try:
        check_match(asked, load_tensors(stem, "train")[1], f"{stem}.json")
    except ParagonError:
        return False
    return True


def _trained_further(study: Study, days: float, sequences: Sequences) -> tuple[Backbone, Fitted]:
    """A backbone trained on the data as they were ``days`` before, then on all of them."""
    settings, earlier = study.params.backbones, sequences_before(study, days)
    first, _ = train_backbone(study.backbone, earlier, settings, study.device)
    backbone = build(study.backbone, sequences, settings, settings.seed).to(study.device)
    carry_over(first, backbone, *shared_items(earlier.item_ids, sequences.item_ids))
    fitted = fit(Training(backbone, sequences, settings), settings, settings.seed)
    return backbone.requires_grad_(False), fitted


def carry_over(old: Backbone, new: Backbone, rows: Tensor, new_rows: Tensor) -> None:
    """Give a backbone the parameters of another: of tables of items ``rows`` as ``new_rows``."""
    known, sizes = old.state_dict(), (len(old.item_vectors()), len(new.item_vectors()))
    for name, tensor in new.state_dict().items():
        if (len(known[name]), len(tensor)) == sizes:
            tensor[new_rows] = known[name][rows]
        else:
            tensor.copy_(known[name])


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


def named_by_title(place: Place) -> Place:
    """The same with titles for ids of items, to find those of another dataset.

    A title that several items have is none.
    """
    sequences, dataset = place.sequences, place.study.dataset
    count = Counter(sequences.titles)
    pairs = zip(sequences.item_ids, sequences.titles, strict=True)
    names = [title if count[title] == 1 else f"{dataset} {item}" for item, title in pairs]
    return dataclasses.replace(place, sequences=dataclasses.replace(sequences, item_ids=names))
