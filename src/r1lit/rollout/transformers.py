"""The yardstick: transformers' own ``generate`` with the same noise. Slower than the native engine, and independent."""

from collections.abc import Iterator, Sequence

import torch
from torch import Tensor
from transformers import GenerationConfig, LogitsProcessor, LogitsProcessorList

from r1lit.functional.sampling import sample_tokens, uniforms
from r1lit.policy import Policy
from r1lit.rollout.cache import left_pad
from r1lit.rollout.completion import Request, chunks, encode_requests, make_completion
from r1lit.types import Completion, FinishReason, Prompt, SamplingParams


class TransformersEngine:
    """Samples with ``lm.generate``; see ``NativeEngine`` for the arguments."""

    def __init__(self, policy: Policy, max_rows: int = 512) -> None:
        self.policy = policy
        self.max_rows = max_rows

    def generate(self, prompts: Sequence[Prompt], sampling: SamplingParams) -> Iterator[Completion]:
        """Yields ``sampling.n`` completions for each prompt, batch by batch."""
        requests = encode_requests(self.policy, prompts, sampling)
        with self.policy.generating():
            for part in chunks(requests, sampling.n, self.max_rows):
                yield from self._generate(part, sampling)

    @torch.no_grad()
    def _generate(self, requests: Sequence[Request], sampling: SamplingParams) -> Iterator[Completion]:
        policy = self.policy
        rows = [request for request in requests for _ in range(sampling.n)]
        keys = [key for request in requests for key in request.noise_keys(sampling)]
        ids, mask = left_pad([row.prompt_ids for row in rows], policy.pad_id, policy.device)
        draw = _CounterSampling(torch.tensor(keys, device=policy.device), ids.shape[1], sampling)
        config = GenerationConfig(
            max_new_tokens=sampling.max_new_tokens,
            do_sample=False,
            pad_token_id=policy.pad_id,
            eos_token_id=sorted(policy.eos_ids),
            stop_strings=list(sampling.stop) or None,
        )
        out = policy.lm.generate(
            input_ids=ids,
            attention_mask=mask,
            generation_config=config,
            logits_processor=LogitsProcessorList([draw]),
            tokenizer=policy.tokenizer if sampling.stop else None,
        )
        sampled = out[:, ids.shape[1] :].tolist()
        logprobs = torch.stack(draw.logprobs, dim=1).tolist()
        for index, row in enumerate(rows):
            length, reason = self._end(sampled[index], sampling)
            tokens, values = sampled[index][:length], logprobs[index][:length]
            yield make_completion(policy, row, index % sampling.n, tokens, values, reason)

    def _end(self, tokens: list[int], sampling: SamplingParams) -> tuple[int, FinishReason]:
        """Where a row ended: ``generate`` pads the rows that end before the others."""
        for position, token in enumerate(tokens):
            if token in self.policy.eos_ids:
                return position + 1, "stop"
            if sampling.stop and any(stop in self.policy.decode(tokens[: position + 1]) for stop in sampling.stop):
                return position + 1, "stop"
        return len(tokens), "length"


class _CounterSampling(LogitsProcessor):
    """Draws the token itself and leaves ``generate`` no choice but to take it."""

    def __init__(self, keys: Tensor, prompt_width: int, sampling: SamplingParams) -> None:
        self.keys, self.prompt_width, self.sampling = keys, prompt_width, sampling
        self.logprobs: list[Tensor] = []

    def __call__(self, input_ids: Tensor, scores: Tensor) -> Tensor:
        noise = uniforms(self.keys, input_ids.shape[1] - self.prompt_width)
        tokens, logprobs = sample_tokens(
            scores, noise, self.sampling.temperature, self.sampling.top_k, self.sampling.top_p
        )
        self.logprobs.append(logprobs.double())
        return torch.full_like(scores, float("-inf")).scatter(1, tokens[:, None], 0.0)
