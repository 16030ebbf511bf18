"""The default engine: batched decoding with the training module itself.

Prompts are computed once for their whole group, finished rows leave the batch, and every draw is a pure function of
(seed, rollout, prompt id, sample, position), so that what is sampled for a prompt does not depend on its neighbours.
Generating with the very weights and numerics that are trained rules out the mismatch between engine and trainer.
"""

from collections.abc import Iterator, Sequence

import torch
from torch import Tensor

from r1lit.functional.sampling import sample_tokens, uniforms
from r1lit.policy import Policy
from r1lit.rollout.cache import RowCache, left_pad
from r1lit.rollout.completion import Request, chunks, encode_requests, make_completion
from r1lit.types import Completion, Prompt, SamplingParams

COMPACTION_SHARE = 0.85
"""The batch is compacted when the share of rows that are still running falls below this."""
STOP_TAIL_TOKENS = 16
"""A stop string is looked for in the text of this many last tokens."""


class NativeEngine:
    """Decodes with a ``Policy`` in this process.

    Args:
        policy: The policy to sample from; its weights may change between calls.
        max_rows: Completions decoded at once: the memory budget, since a row's cache grows with its length.
    """

    def __init__(self, policy: Policy, max_rows: int = 512) -> None:
        self.policy = policy
        self.max_rows = max_rows

    def generate(self, prompts: Sequence[Prompt], sampling: SamplingParams) -> Iterator[Completion]:
        """Yields ``sampling.n`` completions for each prompt as they finish."""
        requests = encode_requests(self.policy, prompts, sampling)
        with self.policy.generating():
            for part in chunks(requests, sampling.n, self.max_rows):
                yield from _Batch(self.policy, part, sampling).run()


class _Batch:
    """The rows that are decoded together; ``active`` maps rows of the cache to rows of the results."""

    def __init__(self, policy: Policy, requests: Sequence[Request], sampling: SamplingParams) -> None:
        self.policy, self.requests, self.sampling = policy, requests, sampling
        self.device = policy.device
        rows = len(requests) * sampling.n
        keys = [key for request in requests for key in request.noise_keys(sampling)]
        self.keys = torch.tensor(keys, device=self.device)
        self.tokens = torch.zeros((rows, sampling.max_new_tokens), dtype=torch.long)
        self.logprobs = torch.zeros((rows, sampling.max_new_tokens), dtype=torch.float64)
        self.eos = torch.tensor(sorted(policy.eos_ids), device=self.device)

    @torch.no_grad()
    def run(self) -> Iterator[Completion]:
        """Decodes until every row has finished."""
        logits = self._prefill()
        active = torch.arange(len(self.keys))
        alive = torch.ones(len(active), dtype=torch.bool)
        for position in range(self.sampling.max_new_tokens):
            noise = uniforms(self.keys, position)
            tokens, logprobs = sample_tokens(
                logits, noise, self.sampling.temperature, self.sampling.top_k, self.sampling.top_p
            )
            running = active[alive]
            self.tokens[running, position] = tokens.cpu()[alive]
            self.logprobs[running, position] = logprobs.double().cpu()[alive]
            ended = alive & self._ended(tokens, active, position)
            last = position == self.sampling.max_new_tokens - 1
            for row in active[alive if last else ended].tolist():
                stopped = bool(ended[active == row])
                yield self._completion(row, position + 1, stopped)
            alive &= ~ended
            if last or not alive.any():
                return
            if alive.float().mean() < COMPACTION_SHARE:
                active, tokens, alive = self._compact(active, tokens, alive)
            logits = self._step(tokens)

    def _prefill(self) -> Tensor:
        """Computes each prompt once and shares its cache among the group. Returns the logits [rows, vocabulary]."""
        ids, mask = left_pad([r.prompt_ids for r in self.requests], self.policy.pad_id, self.device)
        capacity = ids.shape[1] + self.sampling.max_new_tokens
        self.cache = RowCache(self.policy.layer_count, capacity)
        positions = (mask.cumsum(-1) - 1).clamp(min=0)
        logits = self._forward(ids, mask, positions)
        groups = torch.arange(len(ids), device=self.device).repeat_interleave(self.sampling.n)
        self.cache.select_rows(groups)
        room = mask.new_ones((len(groups), self.sampling.max_new_tokens))
        self.mask = torch.cat([mask[groups], room], dim=1)
        self.positions = mask.sum(-1)[groups]
        return logits[groups]

    def _step(self, tokens: Tensor) -> Tensor:
        filled = self.cache.get_seq_length() + 1
        logits = self._forward(tokens[:, None], self.mask[:, :filled], self.positions[:, None])
        self.positions = self.positions + 1
        return logits

    def _forward(self, ids: Tensor, mask: Tensor, positions: Tensor) -> Tensor:
        out = self.policy.lm(
            input_ids=ids,
            attention_mask=mask,
            position_ids=positions,
            past_key_values=self.cache,
            use_cache=True,
            logits_to_keep=1,
        )
        return out.logits[:, -1]

    def _compact(self, active: Tensor, tokens: Tensor, alive: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        rows = alive.nonzero()[:, 0].to(self.device)
        self.cache.select_rows(rows)
        self.mask, self.positions, self.keys = self.mask[rows], self.positions[rows], self.keys[rows]
        return active[alive], tokens[rows], torch.ones(len(rows), dtype=torch.bool)

    def _ended(self, tokens: Tensor, active: Tensor, position: int) -> Tensor:
        """Which rows have just sampled an end token or completed a stop string, [rows] on the CPU."""
        ended = torch.isin(tokens, self.eos).cpu()
        if self.sampling.stop:
            start = max(0, position + 1 - STOP_TAIL_TOKENS)
            for index, row in enumerate(active.tolist()):
                tail = self.policy.decode(self.tokens[row, start : position + 1].tolist())
                ended[index] |= any(stop in tail for stop in self.sampling.stop)
        return ended

    def _completion(self, row: int, length: int, stopped: bool) -> Completion:
        request, sample = self.requests[row // self.sampling.n], row % self.sampling.n
        return make_completion(
            self.policy,
            request,
            sample,
            self.tokens[row, :length].tolist(),
            self.logprobs[row, :length].tolist(),
            "stop" if stopped else "length",
        )
