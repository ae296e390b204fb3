"""The rival `llm`: a language model re-ranks the backbone's lists, the weights given in words.

It reads the titles of a history and numbered candidates with their categories, and answers
with numbers.  Other answers are repaired by one rule and counted.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from paragon.data.sequences import Evaluation, Sequences
from paragon.errors import ParagonError
from paragon.metrics.ranking import top_k
from paragon.objectives.table import OBJECTIVES
from paragon.rivals.chat import ChatModel

NOT_RUN = "not run: llm.enabled is false in params.yaml"
COUNTS = ("answers", "failed", "malformed", "duplicates", "invented", "missing")


def repaired(answer: str | None, count: int, wanted: int) -> tuple[list[int], Counter]:
    """Each of ``count`` positions once, best first, and the number of repairs of each kind.

    The rule: every whole number of the answer, in order, is a candidate, counted from 1;
    repetitions and numbers that no candidate has are dropped; the candidates that were
    not named follow as they were presented.  ``malformed``: 1 if there is no number, or
    anything but digits, commas and white space; ``missing``: how many of the ``wanted``
    best were not named.  Without an answer (None) all stays as it was presented.
    """
    if answer is None:
        return list(range(count)), Counter(failed=1)
    numbers = [int(digits[:9]) for digits in re.findall(r"[0-9]+", answer)]
    known = [number - 1 for number in numbers if 1 <= number <= count]
    named = list(dict.fromkeys(known))
    counts = Counter(
        answers=1,
        malformed=int(not numbers or re.search(r"[^0-9,\s]", answer) is not None),
        duplicates=len(known) - len(named),
        invented=len(numbers) - len(known),
        missing=max(wanted - len(named), 0),
    )
    return named + sorted(set(range(count)) - set(named)), counts


@dataclass(frozen=True)
class PresentedLists:
    """What the model reads under one protocol.

    ``scores [N, M]`` of the backbone; ``shown [N, n]``: columns of them, in the order of
    presentation; ``texts [N]``: history and numbered candidates; ``wanted``: how many of
    the candidates the model is asked for.
    """

    scores: np.ndarray
    shown: np.ndarray
    texts: list[str]
    wanted: int

    def reordered(self, orders: np.ndarray) -> np.ndarray:
        """Scores ``[N, M]``: what was shown, in its new order ``[N, n]``, above the rest."""
        scores = self.scores.astype(np.float64)
        lifted = scores.max(1, keepdims=True) + np.arange(orders.shape[1], 0, -1)
        np.put_along_axis(scores, np.take_along_axis(self.shown, orders, 1), lifted, 1)
        return scores


class LlmRanker:
    """Lists of an evaluation, re-ranked by a chat model under any weights ``[O]``.

    It presents the ``llm.candidates`` that the backbone's ``scores [N, n_items + 1]`` put
    first, of the stored candidates and of the whole catalogue without the excluded items.
    ``llm.seed``, user and position shuffle them, so that neither the target's place nor
    the backbone's order shows.  The model is asked for ``depth`` items.
    """

    def __init__(
        self,
        model: ChatModel,
        sequences: Sequences,
        evaluation: Evaluation,
        objectives: Sequence[str],
        depth: int,
        scores: np.ndarray,
    ) -> None:
        self.model, self.objectives, self.depth = model, list(objectives), depth
        self.sequences, self.evaluation = sequences, evaluation
        self.counts: Counter[str] = Counter()
        most, excluded = model.settings.candidates, sequences.excluded(evaluation)
        sampled = np.take_along_axis(scores, evaluation.candidates, 1)
        best_sampled = top_k(sampled, min(most, sampled.shape[1]))
        best_full = top_k(scores, min(most, int((~excluded).sum(1).min())), excluded)
        catalogue = np.broadcast_to(np.arange(scores.shape[1]), scores.shape)
        self.lists = {
            "sampled": self._presented(sampled, best_sampled, evaluation.candidates),
            "full": self._presented(scores, best_full, catalogue),
        }

    def _presented(self, scores: np.ndarray, best: np.ndarray, items: np.ndarray) -> PresentedLists:
        """``best [N, n]``: columns of ``scores [N, M]``, which belong to ``items [N, M]``."""
        settings, events = self.model.settings, (self.evaluation.users, self.evaluation.positions)
        # In the order of item ids first: the same candidates are then shown alike, and asked
        # about once, whichever backbone chose them.
        order = np.take_along_axis(items, best, 1).argsort(1)
        for row, (user, position) in enumerate(zip(*events, strict=True)):
            np.random.default_rng([settings.seed, user, position]).shuffle(order[row])
        shown = np.take_along_axis(best, order, 1)
        pasts = self.sequences.histories(*events, settings.history)[0]
        pairs = zip(pasts, np.take_along_axis(items, shown, 1), strict=True)
        texts = [_described(self.sequences, past, candidates) for past, candidates in pairs]
        return PresentedLists(scores, shown, texts, min(self.depth, shown.shape[1]))

    def prompts(self, lists: PresentedLists, weight: np.ndarray) -> list[str]:
        """One question for each event; the part that changes with the weights comes last."""
        pairs = zip(weight, self.objectives, strict=True)
        lines = [
            "Rank the candidates for this person. What counts, and how much:",
            *(f"- {100 * w:.3g} %: {OBJECTIVES[objective].aim}." for w, objective in pairs),
            "",
            f"Answer only with the numbers of the {lists.wanted} best candidates, "
            "best first, separated by commas.",
        ]
        return ["\n".join([text, "", *lines]) for text in lists.texts]

    def check_limit(self, weights: np.ndarray) -> None:
        """Refuse weights ``[W, O]`` that take more requests than ``llm.requests`` allows."""
        new: set[str] = set()
        for weight in weights:
            for lists in self.lists.values():
                new |= self.model.unanswered(self.prompts(lists, weight))
        limit = self.model.settings.requests
        if len(new) > limit:
            raise ParagonError(
                f"llm.requests: {len(new):,} requests are needed, {limit:,} are allowed; nothing "
                "was sent; raise it in params.yaml if that is what you want to spend"
            )

    def scores(self, weight: np.ndarray) -> dict[str, np.ndarray]:
        """``sampled [N, C]`` and ``full [N, n_items + 1]`` under one weight vector."""
        scores = {}
        for protocol, lists in self.lists.items():
            orders = []
            for answer in self.model.answers(self.prompts(lists, weight)):
                order, counts = repaired(answer, lists.shown.shape[1], lists.wanted)
                orders.append(order)
                self.counts.update(counts)
            scores[protocol] = lists.reordered(np.array(orders))
        return scores


def _described(sequences: Sequences, past: np.ndarray, candidates: np.ndarray) -> str:
    lines = ["A person chose these, the oldest first:"]
    lines += [f"- {_title(sequences, item)}" for item in past if item]
    lines += ["", "Candidates for what comes next, their categories in brackets:"]
    for number, item in enumerate(candidates, start=1):
        members = zip(sequences.category_names, sequences.categories[item], strict=True)
        categories = ", ".join(name for name, member in members if member)
        lines.append(f"{number}. {_title(sequences, item)} [{categories}]")
    return "\n".join(lines)


def _title(sequences: Sequences, item: int) -> str:
    return " ".join(sequences.titles[item - 1].split()) or sequences.item_ids[item - 1]


def facts(ranker: LlmRanker | None) -> dict[str, str | int]:
    """The entries of metrics.json for the row beside its measures: model and counts, or a note."""
    if ranker is None:
        return {"note": NOT_RUN}
    return {"model": ranker.model.name} | {name: ranker.counts[name] for name in COUNTS}
