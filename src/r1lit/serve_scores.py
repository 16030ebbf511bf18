"""Serves a reward model: ``python -m r1lit.serve_scores MODEL_DIR --port 8001``, for ``HTTPScorer`` on other machines.

It speaks as much of vLLM's protocol as scoring needs, so that either can stand in for the other:

* ``POST /classify`` with ``{"messages": [...], "use_activation": false}``, the last message being the assistant's,
  gives ``{"data": [{"index": 0, "label": "LABEL_0", "probs": [score], "num_classes": 1}]}``; with ``use_activation``
  (the default) the score's sigmoid. The form with ``input``, a text that is already rendered, is not known here.
* ``GET /v1/models`` names the model, ``GET /health`` says that it is there.

What a model reads of a reply is up to the model: a client may send the reasoning along. Requests that come in while
others are being scored are scored together. There is no encryption: keep it within a network that you trust.
"""

import argparse
import contextlib
import json
import math
import os
import sys
import threading
from collections.abc import Callable, Sequence
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from r1lit.errors import InputError
from r1lit.types import Message

Pair = tuple[tuple[Message, ...], str]
ScorePairs = Callable[[Sequence[Pair]], list[float]]
MAX_BODY = 64 * 2**20
KEY_ENV = "R1LIT_SCORER_KEY"


class BadRequest(Exception):
    """What is wrong with a request, for its sender."""


class Batcher:
    """Scores what waits all at once, in the thread of one of those who wait.

    Args:
        score: Scores pairs of a prompt's messages and a reply.
    """

    def __init__(self, score: ScorePairs) -> None:
        self._score = score
        self._guard, self._turn = threading.Lock(), threading.Lock()
        self._waiting: list[_Entry] = []

    def __call__(self, pair: Pair) -> float:
        """The score of one pair; raises what scoring it raises."""
        entry = _Entry(pair)
        with self._guard:
            self._waiting.append(entry)
        with self._turn:
            if entry.score is None and entry.error is None:
                with self._guard:
                    batch, self._waiting = self._waiting, []
                self._run(batch)
        if entry.error is not None:
            raise entry.error
        assert entry.score is not None
        return entry.score

    def _run(self, batch: "list[_Entry]") -> None:
        try:
            for entry, score in zip(batch, self._score([entry.pair for entry in batch]), strict=True):
                entry.score = score
        except Exception as error:
            if len(batch) == 1:
                batch[0].error = error  # raised again by the thread that asked
                return
            for entry in batch:  # one must not spoil the others
                self._run([entry])


class _Entry:
    def __init__(self, pair: Pair) -> None:
        self.pair = pair
        self.score: float | None = None
        self.error: Exception | None = None


def read_request(body: bytes, model: str) -> tuple[Pair, bool]:
    """What a request asks for: messages and reply, and whether the score's sigmoid is wanted.

    Args:
        body: JSON.
        model: The one that is served.

    Raises:
        BadRequest: If it cannot be answered.
    """
    try:
        request = json.loads(body)
    except (ValueError, RecursionError) as error:
        raise BadRequest(f"not JSON: {error}") from error
    if not isinstance(request, dict) or not isinstance(turns := request.get("messages"), list):
        raise BadRequest("no messages; this server knows the form with messages only")
    if request.get("model") not in (None, "", model):
        raise BadRequest(f"there is no model {str(request['model'])[:80]!r} here, but {model!r}")
    messages = []
    for turn in turns:
        if not isinstance(turn, dict) or not all(isinstance(turn.get(key), str) for key in ("role", "content")):
            raise BadRequest("a message needs a role and a content, both texts")
        messages.append(Message(turn["role"], turn["content"]))
    if len(messages) < 2 or messages[-1].role != "assistant":
        raise BadRequest("the last message must be the assistant's reply, after a user's")
    return (tuple(messages[:-1]), messages[-1].content), request.get("use_activation") is not False


