"""The rival `category_bias`: one number for each category and preference weight, no adapter.

In this file: the simplest thing that could follow the weights.  Every item gets what its
categories are worth at these weights, the same for all users::

    score_i = s . e_i + g_i . u(w)

It is the constant part of an adapter's item side, tuned like an adapter with all else at zero.
What an adapter adds to it is what is personal in the control.

Shapes: S seeds, W weights, O objectives, P parameters of an adapter, M categories, N events, n
items.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from paragon import params
from paragon.adapters.frozen import frozen_task
from paragon.adapters.tuning import tune
from paragon.backbones import Backbone
from paragon.data.negatives import NegativeSampler
from paragon.data.sequences import Sequences
from paragon.objectives.weights import simplex_lattice
from paragon.storage import loading, save_tensors


def tune_category_bias(
    backbone: Backbone,
    sequences: Sequences,
    settings: params.AdapterSettings,
    seeds: Sequence[int],
) -> Tensor:
    """A bias for every evaluation weight and seed, ``[S, W, M]``.

    At ten times the learning rate of adapters: a few numbers do what there many do together, and
    with the same rate they do not get where they want to be.
    """
    faster = {"item_side": True, "learning_rate": 10 * settings.learning_rate}
    settings = settings.model_copy(update=faster)
    train, valid = (frozen_task(backbone, sequences, e, settings) for e in ("train", "valid"))
    device, form = train.states.device, train.form
    weights = simplex_lattice(len(settings.objectives), settings.oracles).to(device)  # [W, O]
    start = torch.zeros(len(seeds), len(weights), form.size, device=device)  # [S, W, P]
    free = torch.arange(form.size, device=device) >= form.size - form.categories  # [P], u
    sampler = NegativeSampler(sequences)
    tuned = tune(train, valid, sampler, weights, start, settings, seeds, free)
    return form.unflatten(tuned.vectors).u.cpu()


def biased_scores(scores: np.ndarray, categories: np.ndarray, bias: Tensor) -> np.ndarray:
    """Catalogue scores ``[N, n + 1]`` with what ``bias [M]`` gives to ``categories [n + 1, M]``."""
    return scores + (categories @ bias.numpy()).astype(scores.dtype)  # [N, n + 1] + [n + 1]


def save_category_bias(bias: Tensor, description: dict, folder: Path) -> None:
    """Write ``category_bias.safetensors`` and its description."""
    save_tensors(folder / "category_bias", {"bias": bias.contiguous()}, description)


def load_category_bias(folder: Path, expected: dict) -> Tensor:
    """Read what :func:`save_category_bias` wrote: ``[S, W, M]``.

    Raises ``ParagonError`` if its description does not say what is ``expected``.
    """
    stem = folder / "category_bias"
    with loading(stem, "rivals", expected) as (tensors, _):
        return tensors["bias"]
