"""What a client of the service may take: bytes, connections and time."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

from fastapi.responses import JSONResponse
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

MOST_BYTES = 1 << 20  # of a request: a history of some ten thousand items
_PATIENCE = 100  # times MOST_BYTES are read, and thrown away, before a request is refused
MOST_CONNECTIONS = 500  # at a time: each takes a file descriptor, often limited to 1,024
SECONDS = 60  # for a request to arrive, and for its answer to be taken

Receive = Callable[[], Awaitable[dict[str, Any]]]
Send = Callable[[Any], Awaitable[None]]


class SmallBodies:
    """Refuses a request of more than ``MOST_BYTES`` with 413, and keeps no more of it."""

    def __init__(self, app: Callable[..., Awaitable[None]]) -> None:
        self.app = app

    async def __call__(self, scope: dict[str, Any], receive: Receive, send: Send) -> None:
        """Pass a request on, or refuse it."""
        if scope["type"] != "http" or scope["method"] not in ("POST", "PUT", "PATCH"):
            await self.app(scope, receive, send)
            return
        body, size, more = bytearray(), 0, True
        # What is too much is not kept; but a client that still writes does not read the answer.
        while more and size <= _PATIENCE * MOST_BYTES:
            message = await receive()
            part = message.get("body", b"")
            size, more = size + len(part), message.get("more_body", False)
            body += part if size <= MOST_BYTES else b""
        if size > MOST_BYTES:
            words = f"the request is larger than {MOST_BYTES >> 20} MiB"
            answer = JSONResponse({"detail": words}, 413, headers={"connection": "close"})
            await answer(scope, receive, send)
            return
        read = iter([{"type": "http.request", "body": bytes(body), "more_body": False}])

        async def once() -> dict[str, Any]:
            return next(read, None) or await receive()

        await self.app(scope, once, send)


class Timely(HttpToolsProtocol):
    """Ends a connection on which nothing was completed for ``SECONDS``.

    uvicorn waits for ever for the rest of a request.  Clients that never send it would take all
    connections, and nobody else would be served.
    """

    _late: asyncio.TimerHandle | None = None

    def _wait(self) -> None:
        if self._late is not None:
            self._late.cancel()
        self._late = self.loop.call_later(SECONDS, self.transport.abort)

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """A request has to arrive from now on."""
        super().connection_made(transport)
        if len(self.connections) > MOST_CONNECTIONS:
            transport.abort()
        else:
            self._wait()

    def on_message_complete(self) -> None:
        """It is there: its answer has to be taken."""
        super().on_message_complete()
        self._wait()

    def on_response_complete(self) -> None:
        """The answer is gone: the next request may arrive."""
        super().on_response_complete()
        self._wait()

    def connection_lost(self, exc: Exception | None) -> None:
        """Nothing more to wait for."""
        if self._late is not None:
            self._late.cancel()
        super().connection_lost(exc)
