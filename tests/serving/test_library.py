"""The library without the study: what it imports, where it works, how one gets from end to end."""

import os
import shutil
import subprocess
import sys
import tomllib

from packaging.requirements import Requirement

from paragon import Recommender
from paragon.adapters.collection import collect, load_collection, save_collection
from paragon.backbones import load_backbone, save_backbone, train_backbone
from paragon.generator.generator import save_generator
from paragon.generator.training import train_generator
from paragon.params import ROOT, load_params
from tests.conftest import write_study
from tests.serving.test_service import ask, start

# What the other extras bring, and the parts of the package that need them.
STUDY = (
    *("IPython", "dvc", "fastapi", "ipywidgets", "jinja2", "joblib", "jupyter", "jupyterlab"),
    *("matplotlib", "nbformat", "papermill", "pooch", "ruamel", "seaborn", "statsmodels"),
    *("tabulate", "uvicorn", "paragon.evaluation", "paragon_study"),
)
BROUGHT = {"latex2mathml", "nbconvert", "pillow"}  # what other packages bring, too
USE = """
import sys
sys.modules.update(dict.fromkeys({blocked!r}))
import paragon
assert "torch" not in sys.modules and "pandas" not in sys.modules
from paragon import Dataset, Recommender
assert Dataset.from_frame and "Recommender" in dir(paragon)
recommender = Recommender.load(sys.argv[1])
history = recommender.data.item_ids[:3]
best = recommender.recommend(history, {{"accuracy": 0.7, "diversity": 0.3}}, k=4)
recommender.recommend(history, [0.7, 0.3], rerank="xquad")
assert recommender.weights_for(accuracy_loss_at_most=0.5)
print(" ".join(best.item_ids))
print(paragon.__file__)
"""


def run(*command, cwd=ROOT, **variables):
    kept = {name: value for name, value in os.environ.items() if not name.startswith("PARAGON_")}
    command = [sys.executable, *map(str, command)]
    environment = {**kept, "PYTHONPATH": "", **variables}
    return subprocess.run(command, cwd=cwd, env=environment, capture_output=True, text=True)


def used(folder, model):
    """The list that the package recommends in a folder, and where the package was found."""
    done = run("-c", USE.format(blocked=STUDY), model, cwd=folder)
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


def test_it_needs_nothing_of_the_study_and_no_other_files(exported, loaded, tmp_path):
    """An own copy of the package, in a folder without params.yaml, data or git."""
    shutil.copytree(ROOT / "paragon", tmp_path / "paragon")
    best, place = used(tmp_path, exported)
    assert place == str(tmp_path / "paragon" / "__init__.py")
    weights = {"accuracy": 0.7, "diversity": 0.3}
    assert best.split() == loaded.recommend(loaded.data.item_ids[:3], weights, k=4).item_ids


def test_a_clone_in_the_current_folder_does_not_hide_it(exported, tmp_path):
    """The installed package is found beside a folder of its name, the clone it comes from."""
    (tmp_path / "paragon").mkdir()
    (tmp_path / "paragon" / "paragon").symlink_to(ROOT / "paragon")
    assert used(tmp_path, exported)[1] == str(ROOT / "paragon" / "__init__.py")


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
    done = run("-c", code, exported)
    assert done.returncode == 1 and done.stderr.count("\n") == 1
    assert "fastapi is not installed" in done.stderr and "[serve]" in done.stderr


def test_from_a_study_to_a_list_and_to_a_running_service(seqs, tmp_path):
    """`export`, then `Recommender.load`, then `serve`: the commands of the documentation."""
    root, model = tmp_path / "study", tmp_path / "model"
    write_study(root, seqs)
    params, made = load_params(root / "params.yaml"), root / "artifacts" / "toy" / "sasrec"
    backbone, fitted = train_backbone("sasrec", seqs, params.backbones)
    save_backbone(backbone, seqs, params.backbones, fitted, made / "backbones" / "backbone")
    provenance = {"backbone": load_backbone(made / "backbones" / "backbone", seqs)[1]["sha256"]}
    collection = collect(backbone, seqs, params.adapters, params.run.seeds, provenance)
    save_collection(collection, made / "adapters" / "collection")
    collection = load_collection(made / "adapters" / "collection")
    for seed in params.run.seeds:
        generator = train_generator(collection, params.generator, seed)
        save_generator(generator, made / "generator" / f"seed{seed}")

    done = run("-m", "paragon", "export", model, PARAGON_ROOT=str(root))
    assert done.returncode == 0 and "its README.md says what it is" in done.stdout, done.stderr
    history, weights = seqs.item_ids[:3], {"accuracy": 0.7, "diversity": 0.3}
    best = Recommender.load(model).recommend(history, weights, k=4)
    process, address = start(model)
    status, found = ask(address, body={"history": history, "weights": weights, "k": 4})
    process.kill()
    process.communicate()
    assert status == 200 and [item["item_id"] for item in found["items"]] == best.item_ids
    done = run("-m", "paragon", "export", root, PARAGON_ROOT=str(root))
    assert done.returncode == 1 and "holds the study itself" in done.stderr
