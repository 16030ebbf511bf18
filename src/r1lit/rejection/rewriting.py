"""Cold-start texts (paper, 2.3.1 and B.3.2): correct, readable samples of R1-Zero, rewritten into the readable format.

The paper's format is a reasoning process followed by a summary. Its reasoning was refined by people first and by a
model after their examples; here either rules tidy it up, or a teacher writes it again.
"""

import re
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import ClassVar, Literal, get_args

from r1lit.errors import InputError
from r1lit.grading.parsing import split_reasoning
from r1lit.types import Completion, Message, Prompt, RolloutEngine, SamplingParams

LAYOUT = "<think>{reasoning}</think><answer>{answer}</answer>"
SUMMARY = {"en": "The answer is {answer}.", "zh": "答案是 {answer}。"}
INSTRUCTION = """\
Below are a question and a solution that is correct but badly written. Write it again, in {language} only, so that it
reads well: as somebody who thinks aloud in the first person, understands the problem, reasons, reflects and verifies.
Keep every step that matters, add none, and leave out what is repeated. Then sum up the solution in a few sentences and
give the final answer as it stands below.

Question: {question}

Solution: {reasoning}

Final answer: {answer}

Reply with <reasoning>the reasoning</reasoning><summary>the summary</summary> and nothing else."""
LANGUAGES = {"en": "English", "zh": "Chinese", "de": "German", "fr": "French", "es": "Spanish", "ja": "Japanese"}

RuleName = Literal["tidy_space", "drop_repeats"]


class Rewriter(ABC):
    """Brings completions into the readable format."""

    costly: ClassVar[bool]
    """Whether each result is worth keeping should the run be killed."""

    @abstractmethod
    def rewrite(self, completions: Sequence[Completion]) -> Iterator[tuple[int, str | None]]:
        """Yields, in any order, the place of each completion with its new text; None where none came out."""


class RuleRewriter(Rewriter):
    """Tidies the reasoning up by rules and puts it into a layout.

    Args:
        layout: The new text, with ``{reasoning}``, and with ``{answer}`` or ``{summary}`` or both.
        summary: How the summary is worded, with ``{answer}``, by language; English where a language is missing.
        rules: Applied to the reasoning in this order: ``tidy_space`` drops needless white space, ``drop_repeats``
            sentences that repeat the one before.

    Raises:
        InputError: If a field is missing or a rule unknown.
    """

    costly = False

    def __init__(
        self,
        layout: str = LAYOUT,
        summary: Mapping[str, str] | None = None,
        rules: Sequence[RuleName] = ("tidy_space", "drop_repeats"),
    ) -> None:
        self.layout = checked_layout(layout)
        self.summary = dict(SUMMARY if summary is None else summary)
        if unknown := [name for name in rules if name not in RULES]:
            raise InputError(
                f"RuleRewriter: there is no rule {unknown[0]!r}; choose from {', '.join(get_args(RuleName))}"
            )
        if "{summary}" in layout and "en" not in self.summary:
            raise InputError("RuleRewriter: summary has no 'en', which other languages fall back on")
        self.rules = tuple(rules)

    def rewrite(self, completions: Sequence[Completion]) -> Iterator[tuple[int, str | None]]:
        """Yields the new texts in order; None where reasoning or answer are missing."""
        for place, completion in enumerate(completions):
            yield place, self._rewritten(completion)

    def _rewritten(self, completion: Completion) -> str | None:
        if completion.reasoning is None or completion.answer is None:
            return None
        reasoning = completion.reasoning
        for name in self.rules:
            reasoning = RULES[name](reasoning)
        wording = self.summary.get(completion.prompt.language) or self.summary.get("en", "")
        return fill(self.layout, reasoning, wording.replace("{answer}", completion.answer), completion.answer)


