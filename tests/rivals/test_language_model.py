"""The row `llm` against a small server of its own that speaks /chat/completions."""

import json
import re
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from paragon.adapters.frozen import frozen_task
from paragon.errors import ParagonError
from paragon.evaluation import testbed
from paragon.evaluation.methods import METHODS
from paragon.evaluation.testbed import Row, TestBed
from paragon.objectives.table import OBJECTIVES
from paragon.params import load_params
from paragon.rivals.chat import IN_A_ROW, VARIABLES, ChatModel
from paragon.rivals.language_model import COUNTS, NOT_RUN, LlmRanker, facts, repaired
from paragon_study.pipeline.study import Study
from paragon_study.report import markdown
from tests.conftest import adapter_settings

KEY = "sk-very-secret-0123456789"
WEIGHTS = np.array([[1.0, 0.0], [0.25, 0.75]], np.float32)


class Server(ThreadingHTTPServer):
    """``reply(prompt, times asked)``: a text, a status, or (seconds, text).  Records everything."""

    daemon_threads = True

    def __init__(self, reply):
        super().__init__(("127.0.0.1", 0), Handler)
        self.reply, self.lock = reply, threading.Lock()
        self.requests, self.open, self.most = [], 0, 0

    def handle_error(self, *_):
        """A client that gave up waiting is no news."""


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *_):
        pass

    def do_POST(self):
        server = self.server
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        prompt = body["messages"][0]["content"]
        with server.lock:
            server.requests.append(
                {"path": self.path, "key": self.headers["Authorization"], **body}
            )
            times = sum(r["messages"] == body["messages"] for r in server.requests)
            server.open += 1
            server.most = max(server.most, server.open)
        said = server.reply(prompt, times)
        seconds, said = said if isinstance(said, tuple) else (0, said)
        time.sleep(seconds)
        with server.lock:
            server.open -= 1
        self.answer(said)

    def answer(self, said):
        status = said if isinstance(said, int) else 200
        content = {"error": {"message": f"no: {self.headers['Authorization']}\nsorry"}}
        if status == 200:
            message = {"role": "assistant", "content": said}
            choice = {"index": 0, "finish_reason": "stop", "message": message}
            content = {"id": "1", "object": "chat.completion", "created": 0, "model": "m"}
            content["choices"] = [choice] if said != "no completion" else None
        data = json.dumps(content).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        self.send_header("retry-after-ms", "5")
        self.end_headers()
        self.wfile.write(data)


def study_with(ranker):
    """What the row `llm` needs of all that was trained."""
    return SimpleNamespace(ranker=ranker, weights=torch.from_numpy(WEIGHTS), seeds=[7])


def ranker_of(model, bed, scores):
    depth = bed.cutoffs[-1]
    return LlmRanker(model, bed.sequences, bed.evaluation, bed.objectives, depth, scores)


@pytest.fixture
def serve(monkeypatch):
    """A function that starts a server and points the environment to it."""
    started = []

    def start(reply):
        server = Server(reply)
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        started.append(server)
        monkeypatch.setenv("NO_PROXY", "127.0.0.1")
        monkeypatch.setenv("PARAGON_LLM_URL", f"http://127.0.0.1:{server.server_port}/v1")
        monkeypatch.setenv("PARAGON_LLM_MODEL", "toy")
        monkeypatch.setenv("PARAGON_LLM_KEY", KEY)
        return server

    yield start
    for server in started:
        server.shutdown()
        server.server_close()


def settings(**changes):
    small = {"enabled": True, "candidates": 20, "requests": 1000, "timeout": 5.0, "retries": 2}
    return load_params(overrides={"llm": small | changes}).llm


@pytest.fixture
def model(serve, tmp_path):
    """A function: a model and its server, from what the server replies."""

    def make(reply, **changes):
        server = serve(reply)
        return ChatModel(settings(**changes), tmp_path / "llm"), server

    return make


@pytest.fixture(scope="module")
def bed(seqs):
    return TestBed(
        seqs, seqs.test, ["accuracy", "diversity"], negatives=5, served=6, cutoffs=[5, 8]
    )


@pytest.fixture(scope="module")
def own(seqs):
    shape = len(seqs.test), seqs.n_items + 1
    return np.random.default_rng(0).standard_normal(shape).astype(np.float32)


