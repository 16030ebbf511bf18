"""The OpenAI engine: against a scripted server for what goes wrong, and against ``transformers serve``."""

import copy
import json
import logging
import os
import pickle
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.request
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

import r1lit
from r1lit.errors import InputError, TrainingError
from r1lit.rollout import OpenAIEngine
from r1lit.rollout import retries as patience
from r1lit.types import Message, Prompt, SamplingParams

openai = pytest.importorskip("openai", reason="needs the package openai (extra openai)")
KEY = "secret-key-123"


def prompts(count):
    return [Prompt(f"p{i}", (Message("user", f"question {i}"),)) for i in range(count)]


def choice(text="fine", reason="stop", **message):
    return {"index": 0, "finish_reason": reason, "message": {"role": "assistant", "content": text, **message}}


def answer(*choices, tokens=7):
    return {"choices": list(choices) or [choice()], "usage": {"completion_tokens": tokens}}


class Script(ThreadingHTTPServer):
    """A server whose answers a function makes: (request body, number of the request) -> (status, body, headers)."""

    daemon_threads = True

    def __init__(self, reply):
        super().__init__(("127.0.0.1", 0), Handler)
        self.reply, self.requests, self.headers, self.lock = reply, [], [], threading.Lock()
        self.under_way = self.most_under_way = 0
        threading.Thread(target=self.serve_forever, daemon=True).start()

    @property
    def url(self):
        return f"http://127.0.0.1:{self.server_port}/v1"


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_POST(self):
        server = self.server
        body = json.loads(self.rfile.read(int(self.headers["content-length"])))
        with server.lock:
            number = len(server.requests)
            server.requests.append((self.path, body))
            server.headers.append(dict(self.headers))
            server.under_way += 1
            server.most_under_way = max(server.most_under_way, server.under_way)
        status, reply, *headers = server.reply(body, number)
        with server.lock:
            server.under_way -= 1
        self._send(status, reply, headers[0] if headers else {})

    def do_GET(self):
        self._send(200, {"object": "list", "data": [{"id": "big", "object": "model"}, {"id": "small"}]}, {})

    def _send(self, status, reply, headers):
        data = reply.encode() if isinstance(reply, str) else json.dumps(reply).encode()
        self.send_response(status)
        for name, value in {"content-type": "application/json", **headers}.items():
            self.send_header(name, value)
        self.send_header("content-length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, *args):
        pass


@pytest.fixture
def script():
    servers = []

    def start(reply):
        servers.append(Script(reply))
        return servers[-1]

    yield start
    for server in servers:
        server.shutdown()
        server.server_close()


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    """Short waits, and no key from the machine's environment."""
    monkeypatch.setattr(patience, "FIRST_WAIT_S", 0.01)
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)


def run(server, count=1, sampling=None, **settings):
    engine = OpenAIEngine(server.url, **({"model": "big", "max_wait_s": 5.0} | settings))
    found = list(engine.generate(prompts(count), sampling or SamplingParams()))
    return sorted(found, key=lambda c: (int(c.prompt.id[1:]), c.sample))


# What is asked, and what comes back


def test_each_sample_is_a_request_with_its_own_seed(script):
    server = script(lambda body, number: (200, answer(choice(body["messages"][0]["content"]))))
    sampling = SamplingParams(n=3, temperature=0.7, top_p=0.9, top_k=5, max_new_tokens=11, stop=("###",), seed=4)
    found = run(server, 4, sampling, extra={"min_p": 0.1}, system="Be brief.")
    assert [(c.prompt.id, c.sample) for c in found] == [(f"p{i}", s) for i in range(4) for s in range(3)]
    assert {c.tokens for c in found} == {7}
    path, body = server.requests[0]
    assert path == "/v1/chat/completions"
    assert body["messages"][0] == {"role": "system", "content": "Be brief."}
    seeds = [body.pop("seed") for _, body in server.requests]
    assert len(set(seeds)) == 12
    assert all(0 <= seed < 2**31 for seed in seeds)
    del body["messages"]
    assert body == {
        "model": "big", "temperature": 0.7, "top_p": 0.9, "top_k": 5, "max_tokens": 11, "stop": ["###"], "min_p": 0.1,
    }  # fmt: skip
    again = script(lambda body, number: (200, answer()))
    run(again, 4, sampling)
    assert sorted(seeds) == sorted(body["seed"] for _, body in again.requests)


