"""The commands ``export`` and ``move``, and control on another backbone."""

import dataclasses
from types import SimpleNamespace

import pytest
import torch
from typer.testing import CliRunner

from paragon.adapters.rotation import ItemTable, fit_rotation
from paragon.backbones import build
from paragon.errors import ParagonError
from paragon.objectives.weights import simplex_lattice
from paragon.serving.recommender import Recommender
from paragon_study import command_line
from paragon_study.command_line import app
from tests.adapters.test_rotation import Turned, turn
from tests.conftest import refused

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def turned(recommender):
    return Turned(recommender.backbone, turn().float())


@pytest.fixture(scope="module")
def stranger(seqs, settings):
    """Another training from another start, which has nothing in common with the first."""
    return build("sasrec", seqs, settings.backbones, seed=5).eval()


def test_a_moved_generator_makes_moved_adapters_and_the_same_lists(recommender, turned, seqs):
    moved, ids = recommender.move_to(turned), recommender.data.item_ids
    histories = [ids[start : start + 4] for start in range(0, 40, 4)]
    for weights in ([0.9, 0.1], [0.5, 0.5], [0.1, 0.9]):
        before, after = (r.recommend_many(histories, weights, k=5) for r in (recommender, moved))
        assert (before.numbers == after.numbers).all()
        assert before.scores == pytest.approx(after.scores, abs=1e-3)
    assert moved.generator.description["collection"]["moved"]["fit"] == pytest.approx(1)
    unmoved = Recommender(turned, recommender.generator, recommender.data)
    assert (unmoved.recommend_many(histories, weights, k=5).numbers != before.numbers).any()
    vectors = [model.item_vectors() for model in (recommender.backbone, turned)]
    tables = (ItemTable(seqs.item_ids, own, seqs.popularity()) for own in vectors)
    rotation, own, lattice = fit_rotation(*tables), recommender.generator, simplex_lattice(2, 4)
    expected = rotation.vectors(own.generate(lattice), own.form)
    assert torch.allclose(moved.generator.generate(lattice), expected, atol=1e-5)


def test_what_does_not_fit_is_refused(recommender, seqs, turned, stranger):
    refused("item vectors", recommender.move_to, stranger)
    renamed = dataclasses.replace(seqs, category_names=["Z", *seqs.category_names[1:]])
    refused(("categories", f"{seqs.category_names[0]}, Z"), recommender.move_to, turned, renamed)


def test_the_commands_write_folders_that_serve_or_leave_what_was_there(
    exported, loaded, made, seqs, stranger, tmp_path, monkeypatch
):
    """The new backbone is the old one once more, and then one that knows nothing."""
    study = SimpleNamespace(
        name="toy", dataset="toy", backbone="sasrec", fingerprint="of other data"
    )
    study.folder = tmp_path / "trained"
    study.load_frozen, study.load_served = lambda: (seqs, *made[:2]), lambda: (seqs, *made)
    monkeypatch.setattr(command_line, "_study", lambda *names: study)
    run, history, target = CliRunner().invoke, seqs.item_ids[:3], tmp_path / "new"
    refusal = run(app, ["export", str(tmp_path / "model")]).exception  # nothing was trained
    assert "dvc repro generator@toy-sasrec" in str(refusal)
    (study.folder / "generator").mkdir(parents=True)
    best = loaded.recommend(history, [0.3, 0.7], k=5).item_ids
    assert "README.md" in run(app, ["export", str(tmp_path / "model")]).output
    assert Recommender.load(tmp_path / "model").recommend(history, [0.3, 0.7], k=5)[0]
    assert isinstance(run(app, ["export", str(tmp_path)]).exception, ParagonError)
    done = run(app, ["move", str(exported), str(target)])
    assert f"{seqs.n_items} " in done.output and "100%" in done.output
    moved = Recommender.load(target)
    assert moved.recommend(history, [0.3, 0.7], k=5).item_ids == best and moved.outcomes
    origin = moved.generator.description["collection"]
    assert origin["backbone"] == origin["moved"]["from"] == made[1]["sha256"]
    study.load_frozen = lambda: (seqs, stranger, made[1])
    before = (target / "paragon.json").read_bytes()
    for new in (target, exported):
        assert isinstance(run(app, ["move", str(exported), str(new)]).exception, ParagonError)
    assert (target / "paragon.json").read_bytes() == before
    (tmp_path / "toy").mkdir()
    monkeypatch.setattr("paragon.params.DATA", tmp_path)
    monkeypatch.setattr("paragon.data.fetch.load_dataset", lambda *_: study)
    assert "data/toy" in str(run(app, ["export", str(tmp_path / "model")]).exception)
