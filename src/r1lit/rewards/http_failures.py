"""How requests to a server fail, and how long to wait before the next try."""

import random
import urllib.request
from typing import Any

FIRST_WAIT_S, LONGEST_WAIT_S = 0.25, 30.0
_SHOWN = 200


class RequestFailure(Exception):
    """Why a request failed, in one line without the key."""

    def __init__(
        self, text: str, unavailable: bool = False, is_final: bool = False, is_refusal: bool = False, hint: str = ""
    ) -> None:
        super().__init__(text)
        self.unavailable, self.is_final, self.is_refusal, self.hint = unavailable, is_final, is_refusal, hint


class Waits:
    """Growing waits, with jitter: requests that failed together should not come back together."""

    def __init__(self) -> None:
        self.tries = 0

    def next(self) -> float:
        """Seconds to wait before the next try."""
        wait: float = min(LONGEST_WAIT_S, FIRST_WAIT_S * 2**self.tries)
        self.tries += 1
        return wait * random.uniform(0.5, 1.0)


class NoRedirect(urllib.request.HTTPRedirectHandler):
    """Follows no redirect, which would carry the key to whoever it leads to."""

    def redirect_request(self, *arguments: Any, **options: Any) -> None:
        """Follows none: the answer is then an error with the redirect's status."""


def one_line(text: str, key: str | None = None) -> str:
    """A text for a message: without line breaks, not endless, and with ``key`` blotted out."""
    line = " ".join(text.split())
    line = line.replace(key, "***") if key else line
    return line if len(line) <= _SHOWN else f"{line[:_SHOWN]}..."
