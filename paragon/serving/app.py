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
from typing import Annotated, Any

import torch
from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from pydantic import BaseModel, ConfigDict, Field, StrictBool, StrictFloat, StrictInt

from paragon import __version__
from paragon.errors import ParagonError
from paragon.serving.limits import MOST_BYTES, SECONDS, SmallBodies, Timely
from paragon.serving.lists import Batch, Recommendations
from paragon.serving.recommender import Recommender
from paragon.serving.requests import History, Rerank, check_history, check_one_weights
from paragon.serving.requests import Request as Wanted

MOST_ITEMS = 10_000  # of a history or a filter
MOST_SHOWN = 1_000  # items of a list

Id = Annotated[str, Field(strict=True, max_length=256)]
Ids = Annotated[list[Id], Field(max_length=MOST_ITEMS)]


class Asked(BaseModel):
    """Whose list is asked for, and how it shall be."""

    model_config = ConfigDict(extra="forbid")

    history: Ids = Field(min_length=1, description="Item ids, oldest first.")
    times: list[StrictInt] | None = Field(
        None, max_length=MOST_ITEMS, description="Seconds since 1970 of each."
    )
    weights: dict[str, StrictFloat] = Field(
        description="By objective, with the sum 1; see GET /objectives."
    )
    k: StrictInt = Field(10, ge=1, le=MOST_SHOWN)
    only: Ids | None = Field(None, description="Only these items may be shown.")
    without: Ids | None = Field(None, description="These items may not be shown.")
    rerank: Rerank | None = Field(None, description="Re-rank the list for variety.")
    exclude_seen: StrictBool = True
    normalise: StrictBool = Field(False, description="Divide the weights by their sum.")


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
        self._waiting: list[Wanted] = []
        self._answered: asyncio.Future[Batch]  # of those who wait now

    async def answer(self, request: Wanted) -> Recommendations:
        """The list of one request; raises ``ParagonError`` if there is none."""
        if not self._waiting:
            loop = asyncio.get_running_loop()
            self._answered = loop.create_future()
            loop.call_soon(self._answer_all)  # after those who are about to ask as well
        self._waiting.append(request)
        row, answered = len(self._waiting) - 1, self._answered
        # Somebody may go before that; the others still wait.
        return (await asyncio.shield(answered)).one(row)

    def _answer_all(self) -> None:
        taken, self._waiting = self._waiting, []
        try:
            self._answered.set_result(self.recommender.engine.answer(taken))
        except Exception as error:  # whatever it is, nobody may wait for ever
            self._answered.set_exception(error)


def make_app(recommender: Recommender) -> FastAPI:
    """The service of a recommender: ``POST /recommend``, ``GET /health``, ``GET /objectives``."""
    together, equal = Together(recommender), dict.fromkeys(recommender.objectives, 1.0)
    # The first list takes longest: nobody has to wait for it.
    recommender.recommend(recommender.items.ids[:1], equal, k=1, normalise=True)
    app = FastAPI(
        title="Paragon",
        version=__version__,
        description="Recommendations whose balance follows the weights of each request.",
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
        history = check_history(History(asked.history, asked.times), recommender.items)
        options = (asked.k, asked.only, asked.without, asked.rerank, asked.exclude_seen)
        request = Wanted(*history, weights, *recommender.options(*options))
        found = await together.answer(request)
        items = [entry._asdict() for entry in found]
        return JSONResponse({"items": items, "weights": found.weights, "notes": found.notes})

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
    """A request that makes no sense becomes a sentence and status 422."""

    @app.exception_handler(ParagonError)
    async def refuse(_: Request, error: ParagonError) -> JSONResponse:
        return JSONResponse({"detail": str(error)}, status_code=422)

    @app.exception_handler(RequestValidationError)
    async def refuse_shape(_: Request, error: RequestValidationError) -> JSONResponse:
        """The first thing that is wrong; what was sent is not sent back."""
        first = error.errors()[0]
        place = ".".join(map(str, first["loc"][1:]))[:40] or "request"  # a name may be long
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
        name = f"[{host}]" if family == socket.AF_INET6 else host
        address = f"http://{name}:{listening.getsockname()[1]}"
        what = f"{recommender} at {address}, described by {address}/openapi.json"
        print(f"{what}; Ctrl-C ends", flush=True)
        uvicorn.Server(config).run(sockets=[listening])
