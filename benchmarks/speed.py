"""How far each stage is above what this machine could do at best, in one table.

Run by `make bench` once the pipeline has been through, on an otherwise idle machine; writes
benchmarks/speed.json and the table of benchmarks/README.md.  Every action is measured in turns with
its floor, so that both see the same machine:

* what torch computes is counted once: floating point operations, and the bytes of every result.
  The floor is as many operations as products of 512 x 512 matrices, and a copy of as many bytes,
  in pieces of the mean size of a result;
* what is text or NumPy has a floor of its own, which its row names.

`--peer PYTHON` also measures RecTools' SASRec, by a Python that has it (`make bench` makes one in
build/rectools): the same events, sizes, loss, threads and number of epochs, and the same test.
"""

from __future__ import annotations

import ast
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import nbformat
import numpy as np
import pandas as pd
import torch
import typer
from run import machine
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.flop_counter import FlopCounterMode

from paragon.adapters import collection
from paragon.adapters.adapter import Adapter, start_vectors
from paragon.adapters.frozen import frozen_events
from paragon.backbones import BACKBONES, build
from paragon.backbones.training import Training
from paragon.data.fetch import load_dataset
from paragon.data.split import prepare
from paragon.evaluation.protocol import Scores, held_out
from paragon.metrics.ranking import ndcg_at, target_ranks
from paragon.params import DATA, ROOT, load_params
from paragon.serving.export import export_folder
from paragon.serving.recommender import Recommender
from paragon.storage import write_json, write_text
from paragon_study.pipeline.study import Study, open_study
from paragon_study.report.pages import with_block
from paragon_study.running.studies import load_times

SIDE = 512  # of the matrices of the floor
# What a row does that its floor leaves out, if it is more than three times above it; the letters
# are explained below the table.  A row without an entry must not be so far above.
BEYOND = {
    "preprocessing": "a",
    "evaluation of one method at one weight": "b",
    **{f"epoch of {name}": "c, d" for name in BACKBONES},
    "new weights to a ready model": "c",
    "5,000 adapters generated": "c",
    "5 steps of tuning, together": "c, d",
    "5 steps of tuning, alone": "c, d",
    "a list for one": "c, e",
    "lists for 10,000, each with weights of its own": "e",
}


@dataclass(frozen=True)
class Row:
    """One line of the table."""

    name: str
    action: Callable[[], object]
    floor: Callable[[], object] | None = None  # None: counted, see above
    words: str = "products and copies"  # what the floor is
    count: int = 1  # how many adapters or lists an action makes


class Results(TorchDispatchMode):
    """Count the results of torch's operations, and their bytes, if they are new memory."""

    def __init__(self) -> None:
        super().__init__()
        self.number = 0
        self.bytes = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):  # type: ignore[no-untyped-def]
        """Run the operation and count its results; a view costs nothing."""
        out = func(*args, **(kwargs or {}))
        is_view = any(r.alias_info and not r.alias_info.is_write for r in func._schema.returns)
        if not is_view:
            sizes = [t.numel() * t.element_size() for t in tree_leaves(out) if torch.is_tensor(t)]
            self.number += len(sizes)
            self.bytes += sum(sizes)
        return out


def seconds(action: Callable[[], object]) -> float:
    """Return the wall time of one call."""
    start = time.perf_counter()
    action()
    return time.perf_counter() - start


def counted_floor(action: Callable[[], object]) -> Callable[[], float]:
    """Run an action once to count what it computes; return a function that measures its floor.

    The function returns seconds.
    """
    with FlopCounterMode(display=False) as products, Results() as results:
        action()
    square = torch.rand(SIDE, SIDE)
    into = torch.empty_like(square)
    share = products.get_total_flops() / (2 * SIDE**3)
    mean_size = results.bytes // max(1, results.number)
    piece = torch.zeros(max(1, mean_size), dtype=torch.uint8)
    copy = torch.empty_like(piece)

    def measure() -> float:
        total = 0.0
        for work, times in (
            (lambda: torch.mm(square, square, out=into), share),
            (lambda: copy.copy_(piece), float(results.number)),
        ):
            runs = int(np.clip(times, 1, 200))  # as many as are needed, then scaled
            total += seconds(lambda w=work, r=runs: [w() for _ in range(r)]) * times / runs
        return total

    return measure


