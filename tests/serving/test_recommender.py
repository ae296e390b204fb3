"""From histories and weights to named items: one person, many people, every backbone."""

import threading

import numpy as np
import pytest
import torch

from paragon import History, ParagonError, Recommender
from paragon.adapters.frozen import frozen_task
from paragon.backbones import BACKBONES, build
from paragon.backbones.base import context_of
from paragon.rivals.calibration import reranked_scores, validation_rows
from paragon.rivals.reranking import RERANKERS
from paragon.serving import engine, frozen
from tests.serving.conftest import export, make

PEOPLE = ("lightgcn", "ngcf", "deepfm", "tisasrec")  # what these know of somebody is not exported


def history_of(seqs, user, count=None, people=True):
    """The first ``count`` events of a user, with times and name."""
    number = seqs.user_ids.index(user)
    start, stop = seqs.offsets[number : number + 2]
    items = [seqs.item_ids[i - 1] for i in seqs.items[start:stop]]
    times = seqs.times[start:stop].tolist()
    return History(items[:count], times[:count], user if people else None)


def test_best_items_outside_the_history(recommender, seqs):
    history = history_of(seqs, "u3")
    shown = recommender.recommend(history, [0.5, 0.5], k=7)
    assert len(shown) == 7 and not set(shown.item_ids) & set(history.items)
    scores = [entry.score for entry in shown]
    assert scores == sorted(scores, reverse=True)
    assert shown[0].title == "Item " + shown[0].item_id[1:] and len(shown[0].categories) == 2
    again = recommender.recommend(history.items, {"diversity": 0.5, "accuracy": 0.5}, k=7)
    assert again.item_ids == shown.item_ids and again.weights == shown.weights
    seen = recommender.recommend(history, [0.5, 0.5], k=147, exclude_seen=False)
    assert set(history.items) & set(seen.item_ids)


def test_scores_follow_the_formula(recommender, seqs):
    """One user's way from the sequence to a score, written out."""
    user = seqs.user_ids.index("u3")
    position, backbone = seqs.lengths[user], recommender.backbone
    items, _ = seqs.histories(np.array([user]), np.array([position]), backbone.history)
    state = backbone.encode(torch.from_numpy(items), None, None)[0]
    state = state[min(position, backbone.history) - 1]
    vector = recommender.generator.generate([0.5, 0.5])[0]
    w1, b1, w2, b2, v, u = recommender.generator.form.unflatten(vector)
    adapted = state + w2 @ torch.relu(w1 @ state + b1) + b2
    best = recommender.recommend(history_of(seqs, "u3"), [0.5, 0.5], k=3)[0]
    number = seqs.item_ids.index(best.item_id) + 1
    liked = torch.tensor(seqs.categories[number]).float() @ (v @ adapted + u)
    expected = (adapted @ backbone.item_vectors()[number] + liked).item()
    assert best.score == pytest.approx(expected, abs=1e-4)


def evaluated(model, generator, seqs, settings, weights):
    """The scores behind the results, ``[N, n + 1]``."""
    task = frozen_task(model, seqs, "test", settings.adapters)
    scores = task.catalogue_scores(generator.generate(weights)[0])
    return scores.masked_fill(torch.from_numpy(seqs.excluded(seqs.test)), -torch.inf)


@pytest.mark.parametrize("name", list(BACKBONES))
def test_it_serves_the_model_that_is_evaluated(name, seqs, settings, tmp_path):
    """The same items as the ranking behind the results, by itself and exported."""
    model, generator = make(name, seqs, settings)
    scores = evaluated(model, generator, seqs, settings, [0.3, 0.7])
    people = Recommender.load(
        export(tmp_path / "people", name, seqs, settings, model, generator, people=True)
    )
    nobody = Recommender.load(export(tmp_path / "nobody", name, seqs, settings, model, generator))
    rows = range(5)
    users = [seqs.user_ids[seqs.test.users[row]] for row in rows]
    pasts = [history_of(seqs, u, seqs.test.positions[r]) for r, u in zip(rows, users, strict=True)]
    for served in (Recommender(model, generator, seqs), people):
        batch = served.recommend_many(pasts, [0.3, 0.7], k=3)
        for row in rows:
            alone = served.recommend(pasts[row], [0.3, 0.7], k=3)
            best = scores[row].topk(3)
            expected = [seqs.item_ids[i - 1] for i in best.indices]
            assert alone.item_ids == batch[row].item_ids == expected
            assert np.allclose([entry.score for entry in alone], best.values, atol=1e-4)
    # Without people everybody is somebody new.
    new = Recommender(model, generator, seqs)
    for past in pasts:
        unknown = History(past.items, past.times)
        expected = new.recommend(unknown, [0.3, 0.7], k=3)
        found = nobody.recommend(unknown, [0.3, 0.7], k=3)
        assert found.item_ids == expected.item_ids
        assert np.allclose([e.score for e in found], [e.score for e in expected], atol=1e-4)
        if name not in PEOPLE:
            assert found.item_ids == new.recommend(past, [0.3, 0.7], k=3).item_ids
    with pytest.raises(ParagonError, match="exported without people"):
        nobody.recommend(pasts[0], [0.3, 0.7])


