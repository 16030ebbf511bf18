"""What every in-process engine shares: the request behind a row, and the completion it becomes."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from r1lit.errors import InputError
from r1lit.functional.sampling import row_key
from r1lit.policy import Policy
from r1lit.rewards.parsing import parse_response
from r1lit.types import Completion, FinishReason, Prompt, SamplingParams


@dataclass(frozen=True, slots=True)
class Request:
    """One prompt with its tokens, to be completed ``sampling.n`` times."""

    prompt: Prompt
    prompt_ids: tuple[int, ...]

    def noise_keys(self, sampling: SamplingParams) -> list[int]:
        """The key of each sample's noise; with the position it fixes every draw (see ``functional.sampling``)."""
        return [row_key(sampling.seed, sampling.rollout, self.prompt.id, sample) for sample in range(sampling.n)]


def check_sampling(sampling: SamplingParams) -> None:
    """Raises ``InputError`` for settings that no engine can follow."""
    for name, ok, rule in (
        ("n", sampling.n >= 1, "at least 1"),
        ("temperature", sampling.temperature >= 0, "not negative (0 is greedy)"),
        ("top_p", 0 < sampling.top_p <= 1, "in (0, 1]"),
        ("top_k", sampling.top_k >= 0, "not negative (0 is the whole vocabulary)"),
        ("max_new_tokens", sampling.max_new_tokens >= 1, "at least 1"),
    ):
        if not ok:
            raise InputError(f"sampling.{name} is {getattr(sampling, name)}; it must be {rule}")


def encode_requests(policy: Policy, prompts: Sequence[Prompt], sampling: SamplingParams) -> list[Request]:
    """Tokenizes the prompts.

    Raises:
        InputError: If a prompt and its completion cannot fit the model's context.
    """
    check_sampling(sampling)
    requests = []
    for prompt in prompts:
        ids = tuple(policy.encode_prompt(prompt))
        if len(ids) + sampling.max_new_tokens > policy.max_context:
            raise InputError(
                f"prompt {prompt.id!r} has {len(ids)} tokens; with max_new_tokens={sampling.max_new_tokens} it exceeds "
                f"the model's context of {policy.max_context}: shorten it, or lower max_new_tokens"
            )
        requests.append(Request(prompt, ids))
    return requests


def chunks(requests: Sequence[Request], n: int, max_rows: int) -> Iterator[Sequence[Request]]:
    """Cuts the requests so that each part makes at most ``max_rows`` rows, but at least one request."""
    size = max(1, max_rows // n)
    for start in range(0, len(requests), size):
        yield requests[start : start + size]


def make_completion(
    policy: Policy,
    request: Request,
    sample: int,
    token_ids: Sequence[int],
    logprobs: Sequence[float],
    finish_reason: FinishReason,
) -> Completion:
    """Decodes and parses what a row has sampled."""
    text = policy.prefill_text(request.prompt) + policy.decode(token_ids)
    reasoning, answer = parse_response(text)
    return Completion(
        prompt=request.prompt,
        sample=sample,
        prompt_ids=request.prompt_ids,
        token_ids=tuple(token_ids),
        logprobs=tuple(logprobs),
        text=text,
        finish_reason=finish_reason,
        reasoning=reasoning,
        answer=answer,
    )
