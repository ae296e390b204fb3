"""The generator: conditional diffusion over adapter vectors.

Shapes: N collected vectors, W weight vectors, O objectives, K latent components, P parameters, B
samples.
"""

from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from paragon.adapters.adapter import AdapterForm
from paragon.adapters.collection import Collection
from paragon.generator.denoisers import Denoiser, TokenDenoiser
from paragon.generator.diffusion import Schedule, ddim, guided, standard_normal
from paragon.objectives.weights import check_weights, lift
from paragon.params import GeneratorSettings
from paragon.storage import loading


class Latent(nn.Module):
    """Scale vectors ``[..., P]`` to latents ``[..., K]``, of variance 1, and back::

        vector = mean + scale * z @ basis,      z = (vector - mean) @ basis^T / scale

    Without a basis, a latent is the whole vector, K = P. With a scale for each number, those that
    hardly vary would be blown up to the size of the others, so all have one scale. The basis is not
    trained. It is orthonormal, so `encode` and `decode` undo each other. After a move to another
    recommender (adapters/rotation.py) it is not, and only `decode` is valid.
    """

    mean: Tensor  # [P]
    basis: Tensor | None  # [K, P]
    scale: Tensor  # []

    def __init__(self, mean: Tensor, basis: Tensor | None, scale: float) -> None:
        super().__init__()
        self.register_buffer("mean", mean)
        self.register_buffer("basis", basis)
        self.register_buffer("scale", torch.tensor(float(scale)))

    @classmethod
    def fit(cls, vectors: Tensor, size: int | None) -> "Latent":
        """Fit to ``vectors [N, P]``, with their first ``size`` principal components or without."""
        latent = cls(vectors.mean(0), None, 1.0)  # the scale follows
        if size is not None:
            centred = latent.encode(vectors).double()  # [N, P]
            axes = torch.linalg.svd(centred, full_matrices=False).Vh[:size]  # [K, P]
            # The sign of a component is arbitrary: fix it, so that runs agree.
            largest = axes.abs().argmax(1, keepdim=True)  # [K, 1]
            axes = axes * torch.sign(axes.gather(1, largest))
            latent.basis = axes.float()
        latent.scale = latent.encode(vectors).std().clamp(min=1e-8)
        return latent

    @property
    def size(self) -> int:
        """K, the number of coordinates of a latent."""
        return len(self.mean if self.basis is None else self.basis)

    def encode(self, vectors: Tensor) -> Tensor:
        """Map vectors ``[..., P]`` to latents ``[..., K]``; the basis must be orthonormal."""
        centred = vectors - self.mean  # [..., P]
        return (centred if self.basis is None else centred @ self.basis.T) / self.scale

    def decode(self, latents: Tensor) -> Tensor:
        """Map latents ``[..., K]`` to vectors ``[..., P]``."""
        scaled = self.scale * latents  # [..., K]
        return self.mean + (scaled if self.basis is None else scaled @ self.basis)


class DiffusionModel(nn.Module):
    """A latent space and a network that predicts the clean latent from a noisy one."""

    def __init__(
        self,
        latent: Latent,
        form: AdapterForm,
        objectives: int,
        settings: GeneratorSettings,
        device: str | torch.device = "cpu",
    ) -> None:
        super().__init__()
        self.latent = latent
        self.settings = settings
        self.denoiser: nn.Module
        if settings.network == "transformer":
            self.denoiser = TokenDenoiser(form, objectives, settings)
        else:
            self.denoiser = Denoiser(latent.size, objectives, settings)
        self.schedule = Schedule(settings.diffusion_steps, device)
        self.to(device)

    def clean(self, noisy: Tensor, t: Tensor, weights: Tensor, drop: Tensor) -> Tensor:
        """Predict clean latents ``[B, K]`` of ``noisy [B, K]``; ``drop [B]`` hides weights.

        A network of width w can vary its output in w directions. The velocity contains the noise,
        which fills all K, so most of it cannot be predicted if w < K. Clean latents lie in as many
        directions as there are collected vectors, and those are few.
        """
        output = self.denoiser(noisy, t, weights, drop)  # [B, K]
        if self.settings.predicts == "velocity":
            return self.schedule.clean(noisy, output, t)
        return output

    def sample(self, weights: Tensor, noise: Tensor, guidance: float, steps: int) -> Tensor:
        """Sample adapters ``[B, P]`` for lifted ``weights [B, O]`` from ``noise [B, K]``."""
        predict = guided(self.clean, weights, guidance)
        return self.latent.decode(ddim(predict, self.schedule, noise, steps=steps))


class Generator:
    """A trained generator.

    ``description`` holds its name, settings, seed, loss curves, the collection, and the guidance
    that was chosen on validation users.
    """

    def __init__(self, model: DiffusionModel, description: dict) -> None:
        self.model = model
        self.description = description
        self.settings = model.settings
        self.objectives: list[str] = description["collection"]["objectives"]
        self.form = AdapterForm(**description["collection"]["form"])
        self.floor = torch.tensor(description["floor"])
        self.guidance: float = description["guidance"]

    @torch.no_grad()
    def generate(
        self, weights: object, *, steps: int | None = None, guidance: float | None = None
    ) -> Tensor:
        """Generate vectors ``[W, P]`` for weights ``[W, O]`` or ``[O]``, raised to the floor.

        All weights share one noise, so that vectors change smoothly with the weights. ``steps``
        (1 to the settings' ``diffusion_steps``) and ``guidance`` (0 to 100, 1: none) override what
        the generator was trained with. Raise ``ParagonError`` for values out of range.
        """
        checked = check_weights(weights, self.objectives)
        condition = lift(checked, self.floor).to(self.model.latent.mean)  # [W, O]
        noise = self.noise().repeat(len(condition), 1).to(condition)  # [W, K]
        guidance = self.guidance if guidance is None else guidance
        steps = self.settings.sampler_steps if steps is None else steps
        return self.model.sample(condition, noise, guidance, steps)

    def noise(self) -> Tensor:
        """Draw the noise ``[1, K]`` that the latents of all weights start from."""
        rng = np.random.default_rng([self.description["seed"], 3, 0])  # stream 3: the common noise
        return standard_normal((1, self.model.latent.size), rng)


def load_generator(stem: Path, expected: dict | None = None) -> Generator:
    """Read a saved generator; raise ``ParagonError`` if its description is not as ``expected``."""
    needed = {"kind": "generator", **(expected or {})}
    with loading(stem, "generator", needed) as (tensors, description):
        return generator_of(tensors, description)


def generator_of(tensors: dict[str, Tensor], description: dict) -> Generator:
    """Build a frozen generator from stored ``tensors``."""
    settings = GeneratorSettings(**description["settings"])
    latent = Latent(tensors["latent.mean"], tensors.get("latent.basis"), 1.0)
    form = AdapterForm(**description["collection"]["form"])
    model = DiffusionModel(latent, form, len(description["floor"]), settings)
    model.load_state_dict(tensors)
    return Generator(model.eval().requires_grad_(False), description)


def load_generators(folder: Path, name: str, collection: Collection) -> list[Generator]:
    """Load the generator ``name`` of each seed; raise ``ParagonError`` on a mismatch."""
    generators = []
    for seed in collection.description["seeds"]:
        expected = {"name": name, "collection": collection.description, "seed": seed}
        generators.append(load_generator(folder / f"{name}-seed{seed}", expected))
    return generators
