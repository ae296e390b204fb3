"""The generator: conditional diffusion in a linear latent space of adapter vectors.

Shapes: N collected vectors, W weight vectors, O objectives, K latent components, P parameters, B
samples of D numbers, w the width of the network.
"""

import math
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from paragon import params
from paragon.adapters.adapter import AdapterForm
from paragon.adapters.collection import Collection
from paragon.generator.diffusion import Schedule, ddim, guided, standard_normal
from paragon.objectives.weights import LOG_OFFSET, check_weights, lift
from paragon.storage import loading


def sinusoidal(positions: Tensor, size: int) -> Tensor:
    """Embed positions ``[...]`` as sines and cosines, ``[..., size]`` (Vaswani et al. 2017)."""
    number = torch.arange(size // 2, device=positions.device)
    rate = torch.exp(number * (-math.log(1e4) / (size // 2 - 1)))  # [size / 2]
    angle = positions.unsqueeze(-1) * rate  # [..., size / 2]
    return torch.cat([angle.sin(), angle.cos()], -1)  # [..., size]


def mlp(inputs: int, hidden: int, outputs: int, activation: nn.Module | None = None) -> nn.Module:
    """Build a network of two layers, ``[..., inputs]`` to ``[..., outputs]``; default: SiLU."""
    between = activation or nn.SiLU()
    return nn.Sequential(nn.Linear(inputs, hidden), between, nn.Linear(hidden, outputs))


class WeightEmbedding(nn.Module):
    """Embed preference weights and their logarithms: near a corner, orders of magnitude matter."""

    def __init__(self, objectives: int, width: int) -> None:
        super().__init__()
        self.embed = mlp(2 * objectives, width, width)
        self.null = nn.Parameter(torch.zeros(1, width))

    def forward(self, weights: Tensor, drop: Tensor) -> Tensor:
        """Return embeddings ``[B, w]``, or a learned null embedding where ``drop [B]`` is true."""
        # Not log10: its last digit depends on the processor (pipeline/determinism.py).
        logarithm = torch.log(weights + LOG_OFFSET) / -math.log(LOG_OFFSET)  # [B, O]
        embedded = self.embed(torch.cat([weights, logarithm], -1))  # [B, 2 O] -> [B, w]
        return torch.where(drop.unsqueeze(1), self.null, embedded)  # [B, w]


class Block(nn.Module):
    """Residual block with adaLN-Zero (Peebles & Xie 2023, section 3.2)."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(width, elementwise_affine=False)
        self.mlp = mlp(width, 2 * width, width)
        self.modulate = nn.Linear(width, 3 * width)
        nn.init.zeros_(self.modulate.weight)  # a new block is the identity
        nn.init.zeros_(self.modulate.bias)

    def forward(self, h: Tensor, condition: Tensor) -> Tensor:
        """Apply the block to ``h [B, w]``, given the embedded step and weights ``[B, w]``."""
        shift, scale, gate = self.modulate(F.silu(condition)).chunk(3, -1)  # [B, w] each
        return h + gate * self.mlp(self.norm(h) * (1 + scale) + shift)  # [B, w]


class Denoiser(nn.Module):
    """Predict v; weights and step enter every block."""

    def __init__(self, size: int, objectives: int, settings: params.GeneratorSettings) -> None:
        super().__init__()
        width = settings.width
        self.embed_step = mlp(64, width, width)
        self.embed_weights = WeightEmbedding(objectives, width)
        self.embed_token = nn.Linear(size, width)
        self.blocks = nn.ModuleList(Block(width) for _ in range(settings.blocks))
        self.norm, self.output = nn.LayerNorm(width), nn.Linear(width, size)
        nn.init.zeros_(self.output.weight)
        nn.init.zeros_(self.output.bias)

    def forward(self, x: Tensor, t: Tensor, weights: Tensor, drop: Tensor) -> Tensor:
        """Predict v ``[B, D]`` of ``x [B, D]`` at steps ``t [B]``; ``drop [B]`` hides weights."""
        condition = self.embed_step(sinusoidal(t, 64)) + self.embed_weights(weights, drop)  # [B, w]
        h = self.embed_token(x)  # [B, w]
        for block in self.blocks:
            h = block(h, condition)  # [B, w]
        return self.output(self.norm(h))  # [B, D]


class Latent(nn.Module):
    """Scale vectors ``[..., P]`` to latents ``[..., K]``, of variance 1, and back::

        vector = mean + scale * z @ basis,      z = (vector - mean) @ basis^T / scale

    Without a basis, a latent is the whole vector, K = P. One common scale for all numbers keeps
    those that are almost noise small. The basis is not trained, which would make it oblique.
    """

    mean: Tensor  # [P]
    basis: Tensor | None  # [K, P], orthonormal rows
    scale: Tensor  # []

    def __init__(self, mean: Tensor, basis: Tensor | None, scale: float) -> None:
        super().__init__()
        self.register_buffer("mean", mean)
        self.register_buffer("basis", basis)
        self.register_buffer("scale", torch.tensor(float(scale)))

    @classmethod
    def fit(cls, vectors: Tensor, size: int | None) -> "Latent":
        """Fit to ``vectors [N, P]``, with their first ``size`` principal components or without."""
        latent = cls(vectors.mean(0), None, 1.0)
        if size is not None:
            centred = latent.encode(vectors).double()  # [N, P]
            axes = torch.linalg.svd(centred, full_matrices=False).Vh[:size]  # [K, P]
            # The sign of a component is arbitrary: fix it, so that runs agree.
            axes = axes * torch.sign(axes.gather(1, axes.abs().argmax(1, keepdim=True)))
            latent.basis = axes.float()
        latent.scale = latent.encode(vectors).std().clamp(min=1e-8)
        return latent

    @property
    def size(self) -> int:
        """K, the number of coordinates of a latent."""
        return len(self.mean if self.basis is None else self.basis)

    def encode(self, vectors: Tensor) -> Tensor:
        """Map vectors ``[..., P]`` to latents ``[..., K]``."""
        centred = vectors - self.mean  # [..., P]
        return (centred if self.basis is None else centred @ self.basis.T) / self.scale

    def decode(self, latents: Tensor) -> Tensor:
        """Map latents ``[..., K]`` to vectors ``[..., P]``."""
        scaled = self.scale * latents  # [..., K]
        return self.mean + (scaled if self.basis is None else scaled @ self.basis)


class DiffusionModel(nn.Module):
    """Hold latent space and denoiser in one module, to average and save them together."""

    def __init__(self, latent: Latent, objectives: int, settings: params.GeneratorSettings) -> None:
        super().__init__()
        self.latent = latent
        self.denoiser = Denoiser(latent.size, objectives, settings)


class Generator:
    """A trained generator; ``description`` holds settings, seed, loss curves and the collection."""

    def __init__(self, model: DiffusionModel, description: dict) -> None:
        self.model, self.description = model, description
        self.settings = params.GeneratorSettings(**description["settings"])
        self.objectives: list[str] = description["collection"]["objectives"]
        self.form = AdapterForm(**description["collection"]["form"])
        self.floor = torch.tensor(description["floor"])
        self.schedule = Schedule(self.settings.diffusion_steps, model.latent.mean.device)

    @torch.no_grad()
    def generate(
        self, weights: object, *, steps: int | None = None, guidance: float | None = None
    ) -> Tensor:
        """Generate vectors ``[W, P]`` for weights ``[W, O]`` or ``[O]``, raised to the floor.

        All weights share one noise, so that vectors change smoothly with the weights. ``steps``
        and ``guidance`` override the settings.
        """
        device = self.model.latent.mean.device
        condition = lift(check_weights(weights, self.objectives), self.floor).to(device)  # [W, O]
        noise = self.noise().repeat(len(condition), 1).to(device)  # [W, K]
        guidance = self.settings.guidance if guidance is None else guidance
        predict = guided(self.model.denoiser, condition, guidance)
        steps = self.settings.sampler_steps if steps is None else steps
        return self.model.latent.decode(ddim(predict, self.schedule, noise, steps=steps))

    def noise(self) -> Tensor:
        """Draw the noise ``[1, K]`` that the latents of all weights start from."""
        rng = np.random.default_rng([self.description["seed"], 3, 0])
        return standard_normal((1, self.model.latent.size), rng)


def load_generator(stem: Path, expected: dict | None = None) -> Generator:
    """Read a saved generator; raise ``ParagonError`` if its description is not as ``expected``."""
    with loading(stem, "generator", expected) as (tensors, description):
        return generator_of(tensors, description)


def generator_of(tensors: dict[str, Tensor], description: dict) -> Generator:
    """Build a frozen generator from stored ``tensors``."""
    settings = params.GeneratorSettings(**description["settings"])
    latent = Latent(tensors["latent.mean"], tensors.get("latent.basis"), 1.0)
    model = DiffusionModel(latent, len(description["floor"]), settings)
    model.load_state_dict(tensors)
    return Generator(model.eval().requires_grad_(False), description)


def load_generators(folder: Path, collection: Collection) -> list[Generator]:
    """Load one generator for each seed of the collection; raise ``ParagonError`` on a mismatch."""
    about = {"kind": "generator", "collection": collection.description}
    seeds = collection.description["seeds"]
    return [load_generator(folder / f"seed{n}", about | {"seed": n}) for n in seeds]
