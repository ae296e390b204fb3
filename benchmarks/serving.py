"""How fast lists are served, and how well promises about accuracy are kept.

Run by hand once the pipeline has been through, on an otherwise idle machine; writes
benchmarks/serving.json.  The model is exported to a temporary folder first.

* many: 10,000 people, each with a history from the data and weights of their own, so 10,000
  different adapters; the ten best items of the catalogue, from texts to a batch of lists.
  ``floor``: the denoiser's matrix products alone, in the same run.
* one: a single call, p50 and p99, with new weights each time and with the same weights.
* service: ``serve`` as a process of its own and 64 connections, each of which asks, waits for the
  answer, thinks for a random time (its mean in seconds is the key) and asks again.
* promise: ``weights_for`` in 1,000 random splits of the users: the validation events of one half
  choose, the test events of the other half, who were not looked at, judge. ``diversity``: α-nDCG
  as a share of that of the most diverse balance that keeps the promise on just these test events.
  ``best_fixed``: the same for the best single balance that breaks it in at most 5 % of the
  splits, known afterwards only: no way to choose can be expected to beat it.
"""

from __future__ import annotations

import asyncio
import gc
import json
import re
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import torch
import typer
from run import evaluations, machine, seconds

from paragon.data.sequences import Sequences
from paragon.params import ROOT
from paragon.serving.export import export_folder, quality_of_lists
from paragon.serving.outcome import furthest
from paragon.serving.recommender import Recommender
from paragon.storage import write_json
from paragon_study.pipeline.study import open_study

PEOPLE = 10_000
CLIENTS = 64
SPLITS = 1_000
THINKING = (1.0, 0.25, 0.1, 0.0)  # mean seconds between two requests of a client
LOSSES = (0.03, 0.05, 0.1)  # shares of accuracy that are promised


def histories(sequences: Sequences) -> list[list[str]]:
    """Return the events of every user, as item ids."""
    ends = zip(sequences.offsets[:-1], sequences.offsets[1:], strict=True)
    return [[sequences.item_ids[i - 1] for i in sequences.items[a:b]] for a, b in ends]


