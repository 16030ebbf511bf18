"""Who gets which slot, by a simulation without any model, and the memory that a plan takes."""

import random

import pytest

from r1lit.errors import InputError
from r1lit.rollout import schedule as schedule_module
from r1lit.rollout.completion import Request
from r1lit.rollout.schedule import Group, Plan, Schedule, close_gaps, fill_gaps, plan_slots
from r1lit.types import Message, Prompt


class Item:
    def __init__(self, name, slot=-1):
        self.name, self.slot = name, slot


def items(text):
    return [None if c == "." else Item(c, i) for i, c in enumerate(text)]


def text(slots):
    assert all(item is None or item.slot == i for i, item in enumerate(slots)), "each knows its slot"
    return "".join("." if item is None else item.name for item in slots)


@pytest.mark.parametrize(("before", "new", "after"), [("", "ab", "ab"), ("a.b.", "cd", "acbd"), ("..a", "bcd", "bcad")])
def test_fill_gaps(before, new, after):
    slots = items(before)
    fill_gaps(slots, [Item(c) for c in new])
    assert text(slots) == after


@pytest.mark.parametrize(
    ("before", "after", "moves"),
    [
        ("", "", ([], [])),
        ("abc", "abc", ([], [])),
        ("ab..", "ab", ([], [])),
        ("....", "", ([], [])),
        ("a.c", "ac", ([2], [1])),
        ("..cd", "cd", ([2, 3], [0, 1])),
        (".b.de", "bed", None),
        ("a..d.f", "adf", None),
    ],
)
def test_close_gaps(before, after, moves):
    slots = items(before)
    sources, targets = close_gaps(slots)
    assert sorted(text(slots)) == sorted(after)
    assert not set(sources) & set(targets)
    assert all(target < len(slots) <= source for source, target in zip(sources, targets, strict=True))
    assert all(slots[target].name == before[source] for source, target in zip(sources, targets, strict=True))
    if moves is not None:
        assert (sources, targets) == moves


def requests(*lengths, n=4):
    return [Request(Prompt(f"p{i}", (Message("user", "?"),)), (7,) * k, range(n)) for i, k in enumerate(lengths)]


def groups(*lengths, n=4):
    return [Group(request, list(range(n))) for request in requests(*lengths, n=n)]


@pytest.mark.parametrize(("rows", "prompts", "n"), [(1, 1, 3), (5, 2, 3), (7, 3, 1), (64, 20, 3), (4, 1, 6)])
def test_every_sample_gets_a_row_and_no_slot_is_shared(rows, prompts, n):
    random.seed(0)
    waiting = groups(*[5] * 20, n=n)
    schedule = Schedule(waiting, Plan(rows, prompts, 8, 5))
    seen = []
    while not schedule.is_done:
        for group in schedule.next_groups():
            assert schedule.groups[group.slot] is group
        fresh = schedule.start_rows()
        seen += [(row.group.request.prompt.id, row.sample) for row in fresh]
        assert len(schedule.rows) <= rows
        assert len(schedule.groups) <= prompts
        running = [row for row in schedule.rows if row is not None]
        assert running, "something always runs"
        assert all(schedule.rows[row.slot] is row and schedule.groups[row.group.slot] is row.group for row in running)
        for row in random.sample(running, random.randint(1, len(running))):
            schedule.retire(row)
        if random.random() < 0.5:
            close_gaps(schedule.rows)
            close_gaps(schedule.groups)
    assert sorted(seen) == sorted((f"p{i}", sample) for i in range(20) for sample in range(n))


def test_started_groups_come_before_new_ones_and_new_ones_wait_for_room():
    schedule = Schedule(groups(9, 9, 9, n=16), Plan(rows=24, prompts=3, own=8, prefix=9))
    assert len(schedule.next_groups()) == 2
    first = schedule.start_rows()
    assert [row.group.request.prompt.id for row in first] == ["p0"] * 16 + ["p1"] * 8
    schedule.retire(first[0])
    assert schedule.next_groups() == [], "the second group's samples come first"
    assert [(row.group.request.prompt.id, row.sample, row.slot) for row in schedule.start_rows()] == [("p1", 8, 0)]
    for row in first[1:10]:
        schedule.retire(row)
    assert (schedule.next_groups(), len(schedule.start_rows())) == ([], 7)
    assert schedule.next_groups() == [], "two free rows are not worth computing a prompt"
    schedule.retire(first[10])
    assert [group.request.prompt.id for group in schedule.next_groups()] == ["p2"]
    assert len(schedule.start_rows()) == 3


def test_prompts_are_computed_in_parts(monkeypatch):
    monkeypatch.setattr(schedule_module, "PREFILL_TOKENS", 30)
    schedule = Schedule(groups(40, 12, 10, 8, 7, n=2), Plan(rows=100, prompts=9, own=8, prefix=40))
    parts = []
    while schedule.waiting:
        parts.append([len(group.request.prompt_ids) for group in schedule.next_groups()])
        schedule.start_rows()
    assert parts == [[40], [12, 10], [8, 7]]


def test_plan_takes_all_rows_where_memory_allows():
    assert plan_slots(requests(5, 9, 3), 20, 512, 8, None) == Plan(rows=12, prompts=3, own=20, prefix=9)
    assert plan_slots(requests(*[9] * 50), 20, 16, 8, None) == Plan(rows=16, prompts=8, own=20, prefix=9)
    assert plan_slots(requests(9, 9), 20, 16, 8, 1.0) == Plan(rows=8, prompts=2, own=20, prefix=9)


@pytest.mark.parametrize("budget", range(29, 400, 7))
def test_plan_keeps_to_the_budget_and_uses_it(budget):
    plan = plan_slots(requests(*[9] * 10), 20, 512, 1000, budget * 1000 / 1e9)
    taken = plan.rows * 20 + plan.prompts * 9
    assert taken <= budget
    assert taken + 20 + 9 > budget or plan.rows == 40
    assert plan.prompts * 4 >= plan.rows or plan.prompts == 10


def test_a_budget_below_one_completion_is_named():
    with pytest.raises(
        InputError,
        match=r"^engine\.memory_gb is 2\.8e-05; .* prompt 'p1' \(9 tokens, max_new_tokens=20\) takes 2\.9e-05: [^\n]*$",
    ):
        plan_slots(requests(5, 9, 3), 20, 512, 1000, 2.8e-5)
