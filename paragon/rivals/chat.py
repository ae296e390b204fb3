"""A chat model behind any OpenAI-compatible address, asked in parallel, its answers kept.

Address, model and key come from the environment (``VARIABLES``) and from nowhere else.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Lock
from types import ModuleType
from typing import Any
from urllib.parse import urlsplit

from paragon.errors import ParagonError
from paragon.params import LlmSettings
from paragon.progress import progress
from paragon.storage import write_json

VARIABLES = ("PARAGON_LLM_URL", "PARAGON_LLM_MODEL", "PARAGON_LLM_KEY")
IN_A_ROW = 20  # failed requests in a row that end a run


class _LimitReached(BaseException):
    """No further request may be sent; the client would repeat a request for an `Exception`."""


class ChatModel:
    """A chat model that is asked in parallel, and never twice for the same.

    An answer is kept in ``folder`` under the SHA-256 of the request (model, prompt,
    temperature), so that an interrupted run goes on where it stopped.  A failed request
    is not kept.  Time-outs, retries and the waiting between them are the client's: it
    repeats lost connections and the states 408, 409, 429 and 5xx.  ``sent`` counts HTTP
    requests, retries among them, and never exceeds ``settings.requests``.

    Raises ``ParagonError`` for a missing variable, a bad address, a missing package.
    """

    def __init__(self, settings: LlmSettings, folder: Path) -> None:
        self.settings, self.folder, self.sent, self._failures = settings, folder, 0, 0
        url, self.name, self._key = _environment()
        self._lock, self._openai = Lock(), _package()
        self._client = self._openai.OpenAI(
            base_url=url,
            api_key=self._key,
            timeout=settings.timeout,
            max_retries=settings.retries,
            http_client=self._openai.DefaultHttpxClient(event_hooks={"request": [self._count]}),
        )

    def unanswered(self, prompts: Sequence[str]) -> set[str]:
        """The names of the answers that are not in the folder yet."""
        paths = {self._path(self._request(prompt)) for prompt in prompts}
        return {path.stem for path in paths if not path.exists()}

    def answers(self, prompts: Sequence[str]) -> list[str | None]:
        """The answer to each prompt, None where the request failed after all retries.

        Raises ``ParagonError`` when the limit is reached, when key, model or address are
        refused, and after ``IN_A_ROW`` failures; answers that came before are kept.
        """
        unique = list(dict.fromkeys(prompts))
        with ThreadPoolExecutor(self.settings.concurrency) as pool:
            # `map` takes back what has not started yet when one of the requests raises.
            answers = progress(pool.map(self._answer, unique), "answers")
            by_prompt = dict(zip(unique, answers, strict=True))
        return [by_prompt[prompt] for prompt in prompts]

    def _request(self, prompt: str) -> dict:
        request = {"model": self.name, "messages": [{"role": "user", "content": prompt}]}
        temperature = self.settings.temperature
        return request if temperature is None else request | {"temperature": temperature}

    def _path(self, request: dict) -> Path:
        name = hashlib.sha256(json.dumps(request, sort_keys=True).encode()).hexdigest()
        return self.folder / name[:2] / f"{name}.json"

    def _answer(self, prompt: str) -> str | None:
        request = self._request(prompt)
        path = self._path(request)
        if path.exists():
            return _stored_answer(path)
        answer = self._ask(request)
        if answer is not None:
            write_json(path, {"request": request, "answer": answer})
        return answer

    def _ask(self, request: dict) -> str | None:
        openai = self._openai
        refused = openai.AuthenticationError, openai.PermissionDeniedError, openai.NotFoundError
        # `from None`: a server may repeat the key, and a notebook that fails is stored with its
        # whole traceback.
        try:
            answer = self._without_key(_text(self._client.chat.completions.create(**request)))
        except _LimitReached:
            raise ParagonError(
                f"llm.requests: {self.sent:,} requests are spent, retries included; the answers so "
                "far are kept: run again to go on, or raise it in params.yaml"
            ) from None
        except refused as error:
            raise ParagonError(f"llm: {self._line(error)}; check {', '.join(VARIABLES)}") from None
        except (openai.OpenAIError, ValueError) as error:
            with self._lock:
                self._failures += 1
                if self._failures < IN_A_ROW:
                    return None
            raise ParagonError(
                f"llm: {IN_A_ROW} requests in a row failed, the last with {self._line(error)}; "
                f"check {VARIABLES[0]}; the answers so far are kept, run again to go on"
            ) from None
        self._failures = 0
        return answer

    def _count(self, _: object) -> None:
        """Called by the client before it sends anything, for the first time or again."""
        with self._lock:
            if self.sent >= self.settings.requests:
                raise _LimitReached
            self.sent += 1

    def _line(self, error: Exception) -> str:
        """An error as one line without the key."""
        return " ".join(self._without_key(f"{type(error).__name__}: {error}").split())[:300]

    def _without_key(self, text: str) -> str:
        return text.replace(self._key, "***")


def _environment() -> list[str]:
    """Address, model and key; errors never repeat them, an address may hold a password."""
    values = [os.environ.get(name, "").strip() for name in VARIABLES]
    for name, value in zip(VARIABLES, values, strict=True):
        if not value:
            needed = ", ".join(VARIABLES)
            raise ParagonError(
                f"the environment variable {name} is not set; llm.enabled needs {needed}"
            )
    try:
        parts = urlsplit(values[0])
        good = parts.scheme in ("http", "https") and parts.hostname and parts.port != 0
    except ValueError:
        good = False
    if not good:
        raise ParagonError(f"{VARIABLES[0]}: not an address like https://host/v1")
    if not re.search("[A-Za-z]", values[2]):
        # It is removed from every answer, and answers consist of numbers.
        raise ParagonError(f"{VARIABLES[2]}: a key needs a letter; if the server takes any, use x")
    return values


def _package() -> ModuleType:
    try:
        import openai
    except ImportError as error:
        raise ParagonError(
            "llm.enabled needs the package openai: python -m pip install -e '.[llm]'"
        ) from error
    return openai


def _text(reply: Any) -> str:
    """The text of a chat completion; anything else that a server sends is a ``ValueError``."""
    try:
        text = reply.choices[0].message.content
    except (AttributeError, IndexError, TypeError):
        raise ValueError("the reply is not a chat completion") from None
    if text is None:  # cut off or refused, say: not an answer to be kept
        raise ValueError("the reply has no text")
    return str(text)


def _stored_answer(path: Path) -> str:
    try:
        answer = json.loads(path.read_text(encoding="utf-8"))["answer"]
    except (ValueError, KeyError, TypeError):
        answer = None
    if not isinstance(answer, str):
        raise ParagonError(f"{path}: not a stored answer; remove the file to ask again")
    return answer
