"""From prompts to scored completions with advantages, the same on every rank."""

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, Literal

import torch
import torch.distributed as dist

from r1lit.errors import InputError, TrainingError
from r1lit.functional.advantages import group_advantages, rloo_advantages
from r1lit.functional.shaping import overlong_penalty
from r1lit.rewards import Reward
from r1lit.rewards.streaming import Scoring
from r1lit.types import Completion, Prompt, RolloutEngine, SamplingParams, ScoredCompletion

AdvantageScale = Literal["group", "none", "batch", "rloo"]
MorePrompts = Callable[[int], list[Prompt]]
"""Gives further prompts at the attempt of the given number (from 0); none when the data are used up."""


@dataclass(frozen=True, slots=True)
class Experience:
    """Completions in order, prompt by prompt and sample by sample, with parallel scores and advantages."""

    completions: tuple[Completion, ...]
    rewards: dict[str, tuple[float | None, ...]]
    totals: tuple[float | None, ...]
    advantages: tuple[float, ...]
    tokens: int
    """Sampled in all, those of dropped groups included."""
    dropped_groups: int = 0
    """Groups without a signal that dynamic sampling replaced."""

    def summary(self) -> dict[str, float]:
        """What the completions are like, as metrics of the rollout."""
        count = len(self.completions)
        scored = [total for total in self.totals if total is not None]
        logprobs = [value for c in self.completions for value in c.logprobs]
        found = {
            "reward": sum(scored) / len(scored) if scored else float("nan"),
            "unscored": float(count - len(scored)),
            "dropped_groups": float(self.dropped_groups),
            "mean_length": sum(len(c.token_ids) for c in self.completions) / count,
            "truncated": sum(c.finish_reason == "length" for c in self.completions) / count,
            # Sampled from the policy itself, the mean of -log p is an unbiased estimate of its entropy.
            "entropy": -sum(logprobs) / max(1, len(logprobs)),
        }
        for name, column in self.rewards.items():
            values = [value for value in column if value is not None]
            if values:
                found[f"reward/{name}"] = sum(values) / len(values)
        return found


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


