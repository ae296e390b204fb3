"""Move adapters and generators to another recommender, and measure them on its test users.

Shapes: W evaluation weights, O objectives, P and Q parameters of an old and a new adapter, d
numbers of an old state, e of a new one, N histories, C candidates, K old recommenders, A weights.
"""

import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, replace
from functools import cached_property, partial
from typing import Annotated, Any, ClassVar, NamedTuple

import numpy as np
import pandas as pd
import torch
from pydantic import Field
from scipy.optimize import linear_sum_assignment
from torch import Tensor

from paragon import backbones
from paragon.adapters import mixtures
from paragon.adapters.adapter import AdapterForm, start_vectors
from paragon.adapters.collection import Collection, tune
from paragon.adapters.frozen import FrozenTask, best_of, frozen_task
from paragon.adapters.rotation import AdapterMap, ItemTable, fit_rotation, procrustes, shared_items
from paragon.backbones import Backbone
from paragon.backbones.training import Training
from paragon.data.sequences import Sequences
from paragon.data.split import prepare
from paragon.errors import ParagonError
from paragon.evaluation.evaluate import significant
from paragon.evaluation.protocol import Row, Scores
from paragon.generator.training import TaskLosses, behaviour, train_generator
from paragon.params import ARTIFACTS, Count, Section, merge_sections
from paragon.rivals.end_to_end import train_end_to_end
from paragon.storage import check_match
from paragon_study.ablations.trials import Bench, Plan, joined, replace_rows, tuned_adapters
from paragon_study.pipeline.study import Study, StudyData, open_study

