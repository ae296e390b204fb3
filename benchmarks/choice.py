"""Would other validation users, who choose other settings, change which method is ahead?

Run by hand once the pipeline has been through, with studies as arguments (`ml-100k/sasrec`), or
for the default ones; writes benchmarks/choice.csv, prints it.  `ml-100k/sasrec/20`: if 20 items
are fetched, by the backbone or by generated adapters, and then re-ranked by xQuAD.

The intervals in differences.json keep the settings that the validation users chose.  Here users are
drawn again for both: for the choice of the settings, and for the test.  Each draw chooses again
among all settings of each method and seed (but those that another setting exceeds by more than 5 %
of the accuracy and 0.01 in diversity), then measures the difference from `generated`.

Shapes: S settings, N events, U users, B draws.
"""

import sys
from dataclasses import replace
from functools import partial
from itertools import product
from pathlib import Path

import numpy as np
import pandas as pd
import torch

from paragon.adapters.frozen import FrozenTask
from paragon.evaluation.methods import METHODS, Trained, reranked
from paragon.evaluation.shares import (
    COARSE,
    WEIGHTS,
    Choice,
    TopTen,
    _reranked,
    adapters_of,
    choice_of,
)
from paragon.rivals.reranking import RERANKERS, tried_settings
from paragon.storage import write_text
from paragon_study.pipeline.study import open_study

FILE = Path(__file__).with_suffix(".csv")
KEY = ["dataset", "backbone", "measure", "method"]
STUDIES = ("ml-100k/sasrec", "ml-100k/gru4rec", "ml-100k/tisasrec")
NAMES = ("generated", "interpolation_log", "category_bias", "xquad", "generated_xquad")
SHARES = (0.98, 0.95, 0.9, 0.8)
DRAWS = 2000


def task_at(task: FrozenTask, rows: torch.Tensor) -> FrozenTask:
    """Keep these rows of the events."""
    tensors = {n: getattr(task, n)[rows] for n in ("states", "targets", "groups", "history")}
    return replace(task, met=task.met[rows], **tensors)


def subset(top: TopTen) -> TopTen:
    """Keep only the rows of validation that choose."""
    rows = torch.arange(len(top.task.states))[top.rows]
    top.task, top.rows = task_at(top.task, rows), slice(None)
    return top