def test_times_and_users_reach_the_backbones_that_look_at_them(seqs, settings):
    for name, forgets in (("tisasrec", {"times": None}), ("lightgcn", {"user": None})):
        served = Recommender(*make(name, seqs, settings), seqs)
        known = history_of(seqs, "u3")
        without = History(**{**vars(known), **forgets})
        first, second = (served.recommend(h, [0.5, 0.5], k=5) for h in (known, without))
        assert not np.allclose([e.score for e in first], [e.score for e in second])


def test_a_state_of_sasrec_is_the_one_it_was_trained_with(seqs, settings):
    deep = settings.backbones.model_copy(update={"layers": 2})
    model = build("sasrec", seqs, deep, seed=0).eval().requires_grad_(False)
    context = context_of(seqs, seqs.test.users, seqs.test.positions, model.history)
    assert (context.items == 0).any()  # some histories are short
    assert torch.allclose(frozen.states(model, context), model.states(context), atol=1e-5)


def test_many_people_have_weights_of_their_own(recommender, seqs):
    """In blocks or alone, with weights that come again or not: the same adapters and lists."""
    rng = np.random.default_rng(0)
    pasts = [history_of(seqs, user).items for user in seqs.user_ids] * 15
    weights = rng.dirichlet([1, 1], len(pasts)).astype(np.float32)
    weights[7] = weights[400]
    batch = recommender.recommend_many(pasts, weights, k=5)
    assert len(batch) == 600 and not batch.errors
    latents = recommender.engine.latents.sample(weights)
    vectors = recommender.generator.model.latent.decode(latents)
    assert torch.allclose(vectors, recommender.generator.generate(weights), atol=1e-5)
    for row in (0, 7, 255, 256, 400, 599):
        alone = recommender.recommend(pasts[row], weights[row], k=5)
        assert batch[row].item_ids == alone.item_ids
        assert batch[row].weights == alone.weights
    table = batch.to_pandas()
    assert list(table[table["row"] == 256]["item_id"]) == batch[256].item_ids
    assert "600 lists of up to 5 items" in repr(batch)


def test_one_bad_history_does_not_stop_the_others(recommender, seqs):
    pasts = [history_of(seqs, seqs.user_ids[row % 40]).items for row in range(1000)]
    pasts[613], pasts[17] = [], [6, 2]
    batch = recommender.recommend_many(pasts, [0.5, 0.5], k=5)
    assert sorted(batch.errors) == [17, 613] and "empty" in batch.errors[613]
    assert batch[613] is None and "row 613 has none: history: empty" in repr(batch)
    assert sum(found is not None for found in batch) == 998
    assert batch[612].item_ids == recommender.recommend(pasts[612], [0.5, 0.5], k=5).item_ids
    assert set(batch.to_pandas()["row"]) == set(range(1000)) - {17, 613}
    for row in (613, 613 - len(batch)):
        with pytest.raises(ParagonError, match="empty"):
            batch.one(row)


def test_unknown_items_are_skipped_and_counted(recommender, seqs):
    known = history_of(seqs, "u3")
    mixed = ["new", *known.items, "newer"]
    times = [1, *known.times, 2]
    found = recommender.recommend(History(mixed, times), [0.5, 0.5], k=5)
    assert found.notes == ("2 unknown items skipped",)
    assert found.item_ids == recommender.recommend(known.items, [0.5, 0.5], k=5).item_ids
    nothing = recommender.recommend(["new"], [0.5, 0.5], k=5)
    popularity = seqs.popularity()
    order = np.argsort(-popularity[1:], kind="stable")[:5]
    assert nothing.item_ids == [seqs.item_ids[i] for i in order]
    assert [entry.score for entry in nothing] == list(popularity[1 + order])
    assert "most popular" in nothing.notes[-1] and "note: " in repr(nothing)


def test_filters(recommender, seqs):
    history = history_of(seqs, "u3")
    few = [i for i in seqs.item_ids if i not in history.items][:6]
    found = recommender.recommend(history, [0.5, 0.5], k=6, only=few)
    assert set(found.item_ids) == set(few)
    two = recommender.recommend(history, [0.5, 0.5], k=4, only=few, without=few[:2])
    assert set(two.item_ids) == set(few[2:])
    with pytest.raises(ParagonError, match="k: 5 is more than the 4 items that are left"):
        recommender.recommend(history, [0.5, 0.5], k=5, only=few, without=iter(few[:2]))
    best = recommender.recommend(history, [0.5, 0.5], k=10)
    less = recommender.recommend(history, [0.5, 0.5], k=9, without=best.item_ids[:1])
    assert less.item_ids == best.item_ids[1:]
    popular = recommender.recommend(["new"], [0.5, 0.5], k=3, only=few)
    assert set(popular.item_ids) <= set(few)


