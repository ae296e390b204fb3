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
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from paragon import params
from paragon.adapters import (
    Collection,
    FrozenTask,
    frozen_task,
    load_collection,
    training_states,
)
from paragon.arrays import stretches
from paragon.baselines import interpolation
from paragon.diffusion.denoisers import Denoiser
from paragon.diffusion.samplers import ddim, guided
from paragon.diffusion.schedule import Schedule
from paragon.negatives import NegativeSampler
from paragon.preferences import check_weights, lift
from paragon.progress import progress
from paragon.storage import check_match, load_tensors, save_tensors
from paragon.study import Study
from paragon.workers import side_by_side


class Latent(nn.Module):
    """Linear space of adapter vectors: ``vector = mean + scale * z @ basis``.

    One scale for all components keeps their proportions: the first few carry
    nearly everything, and whitening would give noise the same say.  Nothing of it
    is trained: a basis that moves with the behavioural loss stops being
    orthonormal, and far-off vectors no longer come back as they went in.
    """

    def __init__(self, mean: Tensor, basis: Tensor, scale: float) -> None:
        super().__init__()
        self.register_buffer("mean", mean)
        self.register_buffer("basis", basis)
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


class _Model(nn.Module):
    """Latent space and denoiser: the parameters that are trained, averaged and saved."""

    def __init__(self, latent: Latent, objectives: int, settings: params.Diffusion) -> None:
        super().__init__()
        self.latent = latent
        names = ("width", "blocks", "conditioning", "token", "heads")
        sizes = {name: getattr(settings, name) for name in names}
        self.denoiser = Denoiser(len(latent.basis), objectives, **sizes)


class Generator:
    """A trained generator; :meth:`generate` is what the rest of the package uses.

    ``description`` says what it was made from and with: settings, seed, the
    smallest anchor weight of each objective (``floor``) and the description of
    the collection.
    """

    def __init__(self, model: _Model, description: dict) -> None:
        self.model, self.description = model, description
        self.settings = params.Diffusion.model_validate(description["settings"])
        self.objectives: list[str] = description["collection"]["objectives"]
        self.floor = torch.tensor(description["floor"])
        self.schedule = Schedule(
            self.settings.diffusion_steps, device=str(model.latent.mean.device)
        )

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
        weights; ``sample`` = 0, 1, ... picks other noise.  Every objective
        keeps at least its smallest weight among the anchors: the corners of the
        simplex, where an objective has no say at all, are singular.
        """
        latent = self.model.latent
        condition = lift(check_weights(weights, self.objectives), self.floor)
        rng = np.random.default_rng([self.description["seed"], 3, sample])
        noise = torch.from_numpy(rng.standard_normal((1, len(latent.basis)), dtype=np.float32))
        device = latent.mean.device
        latents = ddim(
            guided(
                self.model.denoiser,
                condition.to(device),
                self.settings.guidance if guidance is None else guidance,
            ),
            self.schedule,
            noise.repeat(len(condition), 1).to(device),
            steps=self.settings.sampler_steps if steps is None else steps,
        )
        return latent.decode(latents)


@dataclass(frozen=True)
class Behaviour:
    """The behavioural loss: what decoded vectors do to the frozen recommender.

    ``task_losses(vectors [B, P], rng) -> [B, O]`` are the objectives' losses on a
    random mini-batch of training events; ``reference(weights [B, O], rng) -> [B, P]``
    gives a plausible vector for any weights, which is noised to serve as the
    denoiser's input.
    """

    task_losses: Callable[[Tensor, np.random.Generator], Tensor]
    reference: Callable[[Tensor, np.random.Generator], Tensor]


def behaviour(
    train: FrozenTask, sampler: NegativeSampler, collection: Collection, seed: int, batch: int
) -> Behaviour:
    """The behavioural loss on training events, its references interpolated between anchors.

    Of a collection pooled from several starts each reference is of one start, drawn at random.
    """
    about = collection.description
    starts = about.get("starts", 1)
    anchors = collection.anchors[: len(collection.anchors) // starts].double().numpy()
    vectors = collection.anchor_vectors[about["seeds"].index(seed)].unflatten(0, (starts, -1))

    def task_losses(decoded: Tensor, rng: np.random.Generator) -> Tensor:
        rows, candidates = train.draw(sampler, batch, about["negatives"], rng)
        return train.losses(decoded, rows, candidates, about["objectives"])

    def reference(weights: Tensor, rng: np.random.Generator) -> Tensor:
        mix = torch.from_numpy(interpolation(anchors, weights.double().numpy())).float()
        if starts == 1:
            return mix @ vectors[0]
        chosen = vectors[torch.from_numpy(rng.integers(starts, size=len(weights)))]
        return (mix.unsqueeze(1) @ chosen).squeeze(1)

    return Behaviour(task_losses, reference)


def train_generator(
    collection: Collection,
    settings: params.Diffusion,
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


def train_generators(
    study: Study, collection: Path | None = None, folder: Path | None = None
) -> list[Generator]:
    """Train and store ``folder/seed<n>`` for every seed of the study, several at a time.

    ``collection`` is the stem it is stored under; both are the study's own if left out.
    """
    stem = study.folder / "collection" if collection is None else collection
    folder = study.folder / "generators" if folder is None else folder
    seeds = study.params.seeds
    states = training_states(study) if study.params.diffusion.behaviour_batch else None
    jobs = [(stem, folder, states, seed) for seed in seeds]
    side_by_side(_train_and_save, study, jobs, "generators")
    return [load_generator(folder / f"seed{seed}") for seed in seeds]


def _train_and_save(
    study: Study, stem: Path, folder: Path, states: np.ndarray | None, seed: int
) -> None:
    settings, sequences = study.params.diffusion, study.load_sequences()
    backbone, about = study.load_backbone(sequences)
    collection, extra = load_collection(stem, about), None
    if states is not None:
        negatives, events = collection.description["negatives"], study.params.adapters.events
        known = torch.from_numpy(states)
        train = frozen_task(backbone, sequences, "train", 1 + negatives, events, known)
        sampler = NegativeSampler(sequences)
        extra = behaviour(train, sampler, collection, seed, settings.behaviour_rows)
    generator = train_generator(collection, settings, seed, extra, study.device)
    save_generator(generator, folder / f"seed{seed}")


def save_generator(generator: Generator, stem: Path) -> None:
    """Write ``stem.safetensors`` and its description ``stem.json``."""
    save_tensors(stem, generator.model.state_dict(), generator.description)


def load_generator(stem: Path) -> Generator:
    """Read what :func:`save_generator` wrote."""
    tensors, about = load_tensors(stem, "diffusion")
    settings = params.stored(params.Diffusion, about["settings"], f"{stem}.json")
    latent = Latent(tensors["latent.mean"], tensors["latent.basis"], float(tensors["latent.scale"]))
    model = _Model(latent, len(about["floor"]), settings)
    model.load_state_dict(tensors)
    return Generator(model.eval().requires_grad_(False), about)


def load_generators(folder: Path, collection: Collection) -> list[Generator]:
    """The generators ``seed<n>`` of a folder, one for each seed of the collection they are of."""
    generators = []
    for seed in collection.description["seeds"]:
        stem = folder / f"seed{seed}"
        generators.append(load_generator(stem))
        made_from = generators[-1].description["collection"]
        check_match(collection.description, made_from, f"{stem}.json")
    return generators