def measured(row: Row, runs: int) -> dict[str, object]:
    """Measure an action and its floor in turns: medians and quartiles of their seconds."""
    given = row.floor
    floor = counted_floor(row.action) if given is None else lambda: seconds(given)
    row.action()
    floor()
    pairs = np.array([(seconds(row.action), floor()) for _ in range(runs)])  # [runs, 2]
    quartiles = np.percentile(pairs, [25, 50, 75], axis=0)  # [3, 2]
    low, median, high = (float(f"{x:.3g}") for x in quartiles[:, 0])
    return {
        "count": row.count,
        "seconds": {"median": median, "quartiles": [low, high]},
        "floor": float(f"{quartiles[1, 1]:.3g}"),
        "factor": float(f"{np.median(pairs[:, 0] / pairs[:, 1]):.2g}"),
        "words": row.words,
        "runs": runs,
    }


def adapter_rows(study: Study) -> list[Row]:
    """Return the rows from weights to adapters: generated and tuned, many and one."""
    sequences, frozen, _, generator = study.load_served()
    names = study.params.adapters.objectives
    seeds = study.params.run.seeds
    rng = np.random.default_rng(0)
    weights = torch.from_numpy(rng.dirichlet(np.ones(len(names)), 5000))
    draws = iter(rng.dirichlet(np.ones(len(names)), 20_000))
    settings = study.params.adapters.model_copy(update={"steps": 5, "checks": 1, "snapshots": 0})
    train = frozen_events(frozen, sequences, "train", settings)
    valid = frozen_events(frozen, sequences, "valid", settings)
    starts = start_vectors(train.form, 32, seeds)  # [S, 32, P]

    def tune(count: int, of_seeds: list[int]) -> Callable[[], object]:
        """Return the tuning of ``count`` adapters for each of these seeds."""
        first = starts[: len(of_seeds), :count]
        asked = weights[:count].float()
        return lambda: collection.tune(train, valid, asked, first, settings, of_seeds)

    return [
        Row(
            "new weights to a ready model",
            lambda: Adapter.from_vector(generator.generate(next(draws))[0], generator.form),
        ),
        Row("5,000 adapters generated", lambda: generator.generate(weights), count=5000),
        Row("5 steps of tuning, together", tune(32, seeds), count=32 * len(seeds)),
        Row("5 steps of tuning, alone", tune(1, seeds[:1])),
    ]


def epoch_rows(study: Study) -> list[Row]:
    """Return the rows of an epoch of every backbone, with the settings of the study."""
    sequences = study.load_sequences()
    rows = []
    for name in BACKBONES:
        settings = load_params(study=study.name, backbone=name).backbones
        training = Training(build(name, sequences, settings, 0), sequences, settings)
        rng = np.random.default_rng(0)
        rows.append(Row(f"epoch of {name}", lambda t=training, r=rng: t.epoch(r)))
    return rows


def data_rows(study: Study) -> list[Row]:
    """Return the rows of preprocessing, and of the evaluation of one method at one weight."""
    sequences, frozen, _, _ = study.load_served()
    params = study.params
    rules = params.data.model_dump()
    path = DATA / study.dataset / f"{study.dataset}.inter"
    _, test, test_set = held_out(sequences, frozen, params.adapters, params.evaluation.cutoffs)
    with torch.no_grad():
        scores = frozen.score_catalogue(test.states).numpy()  # [N, n + 1]

    return [
        Row(
            "preprocessing",
            lambda: prepare(load_dataset(study.dataset, DATA), **rules),
            lambda: pd.read_csv(path, sep="\t").sort_values("timestamp:float", kind="stable"),
            "pandas reads and sorts the events",
        ),
        Row(
            "evaluation of one method at one weight",
            lambda: test_set.measure(Scores.of(scores)),
            lambda: np.argpartition(scores, -20, axis=1),
            "NumPy finds the 20 best of each list",
        ),
    ]


