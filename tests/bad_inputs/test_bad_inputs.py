"""The corpus of bad input, and what is said of it: one line that names the key and the place.

The cases are in ``corpus.yaml`` and ``objects.py``.  A ``ParagonError`` refuses all of them; the
service answers 422, a command line ends with status 1 and one line.
"""

import json
import os
import shutil
import subprocess
import sys
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import pytest
import torch
import yaml
from starlette.testclient import TestClient

from paragon import Recommender
from paragon.data.fetch import fetch, load_dataset
from paragon.data.table import Dataset
from paragon.errors import ParagonError, shown
from paragon.params import ROOT
from paragon.serving.service import make_app
from paragon.storage import load_tensors, save_tensors
from paragon_study.pipeline import study as module
from paragon_study.pipeline.settings import check_all
from paragon_study.pipeline.study import Study, StudyData, open_data, open_study
from paragon_study.running.runner import run_notebook
from paragon_study.running.studies import add, studies_of
from tests.bad_inputs.conftest import with_settings
from tests.bad_inputs.objects import GOOD, OBJECTS
from tests.conftest import THOROUGH, make_checkout, refused
from tests.data.conftest import INTER, ITEM, LAYOUTS, encoding_of, written

# What stands for itself in no file: long, repeated or shared by many cases.
WORDS = {
    "{INTER}": INTER,
    "{ROWS}": "u1\ta\t4\t10\nu1\tb\t3.5\t20\n",
    "{ITEM}": ITEM,
    "{ZEROS}": "0" * 400,
    "{MANY_ZEROS}": "0" * 4_400,
    "{DEEP}": "[" * 100_000,
    "{MANY}": '"i1",' * 10_000,
    # Each line names the one before it ten times: ten billion values.
    "{BOMB}": "a0: &a0 [x]\n"
    + "".join(f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]\n" for n in range(1, 11)),
}
ARTIFACTS = ["../data/sequences", "backbones/backbone", "adapters/collection"]
ARTIFACTS += ["generator/generated-seed1", "generator/paragon-seed0"]
RIVALS = ("linear_subspace-seed1", "category_bias", "retrain-1-0-seed0")
ARTIFACTS += [f"rivals/{name}" for name in RIVALS]
EXPORTED = ("generator", "sequences", "backbone", "paragon")
SEVERAL = {
    "every artifact": ARTIFACTS,
    "every exported file": [f"exported {n}.{e}" for n in EXPORTED for e in ("json", "safetensors")],
}


def cases():
    """Kind, subject, what is given as arguments, and what the message names.

    All of the corpus if tests are thorough, else its first document and a few objects.
    """
    text = (Path(__file__).parent / "corpus.yaml").read_text(encoding="utf-8")
    tables = [*yaml.safe_load_all(text)][: 2 if THOROUGH else 1]
    for kind, subjects in (item for table in tables for item in table.items()):
        for subject, places in subjects.items():
            for named, inputs in places.items():
                for given in inputs if isinstance(inputs, list) else [inputs]:
                    given = [named, given] if subject == "set" else given
                    for name in SEVERAL.get(subject, [subject]):
                        yield kind, name, given if isinstance(given, list) else [given], named
    for subject, places in OBJECTS.items():
        for named, inputs in [*places.items()][: None if THOROUGH else 3]:
            for given in inputs[: None if THOROUGH else 1]:
                yield "objects", subject, [given], named


def whole(text, encoding="utf-8"):
    """The bytes of a text with its words written out."""
    for word, meaning in WORDS.items():
        text = text.replace(word, meaning)
    return text.encode(encoding, "surrogatepass")


@pytest.mark.parametrize(
    ("kind", "subject", "given", "named"),
    [pytest.param(*case, id=f"{case[0]}-{case[1]}-{n}") for n, case in enumerate(cases())],
)
def test_what_cannot_be_meant_is_refused_by_name(request, tmp_path, kind, subject, given, named):
    message = KINDS[kind](request.getfixturevalue, tmp_path, subject, *given)
    assert [part for part in named.split(", ") if part not in message] == [], message
    assert "\n" not in message.strip() and 10 < len(message) < 1_000, message


# --- data ----------------------------------------------------------------------------------------


def atomic(fixture, folder, suffix, text, encoding="utf-8"):
    fixture("own")(**{suffix: whole(text, encoding)})
    return refused("", load_dataset, "mine", folder)


