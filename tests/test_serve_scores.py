"""The server as a process of its own, with a real (random) reward model."""

import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from pathlib import Path

import pytest
import torch
from transformers import AutoTokenizer, LlamaConfig, LlamaForSequenceClassification

import r1lit
from r1lit.errors import InputError
from r1lit.policy.loading import resolve_source
from r1lit.policy.scorer import ModelScorer
from r1lit.rewards import HTTPScorer, RewardModelReward
from r1lit.serve_scores import BadRequest, Batcher, main, read_request, serve
from r1lit.types import Completion, Message, Prompt

SOURCE = str(Path(r1lit.__file__).parents[1])


@pytest.fixture(scope="module")
def model_dir(tmp_path_factory):
    folder = tmp_path_factory.mktemp("rm")
    tokenizer = AutoTokenizer.from_pretrained(resolve_source("package:r1lit/assets/tiny/base").location)
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=len(tokenizer), hidden_size=32, intermediate_size=48, num_hidden_layers=2, num_attention_heads=4,
        num_key_value_heads=2, max_position_embeddings=128, initializer_range=0.3, num_labels=1, bos_token_id=None,
        eos_token_id=tokenizer.eos_token_id, pad_token_id=tokenizer.pad_token_id,
    )  # fmt: skip
    LlamaForSequenceClassification(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return str(folder)


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


class Process:
    """``python -m r1lit.serve_scores``; ready when it says where it listens."""

    def __init__(self, model_dir, port):
        environment = os.environ | {"PYTHONPATH": SOURCE, "CUDA_VISIBLE_DEVICES": "", "OMP_NUM_THREADS": "1"}
        self.process = subprocess.Popen(
            [sys.executable, "-m", "r1lit.serve_scores", model_dir, "--port", str(port)],
            env=environment, stdout=subprocess.PIPE, text=True,
        )  # fmt: skip

    def wait(self):
        assert "reward-model at http://127.0.0.1" in self.process.stdout.readline()
        return self

    def kill(self):
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()
        self.process.stdout.close()


def completions():
    prompt = Prompt("p1", (Message("user", "What is 3 + 4?"),), kind="helpful")
    texts = ["7", "<think>3 + 4 = 7</think>7", "<think>3 + 4 = 7</think>The answer is 7.", "It is 12."]
    return [Completion(prompt, i, (), (), (), text, "stop") for i, text in enumerate(texts)]


@pytest.mark.slow
def test_scores_are_those_of_the_model_and_a_killed_server_is_waited_for(model_dir):
    expected = ModelScorer(model_dir, device="cpu").score(completions())
    assert expected[0] == pytest.approx(expected[1], abs=1e-5)  # the summary alone is read
    assert len({round(score, 3) for score in expected}) == 3
    port = free_port()
    server = Process(model_dir, port).wait()
    scorer = HTTPScorer(f"http://127.0.0.1:{port}", timeout_s=20)
    try:
        assert scorer.score(completions()) == pytest.approx(expected, abs=1e-5)
        server.kill()
        restarted = []
        timer = threading.Timer(0.5, lambda: restarted.append(Process(model_dir, port)))
        timer.start()
        assert scorer.try_score(completions()) == pytest.approx(expected, abs=1e-5)
        assert scorer.counts["retries"] > 0
        assert scorer.counts["unscored"] == 0
        timer.join()
        server = restarted[0]
        activated = RewardModelReward(scorer).score(completions())
        assert activated == pytest.approx(torch.sigmoid(torch.tensor(expected)).tolist(), abs=1e-5)
    finally:
        server.kill()
    dead = HTTPScorer(f"http://127.0.0.1:{port}", start_wait_s=0)
    with pytest.raises(InputError, match="no connection"):
        dead.load()


# In this process, over real HTTP


@pytest.fixture
def running():
    servers = []

    def start(score):
        servers.append(serve(score, "rm", port=0))
        threading.Thread(target=servers[-1].serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
        return f"http://127.0.0.1:{servers[-1].server_address[1]}"

    yield start
    for server in servers:
        server.shutdown()
        server.server_close()


def post(url, content, path="/classify"):
    data = content if isinstance(content, bytes) else json.dumps(content).encode()
    try:
        with urllib.request.urlopen(urllib.request.Request(url + path, data), timeout=10) as response:
            return response.status, json.loads(response.read())
    except urllib.error.HTTPError as error:
        with error:
            return error.code, json.loads(error.read())


CHAT = {"messages": [{"role": "user", "content": "q"}, {"role": "assistant", "content": "abc"}]}


def lengths(pairs):
    return [float(len(reply)) for _, reply in pairs]


def test_the_protocol(running):
    url = running(lengths)
    assert post(url, CHAT | {"use_activation": False})[1] == {
        "object": "list",
        "model": "rm",
        "data": [{"index": 0, "label": "LABEL_0", "probs": [3.0], "num_classes": 1}],
    }
    assert post(url, CHAT)[1]["data"][0]["probs"] == pytest.approx([0.9525741])
    with urllib.request.urlopen(f"{url}/v1/models", timeout=10) as response:
        assert json.loads(response.read())["data"][0]["id"] == "rm"
    with urllib.request.urlopen(f"{url}/health", timeout=10) as response:
        assert response.status == 200


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"{", "not JSON"),
        (b"[" * 100_000, "not JSON"),
        ({"input": "text"}, "no messages"),
        (CHAT | {"model": "other"}, "no model 'other'"),
        ({"messages": [{"role": "user"}]}, "role and a content"),
        ({"messages": CHAT["messages"][:1]}, "last message"),
        ({"messages": CHAT["messages"][1:]}, "last message"),
    ],
)
def test_bad_requests_are_told_what_is_wrong(running, content, said):
    status, answer = post(running(lengths), content)
    assert status == 400
    assert said in answer["error"]["message"]
    with pytest.raises(BadRequest, match=said):
        read_request(content if isinstance(content, bytes) else json.dumps(content).encode(), "rm")


