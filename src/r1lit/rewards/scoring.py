"""Scores completions by several rewards and adds them up."""

import math
from collections.abc import Sequence
from numbers import Real

from r1lit.errors import InputError, TrainingError
from r1lit.rewards.base import UNSCORED, CompletionError, Reward, Score, check_names
from r1lit.types import Completion, ScoredCompletion

_SHOWN = 80
_MAIN_THREAD_HINT = " (rewards are scored in a thread beside generation; concurrency 0 scores in the main thread)"


def score_completions(
    rewards: Sequence[Reward], completions: Sequence[Completion], step: int, judge: str | None = None
) -> list[ScoredCompletion]:
    """Scores completions by every reward that applies and sums up: sum_k weight_k * score_k (paper eq. 4 and 8).

    Rewards of weight 0 are scored and reported like all others, but do not count: a completion that they could not
    score has a total, and one that they alone apply to has none. Neither has a completion before the first reward for
    it starts (``from_step``): the loss leaves it out, as a total of 0 would say that it is bad.

    Args:
        rewards: With distinct names.
        completions: Of any number of prompts.
        step: Policy updates done so far; rewards with a later ``from_step`` are left out.
        judge: In an evaluation, the reward that tells correctness: what it could not judge within its limits scores 0,
            still without a total, as an answer that hangs the judge must not raise pass@1.

    Returns:
        The completions with their scores and totals, in the order given.

    Raises:
        InputError: If two rewards share a name, or no reward that counts will ever apply to a completion.
        TrainingError: If a reward raises or returns something else than one finite number, None or ``UNSCORED`` for
            each completion. The message names the reward and the completion.
    """
    table: dict[str, list[Score]] = {}
    for reward in rewards:
        column: list[Score] = [None] * len(completions)
        rows = [i for i, completion in enumerate(completions) if reward.applies_to(completion.prompt, step)]
        if rows:
            for i, score in zip(rows, run_reward(reward, [completions[i] for i in rows]), strict=True):
                column[i] = score
        table[reward.name] = column
    return add_up(rewards, completions, table, step, judge)


def add_up(
    rewards: Sequence[Reward],
    completions: Sequence[Completion],
    columns: dict[str, list[Score]],
    step: int,
    judge: str | None = None,
) -> list[ScoredCompletion]:
    """Makes the totals from each reward's column of scores, parallel to ``completions``; see ``score_completions``.

    Raises:
        InputError: If two rewards share a name, or no reward that counts will ever apply to a completion.
    """
    check_names(rewards)
    found = []
    for i, completion in enumerate(completions):
        total = _total(completion, [(reward, columns[reward.name][i]) for reward in rewards], step)
        scores: dict[str, float | None] = {}
        for name, column in columns.items():
            score = column[i]
            scores[name] = (0.0 if name == judge else None) if score is UNSCORED else score
        found.append(ScoredCompletion(completion, scores, total))
    return found


def _total(completion: Completion, scores: list[tuple[Reward, Score]], step: int) -> float | None:
    counted = [(reward.weight, score) for reward, score in scores if reward.weight and score is not None]
    if any(score is UNSCORED for _, score in counted):
        return None
    if counted:
        return sum(weight * score for weight, score in counted if score is not UNSCORED)
    prompt = completion.prompt
    if any(reward.weight and step < reward.from_step and reward.suits(prompt) for reward, _ in scores):
        return None
    raise InputError(
        f"no reward applies to prompt {prompt.id!r} (kind {prompt.kind!r}, task {prompt.task!r}) at step {step}; "
        "add a reward for this kind (of a weight other than 0) or leave such prompts out"
    )


def run_reward(reward: Reward, completions: list[Completion]) -> list[Score]:
    """Scores completions by one reward and checks what it returns.

    Raises:
        InputError: As the reward.
        TrainingError: As ``score_completions``.
    """
    try:
        scores = list(reward.score(completions))
    except (InputError, TrainingError):
        raise
    except CompletionError as error:
        raise _failure(reward, error.completion, str(error)) from error
    except Exception as error:
        hint = _MAIN_THREAD_HINT if "main thread" in str(error) else ""
        raise _failure(reward, _culprit(reward, completions), f"raised {_one_line(error)}{hint}") from error
    if len(scores) != len(completions):
        problem = f"returned {len(scores)} scores for {len(completions)} completions, the first of them"
        raise _failure(reward, completions[0], problem)
    return [_checked(reward, completion, score) for completion, score in zip(completions, scores, strict=True)]


def _checked(reward: Reward, completion: Completion, score: object) -> Score:
    if score is None or score is UNSCORED:
        return score
    if not isinstance(score, Real):
        raise _failure(reward, completion, f"returned a {type(score).__name__} instead of a float")
    value = float(score)
    if not math.isfinite(value):
        raise _failure(reward, completion, f"returned {value}")
    return value


def _culprit(reward: Reward, completions: list[Completion]) -> Completion:
    """The completion that makes the reward fail on its own; the first one, if none does."""
    for completion in completions if len(completions) > 1 else ():
        try:
            reward.score([completion])
        except Exception:
            return completion
    return completions[0]


def _failure(reward: Reward, completion: Completion, problem: str) -> TrainingError:
    return TrainingError(
        f"reward {reward.name!r} {problem}: prompt {completion.prompt.id!r}, sample {completion.sample}, "
        f"text {completion.text[:_SHOWN]!r}"
    )


def _one_line(error: Exception) -> str:
    return f"{type(error).__name__}: {' '.join(str(error).split())}"
