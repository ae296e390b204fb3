"""The control room: its lists, and what its controls do."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch

from paragon.adapters.frozen import adapter_form
from paragon.backbones.base import cached_states, context_of
from paragon.errors import ParagonError
from paragon.serving.recommender import Recommender
from paragon_study.course.control_room import NOBODY, ControlRoom


class Planned:
    """Stands for a generator: the more weight on the first objective, the smaller the change."""

    def __init__(self, form, objectives):
        self.form, self.objectives, self.model = form, objectives, SimpleNamespace(latent=self)
        draw = torch.Generator().manual_seed(0)
        self.directions = 0.3 * torch.randn(len(objectives) - 1, form.size, generator=draw)

    def latents(self, weights):
        return weights[:, 1:]

    def decode(self, latents):
        return latents @ self.directions


@pytest.fixture
def room(seqs, backbone, settings, request):
    form = adapter_form(backbone, seqs, settings.adapters)
    objectives = getattr(request, "param", ["accuracy", "diversity"])
    return ControlRoom(seqs, Recommender(backbone, Planned(form, objectives), seqs))


def test_a_list_is_the_best_of_what_was_not_met(room, seqs, backbone):
    user = "u3"
    number = seqs.user_ids.index(user)
    length = seqs.lengths[number]
    context = context_of(seqs, np.array([number]), np.array([length]), backbone.history)
    scores = backbone.score_catalogue(cached_states(backbone, context))[0]
    met = seqs.items[seqs.offsets[number] : seqs.offsets[number + 1]]
    scores[[0, *met.tolist()]] = -torch.inf
    expected = scores.argsort(descending=True)[:10].tolist()
    assert room.top(room.history(user, []), None) == expected
    assert room.top(room.history(user, []), [1, 0]) == expected  # here an adapter of zeros
    assert room.top(room.history(user, []), [0, 1]) != expected
    longer = room.history(user, [seqs.titles[expected[0] - 1]])
    assert expected[0] not in room.top(longer, None)


@pytest.mark.parametrize(
    ("user", "titles", "word"),
    [("nobody", [], "user"), (None, ["No such title"], "title"), (None, [], "empty")],
)
def test_what_is_not_there_is_said(room, user, titles, word):
    with pytest.raises(ParagonError, match=word):
        room.history(user, titles)


def controls(room, monkeypatch):
    monkeypatch.delenv("PARAGON_QUIET", raising=False)
    (first, *sliders, said, lists) = room.show().children
    user, titles = first.children
    return SimpleNamespace(user=user, titles=titles, sliders=sliders, said=said, lists=lists)


def test_the_widget_follows_its_controls(room, seqs, monkeypatch):
    own = controls(room, monkeypatch)
    new, old = own.lists.children
    assert [slider.description for slider in own.sliders] == ["accuracy"]
    own.sliders[0].value = 1
    assert "new</td>" not in new.value and "left</td>" not in old.value
    assert own.said.value.startswith("accuracy 1.00 · diversity 0.00 · ")
    own.sliders[0].value = 0
    assert new.value.count("new</td>") == old.value.count("left</td>") > 0
    own.user.value = NOBODY
    assert "empty" in own.said.value
    own.titles.value = [seqs.titles[4]]
    best = room.top(room.history(None, [seqs.titles[4]]), [0, 1])
    assert f"<td>{seqs.titles[best[0] - 1]}</td>" in new.value


@pytest.mark.parametrize("room", [["accuracy", "diversity", "novelty"]], indirect=True)
def test_three_objectives_have_three_sliders(room, monkeypatch):
    own = controls(room, monkeypatch)
    for slider, value in zip(own.sliders, (0.2, 0.2, 0), strict=True):
        slider.value = value
    assert own.said.value.startswith("accuracy 0.50 · diversity 0.50 · novelty 0.00")
    own.sliders[0].value = own.sliders[1].value = 0
    assert own.said.value.startswith("accuracy 0.33 · diversity 0.33 · novelty 0.33")


def test_without_a_person_there_is_a_table(room, monkeypatch):
    monkeypatch.setenv("PARAGON_QUIET", "1")
    grid = room.show()
    assert grid.shape == (10, 6) and grid.columns[0] == "accuracy 1, diversity 0"
    assert grid.iloc[:, 0].tolist() == grid["backbone alone"].tolist()
