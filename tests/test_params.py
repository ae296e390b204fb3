import pytest
import yaml

from paragon.backbones import BACKBONES
from paragon.errors import ParagonError
from paragon.params import ROOT, Params, load_params


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


def test_the_special_word_of_a_dataset_and_a_backbone_wins(changed):
    path = changed(
        "special",
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


def test_everything_known_has_a_valid_special_entry():
    """DVC asks for the entry of what it runs, and an entry for nothing would never be read."""
    special = load_params().special
    assert set(special) == {*BACKBONES, "ml-100k", "ml-100k-paper", "ml-1m", "ml-1m-time"}
    for name in special:
        load_params(dataset=name)


def test_a_bad_special_word_names_its_key(changed):
    path = changed("special", {"b": {"backbones": {"droput": 0.2}}})
    assert load_params(path, dataset="d")
    with pytest.raises(ParagonError, match=r"params\.yaml: special\.b\.backbones\.droput: Extra"):
        load_params(path, backbone="b")


def test_a_missing_file(tmp_path):
    with pytest.raises(ParagonError, match=r"params\.yaml: not found"):
        load_params(tmp_path / "params.yaml")


def test_overrides_win_and_are_checked():
    assert (
        load_params(overrides={"run": {"seeds": [5]}, "backbones": {"dim": 8}}).backbones.dim == 8
    )
    with pytest.raises(ParagonError, match=r"backbones\.dmi"):
        load_params(overrides={"backbones": {"dmi": 8}})


def test_a_key_that_is_no_name_is_refused(tmp_path):
    text = (ROOT / "params.yaml").read_text()
    (tmp_path / "params.yaml").write_text(text + "? [a, b]\n: 1\n")
    with pytest.raises(ParagonError, match=r"params\.yaml: not valid YAML: .*unhashable key"):
        load_params(tmp_path / "params.yaml")
