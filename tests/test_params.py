from itertools import product

import pytest
import yaml

from paragon.backbones import BACKBONES
from paragon.errors import ParagonError
from paragon.params import ROOT, Params, load_params
from paragon_study.pipeline.settings import check_all, check_settings


@pytest.fixture
def changed(tmp_path):
    """A function that writes params.yaml with one key (dotted) set, or removed if None."""

    def write(key, value):
        content = yaml.safe_load((ROOT / "params.yaml").read_text())
        *sections, last = key.split(".")
        part = content
        for section in sections:
            part = part[section]
        part[last] = value
        if value is None:
            del part[last]
        path = tmp_path / "params.yaml"
        path.write_text(yaml.safe_dump(content))
        return path

    return write


def test_the_file_of_the_study_is_valid_and_frozen():
    params = load_params()
    with pytest.raises(ValueError, match="frozen"):
        params.run.threads = 3
    sections = set(yaml.safe_load((ROOT / "params.yaml").read_text()))
    assert sections == set(Params.model_fields)


def test_an_override_of_a_dataset_and_then_of_a_backbone_wins(changed):
    path = changed(
        "overrides",
        {
            "d": {"backbones": {"dropout": 0.1, "epochs": 7}, "data": {"k_core": 5}},
            "b": {"backbones": {"dropout": 0.2}, "run": {"seeds": [4]}},
        },
    )
    plain, both = load_params(path), load_params(path, dataset="d", backbone="b")
    assert (both.backbones.dropout, both.backbones.epochs, both.run.seeds) == (0.2, 7, [4])
    assert both.backbones.dim == plain.backbones.dim and both.data.k_core == 5
    assert load_params(path, dataset="d").backbones.dropout == 0.1
    assert load_params(path, dataset="other") == plain
    last = load_params(path, {"backbones": {"dropout": 0.3}}, "d", "b").backbones
    assert (last.dropout, last.epochs) == (0.3, 7)


def test_the_settings_of_every_study_that_can_be_added_go_together():
    """DVC asks for the entry of what it runs, and an entry for nothing would never be read."""
    overrides = load_params().overrides
    datasets = ["ml-100k", "ml-100k-paper", "ml-1m", "ml-1m-time"]
    assert set(overrides) == {*BACKBONES, *datasets}
    for dataset, backbone in product(datasets, BACKBONES):
        check_settings(load_params(dataset=dataset, backbone=backbone), "params.yaml")
    check_all()


def test_a_missing_file(tmp_path):
    with pytest.raises(ParagonError, match=r"params\.yaml: not found"):
        load_params(tmp_path / "params.yaml")


def test_overrides_of_the_call_are_checked():
    with pytest.raises(ParagonError, match=r"backbones\.dmi"):
        load_params(overrides={"backbones": {"dmi": 8}})


def test_a_key_that_is_no_name_is_refused(tmp_path):
    text = (ROOT / "params.yaml").read_text()
    (tmp_path / "params.yaml").write_text(text + "? [a, b]\n: 1\n")
    with pytest.raises(ParagonError, match="not valid YAML: .*unhashable key"):
        load_params(tmp_path / "params.yaml")
