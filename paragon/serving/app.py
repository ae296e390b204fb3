"""The web service: an exported folder behind HTTP, with typed requests and answers.

In this file: how 64 people who ask at once are answered at once.  Computing one list takes about as
long as computing ten together, so all requests that have arrived while the last computation ran
are answered by the next one.  Nobody waits for company: a request that is alone starts at once.
"""

from __future__ import annotations

import asyncio
import gc
import signal
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Annotated, Any, Literal

import torch
from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from pydantic import BaseModel, ConfigDict, Field

from paragon import __version__
from paragon.errors import ParagonError
from paragon.serving.limits import MOST_BYTES, SECONDS, SmallBodies, Timely
from paragon.serving.lists import Recommendations
from paragon.serving.recommender import Recommender
from paragon.serving.requests import History, check_one_weights
from paragon.serving.requests import Request as Wanted

MOST_ITEMS = 10_000  # of a history or a filter
MOST_SHOWN = 1_000  # items of a list

Id = Annotated[str, Field(strict=True, max_length=256)]
Ids = Annotated[list[Id], Field(max_length=MOST_ITEMS)]


class Asked(BaseModel):
    """Whose list is asked for, and how it shall be."""

    model_config = ConfigDict(extra="forbid")

    history: Annotated[Ids, Field(min_length=1, description="Item ids, oldest first.")]
    times: Annotated[
        list[Annotated[int, Field(strict=True)]] | None,
        Field(max_length=MOST_ITEMS, description="Seconds since 1970 of each."),
    ] = None
    weights: Annotated[
        dict[str, float], Field(description="By objective, with the sum 1; see GET /objectives.")
    ]
    k: Annotated[int, Field(strict=True, ge=1, le=MOST_SHOWN)] = 10
    only: Annotated[Ids | None, Field(description="Only these items may be shown.")] = None
    without: Annotated[Ids | None, Field(description="These items may not be shown.")] = None
    rerank: Annotated[
        Literal["xquad"] | None, Field(description="Re-rank the list for variety.")
    ] = None
    exclude_seen: Annotated[bool, Field(strict=True)] = True
    normalise: Annotated[
        bool, Field(strict=True, description="Divide the weights by their sum.")
    ] = False


class Shown(BaseModel):
    """One item of a list."""

    item_id: str
    title: str
    categories: list[str]
    score: float


class Answered(BaseModel):
    """A list, best first, with what there is to note."""

    items: list[Shown]
    weights: dict[str, float]
    notes: list[str]


class Refused(BaseModel):
    """Why a request cannot be answered, in a sentence."""

    detail: str


class Together:
    """Answers all requests that are there in one computation."""

    def __init__(self, recommender: Recommender) -> None:
        self.recommender = recommender
        self._waiting: list[tuple[Wanted, asyncio.Future[Recommendations]]] = []

    async def answer(self, request: Wanted) -> Recommendations:
        """The list of one request; raises ``ParagonError`` if there is none."""
        loop = asyncio.get_running_loop()
        future: asyncio.Future[Recommendations] = loop.create_future()
        self._waiting.append((request, future))
        if len(self._waiting) == 1:
            loop.call_soon(self._answer_all)  # after those who are about to ask as well
        return await future

    def _answer_all(self) -> None:
        taken, self._waiting = self._waiting, []
        try:
            batch = self.recommender.answer([request for request, _ in taken])
        except Exception as error:  # whatever it is, nobody may wait for ever
            for _, future in taken:
                _settle(future, error)
            return
        for row, (_, future) in enumerate(taken):
            why = batch.errors.get(row)
            _settle(future, batch[row] if why is None else ParagonError(why))


def _settle(future: asyncio.Future[Recommendations], result: Recommendations | Exception) -> None:
    if future.done():  # whoever asked has gone
        return
    if isinstance(result, Exception):
        future.set_exception(result)
    else:
        future.set_result(result)