def test_several_samples_of_one_request(script):
    server = script(lambda body, n: (200, answer(*[choice(str(i)) for i in range(body.get("n", 1))], tokens=10)))
    found = run(server, 2, SamplingParams(n=5), samples_per_request=3)
    assert [(c.sample, c.text) for c in found[:5]] == [(0, "0"), (1, "1"), (2, "2"), (3, "0"), (4, "1")]
    assert sorted(body["n"] for _, body in server.requests) == [2, 2, 3, 3]
    assert [c.tokens for c in found[:5]] == [4, 3, 3, 5, 5]


@pytest.mark.parametrize(
    ("given", "text", "reasoning", "final"),
    [
        (choice("<think>a</think><answer>4</answer>"), "<think>a</think><answer>4</answer>", "a", "4"),
        (choice("\\boxed{4}", reasoning_content="a"), "<think>a</think>\\boxed{4}", "a", "4"),
        (choice("\\boxed{4}", reasoning="a"), "<think>a</think>\\boxed{4}", "a", "4"),
        (choice("", "length", reasoning_content="a"), "<think>a", "a", None),
        (choice(None, "length", reasoning_content="a"), "<think>a", "a", None),
        (choice("\\boxed{", "length", reasoning_content="a"), "<think>a</think>\\boxed{", "a", None),
        (choice("4", reasoning_content=None), "4", None, None),
        (choice(None), "", None, None),
    ],
)
def test_reasoning_is_put_between_think_tags(script, given, text, reasoning, final):
    (found,) = run(script(lambda body, number: (200, answer(given))))
    assert (found.text, found.reasoning, found.answer) == (text, reasoning, final)
    assert (found.token_ids, found.logprobs) == ((), ())


@pytest.mark.parametrize(
    ("given", "expected"),
    [("stop", "stop"), ("tool_calls", "stop"), ("length", "length"), ("content_filter", "length")],
)
def test_finish_reasons(script, given, expected):
    assert run(script(lambda body, number: (200, answer(choice(reason=given)))))[0].finish_reason == expected


def test_text_completions_with_a_template(script):
    text = {"text": "a</think><answer>4</answer>", "finish_reason": "stop", "logprobs": {"token_logprobs": [-1, -0.5]}}
    reply = {"choices": [text]}
    server = script(lambda body, number: (200, reply))
    (found,) = run(server, template="User: {question}\nAssistant:", prefill=" <think>", logprobs=True)
    path, body = server.requests[0]
    assert (path, body["prompt"]) == ("/v1/completions", "User: question 0\nAssistant: <think>")
    assert (found.text, found.reasoning, found.answer) == (" <think>a</think><answer>4</answer>", "a", "4")
    assert found.logprobs == (-1.0, -0.5)
    assert found.tokens == 2  # the server gave no usage


def test_log_probabilities_of_a_chat(script):
    logprobs = {"content": [{"token": "a", "logprob": -0.25}, {"token": "b", "logprob": -2}]}
    server = script(lambda body, number: (200, answer(choice() | {"logprobs": logprobs})))
    assert run(server, logprobs=True)[0].logprobs == (-0.25, -2.0)
    assert server.requests[0][1]["logprobs"] is True


def test_completions_come_as_they_finish_and_not_more_than_allowed_at_a_time(script):
    gate = threading.Event()

    def reply(body, number):
        if body["messages"][0]["content"] == "question 0":
            gate.wait(20)
        return 200, answer()

    server = script(reply)
    stream = OpenAIEngine(server.url, "big", concurrency=3).generate(prompts(8), SamplingParams())
    first = [next(stream).prompt.id for _ in range(7)]
    assert "p0" not in first
    gate.set()
    assert next(stream).prompt.id == "p0"
    assert next(stream, None) is None
    assert server.most_under_way <= 3


