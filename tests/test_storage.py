"""Files are written whole or not at all, and what was altered is never loaded."""

import os
from pathlib import Path
from unittest.mock import Mock

import pytest
import torch

from paragon.errors import ParagonError
from paragon.storage import MARK, load_tensors, loading, save_tensors, write_json, write_text
from tests.conftest import refused, tree

TENSORS = {"mean": torch.arange(3.0), "order": torch.tensor([2, 0, 1])}
ABOUT = {"kind": "generator", "floor": [0.001, 0.0], "settings": {"sampler_steps": 2}}


@pytest.fixture
def stem(tmp_path):
    save_tensors(tmp_path / "seed0", TENSORS, ABOUT)
    return tmp_path / "seed0"


def test_what_was_saved_is_loaded_and_the_same_gives_the_same_bytes(stem, tmp_path):
    before, (tensors, about) = tree(tmp_path), load_tensors(stem, "generator")
    assert all(torch.equal(tensors[name], TENSORS[name]) for name in TENSORS)
    assert {key: about[key] for key in ABOUT} == ABOUT
    save_tensors(stem, TENSORS, ABOUT)
    assert tree(tmp_path) == before


@pytest.mark.parametrize("fails", [(os, "replace"), (Path, "write_text"), (Path, "write_bytes")])
def test_a_full_disk_is_one_line_and_keeps_what_was_there(stem, monkeypatch, fails):
    before = tree(stem.parent)
    with monkeypatch.context() as patched:
        patched.setattr(*fails, Mock(side_effect=OSError(28, "No space left on device")))
        refused((str(stem), "No space left"), save_tensors, stem, {"mean": torch.zeros(2)}, ABOUT)
    assert tree(stem.parent) == before


def test_what_json_cannot_hold_and_where_nothing_can_be_written(stem):
    before, about, nan = tree(stem.parent), stem.with_name("seed0.json"), {"mean": float("nan")}
    refused("seed0.json", save_tensors, stem, TENSORS, nan)
    refused("seed0.json", write_json, about, nan)
    refused("metrics.json", write_text, about / "metrics.json", "new")
    assert tree(stem.parent) == before


def test_a_lab_names_the_notebook_and_no_stage(stem, tmp_path, monkeypatch):
    def advice():
        yield refused("missing", load_tensors, tmp_path / "none", "generator")
        with pytest.raises(ParagonError) as caught, loading(stem, "generator", {"kind": "other"}):
            pass
        yield str(caught.value)

    lab = tmp_path / "lab"
    (lab / "notebooks").mkdir(parents=True)
    for name in ("03_adapters", "04_generator"):
        (lab / f"notebooks/{name}.ipynb").touch()
    monkeypatch.setenv("PARAGON_ROOT", str(lab))
    assert not any("04_generator" in text for text in advice())
    (lab / MARK).touch()
    for text in advice():
        assert "04_generator" in text and "dvc" not in text and "recover" not in text
        assert len(text.splitlines()) == 1
