"""Train the generator with a diffusion loss and a behavioural loss.

The latter is the task loss, on the frozen backbone, of adapters sampled for random weights. Shapes:
N collected vectors, B rows of a batch, P parameters, K latents, O objectives.
"""

import copy
from collections.abc import Callable, Sequence

import numpy as np
import torch
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler

from paragon import params
from paragon.adapters.collection import Collection
from paragon.adapters.frozen import FrozenTask
from paragon.errors import ParagonError
from paragon.generator.diffusion import Schedule, ddim, guided, standard_normal
from paragon.generator.generator import DiffusionModel, Generator, Latent
from paragon.objectives.weights import random_weights
from paragon.progress import progress

TaskLosses = Callable[[Tensor, np.random.Generator], Tensor]  # vectors [B, P] -> [B, O]


def diffusion_loss(
    denoiser: nn.Module,
    schedule: Schedule,
    clean: Tensor,
    weights: Tensor,
    rng: np.random.Generator,
    condition_drop: float,
) -> Tensor:
    """Compute the mean loss ``[]`` of latents ``clean [B, K]`` with ``weights [B, O]``.

    With a step t and noise eps for each row, and the target v of ``Schedule``::

        loss = mean (v(z_t, t, w) - v_t)^2      (Ho et al. 2020, algorithm 1)

    w is hidden with probability ``condition_drop`` (Ho & Salimans 2022).
    """
    t = torch.from_numpy(rng.integers(schedule.steps, size=len(clean))).to(clean.device)  # [B]
    noise = standard_normal(clean.shape, rng).to(clean.device)  # [B, K]
    drop = torch.from_numpy(rng.random(len(clean)) < condition_drop).to(clean.device)  # [B]
    predicted = denoiser(schedule.diffuse(clean, noise, t), t, weights, drop)  # v [B, K]
    return (predicted - schedule.velocity(clean, noise, t)).square().mean()


def behaviour(train: FrozenTask, objectives: Sequence[str], rows: int) -> TaskLosses:
    """Build the losses of adapters on ``rows`` random training events a step."""

    def task_losses(vectors: Tensor, rng: np.random.Generator) -> Tensor:
        drawn = rng.integers(len(train.states), size=rows)
        return train.losses(vectors, torch.from_numpy(drawn).to(vectors.device), objectives)

    return task_losses


def untrained(
    collection: Collection,
    settings: params.GeneratorSettings,
    seed: int,
    device: str | torch.device = "cpu",
) -> DiffusionModel:
    """Build the model before training, with a latent space fitted to the vectors of the seed."""
    vectors, _ = collection.training_set(collection.description["seeds"].index(seed))  # [N, P]
    torch.manual_seed(seed)
    latent = Latent.fit(vectors, settings.latent)
    return DiffusionModel(latent, collection.anchors.shape[1], settings).to(device)


def train_generator(
    collection: Collection,
    settings: params.GeneratorSettings,
    seed: int,
    task_losses: TaskLosses | None = None,
    device: str | torch.device = "cpu",
) -> Generator:
    """Fit latent space and diffusion model to one seed; ``task_losses`` add a behavioural loss.

    Its gradient goes through the sampler (Clark et al., ICLR 2024).
    """
    seed_index = collection.description["seeds"].index(seed)
    vectors, weights = (part.to(device) for part in collection.training_set(seed_index))
    floor = collection.anchors.min(0).values  # [O]
    model = untrained(collection, settings, seed, device)
    averaged, schedule = copy.deepcopy(model), Schedule(settings.diffusion_steps, device)
    optimizer = torch.optim.AdamW(model.parameters(), lr=settings.learning_rate, fused=True)
    cosine = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, settings.steps)
    if not (settings.batch or task_losses):
        raise ParagonError("generator: batch and behaviour_batch are 0; nothing would be learned")
    strengths = {"v_loss": 1.0, "task_loss": settings.behaviour_strength}
    curves, rng = [], np.random.default_rng([seed, 2])
    for step in progress(range(settings.steps), "steps"):
        losses: dict[str, Tensor] = {}
        if settings.batch:  # diffusion loss, on collected vectors
            rows = torch.from_numpy(rng.integers(len(vectors), size=settings.batch)).to(device)
            clean = model.latent.encode(vectors[rows])  # [B, K]
            parts = model.denoiser, schedule, clean, weights[rows], rng, settings.condition_drop
            losses["v_loss"] = diffusion_loss(*parts)
        if task_losses:  # behavioural loss, on adapters sampled for random weights
            wanted = random_weights(settings.behaviour_batch, floor, rng).to(device)  # [B, O]
            noise = standard_normal((len(wanted), model.latent.size), rng).to(device)  # [B, K]
            predict = guided(model.denoiser, wanted, 1)
            sampled = ddim(predict, schedule, noise, steps=settings.sampler_steps)  # [B, K]
            by_objective = task_losses(model.latent.decode(sampled), rng)  # [B, O]
            losses["task_loss"] = (by_objective * wanted).sum(-1).mean()  # []
        curves.append({name: loss.item() for name, loss in losses.items()})
        loss = torch.stack([strengths[name] * loss for name, loss in losses.items()]).sum()
        take_step(loss, model, optimizer, cosine)
        # Parameters change fast at first, so the average starts with a short memory.
        update_average(averaged, model, decay=min(settings.ema, step / (step + 10)))
    description = {"kind": "generator", "seed": seed, "floor": floor.tolist()}
    description |= {"settings": settings.model_dump(), "collection": collection.description}
    description["curves"] = stretches(curves)
    return Generator(averaged.eval().requires_grad_(False), description)


def take_step(loss: Tensor, model: nn.Module, optimizer: Optimizer, schedule: LRScheduler) -> None:
    """Take one optimiser step, with the norm of the gradient limited to 1."""
    optimizer.zero_grad()
    loss.backward()
    nn.utils.clip_grad_norm_(model.parameters(), 1.0)
    optimizer.step()
    schedule.step()


@torch.no_grad()
def update_average(averaged: nn.Module, model: nn.Module, decay: float) -> None:
    """Update the moving average of the parameters: ``decay * averaged + (1 - decay) * model``."""
    for average, current in zip(averaged.parameters(), model.parameters(), strict=True):
        average.lerp_(current, 1 - decay)


def stretches(curves: list[dict[str, float]]) -> dict[str, list[float]]:
    """Average the losses of each step over up to 100 stretches of steps, to six digits."""
    table = np.array([list(losses.values()) for losses in curves])  # [steps, names]
    parts = np.array_split(table, min(100, len(table)))
    means = np.stack([part.mean(0) for part in parts])  # [up to 100, names]
    return {name: [float(f"{x:.6g}") for x in means[:, i]] for i, name in enumerate(curves[0])}
