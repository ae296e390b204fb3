"""The demo page of a study: make its bundle, measure its lists again, write the page."""

import os
from pathlib import Path

import numpy as np
import pandas as pd

from paragon.data.fetch import load_dataset
from paragon.data.sequences import Sequences
from paragon.data.split import prepare
from paragon.params import ARTIFACTS, DATA, ROOT
from paragon.storage import require, save_tensors, write_text
from paragon_study.demo.page import Bundle, build_page, load_bundle, make_bundle, measured_again
from paragon_study.pipeline.study import Study

FAR = 0.001  # between means over test users: as much as one user changes


def renew_bundle(study: Study) -> None:
    """Make the files of a study in docs/demo anew from its trained models.

    Raises ``ParagonError`` with what to run if the models are not there.
    """
    stages = ("generator", "rivals")  # with all that they build on
    names = " ".join(f"{stage}@{study.name}-{study.backbone}" for stage in stages)
    for stage in stages:
        require(study.folder / stage, f"dvc repro {names}")
    bundle = make_bundle(study.load_trained())
    save_tensors(_stem(study), bundle.tensors, bundle.description)


def check_lists(study: Study) -> tuple[str, bool]:
    """Measure the lists of a study's bundle again: a table, and whether all are as recorded."""
    sequences = _sequences(study)
    path = require(study.results / "curve.csv", "evaluation")
    bundle = _bundle(study, sequences)
    table = measured_again(bundle, sequences, pd.read_csv(path))
    both = table.iloc[:, -2 * len(bundle.objectives) :].to_numpy()  # recorded, then here
    far = abs(np.subtract(*np.split(both, 2, axis=1))).max()
    text = table.to_string(index=False, float_format="{:.4f}".format)
    line = f"{os.path.relpath(path)} and these lists differ by {far:.1g} or less"
    return f"{text}\n{line}", bool(far <= FAR)


def write_page(study: Study, target: Path | None = None) -> Path:
    """Write the page of a study, to artifacts/demo.html without a ``target``; return its path."""
    target = target or ARTIFACTS / "demo.html"
    sequences = _sequences(study)
    write_text(target, build_page(_bundle(study, sequences), sequences))
    return target


def _bundle(study: Study, sequences: Sequences) -> Bundle:
    """Load the files of a study in docs/demo."""
    chosen = f"--study {study.name} --backbone {study.backbone}"
    return load_bundle(_stem(study), sequences, f"python -m paragon demo {chosen} --renew")


def _stem(study: Study) -> Path:
    return ROOT / "docs" / "demo" / f"{study.name}-{study.backbone}"


def _sequences(study: Study) -> Sequences:
    """Prepare the data anew: the page needs no artifacts."""
    return prepare(load_dataset(study.dataset, DATA), **study.params.data.model_dump())