def lists(recommender: Recommender, pasts: list[list[str]]) -> dict[str, object]:
    """Measure many lists in a call, and one list."""
    rng = np.random.default_rng(0)
    many = [pasts[row] for row in rng.integers(len(pasts), size=PEOPLE)]
    names = recommender.objectives
    weights = rng.dirichlet(np.ones(len(names)), PEOPLE)
    layers = [m for m in recommender.generator.model.denoiser.modules() if _is_linear(m)]
    inputs = [torch.full((500, layer.in_features), 0.1) for layer in layers]

    @torch.inference_mode()
    def floor() -> None:
        for _ in range(evaluations(recommender.generator) * PEOPLE // 500):
            for layer, given in zip(layers, inputs, strict=True):
                layer(given)

    fresh = iter(rng.dirichlet(np.ones(len(names)), 2_000))
    same = weights[0]
    turns = iter(np.resize(np.arange(PEOPLE), 5_000))
    return {
        "people": PEOPLE,
        "many": seconds(lambda: recommender.recommend_many(many, weights), 9, "many"),
        "floor": seconds(floor, 9, "floor"),
        "one_new_weights": seconds(
            lambda: recommender.recommend(many[next(turns)], next(fresh)), 1_000, "one"
        ),
        "one_same_weights": seconds(
            lambda: recommender.recommend(many[next(turns)], same), 1_000, "one"
        ),
    }


def _is_linear(module: torch.nn.Module) -> bool:
    return isinstance(module, torch.nn.Linear)


def service(folder: Path, pasts: list[list[str]], names: list[str]) -> dict[str, dict]:
    """Measure the service with 64 connections, by the time they think between requests."""
    command = [sys.executable, "-m", "paragon", "serve", str(folder), "--port", "0"]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        gc.freeze()  # of the client: its own pauses are not those of the service
        gc.disable()
        try:
            found = re.search(r":(\d+),", process.stdout.readline())
            if found is None:
                raise typer.BadParameter("the service did not start")
            asking = [asyncio.run(ask(int(found[1]), pasts, names, t)) for t in THINKING]
        finally:
            gc.enable()
            process.terminate()
    return dict(zip(map(str, THINKING), asking, strict=True))


async def ask(
    port: int, pasts: list[list[str]], names: list[str], thinking: float, lasting: float = 8
) -> dict[str, float]:
    """Ask for ``lasting`` seconds, and return what all connections together measured.

    Every answer has to have the status 200.
    """
    rng = np.random.default_rng(0)
    all_weights = rng.dirichlet(np.ones(len(names)), len(pasts))
    requests = []
    for past, weights in zip(pasts, all_weights, strict=True):
        asked = {"history": past, "weights": dict(zip(names, weights, strict=True))}
        body = json.dumps(asked).encode()
        head = f"POST /recommend HTTP/1.1\r\nHost: here\r\nContent-Length: {len(body)}\r\n"
        requests.append(head.encode() + b"Content-Type: application/json\r\n\r\n" + body)
    taken: list[float] = []
    end = time.perf_counter() + lasting

    async def client() -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        await asyncio.sleep(rng.uniform(0, thinking))
        while True:
            start = time.perf_counter()
            if start >= end:
                break
            writer.write(requests[rng.integers(len(requests))])
            answer = await reader.readuntil(b"\r\n\r\n")
            length = re.search(rb"content-length: (\d+)", answer)
            if b" 200 " not in answer[:16] or length is None:
                raise typer.BadParameter(answer.decode())
            await reader.readexactly(int(length[1]))
            taken.append(time.perf_counter() - start)
            await asyncio.sleep(rng.exponential(thinking))
        writer.close()

    await asyncio.gather(*(client() for _ in range(CLIENTS)))
    p50, p99 = np.percentile(taken, [50, 99]) * 1000
    return {
        "requests_per_second": round(len(taken) / lasting),
        "p50_ms": round(float(p50), 2),
        "p99_ms": round(float(p99), 2),
    }


def promise(recommender: Recommender, sequences: Sequences) -> dict[str, dict[str, float]]:
    """Measure how often `weights_for` is wrong about new users, and what its caution costs."""
    known = sequences.valid
    tested = sequences.test
    if not np.array_equal(known.users, tested.users):
        raise typer.BadParameter("the users of validation and test differ: they cannot be split")
    assert recommender.outcomes is not None
    balances = recommender.outcomes.weights  # [G, O]
    before, _ = quality_of_lists(recommender, sequences, known, balances)  # [G, N]
    after, spread = quality_of_lists(recommender, sequences, tested, balances)
    alpha = spread["diversity"]  # [G], nearly the same for any half of the users
    found = {}
    for loss in LOSSES:
        rng = np.random.default_rng(0)
        chosen = []  # row of the balance, by split
        within = []  # whether each balance keeps the promise, by split
        for _ in range(SPLITS):
            order = rng.permutation(len(known))
            half, others = np.split(order, [len(order) // 2])
            chosen.append(furthest(before[:, half], loss, 0.95, len(others)))
            means = after[:, others].mean(1)
            within.append(means >= (1 - loss) * means[0])
        kept = np.array(within)  # [SPLITS, G]
        broken = ~kept[np.arange(SPLITS), chosen]  # [SPLITS]
        most = np.where(kept, alpha, 0).max(1)  # [SPLITS]
        fixed = np.flatnonzero((~kept).mean(0) <= 0.05)  # rows of balances
        best_fixed = max((alpha[row] / most).mean() for row in fixed)
        found[str(loss)] = {
            "broken": round(float(broken.mean()), 4),
            "diversity": round(float((alpha[chosen] / most).mean()), 4),
            "best_fixed": round(float(best_fixed), 4),
            "accuracy_weight": round(float(balances[chosen, 0].mean()), 3),
        }
    return found


def main(dataset: str = "ml-100k", backbone: str = "sasrec", record: bool = True) -> None:
    """Measure, print and, unless --no-record, write benchmarks/serving.json."""
    study = open_study(dataset, backbone)
    threads = torch.get_num_threads()
    torch.use_deterministic_algorithms(False)
    sequences, trained, description, generator = study.load_served()
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch) / "model"
        export_folder(folder, sequences, trained, description, generator)
        recommender = Recommender.load(folder)
        pasts = histories(sequences)
        measured: dict[str, object] = {"machine": machine()}
        for count in (threads, 1):
            torch.set_num_threads(count)
            measured[f"threads_{count}"] = lists(recommender, pasts)
        measured["service"] = service(folder, pasts, recommender.objectives)
        measured["promise"] = promise(recommender, sequences)
    typer.echo(json.dumps(measured, indent=2))
    if record:
        path = ROOT / "benchmarks" / "serving.json"
        kept = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
        kept[f"{dataset}/{backbone}"] = measured
        write_json(path, kept)


if __name__ == "__main__":
    typer.run(main)
