"""The nouns of the project: what travels from prompts to rollout to rewards to advantages to loss.

All are frozen dataclasses or protocols, free of torch modules, Lightning and transformers, so that every layer may
import them. A *group* is the list of completions of one prompt; a *rollout* is the groups of one iteration.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol, runtime_checkable

Kind = Literal["reasoning", "helpful", "harmless", "general"]
Task = Literal["math", "code", "choice", "logic", "json", "tool", "chat"]
FinishReason = Literal["stop", "length"]


@dataclass(frozen=True, slots=True)
class Message:
    """One turn of a chat."""

    role: str
    content: str
    learn: bool = True
    """Of an assistant's turn to learn from: False where the data set says that it is context alone."""


@dataclass(frozen=True, slots=True)
class Prompt:
    """A question with what is needed to judge its answers."""

    id: str
    """Unique and stable: it seeds the sampling noise, so the same id is sampled alike in every run."""
    messages: tuple[Message, ...]
    """The chat so far; a plain question is one user message."""
    answer: str | None = None
    """The reference answer, or None where nothing can be checked."""
    kind: Kind = "reasoning"
    task: Task = "math"
    language: str = "en"
    """Target language of the reasoning (ISO 639-1), for the language-consistency reward."""
    source: str = ""
    """Where the prompt comes from: a file, a hub id, the tiny world."""
    meta: Mapping[str, Any] = field(default_factory=dict)
    """Unknown extra columns, kept as they came."""

    @property
    def question(self) -> str:
        """The text of the last user message."""
        return next((m.content for m in reversed(self.messages) if m.role == "user"), "")

    @property
    def tier(self) -> str | None:
        """The tier of difficulty that it is measured in, such as ``hard``; None is the main one."""
        return None if (tier := self.meta.get("tier")) is None else str(tier)


@dataclass(frozen=True)  # no slots: jsonargparse reads defaults with vars()
class SamplingParams:
    """How completions are drawn."""

    n: int = 1
    """Completions for each prompt (the group size G)."""
    temperature: float = 1.0
    """0 means greedy."""
    top_p: float = 1.0
    top_k: int = 0
    """0 means the whole vocabulary."""
    max_new_tokens: int = 1024
    stop: tuple[str, ...] = ()
    """Strings that end a completion; the string itself is kept in the text."""
    seed: int = 0
    rollout: int = 0
    """Counter of the rollout: with seed, prompt id, sample and position it fixes the noise of each token."""


@dataclass(frozen=True, slots=True)
class Completion:
    """One sampled answer to a prompt."""

    prompt: Prompt
    sample: int
    """Index within its group."""
    prompt_ids: tuple[int, ...]
    token_ids: tuple[int, ...]
    """Sampled tokens, the end-of-sequence token included where it was sampled."""
    logprobs: tuple[float, ...]
    """Log-probability of each token under the policy that sampled it, at the sampling temperature."""
    text: str
    """The decoded tokens without special tokens, preceded by what the template prefilled (such as ``<think>``)."""
    finish_reason: FinishReason
    reasoning: str | None = None
    """What stands between the think tags, or before the answer; None where there is none."""
    answer: str | None = None
    """The extracted final answer; None where none was found."""
    tokens: int = -1
    """How many tokens were sampled: the number of ``token_ids``, or what a server that hides them reports."""

    def __post_init__(self) -> None:
        if self.tokens < 0:
            object.__setattr__(self, "tokens", len(self.token_ids))


@dataclass(frozen=True, slots=True)
class ScoredCompletion:
    """A completion with what the rewards made of it."""

    completion: Completion
    scores: Mapping[str, float | None]
    """Unweighted scores by reward name; None where a reward does not apply or could not score."""
    total: float | None
    """Weighted sum; None for a completion left unscored (by a time-out), which the loss leaves out."""

    @property
    def reasoning(self) -> str:
        """The reasoning, or nothing."""
        return self.completion.reasoning or ""


@dataclass(frozen=True, slots=True)
class Rollout:
    """The scored completions of one iteration with their advantages."""

    index: int
    """Counter of the rollout, from 0."""
    scored: tuple[ScoredCompletion, ...]
    """In order: prompt by prompt, sample by sample."""
    advantages: tuple[float, ...]
    """One for each completion; 0 for one without a total."""
    tokens: int = 0
    """Sampled in all, those of dropped groups included."""
    dropped_groups: int = 0
    """Groups without a signal that dynamic sampling replaced."""
    metrics: Mapping[str, float] = field(default_factory=dict)
    """What the iteration logs: loss, KL, entropy, clip fraction, tokens per second..."""

    @property
    def completions(self) -> tuple[Completion, ...]:
        """The completions alone."""
        return tuple(scored.completion for scored in self.scored)

    @property
    def reward_names(self) -> tuple[str, ...]:
        """The rewards that scored, in their order."""
        return tuple(self.scored[0].scores) if self.scored else ()


@runtime_checkable
class RolloutEngine(Protocol):
    """Samples completions; training code does not know how or where."""

    def generate(self, prompts: Sequence[Prompt], sampling: SamplingParams) -> Iterator[Completion]:
        """Yields ``sampling.n`` completions for each prompt as they finish, in any order."""
        ...


@runtime_checkable
class Scorer(Protocol):
    """A model that rates completions; rewards take one, so that they never import the policy."""

    def score(self, completions: Sequence[Completion]) -> list[float]:
        """Returns one float for each completion."""
        ...
