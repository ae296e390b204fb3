"""The recommenders between which adapters are moved, and the plan in ``moves/params.yaml``.

Shapes: n items, N histories of validation users, d numbers of a state, W evaluation weights, P
parameters of an adapter.
"""

from __future__ import annotations

import dataclasses
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from typing import Annotated, Any, ClassVar

import numpy as np
from pydantic import Field
from torch import Tensor

from paragon import backbones
from paragon.adapters.collection import tune
from paragon.adapters.frozen import FrozenTask, frozen_task
from paragon.adapters.rotation import ItemTable, shared_items
from paragon.backbones import Backbone
from paragon.backbones.training import Fitted, Training
from paragon.data.negatives import NegativeSampler
from paragon.data.sequences import Sequences
from paragon.data.split import prepare
from paragon.errors import ParagonError
from paragon.params import ARTIFACTS, Count, Section, merge_sections
from paragon.storage import check_match
from paragon_study.ablations.trials import Bench, Plan, tuned_adapters
from paragon_study.pipeline.study import Study, StudyData, open_study

SIDES = {"item_side": True, "state_only": False}  # adapters with and without the genre term
STORE = ARTIFACTS / "moves"


class RecommenderEntry(Section):
    """A ``backbone`` trained from a ``seed``, with a ``change`` of params.yaml."""

    backbone: str
    seed: Annotated[int, Field(ge=0)]
    dataset: str | None = None  # default: that of the plan
    days: Annotated[float, Field(ge=0)] = 0  # trained on data until so long before the end
    warm: Annotated[float, Field(ge=0)] = 0  # the same, followed by training on all data
    change: dict[str, dict[str, Any]] = {}


class MoveEntry(Section):
    """A move from an ``old`` to a ``new`` recommender, an example of a ``kind``."""

    kind: str
    old: str
    new: str
    items: Annotated[float, Field(gt=0, le=1)] = 1  # share of the old items that the map may use


class GeneratorEntry(Section):
    """A generator for the ``new`` recommender, trained on one or several ``old`` ones."""

    kind: str
    old: Annotated[list[str], Field(min_length=1)]
    new: str


class Moves(Plan):
    """The content of moves/params.yaml."""

    FOLDER: ClassVar[str] = "moves"
    change: dict[str, dict[str, Any]]
    steps: list[Count]
    anchors: list[float]  # weights of accuracy at which `moved_two_anchors` is tuned
    anchor_steps: Count
    recommenders: dict[str, RecommenderEntry]
    moves: dict[str, MoveEntry]
    generators: dict[str, GeneratorEntry]

    def follows_from(self, kind: str, name: str) -> list:
        """Return the common settings, the entry, and the recommenders it names."""
        entry = self.entry(kind, name)
        if kind == "recommenders":
            return [self.change, self.steps, entry]
        old = entry.old if kind == "generators" else [entry.old]
        named = [self.entry("recommenders", one) for one in (*old, entry.new)]
        return [self.change, self.steps, self.anchors, self.anchor_steps, entry, *named]


@dataclass(frozen=True)
class Place(Bench):
    """A recommender with adapters, with or without the item side."""

    items: float = 1  # share of the items, drawn at random, that a map may use
    seconds: dict[str, float] = field(default_factory=dict)  # processor time by method

    @cached_property
    def table(self) -> ItemTable:
        """The items and vectors to which a map is fitted."""
        ids, vectors = np.array(self.sequences.item_ids), self.backbone.item_vectors()
        drawn = np.random.default_rng(self.seed).permutation(len(ids))
        kept = np.sort(drawn[: round(self.items * len(ids))])
        rows = np.concatenate([[0], 1 + kept])  # row 0 is padding
        return ItemTable(list(ids[kept]), vectors[rows], self.sequences.popularity()[rows])

    def states(self) -> Tensor:
        """Compute states ``[N, d]`` after histories of validation users, without targets."""
        events = self.sequences.valid.users, self.sequences.valid.positions
        return self.backbone.states_before(self.sequences, *events)

    @cached_property
    def train(self) -> FrozenTask:
        """The training events."""
        return frozen_task(self.backbone, self.sequences, "train", self.study.params.adapters)

    @property
    def seed(self) -> int:
        """The seed of the recommender and of its adapters."""
        return self.study.params.run.seeds[0]

    @property
    def tuned(self) -> Tensor:
        """The adapters tuned here for the evaluation weights, ``[W, P]``."""
        return self.collection.oracle_vectors[0]

    @contextmanager
    def timed(self, name: str, before: str | None = None) -> Iterator[None]:
        """Record the processor time of a block, plus that of the method ``before``."""
        _ = self.train, self.held_out  # prepared once, before the clock starts
        start = time.process_time()
        yield
        self.seconds[name] = time.process_time() - start + (self.seconds[before] if before else 0)

    def tuned_on(self, start: Tensor, weights: Tensor, steps: int) -> Tensor:
        """Tune adapters ``start [W, P]`` for ``steps``; the learning rate falls to 0."""
        change = {"steps": steps, "checks": 1, "snapshots": 0}
        settings = self.study.params.adapters.model_copy(update=change)
        events = self.train, self.held_out[0], NegativeSampler(self.sequences)
        return tune(*events, weights, start.unsqueeze(0), settings, [self.seed]).vectors[0]


