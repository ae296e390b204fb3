"""The test events with all that judging a method on them needs, and the loop over methods.

The long table (``curve``) that it gives has one row per method, seed, protocol and
evaluation weight.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import pandas as pd
import torch

from paragon.data.sequences import Evaluation, Sequences
from paragon.errors import ParagonError
from paragon.metrics import diversity, ranking
from paragon.objectives.lists import Catalogue
from paragon.objectives.table import objective_losses
from paragon.progress import progress

# The metric that shows whether an objective was followed, and its short name in results.
METRIC = {
    "accuracy": "ndcg@10",
    "diversity": "alpha_ndcg@10",
    "novelty": "novelty@10",
    "fairness": "parity@10",
}
PROTOCOLS = ("sampled", "full")
Scores = np.ndarray | dict[str, np.ndarray]  # see TestBed.measure


class TestBed:
    """The test events with all that judging scores needs, prepared once.

    ``measure(scores [N, n_items + 1])`` gives the mean of every metric under both
    protocols, and the losses of the objectives on the sampled lists (the target
    and the first negatives, as many as in tuning).
    """

    __test__ = False  # not a test class, whatever pytest thinks of its name

    def __init__(
        self,
        sequences: Sequences,
        evaluation: Evaluation,
        objectives: Sequence[str],
        *,
        negatives: int,
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
        self.excluded = sequences.excluded(evaluation)
        depth, categories = max(cutoffs), sequences.categories
        self.ideal = {
            "sampled": diversity.ideal_alpha_dcg(categories, depth, candidates=self.candidates),
            "full": diversity.ideal_alpha_dcg(categories, depth, excluded=self.excluded),
        }
        # Of the published scale, for docs/reproduction.md and nothing else.
        self.published = diversity.ideal_alpha_dcg_published(
            categories, 10, candidates=self.candidates
        )
        holders = np.unique(
            np.column_stack(
                [np.repeat(np.arange(sequences.n_users), sequences.lengths), sequences.items]
            )[sequences.is_train()],
            axis=0,
        )[:, 1]
        count = np.bincount(holders, minlength=sequences.n_items + 1)
        information = ranking.self_information(count[1:], sequences.n_users)
        self.information = np.concatenate([[0.0], information])
        lists = torch.from_numpy(self.candidates[:, : 1 + negatives])
        self.tuned_on = lists.numpy()
        self.lists = Catalogue.of(sequences).lists(lists, torch.from_numpy(self.groups))
        self.kept: dict[tuple[str, int, str], Kept] = {}  # by method, seed and protocol

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
        rows = np.arange(len(self.evaluation))[:, None]
        ordered = isinstance(scores, dict)
        sampled = scores["sampled"] if ordered else scores[rows, self.candidates]
        full = scores["full"] if ordered else scores
        depth = self.cutoffs[-1]
        ranks = {
            "sampled": ranking.target_ranks(sampled),
            "full": ranking.target_ranks(full, self.evaluation.targets, self.excluded),
        }
        shown = {
            "sampled": self.candidates[rows, ranking.top_k(sampled, depth)],
            "full": ranking.top_k(full, depth, self.excluded),
        }
        found = {name: self._metrics(name, ranks[name], shown[name]) for name in PROTOCOLS}
        events = {}
        for name, own in found.items():
            headline = [own.get(METRIC[o]) for o in self.objectives]
            whole = all(np.ndim(values) == 1 for values in headline)
            events[name] = np.stack(headline) if whole else None
        result = {
            name: {metric: float(np.mean(values)) for metric, values in own.items()}
            for name, own in found.items()
        }
        if ordered:
            return result, events
        lists = torch.from_numpy(scores[rows, self.tuned_on]).float().unsqueeze(-2)
        losses = objective_losses(self.objectives, lists, self.lists)[0].tolist()
        for name, loss in zip(self.objectives, losses, strict=True):
            result["sampled"][f"loss_{name}"] = loss
        return result, events

    def _metrics(
        self, protocol: str, ranks: np.ndarray, items: np.ndarray
    ) -> dict[str, np.ndarray | float]:
        """Every metric: a value an event, or one number where there is no such thing."""
        ranked = self.sequences.categories[items]
        dcg = diversity.alpha_dcg(ranked)
        out = {}
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


def run(bed: TestBed, rows: Iterable[Row]) -> pd.DataFrame:
    """Measure all rows: the long table, one line per method, seed, protocol and weight.

    ``bed.kept`` has the same points by event afterwards.
    """
    lines = []
    for row in progress(rows, "rows"):
        known: dict[bytes, tuple[dict, dict]] = {}  # `constant` and `backbone` repeat themselves
        own: dict[str, list[tuple]] = {protocol: [] for protocol in PROTOCOLS}
        given = iter(row.scores)
        for number, weight in enumerate(row.weights):
            scores, key = _checked(bed, row, next(given, None), number)
            known[key] = known.get(key) or bed.measure_events(scores)
            measured, events = known[key]
            named = {f"w_{o}": float(w) for o, w in zip(bed.objectives, weight, strict=True)}
            for protocol, values in measured.items():
                start = {"method": row.method, "seed": row.seed, "protocol": protocol}
                lines.append({**start, **named, **values})
                point = [values.get(METRIC[o], np.nan) for o in bed.objectives]
                own[protocol].append((point, events[protocol]))
        if next(given, None) is not None:
            raise ParagonError(f"{_named(row)}: more scores than its {len(row.weights)} weights")
        for protocol, found in own.items():
            points, events = zip(*found, strict=True)
            bed.kept[row.method, row.seed, protocol] = Kept(
                np.array(row.weights, dtype=float),
                np.array(points),
                None if any(own is None for own in events) else list(events),
                row.random,
            )
    return pd.DataFrame(lines)


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
    if isinstance(scores, dict) and set(scores) != set(width):
        raise ParagonError(f"{where} are of {sorted(scores)}; {sorted(width)} are needed")
    parts = scores if isinstance(scores, dict) else {"full": scores}
    made, key = {}, b""
    for part, own in parts.items():
        own, wanted = np.asarray(own), (len(bed.evaluation), width[part])
        if own.dtype.kind not in "fiu":
            raise ParagonError(f"{where} are {own.dtype}; numbers are needed")
        if own.shape != wanted:
            raise ParagonError(f"{where} have shape {own.shape}, {wanted} is needed")
        if not np.isfinite(own).all():
            raise ParagonError(f"{where} are not finite")
        made[part] = own
        key += hashlib.sha256(np.ascontiguousarray(own)).digest()
    return (made if isinstance(scores, dict) else made["full"]), key