def test_xquad_is_the_evaluated_one(loaded, made, seqs, settings):
    """For the weights of the evaluation, the items of the row `generated_xquad`."""
    model, generator = made
    tasks = {e: frozen_task(model, seqs, e, settings.adapters) for e in ("valid", "test")}
    rows, events = validation_rows(seqs.valid)
    reranker = loaded.reranker
    none = torch.zeros(1, generator.form.size)
    vectors = torch.cat([none, generator.generate(reranker.sources)])
    sources = [tasks["valid"].catalogue_scores(v, rows).numpy() for v in vectors]

    def on_test(source):
        return tasks["test"].catalogue_scores(vectors[source]).numpy()

    weights = np.array([0, 0.25, 0.5, 0.75, 1])
    tests, rerank = (seqs.test, on_test), RERANKERS["xquad"]
    evaluated = reranked_scores(rerank, seqs, (events, sources), tests, weights, positions=20)
    excluded = seqs.excluded(seqs.test)
    users = [seqs.user_ids[user] for user in seqs.test.users]
    known = zip(users, seqs.test.positions, strict=True)
    pasts = [history_of(seqs, user, position, people=False) for user, position in known]
    changed = 0
    for weight, scores in zip(weights, evaluated, strict=True):
        expected = np.where(excluded, -np.inf, scores["full"]).argsort(1, kind="stable")
        batch = loaded.recommend_many(pasts, [weight, 1 - weight], k=5, rerank="xquad")
        plain = loaded.recommend_many(pasts, [weight, 1 - weight], k=5)
        same = [
            batch[row].item_ids == [seqs.item_ids[i - 1] for i in expected[row, :-6:-1]]
            for row in range(len(pasts))
        ]
        # Evaluation cuts all lists at the shortest; at the end of a list that can be seen.
        assert np.mean(same) > 0.9
        changed += sum(batch[row].item_ids != plain[row].item_ids for row in range(len(pasts)))
    assert changed > 0


def test_nothing_in_the_process_changes(exported, seqs):
    threads, before = torch.get_num_threads(), torch.get_rng_state()
    np.random.seed(3)
    legacy = np.random.get_state()[1].copy()
    deterministic = torch.are_deterministic_algorithms_enabled()  # by an earlier test, perhaps
    torch.use_deterministic_algorithms(False)
    served = Recommender.load(exported)
    served.recommend(seqs.item_ids[:2], [0.5, 0.5])
    assert torch.get_num_threads() == threads and torch.equal(torch.get_rng_state(), before)
    assert (np.random.get_state()[1] == legacy).all()
    assert not torch.are_deterministic_algorithms_enabled() and torch.is_grad_enabled()
    torch.use_deterministic_algorithms(deterministic)


def test_threads_share_a_recommender(loaded, seqs, monkeypatch):
    monkeypatch.setattr("paragon.serving.engine._KEPT", 3)
    monkeypatch.setattr(loaded.engine.latents, "_kept", {})
    weights = [[w, 1 - w] for w in np.linspace(0, 1, 8)]
    pasts = [history_of(seqs, user).items for user in seqs.user_ids[:8]]
    pairs = list(zip(pasts, weights, strict=True))
    expected = [loaded.recommend(past, own).item_ids for past, own in pairs]
    wrong = []

    def ask(order):
        for row in order:
            if loaded.recommend(*pairs[row]).item_ids != expected[row]:
                wrong.append(row)

    rng = np.random.default_rng(0)
    threads = [threading.Thread(target=ask, args=(rng.integers(8, size=25),)) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong and len(loaded.engine.latents._kept) <= 3


def test_an_adapter_is_generated_once_for_weights_that_come_again(made, seqs, monkeypatch):
    served, asked = Recommender(*made, seqs), []
    sample = served.engine.latents.sample
    monkeypatch.setattr(
        served.engine.latents, "sample", lambda w: (asked.append(len(w)), sample(w))[1]
    )
    past = seqs.item_ids[:3]
    served.recommend(past, [0.5, 0.5])
    served.recommend(past, [0.5, 0.5])
    served.recommend_many([past] * 4, [[0.5, 0.5], [0.1, 0.9], [0.1, 0.9], [0.2, 0.8]])
    assert asked == [1, 2]


def test_blocks_do_not_matter(recommender, seqs, monkeypatch):
    pasts = [history_of(seqs, user).items for user in seqs.user_ids]
    weights = np.random.default_rng(0).dirichlet([1, 1], len(pasts))
    before = recommender.recommend_many(pasts, weights, k=5).numbers
    monkeypatch.setattr(engine, "_ROWS", 7)
    assert (recommender.recommend_many(pasts, weights, k=5).numbers == before).all()


def test_a_list_shows_itself(recommender, seqs):
    shown = recommender.recommend(seqs.item_ids[:3], [0.25, 0.75], k=3)
    assert repr(shown).startswith("3 items for accuracy 0.25, diversity 0.75\n  1  Item ")
    page = shown._repr_html_()
    assert page.count("<tr>") == 3 and shown[0].title in page and "<script" not in page
    table = shown.to_pandas()
    assert list(table.columns) == ["item_id", "title", "categories", "score"]
    assert list(table.index) == [1, 2, 3] and list(table["item_id"]) == shown.item_ids
    assert "objectives: accuracy, diversity" in repr(recommender)
