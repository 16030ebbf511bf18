"""Verifiable instructions (IFEval, arXiv 2311.07911), judged strictly: the reply as it is, all of them followed."""

import inspect
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from r1lit.errors import InputError
from r1lit.grading.instructions import content, shape
from r1lit.grading.parsing import summary
from r1lit.types import Completion

CHECKS: dict[str, Callable[..., bool]] = {
    "keywords:existence": content.has_keywords,
    "keywords:frequency": content.has_keyword_often,
    "keywords:forbidden_words": content.lacks_words,
    "keywords:letter_frequency": content.has_letter_often,
    "language:response_language": content.is_in_language,
    "length_constraints:number_sentences": shape.has_sentences,
    "length_constraints:number_paragraphs": shape.has_paragraphs,
    "length_constraints:number_words": shape.has_words,
    "length_constraints:nth_paragraph_first_word": shape.has_first_word,
    "detectable_content:number_placeholders": shape.has_placeholders,
    "detectable_content:postscript": shape.has_postscript,
    "detectable_format:number_bullet_lists": shape.has_bullets,
    "detectable_format:constrained_response": shape.is_constrained,
    "detectable_format:number_highlighted_sections": shape.has_highlights,
    "detectable_format:multiple_sections": shape.has_sections,
    "detectable_format:json_format": shape.is_json,
    "detectable_format:title": shape.has_title,
    "combination:two_responses": shape.has_two_responses,
    "combination:repeat_prompt": content.repeats_prompt,
    "startend:end_checker": content.ends_with,
    "startend:quotation": content.is_quoted,
    "change_case:capital_word_frequency": content.has_capital_words_often,
    "change_case:english_capital": content.is_english_capitals,
    "change_case:english_lowercase": content.is_english_lowercase,
    "punctuation:no_comma": content.lacks_commas,
}
"""The check of each instruction id: the reply, then the instruction's arguments by name; put your own beside them."""
_RELATIONS = ("at least", "less than")


def check_instructions(instructions: Sequence[Mapping[str, Any]], where: str) -> None:
    """Checks that instructions are known and have the arguments they need.

    Args:
        instructions: Each ``{"id": ..., "kwargs": {...}}``.
        where: What to name in an error: a file's row, or a prompt.

    Raises:
        InputError: If an instruction's id is unknown, or an argument is missing, unknown or of the wrong type.
    """
    if not instructions:
        raise InputError(f"{where}: there are no instructions to check")
    for instruction in instructions:
        name = instruction.get("id")
        if name not in CHECKS:
            raise InputError(f"{where}: instruction {name!r} is not known, only {', '.join(sorted(CHECKS))}")
        given = instruction.get("kwargs") or {}
        wanted = dict(list(inspect.signature(CHECKS[name]).parameters.items())[1:])
        if given.keys() != wanted.keys():
            raise InputError(
                f"{where}: instruction {name!r} takes {', '.join(wanted) or 'no arguments'},"
                f" but is given {', '.join(given) or 'none'}"
            )
        for key, parameter in wanted.items():
            if not _fits(given[key], parameter.annotation, key):
                raise InputError(f"{where}: instruction {name!r}: {key} is {given[key]!r}, which does not fit")


def _fits(value: Any, kind: Any, key: str) -> bool:
    if kind is int:
        return not isinstance(value, bool) and isinstance(value, int | float) and value == int(value) and value >= 0
    if kind is str:
        return isinstance(value, str) and bool(value) and (not key.endswith("relation") or value in _RELATIONS)
    return isinstance(value, list) and all(isinstance(word, str) and word for word in value)


def follow_instructions(reply: str, instructions: Sequence[Mapping[str, Any]]) -> list[bool]:
    """Whether a reply follows each instruction (strict, instruction level); an empty reply follows none.

    Args:
        reply: What the user is shown.
        instructions: Each ``{"id": ..., "kwargs": {...}}``.

    Raises:
        InputError: See ``check_instructions``.
    """
    check_instructions(instructions, "instructions")
    if not reply.strip():
        return [False] * len(instructions)
    return [CHECKS[instruction["id"]](reply, **(instruction.get("kwargs") or {})) for instruction in instructions]


def instruction_results(completion: Completion) -> list[bool]:
    """Whether a completion's reply follows each instruction of its prompt's ``meta["instructions"]``.

    The reply is what stands in answer tags, or else all that follows the reasoning.

    Raises:
        InputError: If the prompt has none, or ones that cannot be checked; names the prompt.
    """
    instructions = completion.prompt.meta.get("instructions")
    where = f"prompt {completion.prompt.id!r}"
    if not isinstance(instructions, Sequence) or isinstance(instructions, str):
        raise InputError(f"{where}: meta 'instructions' must be a list of objects with 'id' and 'kwargs'")
    check_instructions(instructions, where)
    return follow_instructions(_reply(completion), instructions)


def _reply(completion: Completion) -> str:
    text = summary(completion.text)
    end = text.rfind("</answer>")
    start = text.rfind("<answer>", 0, end) if end >= 0 else -1
    return text[start + len("<answer>") : end].strip() if start >= 0 else text
