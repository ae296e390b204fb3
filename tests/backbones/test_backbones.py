"""Backbones: causal, padding-proof, trainable, frozen and saved."""

import importlib.util
import re

import numpy as np
import pytest
import torch

from paragon.adapters.adapter import Adapter
from paragon.adapters.collection import collect
from paragon.adapters.frozen import frozen_task
from paragon.backbones import BACKBONES, build, load_backbone, save_backbone, train_backbone
from paragon.backbones.base import (
    Backbone,
    Context,
    Dropout,
    cached_states,
    check_backbone,
    context_of,
)
from paragon.backbones.lightgcn import GraphBackbone
from paragon.backbones.sequential import SequentialBackbone, windows
from paragon.backbones.tisasrec import padded_softmax, smallest_intervals
from paragon.backbones.training import Training
from paragon.data.negatives import NegativeSampler
from paragon.data.split import prepare
from paragon.errors import ParagonError
from paragon.generator.training import train_generator
from paragon.params import ROOT
from paragon.serving.recommender import Recommender

SEQUENTIAL = [name for name, cls in BACKBONES.items() if issubclass(cls, SequentialBackbone)]
GRAPH = [name for name, cls in BACKBONES.items() if issubclass(cls, GraphBackbone)]


@pytest.fixture(scope="module", params=SEQUENTIAL)
def model(request, seqs, settings):
    return build(request.param, seqs, settings.backbones, seed=0).eval().requires_grad_(False)


def test_the_future_and_the_padding_do_not_matter(model, seqs):
    items, times = seqs.histories(seqs.test.users, seqs.test.positions, 10)
    users = torch.from_numpy(seqs.test.users)
    one = model.encode(torch.from_numpy(items), torch.from_numpy(times), users)
    changed, later = items.copy(), times.copy()
    changed[:, 6:], later[:, 6:] = 1, 0
    other = model.encode(torch.from_numpy(changed), torch.from_numpy(later), users)
    assert torch.allclose(one[:, :6], other[:, :6], atol=1e-5)
    assert not torch.allclose(one[:, 6:], other[:, 6:], atol=1e-3)


def test_state_is_the_last_position(model, seqs):
    context = context_of(seqs, seqs.test.users, np.minimum(seqs.test.positions, 4), 10)
    encoded = model.encode(context.items, context.times, context.users)
    assert torch.allclose(model.states(context), encoded[:, 3], atol=1e-6)
    assert torch.allclose(cached_states(model, context, batch=7), model.states(context), atol=1e-6)


@pytest.mark.parametrize("length", [3, 10, 100])
def test_windows_cover_every_training_event_once(seqs, length):
    for seed in range(5):
        users, items, times, targets = windows(seqs, length, np.random.default_rng(seed))
        for user in range(seqs.n_users):
            start, n = seqs.offsets[user], seqs.n_train[user]
            mine = users == user
            inside = targets[mine] > 0
            assert np.array_equal(items[mine][inside], seqs.items[start : start + n - 1])
            assert np.array_equal(targets[mine][inside], seqs.items[start + 1 : start + n])
            assert np.array_equal(times[mine][inside], seqs.times[start : start + n - 1])
            assert not items[mine][~inside].any()
            assert (np.diff(inside.astype(int), axis=1) <= 0).all()  # left-aligned


@pytest.mark.parametrize("name", list(BACKBONES))
def test_training_learns_and_its_result_is_stored(name, seqs, settings, dataset, tmp_path):
    run = settings.backbones.model_copy(update={"epochs": 8, "learning_rate": 0.01})
    model, fitted = train_backbone(name, seqs, run)
    assert fitted.training[-1] < fitted.training[0] - 0.02
    assert fitted.best_epoch == int(np.argmin(fitted.validation)) + 1
    save_backbone(model, seqs, run, fitted, tmp_path / "backbone")
    loaded, description = load_backbone(tmp_path / "backbone", seqs)
    context = context_of(seqs, seqs.test.users, seqs.test.positions, model.history)
    assert torch.equal(loaded.states(context), model.states(context))
    assert torch.equal(loaded.item_vectors(), model.item_vectors())
    assert description["backbone"] == name
    with pytest.raises(ParagonError, match="field `seed` differs"):
        load_backbone(tmp_path / "backbone", prepare(dataset, negatives=50, seed=1))


