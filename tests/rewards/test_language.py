import sys
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from r1lit.errors import InputError
from r1lit.grading import identify
from r1lit.rewards import LanguageConsistencyReward, count_words, language_consistency
from r1lit.types import Completion, Message, Prompt


def completion(reasoning, language):
    prompt = Prompt("p7", (Message("user", "q"),), language=language)
    return Completion(prompt, 0, (), (), (), "", "stop", reasoning=reasoning)


@pytest.mark.parametrize(
    ("text", "counts"),
    [
        ("we don't know", {"latin": 3}),
        ("我们 then 算", {"han": 3, "latin": 1}),
        ("élève naïve Straße", {"latin": 3}),
        ("これは漢字", {"kana": 3, "han": 2}),
        ("안녕 하세요", {"hangul": 2}),
        ("Привет мир", {"cyrillic": 2}),
        ("3 + 4 = 7, 12.5 %!", {}),
        (r"\frac{1}{2} + \sqrt{x}", {}),
        ("so $x = \\text{abc}$ and \\(abc\\) or \\[abc\\] $$a\nword$$", {"latin": 3}),
        ("```python\nimport os\n``` done `code here`", {"latin": 1}),
        ("```unclosed code", {}),
        ("设 x 为 y", {"han": 2}),
        ("I saw a cat", {"latin": 4}),
        ("costs $5 today and $6 later", {"latin": 2}),  # read as a formula, like every pair of dollar signs
        ("see https://example.org/a/b", {"latin": 1}),
        ("", {}),
    ],
)
def test_count_words(text, counts):
    assert count_words(text) == counts


@pytest.mark.parametrize(
    ("text", "language", "share"),
    [
        ("first we add", "en", 1.0),
        ("first we add", "zh", 0.0),
        ("先加 two 数", "zh", 0.75),
        ("先加 two 数", "en", 0.25),
        ("先加", "zh-CN", 1.0),
        ("これは漢字", "ja", 1.0),
        ("これは漢字", "zh", 0.4),
        ("Привет мир", "ru", 1.0),
        ("wir addieren", "de", 1.0),
        ("1 + 1 = 2", "en", 0.0),
        ("", "zh", 0.0),
    ],
)
def test_language_consistency(text, language, share):
    assert language_consistency(text, language) == pytest.approx(share)


def test_reward_reads_the_reasoning():
    reward = LanguageConsistencyReward(weight=0.5)
    scores = reward.score([completion("all English", "en"), completion("半 half", "zh"), completion(None, "en")])
    assert scores == [1.0, 0.5, 0.0]
    assert (reward.name, reward.weight) == ("language_consistency", 0.5)


def test_unknown_language_names_the_prompt():
    with pytest.raises(InputError, match=r"'p7'.*'tlh'"):
        LanguageConsistencyReward().score([completion("nuqneH", "tlh")])


@settings(max_examples=300, deadline=None)
@given(st.text(max_size=60), st.sampled_from(["en", "zh", "ja", "ru"]))
def test_share_lies_between_0_and_1(text, language):
    assert 0.0 <= language_consistency(text, language) <= 1.0


@settings(max_examples=100, deadline=None)
@given(st.lists(st.sampled_from(["word", "字", "12", "слово", "+"]), max_size=20))
def test_counts_add_up(pieces):
    counts = count_words(" ".join(pieces))
    assert sum(counts.values()) == sum(piece in ("word", "字", "слово") for piece in pieces)


ENGLISH = (
    "First we add the two numbers, then we subtract the smaller one from the result. The remaining part is half of it."
)
GERMAN = (
    "Zuerst addieren wir die zwei Zahlen, dann ziehen wir die kleinere vom Ergebnis ab. "
    "Der ganze Rest ist die Hälfte davon."
)
FRENCH = (
    "D'abord nous additionnons les deux nombres, puis nous ôtons le plus petit du résultat. Le reste en est la moitié."
)
SPANISH = (
    "Primero sumamos los dos números y luego restamos el menor del resultado. La parte que queda es la mitad de eso."
)
RUSSIAN = "Сначала сложим эти два числа, потом вычтем меньшее из результата. Остаток равен половине этого числа."
UKRAINIAN = "Спочатку додамо ці два числа, потім віднімемо менше від результату. Залишок дорівнює половині цього числа."
CHINESE = "首先我们把两个数加起来，然后从结果中减去较小的数。剩下的部分是一半。"
JAPANESE = "まず二つの数を足して、それから結果から小さい方を引きます。残りはその半分です。"


