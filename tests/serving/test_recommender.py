"""From histories and weights to named items: one person, many people, every backbone."""

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch

from paragon import History, Recommender
from paragon.adapters.frozen import frozen_events
from paragon.backbones import BACKBONES, build
from paragon.reranking import settings as reranking
from paragon.reranking.rules import RERANKERS
from paragon.serving import recommender as module
from tests.conftest import refused
from tests.serving.conftest import export

pytestmark = pytest.mark.slow

PEOPLE = ("lightgcn", "ngcf", "deepfm", "tisasrec")  # what these know of somebody is not exported
HALF = [0.5, 0.5]


def history_of(seqs, user, count=None, people=True):
    """The first ``count`` events of a user, with times and name."""
    number = seqs.user_ids.index(user)
    start, stop = seqs.offsets[number : number + 2]
    items = [seqs.item_ids[i - 1] for i in seqs.items[start:stop]]
    times = seqs.times[start:stop].tolist()
    return History(items[:count], times[:count], user if people else None)


# --- lists ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", list(BACKBONES))
def test_it_serves_the_model_that_is_evaluated(name, make_once, nobody, seqs, settings, tmp_path):
    """The same items as the ranking behind the results, by itself and exported."""
    model, _, generator = made = make_once(name)
    weights, rows = [0.3, 0.7], range(5)
    task = frozen_events(model, seqs, "test", settings.adapters)
    scores = task.catalogue_scores(generator.generate(weights)[0])
    scores = scores.masked_fill(torch.from_numpy(seqs.excluded(seqs.test)), -torch.inf)
    people = Recommender.load(export(tmp_path / "people", seqs, made, people=True))
    without, new = Recommender.load(nobody(name)), Recommender(model, generator, seqs)
    users = [seqs.user_ids[seqs.test.users[row]] for row in rows]
    pasts = [history_of(seqs, u, seqs.test.positions[r]) for r, u in zip(rows, users, strict=True)]
    for served in (new, people):
        batch = served.recommend_many(pasts, weights, k=3)
        for row in rows:
            alone = served.recommend(pasts[row], weights, k=3)
            best = scores[row].topk(3)
            expected = [seqs.item_ids[i - 1] for i in best.indices]
            assert alone.item_ids == batch[row].item_ids == expected
            assert np.allclose([item.score for item in alone], best.values, atol=1e-4)
    # Without people everybody is somebody new.
    for past in pasts:
        unknown = History(past.items, past.times)
        expected, found = (r.recommend(unknown, weights, k=3) for r in (new, without))
        assert found.item_ids == expected.item_ids
        assert np.allclose([e.score for e in found], [e.score for e in expected], atol=1e-4)
        if name not in PEOPLE:
            assert found.item_ids == new.recommend(past, weights, k=3).item_ids
    refused(("user", repr(users[0])), without.recommend, pasts[0], weights)


def test_a_state_of_sasrec_is_the_one_it_was_trained_with(seqs, settings):
    deep = settings.backbones.model_copy(update={"layers": 2})
    model = build("sasrec", seqs, deep, seed=0).eval().requires_grad_(False)
    context = model.context(seqs, seqs.test.users, seqs.test.positions)
    assert (context.items == 0).any()  # some histories are short
    assert torch.allclose(model.last_states(context), model.states(context), atol=1e-5)


def test_a_list_and_how_it_shows_itself(recommender, seqs):
    history = history_of(seqs, "u3")
    best = recommender.recommend(history, [0.25, 0.75], k=7)
    assert len(best) == 7 and not set(best.item_ids) & set(history.items)
    scores = [item.score for item in best]
    assert scores == sorted(scores, reverse=True)
    assert best[0].title == "Item " + best[0].item_id[1:] and len(best[0].categories) == 2
    again = recommender.recommend(history.items, {"diversity": 3, "accuracy": 1}, 7, normalise=True)
    assert again.item_ids == best.item_ids and again.weights == best.weights
    seen = recommender.recommend(history, HALF, k=147, exclude_seen=False)
    assert set(history.items) & set(seen.item_ids)
    assert best[0].item_id in repr(best) and best._repr_html_().count("<tr>") == 7
    table = best.to_pandas()
    assert list(table.columns) == ["item_id", "title", "categories", "score"]
    assert list(table.index) == [*range(1, 8)] and list(table["item_id"]) == best.item_ids
    for given in (tuple(history.items), np.array(history.items), iter(history.items)):
        assert recommender.recommend(given, [0.25, 0.75], k=np.int64(7)).item_ids == best.item_ids


