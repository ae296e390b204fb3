"""Train the generator with a diffusion loss and a behavioural loss.

The latter is the task loss, on the frozen backbone, of adapters predicted for uncollected weights.
Shapes: N collected vectors, B rows of a batch, P parameters, K latents, O objectives, A anchors.
"""

import copy
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from paragon import params
from paragon.adapters.collection import Collection
from paragon.adapters.frozen import FrozenTask
from paragon.adapters.mixtures import interpolation
from paragon.data.negatives import NegativeSampler
from paragon.generator.diffusion import Schedule
from paragon.generator.generator import DiffusionModel, Generator, Latent
from paragon.objectives.weights import random_weights
from paragon.progress import progress


def diffusion_loss(
    denoiser: nn.Module,
    schedule: Schedule,
    clean: Tensor,
    weights: Tensor,
    rng: np.random.Generator,
    condition_drop: float,
    uncollected: int = 0,
) -> tuple[Tensor, Tensor]:
    """Compute the loss of one training step, and the predicted clean latents ``[B, K]``.

    With a step t and noise eps for each row, and the target v of ``Schedule``::

        loss = mean (v(z_t, t, w) - v_t)^2      (Ho et al. 2020, algorithm 1)

    z_0 is ``clean [B, K]``; w is ``weights [B, O]``, hidden with probability ``condition_drop``
    (Ho & Salimans 2022). The last ``uncollected`` rows keep their weights and do not count.
    """
    device, collected = clean.device, len(clean) - uncollected
    t = torch.from_numpy(rng.integers(schedule.steps, size=len(clean))).to(device)  # [B]
    noise = torch.from_numpy(rng.standard_normal(clean.shape, dtype=np.float32)).to(device)
    drop = torch.from_numpy(rng.random(len(clean)) < condition_drop).to(device)  # [B]
    drop[collected:] = False
    noisy = schedule.diffuse(clean, noise, t)  # z_t [B, K]
    predicted = denoiser(noisy, t, weights, drop)  # v [B, K]
    error = predicted - schedule.velocity(clean, noise, t)  # [B, K]
    loss = error[:collected].square().mean()  # []
    return loss, schedule.clean(noisy, predicted, t)


class Behaviour(NamedTuple):
    """The behavioural loss, defined by two functions that draw from a random generator."""

    task_losses: Callable[[Tensor, np.random.Generator], Tensor]  # vectors [B, P] -> [B, O]
    reference: Callable[[Tensor, np.random.Generator], Tensor]  # weights [B, O] -> vectors [B, P]


def behaviour(
    train: FrozenTask, sampler: NegativeSampler, collection: Collection, seed: int, batch: int
) -> Behaviour:
    """Build the behavioural loss; each reference vector mixes the anchors of one random start."""
    about = collection.description
    starts, negatives = about.get("starts", 1), about["settings"]["negatives"]
    anchors = collection.anchors[: len(collection.anchors) // starts].double().numpy()  # [A, O]
    vectors = collection.anchor_vectors[about["seeds"].index(seed)]  # [starts * A, P]
    vectors = vectors.unflatten(0, (starts, -1))  # [starts, A, P]

    def task_losses(decoded: Tensor, rng: np.random.Generator) -> Tensor:
        rows, candidates = train.draw(sampler, batch, negatives, rng)
        return train.losses(decoded, rows, candidates, about["objectives"])  # [B, O]

    def reference(weights: Tensor, rng: np.random.Generator) -> Tensor:
        mix = torch.from_numpy(interpolation(anchors, weights.double().numpy())).float()  # [B, A]
        if starts == 1:
            return mix @ vectors[0]  # [B, P]
        chosen = vectors[torch.from_numpy(rng.integers(starts, size=len(weights)))]  # [B, A, P]
        return (mix.unsqueeze(1) @ chosen).squeeze(1)  # [B, P]

    return Behaviour(task_losses, reference)


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
    behaviour: Behaviour | None = None,
    device: str | torch.device = "cpu",
) -> Generator:
    """Fit latent space and diffusion model to one seed; ``behaviour`` adds its loss."""
    seed_index = collection.description["seeds"].index(seed)
    vectors, weights = (part.to(device) for part in collection.training_set(seed_index))
    floor = collection.anchors.min(0).values  # [O]
    model = untrained(collection, settings, seed, device)
    averaged, schedule = copy.deepcopy(model), Schedule(settings.diffusion_steps, device)
    optimizer = torch.optim.AdamW(model.parameters(), lr=settings.learning_rate, fused=True)
    cosine = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, settings.steps)
    rng, names = np.random.default_rng([seed, 2]), ["v_loss", "task_loss"][: 1 + bool(behaviour)]
    curves = np.full((settings.steps, len(names)), np.nan)
    collected, uncollected = settings.batch, settings.behaviour_batch if behaviour else 0
    for step in progress(range(settings.steps), "steps"):
        # Rows of collected vectors, then rows for random weights.
        rows = torch.from_numpy(rng.integers(len(vectors), size=collected)).to(device)
        batch, condition = vectors[rows], weights[rows]  # [B, P], [B, O]
        if behaviour:
            drawn = random_weights(uncollected, floor, rng)
            batch = torch.cat([batch, behaviour.reference(drawn, rng).to(device)])
            condition = torch.cat([condition, drawn.to(device)])
        # Diffusion loss, on the collected vectors.
        clean = model.latent.encode(batch)  # [B, K]
        loss, predicted = diffusion_loss(
            model.denoiser, schedule, clean, condition, rng, settings.condition_drop, uncollected
        )
        curves[step, 0] = loss.item()
        # Behavioural loss, on the adapters predicted for random weights.
        if behaviour:
            decoded = model.latent.decode(predicted[collected:])  # [B, P]
            losses = behaviour.task_losses(decoded, rng)  # [B, O]
            task_loss = (losses * condition[collected:]).sum(-1).mean()  # []
            curves[step, 1] = task_loss.item()
            loss = loss + settings.behaviour_strength * task_loss
        take_step(loss, model, optimizer, cosine)
        # Parameters change fast at first, so the average starts with a short memory.
        update_average(averaged, model, decay=min(settings.ema, step / (step + 10)))
    description = {
        "kind": "generator",
        "seed": seed,
        "floor": floor.tolist(),
        "settings": settings.model_dump(),
        "collection": collection.description,
        "curves": stretches(curves, names),
    }
    return Generator(averaged.eval().requires_grad_(False), description)


def take_step(
    loss: Tensor,
    model: nn.Module,
    optimizer: torch.optim.Optimizer,
    schedule: torch.optim.lr_scheduler.LRScheduler,
) -> None:
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


def stretches(curves: np.ndarray, names: list[str]) -> dict[str, list[float]]:
    """Average curves ``[steps, names]`` over up to 100 stretches of steps, to six digits."""
    parts = np.array_split(curves, min(100, len(curves)))
    means = np.stack([part.mean(0) for part in parts])  # [up to 100, names]
    return {name: [float(f"{x:.6g}") for x in means[:, i]] for i, name in enumerate(names)}
