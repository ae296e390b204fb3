"""The headline: how diverse are lists that keep a share of the backbone's accuracy?

Of the settings of a method that keep the share of NDCG@10 on validation users, the most diverse is
measured on test users. Shapes: N events, n items, S settings, P parameters, M categories.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from paragon.evaluation.methods import METHODS, Method, Trained, reranked
from paragon.evaluation.protocol import ByEvent, Measured
from paragon.metrics import ranking
from paragon.metrics.checks import Measure
from paragon.metrics.lists import TOP, ListQuality
from paragon.objectives.weights import refined
from paragon.reranking.rules import Rerank
from paragon.reranking.settings import Tried, candidates_of, reranked_lists
from paragon.rivals.end_to_end import END_TO_END

HEADLINE: tuple[str, ...] = (
    "backbone",
    "tuned",
    "paragon",
    "paragon_no_cfg",
    "paragon_transformer",
    "generated",
    "interpolation_log",
    "nearest",
    *END_TO_END,
    "category_bias",
    "mmr",
    "xquad",
    "dpp",
    "generated_xquad",
)
MEASURES = ("kept", "alpha_ndcg", "possible", "distance", "calibration", "novelty", "gini")
# Of accuracy, to choose from; more are tried between two, where the accuracy jumps.
WEIGHTS = (np.arange(51) / 50).tolist()


class TopTen:
    """Makes and measures lists of the whole catalogue, for the choice (``valid``) or ``test``."""

    def __init__(self, trained: Trained, part: str) -> None:
        self.frozen = getattr(trained, part)
        self.sequences = trained.test_set.sequences
        evaluation = self.sequences.evaluation(part)
        self.rows = evaluation.sample_rows() if part == "valid" else slice(None)
        self.events = evaluation[self.rows]
        excluded = self.sequences.excluded(self.events)  # [N, n + 1]
        self.hidden = torch.where(torch.from_numpy(excluded), -torch.inf, 0.0)  # [N, n + 1]
        self.quality = ListQuality.of(
            self.events.targets, self.sequences.categories, excluded=excluded
        )

    def of_adapters(self, vectors: Iterable[Tensor]) -> Iterator[np.ndarray]:
        """Yield the best items ``[N, 10]`` under each adapter ``[P]``."""
        for vector in vectors:
            scores = self.frozen.catalogue_scores(vector, self.rows).cpu()  # [N, n + 1]
            yield scores.add_(self.hidden).topk(TOP).indices.numpy()

    def means(self, items: np.ndarray) -> np.ndarray:
        """Compute the means ``[2]`` of NDCG@10 and α-nDCG@10 of lists ``items [N, 10]``."""
        return np.stack(self.quality.measure(items)).mean(1)

    def points(self, vectors: Tensor) -> np.ndarray:
        """Compute the :meth:`means` ``[S, 2]`` under adapters ``[S, P]``."""
        table = vectors.cpu().numpy()  # [S, P]
        _, first, row = np.unique(table, axis=0, return_index=True, return_inverse=True)
        distinct = [self.means(items) for items in self.of_adapters(vectors[first])]
        return np.array(distinct)[row.reshape(-1)]


class Choice(NamedTuple):
    """The settings of a method with a seed, and the lists ``[N, 10]`` they give test users."""

    settings: Any  # a sequence
    points: np.ndarray  # [S, 2], NDCG@10 and α-nDCG@10 of validation users
    lists: Callable[[Any], Iterable[np.ndarray]]


def choice_of(
    trained: Trained, index: int, method: Method, valid: TopTen, test: TopTen
) -> Choice | None:
    """Measure settings of a method on validation users; None if it has none."""
    if method.rerank is not None:
        vectors, tried = reranked(trained, index, method)
        return reranker_choice(method.rerank, tried["full"], test, vectors)
    one = adapters_of(trained, index, method, [1.0])  # [1, P]
    if one is None:
        return None
    if method.fixed:
        return Choice(one, valid.points(one), test.of_adapters)

    def adapters(accuracy_weights: np.ndarray) -> Tensor:
        vectors = adapters_of(trained, index, method, accuracy_weights)  # [S, P]
        assert vectors is not None
        return vectors

    weights, points = refined(WEIGHTS, lambda between: valid.points(adapters(between)))
    return Choice(adapters(weights), points, test.of_adapters)


def reranker_choice(rerank: Rerank, tried: Tried, test: TopTen, vectors: Tensor) -> Choice:
    """Return the choice among settings of a re-ranker of the lists of adapters ``[1 + 3, P]``."""
    candidates = candidates_of(test.sequences, test.events)["full"]

    def lists(chosen: Any) -> Iterator[np.ndarray]:
        for _, items in reranked_lists(rerank, candidates, test.frozen, vectors, chosen, TOP):
            yield items

    return Choice(tried.settings, tried.points, lists)


def adapters_of(
    trained: Trained, index: int, method: Method, accuracy_weights: Sequence[float] | np.ndarray
) -> Tensor | None:
    """Return a method's adapters ``[S, P]`` for weights of accuracy, None if it has none.

    The other weight is that of diversity, or of the first other objective.
    """
    accuracy, other = trained.columns()
    weights = torch.zeros(len(accuracy_weights), trained.weights.shape[1])  # [S, O]
    weights[:, accuracy] = torch.tensor(accuracy_weights, dtype=torch.float32)
    weights[:, other] = 1 - weights[:, accuracy]
    if method.between is not None:
        return method.between(trained, index, weights)
    return method.adapters(trained, index, weights)


def most_diverse(points: np.ndarray, least: float) -> int | None:
    """Choose the row of ``points [S, 2]`` with the largest second number whose first is enough."""
    enough = points[:, 0] >= least
    return int(np.where(enough, points[:, 1], -1).argmax()) if enough.any() else None


class Readings:
    """Reads accuracy and several kinds of diversity from the lists of test users."""

    def __init__(self, trained: Trained, test: TopTen, backbone_lists: np.ndarray) -> None:
        self.test = test
        self.information = trained.test_set.information  # [n + 1]
        self.backbone = test.means(backbone_lists)  # [2]
        self.history = trained.test_set.history.numpy()  # [N, M]
        vectors = trained.test.backbone.item_vectors().detach().cpu().numpy()  # [n + 1, d]
        self.differ = bool(np.ptp(vectors[1:], axis=0).any())
        lengths = np.linalg.norm(vectors, axis=1, keepdims=True)  # [n + 1, 1]
        self.units = vectors / np.maximum(lengths, 1e-12)  # [n + 1, d]

    def of(self, items: np.ndarray) -> tuple[dict[str, Measure], np.ndarray]:
        """Return ``MEASURES`` of lists ``items [N, 10]``, and α-nDCG@10 of each event ``[N]``."""
        ndcg, by_event = self.test.quality.measure(items)  # [N] each
        accuracy, diversity = self.backbone
        mean = by_event.mean()
        kept = Measure(None, "the backbone's NDCG@10 is 0")
        if accuracy:
            kept = Measure(float(ndcg.mean() / accuracy))
        possible = Measure(None, "nothing more is possible")
        if diversity < 1:
            possible = Measure(float((mean - diversity) / (1 - diversity)))
        distance = Measure(None, "the backbone has the same vector for all items")
        if self.differ:
            units = self.units[items]  # [N, 10, d]
            apart = ranking.intra_list_distance_at(units @ units.mT, TOP)  # [N]
            distance = Measure(float(apart.mean()))
        sets = self.test.sequences.categories[items]  # [N, 10, M]
        calibration = ranking.calibration_at(sets, self.history, TOP).mean()
        novelty = ranking.novelty_at(items, self.information, TOP).mean()
        gini = ranking.gini_at(items, TOP, len(self.units) - 1)
        measures = {
            "kept": kept,
            "alpha_ndcg": Measure(float(mean)),
            "possible": possible,
            "distance": distance,
            "calibration": Measure(float(calibration)),
            "novelty": Measure(float(novelty)),
            "gini": Measure(float(gini)),
        }
        return measures, by_event


@dataclass(frozen=True)
class Choices:
    """The settings of methods, tried on validation users, and what is needed to measure them."""

    trained: Trained
    methods: Mapping[str, Method]
    of: Mapping[str, Mapping[int, Choice]]  # by method and seed
    backbone_points: np.ndarray  # [2], its NDCG@10 and α-nDCG@10 for validation users
    backbone_lists: np.ndarray  # [N, 10], its lists for test users
    test: TopTen


def all_choices(trained: Trained, methods: Mapping[str, Method]) -> Choices:
    """Try the settings of methods on validation users, for each seed."""
    valid = TopTen(trained, "valid")
    test = TopTen(trained, "test")
    backbone = choice_of(trained, 0, METHODS["backbone"], valid, test)
    assert backbone is not None
    of: dict[str, dict[int, Choice]] = {}
    for name, method in methods.items():
        for index, seed in enumerate(trained.seeds if is_random(method) else trained.seeds[:1]):
            choice = choice_of(trained, index, method, valid, test)
            if choice is not None:
                of.setdefault(name, {})[seed] = choice
    return Choices(
        trained=trained,
        methods=methods,
        of=of,
        backbone_points=backbone.points[0],
        backbone_lists=next(iter(backbone.lists(backbone.settings))),
        test=test,
    )


def is_random(method: Method) -> bool:
    """Say whether another seed gives other lists."""
    return not method.fixed and (method.rerank is None or method.vectors is not None)


def with_shares(
    choices: Choices, shares: Sequence[float]
) -> tuple[dict[str, dict[str, list[Measure]]], Measured]:
    """Measure methods at shares of the backbone's accuracy.

    Return ``{method: {measure_share: one for each seed}}``, with `alpha_ndcg_98` for a share of
    0.98; and by share α-nDCG@10 of each event, for methods that reach the share with every seed.
    """
    readings = Readings(choices.trained, choices.test, choices.backbone_lists)
    labels = {f"{100 * share:g}": share for share in shares}
    measures: dict[str, dict[str, list[Measure]]] = {}
    rows: Measured = {label: {} for label in labels}
    for name, by_seed in choices.of.items():
        of_method = measures.setdefault(name, {})
        for seed, choice in by_seed.items():
            measured = at_shares(choice, choices.backbone_points[0], labels, readings)
            for label, (values, by_event) in measured.items():
                for measure, value in values.items():
                    of_method.setdefault(f"{measure}_{label}", []).append(value)
                if by_event is not None:
                    # As if there were one weight, W = 1, and one objective, O = 1.
                    mean = by_event.mean(keepdims=True)[None]  # [1, 1]
                    random = is_random(choices.methods[name])
                    row = ByEvent(np.ones((1, 1)), mean, [by_event[None]], random)
                    rows[label].setdefault(name, {})[seed] = row
    for label, of_share in rows.items():
        for name, of_method in measures.items():
            if any(measure.value is None for measure in of_method[f"alpha_ndcg_{label}"]):
                of_share.pop(name, None)
    return measures, rows


def at_shares(
    choice: Choice, of_backbone: float, labels: Mapping[str, float], readings: Readings
) -> dict[str, tuple[dict[str, Measure], np.ndarray | None]]:
    """Choose a setting for each share, by its label, and measure it: values, and by event ``[N]``.

    ``of_backbone``: the NDCG@10 of validation users, of which the shares are kept.
    """
    chosen = {
        label: most_diverse(choice.points, share * of_backbone) for label, share in labels.items()
    }
    reached = [at for at in chosen.values() if at is not None]
    settings = [choice.settings[at] for at in reached]
    lists = dict(zip(reached, choice.lists(settings), strict=True))
    out: dict[str, tuple[dict[str, Measure], np.ndarray | None]] = {}
    for label, at in chosen.items():
        if at is None:
            best = f"{choice.points[:, 0].max() / of_backbone:.1%}"
            reason = f"no setting keeps {label} % on validation users, the best {best}"
            out[label] = dict.fromkeys(MEASURES, Measure(None, reason)), None
        else:
            out[label] = readings.of(lists[at])
    return out
