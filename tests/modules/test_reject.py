"""Rejection sampling as a command: what is kept, after kills, on several processes."""

import json
import multiprocessing
import os
import socket
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pyarrow.parquet as pq
import pytest

import r1lit
from r1lit.cli import main
from r1lit.data.chatfile import read_chat_file
from r1lit.data.encoding import ChatEncoder
from r1lit.data.store import open_store
from r1lit.freshness import main as freshness
from r1lit.modules import RejectionModule
from r1lit.policy import Policy
from r1lit.rewards import FunctionReward
from r1lit.rollout import OpenAIEngine

TEMPLATE = "User: {question}\nAssistant:"
BASE = "package:r1lit/assets/tiny/base"
CONFIG = """
stage: {title: rejection sampling}
model:
  class_path: RejectionModule
  init_args:
    policy:
      class_path: Policy
      init_args: {init_from: BASE, template: "User: {question}\\nAssistant:"}
    rewards:
      - class_path: AccuracyReward
      - class_path: FormatReward
    sampling: {n: 4, max_new_tokens: 100}
    filters:
      - class_path: Finished
      - class_path: Correct
      - class_path: WellFormed
      - class_path: OneLanguage
      - class_path: ShortParagraphs
      - class_path: NoCode
      - class_path: NoRepetition
    keep_per_prompt: 1
    near_duplicates: {over: prompt}
    chunk_prompts: 8
data:
  class_path: PromptDataModule
  init_args:
    train: {class_path: TinyWorldPrompts, init_args: {n: 60}}
    prompts_per_rollout: 7
trainer: {accelerator: cpu, devices: 1}
"""
KILLER = '''
"""Starts the command line in a process that ends by SIGKILL after some writes to the journal."""

import os
import signal

from r1lit.cli import main
from r1lit.samples.journal import Journal


def broken_on_second_rank(completions):
    if os.environ["LOCAL_RANK"] == "1":
        raise KeyError("no such column")
    return [0.0] * len(completions)


def command(arguments, environment, log, writes, torn):
    with open(log, "w") as file:
        os.dup2(file.fileno(), 1)
        os.dup2(file.fileno(), 2)
    os.environ.update(environment)
    append, count = Journal.append, [0]

    def counted(journal, entries):
        if entries and count[0] == writes:
            if torn:
                with journal.own_file.open("ab") as file:
                    file.write(b'{"key": "tiny/3')
            os.kill(os.getpid(), signal.SIGKILL)
        count[0] += bool(entries)
        append(journal, entries)

    Journal.append = counted
    raise SystemExit(main(arguments))
'''


def contents(folder):
    """All that a run has made and that must not depend on how it went."""
    record = json.loads((folder / "stage.json").read_text())
    manifest = json.loads((folder / "data" / "manifest.json").read_text())
    rows = pq.read_table(folder / "samples.parquet").to_pylist()
    chats = list(read_chat_file(folder / "chats.parquet"))
    return {"data": record["data"], "manifest": manifest, "samples": rows, "chats": chats}


class Runs:
    def __init__(self, folder):
        self.folder = folder
        self.config = folder / "reject.yaml"
        self.config.write_text(CONFIG.replace("BASE", BASE))
        (folder / "r1lit_reject_parts.py").write_text(KILLER)
        self.context = multiprocessing.get_context("forkserver")
        self.context.set_forkserver_preload(["r1lit.cli"])

    def words(self, name, *more):
        return ["predict", "-c", str(self.config), "--stage.dir", str(self.folder / name), *more]

    def __call__(self, name, *more, writes=-1, torn=False, ranks=1):
        import r1lit_reject_parts

        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = str(free.getsockname()[1])
        shared = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port, "NODE_RANK": "0", "WORLD_SIZE": str(ranks)}
        processes = []
        for rank in range(ranks):
            environment = {} if ranks == 1 else shared | {"LOCAL_RANK": str(rank)}
            log = self.folder / f"{name}-{rank}.log"
            arguments = (self.words(name, *more), environment, log, writes, torn)
            processes.append(self.context.Process(target=r1lit_reject_parts.command, args=arguments))
            processes[-1].start()
        for rank, process in enumerate(processes):
            process.join(120)
            if process.is_alive():
                process.kill()
            print(f"{name}, rank {rank}: {process.exitcode}\n{(self.folder / f'{name}-{rank}.log').read_text()}")
        return self.folder / name, [process.exitcode for process in processes]


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    folder = tmp_path_factory.mktemp("reject")
    sys.path.insert(0, str(folder))
    yield Runs(folder)
    sys.path.remove(str(folder))
    sys.modules.pop("r1lit_reject_parts", None)


