"""Collections of planted vectors, and stand-ins for validation events."""

import dataclasses
from types import SimpleNamespace

import torch

from paragon.adapters.collection import Collection


def planted_collection(anchors, vectors, form, seeds=(0,)):
    """For each seed the same ``vectors [A, K + 1, P]`` of ``anchors [A, O]``, the end last."""
    every, none = vectors.repeat(len(seeds), 1, 1, 1), torch.zeros(0)
    description = {"objectives": ["accuracy", "diversity"], "seeds": [*seeds]}
    description["form"] = dataclasses.asdict(form)
    snapshots, ends = every[:, :, :-1], every[:, :, -1]
    return Collection(anchors, anchors, ends, ends, snapshots, none, none, description)


def along(shares):
    """Weights ``[W, 2]`` for shares of accuracy."""
    return torch.stack([shares, 1 - shares], -1)


def no_losses(vectors, *_):
    return torch.zeros(*vectors.shape[:-1], 2)


def held_out(losses=no_losses):
    """Validation events, four of them, with losses ``[..., A, O]`` of vectors ``[..., A, P]``."""

    def search(vectors, _):
        """A list whose loss is ``losses`` of the objective's column."""
        column = {"accuracy": 0, "diversity": 1}

        def of(names, *_):
            return losses(vectors)[..., [column[name] for name in names]]

        return SimpleNamespace(losses=of), None

    return SimpleNamespace(
        states=torch.zeros(4, 1),
        groups=torch.zeros(4),
        items=[0],
        backbone=SimpleNamespace(rows_at_a_time=lambda *_: 4),
        search=search,
    )
