"""What the tests of the evaluation share."""

import numpy as np

from paragon.evaluation.protocol import TestSet

OBJECTIVES = ["accuracy", "diversity"]


def make_test_set(sequences, evaluation=None, objectives=OBJECTIVES, cutoffs=(5, 10), frozen=None):
    evaluation = sequences.test if evaluation is None else evaluation
    return TestSet(sequences, evaluation, objectives, cutoffs=list(cutoffs), frozen=frozen)


def table(scores):
    return np.concatenate(list(scores.blocks()))
