"""Evaluation (paper, section 3 and D.1): k samples a prompt at temperature 0.6 and top-p 0.95, judged and stored.

``r1lit test`` runs it, on any policy or server and any source of prompts. Samples go to a journal as they come, so that
a killed run loses none that its journal has, and at the end to ``samples.parquet``, from which ``r1lit rescore`` can
judge them anew without the model.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

from lightning.pytorch import Callback

from r1lit.distributed import raise_on_all_ranks
from r1lit.errors import InputError, TrainingError
from r1lit.functional.estimators import Interval
from r1lit.metrics.benchmark import BenchmarkMetrics, Groups, by_label, grade, judge_of
from r1lit.policy import Policy
from r1lit.rewards import Reward
from r1lit.rewards.base import check_names
from r1lit.rollout import NativeEngine
from r1lit.samples.table import FILE, SamplesFile, prompt_columns
from r1lit.training.collector import for_rollout
from r1lit.training.measuring import EVALUATION_ROLLOUT
from r1lit.training.resumable_sampling import ResumableSampler
from r1lit.training.sampling_module import SamplingModule
from r1lit.types import RolloutEngine, SamplingParams

SAMPLES = FILE
PAPER_SAMPLING = SamplingParams(n=16, temperature=0.6, top_p=0.95, max_new_tokens=32768)
"""The paper's (D.1); it takes 4 to 64 samples a prompt, by the size of the benchmark."""


