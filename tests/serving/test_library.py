"""The library without the study: what it imports, where it works, how one gets from end to end."""

import os
import shutil
import subprocess
import sys
import tomllib

import pytest
from packaging.requirements import Requirement

import paragon
from paragon import Recommender
from paragon.adapters.collection import collect, load_collection, save_collection
from paragon.backbones import load_backbone, save_backbone, train_backbone, training_record
from paragon.generator.generator import save_generator
from paragon.generator.training import train_generator
from paragon.params import ROOT, load_params
from tests.conftest import write_study
from tests.serving.test_app import ask, start

# What the other extras bring, and the parts of the package that need them.
STUDY = (
    *("IPython", "dvc", "fastapi", "ipywidgets", "jinja2", "joblib", "jupyter", "jupyterlab"),
    *("matplotlib", "nbformat", "papermill", "pooch", "ruamel", "seaborn", "statsmodels"),
    *("uvicorn", "paragon.evaluation", "paragon_study"),
)
BROUGHT = {"httptools", "latex2mathml", "nbconvert", "pillow"}  # what other packages bring, too
USE = """
import sys
sys.modules.update(dict.fromkeys({blocked!r}))
import paragon
assert "torch" not in sys.modules and "pandas" not in sys.modules
from paragon import Dataset, Recommender
assert Dataset.from_frame and "Recommender" in dir(paragon)
recommender = Recommender.load(sys.argv[1])
shown = recommender.recommend(recommender.items.ids[:3], {{"accuracy": 0.7, "diversity": 0.3}}, k=4)
recommender.recommend(recommender.items.ids[:3], [0.7, 0.3], rerank="xquad")
assert recommender.weights_for(accuracy_loss_at_most=0.5)
print(" ".join(shown.item_ids))
print(paragon.__file__)
"""


def python(code, *arguments, cwd, **variables):
    kept = {name: value for name, value in os.environ.items() if not name.startswith("PARAGON_")}
    done = subprocess.run(
        [sys.executable, "-c", code, *map(str, arguments)],
        cwd=cwd,
        env={**kept, "PYTHONPATH": "", **variables},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


def test_it_needs_nothing_of_the_study_and_no_other_files(exported, loaded, tmp_path):
    """An own copy of the package, in a folder without params.yaml, data or git."""
    ignored = shutil.ignore_patterns("__pycache__")
    shutil.copytree(ROOT / "paragon", tmp_path / "paragon", ignore=ignored)
    model = shutil.copytree(exported, tmp_path / "model")
    shown, place = python(USE.format(blocked=STUDY), model, cwd=tmp_path)
    assert place == str(tmp_path / "paragon" / "__init__.py")
    expected = loaded.recommend(loaded.items.ids[:3], {"accuracy": 0.7, "diversity": 0.3}, k=4)
    assert shown.split() == expected.item_ids


def test_a_clone_in_the_current_folder_does_not_hide_it(exported, tmp_path):
    """The installed package is found beside a folder of its name, the clone it comes from."""
    (tmp_path / "paragon").mkdir()
    (tmp_path / "paragon" / "paragon").symlink_to(ROOT / "paragon")
    _, place = python(USE.format(blocked=STUDY), exported, cwd=tmp_path)
    assert place == str(ROOT / "paragon" / "__init__.py")


def test_an_attribute_that_does_not_exist():
    with pytest.raises(AttributeError, match="'paragon' has no attribute 'Recomender'"):
        paragon.Recomender  # noqa: B018


def test_the_library_alone_has_few_dependencies():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    names = {Requirement(line).name for line in project["dependencies"]}
    assert names == {
        *("numpy", "pandas", "pydantic", "pyyaml", "safetensors", "scipy", "torch", "tqdm"),
        "typer",
    }
    blocked = {name.partition(".")[0] for name in STUDY}
    extras = project["optional-dependencies"]
    for line in [*extras["study"], *extras["serve"]]:
        name = Requirement(line).name
        assert name.partition(".")[0] in blocked | BROUGHT, name


def test_a_command_without_its_extra_says_how_to_get_it(exported):
    code = (
        "import sys; sys.modules['fastapi'] = None; sys.argv[1:1] = ['serve']\n"
        "from paragon.__main__ import main; main()"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(exported)], cwd=ROOT, capture_output=True, text=True
    )
    assert done.returncode == 1
    assert (
        done.stderr == "error: fastapi is not installed; it comes with `pip install '.[serve]'`\n"
    )


@pytest.fixture
def study(tmp_path, seqs):
    """The folder of a small study that has been run: params.yaml and artifacts."""
    root = tmp_path / "study"
    write_study(root, seqs)
    params, made = load_params(root / "params.yaml"), root / "artifacts" / "toy"
    model, fitted = train_backbone("sasrec", seqs, params.backbones)
    stem = made / "sasrec" / "backbones" / "backbone"
    save_backbone(model, training_record("sasrec", seqs, params.backbones, fitted), stem)
    _, about = load_backbone(stem, seqs)
    belongs = {"backbone": about["sha256"]}
    collection = collect(model, seqs, params.adapters, params.run.seeds, belongs)
    save_collection(collection, made / "sasrec" / "adapters" / "collection")
    collection = load_collection(made / "sasrec" / "adapters" / "collection")
    for seed in params.run.seeds:
        generator = train_generator(collection, params.generator, seed)
        save_generator(generator, made / "sasrec" / "generator" / f"seed{seed}")
    return root


def test_from_a_study_to_a_list_and_to_a_running_service(study, seqs, tmp_path):
    """`export`, then `Recommender.load`, then `serve`: the commands of the documentation."""
    command = [sys.executable, "-m", "paragon", "export", str(tmp_path / "model")]
    variables = {**os.environ, "PARAGON_ROOT": str(study)}
    done = subprocess.run(command, cwd=ROOT, env=variables, capture_output=True, text=True)
    assert done.returncode == 0 and "its README.md says what it is" in done.stdout, done.stderr
    recommender = Recommender.load(tmp_path / "model")
    history, weights = seqs.item_ids[:3], {"accuracy": 0.7, "diversity": 0.3}
    shown = recommender.recommend(history, weights, k=4)
    process, address = start(tmp_path / "model")
    status, found = ask(address, body={"history": history, "weights": weights, "k": 4})
    process.kill()
    process.communicate()
    assert status == 200 and [item["item_id"] for item in found["items"]] == shown.item_ids
    done = subprocess.run(
        [*command[:-1], str(study)], cwd=ROOT, env=variables, capture_output=True, text=True
    )
    assert done.returncode == 1 and "holds the study itself" in done.stderr
