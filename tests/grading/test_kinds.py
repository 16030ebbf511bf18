r"""Kinds of answers that judges of mathematics get wrong, each with pairs that are equal and pairs that are not."""

import itertools
import json
import random
from pathlib import Path

import pytest

from r1lit.grading.answers import check_answer, compare
from r1lit.grading.language import language_consistency
from r1lit.grading.workers import Job, run_jobs

PAIRS = [json.loads(line) for line in Path(__file__).with_name("kinds.jsonl").read_text(encoding="utf-8").splitlines()]
"""Kind, the two answers, and whether they are equal."""


def cases(equal):
    found = [row for row in PAIRS if row["equal"] == equal]
    return [pytest.param(row["one"], row["other"], id=f"{row['kind']}: {row['one']} / {row['other']}") for row in found]


def test_each_kind_has_twenty_of_either():
    for kind in {row["kind"] for row in PAIRS}:
        for equal in (True, False):
            assert sum((row["kind"], row["equal"]) == (kind, equal) for row in PAIRS) >= 18, (kind, equal)


@pytest.mark.parametrize(("one", "other"), cases(True))
def test_equal_both_ways_round(one, other):
    assert check_answer(one, other)
    assert check_answer(other, one)


@pytest.mark.parametrize(("one", "other"), cases(False))
def test_different_both_ways_round(one, other):
    assert not check_answer(one, other)
    assert not check_answer(other, one)


def verdicts(pairs):
    found = [compare(one, other) for one, other in pairs]
    places = [place for place, verdict in enumerate(found) if isinstance(verdict, Job)]
    for place, done in zip(places, run_jobs([found[place] for place in places], 5.0), strict=True):
        found[place] = done
    return [bool(verdict) for verdict in found]


def test_the_order_of_the_two_does_not_matter():
    texts: dict[str, set[str]] = {}
    for row in PAIRS:
        texts.setdefault(row["kind"], set()).update((row["one"], row["other"]))
    pairs = [pair for found in texts.values() for pair in itertools.combinations(sorted(found), 2)]
    random.Random(0).shuffle(pairs)
    pairs = pairs[:2000]
    there, back = verdicts(pairs), verdicts([(other, one) for one, other in pairs])
    assert [pair for pair, a, b in zip(pairs, there, back, strict=True) if a != b] == []


