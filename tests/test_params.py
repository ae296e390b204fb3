"""params.yaml: overrides, and settings that go together.  What is refused is in bad_inputs."""

from itertools import product

import yaml

from paragon.backbones import BACKBONES
from paragon.data.registry import SAME_FILES
from paragon.params import ROOT, load_params
from paragon_study.pipeline.settings import check_all, check_settings
from tests.conftest import refused


def test_an_override_of_a_dataset_and_then_of_a_backbone_wins(tmp_path):
    content = yaml.safe_load((ROOT / "params.yaml").read_text())
    content["overrides"] = {
        "d": {"backbones": {"dropout": 0.1, "epochs": 7}, "data": {"k_core": 5}},
        "b": {"backbones": {"dropout": 0.2}, "run": {"seeds": [4]}},
    }
    (path := tmp_path / "params.yaml").write_text(yaml.safe_dump(content))
    both = load_params(path, dataset="d", backbone="b")
    assert (both.backbones.dropout, both.backbones.epochs, both.run.seeds) == (0.2, 7, [4])
    assert both.data.k_core == 5 and load_params(path, dataset="d").backbones.dropout == 0.1
    assert load_params(path, dataset="other") == load_params(path)
    last = load_params(path, {"backbones": {"dropout": 0.3}}, "d", "b").backbones
    assert (last.dropout, last.epochs) == (0.3, 7)


def test_the_settings_of_every_study_that_can_be_added_go_together():
    """DVC asks for the entry of what it runs, and an entry for nothing would never be read."""
    datasets = {"ml-100k", "ml-1m", *SAME_FILES}
    assert set(load_params().overrides) == {*BACKBONES, *datasets}
    for dataset, backbone in product(sorted(datasets), BACKBONES):
        check_settings(load_params(dataset=dataset, backbone=backbone), "params.yaml")
    check_all()


def test_a_missing_file_and_a_wrong_override_are_refused(tmp_path):
    refused(str(path := tmp_path / "params.yaml"), load_params, path)
    refused("backbones.dmi", load_params, overrides={"backbones": {"dmi": 8}})
