"""Requests to a server, many at a time, each asked again until it is answered or patience is at an end."""

import asyncio
import json
import logging
import os
import queue
import re
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Generic, TypeVar
from urllib.parse import urlsplit

from r1lit.errors import InputError
from r1lit.rollout.retries import Failure, MalformedAnswer, RetryPolicy, failure_of
from r1lit.types import Prompt

log = logging.getLogger(__name__)

_NO_KEY = "none"
"""Sent where no key is set: the client insists on one, local servers do not look at it."""

Answer = TypeVar("Answer")


@dataclass(frozen=True, slots=True)
class Server:
    """Where requests go and how patiently; see ``OpenAIEngine``.

    Raises:
        InputError: If something cannot be right, or the package ``openai`` is not installed.
    """

    base_url: str
    api_key_env: str
    concurrency: int
    timeout_s: float
    max_wait_s: float
    max_retries: int

    def __post_init__(self) -> None:
        """Checks everything that can be checked without a request."""
        parts = urlsplit(self.base_url)
        if "@" in parts.netloc or parts.query:  # not repeated: it may hold a password
            raise InputError(
                "OpenAIEngine: base_url holds a user name or a query; put the key into the environment instead"
            )
        if parts.scheme not in ("http", "https") or not parts.netloc:
            raise InputError(f"OpenAIEngine: base_url is {self.base_url!r}; give one like http://localhost:8000/v1")
        if not re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]*", self.api_key_env):  # not repeated: it may be a key
            raise InputError("OpenAIEngine: api_key_env is the name of an environment variable, not the key itself")
        if self.concurrency < 1 or self.max_retries < 0:
            raise InputError(
                f"OpenAIEngine: concurrency is {self.concurrency} and max_retries {self.max_retries}; "
                "give at least 1 and 0"
            )
        if self.timeout_s <= 0 or self.max_wait_s < 0:
            raise InputError(
                f"OpenAIEngine: timeout_s is {self.timeout_s} and max_wait_s {self.max_wait_s}; give seconds"
            )
        openai_package()

    @property
    def key(self) -> str | None:
        """The key, read from the environment when it is needed and kept nowhere."""
        return os.environ.get(self.api_key_env) or None


@dataclass(frozen=True, slots=True)
class Request:
    """One request: some samples of a prompt."""

    prompt: Prompt
    samples: range
    path: str
    """``chat/completions`` or ``completions``."""
    body: dict[str, Any]


