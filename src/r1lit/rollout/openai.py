"""A teacher behind any server that speaks OpenAI's protocol: vLLM, SGLang, ``transformers serve``, or a paid API.

Sampling happens elsewhere, so the noise is the server's: a seed goes with each request, and whether it is honoured is
up to the server. Token ids are not part of the protocol and log-probabilities are rarely given, hence these completions
can be stored and trained on, but not learned from by policy gradients.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from r1lit.errors import InputError
from r1lit.functional.sampling import row_key
from r1lit.grading.parsing import parse_response
from r1lit.rollout.client import Request, Server, answers
from r1lit.rollout.completion import check_sampling
from r1lit.rollout.retries import MalformedAnswer
from r1lit.types import Completion, FinishReason, Prompt, SamplingParams

# A filter that cut an answer off makes it as unfit as the length limit does.
_FINISH: dict[str, FinishReason] = {
    **dict.fromkeys(("stop", "eos", "eos_token", "tool_calls", "function_call", "end_turn"), "stop"),
    **dict.fromkeys(("length", "max_tokens", "content_filter"), "length"),
}


class OpenAIEngine:
    """Samples from a server; see ``types.RolloutEngine``.

    ``token_ids`` and ``prompt_ids`` stay empty, and so does ``logprobs`` unless asked for and given. Reasoning that a
    server splits off (``reasoning_content`` or ``reasoning``) is put back between think tags. A server leaves out the
    stop string that ended a text, unless ``extra`` asks otherwise (vLLM: ``include_stop_str_in_output``).

    A server that is away or busy (no connection, status 429, 502, 503 or 504) is asked again for ``max_wait_s``; one
    that answers with another 5xx, with nothing in time, or with something else than a completion, ``max_retries``
    times. Waits grow exponentially with jitter; a Retry-After header overrides them.

    Args:
        base_url: Such as ``http://localhost:8000/v1``.
        model: The model's name on the server.
        api_key_env: Environment variable that holds the key; without it none is sent.
        concurrency: Requests under way at a time.
        timeout_s: Limit of one request.
        max_wait_s: How long a server may be away.
        max_retries: Further tries after other failures.
        samples_per_request: Completions asked for at a time by the parameter ``n``, which not every server knows.
        system: A system message put before prompts that have none.
        template: A text with ``{question}``: it is sent to ``/completions``, as base models need; empty sends the
            messages to ``/chat/completions``.
        prefill: How every answer begins: sent with a ``template``; of a chat server, what its chat template opens, such
            as ``<think>`` and a newline. That goes before every text that neither begins with it nor was split at it.
            A text with ``</think>`` alone gets its ``<think>`` in any case.
        logprobs: Ask for log-probabilities.
        max_tokens_field: What the server calls the length limit; OpenAI's newest models want ``max_completion_tokens``.
        extra: Further fields of the request.

    Raises:
        InputError: If an argument cannot be right, or the package ``openai`` is not installed.
    """

    def __init__(
        self,
        base_url: str,
        model: str,
        api_key_env: str = "OPENAI_API_KEY",
        concurrency: int = 32,
        timeout_s: float = 600.0,
        max_wait_s: float = 900.0,
        max_retries: int = 5,
        samples_per_request: int = 1,
        system: str | None = None,
        template: str = "",
        prefill: str = "",
        logprobs: bool = False,
        max_tokens_field: str = "max_tokens",
        extra: dict[str, Any] | None = None,
    ) -> None:
        self.server = Server(base_url, api_key_env, concurrency, timeout_s, max_wait_s, max_retries)
        if not model:
            raise InputError("OpenAIEngine: model is empty; give its name on the server")
        if samples_per_request < 1:
            raise InputError(f"OpenAIEngine: samples_per_request is {samples_per_request}; give at least 1")
        if template and "{question}" not in template:
            raise InputError(f"OpenAIEngine: template {template!r} lacks {{question}}")
        self.model, self.samples_per_request, self.system = model, samples_per_request, system
        self.template, self.prefill = template, prefill
        self.logprobs, self.max_tokens_field, self.extra = logprobs, max_tokens_field, dict(extra or {})

    def generate(self, prompts: Sequence[Prompt], sampling: SamplingParams) -> Iterator[Completion]:
        """Yields ``sampling.n`` completions for each prompt as they come in; the prompts are asked in order.

        Raises:
            InputError: If the settings cannot be followed, or the server refuses key, model or request.
            TrainingError: If the server stays away, or keeps failing; says how many completions are done.
        """
        check_sampling(sampling)
        requests = [request for prompt in prompts for request in self._requests(prompt, sampling)]
        for found in answers(self.server, requests, self.parse):
            yield from found

    def _requests(self, prompt: Prompt, sampling: SamplingParams) -> Iterator[Request]:
        for start in range(0, sampling.n, self.samples_per_request):
            samples = range(start, min(start + self.samples_per_request, sampling.n))
            # 31 bits: what every server's random generator takes.
            seed = row_key(sampling.seed, sampling.rollout, prompt.id, start) % 2**31
            body: dict[str, Any] = {
                "model": self.model,
                "temperature": sampling.temperature,
                "top_p": sampling.top_p,
                self.max_tokens_field: sampling.max_new_tokens,
                "seed": seed,
            }
            if len(samples) > 1:
                body["n"] = len(samples)
            if sampling.top_k:
                body["top_k"] = sampling.top_k
            if sampling.stop:
                body["stop"] = list(sampling.stop)
            if self.logprobs:
                body["logprobs"] = 1 if self.template else True
            path = "completions" if self.template else "chat/completions"
            yield Request(prompt, samples, path, body | self._input(prompt) | self.extra)

    def _input(self, prompt: Prompt) -> dict[str, Any]:
        if self.template:
            return {"prompt": self.template.replace("{question}", prompt.question) + self.prefill}
        messages = [{"role": m.role, "content": m.content} for m in prompt.messages]
        if self.system is not None and all(m["role"] != "system" for m in messages):
            messages.insert(0, {"role": "system", "content": self.system})
        return {"messages": messages}

    def parse(self, answer: object, request: Request) -> list[Completion]:
        """The completions in a server's answer to a request, decoded from JSON.

        Raises:
            MalformedAnswer: If it is not one completion for each sample that was asked for.
        """
        prompt, samples = request.prompt, request.samples
        if not isinstance(answer, Mapping) or not isinstance(choices := answer.get("choices"), list):
            raise MalformedAnswer(f"no choices in {str(answer)[:80]!r}")
        if len(choices) != len(samples):
            raise MalformedAnswer(f"{len(choices)} choices where {len(samples)} were asked for")
        usage = answer.get("usage")
        total = usage.get("completion_tokens") if isinstance(usage, Mapping) else None
        total = total if isinstance(total, int) else 0
        found = []
        for place, (sample, choice) in enumerate(zip(samples, choices, strict=True)):
            text, reason = self._text(choice)
            logprobs = _logprobs(choice.get("logprobs"))
            reasoning, final = parse_response(text)
            share = total // len(samples) + (place < total % len(samples))
            found.append(
                Completion(
                    prompt=prompt,
                    sample=sample,
                    prompt_ids=(),
                    token_ids=(),
                    logprobs=logprobs,
                    text=text,
                    finish_reason=reason,
                    reasoning=reasoning,
                    answer=final,
                    tokens=share or len(logprobs),
                )
            )
        return found

    def _text(self, choice: object) -> tuple[str, FinishReason]:
        if not isinstance(choice, Mapping):
            raise MalformedAnswer(f"a choice is {str(choice)[:80]!r}")
        reason = _FINISH.get(str(choice.get("finish_reason")))
        if reason is None:
            raise MalformedAnswer(f"finish_reason is {choice.get('finish_reason')!r}")
        if self.template:
            if not isinstance(text := choice.get("text"), str):
                raise MalformedAnswer(f"the text of a choice is {text!r}")
            return self.prefill + text, reason
        message = choice.get("message")
        if not isinstance(message, Mapping):
            raise MalformedAnswer(f"the message of a choice is {message!r}")
        content = message.get("content") or ""
        thought = message.get("reasoning_content") or message.get("reasoning") or ""
        if not isinstance(content, str) or not isinstance(thought, str):
            raise MalformedAnswer(f"the content of a message is {str(content or thought)[:80]!r}, not a text")
        if not thought:
            return self._begun(content), reason
        # Cut off while thinking: the tag stays open, as it does where the text comes in one piece.
        closing = "" if reason == "length" and not content else f"</think>{content}"
        return f"<think>{thought}{closing}", reason

    def _begun(self, content: str) -> str:
        """A chat's answer with what the server's template began it with."""
        if content.lstrip().startswith(self.prefill.strip() or "<think>"):
            return content
        closed = "</think>" in content and "<think>" not in content.partition("</think>")[0]
        return (self.prefill or ("<think>" if closed else "")) + content


def _logprobs(given: object) -> tuple[float, ...]:
    """Log-probabilities of the sampled tokens, from either form of the protocol; empty where there are none."""
    if not isinstance(given, Mapping):
        return ()
    values = given.get("token_logprobs")
    if values is None and isinstance(content := given.get("content"), list):
        values = [entry.get("logprob") if isinstance(entry, Mapping) else None for entry in content]
    if not isinstance(values, list) or not all(isinstance(value, int | float) for value in values):
        return ()
    return tuple(float(value) for value in values)
