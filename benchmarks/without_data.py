"""Can adapters be generated where the training events are gone?

Run by hand once the pipeline has been through; writes benchmarks/without_data.json and .png.  What
was tuned or measured already is read from artifacts/without_data.

A hub holds 100 adapters of one recommender, each tuned from another start for random weights.  The
events they were tuned on are not there: only the hub and, for those that choose, 50 validation
users.  Wanted are adapters for 24 other weights.  Hidden units can be put in the order of one
adapter first (*aligned*; Ainsworth et al., "Git Re-Basin", ICLR 2023).  A hypernetwork that is
trained on the events is the ceiling.  Measures are those of the ablations.

Shapes: A adapters of a hub, W weights, O objectives, P parameters, C candidates for a weight.
"""

import json
from collections.abc import Callable
from dataclasses import asdict, replace
from functools import partial
from itertools import product
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from choice import task_at
from matplotlib.figure import Figure
from matplotlib.ticker import PercentFormatter
from run import machine
from scipy.linalg import cho_factor, cho_solve
from scipy.spatial.distance import cdist
from torch import Tensor

from paragon.adapters import mixtures
from paragon.adapters.adapter import start_vectors
from paragon.adapters.collection import Collection, tune
from paragon.adapters.frozen import FrozenTask, best_of, frozen_task, held_out_losses
from paragon.evaluation.protocol import Row, Scores
from paragon.generator.diffusion import ddim, guided, standard_normal
from paragon.generator.generator import Generator
from paragon.generator.training import train_generator
from paragon.metrics.statistics import mean_interval
from paragon.objectives.weights import LOG_OFFSET, lift, random_weights
from paragon.params import ARTIFACTS
from paragon.rivals.end_to_end import train_end_to_end
from paragon.storage import load_tensors, save_tensors, write_json
from paragon_study.ablations.ablate import AblationBench, kernel
from paragon_study.moves.measure import matching, permute
from paragon_study.pipeline.study import Study, open_study
from paragon_study.report import style

OBJECTIVES = {
    2: ["accuracy", "diversity"],
    4: ["accuracy", "diversity", "novelty", "recency"],
}
HUBS, ADAPTERS, WANTED, FLOOR = 3, 100, 24, 0.01
USERS, CANDIDATES = 50, 8  # validation users, and how many adapters they choose from
STEPS = 50  # of the sampler: diffusion alone needs more than one
TUNED = "tuned for the weights, with data"
MEASURES = {"regret_mean": "regret", "outcome_error": "control error"}


def tuned(study: Study, train: FrozenTask, weights: Tensor, seeds: list[int], name: str) -> Tensor:
    """Tune one adapter for each of ``weights [A, O]`` from the start of its seed: ``[A, P]``."""
    stem = ARTIFACTS / "without_data" / f"{len(study.params.adapters.objectives)}-{name}"
    if not stem.with_suffix(".json").exists():
        start = start_vectors(train.form, 1, seeds).transpose(0, 1)  # [1, A, P]
        settings = study.params.adapters
        vectors = tune(train, None, weights, start, settings, seeds[:1]).vectors[0]
        save_tensors(stem, {"vectors": vectors}, {"kind": "hub"})
    return load_tensors(stem, "benchmarks/without_data.py")[0]["vectors"]


def gaussian_process(hub: Collection, weights: Tensor) -> Tensor:
    """Compute the posterior mean of adapters at ``weights [W, O]``: ``[W, P]``.

    The inputs are log-ratios of weights.  All numbers of an adapter share one kernel, whose length
    and noise have the largest marginal likelihood (Rasmussen & Williams 2006, section 5.4.1).
    """
    logs = [np.log(w.double().numpy() + LOG_OFFSET) for w in (hub.anchors, weights)]
    known, asked = (log[:, :-1] - log[:, -1:] for log in logs)  # [A, O - 1], [W, O - 1]
    vectors = hub.anchor_vectors[0].double().numpy()
    mean = vectors.mean(0)
    best: tuple = (-np.inf,)
    for length, noise in product(np.geomspace(0.2, 20, 12), np.geomspace(1e-3, 10, 9)):
        gram = np.exp(-cdist(known, known, "sqeuclidean") / (2 * length**2))  # [A, A]
        factor = cho_factor(gram + noise * np.eye(len(gram)))
        solved = cho_solve(factor, vectors - mean)  # [A, P]
        variance = ((vectors - mean) * solved).mean()
        likelihood = -np.log(np.diag(factor[0])).mean() - np.log(variance) / 2
        best = max(best, (likelihood, length, solved), key=lambda one: one[0])
    near = np.exp(-cdist(asked, known, "sqeuclidean") / (2 * best[1] ** 2))  # [W, A]
    return torch.from_numpy(mean + near @ best[2]).float()


