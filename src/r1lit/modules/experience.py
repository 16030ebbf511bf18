"""From prompts to scored completions with advantages, the same on every rank."""

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Literal

import torch
import torch.distributed as dist

from r1lit.errors import InputError, TrainingError
from r1lit.functional.advantages import group_advantages, rloo_advantages
from r1lit.functional.shaping import overlong_penalty
from r1lit.rewards import Reward
from r1lit.rewards.scoring import score_completions
from r1lit.types import Completion, Prompt, RolloutEngine, SamplingParams

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
    unscored: int
    dropped_groups: int = 0
    """Groups without a signal that dynamic sampling replaced."""


@dataclass(frozen=True)
class DynamicSampling:
    """DAPO's: groups whose completions are all right or all wrong are dropped and others sampled in their place.

    The paper has none. Groups are judged by correctness rather than by reward: filtering on a shaped reward keeps groups
    that differ in format alone.
    """

    reward: str = "accuracy"
    """The reward that tells correctness."""
    max_attempts: int = 3
    """Refills at most; what is still missing then is filled with dropped groups."""


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
                f"dynamic_sampling.reward is {dynamic_sampling.reward!r}, which is none of the rewards: {', '.join(names)}"
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
        """
        sampled = self._sample(prompts, sampling, step, heard)
        dropped = 0
        if self.dynamic_sampling and more_prompts:
            sampled, dropped = self._refill(sampled, len(prompts), sampling, step, more_prompts, heard)
        totals = self._totals(sampled, sampling)
        values = torch.tensor([float("nan") if t is None else t for t in totals], dtype=torch.float64)
        groups = torch.arange(len(totals)) // sampling.n
        scaled = rloo_advantages(values, groups) if self.scale == "rloo" else group_advantages(values, groups, self.scale)
        return Experience(
            completions=tuple(s.completion for s in sampled),
            rewards={r.name: tuple(s.scores[r.name] for s in sampled) for r in self.rewards},
            totals=totals,
            advantages=tuple(scaled.tolist()),
            unscored=sum(s.total is None for s in sampled),
            dropped_groups=dropped,
        )

    def _sample(
        self,
        prompts: Sequence[Prompt],
        sampling: SamplingParams,
        step: int,
        heard: Callable[[int, int, int], None] | None,
    ) -> list["_Scored"]:
        """Generates and scores this rank's prompts and exchanges the results."""
        rank, ranks = (dist.get_rank(), dist.get_world_size()) if dist.is_initialized() else (0, 1)
        mine = prompts[rank::ranks]
        done: list[Completion] = []
        tokens = 0
        for completion in self.engine.generate(mine, sampling):
            done.append(completion)
            tokens += len(completion.token_ids)
            if heard:
                heard(len(done), len(mine) * sampling.n, tokens)
        scores = score_completions(self.rewards, done, step)
        scored = [
            _Scored(c, scores.totals[i], {name: column[i] for name, column in scores.rewards.items()})
            for i, c in enumerate(done)
        ]
        everyone: list[list[_Scored]] = [scored]
        if ranks > 1:
            everyone = [[] for _ in range(ranks)]
            dist.all_gather_object(everyone, scored)
        place = {prompt.id: index for index, prompt in enumerate(prompts)}
        merged = [s for part in everyone for s in part]
        merged.sort(key=lambda s: (place[s.completion.prompt.id], s.completion.sample))
        if len(merged) != len(prompts) * sampling.n:
            raise TrainingError(f"the engine gave {len(merged)} completions for {len(prompts)} prompts x {sampling.n}")
        return merged

    def _refill(
        self,
        sampled: list["_Scored"],
        wanted: int,
        sampling: SamplingParams,
        step: int,
        more_prompts: MorePrompts,
        heard: Callable[[int, int, int], None] | None,
    ) -> tuple[list["_Scored"], int]:
        assert self.dynamic_sampling is not None
        kept: list[_Scored] = []
        spare: list[_Scored] = []
        for attempt in range(self.dynamic_sampling.max_attempts + 1):
            for start in range(0, len(sampled), sampling.n):
                group = sampled[start : start + sampling.n]
                marks = {s.scores[self.dynamic_sampling.reward] for s in group} - {None}
                (kept if len(marks) > 1 else spare).extend(group)
            missing = wanted - len(kept) // sampling.n
            if missing <= 0 or attempt == self.dynamic_sampling.max_attempts:
                break
            others = more_prompts(attempt)
            if not others:
                break
            sampled = self._sample(others, sampling, step, heard)
        full = wanted * sampling.n
        return (kept + spare)[:full], len(spare) // sampling.n

    def _totals(self, sampled: Sequence["_Scored"], sampling: SamplingParams) -> tuple[float | None, ...]:
        totals = [s.total for s in sampled]
        if self.overlong_buffer:
            lengths = torch.tensor([len(s.completion.token_ids) for s in sampled])
            penalties = overlong_penalty(lengths, sampling.max_new_tokens, self.overlong_buffer).tolist()
            totals = [None if t is None else t + p for t, p in zip(totals, penalties, strict=True)]
        if self.shuffled_rewards:
            random.Random(f"r1lit/placebo/{sampling.seed}/{sampling.rollout}").shuffle(totals)
        return tuple(totals)


@dataclass(frozen=True, slots=True)
class _Scored:
    completion: Completion
    total: float | None
    scores: dict[str, float | None]


def for_rollout(sampling: SamplingParams, seed: int, rollout: int) -> SamplingParams:
    """The sampling of one rollout: its counter and the run's seed fix the noise."""
    return replace(sampling, seed=seed, rollout=rollout)
