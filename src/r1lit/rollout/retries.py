"""Servers that fail: what a failure means, and how long to go on asking."""

import random
import time
from dataclasses import dataclass, field
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any

from r1lit.errors import TrainingError

FIRST_WAIT_S = 0.5
LONGEST_WAIT_S = 30.0
_AWAY = frozenset({429, 502, 503, 504})
_TRANSIENT = frozenset({408, 409, 425})
_SHOWN = 200


class MalformedAnswer(Exception):
    """A server answered with something else than completions."""


@dataclass(frozen=True, slots=True)
class Failure:
    """Why a request failed."""

    text: str
    """In one line, without the key."""
    status: int | None = None
    unavailable: bool = False
    """The server is down or busy, rather than failing on this request."""
    is_final: bool = False
    """The same request will fail again."""
    retry_after_s: float | None = None


def failure_of(error: Exception, key: str | None) -> Failure:
    """Makes out what an error of the ``openai`` client, or a ``MalformedAnswer``, means.

    Args:
        error: The error.
        key: Blotted out of the text, as servers like to repeat it.
    """
    import openai

    if isinstance(error, openai.APIStatusError):
        status = int(error.status_code)
        kind = "asked to wait" if status == 429 else f"status {status}"
        passing = status >= 500 or status in _TRANSIENT or status == 429
        return Failure(
            _line(f"{kind}: {_message(error)}", key),
            status,
            unavailable=status in _AWAY,
            is_final=not passing,
            retry_after_s=_retry_after(error.response.headers),
        )
    if isinstance(error, openai.APITimeoutError):
        return Failure("no answer in time (timeout_s)")
    if isinstance(error, openai.APIConnectionError):
        return Failure(_line(f"no connection ({error.__cause__ or error})", key), unavailable=True)
    return Failure(_line(f"malformed answer: {error}", key))


@dataclass
class RetryPolicy:
    """How long one request is tried.

    Args:
        max_wait_s: How long a server may be away, from the first failure on.
        max_retries: Tries after failures of other kinds.
    """

    max_wait_s: float
    max_retries: int
    tries: int = 0
    retries: int = 0
    away_since: float | None = field(default=None)

    def next_wait(self, failure: Failure, text: str, done: int, total: int) -> float:
        """Seconds to wait before the next try.

        Raises:
            TrainingError: If patience is at an end; with ``text`` and how many completions are done.
        """
        progress = f"{done} of {total} completions were done"
        now = time.monotonic()
        left = float("inf")
        if failure.unavailable:
            self.away_since = now if self.away_since is None else self.away_since
            left = self.away_since + self.max_wait_s - now
            if left <= 0:
                raise TrainingError(f"{text}, for {self.max_wait_s:g} s (max_wait_s); {progress}")
        else:
            self.away_since = None
            self.retries += 1
            if self.retries > self.max_retries:
                raise TrainingError(f"{text}, {self.retries} times (max_retries); {progress}")
        wait = min(LONGEST_WAIT_S, FIRST_WAIT_S * 2**self.tries)
        self.tries += 1
        # Jitter: requests that failed together should not come back together.
        wait *= random.uniform(0.5, 1.0)
        return min(failure.retry_after_s if failure.retry_after_s is not None else wait, left)


def _retry_after(headers: Any) -> float | None:
    """The header's seconds, given as a number or a date; None where there is none or it cannot be read."""
    value = headers.get("retry-after")
    if value is None:
        return None
    try:
        return max(0.0, float(value))
    except ValueError:
        pass
    try:
        when = parsedate_to_datetime(value)
    except (TypeError, ValueError):
        return None
    return max(0.0, (when.replace(tzinfo=when.tzinfo or UTC) - datetime.now(UTC)).total_seconds())


def _message(error: Any) -> str:
    """What the server says, out of the ways in which servers put it."""
    body = error.body
    if isinstance(body, dict):
        inner = body.get("error", body)
        if isinstance(inner, dict):
            for name in ("message", "detail"):
                if inner.get(name):
                    return str(inner[name])
        return str(inner)
    return str(body or error.message)


def _line(text: str, key: str | None) -> str:
    line = " ".join(text.split())
    line = line.replace(key, "***") if key else line
    return line if len(line) <= _SHOWN else f"{line[:_SHOWN]}..."