@pytest.fixture(scope="module")
def plain(runs):
    folder, codes = runs("plain")
    assert codes == [0]
    return folder


def test_counts_add_up(plain):
    data = contents(plain)["data"]
    rows = contents(plain)["samples"]
    assert (data["prompts"], data["sampled"], len(rows)) == (60, 240, 240)
    assert sum(data["filters"].values()) == 240
    found = Counter("kept" if row["dropped"] is None else row["dropped"] for row in rows)
    assert {name: count for name, count in data["filters"].items() if count} == dict(found)
    assert data["kept"] == found["kept"] == data["by_kind"]["reasoning/logic"]["kept"] > 5
    assert data["tokens_sampled"] == sum(row["tokens"] for row in rows)
    assert found["incorrect"] > 0
    assert found["mixed_language"] > 0


def test_what_is_kept_is_correct_and_stored(plain):
    rows = [row for row in contents(plain)["samples"] if row["dropped"] is None]
    assert all(row["reward/accuracy"] == 1 and row["reward/format"] == 1 for row in rows)
    assert max(Counter(row["prompt_id"] for row in rows).values()) == 1
    store = open_store(plain / "data", ChatEncoder.of(Policy(BASE, template=TEMPLATE)))
    assert len(store) == len(rows)
    tokenizer = Policy(BASE, template=TEMPLATE).tokenizer
    for place in (0, len(rows) - 1):
        text = tokenizer.decode(store[place].input_ids)
        assert text == f"User: {rows[place]['question']}\nAssistant:{rows[place]['text']}<|end|>"


def test_record(plain):
    record = json.loads((plain / "stage.json").read_text())
    assert record["outputs"] == ["data", "chats.parquet"]
    assert record["tokens_sampled"] == record["data"]["tokens_sampled"] > 0
    assert record["metrics"] == {}
    assert record["init_from"] == BASE
    assert record["wall_s"] > 0


def test_a_second_call_is_fresh_and_a_lost_store_costs_no_sampling(runs, plain, tmp_path):
    assert freshness(runs.words("plain")) == 0
    before = contents(plain)
    (plain / "data").rename(tmp_path / "gone")
    assert freshness(runs.words("plain")) == 1
    _, codes = runs("plain", writes=0)  # the first entry it wrote would kill it
    assert codes == [0]
    assert contents(plain) == before


@pytest.mark.parametrize(
    ("writes", "torn"),
    [
        (0, True),
        (3, True),
        pytest.param(1, False, marks=pytest.mark.slow),
        pytest.param(7, True, marks=pytest.mark.slow),
    ],
)
def test_killed_and_resumed_equals_uninterrupted(runs, plain, writes, torn):
    name = f"killed{writes}"
    folder, codes = runs(name, writes=writes, torn=torn)
    assert codes == [-9]
    assert not (folder / "stage.json").exists()
    sampled = (folder / "sampled" / "rank0.jsonl").read_bytes() if writes else b""
    folder, codes = runs(name)
    assert codes == [0]
    whole = (folder / "sampled" / "rank0.jsonl").read_bytes()
    keys = [json.loads(line)["key"] for line in whole.splitlines()]
    assert len(keys) == len(set(keys)) == 60  # nothing lost, nothing sampled twice
    assert whole.startswith(sampled[: sampled.rfind(b"\n") + 1])
    assert contents(folder) == contents(plain)
    assert (folder / "data" / "chunk-0-0.bin").read_bytes() == (plain / "data" / "chunk-0-0.bin").read_bytes()


@pytest.mark.distributed
def test_two_processes_make_what_one_makes(runs, plain):
    folder, codes = runs("two", "--trainer.devices", "2", "--trainer.strategy", "ddp", ranks=2)
    assert codes == [0, 0]
    counts = [len((folder / "sampled" / f"rank{rank}.jsonl").read_text().splitlines()) for rank in range(2)]
    assert sum(counts) == 60
    assert min(counts) > 20
    assert contents(folder) == contents(plain)


