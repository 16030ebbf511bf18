"""Instructions on what a reply says: keywords, letters, language, repetition, beginning and end.

Every check takes the reply and the arguments under the names they have in the data of IFEval (arXiv 2311.07911). The
rules follow the data's descriptions; where those leave a choice, substrings count as keywords and case does not matter.
"""

import re

from r1lit.grading.identify import is_foreign, language_of
from r1lit.grading.scripts import LANGUAGES, count_words

_TOKEN = re.compile(r"[^\W_]+(?:[-'\u2019.][^\W_]+)*")


def compare(count: int, relation: str, bound: int) -> bool:
    """Whether ``count`` is "at least" or "less than" ``bound``."""
    return count >= bound if relation == "at least" else count < bound


def has_keywords(text: str, keywords: list[str]) -> bool:
    """All keywords occur."""
    return all(keyword.casefold() in text.casefold() for keyword in keywords)


def has_keyword_often(text: str, relation: str, keyword: str, frequency: int) -> bool:
    """A keyword occurs at least, or less than, so many times."""
    return compare(text.casefold().count(keyword.casefold()), relation, frequency)


def lacks_words(text: str, forbidden_words: list[str]) -> bool:
    """None of the words occurs as a word of its own."""
    return not any(re.search(rf"\b{re.escape(word)}\b", text, re.IGNORECASE) for word in forbidden_words)


def has_letter_often(text: str, letter: str, let_relation: str, let_frequency: int) -> bool:
    """A letter (or sign) occurs at least, or less than, so many times."""
    return compare(text.lower().count(letter.lower()), let_relation, let_frequency)


def is_in_language(text: str, language: str) -> bool:
    """The whole reply is in one language, ISO 639-1, as far as py3langid can tell."""
    return language_of(text) == re.split("[-_]", language.lower())[0]


def is_english(text: str) -> bool:
    """Most words are in Latin script, and no other language is far likelier: capitals alone tell little."""
    counts = count_words(text)
    latin = sum(counts.get(script, 0) for script in LANGUAGES["en"])
    return 2 * latin > sum(counts.values()) and not is_foreign(text.lower(), "en")


def is_english_capitals(text: str) -> bool:
    """English, and no small letter in it."""
    return text.isupper() and is_english(text)


def is_english_lowercase(text: str) -> bool:
    """English, and no capital in it."""
    return text.islower() and is_english(text)


def has_capital_words_often(text: str, capital_relation: str, capital_frequency: int) -> bool:
    """Words all in capitals occur at least, or less than, so many times."""
    return compare(sum(word.isupper() for word in _TOKEN.findall(text)), capital_relation, capital_frequency)


def lacks_commas(text: str) -> bool:
    """There is no comma."""
    return "," not in text


def repeats_prompt(text: str, prompt_to_repeat: str) -> bool:
    """The reply begins with the prompt, word for word."""
    return text.strip().lower().startswith(prompt_to_repeat.strip().lower())


def ends_with(text: str, end_phrase: str) -> bool:
    """The reply ends with the phrase; quotation marks around the reply are overlooked."""
    return text.strip().strip('"').lower().endswith(end_phrase.strip().strip('"').lower())


def is_quoted(text: str) -> bool:
    """The whole reply stands in double quotation marks."""
    text = text.strip()
    return len(text) > 1 and text.startswith('"') and text.endswith('"')