def test_unknown_items_are_skipped_and_counted(recommender, seqs):
    known = history_of(seqs, "u3")
    mixed, times = ["new", *known.items, "newer"], [1, *known.times, known.times[-1]]
    found = recommender.recommend(History(mixed, times), HALF, k=5)
    [note] = found.notes
    assert "2 " in note and note in repr(found)
    assert found.item_ids == recommender.recommend(known.items, HALF, k=5).item_ids
    nothing = recommender.recommend(["new"], HALF, k=5)
    popularity = seqs.popularity()
    order = np.argsort(-popularity[1:], kind="stable")[:5]
    assert nothing.item_ids == [seqs.item_ids[i] for i in order]
    assert [item.score for item in nothing] == list(popularity[1 + order])
    assert nothing.notes[-1] in repr(nothing)


@pytest.mark.parametrize("balance", [0.0, 0.3, 1.0])
def test_one_index_finds_the_best_items_under_any_weights(recommender, seqs, balance):
    ids, rows = recommender.index()
    history, weights = ids[3:8], [balance, 1 - balance]
    scores = rows @ recommender.query(history, weights, index=recommender.index_sha256)
    nearest = [ids[i] for i in np.argsort(-scores, kind="stable") if ids[i] not in history]
    assert nearest[:10] == recommender.recommend(history, weights).item_ids
    rows[:] = 0  # lists do not change with them
    assert recommender.recommend(history, weights).item_ids == nearest[:10]
    refused("history", recommender.query, ["nobody knows it"], weights)
    refused(("weights", "2 rows"), recommender.query, history, [weights, weights])
    refused("history", recommender.query, {*history}, weights)
    refused("index", recommender.query, history, weights, index="another")


def test_filters(recommender, seqs):
    history = history_of(seqs, "u3")
    few = [i for i in seqs.item_ids if i not in history.items][:6]
    found = recommender.recommend(history, HALF, k=6, only=few)
    assert set(found.item_ids) == set(few)
    two = recommender.recommend(history, HALF, k=4, only=few, without=few[:2])
    assert set(two.item_ids) == set(few[2:])
    refused("4 items", recommender.recommend, history, HALF, 5, only=few, without=iter(few[:2]))
    best = recommender.recommend(history, HALF, k=10)
    less = recommender.recommend(history, HALF, k=9, without=best.item_ids[:1])
    assert less.item_ids == best.item_ids[1:]
    assert set(recommender.recommend(["new"], HALF, k=3, only=few).item_ids) <= set(few)


def test_many_people_have_their_own_weights_and_errors(made, seqs, monkeypatch):
    """In blocks or alone, with weights that come again or not: the same adapters and lists."""
    served, rng = Recommender(made[0], made[2], seqs), np.random.default_rng(0)
    pasts = [history_of(seqs, user).items for user in seqs.user_ids] * 15
    pasts[17], pasts[513] = [6, 2], []
    weights = rng.dirichlet([1, 1], len(pasts)).astype(np.float32)
    weights[7] = weights[400]
    batch = served.recommend_many(pasts, weights, k=5)
    assert len(batch) == 600 and sorted(batch.errors) == [17, 513]
    assert batch[513] is None and sum(own is not None for own in batch) == 598
    assert "history" in batch.errors[513] and "row 513" in repr(batch)
    vectors = served.generator.generate(weights)
    assert torch.allclose(served.adapters(weights), vectors, atol=1e-5)
    for row in (0, 7, 255, 256, 400, 599):
        alone = served.recommend(pasts[row], weights[row], k=5)
        assert batch[row].item_ids == alone.item_ids and batch[row].weights == alone.weights
    assert batch[-1].item_ids == batch[599:][0].item_ids
    table = batch.to_pandas()
    assert list(table[table["row"] == 256]["item_id"]) == batch[256].item_ids
    assert set(table["row"]) == set(range(600)) - {17, 513}
    refused("history", batch.one, 513 - 600)
    monkeypatch.setattr(module, "_ROWS", 7)
    assert (served.recommend_many(pasts, weights, k=5).numbers == batch.numbers).all()


def test_weights_of_many(recommender):
    many, two = recommender.recommend_many, [["i1"]] * 2
    for weights, place in (([HALF] * 3, "3 rows"), ([HALF, [2, 3]], "row 1")):
        refused(("weights", place), many, two, weights)
    for histories in (["i1", "i2"], "i1", None):
        refused("histories", many, histories, HALF)
    for option in ({"adapter": None}, {"rerank": "xquad"}):
        refused(next(iter(option)), many, two, HALF, **option)
    assert len(many([], HALF)) == 0
    assert many(two, {"accuracy": 1})[1].weights == {"accuracy": 1.0, "diversity": 0.0}


