"""How a method is measured: the test events, two candidate protocols, and every metric.

A row of the comparison gives scores for each evaluation weight; :func:`measure_rows` turns rows
into the long table (``curve``), a line per method, seed, protocol and weight.  Scores come some
events at a time, so that events times items need not fit into memory: of every event there remain
the rank of its target, the best items, and the scores that the losses are of.

Shapes: N events, R of them in a block, C candidates, n items, K items of a list, L items of a
served list, W evaluation weights, O objectives, M categories, P parameters of an adapter.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import lru_cache
from typing import NamedTuple

import numpy as np
import pandas as pd
import torch
from numpy.typing import ArrayLike
from torch import Tensor

from paragon import params
from paragon.adapters.frozen import FrozenTask, frozen_task
from paragon.backbones import Backbone
from paragon.data.sequences import Evaluation, Pairs, Sequences
from paragon.errors import ParagonError
from paragon.metrics import diversity, ranking
from paragon.metrics.checks import row_blocks
from paragon.objectives.lists import Catalogue, check_served, served
from paragon.objectives.table import Scored, metrics_of, objective_losses
from paragon.progress import progress

PROTOCOLS = ("sampled", "full")
_KEPT = 32  # blocks whose tables of what is left out are kept, some megabytes each
Metrics = dict[str, np.ndarray | float]  # a value for each event [N], or a single number


@dataclass(frozen=True, eq=False)
class Scores:
    """Scores of the catalogue for all events, computed when they are needed.

    ``blocks()``: ``[R, n + 1]`` each; ``sampled [N, C]``: the scores of the stored candidates
    where they are not those of the catalogue: then they are not on the scale of the losses, which
    stay undefined.  Scores with the same ``key`` are the same, and measured once.
    """

    blocks: Callable[[], Iterable[np.ndarray]]
    sampled: np.ndarray | None = None
    key: bytes | None = None

    @classmethod
    def of(
        cls, full: ArrayLike, sampled: np.ndarray | None = None, key: bytes | None = None
    ) -> Scores:
        """Those of a table ``[N, n + 1]``."""
        table = np.asarray(full)
        blocks = list(row_blocks(len(table), max(1, table[:1].size)))
        return cls(lambda: (table[rows] for rows in blocks), sampled, key)

    @classmethod
    def of_adapter(cls, task: FrozenTask, vector: Tensor) -> Scores:
        """Those of the events of a ``task`` under an adapter ``vector [P]``."""
        key = vector.cpu().numpy().tobytes()
        return cls(lambda: (b.cpu().numpy() for b in task.catalogue_blocks(vector)), key=key)


class TestSet:
    """The test events with all that judging scores needs, prepared once.

    The losses of the objectives are as tuning defines them: on the target and the first
    ``negatives``, and on the ``served`` best items of the catalogue.
    """

    __test__ = False  # not a test class, whatever pytest thinks of its name

    def __init__(
        self,
        sequences: Sequences,
        evaluation: Evaluation,
        objectives: list[str],
        *,
        negatives: int,
        served: int,
        cutoffs: list[int],
    ) -> None:
        self.sequences, self.evaluation = sequences, evaluation
        self.objectives, self.cutoffs = objectives, sorted(cutoffs)
        self.groups = sequences.groups[evaluation.users]
        _, unknown = ranking.group_gap(np.zeros(len(evaluation)), self.groups)
        if "fairness" in objectives and unknown:
            raise ParagonError(f"objective fairness: no metric shows it in this test: {unknown}")
        self.candidates = evaluation.candidates
        self._left_out = lru_cache(_KEPT)(
            lambda *rows: sequences.excluded(evaluation[slice(*rows)])
        )
        depth, categories = self.cutoffs[-1], sequences.categories
        # Items with the same categories are alike: a pattern [M] each, of which there are few.
        patterns, kinds = np.unique(categories, axis=0, return_inverse=True)
        self.kinds = kinds.reshape(-1)  # [n + 1]
        self.similarity = diversity.jaccard(patterns.astype(np.float64))  # of patterns
        self.ideal = {
            "sampled": diversity.ideal_alpha_dcg(categories, depth, candidates=self.candidates),
            "full": self._ideal(patterns, depth),
        }
        # Of the published scale, for docs/reproduction.md and nothing else.
        published = diversity.ideal_alpha_dcg_published
        self.published = published(categories, 10, candidates=self.candidates)
        users = np.repeat(np.arange(sequences.n_users), sequences.lengths)
        train = sequences.is_train()
        met = Pairs(users[train], sequences.items[train], sequences.n_items)
        count = np.bincount(met.keys % (sequences.n_items + 1), minlength=sequences.n_items + 1)
        self.information = np.append(0.0, ranking.self_information(count[1:], sequences.n_users))
        self.drawn = torch.from_numpy(self.candidates[:, : 1 + negatives])  # [N, 1 + negatives]
        self.served = served
        check_served(sequences.met_before(evaluation), served)
        self.catalogue = Catalogue.of(sequences, max(served, 1 + negatives))

    @property
    def excluded(self) -> np.ndarray:
        """What the full protocol leaves out, a table ``[N, n + 1]`` of bool."""
        return self.sequences.excluded(self.evaluation)

    def _ideal(self, patterns: np.ndarray, depth: int) -> np.ndarray:
        """The best α-DCG of the full protocol, ``[N, depth]``."""
        parts = []
        for rows in row_blocks(len(self.evaluation), len(self.kinds)):
            excluded = self.sequences.excluded(self.evaluation[rows])
            kinds = np.broadcast_to(self.kinds, excluded.shape)
            parts.append(diversity.ideal_alpha_dcg(patterns, depth, 0.5, kinds, excluded))
        return np.concatenate(parts)

    def measure(
        self, scores: Scores
    ) -> tuple[dict[str, dict[str, float]], dict[str, np.ndarray | None]]:
        """``{protocol: {metric: mean over events}}``, and by event ``{protocol: [O, N]}``.

        The latter are the metrics of the objectives; None if one is no mean over events (the
        parity of groups).  Raises ``ParagonError`` for scores of a wrong shape or not finite.
        """
        means, events, lists = {}, {}, self._lists(scores)
        for protocol in PROTOCOLS:
            ranks, items = lists[f"ranks_{protocol}"], lists[f"items_{protocol}"]
            metrics = self._metrics(protocol, ranks, items)
            means[protocol] = {name: float(np.mean(value)) for name, value in metrics.items()}
            followed = [metrics.get(name) for name in metrics_of(self.objectives)]
            arrays = [value for value in followed if isinstance(value, np.ndarray)]
            events[protocol] = np.stack(arrays) if len(arrays) == len(followed) else None
        if scores.sampled is None:
            means["full"] |= self._losses(lists)
        return means, events

    def _lists(self, scores: Scores) -> dict[str, np.ndarray]:
        """What scores say of all events, under both protocols.

        ``ranks_* [N]`` of the targets and ``items_* [N, K]``, the best; without scores of the
        candidates alone also what the losses need: ``drawn [N, 1 + negatives]``, the scores of the
        first candidates, ``served [N, L]`` and ``served_scores``.
        """
        if scores.sampled is not None:
            _check(scores.sampled, self.candidates.shape)
        depth, parts, end = self.cutoffs[-1], [], 0
        for full in scores.blocks():
            start, end = end, end + len(full)
            _check(full, (len(full), self.sequences.n_items + 1))
            candidates, excluded = self.candidates[start:end], self._left_out(start, end)
            part: dict[str, np.ndarray] = {}
            if scores.sampled is None:
                sampled = np.take_along_axis(full, candidates, 1)
                table = torch.from_numpy(full).float()
                items = served(table, torch.from_numpy(excluded), self.served)
                part["served"], part["served_scores"] = (
                    items.numpy(),
                    table.gather(1, items).numpy(),
                )
                part["drawn"] = sampled[:, : self.drawn.shape[1]].astype(np.float32)
            else:
                sampled = scores.sampled[start:end]
            part["ranks_sampled"] = ranking.target_ranks(sampled)
            part["ranks_full"] = ranking.target_ranks(full, candidates[:, 0], excluded)
            best = ranking.top_k(sampled, depth)
            part["items_sampled"] = np.take_along_axis(candidates, best, 1)
            part["items_full"] = ranking.top_k(full, depth, excluded)
            parts.append(part)
        if end != len(self.candidates):
            raise ParagonError(f"scores have {end} rows, {len(self.candidates)} are needed")
        return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}

    def _losses(self, lists: dict[str, np.ndarray]) -> dict[str, float]:
        """The objectives' losses, as tuning defines them, from what `_lists` gives."""

        def scored(items: Tensor, scores: np.ndarray) -> Scored:
            known = self.catalogue.lists(items, torch.from_numpy(self.groups))
            return Scored(torch.from_numpy(scores).unsqueeze(-2), known)  # [N, 1, C]

        drawn = scored(self.drawn, lists["drawn"])
        best = scored(torch.from_numpy(lists["served"]), lists["served_scores"])
        best = best._replace(scores=best.scores.unsqueeze(0))  # [1, N, 1, L]
        losses = objective_losses(self.objectives, drawn, lambda: best)  # [1, O]
        return {f"loss_{o}": x for o, x in zip(self.objectives, losses[0].tolist(), strict=True)}

    def _metrics(self, protocol: str, ranks: np.ndarray, items: np.ndarray) -> Metrics:
        """Every metric of lists ``items [N, K]`` whose targets have the ``ranks [N]``."""
        ranked = self.sequences.categories[items]  # [N, K, M]
        dcg, kinds = diversity.alpha_dcg(ranked), self.kinds[items]
        similarity = self.similarity[kinds[:, :, None], kinds[:, None]]  # [N, K, K]
        out: Metrics = {}
        for k in self.cutoffs:
            ndcg = ranking.ndcg_at(ranks, k)
            gap = ranking.group_gap(ndcg, self.groups)
            out[f"ndcg@{k}"] = ndcg
            out[f"hr@{k}"] = ranking.hr_at(ranks, k)
            out[f"alpha_ndcg@{k}"] = diversity.alpha_ndcg_at(dcg, self.ideal[protocol], k)
            out[f"coverage@{k}"] = diversity.category_coverage_at(ranked, k)
            if k > 1:  # one item has no distance to others
                out[f"ild@{k}"] = diversity.intra_list_distance_at(ranked, k, similarity)
            out[f"novelty@{k}"] = ranking.novelty_at(items, self.information, k)
            if k == 10:
                out["items@10"] = different = diversity.items_shown_at(items, k)
                out["catalogue@10"] = different / self.sequences.n_items
            if k == 10 and protocol == "sampled":
                out["alpha_ndcg_published@10"] = diversity.alpha_ndcg_at(dcg, self.published, k)
            if gap.value is not None:
                out[f"group_gap@{k}"] = gap.value
                out[f"parity@{k}"] = 1 - gap.value
        return out


