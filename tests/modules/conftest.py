"""A small random Llama with the tiny world's tokenizer, and a run around it."""

from functools import partial

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
from r1lit.tasks.tiny_world import TinyWorldPrompts
from r1lit.types import SamplingParams

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
        learning_rate=1e-2, trainer_arguments=None, **settings,
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
        data = PromptDataModule(TinyWorldPrompts(n=prompts), val, prompts_per_rollout=per_rollout)
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
