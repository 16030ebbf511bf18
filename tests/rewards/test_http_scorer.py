import json
import logging
import math
import pickle
import socket
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from r1lit.errors import InputError, TrainingError
from r1lit.rewards import UNSCORED, HTTPScorer, RewardModelReward, score_completions
from r1lit.types import Completion, Message, Prompt

MODELS = {"data": [{"id": "rm"}]}


class Server:
    """A real server whose answers a function makes: (status, content) of a path and a request, or None to hang up."""

    def __init__(self, respond, port=0):
        outer = self
        self.requests, self.headers, self.under_way, self.most = [], [], 0, 0
        lock = threading.Lock()

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self):
                self.reply(None)

            def do_POST(self):
                self.reply(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))

            def reply(self, body):
                with lock:
                    outer.requests.append((self.path, body))
                    outer.headers.append(dict(self.headers))
                    outer.under_way += 1
                    outer.most = max(outer.most, outer.under_way)
                found = (200, MODELS) if self.path == "/v1/models" else respond(body)
                with lock:
                    outer.under_way -= 1
                if found is None:
                    self.connection.shutdown(socket.SHUT_RDWR)
                    return
                status, content = found
                data = content if isinstance(content, bytes) else json.dumps(content).encode()
                self.send_response(status)
                self.send_header("Content-Length", str(len(data)))
                if status == 307:
                    self.send_header("Location", "http://localhost:9/classify")
                self.end_headers()
                self.wfile.write(data)

            def log_message(self, *_):
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", port), Handler)
        self.server.daemon_threads = True
        self.port = self.server.server_address[1]
        self.url = f"http://127.0.0.1:{self.port}"
        threading.Thread(target=self.server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()

    def stop(self):
        self.server.shutdown()
        self.server.server_close()


@pytest.fixture
def start():
    servers = []

    def make(respond, **options):
        servers.append(Server(respond, **options))
        return servers[-1]

    yield make
    for server in servers:
        server.stop()


@pytest.fixture(autouse=True)
def short_waits(monkeypatch):
    monkeypatch.setattr("r1lit.rewards.http_failures.FIRST_WAIT_S", 0.01)


def scored(value):
    return 200, {"data": [{"index": 0, "label": "LABEL_0", "probs": [value], "num_classes": 1}]}


def by_length(body):
    return scored(len(body["messages"][-1]["content"]))


def completion(text, sample=0):
    messages = (Message("system", "Be kind."), Message("user", "Hi"))
    return Completion(Prompt("p1", messages, kind="helpful"), sample, (), (), (), text, "stop")


def scorer(server, **options):
    return HTTPScorer(server if isinstance(server, str) else server.url, **{"timeout_s": 5.0} | options)


def test_scores_in_order_and_many_at_a_time(start):
    def slow(body):
        time.sleep(0.05)
        return by_length(body)

    server = start(slow)
    batch = [completion("x" * n, n) for n in range(1, 25)]
    assert scorer(server, concurrency=8).score(batch) == [float(n) for n in range(1, 25)]
    assert 4 <= server.most <= 8


def test_what_is_sent(start, monkeypatch):
    server = start(by_length)
    monkeypatch.setenv("R1LIT_SCORER_KEY", "secret-1")
    text = "<think>long reasoning</think>\n\nshort "
    assert scorer(server).score([completion(text)]) == [5.0]
    assert scorer(server, reads="all").score([completion(text)]) == [float(len(text.strip()))]
    path, body = server.requests[1]
    assert path == "/classify"
    assert body == {
        "model": "rm",
        "messages": [
            {"role": "system", "content": "Be kind."},
            {"role": "user", "content": "Hi"},
            {"role": "assistant", "content": "short"},
        ],
        "use_activation": False,
    }
    assert all(headers["Authorization"] == "Bearer secret-1" for headers in server.headers)


def test_no_server_at_the_start_is_an_input_error():
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    reward = RewardModelReward(HTTPScorer(f"http://127.0.0.1:{port}", start_wait_s=0.1))
    began = time.monotonic()
    with pytest.raises(InputError, match=rf"127.0.0.1:{port}/v1/models: no connection .*start it"):
        reward.setup(None, None, "fit")
    assert time.monotonic() - began < 5


def test_a_server_that_is_just_starting_is_waited_for(start):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    timer = threading.Timer(0.3, lambda: start(by_length, port=port))
    timer.start()
    assert HTTPScorer(f"http://127.0.0.1:{port}", start_wait_s=20).score([completion("abc")]) == [3.0]
    timer.join()


def test_the_model_must_be_there(start):
    server = start(by_length)
    with pytest.raises(InputError, match=r"model is 'other', but http.* has rm"):
        scorer(server, model="other").load()


@pytest.mark.parametrize("failure", [(503, {}), (429, {}), None])
def test_a_server_that_is_away_is_asked_again(start, failure, caplog):
    answers = iter([failure, failure, failure])
    server = start(lambda body: next(answers, by_length(body)))
    remote = scorer(server, max_retries=0)
    with caplog.at_level(logging.WARNING):
        assert remote.score([completion("abcd")]) == [4.0]
    assert remote.counts["retries"] == 3
    assert "3 retries in 1 completions" in caplog.text


def test_a_server_that_stays_away_stops_the_run(start):
    server = start(lambda body: (503, {"error": "loading"}))
    remote = scorer(server, max_wait_s=0.2)
    with pytest.raises(TrainingError, match=r"status 503.*for 0.2 s \(max_wait_s\).*resume"):
        remote.try_score([completion("a", n) for n in range(4)])


def test_a_server_that_dies_and_comes_back_is_waited_for(start):
    first = start(by_length)
    remote = scorer(first)
    assert remote.score([completion("ab")]) == [2.0]
    first.stop()
    threading.Timer(0.3, lambda: start(by_length, port=first.port)).start()
    assert remote.score([completion("abc", n) for n in range(3)]) == [3.0] * 3
    assert remote.counts["retries"] >= 3


def test_a_slow_answer_is_a_counted_time_out_and_never_a_zero(start, caplog):
    def slow(body):
        if body["messages"][-1]["content"] == "slow":
            time.sleep(1.0)
        return by_length(body)

    remote = scorer(start(slow), timeout_s=0.2, max_retries=1)
    reward = RewardModelReward(remote, scale="none")
    with caplog.at_level(logging.WARNING):
        scores = score_completions([reward], [completion("slow"), completion("quick")], 0)
    assert tuple(s.total for s in scores) == (None, 5.0)
    assert (remote.counts["timeouts"], remote.counts["retries"], remote.counts["unscored"]) == (2, 1, 1)
    assert "'p1', sample 0 stays unscored" in caplog.text
    with pytest.raises(TrainingError, match="no score for prompt 'p1'"):
        remote.score([completion("slow")])


@pytest.mark.parametrize(
    "answer",
    [(500, {}), (200, b"<html>"), (200, {}), (200, {"data": []}), (200, {"data": [{"probs": []}]}),
     (200, {"data": [{"probs": ["1"]}]}), (200, {"data": [{"probs": [1.0]}, {"probs": [1.0]}]})],
)  # fmt: skip
def test_what_is_no_score_is_asked_for_again_and_then_unscored(start, answer):
    server = start(lambda body: answer)
    remote = scorer(server, max_retries=2)
    assert remote.try_score([completion("a")]) == [UNSCORED]
    assert (remote.counts["retries"], remote.counts["unscored"]) == (2, 1)
    assert len(server.requests) == 1 + 3


def test_a_text_that_the_server_refuses_is_unscored_at_once(start):
    server = start(lambda body: (400, {"error": {"message": "too long"}}))
    assert scorer(server).try_score([completion("a")]) == [UNSCORED]
    assert len(server.requests) == 2


def test_many_failures_in_a_row_stop_the_run(start):
    remote = scorer(start(lambda body: (400, {"error": "too long"})), max_failures=3, concurrency=1)
    assert remote.try_score([completion("a", n) for n in range(2)]) == [UNSCORED, UNSCORED]
    with pytest.raises(TrainingError, match=r"too long.*3 completions in a row.*'p1', sample 7"):
        remote.try_score([completion("a", 7)])


def test_a_success_in_between_starts_the_count_anew(start):
    remote = scorer(
        start(lambda body: scored(1) if body["messages"][-1]["content"] == "good" else (400, {})),
        max_failures=2, concurrency=1,
    )  # fmt: skip
    found = remote.try_score([completion(text) for text in ("bad", "good", "bad", "good")])
    assert found == [UNSCORED, 1.0, UNSCORED, 1.0]


@pytest.mark.parametrize(
    ("answer", "match"),
    [
        ((401, {"said": "no access for secret-2"}), r"status 401.*check the key in R1LIT_SCORER_KEY"),
        ((404, {}), "check url and model"),
        ((307, {}), "status 307"),
        ((200, {"data": [{"probs": [0.2, 0.8]}]}), "gives 2 scores"),
    ],
)
def test_what_will_not_mend_is_an_input_error_without_the_key(start, monkeypatch, answer, match):
    monkeypatch.setenv("R1LIT_SCORER_KEY", "secret-2")
    with pytest.raises(InputError, match=match) as caught:
        scorer(start(lambda body: answer)).score([completion("a")])
    assert "secret-2" not in str(caught.value)


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_a_score_that_is_not_finite_names_the_completion(start, value):
    reward = RewardModelReward(scorer(start(lambda body: scored(value))))
    with pytest.raises(TrainingError, match=r"its scorer gave (nan|inf): prompt 'p1', sample 5"):
        score_completions([reward], [completion("a", 5)], 0)


def test_closing_breaks_waiting_off(start):
    remote = scorer(start(lambda body: (503, {})), max_wait_s=60)
    remote.load()
    threading.Timer(0.3, remote.close).start()
    began = time.monotonic()
    with pytest.raises(TrainingError, match="broken off"):
        remote.try_score([completion("a", n) for n in range(8)])
    assert time.monotonic() - began < 10


def test_pickling_leaves_no_key_behind(start, monkeypatch):
    monkeypatch.setenv("R1LIT_SCORER_KEY", "secret-3")
    remote = scorer(start(by_length))
    remote.load()
    data = pickle.dumps(remote)
    assert b"secret-3" not in data
    assert pickle.loads(data).score([completion("ab")]) == [2.0]


@pytest.mark.parametrize(
    ("arguments", "match"),
    [
        ({"url": "localhost:80"}, "url is 'localhost:80'"),
        ({"url": "http://me:pw@host"}, "user name"),
        ({"url": "http://h", "api_key_env": "sk-123"}, "not the key itself"),
        ({"url": "http://h", "reads": "some"}, "answer or all"),
        ({"url": "http://h", "concurrency": 0}, "at least 1"),
        ({"url": "http://h", "timeout_s": 0}, "seconds"),
    ],
)
def test_bad_arguments(arguments, match):
    with pytest.raises(InputError, match=match) as caught:
        HTTPScorer(**arguments)
    assert "pw" not in str(caught.value)
    assert "sk-123" not in str(caught.value)
