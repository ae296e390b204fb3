"""The recommenders that are trained once, frozen and then adapted (chapter 2).

``base.py`` defines the interface, ``training.py`` the training. Enter new ones in ``BACKBONES``.
"""

from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch

from paragon import __version__
from paragon.backbones.base import Backbone, check_backbone
from paragon.backbones.deepfm import DeepFM
from paragon.backbones.graph import NGCF, LightGCN, PinSage
from paragon.backbones.sequential import GRU4Rec, SASRec, TiSASRec
from paragon.backbones.training import Checkpoint, Fitted, Training
from paragon.data.sequences import Sequences
from paragon.errors import ParagonError
from paragon.params import BackboneSettings
from paragon.storage import check_match, loading, save_tensors

BACKBONES: dict[str, type[Backbone]] = {
    b.name: b for b in (SASRec, GRU4Rec, TiSASRec, LightGCN, NGCF, PinSage, DeepFM)
}


def build(name: str, sequences: Sequences, settings: BackboneSettings, seed: int) -> Backbone:
    """Build an untrained backbone, with random parameters drawn from ``seed``.

    Raises ``ParagonError`` if no backbone has this name, or if it fails :func:`check_backbone`.
    """
    if name not in BACKBONES:
        known = ", ".join(BACKBONES)
        raise ParagonError(f"params.yaml: backbones: {name!r} is unknown; known: {known}")
    torch.manual_seed(seed)
    backbone = BACKBONES[name](sequences, settings)
    check_backbone(backbone, sequences)
    return backbone


def train_backbone(
    name: str,
    sequences: Sequences,
    settings: BackboneSettings,
    device: torch.device | str = "cpu",
    checkpoint: Path | None = None,
) -> tuple[Backbone, Fitted]:
    """Train a backbone until ``NDCG@10`` on validation events stops improving, then freeze it.

    ``checkpoint``: a file from which training goes on if it exists, and which is written after each
    epoch; None: no such file.  Returns the backbone of the best epoch and the course of training.
    """
    backbone = build(name, sequences, settings, settings.seed).to(device)
    state = Checkpoint(checkpoint, origin(name, sequences, settings))
    fitted = Training(backbone, sequences, settings).fit(settings.seed, state)
    return backbone.requires_grad_(False), fitted


def origin(name: str, sequences: Sequences, settings: BackboneSettings) -> dict[str, Any]:
    """Describe what a trained backbone depends on: its name, the data and the settings."""
    return {
        "kind": "backbone",
        "backbone": name,
        "data": sequences.description,
        "settings": settings.model_dump(),
    }


def save_backbone(
    backbone: Backbone,
    sequences: Sequences,
    settings: BackboneSettings,
    fitted: Fitted,
    stem: Path,
    **more: object,
) -> None:
    """Write the parameters to ``stem.safetensors`` and a description to ``stem.json``.

    The description holds the :func:`origin`, the course of training, the versions of the packages,
    and ``more``.
    """
    description = {
        **origin(backbone.name, sequences, settings),
        "training": asdict(fitted),
        "versions": {"paragon": __version__, "torch": torch.__version__.split("+")[0]},
        **more,
    }
    save_tensors(stem, backbone.state_dict(), description)


def load_backbone(stem: Path, sequences: Sequences) -> tuple[Backbone, dict]:
    """Load a frozen backbone and its description.

    Raises ``ParagonError`` if a file is missing or was altered, or if the backbone was trained on
    other data.
    """
    with loading(stem, "backbones") as (tensors, description):
        check_match(description["data"], sequences.description, f"{stem}.json", "backbones")
        settings = BackboneSettings(**description["settings"])
        backbone = BACKBONES[description["backbone"]](sequences, settings)
        backbone.load_state_dict(tensors)
    return backbone.eval().requires_grad_(False), description