class Collector:
    """Generates, scores and compares, each rank its share of the prompts.

    Args:
        engine: Samples the completions.
        rewards: Score them.
        scale: How advantages are scaled: by the group's standard deviation (the paper), by none (Dr. GRPO), by the
            batch's, or against the mean of the others (RLOO).
        shuffled_rewards: The placebo: totals are dealt anew among the completions of the rollout.
        overlong_buffer: Tokens before the limit within which DAPO's soft penalty grows to -1; 0 has none.
        dynamic_sampling: Drop groups without a signal; None keeps all.
    """

    def __init__(
        self,
        engine: RolloutEngine,
        rewards: Sequence[Reward],
        scale: AdvantageScale = "group",
        shuffled_rewards: bool = False,
        overlong_buffer: int = 0,
        dynamic_sampling: DynamicSampling | None = None,
    ) -> None:
        names = [reward.name for reward in rewards]
        if dynamic_sampling and dynamic_sampling.reward not in names:
            raise InputError(
                f"dynamic_sampling.reward is {dynamic_sampling.reward!r}, which is none of the rewards: "
                + ", ".join(names)
            )
        self.engine, self.rewards, self.scale = engine, rewards, scale
        self.shuffled_rewards, self.overlong_buffer = shuffled_rewards, overlong_buffer
        self.dynamic_sampling = dynamic_sampling

    def collect(
        self,
        prompts: Sequence[Prompt],
        sampling: SamplingParams,
        step: int,
        more_prompts: MorePrompts | None = None,
        heard: Callable[[int, int, int], None] | None = None,
    ) -> Experience:
        """Makes the experience of one rollout.

        Args:
            prompts: Of this rollout, the same on every rank.
            sampling: With the rollout's counter.
            step: Policy updates so far, for rewards that start late.
            more_prompts: Where dynamic sampling finds replacements.
            heard: Told of completions done, completions in all, and tokens so far, on this rank.

        Raises:
            InputError: If a prompt or the sampling cannot be used.
            TrainingError: If a reward fails or the policy gives no distribution to sample from; on every rank, wherever
                it happened.
        """
        share = partial(self._share, sampling=sampling, step=step, heard=heard)
        sample = partial(self._sample, n=sampling.n, share=share)
        sampled = sample(prompts)
        tokens, dropped = _tokens(sampled), 0
        if self.dynamic_sampling and more_prompts:
            sampled, dropped, tokens = self._refill(sampled, len(prompts), sampling.n, more_prompts, sample)
        totals = self._totals(sampled, sampling)
        values = torch.tensor([float("nan") if t is None else t for t in totals], dtype=torch.float64)
        groups = torch.arange(len(totals)) // sampling.n
        if self.scale == "rloo":
            advantages = rloo_advantages(values, groups)
        else:
            advantages = group_advantages(values, groups, self.scale)
        return Experience(
            completions=tuple(s.completion for s in sampled),
            rewards={r.name: tuple(s.scores[r.name] for s in sampled) for r in self.rewards},
            totals=totals,
            advantages=tuple(advantages.tolist()),
            tokens=tokens,
            dropped_groups=dropped,
        )

    def _sample(self, prompts: Sequence[Prompt], n: int, share: "_Sample") -> list[ScoredCompletion]:
        """Lets each rank generate and score its share of the prompts and exchanges the results."""
        place = {prompt.id: index for index, prompt in enumerate(prompts)}
        if len(place) != len(prompts):
            raise InputError("a rollout has two prompts of one id; ids seed the sampling, so give each prompt its own")
        rank, ranks = (dist.get_rank(), dist.get_world_size()) if dist.is_initialized() else (0, 1)
        mine: list[ScoredCompletion] | InputError | TrainingError
        try:
            mine = share(prompts[rank::ranks])
        except (InputError, TrainingError) as error:
            if ranks == 1:
                raise
            mine = error  # the others wait for this rank's share: let them know
        shares: list[Any] = [mine]
        if ranks > 1:
            shares = [None] * ranks
            dist.all_gather_object(shares, mine)
        for found in shares:
            if isinstance(found, Exception):
                raise found
        merged: list[ScoredCompletion] = [s for found in shares for s in found]
        merged.sort(key=lambda s: (place[s.completion.prompt.id], s.completion.sample))
        if len(merged) != len(prompts) * n:
            raise TrainingError(f"the engine gave {len(merged)} completions for {len(prompts)} prompts x {n}")
        return merged

    def _share(
        self,
        prompts: Sequence[Prompt],
        sampling: SamplingParams,
        step: int,
        heard: Callable[[int, int, int], None] | None,
    ) -> list[ScoredCompletion]:
        """Generates completions and scores each while others are still under way."""
        done: list[Completion] = []
        tokens = 0
        alone = not dist.is_initialized() or dist.get_world_size() == 1
        with Scoring(self.rewards, step, sampling.n) as scoring:
            for completion in self.engine.generate(prompts, sampling):
                done.append(completion)
                tokens += len(completion.token_ids)
                scoring.add(completion)
                if alone:  # other ranks may have to decode in step with this one to the end
                    scoring.check()
                if heard:
                    heard(len(done), len(prompts) * sampling.n, tokens)
            scores = scoring.result()
        return [
            ScoredCompletion(c, {name: column[i] for name, column in scores.rewards.items()}, scores.totals[i])
            for i, c in enumerate(done)
        ]

    def _refill(
        self,
        sampled: list[ScoredCompletion],
        wanted: int,
        n: int,
        more_prompts: MorePrompts,
        sample: "_Sample",
    ) -> tuple[list[ScoredCompletion], int, int]:
        """Replaces groups without a signal. Returns what is kept, groups dropped, and tokens sampled in all."""
        assert self.dynamic_sampling is not None
        kept: list[ScoredCompletion] = []
        spare: list[ScoredCompletion] = []
        tokens = 0
        for attempt in range(self.dynamic_sampling.max_attempts + 1):
            tokens += _tokens(sampled)
            for start in range(0, len(sampled), n):
                group = sampled[start : start + n]
                (kept if _has_signal(group, self.dynamic_sampling.reward) else spare).extend(group)
            if len(kept) >= wanted * n or attempt == self.dynamic_sampling.max_attempts:
                break
            others = more_prompts(attempt)
            if not others:
                break
            sampled = sample(others)
        reused = max(0, wanted * n - len(kept))
        return kept[: wanted * n] + spare[:reused], (len(spare) - reused) // n, tokens

    def _totals(self, sampled: Sequence[ScoredCompletion], sampling: SamplingParams) -> tuple[float | None, ...]:
        totals = [s.total for s in sampled]
        if self.overlong_buffer:
            lengths = torch.tensor([len(s.completion.token_ids) for s in sampled])
            penalties = overlong_penalty(lengths, sampling.max_new_tokens, self.overlong_buffer).tolist()
            totals = [None if t is None else t + p for t, p in zip(totals, penalties, strict=True)]
        if self.shuffled_rewards:
            random.Random(f"r1lit/placebo/{sampling.seed}/{sampling.rollout}").shuffle(totals)
        return tuple(totals)


_Sample = Callable[[Sequence[Prompt]], list[ScoredCompletion]]
"""Samples and scores the group of each prompt."""


def _has_signal(group: Sequence[ScoredCompletion], reward: str) -> bool:
    """Whether completions of a group differ in correctness, or it is none of theirs to be correct."""
    marks = {s.scores[reward] for s in group} - {None}
    return len(marks) > 1 or (not marks and any(s.total is not None for s in group))


def _tokens(sampled: Sequence[ScoredCompletion]) -> int:
    return sum(len(s.completion.token_ids) for s in sampled)


def for_rollout(sampling: SamplingParams, seed: int, rollout: int) -> SamplingParams:
    """The sampling of one rollout: its counter and the run's seed fix the noise."""
    return replace(sampling, seed=seed, rollout=rollout)
