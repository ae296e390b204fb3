"""The corpus of bad input, and what is said of it: one line that names what, where, what to do.

The cases are in ``corpus.yaml`` and ``objects.py``.  A ``ParagonError`` refuses all of them; the
service answers 422, a command line ends with status 1 and one line.
"""

import asyncio
import json
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
import torch
import yaml
from safetensors.torch import load, save

from paragon import Recommender
from paragon.data.fetch import fetch, load_dataset
from paragon.data.table import Dataset
from paragon.params import ROOT
from paragon.serving.service import make_app
from paragon.storage import load_tensors, save_tensors
from paragon_study.pipeline import study as module
from paragon_study.pipeline.settings import check_all
from paragon_study.pipeline.study import Study, StudyData, open_dataset, open_study
from paragon_study.running import runner
from paragon_study.running.studies import add, studies_of
from tests.bad_inputs.conftest import with_settings
from tests.bad_inputs.objects import GOOD, OBJECTS
from tests.conftest import THOROUGH, refused
from tests.data.conftest import INTER, ITEM, LAYOUTS, OWN, encoding_of, written

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
ARTIFACTS = {
    "../data/sequences": "data",
    "backbones/backbone": "backbones",
    "adapters/collection": "adapters",
    "generator/seed1": "generator",
    "rivals/linear_subspace-seed1": "rivals",
    "rivals/category_bias": "rivals",
    "rivals/retrain-1-0-seed0": "rivals",
}
EXPORTED = ("generator", "sequences", "backbone", "paragon")
SEVERAL = {
    "every artifact": list(ARTIFACTS),
    "every trained artifact": list(ARTIFACTS)[1:],
    "every exported file": [f"exported {n}.{e}" for n in EXPORTED for e in ("json", "safetensors")],
}


def corpus():
    """Kind, subject, a word of the message and one input; all of them if tests are thorough."""
    text = (Path(__file__).parent / "corpus.yaml").read_text(encoding="utf-8")
    tables = [*yaml.safe_load_all(text)][: 2 if THOROUGH else 1] + [{"objects": OBJECTS}]
    for kind, subjects in (item for table in tables for item in table.items()):
        few = kind == "objects" and not THOROUGH
        for subject, words in subjects.items():
            for word, inputs in [*words.items()][: 3 if few else None]:
                inputs = inputs if isinstance(inputs, list) else [inputs]
                yield from ((kind, subject, word, x) for x in inputs[: 1 if few else None])


def cases():
    """Kind, subject, what is given as arguments, and a word of the message."""
    for kind, subject, word, given in corpus():
        given = [word, given] if subject == "set" else given
        given = given if isinstance(given, list) and kind != "objects" else [given]
        for name in SEVERAL.get(subject, [subject]):
            yield kind, name, given, word


def whole(text, encoding="utf-8"):
    """The bytes of a text with its words written out."""
    for word, meaning in WORDS.items():
        text = text.replace(word, meaning)
    return text.encode(encoding, "surrogatepass")


@pytest.mark.parametrize(
    ("kind", "subject", "given", "word"),
    [pytest.param(*case, id=f"{case[0]}-{case[1]}-{n}") for n, case in enumerate(cases())],
)
def test_what_cannot_be_meant_is_refused_in_words(request, tmp_path, kind, subject, given, word):
    message = KINDS[kind](request.getfixturevalue, tmp_path, subject, *given)
    assert word in message and "\n" not in message.strip() and 10 < len(message) < 1_000, message


# --- data ----------------------------------------------------------------------------------------


def atomic(_, folder, suffix, text, encoding="utf-8"):
    (folder / "mine").mkdir()
    for end, good in OWN.items():
        (folder / "mine" / f"mine.{end}").write_text(good, encoding="utf-8")
    (folder / "mine" / f"mine.{suffix}").write_bytes(whole(text, encoding))
    return refused("", load_dataset, "mine", folder)


def published(fixture, folder, subject, old, new, encoding=None):
    fixture("small_copies")
    dataset, filename = subject.split()
    layout = next(n for n, own in LAYOUTS.items() if n.split()[0] == dataset and filename in own)
    before = LAYOUTS[layout][filename]
    assert old in before
    data = whole(before.replace(old, new, 1) if old else new, encoding or encoding_of(layout))
    given = written(folder / "given", layout, {filename: data})
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
    """The same answer wherever a name comes in, and nothing is written."""
    (folder / "params.yaml").write_bytes((ROOT / "params.yaml").read_bytes())
    name, before, run = whole(name).decode(), set(folder.rglob("*")), runner.run_notebook
    word, data = "is not a name", folder / "data"
    messages = [
        refused(word, fetch, name, directory=folder, data=data),
        *(refused(word, call, name, folder) for call in (load_dataset, add, studies_of)),
        *(refused(word, open_dataset, name), refused(word, open_study, name, "sasrec")),
        refused(word, open_study, "ml-100k", name),
        refused(word, run, "02_backbones", name, "sasrec", ROOT),
        refused(word, run, "02_backbones", "ml-100k", name, ROOT),
    ]
    assert set(folder.rglob("*")) == before
    assert len({message.partition(" is not a name for a")[0] for message in messages}) == 1
    return messages[0]


