"""Rivals trained end to end, or from scratch: exact minima, equal cost, saving, losses by hand."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch.nn import functional as F
from torch.nn.utils import vector_to_parameters

from paragon.adapters.adapter import AdapterForm
from paragon.adapters.frozen import frozen_events
from paragon.backbones import build
from paragon.data.negatives import NegativeSampler
from paragon.objectives.losses import bpr_max
from paragon.objectives.table import OBJECTIVES, Catalogue, history_shares
from paragon.objectives.weights import simplex_lattice
from paragon.rivals import end_to_end
from paragon.rivals.end_to_end import END_TO_END, train_end_to_end
from paragon.rivals.retrain import Retrained, Retraining
from paragon.storage import save_tensors
from tests.conftest import adapter_settings, refused, small

ABOUT = {"sha256": "of the backbone"}
FORM = AdapterForm(16, 2, 6)  # that of the small settings and the toy data


@pytest.fixture
def task(tasks):
    return tasks["train"]


def test_as_many_lists_as_the_collection_and_the_task_loss(settings):
    tuning = (20 + 4 * 100) * 16  # start, anchors, steps, batch of the small settings
    task_loss = 30 * 2 * 16
    assert end_to_end.equal_steps(settings) == (tuning + task_loss) // (2 * 32)


def test_the_rate_falls_as_a_cosine(task, settings, monkeypatch):
    rates, take_step = [], end_to_end.take_step

    def recording(loss, model, optimizer):
        rates.append(optimizer.param_groups[0]["lr"])
        take_step(loss, model, optimizer)

    monkeypatch.setattr(end_to_end, "take_step", recording)
    train_end_to_end("hypernetwork", task, settings, 0)
    steps, most = end_to_end.equal_steps(settings), settings.rivals.learning_rate
    expected = most * (1 + np.cos(np.pi * np.arange(steps) / steps)) / 2
    assert rates == pytest.approx(expected.tolist())


def test_training_starts_from_the_start_of_the_collection(settings):
    start = torch.randn(FORM.size, generator=torch.Generator().manual_seed(0))
    weights = torch.tensor([[0.2, 0.8], [1.0, 0.0]])
    for kind in END_TO_END.values():
        found = kind(FORM, start, 2, settings.rivals)(weights)
        assert torch.allclose(found, start.expand(2, -1))


@pytest.mark.parametrize("name", END_TO_END)
def test_a_known_minimum_is_found(name):
    """Where each objective is a squared distance, the best vector is the mixture of their minima.

    These `ends` differ by what `conditioned` can reach: scales, hidden biases, category biases.
    """
    draw = torch.Generator().manual_seed(1)
    w1, b1, *rest, u = FORM.unflatten(0.3 * torch.randn(2, FORM.size, generator=draw))
    ends = [w1[0] * torch.tensor([[[0.5], [2.0]], [[1.5], [-1.0]]]), b1, *(x[[0, 0]] for x in rest)]
    ends = torch.cat([x.flatten(1) for x in (*ends, u)], 1)  # [O, P]
    bowl = SimpleNamespace(
        states=torch.zeros(4, 16),
        form=FORM,
        losses=lambda vectors, *_: (vectors.unsqueeze(-2) - ends).square().sum(-1),
    )
    rivals = {"weights": 32, "rows": 1, "learning_rate": 0.01, "width": 32}
    rival = train_end_to_end(name, bowl, small(rivals=rivals, adapters={"steps": 150}), 0)
    weights = torch.tensor([[0.05, 0.95], [0.4, 0.6], [0.9, 0.1]])
    error = (rival.generate(weights) - weights @ ends).norm(dim=1)
    assert error.max() < 0.05 * (ends[0] - ends[1]).norm()


@pytest.mark.parametrize("name", END_TO_END)
def test_it_listens_and_same_inputs_are_the_same_bytes(name, task, settings, tmp_path):
    parts = name, task, settings, 0, {"backbone": ABOUT["sha256"]}
    for folder in "ab":
        rival = train_end_to_end(*parts)
        save_tensors(tmp_path / folder / f"{name}-seed0", rival.state_dict(), rival.description)
    for ending in (".safetensors", ".json"):
        first, second = (tmp_path / f / f"{name}-seed0{ending}" for f in "ab")
        assert first.read_bytes() == second.read_bytes()
    loaded = end_to_end.load_end_to_end(tmp_path / "a", name, 0, ABOUT)
    found = loaded.generate([[0.3, 0.7], [0.8, 0.2]])
    assert torch.equal(found, rival.generate([[0.3, 0.7], [0.8, 0.2]]))
    assert not torch.allclose(*found, atol=1e-4)
    assert torch.equal(rival.generate([0.0, 1.0]), rival.generate([0.05, 0.95]))  # lifted
    for key, seed, about in (("`backbone`", 0, {"sha256": "other"}), (f"{name}-seed1", 1, ABOUT)):
        refused(key, end_to_end.load_end_to_end, tmp_path / "a", name, seed, about)


def test_category_bias_follows_the_weights(backbone, seqs):
    few = adapter_settings(steps=60, batch=32)
    task = frozen_events(backbone, seqs, "train", few)
    lattice = simplex_lattice(2, 4)
    bias = end_to_end.tune_category_bias(task, lattice, few, [0, 1])
    plain = frozen_events(backbone, seqs, "train", few.model_copy(update={"item_side": False}))
    assert torch.equal(bias, end_to_end.tune_category_bias(plain, lattice, few, [0, 1]))
    assert bias.shape == (2, 5, 6)  # seeds, evaluation weights, categories
    assert not torch.allclose(bias[0, 0], bias[0, -1], atol=0.05)


@pytest.mark.parametrize("name", ["sasrec", "deepfm"])
def test_category_bias_is_tuned_as_an_adapter_of_which_only_the_bias_changes(name, seqs, settings):
    """Losses and gradients, for two seeds at once, are those of such an adapter."""
    model = build(name, seqs, settings.backbones, seed=0).eval().requires_grad_(False)
    task = frozen_events(model, seqs, "train", settings.adapters)
    bias = torch.randn(2, 3, 6, generator=torch.Generator().manual_seed(0)).requires_grad_()
    vectors = torch.cat([torch.zeros(2, 3, task.form.size - 6), bias], -1)
    given = torch.randint(480, (2, 40), generator=torch.Generator().manual_seed(1)), [*OBJECTIVES]
    losses = end_to_end.BiasEvents(**vars(task)).losses(bias, *given), task.losses(vectors, *given)
    assert torch.allclose(*losses, atol=1e-5) and losses[0].shape == (2, 3, len(OBJECTIVES))
    slopes = [torch.autograd.grad(loss.sum(), bias)[0] for loss in losses]
    assert torch.allclose(*slopes, atol=1e-5)


@pytest.mark.parametrize(("name", "loss"), [("sasrec", "softmax"), ("deepfm", "bpr_max")])
def test_a_retrained_model_has_the_loss_of_its_backbone_and_of_served_lists(name, loss, seqs):
    """By hand, with the gradients of all parameters: lists go to every eighth event."""
    backbones = {"loss": loss, "negatives": 7 if loss == "bpr_max" else None}
    own = small(adapters={"objectives": [*OBJECTIVES]}, backbones=backbones)
    retrained = Retrained(name, seqs, own, seed=0).eval()
    model, adapter = retrained.backbone, retrained.adapter
    vector = 0.1 * torch.randn(adapter.form.size, generator=torch.Generator().manual_seed(0))
    vector_to_parameters(vector, adapter.parameters())
    weights = torch.tensor([0.3, 0.2, 0.2, 0.1, 0.1, 0.1])
    training = Retraining(retrained, seqs, own, weights)
    events = [part[::9] for part in seqs.train_events()]
    (users, _), targets = events, seqs.targets(*events)
    states = model.states(model.context(seqs, *events))
    found = training.loss(states, users, targets, np.random.default_rng(3))

    categories = torch.from_numpy(seqs.categories).float()
    table = torch.cat([model.item_vectors(), categories], 1)
    scores, target = model.score_catalogue(states, adapter, table), torch.from_numpy(targets)
    of_each = F.cross_entropy(scores[:, 1:], target - 1, reduction="none")
    accuracy = of_each.mean()
    if loss == "bpr_max":
        drawn = NegativeSampler(seqs).draw(users, 7, np.random.default_rng(3))
        candidates = torch.from_numpy(np.column_stack([targets, drawn]))
        accuracy = bpr_max(scores.gather(1, candidates)).mean()
    met = seqs.met_in_training().mask()[users[::8]]
    best = scores[::8].masked_fill(met, -torch.inf).topk(8).indices  # six are served
    history = history_shares(seqs.met_in_training(), seqs.categories)[users[::8]]
    lists = Catalogue.of(seqs, 6, "cpu").lists(best, history.float(), 6)
    listed = scores[::8].gather(1, best), lists
    given = {"fairness": (of_each[::8], torch.from_numpy(seqs.groups)[users[::8]])}
    others = [OBJECTIVES[n].loss(*given.get(n, listed)).squeeze() for n in [*OBJECTIVES][1:]]
    expected = weights @ torch.stack([accuracy, *others])
    assert found.item() == pytest.approx(expected.item(), rel=1e-5)
    parts = [*model.parameters(), *adapter.parameters()]
    slopes = (torch.autograd.grad(x, parts, retain_graph=True) for x in (found, expected))
    assert all(torch.allclose(*pair, atol=1e-5) for pair in zip(*slopes, strict=True))
