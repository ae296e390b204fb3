"""The generator: preference weights to adapter vectors.

Adapter vectors are described in a linear latent space (principal components of
the collection, one global scale) and a conditional diffusion model learns how
they follow from the weights.  Trained on the collection alone the model knows
vectors, not what they are for; the optional *behavioural loss* decodes its
predictions and charges them the task loss of their weights on the frozen
backbone, with weights from the whole simplex and not only from the anchors.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from paragon import params
from paragon.adapters.collection import Collection
from paragon.generator.denoiser import Denoiser
from paragon.generator.latent import Latent
from paragon.generator.sampler import ddim, guided
from paragon.generator.schedule import Schedule
from paragon.objectives.weights import check_weights, lift
from paragon.storage import check_match, load_tensors, save_tensors


class _Model(nn.Module):
    """Latent space and denoiser: the parameters that are trained, averaged and saved."""

    def __init__(self, latent: Latent, objectives: int, settings: params.GeneratorSettings) -> None:
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
        self.settings = params.GeneratorSettings.model_validate(description["settings"])
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


def save_generator(generator: Generator, stem: Path) -> None:
    """Write ``stem.safetensors`` and its description ``stem.json``."""
    save_tensors(stem, generator.model.state_dict(), generator.description)


def load_generator(stem: Path) -> Generator:
    """Read what :func:`save_generator` wrote."""
    tensors, about = load_tensors(stem, "generator")
    settings = params.stored(params.GeneratorSettings, about["settings"], f"{stem}.json")
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
