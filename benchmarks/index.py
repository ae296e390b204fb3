"""One index for all weights: how exact and how fast is it, by the size of the catalogue?

Run by hand once the pipeline has been through, on an otherwise idle machine, with faiss-cpu
installed; writes benchmarks/index.json.

The catalogues are synthetic. The items of MovieLens-100K are repeated, each copy with normal noise
whose length is on average half the distance of the item to its tenth neighbour, and with the same
categories. Queries are those of 200 users under eleven weights. ``exact`` compares with all rows,
``approximate`` with some of the cells of an inverted file (IVF): the number of cells that are
searched is the smallest power of two at which recall@10 is at least .95 at *every* weight.
Times are of the query and the search together, on one thread, with new weights in each request.
"""

import json
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import faiss
import numpy as np
import torch
from run import machine

from paragon.serving.recommender import Recommender
from paragon.storage import write_json
from paragon_study.pipeline.study import open_study

SIZES = (10_000, 100_000, 1_000_000)
USERS = 200
WEIGHTS = np.arange(11) / 10  # of accuracy
ENOUGH = 0.95  # recall@10 at every weight
REQUESTS = 300
CLIENTS = 16


def grown(rows: np.ndarray, size: int, dim: int) -> np.ndarray:
    """Repeat ``rows [n, d + M]`` to ``[size, d + M]``, with noise on the first ``dim`` numbers."""
    rng = np.random.default_rng(0)
    vectors = rows[:, :dim]
    far = np.linalg.norm(vectors[:, None] - vectors, axis=-1)  # [n, n]
    length = np.sort(far, axis=1)[:, 10] / 2  # half of the tenth, after the item itself
    which = np.arange(size) % len(rows)
    noise = rng.standard_normal((size, dim)) * (length[which] / dim**0.5)[:, None]
    table = rows[which].astype(np.float32)
    table[len(rows) :, :dim] += noise[len(rows) :].astype(np.float32)
    return table


def recall(found: np.ndarray, exact: np.ndarray) -> float:
    """Compute the mean share of ``exact [Q, k]`` that is among ``found [Q, k]``."""
    pairs = zip(found, exact, strict=True)
    return float(np.mean([len({*a} & {*b}) / len(b) for a, b in pairs]))


def latency(recommender: Recommender, pasts: list, index: faiss.Index, clients: int) -> dict:
    """Measure requests with new weights: median and 99th percentile, in milliseconds."""
    rng = np.random.default_rng(clients)
    weights = rng.dirichlet([1, 1], REQUESTS)

    def request(number: int) -> float:
        start = time.perf_counter()
        query = recommender.query(pasts[number % len(pasts)], weights[number])
        index.search(query[None], 110)
        return time.perf_counter() - start

    with ThreadPoolExecutor(clients) as pool:
        times = [*pool.map(request, range(REQUESTS))]
    return {f"p{q}_ms": round(1e3 * float(np.percentile(times, q)), 2) for q in (50, 99)}


def measure(recommender: Recommender, pasts: list, size: int) -> dict:
    """Measure exact and approximate search in a catalogue of ``size`` items."""
    _, rows = recommender.index()
    table = grown(rows, size, recommender.backbone.item_vectors().shape[1])
    width = table.shape[1]  # d + M
    cells = int(4 * size**0.5)
    exact = faiss.IndexFlatIP(width)
    exact.add(table)
    start = time.perf_counter()
    centres = faiss.IndexFlatIP(width)
    index = faiss.IndexIVFFlat(centres, width, cells, faiss.METRIC_INNER_PRODUCT)
    index.train(table[np.random.default_rng(1).permutation(size)[: 50 * cells]])
    index.add(table)
    built = time.perf_counter() - start
    by_weight = []  # the queries of all users, [USERS, d + M] each
    for weight in WEIGHTS:
        weights = [weight, 1 - weight]
        queries = [recommender.query(past, weights) for past in pasts[:USERS]]
        by_weight.append(np.stack(queries))
    best = [exact.search(queries, 100)[1] for queries in by_weight]
    index.nprobe = 1
    while True:
        found = [index.search(queries, 100)[1] for queries in by_weight]
        at_10 = [recall(a[:, :10], b[:, :10]) for a, b in zip(found, best, strict=True)]
        if min(at_10) >= ENOUGH or index.nprobe >= cells:
            break
        index.nprobe *= 2
    at_100 = [recall(a, b) for a, b in zip(found, best, strict=True)]
    return {
        "cells": cells,
        "searched": index.nprobe,
        "recall@10": [round(x, 3) for x in at_10],
        "recall@100": [round(x, 3) for x in at_100],
        "megabytes": round(table.nbytes / 1e6),
        "build_s": round(built, 1),
        "approximate": {c: latency(recommender, pasts, index, c) for c in (1, CLIENTS)},
        "exact": {c: latency(recommender, pasts, exact, c) for c in (1, CLIENTS)},
    }


def main() -> None:
    """Measure all sizes; write and print the record."""
    torch.set_num_threads(1)
    faiss.omp_set_num_threads(1)
    study = open_study("ml-100k", "sasrec")
    sequences, backbone, _, generator = study.load_served()
    recommender = Recommender(backbone, generator, sequences)
    ends = sequences.offsets[:-1] + sequences.n_train
    pasts = [
        [sequences.item_ids[item - 1] for item in sequences.items[start:end]]
        for start, end in zip(sequences.offsets[:-1], ends, strict=True)
        if end > start
    ]
    record = {"machine": machine(), "weights": WEIGHTS.tolist()}
    for size in SIZES:
        record[f"{size:,}"] = measure(recommender, pasts, size)
        print(json.dumps({size: record[f"{size:,}"]}, indent=1), flush=True)
    write_json(Path(__file__).with_suffix(".json"), record)


if __name__ == "__main__":
    main()