# --- the answers


@pytest.mark.parametrize(
    ("answer", "order", "counts"),
    [
        ("3,1, 2\n4", [2, 0, 1, 3], {}),
        ("4, 4, 2, 4", [3, 1, 0, 2], {"duplicates": 2, "missing": 1}),
        ("9, 2, 0, 1, 3", [1, 0, 2, 3], {"invented": 2}),
        ("3", [2, 0, 1, 3], {"missing": 2}),
        ("", [0, 1, 2, 3], {"malformed": 1, "missing": 3}),
        ("I would rather not.", [0, 1, 2, 3], {"malformed": 1, "missing": 3}),
        ("Best: 4 (1995), 2", [3, 1, 0, 2], {"malformed": 1, "invented": 1, "missing": 1}),
        ("[2, 1, 3]", [1, 0, 2, 3], {"malformed": 1}),
        ("7" * 5000 + ", 1, 2, 3", [0, 1, 2, 3], {"invented": 1}),
        ("٣, 2, 1, 4", [1, 0, 3, 2], {"malformed": 1}),
    ],
)  # fmt: skip
def test_an_answer_is_repaired_by_the_one_rule(answer, order, counts):
    found, mended = repaired(answer, 4, 3)
    assert found == order
    assert {name: n for name, n in mended.items() if n} == {"answers": 1, **counts}


def test_a_failed_request_leaves_the_presentation():
    assert repaired(None, 3, 3) == ([0, 1, 2], {"failed": 1})


# --- the client


def test_slow_and_failing_servers_are_asked_again(model):
    def reply(prompt, times):
        first = {"slow": (1.0, "late"), "down": 500, "busy": 429}
        return first[prompt] if times == 1 else f"{prompt} at last"

    asked, server = model(reply, timeout=0.3)
    prompts = ["slow", "down", "busy"]
    assert asked.answers(prompts) == [f"{prompt} at last" for prompt in prompts]
    assert asked.sent == len(server.requests) == 6


def test_what_always_fails_is_given_up_and_not_kept(model):
    asked, server = model(lambda prompt, times: 503 if prompt == "b" else "1")
    assert asked.answers(["a", "b", "c"]) == ["1", None, "1"]
    assert len(server.requests) == 1 + 3 + 1
    asked.answers(["a", "b", "c"])
    assert len(server.requests) == 5 + 3  # `b` alone


@pytest.mark.parametrize("said", [500, "no completion"])
def test_a_server_that_only_fails_ends_the_run(model, said):
    asked, server = model(lambda prompt, times: said, retries=0, concurrency=4)
    with pytest.raises(ParagonError, match=f"{IN_A_ROW} requests in a row failed") as raised:
        asked.answers([str(n) for n in range(200)])
    assert len(server.requests) < IN_A_ROW + 10
    assert KEY not in str(raised.value) and "\n" not in str(raised.value)


@pytest.mark.parametrize("status", [401, 403, 404])
def test_a_refused_key_model_or_address_ends_the_run_at_once(model, status):
    asked, server = model(lambda prompt, times: status, concurrency=1)
    with pytest.raises(ParagonError, match="PARAGON_LLM_KEY") as raised:
        asked.answers(["a", "b", "c"])
    assert len(server.requests) <= 2
    assert KEY not in str(raised.value) and "***" in str(raised.value)
    assert "\n" not in str(raised.value)
    assert raised.value.__cause__ is None and raised.value.__suppress_context__


def test_a_reply_without_text_is_not_kept(model):
    """The message is there, its content null: a reply that was cut off or refused."""
    asked, server = model(lambda prompt, times: None if times == 1 else "2, 1")
    assert asked.answers(["a"]) == [None]
    assert asked.answers(["a"]) == ["2, 1"] == asked.answers(["a"])
    assert len(server.requests) == 2


def test_no_server_at_all(model):
    asked, server = model(lambda prompt, times: "1", retries=0)
    server.shutdown()
    server.server_close()
    assert asked.answers(["a"]) == [None]


def test_requests_run_side_by_side_and_never_too_many(model):
    asked, server = model(lambda prompt, times: (0.05, prompt), concurrency=3)
    prompts = [str(n) for n in range(12)]
    assert asked.answers(prompts) == prompts
    assert 1 < server.most <= 3