def test_leaving_early_ends_the_requests(script):
    server = script(lambda body, number: (time.sleep(0.05 if number < 2 else 20), (200, answer()))[1])
    stream = OpenAIEngine(server.url, "big", concurrency=2).generate(prompts(50), SamplingParams())
    next(stream)
    start = time.monotonic()
    stream.close()
    assert time.monotonic() - start < 5
    assert len(server.requests) < 10


def test_no_prompts_no_requests(script):
    server = script(lambda body, number: (200, answer()))
    assert run(server, 0) == []
    assert server.requests == []


# What goes wrong


@pytest.mark.parametrize("status", [408, 409, 429, 500, 502, 503, 529])
def test_passing_failures_are_tried_again(script, status):
    server = script(lambda body, number: (status, {"error": "busy"}) if number < 3 else (200, answer()))
    assert run(server)[0].text == "fine"
    assert len(server.requests) == 4


def test_retry_after_is_honoured(script):
    server = script(lambda body, n: (200, answer()) if n else (429, {"error": "slow down"}, {"retry-after": "1"}))
    start = time.monotonic()
    run(server)
    assert 0.95 < time.monotonic() - start < 4


MALFORMED = [
    "<html>hello</html>",
    "",
    "{",
    [],
    {},
    {"choices": []},
    {"choices": None},
    {"choices": [None]},
    {"choices": [{"finish_reason": "stop"}]},
    {"choices": [{"finish_reason": "stop", "message": "hi"}]},
    {"choices": [{"finish_reason": "stop", "message": {"content": 7}}]},
    {"choices": [{"finish_reason": "stop", "message": {"content": "x", "reasoning_content": ["y"]}}]},
    {"choices": [{"finish_reason": None, "message": {"content": "x"}}]},
    {"choices": [choice(), choice()]},
    {"error": {"message": "out of memory"}},
]


@pytest.mark.parametrize("reply", MALFORMED, ids=lambda reply: str(reply)[:40])
def test_malformed_answers_are_tried_again_and_then_named(script, reply):
    server = script(lambda body, number: (200, reply) if number < 2 else (200, answer()))
    assert run(server)[0].text == "fine"
    server = script(lambda body, number: (200, reply))
    with pytest.raises(TrainingError, match=rf"{server.url}.*malformed answer.*3 times.*0 of 1 completions") as caught:
        run(server, max_retries=2)
    assert "\n" not in str(caught.value)
    assert len(server.requests) == 3


def test_a_server_that_keeps_failing(script):
    server = script(lambda body, number: (500, {"detail": "boom"}) if "1" in str(body["messages"]) else (200, answer()))
    with pytest.raises(TrainingError, match=r"status 500: boom, 3 times \(max_retries\); 1 of 2"):
        run(server, 2, max_retries=2, concurrency=1)


def test_a_server_that_is_away_is_waited_for_and_then_given_up(script, caplog):
    server = script(lambda body, number: (200, answer()))
    server.shutdown()
    server.server_close()
    start = time.monotonic()
    with caplog.at_level(logging.WARNING), pytest.raises(TrainingError, match=r"no connection.*for 1 s.*0 of 6"):
        run(server, 6, max_wait_s=1.0)
    assert 0.9 < time.monotonic() - start < 10
    assert len([line for line in caplog.messages if "asking again for up to 1 s" in line]) == 1


def test_a_request_that_takes_too_long(script):
    server = script(lambda body, number: (time.sleep(0 if number else 3), (200, answer()))[1])
    assert run(server, timeout_s=0.3)[0].text == "fine"
    with pytest.raises(TrainingError, match="no answer in time"):
        run(script(lambda body, number: (time.sleep(3), (200, answer()))[1]), timeout_s=0.2, max_retries=1)


