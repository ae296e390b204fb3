"""Measure methods on the test events, under two candidate protocols and with all metrics.

Shapes: N events, R of them in a block, C candidates, n items, K items of a list, L items of a
served list, W evaluation weights, O objectives, M categories, P parameters of an adapter.
"""

import math
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
from paragon.adapters.frozen import FrozenEvents, frozen_events
from paragon.backbones import Backbone
from paragon.data.sequences import Evaluation, Sequences
from paragon.errors import ParagonError
from paragon.metrics import ranking
from paragon.metrics.checks import check_array, row_blocks
from paragon.objectives.losses import divergence
from paragon.objectives.table import (
    OBJECTIVES,
    Catalogue,
    Scored,
    history_shares,
    information_of,
    served,
)
from paragon.progress import progress

PROTOCOLS = ("sampled", "full")
MOST_PATTERNS = 1000  # sets of categories: of more, a table of all pairs costs more than it saves
Metrics = dict[str, np.ndarray | float]  # a value for each event [N], or a single number
Means = dict[str, dict[str, float]]  # by protocol and metric


@dataclass(frozen=True, eq=False)
class Scores:
    """Catalogue scores of all events, in blocks ``[R, n + 1]`` to save memory."""

    blocks: Callable[[], Iterable[np.ndarray]]
    # [N, C], scores of the stored candidates; None: as in `blocks`. If they are given, scores only
    # rank items: no losses are computed from them.
    sampled: np.ndarray | None = None
    key: bytes | None = None  # scores with the same key are measured once

    @classmethod
    def of(
        cls, full: ArrayLike, sampled: np.ndarray | None = None, key: bytes | None = None
    ) -> "Scores":
        """Wrap a table of scores ``[N, n + 1]``."""
        table = np.asarray(full)
        blocks = list(row_blocks(len(table), max(1, table[:1].size)))
        return cls(lambda: (table[rows] for rows in blocks), sampled, key)

    @classmethod
    def of_adapter(cls, events: FrozenEvents, vector: Tensor) -> "Scores":
        """Score ``events`` under an adapter ``vector [P]``."""
        key = vector.cpu().numpy().tobytes()
        return cls(lambda: (b.cpu().numpy() for b in events.catalogue_blocks(vector)), key=key)


