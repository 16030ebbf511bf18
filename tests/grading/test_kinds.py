r"""Kinds of answers that judges of mathematics get wrong, each with pairs that are equal and pairs that are not."""

import itertools
import random

import pytest

from r1lit.grading.answers import check_answer, compare
from r1lit.grading.language import language_consistency
from r1lit.grading.workers import Job, run_jobs

EQUAL = {
    "equations": [
        ("g(3)=10", "g(3) = 10"),
        ("10", "g(3)=10"),
        (r"h(0)=\frac{1}{4}", "h(0)=0.25"),
        (r"\log_3 81 = 4", "4"),
        (r"\gcd(8, 12) = 4", "4"),
        (r"\binom{5}{2}=10", "10"),
        (r"\sum_{i=1}^{4} i = 10", "10"),
        ("3x=12", "x=4"),
        ("x^2=9", "x^2 = 9"),
        ("2y = 6x", "y=3x"),
        (r"\lim_{x\to 0} \frac{\sin x}{x} = 1", "1"),
        ("f(1)+f(2)=9", "9"),
        (r"\angle ABC = 40^\circ", "40"),
        ("AB = 12", "12"),
        ("Area = 24", "24"),
        (r"\det(A)=6", "6"),
        ("f''(1)=2", "2"),
        ("2x + 4y = 6", "x + 2y = 3"),
        ("y = 2x + 1", "2x - y + 1 = 0"),
        (r"\sqrt{49} = 7", "7"),
        ("a_5 = 31", "31"),
    ],
    "labelled lists": [
        ("a=1, b=2", "b=2, a=1"),
        ("x=3 and y=4", "x=3, y=4"),
        ("(3, 4)", "x=3, y=4"),
        ("x=3, y=4", "(3,4)"),
        (r"\alpha = 30^\circ, \beta = 60^\circ", r"\beta=60^\circ, \alpha=30^\circ"),
        ("x=1, x=2", "1, 2"),
        ("x_1=5, x_2=6", "5, 6"),
        ("PQ = 8, QR = 6", "QR=6, PQ=8"),
        ("p = 1/2, q = 1/3", r"p=\frac12, q=\frac13"),
        ("min = 2, max = 9", "max=9, min=2"),
        ("f(1)=2, f(2)=4", "f(2)=4, f(1)=2"),
        ("a=1; b=2", "a=1, b=2"),
    ],
    "number words": [
        ("3 million", "3000000"),
        ("2.5 billion", "2,500,000,000"),
        (r"4\text{ thousand}", "4000"),
        ("6 dozen", "72"),
        ("3 halves", r"\frac{3}{2}"),
        ("9 tenths", "0.9"),
        ("25 hundredths", "0.25"),
        ("2 crore", "20000000"),
        ("3 quarters", "0.75"),
        ("5 hundred", "500"),
        ("2 thirds", "2/3"),
        ("3万", "30000"),
        ("2亿", "200000000"),
        ("1.5 lakh", "150000"),
        ("$3 million", "3,000,000"),
        ("7 million people", "7000000"),
        ("2 hundred thousand", "200000"),
        ("3百万", "3000000"),
        ("8 thousandths", "0.008"),
        ("2 millions", "2 million"),
    ],
    "thousands": [
        ("3,000 and 4,500", "4500, 3000"),
        (r"\{12,000, 7\}", r"\{7, 12000\}"),
        ("(2,500, 10)", "(2500, 10)"),
        ("a=1,500, b=20", "a=1500, b=20"),
        ("1,234; 5,678", "1234, 5678"),
        ("x = 10,000", "10000"),
        ("81,256", "81, 256"),
        ("1,000,000 or 2", "2, 1000000"),
        ("[1,000, 2,000]", "[1000,2000]"),
        (r"1{,}200\text{ and }3{,}400", "1200, 3400"),
        ("5, 6,000", "6000, 5"),
        ("999, 1,000", "999, 1000"),
    ],
    "units": [
        ("3千克", "3 kg"),
        ("12公里", "12"),
        ("20℃", "20"),
        ("20 °C", r"20^\circ\text{C}"),
        ("8 N", "8 newtons"),
        ("273 K", "273"),
        ("4 kJ", "4"),
        ("60 Hz", "60"),
        ("9 centimetres", "9 cm"),
        ("3 litres", "3 L"),
        ("15 mins", "15"),
        ("2 hrs", "2 hours"),
        (r"5\text{ V}", "5 volts"),
        ("100 W", "100"),
        ("3 grams", "3 g"),
        ("7 kilometres per hour", "7 km/h"),
        ("50 degrees Fahrenheit", "50"),
        ("12 square metres", "12 m^2"),
        ("2 mol", "2"),
        ("500毫升", "500 ml"),
    ],
    "infinity": [
        ("+infinity", r"\infty"),
        ("∞", r"+\infty"),
        (r"(0, +\infty)", r"(0,\infty)"),
        (r"-\infty", "-∞"),
        ("∅", r"\varnothing"),
        (r"\{\}", r"\emptyset"),
        (r"(-\infty, +\infty)", r"(-\infty,\infty)"),
    ],
    "unions": [
        ("x<1 or x>4", r"(-\infty,1)\cup(4,\infty)"),
        (r"x \le 0 \text{ or } x \ge 2", r"(-\infty,0]\cup[2,\infty)"),
        (r"t<-1 \text{ or } 0<t<3", r"(-\infty,-1)\cup(0,3)"),
        ("P(X = 3) = 0.2", "0.2"),
        ("P(X < 5) = 1/4", "0.25"),
        (r"P(A|B) = \frac{1}{3}", "1/3"),
        (r"\Pr(X>1)=0.5", "1/2"),
        ("x<1 or x>4", "x>4 or x<1"),
    ],
    "complex": [
        ("(2+i)^2", "3+4i"),
        ("i^2", "-1"),
        (r"\frac{1}{i}", "-i"),
        ("(1+i)(1-i)", "2"),
        ("0.5+0.5i", r"\frac{1+i}{2}"),
        (r"e^{i\pi}", "-1"),
        (r"2e^{i\pi/2}", "2i"),
        ("3i+1", "1+3i"),
        (r"\sqrt{-4}", "2i"),
        (r"\frac{5}{2-i}", "2+i"),
    ],
    "repeating": [
        (r"0.\dot{6}", "2/3"),
        (r"0.\overline{27}", "3/11"),
        ("0.(27)", "3/11"),
        (r"1.\dot{3}", "4/3"),
        (r"0.8\bar{3}", "5/6"),
        (r"0.\dot{1}4285\dot{7}", "1/7"),
        ("0.333...", "1/3"),
        ("0.1666...", "1/6"),
        (r"-0.\bar{3}", "-1/3"),
        ("2.(9)", "3"),
    ],
    "characters": [
        ("−7", "-7"),
        ("‐7", "-7"),
        ("⅔", "2/3"),
        ("2⅓", "7/3"),
        ("≈ 2.5", "2.5"),
        ("7\u200b", "7"),
        ("2x10^4", "20000"),
        ("3**2", "9"),
        ("10^-2", "0.01"),
        ("3或4", "3, 4"),
        ("3、4", "3, 4"),
        ("the square", "square"),
        ("3:15 p.m.", "3:15 pm"),
        ("6 × 10^3", "6000"),
        ("１２", "12"),
        ("2⁄5", "0.4"),
        ("5\u00a0000", "5000"),
        ("about 7", "7"),
        ("3和4", "3, 4"),
    ],
    "qualifiers": [
        (r"f(x)=3x+c \text{ where } c \text{ is a constant}", "f(x)=3x+c"),
        (r"2k, k \in \mathbb{Z}", "2k"),
        (r"x = 2\pi n, \text{ where } n \in \mathbb{Z}", r"2\pi n"),
        ("n^2 for all n", "n^2"),
        (r"y = x, x \in \mathbb{R}", "y=x"),
        ("5 for any choice of a", "5"),
        (r"\frac{1}{n} \text{ for every } n", r"\frac{1}{n}"),
    ],
}
DIFFERENT = {
    "equations": [
        ("g(3)=10", "g(3)=11"),
        ("g(3)=10", "h(3)=10"),
        ("g(3)=10", "g(4)=10"),
        (r"\log_3 81 = 4", r"\log_3 81 = 5"),
        (r"\binom{5}{2}=10", r"\binom{5}{2}=11"),
        (r"\sum_{i=1}^{4} i = 10", "11"),
        ("3x=12", "x=5"),
        ("x^2=9", "x^2=16"),
        ("x^2=-9", "x^2=-16"),
        ("2y = 6x", "y=2x"),
        (r"\cos x = 2", r"\cos x = 3"),
        ("f(1)+f(2)=9", "f(1)+f(2)=8"),
        ("AB = 12", "BC = 12"),
        (r"\angle ABC = 40^\circ", r"\angle ABC = 50^\circ"),
        ("f''(1)=2", "f''(1)=3"),
        ("x=5", "y=5"),
        ("x + y = 3", "x + y = 4"),
        ("2x+3=7", "2"),
        ("a_5 = 31", "a_6=31"),
        ("e^x=-1", "e^x=-2"),
    ],
    "labelled lists": [
        ("a=1, b=2", "a=2, b=1"),
        ("(4, 3)", "x=3, y=4"),
        ("x=3, y=4", "x=3, z=4"),
        ("PQ = 8, QR = 6", "PQ=6, QR=8"),
        (r"\alpha = 30^\circ, \beta = 60^\circ", r"\alpha=60^\circ, \beta=30^\circ"),
        ("f(1)=2, f(2)=4", "f(1)=4, f(2)=2"),
        ("x_1=5, x_2=6", "x_1=6, x_2=5"),
        ("min = 2, max = 9", "min=9, max=2"),
        ("a=1, b=2", "a=1"),
        ("a=1, b=2", "a=1, b=2, c=3"),
    ],
    "number words": [
        ("3 million", "3"),
        ("3 millions", "3"),
        ("6 dozens", "6"),
        ("3 halves", "3"),
        ("9 tenths", "9"),
        ("2 crore", "2"),
        ("3万", "3"),
        ("2 thirds", "2"),
        ("5 hundreds", "5"),
        ("3 million", "3 billion"),
        ("2.5 thousand", "25000"),
    ],
    "thousands": [
        ("1,000, 2,000", "1000, 200"),
        ("(1,000, 2)", "(2, 1000)"),
        ("3,000 and 4,500", "3000"),
        ("12,345, 5", "12, 345, 5"),
    ],
    "units": [
        ("20℃", "20 °F"),
        ("3千克", "3克"),
        ("8 N", "8 J"),
        ("9 cm", "9 m"),
        ("2 hours", "2 minutes"),
        ("4 kJ", "4 J"),
        ("5 m", "5 m^2"),
        ("100 W", "100 kW"),
        ("12 m^2", "12 m^3"),
        ("5N", "5"),
    ],
    "infinity": [(r"-\infty", r"\infty"), (r"(0, +\infty)", r"[0,\infty)"), (r"\emptyset", "0"), (r"\infty", "1000")],
    "unions": [
        ("x<1 or x>4", r"(-\infty,1]\cup(4,\infty)"),
        ("x<1 or x>4", r"(1,4)"),
        ("P(X < 5) = 1/4", "1/5"),
        ("x<1 or x>4", "x<1"),
        ("x<1 or y>4", r"(-\infty,1)\cup(4,\infty)"),
        ("P(X < 5) = 1/4", "P(X<6)=1/4"),
    ],
    "complex": [("(2+i)^2", "3+5i"), ("i", "-i"), ("1+2i", "2+i"), ("2i", "2"), (r"\frac{1}{i}", "i"), ("5i", "5")],
    "repeating": [
        (r"0.\dot{6}", "0.6"),
        ("0.(27)", "0.27"),
        (r"0.8\bar{3}", "0.83"),
        ("0.333...", "0.3"),
        (r"0.\dot{3}", "1/4"),
    ],
    "characters": [
        ("−7", "7"),
        ("⅔", "1/3"),
        ("3或4", "34"),
        ("2x10^4", "2"),
        ("10^-2", "100"),
        ("3:15 p.m.", "3:15 am"),
    ],
    "qualifiers": [(r"2k, k \in \mathbb{Z}", "3k"), ("n^2 for all n", "n^3"), ("5 for any choice of a", "6")],
}


def cases(table):
    return [pytest.param(a, b, id=f"{kind}: {a} | {b}") for kind, pairs in table.items() for a, b in pairs]


@pytest.mark.parametrize(("one", "other"), cases(EQUAL))
def test_equal_both_ways_round(one, other):
    assert check_answer(one, other)
    assert check_answer(other, one)


@pytest.mark.parametrize(("one", "other"), cases(DIFFERENT))
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
    texts = {
        kind: sorted({text for table in (EQUAL, DIFFERENT) for pair in table.get(kind, ()) for text in pair})
        for kind in EQUAL
    }
    pairs = [pair for found in texts.values() for pair in itertools.combinations(found, 2)]
    random.Random(0).shuffle(pairs)
    pairs = pairs[:2000]
    there, back = verdicts(pairs), verdicts([(other, one) for one, other in pairs])
    assert [pair for pair, a, b in zip(pairs, there, back, strict=True) if a != b] == []


@pytest.mark.parametrize("text", sorted({text for pairs in EQUAL.values() for pair in pairs for text in pair}))
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
