"""Where the parts of one study (a dataset and a backbone) are, and how to load them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import torch

from paragon.adapters.collection import Collection, load_collection
from paragon.backbones import Backbone, load_backbone
from paragon.data.sequences import Sequences, load
from paragon.errors import ParagonError
from paragon.generator.generator import Generator, load_generators
from paragon.params import ARTIFACTS, RESULTS, Params, load_params
from paragon.rivals.end_to_end import EndToEnd, load_end_to_end
from paragon.rivals.retrain import Retrained, load_retrained, retrain_seeds, retrain_weights
from paragon.study.settings import check_settings


@dataclass(frozen=True)
class Study:
    """One dataset and one backbone under one set of parameters.

    The loaders name the stage to run when a file is missing, and the field that
    differs when two files do not belong together.
    """

    dataset: str
    backbone: str
    params: Params

    @property
    def folder(self) -> Path:
        """What the stages make, a folder each."""
        return ARTIFACTS / self.dataset / self.backbone

    @property
    def results(self) -> Path:
        """What people read: metrics, curves, figures."""
        return RESULTS / self.dataset / self.backbone

    @property
    def device(self) -> torch.device:
        """``run.device`` of params.yaml; ``auto`` is a CUDA GPU if there is one, else the CPU."""
        name = self.params.run.device
        if name == "auto":
            name = "cuda" if torch.cuda.is_available() else "cpu"
        if name.startswith("cuda") and not torch.cuda.is_available():
            raise ParagonError(
                f"params.yaml: run.device: {name!r} was asked for, no CUDA GPU is here"
            )
        return torch.device(name)

    def load_sequences(self) -> Sequences:
        """Made by notebook 01."""
        return load(ARTIFACTS / self.dataset / "data")

    def load_backbone(self, sequences: Sequences) -> tuple[Backbone, dict]:
        """Made by notebook 02; frozen, on the study's device, with its description."""
        backbone, description = load_backbone(self.folder / "backbones" / "backbone", sequences)
        return backbone.to(self.device), description

    def load_collection(self, backbone: dict) -> Collection:
        """Made by notebook 03 for the ``backbone`` of this description."""
        return load_collection(self.folder / "adapters" / "collection", backbone)

    def load_generators(self, collection: Collection) -> list[Generator]:
        """Made by notebook 04, one for each seed of the collection."""
        return load_generators(self.folder / "generator", collection)

    def load_rivals(self, backbone: dict, folder: Path | None = None) -> list[list[EndToEnd]]:
        """Made by notebook 05: the rivals that are trained end to end, a list for each seed."""
        folder = self.folder / "rivals" if folder is None else folder
        return [
            [
                load_end_to_end(folder, name, seed, backbone)
                for name in self.params.rivals.end_to_end
            ]
            for seed in self.params.run.seeds
        ]

    def load_retrained(self, sequences: Sequences) -> dict[int, Iterator[Retrained]]:
        """Made by notebook 05, by seed: one model for each weight, loaded when it is needed."""
        return {seed: self._retrained(sequences, seed) for seed in retrain_seeds(self.params)}

    def _retrained(self, sequences: Sequences, seed: int) -> Iterator[Retrained]:
        folder = self.folder / "rivals"
        for weights in retrain_weights(self.params):
            model = load_retrained(self.backbone, sequences, self.params, folder, weights, seed)
            yield model.to(self.device)


def open_study(
    dataset: str, backbone: str, overrides: dict | None = None, checked: bool = True
) -> Study:
    """The study of a dataset and a backbone, its parameters merged and its thread count set.

    Deterministic algorithms are asked of torch: the same inputs give the same bytes.
    ``checked``: whether what the sections say together is checked, too.
    """
    params = load_params(overrides=overrides, dataset=dataset, backbone=backbone)
    if checked:
        check_settings(params, f"params.yaml, study {dataset} with {backbone}")
    torch.set_num_threads(params.run.threads)
    torch.use_deterministic_algorithms(True, warn_only=True)
    torch.utils.deterministic.fill_uninitialized_memory = False  # costs time, changes nothing
    return Study(dataset, backbone, params)
