import xml.etree.ElementTree as ET

import pytest

from r1lit.report.svg import interval_chart, line_chart, number, ticks


@pytest.mark.parametrize(
    ("low", "high", "expected"),
    [
        (0, 1, [0, 0.2, 0.4, 0.6, 0.8, 1]),
        (0.13, 0.94, [0.2, 0.4, 0.6, 0.8]),
        (-30, 200, [0, 50, 100, 150, 200]),
        (0, 90, [0, 20, 40, 60, 80]),
    ],
)
def test_ticks_are_round_and_inside(low, high, expected):
    assert ticks(low, high) == pytest.approx(expected)


def test_ticks_of_a_single_value():
    assert ticks(3.0, 3.0) == [3.0]


@pytest.mark.parametrize(("value", "text"), [(0.0, "0"), (0.25, "0.25"), (1234.5, "1,234"), (65536.0, "66k")])
def test_numbers(value, text):
    assert number(value) == text


def test_lines_stay_in_the_frame_and_say_what_they_show():
    svg = line_chart({"a <b>": [(float(x), x * x / 10) for x in range(500)], "gap": [(1.0, float("nan"))]}, mark=20)
    root = ET.fromstring(svg)
    _, _, width, height = map(float, root.attrib["viewBox"].split())
    line = next(part for part in root if part.attrib["class"].startswith("line"))
    for pair in line.attrib["points"].split():
        x, y = map(float, pair.split(","))
        assert 0 <= x <= width
        assert 0 <= y <= height
    dots = [part for part in root if part.attrib["class"].startswith("dot")]
    assert 60 <= len(dots) <= 120, "a long run has a dot for some rollouts only"
    assert dots[0].find("title").text == "a <b>: 0 at update 0"
    assert "a <b> from" in root.attrib["aria-label"]
    assert len([part for part in root if part.attrib["class"] == "mark"]) == 1


def test_nothing_to_draw_is_no_chart():
    assert line_chart({"a": []}) == ""
    assert interval_chart([], "x") == ""


def test_a_constant_line_and_intervals_are_drawn():
    ET.fromstring(line_chart({"a": [(1.0, 0.0)]}))
    root = ET.fromstring(interval_chart([("Base", 0.3, 0.2, 0.4), ("R1", 1.0, 1.0, 1.0)], "pass@1"))
    titles = [title.text for title in root.iter("title")]
    assert titles == ["Base: 0.3 [0.2, 0.4]", "R1: 1 [1, 1]"]
