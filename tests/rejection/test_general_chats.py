"""Drawing chats that join the sampled ones."""

import pytest

from r1lit.data.formats import ChatRow
from r1lit.data.sources import ChatSource
from r1lit.errors import InputError
from r1lit.rejection.decontamination import Decontamination
from r1lit.rejection.general_chats import ChatMaker, FileChats, draw_chats
from r1lit.tasks.base import PromptSource
from r1lit.types import Message, Prompt


class Numbers(ChatMaker):
    def __init__(self, start, stop):
        self.numbers = range(start, stop)

    def chats(self):
        for i in self.numbers:
            yield ChatRow((Message("user", f"question {i}"), Message("assistant", f"answer {i}")), "numbers")


class Seven(PromptSource):
    def load(self):
        return [Prompt("e", (Message("user", "Question 7?"),))]


def asked(drawn):
    return [row.messages[0].content for row in drawn.rows]


def test_a_draw_is_fixed_by_the_seed_and_keeps_the_order():
    makers = [Numbers(0, 50), Numbers(50, 100)]
    drawn = draw_chats(makers, 20, seed=0)
    assert (len(drawn.rows), drawn.available, drawn.contaminated) == (20, 100, 0)
    assert asked(drawn) == asked(draw_chats(makers, 20, seed=0))
    assert asked(drawn) != asked(draw_chats(makers, 20, seed=1))
    numbers = [int(text.split()[1]) for text in asked(drawn)]
    assert numbers == sorted(set(numbers))
    assert min(numbers) < 30
    assert max(numbers) > 70


def test_all_and_too_few():
    assert len(draw_chats([Numbers(0, 5)], None, 0).rows) == 5
    assert len(draw_chats([Numbers(0, 5)], 9, 0).rows) == 5
    assert draw_chats([], 9, 0).rows == []


def test_contaminated_chats_are_not_drawn():
    drawn = draw_chats([Numbers(0, 10)], None, 0, Decontamination(Seven()))
    assert "question 7" not in asked(drawn)
    assert (len(drawn.rows), drawn.available, drawn.contaminated) == (9, 9, 1)


def test_file_chats(tmp_path):
    file = tmp_path / "mine.jsonl"
    file.write_text('{"prompt": "q", "completion": "a"}\n{"prompt": "q"}\n')
    with pytest.raises(InputError, match=r"mine\.jsonl, row 2"):
        list(FileChats(ChatSource(str(file))).chats())
    rows = list(FileChats(ChatSource(str(file), on_bad_row="skip"), name="mine").chats())
    assert [(row.source, row.messages[1].content) for row in rows] == [("mine", "a")]