def _check(scores: np.ndarray, shape: tuple[int, ...]) -> None:
    if scores.dtype.kind not in "fiu":
        raise ParagonError(f"scores are {scores.dtype}; numbers are needed")
    if scores.shape != shape:
        raise ParagonError(f"scores have shape {scores.shape}, {shape} is needed")
    if not np.isfinite(scores).all():
        raise ParagonError("scores are not finite")


def held_out(
    sequences: Sequences,
    backbone: Backbone,
    settings: params.AdapterSettings,
    cutoffs: list[int],
) -> tuple[FrozenTask, FrozenTask, TestSet]:
    """Validation and test events as adapters see them, and the test events to measure on."""
    valid, test = (frozen_task(backbone, sequences, part, settings) for part in ("valid", "test"))
    lists = settings.model_dump(include={"negatives", "served"})
    return (
        valid,
        test,
        TestSet(sequences, sequences.test, settings.objectives, **lists, cutoffs=cutoffs),
    )


@dataclass(frozen=True)
class Row:
    """One method of one seed: its weights ``[W, O]`` and the scores under each of them.

    ``random``: whether another seed would give another row.  Where it would not, ``seed``
    only says beside which rows this one stands.
    """

    method: str
    seed: int
    weights: np.ndarray
    scores: Iterable[Scores]
    random: bool = True


