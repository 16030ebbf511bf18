"""How a prompt becomes the text that the model continues."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from jinja2 import TemplateError
from transformers import PreTrainedTokenizerBase

from r1lit.errors import InputError
from r1lit.types import Message, Prompt

ZERO_TEMPLATE = (
    "This is a conversation between a User and an Assistant. The User asks a question and the Assistant solves it. "
    "The Assistant first works out the reasoning in its mind and only then gives the User the answer. The reasoning "
    "stands inside <think> </think> tags and the answer inside <answer> </answer> tags, like this: "
    "<think> reasoning goes here </think> <answer> answer goes here </answer>. User: {question}. Assistant:"
)
"""R1-Zero's plain text for base models (DeepSeek-R1, Table 1), in our words; it gives no hint on how to reason."""

EXAMPLES_TEMPLATE = (
    "User: What is 2 + 3?\nAssistant: <think>2 + 3 = 5</think><answer>5</answer>\n\n"
    'User: How many times does the letter "o" appear in the text: "book"?\n'
    "Assistant: <think>b, o, o, k: 2 times</think><answer>2</answer>\n\n"
    "User: Calculate 9 - 4.\nAssistant: <think>9 - 4 = 5</think><answer>5</answer>\n\n"
    "User: {question}\nAssistant:"
)
"""Worked examples in place of instructions, which a small model does not follow. A group computes its prompt once."""

_QUESTION = "{question}"
_PLAIN = {"zero": ZERO_TEMPLATE, "examples": EXAMPLES_TEMPLATE}
_OPEN_TAG = "<think>"
_BEGUN = re.compile(r"<think>\s*(?:</think>\s*)?\Z")
_FILES = (".jinja", ".jinja2", ".j2")
_PROBES = ("What is 1 + 1?", "1 + 1 = ?", "1+1", "a")


class Opening(NamedTuple):
    """What a model is given before its answer: ``text + added``."""

    text: str
    begun: str
    """The end of ``text`` that belongs to the answer: a think tag that the template opened, and perhaps closed."""
    added: str
    """The prefill, unless the template has written it already."""


@dataclass(frozen=True, slots=True)
class PromptTemplate:
    """Turns prompts into text and token ids.

    Raises:
        InputError: If a custom text has no ``{question}``, or ``system`` is given for a plain template.
    """

    text: str = "chat"
    """``chat`` (the tokenizer's chat template), ``zero`` (R1-Zero's plain text), ``examples`` (plain text with worked
    examples, for small models), or a text with ``{question}``. A file is for :func:`with_chat_template`."""
    system: str | None = None
    """System message for ``chat``; a prompt's own system message goes before it."""
    prefill: str = ""
    """The beginning of every answer, such as ``<think>`` and a newline; it counts as part of the completion's text."""

    def __post_init__(self) -> None:
        """Checks what can be checked without a tokenizer."""
        if self.text != "chat" and self.text not in _PLAIN and _QUESTION not in self.text:
            raise InputError(
                f"template '{self.text}': write chat, zero, examples, a text that contains {_QUESTION}, or the path of "
                "a .jinja file"
            )
        if self.text != "chat" and self.system is not None:
            raise InputError(f"system: only template chat takes a system message, not '{self.text[:40]}'")

    @property
    def is_chat(self) -> bool:
        """Whether the tokenizer's chat template is used."""
        return self.text == "chat"

    def render(self, prompt: Prompt, tokenizer: PreTrainedTokenizerBase) -> str:
        """The whole text that the model continues, the prefill included.

        Raises:
            InputError: If a plain template gets anything else than one user message, or a chat template refuses the
                messages; names the prompt.
        """
        opening = self._opening_of(prompt, tokenizer)
        return opening.text + opening.added

    def encode(self, prompt: Prompt, tokenizer: PreTrainedTokenizerBase) -> list[int]:
        """Token ids of :meth:`render`; a plain text gets the tokenizer's leading special tokens, never a final one."""
        text = self.render(prompt, tokenizer)
        # A chat template writes its own special tokens; asking for them again would double the first.
        ids: list[int] = tokenizer(text, add_special_tokens=not self.is_chat)["input_ids"]
        if not self.is_chat:
            while len(ids) > 1 and ids[-1] == tokenizer.eos_token_id:
                ids.pop()  # some tokenizers end every text; the model would then answer after its own end
        return ids

    def prefill_text(self, prompt: Prompt, tokenizer: PreTrainedTokenizerBase) -> str:
        """What the answer begins with before the first sampled token.

        It is ``prefill``, or the ``<think>`` that chat templates of reasoning models write themselves (R1-Distill, QwQ,
        Qwen3-Thinking), or the ``<think></think>`` of one whose reasoning was switched off.
        """
        opening = self._opening_of(prompt, tokenizer)
        return opening.begun + opening.added

    def _opening_of(self, prompt: Prompt, tokenizer: PreTrainedTokenizerBase) -> Opening:
        try:
            return self.opening(prompt.messages, tokenizer)
        except InputError as error:
            raise InputError(f"prompt '{prompt.id}': {error}") from error

    def opening(self, messages: Sequence[Message], tokenizer: PreTrainedTokenizerBase) -> Opening:
        """What the model is given of a chat so far.

        Raises:
            InputError: As :meth:`render`.
        """
        if self.is_chat:
            text = apply_chat(tokenizer, self.with_system(tuple(messages)), add_generation_prompt=True)
        elif len(messages) == 1 and messages[0].role == "user":
            text = _PLAIN.get(self.text, self.text).replace(_QUESTION, messages[0].content)
        else:
            raise InputError("a plain template takes one user message; use template: chat")
        begun = _BEGUN.search(text)
        already = bool(self.prefill.strip()) and text.rstrip().endswith(self.prefill.strip())
        return Opening(text, begun[0] if begun else "", "" if already else self.prefill)

    def with_system(self, messages: tuple[Message, ...]) -> tuple[Message, ...]:
        """The messages with the template's system message first, unless they bring one."""
        if self.system is None or any(m.role == "system" for m in messages):
            return messages
        return (Message("system", self.system), *messages)

    def check(self, tokenizer: PreTrainedTokenizerBase, name: str) -> None:
        """Makes sure that this template works with this tokenizer; ``name`` is the model's, for the message.

        Raises:
            InputError: If there is no chat template, it does not survive encoding and decoding, or the rendered
                prompt ends the conversation instead of opening an answer.
        """
        if not self.is_chat:
            return
        check_chat_template(tokenizer, name)
        probe = Message("user", _probe(tokenizer))
        ids = self.encode(Prompt("check", (probe,)), tokenizer)
        if ids[-1] == tokenizer.eos_token_id or not _opens_answer(tokenizer, probe):
            raise InputError(f"chat template of {name}: ignores add_generation_prompt; use template: zero or your own")


