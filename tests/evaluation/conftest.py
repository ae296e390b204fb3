"""What the tests of the evaluation share."""

import numpy as np

from paragon.evaluation.protocol import TestSet

OBJECTIVES = ["accuracy", "diversity"]


def make_test_set(sequences, evaluation=None, objectives=OBJECTIVES, negatives=5, cutoffs=(5, 10)):
    evaluation = sequences.test if evaluation is None else evaluation
    return TestSet(sequences, evaluation, objectives, negatives=negatives, served=6,
                   cutoffs=list(cutoffs))  # fmt: skip


def table(scores):
    return np.concatenate(list(scores.blocks()))
