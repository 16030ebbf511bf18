"""A run on one's own model and data: its values, what fits them to model and machine, and how long it will take.

``configs/{zero,rl1,rl2,sft,distill,reject,rewards,eval}.yaml`` hold the values; this table says where each comes from.
Before the first rollout a run prints it, with what the user set, and an estimate of its time.
"""

import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

import torch
from jsonargparse import Namespace
from lightning.pytorch import Callback, LightningModule, Trainer
from rich.console import Console
from rich.table import Table

from r1lit.callbacks.progress import clock
from r1lit.configuration import class_name, get, read_configuration
from r1lit.data.chat import ChatDataModule
from r1lit.data.prompt_mix import PromptMix
from r1lit.data.prompts import PromptDataModule
from r1lit.freshness import shipped_configs
from r1lit.policy.loading import load_config, max_context, resolve_source
from r1lit.rollout.native import NativeEngine
from r1lit.tasks.table import TablePrompts
from r1lit.training.minibatches import MicroBatch
from r1lit.training.stage import StageModule
from r1lit.types import Completion

Origin = Literal["paper", "sized"]
PROMPT_ROOM = 2048
"""Tokens that completions leave to the prompt, a quarter of the context at most."""
_PROBE_TOKENS = 16
"""Tokens of each completion in the trial that the estimate of time rests on."""
_PROBE_LEARNED = 1024
"""Tokens that the trial learns from."""


@dataclass(frozen=True)
class Value:
    """A value of ``configs/NAME.yaml`` and where it comes from."""

    key: str
    """As a flag without its dashes."""
    value: Any
    origin: Origin
    why: str
    """The paper's section, or what it is sized by and what the paper has."""


_SAMPLING = (
    Value("model.sampling.n", 16, "paper", "2.1: outputs a question"),
    Value("model.sampling.temperature", 1.0, "paper", "2.1"),
    Value("model.sampling.max_new_tokens", 4096, "sized", "by the model's context; the paper has 32,768, later 65,536"),
)
_MEASURING = (
    Value("model.evaluation.n", 16, "paper", "V1, Fig. 2: samples a question"),
    Value("model.evaluation.temperature", 0.6, "paper", "D.1"),
    Value("model.evaluation.top_p", 0.95, "paper", "D.1"),
)
_ZERO = (
    Value("model.optimizer.lr", 3e-6, "paper", "2.1"),
    *_SAMPLING,
    Value("model.objective.beta", 0.001, "paper", "2.1: weight of the KL term"),
    Value("model.objective.clip_high", 0.2, "sized", "not stated for R1-Zero: GRPO's usual range"),
    Value("model.inner_epochs", 1, "paper", "2.1"),
    Value("reference_sync.every_n_steps", 400, "paper", "2.1: the reference policy is replaced"),
    Value(
        "data.prompts_per_rollout", 32, "sized", "one update of the paper's 32 questions; the paper samples 512 for 16"
    ),
    Value("model.minibatches", 1, "sized", "updates of a rollout; the paper has 16"),
    Value("model.max_rollouts", 500, "sized", "updates, here; the paper has 10,400"),
    Value("model.micro_batch_tokens", 16384, "sized", "by memory"),
    *_MEASURING,
)
_SFT = (
    Value("model.optimizer.lr", 5e-5, "paper", "B.4.2: peak rate"),
    Value("model.scheduler", "CosineToTenth", "paper", "B.4.2"),
    Value("data.batch_size", 128, "paper", "B.4.2"),
    Value("data.epochs", 2, "paper", "B.4.2: two to three"),
    Value("data.max_length", 32768, "paper", "B.4.2; no longer than the model's context"),
    Value("data.micro_batch_tokens", 16384, "sized", "by memory"),
    *_MEASURING,
)


def _with(values: Sequence[Value], *changes: Value, without: Sequence[str] = ()) -> tuple[Value, ...]:
    new = {change.key: change for change in changes}
    return tuple(new.get(value.key, value) for value in values if value.key not in without)


