"""params.yaml: overrides, and settings that go together.  What is refused is in bad_inputs."""

from functools import partial
from itertools import product

import pytest
import yaml

from paragon.backbones import BACKBONES
from paragon.data.registry import REGISTRY
from paragon.params import ROOT, load_params
from paragon_study.pipeline.settings import check_all, check_dataset_of, check_settings
from paragon_study.pipeline.study import open_data, open_study
from tests.conftest import refused


def test_an_override_of_a_study_and_then_of_a_backbone_wins(tmp_path):
    content = yaml.safe_load((ROOT / "params.yaml").read_text())
    content["overrides"] = {
        "d": {"backbones": {"dropout": 0.1, "epochs": 7}, "data": {"k_core": 5}},
        "b": {"backbones": {"dropout": 0.2}, "run": {"seeds": [4]}},
    }
    (path := tmp_path / "params.yaml").write_text(yaml.safe_dump(content))
    both = load_params(path, study="d", backbone="b")
    assert (both.backbones.dropout, both.backbones.epochs, both.run.seeds) == (0.2, 7, [4])
    assert both.data.k_core == 5 and load_params(path, study="d").backbones.dropout == 0.1
    assert load_params(path, study="other") == load_params(path)
    last = load_params(path, {"backbones": {"dropout": 0.3}}, "d", "b").backbones
    assert (last.dropout, last.epochs) == (0.3, 7)


@pytest.mark.slow
def test_the_settings_of_every_study_that_can_be_added_go_together():
    """DVC asks for the entry of what it runs, and an entry for nothing would never be read."""
    listed = load_params().studies
    studies = listed.datasets | listed.others
    assert set(load_params().overrides) == {*BACKBONES, *studies}
    assert {*studies.values()} <= {*REGISTRY, "planted"}  # `python -m tests.planted` makes it
    for study, backbone in product(sorted(studies), BACKBONES):
        check_dataset_of(study, load_params())
        check_settings(load_params(study=study, backbone=backbone), "params.yaml")
    check_all()


def test_a_study_has_the_dataset_that_is_listed_or_the_one_with_its_name(tmp_path):
    studies = load_params().studies
    assert studies.dataset_of("ml-1m-time") == "ml-1m" and studies.dataset_of("ml-1m") == "ml-1m"
    assert studies.dataset_of("shop") == "shop"
    # One's own dataset is known as soon as it is fetched.
    content = yaml.safe_load((ROOT / "params.yaml").read_text())
    content["studies"]["datasets"]["shop-two"] = "shop"
    content["overrides"]["shop-two"] = {}
    (tmp_path / "params.yaml").write_text(yaml.safe_dump(content))
    said = refused("params.yaml: studies.datasets.shop-two", check_all, tmp_path)
    assert all(name in said for name in ("'shop'", *REGISTRY))
    (tmp_path / "data" / "shop").mkdir(parents=True)
    check_all(tmp_path)


def test_a_mistake_in_the_entry_of_a_study_stops_that_study_only(tmp_path, capsys, monkeypatch):
    content = yaml.safe_load((ROOT / "params.yaml").read_text())
    content["studies"]["datasets"] = {"right": "ml-100k", "wrong": "ml-100k"}
    for mistake in (
        {"adapters": {"snapshots": 10_000}},
        {"adapters": {"snapshot": 1}},
        {"adapters.snapshots": 1},
        {"adapters": "adapters.snapshots"},
    ):
        content["overrides"] |= {"right": {}, "wrong": mistake}
        (tmp_path / "params.yaml").write_text(yaml.safe_dump(content))
        check_all(tmp_path, opened="right")
        said = capsys.readouterr().err.splitlines()
        assert len(said) == 1 and "wrong" in said[0] and "adapters.snapshot" in said[0]
        refused("wrong", check_all, tmp_path, "wrong")
        refused("wrong", check_all, tmp_path)
    check_these = partial(check_all, tmp_path)
    monkeypatch.setattr("paragon_study.pipeline.study.check_all", check_these)
    for opened in (open_data, partial(open_study, backbone="sasrec")):
        opened("right")
        refused("wrong", opened, "wrong")


def test_an_entry_for_no_study_is_refused_if_it_would_change_something(tmp_path):
    content = yaml.safe_load((ROOT / "params.yaml").read_text())
    content["studies"]["others"]["mine"] = "ml-100k"
    content["overrides"] |= {"mien": {"backbones": {"epochs": 2}}, "gone": {}}
    (tmp_path / "params.yaml").write_text(yaml.safe_dump(content))
    refused("overrides.mien", check_all, tmp_path)
    content["overrides"]["mine"] = content["overrides"].pop("mien")
    (tmp_path / "params.yaml").write_text(yaml.safe_dump(content))
    check_all(tmp_path)


def test_a_missing_file_and_a_wrong_override_are_refused(tmp_path):
    refused(str(path := tmp_path / "params.yaml"), load_params, path)
    refused("backbones.dmi", load_params, overrides={"backbones": {"dmi": 8}})
