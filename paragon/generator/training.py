"""Training of the generator: the diffusion loss and the behavioural loss."""

from __future__ import annotations

import copy

import numpy as np
import torch
from torch import nn

from paragon import params
from paragon.adapters.collection import Collection
from paragon.generator.behaviour import Behaviour
from paragon.generator.generator import Generator, _Model
from paragon.generator.latent import Latent
from paragon.generator.schedule import Schedule
from paragon.objectives.weights import lift
from paragon.progress import progress


def train_generator(
    collection: Collection,
    settings: params.GeneratorSettings,
    seed: int,
    behaviour: Behaviour | None = None,
    device: str | torch.device = "cpu",
) -> Generator:
    """Fit latent space and diffusion model to the collection of one seed.

    ``behaviour`` adds the behavioural loss for ``settings.behaviour_batch`` weights a step,
    times ``settings.behaviour_strength``.  The generator holds averaged
    parameters; its ``description["curves"]`` has the v-loss and the behavioural
    loss of training, each as the means of 100 stretches of steps.
    """
    about = collection.description
    vectors, weights = collection.training_set(about["seeds"].index(seed))
    vectors, weights = vectors.to(device), weights.to(device)
    floor = collection.anchors.min(0).values
    torch.manual_seed(seed)  # initial parameters
    model = _Model(Latent.fit(vectors.cpu(), settings.latent), len(floor), settings).to(device)
    schedule = Schedule(settings.diffusion_steps, device=device)
    averaged = copy.deepcopy(model)
    optimizer = torch.optim.AdamW(model.parameters(), lr=settings.learning_rate, fused=True)
    cosine = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, settings.steps)
    rng = np.random.default_rng([seed, 2])
    batch, extra = settings.batch, settings.behaviour_batch if behaviour else 0
    curves = np.full((settings.steps, 2), np.nan)
    for step in progress(range(settings.steps), "steps"):
        rows = torch.from_numpy(rng.integers(len(vectors), size=batch)).to(device)
        clean, condition = vectors[rows], weights[rows]
        if behaviour:
            uniform = torch.from_numpy(rng.dirichlet(np.ones(len(floor)), extra)).float()
            unseen = lift(uniform, floor)
            clean = torch.cat([clean, behaviour.reference(unseen, rng).to(device)])
            condition = torch.cat([condition, unseen.to(device)])
        with torch.no_grad():
            clean = model.latent.encode(clean)
        t = torch.from_numpy(rng.integers(schedule.steps, size=len(clean))).to(device)
        noise = torch.from_numpy(rng.standard_normal(clean.shape, dtype=np.float32)).to(device)
        drop = torch.from_numpy(rng.random(len(clean)) < settings.condition_drop).to(device)
        drop[batch:] = False  # the behavioural loss is about the weights it is given
        noisy = schedule.diffuse(clean, noise, t)
        v = model.denoiser(noisy, t, condition, drop)
        loss = (v - schedule.velocity(clean, noise, t))[:batch].square().mean()
        curves[step, 0] = loss.item()
        if behaviour:
            predicted = model.latent.decode(schedule.clean(noisy, v, t)[batch:])
            losses = behaviour.task_losses(predicted, rng) * condition[batch:]
            task = losses.sum(-1).mean()
            curves[step, 1] = task.item()
            loss = loss + settings.behaviour_strength * task
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        cosine.step()
        with torch.no_grad():
            decay = min(settings.ema, step / (step + 10))  # short memory while all is new
            for average, current in zip(averaged.parameters(), model.parameters(), strict=True):
                average.lerp_(current, 1 - decay)
    description = {
        "kind": "generator",
        "seed": seed,
        "floor": floor.tolist(),
        "settings": settings.model_dump(),
        "collection": about,
        "curves": stretches(curves, ["v_loss", "task_loss"][: 2 if behaviour else 1]),
    }
    return Generator(averaged.eval().requires_grad_(False), description)


def stretches(curves: np.ndarray, names: list[str]) -> dict[str, list[float]]:
    """Curves ``[steps, N]`` as the means of up to 100 stretches, six significant digits."""
    parts = np.array_split(curves, min(100, len(curves)))
    means = np.stack([part.mean(0) for part in parts])
    return {name: [float(f"{x:.6g}") for x in means[:, i]] for i, name in enumerate(names)}
