import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from r1lit.errors import InputError
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
