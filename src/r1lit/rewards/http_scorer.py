"""A reward model behind a server that speaks vLLM's ``/classify``: vLLM itself, or ``python -m r1lit.serve_scores``.

One request is ``POST {url}/classify`` with ``{"model", "messages", "use_activation": false}``, where the last message
is the assistant's reply; the answer is ``{"data": [{"index": 0, "probs": [score], "num_classes": 1, ...}]}``. Before
the first one, ``GET {url}/v1/models`` tells what is served.
"""

import json
import logging
import os
import re
import threading
import time
import urllib.error
import urllib.request
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from http.client import HTTPException
from typing import Any, Literal, get_args
from urllib.parse import urlsplit

from r1lit.errors import InputError, TrainingError
from r1lit.grading.parsing import summary
from r1lit.rewards.base import UNSCORED, Score
from r1lit.rewards.http_failures import NoRedirect, RequestFailure, Waits, one_line
from r1lit.types import Completion

log = logging.getLogger(__name__)

Reads = Literal["answer", "all"]
_AWAY = frozenset({429, 502, 503, 504})
_TRANSIENT = frozenset({408, 409, 425})
_THIS_ONE = frozenset({400, 413, 422})
"""The server refuses this text, such as one that is too long for its model."""


class HTTPScorer:
    """Rates completions by a reward model behind a server; a ``types.Scorer``.

    What becomes of failures:

    * No server when a run starts (``load``): an error after ``start_wait_s``.
    * Later, a server that is away or busy (no connection, a connection that breaks, status 429, 502, 503, 504) is asked
      again for ``max_wait_s``; then the run stops, and can be resumed.
    * A request that is not answered in time, or with another 5xx or something else than a score, is sent again up to
      ``max_retries`` times; a completion that the server refuses (400, 413, 422) is not. Then that completion is
      unscored, and the loss leaves it out.
    * After ``max_failures`` unscored completions in a row the run stops.

    No failure becomes a score. Waits grow exponentially with jitter. ``counts`` holds requests, retries, time-outs and
    unscored completions so far; each call that had any tells the log.

    Args:
        url: Such as ``http://localhost:8001``.
        model: The model's name on the server; empty takes the one it has.
        reads: What is sent of a reply: ``answer`` what follows ``</think>`` (helpfulness, in the paper), ``all`` the
            reasoning too (safety).
        api_key_env: Environment variable that holds the key; without it none is sent.
        concurrency: Requests under way at a time.
        timeout_s: Limit of one request.
        start_wait_s: How long to wait for a server that is just starting.
        max_wait_s: How long a server may be away later.
        max_retries: Further tries after other failures.
        max_failures: See above.

    Raises:
        InputError: If an argument cannot be right.
    """

    def __init__(
        self,
        url: str,
        model: str = "",
        reads: Reads = "answer",
        api_key_env: str = "R1LIT_SCORER_KEY",
        concurrency: int = 16,
        timeout_s: float = 120.0,
        start_wait_s: float = 30.0,
        max_wait_s: float = 900.0,
        max_retries: int = 3,
        max_failures: int = 16,
    ) -> None:
        parts = urlsplit(url)
        if "@" in parts.netloc or parts.query:  # not repeated: it may hold a password
            raise InputError("HTTPScorer: url holds a user name or a query; put the key into the environment instead")
        if parts.scheme not in ("http", "https") or not parts.netloc:
            raise InputError(f"HTTPScorer: url is {url!r}; give one like http://localhost:8001")
        if not re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]*", api_key_env):  # not repeated: it may be a key
            raise InputError("HTTPScorer: api_key_env is the name of an environment variable, not the key itself")
        if reads not in get_args(Reads):
            raise InputError(f"HTTPScorer: reads is {reads!r}; choose answer or all")
        if concurrency < 1 or max_failures < 1 or max_retries < 0:
            raise InputError("HTTPScorer: give at least 1 for concurrency and max_failures, and 0 for max_retries")
        if timeout_s <= 0 or start_wait_s < 0 or max_wait_s < 0:
            raise InputError("HTTPScorer: give seconds for timeout_s, start_wait_s and max_wait_s")
        self.url, self.model, self.reads, self.api_key_env = url.rstrip("/"), model, reads, api_key_env
        self.concurrency, self.timeout_s = concurrency, timeout_s
        self.start_wait_s, self.max_wait_s = start_wait_s, max_wait_s
        self.max_retries, self.max_failures = max_retries, max_failures
        self.counts: Counter[str] = Counter()
        self._loaded = False
        self._in_a_row = 0
        self._begin()

    def _begin(self) -> None:
        self._lock, self._closed = threading.Lock(), threading.Event()
        # A redirect would carry the key to whoever it leads to.
        self._opener = urllib.request.build_opener(NoRedirect)

    def __getstate__(self) -> dict[str, Any]:
        """Leaves locks behind."""
        return {k: v for k, v in self.__dict__.items() if k not in ("_lock", "_closed", "_opener")}

    def __setstate__(self, state: dict[str, Any]) -> None:
        """Takes the settings and counts up."""
        self.__dict__.update(state)
        self._begin()

    def load(self) -> None:
        """Asks the server what it serves, and waits ``start_wait_s`` for one that is just starting.

        Raises:
            InputError: If there is none, it refuses the key, or it does not have the model.
        """
        self._closed.clear()
        deadline = time.monotonic() + self.start_wait_s
        waits = Waits()
        while True:
            try:
                found = self._ask("v1/models")
                break
            except RequestFailure as failure:
                left = deadline - time.monotonic()
                if left <= 0 or not failure.unavailable:
                    hint = failure.hint or "start it, or check url"
                    raise InputError(f"HTTPScorer: {self.url}/v1/models: {failure}; {hint}") from None
                self._closed.wait(min(left, waits.next()))
        rows = found.get("data") if isinstance(found, dict) else None
        offered = [str(row.get("id")) for row in rows or [] if isinstance(row, dict)]
        if self.model not in offered and (self.model or len(offered) != 1):
            raise InputError(
                f"HTTPScorer: model is {self.model!r}, but {self.url} has {', '.join(offered) or 'none'}; name one"
            )
        self.model = self.model or offered[0]
        self._loaded = True

    def score(self, completions: Sequence[Completion]) -> list[float]:
        """One score for each completion.

        Raises:
            InputError: As ``load``, or if the model gives several scores.
            TrainingError: If one of them cannot be had; ``try_score`` goes on without it.
        """
        found = self.try_score(completions)
        for completion, score in zip(completions, found, strict=True):
            if not isinstance(score, float):
                prompt = completion.prompt.id
                raise TrainingError(f"{self.url}: no score for prompt {prompt!r}, sample {completion.sample}")
        return found  # type: ignore[return-value]

    def try_score(self, completions: Sequence[Completion]) -> list[Score]:
        """One score for each completion, ``UNSCORED`` where there was none to be had.

        Raises:
            InputError: As ``score``.
            TrainingError: If the server stays away, or fails on too many completions in a row.
        """
        if not self._loaded:
            self.load()
        self._closed.clear()
        before = Counter(self.counts)
        with ThreadPoolExecutor(min(self.concurrency, max(1, len(completions))), "r1lit-scorer") as pool:
            futures = [pool.submit(self._one, completion) for completion in completions]
            try:
                scores = [future.result() for future in futures]
            except BaseException:
                self._closed.set()  # the others must not go on waiting
                pool.shutdown(cancel_futures=True)
                raise
        new = {name: self.counts[name] - before[name] for name in ("retries", "timeouts", "unscored")}
        if told := ", ".join(f"{count} {name}" for name, count in new.items() if count):
            log.warning("%s: %s in %d completions", self.url, told, len(completions))
        return scores

    def close(self) -> None:
        """Ends all waiting; requests under way end by their time limit. ``score`` may follow."""
        self._closed.set()

    def _one(self, completion: Completion) -> Score:
        waits, retries, away_since = Waits(), 0, None
        body = self._body(completion)
        while True:
            try:
                score = self._parsed(self._ask("classify", body))
            except RequestFailure as failure:
                now = time.monotonic()
                if failure.is_final:
                    hint = f"; {failure.hint}" if failure.hint else ""
                    raise InputError(f"HTTPScorer: {self.url}/classify: {failure}{hint}") from None
                if failure.unavailable:
                    away_since = now if away_since is None else away_since
                    if now - away_since >= self.max_wait_s:
                        raise TrainingError(
                            f"reward model at {self.url}: {failure}, for {self.max_wait_s:g} s (max_wait_s); "
                            "start it again and resume the run"
                        ) from None
                elif retries == self.max_retries or failure.is_refusal:
                    return self._unscored(completion, failure)
                else:
                    away_since, retries = None, retries + 1
                self._count("retries")
                wait = waits.next()
                if away_since is not None:
                    wait = min(wait, away_since + self.max_wait_s - now)
                if self._closed.wait(max(0.0, wait)):
                    raise TrainingError(f"reward model at {self.url}: broken off while waiting for it") from None
            else:
                with self._lock:
                    self._in_a_row = 0
                return score

    def _unscored(self, completion: Completion, failure: RequestFailure) -> Score:
        self._count("unscored")
        where = f"prompt {completion.prompt.id!r}, sample {completion.sample}"
        with self._lock:
            self._in_a_row += 1
            if self._in_a_row >= self.max_failures:
                raise TrainingError(
                    f"reward model at {self.url}: {failure}; {self._in_a_row} completions in a row are unscored "
                    f"(max_failures), the last of them {where}"
                )
        log.warning("%s: %s; %s stays unscored", self.url, failure, where)
        return UNSCORED

    def _count(self, name: str) -> None:
        with self._lock:
            self.counts[name] += 1

    def _body(self, completion: Completion) -> dict[str, Any]:
        reply = summary(completion.text) if self.reads == "answer" else completion.text.strip()
        messages = [{"role": m.role, "content": m.content} for m in completion.prompt.messages]
        return {
            "model": self.model,
            "messages": [*messages, {"role": "assistant", "content": reply}],
            "use_activation": False,
        }

    def _ask(self, path: str, body: dict[str, Any] | None = None) -> object:
        self._count("requests")
        headers = {"Content-Type": "application/json"}
        key = os.environ.get(self.api_key_env)  # read when it is needed and kept nowhere
        if key:
            headers["Authorization"] = f"Bearer {key}"
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(f"{self.url}/{path}", data, headers)
        try:
            with self._opener.open(request, timeout=self.timeout_s) as response:
                text = response.read()
        except urllib.error.HTTPError as error:
            raise self._refusal(error, key) from None
        except TimeoutError:
            raise self._timeout() from None
        except (OSError, HTTPException) as error:
            reason = getattr(error, "reason", error)
            if isinstance(reason, TimeoutError):
                raise self._timeout() from None
            raise RequestFailure(
                one_line(f"no connection ({reason or type(error).__name__})", key), unavailable=True
            ) from None
        try:
            return json.loads(text)
        except ValueError:
            raise RequestFailure(one_line(f"not JSON: {text[:80]!r}", key)) from None

    def _timeout(self) -> RequestFailure:
        self._count("timeouts")
        return RequestFailure(f"no answer within {self.timeout_s:g} s (timeout_s)")

    def _refusal(self, error: urllib.error.HTTPError, key: str | None) -> RequestFailure:
        with error:
            try:
                said = error.read(2000).decode(errors="replace")
            except (OSError, HTTPException):
                said = ""
        text = one_line(f"status {error.code}: {said or error.reason}", key)
        if error.code in (401, 403):
            hint = f"check the key in {self.api_key_env}" if key else f"set {self.api_key_env}"
            return RequestFailure(text, is_final=True, hint=hint)
        if error.code in _THIS_ONE:
            return RequestFailure(text, is_refusal=True)
        passing = error.code >= 500 or error.code in _AWAY | _TRANSIENT
        hint = "" if passing else "check url and model; the server must offer /classify, as vLLM does"
        return RequestFailure(text, unavailable=error.code in _AWAY, is_final=not passing, hint=hint)

    def _parsed(self, answer: object) -> float:
        rows = answer.get("data") if isinstance(answer, dict) else None
        row = rows[0] if isinstance(rows, list) and len(rows) == 1 else None
        scores = row.get("probs") if isinstance(row, dict) else None
        if not isinstance(scores, list) or not all(isinstance(score, int | float) for score in scores) or not scores:
            raise RequestFailure(one_line(f"no score in {str(answer)[:80]!r}"))
        if len(scores) > 1:
            hint = "name a reward model with a single one"
            raise RequestFailure(f"{self.model!r} gives {len(scores)} scores", is_final=True, hint=hint)
        return float(scores[0])
