"""The generator: conditional diffusion in a linear latent space of adapter vectors.

Shapes: N collected vectors, W weight vectors, O objectives, K latent components, P parameters.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from paragon import params
from paragon.adapters.adapter import AdapterForm
from paragon.adapters.collection import Collection
from paragon.generator.denoiser import Denoiser
from paragon.generator.diffusion import Schedule, ddim, guided
from paragon.objectives.weights import check_weights, lift
from paragon.storage import check_match, loading, save_tensors


class Latent(nn.Module):
    """Principal components: map vectors ``[..., P]`` to latents ``[..., K]`` and back::

        vector = mean + scale * z @ basis,      z = (vector - mean) @ basis^T / scale

    One common scale keeps components that are almost noise small. The basis is not trained: the
    behavioural loss would soon make it non-orthonormal.
    """

    mean: Tensor  # [P]
    basis: Tensor  # [K, P], orthonormal rows
    scale: Tensor  # []

    def __init__(self, mean: Tensor, basis: Tensor, scale: float) -> None:
        super().__init__()
        self.register_buffer("mean", mean)
        self.register_buffer("basis", basis)
        self.register_buffer("scale", torch.tensor(float(scale)))

    @classmethod
    def fit(cls, vectors: Tensor, size: int | None) -> Latent:
        """Fit PCA with ``size`` components to ``vectors [N, P]``; ``None`` reduces nothing."""
        mean = vectors.mean(0)  # [P]
        centred = vectors - mean  # [N, P]
        if size is None:
            basis = torch.eye(vectors.shape[1])  # [P, P]
        else:
            axes = torch.linalg.svd(centred.double(), full_matrices=False).Vh[:size]  # [K, P]
            # The sign of a component is arbitrary: fix it, so that runs agree.
            axes = axes * torch.sign(axes.gather(1, axes.abs().argmax(1, keepdim=True)))
            basis = axes.float()
        return cls(mean, basis, (centred @ basis.T).std().clamp(min=1e-8).item())

    def encode(self, vectors: Tensor) -> Tensor:
        """Map vectors ``[..., P]`` to latents ``[..., K]``."""
        return (vectors - self.mean) @ self.basis.T / self.scale

    def decode(self, latents: Tensor) -> Tensor:
        """Map latents ``[..., K]`` to vectors ``[..., P]``."""
        return self.mean + self.scale * latents @ self.basis


class DiffusionModel(nn.Module):
    """Hold latent space and denoiser in one module, to average and save them together."""

    def __init__(self, latent: Latent, objectives: int, settings: params.GeneratorSettings) -> None:
        super().__init__()
        self.latent = latent
        sizes = settings.model_dump(include={"width", "blocks", "conditioning"})
        self.denoiser = Denoiser(len(latent.basis), objectives, **sizes)


class Generator:
    """A trained generator; ``description`` holds settings, seed, loss curves and the collection."""

    def __init__(self, model: DiffusionModel, description: dict) -> None:
        self.model, self.description = model, description
        self.settings = params.GeneratorSettings.model_validate(description["settings"])
        self.objectives: list[str] = description["collection"]["objectives"]
        self.form = AdapterForm(**description["collection"]["form"])
        self.floor = torch.tensor(description["floor"])
        self.schedule = Schedule(self.settings.diffusion_steps, model.latent.mean.device)

    @torch.no_grad()
    def generate(self, weights: object, **sampling: Any) -> Tensor:
        """Generate adapter vectors ``[W, P]`` for weights ``[W, O]`` or ``[O]``.

        ``sampling``: options of :meth:`latents`.  Raises ``ParagonError`` for weights off the
        simplex and for steps or guidance out of range.
        """
        checked = check_weights(weights, self.objectives)  # [W, O]
        return self.model.latent.decode(self.latents(checked, **sampling))  # [W, P]

    @torch.no_grad()
    def latents(
        self,
        weights: Tensor,
        *,
        steps: int | None = None,
        guidance: float | None = None,
        sample: int = 0,
    ) -> Tensor:
        """Sample latents ``[W, K]`` for checked weights ``[W, O]``.

        ``steps`` and ``guidance`` override the settings.  All weights share one noise, chosen by
        ``sample`` = 0, 1, ..., so that vectors change smoothly with the weights.  Each weight is at
        least the smallest among the anchors (:func:`~paragon.objectives.weights.lift`).
        """
        device = self.model.latent.mean.device
        condition = lift(weights, self.floor).to(device)  # [W, O]
        noise = self.noise(sample).repeat(len(condition), 1).to(device)  # [W, K]
        guidance = self.settings.guidance if guidance is None else guidance
        predict = guided(self.model.denoiser, condition, guidance)
        steps = self.settings.sampler_steps if steps is None else steps
        return ddim(predict, self.schedule, noise, steps=steps)

    def noise(self, sample: int = 0) -> Tensor:
        """Draw the noise ``[1, K]`` that the latents of all weights start from."""
        rng = np.random.default_rng([self.description["seed"], 3, sample])
        shape = 1, len(self.model.latent.basis)
        return torch.from_numpy(rng.standard_normal(shape, dtype=np.float32))


def save_generator(generator: Generator, stem: Path) -> None:
    """Write ``stem.safetensors`` and its description ``stem.json``."""
    save_tensors(stem, generator.model.state_dict(), generator.description)


def load_generator(stem: Path) -> Generator:
    """Read what :func:`save_generator` wrote."""
    with loading(stem, "generator") as (tensors, description):
        return generator_of(tensors, description, f"{stem}.json")


def generator_of(tensors: dict[str, Tensor], description: dict, source: str) -> Generator:
    """Build a frozen generator from stored ``tensors``; errors name ``source`` as their origin."""
    settings = params.stored(params.GeneratorSettings, description["settings"], source)
    mean, basis, scale = (tensors[f"latent.{name}"] for name in ("mean", "basis", "scale"))
    model = DiffusionModel(Latent(mean, basis, float(scale)), len(description["floor"]), settings)
    model.load_state_dict(tensors)
    return Generator(model.eval().requires_grad_(False), description)


def load_generators(folder: Path, collection: Collection) -> list[Generator]:
    """Load one generator for each seed of the collection; raise ``ParagonError`` on a mismatch."""
    generators = []
    for seed in collection.description["seeds"]:
        generators.append(load_generator(stem := folder / f"seed{seed}"))
        expected = {"kind": "generator", "seed": seed, "collection": collection.description}
        check_match(expected, generators[-1].description, f"{stem}.json", "generator")
    return generators
