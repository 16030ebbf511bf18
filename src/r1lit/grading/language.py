"""The share of a text's words that are in its language (paper section 2.3.2, eq. 7)."""

import re

from r1lit.errors import InputError
from r1lit.grading.identify import is_foreign, sentences
from r1lit.grading.scripts import LANGUAGES, count_plain, without_names, without_neutral

_HAN_SIGNS = re.compile("[，。；：、]")


def language_consistency(text: str, language: str, identify: bool = False) -> float:
    """Num(words in the target language) / Num(words), paper eq. 7.

    Args:
        text: The reasoning.
        language: Target language, ISO 639-1, with or without a region (``zh-CN``).
        identify: Tell languages of one script apart too, sentence by sentence: Chinese from Japanese by its kana,
            others by py3langid. Without, languages are told apart by script alone, which is quicker by far.

    Returns:
        A share in [0, 1]; 0 for a text without words, so that silence is not the way to be consistent.

    Raises:
        InputError: If the language is not known, or py3langid is needed and not installed.
    """
    language = re.split("[-_]", language.lower())[0]
    scripts = LANGUAGES.get(language)
    if scripts is None:
        raise InputError(f"language {language!r} is not known; choose from {', '.join(sorted(LANGUAGES))}")
    plain = without_neutral(text)
    counts = count_plain(plain if "latin" in scripts else without_names(plain))
    total = sum(counts.values())
    if not total and "han" in scripts and count_plain(plain) and _HAN_SIGNS.search(plain):
        return 1.0  # a chain of formulas with names of points
    consistent = sum(counts.get(script, 0) for script in scripts)
    if identify and consistent:
        for sentence in sentences(plain):
            if is_foreign(sentence, language):
                found = count_plain(sentence)
                consistent -= sum(found.get(script, 0) for script in scripts)
    return consistent / total if total else 0.0
