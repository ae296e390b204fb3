"""Backbones: causal, padding-proof, trainable, frozen and saved."""

import importlib
import re
from dataclasses import replace

import numpy as np
import pytest
import torch
from sklearn.metrics import ndcg_score

from paragon.adapters.adapter import Adapter
from paragon.adapters.collection import collect
from paragon.adapters.frozen import frozen_events
from paragon.backbones import BACKBONES, build, load_backbone, save_backbone, train_backbone
from paragon.backbones.base import Backbone, Dropout, check_backbone
from paragon.backbones.sequential import smallest_intervals, windows
from paragon.backbones.training import Training
from paragon.data.negatives import NegativeSampler
from paragon.generator.training import train_generator
from paragon.params import ROOT
from paragon.serving.recommender import Recommender
from tests.conftest import refused


def built(name, seqs, settings, **change):
    model = build(name, seqs, settings.backbones.model_copy(update=change), seed=0)
    return model.eval().requires_grad_(False)


def context_of(model, seqs, rows=slice(None)):
    return model.context(seqs, seqs.test.users[rows], seqs.test.positions[rows])


@pytest.fixture(scope="module", params=["sasrec", "gru4rec", "tisasrec"])
def model(request, seqs, settings):
    return built(request.param, seqs, settings)


def test_the_future_and_the_padding_do_not_matter(model, seqs):
    context = context_of(model, seqs)
    one = model.encode(context.items, context.times, context.users)
    changed, later = context.items.clone(), context.times.clone()
    changed[:, 6:], later[:, 6:] = 1, 0
    other = model.encode(changed, later, context.users)
    assert torch.allclose(one[:, :6], other[:, :6], atol=1e-5)
    assert not torch.allclose(one[:, 6:], other[:, 6:], atol=1e-3)


def test_state_is_the_last_position(model, seqs, monkeypatch):
    events = seqs.test.users, np.minimum(seqs.test.positions, 4)
    context = model.context(seqs, *events)
    encoded = model.encode(context.items, context.times, context.users)
    assert torch.allclose(model.states(context), encoded[:, 3], atol=1e-6)
    monkeypatch.setattr("paragon.backbones.base._CONTEXTS", 7)
    assert torch.allclose(model.states_before(seqs, *events), encoded[:, 3], atol=1e-6)


@pytest.mark.parametrize("length", [3, 10, 100])
def test_windows_cover_every_training_event_once(seqs, length):
    users, *parts = windows(seqs, length, np.random.default_rng(0))  # items, times, next items
    inside = parts[2] > 0
    assert (np.diff(inside.astype(int), axis=1) <= 0).all()  # left-aligned
    assert not any(part[~inside].any() for part in parts)
    bounds = zip(seqs.offsets[:-1], seqs.n_train, strict=True)
    past = np.concatenate([np.arange(start, start + n - 1) for start, n in bounds])
    found = [part[inside] for part in parts]
    assert np.array_equal(found, [seqs.items[past], seqs.times[past], seqs.items[past + 1]])


@pytest.mark.parametrize("name", ["lightgcn", "ngcf"])
def test_graph_backbones_know_users_and_fold_newcomers_in(name, seqs, settings):
    model = built(name, seqs, settings, layers=3)
    context, final = context_of(model, seqs), model.propagate()
    assert torch.equal(model.states(context), final[seqs.test.users])
    assert torch.equal(model.item_vectors(), final[seqs.n_users :])
    newcomer = model.states(replace(context, users=torch.full_like(context.users, -1)))
    past = context.items[0][context.items[0] > 0]
    assert torch.allclose(newcomer[0], model.item_vectors()[past].mean(0), atol=1e-6)


def test_lightgcn_against_dense_algebra(seqs, settings):
    model, nodes = built("lightgcn", seqs, settings, layers=2), seqs.n_users + seqs.n_items + 1
    users, train = np.repeat(np.arange(seqs.n_users), seqs.lengths), seqs.is_train()
    adjacency = torch.zeros(nodes, nodes)
    adjacency[users[train], seqs.n_users + seqs.items[train]] = 1
    adjacency = adjacency + adjacency.T
    degree = adjacency.sum(0).clamp(min=1)
    normal, e = adjacency / (degree[:, None] * degree).sqrt(), model.embedding
    assert torch.allclose(model.propagate(), (e + normal @ e + normal @ normal @ e) / 3, atol=1e-5)


