"""Conversations as token ids with a mask: which tokens a model learns to write."""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

from transformers import PreTrainedTokenizerBase

from r1lit.errors import InputError
from r1lit.policy import Policy
from r1lit.policy.templates import PromptTemplate, apply_chat
from r1lit.types import Message, Prompt


class Encoded(NamedTuple):
    """A conversation; both lists have T entries."""

    input_ids: list[int]
    loss_mask: list[bool]
    """True for the tokens of assistant turns and the token that ends each."""


@dataclass(frozen=True)
class ChatEncoder:
    """Renders conversations as the policy sees them when it is sampled from, and marks what it is to learn.

    A prompt's tokens are exactly those that generation starts from, prefill included; so with a prefill such as
    ``<think>``, an assistant turn that begins with it learns what follows. Every assistant turn is a target, up to and
    including the token that ends it.
    """

    template: PromptTemplate
    tokenizer: PreTrainedTokenizerBase
    eos_ids: tuple[int, ...]

    @classmethod
    def of(cls, policy: Policy) -> "ChatEncoder":
        """The encoder of a policy."""
        return cls(policy.template, policy.tokenizer, policy.eos_ids)

    def encode(self, messages: Sequence[Message]) -> Encoded:
        """Encodes a conversation that ends with an assistant turn.

        Raises:
            InputError: If a plain template gets anything but a question and an answer, or the chat template renders
                the beginning of a conversation otherwise once there is more of it (templates that drop the reasoning
                of earlier turns do).
        """
        ids: list[int] = []
        mask: list[bool] = []
        text = ""
        for turn, message in enumerate(messages):
            if message.role != "assistant":
                continue
            opening, answer = self._opening_and_answer(messages[: turn + 1], text)
            context = self._ids(opening) if not text else self._ids(opening[len(text) :], begins=False)
            ids += context
            mask += [False] * len(context)
            new = self._continued(opening, ids, answer)
            targets = self._targets(new, last=turn == len(messages) - 1)
            ids += new if targets <= len(new) else [*new, self._end]
            mask += [True] * targets + [False] * (len(new) - targets)
            text = opening + answer
        end = len(mask) - mask[::-1].index(True)  # what a template writes after the last answer teaches nothing
        return Encoded(ids[:end], mask[:end])

    @property
    def _end(self) -> int:
        assert isinstance(self.tokenizer.eos_token_id, int)  # checked when the policy was made
        return self.tokenizer.eos_token_id

    def _opening_and_answer(self, messages: Sequence[Message], text: str) -> tuple[str, str]:
        """What the policy is given before an assistant turn, and what it is to write."""
        prompt = Prompt("row", tuple(messages[:-1]))
        answer = messages[-1].content
        if not self.template.is_chat:
            opening = self.template.render(prompt, self.tokenizer)
            return self._without_prefill(prompt, opening, answer)
        whole = apply_chat(self.tokenizer, self.template.with_system(tuple(messages)))
        opening = self.template.render(prompt, self.tokenizer)
        if not whole.startswith(opening):  # the answer does not begin with the prefill
            opening = opening.removesuffix(self.template.prefill)
        if not whole.startswith(opening) or not opening.startswith(text):
            raise InputError(
                "the chat template renders a conversation otherwise once more of it is known, so its turns cannot be "
                "learnt from; give the tokenizer a template that keeps them as they are, or use template: zero"
            )
        return opening, whole[len(opening) :]

    def _without_prefill(self, prompt: Prompt, opening: str, answer: str) -> tuple[str, str]:
        prefill = self.template.prefill
        if prefill and answer.startswith(prefill):
            return opening, answer[len(prefill) :]
        return opening.removesuffix(prefill), answer

    def _ids(self, text: str, begins: bool = True) -> list[int]:
        ids: list[int] = self.tokenizer(text, add_special_tokens=begins and not self.template.is_chat)["input_ids"]
        while begins and not self.template.is_chat and len(ids) > 1 and ids[-1] == self.tokenizer.eos_token_id:
            ids.pop()  # as in PromptTemplate.encode
        return ids

    def _continued(self, opening: str, before: list[int], answer: str) -> list[int]:
        """Ids of an answer, as they follow those of its prompt.

        Some tokenizers (SentencePiece) put a space before a text of its own: the answer's ids are taken from those of
        the whole text wherever these begin with the prompt's.
        """
        whole = self._ids(opening + answer)
        return whole[len(before) :] if whole[: len(before)] == before else self._ids(answer, begins=False)

    def _targets(self, ids: list[int], last: bool) -> int:
        """How many of an answer's tokens are targets; one more than there are where the end must be added."""
        end = next((place for place, token in enumerate(ids) if token in self.eos_ids), None)
        if end is not None:
            return end + 1
        return len(ids) + last

    # Identity

    @cached_property
    def tokenizer_hash(self) -> str:
        """Hash of what turns text into ids; the same for a tokenizer that was saved and loaded again."""
        backend = getattr(self.tokenizer, "backend_tokenizer", None)  # tokenizers in Python have none
        if backend is None:
            parts: object = sorted(self.tokenizer.get_vocab().items())
        else:
            parts = {k: v for k, v in json.loads(backend.to_str()).items() if k not in ("padding", "truncation")}
        return _hash([parts, self.tokenizer.eos_token_id])

    @cached_property
    def template_hash(self) -> str:
        """Hash of what turns messages into text."""
        chat = str(self.tokenizer.chat_template) if self.template.is_chat else ""
        return _hash([self.template.text, self.template.system, self.template.prefill, chat])


def _hash(value: object) -> str:
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()
