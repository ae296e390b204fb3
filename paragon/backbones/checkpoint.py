"""Checkpoints from which an interrupted training resumes with bit-identical results.

One file holds everything and is replaced as a whole, so a process may be killed at any time.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor, nn

from paragon.errors import ParagonError
from paragon.storage import atomic_path, check_match

Part = nn.Module | torch.optim.Optimizer  # what changes in training
METHOD = ("metrics", "data", "objectives", "backbones", "adapters", "generator", "rivals")


@dataclass(frozen=True)
class Checkpoint:
    """The file of one training (None: store nothing) and all that the training depends on."""

    path: Path | None
    about: dict[str, Any]
    writes: bool = True

    def save(self, parts: Mapping[str, Part], record: dict[str, Any]) -> None:
        """Store ``parts``, the state of torch's random generators, and a JSON ``record``."""
        if self.path is None or not self.writes:
            return
        states = {name: _tensors(part) for name, part in parts.items()} | {"random": _random()}
        tensors = {
            f"{name}/{key}": tensor.detach().cpu().contiguous().clone()
            for name, state in states.items()
            for key, tensor in state.items()
        }
        text = json.dumps({**self._about(), "record": record})
        metadata = {"description": text, "sha256": _checksum(tensors, text)}
        with atomic_path(self.path) as path:
            path.write_bytes(save(tensors, metadata))

    def load(self, parts: Mapping[str, Part]) -> dict[str, Any] | None:
        """Restore ``parts`` and the random generators; return the record, or None without a file.

        Raise ``ParagonError`` for a file that was altered or belongs to another training.
        """
        if self.path is None or not self.path.exists():
            return None
        try:
            tensors, about = _read(self.path)
            check_match(self._about(), about, str(self.path))
        except ParagonError as error:
            raise ParagonError(
                f"training cannot go on from a checkpoint: {error}; to begin anew, delete the "
                f"folder {self.path.parent}"
            ) from error
        states: dict[str, dict[str, Tensor]] = {name: {} for name in parts}
        for name, tensor in tensors.items():
            first, _, key = name.partition("/")
            states.setdefault(first, {})[key] = tensor
        for name, part in parts.items():
            _restore(part, states[name])
        for device, state in states["random"].items():
            (torch.cuda if device == "cuda" else torch).set_rng_state(state)
        return about["record"]

    def _about(self) -> dict[str, Any]:
        return {**self.about, "torch": torch.__version__, "code": _code()}


def _read(path: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Read tensors and description, and verify the checksum."""
    try:
        with safe_open(path, "pt") as file:
            metadata = file.metadata() or {}
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except (SafetensorError, OSError) as error:
        raise ParagonError(f"{path} cannot be read ({error})") from error
    text = metadata.get("description", "")
    if _checksum(tensors, text) != metadata.get("sha256"):
        raise ParagonError(f"{path}: its checksum is wrong: the file was altered")
    return tensors, json.loads(text)


def _tensors(part: Part) -> dict[str, Tensor]:
    if isinstance(part, nn.Module):
        return part.state_dict()
    state = part.state_dict()["state"]
    return {f"{i}.{key}": value for i, values in state.items() for key, value in values.items()}


def _restore(part: Part, tensors: dict[str, Tensor]) -> None:
    if isinstance(part, nn.Module):
        part.load_state_dict(tensors)
        return
    state = part.state_dict()
    for name, tensor in tensors.items():
        number, key = name.split(".")
        state["state"].setdefault(int(number), {})[key] = tensor
    part.load_state_dict(state)


def _random() -> dict[str, Tensor]:
    """Return the states of torch's random generators, which dropout uses."""
    states = {"cpu": torch.get_rng_state()}
    return states | {"cuda": torch.cuda.get_rng_state()} if torch.cuda.is_available() else states


def _checksum(tensors: dict[str, Tensor], text: str) -> str:
    return hashlib.sha256(save(tensors) + text.encode()).hexdigest()


@cache
def _code() -> str:
    """SHA-256 of the method's modules, since a change of code may change the training."""
    package = Path(__file__).parents[1]
    files = sorted(path for folder in METHOD for path in (package / folder).rglob("*.py"))
    return hashlib.sha256(b"".join(path.read_bytes() for path in files)).hexdigest()