def published(fixture, folder, subject, old, new, encoding=None):
    fixture("small_copies")
    dataset, filename = subject.split()
    before = LAYOUTS[dataset][filename]
    assert old in before
    data = whole(before.replace(old, new, 1) if old else new, encoding or encoding_of(dataset))
    given = written(folder / "given", dataset, {filename: data})
    message = refused("", fetch, dataset, directory=given, data=folder / "data")
    assert not (folder / "data").exists()
    return message


# --- settings, names, command lines --------------------------------------------------------------


def params(_, folder, subject, *given):
    text = (ROOT / "params.yaml").read_text(encoding="utf-8")
    if subject == "text":
        data = whole(*given)
    elif subject == "replace":
        assert given[0] in text
        data = whole(text.replace(*given, 1))
    else:
        content = part = yaml.safe_load(text)
        *sections, last = given[0].split(".")
        for section in sections:
            part[section] = part = dict(part[section])  # no other entry that an alias stands for
        part[last] = given[-1]
        if subject == "without":
            del part[last]
        data = yaml.safe_dump(content).encode()
    (folder / "params.yaml").write_bytes(data)
    return refused("", check_all, folder)


def names(_, folder, __, name):
    """The name is refused wherever it comes in, and nothing is written."""
    (folder / "params.yaml").write_bytes((ROOT / "params.yaml").read_bytes())
    name, before = whole(name).decode(), set(folder.rglob("*"))
    calls = [(load_dataset, name, folder), (add, name, folder), (studies_of, name, folder)]
    calls += [(open_data, name), (open_study, name, "sasrec"), (open_study, "ml-100k", name)]
    calls += [(run_notebook, "02_backbones", name, "sasrec", ROOT)]
    calls += [(run_notebook, "02_backbones", "ml-100k", name, ROOT)]
    messages = [refused(shown(name), *call) for call in calls]
    messages += [refused(shown(name), fetch, name, directory=folder, data=folder / "data")]
    assert set(folder.rglob("*")) == before
    return messages[0]


def commands(fixture, _, subject, *line):
    code, out, errors = fixture("answers")[json.dumps(line)]
    assert out == "" and code == (1 if subject == "command" else 2)
    assert code == 2 or errors.startswith("error: ")
    return errors if code == 1 else errors.splitlines()[-1]  # below the usage


DRIVER = """
import contextlib, io, json, sys, traceback
from paragon.__main__ import main

answers = []
for line in json.load(sys.stdin):
    sys.argv, said, code = ["paragon", *line], (io.StringIO(), io.StringIO()), 0
    with contextlib.redirect_stdout(said[0]), contextlib.redirect_stderr(said[1]):
        try:
            main()
        except SystemExit as end:
            code = end.code
            if isinstance(code, str):  # what Python prints when it ends
                print(code, file=sys.stderr)
                code = 1
        except BaseException:
            traceback.print_exc()
    answers.append([code, said[0].getvalue(), said[1].getvalue()])
print(json.dumps(answers))
"""


@pytest.fixture(scope="module")
def answers(tmp_path_factory):
    """All command lines of the corpus, run in one process: each alone would take seconds.

    Code, output and errors of each, in a checkout of which nothing was run.
    """
    lines = [given for kind, _, given, _ in cases() if kind == "commands"]
    root = make_checkout(tmp_path_factory.mktemp("root") / "study")
    before = sorted(path.name for path in root.iterdir())
    environment = os.environ | {"PARAGON_ROOT": str(root), "PYTHONPATH": str(ROOT)}
    environment["GIT_CEILING_DIRECTORIES"] = str(root.parent)
    given = {"cwd": root, "env": environment, "input": json.dumps(lines), "text": True}
    done = subprocess.run([sys.executable, "-c", DRIVER], capture_output=True, **given)
    assert done.returncode == 0, done.stderr
    assert sorted(path.name for path in root.iterdir()) == before
    return {json.dumps(line): a for line, a in zip(lines, json.loads(done.stdout), strict=True)}


# --- artifacts and exported folders --------------------------------------------------------------


