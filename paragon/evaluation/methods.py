"""Every method as rows to measure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from paragon.adapters.adapter import vector_size
from paragon.adapters.collection import Collection
from paragon.adapters.frozen import FrozenTask, held_out_losses
from paragon.adapters.mixtures import LINEAR, mixed
from paragon.evaluation.summary import places
from paragon.evaluation.testbed import Row, TestBed
from paragon.generator.generator import Generator
from paragon.generator.memorisation import noisy, to_nearest
from paragon.params import LlmSettings
from paragon.rivals.chat import ChatModel
from paragon.rivals.end_to_end import EndToEnd
from paragon.rivals.language_model import LlmRanker
from paragon.rivals.reranking import cmr_scores, item_knn, mmr_scores, popularity
from paragon.rivals.retrain import Retrained


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


def llm_ranker(
    settings: LlmSettings, folder: Path, bed: TestBed, test: FrozenTask
) -> LlmRanker | None:
    """What re-ranks the backbone's list for the row `llm`; None unless ``llm.enabled``.

    ``folder``: where answers are kept.
    """
    if not settings.enabled:
        return None
    model, depth = ChatModel(settings, folder), bed.cutoffs[-1]
    return LlmRanker(model, bed.sequences, bed.evaluation, bed.objectives, depth, _own_scores(test))


def llm_rows(ranker: LlmRanker | None, weights: Tensor, seed: int) -> Iterator[Row]:
    """The `llm` row, if there is a ranker; ``seed`` as in `reranked_rows`.

    The limit on requests is checked here, before anything is asked or measured.
    """
    if ranker is not None:
        w = weights.numpy()
        ranker.check_limit(w)
        yield Row("llm", seed, w, (ranker.scores(x) for x in w), random=False)


def retrained_rows(
    bed: TestBed, models: Mapping[int, Iterable[Retrained]], weights: Tensor, grid: Tensor
) -> Iterator[Row]:
    """The `retrain` rows of the comparison, one a seed: ``models`` has one for each of ``weights``.

    ``weights [R, O]`` have to be among those of the evaluation, ``grid [W, O]``: checked before
    anything is measured.
    """
    places("retrain", weights.numpy(), grid.numpy())
    for seed, own in models.items():
        scores = (model.scores(bed.sequences, bed.evaluation).cpu().numpy() for model in own)
        yield Row("retrain", seed, weights.numpy(), scores)