def test_deepfm_against_its_equations(seqs, settings):
    """Equations 1 to 4 for single pairs, fields one by one, without the split into two sides."""
    model = built("deepfm", seqs, settings)
    for table in model.first_order.values():
        torch.nn.init.normal_(table)
    context = context_of(model, seqs)
    users = torch.where(torch.arange(len(seqs.test)) == 1, -1, context.users)  # a newcomer
    context = replace(context, users=users)
    scores = model.score_catalogue(model.states(context))
    for row, item in ((0, 3), (1, 3), (5, 17)):
        user, past = int(context.users[row]), context.items[row]
        shares = torch.tensor(seqs.categories[item]).float()
        shares = shares / shares.sum()
        fields = [
            model.fields["user"][user],
            model.fields["group"][0 if user < 0 else int(seqs.groups[user]) + 1],
            model.fields["past"][past[past > 0]].mean(0),
            model.fields["item"][item],
            shares @ model.fields["category"],
        ]
        pairs = sum(a @ b for i, a in enumerate(fields) for b in fields[:i])
        first = model.first_order["item"][item] + shares @ model.first_order["category"]
        weight = torch.cat([model.of_user.weight, model.of_item.weight], 1)
        hidden = torch.relu(weight @ torch.cat(fields) + model.of_user.bias)
        expected = first + pairs + model.output @ torch.relu(model.deep[2](hidden))
        assert torch.allclose(scores[row, item], expected, atol=1e-5)


def test_a_representation_per_candidate_is_adapted_pair_by_pair(seqs, settings):
    model = built("deepfm", seqs, settings)
    valid = frozen_events(model, seqs, "valid", settings.adapters)
    vector = 0.2 * torch.randn(valid.form.size, generator=torch.Generator().manual_seed(0))
    adapter, scores = Adapter.from_vector(vector, valid.form), valid.catalogue_scores(vector)
    table = torch.cat([model.item_vectors(), torch.from_numpy(seqs.categories).float()], 1)
    for row, item in zip(range(40), range(1, 121, 3), strict=True):
        hidden, offset = model.expand(valid.states[row][None], torch.tensor([[item]]))
        expected = adapter(hidden[0, 0]) @ table[item] + offset[0, 0]
        assert torch.allclose(scores[row, item], expected, atol=1e-5)


def test_dropout_keeps_the_mean_and_passes_the_gradient_of_what_it_kept():
    layer, x = Dropout(0.3), torch.ones(200, 500, requires_grad=True)
    torch.manual_seed(0)
    out = layer(x)
    kept = out != 0
    assert kept.float().mean().item() == pytest.approx(0.7, abs=0.006)  # 4 standard errors
    assert torch.allclose(out[kept], torch.tensor(1 / 0.7))
    out.sum().backward()
    assert torch.equal(x.grad, out.detach())
    assert layer.eval()(x) is x and Dropout(0)(x) is x


WRONG = [
    ("states", lambda self, context: torch.full((len(context.users), 16), torch.nan), ["`states`"]),
    ("states", Backbone.states, ["`states`"]),
    ("item_vectors", lambda self: self.item_embedding.weight[:7], ["item_vectors", "[7, 16]"]),
    ("expand", lambda self, s, c: (s.unsqueeze(1).expand(-1, 2, -1), 0), ["h`", "[3, 2, 16]"]),
    ("expand", lambda self, s, c: (s.unsqueeze(1), torch.zeros(2)), ["b`", "[2]"]),
]


@pytest.mark.parametrize(("method", "wrong", "named"), WRONG)
def test_a_wrong_backbone_is_named_before_training(
    method, wrong, named, backbone, seqs, monkeypatch
):
    check_backbone(backbone, seqs)
    monkeypatch.setattr(type(backbone), method, wrong)
    refused(["SASRec", *named], check_backbone, backbone, seqs)


def test_training_events_are_each_seen_once_with_their_own_past(seqs, settings):
    model, seen = built("deepfm", seqs, settings), []
    model.states = lambda context: seen.append(context) or torch.zeros(len(context.users), 4)
    found, events = [], seqs.train_events()
    for _, users, targets in model.training_states(seqs, 2, np.random.default_rng(0)):
        items = seen[-1].items
        last = items.gather(1, (items > 0).sum(1, keepdim=True) - 1)[:, 0]
        found += zip(users, last.tolist(), targets, strict=True)
    expected = zip(*events, seqs.targets(*events), strict=True)
    before = [(u, seqs.items[seqs.offsets[u] + at - 1], item) for u, at, item in expected]
    assert sorted(found) == sorted(before)


def test_the_example_of_the_docs_is_a_backbone(seqs, settings, tmp_path, monkeypatch):
    """The page's code as it stands: it trains, learns, and goes into a recommender."""
    page = (ROOT / "docs" / "backbones.md").read_text(encoding="utf-8")
    (code,) = re.findall(r"```python\n(from __future__.*?)```", page, re.DOTALL)
    assert len(code.splitlines()) <= 45
    (tmp_path / "recency.py").write_text(code)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setitem(BACKBONES, "recency", importlib.import_module("recency").Recency)
    run = settings.backbones.model_copy(update={"epochs": 8, "learning_rate": 0.02})
    model, fitted = train_backbone("recency", seqs, run)
    assert fitted.training[-1] < fitted.training[0] - 0.02
    save_backbone(model, seqs, run, fitted, tmp_path / "backbone")
    loaded, _ = load_backbone(tmp_path / "backbone", seqs)
    collection = collect(loaded, seqs, settings.adapters.model_copy(update={"steps": 5}), [0])
    valid = frozen_events(loaded, seqs, "valid", settings.adapters)
    generator = train_generator(collection, settings.of_generator("paragon"), 0, valid)
    found = Recommender(loaded, generator, seqs).recommend(seqs.item_ids[:3], [0.5, 0.5], k=4)
    assert len(found) == 4


