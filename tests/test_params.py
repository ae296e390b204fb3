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
        params.threads = 3
    sections = set(yaml.safe_load((ROOT / "params.yaml").read_text()))
    assert sections == set(Params.model_fields)


def test_the_special_word_of_a_dataset_and_a_backbone_wins(changed):
    path = changed(
        "special",
        {
            "d": {"backbone": {"dropout": 0.1, "epochs": 7}, "preprocess": {"k_core": 5}},
            "b": {"backbone": {"dropout": 0.2}, "seeds": [4]},
        },
    )
    plain, both = load_params(path), load_params(path, dataset="d", backbone="b")
    assert (both.backbone.dropout, both.backbone.epochs, both.seeds) == (0.2, 7, [4])
    assert both.backbone.dim == plain.backbone.dim and both.preprocess.k_core == 5
    assert load_params(path, dataset="d").backbone.dropout == 0.1
    assert load_params(path, dataset="other") == plain
    last = load_params(path, {"backbone": {"dropout": 0.3}}, "d", "b").backbone
    assert (last.dropout, last.epochs) == (0.3, 7)


def test_everything_known_has_a_valid_special_entry():
    """DVC asks for the entry of what it runs, and an entry for nothing would never be read."""
    special = load_params().special
    assert set(special) == {*BACKBONES, "ml-100k", "ml-100k-paper", "ml-1m", "ml-1m-time"}
    for name in special:
        load_params(dataset=name)


def test_a_bad_special_word_names_its_key(changed):
    path = changed("special", {"b": {"backbone": {"droput": 0.2}}})
    assert load_params(path, dataset="d")
    with pytest.raises(ParagonError, match=r"params\.yaml: special\.b\.backbone\.droput: Extra"):
        load_params(path, backbone="b")


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("backbone.droput", 0.1, r"params\.yaml: backbone\.droput: Extra inputs are not permitted"),
        ("bakcbone", {}, r"params\.yaml: bakcbone: Extra inputs"),
        ("backbone.dropout", None, r"params\.yaml: backbone\.dropout: Field required$"),
        ("backbone.dropout", "0.3", r"backbone\.dropout: .* valid number, found '0\.3'"),
        ("backbone.epochs", 2.5, r"backbone\.epochs: .* valid integer, found 2\.5"),
        ("backbone.dropout", 1.5, r"backbone\.dropout: .* found 1\.5"),
        ("backbone.dim", 0, r"backbone\.dim: .* found 0"),
        ("backbone.learning_rate", float("nan"), r"backbone\.learning_rate: "),
        ("seeds", [0, "1"], r"seeds\.1: .* valid integer, found '1'"),
        ("seeds", [], r"seeds: .* at least 1 item"),
        ("threads", True, r"threads: .* valid integer, found True"),
        ("evaluate.resamples", 99, r"evaluate\.resamples: .* found 99"),
        ("preprocess.split", "random", r"preprocess\.split: .* found 'random'"),
        ("adapters.objectives", ["accuracy", "accuracy"], "named twice"),
        ("adapters", [1], r"adapters: "),
    ],
)
def test_a_bad_value_names_its_key(changed, key, value, message):
    with pytest.raises(ParagonError, match=message) as raised:
        load_params(changed(key, value))
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a: [1", "not valid YAML"),
        ("- a", "a mapping of sections is needed, found list"),
        ("", "a mapping of sections is needed, found NoneType"),
    ],
)
def test_what_is_no_mapping(tmp_path, text, message):
    path = tmp_path / "params.yaml"
    path.write_text(text)
    with pytest.raises(ParagonError, match=message) as raised:
        load_params(path)
    assert "\n" not in str(raised.value)


def test_a_missing_file(tmp_path):
    with pytest.raises(ParagonError, match=r"params\.yaml: not found"):
        load_params(tmp_path / "params.yaml")


def test_overrides_win_and_are_checked():
    assert load_params(overrides={"seeds": [5], "backbone": {"dim": 8}}).backbone.dim == 8
    with pytest.raises(ParagonError, match=r"backbone\.dmi"):
        load_params(overrides={"backbone": {"dmi": 8}})


def test_an_unknown_objective_is_named_before_any_stage_starts():
    from paragon.study.study import open_study

    with pytest.raises(ParagonError, match=r"adapters\.objectives: 'charm' is unknown; known: acc"):
        open_study("x", "y", overrides={"adapters": {"objectives": ["accuracy", "charm"]}})


def test_a_misspelt_key_is_named_as_it_was_written(tmp_path):
    text = (ROOT / "params.yaml").read_text(encoding="utf-8")
    path = tmp_path / "params.yaml"
    path.write_text(text.replace("  patience: 8", "  patiance: 8"), encoding="utf-8")
    with pytest.raises(ParagonError, match=r"backbone\.patiance: .*not permitted, found 8"):
        load_params(path)
