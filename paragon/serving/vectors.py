"""Adapters for requests: generated together, and remembered for weights that come again.

Shapes: B requests, O objectives, W different weights among them, P parameters of an adapter.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

from paragon.generator.generator import Generator
from paragon.generator.sampler import ddim, guided
from paragon.objectives.weights import lift

_KEPT = 256  # adapters, some kilobytes each
_ROWS = 512  # latents sampled at a time


class Vectors:
    """Adapter vectors by their weights; several threads may ask at once."""

    def __init__(self, generator: Generator) -> None:
        self.generator = generator
        self._kept: OrderedDict[bytes, Tensor] = OrderedDict()  # latents by weights
        self._lock = threading.Lock()
        device, count = generator.model.latent.mean.device, len(generator.model.latent.basis)
        rng = np.random.default_rng([generator.description["seed"], 3, 0])  # as in `generate`
        noise = rng.standard_normal((1, count), dtype=np.float32)
        self._noise = torch.from_numpy(noise).to(device)  # [1, K]

    def of(self, weights: np.ndarray) -> Callable[[slice], Tensor]:
        """A function from rows to their adapters ``[b, P]``, of weights ``[B, O]``, float32.

        Adapters are long: they are decoded where they are used, block by block.
        """
        different, rows = np.unique(weights, axis=0, return_inverse=True)
        latents = self._latents(np.ascontiguousarray(different))[rows.reshape(-1)]  # [B, K]
        return lambda block: self.generator.model.latent.decode(latents[block])

    def _latents(self, weights: np.ndarray) -> Tensor:
        """Latents ``[W, K]`` of different weights ``[W, O]``."""
        if not 0 < len(weights) <= _KEPT:
            return self.sample(weights)
        keys = [row.tobytes() for row in weights]
        with self._lock:
            found = {key: self._kept[key] for key in keys if key in self._kept}
        new = [row for row, key in enumerate(keys) if key not in found]
        if new:
            found |= zip((keys[row] for row in new), self.sample(weights[new]), strict=True)
        with self._lock:
            for key in keys:
                self._kept[key] = found[key]
                self._kept.move_to_end(key)
            while len(self._kept) > _KEPT:
                self._kept.popitem(last=False)
        return torch.stack([found[key] for key in keys])

    def sample(self, weights: np.ndarray) -> Tensor:
        """What :meth:`Generator.generate` decodes, in blocks of rows, for weights ``[W, O]``."""
        own = self.generator
        floor, device = own.floor, self._noise.device
        parts = []
        for block in torch.from_numpy(weights).split(_ROWS):
            condition = lift(block, floor).to(device)  # [b, O]
            predict = guided(own.model.denoiser, condition, own.settings.guidance)
            noise = self._noise.repeat(len(block), 1)  # [b, K]
            parts.append(ddim(predict, own.schedule, noise, steps=own.settings.sampler_steps))
        return torch.cat(parts)