SIDES = {"item_side": True, "state_only": False}  # adapters with and without the genre term
STORE = ARTIFACTS / "moves"
RIDGE = 0.01  # ridge penalty, relative to the mean variance
GRID = 21  # number of weights at which candidates are made
GAINS = (1.0, 1.25, 1.5)  # factors on the strength of a candidate
IN_LOGS = mixtures.in_log_ratios(mixtures.interpolation)


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

    @property
    def seed(self) -> int:
        """The seed of the recommender and of its adapters."""
        return self.study.params.run.seeds[0]

    @property
    def tuned(self) -> Tensor:
        """The adapters tuned here for the evaluation weights, ``[W, P]``."""
        return self.collection.oracle_vectors[0]

    @cached_property
    def table(self) -> ItemTable:
        """The items and vectors to which a map is fitted."""
        ids, vectors = np.array(self.sequences.item_ids), self.backbone.item_vectors()
        drawn = np.random.default_rng(self.seed).permutation(len(ids))
        kept = np.sort(drawn[: round(self.items * len(ids))])
        rows = np.concatenate([[0], 1 + kept])  # row 0 is padding
        return ItemTable(list(ids[kept]), vectors[rows], self.sequences.popularity()[rows])

    @cached_property
    def train(self) -> FrozenTask:
        """The training events."""
        return frozen_task(self.backbone, self.sequences, "train", self.study.params.adapters)

    def states(self) -> Tensor:
        """Compute states ``[N, d]`` after histories of validation users, without targets."""
        events = self.sequences.valid.users, self.sequences.valid.positions
        return self.backbone.states_before(self.sequences, *events)

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
        events = self.train, self.held_out[0]
        return tune(*events, weights, start.unsqueeze(0), settings, [self.seed]).vectors[0]

    def rows(self, vectors: Mapping[str, Tensor], others: Iterable[Row] = ()) -> pd.DataFrame:
        """Measure adapters ``[W, P]`` by method, and further rows, with `tuned` and `constant`."""
        middle = self.tuned[len(self.weights) // 2].expand_as(self.tuned)
        first = {"tuned": self.tuned, "constant": middle}
        return self.measures(self.curve(first | dict(vectors), others))


def place_of(plan: Moves, name: str, side: str) -> Place:
    """Load a recommender with the adapters of one ``side``; train what is not stored."""
    entry = plan.entry("recommenders", name)
    own = {"run": {"seeds": [entry.seed]}, "backbones": {"seed": entry.seed}}
    own |= {"adapters": {"item_side": SIDES[side]}}
    change = merge_sections(plan.change, own, entry.change)
    study = open_study(entry.dataset or plan.dataset, entry.backbone, change, checked=False)
    sequences, settings = sequences_before(study, entry.days), study.params.backbones
    stem, warm = STORE / name / "backbone", entry.warm or None
    asked = {"backbone": study.backbone, "settings": settings.model_dump(), "warm": warm}
    try:
        backbone, about = backbones.load_backbone(stem, sequences)
        check_match(asked, about, f"{stem}.json")
    except ParagonError:  # missing, incomplete, or of other settings or data
        parts = study.backbone, sequences, settings
        if warm:  # first trained on the data of earlier days; no setting holds their number
            earlier = sequences_before(study, warm)
            trained = backbones.train_backbone(study.backbone, earlier, settings, study.device)[0]
            backbone = backbones.build(*parts, settings.seed).to(study.device)
            carry_over(trained, backbone, *shared_items(earlier.item_ids, sequences.item_ids))
            fitted = Training(backbone, sequences, settings).fit(settings.seed)
        else:
            backbone, fitted = backbones.train_backbone(*parts, study.device)
        backbones.save_backbone(backbone, *parts[1:], fitted, stem, warm=warm)
        backbone, about = backbones.load_backbone(stem, sequences)
    collection = tuned_adapters(study, sequences, backbone, about, STORE / name / side)
    return Place(study, sequences, backbone, collection)


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
    return prepare(replace(dataset, interactions=before), **rules.model_dump())


def named_by_title(place: Place) -> Place:
    """Replace item ids by titles, to match items across datasets; shared titles match none."""
    titles, ids = (pd.Series(own) for own in (place.sequences.titles, place.sequences.item_ids))
    names = titles.mask(titles.duplicated(keep=False), place.study.dataset + " " + ids).tolist()
    return replace(place, sequences=replace(place.sequences, item_ids=names))


def with_means(way: AdapterMap, old: Tensor, new: Tensor) -> AdapterMap:
    """Set the offset so that the mean states ``old [N, d]`` and ``new [N, e]`` agree."""
    return replace(way, offset=old.double().mean(0) - new.double().mean(0) @ way.read)


def least_squares(way: AdapterMap, old: Tensor, new: Tensor) -> AdapterMap:
    """Fit linear maps between states ``old [N, d]`` and ``new [N, e]`` of the same histories."""
    old, new = old.double(), new.double()
    read = _ridge(new - new.mean(0), old - old.mean(0))  # [e, d]
    write = _ridge(old - old.mean(0), new - new.mean(0))  # [d, e]
    return with_means(replace(way, read=read, write=write), old, new)


def _ridge(x: Tensor, y: Tensor) -> Tensor:
    gram = x.T @ x
    strength = RIDGE * gram.diagonal().mean() * torch.eye(len(gram), dtype=gram.dtype)
    return torch.linalg.solve(gram + strength, x.T @ y)


def candidates(way: AdapterMap, old: Collection) -> Tensor:
    """Move candidates ``[C, Q]`` for selection: adapters at ``GRID`` weights with each gain."""
    both, first = torch.cat([old.anchors, old.oracles]), np.linspace(0, 1, GRID)  # [A, 2], [GRID]
    given = replace(old, anchors=both, anchor_vectors=old.tuned(0).unsqueeze(0))
    grid = torch.from_numpy(np.stack([first, 1 - first], 1))  # [GRID, 2]
    dense = mixtures.mixed(given, IN_LOGS, 0, grid)  # [GRID, P]
    return torch.cat([way.vectors(dense, old.form, gain) for gain in GAINS])


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
        tables.append(place.rows(vectors).assign(side=side))
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
        old = replace(old, items=entry.items)
        rotation = fit_rotation(old.table, place.table)
        vectors = moved(place, old, plan) | controls(place, old, rotation)
        about = {"side": side, "fit": rotation.fit, "shared": rotation.shared}
        tables.append(place.rows(vectors).assign(**about))
        write_seconds(plan, "moves", name, side, place.seconds)
    return joined(tables, **entry.model_dump())


def measure_generator(plan: Moves, name: str) -> pd.DataFrame:
    """Measure generators trained on moved adapters, and simpler methods."""
    entry, tables = plan.generators[name], []
    for side in SIDES:
        new = place_of(plan, entry.new, side)
        olds = [Old.of(place_of(plan, one, side), new) for one in entry.old]
        about = {"side": side, "olds": len(olds), "fit": max(old.there.fit for old in olds)}
        tables.append(new.rows(*rows_from(olds, new)).assign(**about))
    return joined(tables, kind=entry.kind, new=entry.new)


def write_seconds(plan: Moves, kind: str, name: str, side: str, seconds: dict[str, float]) -> None:
    """Write the processor seconds of the methods of a trial."""
    lines = [(kind, name, side, row, significant(value, 3)) for row, value in seconds.items()]
    table = pd.DataFrame(lines, columns=["kind", "name", "side", "method", "seconds"])
    replace_rows(plan.results / "seconds.csv", table, ["kind", "name", "side"])


def controls(place: Place, old: Place, rotation: AdapterMap) -> dict[str, Tensor]:
    """Return controls ``[W, P]``: unchanged adapters, and a random rotation of the same scale."""
    form, vectors = old.collection.form, old.tuned
    rng = torch.Generator().manual_seed(place.seed)
    noise = torch.randn(rotation.write.shape, generator=rng, dtype=torch.double)  # [d, e]
    ones = torch.ones(len(noise), dtype=torch.double)
    turn = procrustes(torch.eye(len(noise), dtype=torch.double), noise, ones)
    scale = rotation.read.norm() / turn.norm()
    aimless = replace(rotation, read=scale * turn.T, write=turn / scale)
    rows = {"random_rotation": aimless.vectors(vectors, form)}
    return rows if form != place.collection.form else {"as_it_is": vectors, **rows}


def moved(place: Place, old: Place, plan: Moves) -> dict[str, Tensor]:
    """Move adapters ``[W, P]`` from ``old`` with each method."""
    states, rows = old.states(), {}
    fit = partial(fit_rotation, old.table, place.table)
    ways: dict[str, Callable[[], AdapterMap]] = {
        "moved": fit,
        "moved_means": lambda: with_means(fit(), states, place.states()),
        "moved_least_squares": lambda: least_squares(fit(), states, place.states()),
    }
    if old.sequences.description != place.sequences.description:
        del ways["moved_least_squares"]  # it needs the same histories, row by row
    for name, way in ways.items():
        with place.timed(name):
            rows[name] = way().vectors(old.tuned, old.collection.form)
    choice = candidates(ways["moved_means"](), old.collection)
    start, weights = rows["moved_means"], place.weights
    with place.timed("moved_calibrated", "moved_means"):
        rows["moved_calibrated"] = best_of(place.held_out[0], choice, place.objectives)(weights)
    with place.timed("moved_two_anchors", "moved_means"):
        two = [int((weights[:, 0] - weight).abs().argmin()) for weight in plan.anchors]
        change = place.tuned_on(start[two], weights[two], plan.anchor_steps) - start[two]
        own = replace(place.collection, anchors=weights[two], anchor_vectors=change.unsqueeze(0))
        rows["moved_two_anchors"] = start + mixtures.mixed(own, IN_LOGS, 0, weights)
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
    def of(cls, place: Place, new: Place) -> "Old":
        """Fit both maps from the item vectors alone."""
        there, own = fit_rotation(place.table, new.table), place.collection
        back = fit_rotation(new.table, place.table)
        return cls(place, there, back, there.vectors(own.tuned(0), own.form))


def rows_from(olds: list[Old], new: Place) -> tuple[dict[str, Tensor], list[Row]]:
    """Make adapters ``[W, P]`` by method, and rows with scores only; `moved` has the best fit."""
    together, weights, one = collected(olds), new.weights, olds[0]
    settings = new.study.params.generator
    tries = behaviour_of(together, olds, settings.behaviour_rows)
    vectors = {
        "moved": max(olds, key=lambda old: old.there.fit).vectors[-len(weights) :],
        "moved_generated": train_generator(together, settings, 0, tries).generate(weights),
    }
    if len(olds) == 1:
        place, params = one.place, one.place.study.params
        anchors = {"anchors": together.anchors[:, 0].tolist()}  # they set the training budget
        budget = params.model_copy(update={"adapters": params.adapters.model_copy(update=anchors)})
        rival = train_end_to_end("hypernetwork", place.train, budget, place.seed)
        own = one.there.vectors(rival.generate(weights), place.collection.form)
        return {**vectors, "moved_hypernetwork": own}, []
    each = together.anchor_vectors[0].unflatten(0, (len(olds), -1))  # [K, A, P]
    choice = torch.cat([candidates(old.there, old.place.collection) for old in olds])
    vectors["moved_mean"] = each.mean(0)[-len(weights) :]
    valid, test, _ = new.held_out
    vectors["moved_calibrated"] = best_of(valid, choice, new.objectives)(weights)
    by_weight = zip(*(old.vectors[-len(weights) :] for old in olds), strict=True)  # W times K
    scores = (torch.stack([test.catalogue_scores(v) for v in own]).mean(0) for own in by_weight)
    rows = (Scores.of(of_events.cpu().numpy()) for of_events in scores)  # [N, n + 1] each
    return vectors, [Row("moved_ensemble", new.seed, weights.numpy(), rows)]


def collected(olds: list[Old]) -> Collection:
    """Join the moved adapters into one collection, as starts whose hidden units are aligned."""
    own, starts = olds[0].place.collection, len(olds)
    form = olds[0].there.form(own.form)
    vectors = aligned(torch.stack([old.vectors for old in olds]), form)  # [K, A, P]
    each = vectors.flatten(0, 1).repeat(starts, 1, 1)  # [K, K * A, P], alike for each seed
    about = {"form": asdict(form), "seeds": list(range(starts)), "starts": starts}
    return replace(
        own,
        anchors=torch.cat([own.anchors, own.oracles]).repeat(starts, 1),  # [K * A, O]
        anchor_vectors=each,
        snapshots=each.unsqueeze(2)[:, :, :0],  # none
        description=own.description | about,
    )


def aligned(vectors: Tensor, form: AdapterForm) -> Tensor:
    """Put the hidden units of each start ``[K, A, P]`` in the order of the first start's."""
    middle = vectors[:, vectors.shape[1] // 2]  # [K, P]
    orders = [matching(vector, middle[0], form) for vector in middle]
    return torch.stack([permute(*one, form) for one in zip(vectors, orders, strict=True)])


def matching(vector: Tensor, reference: Tensor, form: AdapterForm) -> Tensor:
    """Order ``[h]`` of the hidden units of ``vector [P]`` that is closest to ``reference [P]``.

    By inner products of all weights: Ainsworth et al., "Git Re-Basin", ICLR 2023, section 3.2.
    """
    parts = (form.unflatten(one) for one in (reference, vector))
    first, second = (torch.cat([p.w1, p.b1.unsqueeze(1), p.w2.T], 1) for p in parts)  # [h, 2 d + 1]
    products = (first @ second.T).numpy()  # [h, h]
    return torch.from_numpy(linear_sum_assignment(products, maximize=True)[1])


def permute(vectors: Tensor, order: Tensor, form: AdapterForm) -> Tensor:
    """Reorder the hidden units of vectors ``[..., P]``; the functions stay the same."""
    w1, b1, w2, b2, v, u = form.unflatten(vectors)
    units = w1[..., order, :].flatten(-2), b1[..., order], w2[..., order].flatten(-2)
    return torch.cat([*units, b2, v.flatten(-2), u], -1)  # [..., P]


def behaviour_of(together: Collection, olds: list[Old], rows: int) -> TaskLosses:
    """Make a loss that moves adapters back and evaluates each batch on a random old recommender."""
    tries = [behaviour(old.place.train, old.place.objectives, rows) for old in olds]

    def task_losses(vectors: Tensor, rng: np.random.Generator) -> Tensor:
        drawn = int(rng.integers(len(olds)))
        own = olds[drawn].back.vectors(vectors, together.form)  # [B, P]
        return tries[drawn](own, rng)  # [B, O]

    return task_losses
