"""What a killed DVC leaves half-written goes, and nothing else is touched."""

import pytest
import yaml
from dvc.repo import Repo

from paragon_study.running.stages import changed_stages, recover


@pytest.fixture
def root(tmp_path, monkeypatch):
    """A pipeline of two stages that was run."""
    monkeypatch.chdir(tmp_path)
    stages = {
        "first": {"cmd": "cp dep one", "deps": ["dep"], "outs": ["one"]},
        "last": {"cmd": "cp one two", "deps": ["one"], "outs": ["two"]},
    }
    (tmp_path / "dvc.yaml").write_text(yaml.safe_dump({"stages": stages}))
    (tmp_path / "dep").write_text("text")
    with Repo.init(no_scm=True) as repo:
        repo.reproduce()
    return tmp_path


def test_wherever_a_lock_file_was_cut_dvc_goes_on_to_the_same_file(root):
    path, running = root / "dvc.lock", root / ".dvc" / "tmp" / "rwlock"
    whole = path.read_text()
    running.write_text("{}")
    assert recover(root) == [] and changed_stages(root) == [] and running.exists()
    running.write_text("")
    assert recover(root) == [".dvc/tmp/rwlock"] and not running.exists()
    for length in [0, *range(1, len(whole) - 1, 9)]:
        path.write_text(whole[:length])
        recover(root)
        changes = changed_stages(root)  # no error
        assert length > 0.9 * len(whole) or changes[-1].startswith("last: ")
    path.write_text(whole[:200])
    assert recover(root) == ["dvc.lock"]
    with Repo() as repo:
        repo.reproduce()
    assert path.read_text() == whole
