"""A slider with labels that say what a list has: how wrong they are, and people who move it.

A weight says little about a list: at 0.3, lists of one method differ from those of another. So each
setting gets a label on validation users, by the same rule for all methods. It is the share of the
backbone's accuracy that the setting keeps, or its place between the backbone's diversity, 0, and
the method's largest, 1. A label is compared with the lists of test users, without tuned adapters.

Shapes: N events, S settings, K places after the first.
"""

from collections.abc import Iterable, Mapping

import numpy as np

from paragon.evaluation.shares import Choice, Choices, TopTen, most_diverse
from paragon.metrics.checks import Measure
from paragon.metrics.people import PLACES, at_the_slider

ASKED = (0.99, 0.95, 0.9, 0.85, 0.8, 0.75, 0.7)  # shares of the backbone's accuracy
WANTED_OF = "tuned"  # people want as many categories as its most diverse lists have, at most


class Shown:
    """What lists of test users have, by setting; ``None`` is the backbone alone."""

    def __init__(
        self, test: TopTen, backbone_lists: np.ndarray, choice: Choice, rows: Iterable[int]
    ) -> None:
        self.test = test
        distinct = sorted(set(rows))
        lists = choice.lists([choice.settings[row] for row in distinct])
        self.of: dict[int | None, tuple[np.ndarray, np.ndarray, np.ndarray]] = {
            row: self._measured(items) for row, items in zip(distinct, lists, strict=True)
        }
        self.of[None] = self._measured(backbone_lists)  # [N, 10]

    def _measured(self, items: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Return NDCG@10, α-nDCG@10 and the number of categories of lists ``[N, 10]``."""
        ndcg, alpha_ndcg = self.test.quality.measure(items)  # [N] each
        categories = self.test.sequences.categories[items].any(1).sum(1)  # [N]
        return ndcg, alpha_ndcg, categories


def places(points: np.ndarray, diversity: float) -> list[int]:
    """Choose a row of ``points [S, 2]`` for each of K places.

    Each place asks for a diversity: place k for the share k / K of the way from ``diversity``, the
    backbone's, to the largest. Take the most accurate setting that reaches it.
    """
    most = points[:, 1].max()
    rows = []
    for place in range(1, PLACES + 1):
        least = min(most, diversity + place / PLACES * (most - diversity))
        # `most_diverse` maximises column 1, so swap the columns.
        row = most_diverse(points[:, ::-1], least)
        assert row is not None
        rows.append(row)
    return rows


def asked_rows(points: np.ndarray, accuracy: float) -> dict[float, int]:
    """Choose a row of ``points [S, 2]`` for each share of the backbone's ``accuracy``.

    A share lower than the most diverse setting keeps is raised to that. If no setting keeps the
    share, take the most accurate one.
    """
    lowest = points[points[:, 1].argmax(), 0] / accuracy
    rows = {}
    for share in ASKED:
        raised = max(share, lowest)
        row = most_diverse(points, raised * accuracy)
        rows[raised] = int(points[:, 0].argmax()) if row is None else row
    return rows


def with_slider(choices: Choices) -> dict[str, dict[str, list[Measure]]]:
    """Measure the sliders of methods: ``{method: {measure: one for each seed}}``.

    `asked_acc`: mean distance of the share of accuracy that test users keep from that asked for;
    `less_acc`: by how much it is less, in the mean; `asked_div`, `less_div`: the same of the place
    between the backbone's diversity and the method's largest; and those of ``at_the_slider``.
    """
    accuracy, diversity = choices.backbone_points
    most = most_wanted(choices)  # [N]
    out: dict[str, dict[str, list[Measure]]] = {}
    for name, by_seed in choices.of.items():
        for choice in by_seed.values():
            if choices.methods[name].fixed or choice.points[:, 1].max() <= diversity:
                continue
            by_share = asked_rows(choice.points, accuracy)
            by_place = places(choice.points, diversity)
            rows = [*by_share.values(), *by_place]
            lists = Shown(choices.test, choices.backbone_lists, choice, rows)
            measures = errors(lists, by_share, by_place)
            shown = [lists.of[row] for row in (None, *by_place)]  # K + 1
            gains, _, categories = (np.stack(column) for column in zip(*shown, strict=True))
            measures |= at_the_slider(categories, gains, most)
            for measure, value in measures.items():
                out.setdefault(name, {}).setdefault(measure, []).append(value)
    return out


def most_wanted(choices: Choices) -> np.ndarray:
    """Count the categories ``[N]`` of the most diverse lists of ``WANTED_OF``, first seed."""
    choice = next(iter(choices.of[WANTED_OF].values()))
    row = int(choice.points[:, 1].argmax())
    _, _, categories = Shown(choices.test, choices.backbone_lists, choice, [row]).of[row]
    return categories


def errors(lists: Shown, by_share: Mapping[float, int], by_place: list[int]) -> dict[str, Measure]:
    """Compare what is asked for with what test users get."""
    means = {row: (ndcg.mean(), alpha.mean()) for row, (ndcg, alpha, _) in lists.of.items()}
    accuracy, diversity = means[None]
    most = means[by_place[-1]][1]
    no_accuracy = Measure(None, "the backbone's NDCG@10 is 0")
    no_range = Measure(None, "for test users no setting is more diverse than the backbone")
    out = dict.fromkeys(("asked_acc", "less_acc"), no_accuracy)
    out |= dict.fromkeys(("asked_div", "less_div"), no_range)
    if accuracy:
        less = [share - means[row][0] / accuracy for share, row in by_share.items()]
        out["asked_acc"] = Measure(float(np.abs(less).mean()))
        out["less_acc"] = Measure(float(np.mean(less)))
    if most > diversity:
        inner = enumerate(by_place[:-1], 1)  # not the last: its error is 0 by definition
        less = [k / PLACES - (means[row][1] - diversity) / (most - diversity) for k, row in inner]
        out["asked_div"] = Measure(float(np.abs(less).mean()))
        out["less_div"] = Measure(float(np.mean(less)))
    return out
