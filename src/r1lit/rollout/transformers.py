"""The yardstick: transformers' own ``generate`` with the same noise. Slower than the native engine, and independent."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor
from transformers import (
    GenerationConfig,
    LogitsProcessor,
    LogitsProcessorList,
    PreTrainedModel,
    StoppingCriteria,
    StoppingCriteriaList,
)

from r1lit.functional.sampling import sample_tokens, uniforms
from r1lit.policy import Policy
from r1lit.policy.heads import vocabulary_of
from r1lit.rollout.completion import Request, check_max_rows, chunks, encode_requests, left_pad, make_completion
from r1lit.rollout.stopping import StopStrings
from r1lit.types import Completion, FinishReason, Prompt, SamplingParams


class TransformersEngine:
    """Samples with ``lm.generate``; see ``NativeEngine`` for the arguments."""

    def __init__(self, policy: Policy, max_rows: int = 512) -> None:
        self.policy = policy
        self.max_rows = check_max_rows(max_rows)

    def generate(self, prompts: Sequence[Prompt], sampling: SamplingParams) -> Iterator[Completion]:
        """Yields ``sampling.n`` completions for each prompt, batch by batch; see ``NativeEngine.generate``."""
        requests = encode_requests(self.policy, prompts, sampling)
        with self.policy.generating():
            for part in chunks(requests, self.max_rows):
                yield from self._generate(part, sampling)

    @torch.no_grad()
    def _generate(self, requests: Sequence[Request], sampling: SamplingParams) -> Iterator[Completion]:
        policy = self.policy
        lm: Any = policy.lm  # type checkers take a module's methods for tensors
        rows = [(request, sample) for request in requests for sample in request.samples]
        keys = [key for request in requests for key in request.noise_keys(sampling)]
        ids, mask = left_pad([request.prompt_ids for request, _ in rows], policy.pad_id, policy.device)
        stops = StopStrings(policy, sampling.stop)
        draw = _CounterSampling(torch.tensor(keys, device=policy.device), ids.shape[1], sampling)
        config = GenerationConfig(
            max_new_tokens=sampling.max_new_tokens,
            do_sample=False,
            pad_token_id=policy.pad_id,
            eos_token_id=list(policy.eos_ids),
        )
        with _bare_generation(lm), draw.watching(lm):
            out = lm.generate(
                input_ids=ids,
                attention_mask=mask,
                generation_config=config,
                logits_processor=LogitsProcessorList([draw]),
                stopping_criteria=StoppingCriteriaList([_StopAtStrings(stops, ids.shape[1])] if stops.stop else []),
            )
        sampled = out[:, ids.shape[1] :].tolist()
        logprobs = torch.stack(draw.logprobs, dim=1).tolist()
        for index, (request, sample) in enumerate(rows):
            length, reason = self._end(sampled[index], stops)
            tokens, values = sampled[index][:length], logprobs[index][:length]
            yield make_completion(policy, request, sample, tokens, values, reason)

    def _end(self, tokens: list[int], stops: StopStrings) -> tuple[int, FinishReason]:
        """Where a row ended: ``generate`` pads the rows that end before the others."""
        for length, token in enumerate(tokens, start=1):
            if token in self.policy.eos_ids or (stops.stop and stops.completed_by(tokens[:length])):
                return length, "stop"
        return len(tokens), "length"


@contextmanager
def _bare_generation(lm: PreTrainedModel) -> Iterator[None]:
    """Hides the model's own generation config: ``generate`` would take its repetition penalty, beams and the like."""
    own = lm.generation_config
    lm.generation_config = GenerationConfig()
    try:
        yield
    finally:
        lm.generation_config = own


class _CounterSampling(LogitsProcessor):
    """Draws the token itself and leaves ``generate`` no choice but to take it."""

    def __init__(self, keys: Tensor, prompt_width: int, sampling: SamplingParams) -> None:
        self.keys, self.prompt_width, self.sampling = keys, prompt_width, sampling
        self.logits: Tensor | None = None
        self.logprobs: list[Tensor] = []

    @contextmanager
    def watching(self, lm: PreTrainedModel) -> Iterator[None]:
        """Inside, takes the logits from the model: those that ``generate`` hands on are rounded to float32."""

        def keep(module: torch.nn.Module, args: Any, output: Any) -> None:
            self.logits = output.logits[:, -1, : vocabulary_of(lm)].clone()

        handle = lm.register_forward_hook(keep)
        try:
            yield
        finally:
            handle.remove()

    def __call__(self, input_ids: Tensor, scores: Tensor) -> Tensor:
        assert self.logits is not None
        s = self.sampling
        noise = uniforms(self.keys, input_ids.shape[1] - self.prompt_width)
        tokens, logprobs = sample_tokens(self.logits, noise, s.temperature, s.top_k, s.top_p)
        self.logprobs.append(logprobs.double())
        return torch.full_like(scores, float("-inf")).scatter(1, tokens[:, None], 0.0)


class _StopAtStrings(StoppingCriteria):
    """Ends a row at a stop string, by the text that is decoded, not by the pieces of the vocabulary."""

    def __init__(self, stops: StopStrings, prompt_width: int) -> None:
        self.stops, self.prompt_width = stops, prompt_width

    def __call__(self, input_ids: Tensor, scores: Tensor, **kwargs: Any) -> Tensor:
        rows = input_ids[:, self.prompt_width :].tolist()
        return torch.tensor([self.stops.completed_by(row) for row in rows], device=input_ids.device)