class EvaluationModule(SamplingModule):
    """Samples and judges the prompts of ``data.val``; it trains nothing.

    Args:
        rewards: Judge the completions. The first tells correctness (1 or more is right) unless ``judge`` says
            otherwise; of others the mean is reported.
        policy: Samples the completions through ``engine``; None where ``server`` does.
        engine: Makes the rollout engine from the policy.
        server: An engine that needs no policy of ours, such as ``OpenAIEngine``.
        evaluation: How completions are drawn. Where ``max_new_tokens`` exceeds what the policy's context leaves after
            the longest prompt, it is lowered to that, and the run says so.
        judge: Name of the reward that tells correctness.
        pass_at: The k of pass@k; powers of two up to n if None.
        chunk_prompts: Prompts that one process samples at a time. It fixes what is sampled together, and with it the
            numerics, for any number of processes.
        resume: After an interruption, sample only prompts that are missing (``prompt``), so that nothing is sampled
            twice; or the whole of the interrupted chunk (``chunk``), so that also the numerics, which may depend on
            what is sampled together, are those of an uninterrupted run.
        seed: Of the sampling noise.

    Raises:
        InputError: If both or none of policy and server are given, or a setting is out of range.
    """

    other_key = "server"
    purpose = "an evaluation"

    subcommands = ("test",)

    def __init__(
        self,
        rewards: list[Reward],
        policy: Policy | None = None,
        engine: Callable[[Policy], RolloutEngine] = NativeEngine,
        server: RolloutEngine | None = None,
        evaluation: SamplingParams = PAPER_SAMPLING,
        judge: str | None = None,
        pass_at: list[int] | None = None,
        chunk_prompts: int = 16,
        resume: Literal["prompt", "chunk"] = "prompt",
        seed: int = 0,
    ) -> None:
        super().__init__(policy, engine, server)
        check_names(rewards)
        self.rewards, self.evaluation, self.seed = rewards, evaluation, seed
        self.judge = judge_of(rewards, judge)
        if pass_at is not None and (not pass_at or min(pass_at) < 1 or max(pass_at) > evaluation.n):
            raise InputError(f"model.pass_at is {pass_at}, but evaluation.n is {evaluation.n}; give k from 1 to n")
        names = [reward.name for reward in rewards]
        self.record = {"outputs": [SAMPLES]}
        self.benchmark = BenchmarkMetrics(names, self.judge, evaluation.n, pass_at)
        self.sampler = ResumableSampler(
            self, self.engine, rewards, chunk_prompts, by_prompt=resume == "prompt", judge=self.judge
        )

    def configure_callbacks(self) -> Sequence[Callback]:
        """The rewards: Lightning closes them."""
        return list(self.rewards)

    # Sampling

    def on_test_start(self) -> None:
        """Finds what was sampled before, and how long completions may be.

        Raises:
            InputError: If a prompt leaves no room for an answer, or the folder holds samples of other prompts.
        """
        super().on_test_start()
        data, batches = self.data, int(self.trainer.num_test_batches[0])
        prompts = data.val_prompts[: batches * data.val_batch_size]  # all, unless the Trainer limits the batches
        self.sampler.begin(prompts, for_rollout(self._limited(), self.seed, EVALUATION_ROLLOUT), prompts)
        if self.trainer.is_global_zero and (known := len(prompts) - self.sampler.left):
            print(f"{known} of {len(prompts)} prompts are sampled already; going on with the rest", flush=True)

    def _limited(self) -> SamplingParams:
        """The sampling, with no more tokens than the context has room for."""
        wanted = self.evaluation
        if self.policy is None:
            return wanted
        lengths = {prompt.id: len(self.policy.encode_prompt(prompt)) for prompt in self.data.val_prompts}
        longest = max(lengths, key=lambda name: lengths[name])
        context = self.policy.max_context
        room = context - lengths[longest]
        if room < 1:
            raise InputError(
                f"prompt {longest!r} has {lengths[longest]} tokens, but the model's context has {context}; remove it, "
                "or take a model with a longer context"
            )
        if room >= wanted.max_new_tokens:
            return wanted
        if self.trainer.is_global_zero:
            print(
                f"NOTICE: completions end after {room:,} tokens rather than {wanted.max_new_tokens:,}: the model's "
                f"context has {context:,}, and the longest prompt ({longest}) takes {lengths[longest]:,}",
                flush=True,
            )
        return replace(wanted, max_new_tokens=room)

    def test_step(self, prompts: list[Any], batch_idx: int) -> None:
        """Samples and judges prompts that the journal does not have; see ``ResumableSampler.feed``."""
        self.sampler.feed(prompts, is_last=batch_idx + 1 == self.trainer.num_test_batches[0])

    # Measuring

    def on_test_epoch_end(self) -> None:
        """Computes the figures on all ranks together, and writes ``samples.parquet`` on one."""
        self.trainer.strategy.barrier("sampled")
        self.sampler.finish()
        self.benchmark.update(self.groups(self.global_rank, self.trainer.world_size))
        self.test_results = self.benchmark.compute()
        error: InputError | TrainingError | None = None
        if self.trainer.is_global_zero:
            try:
                self.test_results |= self._write()
            except (InputError, TrainingError) as problem:
                error = problem
        raise_on_all_ranks(error)
        for name, interval in self.test_results.items():
            if "=" not in name:  # ranks must log the same names, and the first alone has those by label
                self.log(f"test/{name}", interval["value"], rank_zero_only=True)

    def groups(self, start: int = 0, step: int = 1) -> Groups:
        """The scored groups by the index of their prompt; see ``ResumableSampler.groups``."""
        indices = range(start, len(self.sampler.prompts), step)
        for index, (_, group) in zip(indices, self.sampler.groups(start, step), strict=True):
            yield index, group

    def _write(self) -> dict[str, Interval]:
        """Writes the samples and what the stage's record is to hold; returns pass@1 by label."""
        count = 0
        more = ("source", "messages", "meta", "seed", "correct")
        path = Path(self.trainer.default_root_dir) / SAMPLES
        with SamplesFile(path, [reward.name for reward in self.rewards], more) as file:
            for _, group in self.groups():
                for sample in group:
                    mark = grade(sample, self.judge)
                    correct = None if math.isnan(mark) else mark
                    file.add(sample, **prompt_columns(sample.completion.prompt), seed=self.seed, correct=correct)
                    self.tokens_sampled += sample.completion.tokens
                    count += 1
        prompts = len(self.sampler.prompts)
        self.record |= {
            "measured_on": f"{prompts:,} prompts x {self.evaluation.n} samples",
            "prompts": prompts,
            "samples": count,
            "judge": self.judge,
            "max_new_tokens": self.sampler.sampling.max_new_tokens,
            "wall_s": round(self.sampler.elapsed_s, 2),
        }
        return by_label(self.groups(), self.judge)
