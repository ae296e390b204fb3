"""Files are written whole or not at all, and what was altered is never loaded."""

import errno
import json
import os

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


def altered(key, value):
    def change(stem):
        path = stem.with_name(stem.name + ".json")
        about = json.loads(path.read_text())
        path.write_text(json.dumps(about | {key: value}))

    return change


def cut(suffix, keep):
    def change(stem):
        path = stem.with_name(stem.name + suffix)
        path.write_bytes(path.read_bytes()[:keep])

    return change


def swapped(stem):
    save_tensors(stem.with_name("other"), TENSORS, ABOUT | {"seed": 1})
    os.replace(stem.with_name("other.safetensors"), stem.with_name(stem.name + ".safetensors"))
    os.replace(stem.with_name("other.json"), stem.with_name("seed0.json.old"))
    text = json.loads(stem.with_name("seed0.json.old").read_text())
    stem.with_name("seed0.json").write_text(json.dumps(text | {"seed": 0}))


def written(suffix, data):
    return lambda stem: stem.with_name(stem.name + suffix).write_bytes(data)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (altered("floor", [0.5, 0.0]), "checksum"),
        (altered("settings", {"sampler_steps": 3}), "checksum"),
        (altered("sha256", "0" * 64), "checksum"),
        (swapped, "checksum"),
        (cut(".safetensors", 40), "checksum"),
        (cut(".safetensors", 0), "checksum"),
        (cut(".json", 20), "not valid JSON"),
        (written(".json", b"[1]"), "a JSON object is needed"),
        (written(".json", b"\xff\xfe"), "not valid UTF-8"),
        (written(".json", b'{"a": NaN}'), "checksum|not valid JSON"),
    ],
)
def test_what_was_altered_is_named_with_the_stage_that_makes_it(stem, change, words):
    change(stem)
    with pytest.raises(ParagonError, match=words) as raised:
        load_tensors(stem, "generator")
    assert "seed0" in str(raised.value) and "`generator`" in str(raised.value)


def test_numbers_that_are_not_finite_are_named(tmp_path):
    save_tensors(tmp_path / "x", {"mean": torch.tensor([1.0, torch.nan])}, {})
    with pytest.raises(ParagonError, match="`mean` holds numbers that are not finite"):
        load_tensors(tmp_path / "x", "generator")


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