@pytest.mark.parametrize("name", GRAPH)
def test_graph_backbones_know_users_and_fold_newcomers_in(name, seqs, settings):
    deep = settings.backbones.model_copy(update={"layers": 3})
    model = build(name, seqs, deep, seed=0).eval().requires_grad_(False)
    context = context_of(seqs, seqs.test.users, seqs.test.positions, 10)
    final = model.propagate()
    assert torch.equal(model.states(context), final[seqs.test.users])
    assert torch.equal(model.item_vectors(), final[seqs.n_users :])
    assert model.item_vectors().shape == (seqs.n_items + 1, model.dim)
    newcomer = Context(torch.tensor([-1]), context.items[:1], context.times[:1])
    met = context.items[0][context.items[0] > 0]
    expected = model.item_vectors()[met].mean(0)
    assert torch.allclose(model.states(newcomer)[0], expected, atol=1e-6)


def test_lightgcn_against_dense_algebra(seqs, settings):
    model = build("lightgcn", seqs, settings.backbones.model_copy(update={"layers": 2}), seed=0)
    users = np.repeat(np.arange(seqs.n_users), seqs.lengths)
    adjacency = torch.zeros(seqs.n_users + seqs.n_items + 1, seqs.n_users + seqs.n_items + 1)
    train = seqs.is_train()
    adjacency[users[train], seqs.n_users + seqs.items[train]] = 1
    adjacency = adjacency + adjacency.T
    degree = adjacency.sum(0).clamp(min=1)
    normal = adjacency / (degree[:, None] * degree[None]).sqrt()
    e = model.embedding
    assert torch.allclose(model.propagate(), (e + normal @ e + normal @ normal @ e) / 3, atol=1e-5)


def test_deepfm_against_its_equations(seqs, settings):
    """Equations 1 to 4 for single pairs, fields one by one, without the split into two sides."""
    model = build("deepfm", seqs, settings.backbones, seed=0).eval().requires_grad_(False)
    for table in model.first_order.values():
        torch.nn.init.normal_(table)
    users = seqs.test.users.copy()
    context = context_of(seqs, users, seqs.test.positions, model.history)
    context.users[1] = -1  # a newcomer
    scores = model.score_catalogue(model.states(context))
    for row, item in ((0, 3), (1, 3), (5, 17)):
        user, past = int(context.users[row]), context.items[row]
        shares = torch.tensor(seqs.categories[item]).float()
        shares = shares / shares.sum()
        group = 0 if user < 0 else int(seqs.groups[user]) + 1
        fields = [
            model.fields["user"][user],
            model.fields["group"][group],
            model.fields["past"][past[past > 0]].mean(0),
            model.fields["item"][item],
            shares @ model.fields["category"],
        ]
        pairs = sum(a @ b for i, a in enumerate(fields) for b in fields[:i])
        first = model.first_order["item"][item] + shares @ model.first_order["category"]
        weight = torch.cat([model.of_user.weight, model.of_item.weight], 1)
        hidden = torch.relu(weight @ torch.cat(fields) + model.of_user.bias)
        deep = torch.relu(model.deep[2](hidden))
        expected = first + pairs + model.output @ deep
        assert torch.allclose(scores[row, item], expected, atol=1e-5)


def test_a_representation_per_candidate_goes_the_whole_way(seqs, settings):
    """Batched adapters, lists and the catalogue agree with one pair at a time."""
    model = build("deepfm", seqs, settings.backbones, seed=0).eval().requires_grad_(False)
    valid = frozen_task(model, seqs, "valid", settings.adapters)
    draw = torch.Generator().manual_seed(0)
    vectors = 0.2 * torch.randn(2, 3, valid.form.size, generator=draw)
    rows, candidates = torch.arange(8).view(2, 4), valid.candidates[:, :6]
    features = torch.from_numpy(seqs.categories).float()
    scores = valid.scores(vectors, rows, candidates[rows])
    assert scores.shape == (2, 4, 3, 6)
    for seed in range(2):
        for a in range(3):
            adapter = Adapter.from_vector(vectors[seed, a], valid.form)
            for b in range(4):
                state = valid.states[rows[seed, b]]
                for c in range(6):
                    item = candidates[rows[seed, b], c]
                    hidden, offset = model.expand(state[None], item.view(1, 1))
                    vector = torch.cat([model.item_vectors()[item], features[item]])
                    expected = adapter(hidden[0, 0]) @ vector + offset[0, 0]
                    assert torch.allclose(scores[seed, b, a, c], expected, atol=1e-5)
    catalogue = valid.catalogue_scores(vectors[1, 2])
    expected = catalogue[rows[1][:, None], candidates[rows[1]]]
    assert torch.allclose(scores[1, :, 2], expected, atol=1e-5)
    lists = model.score(valid.states, candidates)
    bare = model.score_catalogue(valid.states)
    assert torch.allclose(lists, bare.gather(1, candidates), atol=1e-5)


