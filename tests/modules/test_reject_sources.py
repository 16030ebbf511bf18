"""Rejection sampling from a teacher behind a server and from recorded samples; rewriting; other data."""

import json
import os
import re
import signal
import subprocess
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pyarrow.parquet as pq
import pytest

import r1lit
from r1lit.cli import main
from r1lit.data.chatfile import read_chat_file

pytest.importorskip("openai", reason="needs the package openai (extra openai)")
BASE = "package:r1lit/assets/tiny/base"
KEY = "secret-key-123"
CONFIG = """
model:
  class_path: RejectionModule
  init_args:
    teacher:
      class_path: r1lit.rollout.OpenAIEngine
      init_args: {base_url: URL, model: teacher, api_key_env: TEACHER_KEY, concurrency: 4, max_wait_s: 2.0}
    store_for:
      class_path: Policy
      init_args: {init_from: package:r1lit/assets/tiny/base, template: "User: {question}\\nAssistant:"}
    rewards:
      - class_path: AccuracyReward
      - class_path: FormatReward
    sampling: {n: 2, max_new_tokens: 100}
    keep_per_prompt: 1
data:
  class_path: PromptDataModule
  init_args:
    train: {class_path: TinyWorldPrompts, init_args: {n: 24}}
    prompts_per_rollout: 24
trainer: {accelerator: cpu, devices: 1}
"""


def solved(question):
    """A solution of a puzzle, as a teacher writes it."""
    *numbers, target = map(int, re.findall(r"\d+", question))
    zh = "填" in question
    for signs in range(2 ** (len(numbers) - 1)):
        text, total = str(numbers[0]), numbers[0]
        for place, number in enumerate(numbers[1:]):
            plus = signs >> place & 1
            text += f" {'+' if plus else '-'} {number}"
            total += number if plus else -number
        if total == target:
            opening, end = ("我来试", "对。") if zh else ("Let me try", "yes.")
            return f"<think> {opening} {text} = {total} {end}</think><answer> {text}</answer>"
    raise AssertionError(question)


class Teacher(ThreadingHTTPServer):
    """Solves every puzzle; rewrites what it is asked to rewrite; may fall silent after some answers."""

    daemon_threads = True

    def __init__(self):
        super().__init__(("127.0.0.1", 0), Handler)
        self.asked, self.silent_after, self.lock, self.keys = [], None, threading.Lock(), set()
        threading.Thread(target=self.serve_forever, daemon=True).start()

    @property
    def url(self):
        return f"http://127.0.0.1:{self.server_port}/v1"


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_POST(self):
        body = json.loads(self.rfile.read(int(self.headers["content-length"])))
        question = body["messages"][-1]["content"]
        with self.server.lock:
            silent = self.server.silent_after is not None and len(self.server.asked) >= self.server.silent_after
            if not silent:
                self.server.asked.append(question)
                self.server.keys.add(self.headers["authorization"])
        if silent:
            self._send(503, {"error": {"message": "going down"}})
            return
        if question.startswith("Below are"):
            broken = "1" in question.split("Final answer:")[1]
            text = "I would rather not." if broken else "<reasoning>Written anew.</reasoning><summary>Done.</summary>"
        else:
            text = solved(question)
        choice = {"index": 0, "finish_reason": "stop", "message": {"role": "assistant", "content": text}}
        self._send(200, {"choices": [choice], "usage": {"completion_tokens": 9}})

    def _send(self, status, body):
        data = json.dumps(body).encode()
        self.send_response(status)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, *args):
        pass


@pytest.fixture
def teacher(monkeypatch):
    monkeypatch.setenv("TEACHER_KEY", KEY)
    server = Teacher()
    yield server
    server.shutdown()
    server.server_close()


@pytest.fixture
def words(teacher, tmp_path):
    config = tmp_path / "reject.yaml"
    config.write_text(CONFIG.replace("URL", teacher.url))
    return lambda name, *more: ["predict", "-c", str(config), "--stage.dir", str(tmp_path / name), *more]


def record(folder):
    return json.loads((folder / "stage.json").read_text())["data"]


def test_a_teacher_and_its_key(teacher, words, tmp_path):
    assert main(words("plain")) == 0
    found = record(tmp_path / "plain")
    assert (found["sampled"], found["kept"], found["rows"]) == (48, 24, 24)
    assert found["filters"]["surplus"] == 24
    assert found["tokens_sampled"] == 48 * 9
    assert teacher.keys == {f"Bearer {KEY}"}
    files = [file for file in (tmp_path / "plain").rglob("*") if file.is_file()]
    assert len(files) > 6
    assert [file.name for file in files if KEY.encode() in file.read_bytes()] == []


def test_a_teacher_that_goes_away_costs_nothing(teacher, words, tmp_path, capsys):
    teacher.silent_after = 21
    assert main(words("away")) == 1
    error = capsys.readouterr().err
    assert re.search(
        r"503: going down, for 2 s \(max_wait_s\); 21 of 48 completions were done; \d+ of 24 prompts", error
    )
    sampled = {json.loads(line)["key"] for line in (tmp_path / "away" / "sampled" / "rank0.jsonl").open()}
    assert len(sampled) >= 9
    first, teacher.silent_after = teacher.asked[:], None
    teacher.asked.clear()
    assert main(words("away")) == 0
    assert len(teacher.asked) == 48 - 2 * len(sampled)
    done = {question for question in first if first.count(question) == 2}
    assert done.isdisjoint(teacher.asked)
    assert record(tmp_path / "away")["kept"] == 24


