"""What a reward model reads: the prompt, and the whole reply or its summary alone (paper, 3.1)."""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from transformers import PreTrainedTokenizerBase

from r1lit.errors import InputError
from r1lit.policy.templates import PromptTemplate, apply_chat, check_chat_template
from r1lit.types import Message, Prompt

Reads = Literal["answer", "all"]
PLAIN = "turns"
"""The template of models without a chat template: each turn after its role's name."""
_THINK, _END_THINK = "<think>", "</think>"


def read_part(response: str, reads: Reads) -> str:
    """What is read of a reply, without surrounding space.

    Args:
        response: With or without reasoning; its opening ``<think>`` may be part of the prompt.
        reads: ``answer`` reads what follows the reasoning, nothing where the reasoning was never closed (the paper's
            helpfulness looks at the final summary only); ``all`` reads everything (safety does).
    """
    if reads == "answer":
        if _END_THINK in response:
            response = response.partition(_END_THINK)[2]
        elif response.lstrip().startswith(_THINK):
            response = ""
    return response.strip()


@dataclass(frozen=True)
class RewardEncoder:
    """Renders a prompt and a reply as one text whose last token the score is taken at.

    Raises:
        InputError: If the template does not fit the tokenizer.
    """

    tokenizer: PreTrainedTokenizerBase
    reads: Reads = "answer"
    template: str = "chat"
    """``chat``, ``turns`` (each turn after its role's name), or as in ``Policy``."""
    name: str = "the reward model"
    """Of the model, for messages."""

    def __post_init__(self) -> None:
        """Checks the template."""
        if self.template == "chat":
            check_chat_template(self.tokenizer, self.name, keeps_reasoning=self.reads == "all")
        elif self.template != PLAIN:
            PromptTemplate(self.template)

    @staticmethod
    def template_for(tokenizer: PreTrainedTokenizerBase) -> str:
        """The template where none is named: the tokenizer's own, or else ``turns``."""
        return "chat" if tokenizer.chat_template else PLAIN

    def read(self, response: str) -> str:
        """The part of a reply that is read; see :func:`read_part`."""
        return read_part(response, self.reads)

    def render(self, messages: Sequence[Message], response: str) -> str:
        """The whole text; a plain one ends with the eos token."""
        reply = self.read(response)
        if self.template == "chat":
            return apply_chat(self.tokenizer, (*messages, Message("assistant", reply)))
        end = self.tokenizer.eos_token or ""
        if self.template == PLAIN:
            turns = [f"{m.role.capitalize()}: {m.content.strip()}" for m in (*messages, Message("assistant", reply))]
            return "\n\n".join(turns) + str(end)
        opening = PromptTemplate(self.template).render(Prompt("row", tuple(messages)), self.tokenizer)
        return f"{opening.rstrip()} {reply}{end}"

    def encode(self, messages: Sequence[Message], response: str) -> list[int]:
        """Token ids of :meth:`render`."""
        text = self.render(messages, response)
        ids: list[int] = self.tokenizer(text, add_special_tokens=self.template != "chat")["input_ids"]
        eos = self.tokenizer.eos_token_id
        while self.template != "chat" and len(ids) > 1 and ids[-1] == ids[-2] == eos:
            ids.pop()  # some tokenizers end every text themselves
        return ids


def cut_middle(ids: list[int], longest: int) -> list[int]:
    """At most ``longest`` of a row's tokens: the first and the last half of them, without what lies between.

    A reward model must see how the prompt begins and how the reply ends; a cut at either end would lose one of them.
    """
    if len(ids) <= longest:
        return ids
    tail = longest - longest // 2
    return ids[: longest // 2] + ids[-tail:]


def vocabulary_hash(tokenizer: PreTrainedTokenizerBase) -> str:
    """Hash of the tokenizer's tokens and their ids."""
    return hashlib.sha256(json.dumps(sorted(tokenizer.get_vocab().items())).encode()).hexdigest()[:16]


def check_vocabulary(tokenizer: PreTrainedTokenizerBase, rows: int, recorded: str | None, name: str) -> None:
    """Refuses a tokenizer that is not the one that a reward model was trained with.

    Args:
        tokenizer: Beside the model's weights.
        rows: Of the model's embedding.
        recorded: :func:`vocabulary_hash` of the right one; None where the model does not say.
        name: The model's name.

    Raises:
        InputError: If an id of the tokenizer has no row, or its tokens are others than recorded.
    """
    largest = max(tokenizer.get_vocab().values(), default=0)
    if largest >= rows:
        raise InputError(
            f"reward model '{name}': its tokenizer has ids up to {largest} but its embedding {rows} rows; "
            "put the tokenizer that it was trained with into the directory"
        )
    if recorded is not None and recorded != vocabulary_hash(tokenizer):
        raise InputError(
            f"reward model '{name}': its tokenizer has another vocabulary than it was trained with; "
            "put the right tokenizer into the directory"
        )
