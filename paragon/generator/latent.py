"""The linear latent space of adapter vectors."""

from __future__ import annotations

import torch
from torch import Tensor, nn


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
