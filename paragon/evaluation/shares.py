"""The headline: how diverse are lists that keep a share of the backbone's accuracy?

Of the settings of a method that keep the share of NDCG@10 on validation users, the most diverse is
measured on test users. Shapes: N events, n items, S settings, P parameters, M categories.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from functools import partial
from itertools import product
from typing import Any, NamedTuple, cast

import numpy as np
import torch
from torch import Tensor

from paragon.adapters import mixtures
from paragon.adapters.collection import Collection
from paragon.evaluation.methods import METHODS, Trained, adapter_vectors, reranked
from paragon.evaluation.protocol import ByEvent, Measured
from paragon.metrics import ranking
from paragon.metrics.checks import Measure
from paragon.objectives.weights import refined
from paragon.rivals import reranking
from paragon.rivals.end_to_end import END_TO_END
from paragon.rivals.reranking import TOP, Rerank, Tried

HEADLINE: tuple[str, ...] = (
    "backbone",
    "tuned",
    "paragon",
    "paragon_no_cfg",
    "paragon_transformer",
    "generated",
)
HEADLINE += ("interpolation_log", "nearest", *END_TO_END)
HEADLINE += ("category_bias", "mmr", "xquad", "dpp", "generated_xquad", "tuned_xquad")
MEASURES = ("kept", "alpha_ndcg", "possible", "distance", "calibration", "novelty", "gini")
# Items that are fetched, then re-ranked, and what fetches them: the backbone, or adapters.
BUDGETS = (10, 20, 50, 100, 200, 1000)
FETCHED = ("xquad", "dpp", "category_bias", "tuned", "generated", "interpolation_log", *END_TO_END)
WEIGHTS = (*(np.arange(201) / 200).tolist(), 0.998)  # of accuracy, to choose from
COARSE = 20  # number of adapters, about, whose lists are re-ranked


class TopTen:
    """Makes and measures lists of the whole catalogue, for the choice (``valid``) or ``test``."""

    def __init__(self, trained: Trained, part: str) -> None:
        self.task, self.sequences = getattr(trained, part), trained.test_set.sequences
        evaluation = self.sequences.evaluation(part)
        self.rows = evaluation.sample_rows() if part == "valid" else slice(None)
        self.events = evaluation[self.rows]
        without = self.sequences.excluded(self.events)  # [N, n + 1]
        self.ideal = ranking.ideal_alpha_dcg(self.sequences.categories, TOP, excluded=without)
        self.hidden = torch.where(torch.from_numpy(without), -torch.inf, 0.0)  # [N, n + 1]

    def of_adapters(self, vectors: Iterable[Tensor]) -> Iterator[np.ndarray]:
        """Yield the best items ``[N, 10]`` under each adapter ``[P]``."""
        for vector in vectors:
            scores = self.task.catalogue_scores(vector, self.rows).cpu()  # [N, n + 1]
            yield scores.add_(self.hidden).topk(TOP).indices.numpy()

    def quality(self, items: np.ndarray) -> np.ndarray:
        """Compute NDCG@10 and α-nDCG@10 of lists ``items [N, 10]``: ``[2, N]``."""
        hits, sets = items == self.events.targets[:, None], self.sequences.categories[items]
        return np.stack(reranking.list_quality(hits, sets, self.ideal))

    def points(self, vectors: Tensor) -> np.ndarray:
        """Compute the means ``[S, 2]`` of :meth:`quality` under adapters ``[S, P]``."""
        table = vectors.cpu().numpy()
        _, first, row = np.unique(table, axis=0, return_index=True, return_inverse=True)
        means = [self.quality(items).mean(1) for items in self.of_adapters(vectors[first])]
        return np.array(means)[row.reshape(-1)]


class Choice(NamedTuple):
    """The settings of a method with a seed, and the lists ``[N, 10]`` they give test users."""

    settings: Any  # a sequence
    points: np.ndarray  # [S, 2], NDCG@10 and α-nDCG@10 of validation users
    lists: Callable[[Any], Iterable[np.ndarray]]


def choice_of(
    trained: Trained, index: int, name: str, valid: TopTen, test: TopTen
) -> Choice | None:
    """Measure settings of a method on validation users; None if it has none."""
    if (rerank := METHODS[name].rerank) is not None:
        vectors, tried = reranked(trained, index, name)
        return _reranked(rerank, tried["full"], test, vectors)
    adapters = cast(Callable[..., Tensor], partial(adapters_of, trained, index, name))
    if (settings := adapters(WEIGHTS)) is None:
        return None
    if len(settings) != len(WEIGHTS):  # they do not depend on the weights
        return Choice(settings, valid.points(settings), test.of_adapters)
    weights, points = refined(WEIGHTS, lambda between: valid.points(adapters(between)))
    return Choice(adapters(weights), points, test.of_adapters)


def _reranked(rerank: Rerank, tried: Tried, test: TopTen, vectors: Tensor) -> Choice:
    candidates = reranking.candidates_of(test.sequences, test.events)["full"]
    lists = partial(reranking.reranked_lists, rerank, candidates, test.task, vectors)
    return Choice(*tried, lambda chosen: (row for _, row in lists(chosen, TOP)))


def at_budgets(
    trained: Trained,
    shares: Sequence[float],
    budgets: Sequence[int] = BUDGETS,
    names: Sequence[str] = FETCHED,
) -> dict[int, Any]:
    """Measure methods if a budget of items is fetched, by :func:`with_shares`: by budget.

    The backbone fetches for re-rankers, adapters for all other methods; xQuAD re-ranks what they
    fetch. Settings are about ``COARSE`` of the adapters, evenly, and the weights of the re-ranker.
    """
    tried: dict[tuple[str, int], tuple[Tensor, Tried]] = {}

    def choose(index: int, name: str, valid: TopTen, test: TopTen, budget: int) -> Choice | None:
        rerank = METHODS[name].rerank or reranking.RERANKERS["xquad"]
        if (name, index) not in tried:
            plain = torch.zeros(1, test.task.form.size)  # the backbone: s' = s
            vectors = plain if METHODS[name].rerank else adapters_of(trained, index, name, WEIGHTS)
            if vectors is None:
                return None
            vectors = vectors[:: max(1, len(vectors) // COARSE)]
            scores = [valid.task.catalogue_scores(v, valid.rows).cpu().numpy() for v in vectors]
            found = reranking.tried_settings(rerank, test.sequences, scores, depths=budgets)
            tried[name, index] = vectors, found
        vectors, (settings, points) = tried[name, index]
        most = min(budget, max(setting.depth for setting in settings))
        at = [row for row, setting in enumerate(settings) if setting.depth == most]
        return _reranked(rerank, ([settings[row] for row in at], points[at]), test, vectors)

    return {n: with_shares(trained, shares, names, partial(choose, budget=n)) for n in budgets}


def adapters_of(
    trained: Trained, index: int, name: str, accuracy_weights: Sequence[float] | np.ndarray
) -> Tensor | None:
    """Return a method's adapters ``[S, P]`` for weights of accuracy, None if it has none.

    The other weight is that of diversity, or of the first other objective. `tuned` interpolates
    between all of its adapters.
    """
    objectives = trained.test_set.objectives
    accuracy = objectives.index("accuracy")
    other = objectives.index("diversity") if "diversity" in objectives else 1 - min(accuracy, 1)
    weights = torch.zeros(len(accuracy_weights), len(objectives))
    weights[:, accuracy] = torch.tensor(accuracy_weights, dtype=torch.float32)
    weights[:, other] = 1 - weights[:, accuracy]
    if name == "tuned":
        return _between_tuned(trained.collection, index, weights)
    if name != "category_bias":
        return adapter_vectors(replace(trained, weights=weights), index, name)
    if not trained.test.form.categories:
        return None
    # An adapter ends with a bias of each category.  Between those tuned for these objectives:
    both = trained.weights[:, [accuracy, other]].sum(1) > 0.999
    grid, order = trained.weights[both, accuracy].sort()
    vectors = torch.zeros(len(weights), trained.test.form.size)
    for column, biases in enumerate(trained.category_bias[index][both][order].T.flip(0)):
        vectors[:, -1 - column] = torch.from_numpy(np.interp(accuracy_weights, grid, biases))
    return vectors


def _between_tuned(collection: Collection, index: int, weights: Tensor) -> Tensor:
    """Interpolate between all tuned adapters of a seed, at weights ``[S, O]``: ``[S, P]``."""
    tuned_for = torch.cat([collection.anchors, collection.oracles]).double()  # [A + W, O]
    mix = mixtures.interpolation(tuned_for.numpy(), weights.double().numpy())  # [S, A + W]
    return torch.from_numpy(mix).float() @ collection.tuned(index)


def most_diverse(points: np.ndarray, least: float) -> int | None:
    """Choose the row of ``points [S, 2]`` with the largest second number whose first is enough."""
    enough = points[:, 0] >= least
    return int(np.where(enough, points[:, 1], -1).argmax()) if enough.any() else None


class Readings:
    """Reads accuracy and several kinds of diversity from the lists of test users."""

    def __init__(self, trained: Trained, test: TopTen, plain: np.ndarray) -> None:
        self.test, self.information = test, trained.test_set.information
        self.plain = test.quality(plain).mean(1)  # [2], of the backbone
        self.history = trained.test_set.history.numpy()  # [N, M]
        vectors = trained.test.backbone.item_vectors().detach().cpu().numpy()  # [n + 1, d]
        self.differ = bool(np.ptp(vectors[1:], axis=0).any())
        self.units = vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-12)

    def of(self, items: np.ndarray) -> tuple[dict[str, Measure], np.ndarray]:
        """Return ``MEASURES`` of lists ``items [N, 10]``, and α-nDCG@10 of each event ``[N]``."""
        ndcg, by_event = self.test.quality(items)
        sets, units = self.test.sequences.categories[items], self.units[items]
        accuracy, plain = self.plain
        same = "the backbone has the same vector for all items"
        values: list[float | str] = [
            ndcg.mean() / accuracy if accuracy else "the backbone's NDCG@10 is 0",
            by_event.mean(),
            (by_event.mean() - plain) / (1 - plain) if plain < 1 else "nothing more is possible",
            ranking.intra_list_distance_at(units @ units.mT, TOP).mean() if self.differ else same,
            ranking.calibration_at(sets, self.history, TOP).mean(),
            ranking.novelty_at(items, self.information, TOP).mean(),
            ranking.gini_at(items, TOP, len(self.units) - 1),
        ]
        found = (Measure(None, x) if isinstance(x, str) else Measure(float(x)) for x in values)
        return dict(zip(MEASURES, found, strict=True)), by_event


def with_shares(
    trained: Trained,
    shares: Sequence[float],
    names: Sequence[str] = HEADLINE,
    choose: Callable[..., Choice | None] | None = None,
) -> tuple[dict[str, dict[str, list[Measure]]], Measured]:
    """Measure methods at shares of the backbone's accuracy.

    Return ``{method: {measure_share: one for each seed}}``, with `alpha_ndcg_98` for a share of
    0.98; and by share α-nDCG@10 of each event, without methods that a seed keeps from it.
    """
    choose = choose or partial(choice_of, trained)
    valid, test = (TopTen(trained, part) for part in ("valid", "test"))
    own = choice_of(trained, 0, "backbone", valid, test)
    assert own is not None
    least, readings = own.points[0, 0], Readings(trained, test, next(iter(own.lists(own.settings))))
    measures: dict[str, dict[str, list[Measure]]] = {}
    rows: Measured = {f"{100 * share:g}": {} for share in shares}
    for name, index in product(names, range(len(trained.seeds))):
        method = METHODS[name]
        random = name != "backbone" and (method.rerank is None or method.vectors is not None)
        choice = choose(index, name, valid, test) if random or not index else None
        if choice is None:
            continue
        chosen = [most_diverse(choice.points, share * least) for share in shares]
        lists = iter(choice.lists([choice.settings[at] for at in chosen if at is not None]))
        for (label, of_share), at in zip(rows.items(), chosen, strict=True):
            best = f"{choice.points[:, 0].max() / least:.1%}" if at is None else ""
            reason = f"no setting keeps {label} % on validation users, the best {best}"
            values = dict.fromkeys(MEASURES, Measure(None, reason))
            if at is not None:
                values, by_event = readings.of(next(lists))
                mean = by_event.mean(keepdims=True)[None]  # [1, 1]
                row = ByEvent(np.ones((1, 1)), mean, [by_event[None]], random)
                of_share.setdefault(name, {})[trained.seeds[index]] = row
            for measure, value in values.items():
                measures.setdefault(name, {}).setdefault(f"{measure}_{label}", []).append(value)
    for (label, of_share), name in product(rows.items(), measures):
        if any(m.value is None for m in measures[name][f"alpha_ndcg_{label}"]):
            of_share.pop(name, None)
    return measures, rows
