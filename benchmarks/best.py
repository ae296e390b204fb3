"""Is a generated adapter closer to what the weights ask for than the best one that was tuned?

Run by hand once the pipeline has been through, with studies as arguments (`ml-100k/sasrec`), or
for the default ones; writes benchmarks/best.csv.  `best`: of the tuned adapters that the generator
learns from, the one with the smallest loss of validation users at the weights asked for.
`generated_best`: the same of 64 generated adapters.

The oracle is chosen by the same users, from adapters of which `best` has some.  So that this does
not favour it, `outcome_error_other` is the control error with the oracles of the other seeds,
whose adapters were tuned from other starts.

`alpha_ndcg_95`: the headline at 95 % of the accuracy, as in the evaluation (two objectives).

Shapes: W evaluation weights, O objectives, S seeds, P parameters.
"""

import sys
from functools import partial
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch

from paragon.adapters import mixtures
from paragon.evaluation.methods import Trained
from paragon.evaluation.shares import WEIGHTS, TopTen, most_diverse
from paragon.metrics.statistics import mean_interval
from paragon.objectives.table import metrics_of
from paragon.objectives.weights import refined
from paragon_study.ablations.ablate import AblationBench, Ways
from paragon_study.ablations.trials import joined, replace_rows
from paragon_study.pipeline.study import open_study

FILE = Path(__file__).with_suffix(".csv")
STUDIES = ("ml-100k/sasrec", "ml-100k/gru4rec", "ml-100k/tisasrec")
SHARES = (0.98, 0.95, 0.9, 0.8)
HEADLINES = [f"alpha_ndcg_{100 * share:g}" for share in SHARES]
MEASURES = ("regret_mean", "outcome_error", "outcome_error_other", *HEADLINES)


def headlines(trained: Trained, ways: Ways) -> pd.DataFrame:
    """Measure lists of test users at shares of the accuracy: α-nDCG@10, a row for each way."""
    valid, test = (TopTen(trained, part) for part in ("valid", "test"))
    least = valid.points(torch.zeros(1, trained.test.form.size))[0, 0]  # of the backbone

    def table(accuracy: Any) -> torch.Tensor:
        first = torch.as_tensor(accuracy, dtype=torch.float32)
        return torch.stack([first, 1 - first], 1)  # [W, 2]

    def at_shares(way: Any) -> list[float]:
        weights, points = refined(WEIGHTS, lambda between: valid.points(way(table(between))))
        rows = [most_diverse(points, share * least) for share in SHARES]
        lists = test.of_adapters(way(table(weights))[rows])
        return [test.quality(items)[1].mean() for items in lists]

    return pd.DataFrame({n: at_shares(way) for n, way in ways.items()}, index=HEADLINES).T


def measured(name: str) -> pd.DataFrame:
    """Measure adapters of a study that are chosen or generated: a row for each and seed."""
    study = open_study(*name.split("/"))
    trained, seeds = study.load_trained(), study.params.run.seeds
    tuned, generators = trained.collection, trained.generators
    bench = AblationBench(study, trained.test_set.sequences, trained.test.backbone, tuned)
    points, tables = {}, []
    for index in range(len(seeds)):
        generate = generators[index].generate
        ways = {
            "best": bench.best(tuned.anchor_vectors[index]),
            "generated_best": bench.best(generate(bench.choices)),
            "generated": generate,
            "nearest": partial(mixtures.mixed, tuned, mixtures.nearest, index),
        }
        vectors = {"tuned": bench.best(tuned.tuned(index))(bench.weights)}
        vectors["constant"] = mixtures.mixed(tuned, mixtures.constant, index, bench.weights)
        vectors |= {method: way(bench.weights) for method, way in ways.items()}
        curve = bench.curve(vectors, index=index).query("protocol == 'full'")
        rows = bench.measures(curve).set_index("method")
        if bench.objectives == ["accuracy", "diversity"]:
            rows = rows.join(headlines(trained, ways))
        tables.append(rows.assign(seed=index).reset_index())
        for method, rows in curve.groupby("method"):
            points[method, index] = rows[list(metrics_of(bench.objectives))].to_numpy()  # [W, O]
    table = pd.concat(tables)
    table = table[table["method"].isin(ways)]

    def far(method: str, index: int) -> float:
        others = [points["tuned", other] for other in range(len(seeds)) if other != index]
        return np.mean([np.abs(points[method, index] - t) / np.ptp(t, axis=0) for t in others])

    pairs = zip(table["method"], table["seed"], strict=True)
    return table.assign(outcome_error_other=[far(*pair) for pair in pairs])


def rows_of(name: str) -> pd.DataFrame:
    """Summarise a study over seeds, and the differences from `generated`, seed by seed."""
    wide, rows = measured(name).pivot(index="seed", columns="method"), []
    measures = [name for name in MEASURES if name in wide]
    for measure, method in product(measures, wide.columns.levels[1]):
        own = wide[measure, method]
        mean, low, high, _ = mean_interval(own.to_numpy(float))
        rows.append((method, measure, mean, low, high, None))
        if method != "generated":
            gap = own - wide[measure, "generated"]
            mean, low, high, _ = mean_interval(gap.to_numpy(float))
            rows.append((method, f"{measure}_minus_generated", mean, low, high, low * high > 0))
    columns = ["method", "measure", "value", "low", "high", "beyond_chance"]
    dataset, backbone = name.split("/")
    table = pd.DataFrame(rows, columns=columns)
    return joined([table], dataset=dataset, backbone=backbone)


def main(names: list[str]) -> None:
    """Measure studies one by one; rows of other studies stay."""
    for name in names or STUDIES:
        replace_rows(FILE, rows_of(name), ["dataset", "backbone"])
        print(name, flush=True)
    print(FILE.read_text(encoding="utf-8"))


if __name__ == "__main__":
    main(sys.argv[1:])