def artifacts(fixture, folder, subject, *given):
    if subject.startswith("exported "):
        model = shutil.copytree(fixture("exported"), folder / "model")
        change_file(model / subject.split()[1], *given)
        message = refused("", Recommender.load, model)
        assert subject.split()[1].partition(".")[0] in message
        return message
    shutil.copytree(fixture("study_folder"), folder, dirs_exist_ok=True)
    fixture("monkeypatch").setattr(module, "ARTIFACTS", folder)
    dataset, backbone, changes = "toy", "sasrec", {}
    if subject == "other settings":
        section, key, value = given
        changes = {section: {key: value}}
    elif subject == "other study":
        dataset, backbone = given
        (folder / "toy").rename(folder / dataset)
        (folder / dataset / "sasrec").rename(folder / dataset / backbone)
    study = Study(dataset, backbone, with_settings(**changes))
    if subject == "swapped":
        for suffix in (".safetensors", ".json"):
            one, other = (study.folder / f"{stem}{suffix}" for stem in given)
            kept = one.read_bytes()
            one.write_bytes(other.read_bytes())
            other.write_bytes(kept)
    elif not subject.startswith("other "):
        change(study.folder / subject, *given)
    message = refused("", load_everything, study)
    assert subject not in ARTIFACTS or Path(subject).name in message
    assert "stage" in message
    return message


def load_everything(study):
    seqs = study.load_sequences()
    _, about = study.load_backbone(seqs)
    collection = study.load_collection(about)
    for name in study.params.generators:
        study.load_generators(name, collection)
    study.load_rivals(about)
    study.load_category_bias(about)
    return [[*models] for models in study.load_retrained(seqs).values()]


def test_a_study_loads_what_was_made_for_it(study_folder, monkeypatch):
    monkeypatch.setattr(module, "ARTIFACTS", study_folder)
    assert [*map(len, load_everything(Study("toy", "sasrec", with_settings())))] == [2]


def test_data_that_an_objective_cannot_use_are_refused_by_the_first_stage(seqs):
    without = replace(seqs, groups=seqs.groups * 0 - 1)
    refused("fairness", StudyData("toy", "toy", None, ["accuracy", "fairness"]).save, without)


def change(stem, what, *given):
    """Change one file of an artifact or, with a new checksum, the whole."""
    if given and given[0].startswith("."):
        return change_file(stem.with_name(stem.name + given[0]), what, *given[1:])
    tensors, about = load_tensors(stem, "")
    about.pop("sha256")
    if what == "nan":
        next(t for t in tensors.values() if t.is_floating_point()).view(-1)[0] = torch.nan
    elif what == "less":
        tensors.pop(next(iter(tensors)))
    save_tensors(stem, tensors, {} if what == "bare" else about)


def change_file(path, what, *given):
    data = path.read_bytes()
    path.unlink()
    if what == "folder":
        path.mkdir()
    elif what != "remove":
        middle = len(data) // 2
        path.write_bytes({
            "cut": lambda: data[: given[0]],
            "as": lambda: whole(*given),
            "edit": lambda: edited(json.loads(data)),
            "flip": lambda: data[:middle] + bytes([data[middle] ^ 1]) + data[middle + 1 :],
        }[what]())  # fmt: skip


def edited(description):
    """A description with one more key, and every list in it the other way round."""
    turned = {key: v[::-1] if isinstance(v, list) else v for key, v in description.items()}
    return json.dumps(turned | {"note": "x"}).encode()


# --- requests ------------------------------------------------------------------------------------


def objects(fixture, _, subject, value):
    if subject.endswith("table"):
        return refused(subject, Dataset.from_frame, *(GOOD | {subject: value}).values())
    served = fixture("loaded")
    if subject == "outcome":
        return refused("", served.weights_for, **value)
    asked = {"history": ["i1"], "weights": [0.5, 0.5]}
    asked |= value if subject == "option" else {subject: value}
    message = refused("", served.recommend, **asked)
    history = asked.pop("history")
    if subject == "history":  # one among many does not stop the others
        batch = served.recommend_many([["i1"], history], **asked)
        assert batch[0] is not None and list(batch.errors) == [1]
    else:
        with suppress(ParagonError):  # of all, or of this person alone
            assert list(served.recommend_many([history], **asked).errors) == [0]
    return message


def service(fixture, _, subject, text, encoding="utf-8"):
    if subject == "change":
        body = {"history": ["i1"], "weights": {"accuracy": 0.5, "diversity": 0.5}}
        text = text if isinstance(text, str) else json.dumps(text)
        data = json.dumps(body | json.loads(whole(text))).encode()
    else:
        data = whole(text, encoding)
    client, kind = TestClient(make_app(fixture("loaded"))), {"content-type": "application/json"}
    answer = client.post("/recommend", content=data, headers=kind)
    assert answer.status_code == 422
    return answer.json()["detail"]


KINDS = {
    function.__name__: function
    for function in (artifacts, atomic, commands, names, objects, params, published, service)
}
