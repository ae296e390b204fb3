import json
import re
import shutil
import time

import pytest
import yaml

from paragon import progress
from paragon.params import ROOT, load_params
from paragon_study.running import times
from tests.study.conftest import wait_until


@pytest.fixture
def root(tmp_path):
    shutil.copy(ROOT / "params.yaml", tmp_path)
    return tmp_path


def test_the_stages_are_those_of_the_pipeline():
    params, stages = load_params(), yaml.safe_load((ROOT / "dvc.yaml").read_text())["stages"]
    found = times.pipeline(params)
    sizes = [len(params.studies.datasets) * len(params.studies.backbones), 1]
    assert len(found) == len(params.studies.datasets) + sizes[0] * (len(stages) - 2) + 1
    run = {m[1] for s in stages.values() if (m := re.search(r"paragon run (\S+)", s["cmd"]))}
    assert {name.split()[0] for name in found} == {*run, "compare"}


def test_a_run_says_where_it_is_and_what_is_left(root):
    study = "ml-100k", "sasrec"
    typical = times.in_words(times.TYPICAL["05_rivals"])
    assert times.stage_begins("05_rivals", *study, root=root).endswith(f"sasrec: about {typical}")
    assert times.stage_begins("07_ablations", *study, root=root) == ""
    first = times.stage_done(10, "01_data", "ml-100k", root=root)
    count = len(times.pipeline(load_params()))
    assert first.startswith(f"stage 1 of {count}: 01_data ml-100k took 10 s, at most ")
    slow = times.stage_done(550, "02_backbones", "ml-100k", "sasrec", root=root)
    assert slow.startswith(f"stage 2 of {count}: ")  # ten times the typical time: so will the rest
    left = sum(times.TYPICAL[n] for n in ("03_adapters", "04_generator", "05_rivals")) * 9
    hours = re.search(r"at most (\d+) h", slow)
    assert hours and int(hours[1]) >= left / 3600 * 3
    slow = times.in_words(10 * times.TYPICAL["05_rivals"])
    assert times.stage_begins("05_rivals", *study, root=root).endswith(f"sasrec: about {slow}")
    assert times.stage_done(3, "07_ablations", "x", "y", root=root) == "07_ablations x y took 3 s"
    record = json.loads((root / "artifacts" / "times.json").read_text())
    for name in times.pipeline(load_params())[2:]:
        said = times.stage_done(1, *name.split(), root=root)
    assert said.endswith("compare took 1 s, the last one")
    assert set(record) < set(times.load_times(root))
    again = times.stage_done(1, "01_data", "ml-100k", root=root)  # a new run
    assert again.startswith(f"stage 1 of {count}: ") and again.endswith("left")
    expected = 550 + count - 2
    assert times.in_words(expected) in again  # what the others took before


def test_nothing_is_promised_of_a_dataset_that_was_never_timed(root):
    text = (root / "params.yaml").read_text()
    (root / "params.yaml").write_text(text.replace("datasets: [ml-100k]", "datasets: [ml-1m]"))
    study = "ml-1m", "sasrec"
    assert (
        times.stage_begins("02_backbones", *study, root=root) == "02_backbones ml-1m sasrec begins"
    )
    assert times.stage_done(9, "01_data", "ml-1m", root=root).endswith("01_data ml-1m took 9 s")
    times.stage_done(3000, "02_backbones", *study, root=root)
    assert "about 50 min" in times.stage_begins("02_backbones", "ml-1m", "gru4rec", root=root)


def test_a_long_stage_says_how_far_it_is(tmp_path, monkeypatch, capsys):
    line = tmp_path / "progress"
    monkeypatch.setattr(times, "SAID_EVERY", 0.01)
    monkeypatch.setattr(progress, "SECONDS", 0.0)
    monkeypatch.setenv(progress.LINE, str(line))
    said = []

    def heard(words):
        said.extend(capsys.readouterr().out.splitlines())
        return words in said

    ways = {
        "02_backbones: 3 of 4 epochs, about 0 s left": range(4),
        "02_backbones: 3 epochs": iter(range(4)),  # how many is not known
    }
    for words, steps in ways.items():
        with times.said_from_time_to_time("02_backbones", line):
            for step in progress.progress(steps, "epochs"):
                time.sleep(0.1)
                if step == 3:
                    wait_until(lambda words=words: heard(words))
    assert len(said) == len(set(said))


@pytest.mark.parametrize(
    "record",
    [
        *('{"x": {}}', '{"x": 3}', '{"x y": {"seconds": NaN}}', '{"": {"seconds": 1}}'),
        *('{"06_evaluation": {"seconds": 1}}', "[]", "[" * 100_000),
    ],
)
def test_a_broken_record_is_begun_anew(root, record):
    path = root / "artifacts" / "times.json"
    path.parent.mkdir()
    path.write_text(record)
    assert times.recomputed(root) == []
    assert " about " in times.stage_begins("01_data", "ml-100k", root=root)
    assert times.stage_done(6, "01_data", "ml-100k", root=root).startswith("stage 1 of ")
    assert list(json.loads(path.read_text())) == ["01_data ml-100k"]


def test_a_line_that_cannot_be_written_ends_no_training(tmp_path, monkeypatch):
    monkeypatch.setattr(progress, "SECONDS", 0.0)
    monkeypatch.setenv(progress.LINE, str(tmp_path / "gone" / "progress"))
    assert list(progress.progress(range(4), "epochs")) == [0, 1, 2, 3]


def test_durations_in_words():
    assert [times.in_words(s) for s in (0.4, 99, 100, 3590, 4200)] == [
        *("0 s", "99 s", "2 min", "1 h 0 min", "1 h 10 min")
    ]