def test_killed_while_a_teacher_answers(teacher, words, tmp_path):
    environment = os.environ | {"PYTHONPATH": str(Path(r1lit.__file__).parents[1]), "OMP_NUM_THREADS": "1"}
    process = subprocess.Popen([sys.executable, "-m", "r1lit.cli", *words("killed")], env=environment)
    while len(teacher.asked) < 20:
        assert process.poll() is None
        time.sleep(0.001)
    process.send_signal(signal.SIGKILL)
    process.wait()
    time.sleep(0.2)
    journal = tmp_path / "killed" / "sampled" / "rank0.jsonl"
    sampled = [json.loads(line)["key"] for line in journal.read_bytes().splitlines(True) if line.endswith(b"\n")]
    teacher.asked.clear()
    assert main(words("killed")) == 0
    assert len(teacher.asked) == 48 - 2 * len(sampled)
    assert main(words("plain")) == 0
    for name in ("chats.parquet", "samples.parquet"):
        tables = [pq.read_table(tmp_path / folder / name) for folder in ("killed", "plain")]
        assert tables[0].equals(tables[1])


REWRITER = {
    "class_path": "TeacherRewriter",
    "init_args": {
        "engine": {
            "class_path": "r1lit.rollout.OpenAIEngine",
            "init_args": {"base_url": "URL", "model": "teacher", "max_wait_s": 1.0},
        },
        "layout": "<think>{reasoning}</think><answer>{answer}</answer>",
    },
}  # fmt: skip


def test_a_teacher_rewrites_what_is_kept_once(teacher, words, tmp_path, capsys):
    rewriter = json.dumps(REWRITER).replace("URL", teacher.url)
    more = ("--model.selection.rewriter", rewriter)
    teacher.silent_after = 48 + 10
    assert main(words("rewritten", *more)) == 1
    assert re.search(r"10 of 24 completions were done; 10 are rewritten and kept", capsys.readouterr().err)
    teacher.silent_after = None
    teacher.asked.clear()
    assert main(words("rewritten", *more)) == 0
    assert len(teacher.asked) == 24 - 10
    found = record(tmp_path / "rewritten")
    filters = found["filters"]
    assert sum(filters.values()) == 48
    # It writes English whatever it is told, and nothing at all where the answer has a 1.
    assert filters["rewritten:nothing"] + filters["rewritten:mixed_language"] == 24 - found["kept"]
    assert min(filters["rewritten:nothing"], filters["rewritten:mixed_language"], found["kept"]) > 0
    rows = list(read_chat_file(tmp_path / "rewritten" / "chats.parquet"))
    assert all(row.messages[-1].content.startswith("<think>Written anew.</think><answer>") for row in rows)
    assert len(rows) == found["kept"]


def test_rewriting_by_rules_and_other_data(words, tmp_path):
    mine = tmp_path / "mine.jsonl"
    mine.write_text('{"prompt": "What is up?", "completion": " The sky."}\n')
    general = [{"class_path": "TinyWorldChats", "init_args": {"n": 100}}]
    chats = [{"class_path": "FileChats", "init_args": {"source": {"path": str(mine)}, "name": "mine"}}]
    rewriter = {
        "class_path": "RuleRewriter",
        "init_args": {"layout": "<think> {reasoning}</think><answer> {answer}</answer>"},
    }
    selection = {"general": general, "chats": chats, "rewriter": rewriter, "reasoning_per_general": 3.0}
    assert main(words("mixed", "--model.selection", json.dumps(selection))) == 0
    found = record(tmp_path / "mixed")
    assert (found["kept"], found["general"]["rows"], found["chats"]["rows"], found["rows"]) == (24, 8, 1, 33)
    assert found["general"]["by_source"] == {"tiny world (general)": 8}
    manifest = json.loads((tmp_path / "mixed" / "data" / "manifest.json").read_text())
    assert manifest["sources"] == {"mine": 1, "tiny world (general)": 8, "tiny world (train)": 24}
    assert manifest["extra"]["general"]["wanted"] == 8


def test_decontamination_comes_before_sampling(teacher, words, tmp_path):
    against = {"class_path": "TinyWorldPrompts", "init_args": {"n": 6}}
    rules = json.dumps({"against": against, "boilerplate": 4})
    assert main(words("clean", "--model.decontamination", rules)) == 0
    found = record(tmp_path / "clean")
    assert found["contaminated"] >= 6
    assert len(teacher.asked) == found["sampled"] == 2 * (24 - found["contaminated"])


def test_recorded_samples(words, tmp_path):
    assert main(words("plain")) == 0
    replay = {
        "class_path": "r1lit.samples.replay.ReplayEngine",
        "init_args": {"samples": str(tmp_path / "plain" / "samples.parquet")},
    }
    assert main(words("again", "--model.teacher", json.dumps(replay), "--data.train.n", "30")) == 0
    found = record(tmp_path / "again")
    assert (found["prompts"], found["sampled"], found["kept"], found["tokens_sampled"]) == (30, 48, 24, 48 * 9)