@torch.no_grad()
def sampled(generator: Generator, weights: Tensor, count: int) -> Tensor:
    """Sample ``count`` adapters for each of ``weights [W, O]``, one noise each: ``[C, W, P]``."""
    rng, size = np.random.default_rng(0), generator.model.latent.size
    predict = guided(generator.model.denoiser, lift(weights, generator.floor), 1)
    samples = []
    for _ in range(count):
        noise = standard_normal((1, size), rng).repeat(len(weights), 1)
        latents = ddim(predict, generator.schedule, noise, steps=STEPS)
        samples.append(generator.model.latent.decode(latents))
    return torch.stack(samples)


def best_by_users(few: FrozenTask, candidates: Tensor, weights: Tensor, names: list) -> Tensor:
    """Choose of ``candidates [C, W, P]`` the best for each weight by the loss of a few users."""
    losses = (held_out_losses(few, candidates, names) * weights).sum(-1)  # [C, W]
    return candidates[losses.argmin(0), torch.arange(len(weights))]


def nearest(hub: Collection, weights: Tensor, count: int) -> Tensor:
    """Return the adapters of the hub for the nearest weights: ``[C, W, P]``."""
    order = torch.cdist(weights, hub.anchors).argsort(stable=True, dim=1)[:, :count]  # [W, C]
    return hub.anchor_vectors[0][order.T]


def measure(study: Study, number: int, wanted: Tensor, oracles: Tensor) -> pd.DataFrame:
    """Measure all ways to adapters for ``wanted [W, O]`` from one hub."""
    sequences, backbone, _ = study.load_frozen()
    names, settings = study.params.adapters.objectives, study.params.adapters
    train = frozen_task(backbone, sequences, "train", settings)
    floor = torch.full((len(names),), FLOOR)
    weights = random_weights(ADAPTERS, floor, np.random.default_rng([number, 1]))  # [A, O]
    seeds = [1000 * (number + 1) + n for n in range(ADAPTERS)]
    vectors = tuned(study, train, weights, seeds, f"hub-{number}")  # [A, P]
    about = {"objectives": names, "form": asdict(train.form), "seeds": [number]}
    none = torch.zeros(1, ADAPTERS, 0, train.form.size)
    parts = weights, wanted, vectors[None], oracles[None], none, torch.zeros(0), torch.zeros(0)
    hub = Collection(*parts, about)
    bench = AblationBench(study, sequences, backbone, hub)
    valid, test, _ = bench.held_out
    middle = vectors[(weights - 1 / len(names)).abs().sum(1).argmin()]
    own = [permute(v, matching(v, middle, train.form), train.form) for v in vectors]
    aligned = replace(hub, anchor_vectors=torch.stack(own)[None])
    rows = torch.from_numpy(np.random.default_rng(number).permutation(len(valid.states))[:USERS])
    few = task_at(valid, rows)
    change = {"behaviour_batch": 0, "sampler_steps": STEPS}
    diffusion = study.params.generator.model_copy(update=change)
    in_logs = mixtures.in_log_ratios
    by_users = partial(best_by_users, few, names=names)
    ways: dict[str, Callable[[Tensor], Tensor]] = {
        "nearest": lambda w: nearest(hub, w, 1)[0],
        "best of 8 nearest": lambda w: by_users(nearest(hub, w, CANDIDATES), w),
        "best of all": best_of(few, vectors, names),
    }
    for name, of in {"": hub, "aligned, ": aligned}.items():
        generator = train_generator(of, diffusion, number)
        ways |= {
            f"{name}mixed": partial(mixtures.mixed, of, in_logs(mixtures.interpolation), 0),
            f"{name}kernel": partial(mixtures.mixed, of, in_logs(kernel), 0),
            f"{name}Gaussian process": partial(gaussian_process, of),
            f"{name}generator": generator.generate,
            f"{name}generator, best of 8": lambda w, g=generator: by_users(
                sampled(g, w, CANDIDATES), w
            ),
        }
    rival = train_end_to_end("hypernetwork", train, study.params, number)
    ways["hypernetwork, with data"] = rival.generate
    near = nearest(hub, wanted, CANDIDATES)  # [C, W, P]
    means = (
        torch.stack([test.catalogue_scores(v) for v in near[:, w]]).mean(0)
        for w in range(len(wanted))
    )
    scores = (Scores.of(table.cpu().numpy()) for table in means)
    others = [Row("mean score of 8 nearest", study.params.run.seeds[0], wanted.numpy(), scores)]
    return bench.rows(ways, 0, others).assign(hub=number)


