"""Conversations as token ids with a mask: which tokens a model learns to write."""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Literal, NamedTuple

from transformers import PreTrainedTokenizerBase

from r1lit.errors import InputError
from r1lit.policy import Policy
from r1lit.policy.templates import PromptTemplate, apply_chat
from r1lit.types import Message

Turns = Literal["all", "last"]
_THINK, _END_THINK = "<think>", "</think>"
_MARKER = "0123456789"


class Encoded(NamedTuple):
    """A conversation; both lists have T entries."""

    input_ids: list[int]
    loss_mask: list[bool]
    """True for the tokens of the assistant turns to learn from and the token that ends each."""


@dataclass(frozen=True)
class ChatEncoder:
    """Renders conversations as the policy sees them when it is sampled from, and marks what it is to learn.

    A prompt's tokens are exactly those that generation starts from, prefill included; so with a prefill such as
    ``<think>``, or a chat template that opens that tag itself, an assistant turn that begins with it learns what
    follows. Such templates often drop the reasoning of finished turns: the last turn keeps it here, and where the
    template opens the tag and a turn has no reasoning, the turn closes the tag first, as Qwen3's templates do.

    Assistant turns are targets, up to and including the token that ends them, unless their message says otherwise.
    """

    template: PromptTemplate
    tokenizer: PreTrainedTokenizerBase
    eos_ids: tuple[int, ...]
    turns: Turns = "all"
    """Learn from every assistant turn, or from the last alone."""

    @classmethod
    def of(cls, policy: Policy, turns: Turns = "all") -> "ChatEncoder":
        """The encoder of a policy."""
        return cls(policy.template, policy.tokenizer, policy.eos_ids, turns)

    def encode(self, messages: Sequence[Message]) -> Encoded:
        """Encodes a conversation that ends with an assistant turn, up to the last turn to learn from.

        Raises:
            InputError: If there is no turn to learn from, a plain template gets anything but a question and an answer,
                or the chat template refuses the conversation or renders its beginning otherwise once there is more of
                it (templates that drop the reasoning of earlier turns do).
        """
        ids: list[int] = []
        mask: list[bool] = []
        text = ""
        wanted = self._wanted(messages)
        for turn in wanted:
            opening, answer = self._opening_and_answer(messages[: turn + 1], text)
            context = self._ids(opening) if not text else self._ids(opening[len(text) :], begins=False)
            if mask and context and mask[-1] and ids[-1] not in self.eos_ids:
                # Some templates write no end after a turn: the mark of the next role is what ends it.
                mask.append(context[0] in self.eos_ids)
                ids.append(context.pop(0))
            ids += context
            mask += [False] * len(context)
            new = self._continued(opening, ids, answer)
            targets = self._targets(new, last=turn == wanted[-1])
            ids += new if targets <= len(new) else [*new, self._end]
            mask += [True] * targets + [False] * (len(new) - targets)
            text = opening + answer
        end = len(mask) - mask[::-1].index(True)  # what a template writes after the last answer teaches nothing
        return Encoded(ids[:end], mask[:end])

    def _wanted(self, messages: Sequence[Message]) -> list[int]:
        """The places of the turns to learn from."""
        places = [place for place, message in enumerate(messages) if message.role == "assistant"]
        if self.turns == "last":
            places = places[-1:]
        wanted = [place for place in places if messages[place].learn]
        if not wanted:
            raise InputError("no turn to learn from: the data set says so of each; leave the row out")
        return wanted

    @property
    def _end(self) -> int:
        assert isinstance(self.tokenizer.eos_token_id, int)  # checked when the policy was made
        return self.tokenizer.eos_token_id

    def _opening_and_answer(self, messages: Sequence[Message], text: str) -> tuple[str, str]:
        """What the policy is given before an assistant turn, and what it is to write."""
        opening, content = self.template.opening(messages[:-1], self.tokenizer), messages[-1].content
        given = opening.text + opening.added
        if not self.template.is_chat:
            starts = content.startswith(opening.added)
            return (given, content[len(opening.added) :]) if starts else (opening.text, content)
        whole = apply_chat(self.tokenizer, self.template.with_system(tuple(messages)))
        if _END_THINK not in content or _squeezed(content) in _squeezed(whole):  # templates trim white space
            if not whole.startswith(given):
                given = opening.text  # the answer does not begin with the prefill
            if whole.startswith(given) and given.startswith(text):
                return given, whole[len(given) :]
            if not opening.begun:
                raise _changed()
            given = opening.text + opening.added
        if not given.startswith(text):
            raise _changed()
        answer = self._after(opening.begun + opening.added, content)
        return given, answer + self._turn_end(messages[:-1])

    def _after(self, begun: str, content: str) -> str:
        """The rest of an answer that begins with a prefill, or with what the template opened."""
        reasons = _END_THINK in content
        if _END_THINK in begun:
            if reasons:
                raise InputError("an answer with reasoning, which the chat template has switched off; switch it on")
            return content
        if content.startswith(begun):
            return content[len(begun) :]
        if not reasons:
            return f"\n{_END_THINK}\n\n{content.lstrip()}"
        return content.lstrip().removeprefix(_THINK).lstrip("\n")

    def _turn_end(self, before: Sequence[Message]) -> str:
        """What the template writes after an answer."""
        turns = self.template.with_system((*before, Message("assistant", _MARKER)))
        return apply_chat(self.tokenizer, turns).rpartition(_MARKER)[2]

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


def _changed() -> InputError:
    return InputError(
        "the chat template renders a conversation otherwise once more of it is known, so its earlier turns cannot be "
        "learnt from; learn from the last turn alone (turns: last), or give the policy another template"
    )


def _squeezed(text: str) -> str:
    return "".join(text.split())


def _hash(value: object) -> str:
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()
