"""Popularity and item-kNN: recommenders that ignore the weights, on N events and n items."""

import numpy as np
from scipy import sparse

from paragon.backbones.graph import interactions
from paragon.data.sequences import Evaluation, Sequences
from paragon.metrics.checks import row_blocks
from paragon.metrics.ranking import ndcg_at, target_ranks

MARGIN = 1.02  # a backbone is better than a rule if its NDCG@10 is this many times as high
ERRORS = 2  # and this many standard errors higher


def popularity(sequences: Sequences, evaluation: Evaluation) -> np.ndarray:
    """Score each item by its number of training events, ``[N, n + 1]``."""
    return np.tile(sequences.popularity().astype(np.float64), (len(evaluation), 1))


def item_similarity(sequences: Sequences, neighbours: int = 100) -> sparse.csr_array:
    """Cosine of items over users, each row's largest (Deshpande & Karypis, ACM TOIS 2004)."""
    met = interactions(sequences).astype(np.float64)  # [U, n + 1]
    norm = np.sqrt(met.sum(0))
    scaled = met @ sparse.diags_array(np.divide(1, norm, out=np.zeros_like(norm), where=norm > 0))
    by_item = scaled.T.tocsr()  # [n + 1, U]
    items: list[np.ndarray] = []
    values: list[np.ndarray] = []
    for rows in row_blocks(len(norm), len(norm)):
        cosine = (by_item[rows] @ scaled).toarray()  # [b, n + 1]
        np.fill_diagonal(cosine[:, rows], 0)
        items.append(np.argsort(-cosine, axis=1, kind="stable")[:, :neighbours])
        values.append(np.take_along_axis(cosine, items[-1], 1))
    nearest = np.concatenate(items)  # [n + 1, neighbours]
    starts = np.arange(len(norm) + 1) * nearest.shape[1]
    largest = np.concatenate(values)  # [n + 1, neighbours]
    table = (largest.ravel(), nearest.ravel(), starts)
    return sparse.csr_array(table, shape=(len(norm), len(norm)))


def item_knn(sequences: Sequences, evaluation: Evaluation, neighbours: int = 100) -> np.ndarray:
    """Sum the similarities to all items met before the target, ``[N, n + 1]``."""
    similarity = item_similarity(sequences, neighbours)
    rows, items = (part.numpy() for part in sequences.met_before(evaluation).entries())
    shape = (len(evaluation), sequences.n_items + 1)
    history = sparse.csr_array((np.ones(len(rows)), (rows, items)), shape=shape)
    history.data[:] = 1  # an item met twice counts once
    # Row i of `similarity` holds the neighbours of item i: each item met votes for its neighbours.
    return (history @ similarity).toarray()


def beside_baselines(ndcg: float, sequences: Sequences) -> str:
    """Put the validation ``NDCG@10`` of a backbone beside theirs; warn if it is no better.

    Better is 2 % more, and two standard errors more.  Theirs is of at most 2,000 events.
    """
    valid = sequences.valid[sequences.valid.sample_rows()]
    found: dict[str, float] = {}
    least = 0.0
    for rule in (popularity, item_knn):
        ranks = target_ranks(rule(sequences, valid), valid.targets, sequences.excluded(valid))
        by_event = ndcg_at(ranks, 10)  # [N]
        mean = float(by_event.mean())
        # That of a difference from the backbone, too, if the two correlate by 1/2.
        error = float(by_event.std() / np.sqrt(len(by_event)))
        found[rule.__name__] = mean
        least = max(least, MARGIN * mean, mean + ERRORS * error)
    numbers = ", ".join(f"{name} {x:.4f}" for name, x in {"backbone": ndcg, **found}.items())
    text = f"NDCG@10 on validation: {numbers}"
    if ndcg >= least:
        return text
    first = "first try another loss or rate (`backbones.loss: softmax`, `backbones.learning_rate`)"
    longer = "more epochs help only if the last ones were still better"
    problem = "Not 2 % better than a rule without parameters"
    if ndcg >= MARGIN * max(found.values()):
        problem = f"With {len(valid):,} events, chance may have made it better than a simple rule"
    return f"WARNING: {text}. {problem}: {first}, then another backbone; {longer}"
