"""Which language is a sentence in, among those of one script?"""

import re
from functools import cache
from typing import Any

from r1lit.errors import InputError
from r1lit.grading.scripts import LANGUAGES, count_plain, words

_END = re.compile(r"(?<=[.!?:;\u2026\u061f\u0964])\s+|(?<=[\u3002\uff01\uff1f\uff1b])|\n+")
_ENOUGH = 6
"""Words above which a sentence is judged by itself; shorter ones are joined with the next."""
_LEAST = 4
"""Words below which nothing is said."""
_ODDS = 5.0
"""A text is foreign only if another language is this many times likelier than the target (twice that for few words)."""
_READ = 2000
"""Characters of a sentence that are read."""
_HAN_WITHOUT_KANA = 8
_KANA_SHARE = 0.15
_CLOSE = (
    frozenset({"no", "nb", "nn", "da"}),
    frozenset({"id", "ms"}),
    frozenset({"hr", "bs", "sr", "sl"}),
    frozenset({"cs", "sk"}),
    frozenset({"gl", "pt", "es", "ca"}),
    frozenset({"xh", "zu"}),
    frozenset({"bg", "mk"}),
    frozenset({"hi", "mr", "ne"}),
)
"""Languages that a sentence of school mathematics may not tell apart; those of the larger ones still are."""
_LARGE = frozenset({"es", "pt", "hi", "cs", "da"})


def sentences(text: str) -> list[str]:
    """Cuts a text into sentences, short ones joined until there are words enough to judge by."""
    found = [""]
    count = 0
    for sentence in _END.split(text):
        if not sentence.strip():
            continue
        if count >= _ENOUGH:
            found.append("")
            count = 0
        found[-1] += f" {sentence}"
        count += sum(count_plain(sentence).values())
    if 0 < count < _ENOUGH and len(found) > 1:
        rest = found.pop()
        found[-1] += rest
    return found


def is_foreign(sentence: str, language: str) -> bool:
    """Whether a sentence is surely in another language than ``language``, written in the same script.

    Raises:
        InputError: If py3langid is needed and not installed.
    """
    scripts = LANGUAGES[language]
    if language in ("zh", "ja"):
        counts = count_plain(sentence)
        han, kana = counts.get("han", 0), counts.get("kana", 0)
        if language == "ja":
            return kana == 0 and han >= _HAN_WITHOUT_KANA
        return kana > _KANA_SHARE * (han + kana)
    rivals = _rivals(language)
    found = words(sentence, scripts)
    if len(rivals) < 2 or len(found) < _LEAST:
        return False
    # Not the whole sentence: numbers and names of variables say nothing; capitals would mislead.
    likely = dict(_identifier(rivals).rank(" ".join(found)[:_READ].lower()))
    odds = _ODDS if len(found) >= _ENOUGH else 2 * _ODDS
    return bool(max(likely.values()) > odds * likely[language])


@cache
def _rivals(language: str) -> tuple[str, ...]:
    """The language and all others of its script that can be told from it."""
    close = {other for group in _CLOSE if language in group for other in group} - {language}
    if language in _LARGE:
        close -= _LARGE
    known = _known()
    return tuple(
        sorted(
            other
            for other, scripts in LANGUAGES.items()
            if scripts == LANGUAGES[language] and other in known and other not in close
        )
        if language in known
        else ()
    )


@cache
def _known() -> frozenset[str]:
    return frozenset(_load().labels)


@cache
def _identifier(languages: tuple[str, ...]) -> Any:
    identifier = _load()
    identifier.set_languages(list(languages))
    return identifier


def _load() -> Any:
    try:
        from py3langid.langid import MODEL_FILE, LanguageIdentifier
    except ImportError as error:
        raise InputError(
            "telling languages of one script apart needs py3langid; pip install py3langid, or set identify to false"
        ) from error
    return LanguageIdentifier.from_model_file(MODEL_FILE, norm_probs=True)


def language_of(text: str) -> str | None:
    """The language that a text is most likely in, among the some hundred that py3langid knows.

    Returns:
        ISO 639-1; None for a text without words.

    Raises:
        InputError: If py3langid is not installed.
    """
    counts = count_plain(text)
    if not counts:
        return None
    if counts.get("kana", 0) > _KANA_SHARE * (counts.get("han", 0) + counts.get("kana", 0)):
        return "ja"
    # Capitals would mislead.
    ranked = _identifier(tuple(sorted(_known()))).rank(text[: 10 * _READ].lower())
    return str(ranked[0][0])