def test_unknown_paths_and_a_model_that_fails(running):
    def fail(pairs):
        raise RuntimeError("out of memory")

    url = running(fail)
    assert post(url, CHAT, "/score")[0] == 404
    assert post(url, CHAT) == (500, {"error": {"message": "RuntimeError: out of memory"}})


def test_a_key_is_asked_for_where_one_is_set(running, monkeypatch):
    url = running(lengths)
    monkeypatch.setenv("R1LIT_SCORER_KEY", "s3cret")
    assert post(url, CHAT)[0] == 401
    assert HTTPScorer(url).score(completions()[:1]) == [1.0]


def test_what_waits_is_scored_together_and_one_does_not_spoil_the_others():
    sizes = []

    def score(pairs):
        sizes.append(len(pairs))
        time.sleep(0.05)
        if any(reply == "bad" for _, reply in pairs):
            raise ValueError("bad reply")
        return lengths(pairs)

    batcher, found = Batcher(score), {}

    def ask(reply):
        try:
            found[reply] = batcher(((), reply))
        except ValueError as error:
            found[reply] = str(error)

    threads = [threading.Thread(target=ask, args=(reply,)) for reply in ("a", "bb", "bad", "dddd", "eeeee")]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == {"a": 1.0, "bb": 2.0, "bad": "bad reply", "dddd": 4.0, "eeeee": 5.0}
    assert max(sizes) > 1


def test_a_model_that_cannot_be_read_is_one_line(tmp_path, capsys):
    assert main([str(tmp_path / "none")]) == 2
    message = capsys.readouterr().err
    assert message.startswith("error: ")
    assert message.count("\n") == 1


def test_a_port_in_use(running, model_dir, capsys):
    port = running(lengths).rpartition(":")[2]
    assert main([model_dir, "--port", port, "--device", "cpu"]) == 2
    assert "choose another --port" in capsys.readouterr().err