def serving_rows(study: Study, folder: Path) -> list[Row]:
    """Return the rows of ``recommend`` for one person and for 10,000, from texts to lists."""
    sequences, frozen, description, generator = study.load_served()
    folder = folder / "model"
    export_folder(folder, sequences, frozen, description, generator)
    recommender = Recommender.load(folder)
    rng = np.random.default_rng(0)
    ends = zip(sequences.offsets[:-1], sequences.offsets[1:], strict=True)
    pasts = [[sequences.item_ids[i - 1] for i in sequences.items[a:b]] for a, b in ends]
    many = [pasts[row] for row in rng.integers(len(pasts), size=10_000)]
    weights = rng.dirichlet(np.ones(len(recommender.objectives)), 30_000)
    fresh = iter(weights)
    turns = iter(np.resize(np.arange(len(pasts)), 30_000))
    return [
        Row("a list for one", lambda: recommender.recommend(pasts[next(turns)], next(fresh))),
        Row(
            "lists for 10,000, each with weights of its own",
            lambda: recommender.recommend_many(many, weights[: len(many)]),
            count=len(many),
        ),
    ]


def beside_rectools(study: Study, python: Path, epochs: int) -> dict[str, dict[str, float]]:
    """Compare RecTools' SASRec with ours, both with a softmax.

    Measured are the seconds of an epoch and NDCG@10 on test events.  ``python`` has RecTools.
    """
    sequences = study.load_sequences()
    test = sequences.test
    settings = study.params.backbones.model_copy(
        update={"loss": "softmax", "negatives": None, "epochs": epochs}
    )
    training = Training(build("sasrec", sequences, settings, 0), sequences, settings)
    rng = np.random.default_rng(0)
    taken = [seconds(lambda: training.epoch(rng)) for _ in range(epochs)]
    training.model.eval()
    states = training.backbone.states_before(sequences, test.users, test.positions)
    with torch.no_grad():
        scores = training.backbone.score_catalogue(states)
    ranks = target_ranks(scores.numpy(), test.targets, sequences.excluded(test))
    ours = {"epoch": float(np.median(taken)), "ndcg@10": float(ndcg_at(ranks, 10).mean())}
    with tempfile.TemporaryDirectory() as scratch:
        frame = pd.DataFrame(
            {
                "user_id": np.repeat(np.arange(sequences.n_users), sequences.lengths),
                "item_id": sequences.items,
                "datetime": pd.to_datetime(sequences.times, unit="s"),
                "train": sequences.is_train(),
            }
        )
        last = pd.MultiIndex.from_arrays([test.users, test.targets])
        pairs = pd.MultiIndex.from_frame(frame[["user_id", "item_id"]])
        frame[~pairs.isin(last)].to_csv(Path(scratch) / "events.csv", index=False)
        asked = settings.model_dump() | {"threads": torch.get_num_threads()}
        command = [str(python), str(ROOT / "benchmarks" / "peer.py"), scratch, json.dumps(asked)]
        subprocess.run(command, check=True, capture_output=True)
        found = json.loads((Path(scratch) / "found.json").read_text(encoding="utf-8"))
    lists = {int(user): items for user, items in found["lists"].items()}
    places = [
        lists[user].index(target) + 1 if target in lists.get(user, []) else 11
        for user, target in zip(test.users.tolist(), test.targets.tolist(), strict=True)
    ]
    theirs = {"epoch": found["epoch"], "ndcg@10": float(ndcg_at(np.array(places), 10).mean())}
    return {"ours": ours, "RecTools": theirs, "epochs": {"number": epochs}}