def test_threads_share_a_recommender_that_generates_an_adapter_once(made, seqs, monkeypatch):
    served, sampled = Recommender(made[0], made[2], seqs), []
    generate = served.generator.generate
    monkeypatch.setattr(
        served.generator, "generate", lambda w: (sampled.append(len(w)), generate(w))[1]
    )
    past = seqs.item_ids[:3]
    for _ in range(2):
        served.recommend(past, HALF)
    served.recommend_many([past] * 4, [HALF, [0.1, 0.9], [0.1, 0.9], [0.2, 0.8]])
    assert sampled == [1, 2]
    monkeypatch.setattr(module, "_CACHED", 3)
    weights = [[w, 1 - w] for w in np.linspace(0, 1, 8)]
    pasts = [history_of(seqs, user).items for user in seqs.user_ids[:8]]
    expected = [served.recommend(*pair).item_ids for pair in zip(pasts, weights, strict=True)]
    with ThreadPoolExecutor(4) as pool:
        found = pool.map(lambda *pair: served.recommend(*pair).item_ids, pasts * 9, weights * 9)
        assert list(found) == expected * 9 and len(served._adapters) <= 3


def test_nothing_in_the_process_changes(exported, seqs):
    threads, before = torch.get_num_threads(), torch.get_rng_state()
    np.random.seed(3)
    legacy = np.random.get_state()[1].copy()
    deterministic = torch.are_deterministic_algorithms_enabled()  # by an earlier test, perhaps
    torch.use_deterministic_algorithms(False)
    Recommender.load(exported).recommend(seqs.item_ids[:2], HALF)
    assert torch.get_num_threads() == threads and torch.equal(torch.get_rng_state(), before)
    assert (np.random.get_state()[1] == legacy).all()
    assert not torch.are_deterministic_algorithms_enabled() and torch.is_grad_enabled()
    torch.use_deterministic_algorithms(deterministic)


def test_a_request_has_the_same_list_alone_and_in_any_company(loaded):
    """With histories and weights of all kinds, filters and re-ranking."""
    rng, ids = np.random.default_rng(0), loaded.data.item_ids
    crowd = [rng.choice(ids, n, replace=False).tolist() for n in rng.integers(10, 60, 30)]
    weights = rng.choice([0, 0.3, 0.8, 1], 30)
    weights = np.stack([weights, 1 - weights], 1)
    for options in ({}, {"k": 30, "only": ids[:45]}, {"k": 1}, {"k": 5, "rerank": "xquad"}):
        alone = [loaded.recommend_many([crowd[r]], weights[r], **options) for r in range(30)]
        assert bool(sum(len(batch.errors) for batch in alone)) == ("only" in options)
        order = rng.permutation(30)
        for company in (order, order[:7]):
            batch = loaded.recommend_many([crowd[r] for r in company], weights[company], **options)
            for place, row in enumerate(company):
                assert batch.errors.get(place) == alone[row].errors.get(0)
                assert batch.numbers[place].tobytes() == alone[row].numbers[0].tobytes()
                # The last bits of a score come from matrix products, which are larger for many.
                assert np.allclose(batch.scores[place], alone[row].scores[0], atol=1e-5)


def test_xquad_is_the_evaluated_one(loaded, made, seqs, settings):
    """For the weights of the evaluation, the items of the row `generated_xquad`."""
    model, _, generator = made
    valid, test = (frozen_events(model, seqs, e, settings.adapters) for e in ("valid", "test"))
    vectors = reranking.source_vectors(generator, loaded.reranker.sources)
    weights, rule = np.array([0, 0.25, 0.5, 0.75, 1]), RERANKERS["xquad"]
    sources = [valid.catalogue_scores(vector).numpy() for vector in vectors]
    trials = reranking.Trials.of(seqs)["full"]
    tried = {"full": reranking.tried_settings(rule, trials, sources)}
    evaluated = reranking.reranked_scores(rule, seqs, tried, test, vectors, weights, positions=20)
    excluded = seqs.excluded(seqs.test)
    users = [seqs.user_ids[user] for user in seqs.test.users]
    known = zip(users, seqs.test.positions, strict=True)
    pasts = [history_of(seqs, user, position, people=False) for user, position in known]
    changed, hundredths = 0, module.Reranker(0, [*range(101)], weights)
    assert [hundredths.setting([n / 100, 0]) for n in range(101)] == hundredths.settings
    for weight, scores in zip(weights, evaluated, strict=True):
        expected = np.where(excluded, -np.inf, scores["full"]).argsort(1, kind="stable")
        batch, plain = (
            loaded.recommend_many(pasts, [weight, 1 - weight], k=5, rerank=rule)
            for rule in ("xquad", None)
        )
        same = (batch.numbers == expected[:, :-6:-1]).all(1)
        # Evaluation cuts all lists at the shortest; at the end of a list that can be seen.
        assert np.mean(same) > 0.9
        changed += (batch.numbers != plain.numbers).any(1).sum()
    assert changed > 0
