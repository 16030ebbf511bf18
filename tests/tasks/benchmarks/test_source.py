import json

import pyarrow
import pytest
from pyarrow import parquet

from r1lit.errors import InputError
from r1lit.tasks.benchmarks import AIMEPrompts, GSM8KPrompts, IFEvalPrompts, MATH500Prompts

ROWS = [{"problem": f"{i} + 1?", "answer": str(i + 1), "level": i} for i in range(6)]


def write(path, rows):
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def test_every_format_gives_the_same_prompts(tmp_path):
    write(tmp_path / "a.jsonl", ROWS)
    (tmp_path / "a.json").write_text(json.dumps(ROWS))
    parquet.write_table(pyarrow.Table.from_pylist(ROWS), tmp_path / "a.parquet")
    lines = ["problem\tanswer\tlevel", *("\t".join(map(str, row.values())) for row in ROWS)]
    (tmp_path / "a.tsv").write_text("\n".join(lines))
    (tmp_path / "a.csv").write_text("\n".join(lines).replace("\t", ","))
    for name in ("a.jsonl", "a.json", "a.parquet", "a.tsv", "a.csv"):
        prompts = MATH500Prompts(path=tmp_path / name).load()
        assert [(p.id, p.answer) for p in prompts] == [(f"math500/{i + 1}", str(i + 1)) for i in range(6)], name
        assert str(prompts[2].meta["level"]) == "2"
        assert prompts[0].source == str(tmp_path / name)


def test_the_prompt_asks_for_steps_and_a_box(tmp_path):
    (prompt,) = MATH500Prompts(path=write(tmp_path / "a.jsonl", ROWS[:1])).load()
    assert prompt.question.startswith("0 + 1?\n")
    assert "step by step" in prompt.question
    assert "\\boxed{}" in prompt.question
    (own,) = MATH500Prompts(path=tmp_path / "a.jsonl", prompt="Q: {question}").load()
    assert own.question == "Q: 0 + 1?"


def test_other_column_names(tmp_path):
    path = write(tmp_path / "a.jsonl", [{"Frage": "1 + 1?", "Antwort": 2, "Nr": "x1"}])
    with pytest.raises(InputError, match=r"a\.jsonl: no column for 'question' .*only Frage, Antwort, Nr; name it in"):
        MATH500Prompts(path=path).load()
    columns = {"question": "Frage", "answer": "Antwort", "id": "Nr"}
    (prompt,) = MATH500Prompts(path=path, columns=columns).load()
    assert (prompt.id, prompt.answer) == ("math500/x1", "2")
    with pytest.raises(InputError, match=r"no column 'Question' \(columns.question\)"):
        MATH500Prompts(path=path, columns=columns | {"question": "Question"}).load()
    # Usual names do not depend on case, spaces and hyphens.
    path = write(tmp_path / "b.jsonl", [{"Problem": "1 + 1?", "Final Answer": 2, "Unique-ID": 7}])
    (prompt,) = MATH500Prompts(path=path).load()
    assert (prompt.id, prompt.answer) == ("math500/7", "2")


def test_rows_keep_their_numbers(tmp_path):
    path = write(tmp_path / "a.jsonl", ROWS)
    assert [p.id for p in MATH500Prompts(path=path, skip=2, limit=2, name="mine").load()] == ["mine/3", "mine/4"]


def test_a_hub_data_set_in_a_folder(tmp_path, monkeypatch):
    pytest.importorskip("datasets", reason="needs the package datasets (extra hub)")
    monkeypatch.setattr("datasets.config.HF_DATASETS_CACHE", str(tmp_path / "cache"))
    folder = tmp_path / "sums"
    folder.mkdir()
    write(folder / "test.jsonl", ROWS[:2])
    write(folder / "train.jsonl", ROWS[2:])
    source = MATH500Prompts(hub_id=str(folder), shots=1)
    prompts = source.load()
    assert [p.id for p in prompts] == ["math500/1", "math500/2"]
    assert prompts[0].question.count("boxed") == 3  # the example's request and answer, and the request
    with pytest.raises(InputError, match="cannot load split 'nope'"):
        MATH500Prompts(hub_id=str(folder), split="nope").load()


def shots(prompt):
    return prompt.question.split("\n\n")[:-2]


def test_shots_are_the_same_for_all_and_never_the_question(tmp_path):
    path = write(tmp_path / "a.jsonl", ROWS)
    prompts = MATH500Prompts(path=path, shots=3, shots_path=path, seed=1).load()
    assert prompts == MATH500Prompts(path=path, shots=3, shots_path=path, seed=1).load()
    others = MATH500Prompts(path=path, shots=3, shots_path=path, seed=2).load()
    assert [p.question for p in prompts] != [p.question for p in others]
    for row, prompt in zip(ROWS, prompts, strict=True):
        assert prompt.question.count(row["problem"]) == 1
        assert prompt.question.count("step by step") == 4
        assert prompt.question.endswith("\\boxed{}.")
        assert len(prompt.messages) == 1
    zero = MATH500Prompts(path=path).load()
    assert [p.id for p in zero] == [p.id for p in prompts]
    assert all(p.question.endswith(z.question) for p, z in zip(prompts, zero, strict=True))


@pytest.mark.parametrize(
    ("source", "options", "message"),
    [
        (MATH500Prompts, {}, "give path"),
        (MATH500Prompts, {"path": "a", "limit": 0}, "limit is 0"),
        (MATH500Prompts, {"path": "a", "columns": {"x": "y"}}, "columns has 'x'; the roles are question"),
        (MATH500Prompts, {"path": "a", "prompt": "no place"}, "prompt must contain {question}"),
        (MATH500Prompts, {"path": "a", "shots": -1}, "shots is -1"),
        (IFEvalPrompts, {"path": "a", "shots": 1}, "it has none to show"),
    ],
)
def test_impossible_arguments(source, options, message):
    with pytest.raises(InputError, match=message):
        source(**options)


@pytest.mark.parametrize(
    ("source", "rows", "message"),
    [
        (MATH500Prompts, [{"problem": "", "answer": 1}], r"row 1, column 'problem': nothing where a text"),
        (MATH500Prompts, [{"problem": "a", "answer": [1]}], r"row 1, column 'answer': \[1\] where a text"),
        (MATH500Prompts, [{"problem": "a", "solution": "no box"}], "no answer and no"),
        (AIMEPrompts, [{"problem": "a", "answer": "1"}, {"problem": "a", "answer": "1/2"}], "row 2, .*is no integer"),
        (AIMEPrompts, [{"problem": "a", "answer": 1000}], "'1000' is no integer from 0 to 999"),
        (GSM8KPrompts, [{"question": "a", "answer": "so five"}], "no '#### number'"),
        (MATH500Prompts, [{"id": 1, "problem": "a", "answer": 1}] * 2, "row 2, column 'id': the id 'math500/1' comes"),
        (MATH500Prompts, [], "the data set is empty"),
    ],
)
def test_bad_rows_are_named(tmp_path, source, rows, message):
    with pytest.raises(InputError, match=message) as caught:
        source(path=write(tmp_path / "rows.jsonl", rows)).load()
    assert "rows.jsonl" in str(caught.value)


def test_too_few_examples(tmp_path):
    path = write(tmp_path / "a.jsonl", ROWS)
    with pytest.raises(InputError, match="6 rows, but shots is 7"):
        MATH500Prompts(path=path, shots=7, shots_path=path).load()
    with pytest.raises(InputError, match="give shots_path"):
        MATH500Prompts(path=path, shots=1).load()
