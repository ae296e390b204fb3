"""Open a study, and load what its stages wrote."""

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from paragon.adapters.collection import Collection, load_collection
from paragon.backbones import Backbone, load_backbone, save_backbone
from paragon.backbones.training import Fitted
from paragon.data.fetch import load_dataset
from paragon.data.sequences import Sequences, load_sequences, save_sequences
from paragon.data.table import Dataset
from paragon.errors import ParagonError
from paragon.evaluation.evaluate import Results
from paragon.evaluation.methods import Trained
from paragon.evaluation.protocol import held_out
from paragon.generator.generator import Generator, load_generators
from paragon.metrics.ranking import ndcg_at, target_ranks
from paragon.objectives.table import check_objectives, check_served
from paragon.params import (
    ARTIFACTS,
    CHECKPOINTS,
    DATA,
    NO_RESULT,
    RESULTS,
    Params,
    Section,
    load_params,
)
from paragon.rivals.baselines import beside_baselines
from paragon.rivals.end_to_end import EndToEnd, load_end_to_end
from paragon.rivals.retrain import Retrained, load_retrained, retrain_weights
from paragon.storage import check_match, check_name, loading, write_json
from paragon_study.pipeline.settings import check_all, check_settings

SERVED = "generated"  # the generator that is exported


@dataclass(frozen=True)
class Study:
    """A study of params.yaml with one backbone, under one set of parameters."""

    name: str
    backbone: str
    params: Params

    @property
    def dataset(self) -> str:
        """The name of the dataset."""
        return self.params.studies.dataset_of(self.name)

    @property
    def folder(self) -> Path:
        """The folder of the stages' artifacts."""
        return ARTIFACTS / self.name / self.backbone

    @property
    def results(self) -> Path:
        """The folder of metrics, curves and figures."""
        return RESULTS / self.name / self.backbone

    def write_results(self, results: Results) -> None:
        """Write the results, and the settings that they were made with: settings.json."""
        results.write(self.results)
        settings = self.params.model_dump(mode="json", exclude=NO_RESULT)
        write_json(self.results / "settings.json", settings)

    @property
    def device(self) -> torch.device:
        """``run.device`` of params.yaml; ``auto`` is a CUDA GPU if available, else the CPU."""
        name = self.params.run.device
        count = torch.cuda.device_count()
        if name == "auto":
            name = "cuda" if count else "cpu"
        device = torch.device(name)
        if device.type == "cuda" and (device.index or 0) >= count:
            found = f"this machine has {count} CUDA GPUs, counted from 0"
            raise ParagonError(f"params.yaml: run.device: {name!r} was asked for, {found}")
        return device

    def checkpoint(self, name: str) -> Path | None:
        """Return the checkpoint file of a long training, or None outside the pipeline."""
        folder = os.environ.get(CHECKPOINTS)
        return Path(folder) / f"{name}.safetensors" if folder else None

    def _check(self, stage: str, description: dict, settings: Section, **expected: object) -> None:
        """Refuse artifacts made with settings other than those of params.yaml."""
        where = f"{self.folder / stage}: made with other settings"
        check_match({"settings": settings.model_dump(), **expected}, description, where, stage)

    def load_sequences(self) -> Sequences:
        """Load the sequences that notebook 01 wrote."""
        sequences = load_sequences(ARTIFACTS / self.name / "data")
        expected = {"dataset": self.dataset, **self.params.data.model_dump()}
        where = f"{ARTIFACTS / self.name}: made with other settings"
        check_match(expected, sequences.description, where, "data")
        # Before anything is trained.
        check_objectives(self.params.adapters.objectives, sequences)
        check_served(sequences.met_in_training(), self.params.adapters.served)
        return sequences

    def save_backbone(self, backbone: Backbone, sequences: Sequences, fitted: Fitted) -> None:
        """Store the trained backbone with its data, settings and curves, and how good it is.

        Only if rules without parameters are as good, the field ``warning`` says so.
        """
        stem = self.folder / "backbones" / "backbone"
        text = beside_baselines(-min(fitted.validation), sequences)
        more = {"warning": text} if text.startswith("WARNING") else {}
        save_backbone(backbone, sequences, self.params.backbones, fitted, stem, **more)

    def load_backbone(self, sequences: Sequences) -> tuple[Backbone, dict]:
        """Load the frozen backbone of notebook 02 on the study's device, and its description."""
        backbone, description = load_backbone(self.folder / "backbones" / "backbone", sequences)
        self._check("backbones", description, self.params.backbones, backbone=self.backbone)
        return backbone.to(self.device), description

    def ndcg_by_user(self) -> np.ndarray:
        """Measure NDCG@10 of the trained backbone on validation events, in the mean of each user.

        At most 2,000 events are taken.  Raises ``ParagonError`` if there is no trained backbone.
        """
        sequences, backbone, _ = self.load_frozen()
        valid = sequences.valid[sequences.valid.sample_rows()]
        with torch.no_grad():
            states = backbone.states_before(sequences, valid.users, valid.positions)
            scores = backbone.score_catalogue(states).cpu().numpy()  # [N, n + 1]
        ranks = target_ranks(scores, valid.targets, sequences.excluded(valid))
        events = np.bincount(valid.users)  # [U]
        total = np.bincount(valid.users, ndcg_at(ranks, 10))  # [U]
        return total[events > 0] / events[events > 0]

    def load_frozen(self) -> tuple[Sequences, Backbone, dict]:
        """Load data, frozen backbone and its description."""
        sequences = self.load_sequences()
        return sequences, *self.load_backbone(sequences)

    def load_collection(self, backbone: dict) -> Collection:
        """Load the adapters that notebook 03 tuned for the ``backbone`` with this description."""
        collection = load_collection(self.folder / "adapters" / "collection", backbone)
        seeds = self.params.run.seeds
        self._check("adapters", collection.description, self.params.adapters, seeds=seeds)
        return collection

    def load_generators(
        self, name: str, collection: Collection, folder: Path | None = None
    ) -> list[Generator]:
        """Load the generators ``name`` of notebook 04, or of a folder, one for each seed."""
        generators = load_generators(folder or self.folder / "generator", name, collection)
        for generator in generators:
            self._check("generator", generator.description, self.params.of_generator(name))
        return generators

    def load_served(self) -> tuple[Sequences, Backbone, dict, Generator]:
        """Load what serving needs: data, backbone, its description, generator of the first seed."""
        sequences, backbone, description = self.load_frozen()
        generators = self.load_generators(SERVED, self.load_collection(description))
        return sequences, backbone, description, generators[0]

    def load_rivals(self, backbone: dict, folder: Path | None = None) -> list[dict[str, EndToEnd]]:
        """Load the rivals that notebook 05 trained end to end, by seed, then by name."""
        folder = folder or self.folder / "rivals"
        names = self.params.rivals.end_to_end
        rivals = []
        for seed in self.params.run.seeds:
            rivals.append({n: load_end_to_end(folder, n, seed, backbone) for n in names})
            for rival in rivals[-1].values():
                self._check("rivals", rival.description, self.params.rivals)
        return rivals

    def load_retrained(self, sequences: Sequences) -> dict[int, Iterator[Retrained]]:
        """Load the retrained models by seed, lazily, one for each weight."""

        def models(seed: int) -> Iterator[Retrained]:
            for weights in retrain_weights(self.params):
                model = load_retrained(
                    self.backbone, sequences, self.params, self.folder / "rivals", weights, seed
                )
                yield model.to(self.device)

        return {seed: models(seed) for seed in self.params.run.seeds[: self.params.rivals.seeds]}

    def about_category_bias(self, backbone: dict) -> dict:
        """Return the description that a stored `category_bias` must have."""
        return {
            "kind": "category_bias",
            "seeds": self.params.run.seeds,
            "backbone": backbone["sha256"],
            "settings": self.params.adapters.model_dump(),
        }

    def load_category_bias(self, backbone: dict) -> torch.Tensor:
        """Load the category biases that notebook 05 tuned, ``[S, W, M]``."""
        stem = self.folder / "rivals" / "category_bias"
        about = self.about_category_bias(backbone)
        with loading(stem, "rivals", about) as (tensors, _):
            return tensors["bias"]

    def load_trained(self) -> Trained:
        """Load all trained models, and the test events."""
        sequences, backbone, about = self.load_frozen()
        collection = self.load_collection(about)
        settings = self.params.adapters
        cutoffs = self.params.evaluation.cutoffs
        valid, test, test_set = held_out(sequences, backbone, settings, cutoffs)
        names = self.params.generators
        return Trained(
            valid=valid,
            test=test,
            test_set=test_set,
            collection=collection,
            weights=collection.oracles,
            generators={name: self.load_generators(name, collection) for name in names},
            learned=self.load_rivals(about),
            category_bias=self.load_category_bias(about),
            retrain_weights=retrain_weights(self.params),
            retrained=self.load_retrained(sequences),
        )


