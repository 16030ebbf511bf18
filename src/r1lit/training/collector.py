"""From prompts to scored completions with advantages, the same on every rank."""

import random
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Literal

import torch

from r1lit.distributed import gathered, rank_and_ranks
from r1lit.errors import InputError, TrainingError
from r1lit.functional.advantages import group_advantages, rloo_advantages
from r1lit.functional.shaping import overlong_penalty
from r1lit.rewards import UNSCORED, Reward
from r1lit.rewards.scoring import run_reward
from r1lit.rewards.streaming import Scoring
from r1lit.types import Completion, Prompt, Rollout, RolloutEngine, SamplingParams, ScoredCompletion

AdvantageScale = Literal["group", "none", "batch", "rloo"]
MorePrompts = Callable[[int], list[Prompt]]
"""Gives further prompts at the attempt of the given number (from 0); none when the data are used up."""


@dataclass(frozen=True)
class DynamicSampling:
    """DAPO's: groups whose completions are all right or all wrong are dropped and others sampled in their place.

    The paper has none. Groups are judged by correctness rather than by reward: filtering on a shaped reward keeps
    groups that differ in format alone. Groups that the reward does not apply to, such as those of a chat, are kept.
    """

    reward: str = "accuracy"
    """The reward that tells correctness."""
    max_attempts: int = 3
    """Refills at most; what is still missing then is filled with dropped groups."""

    def __post_init__(self) -> None:
        if self.max_attempts < 1:
            raise InputError(f"dynamic_sampling.max_attempts is {self.max_attempts}; give at least 1")


@dataclass(frozen=True)
class Advantages:
    """How completions of a group are compared; the defaults are the paper's."""

    scale: AdvantageScale = "group"
    """By the group's standard deviation (the paper), by none (Dr. GRPO), by the batch's, or against the mean of the
    others (``rloo``)."""
    overlong_buffer: int = 0
    """Tokens before the limit within which DAPO's soft penalty grows to -1; 0 has none."""
    dynamic_sampling: DynamicSampling | None = None
    """Replace groups without a signal; None keeps all."""


@dataclass(frozen=True, slots=True)
class RolloutRequest:
    """What a rollout is to be like."""

    sampling: SamplingParams
    """With the run's seed and the rollout's counter (``for_rollout``)."""
    step: int
    """Policy updates so far, for rewards that start late."""
    more_prompts: MorePrompts | None = None
    """Where dynamic sampling finds replacements."""
    on_progress: Callable[[int, int, int], None] | None = None
    """Called with completions done, completions in all, and tokens so far, on this rank."""


