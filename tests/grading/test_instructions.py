import time

import pytest

from r1lit.errors import InputError
from r1lit.grading.instructions import CHECKS, follow_instructions, instruction_results
from r1lit.grading.instructions.shape import count_sentences
from r1lit.rewards.instructions import InstructionReward
from r1lit.types import Completion, Message, Prompt

GERMAN = "Der Hund läuft schnell durch den Wald und sucht seinen Freund, der schon lange auf ihn wartet."
ENGLISH = "The dog runs quickly through the forest and looks for a friend who has been waiting for a long time."
CASES = [
    ("keywords:existence", {"keywords": ["sun", "C++"]}, ["The Sun likes c++."], ["The sun likes C."]),
    (
        "keywords:frequency",
        {"relation": "at least", "keyword": "war", "frequency": 2},
        ["War and war.", "war, warm"],
        ["War and peace."],
    ),
    (
        "keywords:frequency",
        {"relation": "less than", "keyword": "war", "frequency": 2},
        ["War.", "Peace."],
        ["war war"],
    ),
    ("keywords:forbidden_words", {"forbidden_words": ["rock", "a.b"]}, ["Rocks! axb"], ["We ROCK.", "see a.b here"]),
    (
        "keywords:letter_frequency",
        {"letter": "t", "let_relation": "at least", "let_frequency": 2},
        ["Tt", "that"],
        ["to"],
    ),
    ("keywords:letter_frequency", {"letter": "!", "let_relation": "less than", "let_frequency": 1}, ["a"], ["a!"]),
    ("language:response_language", {"language": "de"}, [GERMAN], [ENGLISH, "123"]),
    ("language:response_language", {"language": "ja"}, ["今日はとても良い天気ですね。"], ["今天天气很好。", ENGLISH]),
    ("language:response_language", {"language": "kn"}, ["ನಾನು ಕನ್ನಡ ಭಾಷೆಯಲ್ಲಿ ಬರೆಯುತ್ತೇನೆ."], [ENGLISH]),
    ("length_constraints:number_sentences", {"relation": "less than", "num_sentences": 2}, ["One."], ["One. Two!"]),
    (
        "length_constraints:number_sentences",
        {"relation": "at least", "num_sentences": 2},
        ["One? Two.", "One. And two"],
        ["Dr. No has 3.5 points"],
    ),
    (
        "length_constraints:number_paragraphs",
        {"num_paragraphs": 2},
        ["one\n***\ntwo", "***\none\n\n***\n\ntwo\n***"],
        ["one", "one\n\ntwo", "a *** *** b", "a *** b *** c"],
    ),
    (
        "length_constraints:number_words",
        {"relation": "at least", "num_words": 3},
        ["one two, three", "one-two three"],
        ["one two!"],
    ),
    ("length_constraints:number_words", {"relation": "less than", "num_words": 3}, ["one two"], ["one two three"]),
    (
        "length_constraints:nth_paragraph_first_word",
        {"num_paragraphs": 2, "nth_paragraph": 2, "first_word": "weekend"},
        ["One.\n\nWeekend, at last.", 'One.\n\n\n\n"Weekend" it is.'],
        ["One.\n\nWeekends.", "One.\n\nTwo.\n\nWeekend", "Weekend", "Weekend\n\nTwo"],
    ),
    ("detectable_content:number_placeholders", {"num_placeholders": 2}, ["[name] [a b] [c]"], ["[name]", "a[\n]b[c]"]),
    (
        "detectable_content:postscript",
        {"postscript_marker": "P.S."},
        ["Bye.\n\nP.S. I do.", "p. s. I do"],
        ["Bye.", "PS I do", "ups.s."],
    ),
    ("detectable_content:postscript", {"postscript_marker": "P.P.S"}, ["Bye.\nP.P.S Call me."], ["P.S. Call me."]),
    (
        "detectable_format:number_bullet_lists",
        {"num_bullets": 2},
        ["* a\n* b", "So:\n - a\n - b\nDone - yes."],
        ["* a", "* a\n* b\n- c", "**a**\n**b**", "---\n---"],
    ),
    (
        "detectable_format:constrained_response",
        {},
        ["My answer is maybe.", "Well. My answer is no."],
        ["My answer is perhaps.", "my answer is no"],
    ),
    (
        "detectable_format:number_highlighted_sections",
        {"num_highlights": 2},
        ["*a* **b c**"],
        ["*a*", "* a\n* b", "****"],
    ),
    (
        "detectable_format:multiple_sections",
        {"section_spliter": "SECTION", "num_sections": 2},
        ["SECTION 1\na\nSECTION 2\nb", "SECTION 1 SECTION 2 SECTION 3"],
        ["SECTION 1", "Section 1 Section 2"],
    ),
    ("detectable_format:json_format", {}, ['{"a": 1}', "```json\n[1]\n```"], ["{a: 1}", 'So: {"a": 1}']),
    ("detectable_format:title", {}, ["<<Ode>>\nO joy"], ["<Ode>", "<< >>", "<<a\nb>>"]),
    (
        "combination:two_responses",
        {},
        ["one\n******\ntwo"],
        ["one", "one******one", "a******b******c", "a******", "a************b"],
    ),
    (
        "combination:repeat_prompt",
        {"prompt_to_repeat": "Say hi. "},
        ["Say hi. Hi!", "say HI.\nHi"],
        ["Hi!", "You said: Say hi."],
    ),
    ("startend:end_checker", {"end_phrase": "Peace!"}, ["Go. Peace!", '"Go. peace!" '], ["Peace! Go.", "Peace"]),
    ("startend:quotation", {}, ['"Yes."', ' "a" and "b"\n'], ['"Yes', "'Yes'", '"']),
    (
        "change_case:capital_word_frequency",
        {"capital_relation": "at least", "capital_frequency": 2},
        ["NASA is BIG", "DON'T PANIC"],
        ["NASA is big", "Don't Panic"],
    ),
    (
        "change_case:capital_word_frequency",
        {"capital_relation": "less than", "capital_frequency": 1},
        ["no Shouting"],
        ["SHOUT"],
    ),
    ("change_case:english_capital", {}, [ENGLISH.upper()], [ENGLISH, GERMAN.upper(), "今天", ENGLISH.upper() + "a"]),
    ("change_case:english_lowercase", {}, [ENGLISH.lower()], [ENGLISH, GERMAN.lower(), "今天"]),
    ("punctuation:no_comma", {}, ["a; b"], ["a, b"]),
]


