"""Every method as rows to measure, and the sum of what was measured.

:func:`paragon.testbed.run` turns rows into the long table (``curve``); the summary
(``metrics.json``) is computed from it and from nothing else.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from paragon import control
from paragon.adapters import Collection, FrozenTask, held_out_losses, vector_size
from paragon.arrays import Measure
from paragon.baselines import LINEAR
from paragon.chat import ChatModel
from paragon.errors import ParagonError
from paragon.few_anchors import mixed
from paragon.files import write_json, write_text
from paragon.generator import Generator
from paragon.hypernetwork import EndToEnd
from paragon.llm import LlmRanker
from paragon.memorisation import noisy, to_nearest
from paragon.params import ARTIFACTS
from paragon.preferences import simplex_lattice
from paragon.reranking import cmr_scores, item_knn, mmr_scores, popularity
from paragon.rivals import load_retrained, retrain_seeds, retrain_weights
from paragon.sequences import Evaluation, Sequences
from paragon.statistics import mean_interval
from paragon.study import Study
from paragon.testbed import METRIC, PROTOCOLS, Row, TestBed

# Short names of the objectives in results.
SHORT = {"accuracy": "acc", "diversity": "div", "novelty": "nov", "fairness": "fair"}


def generated_best(
    generator: Generator, weights: Tensor, valid: FrozenTask, samples: int = 8, **sampling
) -> Tensor:
    """For each weight the best of several generated vectors, by validation task loss.

    ``sampling``: further arguments of :meth:`Generator.generate`.
    """
    drawn = torch.stack([generator.generate(weights, sample=i, **sampling) for i in range(samples)])
    flat = drawn.flatten(0, 1).to(valid.states.device)
    losses = held_out_losses(valid, flat, generator.objectives).cpu()
    task = (losses.view(samples, len(weights), -1) * weights).sum(-1)
    return drawn[task.argmin(0), torch.arange(len(weights))]


def guidance_control(generator: Generator, weights: Tensor) -> dict[str, Tensor]:
    """What guidance buys: vectors without it or, of a generator that uses none, with it."""
    if generator.settings.guidance != 1:
        return {"generated_no_cfg": generator.generate(weights, guidance=1.0)}
    # A step or two from pure noise would carry the guided difference too far.
    return {"generated_cfg": generator.generate(weights, guidance=1.5, steps=10)}


def vectors_of(
    collection: Collection,
    seed_index: int,
    generator: Generator,
    valid: FrozenTask,
    learned: Sequence[EndToEnd] = (),
) -> dict[str, Tensor]:
    """The adapter vectors ``[W, P]`` of every method that is an adapter, for one seed."""
    weights = collection.oracles
    rng = np.random.default_rng([generator.description["seed"], 4])
    shuffled = weights[torch.from_numpy(rng.permutation(len(weights)))]
    vectors = {
        "tuned": collection.oracle_vectors[seed_index],
        "generated": generator.generate(weights),
        "generated_best": generated_best(generator, weights, valid),
        "generated_shuffled": generator.generate(shuffled),
        **guidance_control(generator, weights),
    }
    vectors |= {name: mixed(collection, name, seed_index, weights) for name in LINEAR}
    for rival in learned:
        vectors[rival.description["kind"]] = rival.generate(weights)
    # Moved as far as generated vectors lie from everything collected: is novelty alone worth it?
    far = to_nearest(vectors["generated"], collection.training_set(seed_index)[0])
    vectors["nearest_noise"] = noisy(vectors["nearest"], far, rng)
    vectors["backbone"] = torch.zeros_like(vectors["tuned"])  # s' = s
    return vectors


def all_rows(
    collection: Collection,
    generators: Sequence[Generator],
    learned: Sequence[Sequence[EndToEnd]],
    tasks: dict[str, FrozenTask],
    others: Iterable[Row] = (),
) -> Iterator[Row]:
    """Every row of the comparison: the adapters of all seeds, then all others.

    ``learned``: the rivals trained end to end, those of one seed after those of another;
    ``tasks`` holds the cached ``valid`` and ``test`` events of the frozen backbone.
    """
    seeds = collection.description["seeds"]
    for index, (seed, *models) in enumerate(zip(seeds, generators, learned, strict=True)):
        vectors = vectors_of(collection, index, models[0], tasks["valid"], models[1])
        for method, own in vectors.items():
            scores = (tasks["test"].catalogue_scores(vector).cpu().numpy() for vector in own)
            yield Row(method, seed, collection.oracles.numpy(), scores)
    yield from others


def reranked_rows(bed: TestBed, test: FrozenTask, weights: Tensor, seed: int) -> Iterator[Row]:
    """What needs no adapter: `mmr` on the backbone's list, `popularity` and `item_knn`.

    Nothing in them is random; ``seed`` says with which seed's rows they are compared.
    """
    w, own = weights.numpy(), _own_scores(test)
    accuracy = bed.objectives.index("accuracy")
    lists = (bed.sequences, bed.candidates, bed.excluded, own)
    mmr = (mmr_scores(*lists, x[accuracy].item(), bed.cutoffs[-1]) for x in w)
    yield Row("mmr", seed, w, mmr, random=False)
    for method, rival in (("popularity", popularity), ("item_knn", item_knn)):
        flat = rival(bed.sequences, bed.evaluation)
        # Counts and sums of similarities: an order, but not on the scale of the losses.
        both = {"sampled": np.take_along_axis(flat, bed.candidates, 1), "full": flat}
        yield Row(method, seed, w, [both] * len(w), random=False)


def cmr_rows(
    bed: TestBed, test: FrozenTask, learned: Sequence[Sequence[EndToEnd]], weights: Tensor
) -> Iterator[Row]:
    """The `cmr` rows, one a seed: every `hypernetwork` as a re-ranker of the backbone's list.

    The weights make the parameters of what re-ranks (Chen et al., "Controllable Multi-Objective
    Re-ranking with Policy Hypernetworks", KDD 2023): here an adapter, which scores one item at
    a time; theirs looks at the whole list.
    """
    own, lists = _own_scores(test), (bed.candidates, bed.excluded)
    for model in (model for models in learned for model in models):
        if model.description["kind"] == "hypernetwork":
            policies = (test.catalogue_scores(v).cpu().numpy() for v in model.generate(weights))
            scores = (cmr_scores(*lists, own, policy) for policy in policies)
            yield Row("cmr", model.description["seed"], weights.numpy(), scores)


def _own_scores(test: FrozenTask) -> np.ndarray:
    """Catalogue scores of the backbone without an adapter."""
    none = torch.zeros(vector_size(test.backbone.dim, 1))
    return test.catalogue_scores(none).cpu().numpy()


def llm_ranker(study: Study, bed: TestBed, test: FrozenTask) -> LlmRanker | None:
    """What re-ranks the backbone's list for the row `llm`; None unless ``llm.enabled``."""
    settings = study.params.llm
    if not settings.enabled:
        return None
    return LlmRanker(ChatModel(settings, ARTIFACTS / "llm"), bed, _own_scores(test))


def llm_rows(ranker: LlmRanker | None, weights: Tensor, seed: int) -> Iterator[Row]:
    """The `llm` row, if there is a ranker; ``seed`` as in `reranked_rows`.

    The limit on requests is checked here, before anything is asked or measured.
    """
    if ranker is not None:
        w = weights.numpy()
        ranker.check_limit(w)
        yield Row("llm", seed, w, (ranker.scores(x) for x in w), random=False)


def retrained_rows(study: Study, sequences: Sequences, evaluation: Evaluation) -> Iterator[Row]:
    """The `retrain` rows of the comparison, one a seed, from what notebook 04b stored.

    Its weights have to be among those of the evaluation: checked before anything is measured.
    """
    weights, own = retrain_weights(study.params), study.params.adapters
    grid = simplex_lattice(len(own.objectives), own.oracles)
    places("retrain", weights.numpy(), grid.numpy())
    for seed in retrain_seeds(study.params):
        scores = _retrained_scores(study, sequences, evaluation, weights, seed)
        yield Row("retrain", seed, weights.numpy(), scores)


def _retrained_scores(
    study: Study, sequences: Sequences, evaluation: Evaluation, weights: Tensor, seed: int
) -> Iterator[np.ndarray]:
    for weight in weights:
        model = load_retrained(
            study.backbone, sequences, study.params, study.folder / "rivals", weight, seed
        )
        yield model.to(study.device).scores(sequences, evaluation).cpu().numpy()


def summarise(curve: pd.DataFrame, objectives: Sequence[str]) -> dict[str, dict]:
    """{method: {measure: number}}: mean over seeds, protocol as suffix.

    With several seeds ``_sd`` is their standard deviation, and ``_low`` and ``_high`` are
    the limits of the mean's 95 % Student t interval.  A measure that is undefined is null,
    its reason beside it under ``_note``.
    """
    summary: dict[str, dict] = {}
    for method in curve["method"].unique():
        measures: dict[str, list[Measure]] = {}
        for protocol in PROTOCOLS:
            for found in seed_measures(curve, method, protocol, objectives).values():
                for name, measure in found.items():
                    measures.setdefault(f"{name}_{protocol}", []).append(measure)
        summary[method] = over_seeds(measures)
    return summary


def seed_measures(
    curve: pd.DataFrame, method: str, protocol: str, objectives: Sequence[str]
) -> dict[int, dict[str, Measure]]:
    """The control measures of one method and protocol: {seed: {measure: value}}."""
    table = curve[curve["protocol"] == protocol]
    return {
        int(seed): control_measures(
            table[table["seed"] == seed].set_index("method"), method, objectives
        )
        for seed in table.loc[table["method"] == method, "seed"].unique()
    }


def control_measures(
    table: pd.DataFrame, method: str, objectives: Sequence[str]
) -> dict[str, Measure]:
    """The control measures of one method, seed and protocol."""
    named, lost = ([f"{kind}_{o}" for o in objectives] for kind in ("w", "loss"))
    own, tuned, constant = (table.loc[[m]] for m in (method, "tuned", "constant"))
    weights, grid = own[named].to_numpy(), tuned[named].to_numpy()
    rows = places(method, weights, grid)
    aligned = tuned.iloc[rows]
    points = own[[METRIC[o] for o in objectives]].to_numpy()
    out = {
        "set_hv": Measure(control.set_hv(points)),
        "mean_hv": Measure(control.mean_hv(points)),
    }
    reference = control.set_hv(aligned[[METRIC[o] for o in objectives]].to_numpy())
    out["set_hv_of_tuned"] = (
        Measure(out["set_hv"].value / reference)
        if reference > 0
        else Measure(None, "the oracle's hypervolume is 0: it never ranks a target among the first")
    )
    for column, objective in enumerate(objectives):
        short = SHORT[objective]
        values, oracle = (part[METRIC[objective]].to_numpy() for part in (own, aligned))
        out[f"r_{short}"] = control.correlation(values, weights[:, column])
        out[f"r_{short}_tuned"] = control.correlation(values, oracle)
        out[f"range_ratio_{short}"] = control.range_ratio(values, oracle)
        out[f"violations_{short}"] = control.violations(weights, values, column)
        out[f"best_{short}"] = Measure(float(values.max()))
    if set(lost) <= set(own) and own[lost].notna().all(axis=None):
        losses = [
            (part[lost] * part[named].to_numpy()).sum(axis=1).to_numpy()
            for part in (own, tuned, constant)
        ]
        corners = (grid <= 0).any(1)
        regret = control.regret(*losses, corners, rows)
        out |= {f"regret_{name}": measure for name, measure in regret.items()}
    return out


def places(method: str, weights: np.ndarray, grid: np.ndarray) -> np.ndarray:
    """Where a method's weights ``[W, O]`` are in the evaluation weights (`retrain` has few)."""
    place = {tuple(w): row for row, w in enumerate(grid)}
    for w in weights:
        if tuple(w) not in place:
            raise ParagonError(
                f"method {method}: weights {tuple(w.round(4).tolist())} are not among the "
                "evaluation weights (adapters.oracles in params.yaml); it cannot be compared"
            )
    return np.array([place[tuple(w)] for w in weights])


def over_seeds(measures: dict[str, list[Measure]]) -> dict[str, float | str | None]:
    """Mean, ``_sd``, ``_low`` and ``_high`` of measures ``{name: a value a seed}``."""
    out: dict[str, float | str | None] = {}
    for name, found in measures.items():
        values = [m.value for m in found if m.value is not None]
        if len(values) < len(found):
            out[name] = None
            out[f"{name}_note"] = next(m.reason for m in found if m.value is None)
            continue
        mean, low, high, _ = mean_interval(np.array(values))
        out[name] = significant(mean)
        if len(values) > 1:
            out[f"{name}_sd"] = significant(np.std(values, ddof=1))
            out |= {f"{name}_low": significant(low), f"{name}_high": significant(high)}
    return out


def significant(value: float, digits: int = 6) -> float:
    """``value`` rounded to so many significant digits."""
    return float(f"{value:.{digits}g}")


def write_results(
    curve: pd.DataFrame, summary: dict[str, dict], differences: dict[str, dict], folder: Path
) -> None:
    """Write ``curve.csv``, ``metrics.json`` and ``differences.json``, six significant digits each.

    ``differences`` are those of `paragon.differences.from_generated`.
    """
    write_text(folder / "curve.csv", curve.to_csv(index=False, float_format="%.6g"))
    write_json(folder / "metrics.json", summary)
    write_json(folder / "differences.json", differences)
