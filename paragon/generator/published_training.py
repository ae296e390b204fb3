"""Training of the paper's generator, in stretches that can be taken up again.

In this file: the diffusion loss of :mod:`paragon.generator.training`, without a behavioural loss,
until validation events gain no more.  A training takes many minutes, so after each stretch of
steps all of its state is stored.  A stretch draws its own random numbers: whether training was
interrupted before it does not change a bit.

Shapes: N collected vectors, A anchors, O objectives, P parameters of an adapter.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from paragon.adapters.collection import Collection
from paragon.backbones.checkpoint import Checkpoint, Part
from paragon.generator.published import Published, PublishedModel
from paragon.generator.schedule import Schedule
from paragon.generator.training import diffusion_loss, take_step, update_average
from paragon.params import PublishedSettings
from paragon.progress import progress

# held_out(vectors [A, P]) -> losses [A, O] of every objective on validation events
HeldOut = Callable[[Tensor], Tensor]
CHECK_SAMPLER_STEPS = 20  # of DDIM; to see whether training still helps, this is enough


def train_published(
    collection: Collection,
    settings: PublishedSettings,
    seed: int,
    held_out: HeldOut,
    checkpoint: Path | None = None,
    device: str | torch.device = "cpu",
) -> Published:
    """Train on the vectors of one seed, then choose the guidance.

    Training and guidance are judged by the task loss of what is generated for the anchors'
    weights.  The averaged parameters of the best check are kept.  ``checkpoint``: a file that is
    written after each stretch, and from which training goes on if it is there; to remove it is up
    to the caller.  Raises ``ParagonError`` if it was altered or belongs to another training.
    """
    about = {
        "kind": "published",
        "seed": seed,
        "floor": collection.anchors.min(0).values.tolist(),
        "settings": settings.model_dump(),
        "collection": collection.description,
    }
    seed_index = collection.description["seeds"].index(seed)
    vectors, weights = (part.to(device) for part in collection.training_set(seed_index))
    anchors = collection.anchors.to(device)  # [A, O]
    torch.manual_seed(seed)  # initial parameters
    model = PublishedModel(collection.form, anchors.shape[1], settings).to(device)
    model.fit_scale(vectors)
    run = _Run(model, settings, seed)
    stored = Checkpoint(checkpoint, about)
    if found := stored.load(run.parts()):
        run.resume(found)

    def task_loss(model: PublishedModel, guidance: float, steps: int | None) -> float:
        rng = np.random.default_rng([seed, 8, 0])
        generated = model.sample(anchors, run.schedule, rng, guidance, steps)  # [A, P]
        return (held_out(generated) * anchors).sum(-1).mean().item()

    while run.gains():
        v_loss = run.stretch(model.encode(vectors), weights)
        run.note(v_loss, task_loss(run.averaged, 1.0, CHECK_SAMPLER_STEPS))
        stored.save(run.parts(), run.record())
    losses = [task_loss(run.best, guidance, None) for guidance in settings.guidance]
    chosen = settings.guidance[int(np.argmin(losses))]
    about |= {**run.record(), "guidance": chosen, "guidance_losses": losses}
    return Published(run.best, about)


class _Run:
    """A training under way: models, optimiser, and what the checks have found."""

    def __init__(self, model: PublishedModel, settings: PublishedSettings, seed: int) -> None:
        self.model, self.settings, self.seed = model, settings, seed
        self.averaged = copy.deepcopy(model).eval().requires_grad_(False)
        self.best = copy.deepcopy(self.averaged)
        self.optimizer = torch.optim.AdamW(model.parameters(), settings.learning_rate, fused=True)
        self.schedule = Schedule(settings.diffusion_steps, device=model.mean.device)
        self.step = 0
        self.v_loss: list[float] = []  # one of each stretch
        self.task_loss: list[float] = []

    def gains(self) -> bool:
        """Whether to go on: steps are left, and the best check is not long ago."""
        since = len(self.task_loss) - int(np.argmin(self.task_loss)) - 1 if self.task_loss else 0
        return self.step < self.settings.steps and since < self.settings.patience

    def stretch(self, clean: Tensor, weights: Tensor) -> float:
        """Train up to the next check on scaled vectors ``[N, P]`` and ``weights [N, O]``.

        Returns the mean loss.
        """
        own, first = self.settings, self.step
        rng = np.random.default_rng([self.seed, 7, first])
        torch.manual_seed(int(rng.integers(2**63)))  # dropout
        # The rate of a step depends on its number alone, so it can be taken up anywhere.
        cosine = torch.optim.lr_scheduler.LambdaLR(
            self.optimizer, lambda i: (1 + math.cos(math.pi * (first + i) / own.steps)) / 2
        )
        losses, end = [], min(first + own.check, own.steps)
        for step in progress(range(first, end), "steps"):
            rows = torch.from_numpy(rng.integers(len(clean), size=own.batch)).to(clean.device)
            loss, _ = diffusion_loss(
                self.model.denoiser, self.schedule, clean[rows], weights[rows], rng,
                own.condition_drop,
            )  # fmt: skip
            take_step(loss, self.model, self.optimizer, cosine)
            # At first, while every step changes much, the average has a short memory.
            update_average(self.averaged, self.model, decay=min(own.ema, step / (step + 10)))
            losses.append(loss.item())
        self.step = end
        return float(np.mean(losses))

    def note(self, v_loss: float, task_loss: float) -> None:
        """Enter a check; the averaged model is kept if none was better."""
        if task_loss < min(self.task_loss, default=math.inf):
            self.best.load_state_dict(self.averaged.state_dict())
        self.v_loss.append(v_loss)
        self.task_loss.append(task_loss)

    def record(self) -> dict:
        """Where training is, for its description."""
        return {"step": self.step, "curves": {"v_loss": self.v_loss, "task_loss": self.task_loss}}

    def parts(self) -> dict[str, Part]:
        """All that the next stretch starts from."""
        return {name: getattr(self, name) for name in ("model", "averaged", "best", "optimizer")}

    def resume(self, record: dict) -> None:
        """Go on from the check that this ``record`` is of."""
        self.step = record["step"]
        self.v_loss, self.task_loss = record["curves"]["v_loss"], record["curves"]["task_loss"]