def apply_chat(
    tokenizer: PreTrainedTokenizerBase, messages: tuple[Message, ...], *, add_generation_prompt: bool = False
) -> str:
    """Renders messages with the tokenizer's chat template.

    Raises:
        InputError: If the template refuses them: many know no system message, or want user and assistant in turn.
    """
    rows: list[dict[str, Any]] = [{"role": m.role, "content": m.content} for m in messages]
    try:
        return str(tokenizer.apply_chat_template(rows, add_generation_prompt=add_generation_prompt, tokenize=False))
    except (TemplateError, TypeError) as error:
        roles = ", ".join(message.role for message in messages)
        raise InputError(f"the chat template refuses a chat of {roles}: {' '.join(str(error).split())}") from error


def with_chat_template(
    tokenizer: PreTrainedTokenizerBase, template: str, settings: Mapping[str, Any] | None = None
) -> str:
    """Gives the tokenizer another chat template, or other values of the variables that its template reads.

    Both are written into the tokenizer, so that they are saved and served with the model.

    Args:
        tokenizer: Changed in place.
        template: A template as ``Policy`` takes it. The path of a ``.jinja`` file replaces the tokenizer's own.
        settings: Values such as ``enable_thinking: false``, which whoever renders a chat may still override.

    Returns:
        ``chat`` for a file, else ``template``.

    Raises:
        InputError: If the file cannot be read, or ``settings`` are given where no chat template reads them.
    """
    if template.endswith(_FILES) and _QUESTION not in template:
        try:
            tokenizer.chat_template = Path(template).expanduser().read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise InputError(f"template '{template}': cannot be read: {error}; give the path of a file") from error
        template = "chat"
    if settings:
        if template != "chat" or not tokenizer.chat_template:
            raise InputError(f"chat_template_kwargs {dict(settings)}: only a chat template reads them")
        own = str(tokenizer.get_chat_template())
        for name, value in settings.items():
            if not re.search(rf"\b{re.escape(name)}\b", own):
                raise InputError(f"chat_template_kwargs.{name}: the chat template reads no such variable; leave it out")
            own = f"{{% if {name} is not defined %}}{{% set {name} = {value!r} %}}{{% endif %}}{own}"
        tokenizer.chat_template = own
    return template


def _opens_answer(tokenizer: PreTrainedTokenizerBase, question: Message) -> bool:
    """Whether a prompt ends where an answer begins: with ``add_generation_prompt``, or without needing it."""
    opening = apply_chat(tokenizer, (question,), add_generation_prompt=True)
    if opening != apply_chat(tokenizer, (question,)):
        return True
    answered = apply_chat(tokenizer, (question, Message("assistant", question.content)))
    return answered.removeprefix(opening).lstrip().startswith(question.content)


def check_chat_template(tokenizer: PreTrainedTokenizerBase, name: str, *, keeps_reasoning: bool = False) -> None:
    """Renders a conversation, encodes and decodes it, and compares.

    White space is not compared: SentencePiece tokenizers add or drop a space beside special tokens.

    Args:
        tokenizer: The tokenizer to check.
        name: The model's name, for the message.
        keeps_reasoning: Also require that ``<think>`` blocks of an answer survive the template, as training on them
            needs; the templates of R1's descendants drop them.

    Raises:
        InputError: If there is no chat template or the conversation comes back changed.
    """
    if not tokenizer.chat_template:
        raise InputError(f"{name} has no chat template; use template: zero, or a text with {_QUESTION}")
    probe = _probe(tokenizer)
    conversation = (Message("user", probe), Message("assistant", probe))
    rendered = apply_chat(tokenizer, conversation)
    decoded = tokenizer.decode(
        tokenizer(rendered, add_special_tokens=False)["input_ids"],
        skip_special_tokens=False,
        clean_up_tokenization_spaces=False,
    )
    if "".join(rendered.split()) != "".join(str(decoded).split()):
        raise InputError(f"chat template of {name}: text changes when encoded and decoded; mend it or use another")
    if keeps_reasoning:
        answer = f"{_OPEN_TAG}{probe}</think>{probe}"
        if _OPEN_TAG + probe not in apply_chat(tokenizer, (conversation[0], Message("assistant", answer))):
            raise InputError(f"chat template of {name}: drops what stands in {_OPEN_TAG}; give the tokenizer another")


def _probe(tokenizer: PreTrainedTokenizerBase) -> str:
    """A short text that the tokenizer can spell, so that the check blames the template alone."""

    def spelt(text: str) -> bool:
        decoded = tokenizer.decode(tokenizer(text, add_special_tokens=False)["input_ids"])
        return "".join(str(decoded).split()) == "".join(text.split())

    return next((text for text in _PROBES if spelt(text)), "")