def serve(score: ScorePairs, name: str, host: str = "127.0.0.1", port: int = 8001) -> ThreadingHTTPServer:
    """A server that is bound to its port but does not run yet; ``serve_forever`` runs it.

    Args:
        score: Scores pairs of a prompt's messages and a reply.
        name: Of the model.
        host: Address to listen at.
        port: Port; 0 takes a free one.

    Raises:
        InputError: If the port cannot be had.
    """
    batcher = Batcher(score)

    class Handler(BaseHTTPRequestHandler):
        timeout = 600

        def do_GET(self) -> None:
            if not self._may_ask():
                return
            if self.path == "/health":
                self._answer(200, {})
            elif self.path == "/v1/models":
                self._answer(200, {"object": "list", "data": [{"id": name, "object": "model"}]})
            else:
                self._answer(404, _error(f"there is no {self.path[:80]}"))

        def do_POST(self) -> None:
            length = self.headers.get("Content-Length", "")
            if not length.isdigit() or int(length) > MAX_BODY:
                self.close_connection = True
                self._answer(413 if length.isdigit() else 411, _error(f"Content-Length is {length[:20]!r}"))
                return
            body = self.rfile.read(int(length))
            if not self._may_ask():
                return
            if self.path != "/classify":
                self._answer(404, _error(f"there is no {self.path[:80]}"))
                return
            try:
                pair, activate = read_request(body, name)
                score = batcher(pair)
            except BadRequest as error:
                self._answer(400, _error(str(error)))
            except Exception as error:  # told to who asked; the next request may fare better
                self._answer(500, _error(f"{type(error).__name__}: {error}"))
                self.log_error("%s: %s", type(error).__name__, error)
            else:
                shown = _sigmoid(score) if activate else score
                row = {"index": 0, "label": "LABEL_0", "probs": [shown], "num_classes": 1}
                self._answer(200, {"object": "list", "model": name, "data": [row]})

        def _may_ask(self) -> bool:
            key = os.environ.get(KEY_ENV)
            if not key or self.headers.get("Authorization") == f"Bearer {key}":
                return True
            self._answer(401, _error("wrong key"))
            return False

        def _answer(self, status: int, content: dict[str, Any]) -> None:
            # A score that is not finite is written as NaN: the client shall stop at it, not ask again.
            data = json.dumps(content).encode()
            try:
                self.send_response(status)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(data)))
                self.end_headers()
                self.wfile.write(data)
            except OSError:
                self.close_connection = True  # who asked has gone

        def log_request(self, code: int | str = "-", size: int | str = "-") -> None:
            """Says nothing of requests that went well."""

    class Server(ThreadingHTTPServer):
        daemon_threads = True
        request_queue_size = 256

    try:
        return Server((host, port), Handler)
    except (OSError, OverflowError) as error:
        raise InputError(f"{host}:{port}: {error}; choose another --port") from error


def _error(text: str) -> dict[str, Any]:
    return {"error": {"message": text}}


def _sigmoid(x: float) -> float:
    return 1.0 / (1.0 + math.exp(-x)) if x >= 0 else math.exp(x) / (1.0 + math.exp(x))


def main(arguments: Sequence[str] | None = None) -> int:
    """Reads the model and serves it until interrupted."""
    parser = argparse.ArgumentParser("python -m r1lit.serve_scores", description="Serves a reward model over HTTP.")
    parser.add_argument("path", help="directory or hub id of the reward model")
    parser.add_argument("--host", default="127.0.0.1", help="address to listen at [127.0.0.1: this machine only]")
    parser.add_argument("--port", type=int, default=8001, help="0 takes a free one [8001]")
    parser.add_argument("--name", default="reward-model", help="what clients call the model [reward-model]")
    parser.add_argument("--batch-tokens", type=int, default=16384, help="padded tokens in one forward [16384]")
    parser.add_argument("--device", default=None, help="where to score [a GPU if there is one]")
    options = parser.parse_args(arguments)
    from r1lit.policy.scorer import ModelScorer  # here: --help needs no torch

    try:
        scorer = ModelScorer(options.path, batch_tokens=options.batch_tokens, device=options.device)
        scorer.load()
        server = serve(scorer.score_texts, options.name, options.host, options.port)
    except InputError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    print(f"{options.name} at http://{options.host}:{server.server_address[1]}", flush=True)
    with server, contextlib.suppress(KeyboardInterrupt):
        server.serve_forever()
    return 0


if __name__ == "__main__":
    sys.exit(main())
