"""GRPO as a LightningModule: prompts -> rollout -> rewards -> advantages -> loss.

One Lightning batch is one rollout. A training step samples completions from the policy as it is now, so data are never
stale; scores them; compares each with its group; and takes one optimiser step for each minibatch (paper, 2.1: 8,192
outputs, 16 random minibatches, one inner epoch). A checkpoint lies between rollouts, so no buffer needs saving.

Departures from the paper, which does not state them: the ratio is per token; gradients are clipped by norm; groups of
equal rewards give no signal and are kept.
"""

import math
import time
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from dataclasses import replace
from typing import Any

import torch
from lightning.pytorch import Callback
from lightning.pytorch.cli import LRSchedulerCallable, OptimizerCallable
from lightning.pytorch.strategies import ParallelStrategy
from torch import Tensor
from torch.distributed.tensor import DTensor

from r1lit.callbacks.base import rollout_callbacks
from r1lit.callbacks.measures import Measures
from r1lit.data.prompts import PromptDataModule
from r1lit.errors import InputError, TrainingError
from r1lit.modules.experience import AdvantageScale, Collector, DynamicSampling, Experience, for_rollout
from r1lit.modules.minibatches import Batch, micro_batches, random_minibatches
from r1lit.modules.objective import Objective
from r1lit.modules.policy_module import PolicyModule
from r1lit.policy import Policy
from r1lit.policy.sharding import reshard
from r1lit.rewards import Reward
from r1lit.rewards.base import check_names
from r1lit.rollout import NativeEngine
from r1lit.types import Prompt, Rollout, RolloutEngine, SamplingParams

EVALUATION_ROLLOUT = 2**31 - 1
"""The rollout counter of evaluation: its noise is none of training's."""


