"""What defects of the published code cost, each put back alone and measured beside the right thing.

Run once the pipeline has been through, `python benchmarks/defects.py --dataset ml-100k-paper`;
writes results/<dataset>/defects.json, which docs/reproduction.md shows.  Minutes on two cores.

* below: the diversity loss of the released code, whose sum runs over the wrong index: a category
  counts as seen if items *below* carry it;
* once: negatives are drawn once for all epochs;
* elsewhere: adapters used on a backbone that they were not tuned for.  (The released code does
  not do this: it pretrains the same backbone for every weight.)
"""

from __future__ import annotations

if __name__ == "__main__":  # the pipeline's kernels, chosen before the libraries are loaded
    from paragon.study.determinism import choose_kernels

    choose_kernels()

import math
from collections.abc import Iterator
from dataclasses import dataclass, fields

import numpy as np
import torch
import typer
from torch import Tensor

from paragon.adapters import tuning
from paragon.adapters.adapter import shared_starts
from paragon.adapters.frozen import FrozenTask, frozen_task
from paragon.adapters.mixtures import constant
from paragon.data.negatives import NegativeSampler
from paragon.evaluation.summary import summarise
from paragon.evaluation.testbed import Row, TestBed, measure_rows
from paragon.objectives.kernels import ALPHA, TEMPERATURE
from paragon.objectives.lists import Lists
from paragon.objectives.table import OBJECTIVES
from paragon.params import RESULTS
from paragon.rivals.retrain import load_retrained, retrain_seeds, retrain_weights
from paragon.storage import write_json
from paragon.study.study import open_study

MEASURES = ("set_hv", "set_hv_of_tuned", "r_acc", "r_div", "range_ratio_acc", "range_ratio_div")


def diversity_below(scores: Tensor, lists: Lists) -> Tensor:
    """`objectives.diversity` with the categories of the items below in place of those above."""
    above = torch.sigmoid((scores.unsqueeze(-2) - scores.unsqueeze(-1)) / TEMPERATURE)
    categories = lists.categories.unsqueeze(-3)
    seen = above.mT @ categories - categories / 2  # `above @ categories` would be right
    gain = (categories * (1 - ALPHA) ** seen).sum(-1)
    return -math.log(2) * (gain / torch.log1p(0.5 + above.sum(-1))).sum(-1).mean(-2)


@dataclass(frozen=True)
class DrawnOnce(FrozenTask):
    """Training events whose negatives are always the same, ``fixed [N, C]`` with the target."""

    fixed: Tensor | None = None

    @classmethod
    def of(cls, task: FrozenTask, sampler: NegativeSampler, negatives: int) -> DrawnOnce:
        """Draw them for every event."""
        drawn = sampler.draw(task.users, negatives, np.random.default_rng(0))
        fixed = torch.from_numpy(np.column_stack([task.targets, drawn]))
        own = {field.name: getattr(task, field.name) for field in fields(task)}
        return cls(**own, fixed=fixed.to(task.states.device))

    def draw(
        self, sampler: NegativeSampler, batch: int, negatives: int, rng: np.random.Generator
    ) -> tuple[Tensor, Tensor]:
        """Random rows and their only candidates."""
        rows = torch.from_numpy(rng.integers(len(self.states), size=batch)).to(self.fixed.device)
        return rows, self.fixed[rows]


def main(dataset: str = "ml-100k", backbone: str = "sasrec") -> None:
    """Measure and record."""
    study = open_study(dataset, backbone)
    settings, seeds, seq = study.params.adapters, study.params.run.seeds, study.load_sequences()
    frozen, about = study.load_backbone(seq)
    collection = study.load_collection(about)
    length = 1 + settings.negatives
    train, valid, test = (
        frozen_task(frozen, seq, part, length, settings.events)
        for part in ("train", "valid", "test")
    )
    weights, sampler = collection.oracles, NegativeSampler(seq)
    starts = shared_starts(frozen.dim, settings.width, len(weights), seeds)
    starts = starts.to(train.states.device)

    def tuned(task: FrozenTask, names: list[str]) -> Tensor:
        own = settings.model_copy(update={"objectives": names})
        at = weights.to(train.states.device)
        return tuning.tune(task, valid, sampler, at, starts, own, seeds).vectors.cpu()

    OBJECTIVES["diversity_below"] = OBJECTIVES["diversity"]._replace(loss=diversity_below)
    middle = constant(collection.anchors.numpy(), weights.numpy())
    vectors = {
        "tuned": collection.oracle_vectors,
        "constant": torch.from_numpy(middle).float() @ collection.anchor_vectors,
        "below": tuned(train, ["accuracy", "diversity_below"]),
        "once": tuned(DrawnOnce.of(train, sampler, settings.negatives), settings.objectives),
    }

    def rows() -> Iterator[Row]:
        for method, of_seeds in vectors.items():
            for seed, own in zip(seeds, of_seeds, strict=True):
                scores = (test.catalogue_scores(v).cpu().numpy() for v in own)
                yield Row(method, seed, weights.numpy(), scores)
        few = retrain_weights(study.params)
        for seed in retrain_seeds(study.params):
            models = [
                load_retrained(backbone, seq, study.params, study.folder / "rivals", w, seed)
                for w in few
            ]
            own = [model.scores(seq, seq.test).numpy() for model in models]
            moved = [test.catalogue_scores(m.adapter.vector()).cpu().numpy() for m in models]
            yield Row("retrain", seed, few.numpy(), own)
            yield Row("elsewhere", seed, few.numpy(), moved)

    bed = TestBed(seq, seq.test, settings.objectives, negatives=settings.negatives, cutoffs=[10])
    found = summarise(measure_rows(bed, rows()), settings.objectives)
    names = [f"{m}_sampled{end}" for m in MEASURES for end in ("", "_low", "_high")]
    record = {
        method: {name: own[name] for name in names if name in own}
        for method, own in found.items()
        if method != "constant"
    }
    write_json(RESULTS / dataset / "defects.json", {backbone: record})
    typer.echo(record)


if __name__ == "__main__":
    typer.run(main)
