"""Serve an exported folder over HTTP.

Requests that wait at the same time are answered in one computation, which is faster.
"""

import asyncio
import gc
import json
import os
import signal
import socket
from typing import Annotated, Any, cast

import fastapi
import h11
import torch
import uvicorn
from fastapi.responses import JSONResponse
from pydantic import Field, ValidationError
from starlette.requests import ClientDisconnect
from torch import Tensor
from uvicorn.protocols.http.flow_control import CLOSE_HEADER
from uvicorn.protocols.http.h11_impl import H11Protocol

from paragon import __version__
from paragon.errors import ParagonError, shown
from paragon.objectives.weights import check_weights
from paragon.serving.lists import Batch, History, Id, Options, Past, Recommendations
from paragon.serving.recommender import Recommender

MOST_BYTES = 1 << 20  # of a request
MOST_CONNECTIONS = 500  # each takes a file descriptor, often limited to 1,024
MOST_CHUNKS = 2_000  # of a body that is sent in chunks
SECONDS = 60  # to receive a request and send its answer
SECONDS_AT_THE_END = 5  # the same, after the signal to end
_Filter = Annotated[list[Id], Field(max_length=10_000)]


class Body(Past, Options):
    """The body of ``POST /recommend``."""

    history: _Filter = Field(min_length=1, description="Item ids, oldest first.")
    weights: dict[str, float] = Field(description="By objective, with the sum 1.")
    k: int = Field(10, ge=1, le=1_000)
    only: _Filter | None = None
    without: _Filter | None = None


def _unique(pairs: list[tuple[str, object]]) -> dict[str, object]:
    """Return the pairs of a JSON object as a dict; ``ValueError`` if a key is there twice."""
    if len(dict(pairs)) < len(pairs):
        raise ValueError("a key is there twice")
    return dict(pairs)


async def body_of(request: fastapi.Request) -> Body:
    """Read and check the body of a request; at most ``MOST_BYTES`` of it are kept in memory.

    Raises ``HTTPException`` 413 if it is larger, and ``ParagonError`` if it is not valid.
    """
    kind = request.headers.get("content-type", "none")
    if kind.partition(";")[0].strip().lower() != "application/json":
        raise ParagonError(f"Content-Type: application/json is needed, found {kind[:60]}")
    data = bytearray()
    size = 0
    async for chunk in request.stream():
        size += len(chunk)
        if size <= MOST_BYTES:
            data += chunk
        # A client reads the answer only after it has sent its body.
        if size > 100 * MOST_BYTES:
            break
    if size > MOST_BYTES:
        raise fastapi.HTTPException(413, f"the request is larger than {MOST_BYTES >> 20} MiB")
    try:
        text = data.decode()
        json.loads(text, object_pairs_hook=_unique)
        return Body.model_validate_json(text)
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(map(str, first["loc"])) or "request"
        found = json.dumps(first["input"])[:60]
        raise ParagonError(f"{place}: {first['msg']}, found {found}") from error
    except (ValueError, RecursionError) as error:
        raise ParagonError(f"request: the body is no valid JSON in UTF-8 ({error})") from error


def make_app(recommender: Recommender) -> fastapi.FastAPI:
    """Make the app with ``POST /recommend``, ``GET /health`` and ``GET /objectives``."""
    names = recommender.objectives
    # The first list is the slowest: compute one before any request.
    recommender.recommend(recommender.data.item_ids[:1], [1] * len(names), k=1, normalise=True)
    app = fastapi.FastAPI(
        title="Paragon",
        version=__version__,
        description="Recommendations whose balance follows the weights of each request.",
        docs_url=None,  # its page loads external scripts; use /openapi.json
        redoc_url=None,
        redirect_slashes=False,
    )
    content = {"application/json": {"schema": Body.model_json_schema()}}
    # By options: the requests that wait, and the task that will answer all of them.
    waiting: dict[str, tuple[list[tuple[History, Tensor]], asyncio.Task[Batch]]] = {}

    async def answer_all(key: str, options: dict[str, Any]) -> Batch:
        """Answer the requests that wait and have the same options in one computation."""
        asked, _ = waiting.pop(key)
        histories = [history for history, _ in asked]
        weights = torch.stack([weights for _, weights in asked])  # [B, O]
        return recommender.recommend_many(histories, weights, **options)

    @app.post(
        "/recommend",
        responses={status: {"description": "`detail` says why"} for status in (413, 422)},
        openapi_extra={"requestBody": {"content": content, "required": True}},
    )
    async def recommend(request: fastapi.Request) -> Recommendations:
        """Return the best items for a history and weights."""
        body = await body_of(request)
        weights = check_weights(body.weights, names, body.normalise)  # [1, O]
        options = body.model_dump(include=Options.model_fields.keys() - {"normalise"})
        key = json.dumps(options)
        if key not in waiting:  # the task starts after other requests that are ready
            task = asyncio.create_task(answer_all(key, options))
            waiting[key] = ([], task)
        asked, batch = waiting[key]
        asked.append((History(body.history, body.times), weights[0]))
        row = len(asked) - 1
        return (await asyncio.shield(batch)).one(row)  # other clients still wait

    @app.get("/health")
    async def health() -> dict[str, str]:
        """Report that the service runs, and its version."""
        return {"status": "ok", "version": __version__}

    @app.get("/objectives")
    async def objectives() -> dict[str, list[str]]:
        """List the objectives in the order of the weights."""
        return {"objectives": names}

    @app.exception_handler(ClientDisconnect)  # the client is gone
    @app.exception_handler(ParagonError)
    async def refuse(_: fastapi.Request, error: Exception) -> JSONResponse:
        """Answer 422 with the reason."""
        words = str(error).encode("ascii", "backslashreplace").decode()  # keys may hold any text
        return JSONResponse({"detail": words[:500]}, 422)

    return app


