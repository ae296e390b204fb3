"""The linear latent space of adapter vectors: principal components with one common scale.

In this file: how the vector of an adapter becomes a short list z of coordinates, and how it comes
back from them.  Vectors of a collection differ in a few directions only, the rows of ``basis``::

    vector = mean + scale * z @ basis,      z = (vector - mean) @ basis^T / scale

Shapes: N vectors of P parameters, K components.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn


class Latent(nn.Module):
    """The map from vectors ``[..., P]`` to latents ``[..., K]`` and back.

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
