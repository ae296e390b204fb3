"""The recommenders between which adapters are moved, and what is planned with them.

``moves/params.yaml`` lists the *recommenders*, the *moves* from one to another, and *generators*
that learn from several of them.  A recommender is trained, and adapters are tuned for it with and
without the item side, when a trial first needs them; they stay in artifacts/moves.

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
from paragon.adapters.frozen import FrozenTask, frozen_task
from paragon.adapters.rotation import ItemTable, shared_items
from paragon.adapters.tuning import tune
from paragon.backbones import Backbone
from paragon.backbones.base import cached_states, context_of
from paragon.backbones.training import Fitted, Training
from paragon.data.negatives import NegativeSampler
from paragon.data.sequences import Sequences
from paragon.data.split import prepare
from paragon.errors import ParagonError
from paragon.params import ARTIFACTS, Count, Section, merge_sections
from paragon.storage import check_match
from paragon_study.ablations.bench import Bench
from paragon_study.ablations.plan import Plan, tuned_adapters
from paragon_study.pipeline.study import Study, StudyData, open_study

SIDES = {"item_side": True, "state_only": False}  # adapters with and without the genre term
STORE = ARTIFACTS / "moves"


class RecommenderEntry(Section):
    """A ``backbone`` trained from a ``seed``, with a ``change`` of params.yaml."""

    backbone: str
    seed: Annotated[int, Field(ge=0)]
    dataset: str | None = None  # another one than that of all
    days: Annotated[float, Field(ge=0)] = 0  # before the end of the data it is trained
    warm: Annotated[float, Field(ge=0)] = 0  # so it was; then it was trained further on all data
    change: dict[str, dict[str, Any]] = {}


class MoveEntry(Section):
    """From an ``old`` recommender to a ``new`` one, as an example of a ``kind`` of move."""

    kind: str
    old: str
    new: str
    items: Annotated[float, Field(gt=0, le=1)] = 1  # share of the old items that the map may use


class GeneratorEntry(Section):
    """A generator that learns from several ``old`` recommenders, on a ``new`` one."""

    kind: str
    old: Annotated[list[str], Field(min_length=1)]
    new: str


class Moves(Plan):
    """The whole of moves/params.yaml."""

    FOLDER: ClassVar[str] = "moves"
    change: dict[str, dict[str, Any]]
    steps: list[Count]
    anchors: list[float]  # at which weights of accuracy `moved_two_anchors` is tuned further
    anchor_steps: Count
    recommenders: dict[str, RecommenderEntry]
    moves: dict[str, MoveEntry]
    generators: dict[str, GeneratorEntry]

    def follows_from(self, kind: str, name: str) -> list:
        """What is set for all, the entry, and the recommenders that it names."""
        entry = self.entry(kind, name)
        if kind == "recommenders":
            return [self.change, self.steps, entry]
        old = entry.old if kind == "generators" else [entry.old]
        named = [self.entry("recommenders", one) for one in (*old, entry.new)]
        return [self.change, self.steps, self.anchors, self.anchor_steps, entry, *named]


@dataclass(frozen=True)
class Place(Bench):
    """A recommender with the adapters of one side, from which or to which others are moved."""

    items: float = 1  # the share of the items, drawn at random, that a map may use
    seconds: dict[str, float] = field(default_factory=dict)  # of one processor, by row

    @cached_property
    def table(self) -> ItemTable:
        """What decides where the adapters of this recommender can go."""
        ids, vectors = np.array(self.sequences.item_ids), self.backbone.item_vectors()
        drawn = np.random.default_rng(self.seed).permutation(len(ids))
        kept = np.sort(drawn[: round(self.items * len(ids))])
        rows = np.concatenate([[0], 1 + kept])  # row 0 is padding
        return ItemTable(list(ids[kept]), vectors[rows], self.sequences.popularity()[rows])

    def states(self) -> Tensor:
        """The states ``[N, d]`` after the histories of validation users; targets are not used."""
        events = self.sequences.valid.users, self.sequences.valid.positions
        context = context_of(self.sequences, *events, self.backbone.history)
        return cached_states(self.backbone, context)

    @cached_property
    def train(self) -> FrozenTask:
        """Training events, to tune adapters on."""
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
        """Keep the processor time of a block, added to that of the row ``before``."""
        _ = self.train, self.held_out  # prepared once, before the clock starts
        start = time.process_time()
        yield
        self.seconds[name] = time.process_time() - start + (self.seconds[before] if before else 0)

    def tuned_on(self, start: Tensor, weights: Tensor, steps: int) -> Tensor:
        """Tune adapters ``[W, P]`` for ``steps`` from ``start [W, P]``, the rate falling to 0."""
        change = {"steps": steps, "checks": 1, "snapshots": 0}
        settings = self.study.params.adapters.model_copy(update=change)
        events = self.train, self.held_out[0], NegativeSampler(self.sequences)
        return tune(*events, weights, start.unsqueeze(0), settings, [self.seed]).vectors[0]


def study_of_recommender(plan: Moves, name: str, item_side: bool = True) -> Study:
    """The study of a recommender: params.yaml with the changes for all and its own."""
    entry = plan.entry("recommenders", name)
    own = {"run": {"seeds": [entry.seed]}, "backbones": {"seed": entry.seed}}
    own |= {"adapters": {"item_side": item_side}}
    change = merge_sections(plan.change, own, entry.change)
    return open_study(entry.dataset or plan.dataset, entry.backbone, change, checked=False)


def place_of(plan: Moves, name: str, side: str) -> Place:
    """Load a recommender with the adapters of one ``side``; what is not stored is trained now."""
    study = study_of_recommender(plan, name, SIDES[side])
    sequences = sequences_before(study, plan.recommenders[name].days)
    backbone, about = _trained(plan, name, study, sequences)
    collection = tuned_adapters(study, sequences, backbone, about, STORE / name / side)
    return Place(study, sequences, backbone, collection)


def _trained(plan: Moves, name: str, study: Study, sequences: Sequences) -> tuple[Backbone, dict]:
    """Load the backbone of a recommender, or train it now."""
    settings, warm = study.params.backbones, plan.recommenders[name].warm
    stem = STORE / name / "backbone"
    asked = {"backbone": study.backbone, "settings": settings.model_dump(), "warm": warm or None}
    try:
        backbone, about = backbones.load_backbone(stem, sequences)
        check_match(asked, about, f"{stem}.json")
        return backbone, about
    except ParagonError:  # not there, not whole, or made with other settings or of other data
        backbone, fitted = (
            _trained_further(study, warm, sequences)
            if warm
            else backbones.train_backbone(study.backbone, sequences, settings, study.device)
        )
        # Only the days of a warm start are in no setting.
        more = {"warm": warm} if warm else {}
        backbones.save_backbone(backbone, sequences, settings, fitted, stem, **more)
        return backbones.load_backbone(stem, sequences)


def _trained_further(study: Study, days: float, sequences: Sequences) -> tuple[Backbone, Fitted]:
    """Train a backbone on the data as they were ``days`` before, then on all of them."""
    settings, earlier = study.params.backbones, sequences_before(study, days)
    first, _ = backbones.train_backbone(study.backbone, earlier, settings, study.device)
    backbone = backbones.build(study.backbone, sequences, settings, settings.seed).to(study.device)
    carry_over(first, backbone, *shared_items(earlier.item_ids, sequences.item_ids))
    fitted = Training(backbone, sequences, settings).fit(settings.seed)
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


def named_by_title(place: Place) -> Place:
    """The same with titles for ids of items, to find those of another dataset.

    A title that several items have is none.
    """
    sequences, dataset = place.sequences, place.study.dataset
    count = Counter(sequences.titles)
    pairs = zip(sequences.item_ids, sequences.titles, strict=True)
    names = [title if count[title] == 1 else f"{dataset} {item}" for item, title in pairs]
    return dataclasses.replace(place, sequences=dataclasses.replace(sequences, item_ids=names))