def test_dropout_keeps_the_mean_and_passes_the_gradient_of_what_it_kept():
    layer, x = Dropout(0.3), torch.ones(200, 500, requires_grad=True)
    torch.manual_seed(0)
    out = layer(x)
    kept = out != 0
    assert kept.float().mean().item() == pytest.approx(0.7, abs=0.006)  # 4 standard errors
    assert torch.allclose(out[kept], torch.tensor(1 / 0.7))
    out.sum().backward()
    assert torch.equal(x.grad, out.detach())
    torch.manual_seed(0)
    assert torch.equal(layer(x), out)
    assert layer.eval()(x) is x and Dropout(0)(x) is x


class Broken(Backbone):
    """A backbone that is right unless it is told what to do wrong."""

    name = "broken"

    def __init__(self, sequences, settings, **wrong):
        super().__init__(sequences, settings.model_copy(update={"dim": 4, "history": 5}))
        self.vectors = torch.nn.Parameter(torch.ones(sequences.n_items + 1, 4))
        self.wrong = wrong

    def states(self, context):
        return torch.full((len(context), self.wrong.get("width", 4)), self.wrong.get("value", 1.0))

    def item_vectors(self):
        return self.vectors[: self.wrong.get("rows")]

    def expand(self, states, candidates):
        hidden = states.unsqueeze(-2)
        if "repeat" in self.wrong:
            hidden = hidden.expand(-1, self.wrong["repeat"], -1)
        return hidden, self.wrong.get("offset", 0.0)


class Stateless(Broken):
    states = Backbone.states


class Inherits(Broken):
    expand = Backbone.expand


@pytest.mark.parametrize(
    ("kind", "wrong", "words"),
    [
        (Broken, {"value": float("nan")}, "Broken: `states` holds numbers that are not finite"),
        (Broken, {"rows": 7}, r"`item_vectors` has shape \[7, 4\], \[148, 4\] is needed"),
        (
            Broken,
            {"width": 3},
            r"`expand: h` has shape \[3, 1, 3\], \[3, 1, 4\] or \[3, 51, 4\] is",
        ),
        (Broken, {"repeat": 2}, r"`expand: h` has shape \[3, 2, 4\]"),
        (Broken, {"offset": torch.zeros(2)}, r"`expand: b` has shape \[2\], \[3, 51\] is needed"),
        (Inherits, {"width": 3}, r"`states` has shape \[3, 3\], \[3, 4\] is needed"),
        (Stateless, {}, "Stateless: the method `states` is missing"),
    ],
)
def test_a_wrong_backbone_is_named_before_training(seqs, settings, kind, wrong, words):
    check_backbone(Broken(seqs, settings.backbones), seqs)
    with pytest.raises(ParagonError, match=words):
        check_backbone(kind(seqs, settings.backbones, **wrong), seqs)


def test_training_events_are_each_seen_once_with_their_own_past(seqs, settings):
    model = Broken(seqs, settings.backbones)
    seen = []
    model.states = lambda context: seen.append(context) or torch.zeros(len(context), 4)
    batches = list(Backbone.training_states(model, seqs, 2, np.random.default_rng(0)))
    users, targets = (np.concatenate([b[i] for b in batches]) for i in (1, 2))
    expected = seqs.train_events()
    assert sorted(zip(users, targets, strict=True)) == sorted(
        zip(expected[0], seqs.targets(*expected), strict=True)
    )
    for context, (_, whose, what) in zip(seen, batches, strict=True):
        last = context.items.gather(1, (context.items > 0).sum(1, keepdim=True) - 1)[:, 0]
        for user, item, before in zip(whose, what, last.tolist(), strict=True):
            start, n = seqs.offsets[user], seqs.n_train[user]
            mine = seqs.items[start : start + n].tolist()
            assert (before, item) in zip(mine, mine[1:], strict=False)