def commands(fixture, _, subject, *line):
    code, out, errors = fixture("answers")[json.dumps(line)]
    assert out == "" and code == (1 if subject == "command" else 2)
    assert code == 2 or errors.startswith("error: ")
    return errors if code == 1 else errors.splitlines()[-1]  # below the usage


@pytest.fixture(scope="module")
def answers(command_lines):
    """All command lines of the corpus, run in one process: each alone would take seconds."""
    return command_lines([given for kind, _, given, _ in cases() if kind == "commands"])


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
    study = Study("toy", "sasrec", with_settings())
    if subject == "other settings":
        section, key, value = given
        study = Study("toy", "sasrec", with_settings(**{section: {key: value}}))
    elif subject == "other study":
        dataset, backbone = given
        (folder / "toy").rename(folder / dataset)
        (folder / dataset / "sasrec").rename(folder / dataset / backbone)
        study = Study(dataset, backbone, with_settings())
    elif subject == "swapped":
        swap(*(study.folder / stem for stem in given))
    else:
        change(study.folder / subject, *given)
    message = refused("", load_everything, study)
    assert subject not in ARTIFACTS or Path(subject).name in message
    assert "stage" in message
    return message


def test_a_study_loads_what_was_made_for_it(study_folder, monkeypatch):
    monkeypatch.setattr(module, "ARTIFACTS", study_folder)
    generators, rivals, retrained = load_everything(Study("toy", "sasrec", with_settings()))
    assert [g.description["seed"] for g in generators] == [0, 1]
    assert [list(own) for own in rivals] == [["linear_subspace"]] * 2
    assert [len(models) for models in retrained] == [2]


def test_data_that_an_objective_cannot_use_are_refused_by_the_first_stage(seqs):
    without = replace(seqs, groups=seqs.groups * 0 - 1)
    refused("fairness", StudyData("toy", None, ["accuracy", "fairness"]).save, without)


def load_everything(study):
    seqs = study.load_sequences()
    _, about = study.load_backbone(seqs)
    generators = study.load_generators(study.load_collection(about))
    rivals = study.load_rivals(about)
    study.load_category_bias(about)
    return generators, rivals, [list(m) for m in study.load_retrained(seqs).values()]


def change(stem, what, *given):
    """Change one file of an artifact or, with a new checksum, the whole."""
    if given and given[0].startswith("."):
        return change_file(stem.with_name(stem.name + given[0]), what, *given[1:])
    tensors, about = load_tensors(stem, "")
    about.pop("sha256")
    first = next(
        name for name, tensor in tensors.items() if tensor.is_floating_point() or what != "nan"
    )
    if what == "nan":
        tensors[first].view(-1)[0] = torch.nan
    elif what == "less":
        del tensors[first]
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
            "roll": lambda: save({name: t.roll(1) for name, t in load(data).items()}),
            "flip": lambda: data[:middle] + bytes([data[middle] ^ 1]) + data[middle + 1 :],
        }[what]())  # fmt: skip


def edited(description):
    """A description with one more key, and every list in it the other way round."""
    turned = {key: v[::-1] if isinstance(v, list) else v for key, v in description.items()}
    return json.dumps(turned | {"note": "x"}).encode()


def swap(one, other):
    for suffix in (".safetensors", ".json"):
        first, second = (stem.with_name(stem.name + suffix) for stem in (one, other))
        kept = first.read_bytes()
        first.write_bytes(second.read_bytes())
        second.write_bytes(kept)


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
    elif "left" not in message and "rows for 1" not in message:
        assert refused("", served.recommend_many, [history], **asked)
    return message


def service(fixture, _, subject, text, encoding="utf-8"):
    if subject == "change":
        body = {"history": ["i1"], "weights": {"accuracy": 0.5, "diversity": 0.5}}
        text = text if isinstance(text, str) else json.dumps(text)
        data = json.dumps(body | json.loads(whole(text))).encode()
    else:
        data = whole(text, encoding)
    status, answer = asyncio.run(ask(make_app(fixture("loaded")), data))
    assert status == 422
    return answer["detail"]


async def ask(app, data):
    """Status and answer of ``POST /recommend``, without a server between."""
    sent, headers = [], [(b"content-type", b"application/json")]
    scope = {"type": "http", "method": "POST", "path": "/recommend", "raw_path": b"/recommend"}
    scope |= {"query_string": b"", "headers": headers, "http_version": "1.1", "scheme": "http"}

    async def receive():
        return {"type": "http.request", "body": data, "more_body": False}

    async def send(message):
        sent.append(message)

    await app({**scope, "server": ("test", 80), "client": ("test", 1)}, receive, send)
    return sent[0]["status"], json.loads(b"".join(m.get("body", b"") for m in sent[1:]))


KINDS = {
    "artifacts": artifacts,
    "atomic": atomic,
    "commands": commands,
    "names": names,
    "objects": objects,
    "params": params,
    "published": published,
    "service": service,
}
