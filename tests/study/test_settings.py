"""What several sections of params.yaml say together is checked before anything is trained."""

import pytest
import yaml

from paragon.errors import ParagonError
from paragon.params import ROOT, load_params
from paragon.study.settings import add, check_all, check_settings


def test_the_settings_of_every_study_that_can_be_added_go_together():
    special = load_params().special
    backbones = [name for name in special if not name.startswith("ml-")]
    for dataset in set(special) - set(backbones):
        for backbone in backbones:
            check_settings(load_params(dataset=dataset, backbone=backbone), "params.yaml")
    check_all()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"adapters": {"snapshots": 10}}, r"adapters\.snapshots: 10 have to be fewer than the 10"),
        ({"adapters": {"checks": 3000}}, r"adapters\.checks: 3000 of them in 1000 steps"),
        ({"backbones": {"heads": 5}}, r"backbones\.heads: 5 does not divide backbones\.dim 64"),
        ({"generator": {"heads": 3}}, r"generator\.heads: 3 does not divide generator\.width"),
        ({"published": {"heads": 3}}, r"published\.heads: 3 does not divide published\.width"),
        ({"generator": {"sampler_steps": 501}}, r"sampler_steps: 501 are more than the 500"),
        ({"adapters": {"negatives": 100}}, r"adapters\.negatives: 100 are more than the stored"),
        ({"evaluation": {"cutoffs": [10, 101]}}, r"cutoffs: 101 is more than the 100 candidates"),
        ({"adapters": {"anchors": [0.5, 0.5]}}, r"adapters\.anchors: an anchor is given twice"),
        ({"adapters": {"anchors": [0.2, 1.2]}}, r"no weight may be negative"),
        ({"rivals": {"retrain_weights": [0.55]}}, r"retrain_weights: \[0\.55.* multiples of 1/10"),
        ({"evaluation": {"few_anchors": [[0.001, 0.2, 1]]}}, r"few_anchors: no anchor .* 0\.2"),
    ],
)
def test_settings_that_do_not_go_together_are_named(change, message):
    with pytest.raises(ParagonError, match=message) as raised:
        check_settings(load_params(overrides=change), "params.yaml")
    assert "\n" not in str(raised.value)


def test_a_run_checks_the_settings_of_every_study(tmp_path):
    content = yaml.safe_load((ROOT / "params.yaml").read_text())
    content["special"]["tisasrec"] = content["special"]["tisasrec"] | {"adapters": {"checks": 5}}
    (tmp_path / "params.yaml").write_text(yaml.safe_dump(content))
    with pytest.raises(ParagonError, match=r"study ml-100k with tisasrec: adapters\.snapshots: 5"):
        check_all(tmp_path)
    del content["special"]["tisasrec"]["rivals"]
    (tmp_path / "params.yaml").write_text(yaml.safe_dump(content))
    with pytest.raises(ParagonError, match=r"special\.tisasrec: rivals is missing"):
        check_all(tmp_path)


@pytest.mark.parametrize("name", ["", "..", "/etc", "x; touch PWNED", "a/b", "-x", "n" * 250])
def test_a_name_that_is_none_is_refused(name, tmp_path):
    (tmp_path / "params.yaml").write_text((ROOT / "params.yaml").read_text())
    with pytest.raises(ParagonError, match="is not a name for a dataset or backbone"):
        add(name, tmp_path)
