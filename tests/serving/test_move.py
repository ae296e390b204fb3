"""A recommender's control on another backbone: equal where that is the same one, turned."""

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
from paragon_study.command_line import app
from paragon_study.demo import commands
from tests.adapters.test_rotation import Turned, turn


@pytest.fixture(scope="module")
def there(recommender):
    return Turned(recommender.backbone, turn().float())


def test_lists_on_the_turned_backbone_are_those_of_the_old_one(recommender, there):
    moved, ids = recommender.move_to(there), recommender.data.item_ids
    histories = [ids[start : start + 4] for start in range(0, 40, 4)]
    for weights in ([0.9, 0.1], [0.5, 0.5], [0.1, 0.9]):
        before, after = (r.recommend_many(histories, weights, k=5) for r in (recommender, moved))
        assert (before.numbers == after.numbers).all()
        assert before.scores == pytest.approx(after.scores, abs=1e-3)
    assert moved.generator.description["collection"]["moved"]["fit"] == pytest.approx(1)
    unmoved = Recommender(there, recommender.generator, recommender.data)
    assert (unmoved.recommend_many(histories, weights, k=5).numbers != before.numbers).any()


def test_a_moved_generator_makes_what_moving_makes_of_its_adapters(recommender, there, seqs):
    spaces = (
        ItemTable(seqs.item_ids, model.item_vectors(), seqs.popularity())
        for model in (recommender.backbone, there)
    )
    rotation, weights = fit_rotation(*spaces), simplex_lattice(2, 4)
    own = recommender.generator
    expected = rotation.vectors(own.generate(weights), own.form)
    found = recommender.move_to(there).generator.generate(weights)
    assert torch.allclose(found, expected, atol=1e-5)


def test_another_training_from_another_start_is_refused_and_so_are_other_categories(
    recommender, seqs, settings, there
):
    stranger = build("sasrec", seqs, settings.backbones, seed=5).eval()  # untrained: only noise
    with pytest.raises(ParagonError, match="too little in common"):
        recommender.move_to(stranger)
    renamed = dataclasses.replace(seqs, category_names=["Z", *seqs.category_names[1:]])
    with pytest.raises(ParagonError, match=f"categories differ .*: {seqs.category_names[0]}, Z"):
        recommender.move_to(there, renamed)


def test_the_command_writes_a_folder_that_serves_or_leaves_what_was_there(
    exported, loaded, made, seqs, settings, tmp_path, monkeypatch
):
    """The new backbone is the old one once more, and then one that knows nothing."""
    stranger = build("sasrec", seqs, settings.backbones, seed=5).eval()
    study = SimpleNamespace(load_frozen=lambda: (seqs, *made[:2]))
    monkeypatch.setattr(commands, "_study", lambda *names: study)
    command = ["move", str(exported), str(tmp_path / "new")]

    done = CliRunner().invoke(app, command)
    assert f"{seqs.n_items} common items, explains 100% of the variance" in done.output
    moved, history = Recommender.load(tmp_path / "new"), seqs.item_ids[:3]
    lists = [r.recommend(history, [0.3, 0.7], k=5).item_ids for r in (loaded, moved)]
    assert lists[0] == lists[1] and moved.outcomes is not None
    origin = moved.generator.description["collection"]
    assert origin["backbone"] == origin["moved"]["from"] == made[1]["sha256"]

    study.load_frozen = lambda: (seqs, stranger, made[1])
    before = (tmp_path / "new" / "paragon.json").read_bytes()
    assert isinstance(CliRunner().invoke(app, command).exception, ParagonError)
    assert (tmp_path / "new" / "paragon.json").read_bytes() == before
    again = CliRunner().invoke(app, ["move", str(exported), str(exported)])
    assert "is the old recommender" in str(again.exception)
