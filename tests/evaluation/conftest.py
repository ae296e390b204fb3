"""What the tests of the evaluation share."""

import numpy as np
import pandas as pd

from paragon.evaluation.protocol import PROTOCOLS, TestSet

OBJECTIVES = ["accuracy", "diversity"]


def make_test_set(sequences, evaluation=None, objectives=OBJECTIVES, negatives=5, cutoffs=(5, 10)):
    evaluation = sequences.test if evaluation is None else evaluation
    return TestSet(sequences, evaluation, objectives, negatives=negatives, served=6,
                   cutoffs=list(cutoffs))  # fmt: skip


def table(scores):
    return np.concatenate(list(scores.blocks()))


def made_curve(weights=(0, 0.5, 1), seeds=(0, 1), **methods):
    """A curve with chosen metrics at the first weights: {method: (ndcg, alpha, loss, further)}."""
    rows = []
    for method, (ndcg, alpha, loss, *further) in methods.items():
        for seed in seeds:
            for at, (w, n, a, x) in enumerate(zip(weights, ndcg, alpha, loss, strict=False)):
                row = {"method": method, "seed": seed, "w_accuracy": w, "w_diversity": 1 - w}
                row |= {"ndcg@10": n, "alpha_ndcg@10": a}
                row |= {name: values[at] for more in further for name, values in more.items()}
                for protocol in PROTOCOLS:
                    loss_of = x if protocol == "full" else np.nan
                    losses = {"loss_accuracy": loss_of, "loss_diversity": loss_of}
                    rows.append(row | {"protocol": protocol} | losses)
    return pd.DataFrame(rows)
