"""How a prompt becomes the text that the model continues."""

from dataclasses import dataclass
from typing import Any

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
_PROBES = ("What is 1 + 1?", "1 + 1 = ?", "1+1", "a")


@dataclass(frozen=True, slots=True)
class PromptTemplate:
    """Turns prompts into text and token ids.

    Raises:
        InputError: If a custom text has no ``{question}``, or ``system`` is given for a plain template.
    """

    text: str = "chat"
    """``chat`` (the tokenizer's chat template), ``zero`` (R1-Zero's plain text), ``examples`` (plain text with worked
    examples, for small models), or a text with ``{question}``."""
    system: str | None = None
    """System message for ``chat``; a prompt's own system message goes before it."""
    prefill: str = ""
    """The beginning of every answer, such as ``<think>`` and a newline; it counts as part of the completion's text."""

    def __post_init__(self) -> None:
        """Checks what can be checked without a tokenizer."""
        if self.text != "chat" and self.text not in _PLAIN and _QUESTION not in self.text:
            raise InputError(f"template '{self.text}': write chat, zero, examples, or a text that contains {_QUESTION}")
        if self.text != "chat" and self.system is not None:
            raise InputError(f"system: only template chat takes a system message, not '{self.text[:40]}'")

    @property
    def is_chat(self) -> bool:
        """Whether the tokenizer's chat template is used."""
        return self.text == "chat"

    def render(self, prompt: Prompt, tokenizer: PreTrainedTokenizerBase) -> str:
        """The whole text that the model continues, the prefill included.

        Raises:
            InputError: If a plain template gets anything else than one user message.
        """
        opening = self._opening(prompt, tokenizer)
        return opening + self._added_prefill(opening)

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

        It is ``prefill``, or the ``<think>`` that the chat templates of R1's descendants already write.
        """
        opening = self._opening(prompt, tokenizer)
        written = opening[opening.rindex(_OPEN_TAG) :] if opening.rstrip().endswith(_OPEN_TAG) else ""
        return written + self._added_prefill(opening)

    def _added_prefill(self, opening: str) -> str:
        already = bool(self.prefill.strip()) and opening.rstrip().endswith(self.prefill.strip())
        return "" if already else self.prefill

    def _opening(self, prompt: Prompt, tokenizer: PreTrainedTokenizerBase) -> str:
        if self.is_chat:
            return apply_chat(tokenizer, self.with_system(prompt.messages), add_generation_prompt=True)
        if len(prompt.messages) != 1 or prompt.messages[0].role != "user":
            raise InputError(f"prompt '{prompt.id}': a plain template takes one user message; use template: chat")
        template = _PLAIN.get(self.text, self.text)
        return template.replace(_QUESTION, prompt.question)

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
        ids = self.encode(Prompt("check", (Message("user", _probe(tokenizer)),)), tokenizer)
        if ids[-1] == tokenizer.eos_token_id:
            raise InputError(f"chat template of {name}: ignores add_generation_prompt; use template: zero or your own")


def apply_chat(
    tokenizer: PreTrainedTokenizerBase, messages: tuple[Message, ...], *, add_generation_prompt: bool = False
) -> str:
    """Renders messages with the tokenizer's chat template."""
    rows: list[dict[str, Any]] = [{"role": m.role, "content": m.content} for m in messages]
    text = tokenizer.apply_chat_template(rows, add_generation_prompt=add_generation_prompt, tokenize=False)
    return str(text)


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
