"""How many fetched items does re-ranking need, by the size of the catalogue?

Run by hand once the pipeline has been through; writes benchmarks/catalogue.json, prints it.

The catalogues are synthetic, as in benchmarks/index.py: the items of MovieLens-100K and noisy
copies of them.  A copy counts as the item: if the target or one of its copies is in the list, it is
a hit; copies of what a user has met are left out.  The backbone, or adapters generated for 21
weights, fetch items; xQuAD re-ranks them.  Settings (the weight, how strong xQuAD is) are chosen on
validation users and measured on test users, as for the headline: where the accuracy of two
strengths differs by more than 1 %, those between are tried, too.
"""

import json
from collections.abc import Iterable
from functools import partial
from itertools import groupby, product
from pathlib import Path

import numpy as np
import torch
from index import grown
from run import machine

from paragon.evaluation.methods import Trained
from paragon.evaluation.shares import most_diverse
from paragon.metrics.ranking import ideal_alpha_dcg
from paragon.objectives.weights import refined
from paragon.rivals.reranking import (
    LAMBDAS,
    LEAST,
    RERANKERS,
    TOP,
    Candidates,
    Ranked,
    Setting,
    list_quality,
)
from paragon.storage import write_json
from paragon_study.pipeline.study import open_study

SIZES = (1682, 10_000, 100_000)
BUDGETS = (10, 20, 50, 100, 200, 500, 1000)
SHARES = (0.95, 0.9, 0.8)
WEIGHTS = np.arange(21) / 20


def fetched(trained: Trained, part: str, vector: torch.Tensor, table: np.ndarray) -> Ranked:
    """Rank the best rows of ``table [n, d + M]`` for each event of a part."""
    task, sequences = getattr(trained, part), trained.test_set.sequences
    queries = task.adapted(task.states[None], vector[None])[0].numpy()  # [N, d + M]
    evaluation = sequences.evaluation(part)
    met = sequences.met_before(evaluation).mask().numpy()  # [N, items + 1]
    items = 1 + np.arange(len(table)) % sequences.n_items  # a copy counts as the item
    patterns, kinds = np.unique(sequences.categories, axis=0, return_inverse=True)
    columns = np.broadcast_to(items, (len(queries), len(items)))
    parts = columns, met[:, items], evaluation.targets, kinds.reshape(-1), patterns
    return Candidates(*parts).best(queries @ table.T, 1.0)


def quality(
    trained: Trained, part: str, lists: Ranked, budget: int, weights: Iterable[float]
) -> np.ndarray:
    """Measure NDCG@10 and α-nDCG@10 of ``budget`` items re-ranked by xQuAD: ``[weights, 2]``."""
    sequences, points = trained.test_set.sequences, []
    targets, sets = sequences.evaluation(part).targets - 1, sequences.categories[1:]
    ideal = ideal_alpha_dcg(sets, TOP)  # [1, 10]
    for weight in weights:
        best = lists.reranked(RERANKERS["xquad"], Setting(0, 1.0, budget, weight), TOP)  # [N, 10]
        best = best % len(sets)  # a copy counts as the item
        points.append([q.mean() for q in list_quality(best == targets[:, None], sets[best], ideal)])
    return np.array(points)


def measure(trained: Trained, size: int) -> dict:
    """Measure both ways to fetch in a catalogue of ``size`` items."""
    test = trained.test
    table = grown(test.items[1:].numpy(), size, test.form.dim)  # [n, d + M]
    plain = torch.zeros(1, test.form.size)
    weights = np.column_stack([WEIGHTS, 1 - WEIGHTS])
    ways = {"backbone": plain, "generated": trained.generators[0].generate(weights)}
    record: dict = {}
    lists = fetched(trained, "valid", plain[0], table)
    whole = quality(trained, "valid", lists, TOP, [1.0])[0, 0]  # at weight 1, the order stays
    lists = fetched(trained, "test", plain[0], table)
    record["backbone alone"] = quality(trained, "test", lists, TOP, [1.0])[0].round(4).tolist()
    for name, vectors in ways.items():
        settings: dict[int, list[tuple]] = {budget: [] for budget in BUDGETS}
        points: dict[int, list[np.ndarray]] = {budget: [] for budget in BUDGETS}
        for row, vector in enumerate(vectors):
            lists = fetched(trained, "valid", vector, table)
            for budget in BUDGETS:
                measured = partial(quality, trained, "valid", lists, budget)
                tried, found = refined(LAMBDAS, measured, LEAST)
                settings[budget] += [(row, budget, weight) for weight in tried]
                points[budget] += [*found]
        chosen = {}
        for share, budget in product(SHARES, BUDGETS):
            at = most_diverse(np.array(points[budget]), share * whole)
            chosen[share, budget] = None if at is None else settings[budget][at]
        on_test: dict[tuple | None, list[float]] = {}
        several = {setting for setting in chosen.values() if setting}
        for row, group in groupby(sorted(several), key=lambda setting: setting[0]):
            lists = fetched(trained, "test", vectors[row], table)
            for setting in group:
                found = quality(trained, "test", lists, setting[1], setting[2:])[0]
                on_test[setting] = found.round(4).tolist()
        for (share, budget), setting in chosen.items():
            cells = record.setdefault(f"{name} {100 * share:g} %", {})
            cells[budget] = on_test.get(setting)
    return record


def main() -> None:
    """Measure all sizes; write and print the record."""
    torch.set_grad_enabled(False)
    trained = open_study("ml-100k", "sasrec").load_trained()
    record = {"machine": machine()}
    for size in SIZES:
        record[f"{size:,}"] = measure(trained, size)
        print(json.dumps({size: record[f"{size:,}"]}, indent=1, ensure_ascii=False), flush=True)
        write_json(Path(__file__).with_suffix(".json"), record)


if __name__ == "__main__":
    main()
