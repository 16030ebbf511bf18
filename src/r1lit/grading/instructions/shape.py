"""Instructions on the shape of a reply: counts of words, sentences, paragraphs and sections, and formats.

Every check takes the reply and the arguments under the names they have in the data of IFEval (arXiv 2311.07911).
"""

import json
import re

from r1lit.grading.instructions.content import compare

_WORD = re.compile(r"\w+")
_SENTENCE_END = re.compile(r"[.!?]+[\"'\u201d\u2019)\]*_]*(?=\s|$)|[\u3002\uff01\uff1f]+|\u0964")
_ABBREVIATION = re.compile(
    r"(?:^|[\s(\"'])(?:mr|mrs|ms|dr|prof|sr|jr|st|vs|etc|no|vol|fig|inc|ltd|co|approx|dept|est|gen|gov|rep|sen|e\.g|i\.e"
    r"|a\.m|p\.m|p\.s|p\.p\.s|u\.s|u\.k|ph\.d|[a-z])\.$",
    re.IGNORECASE,
)
_NUMBERED = re.compile(r"\n\s*\d+\.$")
_DIVIDER = re.compile(r"\s?\*\*\*\s?")
_PLACEHOLDER = re.compile(r"\[[^\[\]\n]*\]")
_BULLET = re.compile(r"^[ \t]*(?:\*(?!\*)|-)(?!-)[^\n]*$", re.MULTILINE)
_EMPHASIS = re.compile(r"\*\*([^\n*]+)\*\*|\*([^\n*]+)\*")
_TITLE = re.compile(r"<<([^\n<>]+)>>")
_ANSWERS = ("My answer is yes.", "My answer is no.", "My answer is maybe.")


def has_sentences(text: str, relation: str, num_sentences: int) -> bool:
    """So many sentences, at least or less than."""
    return compare(count_sentences(text), relation, num_sentences)


def count_sentences(text: str) -> int:
    """Sentences of a text: ended by ``. ! ?`` before white space, or by full-width marks.

    Abbreviations, initials and the numbers of lists end none; what follows the last mark is one more. (The benchmark's
    own program uses a trained splitter, which may differ by a sentence in rare cases.)
    """
    count, begin, end_of_text = 0, 0, len(text.rstrip())
    for match in _SENTENCE_END.finditer(text):
        end = match.end()
        before = text[max(begin, end - 12) : end]
        if match.group() == "." and end < end_of_text:
            opening = "\n" if begin >= end - 12 else "-"
            if _ABBREVIATION.search(before) or _NUMBERED.search(opening + before):
                continue
        count += bool(_WORD.search(text, begin, end))
        begin = end
    return count + bool(_WORD.search(text, begin))


def has_words(text: str, relation: str, num_words: int) -> bool:
    """So many words, at least or less than."""
    return compare(len(_WORD.findall(text)), relation, num_words)


def has_paragraphs(text: str, num_paragraphs: int) -> bool:
    """Exactly so many paragraphs, divided by ``***``; none between two dividers may be empty."""
    parts = [part.strip() for part in _DIVIDER.split(text)]
    if not all(parts[1:-1]):
        return False
    return sum(map(bool, parts)) == num_paragraphs


def has_first_word(text: str, num_paragraphs: int, nth_paragraph: int, first_word: str) -> bool:
    """Exactly so many paragraphs, divided by an empty line, of which the n-th begins with the word."""
    paragraphs = [part.strip() for part in text.split("\n\n") if part.strip()]
    if len(paragraphs) != num_paragraphs or not 1 <= nth_paragraph <= num_paragraphs:
        return False
    word = re.split(r"[.,?!'\"]", paragraphs[nth_paragraph - 1].split()[0].lstrip("'\""))[0]
    return word.lower() == first_word.lower()


def has_placeholders(text: str, num_placeholders: int) -> bool:
    """At least so many placeholders in square brackets."""
    return len(_PLACEHOLDER.findall(text)) >= num_placeholders


def has_postscript(text: str, postscript_marker: str) -> bool:
    """A postscript that begins with the marker; spaces after its full stops do not matter."""
    letters = postscript_marker.strip().rstrip(".").split(".")
    marker = r"\.\s?".join(re.escape(letter) for letter in letters)
    return re.search(rf"(?<!\w){marker}(?!\w)", text, re.IGNORECASE) is not None


def has_bullets(text: str, num_bullets: int) -> bool:
    """Exactly so many points of a list, each a line that begins with ``*`` or ``-``."""
    return len([line for line in _BULLET.findall(text) if line.strip(" *-\t")]) == num_bullets


def is_constrained(text: str) -> bool:
    """One of the three answers allowed occurs."""
    return any(answer in text for answer in _ANSWERS)


def has_highlights(text: str, num_highlights: int) -> bool:
    """At least so many highlighted parts, ``*so*`` or ``**so**``."""
    return sum(bool((strong or weak).strip()) for strong, weak in _EMPHASIS.findall(text)) >= num_highlights


def has_sections(text: str, section_spliter: str, num_sections: int) -> bool:
    """At least so many sections, each begun by the word and a number (the argument is spelt as in the data)."""
    word = re.escape(section_spliter.strip())
    return len(re.findall(rf"(?<!\w){word}\s?\d+", text)) >= num_sections


def is_json(text: str) -> bool:
    """The whole reply is JSON, with or without a fence around it."""
    text = re.sub(r"^```(?:json)?|```$", "", text.strip(), flags=re.IGNORECASE).strip()
    try:
        json.loads(text)
    except (ValueError, RecursionError):
        return False
    return True


def has_title(text: str) -> bool:
    """A title in double angular brackets occurs."""
    return any(title.strip() for title in _TITLE.findall(text))


def has_two_responses(text: str) -> bool:
    """Two different replies, divided by six asterisks."""
    parts = [part.strip() for part in text.split("******")]
    if not all(parts[1:-1]):
        return False
    found = [part for part in parts if part]
    return len(found) == 2 and found[0] != found[1]