class TestSet:
    """The test events, prepared once to measure any scores; with ``frozen``, also by losses."""

    __test__ = False  # pytest must not collect it

    def __init__(
        self,
        sequences: Sequences,
        evaluation: Evaluation,
        objectives: list[str],
        *,
        cutoffs: list[int],
        frozen: FrozenEvents | None = None,  # the same events on the frozen backbone, for losses
    ) -> None:
        self.sequences = sequences
        self.evaluation = evaluation
        self.objectives = objectives
        self.cutoffs = sorted(cutoffs)
        self.groups = sequences.groups[evaluation.users]
        _, unknown = ranking.group_gap(np.zeros(len(evaluation)), self.groups)
        if "fairness" in objectives and unknown:
            raise ParagonError(f"objective fairness: no metric shows it in this test: {unknown}")
        self.candidates = evaluation.candidates
        # A table has some megabytes.
        self._left_out = lru_cache(32)(lambda *rows: sequences.excluded(evaluation[slice(*rows)]))
        depth = self.cutoffs[-1]
        categories = sequences.categories  # [n + 1, M]
        # Items share few different sets of categories, the patterns [M].
        patterns, kinds = np.unique(categories, axis=0, return_inverse=True)
        self.kinds = kinds.reshape(-1)  # [n + 1]
        self._similarity: np.ndarray | None = None  # [G, G], of patterns
        if len(patterns) <= MOST_PATTERNS:
            self._similarity = ranking.jaccard(patterns.astype(np.float64))
        ideals = []
        for rows in row_blocks(len(evaluation), len(self.kinds)):
            excluded = sequences.excluded(evaluation[rows])
            ideals.append(ranking.ideal_alpha_dcg(categories, depth, excluded=excluded))
        self.ideal = {
            "sampled": ranking.ideal_alpha_dcg(categories, depth, candidates=self.candidates),
            "full": np.concatenate(ideals),
        }  # [N, depth] each
        self.information = information_of(sequences)
        self.frozen = frozen
        self.catalogue = Catalogue.of(sequences, frozen.served if frozen else 1, "cpu")
        self.history = history_shares(sequences.met_before(evaluation), categories)  # [N, M]
        entries = [OBJECTIVES[objective] for objective in objectives]
        self.followed = [entry.metric for entry in entries]  # in the order of the weights
        self.references = {e.reference for e in entries if e.reference} if frozen else set()

    @property
    def excluded(self) -> np.ndarray:
        """The items that the full protocol leaves out, bool ``[N, n + 1]``."""
        return self.sequences.excluded(self.evaluation)

    def measure(self, scores: Scores) -> tuple[Means, dict[str, np.ndarray | None]]:
        """Return ``{protocol: {metric: mean}}``, and by event ``{protocol: [O, N]}``.

        The second holds the metrics of the objectives, or None if one is not a mean over events
        (group parity).  Raises ``ParagonError`` for scores of a wrong shape or not finite.
        """
        lists = self._lists(scores)
        means: Means = {}
        events: dict[str, np.ndarray | None] = {}
        for protocol in PROTOCOLS:
            metrics = self.metrics(protocol, lists[f"ranks_{protocol}"], lists[f"items_{protocol}"])
            means[protocol] = {name: float(np.mean(value)) for name, value in metrics.items()}
            followed = [metrics[name] for name in self.followed]
            arrays = [value for value in followed if isinstance(value, np.ndarray)]
            events[protocol] = np.stack(arrays) if len(arrays) == len(followed) else None
        if "served" in lists:
            means["full"] |= self._losses(lists)
        return means, events

    def _lists(self, scores: Scores) -> dict[str, np.ndarray]:
        """Extract ranks ``[N]`` and best items ``[N, K]``; for losses, served lists as well."""
        depth = self.cutoffs[-1]
        blocks: list[dict[str, np.ndarray]] = []
        end = 0
        events, columns = self.candidates.shape
        if scores.sampled is not None:
            check_array("scores", scores.sampled, "NC", "numbers", N=events, C=columns)
        for full in scores.blocks():
            check_array("scores", full, "NC", "numbers", C=self.sequences.n_items + 1)
            start = end
            end = start + len(full)
            candidates = self.candidates[start:end]  # [R, C]
            excluded = self._left_out(start, end)  # [R, n + 1]
            sampled = np.take_along_axis(full, candidates, 1)  # [R, C]
            block: dict[str, np.ndarray] = {}
            if scores.sampled is not None:
                sampled = scores.sampled[start:end]
            elif self.frozen is not None:
                table = torch.from_numpy(full).float()  # [R, n + 1]
                rows = torch.arange(start, end, device=self.frozen.states.device)
                items = served(table, torch.from_numpy(excluded), self.frozen.served)
                block["served"] = items.numpy()
                block["served_scores"] = table.gather(1, items).numpy()
                for name in self.references:
                    p = self.frozen.reference(name, rows).cpu()  # [R, n]
                    block[name] = divergence(table[:, 1:], p).numpy()
            block["ranks_sampled"] = ranking.target_ranks(sampled)
            block["ranks_full"] = ranking.target_ranks(full, candidates[:, 0], excluded)
            best = ranking.top_k(sampled, depth)
            block["items_sampled"] = np.take_along_axis(candidates, best, 1)
            block["items_full"] = ranking.top_k(full, depth, excluded)
            blocks.append(block)
        if end != events:
            raise ParagonError(f"scores: {end} rows; {events} are needed")
        return {name: np.concatenate([block[name] for block in blocks]) for name in blocks[0]}

    def _losses(self, lists: dict[str, np.ndarray]) -> dict[str, float]:
        """Compute the objectives' losses as in tuning, from what `_lists` returns."""
        one = {name: torch.from_numpy(x).unsqueeze(0) for name, x in lists.items()}  # [1, N, ...]
        features = self.catalogue.lists(one["served"], self.history.float().unsqueeze(0))
        best = Scored(one["served_scores"], features)  # [1, N, L]
        groups = torch.from_numpy(self.groups)
        losses = best.losses(self.objectives, groups, lambda reference: one[reference])  # [1, O]
        return {f"loss_{o}": x for o, x in zip(self.objectives, losses[0].tolist(), strict=True)}

    def metrics(self, protocol: str, ranks: np.ndarray, items: np.ndarray) -> Metrics:
        """Compute all metrics of lists ``items [N, K]`` whose targets have the ``ranks [N]``."""
        ranked = self.sequences.categories[items]  # [N, K, M]
        dcg = ranking.alpha_dcg(ranked)  # [N, K]
        if self._similarity is None:
            similarity = ranking.jaccard(ranked.astype(np.float64))  # [N, K, K]
        else:
            kinds = self.kinds[items]  # [N, K]
            similarity = self._similarity[kinds[:, :, None], kinds[:, None]]
        out: Metrics = {}
        for k in self.cutoffs:
            ndcg = ranking.ndcg_at(ranks, k)
            gap = ranking.group_gap(ndcg, self.groups)
            out[f"ndcg@{k}"] = ndcg
            out[f"hr@{k}"] = ranking.hr_at(ranks, k)
            out[f"alpha_ndcg@{k}"] = ranking.alpha_ndcg_at(dcg, self.ideal[protocol], k)
            out[f"coverage@{k}"] = ranking.category_coverage_at(ranked, k)
            if k > 1:  # one item has no distance to others
                out[f"ild@{k}"] = ranking.intra_list_distance_at(similarity, k)
            out[f"novelty@{k}"] = ranking.novelty_at(items, self.information, k)
            if k == 10:
                different = ranking.aggregate_diversity_at(items, k)
                out["items@10"] = different
                out["catalogue@10"] = different / self.sequences.n_items
            if k == 10 and "calibration" in self.objectives:
                far = ranking.calibration_at(ranked, self.history.numpy(), k)
                out["calibration@10"] = 1 - far / math.log(100)
            if k == 10 and "recency" in self.objectives:
                out["recency@10"] = self.catalogue.recency.numpy()[items[:, :k]].mean(1)
            if gap.value is not None:
                out[f"group_gap@{k}"] = gap.value
                out[f"parity@{k}"] = 1 - gap.value
        return out