def test_every_instruction_has_a_case():
    assert {name for name, *_ in CASES} == set(CHECKS)
    assert len(CHECKS) == 25


@pytest.mark.parametrize(("name", "kwargs", "good", "bad"), CASES, ids=[f"{i}-{c[0]}" for i, c in enumerate(CASES)])
def test_following_and_violating(name, kwargs, good, bad):
    instruction = {"id": name, "kwargs": kwargs}
    for text in good:
        assert follow_instructions(text, [instruction]) == [True], text
    for text in (*bad, "", " \n"):
        assert follow_instructions(text, [instruction]) == [False], text


@pytest.mark.parametrize(
    ("text", "count"),
    [
        ("", 0),
        ("No mark", 1),
        ("One. Two? Three!", 3),
        ("Really?! Yes... no.", 3),
        ("Mr. Smith met Dr. J. Doe at 3.30 p.m. today.", 1),
        ('He said "Go." She went.', 2),
        ("1. First point.\n2. Second point.", 2),
        ("I have 3. You have 4.", 2),
        ("一句话。两句话！三？", 3),
        ("Use e.g. this. - - .", 1),
    ],
)
def test_sentences(text, count):
    assert count_sentences(text) == count


def completion(text, instructions):
    meta = {} if instructions is None else {"instructions": instructions}
    return Completion(Prompt("p", (Message("user", "?"),), task="chat", meta=meta), 0, (), (), (), text, "stop")


NO_COMMA = {"id": "punctuation:no_comma", "kwargs": {}}
QUOTED = {"id": "startend:quotation"}


def test_the_reply_after_the_reasoning_is_judged():
    both = [NO_COMMA, QUOTED]
    assert instruction_results(completion('<think>Well, well.</think>\n"Yes"', both)) == [True, True]
    assert instruction_results(completion('<think>a</think> So, <answer> "Yes" </answer>', both)) == [True, True]
    assert instruction_results(completion('<think>"never closed"', both)) == [False, False]


def test_reward():
    given = [completion(text, [NO_COMMA, QUOTED]) for text in ('"a"', '"a, b"', "a, b")]
    assert InstructionReward().score([*given, completion("a", None)]) == [1.0, 0.0, 0.0, None]
    assert InstructionReward(partial=True).score(given) == [1.0, 0.5, 0.0]


@pytest.mark.parametrize(
    ("instructions", "message"),
    [
        ([{"id": "no:such"}], "prompt 'p': instruction 'no:such' is not known, only change_case"),
        ([{"id": "startend:quotation", "kwargs": {"x": 1}}], "takes no arguments, but is given x"),
        ([{"id": "keywords:existence"}], "takes keywords, but is given none"),
        ([{"id": "keywords:existence", "kwargs": {"keywords": "sun"}}], "keywords is 'sun', which does not fit"),
        ([{"id": "length_constraints:number_paragraphs", "kwargs": {"num_paragraphs": 2.5}}], "num_paragraphs is 2.5"),
        (
            [{"id": "length_constraints:number_words", "kwargs": {"relation": "about", "num_words": 2}}],
            "relation is 'about'",
        ),
        ([], "there are no instructions"),
        ("punctuation:no_comma", "meta 'instructions' must be a list"),
    ],
)
def test_what_cannot_be_checked_is_named(instructions, message):
    with pytest.raises(InputError, match=message):
        InstructionReward().score([completion("a", instructions)])


@pytest.mark.parametrize(
    "piece", ["*", "- ", "\n", "a. ", "1. ", "[", "<<", "P.", "Section ", "!", "\n\n", " *** ", "''"]
)
def test_long_replies_are_quick(piece):
    start = time.perf_counter()
    for name, kwargs, *_ in CASES:
        if not name.startswith("language"):
            follow_instructions(piece * 50_000, [{"id": name, "kwargs": kwargs}])
    assert time.perf_counter() - start < 10
