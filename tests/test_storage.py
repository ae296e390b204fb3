"""Files are written whole or not at all, and what was altered is never loaded."""

import errno
import os
from pathlib import Path

import pytest
import torch

from paragon.errors import ParagonError
from paragon.storage import load_tensors, save_tensors, write_text

TENSORS = {"mean": torch.arange(3.0), "order": torch.tensor([2, 0, 1])}
ABOUT = {"kind": "generator", "floor": [0.001, 0.0], "settings": {"sampler_steps": 2}}


@pytest.fixture
def stem(tmp_path):
    save_tensors(tmp_path / "seed0", TENSORS, ABOUT)
    return tmp_path / "seed0"


def test_what_was_saved_is_loaded_and_the_same_gives_the_same_bytes(stem, tmp_path):
    tensors, about = load_tensors(stem, "generator")
    assert all(torch.equal(tensors[name], TENSORS[name]) for name in TENSORS)
    assert {key: about[key] for key in ABOUT} == ABOUT
    save_tensors(tmp_path / "again", TENSORS, ABOUT)
    for suffix in (".safetensors", ".json"):
        assert (tmp_path / f"again{suffix}").read_bytes() == (
            tmp_path / f"seed0{suffix}"
        ).read_bytes()


def test_a_full_disk_is_one_line_and_keeps_what_was_there(tmp_path, monkeypatch):
    target = tmp_path / "metrics.json"
    write_text(target, "old")

    def full(*_):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "replace", full)
    with pytest.raises(ParagonError, match="No space left on device; what was there is kept"):
        write_text(target, "new")
    assert [path.name for path in tmp_path.iterdir()] == ["metrics.json"]
    assert target.read_text() == "old"


def test_a_folder_that_cannot_be_written_to_is_one_line(tmp_path):
    (tmp_path / "results").write_text("a file")
    with pytest.raises(ParagonError, match="cannot be written"):
        write_text(tmp_path / "results" / "metrics.json", "new")


def full_disk(*_, **__):
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


@pytest.mark.parametrize(
    ("about", "write", "reason"),
    [
        ({"mean": float("nan")}, None, "not JSON compliant"),
        (ABOUT, "write_text", "No space left on device"),
        (ABOUT, "write_bytes", "No space left on device"),
    ],
)
def test_an_artifact_that_cannot_be_written_keeps_the_old_one(
    stem, monkeypatch, about, write, reason
):
    if write:
        monkeypatch.setattr(Path, write, full_disk)
    with pytest.raises(
        ParagonError, match=f"cannot be written: .*{reason}.*what was there is kept"
    ):
        save_tensors(stem, {"mean": torch.zeros(2)}, about)
    monkeypatch.undo()
    tensors, _ = load_tensors(stem, "generator")
    assert torch.equal(tensors["mean"], TENSORS["mean"])
    assert sorted(path.name for path in stem.parent.iterdir()) == [
        *("seed0.json", "seed0.safetensors")
    ]


def test_what_makes_a_file_is_a_stage_or_a_command(stem):
    export = "python -m paragon export"
    with pytest.raises(ParagonError, match=r"run `dvc repro` up to the stage `adapters` first"):
        load_tensors(stem.with_name("none"), "adapters")
    with pytest.raises(ParagonError, match=f"missing: run `{export}` first"):
        load_tensors(stem.with_name("none"), export)
    stem.with_name("seed0.json").write_text("{}")
    with pytest.raises(ParagonError, match=f"; run `{export}` again"):
        load_tensors(stem, export)
