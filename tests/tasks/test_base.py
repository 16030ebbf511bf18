from typing import Any

import pytest

from r1lit.errors import InputError
from r1lit.tasks import Columns, Defaults, prompts_from_rows
from r1lit.types import Message, Prompt


def build(
    *rows: dict[str, Any], answer_pattern: str = "", drop_unanswered: bool = False, **columns: Any
) -> list[Prompt]:
    return prompts_from_rows(
        rows, Columns(**columns), "set/train.jsonl", Defaults(), answer_pattern, drop_unanswered=drop_unanswered
    )


def test_a_row_becomes_a_prompt() -> None:
    row = {"question": "1+1?", "answer": 2, "level": [3], "source": None}
    assert build(row) == [
        Prompt(
            "train/1", (Message("user", "1+1?"),), "2", source="set/train.jsonl", meta={"level": [3], "source": None}
        )
    ]


def test_columns_are_mapped_and_gaps_take_the_defaults() -> None:
    full = {"q": "a", "gold": "x", "key": 7, "k": "general", "t": "chat", "l": "zh", "rest": 1}
    gaps = {"q": "b", "gold": " y ", "key": "eight", "k": None, "t": ""}
    prompts = build(full, gaps, question="q", answer="gold", id="key", kind="k", task="t", language="l")
    assert [(p.id, p.answer, p.kind, p.task, p.language, p.meta) for p in prompts] == [
        ("7", "x", "general", "chat", "zh", {"rest": 1}),
        ("eight", "y", "reasoning", "math", "en", {}),
    ]


def test_chats_in_both_forms_and_as_text() -> None:
    chat = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Hi"}]
    shared = [{"from": "human", "value": "Hi"}, {"from": "gpt", "value": "Yes?"}, {"from": "human", "value": "2?"}]
    rows = [{"c": c, "answer": "1", "question": "kept"} for c in (chat, shared, '[{"role": "user", "content": "Hi"}]')]
    prompts = build(*rows, messages="c")
    assert [[m.role for m in p.messages] for p in prompts] == [
        ["system", "user"],
        ["user", "assistant", "user"],
        ["user"],
    ]
    assert [p.question for p in prompts] == ["Hi", "2?", "Hi"]
    assert prompts[0].meta == {"question": "kept"}


def test_answer_pattern_takes_the_group() -> None:
    row = {"question": "a", "answer": "Some steps.\n#### 1,200 \n"}
    assert build(row, answer_pattern="#### (.+)$")[0].answer == "1,200"


def test_answers_are_needed_only_where_they_are_checked() -> None:
    row = {"question": "a", "kind": "helpful"}
    assert build(row, answer=None, kind="kind")[0].answer is None
    assert build({"question": "a", "answer": None, "t": "code"}, task="t")[0].answer is None
    prompts = build({"question": "a", "answer": ""}, {"question": "b", "answer": "1"}, drop_unanswered=True)
    assert [(p.id, p.answer) for p in prompts] == [("train/2", "1")]


GOOD = {"question": "a", "answer": "1"}


@pytest.mark.parametrize(
    ("rows", "options", "message"),
    [
        ([], {}, "set/train.jsonl: the data set is empty"),
        ([GOOD], {"question": "problem"}, r"no column 'problem' \(columns.question\), only question, answer"),
        ([{"question": "a"}], {}, r"no column 'answer' \(columns.answer\), only question; set columns.answer: null"),
        ([GOOD, {"question": "b"}], {}, "set/train.jsonl, row 2, column 'answer': the answer is missing"),
        ([GOOD], {"answer": None}, "row 1, column None: the answer is missing"),
        ([{"question": "a", "answer": " "}], {"drop_unanswered": True}, "no row has an answer in column 'answer'"),
        ([GOOD, {"answer": "1"}], {}, "row 2, column 'question': the question is None"),
        ([{"question": 3, "answer": "1"}], {}, "row 1, column 'question': the question is 3"),
        (
            [GOOD],
            {"answer_pattern": "#### (.+)$"},
            "row 1, column 'answer': answer_pattern '#### .* finds nothing in '1'",
        ),
        ([{"question": "a", "answer": "####"}], {"answer_pattern": "####(.*)"}, "finds nothing in '####'"),
        ([GOOD], {"answer_pattern": "####"}, "answer_pattern '####' has 0 groups"),
        ([GOOD], {"answer_pattern": "("}, r"answer_pattern '\(' is not a regular expression"),
        ([GOOD | {"n": 1}, GOOD | {"n": 1}], {"id": "n"}, "row 2: column 'n' repeats the id '1' of row 1"),
        ([GOOD | {"n": None}], {"id": "n"}, "row 1, column 'n': the id is missing"),
        ([GOOD | {"k": "fun"}], {"kind": "k"}, "row 1, column 'k': 'fun' is none of reasoning, helpful"),
        ([GOOD | {"m": "[1"}], {"messages": "m"}, "row 1, column 'm': the chat is not JSON"),
        ([GOOD | {"m": []}], {"messages": "m"}, "row 1, column 'm': the chat is not a list"),
        ([GOOD | {"m": [{"role": "user"}]}], {"messages": "m"}, "a message needs 'role' and 'content'"),
        ([GOOD | {"m": [{"from": "gpt", "value": "x"}]}], {"messages": "m"}, "the chat ends with 'assistant'"),
    ],
)
def test_errors_name_the_row_and_the_column(rows: list[dict[str, Any]], options: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message) as caught:
        build(*rows, **options)
    assert "\n" not in str(caught.value)