def test_answers_are_kept_and_an_interrupted_run_goes_on(model, tmp_path):
    asked, server = model(lambda prompt, times: f"for {prompt}", requests=4, concurrency=1)
    prompts = [str(n) for n in range(6)]
    with pytest.raises(ParagonError, match="4 requests are spent"):
        asked.answers(prompts)
    assert len(server.requests) == 4 and len(asked.unanswered(prompts)) == 2
    again = ChatModel(settings(requests=2), tmp_path / "llm")
    assert again.answers(prompts + prompts) == [f"for {prompt}" for prompt in prompts] * 2
    assert len(server.requests) == 6 and again.unanswered(prompts) == set()
    other = ChatModel(settings(temperature=0.5), tmp_path / "llm")
    assert len(other.unanswered(prompts)) == 6
    kept = sorted((tmp_path / "llm").rglob("*"))
    texts = [path.read_text() for path in kept if path.is_file()]
    assert len(texts) == 6 and not any(KEY in text for text in texts)
    assert json.loads(texts[0])["request"]["model"] == "toy"


def test_a_key_that_a_server_repeats_is_not_kept(model, tmp_path):
    asked, _ = model(lambda prompt, times: f"2, 1 ({KEY}) 3, {KEY}")
    assert asked.answers(["a"]) == ["2, 1 (***) 3, ***"] == asked.answers(["a"])
    (path,) = (path for path in (tmp_path / "llm").rglob("*") if path.is_file())
    assert KEY not in path.read_text() and "2, 1 (***)" in path.read_text()


def test_a_key_that_could_be_an_answer_is_refused(serve, tmp_path, monkeypatch):
    serve(lambda prompt, times: "1")
    monkeypatch.setenv("PARAGON_LLM_KEY", "12")
    with pytest.raises(ParagonError, match="PARAGON_LLM_KEY: a key needs a letter") as raised:
        ChatModel(settings(), tmp_path)
    assert "12" not in str(raised.value)


def test_retries_count_against_the_limit(model):
    asked, server = model(lambda prompt, times: 500, requests=4, retries=4)
    with pytest.raises(ParagonError, match="4 requests are spent, retries included"):
        asked.answers(["a"])
    assert len(server.requests) == 4


def test_what_is_sent(model):
    asked, server = model(lambda prompt, times: "1", temperature=None)
    asked.answers(["hello"])
    (request,) = server.requests
    assert request["path"] == "/v1/chat/completions" and request["model"] == "toy"
    assert request["key"] == f"Bearer {KEY}"
    assert "temperature" not in request


def test_a_spoilt_answer_file_is_named(model, tmp_path):
    asked, _ = model(lambda prompt, times: "1")
    asked.answers(["a"])
    (path,) = (tmp_path / "llm").rglob("*.json")
    for text in ("{", "[]", '{"answer": 3}'):
        path.write_text(text)
        with pytest.raises(ParagonError, match=f"{path.name}: not a stored answer"):
            asked.answers(["a"])


@pytest.mark.parametrize("name", VARIABLES)
def test_a_missing_variable_is_named(serve, tmp_path, monkeypatch, name):
    serve(lambda prompt, times: "1")
    for change in (lambda: monkeypatch.setenv(name, "  "), lambda: monkeypatch.delenv(name)):
        change()
        with pytest.raises(ParagonError, match=f"variable {name} is not set") as raised:
            ChatModel(settings(), tmp_path)
        assert KEY not in str(raised.value) and "\n" not in str(raised.value)


@pytest.mark.parametrize("url", ["localhost:80/v1", "ftp://host", "http://", "http://h:port/v1"])
def test_a_bad_address_is_refused(serve, tmp_path, monkeypatch, url):
    serve(lambda prompt, times: "1")
    monkeypatch.setenv("PARAGON_LLM_URL", url)
    with pytest.raises(ParagonError, match="PARAGON_LLM_URL: not an address"):
        ChatModel(settings(), tmp_path)


def test_a_missing_package_says_how_to_get_it(serve, tmp_path, monkeypatch):
    serve(lambda prompt, times: "1")
    monkeypatch.setitem(sys.modules, "openai", None)
    with pytest.raises(ParagonError, match=r"pip install -e '\.\[llm\]'"):
        ChatModel(settings(), tmp_path)


