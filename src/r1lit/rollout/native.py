"""The default engine: batched decoding with the training module itself.

Prompts are computed once for their whole group, finished rows leave the batch, and every draw is a pure function of
(seed, rollout, prompt id, sample, position), so that what is sampled for a prompt does not depend on its neighbours.
Generating with the very weights and numerics that are trained rules out the mismatch between engine and trainer.
"""

from collections.abc import Iterator, Sequence

import torch
from torch import Tensor

from r1lit.errors import InputError
from r1lit.functional.sampling import sample_tokens, uniforms
from r1lit.policy import Policy
from r1lit.rollout.cache import RowCache, left_pad
from r1lit.rollout.completion import Request, check_max_rows, chunks, encode_requests, make_completion
from r1lit.rollout.stopping import StopStrings
from r1lit.types import Completion, FinishReason, Prompt, SamplingParams

COMPACTION_SHARE = 0.85
"""The batch is compacted when the share of rows that are still running falls below this."""
_KNOWN_LAYERS = {"full_attention", "sliding_attention", "chunked_attention"}


class NativeEngine:
    """Decodes with a ``Policy`` in this process.

    Args:
        policy: The policy to sample from; its weights may change between calls.
        max_rows: Completions decoded at once: the memory budget, since a row's cache grows with its length.

    Raises:
        InputError: If ``max_rows`` is below 1, or the model has layers that keep something else than keys and values.
    """

    def __init__(self, policy: Policy, max_rows: int = 512) -> None:
        self.policy = policy
        self.max_rows = check_max_rows(max_rows)
        kinds = getattr(policy.config.get_text_config(), "layer_types", None) or ()
        if unknown := sorted(set(kinds) - _KNOWN_LAYERS):
            raise InputError(
                f"engine: NativeEngine cannot decode the {unknown[0]} layers of {policy.init_from!r}; "
                "use r1lit.rollout.TransformersEngine"
            )

    def generate(self, prompts: Sequence[Prompt], sampling: SamplingParams) -> Iterator[Completion]:
        """Yields ``sampling.n`` completions for each prompt as they finish.

        Raises:
            InputError: For settings or prompts that cannot be followed, before anything is sampled.
        """
        requests = encode_requests(self.policy, prompts, sampling)
        with self.policy.generating():
            for part in chunks(requests, self.max_rows):
                yield from _Batch(self.policy, part, sampling).run()


class _Batch:
    """The rows that are decoded together.

    The cache, ``mask``, ``positions``, ``keys`` and ``active`` lose rows as they finish; ``active`` tells which row of
    the results each of them is. ``alive`` is false for finished rows that have not left yet. Results stay on the
    device until a row is done, so that each step waits for it once only.
    """

    def __init__(self, policy: Policy, requests: Sequence[Request], sampling: SamplingParams) -> None:
        self.policy, self.requests, self.sampling = policy, requests, sampling
        self.device = policy.device
        self.rows = [(request, sample) for request in requests for sample in request.samples]
        keys = [key for request in requests for key in request.noise_keys(sampling)]
        self.keys = torch.tensor(keys, device=self.device)
        shape = (len(keys), sampling.max_new_tokens)
        self.tokens = torch.zeros(shape, dtype=torch.long, device=self.device)
        self.logprobs = torch.zeros(shape, dtype=torch.float64, device=self.device)
        self.eos = torch.tensor(policy.eos_ids, device=self.device)
        self.stops = StopStrings(policy, sampling.stop)
        self.active = torch.arange(len(keys), device=self.device)
        self.alive = torch.ones(len(keys), dtype=torch.bool)  # on the CPU

    @torch.no_grad()
    def run(self) -> Iterator[Completion]:
        """Decodes until every row has finished."""
        logits = self._prefill()
        for position in range(self.sampling.max_new_tokens):
            tokens = self._sample(logits, position)
            ended = self._ended(tokens, position)
            last = position == self.sampling.max_new_tokens - 1
            yield from self._completions(self.alive if last else self.alive & ended, ended, position + 1)
            self.alive &= ~ended
            running = int(self.alive.sum())
            if last or running == 0:
                return
            if running < COMPACTION_SHARE * len(self.alive):
                tokens = self._compact(tokens)
            logits = self._step(tokens)

    def _prefill(self) -> Tensor:
        """Computes each prompt once and shares its cache among the group. Returns the logits [rows, vocabulary]."""
        ids, mask = left_pad([r.prompt_ids for r in self.requests], self.policy.pad_id, self.device)
        capacity = ids.shape[1] + self.sampling.max_new_tokens
        self.cache = RowCache(self.policy.layer_count, capacity)
        positions = (mask.cumsum(-1) - 1).clamp(min=0)
        logits = self._forward(ids, mask, positions)
        groups = [index for index, request in enumerate(self.requests) for _ in request.samples]
        rows = torch.tensor(groups, device=self.device)
        self.cache.select_rows(rows)
        room = mask.new_ones((len(rows), self.sampling.max_new_tokens))
        self.mask = torch.cat([mask[rows], room], dim=1)
        self.positions = mask.sum(-1)[rows]
        return logits[rows]

    def _sample(self, logits: Tensor, position: int) -> Tensor:
        """Draws the next token of every row and keeps it with its log-probability. Returns the tokens [rows]."""
        s = self.sampling
        tokens, logprobs = sample_tokens(logits, uniforms(self.keys, position), s.temperature, s.top_k, s.top_p)
        self.tokens[self.active, position] = tokens
        self.logprobs[self.active, position] = logprobs.double()
        return tokens

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

    def _compact(self, tokens: Tensor) -> Tensor:
        """Lets finished rows leave the batch."""
        rows = self.alive.nonzero()[:, 0].to(self.device)
        self.cache.select_rows(rows)
        self.mask, self.positions = self.mask[rows], self.positions[rows]
        self.keys, self.active = self.keys[rows], self.active[rows]
        self.alive = torch.ones(len(rows), dtype=torch.bool)
        return tokens[rows]

    def _ended(self, tokens: Tensor, position: int) -> Tensor:
        """Which rows have just sampled an end token or completed a stop string, [rows] on the CPU."""
        ended = torch.isin(tokens, self.eos).cpu()
        if self.stops.stop:
            for index, token in enumerate(tokens.tolist()):
                if self.alive[index] and self.stops.may_complete(token):
                    sampled = self.tokens[self.active[index], : position + 1].tolist()
                    ended[index] |= self.stops.completed_by(sampled)
        return ended

    def _completions(self, leaving: Tensor, ended: Tensor, length: int) -> Iterator[Completion]:
        """The rows where ``leaving`` [rows] is true, as they are after ``length`` tokens."""
        places = leaving.nonzero()[:, 0]
        rows = self.active[places.to(self.device)]
        tokens, logprobs = self.tokens[rows, :length].tolist(), self.logprobs[rows, :length].tolist()
        stopped = ended[places].tolist()
        for index, row in enumerate(rows.tolist()):
            request, sample = self.rows[row]
            reason: FinishReason = "stop" if stopped[index] else "length"
            yield make_completion(self.policy, request, sample, tokens[index], logprobs[index], reason)
