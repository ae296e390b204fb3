"""The test events with all that judging a method on them needs, and the loop over methods.

The long table (``curve``) that it gives has one row per method, seed, protocol and
evaluation weight.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import NamedTuple

import numpy as np
import pandas as pd
import torch

from paragon.data.sequences import Evaluation, Pairs, Sequences
from paragon.errors import ParagonError
from paragon.evaluation.blocks import InBlocks, Scores, blocks_of, lists_of
from paragon.metrics import diversity, ranking
from paragon.metrics.checks import row_blocks
from paragon.objectives.lists import Catalogue, check_served
from paragon.objectives.table import Scored, metrics_of, objective_losses
from paragon.progress import progress

PROTOCOLS = ("sampled", "full")
_KEPT = 32  # blocks whose tables of what is left out are kept, some megabytes each


class TestBed:
    """The test events with all that judging scores needs, prepared once.

    ``measure(scores [N, n_items + 1])`` gives the mean of every metric under both
    protocols, and the losses of the objectives as tuning defines them: on the target and the
    first ``negatives``, and on the ``served`` best items of the catalogue.
    """

    __test__ = False  # not a test class, whatever pytest thinks of its name

    def __init__(
        self,
        sequences: Sequences,
        evaluation: Evaluation,
        objectives: Sequence[str],
        *,
        negatives: int,
        served: int,
        cutoffs: Sequence[int],
    ) -> None:
        self.sequences, self.evaluation = sequences, evaluation
        self.objectives, self.cutoffs = list(objectives), sorted(cutoffs)
        self.groups = sequences.groups[evaluation.users]
        gap = ranking.group_gap(np.zeros(len(evaluation)), self.groups)
        if "fairness" in self.objectives and gap.value is None:
            raise ParagonError(
                f"objective fairness: no metric shows it on these test events: {gap.reason}"
            )
        self.candidates = evaluation.candidates
        self._left_out = lru_cache(_KEPT)(
            lambda *rows: sequences.excluded(evaluation[slice(*rows)])
        )
        depth, categories = max(cutoffs), sequences.categories
        self.ideal = {
            "sampled": diversity.ideal_alpha_dcg(categories, depth, candidates=self.candidates),
            "full": self._ideal(depth),
        }
        # Of the published scale, for docs/reproduction.md and nothing else.
        self.published = diversity.ideal_alpha_dcg_published(
            categories, 10, candidates=self.candidates
        )
        users = np.repeat(np.arange(sequences.n_users), sequences.lengths)
        train = sequences.is_train()
        met = Pairs(users[train], sequences.items[train], sequences.n_items)
        count = np.bincount(met.keys % (sequences.n_items + 1), minlength=sequences.n_items + 1)
        information = ranking.self_information(count[1:], sequences.n_users)
        self.information = np.concatenate([[0.0], information])
        self.drawn = torch.from_numpy(self.candidates[:, : 1 + negatives])  # [N, C]
        self.served = served
        check_served(sequences.met_before(evaluation), served)
        self.catalogue = Catalogue.of(sequences, max(served, 1 + negatives))
        self.kept: dict[tuple[str, int, str], Kept] = {}  # by method, seed and protocol

    @property
    def excluded(self) -> np.ndarray:
        """What the full protocol leaves out, a table ``[N, n_items + 1]`` of bool."""
        return self.sequences.excluded(self.evaluation)

    def _ideal(self, depth: int) -> np.ndarray:
        """The best α-DCG of the full protocol, ``[N, depth]``."""
        # Items with the same categories are the same here: they are found once for all blocks.
        patterns, kinds = np.unique(self.sequences.categories, axis=0, return_inverse=True)
        kinds, parts = kinds.reshape(-1), []
        for rows in row_blocks(len(self.evaluation), len(kinds)):
            excluded = self.sequences.excluded(self.evaluation[rows])
            every = np.broadcast_to(kinds, excluded.shape)
            parts.append(
                diversity.ideal_alpha_dcg(patterns, depth, candidates=every, excluded=excluded)
            )
        return np.concatenate(parts)

    def measure(self, scores: Scores) -> dict[str, dict[str, float]]:
        """{protocol: {metric: mean over events}} for catalogue scores ``[N, n_items + 1]``.

        A method that orders lists and has no scores of its own gives
        ``{"sampled": [N, C], "full": [N, n_items + 1]}``; its losses are not defined.
        """
        return self.measure_events(scores)[0]

    def measure_events(
        self, scores: Scores
    ) -> tuple[dict[str, dict[str, float]], dict[str, np.ndarray | None]]:
        """What `measure` gives, and ``{protocol: [O, N]}``: the objectives' metrics by event.

        None instead of them if one is no mean over events (the parity of groups).
        """
        depth, lengths = self.cutoffs[-1], (self.drawn.shape[1], self.served)
        parts = [
            lists_of(full, own, self.candidates[a:b], self._left_out(a, b), depth, lengths)
            for (a, b), full, own in blocks_of(scores)
        ]
        found = {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
        means, events = {}, {}
        for protocol in PROTOCOLS:
            lists = found[f"ranks_{protocol}"], found[f"shown_{protocol}"]
            metrics = self._metrics(protocol, *lists)
            means[protocol] = {name: float(np.mean(value)) for name, value in metrics.items()}
            followed = [metrics.get(name) for name in metrics_of(self.objectives)]
            arrays = [value for value in followed if isinstance(value, np.ndarray)]
            events[protocol] = np.stack(arrays) if len(arrays) == len(followed) else None
        if not isinstance(scores, dict):
            means["full"] |= self._losses(found)
        return means, events

    def _losses(self, found: dict[str, np.ndarray]) -> dict[str, float]:
        """The objectives' losses, as tuning defines them, from what `lists_of` says."""

        def scored(items: torch.Tensor, scores: np.ndarray) -> Scored:
            lists = self.catalogue.lists(items, torch.from_numpy(self.groups))
            return Scored(torch.from_numpy(scores).unsqueeze(-2), lists)  # [N, 1, C]

        def shown() -> Scored:
            one = scored(torch.from_numpy(found["served"]), found["served_scores"])
            return Scored(one.scores.unsqueeze(0), one.lists)  # [1, N, 1, served]

        drawn = scored(self.drawn, found["drawn"])
        losses = objective_losses(self.objectives, drawn, shown)  # [1, O]
        return {f"loss_{o}": x for o, x in zip(self.objectives, losses[0].tolist(), strict=True)}

    def _metrics(
        self, protocol: str, ranks: np.ndarray, items: np.ndarray
    ) -> dict[str, np.ndarray | float]:
        """Every metric: one value for each event ``[N]``, or a single number."""
        ranked = self.sequences.categories[items]  # [N, K, M]
        dcg = diversity.alpha_dcg(ranked)
        out: dict[str, np.ndarray | float] = {}
        for k in self.cutoffs:
            ndcg = ranking.ndcg_at(ranks, k)
            gap = ranking.group_gap(ndcg, self.groups)
            out[f"ndcg@{k}"] = ndcg
            out[f"hr@{k}"] = ranking.hr_at(ranks, k)
            out[f"alpha_ndcg@{k}"] = diversity.normalised(dcg, self.ideal[protocol], k)
            out[f"coverage@{k}"] = diversity.category_coverage_at(ranked, k)
            if k > 1:  # one item has no distance to others
                out[f"ild@{k}"] = diversity.intra_list_distance_at(ranked, k)
            out[f"novelty@{k}"] = ranking.novelty_at(items, self.information, k)
            if k == 10:
                out["items@10"] = shown = diversity.items_shown_at(items, k)
                out["catalogue@10"] = shown / self.sequences.n_items
            if k == 10 and protocol == "sampled":
                out["alpha_ndcg_published@10"] = diversity.normalised(dcg, self.published, k)
            if gap.value is not None:
                out[f"group_gap@{k}"] = gap.value
                out[f"parity@{k}"] = 1 - gap.value
        return out