class ByEvent(NamedTuple):
    """What was measured of one row under one protocol, for comparisons of methods by user.

    ``weights``, ``points [W, O]``: the objectives' metrics; ``events``: W times ``[O, N]``,
    the same by event, or None where a metric is no mean over events; ``random``: see `Row`.
    """

    weights: np.ndarray
    points: np.ndarray
    events: list[np.ndarray] | None
    random: bool = True


Measured = dict[str, dict[str, dict[int, ByEvent]]]  # by protocol, method and seed


def measure_rows(test_set: TestSet, rows: Iterable[Row]) -> tuple[pd.DataFrame, Measured]:
    """Measure all rows: the long table, and the same by event."""
    lines: list[dict] = []
    by_event: Measured = {protocol: {} for protocol in PROTOCOLS}
    known: dict[bytes | None, tuple[dict, dict]] = {}  # many rows have adapters in common
    names = metrics_of(test_set.objectives)
    for row in progress(rows, "rows"):
        measured, given = [], iter(row.scores)
        for number, weight in enumerate(row.weights, start=1):
            scores = next(given, None)
            try:
                if scores is None:
                    raise ParagonError("scores are missing")
                if scores.key is None or scores.key not in known:
                    known[scores.key] = test_set.measure(scores)
            except ParagonError as error:
                raise ParagonError(
                    f"method {row.method}, seed {row.seed}, "
                    f"weight {number} of {len(row.weights)}: {error}"
                ) from error
            measured.append(known[scores.key])
            named = {f"w_{o}": float(w) for o, w in zip(test_set.objectives, weight, strict=True)}
            for protocol, values in measured[-1][0].items():
                start = {"method": row.method, "seed": row.seed, "protocol": protocol}
                lines.append({**start, **named, **values})
        if next(given, None) is not None:
            raise ParagonError(f"method {row.method}, seed {row.seed}: more scores than weights")
        for protocol in PROTOCOLS:
            points = [[means[protocol].get(n, np.nan) for n in names] for means, _ in measured]
            events = [own[protocol] for _, own in measured]
            by_event[protocol].setdefault(row.method, {})[row.seed] = ByEvent(
                np.array(row.weights, dtype=float),
                np.array(points),
                None if any(part is None for part in events) else events,
                row.random,
            )
    return pd.DataFrame(lines), by_event


def rows_of_weights(method: str, weights: np.ndarray, grid: np.ndarray) -> np.ndarray:
    """The row of each of a method's weights ``[R, O]`` in the evaluation weights ``[W, O]``.

    `retrain` has only some of them.  Raises ``ParagonError`` for a weight that is not there.
    """
    rows = {tuple(w): row for row, w in enumerate(grid)}
    for w in weights:
        if tuple(w) not in rows:
            named = tuple(w.astype(float).round(4).tolist())
            raise ParagonError(
                f"method {method}: weights {named} are not among the evaluation weights "
                "(adapters.oracles in params.yaml); it cannot be compared"
            )
    return np.array([rows[tuple(w)] for w in weights])
