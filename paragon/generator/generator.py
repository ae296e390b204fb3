"""The generator: from preference weights to adapter vectors.

In this file: how a trained generator makes adapters, and how it is stored.  Adapter vectors are
described in a linear latent space (:class:`Latent`), and a conditional diffusion model learns how
their latents follow from the weights (``training.py``).  To generate, noise is drawn and
denoised in a few steps (``diffusion.py``), and the latent that comes out is decoded.

Shapes: N collected vectors, W weight vectors, O objectives, K latent components, P parameters of an
adapter.
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
from paragon.generator.diffusion import Schedule, ddim, guided
from paragon.objectives.weights import check_weights, lift
from paragon.storage import check_match, loading, save_tensors


class Latent(nn.Module):
    """Principal components with one common scale: vectors ``[..., P]`` as latents ``[..., K]``.

    Vectors of a collection differ in a few directions only, the rows of ``basis``::

        vector = mean + scale * z @ basis,      z = (vector - mean) @ basis^T / scale

    One scale for all components keeps their proportions: the first few carry nearly all of the
    variance, and with a scale for each, components that are almost noise would count as much.
    Nothing here is trained: a basis that changes with the behavioural loss is soon no longer
    orthonormal, and vectors far from the mean do not come back as they were.
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
        """PCA of ``vectors [N, P]`` to ``size`` components; ``None``: the full vector, scaled."""
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
        """Latents ``[..., K]`` of vectors ``[..., P]``."""
        return (vectors - self.mean) @ self.basis.T / self.scale

    def decode(self, latents: Tensor) -> Tensor:
        """Vectors ``[..., P]`` of latents ``[..., K]``."""
        return self.mean + self.scale * latents @ self.basis


class DiffusionModel(nn.Module):
    """Latent space and denoiser: the parameters that are trained, averaged and saved."""

    def __init__(self, latent: Latent, objectives: int, settings: params.GeneratorSettings) -> None:
        super().__init__()
        self.latent = latent
        sizes = settings.model_dump(include={"width", "blocks", "conditioning"})
        self.denoiser = Denoiser(len(latent.basis), objectives, **sizes)


class Generator:
    """A trained generator.

    ``description`` says how it was made: settings, seed, the smallest anchor weight of each
    objective (``floor``), the curves of training and the description of the collection.
    """

    def __init__(self, model: DiffusionModel, description: dict) -> None:
        self.model, self.description = model, description
        self.settings = params.GeneratorSettings.model_validate(description["settings"])
        self.objectives: list[str] = description["collection"]["objectives"]
        self.form = AdapterForm(**description["collection"]["form"])
        self.floor = torch.tensor(description["floor"])
        self.schedule = Schedule(self.settings.diffusion_steps, model.latent.mean.device)

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
        generator = load_generator(stem := folder / f"seed{seed}")
        expected = {"kind": "generator", "seed": seed, "collection": collection.description}
        check_match(expected, generator.description, f"{stem}.json", "generator")
        generators.append(generator)
    return generators