class Kept(NamedTuple):
    """What a row leaves behind, of one protocol, for the comparison of methods by user.

    ``weights``, ``points [W, O]``: the objectives' metrics; ``events``: W times ``[O, N]``,
    the same by event, or None where a metric is no mean over events; ``random``: see `Row`.
    """

    weights: np.ndarray
    points: np.ndarray
    events: list[np.ndarray] | None
    random: bool = True


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


def measure_rows(bed: TestBed, rows: Iterable[Row]) -> pd.DataFrame:
    """Measure all rows: the long table, one line per method, seed, protocol and weight.

    ``bed.kept`` has the same points by event afterwards.
    """
    lines: list[dict] = []
    for row in progress(rows, "rows"):
        measured = _measured(bed, row)
        for weight, (means, _) in zip(row.weights, measured, strict=True):
            named = {f"w_{o}": float(w) for o, w in zip(bed.objectives, weight, strict=True)}
            for protocol, values in means.items():
                start = {"method": row.method, "seed": row.seed, "protocol": protocol}
                lines.append({**start, **named, **values})
        for protocol in PROTOCOLS:
            bed.kept[row.method, row.seed, protocol] = _kept(bed, row, measured, protocol)
    return pd.DataFrame(lines)


def _measured(bed: TestBed, row: Row) -> list[tuple[dict, dict]]:
    """For each weight what `TestBed.measure_events` says of its scores."""
    known: dict[bytes, tuple[dict, dict]] = {}  # `constant` and `backbone` repeat themselves
    found, given = [], iter(row.scores)
    for number in range(len(row.weights)):
        scores, key = _checked(bed, row, next(given, None), number)
        if key not in known:
            known[key] = bed.measure_events(scores)
        found.append(known[key])
    if next(given, None) is not None:
        raise ParagonError(f"{_named(row)}: more scores than its {len(row.weights)} weights")
    return found