class _Reader(h11.Connection):
    """Refuse a body in more than ``MOST_CHUNKS`` chunks: each takes time, however small it is."""

    _chunks = 0  # of the present request

    def next_event(self) -> Any:
        event = super().next_event()
        if isinstance(event, h11.Request):
            self._chunks = 0
        elif isinstance(event, h11.Data):
            self._chunks += event.chunk_start
            if self._chunks > MOST_CHUNKS:
                raise h11.RemoteProtocolError(f"a body has more than {MOST_CHUNKS} chunks")
        return event


class _Bounded(H11Protocol):
    """A connection with limits that uvicorn has not: of time, and to one request at a time.

    A client that does not wait for its answer before it sends more gets this answer only.
    """

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self.conn = _Reader(h11.SERVER)

    @property
    def is_asked(self) -> bool:
        """Whether a request is here completely and its answer is not sent."""
        cycle = self.cycle
        return cycle is not None and not (cycle.more_body or cycle.response_complete)

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._late = self.loop.call_later(SECONDS, transport.abort)
        if len(self.connections) > MOST_CONNECTIONS:
            # End the one that has waited longest for its client.
            all_of_them = cast("set[_Bounded]", self.connections)
            waiting = [each for each in all_of_them if not each.is_asked]
            oldest = min(waiting, key=lambda each: each._late.when())
            self.connections.discard(oldest)
            oldest.transport.abort()

    def data_received(self, data: bytes) -> None:
        if self.is_asked:
            self._answer_and_close()  # and drop the data
        else:
            super().data_received(data)

    def handle_events(self) -> None:
        super().handle_events()
        if self.cycle is None or self.transport.is_closing():
            return
        names = {name for name, _ in self.headers}
        ambiguous = {b"content-length", b"transfer-encoding"} <= names  # RFC 9112, 6.3
        if ambiguous or (self.is_asked and self.conn.trailing_data[0]):
            self._answer_and_close()

    def _answer_and_close(self) -> None:
        """Close the connection after the answer to the present request, and say so in it."""
        if CLOSE_HEADER not in self.headers:
            self.headers.append(CLOSE_HEADER)  # as if the client had asked for it
        self.cycle.keep_alive = False  # if the headers of the answer are sent already

    def send_400_response(self, msg: str) -> None:
        if self.cycle is not None:
            self.cycle.disconnected = True  # no second answer
        if self.conn.our_state in (h11.IDLE, h11.SEND_RESPONSE):
            super().send_400_response(msg)
        else:
            self.transport.close()

    def on_response_complete(self) -> None:
        if not self.transport.is_closing():
            self._end_in(SECONDS)
        super().on_response_complete()

    def shutdown(self) -> None:
        super().shutdown()
        self._end_in(SECONDS_AT_THE_END)

    def connection_lost(self, exc: Exception | None) -> None:
        self._late.cancel()
        super().connection_lost(exc)

    def _end_in(self, seconds: float) -> None:
        """Begin to count anew the time until the connection is ended."""
        self._late.cancel()
        self._late = self.loop.call_later(seconds, self.transport.abort)


def serve(recommender: Recommender, host: str, port: int, threads: int) -> None:
    """Serve until SIGINT or SIGTERM.

    Raises ``ParagonError`` if the address cannot be used, or for more threads than processors.
    """
    most = os.cpu_count() or 1
    if not 1 <= threads <= most:  # torch would crash for some thousands
        raise ParagonError(f"--threads: {threads} is out of range; give 1 to {most} (processors)")
    torch.set_num_threads(threads)  # in small products, threads mostly wait for each other
    gc.freeze()  # do not scan the loaded model: fewer pauses
    if not host:  # it would be every address
        raise ParagonError("--host is empty; give 127.0.0.1, or 0.0.0.0 for every address")
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        listening = socket.create_server((host, port), family=family, backlog=1024)
    except (OSError, OverflowError, UnicodeError) as error:  # no port; no name of a host
        reason = getattr(error, "strerror", None) or error
        raise ParagonError(f"port {port} of {shown(host)} cannot be used: {reason}") from error
    # An answer is two small packets: do not delay the second until the first is confirmed.
    listening.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    app = make_app(recommender)
    config = uvicorn.Config(
        app, log_level="error", http=_Bounded, ws="none", timeout_graceful_shutdown=10
    )
    with listening:
        name = f"[{host}]" if family == socket.AF_INET6 else host
        url = f"http://{name}:{listening.getsockname()[1]}"
        print(f"{recommender} at {url}, described by {url}/openapi.json; Ctrl-C ends", flush=True)
        for number in (signal.SIGINT, signal.SIGTERM):
            # uvicorn handles these, and raises them again after it has stopped.
            signal.signal(number, lambda *_: None)
        uvicorn.Server(config).run(sockets=[listening])
