"""A teacher behind a server: what it holds likely at each token of a text that a student wrote.

It speaks vLLM's form of ``/completions``: the text goes there as token ids, and ``prompt_logprobs`` brings the
likeliest tokens at each of its positions, by their ids. OpenAI's own form knows neither for texts that are given.
"""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import torch

from r1lit.errors import InputError
from r1lit.functional.distillation import TeacherTop
from r1lit.policy import Policy
from r1lit.rollout.client import Request, Server, answers
from r1lit.rollout.retries import MalformedAnswer
from r1lit.types import Completion, Prompt

LEAST = -100.0
"""The smallest log-probability that is believed: servers also send minus infinity."""
_Position = list[tuple[int, float]]
"""Token ids with their log-probabilities, the likeliest first."""


class ServerTeacher:
    """Asks a vLLM server for the log-probabilities of the ``top_k`` likeliest tokens; see ``modules.teachers.Teacher``.

    The texts are those of the student, token by token, so the student must have the teacher's vocabulary. How long and
    how patiently a server is asked is as with ``OpenAIEngine``.

    Args:
        reader: The model that is served, as a policy whose weights are never loaded: its tokenizer, its template for
            the question, and its context.
        base_url: Such as ``http://localhost:8000/v1``.
        model: The model's name on the server; ``reader.init_from`` if empty, which is vLLM's default name.
        top_k: Likeliest tokens at each position; vLLM gives 20 at most unless started with ``--max-logprobs``.
        api_key_env: Environment variable that holds the key; without it none is sent.
        concurrency: Requests under way at a time.
        timeout_s: Limit of one request.
        max_wait_s: How long a server may be away.
        max_retries: Further tries after other failures.

    Raises:
        InputError: If an argument cannot be right, or the package ``openai`` is not installed.
    """

    def __init__(
        self,
        reader: Policy,
        base_url: str,
        model: str = "",
        top_k: int = 20,
        api_key_env: str = "OPENAI_API_KEY",
        concurrency: int = 32,
        timeout_s: float = 600.0,
        max_wait_s: float = 900.0,
        max_retries: int = 5,
    ) -> None:
        if top_k < 1:
            raise InputError(f"ServerTeacher: top_k is {top_k}; give at least 1")
        self.server = Server(base_url, api_key_env, concurrency, timeout_s, max_wait_s, max_retries)
        self.top_k, self.model = top_k, model or reader.init_from
        self.name, self.tokenizer, self.max_context = self.model, reader.tokenizer, reader.max_context
        self.encode_prompt = reader.encode_prompt

    def distributions(self, completions: Sequence[Completion], device: torch.device) -> TeacherTop:
        """See ``modules.teachers.Teacher``; one request for each completion.

        Raises:
            InputError: If the server refuses key, model or request.
            TrainingError: If it stays away, or keeps failing.
        """
        prompts: dict[str, list[int]] = {}
        for completion in completions:
            prompt: Prompt = completion.prompt
            if prompt.id not in prompts:
                prompts[prompt.id] = self.encode_prompt(prompt)
        requests = [self._request(completion, prompts[completion.prompt.id]) for completion in completions]
        told: dict[tuple[str, int], list[_Position]] = dict(answers(self.server, requests, self.parse))
        positions: list[_Position] = []
        for completion in completions:
            if completion.token_ids:
                positions += told[completion.prompt.id, completion.sample][-len(completion.token_ids) :]
        table = torch.tensor(positions, dtype=torch.float64, device=device).reshape(-1, self.top_k, 2)
        return TeacherTop(table[..., 0].long(), table[..., 1].float())

    def _request(self, completion: Completion, prompt_ids: list[int]) -> Request:
        body: dict[str, Any] = {
            "model": self.model,
            "prompt": [*prompt_ids, *completion.token_ids],
            "max_tokens": 1,  # what vLLM samples at least; it is not looked at
            "temperature": 0.0,
            "prompt_logprobs": self.top_k,
        }
        return Request(completion.prompt, range(completion.sample, completion.sample + 1), "completions", body)

    def parse(self, answer: object, request: Request) -> tuple[tuple[str, int], list[_Position]]:
        """What a server's answer to a request says of each of its tokens but the first.

        Raises:
            MalformedAnswer: If it is not ``top_k`` likeliest tokens for each.
        """
        choices = answer.get("choices") if isinstance(answer, Mapping) else None
        choice = choices[0] if isinstance(choices, list) and choices else None
        given = choice.get("prompt_logprobs") if isinstance(choice, Mapping) else None
        if not isinstance(given, list):
            raise MalformedAnswer("no prompt_logprobs, which vLLM has and other servers may not")
        if len(given) != len(request.body["prompt"]):
            raise MalformedAnswer(f"prompt_logprobs of {len(given)} tokens for {len(request.body['prompt'])}")
        return (request.prompt.id, request.samples.start), [self._position(entry) for entry in given[1:]]

    def _position(self, entry: object) -> _Position:
        """One position: ``{token id: {"logprob": ...}}``, in which the token that stands there may come on top."""
        if not isinstance(entry, Mapping):
            raise MalformedAnswer(f"prompt_logprobs has {str(entry)[:80]!r} for a token")
        found: _Position = []
        for token, value in entry.items():
            logprob = value.get("logprob") if isinstance(value, Mapping) else None
            if not str(token).isdecimal() or not isinstance(logprob, int | float) or math.isnan(logprob):
                raise MalformedAnswer(f"prompt_logprobs has {token!r}: {str(value)[:80]!r}")
            found.append((int(token), max(float(logprob), LEAST)))
        found.sort(key=lambda pair: (-pair[1], pair[0]))
        if len(found) < self.top_k:
            raise MalformedAnswer(f"{len(found)} log-probabilities for a token where {self.top_k} were asked for")
        return found[: self.top_k]
