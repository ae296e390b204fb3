"""Where the parts of one study (a dataset and a backbone) stand, and how to load them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import torch

from paragon.backbones import Backbone, load_backbone
from paragon.data import sequences
from paragon.data.sequences import Sequences
from paragon.errors import ParagonError
from paragon.objectives.table import check_names
from paragon.params import ARTIFACTS, RESULTS, Params, load_params


@dataclass(frozen=True)
class Study:
    """One dataset and one backbone under one set of parameters.

    The loaders, here and beside what they load, name the stage to run when a file
    is missing and the field that differs when two files do not belong together.
    """

    dataset: str
    backbone: str
    params: Params

    @property
    def folder(self) -> Path:
        """What the stages make: checkpoints, collection, generators."""
        return ARTIFACTS / self.dataset / self.backbone

    @property
    def results(self) -> Path:
        """What people read: metrics, curves, figures."""
        return RESULTS / self.dataset / self.backbone

    @property
    def device(self) -> torch.device:
        """``device`` of params.yaml; ``auto`` is a CUDA GPU if there is one, else the CPU."""
        name = self.params.device
        if name == "auto":
            name = "cuda" if torch.cuda.is_available() else "cpu"
        if name.startswith("cuda") and not torch.cuda.is_available():
            raise ParagonError(f"params.yaml: device: {name!r} was asked for, no CUDA GPU is here")
        return torch.device(name)

    def load_sequences(self) -> Sequences:
        """Made by notebook 01."""
        return sequences.load(ARTIFACTS / self.dataset)

    def load_backbone(self, seq: Sequences) -> tuple[Backbone, dict]:
        """Made by notebook 02; frozen, on the study's device."""
        backbone, description = load_backbone(self.folder / "backbone", seq)
        return backbone.to(self.device), description


def open_study(dataset: str, backbone: str, overrides: dict | None = None) -> Study:
    """The study of a dataset and a backbone, its parameters merged and its thread count set.

    Deterministic algorithms are asked of torch: the same inputs give the same bytes.
    """
    params = load_params(overrides=overrides, dataset=dataset, backbone=backbone)
    check_names(params.adapters.objectives)
    torch.set_num_threads(params.threads)
    torch.use_deterministic_algorithms(True, warn_only=True)
    torch.utils.deterministic.fill_uninitialized_memory = False  # costs time, changes nothing
    return Study(dataset, backbone, params)
