"""What every in-process engine shares: the request behind a row, and the completion it becomes."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from r1lit.errors import InputError
from r1lit.functional.sampling import row_key
from r1lit.grading.parsing import parse_response
from r1lit.policy import Policy
from r1lit.types import Completion, FinishReason, Prompt, SamplingParams


@dataclass(frozen=True, slots=True)
class Request:
    """One prompt with its tokens and the samples wanted of it: one row each."""

    prompt: Prompt
    prompt_ids: tuple[int, ...]
    samples: range

    def noise_keys(self, sampling: SamplingParams) -> list[int]:
        """The key of each sample's noise; with the position it fixes every draw (see ``functional.sampling``)."""
        return [row_key(sampling.seed, sampling.rollout, self.prompt.id, sample) for sample in self.samples]


def check_max_rows(max_rows: int) -> int:
    """Returns ``max_rows``; raises ``InputError`` if no row fits."""
    if max_rows < 1:
        raise InputError(f"engine.max_rows is {max_rows}; it must be at least 1")
    return max_rows


def check_sampling(sampling: SamplingParams) -> None:
    """Raises ``InputError`` for settings that no engine can follow."""
    for name, ok, rule in (
        ("n", sampling.n >= 1, "at least 1"),
        ("temperature", sampling.temperature >= 0, "not negative (0 is greedy)"),
        ("top_p", 0 < sampling.top_p <= 1, "in (0, 1]"),
        ("top_k", sampling.top_k >= 0, "not negative (0 is the whole vocabulary)"),
        ("max_new_tokens", sampling.max_new_tokens >= 1, "at least 1"),
        ("stop", all(sampling.stop), "without empty strings"),
    ):
        if not ok:
            raise InputError(f"sampling.{name} is {getattr(sampling, name)}; it must be {rule}")


def encode_requests(policy: Policy, prompts: Sequence[Prompt], sampling: SamplingParams) -> list[Request]:
    """Tokenizes the prompts, the longest first: batches of like lengths need little padding, memory runs out at once.

    Raises:
        InputError: If a prompt has no tokens, or if it and its completion cannot fit the model's context.
    """
    check_sampling(sampling)
    requests = []
    for prompt in prompts:
        ids = tuple(policy.encode_prompt(prompt))
        if not ids:
            raise InputError(f"prompt {prompt.id!r} is empty: give it a question, or the policy a template with text")
        if len(ids) + sampling.max_new_tokens > policy.max_context:
            raise InputError(
                f"prompt {prompt.id!r} has {len(ids)} tokens; with max_new_tokens={sampling.max_new_tokens} it exceeds "
                f"the model's context of {policy.max_context}: shorten it, or lower max_new_tokens"
            )
        requests.append(Request(prompt, ids, range(sampling.n)))
    return sorted(requests, key=lambda request: -len(request.prompt_ids))


def chunks(requests: Sequence[Request], max_rows: int) -> Iterator[list[Request]]:
    """Cuts the requests into parts of at most ``max_rows`` rows; a group is split only where it does not fit alone."""
    part: list[Request] = []
    room = max_rows
    for request in requests:
        wanted = len(request.samples)
        if part and wanted > room:
            yield part
            part, room = [], max_rows
        for start in range(0, wanted - max_rows, max_rows):
            yield [replace(request, samples=request.samples[start : start + max_rows])]
        left = request.samples[(wanted - 1) // max_rows * max_rows :]
        part.append(replace(request, samples=left))
        room -= len(left)
    if part:
        yield part


def left_pad(rows: list[tuple[int, ...]], pad_id: int, device: torch.device) -> tuple[Tensor, Tensor]:
    """Pads on the left.

    Returns:
        Token ids [B, T] and the attention mask [B, T] (1 where a token stands).
    """
    width = max(len(row) for row in rows)
    ids = torch.tensor([[pad_id] * (width - len(row)) + list(row) for row in rows], device=device)
    mask = torch.tensor([[0] * (width - len(row)) + [1] * len(row) for row in rows], device=device)
    return ids, mask


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