def fetched(trained: Trained, name: str, valid: TopTen, test: TopTen, budget: int) -> list[tuple]:
    """Return the same as :func:`choices` if ``budget`` items are fetched, as in `at_budgets`."""
    found, rerank = [], RERANKERS["xquad"]
    for index in range(len(trained.seeds) if name == "generated" else 1):
        vectors = torch.zeros(1, test.task.form.size)  # the backbone
        if name == "generated":
            vectors = adapters_of(trained, index, name, WEIGHTS)
            vectors = vectors[:: len(vectors) // COARSE]
        scores = [valid.task.catalogue_scores(v).cpu().numpy() for v in vectors]
        tried = tried_settings(rerank, test.sequences, scores, depths=[budget])
        found.append(tuple(_reranked(rerank, tried, top, vectors) for top in (valid, test)))
    return found


def choices(trained: Trained, name: str, valid: TopTen, test: TopTen) -> list[tuple]:
    """Return by seed the settings of a method, as choices on validation and on test users."""
    method, found = METHODS[name], []
    random = method.rerank is None or method.vectors is not None
    for index in range(len(trained.seeds) if random else 1):
        if method.rerank:  # of the whole catalogue only
            trained.tried[name, index] = {}  # so that `reranked` returns adapters alone
            vectors, _ = reranked(trained, index, name)
            scores = [valid.task.catalogue_scores(v).cpu().numpy() for v in vectors]
            tried = tried_settings(method.rerank, test.sequences, scores)
            trained.tried[name, index] = {"full": tried}
        both = (choice_of(trained, index, name, valid, part) for part in (valid, test))
        found.append(tuple(both))
    return found


def by_event(choice: Choice, settings: list, top: TopTen) -> np.ndarray:
    """Compute NDCG@10 and α-nDCG@10 of each setting and event, ``[S, 2, N]``."""
    return np.array([top.quality(items) for items in choice.lists(settings)], dtype=np.float32)


def near_front(points: np.ndarray, unit: float) -> np.ndarray:
    """Return the rows of ``points [S, 2]`` that no other row exceeds clearly in both."""
    ahead = points[:, None] - points > np.array([0.05 * unit, 0.01])  # [S, S, 2]
    return np.flatnonzero(~ahead.all(2).any(0))


def settings_at(choice: Choice, rows: np.ndarray) -> list | torch.Tensor:
    """Pick settings, which are adapters or a list."""
    if isinstance(choice.settings, torch.Tensor):
        return choice.settings[torch.from_numpy(rows)]
    return [choice.settings[row] for row in rows]


def measure(where: str, draws: int = DRAWS) -> pd.DataFrame:
    """Measure a study: a row for each share and method, with the columns of results/all.csv."""
    dataset, backbone, *budget = where.split("/")
    study = open_study(dataset, backbone)
    trained = study.load_trained()
    valid, test = subset(TopTen(trained, "valid")), TopTen(trained, "test")
    rng, users = np.random.default_rng(0), max(valid.events.users.max(), test.events.users.max())
    counts = rng.multinomial(users + 1, np.full(users + 1, 1 / (users + 1)), draws)  # [B, U]
    counts = np.concatenate([np.ones((1, users + 1), int), counts])  # first: as it is
    share_of = {}
    for part, top in (("valid", valid), ("test", test)):
        own = counts[:, top.events.users].astype(np.float32)  # [B, N]
        share_of[part] = own / own.sum(1, keepdims=True)
    plain = choice_of(trained, 0, "backbone", valid, valid)
    base = by_event(plain, plain.settings, valid)[0, 0]  # [N]
    least = share_of["valid"] @ base  # [B]
    # On MovieLens-1M all take an hour.
    names = NAMES if dataset == "ml-100k" and not budget else ("generated", "xquad")
    of_method = partial(fetched, budget=int(budget[0])) if budget else choices
    chosen: dict[str, np.ndarray] = {}  # by method, α-nDCG@10 of test users [seeds, shares, B]
    for name in names:
        parts = []
        for on_valid, on_test in of_method(trained, name, valid, test):
            rows = near_front(on_valid.points, base.mean())
            quality = by_event(on_valid, settings_at(on_valid, rows), valid)  # [S, 2, N]
            points = np.einsum("sqn,bn->qsb", quality, share_of["valid"], optimize=True)
            picks = []
            for share in SHARES:
                enough = points[0] >= share * least * (1 - 1e-6)  # [S, B]
                picks.append(np.where(enough, points[1], -1).argmax(0))  # [B]
            picks = np.array(picks)  # [shares, B]
            used, place = np.unique(picks, return_inverse=True)
            quality = by_event(on_test, settings_at(on_test, rows[used]), test)  # [used, 2, N]
            means = quality[:, 1] @ share_of["test"].T  # [used, B], α-nDCG@10
            parts.append(means[place.reshape(picks.shape), np.arange(len(counts))])  # [shares, B]
            print(where, name, len(rows), len(used), flush=True)
        chosen[name] = np.stack(parts)  # [seeds, shares, B]
    rows: list[tuple] = []
    for (at, share), name in product(enumerate(SHARES), names[1:]):
        gap = chosen[name].mean(0)[at] - chosen["generated"].mean(0)[at]  # [B]
        low, high = np.percentile(gap[1:], [2.5, 97.5])
        form = f"{{}}_of_{budget[0]}" if budget else "alpha_ndcg_{}"
        key = form.format(f"{100 * share:g}") + "_minus_generated"
        rows.append((dataset, backbone, name, key, float(gap[0]), low, high, low * high > 0))
    columns = "dataset backbone method measure value low high beyond_chance".split()
    return pd.DataFrame(rows, columns=columns).round(4)


def main() -> None:
    """Measure the studies that are asked for; write and print the record."""
    for where in sys.argv[1:] or STUDIES:
        rows = measure(where)
        print(rows.to_string(), flush=True)
        tables = [pd.read_csv(FILE), rows] if FILE.exists() else [rows]
        table = pd.concat(tables).drop_duplicates(KEY, keep="last").sort_values(KEY)
        write_text(FILE, table.to_csv(index=False))


if __name__ == "__main__":
    main()