def test_a_key_comes_from_the_environment_and_goes_nowhere_else(script, monkeypatch, caplog):
    monkeypatch.setenv("TEACHER_KEY", KEY)
    server = script(lambda body, number: (200, answer()))
    engine = OpenAIEngine(server.url, "big", api_key_env="TEACHER_KEY")
    list(engine.generate(prompts(1), SamplingParams()))
    assert server.headers[0]["authorization"] == f"Bearer {KEY}"
    assert KEY.encode() not in pickle.dumps(engine)
    assert KEY not in repr(vars(copy.deepcopy(engine)))
    refusing = script(lambda body, number: (401, {"error": {"message": f"Incorrect API key provided: {KEY}."}}))
    with caplog.at_level(logging.DEBUG), pytest.raises(InputError) as caught:
        run(refusing, api_key_env="TEACHER_KEY")
    assert "check the key in TEACHER_KEY" in str(caught.value)
    assert refusing.url in str(caught.value)
    assert KEY not in str(caught.value)
    assert len(refusing.requests) == 1
    away = script(lambda body, number: (500, {"error": f"bad {KEY}"}))
    with caplog.at_level(logging.DEBUG), pytest.raises(TrainingError) as stopped:
        run(away, api_key_env="TEACHER_KEY", max_retries=0)
    assert KEY not in str(stopped.value)
    assert KEY not in caplog.text


@pytest.mark.parametrize(
    ("status", "said"),
    [
        (401, r"status 401: no; set OPENAI_API_KEY"),
        (403, r"set OPENAI_API_KEY"),
        (404, r"model is 'huge', the server has big, small"),
        (400, r"status 400: no \(model 'huge', prompt 'p0'\)"),
        (422, r"status 422"),
    ],
)
def test_refusals_stop_at_once(script, status, said):
    server = script(lambda body, number: (status, {"error": {"message": "no"}}))
    with pytest.raises(InputError, match=said) as caught:
        run(server, model="huge")
    assert server.url in str(caught.value)
    assert "\n" not in str(caught.value)
    assert len(server.requests) == 1


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"base_url": "localhost:8000"}, "base_url is 'localhost:8000'"),
        ({"base_url": f"http://me:{KEY}@host/v1"}, "user name"),
        ({"base_url": f"http://host/v1?key={KEY}"}, "query"),
        ({"api_key_env": f"sk-{KEY}"}, "not the key itself"),
        ({"model": ""}, "model is empty"),
        ({"concurrency": 0}, "concurrency is 0"),
        ({"timeout_s": 0}, "timeout_s is 0"),
        ({"samples_per_request": 0}, "samples_per_request is 0"),
        ({"template": "no field"}, "lacks"),
    ],
)
def test_bad_settings(settings, said):
    with pytest.raises(InputError, match=said) as caught:
        OpenAIEngine(**({"base_url": "http://host/v1", "model": "m"} | settings))
    assert KEY not in str(caught.value)


def test_works_where_an_event_loop_runs_already(script):
    import asyncio

    server = script(lambda body, number: (200, answer()))

    async def cell():
        return run(server, 3)

    assert len(asyncio.run(cell())) == 3


# The real thing


def needs_serving():
    from transformers.utils.import_utils import is_serve_available

    if not is_serve_available():
        pytest.skip("needs transformers[serving] (extra dev)")


class Served:
    """``transformers serve`` on the tiny base, which can be killed and started again."""

    def __init__(self, folder):
        self.model = folder / "teacher"
        shutil.copytree(Path(r1lit.__file__).parent / "assets" / "tiny" / "base", self.model)
        config = self.model / "generation_config.json"
        config.write_text(json.dumps(json.loads(config.read_text()) | {"do_sample": True}))
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        self.log = folder / "server.log"
        self.process = None

    @property
    def url(self):
        return f"http://127.0.0.1:{self.port}/v1"

    def start(self):
        command = Path(sys.executable).with_name("transformers")
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                [str(command), "serve", str(self.model), *("--host", "127.0.0.1", "--port", str(self.port))],
                stdout=log,
                stderr=log,
                env=os.environ | {"OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"},
                start_new_session=True,
            )  # fmt: skip
        return self

    def wait(self):
        for _ in range(600):
            try:
                urllib.request.urlopen(f"http://127.0.0.1:{self.port}/health", timeout=1)
                return self
            except OSError:
                assert self.process.poll() is None, self.log.read_text()[-2000:]
                time.sleep(0.2)
        raise AssertionError(self.log.read_text()[-2000:])

    def kill(self):
        if self.process is not None and self.process.poll() is None:
            os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait()