def study_of_recommender(plan: Moves, name: str, item_side: bool = True) -> Study:
    """Open the study of a recommender: params.yaml with the changes of the plan and the entry."""
    entry = plan.entry("recommenders", name)
    own = {"run": {"seeds": [entry.seed]}, "backbones": {"seed": entry.seed}}
    own |= {"adapters": {"item_side": item_side}}
    change = merge_sections(plan.change, own, entry.change)
    return open_study(entry.dataset or plan.dataset, entry.backbone, change, checked=False)


def place_of(plan: Moves, name: str, side: str) -> Place:
    """Load a recommender with the adapters of one ``side``; train what is not stored."""
    study = study_of_recommender(plan, name, SIDES[side])
    sequences = sequences_before(study, plan.recommenders[name].days)
    backbone, about = _trained(plan, name, study, sequences)
    collection = tuned_adapters(study, sequences, backbone, about, STORE / name / side)
    return Place(study, sequences, backbone, collection)


def _trained(plan: Moves, name: str, study: Study, sequences: Sequences) -> tuple[Backbone, dict]:
    """Load the backbone of a recommender, or train it."""
    settings, warm = study.params.backbones, plan.recommenders[name].warm
    stem = STORE / name / "backbone"
    asked = {"backbone": study.backbone, "settings": settings.model_dump(), "warm": warm or None}
    try:
        backbone, about = backbones.load_backbone(stem, sequences)
        check_match(asked, about, f"{stem}.json")
        return backbone, about
    except ParagonError:  # missing, incomplete, or of other settings or data
        backbone, fitted = (
            _trained_further(study, warm, sequences)
            if warm
            else backbones.train_backbone(study.backbone, sequences, settings, study.device)
        )
        # No setting holds the days of a warm start.
        more = {"warm": warm} if warm else {}
        backbones.save_backbone(backbone, sequences, settings, fitted, stem, **more)
        return backbones.load_backbone(stem, sequences)


def _trained_further(study: Study, days: float, sequences: Sequences) -> tuple[Backbone, Fitted]:
    """Train a backbone on the data up to ``days`` before the end, then on all data."""
    settings, earlier = study.params.backbones, sequences_before(study, days)
    first, _ = backbones.train_backbone(study.backbone, earlier, settings, study.device)
    backbone = backbones.build(study.backbone, sequences, settings, settings.seed).to(study.device)
    carry_over(first, backbone, *shared_items(earlier.item_ids, sequences.item_ids))
    fitted = Training(backbone, sequences, settings).fit(settings.seed)
    return backbone.requires_grad_(False), fitted


def carry_over(old: Backbone, new: Backbone, rows: Tensor, new_rows: Tensor) -> None:
    """Copy the parameters of ``old`` into ``new``; in item tables, ``rows`` to ``new_rows``."""
    known, sizes = old.state_dict(), (len(old.item_vectors()), len(new.item_vectors()))
    for name, tensor in new.state_dict().items():
        if (len(known[name]), len(tensor)) == sizes:
            tensor[new_rows] = known[name][rows]
        else:
            tensor.copy_(known[name])


def sequences_before(study: Study, days: float) -> Sequences:
    """Prepare the study's data up to ``days`` before the last event."""
    if not days:
        return study.load_sequences()
    rules = study.params.data
    dataset = StudyData(study.dataset, rules).load()
    times = dataset.interactions["timestamp"]
    before = dataset.interactions[times <= times.max() - 86_400 * days]
    return prepare(dataclasses.replace(dataset, interactions=before), **rules.model_dump())


def named_by_title(place: Place) -> Place:
    """Replace item ids by titles, to match items across datasets; shared titles match none."""
    sequences, dataset = place.sequences, place.study.dataset
    count = Counter(sequences.titles)
    pairs = zip(sequences.item_ids, sequences.titles, strict=True)
    names = [title if count[title] == 1 else f"{dataset} {item}" for item, title in pairs]
    return dataclasses.replace(place, sequences=dataclasses.replace(sequences, item_ids=names))
