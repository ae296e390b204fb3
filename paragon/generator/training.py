"""Train a generator with the diffusion loss, the task loss, or both.

The diffusion loss alone is the recipe of Paragon (Shen et al., RecSys 2025): the generator learns
from tuned adapters and their weights, and from nothing else. The task loss is our addition: sampled
adapters are tried on the frozen backbone. Shapes: N collected vectors, B rows of a batch, P
parameters, K latents, O objectives, W weights.
"""

import copy
import math
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from paragon.adapters.collection import Collection
from paragon.adapters.frozen import FrozenEvents, held_out_losses
from paragon.backbones.training import Checkpoint, Part
from paragon.errors import ParagonError
from paragon.generator.diffusion import standard_normal
from paragon.generator.generator import DiffusionModel, Generator, Latent
from paragon.objectives.weights import random_weights
from paragon.params import GeneratorSettings
from paragon.progress import progress

AdapterLosses = Callable[[Tensor, np.random.Generator], Tensor]  # vectors [B, P] -> [B, O]
CHECKPOINT_EVERY = 250  # steps
VALIDATION_WEIGHTS = 32  # weights for the choice of the guidance, no anchors among them


def diffusion_loss(
    model: DiffusionModel, clean: Tensor, weights: Tensor, rng: np.random.Generator
) -> Tensor:
    """Compute the mean loss ``[]`` of latents ``clean [B, K]`` with ``weights [B, O]``.

    With a step t and noise eps for each row, and z_t of ``Schedule``::

        loss = mean min(1 / s_t^2, limit) (f(z_t, t, w) - z_0)^2

    f is the prediction of the network. w is hidden with probability ``condition_drop`` (Ho &
    Salimans 2022, algorithm 1).
    """
    settings = model.settings
    schedule = model.schedule
    device = clean.device
    t = torch.from_numpy(rng.integers(schedule.steps, size=len(clean))).to(device)  # [B]
    noise = standard_normal(clean.shape, rng).to(device)  # [B, K]
    drop = torch.from_numpy(rng.random(len(clean)) < settings.condition_drop).to(device)  # [B]
    noisy = schedule.diffuse(clean, noise, t)  # z_t [B, K]
    error = model.clean(noisy, t, weights, drop) - clean  # [B, K]
    factor = schedule.loss_factor(t, settings.weight_limit)  # [B, 1]
    return (factor * error.square()).mean()


def task_loss(
    model: DiffusionModel, wanted: Tensor, losses: AdapterLosses, rng: np.random.Generator
) -> Tensor:
    """Compute the mean task loss ``[]`` of adapters sampled for weights ``wanted [B, O]``.

    They are sampled in ``sampler_steps`` steps, each from independent noise and without guidance.
    The gradient goes through all steps of the sampler (Clark et al., ICLR 2024).
    """
    noise = standard_normal((len(wanted), model.latent.size), rng).to(wanted)  # [B, K]
    vectors = model.sample(wanted, noise, 1, model.settings.sampler_steps)  # [B, P]
    return (losses(vectors, rng) * wanted).sum(-1).mean()


def losses_on(train: FrozenEvents, objectives: Sequence[str], rows: int) -> AdapterLosses:
    """Build a function for the losses of adapters on ``rows`` random training events."""

    def losses(vectors: Tensor, rng: np.random.Generator) -> Tensor:
        drawn = rng.integers(len(train.states), size=rows)
        return train.losses(vectors, torch.from_numpy(drawn).to(vectors.device), objectives)

    return losses


def untrained(
    collection: Collection,
    settings: GeneratorSettings,
    seed: int,
    device: str | torch.device = "cpu",
) -> DiffusionModel:
    """Build the model before training, with a latent space fitted to the vectors of the seed."""
    vectors, _ = collection.training_set(collection.description["seeds"].index(seed))  # [N, P]
    torch.manual_seed(seed)
    latent = Latent.fit(vectors, settings.latent)
    return DiffusionModel(latent, collection.form, collection.anchors.shape[1], settings, device)


def step_losses(
    model: DiffusionModel,
    clean: Tensor,
    weights: Tensor,
    floor: Tensor,
    losses: AdapterLosses | None,
    rng: np.random.Generator,
) -> dict[str, Tensor]:
    """Compute the losses of one step, ``[]`` each, by name.

    The diffusion loss uses random rows of latents ``clean [N, K]`` and ``weights [N, O]``, the task
    loss random weights that are lifted to ``floor [O]``.
    """
    settings = model.settings
    device = clean.device
    terms: dict[str, Tensor] = {}
    if settings.batch:
        rows = torch.from_numpy(rng.integers(len(clean), size=settings.batch)).to(device)
        terms["diffusion_loss"] = diffusion_loss(model, clean[rows], weights[rows], rng)
    if settings.task_batch and losses is not None:
        wanted = random_weights(settings.task_batch, floor, rng).to(device)  # [B, O]
        terms["task_loss"] = task_loss(model, wanted, losses, rng)
    return terms


