"""GRPO as a LightningModule: prompts -> rollout -> rewards -> advantages -> loss.

One Lightning batch is one rollout. A training step samples completions from the policy as it is now, so data are never
stale; scores them; compares each with its group; and takes one optimiser step for each minibatch (paper, 2.1: 8,192
outputs, 16 random minibatches, one inner epoch). A checkpoint lies between rollouts, so no buffer needs saving.

Departures from the paper, which does not state them: the ratio is per token; gradients are clipped by norm; groups of
equal rewards give no signal and are kept.
"""

import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import torch
from lightning.pytorch import Callback
from lightning.pytorch.cli import LRSchedulerCallable, OptimizerCallable
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
        evaluation: How completions are drawn in validation and test (temperature 0.6, top-p 0.95 in the paper).
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
        InputError: For a group of one, rewards that share a name, or minibatches that do not divide the rollout.
    """

    def __init__(
        self,
        policy: Policy,
        rewards: list[Reward],
        optimizer: OptimizerCallable,
        scheduler: LRSchedulerCallable | None = None,
        sampling: SamplingParams = SamplingParams(n=16),  # noqa: B008 - frozen
        evaluation: SamplingParams = SamplingParams(n=16, temperature=0.6, top_p=0.95),  # noqa: B008 - frozen
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
        self.sampling, self.evaluation = sampling, evaluation
        self.objective = objective
        self.max_rollouts = max_rollouts
        self.minibatch_count, self.inner_epochs = minibatches, inner_epochs
        self.micro_batch_tokens = micro_batch_tokens
        self.seed, self.placebo = seed, placebo
        self.engine = engine(policy)
        self.collector = Collector(
            self.engine, rewards, advantage_scale, placebo, overlong_buffer, dynamic_sampling
        )
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
        data = getattr(self.trainer, "datamodule", None)
        if isinstance(data, PromptDataModule):
            longest = max(self.sampling.max_new_tokens, self.evaluation.max_new_tokens)
            data.connect(self.policy.encode_prompt, self.policy.max_context - longest)
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
        for name, value in checkpoint["r1lit"].items():
            setattr(self, name, value)

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
        tokens = sum(len(c.token_ids) for c in experience.completions)
        self.tokens_sampled += tokens
        metrics = self._learn(experience)
        ended = time.perf_counter()
        metrics |= _summary(experience, self.sampling.max_new_tokens)
        metrics |= {
            "step": float(self.updates),
            "generate_s": generated - start,
            "train_s": ended - generated,
            "tokens_per_s": tokens / max(ended - start, 1e-9),
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
        return self.collector.collect(prompts, sampling, self.updates, more, heard)

    def _learn(self, experience: Experience) -> dict[str, float]:
        """Takes all updates on a rollout. Returns the means of their metrics."""
        lengths = [0 if self._left_out(experience, row) else len(c.token_ids)
                   for row, c in enumerate(experience.completions)]
        old = None
        if self.objective.old_logprobs == "recompute" and self.minibatch_count * self.inner_epochs > 1:
            old = self._old_logprobs(experience)
        sums: dict[str, float] = {}
        count = 0
        for epoch in range(self.inner_epochs):
            cut = random_minibatches(len(lengths), self.minibatch_count, self.seed, self.rollouts, epoch)
            for rows in cut:
                metrics = self._update(experience, rows, lengths, old, first=count == 0)
                count += 1
                for name, value in metrics.items():
                    sums[name] = sums.get(name, 0.0) + value
        return {name: value / count for name, value in sums.items()}

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
        temperature = self.sampling.temperature or 1.0
        return policy.token_logprobs(batch.input_ids, batch.attention_mask, batch.target_mask, temperature).logprobs

    def _update(
        self, experience: Experience, rows: list[int], lengths: list[int], old: dict[int, Tensor] | None, first: bool
    ) -> dict[str, float]:
        """One optimiser step on the completions of ``rows``."""
        optimizer: Any = self.optimizers()
        optimizer.zero_grad()
        normalizer = self.objective.normalizer([lengths[i] for i in rows], self.sampling.max_new_tokens)
        totals: dict[str, Tensor] = {}
        for part in self._parts(experience, rows):
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
            self.manual_backward(out.loss * self.trainer.world_size)
            for name, value in {"loss": out.loss.detach(), **out.metrics}.items():
                totals[name] = totals.get(name, torch.zeros((), device=self.device)) + value
            # How far the sampler's numerics are from the trainer's, where both describe the same weights.
            gap = ((logprobs.detach() - batch.logprobs) * mask).abs().sum() / max(1, sum(lengths[i] for i in rows))
            totals["logprob_gap"] = totals.get("logprob_gap", torch.zeros((), device=self.device)) + gap
        return self._step(optimizer, totals)

    def _step(self, optimizer: Any, totals: dict[str, Tensor]) -> dict[str, float]:
        metrics = self._reduced(totals)
        limit = float("inf") if self.gradient_clip_norm is None else self.gradient_clip_norm
        norm = torch.nn.utils.clip_grad_norm_(self.policy.parameters(), limit)
        metrics["grad_norm"] = float(norm.full_tensor() if isinstance(norm, DTensor) else norm)
        for name in ("loss", "grad_norm"):
            if metrics[name] != metrics[name] or abs(metrics[name]) == float("inf"):
                raise TrainingError(
                    f"{name} is {metrics[name]} at step {self.updates + 1} (rollout {self.rollouts}); the update was not "
                    "taken and the last checkpoint is good: lower the learning rate or the clip range and resume"
                )
        optimizer.step()
        scheduler: Any = self.lr_schedulers()
        if scheduler is not None:
            scheduler.step()
        self.updates += 1
        for callback in rollout_callbacks(self.trainer):
            callback.on_policy_update(self.trainer, self, self.updates)
        metrics["learning_rate"] = float(optimizer.param_groups[0]["lr"])
        metrics.pop("weight", None)
        return metrics

    def _reduced(self, totals: dict[str, Tensor]) -> dict[str, float]:
        """Sums over ranks: each has the part of its own rows."""
        if self.trainer.world_size == 1:
            return {name: float(value) for name, value in totals.items()}
        names = sorted(totals)
        stacked = torch.stack([totals[name].float() for name in names])
        torch.distributed.all_reduce(stacked)
        return dict(zip(names, stacked.tolist(), strict=True))


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
    for name, value in (
        ("minibatches", minibatches),
        ("inner_epochs", inner_epochs),
        ("micro_batch_tokens", micro_batch_tokens),
    ):
        if value < 1:
            raise InputError(f"model.{name} is {value}; give at least 1")


def _summary(experience: Experience, max_new_tokens: int) -> dict[str, float]:
    """What the completions of a rollout are like."""
    count = len(experience.completions)
    scored = [total for total in experience.totals if total is not None]
    logprobs = [value for c in experience.completions for value in c.logprobs]
    found = {
        "reward": sum(scored) / len(scored) if scored else float("nan"),
        "unscored": float(experience.unscored),
        "dropped_groups": float(experience.dropped_groups),
        "mean_length": sum(len(c.token_ids) for c in experience.completions) / count,
        "truncated": sum(c.finish_reason == "length" for c in experience.completions) / count,
        # Sampled from the policy itself, the mean of -log p is an unbiased estimate of its entropy.
        "entropy": -sum(logprobs) / max(1, len(logprobs)),
    }
    for name, column in experience.rewards.items():
        values = [value for value in column if value is not None]
        if values:
            found[f"reward/{name}"] = sum(values) / len(values)
    return found