def test_the_example_of_the_docs_is_a_backbone(seqs, settings, tmp_path, monkeypatch):
    """The page's code as it stands: it trains, learns, and goes into a recommender."""
    page = (ROOT / "docs" / "backbones.md").read_text(encoding="utf-8")
    (code,) = re.findall(r"```python\n(from __future__.*?)```", page, re.DOTALL)
    assert len(code.splitlines()) <= 45
    path = tmp_path / "recency.py"
    path.write_text(code)
    spec = importlib.util.spec_from_file_location("recency", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    monkeypatch.setitem(BACKBONES, "recency", module.Recency)
    run = settings.backbones.model_copy(update={"epochs": 8, "learning_rate": 0.02})
    model, fitted = train_backbone("recency", seqs, run)
    assert fitted.training[-1] < fitted.training[0] - 0.02
    save_backbone(model, seqs, run, fitted, tmp_path / "backbone")
    loaded, _ = load_backbone(tmp_path / "backbone", seqs)
    collection = collect(loaded, seqs, settings.adapters, [0])
    recommender = Recommender(loaded, train_generator(collection, settings.generator, 0), seqs)
    assert len(recommender.recommend(seqs.item_ids[:3], [0.5, 0.5], k=4)) == 4


def test_early_stop_keeps_the_best_epoch_of_the_whole_catalogue(seqs, settings):
    run = settings.backbones.model_copy(update={"epochs": 30, "patience": 2, "learning_rate": 0.05})
    model, fitted = train_backbone("sasrec", seqs, run)
    assert fitted.epochs == fitted.best_epoch + 2 < 30
    context = context_of(seqs, seqs.valid.users, seqs.valid.positions, model.history)
    scores = (cached_states(model, context) @ model.item_vectors().T).numpy()
    from sklearn.metrics import ndcg_score

    expected, valid = [], seqs.valid
    for event, (user, target) in enumerate(zip(valid.users, valid.targets, strict=True)):
        start, position = seqs.offsets[user], valid.positions[event]
        met = set(seqs.items[start : start + position].tolist()) - {target}
        left = [i for i in range(1, seqs.n_items + 1) if i not in met]
        relevance = [[i == target for i in left]]
        expected.append(ndcg_score(relevance, scores[event, left][None], k=10))
    assert np.mean(expected) == pytest.approx(-min(fitted.validation), abs=1e-6)


def first_step(name, seqs, settings, **update):
    """Scores and targets of all training events, generator, and the loss that training reports.

    Of the first step, which sees every event, and of the initial parameters.
    """
    update |= {"epochs": 1, "batch": 10**6, "dropout": 0.0}
    run = settings.backbones.model_copy(update=update)
    model = build(name, seqs, run, seed=0).requires_grad_(True)
    rng = np.random.default_rng([0, 0])
    model.train()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.mul_(10)  # scores that are far from equal
        ((states, users, targets),) = model.training_states(seqs, 10**6, rng)
        scores = model.score_catalogue(states).double().numpy()  # [N, n + 1]
    return scores, users, targets, rng, Training(model, seqs, run).fit(0).training


@pytest.mark.parametrize("negatives", [None, 1, 20])
@pytest.mark.parametrize("name", ["sasrec", "deepfm"])
def test_softmax_event_by_event(name, negatives, seqs, settings):
    wanted = {"loss": "softmax", "negatives": negatives}
    scores, _, targets, rng, found = first_step(name, seqs, settings, **wanted)
    others = np.arange(1, seqs.n_items + 1)
    if negatives:
        others = 1 + rng.choice(seqs.n_items, negatives, replace=False)
    losses = []
    for row, target in zip(scores, targets, strict=True):
        rivals = row[[i for i in others if i != target]]
        losses.append(np.log(1 + np.exp(rivals - row[target]).sum()))
    assert np.std(losses) > 0.1
    assert found == pytest.approx([np.mean(losses)], rel=1e-4)


@pytest.mark.parametrize("name", ["gru4rec", "deepfm"])
def test_bpr_max_event_by_event(name, seqs, settings):
    wanted = {"loss": "bpr_max", "negatives": 7}
    scores, users, targets, rng, found = first_step(name, seqs, settings, **wanted)
    drawn = NegativeSampler(seqs).draw(users, 7, rng)
    losses = []
    for row, target, others in zip(scores, targets, drawn, strict=True):
        importance = np.exp(row[others]) / np.exp(row[others]).sum()
        losses.append(-np.log((importance / (1 + np.exp(row[others] - row[target]))).sum()))
    assert np.std(losses) > 0.1
    assert found == pytest.approx([np.mean(losses)], rel=1e-4)


def test_bpr_max_needs_a_number_of_negatives(seqs, settings):
    run = settings.backbones.model_copy(update={"loss": "bpr_max", "negatives": None})
    with pytest.raises(ParagonError, match="`bpr_max` needs a number"):
        train_backbone("gru4rec", seqs, run)


@pytest.mark.parametrize("name", list(BACKBONES))
def test_the_same_items_for_all_states_score_as_one_by_one(name, seqs, settings):
    model = build(name, seqs, settings.backbones, seed=0).eval().requires_grad_(False)
    context = context_of(seqs, seqs.test.users[:5], seqs.test.positions[:5], model.history)
    states, items = model.states(context), torch.tensor([7, 1, 120, 7])
    expected = model.score(states, items.expand(5, -1))
    assert torch.allclose(model.score(states, items), expected, atol=1e-5)
    assert torch.allclose(model.score_catalogue(states)[:, items], expected, atol=1e-5)


def test_units_come_from_training_events_only(seqs):
    units = smallest_intervals(seqs)
    for user in range(seqs.n_users):
        start = seqs.offsets[user]
        gaps = np.diff(seqs.times[start : start + seqs.n_train[user]])
        assert units[user] == (gaps[gaps > 0].min() if (gaps > 0).any() else 1)


def attention_and_gradient(softmax, logits, towards):
    logits = logits.detach().requires_grad_()
    attention = softmax(logits)
    return attention.detach(), torch.autograd.grad(attention, logits, towards)[0]


@pytest.mark.parametrize("length", [8, 10, 50])
def test_padded_softmax_is_softmax_and_no_number_of_threads_changes_it(length):
    draw = torch.Generator().manual_seed(0)
    logits, towards = torch.randn(2, 500, length, generator=draw)
    logits[0, 1:] = -torch.inf
    found = attention_and_gradient(padded_softmax, logits, towards)
    expected = attention_and_gradient(lambda x: x.softmax(-1), logits.double(), towards.double())
    for one, other in zip(found, expected, strict=True):
        assert torch.allclose(one.double(), other, atol=1e-6)
    before = torch.get_num_threads()
    try:
        torch.set_num_threads(before + 1)
        again = attention_and_gradient(padded_softmax, logits, towards)
    finally:
        torch.set_num_threads(before)
    assert all(torch.equal(one, other) for one, other in zip(found, again, strict=True))


def test_tisasrec_attention_against_the_written_out_formula(seqs, settings):
    model = build("tisasrec", seqs, settings.backbones, seed=0).eval().requires_grad_(False)
    with torch.no_grad():
        for table in (*model.keys.values(), *model.values.values()):
            table.mul_(30)
    block, heads = model.blocks[0], settings.backbones.heads
    context = context_of(seqs, seqs.test.users[:3], seqs.test.positions[:3], 10)
    x = model.norm(model.item_embedding(context.items))
    q, k, v = block.project(x).chunk(3, -1)
    size = model.dim // heads
    for b in range(3):
        unit = model.units[context.users[b]].item()
        for i in range(10):
            out = []
            for h in range(heads):
                part = slice(h * size, (h + 1) * size)
                logits, rows = [], []
                for j in range(i + 1):
                    gap = abs(context.times[b, i] - context.times[b, j]).item() // unit
                    r = min(gap, model.intervals)
                    key = k[b, j] + model.keys["position"][j] + model.keys["interval"][r]
                    value = v[b, j] + model.values["position"][j] + model.values["interval"][r]
                    logits.append((q[b, i, part] @ key[part]) / size**0.5)
                    rows.append(value[part])
                out.append(torch.softmax(torch.stack(logits), 0) @ torch.stack(rows))
            y = block.norm_attention(x[b, i] + block.merge(torch.cat(out)))
            y = block.norm_feed(y + block.feed(y))
            found = model.encode(context.items, context.times, context.users)[b, i]
            assert torch.allclose(found, y, atol=1e-4)


@pytest.mark.parametrize(
    ("name", "change", "word"),
    [
        ("bert", {}, "'bert' is unknown; known: sasrec"),
        ("sasrec", {"heads": 3}, "backbones.heads: 3"),
        ("tisasrec", {"heads": 3}, "backbones.heads: 3"),
        ("ngcf", {"layers": 2}, "backbones.dim: 16"),
        ("deepfm", {"dim": 15}, "backbones.dim: 15"),
    ],
)
def test_settings_that_do_not_fit_are_refused_by_name(name, change, word, seqs, settings):
    with pytest.raises(ParagonError, match=word):
        build(name, seqs, settings.backbones.model_copy(update=change), 0)
