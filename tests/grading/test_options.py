"""Which letter a reply states."""

import pytest

from r1lit.grading.options import stated_letter


@pytest.mark.parametrize(
    ("text", "letter"),
    [
        ("ANSWER: B", "B"),
        ("The answer is (c).", "C"),
        ("Answer: A because it burns.", "A"),
        ("ANSWER: B. The answer is a simple one.", "B"),
        ("The answer is a base, hence D", "D"),
        ("Answer: I believe it is B.", "B"),
        ("ANSWER: A\nNo, wait.\nANSWER: C", "C"),
        (r"The final answer is \boxed{\text{D}}", "D"),
        ("答案是B", "B"),
        ("The answer is option C", "C"),
        ("ANSWER: A or B", None),
        ("ANSWER: A, B", None),
        ("Answer: B and C", None),
        ("ANSWER: A/B", None),
        ("The answer is a protein.", None),
        ("Answer: I do not know", None),
        ("The answer is E", None),
        ("The answer is Dog", None),
        ("A and B are wrong", None),
        ("", None),
    ],
)
def test_stated_letter(text, letter):
    assert stated_letter(text, options=4) == letter


def test_without_options_all_letters_count():
    assert stated_letter("The answer is E") == "E"