# --- the row


def numbered(prompt):
    """{number: title} of the candidates that a prompt shows."""
    candidates = prompt.split("Candidates")[1]
    return {int(n): t for n, t in re.findall(r"^(\d+)\. (.+) \[.*\]$", candidates, re.MULTILINE)}


def by_title(prompt, times):
    """The answer of a model with a taste of its own: titles in alphabetical order."""
    titles = numbered(prompt)
    return ", ".join(str(n) for n in sorted(titles, key=titles.get))


def test_the_ranker_gives_the_order_that_the_model_names(model, bed, own, seqs):
    ranker = ranker_of(model(by_title)[0], bed, own)
    found = ranker.scores(WEIGHTS[1])
    titles = np.array(["", *seqs.titles])
    for row in range(len(seqs.test)):
        items = seqs.test.candidates[row]
        best = items[np.argsort(-own[row, items], kind="stable")]
        order = items[np.argsort(-found["sampled"][row], kind="stable")]
        assert titles[order[:20]].tolist() == sorted(titles[best[:20]])
        assert order[20:].tolist() == best[20:].tolist()  # what was not shown: the backbone's
        allowed = np.flatnonzero(~bed.excluded[row])
        best = allowed[np.argsort(-own[row, allowed], kind="stable")][:20]
        order = allowed[np.argsort(-found["full"][row, allowed], kind="stable")][:20]
        assert titles[order].tolist() == sorted(titles[best])
    events = 2 * len(seqs.test)
    assert facts(ranker) == {"model": "toy"} | dict.fromkeys(COUNTS, 0) | {"answers": events}


def test_what_is_shown_tells_neither_the_target_nor_the_backbone(model, bed, own, seqs):
    ranker = ranker_of(model(by_title, candidates=100)[0], bed, own)
    lists = ranker.lists["sampled"]
    count = seqs.test.candidates.shape[1]
    assert np.array_equal(np.sort(lists.shown, axis=1), np.tile(np.arange(count), (len(own), 1)))
    place = (lists.shown == 0).argmax(1)  # of the target, column 0
    assert len(set(place.tolist())) > len(place) / 2
    assert abs(place.mean() - (count - 1) / 2) < 4 * count / np.sqrt(12 * len(place))
    # The same set is presented alike whatever scores it has, and another seed shows it otherwise.
    other = ranker_of(model(by_title, candidates=100)[0], bed, -own)
    assert other.lists["sampled"].texts == lists.texts
    assert other.lists["full"].texts != ranker.lists["full"].texts
    third = ranker_of(model(by_title, candidates=100, seed=1)[0], bed, own)
    assert third.lists["sampled"].texts != lists.texts


def test_the_question_holds_history_candidates_and_weights(model, bed, own, seqs):
    ranker = ranker_of(model(by_title, history=3)[0], bed, own)
    prompt = ranker.prompts(ranker.lists["full"], WEIGHTS[1])[0]
    user, position = seqs.test.users[0], seqs.test.positions[0]
    past = seqs.items[seqs.offsets[user] + position - 3 : seqs.offsets[user] + position]
    assert re.findall(r"^- (Item.*)$", prompt, re.MULTILINE) == [seqs.titles[i - 1] for i in past]
    shown = ranker.lists["full"].shown[0]
    assert list(numbered(prompt).values()) == [seqs.titles[i - 1] for i in shown]
    names = ", ".join(np.array(seqs.category_names)[seqs.categories[shown[0]]])
    assert f"1. {seqs.titles[shown[0] - 1]} [{names}]" in prompt
    aims = [OBJECTIVES[name].aim for name in ("accuracy", "diversity")]
    assert f"- 25 %: {aims[0]}." in prompt and f"- 75 %: {aims[1]}." in prompt
    assert "numbers of the 8 best candidates" in prompt  # the deepest cutoff
    assert all(objective.aim for objective in OBJECTIVES.values())