class Call(Generic[Answer]):
    """Requests in an event loop of their own, to be run in a thread of its own.

    Args:
        server: Where they go.
        requests: Asked in this order, ``concurrency`` at a time.
        parse: Makes an answer of the decoded JSON; raises ``MalformedAnswer`` where it cannot.
        found: Takes the answers as they come, the first error that cannot be mended, and None at the end.
    """

    def __init__(
        self,
        server: Server,
        requests: Sequence[Request],
        parse: Callable[[object, Request], Answer],
        found: "queue.SimpleQueue[Answer | Exception | None]",
    ) -> None:
        self.server, self.requests, self.parse, self.found = server, requests, parse, found
        self.key = server.key
        self.done = 0
        self.total = sum(len(request.samples) for request in requests)
        self._unavailable = False
        self._cancelled = False
        self._loop = asyncio.new_event_loop()
        self._task: asyncio.Task[None] | None = None

    def run(self) -> None:
        """Runs until all is answered, one request fails for good, or ``cancel``."""
        try:
            with asyncio.Runner(loop_factory=lambda: self._loop) as runner:
                runner.run(self._all())
        except asyncio.CancelledError:
            pass
        except ExceptionGroup as group:
            self.found.put(group.exceptions[0])
        except Exception as error:  # handed to the caller's thread, which raises it
            self.found.put(error)
        finally:
            self.found.put(None)

    def cancel(self) -> None:
        """Ends the requests that are under way; does nothing where all is done."""
        self._cancelled = True
        if self._task is not None:
            with suppress(RuntimeError):  # the loop is closed
                self._loop.call_soon_threadsafe(self._task.cancel)

    async def _all(self) -> None:
        self._task = asyncio.current_task()
        if self._cancelled:
            return
        limit = asyncio.Semaphore(self.server.concurrency)
        client = openai_package().AsyncOpenAI(
            base_url=self.server.base_url, api_key=self.key or _NO_KEY, timeout=self.server.timeout_s, max_retries=0
        )

        async def one(request: Request) -> None:
            async with limit:
                self.found.put(await self._answered(client, request))
            self.done += len(request.samples)

        async with client, asyncio.TaskGroup() as group:
            for request in self.requests:
                group.create_task(one(request))

    async def _answered(self, client: Any, request: Request) -> Answer:
        patience = RetryPolicy(self.server.max_wait_s, self.server.max_retries)
        url = f"{self.server.base_url.rstrip('/')}/{request.path}"
        while True:
            try:
                answer = self.parse(await _post(client, request), request)
            except (openai_package().OpenAIError, MalformedAnswer) as error:
                failure = failure_of(error, self.key)
                if failure.is_final:
                    raise await self._refusal(client, request, url, failure) from None
                wait = patience.next_wait(failure, f"{url}: {failure.text}", self.done, self.total)
                if failure.unavailable and not self._unavailable:
                    self._unavailable = True
                    log.warning("%s: %s; asking again for up to %g s", url, failure.text, self.server.max_wait_s)
                await asyncio.sleep(wait)
            else:
                if self._unavailable:
                    log.warning("%s answers again", self.server.base_url)
                self._unavailable = False
                return answer

    async def _refusal(self, client: Any, request: Request, url: str, failure: Failure) -> InputError:
        model = request.body["model"]
        if failure.status in (401, 403):
            name = self.server.api_key_env
            return InputError(f"{url}: {failure.text}; " + (f"check the key in {name}" if self.key else f"set {name}"))
        if failure.status == 404:
            try:
                offered = [each.id async for each in client.models.list()]
            except openai_package().OpenAIError:
                return InputError(f"{url}: {failure.text}; check base_url and model ({model!r})")
            return InputError(
                f"{url}: {failure.text}; model is {model!r}, the server has {', '.join(offered) or 'none'}"
            )
        return InputError(f"{url}: {failure.text} (model {model!r}, prompt {request.prompt.id!r})")


def answers(
    server: Server, requests: Sequence[Request], parse: Callable[[object, Request], Answer]
) -> Iterator[Answer]:
    """Yields the answers to requests as they come in; ends what is under way when it is closed.

    Args:
        server: Where they go.
        requests: Asked in this order.
        parse: As in :class:`Call`.

    Raises:
        InputError: If the server refuses key, model or request.
        TrainingError: If the server stays away, or keeps failing; says how many completions are done.
    """
    if not requests:
        return
    found: queue.SimpleQueue[Answer | Exception | None] = queue.SimpleQueue()
    call = Call(server, requests, parse, found)
    # The event loop has a thread of its own: scoring must not hold up requests, and a notebook has a loop already.
    thread = threading.Thread(target=call.run, name="r1lit-openai", daemon=True)
    thread.start()
    try:
        while (item := found.get()) is not None:
            if isinstance(item, Exception):
                raise item
            yield item
    finally:
        call.cancel()
        thread.join()


async def _post(client: Any, request: Request) -> object:
    resource = client.completions if request.path == "completions" else client.chat.completions
    # The client's signature knows some fields only; the rest goes into extra_body, one JSON object on the wire.
    known = {name: request.body[name] for name in ("model", "prompt", "messages") if name in request.body}
    rest = {name: value for name, value in request.body.items() if name not in known}
    raw = await resource.with_raw_response.create(**known, extra_body=rest)
    try:
        return json.loads(raw.http_response.content)
    except ValueError as error:
        raise MalformedAnswer(f"not JSON: {raw.http_response.text[:80]!r}") from error


def openai_package() -> Any:
    """The client library; raises ``InputError`` where it is not installed."""
    try:
        import openai
    except ImportError as error:
        raise InputError("OpenAIEngine needs the package openai: pip install 'r1lit[openai]'") from error
    return openai