_RL1 = _with(_ZERO, Value("model.objective.clip_high", 10.0, "paper", "3.2.1"))
_GENERAL = Value(
    "data.train.parts.helpful.from_rollout",
    375,
    "sized",
    "the last quarter; in the paper the last 400 of 1,700 updates",
)
VALUES: Mapping[str, tuple[Value, ...]] = {
    "zero": _ZERO,
    "rl1": _RL1,
    "rl2": (*_with(_RL1, Value("model.sampling.temperature", 0.7, "paper", "3.2.2")), _GENERAL),
    "sft": _SFT,
    "distill": _with(
        _SFT,
        Value("model.optimizer.lr", 1e-4, "paper", "Table 6: of the 1.5B student"),
        Value("data.batch_size", 64, "paper", "B.4.3"),
    ),
    "reject": (
        Value("model.sampling.n", 16, "sized", "the paper says: several"),
        *_SAMPLING[1:],
        Value("model.keep_per_prompt", 4, "sized", "the paper's 600,000 traces are of fewer prompts"),
    ),
    "rewards": (
        Value("model.optimizer.lr", 6e-6, "paper", "3.1: peak rate"),
        Value("data.batch_size", 256, "paper", "3.1"),
        Value("data.epochs", 1, "paper", "3.1"),
        Value("data.max_length", 8192, "paper", "3.1"),
        Value("data.micro_batch_tokens", 16384, "sized", "by memory"),
    ),
    "eval": (
        *_MEASURING,
        Value("model.evaluation.max_new_tokens", 32768, "paper", "D.1; no longer than the model's context"),
    ),
}
"""By configuration."""


def values_table() -> str:
    """The values of all configurations as Markdown: those that differ by configuration as a table, the others below.

    ``python -m r1lit.own_run`` prints it; the README holds it.
    """
    lines = [f"| value | {' | '.join(VALUES)} |", f"|---{'|---' * len(VALUES)}|"]
    everywhere = []
    for key in dict.fromkeys(value.key for values in VALUES.values() for value in values):
        cells = [next((_cell(value) for value in values if value.key == key), "") for values in VALUES.values()]
        if len(set(cells) - {""}) == 1 and len(list(filter(None, cells))) > 1:
            everywhere.append(f"`{key}` {max(cells)}")
        else:
            lines.append(f"| `{key}` | {' | '.join(cells)} |")
    return "\n".join([*lines, "", f"The same wherever they apply: {', '.join(everywhere)}."])


def _cell(value: Value) -> str:
    shown = f"{value.value:g}" if isinstance(value.value, float) else str(value.value)
    return f"{shown} *{value.origin}*"