@dataclass(frozen=True)
class StudyData:
    """The data of a study and their preparation, shared by all backbones."""

    name: str
    dataset: str
    settings: Section
    objectives: Sequence[str] = ()

    def load(self) -> Dataset:
        """Load and check the raw data."""
        return load_dataset(self.dataset, DATA)

    def save(self, sequences: Sequences) -> None:
        """Write the sequences, and data.json for readers, if the data support the objectives."""
        check_objectives(self.objectives, sequences)
        save_sequences(sequences, ARTIFACTS / self.name / "data")
        write_json(RESULTS / self.name / "data.json", sequences.description)


def open_data(study: str, overrides: dict | None = None) -> StudyData:
    """Open the data of a study with its settings, after a check of the settings of all studies."""
    check_name(study, "study")
    check_all(opened=study)
    params = load_params(overrides=overrides, study=study)
    dataset = params.studies.dataset_of(study)
    return StudyData(study, dataset, params.data, params.adapters.objectives)


def open_study(
    name: str, backbone: str, overrides: dict | None = None, checked: bool = True
) -> Study:
    """Open a study; make torch deterministic, on one thread; if ``checked``, check all settings."""
    check_name(name, "study")
    check_name(backbone, "backbone")
    params = load_params(overrides=overrides, study=name, backbone=backbone)
    if checked:
        check_all(opened=name)
        check_settings(params, f"params.yaml, study {name} with {backbone}")
    torch.set_num_threads(1)
    torch.use_deterministic_algorithms(True, warn_only=True)
    # Filling new memory costs time and changes no result.
    torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]
    return Study(name, backbone, params)
