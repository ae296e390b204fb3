"""A real server, asked by real clients: the way from an exported folder to a running service."""

import json
import os
import re
import signal
import socket
import subprocess
import sys
import urllib.error
import urllib.request
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress

import pytest

from paragon.params import ROOT
from paragon.serving.app import serve

HALF = {"accuracy": 0.5, "diversity": 0.5}


# The same program, less patient.
HASTY = """import sys
from paragon.serving import limits
from paragon.__main__ import main
limits.SECONDS, limits.MOST_CONNECTIONS = 2, 8
main()"""


def start(folder, program=("-m", "paragon")):
    """A server on a free port: its process and address."""
    command = [sys.executable, *program, "serve", str(folder), "--port", "0"]
    process = subprocess.Popen(
        command,
        cwd=ROOT,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    line = process.stdout.readline()
    found = re.search(r"http://[\d.]+:\d+", line)
    if found is None:
        process.kill()
        pytest.fail(line + process.stderr.read())
    return process, found[0]


@pytest.fixture(scope="module")
def server(exported):
    process, address = start(exported)
    yield address
    process.kill()
    process.communicate()


def ask(address, path="/recommend", body=None, timeout=60):
    """Status and content of an answer."""
    data = body if body is None or isinstance(body, bytes) else json.dumps(body).encode()
    request = urllib.request.Request(address + path, data)
    if data is not None:
        request.add_header("Content-Type", "application/json")
    try:
        with urllib.request.urlopen(request, timeout=timeout) as answer:
            return answer.status, json.load(answer)
    except urllib.error.HTTPError as error:
        return error.code, json.load(error)


def test_it_answers_as_the_library_does(server, loaded, seqs):
    history = [*seqs.item_ids[:4], "new"]
    body = {"history": history, "weights": HALF, "k": 3, "without": seqs.item_ids[9:12]}
    status, found = ask(server, body=body)
    expected = loaded.recommend(history, HALF, k=3, without=seqs.item_ids[9:12])
    assert status == 200 and [item["item_id"] for item in found["items"]] == expected.item_ids
    assert found["notes"] == ["1 unknown item skipped"]
    assert found["items"][0]["title"] == expected[0].title
    again = ask(server, body={"history": history, "weights": HALF, "k": 3, "rerank": "xquad"})
    best = loaded.recommend(history, HALF, k=3, rerank="xquad")
    assert [item["item_id"] for item in again[1]["items"]] == best.item_ids
    assert ask(server, "/health")[1]["status"] == "ok"
    assert ask(server, "/objectives") == (200, {"objectives": ["accuracy", "diversity"]})
    schema = ask(server, "/openapi.json")[1]["components"]["schemas"]
    assert schema["Asked"]["properties"]["history"]["type"] == "array"
    assert set(schema["Answered"]["required"]) == {"items", "weights", "notes"}


def test_many_who_ask_at_once_get_their_own_lists(server, loaded, seqs):
    def body(number):
        weight = number / 63
        history = seqs.item_ids[number : number + 1 + number % 5]
        weights = {"accuracy": weight, "diversity": 1 - weight}
        return {"history": history, "weights": weights, "k": 1 + number % 7}

    with ThreadPoolExecutor(64) as pool:
        found = list(pool.map(lambda number: ask(server, body=body(number)), range(64)))
    for number, (status, answer) in enumerate(found):
        expected = loaded.recommend(**body(number), normalise=True)
        assert status == 200
        assert [item["item_id"] for item in answer["items"]] == expected.item_ids


def test_a_bad_request_is_422_and_says_why(server):
    """Through a real server; ``tests/bad_inputs/service.yaml`` has many more."""
    for change, words in (
        ({"k": 0}, "k: Input should be greater"),
        ({"weights": {}}, "sum 1"),
        ({"weights": HALF | {"accuracy": "0.5"}}, "weights.accuracy: Input should be a valid numb"),
        ({"weights": {"accuracy": True, "diversity": 0}}, "weights.accuracy: Input should be a"),
        ({"weights": {"x" * 900_000: 1}}, "is unknown; known: accuracy"),
        ({"weights": {"x" * 900_000: "1"}}, "valid number"),
        ({"weights": {"accuracy": 10**400}}, "weights"),
    ):
        status, found = ask(server, body={"history": ["i1"], "weights": HALF} | change)
        assert status == 422 and words in found["detail"] and len(found["detail"]) < 200
    assert ask(server, body=b"\xff\xfe")[0] in (400, 422)


def test_weights_are_any_numbers(server):
    for weights in ({"accuracy": 1, "diversity": 0}, {"accuracy": 1e308, "diversity": 1e308}):
        body = {"history": ["i1"], "weights": weights, "k": 2, "normalise": True}
        status, found = ask(server, body=body)
        assert status == 200 and len(found["items"]) == 2
        assert sum(found["weights"].values()) == 1


def test_an_address_of_version_6_is_in_brackets(loaded, monkeypatch, capsys):
    real = socket.create_server  # not every machine has version 6
    monkeypatch.setattr(socket, "create_server", lambda *_, **__: real(("127.0.0.1", 0)))
    monkeypatch.setattr(signal, "signal", lambda *_: None)
    monkeypatch.setattr("uvicorn.Server.run", lambda *_, **__: None)
    for host, shown in (("::1", "[::1]"), ("127.0.0.1", "127.0.0.1")):
        serve(loaded, host, 0, 1)
        assert re.search(rf" at http://{re.escape(shown)}:\d+, ", capsys.readouterr().out)


def test_a_request_of_10_mb_is_refused_and_the_next_one_served(server):
    assert ask(server, body=b"[" + b"1," * 5_000_000 + b"1]") == (
        413,
        {"detail": "the request is larger than 1 MiB"},
    )
    assert ask(server, body={"history": ["i1"], "weights": HALF})[0] == 200
    assert ask(server, "/nowhere")[0] == 404 and ask(server, "/recommend")[0] == 405


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_it_stops_cleanly_and_slow_clients_keep_nobody_out(exported, number):
    process, address = start(exported, ("-c", HASTY))
    parts = [b"", b"POST /recommend HTTP/1.1\r\nHost: x\r\n"]
    parts.append(parts[1] + b"Content-Length: 9\r\n\r\n{")
    slow = []
    for part in parts * 3:  # one more than there may be
        slow.append(socket.create_connection(("127.0.0.1", int(address.rpartition(":")[2]))))
        slow[-1].settimeout(60)
        with suppress(ConnectionError):
            slow[-1].sendall(part)
    for client in slow:
        with client, suppress(ConnectionError):
            assert client.recv(1) == b""  # ended by the server
    assert ask(address, "/health")[0] == 200
    process.send_signal(number)
    _, errors = process.communicate(timeout=30)
    assert process.returncode == 0 and errors == ""


def test_what_cannot_be_served_is_one_line(exported, server, tmp_path):
    port = server.rpartition(":")[2]
    for arguments, words in (
        ([str(tmp_path / "none")], "does not exist"),
        ([str(exported), "--port", port], f"port {port} of 127.0.0.1 cannot be used"),
    ):
        command = [sys.executable, "-m", "paragon", "serve", *arguments]
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
        assert done.returncode == 1 and done.stderr.startswith("error: ") and words in done.stderr
        assert done.stderr.count("\n") == 1


def test_the_container_starts_the_same_command():
    lines = (ROOT / "Dockerfile").read_text().splitlines()
    assert len([line for line in lines if line and not line.startswith("#")]) <= 10
    started = json.loads(next(line for line in lines if line.startswith("ENTRYPOINT"))[11:])
    assert started[:4] == ["python", "-m", "paragon", "serve"] and "0.0.0.0" in started
