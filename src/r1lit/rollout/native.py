"""The default engine: continuous batching with the training module itself.

A prompt is computed once for its whole group, finished rows make room for those that wait, and every draw is a pure
function of (seed, rollout, prompt id, sample, position), so that what is sampled for a prompt does not depend on its
neighbours. Generating with the very weights and numerics that are trained rules out the mismatch between engine and
trainer.
"""

from collections.abc import Iterator, Sequence

import torch
from torch import Tensor

from r1lit.errors import InputError
from r1lit.functional.sampling import sample_tokens, uniforms
from r1lit.policy import Policy
from r1lit.policy.heads import output_head
from r1lit.rollout.attention import Batch, attending
from r1lit.rollout.cache import SlotCache
from r1lit.rollout.completion import Request, check_max_rows, encode_requests, make_completion
from r1lit.rollout.schedule import Group, Row, Schedule, close_gaps, plan_slots
from r1lit.rollout.stopping import StopStrings
from r1lit.types import Completion, FinishReason, Prompt, SamplingParams

_KNOWN_LAYERS = {"full_attention", "sliding_attention"}


class NativeEngine:
    """Decodes with a ``Policy`` in this process.

    Args:
        policy: The policy to sample from; its weights may change between calls.
        max_rows: Completions decoded at once.
        memory_gb: What the key-value cache may take, in GB (1e9 bytes): as many rows are decoded at once as fit even
            if all of them grow as long as they may. Without it, ``max_rows`` alone is the bound.

    Raises:
        InputError: If ``max_rows`` or ``memory_gb`` is too small, or the model has layers that keep something else
            than keys and values of their own.
    """

    decoding: type["Decoding"]
    """What runs a call of ``generate``; benchmarks put their own in its place."""

    def __init__(self, policy: Policy, max_rows: int = 512, memory_gb: float | None = None) -> None:
        self.policy = policy
        self.max_rows = check_max_rows(max_rows)
        self.decoding = Decoding
        if memory_gb is not None and not memory_gb > 0:
            raise InputError(f"engine.memory_gb is {memory_gb}; it must be positive, or null for no bound")
        self.memory_gb = memory_gb
        config = policy.config.get_text_config()
        unknown = sorted(set(getattr(config, "layer_types", None) or ()) - _KNOWN_LAYERS)
        if getattr(config, "num_kv_shared_layers", None):
            unknown.append("key-sharing")
        if unknown:
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
        if requests:
            with self.policy.generating():
                yield from self.decoding(self, requests, sampling).run()


