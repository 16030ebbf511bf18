"""A user's own table: columns and answers found, rows kept apart."""

import json

import pytest

from r1lit.errors import InputError
from r1lit.tasks import TablePrompts


def write(path, rows):
    path.write_text("\n".join(json.dumps(row) for row in rows))
    return path


@pytest.mark.parametrize(
    ("row", "question", "answer"),
    [
        ({"question": "1+1?", "answer": "2"}, "1+1?", "2"),
        ({"problem": "1+1?", "solution": "so \\boxed{1}, no: \\boxed{2}"}, "1+1?", "2"),
        ({"question": "1+1?", "answer": "1 and 1.\n#### 1,002"}, "1+1?", "1,002"),
        ({"Prompt": "1+1?", "ground_truth": 2}, "1+1?", "2"),
        ({"instruction": "Add.", "input": "1 and 1", "output": "2"}, "Add.\n\n1 and 1", "2"),
        ({"prompt": [{"role": "user", "content": "1+1?"}], "target": "2"}, "1+1?", "2"),
        ({"messages": json.dumps([{"role": "user", "content": "1+1?"}]), "answer": "2"}, "1+1?", "2"),
        ({"question": "1+1?", "answer": "2", "solution": "\\boxed{3}"}, "1+1?", "2"),
    ],
)
def test_columns_are_found(tmp_path, row, question, answer):
    (prompt,) = TablePrompts(write(tmp_path / "rows.jsonl", [row])).load()
    assert prompt.question == question
    assert prompt.answer == answer
    assert prompt.id == "rows/1"


def test_what_was_found_is_told(tmp_path):
    source = TablePrompts(write(tmp_path / "a.jsonl", [{"question": "q", "answer": "w\n#### 3"}] * 3))
    source.load()
    assert source.found.endswith("a.jsonl: 3 of 3 rows, questions from 'question', answers from 'answer' after ####")


def test_an_answer_is_not_cut_where_only_some_are_marked(tmp_path):
    rows = [{"question": "a", "answer": "x #### 3"}, {"question": "b", "answer": "4"}]
    assert [prompt.answer for prompt in TablePrompts(write(tmp_path / "a.jsonl", rows)).load()] == ["x #### 3", "4"]


@pytest.mark.parametrize("count", [2, 30, 3000])
def test_rows_are_kept_apart(tmp_path, count):
    path = write(tmp_path / "a.jsonl", [{"question": f"{i}?", "answer": str(i)} for i in range(count)])
    train, held_out = (TablePrompts(path, part=part).load() for part in ("train", "held_out"))
    assert len(held_out) == max(1, min(200, count // 10))
    assert {p.id for p in train} | {p.id for p in held_out} == {p.id for p in TablePrompts(path).load()}
    assert not {p.id for p in train} & {p.id for p in held_out}
    assert [p.id for p in TablePrompts(path, part="held_out").load()] == [p.id for p in held_out]


def test_a_question_that_comes_twice_is_never_in_both(tmp_path):
    path = write(tmp_path / "a.jsonl", [{"question": f"{i % 15} ?", "answer": str(i)} for i in range(150)])
    train, held_out = (TablePrompts(path, part=part).load() for part in ("train", "held_out"))
    assert train
    assert not {p.question for p in train} & {p.question for p in held_out}


def test_requests_need_no_answers(tmp_path):
    path = write(tmp_path / "a.jsonl", [{"prompt": "Say hello."}])
    (prompt,) = TablePrompts(path, answers=False, kind="helpful", task="chat").load()
    assert (prompt.kind, prompt.answer) == ("helpful", None)


@pytest.mark.parametrize(
    ("rows", "options", "message"),
    [
        ([{"frage": "1?", "answer": "1"}], {}, "no column for the question .*only frage, answer; name it in question"),
        ([{"question": "1?", "antwort": "1"}], {}, "no column for the answer .*answers: false"),
        ([{"question": "1?", "antwort": "1"}], {"answer": "anwort"}, "no column 'anwort'"),
        ([{"question": "1?", "answer": ""}], {}, "no row has an answer"),
        ([{"question": "1?", "answer": "1"}], {"part": "train"}, "one row only"),
        ([{"question": "1?", "answer": "1"}] * 4, {"part": "train"}, "all rows ask the same question"),
        ([{"question": "1?", "answer": "1"}], {"held_out": 0}, "held_out is 0"),
        ([{"question": "1?", "answer": "1"}], {"limit": 0}, "limit is 0"),
    ],
)
def test_errors_say_what_to_do(tmp_path, rows, options, message):
    path = write(tmp_path / "a.jsonl", rows)
    with pytest.raises(InputError, match=message):
        TablePrompts(path, **options).load()


def test_a_missing_file_is_not_taken_for_a_hub_id(tmp_path):
    for path in ("nothing.jsonl", str(tmp_path / "nothing")):
        with pytest.raises(InputError, match="no such file"):
            TablePrompts(path).load()