class RolloutCollector:
    """Samples and scores, each rank its share of the prompts, and compares within groups.

    Args:
        engine: Samples the completions.
        rewards: Score them.
        advantages: How completions are compared.
        shuffled_rewards: The placebo: totals are shuffled among the completions of the rollout.
        monitor_only: Whether the rewards only monitor, as in distillation: there may be none, and no total is made.
    """

    def __init__(
        self,
        engine: RolloutEngine,
        rewards: Sequence[Reward],
        advantages: Advantages = Advantages(),
        shuffled_rewards: bool = False,
        monitor_only: bool = False,
    ) -> None:
        names = [reward.name for reward in rewards]
        dynamic_sampling = advantages.dynamic_sampling
        if dynamic_sampling and dynamic_sampling.reward not in names:
            raise InputError(
                f"dynamic_sampling.reward is {dynamic_sampling.reward!r}, which is none of the rewards: "
                + ", ".join(names)
            )
        self.engine, self.rewards, self.advantages = engine, rewards, advantages
        self.shuffled_rewards, self.monitor_only = shuffled_rewards, monitor_only

    def collect(self, prompts: Sequence[Prompt], request: RolloutRequest) -> Rollout:
        """Samples and scores a group for each prompt; the rollout has no advantages yet.

        Args:
            prompts: Of this rollout, the same on every rank.
            request: The sampling, and what else it takes.

        Raises:
            InputError: If a prompt or the sampling cannot be used.
            TrainingError: If a reward fails or the policy gives no distribution to sample from; on every rank, wherever
                it happened.
        """
        sampled = self._sample(prompts, request)
        tokens, dropped = _tokens(sampled), 0
        if self.advantages.dynamic_sampling and request.more_prompts:
            sampled, dropped, tokens = self._refill(sampled, len(prompts), request)
        scored = tuple(self._with_final_totals(sampled, request.sampling))
        return Rollout(request.sampling.rollout, scored, (0.0,) * len(scored), tokens, dropped)

    def compare(self, rollout: Rollout, group_size: int) -> Rollout:
        """The rollout with advantages (paper eq. 3): each completion's total against those of its group."""
        totals = torch.tensor(
            [float("nan") if s.total is None else s.total for s in rollout.scored], dtype=torch.float64
        )
        groups = torch.arange(len(totals)) // group_size
        if self.advantages.scale == "rloo":
            advantages = rloo_advantages(totals, groups)
        else:
            advantages = group_advantages(totals, groups, self.advantages.scale)
        return replace(rollout, advantages=tuple(advantages.tolist()))

    def _sample(self, prompts: Sequence[Prompt], request: RolloutRequest) -> list[ScoredCompletion]:
        """Lets each rank sample and score its share of the prompts and exchanges the results."""
        order = {prompt.id: index for index, prompt in enumerate(prompts)}
        if len(order) != len(prompts):
            raise InputError("a rollout has two prompts of one id; ids seed the sampling, so give each prompt its own")
        rank, ranks = rank_and_ranks()
        mine: list[ScoredCompletion] | InputError | TrainingError
        try:
            mine = self._share(prompts[rank::ranks], request)
        except (InputError, TrainingError) as error:
            if ranks == 1:
                raise
            mine = error  # the others wait for this rank's share: let them know
        merged: list[ScoredCompletion] = []
        for found in gathered(mine):
            if isinstance(found, Exception):
                raise found
            merged += found
        merged.sort(key=lambda s: (order[s.completion.prompt.id], s.completion.sample))
        if len(merged) != len(prompts) * request.sampling.n:
            raise TrainingError(
                f"the engine gave {len(merged)} completions for {len(prompts)} prompts x {request.sampling.n}"
            )
        return merged

    def _share(self, prompts: Sequence[Prompt], request: RolloutRequest) -> list[ScoredCompletion]:
        """Samples completions and scores each while others are still being sampled."""
        done: list[Completion] = []
        tokens = 0
        alone = rank_and_ranks()[1] == 1
        rewards = () if self.monitor_only else self.rewards
        with Scoring(rewards, request.step, request.sampling.n) as scoring:
            for completion in self.engine.generate(prompts, request.sampling):
                done.append(completion)
                tokens += completion.tokens
                if rewards:
                    scoring.add(completion)
                if alone:  # other ranks may have to decode in step with this one to the end
                    scoring.check()
                if request.on_progress:
                    request.on_progress(len(done), len(prompts) * request.sampling.n, tokens)
            return scoring.result() if rewards else self._monitored(done, request.step)

    def _monitored(self, done: Sequence[Completion], step: int) -> list[ScoredCompletion]:
        """The completions with what the rewards say of them, and no totals."""
        columns: dict[str, dict[int, float | None]] = {}
        for reward in self.rewards:
            rows = [i for i, completion in enumerate(done) if reward.applies_to(completion.prompt, step)]
            scores = run_reward(reward, [done[i] for i in rows]) if rows else []
            columns[reward.name] = {i: None if s is UNSCORED else s for i, s in zip(rows, scores, strict=True)}
        return [
            ScoredCompletion(c, {name: found.get(i) for name, found in columns.items()}, None)
            for i, c in enumerate(done)
        ]

    def _refill(
        self, sampled: list[ScoredCompletion], wanted: int, request: RolloutRequest
    ) -> tuple[list[ScoredCompletion], int, int]:
        """Replaces groups without a signal. Returns what is kept, groups dropped, and tokens sampled in all."""
        settings, n = self.advantages.dynamic_sampling, request.sampling.n
        assert settings is not None
        assert request.more_prompts is not None
        kept: list[ScoredCompletion] = []
        spare: list[ScoredCompletion] = []
        tokens = 0
        for attempt in range(settings.max_attempts + 1):
            tokens += _tokens(sampled)
            for start in range(0, len(sampled), n):
                group = sampled[start : start + n]
                (kept if _has_signal(group, settings.reward) else spare).extend(group)
            if len(kept) >= wanted * n or attempt == settings.max_attempts:
                break
            others = request.more_prompts(attempt)
            if not others:
                break
            sampled = self._sample(others, request)
        reused = max(0, wanted * n - len(kept))
        return kept[: wanted * n] + spare[:reused], (len(spare) - reused) // n, tokens

    def _with_final_totals(
        self, sampled: Sequence[ScoredCompletion], sampling: SamplingParams
    ) -> Iterator[ScoredCompletion]:
        totals = [s.total for s in sampled]
        if self.advantages.overlong_buffer:
            lengths = torch.tensor([s.completion.tokens for s in sampled])
            penalties = overlong_penalty(lengths, sampling.max_new_tokens, self.advantages.overlong_buffer).tolist()
            totals = [None if t is None else t + p for t, p in zip(totals, penalties, strict=True)]
        if self.shuffled_rewards:
            random.Random(f"r1lit/placebo/{sampling.seed}/{sampling.rollout}").shuffle(totals)
        for scored, total in zip(sampled, totals, strict=True):
            yield replace(scored, total=total)


def describe(rollout: Rollout) -> dict[str, float]:
    """What a rollout's completions are like, as metrics."""
    count = len(rollout.scored)
    totals = [scored.total for scored in rollout.scored if scored.total is not None]
    logprobs = [value for completion in rollout.completions for value in completion.logprobs]
    found = {
        "reward": sum(totals) / len(totals) if totals else float("nan"),
        "unscored": float(count - len(totals)),
        "dropped_groups": float(rollout.dropped_groups),
        "mean_length": sum(completion.tokens for completion in rollout.completions) / count,
        "truncated": sum(completion.finish_reason == "length" for completion in rollout.completions) / count,
        # Sampled from the policy itself, the mean of -log p is an unbiased estimate of its entropy.
        "entropy": -sum(logprobs) / max(1, len(logprobs)),
    }
    for name in rollout.reward_names:
        values = [score for scored in rollout.scored if (score := scored.scores[name]) is not None]
        if values:
            found[f"reward/{name}"] = sum(values) / len(values)
    return found


def _has_signal(group: Sequence[ScoredCompletion], reward: str) -> bool:
    """Whether completions of a group differ in correctness, or correctness does not apply to them."""
    marks = {s.scores[reward] for s in group} - {None}
    return len(marks) > 1 or (not marks and any(s.total is not None for s in group))


def _tokens(sampled: Sequence[ScoredCompletion]) -> int:
    return sum(s.completion.tokens for s in sampled)


def for_rollout(sampling: SamplingParams, seed: int, rollout: int) -> SamplingParams:
    """The sampling of one rollout: its counter and the run's seed fix the noise."""
    return replace(sampling, seed=seed, rollout=rollout)