class GRPOModule(PolicyModule):
    """Trains a policy by group-relative policy optimisation.

    Args:
        policy: The policy to train.
        rewards: Score the completions; callbacks with distinct names.
        optimizer: Makes the optimiser; the paper's learning rate is 3e-6.
        scheduler: Makes the schedule, stepped at each policy update; None keeps the rate.
        sampling: How completions are drawn in training; its ``n`` is the group size G (16 in the paper).
        evaluation: How completions are drawn in validation and test; None takes the paper's temperature 0.6 and top-p
            0.95, 16 samples and the length limit of training.
        objective: The surrogate and its settings.
        max_rollouts: Where training ends; None leaves it to the Trainer.
        minibatches: Policy updates of one pass over a rollout.
        inner_epochs: Passes over a rollout.
        micro_batch_tokens: Padded tokens in one forward and backward: the memory budget.
        advantage_scale: How advantages are scaled; see ``Collector``.
        overlong_buffer: Tokens of DAPO's soft penalty for long completions; 0 has none, as the paper.
        dynamic_sampling: Replace groups without a signal; off as in the paper.
        gradient_clip_norm: Largest norm of the gradient; None does not clip.
        engine: Makes the rollout engine from the policy.
        seed: Of sampling noise and minibatches.
        placebo: Shuffle the rewards within each rollout: a control experiment that must not learn.

    Raises:
        InputError: For a group of one, sampling without noise or with filters, rewards that share a name, minibatches
            that do not divide the rollout (told when the data are known), or precision ``16-mixed``.
    """

    def __init__(
        self,
        policy: Policy,
        rewards: list[Reward],
        optimizer: OptimizerCallable,
        scheduler: LRSchedulerCallable | None = None,
        sampling: SamplingParams = SamplingParams(n=16),  # noqa: B008 - frozen
        evaluation: SamplingParams | None = None,
        objective: Objective = Objective(),  # noqa: B008 - frozen
        max_rollouts: int | None = None,
        minibatches: int = 1,
        inner_epochs: int = 1,
        micro_batch_tokens: int = 16384,
        advantage_scale: AdvantageScale = "group",
        overlong_buffer: int = 0,
        dynamic_sampling: DynamicSampling | None = None,
        gradient_clip_norm: float | None = 1.0,
        engine: Callable[[Policy], RolloutEngine] = NativeEngine,
        seed: int = 0,
        placebo: bool = False,
    ) -> None:
        super().__init__(policy, optimizer, scheduler, gradient_clip_norm)
        self.automatic_optimization = False
        _check_settings(rewards, sampling, minibatches, inner_epochs, micro_batch_tokens)
        self.rewards = rewards
        self.sampling = sampling
        self.evaluation = evaluation or SamplingParams(
            n=16, temperature=0.6, top_p=0.95, max_new_tokens=sampling.max_new_tokens
        )
        self.objective = objective
        self.max_rollouts = max_rollouts
        self.minibatch_count, self.inner_epochs = minibatches, inner_epochs
        self.micro_batch_tokens = micro_batch_tokens
        self.seed, self.placebo = seed, placebo
        self.engine = engine(policy)
        self.collector = Collector(self.engine, rewards, advantage_scale, placebo, overlong_buffer, dynamic_sampling)
        self.reference = policy.twin() if objective.beta else None
        self.rollouts = 0
        self.updates = 0
        self.tokens_sampled = 0
        self.measures = Measures(rewards)

    # Lightning

    def policies(self) -> list[Policy]:
        """The policy, and the frozen reference policy where the KL term needs one."""
        return [self.policy] if self.reference is None else [self.policy, self.reference]

    def configure_model(self) -> None:
        """Builds the policies; the reference takes no gradient."""
        super().configure_model()
        if self.reference is not None:
            self.reference.requires_grad_(False)

    def configure_callbacks(self) -> Sequence[Callback]:
        """The rewards: Lightning saves their state and closes them."""
        return list(self.rewards)

    def setup(self, stage: str) -> None:
        """Tells the data what the policy can read."""
        if self.trainer.precision == "16-mixed":
            raise InputError("trainer.precision is 16-mixed, whose scaled gradients cannot be clipped; use bf16-mixed")
        context = self.policy.max_context
        for name, length in (
            ("sampling", self.sampling.max_new_tokens),
            ("evaluation", self.evaluation.max_new_tokens),
        ):
            if length >= context:
                raise InputError(f"{name}.max_new_tokens is {length}, but the model's context has {context}; lower it")
        data = getattr(self.trainer, "datamodule", None)
        if isinstance(data, PromptDataModule):
            longest = max(self.sampling.max_new_tokens, self.evaluation.max_new_tokens)
            data.connect(self.policy.encode_prompt, context - longest)
            if stage == "fit":
                rows = data.prompts_per_rollout * self.sampling.n
                random_minibatches(rows, self.minibatch_count, self.seed, 0, 0)

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Adds the counters."""
        checkpoint["r1lit"] = {
            "rollouts": self.rollouts,
            "updates": self.updates,
            "tokens_sampled": self.tokens_sampled,
        }

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Takes the counters up again."""
        counters: dict[str, int] = checkpoint["r1lit"]
        self.rollouts = counters["rollouts"]
        self.updates = counters["updates"]
        self.tokens_sampled = counters["tokens_sampled"]

    def on_train_start(self) -> None:
        """Stops at once where a resumed run had all its rollouts."""
        self._stop_when_done()

    def _stop_when_done(self) -> None:
        if self.max_rollouts is not None and self.rollouts >= self.max_rollouts:
            self.trainer.should_stop = True

    def training_step(self, prompts: list[Prompt], batch_idx: int) -> None:
        """One rollout: generate, score, compare, update."""
        start = time.perf_counter()
        experience = self._collect(prompts)
        generated = time.perf_counter()
        self.tokens_sampled += experience.tokens
        metrics = self._learn(experience)
        ended = time.perf_counter()
        metrics |= experience.summary()
        metrics |= {
            "step": float(self.updates),
            "generate_s": generated - start,
            "train_s": ended - generated,
            "tokens_per_s": experience.tokens / max(ended - start, 1e-9),
        }
        rollout = Rollout(
            index=self.rollouts,
            completions=experience.completions,
            rewards=experience.rewards,
            totals=experience.totals,
            advantages=experience.advantages,
            metrics=metrics,
        )
        for callback in rollout_callbacks(self.trainer):
            metrics |= callback.measure_rollout(rollout)
        rollout = replace(rollout, metrics=metrics)
        self.rollouts += 1
        self.log_dict(metrics, batch_size=len(prompts))
        for callback in rollout_callbacks(self.trainer):
            callback.on_rollout_end(self.trainer, self, rollout)
        self._stop_when_done()

    def transfer_batch_to_device(self, batch: Any, device: torch.device, dataloader_idx: int) -> Any:
        """Leaves prompts alone: they hold no tensors, and Lightning cannot walk through frozen dataclasses."""
        return batch

    def validation_step(self, prompts: list[Prompt], batch_idx: int) -> None:
        """Samples answers to held-out prompts."""
        self.measures.add("eval", self._evaluate(prompts, self.evaluation))

    def on_validation_epoch_end(self) -> None:
        """Logs pass@1, cons@k and the rest."""
        for name, interval in self.measures.compute().items():
            self.log(f"val/{name}", interval["value"], rank_zero_only=True)
        self.measures.reset()

    def test_step(self, prompts: list[Prompt], batch_idx: int) -> None:
        """Samples answers at the paper's temperature and at 1."""
        self.measures.add("eval", self._evaluate(prompts, self.evaluation))
        at_one = SamplingParams(n=self.evaluation.n, max_new_tokens=self.evaluation.max_new_tokens)
        self.measures.add("t1", self._evaluate(prompts, at_one))

    def on_test_epoch_end(self) -> None:
        """Computes the measures of a stage; ``StageRecord`` writes them down."""
        self.test_results = self.measures.compute()
        for name, interval in self.test_results.items():
            self.log(f"test/{name}", interval["value"], rank_zero_only=True)
        self.measures.reset()

    # The parts of a step

    def sync_reference(self) -> None:
        """Makes the reference policy a hard copy of the policy."""
        if self.reference is None:
            return
        # A forward without a backward leaves parameters gathered, and what is written to those is lost.
        reshard(self.reference)
        reshard(self.policy)
        with torch.no_grad():
            for target, source in zip(self.reference.parameters(), self.policy.parameters(), strict=True):
                target.copy_(source)

    def _evaluate(self, prompts: list[Prompt], sampling: SamplingParams) -> list[Any]:
        mine = prompts[self.global_rank :: self.trainer.world_size]
        return list(self.engine.generate(mine, for_rollout(sampling, self.seed, EVALUATION_ROLLOUT)))

    def _collect(self, prompts: list[Prompt]) -> Experience:
        data = getattr(self.trainer, "datamodule", None)
        index = self.rollouts

        def more(attempt: int) -> list[Prompt]:
            return data.more_prompts(index, attempt) if isinstance(data, PromptDataModule) else []

        def heard(done: int, total: int, tokens: int) -> None:
            for callback in rollout_callbacks(self.trainer):
                callback.on_completions(self.trainer, self, done, total, tokens)

        sampling = for_rollout(self.sampling, self.seed, index)
        try:
            return self.collector.collect(prompts, sampling, self.updates, more, heard)
        except TrainingError as error:
            raise TrainingError(f"step {self.updates + 1} (rollout {index}): {error}") from error

    def _learn(self, experience: Experience) -> dict[str, float]:
        """Takes all updates on a rollout. Returns the means of their metrics."""
        lengths = [
            0 if self._left_out(experience, row) else len(c.token_ids) for row, c in enumerate(experience.completions)
        ]
        old = None
        if self.objective.old_logprobs == "recompute" and self.minibatch_count * self.inner_epochs > 1:
            old = self._old_logprobs(experience)
        found: dict[str, list[float]] = {}
        for epoch in range(self.inner_epochs):
            cut = random_minibatches(len(lengths), self.minibatch_count, self.seed, self.rollouts, epoch)
            for rows in cut:
                for name, value in self._update(experience, rows, lengths, old, first=not found).items():
                    found.setdefault(name, []).append(value)
        return {name: sum(values) / len(values) for name, values in found.items()}

    def _left_out(self, experience: Experience, row: int) -> bool:
        truncated = experience.completions[row].finish_reason == "length"
        return experience.totals[row] is None or (truncated and self.objective.mask_truncated)

    def _parts(self, experience: Experience, rows: Sequence[int]) -> list[list[int]]:
        sizes = [len(c.prompt_ids) + len(c.token_ids) for c in experience.completions]
        return micro_batches(sizes, rows, self.global_rank, self.trainer.world_size, self.micro_batch_tokens)

    @torch.no_grad()
    def _old_logprobs(self, experience: Experience) -> dict[int, Tensor]:
        """Each row's log-probabilities before the first update, [T] by row."""
        found: dict[int, Tensor] = {}
        for epoch in range(self.inner_epochs):
            for rows in random_minibatches(
                len(experience.completions), self.minibatch_count, self.seed, self.rollouts, epoch
            ):
                for part in self._parts(experience, rows):
                    batch = Batch.of([experience.completions[i] for i in part], self.policy.pad_id, self.device)
                    logprobs = self._logprobs(self.policy, batch)
                    found |= {row: logprobs[place][batch.target_mask[place]] for place, row in enumerate(part)}
            if self.trainer.world_size == 1:
                break
        return found

    def _logprobs(self, policy: Policy, batch: Batch) -> Tensor:
        out = policy.token_logprobs(batch.input_ids, batch.attention_mask, batch.target_mask, self.sampling.temperature)
        return out.logprobs

    def _update(
        self, experience: Experience, rows: list[int], lengths: list[int], old: dict[int, Tensor] | None, first: bool
    ) -> dict[str, float]:
        """One optimiser step on the completions of ``rows``."""
        normalizer = self.objective.normalizer([lengths[i] for i in rows], self.sampling.max_new_tokens)
        totals: dict[str, Tensor] = {}
        parts = self._parts(experience, rows)
        for number, part in enumerate(parts, 1):
            batch = Batch.of([experience.completions[i] for i in part], self.policy.pad_id, self.device)
            counted = torch.tensor([lengths[i] > 0 for i in part] or [False], device=self.device)
            advantages = torch.tensor([experience.advantages[i] for i in part] or [0.0], device=self.device)
            logprobs = self._logprobs(self.policy, batch)
            before = logprobs.detach() if first else batch.logprobs
            if old is not None and not first and part:
                before = torch.zeros_like(logprobs)
                before[batch.target_mask] = torch.cat([old[i] for i in part])
            reference = None
            if self.reference is not None:
                with torch.no_grad():
                    reference = self._logprobs(self.reference, batch)
            mask = batch.target_mask & counted[:, None]
            out = self.objective(logprobs, before, advantages, mask, normalizer, reference)
            # Strategies average gradients over ranks, while the normalizer counts the whole minibatch.
            with self._gradients_kept_local(number < len(parts)):
                self.manual_backward(out.loss * self.trainer.world_size)
            found = {"loss": out.loss.detach(), **out.metrics}
            if first:  # how far the sampler's numerics are from the trainer's: here both describe the same weights
                gap = (logprobs.detach() - batch.logprobs).masked_fill(~mask, 0.0).abs().sum()
                found["logprob_gap"] = gap / max(1, sum(lengths[i] for i in rows))
            for name, value in found.items():
                totals[name] = totals.get(name, torch.zeros((), device=self.device)) + value
        return self._step(self._reduced(totals))

    def _gradients_kept_local(self, wanted: bool) -> Any:
        """Under DDP, ranks exchange gradients once for an update rather than for each micro-batch."""
        strategy = self.trainer.strategy
        return strategy.block_backward_sync() if wanted and isinstance(strategy, ParallelStrategy) else nullcontext()

    def _step(self, metrics: dict[str, float]) -> dict[str, float]:
        optimizer: Any = self.optimizers()
        limit = float("inf") if self.gradient_clip_norm is None else self.gradient_clip_norm
        norm = torch.nn.utils.clip_grad_norm_(self.policy.parameters(), limit)
        metrics["grad_norm"] = float(norm.full_tensor() if isinstance(norm, DTensor) else norm)
        for name in ("loss", "grad_norm"):
            if not math.isfinite(metrics[name]):
                raise TrainingError(
                    f"{name} is {metrics[name]} at step {self.updates + 1} (rollout {self.rollouts}); the update was "
                    "not taken and the last checkpoint is good: lower the learning rate or the clip range and resume"
                )
        metrics["learning_rate"] = float(optimizer.param_groups[0]["lr"])
        optimizer.step()
        optimizer.zero_grad()  # now, so that gradients take no memory while the next rollout is sampled
        scheduler: Any = self.lr_schedulers()
        if scheduler is not None:
            scheduler.step()
        self.updates += 1
        for callback in rollout_callbacks(self.trainer):
            callback.on_policy_update(self.trainer, self, self.updates)
        return metrics

    def _reduced(self, totals: dict[str, Tensor]) -> dict[str, float]:
        """Sums over ranks, each of which has the part of its own rows, and turns what the loss reports into means."""
        names = sorted(totals)
        stacked = torch.stack([totals[name].float() for name in names])
        if self.trainer.world_size > 1:
            torch.distributed.all_reduce(stacked)
        metrics = dict(zip(names, stacked.tolist(), strict=True))
        weight = metrics.pop("weight")
        means = metrics.keys() - {"loss", "logprob_gap"}
        return {name: value / weight if name in means and weight else value for name, value in metrics.items()}


def _check_settings(
    rewards: Sequence[Reward], sampling: SamplingParams, minibatches: int, inner_epochs: int, micro_batch_tokens: int
) -> None:
    if not rewards:
        raise InputError("model.rewards is empty; name at least one reward")
    check_names(rewards)
    if sampling.n < 2:
        raise InputError(f"sampling.n is {sampling.n}: a group of one has nothing to compare; give at least 2")
    if sampling.top_p < 1 or sampling.top_k:
        raise InputError(
            "sampling.top_p and top_k must stay off (1 and 0) in training: the loss knows the whole distribution only"
        )
    if not sampling.temperature > 0:
        raise InputError(f"sampling.temperature is {sampling.temperature}: equal samples teach nothing; give above 0")
    for name, value in (
        ("minibatches", minibatches),
        ("inner_epochs", inner_epochs),
        ("micro_batch_tokens", micro_batch_tokens),
    ):
        if value < 1:
            raise InputError(f"model.{name} is {value}; give at least 1")