@pytest.fixture(scope="module")
def served(tmp_path_factory):
    needs_serving()
    server = Served(tmp_path_factory.mktemp("served"))
    server.start().wait()
    yield server
    server.kill()


PUZZLES = [Prompt(f"p{i}", (Message("user", f"Put + or - between 7 {i} 5 to make 4 ."),)) for i in range(1, 7)]


def test_a_real_server(served):
    engine = OpenAIEngine(served.url, str(served.model), concurrency=4)
    sampling = SamplingParams(n=3, max_new_tokens=60)
    found = list(engine.generate(PUZZLES, sampling))
    assert sorted((c.prompt.id, c.sample) for c in found) == [(p.id, s) for p in PUZZLES for s in range(3)]
    assert all(0 < c.tokens <= 60 for c in found)
    assert sum("<answer>" in c.text for c in found) > 3  # of 18; the server's noise has no seed, and half is cut off
    assert len({c.text for c in found}) > 6
    assert {c.finish_reason for c in found} <= {"stop", "length"}
    short = list(engine.generate(PUZZLES[:2], SamplingParams(max_new_tokens=3)))
    assert [(c.finish_reason, c.tokens) for c in short] == [("length", 3)] * 2


def test_a_real_server_completes_text(served):
    engine = OpenAIEngine(served.url, str(served.model), template="User: {question}\nAssistant:")
    (found,) = engine.generate(PUZZLES[:1], SamplingParams(max_new_tokens=60, temperature=0.0))
    assert found.text.startswith("<think>")
    assert 0 < found.tokens <= 60


def test_a_model_that_a_real_server_does_not_have(served):
    with pytest.raises(InputError, match=r"127\.0\.0\.1.*nonsense"):
        list(OpenAIEngine(served.url, "nonsense").generate(PUZZLES[:1], SamplingParams()))


def test_a_real_server_that_dies_and_comes_back(served, caplog):
    engine = OpenAIEngine(served.url, str(served.model), concurrency=2, max_wait_s=120)
    sampling = SamplingParams(n=4, max_new_tokens=60)
    found = []
    with caplog.at_level(logging.WARNING):
        for completion in engine.generate(PUZZLES, sampling):
            found.append(completion)
            if len(found) == 5:
                served.kill()
                threading.Timer(0.5, served.start).start()
    assert sorted((c.prompt.id, c.sample) for c in found) == [(p.id, s) for p in PUZZLES for s in range(4)]
    assert any("asking again" in line for line in caplog.messages)
    assert any("answers again" in line for line in caplog.messages)
    served.wait()


@pytest.mark.parametrize(
    ("text", "prefill", "wanted"),
    [
        ("a</think>4", "", "<think>a</think>4"),  # the server's chat template opened the tag
        ("4", "", "4"),
        ("a</think>4", "<think>\n", "<think>\na</think>4"),
        ("cut off \\boxed{3", "<think>\n", "<think>\ncut off \\boxed{3"),
        ("<think>\na</think>4", "<think>\n", "<think>\na</think>4"),
        ("\n<think>a</think>4", "", "\n<think>a</think>4"),
    ],
)
def test_a_tag_that_the_server_s_template_opened(script, text, prefill, wanted):
    (found,) = run(script(lambda body, number: (200, answer(choice(text)))), prefill=prefill)
    assert found.text == wanted
    assert found.reasoning == (
        None if text == "4" else found.text.partition("</think>")[0].partition("<think>")[2].strip()
    )
