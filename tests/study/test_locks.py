"""What a killed DVC leaves half-written is repaired, and nothing else is touched."""

import os
import signal
import subprocess
import time

import pytest
import yaml

from paragon.params import ROOT
from paragon_study.running.locks import COPY, keep_lock, recover
from paragon_study.running.studies import changed_stages
from tests.study.conftest import command, git, hear_signals, user_environment


def lock(*names):
    outs = [{"path": f"artifacts/{n}", "md5": "0" * 32, "size": n} for n in range(2)]
    stages = {name: {"cmd": f"run {name}", "outs": outs} for name in names}
    return yaml.safe_dump({"schema": "2.0", "stages": stages}, sort_keys=False)


@pytest.fixture
def root(tmp_path):
    (tmp_path / ".dvc" / "tmp").mkdir(parents=True)
    (tmp_path / "dvc.lock").write_text(lock("data", "backbones"))
    keep_lock(tmp_path)
    return tmp_path


def test_wherever_a_lock_file_was_cut_no_stage_is_forgotten(root):
    path, whole = root / "dvc.lock", lock("data", "backbones")
    repaired = 0
    for length in range(0, len(whole), 3):
        path.write_text(whole[:length])
        keep_lock(root)  # a stage that begins does not take it for whole
        names = recover(root)
        assert names in ([], ["dvc.lock"])
        repaired += bool(names)
        stages = yaml.safe_load(path.read_text())["stages"]
        assert {name: len(stage["outs"]) for name, stage in stages.items()} == {
            "data": 2, "backbones": 2,
        }  # fmt: skip
        # At most the last line is not as it was, and that DVC sees by itself.
        assert path.read_text().splitlines()[:-1] == whole.splitlines()[:-1]
    assert repaired > 0.9 * len(whole) / 3


def test_a_lock_file_that_was_changed_or_committed_is_left_alone(root):
    path, older, newer = root / "dvc.lock", lock("data"), lock("data", "backbones")
    for names in (["data", "backbones", "adapters"], ["backbones"], ["adapters", "data"]):
        path.write_text(lock(*names))
        assert recover(root) == [] and path.read_text() == lock(*names)
        keep_lock(root)
        path.write_text(lock(*names)[:30])
        assert recover(root) == ["dvc.lock"] and path.read_text() == lock(*names)
    path.write_text(newer)
    keep_lock(root)
    git(root, "init", "-q")
    path.write_text(older)
    git(root, "add", "dvc.lock")
    git(root, "commit", "-qm", "older")
    assert recover(root) == [] and path.read_text() == older
    path.write_text(newer[: len(newer) // 2])
    assert recover(root) == ["dvc.lock"] and path.read_text() == newer
    path.write_text(older)
    keep_lock(root)  # a stage begins, and DVC writes what it made
    path.write_text(older.replace("run data", "run more"))
    assert recover(root) == [] and "run more" in path.read_text()


def test_without_a_copy_nothing_is_repaired_and_an_empty_list_of_running_commands_goes(root):
    (root / COPY).unlink()
    (root / "dvc.lock").write_text("stages: {da")
    keep_lock(root)
    running = root / ".dvc" / "tmp" / "rwlock"
    running.touch()
    assert recover(root) == [".dvc/tmp/rwlock"] and not running.exists()
    running.write_text("{}")
    assert recover(root) == [] and running.exists()


def test_dvc_killed_while_it_writes_its_lock_file_forgets_stages_and_they_come_back(tmp_path):
    keep = (
        f"import sys; sys.path.insert(0, {str(ROOT)!r}); from pathlib import Path; "
        "from paragon_study.running.locks import keep_lock; keep_lock(Path())"
    )
    stage = {"cmd": f'python -c "{keep}"', "deps": ["dep"]}
    (tmp_path / "dvc.yaml").write_text(yaml.safe_dump({"stages": {"keep": stage}}))
    (tmp_path / "dep").touch()
    command(tmp_path, "dvc", "init", "--no-scm", "--quiet")
    path, whole = tmp_path / "dvc.lock", lock(*(f"stage-{n}" for n in range(300)))
    path.write_text(whole)
    assert [line.rpartition("keep: ")[2] for line in changed_stages(tmp_path)] == ["dep"]
    run = subprocess.Popen(
        ["dvc", "repro"],
        cwd=tmp_path,
        env=user_environment(),
        stdout=subprocess.DEVNULL,
        start_new_session=True,
        preexec_fn=hear_signals,
    )
    while path.stat().st_size >= len(whole):
        assert run.poll() is None, "the file was not seen while it was written"
        time.sleep(0.005)
    os.killpg(run.pid, signal.SIGKILL)
    run.wait()
    assert path.read_text() != whole
    assert recover(tmp_path) == ["dvc.lock"] and path.read_text() == whole
    command(tmp_path, "dvc", "repro")
    assert list(yaml.safe_load(path.read_text())["stages"])[-2:] == ["stage-299", "keep"]
