"""A chat model behind any OpenAI-compatible address, asked in parallel, its answers kept.

Address, model and key come from the environment (``VARIABLES``) and from nowhere else.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Lock
from types import ModuleType
from urllib.parse import urlsplit

from paragon.errors import ParagonError
from paragon.params import LlmSettings
from paragon.progress import progress
from paragon.storage import write_json

VARIABLES = ("PARAGON_LLM_URL", "PARAGON_LLM_MODEL", "PARAGON_LLM_KEY")
IN_A_ROW = 20  # so many failed requests without an answer between them end a run


class ChatModel:
    """A chat model that is asked in parallel, and never twice for the same.

    An answer is kept in ``folder`` under the SHA-256 of the request (model, prompt,
    temperature), so that a run that was interrupted goes on where it stopped.  What
    fails is not kept.  The client retries time-outs, lost connections and the states
    408, 409, 429 and 5xx, waiting up to 8 seconds, longer and longer, or what the
    server asks for.  ``sent`` counts HTTP requests, retries among them, and never
    exceeds ``settings.requests``.

    Raises ``ParagonError`` for a missing variable, a bad address, a missing package.
    """

    def __init__(self, settings: LlmSettings, folder: Path) -> None:
        self.settings, self.folder, self.sent = settings, folder, 0
        url, self.name, self._key = (_variable(name) for name in VARIABLES)
        self._openai = openai = _package()
        self._client = openai.OpenAI(
            base_url=_checked(url),
            api_key=self._key,
            timeout=settings.timeout,
            max_retries=settings.retries,
            http_client=openai.DefaultHttpxClient(event_hooks={"request": [self._count]}),
        )
        self._lock, self._spent, self._failures = Lock(), False, 0

    def unanswered(self, prompts: Sequence[str]) -> set[str]:
        """The names of the answers that are not in the folder yet."""
        paths = {self._path(self._request(prompt)) for prompt in prompts}
        return {path.stem for path in paths if not path.exists()}

    def answers(self, prompts: Sequence[str]) -> list[str | None]:
        """The answer to each prompt, None where the request failed after all retries.

        Raises ``ParagonError`` when the limit is spent, when key, model or address are
        refused, and after ``IN_A_ROW`` failures; answers that came before are kept.
        """
        unique = list(dict.fromkeys(prompts))
        with ThreadPoolExecutor(self.settings.concurrency) as pool:
            # `map` takes back what has not started yet when one of the requests raises.
            came = progress(pool.map(self._answer, unique), "answers")
            found = dict(zip(unique, came, strict=True))
        return [found[prompt] for prompt in prompts]

    def _request(self, prompt: str) -> dict:
        request = {"model": self.name, "messages": [{"role": "user", "content": prompt}]}
        warm = self.settings.temperature
        return request if warm is None else request | {"temperature": warm}

    def _path(self, request: dict) -> Path:
        name = hashlib.sha256(json.dumps(request, sort_keys=True).encode()).hexdigest()
        return self.folder / name[:2] / f"{name}.json"

    def _answer(self, prompt: str) -> str | None:
        request = self._request(prompt)
        path = self._path(request)
        if path.exists():
            return _kept(path)
        answer = self._ask(request)
        if answer is not None:
            write_json(path, {"request": request, "answer": answer})
        return answer

    def _ask(self, request: dict) -> str | None:
        openai = self._openai
        refused = openai.AuthenticationError, openai.PermissionDeniedError, openai.NotFoundError
        try:
            answer = _text(self._client.chat.completions.create(**request))
        except refused as error:
            # `from None` here and below: a server may repeat the key, and a notebook that
            # fails is stored with its whole traceback.
            raise ParagonError(f"llm: {self._said(error)}; check {', '.join(VARIABLES)}") from None
        except (openai.OpenAIError, ValueError) as error:
            self._failed(error)
            return None
        self._failures = 0
        return answer

    def _failed(self, error: Exception) -> None:
        with self._lock:
            self._failures += 1
            failures = self._failures
        if self._spent:
            raise self._over() from None
        if failures >= IN_A_ROW:
            raise ParagonError(
                f"llm: {IN_A_ROW} requests in a row failed, the last with {self._said(error)}; "
                f"check {VARIABLES[0]}; the answers so far are kept, run again to go on"
            ) from None

    def _count(self, _: object) -> None:
        """Called by the client before it sends anything, for the first time or again."""
        with self._lock:
            spent = self._spent = self.sent >= self.settings.requests
            self.sent += not spent
        if spent:  # not self._spent, which another thread may have set since
            raise self._over()

    def _over(self) -> ParagonError:
        return ParagonError(
            f"llm.requests: {self.sent:,} requests are spent, retries included; the answers so "
            "far are kept: run again to go on, or raise it in params.yaml"
        )

    def _said(self, error: Exception) -> str:
        """An error as one line without the key."""
        text = f"{type(error).__name__}: {error}".replace(self._key, "***")
        return " ".join(text.split())[:300]


def _variable(name: str) -> str:
    value = os.environ.get(name, "").strip()
    if not value:
        raise ParagonError(
            f"the environment variable {name} is not set; llm.enabled needs {', '.join(VARIABLES)}"
        )
    return value


def _checked(url: str) -> str:
    """The address, if it is one; not repeated in the error, it may hold a password."""
    try:
        parts = urlsplit(url)
        good = parts.scheme in ("http", "https") and parts.hostname and parts.port != 0
    except ValueError:
        good = False
    if not good:
        raise ParagonError(f"{VARIABLES[0]}: not an address like https://host/v1")
    return url


def _package() -> ModuleType:
    try:
        import openai
    except ImportError as error:
        raise ParagonError(
            "llm.enabled needs the package openai: python -m pip install -e '.[llm]'"
        ) from error
    return openai


def _text(reply: object) -> str:
    """The text of a chat completion; whatever else a server sends is a ``ValueError``."""
    try:
        text = reply.choices[0].message.content
    except (AttributeError, IndexError, TypeError):
        raise ValueError("the reply is not a chat completion") from None
    if text is None:  # cut off or refused, say: not an answer to be kept
        raise ValueError("the reply has no text")
    return str(text)


def _kept(path: Path) -> str:
    try:
        answer = json.loads(path.read_text(encoding="utf-8"))["answer"]
    except (ValueError, KeyError, TypeError):
        answer = None
    if not isinstance(answer, str):
        raise ParagonError(f"{path}: not a stored answer; remove the file to ask again")
    return answer