def stored(study: Study, number: int, wanted: Tensor, oracles: Tensor) -> pd.DataFrame:
    """Measure a hub, or read what was measured."""
    path = ARTIFACTS / "without_data" / f"{wanted.shape[1]}-rows-{number}.csv"
    if not path.exists():
        measure(study, number, wanted, oracles).to_csv(path, index=False)
    return pd.read_csv(path)


def main() -> None:
    """Measure both numbers of objectives; write and print the record."""
    record: dict = {"machine": machine()}
    for count, names in OBJECTIVES.items():
        anchors = (FLOOR + (1 - count * FLOOR) * torch.eye(count)).tolist()
        anchors += [[1 / count] * count] * (10 - count)  # ten count for the rival's budget
        change = {"adapters": {"objectives": names, "anchors": anchors}}
        study = open_study("ml-100k", "sasrec", change, checked=False)
        sequences, backbone, _ = study.load_frozen()
        train = frozen_task(backbone, sequences, "train", study.params.adapters)
        floor = torch.full((count,), FLOOR)
        inner = random_weights(WANTED, floor, np.random.default_rng(0))  # [W - O, O]
        wanted = torch.cat([inner, torch.eye(count)])  # [W, O]
        oracles = tuned(study, train, wanted, [0] * len(wanted), "oracles")
        tables = [stored(study, hub, wanted, oracles) for hub in range(HUBS)]
        rows: dict = {}
        for method, table in pd.concat(tables).groupby("method", sort=False):
            for measure_name, title in MEASURES.items():
                values = table[measure_name].to_numpy(float)
                mean, low, high, _ = mean_interval(values)
                cell = None if np.isnan(mean) else [round(x, 4) for x in (mean, low, high)]
                rows.setdefault(method, {})[title] = cell
        record[f"{count} objectives"] = rows
        print(json.dumps({count: rows}, indent=1), flush=True)
        write_json(Path(__file__).with_suffix(".json"), record)
    style.save_figure(draw(record), Path(__file__).with_suffix(".png"))


@style.drawn
def draw(record: dict) -> Figure:
    """Plot regret (up to 300 %) and control error of all ways, by number of objectives."""
    parts = [(title, rows) for title, rows in record.items() if title != "machine"]
    figure, axes = style.panels(7.2, 2.9 * len(parts), len(parts), 2, sharey="row", squeeze=False)
    for (title, rows), panels in zip(parts, axes, strict=True):
        names = [name for name in rows if name not in ("tuned", "constant")][::-1]
        for ax, measure in zip(panels, MEASURES.values(), strict=True):
            known = [n for n in names if rows[n][measure]]
            cells = np.array([rows[n][measure] for n in known]).T  # [3, methods]
            ax.plot(cells[0], known, "o", markersize=4, color=style.GREY)
            ax.hlines(known, *cells[1:], linewidth=1, color=style.GREY)
            ax.set_title(f"{title}: {measure}", fontsize=8)
            ax.tick_params(labelsize=7)
            ax.set_xlim(left=min(0, cells[1].min()))
        panels[0].set_xlim(right=min(3, panels[0].get_xlim()[1]))
        panels[0].xaxis.set_major_formatter(PercentFormatter(1))
        panels[0].set_yticks(names, [name.replace("tuned_alone", TUNED) for name in names])
    style.small_print(figure, "Mean and 95% t interval over three hubs. 0: the oracle.")
    return figure


if __name__ == "__main__":
    main()
