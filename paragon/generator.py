"""The generator: preference weights to adapter vectors.

Adapter vectors are described in a linear latent space (principal components of
the collection, one global scale) and a conditional diffusion model learns how
they follow from the weights.  Trained on the collection alone the model knows
vectors, not what they are for; the optional *behavioural loss* decodes its
predictions and charges them the task loss of their weights on the frozen
backbone, with weights from the whole simplex and not only from the anchors.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from paragon.diffusion.denoisers import ResidualMLP
from paragon.diffusion.samplers import ddim, guided
from paragon.diffusion.schedule import Schedule
from paragon.objectives import check_weights
from paragon.progress import progress


class Latent(nn.Module):
    """Linear space of adapter vectors: ``vector = mean + scale * z @ basis``.

    One scale for all components keeps their proportions: the first few carry
    nearly everything, and whitening would give noise the same say.
    """

    def __init__(self, mean: Tensor, basis: Tensor, scale: float) -> None:
        super().__init__()
        self.mean, self.basis = nn.Parameter(mean), nn.Parameter(basis)
        self.register_buffer("scale", torch.tensor(float(scale)))

    @classmethod
    def fit(cls, vectors: Tensor, size: int | None) -> Latent:
        """PCA of ``vectors [N, P]`` to ``size`` components; ``None``: the full vector, scaled."""
        mean = vectors.mean(0)
        centred = vectors - mean
        if size is None:
            basis = torch.eye(vectors.shape[1])
        else:
            _, values, axes = torch.linalg.svd(centred.double(), full_matrices=False)
            axes = axes[:size]
            # The sign of a component is arbitrary: fix it, so that runs agree.
            axes = axes * torch.sign(axes.gather(1, axes.abs().argmax(1, keepdim=True)))
            basis = axes.float()
        return cls(mean, basis, (centred @ basis.T).std().clamp(min=1e-8).item())

    def encode(self, vectors: Tensor) -> Tensor:
        """Latents ``[..., K]`` of vectors ``[..., P]``."""
        return (vectors - self.mean) @ self.basis.T / self.scale

    def decode(self, latents: Tensor) -> Tensor:
        """Vectors ``[..., P]`` of latents ``[..., K]``."""
        return self.mean + self.scale * latents @ self.basis


@dataclass(frozen=True)
class Behaviour:
    """The behavioural loss: what decoded vectors do to the frozen recommender.

    ``task_losses(vectors [B, P], rng) -> [B, O]`` are the objectives' losses on a
    random mini-batch of training events; ``reference(weights [B, O]) -> [B, P]``
    gives a plausible vector for any weights (interpolation between the anchors),
    which is noised to serve as the denoiser's input.  ``batch`` vectors a step
    are charged ``strength`` times their task loss.
    """

    task_losses: Callable[[Tensor, np.random.Generator], Tensor]
    reference: Callable[[Tensor], Tensor]
    batch: int
    strength: float


class Generator:
    """A trained generator; ``generate`` is what the rest of the package uses."""

    def __init__(
        self,
        objectives: Sequence[str],
        floor: Tensor,
        latent: Latent,
        denoiser: nn.Module,
        schedule: Schedule,
        *,
        steps: int,
        guidance: float,
        seed: int = 0,
    ) -> None:
        self.objectives, self.floor = list(objectives), floor
        self.latent, self.denoiser, self.schedule = latent, denoiser, schedule
        self.steps, self.guidance, self.seed = steps, guidance, seed

    def condition(self, weights: Tensor) -> Tensor:
        """Weights ``[W, O]`` moved into the region that the anchors span.

        Each objective keeps at least its smallest weight among the anchors: the
        corners of the simplex, where an objective has no say at all, are singular.
        """
        return lift(weights, self.floor)

    @torch.no_grad()
    def generate(
        self,
        weights: object,
        *,
        steps: int | None = None,
        guidance: float | None = None,
        sample: int = 0,
    ) -> Tensor:
        """Adapter vectors ``[W, P]`` for weights ``[W, O]`` (or one vector of O numbers).

        All weights share their noise, so vectors change smoothly with the
        weights; ``sample`` = 0, 1, ... picks other noise.
        """
        condition = self.condition(check_weights(weights, self.objectives))
        draw = torch.Generator().manual_seed(self.seed * 1009 + sample)
        noise = torch.randn(1, self.latent.basis.shape[0], generator=draw)
        device = self.latent.mean.device
        predict = guided(
            self.denoiser, condition.to(device), self.guidance if guidance is None else guidance
        )
        latents = ddim(
            predict,
            self.schedule,
            noise.expand(len(condition), -1).to(device),
            steps=self.steps if steps is None else steps,
        )
        return self.latent.decode(latents)


def lift(weights: Tensor, floor: Tensor) -> Tensor:
    """Raise every weight to its floor and take the excess from the others in proportion."""
    spare = (weights - floor).clamp(min=0)
    return floor + spare * (1 - floor.sum()) / spare.sum(-1, keepdim=True)


def train_generator(
    vectors: Tensor,
    weights: Tensor,
    objectives: Sequence[str],
    *,
    latent: int | None,
    width: int,
    blocks: int,
    diffusion_steps: int,
    steps: int,
    batch: int,
    learning_rate: float,
    latent_learning_rate: float,
    ema: float,
    condition_drop: float,
    sampler_steps: int,
    guidance: float,
    seed: int,
    behaviour: Behaviour | None = None,
) -> tuple[Generator, np.ndarray]:
    """Fit the latent space and the diffusion model to vectors ``[N, P]`` with weights ``[N, O]``.

    Returns the generator with averaged parameters, and the curves ``[steps, 2]``
    of v-loss and behavioural loss (NaN without one).
    """
    rng = np.random.default_rng([seed, 2])
    torch.manual_seed(seed)  # initial parameters
    draw = torch.Generator().manual_seed(seed)
    device = vectors.device
    space = Latent.fit(vectors.cpu(), latent).to(device)
    size, floor = space.basis.shape[0], weights.min(0).values.cpu()
    denoiser = ResidualMLP(size, len(objectives), width=width, blocks=blocks).to(device)
    schedule = Schedule(diffusion_steps, device=device)
    model = nn.ModuleDict({"latent": space, "denoiser": denoiser})
    averaged = copy.deepcopy(model)
    optimizer = torch.optim.AdamW(
        [
            {"params": denoiser.parameters(), "lr": learning_rate},
            {"params": space.parameters(), "lr": latent_learning_rate, "weight_decay": 0.0},
        ]
    )
    cosine = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
    extra = behaviour.batch if behaviour else 0
    curves = np.full((steps, 2), np.nan)
    for step in progress(range(steps), "steps"):
        rows = torch.from_numpy(rng.integers(len(vectors), size=batch)).to(device)
        clean, condition = vectors[rows], weights[rows]
        if behaviour:
            unseen = lift(torch.from_numpy(rng.dirichlet(np.ones(len(floor)), extra)).float(), floor)
            unseen = unseen.to(device)
            clean = torch.cat([clean, behaviour.reference(unseen)])
            condition = torch.cat([condition, unseen])
        with torch.no_grad():
            clean = space.encode(clean)
        t = torch.from_numpy(rng.integers(diffusion_steps, size=batch + extra)).to(device)
        noise = torch.randn(clean.shape, generator=draw).to(device)
        drop = torch.from_numpy(rng.random(batch + extra) < condition_drop).to(device)
        drop[batch:] = False  # the behavioural loss is about the weights it is given
        noisy = schedule.diffuse(clean, noise, t)
        v = denoiser(noisy, t, condition, drop)
        loss = (v - schedule.velocity(clean, noise, t))[:batch].square().mean()
        curves[step, 0] = loss.item()
        if behaviour:
            predicted = space.decode(schedule.clean(noisy, v, t)[batch:])
            task = (behaviour.task_losses(predicted, rng) * unseen).sum(-1).mean()
            curves[step, 1] = task.item()
            loss = loss + behaviour.strength * task
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        cosine.step()
        with torch.no_grad():
            for average, current in zip(averaged.parameters(), model.parameters(), strict=True):
                average.lerp_(current, 1 - min(ema, step / (step + 10)))
    averaged.eval()
    generator = Generator(
        objectives,
        floor,
        averaged["latent"],
        averaged["denoiser"],
        schedule,
        steps=sampler_steps,
        guidance=guidance,
        seed=seed,
    )
    return generator, curves