def held_out(
    sequences: Sequences, backbone: Backbone, settings: params.AdapterSettings, cutoffs: list[int]
) -> tuple[FrozenEvents, FrozenEvents, TestSet]:
    """Prepare validation and test events as adapters see them, and the test set to measure on."""
    valid, test = (frozen_events(backbone, sequences, part, settings) for part in ("valid", "test"))
    objectives = settings.objectives
    return valid, test, TestSet(sequences, sequences.test, objectives, cutoffs=cutoffs, frozen=test)


class Row(NamedTuple):
    """A method with one seed: weights ``[W, O]`` and scores; ``random`` if the seed matters."""

    method: str
    seed: int
    weights: np.ndarray
    scores: Iterable[Scores]
    random: bool = True


class ByEvent(NamedTuple):
    """Measurements of one row under one protocol, to compare methods by user."""

    weights: np.ndarray
    points: np.ndarray  # [W, O], the objectives' metrics
    events: list[np.ndarray] | None  # W arrays [O, N] of them; None: no means over events
    random: bool = True


Measured = dict[str, dict[str, dict[int, ByEvent]]]  # by protocol, method and seed


def measure_rows(test_set: TestSet, rows: Iterable[Row]) -> tuple[pd.DataFrame, Measured]:
    """Measure all rows; return a table by method, seed, protocol and weight, and data by event."""
    lines: list[dict] = []
    by_event: Measured = {protocol: {} for protocol in PROTOCOLS}
    known: dict[bytes | None, tuple[dict, dict]] = {}  # rows can share adapters
    for row in progress(rows, "rows"):
        measured = []
        try:
            for weight, scores in zip(row.weights, row.scores, strict=True):
                if scores.key is None or scores.key not in known:
                    known[scores.key] = test_set.measure(scores)
                measured.append(known[scores.key])
                by_objective = zip(test_set.objectives, weight, strict=True)
                weight_columns = {f"w_{o}": float(w) for o, w in by_objective}
                means, _ = known[scores.key]
                for protocol, values in means.items():
                    start = {"method": row.method, "seed": row.seed, "protocol": protocol}
                    lines.append({**start, **weight_columns, **values})
        except (ParagonError, ValueError) as error:  # from `zip`: missing scores, or too many
            where = f"weight {len(measured) + 1} of {len(row.weights)}"
            raise ParagonError(f"method {row.method}, seed {row.seed}, {where}: {error}") from error
        for protocol in PROTOCOLS:
            points = [[means[protocol][m] for m in test_set.followed] for means, _ in measured]
            events = [arrays[protocol] for _, arrays in measured]
            of_row = ByEvent(
                weights=np.array(row.weights, dtype=float),
                points=np.array(points),
                events=None if any(of_weight is None for of_weight in events) else events,
                random=row.random,
            )
            by_event[protocol].setdefault(row.method, {})[row.seed] = of_row
    return pd.DataFrame(lines), by_event


def rows_of_weights(method: str, weights: np.ndarray, grid: np.ndarray) -> np.ndarray:
    """Look up weights ``[R, O]`` in ``grid [W, O]``; raise ``ParagonError`` if one is missing."""
    # Files have six digits, and weights are at least 1/1000 apart.
    same = np.isclose(weights[:, None], grid, rtol=0, atol=1e-5).all(2)  # [R, W]
    known = same.any(1)  # [R]
    if not known.all():
        named = tuple(weights[known.argmin()].astype(float).round(4).tolist())
        reason = "are not among the evaluation weights (adapters.oracles in params.yaml)"
        raise ParagonError(f"method {method}: weights {named} {reason}; it cannot be compared")
    return same.argmax(1)
