"""A real server, asked by real clients: the way from an exported folder to a running service."""

import json
import re
import select
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress

import psutil
import pytest

from paragon.params import ROOT
from paragon.serving.service import serve
from tests.conftest import refused

pytestmark = pytest.mark.slow

HALF = {"accuracy": 0.5, "diversity": 0.5}
GOOD = {"history": ["i1"], "weights": HALF}
HEAD = b"POST /recommend HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
NOWHERE = b"POST / HTTP/1.1\r\nHost: x\r\n"
BODY = json.dumps(GOOD).encode()
ASKED = HEAD + b"Content-Length: %d\r\n\r\n%b" % (len(BODY), BODY)
CHUNKED = b"Transfer-Encoding: chunked\r\n"
LAST = b"%x\r\n%b\r\n0\r\n\r\n" % (len(BODY), BODY)
# The same program, less patient.
HASTY = """import sys
from paragon.serving import service
from paragon.__main__ import main
service.SECONDS, service.SECONDS_AT_THE_END, service.MOST_CONNECTIONS = 4, 1, 8
main()"""


def start(folder, program=("-m", "paragon")):
    """A server on a free port: its process and address."""
    process = subprocess.Popen(
        [sys.executable, *program, "serve", str(folder), "--port", "0"],
        cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    line = process.stdout.readline()
    found = re.search(r"http://[\d.]+:\d+", line)
    if found is None:
        process.kill()
        pytest.fail(line + process.stderr.read())
    return process, found[0]


def stop(process, number):
    """It ends cleanly at a signal."""
    process.send_signal(number)
    _, errors = process.communicate(timeout=30)
    assert process.returncode == 0 and errors == ""


@pytest.fixture(scope="module")
def running(exported):
    process, address = start(exported)
    yield process, address
    stop(process, signal.SIGINT)


@pytest.fixture
def server(running):
    return running[1]


def ask(address, path="/recommend", body=None, timeout=60, **headers):
    """Status and content of an answer."""
    data = body if body is None or isinstance(body, bytes) else json.dumps(body).encode()
    if data is not None:
        headers = {"Content-Type": "application/json"} | headers
    request = urllib.request.Request(address + path, data, headers)
    try:
        with urllib.request.urlopen(request, timeout=timeout) as answer:
            return answer.status, json.load(answer)
    except urllib.error.HTTPError as error:
        return error.code, json.load(error)


def connect(address):
    client = socket.create_connection(("127.0.0.1", int(address.rpartition(":")[2])))
    client.settimeout(60)
    return client


def test_it_answers_as_the_library_does(server, loaded, seqs):
    history = [*seqs.item_ids[:4], "new"]
    body = {"history": history, "weights": HALF, "k": 3, "without": seqs.item_ids[9:12]}
    status, found = ask(server, body=body)
    expected = loaded.recommend(history, HALF, k=3, without=seqs.item_ids[9:12])
    assert status == 200 and [item["item_id"] for item in found["items"]] == expected.item_ids
    assert found["notes"] == [*expected.notes] and len(expected.notes) == 1
    assert found["weights"] == HALF
    assert found["items"][0]["title"] == expected[0].title
    assert ask(server, "/health")[1]["status"] == "ok"
    assert ask(server, "/objectives") == (200, {"objectives": ["accuracy", "diversity"]})


def test_many_who_ask_at_once_get_their_own_lists(server, loaded, seqs):
    def body(number):
        history = seqs.item_ids[number : number + 1 + number % 5]
        weights = {"accuracy": 2 * number / 63, "diversity": 2 - 2 * number / 63}
        options = {"k": 1 + number % 3, "rerank": "xquad" if number % 2 else None}
        return {"history": history, "weights": weights, "normalise": True, **options}

    with ThreadPoolExecutor(64) as pool:
        found = list(pool.map(lambda number: ask(server, body=body(number)), range(64)))
    for number, (status, answer) in enumerate(found):
        expected = loaded.recommend(**body(number))
        assert status == 200 and answer["weights"] == expected.weights
        assert [item["item_id"] for item in answer["items"]] == expected.item_ids


def test_a_bad_request_is_422_and_says_why(server):
    long = GOOD | {"weights": {"x" * 900_000: 1}}
    for body, key in ((long, "weights"), (b"\x1f\x8b", "request")):
        status, found = ask(server, body=body)
        assert status == 422 and key in found["detail"] and len(found["detail"]) <= 500
    for kind in ("text/plain", "application/x-www-form-urlencoded"):
        status, found = ask(server, body=GOOD, **{"Content-Type": kind})
        assert status == 422 and "Content-Type" in found["detail"]


def test_what_is_too_large_is_refused_and_the_next_one_served(server):
    assert ask(server, body=b"[" + b"1," * 5_000_000 + b"1]")[0] == 413
    for head in (b"x: " + b"y" * 10_000_000, b"a:b\r\n" * 2_000_000):
        with connect(server) as client, suppress(ConnectionError):
            client.sendall(b"GET /health HTTP/1.1\r\nHost: x\r\n" + head)
            assert not client.recv(100).startswith(b"HTTP/1.1 200")
    assert ask(server, body=GOOD)[0] == 200
    assert ask(server, "/nowhere")[0] == 404 and ask(server, "/recommend")[0] == 405
    assert ask(server, "/recommend/", b"{}", Host="elsewhere")[0] == 404  # and not sent there


def test_clients_that_ask_and_never_read_slow_nobody_down(running):
    """40 clients that send good requests without end."""
    process, address = running
    memory = psutil.Process(process.pid)
    ask(address, body=GOOD)
    before, clients, taken = memory.memory_info().rss, [connect(address) for _ in range(40)], []
    for client in clients:
        client.setblocking(False)
    for _ in range(20):
        for client in clients:
            with suppress(BlockingIOError, ConnectionError):
                client.send(ASKED * 4_000)
        begun = time.perf_counter()
        assert ask(address, "/health")[0] == 200
        taken.append(time.perf_counter() - begun)
    assert max(taken) < 5 and memory.memory_info().rss - before < 50e6
    for client in clients:
        client.close()


def talk(address, *parts):
    """All that the server says to these parts of a request until it ends the connection."""
    said = b""
    with connect(address) as client, suppress(ConnectionError):
        for part in parts:
            client.sendall(part)
            said += client.recv(1) if part is not parts[-1] else b""
        while more := client.recv(1 << 16):
            said += more
    return said


@pytest.mark.parametrize(
    ("parts", "status"),
    [
        pytest.param([ASKED * 3], 200, id="three at once"),
        pytest.param([HEAD + CHUNKED + b"Content-Length: 9\r\n\r\n" + LAST], 200, id="two lengths"),
        pytest.param([HEAD + CHUNKED + b"\r\n" + b"1\r\n \r\n" * 2_001], 400, id="tiny chunks"),
        pytest.param([NOWHERE + CHUNKED + b"\r\n1\r\n \r\n", b"z\r\n"], 404, id="late"),
        pytest.param([HEAD + CHUNKED + b"\r\nz\r\n"], 400, id="no chunk"),
    ],
)  # fmt: skip
def test_what_no_client_needs_is_answered_once_and_ends_the_connection(server, parts, status):
    begun = time.perf_counter()
    said = talk(server, *parts)
    assert said.startswith(b"HTTP/1.1 %d " % status) and said.count(b"HTTP/1.1") == 1
    assert status == 404 or b"connection: close" in said
    assert time.perf_counter() - begun < 4.5  # uvicorn ends what is idle for 5 seconds


def test_one_connection_takes_request_after_request(server):
    chunks = HEAD + CHUNKED + b"\r\n" + b"1\r\n \r\n" * 1_000 + LAST
    with connect(server) as client:
        for request in (ASKED, chunks, ASKED):
            client.sendall(request)
            answer = b""
            while not answer.endswith(b"}"):
                answer += client.recv(1 << 16)
            assert answer.startswith(b"HTTP/1.1 200 ")


def test_slow_clients_keep_nobody_out(exported):
    process, address = start(exported, ("-c", HASTY))
    half = HEAD + b"Content-Length: 9\r\n\r\n{"
    slow = []
    for part in [b"", HEAD, half] * 3:  # one more than there may be
        slow.append(connect(address))
        with suppress(ConnectionError):
            slow[-1].sendall(part)
        time.sleep(0.02)
    assert select.select(slow, [], [], 3)[0] == slow[:1]  # the oldest at once
    assert ask(address, "/health")[0] == 200  # while all others have their time
    assert ask(address, body=GOOD)[0] == 200
    for client in slow:
        with client, suppress(ConnectionError):
            assert client.recv(1) == b""  # ended by the server
    with connect(address) as client:
        client.sendall(half)
        ask(address, "/health")
        stop(process, signal.SIGTERM)


def test_the_address_is_printed_or_refused(loaded, monkeypatch, capsys):
    real = socket.create_server  # not every machine has version 6
    monkeypatch.setattr(signal, "signal", lambda *_: None)
    monkeypatch.setattr("uvicorn.Server.run", lambda *_, **__: None)
    with real(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        refused(("127.0.0.1", str(port)), serve, loaded, "127.0.0.1", port, 1)
    refused("--host", serve, loaded, "", 0, 1)
    refused("70000", serve, loaded, "127.0.0.1", 70_000, 1)
    for threads in (0, 100_000):
        refused("--threads", serve, loaded, "127.0.0.1", 0, threads)
    monkeypatch.setattr(socket, "create_server", lambda *_, **__: real(("127.0.0.1", 0)))
    for host, name in (("::1", "[::1]"), ("127.0.0.1", "127.0.0.1")):
        serve(loaded, host, 0, 1)
        assert re.search(rf"http://{re.escape(name)}:\d+\b", capsys.readouterr().out)
