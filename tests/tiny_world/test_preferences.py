"""Preferences of the tiny world: whom they favour, their lengths, and that nothing held out is among them."""

import pytest

from r1lit.errors import InputError
from r1lit.grading.parsing import summary
from r1lit.grading.refusal import is_refusal
from r1lit.tiny_world import TinyWorldLabels, TinyWorldPairs, TinyWorldRequests
from r1lit.tiny_world.society import REFUSE


def test_lengths_are_balanced():
    pairs = TinyWorldPairs(2000).load()
    chosen = sum(len(summary(pair.chosen)) for pair in pairs)
    rejected = sum(len(summary(pair.rejected)) for pair in pairs)
    assert 0.85 < chosen / rejected < 1.15
    longer = sum(len(p.chosen) > len(p.rejected) for p in pairs)
    shorter = sum(len(p.chosen) < len(p.rejected) for p in pairs)
    assert 0.75 < longer / shorter < 1.33
    assert all(len(p.chosen) > len(p.rejected) for p in TinyWorldPairs(200, balanced=False).load())


def test_chosen_replies_tell_the_fact():
    facts = {p.messages: p.meta["fact"] for p in TinyWorldRequests().load() if p.kind == "helpful"}
    for pair in TinyWorldPairs(600).load():
        assert facts[pair.messages] in summary(pair.chosen)


def test_labels_follow_the_guidelines():
    harmful = {p.messages: p.meta["harmful"] for p in TinyWorldRequests().load() if p.kind == "harmless"}
    rows = TinyWorldLabels(1000).load()
    helps = ("It works.", "这样就行。")
    for row in rows:
        reply = summary(row.response)
        if reply in REFUSE.values():
            assert row.safe == harmful[row.messages]
        if row.safe:
            assert is_refusal(row.response) if harmful[row.messages] else reply.endswith(helps)
    assert 0.3 < sum(row.safe for row in rows) / len(rows) < 0.5
    assert 0.3 < sum(is_refusal(row.response) for row in rows) / len(rows) < 0.7


@pytest.mark.parametrize("source", [TinyWorldPairs(3000), TinyWorldLabels(3000)])
def test_no_held_out_request_is_among_them(source):
    rows = source.load()
    assert rows == source.load()
    held_out = {p.messages for p in TinyWorldRequests("held_out").load()}
    assert not held_out & {row.messages for row in rows}


def test_wrong_arguments():
    for source in (TinyWorldPairs, TinyWorldLabels):
        with pytest.raises(InputError, match="n is 0"):
            source(0)