def test_early_stop_keeps_the_best_epoch_of_the_whole_catalogue(seqs, settings):
    run = settings.backbones.model_copy(update={"epochs": 30, "patience": 2, "learning_rate": 0.05})
    model, fitted = train_backbone("sasrec", seqs, run)
    assert fitted.epochs == fitted.best_epoch + 2 < 30
    valid, expected = seqs.valid, []
    states = model.states_before(seqs, valid.users, valid.positions)
    scores = (states @ model.item_vectors().T).numpy()
    rows = zip(scores, valid.users, valid.positions, valid.targets, strict=True)
    for row, user, position, target in rows:
        start = seqs.offsets[user]
        past = {0, *seqs.items[start : start + position].tolist()} - {target}
        left = [i for i in range(seqs.n_items + 1) if i not in past]
        expected.append(ndcg_score([[i == target for i in left]], row[left][None], k=10))
    assert np.mean(expected) == pytest.approx(-min(fitted.validation), abs=1e-6)


LOSSES = [(n, "softmax", s) for n in ("sasrec", "deepfm") for s in (None, 1, 20)]


@pytest.mark.parametrize(
    ("name", "loss", "negatives"), [*LOSSES, ("gru4rec", "bpr_max", 7), ("deepfm", "bpr_max", 7)]
)
def test_losses_event_by_event(name, loss, negatives, seqs, settings):
    """The loss that the first step reports, which sees all events, of the initial parameters."""
    change = {"loss": loss, "negatives": negatives, "epochs": 1, "batch": 10**6, "dropout": 0.0}
    run = settings.backbones.model_copy(update=change)
    model, rng = build(name, seqs, run, seed=0).train(), np.random.default_rng([0, 0])
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.mul_(10)  # scores that are far from equal
        ((states, users, targets),) = model.training_states(seqs, 10**6, rng)
        scores = model.score_catalogue(states).double().numpy()  # [N, n + 1]
    if loss == "bpr_max":
        others = NegativeSampler(seqs).draw(users, negatives, rng)
    else:
        count = seqs.n_items
        drawn = rng.choice(count, negatives, replace=False) if negatives else np.arange(count)
        others = np.tile(1 + drawn, (len(users), 1))
    losses = []
    for row, target, items in zip(scores, targets, others, strict=True):
        lead = np.exp(row[items[items != target]] - row[target])
        if loss == "softmax":
            losses.append(np.log(1 + lead.sum()))
        else:
            losses.append(-np.log((lead / lead.sum() / (1 + lead)).sum()))
    assert np.std(losses) > 0.1
    found = Training(model, seqs, run).fit(0).training
    assert found == pytest.approx([np.mean(losses)], rel=1e-4)


def test_units_come_from_training_events_only(seqs):
    units = smallest_intervals(seqs)
    for user in range(seqs.n_users):
        start = seqs.offsets[user]
        gaps = np.diff(seqs.times[start : start + seqs.n_train[user]])
        assert units[user] == (gaps[gaps > 0].min() if (gaps > 0).any() else 1)


def test_tisasrec_attention_against_the_written_out_formula(seqs, settings):
    model, heads = built("tisasrec", seqs, settings), settings.backbones.heads
    for table in (*model.keys.values(), *model.values.values()):
        table.mul_(30)
    block, size, context = model.blocks[0], model.dim // heads, context_of(model, seqs, slice(2))
    found = model.encode(context.items, context.times, context.users)
    x = model.norm(model.item_embedding(context.items))
    q, k, v = block.project(x).chunk(3, -1)
    for b, i in np.ndindex(2, 10):
        times, unit, now = context.times[b], model.units[context.users[b]].item(), slice(i + 1)
        gaps = [abs(times[i] - times[j]).item() // unit for j in range(i + 1)]
        r = torch.tensor([min(gap, model.intervals) for gap in gaps])
        keys, values = (
            own[b, now] + tables["position"][now] + tables["interval"][r]
            for own, tables in ((k, model.keys), (v, model.values))
        )
        out = []
        for part in (slice(h * size, (h + 1) * size) for h in range(heads)):
            attention = torch.softmax(keys[:, part] @ q[b, i, part] / size**0.5, 0)
            out.append(attention @ values[:, part])
        y = block.norm_attention(x[b, i] + block.merge(torch.cat(out)))
        assert torch.allclose(found[b, i], block.norm_feed(y + block.feed(y)), atol=1e-4)


def test_settings_that_do_not_fit_are_refused_by_name(seqs, settings):
    for name, change, key in (
        ("bert", {}, "'bert'"),
        ("sasrec", {"heads": 3}, "backbones.heads"),
        ("ngcf", {"layers": 2}, "backbones.dim"),
        ("deepfm", {"dim": 15}, "backbones.dim"),
        ("gru4rec", {"loss": "bpr_max", "negatives": None}, "backbones.negatives"),
    ):
        refused(key, train_backbone, name, seqs, settings.backbones.model_copy(update=change))
