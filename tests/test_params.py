import pytest
import yaml

from paragon.backbones import BACKBONES
from paragon.errors import ParagonError
from paragon.params import ROOT, Params, load_params

# Each line names the one before it ten times: ten billion values.
BOMB = "a0: &a0 [x]\n" + "".join(
    f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]\n" for n in range(1, 11)
)


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


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        (
            "backbones.droput",
            0.1,
            r"params\.yaml: backbones\.droput: Extra inputs are not permitted",
        ),
        ("bakcbone", {}, r"params\.yaml: bakcbone: Extra inputs"),
        ("backbones.dropout", None, r"params\.yaml: backbones\.dropout: Field required$"),
        ("backbones.dropout", "0.3", r"backbones\.dropout: .* valid number, found '0\.3'"),
        ("backbones.epochs", 2.5, r"backbones\.epochs: .* valid integer, found 2\.5"),
        ("backbones.dropout", 1.5, r"backbones\.dropout: .* found 1\.5"),
        ("backbones.dim", 0, r"backbones\.dim: .* found 0"),
        ("backbones.learning_rate", float("nan"), r"backbones\.learning_rate: "),
        ("run.seeds", [0, "1"], r"seeds\.1: .* valid integer, found '1'"),
        ("run.seeds", [], r"seeds: .* at least 1 item"),
        ("run.threads", True, r"threads: .* valid integer, found True"),
        ("evaluation.resamples", 99, r"evaluation\.resamples: .* found 99"),
        ("data.split", "random", r"data\.split: .* found 'random'"),
        ("adapters.objectives", ["accuracy", "accuracy"], "named twice"),
        ("adapters", [1], r"adapters: "),
        ("adapters.objectives", ["novelty", "diversity"], "accuracy has to be among them"),
        ("run.seeds", [1, 1], "a seed is given twice"),
        ("run.seeds", [-1], r"run\.seeds\.0: .* found -1"),
        ("run.seeds", [2**64], r"run\.seeds\.0: .* found 18446744073709551616"),
        ("run.device", "gpu", r"run\.device: .* found 'gpu'"),
        ("generator.guidance", float("nan"), r"generator\.guidance: .* found nan"),
        ("studies.datasets", [".."], r"studies\.datasets\.0: .* found '\.\.'"),
        ("studies.backbones", ["x; touch PWNED"], r"studies\.backbones\.0: "),
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
        (BOMB, "more than 100,000 values"),
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
    assert (
        load_params(overrides={"run": {"seeds": [5]}, "backbones": {"dim": 8}}).backbones.dim == 8
    )
    with pytest.raises(ParagonError, match=r"backbones\.dmi"):
        load_params(overrides={"backbones": {"dmi": 8}})


def test_an_unknown_objective_is_named_before_any_stage_starts():
    from paragon.study.study import open_study

    with pytest.raises(ParagonError, match=r"adapters\.objectives: 'charm' is unknown; known: acc"):
        open_study("x", "y", overrides={"adapters": {"objectives": ["accuracy", "charm"]}})


def test_a_misspelt_key_is_named_as_it_was_written(tmp_path):
    text = (ROOT / "params.yaml").read_text(encoding="utf-8")
    path = tmp_path / "params.yaml"
    path.write_text(text.replace("  history: 50", "  histary: 50"), encoding="utf-8")
    with pytest.raises(ParagonError, match=r"backbones\.histary: .*not permitted, found 50"):
        load_params(path)