class Decoding:
    """One call of ``generate``: the rows, their cache, and the batch that is decoded while no row comes or goes."""

    def __init__(self, engine: NativeEngine, requests: Sequence[Request], sampling: SamplingParams) -> None:
        policy = engine.policy
        self.policy, self.sampling, self.device = policy, sampling, policy.device
        config = policy.config.get_text_config()
        heads = int(getattr(config, "num_key_value_heads", None) or config.num_attention_heads)
        size = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
        token_bytes = 2 * policy.layer_count * heads * size * policy.dtype.itemsize  # keys and values
        plan = plan_slots(requests, sampling.max_new_tokens, engine.max_rows, token_bytes, engine.memory_gb)
        self.schedule = Schedule([Group(request, request.noise_keys(sampling)) for request in requests], plan)
        self.cache = SlotCache(policy.layer_count, heads, plan, self.device)
        self.decoder, self.head = policy.lm.get_decoder(), output_head(policy.lm)
        self.eos = frozenset(policy.eos_ids)
        self.stops = StopStrings(policy, sampling.stop)
        self.batch: Batch | None = None

    @torch.no_grad()
    def run(self) -> Iterator[Completion]:
        """Decodes until every row has finished."""
        while not self.schedule.is_done:
            if self.batch is None:
                # Rows that end with their first token leave their slots to others before the next step.
                while fresh := self._start_rows():
                    logits = torch.stack([row.group.logits for row in fresh if row.group.logits is not None])
                    keys = torch.tensor([row.key for row in fresh], device=self.device)
                    yield from self._sample(fresh, logits, keys, torch.zeros_like(keys))
                self._close_gaps()
                if not self.schedule.rows:
                    continue
                self.batch = self._make_batch()
            batch = self.batch
            logits = self._step(batch)
            yield from self._sample(batch.rows, logits, batch.keys, batch.lengths)

    def _start_rows(self) -> list[Row]:
        """Computes prompts for the samples that free slots are there for. Returns the new rows."""
        if groups := self.schedule.next_groups():
            self._prefill(groups)
        return self.schedule.start_rows()

    def _prefill(self, groups: Sequence[Group]) -> None:
        """Computes prompts, each once, padded on the right: no token sees what comes after it, so no mask is needed."""
        prompts = [group.request.prompt_ids for group in groups]
        width = max(map(len, prompts))
        ids = [[*prompt, *[self.policy.pad_id] * (width - len(prompt))] for prompt in prompts]
        self.cache.expect_prompts(torch.tensor([group.slot for group in groups], device=self.device))
        hidden = self.decoder(
            input_ids=torch.tensor(ids, device=self.device),
            position_ids=torch.arange(width, device=self.device)[None],
            past_key_values=self.cache,
            use_cache=True,
        ).last_hidden_state  # [G, P, H]
        last = torch.tensor([len(prompt) - 1 for prompt in prompts], device=self.device)
        logits = self.head(hidden[torch.arange(len(groups), device=self.device), last])  # [G, V]
        for group, row in zip(groups, logits, strict=True):
            group.logits = row

    def _close_gaps(self) -> None:
        """Moves the last rows and prompts into slots that finished ones have left and nobody has taken."""
        if (moves := close_gaps(self.schedule.rows))[0]:
            self.cache.move_rows(*moves, self.cache.span)
        if (moves := close_gaps(self.schedule.groups))[0]:
            self.cache.move_prompts(*moves)

    def _make_batch(self) -> Batch:
        """The rows as they are now."""
        rows = [row for row in self.schedule.rows if row is not None]
        # Slots of rows that may yet come are kept; at the end of the rollout, long rows may take their memory.
        more = self.schedule.waiting or self.schedule.unstarted
        slots = self.schedule.plan.rows if more else len(rows)
        return Batch(rows, self.cache, slots)

    def _step(self, batch: Batch) -> Tensor:
        """Computes the rows' last tokens. Returns the logits [rows, V] of the next ones."""
        batch.begin_step()
        with attending(self.policy.lm):
            hidden = self.decoder(
                input_ids=batch.tokens[:, None],
                position_ids=batch.positions[:, None],
                past_key_values=self.cache,
                use_cache=True,
                r1lit_batch=batch,
            ).last_hidden_state
        batch.end_step()
        logits: Tensor = self.head(hidden[:, -1])
        return logits

    def _sample(self, rows: Sequence[Row], logits: Tensor, keys: Tensor, positions: Tensor) -> Iterator[Completion]:
        """Draws the next token of every row, and yields the completions that it ends."""
        s = self.sampling
        tokens, logprobs = sample_tokens(logits, uniforms(keys, positions), s.temperature, s.top_k, s.top_p)
        if self.batch is not None:
            self.batch.tokens = tokens
        ended: list[tuple[Row, FinishReason]] = []
        for row, token, logprob in zip(rows, tokens.tolist(), logprobs.tolist(), strict=True):
            row.token_ids.append(token)
            row.logprobs.append(logprob)
            if token in self.eos or (s.stop and self.stops.completed_by(row.token_ids)):
                ended.append((row, "stop"))
            elif len(row.token_ids) == s.max_new_tokens:
                ended.append((row, "length"))
        if ended:
            self.batch = None
        for row, _ in ended:
            self.schedule.retire(row)
        for row, reason in ended:
            yield make_completion(self.policy, row.group.request, row.sample, row.token_ids, row.logprobs, reason)