def make_app(recommender: Recommender) -> FastAPI:
    """The service of a recommender: ``POST /recommend``, ``GET /health``, ``GET /objectives``."""
    together = Together(recommender)

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        warm = {name: 1 / len(recommender.objectives) for name in recommender.objectives}
        recommender.recommend(recommender.items.ids[:1], warm, k=1)
        yield

    app = FastAPI(
        title="Paragon",
        version=__version__,
        description="Recommendations whose balance follows the weights of each request.",
        lifespan=lifespan,
        docs_url=None,  # pages that load their scripts from elsewhere; /openapi.json says the same
        redoc_url=None,
    )
    wrong: dict[int | str, dict[str, Any]] = {
        413: {"model": Refused, "description": f"Larger than {MOST_BYTES >> 20} MiB."},
        422: {"model": Refused, "description": "Something in the request cannot be meant."},
    }

    @app.post("/recommend", response_model=Answered, responses=wrong)
    async def recommend(asked: Asked) -> Response:
        """The best items for a history, under weights of its own."""
        weights = check_one_weights(asked.weights, recommender.objectives, asked.normalise)
        history = History(asked.history, asked.times)
        options = (asked.k, asked.only, asked.without, asked.rerank, asked.exclude_seen)
        found = await together.answer(recommender.request(history, weights, *options))
        return JSONResponse(
            {
                "items": [entry._asdict() for entry in found],
                "weights": found.weights,
                "notes": found.notes,
            }
        )

    @app.get("/health")
    async def health() -> dict[str, str]:
        """Whether the service runs, and which version."""
        return {"status": "ok", "version": __version__}

    @app.get("/objectives")
    async def objectives() -> dict[str, list[str]]:
        """What the weights are about, in their order."""
        return {"objectives": recommender.objectives}

    _refuse_in_words(app)
    app.add_middleware(SmallBodies)
    return app


def _refuse_in_words(app: FastAPI) -> None:
    """What cannot be meant becomes a sentence and status 422."""

    @app.exception_handler(ParagonError)
    async def refuse(_: Request, error: ParagonError) -> JSONResponse:
        return JSONResponse({"detail": str(error)}, status_code=422)

    @app.exception_handler(RequestValidationError)
    async def refuse_shape(_: Request, error: RequestValidationError) -> JSONResponse:
        """The first thing that is wrong; what was sent is not sent back."""
        first = error.errors()[0]
        place = ".".join(map(str, first["loc"][1:])) or "request"
        words = f"{place}: {first['msg']}".encode("ascii", "backslashreplace").decode()
        return JSONResponse({"detail": words[:500]}, status_code=422)


def serve(recommender: Recommender, host: str, port: int, threads: int) -> None:
    """Serve until SIGINT or SIGTERM; requests that are being answered are finished first.

    The process is this service's own, so the number of torch's ``threads`` is set: the products
    of one request are small, and threads that wait for each other cost more than they save.
    Raises ``ParagonError`` if the port cannot be used.
    """
    import uvicorn

    torch.set_num_threads(threads)
    gc.freeze()  # what is loaded stays: no pauses to look through it
    for number in (signal.SIGINT, signal.SIGTERM):
        # uvicorn stops at these, and raises them again when everything is done.
        signal.signal(number, lambda *_: None)
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        listening = socket.create_server((host, port), family=family, backlog=1024)
    except OSError as error:
        raise ParagonError(f"port {port} of {host} cannot be used: {error.strerror}") from error
    config = uvicorn.Config(
        make_app(recommender),
        log_level="warning",
        access_log=False,
        http=Timely,
        timeout_keep_alive=SECONDS,
        timeout_graceful_shutdown=10,
    )
    # An answer is two small packets: the second one shall not wait until the first is confirmed.
    listening.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    with listening:
        address = f"http://{host}:{listening.getsockname()[1]}"
        print(
            f"{recommender} at {address}, described by {address}/openapi.json; Ctrl-C ends",
            flush=True,
        )
        uvicorn.Server(config).run(sockets=[listening])