@pytest.mark.parametrize(("text", "language"), [
    (ENGLISH, "en"), (GERMAN, "de"), (FRENCH, "fr"), (SPANISH, "es"), (RUSSIAN, "ru"), (UKRAINIAN, "uk"),
    (CHINESE, "zh"), (JAPANESE, "ja"),
])  # fmt: skip
def test_languages_of_one_script_are_told_apart(text, language):
    assert language_consistency(text, language, identify=True) > 0.95
    for other in {"en": "de fr es", "de": "en fr es", "fr": "en de es", "es": "en de fr", "ru": "uk", "uk": "ru",
                  "zh": "ja", "ja": "zh"}[language].split():  # fmt: skip
        assert language_consistency(text, other, identify=True) == 0.0


def test_sentences_of_two_languages_count_by_themselves():
    share = language_consistency(f"{ENGLISH} {GERMAN}", "en", identify=True)
    assert share == pytest.approx(
        sum(count_words(ENGLISH).values()) / sum(count_words(ENGLISH + " " + GERMAN).values())
    )
    assert language_consistency(f"{CHINESE}{JAPANESE}", "zh", identify=True) == pytest.approx(
        count_words(CHINESE)["han"] / sum(count_words(CHINESE + JAPANESE).values())
    )


@pytest.mark.parametrize("text", [
    "so", "also", "12 + 7 = 19 apples", "Ok, x and y.", r"Let $x = \sqrt{2}$, so \(x^2 = 2\).",
    "Janet sells 16 - 3 - 4 = 9 duck eggs a day. She makes 9 * 2 = $18 every day at the farmer's market.",
    "```python\ndef addieren(zahlen):\n    return sum(zahlen)  # die Summe aller Zahlen\n``` We sum them all.",
])  # fmt: skip
def test_few_words_names_formulas_and_code_are_not_held_against_a_text(text):
    assert language_consistency(text, "en", identify=True) == 1.0


def test_kanji_without_kana_are_no_japanese_but_single_ones_are():
    assert language_consistency("今日", "ja", identify=True) == 1.0
    assert language_consistency("計算結果は次の通りです。", "ja", identify=True) == 1.0
    assert language_consistency("我们先计算两个数的和。", "ja", identify=True) == 0.0


@pytest.mark.parametrize(("text", "language"), [
    ("γειά σου κόσμε", "el"), ("שלום עולם", "he"), ("नमस्ते दुनिया", "hi"), ("สวัสดี", "th"), ("مرحبا بالعالم", "ar"),
    ("안녕 세상", "ko"), ("გამარჯობა", "ka"), ("வணக்கம்", "ta"), ("হ্যালো", "bn"), ("Բարեւ", "hy"),
])  # fmt: skip
def test_scripts_of_their_own(text, language):
    for told_apart in (False, True):
        assert language_consistency(text, language, told_apart) == 1.0
        assert language_consistency(text, "en", told_apart) == 0.0


def test_the_reward_identifies_by_default_and_can_do_without():
    batch = [completion(GERMAN, "en"), completion(GERMAN, "de"), completion("1 + 1 = 2", "de")]
    assert LanguageConsistencyReward().score(batch) == [0.0, 1.0, 0.0]
    assert LanguageConsistencyReward(identify=False).score(batch) == [1.0, 1.0, 0.0]


def test_a_missing_identifier_is_named(monkeypatch):
    identify._known.cache_clear()
    monkeypatch.setitem(sys.modules, "py3langid.langid", None)
    identify._rivals.cache_clear()
    with pytest.raises(InputError, match=r"pip install py3langid"):
        language_consistency(ENGLISH, "en", identify=True)
    assert language_consistency(ENGLISH, "en") == 1.0


@pytest.mark.parametrize("piece", ["\\(", "\\[", "`a\n", "<a", "$$a", "<tool_call>"])
def test_openings_without_end_take_linear_time(piece):
    start = time.perf_counter()
    language_consistency(piece * 100_000, "en", identify=True)
    assert time.perf_counter() - start < 30