def _kept(bed: TestBed, row: Row, measured: list[tuple[dict, dict]], protocol: str) -> Kept:
    names = metrics_of(bed.objectives)
    points = [[means[protocol].get(name, np.nan) for name in names] for means, _ in measured]
    events = [by_event[protocol] for _, by_event in measured]
    return Kept(
        np.array(row.weights, dtype=float),
        np.array(points),
        None if any(part is None for part in events) else events,
        row.random,
    )


def rows_of_weights(method: str, weights: np.ndarray, grid: np.ndarray) -> np.ndarray:
    """The row of each of a method's weights ``[R, O]`` in the evaluation weights ``[W, O]``.

    `retrain` has only some of them.  Raises ``ParagonError`` for a weight that is not there.
    """
    rows = {tuple(w): row for row, w in enumerate(grid)}
    for w in weights:
        if tuple(w) not in rows:
            shown = tuple(w.astype(float).round(4).tolist())
            raise ParagonError(
                f"method {method}: weights {shown} are not among the evaluation weights "
                "(adapters.oracles in params.yaml); it cannot be compared"
            )
    return np.array([rows[tuple(w)] for w in weights])


def _named(row: Row) -> str:
    return f"method {row.method}, seed {row.seed}"


def _checked(bed: TestBed, row: Row, scores: object, number: int) -> tuple[Scores, bytes]:
    """The scores under weight ``number`` as arrays, and a fingerprint of them.

    Raises ``ParagonError`` if they are missing, no numbers, of a wrong shape or not finite.
    """
    where = f"{_named(row)}: scores under weight {number + 1} of {len(row.weights)}"
    width = {"sampled": bed.candidates.shape[1], "full": bed.sequences.n_items + 1}
    if scores is None:
        raise ParagonError(f"{where} are missing")
    if isinstance(scores, InBlocks):
        return scores.checked(where), scores.key
    if isinstance(scores, dict) and set(scores) != set(width):
        raise ParagonError(f"{where} are of {sorted(scores)}; {sorted(width)} are needed")
    parts = scores if isinstance(scores, dict) else {"full": scores}
    made, key = {}, b""
    for part, values in parts.items():
        array, wanted = np.asarray(values), (len(bed.evaluation), width[part])
        if array.dtype.kind not in "fiu":
            raise ParagonError(f"{where} are {array.dtype}; numbers are needed")
        if array.shape != wanted:
            raise ParagonError(f"{where} have shape {array.shape}, {wanted} is needed")
        if not np.isfinite(array).all():
            raise ParagonError(f"{where} are not finite")
        made[part] = array
        key += hashlib.sha256(np.ascontiguousarray(array).tobytes()).digest()
    return (made if isinstance(scores, dict) else made["full"]), key
