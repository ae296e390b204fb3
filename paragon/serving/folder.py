"""The folder of an exported recommender: its files, and how its parts are read."""

from pathlib import Path

from paragon.backbones import BACKBONES, Backbone
from paragon.data.sequences import Sequences, load_sequences
from paragon.serving.check import (
    check_backbone_part,
    check_data,
    check_events,
    check_parameters,
    stored_in,
)
from paragon.storage import load_tensors, loading

FORMAT = 2  # version of the folder format; increase it if older versions cannot read it
EXPORT = "python -m paragon export"
PARTS = ("sequences", "backbone", "generator")
FILES = ("README.md", *(f"{p}.{e}" for p in ("paragon", *PARTS) for e in ("json", "safetensors")))


def parts_of(folder: Path) -> dict[str, dict]:
    """Return the description of each part; ``ParagonError`` if one is missing or altered."""
    descriptions = {}
    for name in PARTS:
        stored_in(folder / name)
        _, descriptions[name] = load_tensors(folder / name, EXPORT)
    return descriptions


def checksums_of(parts: dict[str, dict]) -> dict[str, str]:
    """Return the checksum in each description."""
    return {name: description["sha256"] for name, description in parts.items()}


def load_exported_data(folder: Path, description: dict) -> Sequences:
    """Load the items, and what else there is of the data, after a check of types and shapes."""
    stem = folder / "sequences"
    check_data(stem, description)
    data = load_sequences(folder)
    check_events(stem, data)
    return data


def load_exported_backbone(stem: Path, data: Sequences) -> tuple[Backbone, str]:
    """Load a frozen backbone, and the checksum of the trained backbone that it was made of.

    Raises ``ParagonError`` if it is missing or altered, or was trained on other data.
    """
    expected = {"kind": "backbone", "data": data.description}
    with loading(stem, EXPORT, expected) as (tensors, description):
        settings = check_backbone_part(stem, description, data, BACKBONES)
        check_parameters(stem, tensors, data)
        backbone = BACKBONES[description["backbone"]](data, settings)
        backbone.load_state_dict(tensors)
        return backbone.eval().requires_grad_(False), description["trained"]