def overhead(runs: int = 5) -> dict[str, float]:
    """Measure a stage that computes nothing, and its share in the study's time.

    The stage is DVC, the runner, a kernel and the imports of notebook 06.  The study's time is that
    of the records beside the executed notebooks; the share is that of as many such stages.  It is
    an upper limit: DVC starts once for a whole study, and here for each stage.
    """
    source = nbformat.read(ROOT / "notebooks" / "06_evaluation.ipynb", as_version=4)
    code = [cell for cell in source.cells if cell.cell_type == "code"]
    imports = [
        ast.unparse(node)
        for node in ast.parse("\n".join(cell.source for cell in code)).body
        if isinstance(node, ast.Import | ast.ImportFrom)
    ]
    source.cells = [code[0], nbformat.v4.new_code_cell("\n".join(imports))]
    stage = {"cmd": "python -m paragon run 06_evaluation --study x --backbone y"}
    with tempfile.TemporaryDirectory() as scratch:
        root = Path(scratch)
        for name in (".dvc", "notebooks"):
            (root / name).mkdir()
        nbformat.write(source, root / "notebooks" / "06_evaluation.ipynb")
        write_text(root / "params.yaml", (ROOT / "params.yaml").read_text(encoding="utf-8"))
        write_json(root / "dvc.yaml", {"stages": {"empty": stage}})
        path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
        given = {"PATH": path, "PARAGON_ROOT": scratch, "PYTHONPATH": str(ROOT)}

        def run(*command: str) -> None:
            subprocess.run(
                command, cwd=root, env=os.environ | given, check=True, capture_output=True
            )

        run("git", "init", "-q")
        each = float(np.median([seconds(lambda: run("dvc", "repro", "-f")) for _ in range(runs)]))
    taken = [stage_time.seconds for stage_time in load_times().values()]
    share = each * len(taken) / sum(taken)
    return {"stage": each, "stages": len(taken), "study": sum(taken), "share": share}


def table(record: dict) -> str:
    """Return the table of benchmarks/README.md, of what speed.json holds."""
    lines = [
        "| stage | median (quartiles) | floor | times above | beyond it |",
        "| --- | ---: | ---: | ---: | --- |",
    ]
    for name, row in record["rows"].items():
        low, high = map(_short, row["seconds"]["quartiles"])
        far = row["factor"] > 3
        beyond = BEYOND.get(name, "not known") if far else ""
        floor = f"{_short(row['floor'])}, {row['words']}"
        taken = f"{_short(row['seconds']['median'])} ({low} to {high})"
        lines.append(f"| {name} | {taken} | {floor} | {row['factor']:g} | {beyond} |")
    return "\n".join(lines)


def _short(value: float) -> str:
    """Write seconds in s or ms, with few digits."""
    return f"{value:.2g} s" if value >= 1 else f"{1e3 * value:.3g} ms"


def main(
    dataset: str = "ml-100k",
    runs: int = 15,
    peer: Path | None = None,
    epochs: int = 30,
    record: bool = True,
) -> None:
    """Measure, print and, unless --no-record, write benchmarks/speed.json and the table."""
    study = open_study(dataset, "sasrec")
    torch.use_deterministic_algorithms(False)
    found: dict = {"machine": machine(), "dataset": dataset, "rows": {}}
    with tempfile.TemporaryDirectory() as scratch:
        groups = (data_rows, epoch_rows, adapter_rows, partial(serving_rows, folder=Path(scratch)))
        for group in groups:
            for row in group(study):
                figures = measured(row, runs)
                found["rows"][row.name] = figures
                typer.echo(table({"rows": {row.name: figures}}).splitlines()[-1])
    if peer is not None:
        found["peer"] = beside_rectools(study, peer, epochs)
        typer.echo(found["peer"])
    found["overhead"] = overhead()
    typer.echo(found["overhead"])
    if record:
        write_json(ROOT / "benchmarks" / "speed.json", found)
        page = ROOT / "benchmarks" / "README.md"
        text = with_block(page.read_text(encoding="utf-8"), "speed", table(found))
        write_text(page, text)


if __name__ == "__main__":
    typer.run(main)