def test_nonsense_and_failures_are_counted(model, bed, own):
    def reply(prompt, times):
        return {0: "", 1: "1, 1, 99", 2: 500}.get(len(prompt) % 4, by_title(prompt, times))

    asked, _ = model(reply, retries=0)
    ranker = ranker_of(asked, bed, own)
    prompts = [p for part in ranker.lists.values() for p in ranker.prompts(part, WEIGHTS[0])]
    kinds = np.bincount([len(prompt) % 4 for prompt in prompts], minlength=4)
    assert (kinds > 0).all()
    found = ranker.scores(WEIGHTS[0])
    assert facts(ranker) == {
        "model": "toy", "answers": len(prompts) - kinds[2], "failed": kinds[2],
        "malformed": kinds[0], "duplicates": kinds[1], "invented": kinds[1],
        "missing": 8 * kinds[0] + 7 * kinds[1],
    }  # fmt: skip
    for row, prompt in enumerate(prompts[: len(own)]):
        if len(prompt) % 4 < 3:  # nothing of use, or only the first: all as presented
            shown = ranker.lists["sampled"].shown[row]
            assert np.argsort(-found["sampled"][row])[:20].tolist() == shown.tolist()


def test_too_dear_a_row_is_refused_before_the_first_request(model, bed, own, seqs):
    needed = 2 * len(WEIGHTS) * len(seqs.test)
    asked, server = model(by_title, requests=needed - 1)
    ranker = ranker_of(asked, bed, own)
    with pytest.raises(ParagonError, match=f"{needed} requests are needed, {needed - 1} are all"):
        ranker.check_limit(WEIGHTS)
    assert server.requests == []
    ranker.scores(WEIGHTS[0])  # half of it is paid for: the rest is within the limit
    ranker.check_limit(WEIGHTS)


@pytest.fixture
def toy_settings():
    def make(**llm):
        return load_params(overrides={"llm": llm}).llm

    return make


def test_the_row_is_measured_like_any_other(serve, toy_settings, bed, backbone, seqs, tmp_path):
    server = serve(by_title)
    own_settings = toy_settings(enabled=True, candidates=20, requests=1000)
    test = frozen_task(backbone, seqs, "test", adapter_settings())
    tables = []
    for _ in range(2):
        none = torch.zeros(test.form.size)
        scores = test.catalogue_scores(none).numpy()
        ranker = ranker_of(ChatModel(own_settings, tmp_path / "llm"), bed, scores)
        rows = list(METHODS["llm"].rows(study_with(ranker)))
        tables.append(testbed.measure_rows(bed, rows))
    assert tables[0].equals(tables[1])
    assert len(server.requests) == 2 * len(WEIGHTS) * len(seqs.test)  # the first time alone
    assert len(list((tmp_path / "llm").rglob("*.json"))) == len(server.requests)
    assert set(tables[0]["method"]) == {"llm"} and set(tables[0]["seed"]) == {7}
    assert len(tables[0]) == 2 * len(WEIGHTS)


def test_a_model_that_knew_the_target_would_be_perfect(model, bed, own):
    known = {}
    ranker = ranker_of(model(lambda prompt, times: known[prompt], candidates=100)[0], bed, own)
    target = {"sampled": np.zeros(len(own), int), "full": bed.evaluation.targets}
    share = {}
    for name, lists in ranker.lists.items():
        found = lists.shown == target[name][:, None]
        share[name] = found.any(1).mean()
        places = (1 + found.argmax(1)).astype(str)
        known |= dict(zip(ranker.prompts(lists, WEIGHTS[0]), places.tolist(), strict=True))
    table = testbed.measure_rows(bed, [Row("llm", 0, WEIGHTS[:1], [ranker.scores(WEIGHTS[0])])])
    assert table.set_index("protocol")["ndcg@5"].to_dict() == pytest.approx(share)
    assert share["sampled"] == 1 > share["full"] > 0  # as far as the backbone lets it see


def test_off_by_default_and_said_so(toy_settings, bed, monkeypatch, tmp_path):
    for name in VARIABLES:
        monkeypatch.delenv(name, raising=False)
    assert load_params().llm.enabled is False
    assert Study("toy", "sasrec", load_params())._ranker(None) is None
    assert list(METHODS["llm"].rows(study_with(None))) == []
    assert facts(None) == {"note": NOT_RUN}
    results = {"tuned": {"set_hv_sampled": 0.3}, "llm": facts(None)}
    (tmp_path / "metrics.json").write_text(json.dumps(results))
    (tmp_path / "differences.json").write_text("{}")
    assert markdown.method_table(tmp_path).splitlines()[-1].startswith("| `llm` | not run | – | –")