def train_generator(
    collection: Collection,
    settings: GeneratorSettings,
    seed: int,
    valid: FrozenEvents,
    losses: AdapterLosses | None = None,
    name: str = "generated",
    checkpoint: Path | None = None,
) -> Generator:
    """Train on the vectors of one seed; choose the guidance on the validation events ``valid``.

    ``losses`` are needed if ``settings.task_batch`` is not 0. Each step has its own random numbers,
    so a training that was stopped resumes from the file ``checkpoint`` with the same result.
    Raise ``ParagonError`` if there is nothing to learn from.
    """
    if not (settings.batch or settings.task_batch):
        raise ParagonError("generator: batch and task_batch are 0; nothing would be learned")
    if settings.task_batch and losses is None:
        raise ParagonError("generator: the task loss (task_batch) needs the losses of adapters")
    device = valid.states.device
    seed_index = collection.description["seeds"].index(seed)
    vectors, weights = (part.to(device) for part in collection.training_set(seed_index))
    floor = collection.anchors.min(0).values  # [O]
    made_with: dict = {
        "kind": "generator",
        "name": name,
        "seed": seed,
        "floor": floor.tolist(),
        "settings": settings.model_dump(),
        "collection": collection.description,
    }

    model = untrained(collection, settings, seed, device)
    averaged = copy.deepcopy(model).eval().requires_grad_(False)
    optimizer = torch.optim.AdamW(model.parameters(), lr=settings.learning_rate, fused=True)
    clean = model.latent.encode(vectors)  # [N, K]
    state: dict[str, Part] = {"model": model, "averaged": averaged, "optimizer": optimizer}
    stored = Checkpoint(checkpoint, made_with)
    record = stored.load(state) or {"step": 0, "curves": []}

    strengths = {"diffusion_loss": 1.0, "task_loss": settings.task_strength}
    for step in progress(range(record["step"], settings.steps), name):
        rng = np.random.default_rng([seed, 2, step])  # stream 2: training
        if settings.dropout:
            torch.manual_seed(int(rng.integers(2**63)))
        terms = step_losses(model, clean, weights, floor, losses, rng)
        record["curves"].append({term: value.item() for term, value in terms.items()})
        loss = torch.stack([strengths[term] * value for term, value in terms.items()]).sum()
        set_rate(optimizer, settings.learning_rate, step / settings.steps)
        take_step(loss, model, optimizer)
        # Parameters change fast at first, so the average starts with a short memory.
        update_average(averaged, model, decay=min(settings.ema, step / (step + 10)))
        record["step"] = step + 1
        if record["step"] % CHECKPOINT_EVERY == 0:
            stored.save(state, record)

    description = made_with | {"curves": stretches(record["curves"]), "guidance": 1.0}
    return with_best_guidance(Generator(averaged, description), valid)


def with_best_guidance(generator: Generator, valid: FrozenEvents) -> Generator:
    """Return the generator with the guidance that has the smallest validation task loss.

    Its description lists the losses of all guidance values of the settings.
    """
    losses = guidance_losses(generator, valid)
    best = min(losses, key=lambda guidance: losses[guidance])
    tabulated = [[guidance, float(f"{loss:.6g}")] for guidance, loss in losses.items()]
    chosen = {"guidance": best, "guidance_losses": tabulated}
    return Generator(generator.model, generator.description | chosen)


def guidance_losses(generator: Generator, valid: FrozenEvents) -> dict[float, float]:
    """Compute for each guidance of the settings the mean task loss of validation events.

    The adapters are generated for random weights, which are no anchors.
    """
    rng = np.random.default_rng([generator.description["seed"], 6])  # stream 6: these weights
    weights = random_weights(VALIDATION_WEIGHTS, generator.floor, rng)  # [W, O]
    means: dict[float, float] = {}
    for guidance in generator.settings.guidance:
        vectors = generator.generate(weights, guidance=guidance)  # [W, P]
        by_objective = held_out_losses(valid, vectors, generator.objectives).cpu()  # [W, O]
        means[guidance] = (by_objective * weights).sum(-1).mean().item()
    return means


def set_rate(optimizer: Optimizer, rate: float, done: float) -> None:
    """Let the learning rate fall from ``rate`` to 0 along a cosine; ``done``: 0..1 of all steps."""
    for group in optimizer.param_groups:
        group["lr"] = rate * (1 + math.cos(math.pi * done)) / 2


def take_step(loss: Tensor, model: nn.Module, optimizer: Optimizer) -> None:
    """Take one optimiser step, with the norm of the gradient limited to 1."""
    optimizer.zero_grad()
    loss.backward()
    nn.utils.clip_grad_norm_(model.parameters(), 1.0)
    optimizer.step()


@torch.no_grad()
def update_average(averaged: nn.Module, model: nn.Module, decay: float) -> None:
    """Update the moving average of the parameters: ``decay * averaged + (1 - decay) * model``."""
    for average, current in zip(averaged.parameters(), model.parameters(), strict=True):
        average.lerp_(current, 1 - decay)


def stretches(curves: list[dict[str, float]]) -> dict[str, list[float]]:
    """Average the losses of each step over up to 100 stretches of steps, to six digits."""
    table = np.array([list(losses.values()) for losses in curves])  # [steps, names]
    splits = np.array_split(table, min(100, len(table)))
    means = np.stack([steps.mean(0) for steps in splits])  # [up to 100, names]
    averaged = {}
    for column, name in enumerate(curves[0]):
        averaged[name] = [float(f"{mean:.6g}") for mean in means[:, column]]
    return averaged