def fit(config: Namespace) -> list[str]:
    """Fits the values of a run to its model and machine; what the user asked for is kept wherever it is possible.

    Lengths are limited by the model's context; GPUs compute in bfloat16 beside float32 weights, several under FSDP2.

    Returns:
        What was changed, a line each.
    """
    notes = []
    args = config.model.init_args
    policy = args.get("policy")
    # An evaluation limits its own lengths.
    if policy is not None and str(config.model.class_path).rpartition(".")[2] != "EvaluationModule":
        context = policy.init_args.get("max_context") or max_context(
            load_config(resolve_source(policy.init_args.init_from))
        )
        room = context - min(PROMPT_ROOM, context // 4)
        for name in ("sampling", "evaluation"):
            if (settings := args.get(name)) is not None and settings.max_new_tokens > room:
                settings.max_new_tokens = room
                notes.append(f"model.{name}.max_new_tokens: {room}, as the model's context has {context:,} tokens")
    gpus = torch.cuda.device_count() if config.trainer.accelerator in ("auto", "gpu", "cuda") else 0
    if gpus and config.trainer.precision is None and args.get("optimizer") is not None:
        config.trainer.precision = "bf16-mixed"
        notes.append("trainer.precision: bf16-mixed, on a GPU")
    if gpus > 1 and config.trainer.devices in ("auto", -1) and config.trainer.strategy == "auto":
        config.trainer.strategy = "fsdp2"
        notes.append(f"trainer.strategy: fsdp2, on {gpus} GPUs")
    return notes


def rows(name: str, config: Mapping[str, Any]) -> Iterator[tuple[str, Any, str]]:
    """The values of a run, each with its origin.

    Args:
        name: Of the configuration.
        config: The whole configuration of the run, as plain values.
    """
    small = read_configuration([shipped_configs() / f"{name}.yaml"], "small")
    for value in VALUES[name]:
        now = _plain(get(config, *value.key.split(".")))
        if now == value.value:
            origin = f"{value.origin} ({value.why})"
        elif now == _plain(get(small, *value.key.split("."))):
            origin = f"small size ({value.origin}: {value.value})"
        else:
            origin = f"yours, or fitted ({value.origin}: {value.value})"
        yield value.key, now, origin


def _plain(value: Any) -> Any:
    """A value, or the name of its class."""
    return class_name(value) or value


class OwnRun(Callback):
    """Says what a run starts from, and how long it will take, before its first rollout.

    Args:
        name: Of the configuration it is based on.
        config: The whole configuration.
        notes: What was fitted to model and machine.
    """

    def __init__(self, name: str, config: Mapping[str, Any], notes: Sequence[str]) -> None:
        self.name, self.config, self.notes = name, config, notes

    @property
    def state_key(self) -> str:
        """One a run."""
        return "OwnRun"

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Prints the table and the estimate, unless the run is resumed."""
        module: Any = pl_module
        if module.batches_done:
            return
        self._print(trainer)
        data = getattr(trainer, "datamodule", None)
        if isinstance(pl_module, StageModule) and pl_module.samples and isinstance(data, PromptDataModule):
            line = estimate(trainer, pl_module, data)
            if trainer.is_global_zero:
                print(line, flush=True)

    def on_predict_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Prints the table."""
        self._print(trainer)

    def on_test_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Prints the table of an evaluation, which trains nothing."""
        if self.name == "eval":
            self._print(trainer)

    def _print(self, trainer: Trainer) -> None:
        if not trainer.is_global_zero:
            return
        table = Table(title=f"{self.name}: where the values come from", title_justify="left")
        for heading in ("setting", "value", "from"):
            table.add_column(heading)
        for key, value, origin in rows(self.name, self.config):
            table.add_row(key, str(value), origin)
        console = Console(width=None if sys.stdout.isatty() else 140)
        console.print(table)
        for note in (*self.notes, *_found(getattr(trainer, "datamodule", None))):
            console.print(note, highlight=False, soft_wrap=True)


def _found(data: Any) -> Iterator[str]:
    """What was found in one's own data, a line for each source."""
    prompts = data.prompts if isinstance(data, ChatDataModule) else data
    if isinstance(prompts, PromptDataModule):
        train = [part.source for part in prompts.train.parts.values()] if isinstance(prompts.train, PromptMix) else []
        for source in (prompts.train, *train, prompts.val):
            if isinstance(source, TablePrompts) and source.found:
                yield source.found


def estimate(trainer: Trainer, module: StageModule, data: PromptDataModule) -> str:
    """How long the run will take, in words, from a trial of some tokens; nothing of the run depends on it.

    The lengths of completions are not known before they are sampled, so there are two times: at the length of the
    trial's, as far as those ended, and at the limit.
    """
    prompts = data.prompts_for_rollout(0)
    sampling = module.sampling
    trial = replace(sampling, seed=module.seed, max_new_tokens=min(_PROBE_TOKENS, sampling.max_new_tokens))
    _ = list(module.engine.generate(prompts[:1], replace(trial, n=1)))  # the first forward reads the weights
    began = time.perf_counter()
    done = list(module.engine.generate(prompts, trial))
    sample_s = (time.perf_counter() - began) / max(c.tokens for c in done)  # for each position of all rows
    learn_s = _learning_s(trainer, module, done) if isinstance(module.engine, NativeEngine) else 0.0
    ended = sum(c.finish_reason != "length" for c in done) / len(done)
    short = sum(c.tokens for c in done) / len(done) if ended > 0.5 else sampling.max_new_tokens / 4
    times = []
    for length in (short, sampling.max_new_tokens):
        longest = min(sampling.max_new_tokens, 2 * length)
        times.append(sample_s * longest + learn_s * length * len(done))
    rollouts = module.max_rollouts
    share = f"{clock(times[0])} to {clock(times[1])} a rollout of {len(done)} completions"
    if rollouts is None:
        return f"estimated time: {share}"
    return (
        f"estimated time: {clock(rollouts * times[0])} to {clock(rollouts * times[1])} for {rollouts} rollouts, {share}"
    )


def _learning_s(trainer: Trainer, module: StageModule, done: Sequence[Completion]) -> float:
    """Seconds for each token that is learned from, of a forward and backward pass over a micro-batch of the trial."""
    some = done[: max(1, _PROBE_LEARNED // _PROBE_TOKENS)]
    for part in (some[:1], some):  # the first is a little slower, and is not counted
        batch = MicroBatch.of(part, module.policy.device)
        began = time.perf_counter()
        with trainer.precision_plugin.train_step_context():
            loss = module.measuring.policy.packed_logprobs(batch.packed, module.sampling.temperature).logprobs.sum()
        loss.backward()
        module.policy.zero_grad(set_to_none=True)
    return (time.perf_counter() - began) / max(1, sum(completion.tokens for completion in some))


if __name__ == "__main__":
    print(values_table())
