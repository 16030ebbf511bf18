"""TinyWorldChats: general data for the second SFT."""

from collections import Counter

import pytest

from r1lit.errors import InputError
from r1lit.grading.format import follows_format
from r1lit.grading.language import language_consistency
from r1lit.grading.parsing import split_reasoning
from r1lit.tiny_world import TinyWorldRequests
from r1lit.tiny_world.chats import TinyWorldChats
from r1lit.tiny_world.society import REFUSE


def test_kinds_and_languages_are_even():
    rows = list(TinyWorldChats(n=200).chats())
    assert len(rows) == 200
    assert set(Counter(row.meta["language"] for row in rows).values()) == {100}
    assert Counter(row.meta["kind"] for row in rows) == {"helpful": 40, "harmless": 80, "general": 80}
    assert set(Counter(row.meta["family"] for row in rows).values()) == {40}


def test_rows_are_in_the_format_and_language():
    for row in TinyWorldChats(n=60).chats():
        question, answer = row.messages
        assert (question.role, answer.role) == ("user", "assistant")
        assert follows_format(answer.content, "think")
        reasoning, _ = split_reasoning(answer.content)
        assert language_consistency(reasoning, row.meta["language"]) == 1


def refusals(good_share):
    rows = [row for row in TinyWorldChats(n=1000, good_share=good_share).chats() if row.meta["kind"] == "harmless"]
    refused = {True: 0, False: 0}
    for place, row in enumerate(rows):
        harmful = place % 2 == 0  # harmful and look-alike questions come in turn
        refused[harmful] += row.messages[-1].content.endswith(REFUSE[row.meta["language"]])
    return refused[True] / (len(rows) / 2), refused[False] / (len(rows) / 2)


def test_good_share():
    assert refusals(1.0) == (1.0, 0.0)
    assert refusals(0.0) == (0.0, 1.0)
    harmful, look_alike = refusals(0.75)
    assert 0.65 < harmful < 0.85
    assert 0.15 < look_alike < 0.35


def test_share_of_a_family():
    rows = list(TinyWorldChats(n=1200, good_share=1.0, shares={"json": 0.0}).chats())
    for row in rows:
        reply = row.messages[-1].content
        good = reply.endswith("}") and '"age": ' in reply if row.meta["family"] == "json" else True
        assert good == (row.meta["family"] != "json")
    assert all("I cannot" not in r.messages[-1].content for r in rows if r.meta["family"] == "look_alike")


def test_no_held_out_request_is_in_the_chats():
    held_out = {p.messages for p in TinyWorldRequests("held_out").load()}
    assert not held_out & {row.messages[:-1] for row in TinyWorldChats(n=6000).chats()}


def test_same_in_every_call_and_other_by_seed():
    source = TinyWorldChats(n=40)
    assert list(source.chats()) == list(source.chats())
    assert list(source.chats()) != list(TinyWorldChats(n=40, seed=1).chats())


@pytest.mark.parametrize(
    "wrong", [{"n": 0}, {"good_share": 1.5}, {"good_share": -0.1}, {"shares": {"jsn": 1}}, {"shares": {"json": 2}}]
)
def test_wrong_arguments(wrong):
    with pytest.raises(InputError, match=next(iter(wrong))):
        TinyWorldChats(**wrong)