@pytest.mark.distributed
@pytest.mark.slow
def test_two_sharded_processes_killed_and_resumed_by_one(runs, plain):
    more = ("--trainer.devices", "2", "--trainer.strategy", "fsdp2")
    folder, codes = runs("sharded", *more, writes=2, ranks=2)
    assert codes == [-9, -9]
    folder, codes = runs("sharded", *more, ranks=2)
    assert codes == [0, 0]
    assert contents(folder) == contents(plain)


@pytest.mark.distributed
@pytest.mark.slow
def test_lightnings_own_launcher(runs, plain):
    words = runs.words("launched", "--trainer.devices", "2", "--trainer.strategy", "ddp")
    paths = os.pathsep.join([str(runs.folder), str(Path(r1lit.__file__).parents[1])])
    subprocess.run(
        [sys.executable, "-m", "r1lit.cli", *words],
        env=os.environ | {"PYTHONPATH": paths, "MASTER_ADDR": "127.0.0.1"},
        check=True,
        timeout=120,
    )
    assert contents(runs.folder / "launched") == contents(plain)


def test_data_that_changed_cannot_be_resumed(runs, plain, capsys):
    # The words are the same, so the stage's fingerprint is; what a file holds that they name may change.
    header = plain / "sampled" / "header.json"
    text = header.read_text()
    header.write_text(text.replace(json.loads(text)["prompts"], "0" * 64))
    try:
        assert main(runs.words("plain")) == 2
    finally:
        header.write_text(text)
    assert "the prompts changed since" in capsys.readouterr().err


def test_nothing_kept_is_an_error_that_says_why(runs, capsys):
    words = runs.words("none", "--data.train.n", "4", "--model.sampling.max_new_tokens", "2")
    assert main(words) == 1
    error = capsys.readouterr().err
    assert "no completion is kept" in error
    assert "truncated" in error


def test_settings_that_contradict_each_other():
    policy, teacher = Policy(BASE, template=TEMPLATE), OpenAIEngine("http://localhost:1/v1", "m")
    rewards = [FunctionReward(len, name="length")]
    with pytest.raises(r1lit.errors.InputError, match="either"):
        RejectionModule(rewards)
    with pytest.raises(r1lit.errors.InputError, match="either"):
        RejectionModule(rewards, policy=policy, teacher=teacher)
    with pytest.raises(r1lit.errors.InputError, match="rewards is empty"):
        RejectionModule([], policy=policy)
    with pytest.raises(r1lit.errors.InputError, match="chunk_prompts is 0"):
        RejectionModule(rewards, policy=policy, chunk_prompts=0)


def test_other_commands_are_refused(runs, capsys):
    assert main(["fit", *runs.words("fit")[1:]]) == 2
    assert "use `r1lit predict`" in capsys.readouterr().err
    assert not (runs.folder / "fit").exists()


@pytest.mark.distributed
@pytest.mark.slow
class OwnRejection(RejectionModule):
    """What a user derives."""


def test_a_users_subclass_works_from_the_command_line(runs):
    config = runs.folder / "own.yaml"
    config.write_text(runs.config.read_text().replace("class_path: RejectionModule", "class_path: OwnRejection"))
    words = runs.words("own", "--data.train.n", "6")
    words[words.index(str(runs.config))] = str(config)
    assert main(words) == 0
    assert (runs.folder / "own" / "chats.parquet").is_file()


def test_a_reward_that_fails_on_one_rank_stops_all(runs):
    reward = {"class_path": "FunctionReward", "init_args": {"function": "r1lit_reject_parts.broken_on_second_rank"}}
    more = ("--model.rewards", json.dumps([reward]), "--model.filters", "[]")
    _, codes = runs("broken", "--trainer.devices", "2", "--trainer.strategy", "ddp", *more, ranks=2)
    assert codes == [1, 1]
    for rank in range(2):
        log = (runs.folder / f"broken-{rank}.log").read_text()
        assert "raised KeyError: 'no such column'" in log
        assert "prompts are sampled and kept" not in log  # it was not the engine
