"""The generator: from preference weights to adapter vectors.

In this file: how a trained generator makes adapters, and how it is stored.  Adapter vectors are
described in a linear latent space (``latent.py``), and a conditional diffusion model learns how
their latents follow from the weights (``training.py``).  To generate, noise is drawn and
denoised in a few steps (``sampler.py``), and the latent that comes out is decoded.

Shapes: W weight vectors, O objectives, K latent components, P parameters of an adapter.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from paragon import params
from paragon.adapters.adapter import AdapterForm
from paragon.adapters.collection import Collection
from paragon.generator.denoiser import Denoiser
from paragon.generator.latent import Latent
from paragon.generator.sampler import ddim, guided
from paragon.generator.schedule import Schedule
from paragon.objectives.weights import check_weights, lift
from paragon.storage import check_match, loading, save_tensors


class DiffusionModel(nn.Module):
    """Latent space and denoiser: the parameters that are trained, averaged and saved."""

    def __init__(self, latent: Latent, objectives: int, settings: params.GeneratorSettings) -> None:
        super().__init__()
        self.latent = latent
        sizes = settings.model_dump(include={"width", "blocks", "conditioning", "token", "heads"})
        self.denoiser = Denoiser(len(latent.basis), objectives, **sizes)


class Generator:
    """A trained generator; :meth:`generate` is what the rest of the package uses.

    ``description`` says how it was made: settings, seed, the smallest anchor weight of each
    objective (``floor``), the curves of training and the description of the collection.
    """

    def __init__(self, model: DiffusionModel, description: dict) -> None:
        self.model, self.description = model, description
        self.settings = params.GeneratorSettings.model_validate(description["settings"])
        self.objectives: list[str] = description["collection"]["objectives"]
        self.form = AdapterForm(**description["collection"]["form"])
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

        ``steps`` and ``guidance``: other values than those of the settings.  All weights share
        one noise, so that vectors change smoothly with the weights; ``sample`` = 0, 1, ...
        chooses the noise.  Every objective keeps at least its smallest weight among the anchors
        (:func:`paragon.objectives.weights.lift`).  Raises ``ParagonError`` for weights that are
        not on the simplex and for steps or guidance out of range.
        """
        checked = check_weights(weights, self.objectives)  # [W, O]
        latents = self.latents(checked, steps, guidance, sample)  # [W, K]
        return self.model.latent.decode(latents)  # [W, P]

    @torch.no_grad()
    def latents(
        self,
        weights: Tensor,
        steps: int | None = None,
        guidance: float | None = None,
        sample: int = 0,
    ) -> Tensor:
        """What :meth:`generate` decodes: latents ``[W, K]``, of checked weights ``[W, O]``."""
        device = self.model.latent.mean.device
        steps = self.settings.sampler_steps if steps is None else steps
        guidance = self.settings.guidance if guidance is None else guidance
        condition = lift(weights, self.floor).to(device)  # [W, O]
        noise = self.noise(sample).repeat(len(condition), 1).to(device)  # [W, K]
        predict = guided(self.model.denoiser, condition, guidance)
        return ddim(predict, self.schedule, noise, steps=steps)

    def noise(self, sample: int = 0) -> Tensor:
        """The noise ``[1, K]`` that the latents of all weights start from."""
        rng = np.random.default_rng([self.description["seed"], 3, sample])
        size = len(self.model.latent.basis)
        return torch.from_numpy(rng.standard_normal((1, size), dtype=np.float32))


def save_generator(generator: Generator, stem: Path) -> None:
    """Write ``stem.safetensors`` and its description ``stem.json``."""
    save_tensors(stem, generator.model.state_dict(), generator.description)


def load_generator(stem: Path) -> Generator:
    """Read what :func:`save_generator` wrote."""
    with loading(stem, "generator") as (tensors, description):
        return generator_of(tensors, description, f"{stem}.json")


def generator_of(tensors: dict[str, Tensor], description: dict, source: str) -> Generator:
    """The generator, frozen, whose parameters are ``tensors``; ``source``: where it is from."""
    settings = params.stored(params.GeneratorSettings, description["settings"], source)
    mean, basis, scale = (tensors[f"latent.{name}"] for name in ("mean", "basis", "scale"))
    model = DiffusionModel(Latent(mean, basis, float(scale)), len(description["floor"]), settings)
    model.load_state_dict(tensors)
    return Generator(model.eval().requires_grad_(False), description)


def load_generators(folder: Path, collection: Collection) -> list[Generator]:
    """The generators ``seed<n>`` of a folder, one for each seed of their collection.

    Raises ``ParagonError`` if one of them is of another seed or another collection.
    """
    generators = []
    for seed in collection.description["seeds"]:
        stem = folder / f"seed{seed}"
        generators.append(load_generator(stem))
        expected = {"kind": "generator", "seed": seed, "collection": collection.description}
        check_match(expected, generators[-1].description, f"{stem}.json", "generator")
    return generators