SPELLINGS = {
    "five": ["5", "5.0", r"\frac{10}{2}", "10/2", "5.00", "five", "+5", r"\boxed{5}"],
    "a half": ["1/2", "0.5", r"\frac12", "½", "one half", "50\\%", "0.50", r"\dfrac{2}{4}"],
    "a third": ["1/3", r"\frac{1}{3}", r"0.\overline{3}", "0.(3)", "one third", r"\frac{2}{6}"],
    "minus two": ["-2", "−2", "-2.0", r"-\frac{4}{2}", "(-2)"],
    "a thousand": ["1000", "1,000", "1{,}000", "10^3", r"1\times10^3", "one thousand", "1e3", "1 thousand"],
    "three millions": ["3000000", "3,000,000", "3 million", r"3\times10^6", "300万", "three million"],
    "seven halves": ["7/2", "3.5", "3 1/2", r"3\frac{1}{2}", "7 halves", "3½"],
    "infinity": [r"\infty", "∞", r"+\infty", "infinity", "inf"],
    "minus infinity": [r"-\infty", "-∞", "negative infinity"],
    "nothing": [r"\emptyset", "∅", r"\varnothing", "empty set", "no solution"],
    "2 + 3i": ["2+3i", "3i+2", "2 + 3j", "2+3i."],
    "an interval": ["(1, 5)", "(1,5)", r"\left(1, 5\right)", "(1.0, 5)"],
    "half closed": ["[1, 5)", "[1,5)", r"\left[1,5\right)"],
    "a pair": ["(2, 3)", "(2,3)", r"\left(2, 3\right)", r"(2, \frac{6}{2})"],
    "its turn": ["(3, 2)", "(3,2)", r"(\frac{6}{2}, 2)"],
    "a set": [r"\{1, 2, 3\}", "{3, 2, 1}", r"\{2,1,3\}", "1, 2, 3", "3, 1 and 2"],
    "a smaller set": [r"\{1, 2\}", "1, 2", "2, 1", "1 and 2", "1 or 2"],
    "labels": ["x=1, y=2", "y = 2, x = 1", "x = 1 and y = 2"],
    "labels turned": ["x=2, y=1", "y = 1, x = 2", "x = 2 and y = 1"],
    "f(2)": ["f(2)=7", "f(2) = 7", "f(2)=7.0", "$f(2)=7$"],
    "f(3)": ["f(3)=7", "f(3) = 7", "f(3)=7.0"],
    "a length": ["5 cm", "5 centimeters", r"5\text{ cm}", "5cm", "5 厘米"],
    "another length": ["5 m", "5 meters", r"5\text{ m}", "5 米"],
    "a time": ["15 minutes", "15 min", "15 mins", "15 分钟"],
    "a temperature": ["20 °C", "20 degrees Celsius", r"20^\circ\text{C}"],
    "money": ["$5", "5 dollars", "US$5", "5 USD"],
    "cents": ["5 cents", "5¢"],
    "pi halves": [r"\frac{\pi}{2}", "π/2", r"\pi/2"],
    "root two": [r"\sqrt{2}", "√2", "sqrt(2)", r"\sqrt2"],
    "a square": ["x^2", "x²", "x^{2}"],
    "binary": ["101_2", "101_{2}"],
    "a word": ["Monday", "monday", r"\text{Monday}"],
}
"""By value, full spellings of it."""
BARE = {("five", "a length"), ("five", "another length"), ("five", "money"), ("five", "cents")}
"""The one exception: a bare 5 may stand for 5 cm and for 5 m, and is no full spelling of either."""
BARE |= {("a smaller set", "labels"), ("a smaller set", "labels turned")}


def test_equality_is_transitive_on_full_spellings():
    drawn = random.Random(1)
    names = sorted(SPELLINGS)
    triples = []
    while len(triples) < 1500:
        same, third = drawn.choice(names), drawn.choice(names)
        if (same, third) in BARE or (third, same) in BARE:
            continue
        one, other = drawn.choice(SPELLINGS[same]), drawn.choice(SPELLINGS[same])
        triples.append((one, other, drawn.choice(SPELLINGS[third]), same == third))
    first = verdicts([(one, other) for one, other, _, _ in triples])
    there = verdicts([(one, third) for one, _, third, _ in triples])
    by_way = verdicts([(other, third) for _, other, third, _ in triples])
    broken = [
        (*triple, *found)
        for triple, *found in zip(triples, first, there, by_way, strict=True)
        if found != [True, triple[3], triple[3]]
    ]
    assert broken == []
    assert sum(triple[3] for triple in triples) > 30


@pytest.mark.parametrize("text", sorted({row[side] for row in PAIRS for side in ("one", "other")}))
def test_equal_to_itself(text):
    assert check_answer(text, text)


@pytest.mark.parametrize(
    ("text", "language", "least", "most"),
    [
        ("在三角形ABC中，AB=3，求BC。", "zh", 1.0, 1.0),
        ("面积是12cm^2，所以边长是3cm，质量是5kg。", "zh", 1.0, 1.0),
        ("因此 sin x = 1，max(a, b) = 3。", "zh", 1.0, 1.0),
        ("∠PQR = 90°，所以 PQ∥RS。", "zh", 1.0, 1.0),
        ("我们先 calculate 这个 total 数", "zh", 0.6, 0.9),
        ("Площадь треугольника ABC равна 5 cm.", "ru", 1.0, 1.0),
        ("Найдём the value числа", "ru", 0.4, 0.6),
        ("三角形の面積を求める。AB = 5cm。", "ja", 1.0, 1.0),
        ("ABC DEF GHI", "zh", 0.0, 0.0),
        ("THE ANSWER is 5", "en", 1.0, 1.0),
    ],
)
def test_names_in_latin_letters_belong_to_no_language(text, language, least, most):
    assert least <= language_consistency(text, language) <= most
