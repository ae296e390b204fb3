"""Backbones: causal, padding-proof, trainable, frozen and saved."""

import numpy as np
import pytest
import torch

from paragon import backbones
from paragon.backbones import BACKBONES, Context, build, cached_states, context_of
from paragon.backbones.sequential import SequentialBackbone, windows
from paragon.backbones.tisasrec import smallest_intervals
from paragon.errors import ParagonError

SEQUENTIAL = [name for name, cls in BACKBONES.items() if issubclass(cls, SequentialBackbone)]
GRAPH = [name for name in BACKBONES if name not in SEQUENTIAL]


@pytest.fixture(scope="module", params=SEQUENTIAL)
def model(request, seqs, settings):
    return build(request.param, seqs, settings.backbone, seed=0).eval().requires_grad_(False)


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
def test_training_learns_and_repeats(name, seqs, settings):
    run = settings.backbone.model_copy(update={"epochs": 8, "learning_rate": 0.01})
    model, fitted = backbones.train_backbone(name, seqs, run)
    assert fitted.training[-1] < fitted.training[0] - 0.02
    assert fitted.best_epoch == int(np.argmin(fitted.validation)) + 1
    again, _ = backbones.train_backbone(name, seqs, run)
    for one, two in zip(model.parameters(), again.parameters(), strict=True):
        assert torch.equal(one, two)


@pytest.mark.parametrize("name", GRAPH)
def test_graph_backbones_know_users_and_fold_newcomers_in(name, seqs, settings):
    deep = settings.backbone.model_copy(update={"layers": 3})
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
    model = build("lightgcn", seqs, settings.backbone.model_copy(update={"layers": 2}), seed=0)
    users = np.repeat(np.arange(seqs.n_users), seqs.lengths)
    adjacency = torch.zeros(seqs.n_users + seqs.n_items + 1, seqs.n_users + seqs.n_items + 1)
    train = seqs.is_train()
    adjacency[users[train], seqs.n_users + seqs.items[train]] = 1
    adjacency = adjacency + adjacency.T
    degree = adjacency.sum(0).clamp(min=1)
    normal = adjacency / (degree[:, None] * degree[None]).sqrt()
    e = model.embedding
    assert torch.allclose(model.propagate(), (e + normal @ e + normal @ normal @ e) / 3, atol=1e-5)


def test_early_stop_keeps_the_best_epoch(seqs, settings):
    run = settings.backbone.model_copy(update={"epochs": 30, "patience": 2, "learning_rate": 0.05})
    model, fitted = backbones.train_backbone("sasrec", seqs, run)
    assert fitted.epochs == fitted.best_epoch + 2 < 30
    context = context_of(seqs, seqs.valid.users, seqs.valid.positions, model.history)
    vectors = model.item_vectors()[torch.from_numpy(seqs.valid.candidates)]
    scores = (vectors @ cached_states(model, context).unsqueeze(-1)).squeeze(-1)
    from sklearn.metrics import ndcg_score

    relevance = np.zeros(scores.shape)
    relevance[:, 0] = 1
    found = ndcg_score(relevance, scores.numpy(), k=10)
    assert found == pytest.approx(-min(fitted.validation), abs=1e-6)


def test_round_trip_and_foreign_data(model, seqs, settings, dataset, tmp_path):
    fitted = backbones.Fitted(1, 1, [1.0], [1.0])
    about = backbones.describe(model.name, seqs, settings.backbone, fitted)
    backbones.save_backbone(model, about, tmp_path / "backbone")
    loaded, description = backbones.load_backbone(tmp_path / "backbone", seqs)
    context = context_of(seqs, seqs.test.users, seqs.test.positions, 10)
    assert torch.equal(loaded.states(context), model.states(context))
    assert description["backbone"] == model.name
    from paragon.sequences import prepare

    with pytest.raises(ParagonError, match="field `seed` differs"):
        backbones.load_backbone(tmp_path / "backbone", prepare(dataset, negatives=50, seed=1))


def test_units_come_from_training_events_only(seqs):
    units = smallest_intervals(seqs)
    for user in range(seqs.n_users):
        start = seqs.offsets[user]
        gaps = np.diff(seqs.times[start : start + seqs.n_train[user]])
        assert units[user] == (gaps[gaps > 0].min() if (gaps > 0).any() else 1)


def test_tisasrec_attention_against_the_written_out_formula(seqs, settings):
    model = build("tisasrec", seqs, settings.backbone, seed=0).eval().requires_grad_(False)
    with torch.no_grad():
        for table in (*model.keys.values(), *model.values.values()):
            table.mul_(30)
    block, heads = model.blocks[0], settings.backbone.heads
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


def test_unknown_backbone_and_bad_heads(seqs, settings):
    with pytest.raises(ParagonError, match="'bert' is unknown; known: sasrec"):
        build("bert", seqs, settings.backbone, 0)
    odd = settings.backbone.model_copy(update={"heads": 3})
    with pytest.raises(ParagonError, match="backbone.heads: 3 does not divide dim 16"):
        build("sasrec", seqs, odd, 0)