class TeacherRewriter(Rewriter):
    """Has a teacher write reasoning and summary anew.

    A teacher's own thoughts are not looked at. Whether the result is still correct is checked afterwards, by the same
    rewards and filters as before.

    Args:
        engine: The teacher, such as ``OpenAIEngine``.
        sampling: How it is sampled; of several samples the first usable one is taken.
        instruction: What it is told, with ``{question}``, ``{reasoning}``, ``{answer}`` and ``{language}``; its reply
            is to have ``<reasoning>`` and ``<summary>`` parts.
        layout: See ``RuleRewriter``.

    Raises:
        InputError: If a field is missing.
    """

    costly = True

    def __init__(
        self,
        engine: RolloutEngine,
        sampling: SamplingParams = SamplingParams(temperature=0.7, max_new_tokens=4096),  # noqa: B008 - frozen
        instruction: str = INSTRUCTION,
        layout: str = LAYOUT,
    ) -> None:
        if missing := [field for field in ("{question}", "{reasoning}") if field not in instruction]:
            raise InputError(f"TeacherRewriter: instruction lacks {missing[0]}")
        self.engine, self.sampling, self.instruction = engine, sampling, instruction
        self.layout = checked_layout(layout)

    def rewrite(self, completions: Sequence[Completion]) -> Iterator[tuple[int, str | None]]:
        """Yields the new texts as the teacher finishes them; None where its reply lacks a part or was cut off."""
        requests = [self._request(completion) for completion in completions]
        places = {request.id: place for place, request in enumerate(requests)}
        replies: dict[int, dict[int, str | None]] = {place: {} for place in places.values()}
        for reply in self.engine.generate(requests, self.sampling):
            place = places[reply.prompt.id]
            replies[place][reply.sample] = self._rewritten(reply, completions[place])
            if len(replies[place]) == self.sampling.n:
                texts = (text for _, text in sorted(replies[place].items()))
                yield place, next((text for text in texts if text is not None), None)

    def _request(self, completion: Completion) -> Prompt:
        prompt = completion.prompt
        fields = {
            "{question}": prompt.question,
            "{reasoning}": completion.reasoning or completion.text,
            "{answer}": completion.answer or "",
            "{language}": LANGUAGES.get(prompt.language, prompt.language),
        }
        text = re.sub("|".join(map(re.escape, fields)), lambda match: fields[match.group()], self.instruction)
        return Prompt(f"rewrite/{prompt.id}/{completion.sample}", (Message("user", text),), kind="general", task="chat")

    def _rewritten(self, reply: Completion, original: Completion) -> str | None:
        said = split_reasoning(reply.text)[1]
        reasoning, summary = (_between(said, tag) for tag in ("reasoning", "summary"))
        if reply.finish_reason != "stop" or not reasoning or not summary or original.answer is None:
            return None
        return fill(self.layout, reasoning, summary, original.answer)


def checked_layout(layout: str) -> str:
    """Returns a layout; raises ``InputError`` if it lacks reasoning or an answer."""
    if "{reasoning}" not in layout or ("{answer}" not in layout and "{summary}" not in layout):
        raise InputError(f"layout {layout!r} needs {{reasoning}}, and {{answer}} or {{summary}}")
    return layout


def fill(layout: str, reasoning: str, summary: str, answer: str) -> str:
    """Fills a layout; braces in the texts (as in LaTeX) mean nothing."""
    fields = {"{reasoning}": reasoning, "{summary}": summary, "{answer}": answer}
    return re.sub("|".join(map(re.escape, fields)), lambda match: fields[match.group()], layout)


def _between(text: str, tag: str) -> str:
    match = re.search(f"<{tag}>(.*?)</{tag}>", text, re.DOTALL)
    return match[1].strip() if match else ""


def tidy_space(text: str) -> str:
    """One space between words, one blank line between paragraphs at most, none at the ends."""
    lines = [re.sub(r"[^\S\n]+", " ", line).strip() for line in text.strip().splitlines()]
    return re.sub(r"\n{3,}", "\n\n", "\n".join(lines))


_SENTENCE_END = re.compile(r"((?<=[.!?])\s+|(?<=[。！？])\s*|\n\s*)")


def drop_repeats(text: str) -> str:
    """Leaves out a sentence or line that repeats the one before it."""
    parts = [*_SENTENCE_END.split(text), ""]
    kept, before = "", ""
    for sentence, space in zip(parts[::2], parts[1::2], strict=True):
        if not sentence or sentence != before:
            kept += sentence + space
        before = sentence
    return kept.strip()


RULES: dict[str, Callable[[str], str]] = {"tidy_space": tidy_space, "drop_repeats": drop_repeats}
