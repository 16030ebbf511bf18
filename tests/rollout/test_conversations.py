"""Prompts of several turns, with system messages, roles to play and tools: from the file to the scored completion."""

import json

import pytest

from r1lit import Policy
from r1lit.data import PromptDataModule
from r1lit.errors import InputError
from r1lit.rewards import JSONReward, ToolCallReward, score_completions
from r1lit.rollout import NativeEngine, TransformersEngine
from r1lit.tasks import Columns, FilePrompts
from r1lit.types import SamplingParams

WEATHER = {"type": "function", "function": {"name": "weather", "parameters": {"type": "object"}}}
CALL = {"name": "weather", "arguments": {"city": "Rome"}}
TURNS = [
    {"role": "system", "content": "You are a pirate."},
    {"role": "user", "content": "What is 3 + 4?"},
    {"role": "assistant", "content": "<think>3 + 4 = 7</think>7"},
    {"role": "user", "content": "And 5 + 5?"},
]
AFTER_CALL = [
    {"role": "user", "content": "How warm is it in Rome?"},
    {"role": "assistant", "content": None, "tool_calls": [{"type": "function", "function": CALL}]},
    {"role": "tool", "content": '{"degrees": 20}'},
]
ROWS = [
    {"chat": TURNS, "answer": "10", "task": "math"},
    {"chat": AFTER_CALL, "answer": None, "task": "chat", "tools": [WEATHER], "kind": "helpful"},
    {"chat": AFTER_CALL[:1], "answer": json.dumps(CALL), "task": "tool", "tools": [WEATHER], "role": "Be exact."},
    {"chat": AFTER_CALL[:1], "answer": None, "task": "json", "kind": "general", "schema": {"type": "object"}},
]
COLUMNS = Columns(messages="chat", task="task", kind="kind", system="role", tools="tools")


@pytest.fixture(scope="module")
def policy():
    return Policy.from_pretrained("package:r1lit/assets/tiny/base", template="chat")


def written(tmp_path, rows=ROWS):
    path = tmp_path / "chats.jsonl"
    path.write_text("\n".join(json.dumps(row) for row in rows))
    return FilePrompts(path, COLUMNS)


def test_rendered_chats_hold_every_turn_in_order(tmp_path, policy):
    plain, told, asked, structured = (policy.template.render(p, policy.tokenizer) for p in written(tmp_path).load())
    assert plain == (
        "<|system|>You are a pirate.<|user|>What is 3 + 4?<|assistant|><think>3 + 4 = 7</think>7<|end|>"
        "<|user|>And 5 + 5?<|assistant|>"
    )
    assert told.startswith("<|system|>You may call these functions:\n<tools>\n")
    assert f"<|assistant|><tool_call>\n{json.dumps(CALL)}\n</tool_call><|end|>" in told
    assert told.endswith('<|user|><tool_response>\n{"degrees": 20}\n</tool_response><|assistant|>')
    assert asked.startswith("<|system|>Be exact.\n\nYou may call these functions:")
    assert json.dumps(WEATHER) in asked
    assert structured == "<|user|>How warm is it in Rome?<|assistant|>"


def test_tools_and_schema_are_kept_beside_the_prompt(tmp_path):
    prompts = written(tmp_path).load()
    assert [p.meta.get("tools") for p in prompts] == [None, [WEATHER], [WEATHER], None]
    assert prompts[3].meta["schema"] == {"type": "object"}
    text = [row | {"tools": json.dumps(row["tools"])} if "tools" in row else row for row in ROWS]
    assert written(tmp_path, text).load() == prompts


@pytest.mark.parametrize("engine", [NativeEngine, TransformersEngine])
def test_engines_continue_the_last_turn(tmp_path, policy, engine):
    prompts = written(tmp_path).load()
    found = list(engine(policy).generate(prompts, SamplingParams(n=2, max_new_tokens=6, seed=1)))
    assert {c.prompt.id for c in found} == {p.id for p in prompts}
    for completion in found:
        assert list(completion.prompt_ids) == policy.encode_prompt(completion.prompt)
        assert len(completion.token_ids) == len(completion.logprobs) <= 6
        assert "<|user|>" not in completion.text


def test_they_are_scored_by_task(tmp_path, policy):
    prompts = written(tmp_path).load()[2:]
    found = list(NativeEngine(policy).generate(prompts, SamplingParams(n=2, max_new_tokens=4)))
    scores = score_completions([JSONReward(), ToolCallReward()], found, 0)
    assert {s.total for s in scores} <= {0.0, 1.0}
    by_task = {c.prompt.task: i for i, c in enumerate(found)}
    assert scores[by_task["tool"]].scores["json"] is None
    assert scores[by_task["tool"]].scores["tool_call"] is not None


def test_a_chat_too_long_for_the_context_is_named(tmp_path, policy):
    data = PromptDataModule(written(tmp_path), prompts_per_rollout=2)
    data.connect(policy.encode_prompt, 30)
    with pytest.raises(InputError, match=r"prompt 'chats/1' has \d+ tokens"):
        data.setup("fit")


@pytest.mark.parametrize(
    ("row", "said"),
    [
        ({"chat": TURNS[:3]}, "ends with 'assistant'"),
        ({"chat": TURNS[1:3] + TURNS}, "a system message must come first"),
        ({"chat": [{"role": "narrator", "content": "x"}]}, "role 'narrator'"),
        ({"chat": [{"role": "user", "content": " "}]}, r"message \(user\) is empty"),
        ({"chat": [{"role": "user", "content": 5}]}, "not a text"),
        ({"chat": ["Hi"]}, "needs 'role' and 'content'"),
        ({"chat": [{"role": "assistant", "tool_calls": [{}]}, *TURNS[1:2]]}, "has no name"),
        ({"chat": TURNS, "tools": "[{"}, "tools is not JSON"),
        ({"chat": TURNS, "role": 5}, "system is 5"),
    ],
)
def test_bad_chats_are_named(tmp_path, row, said):
    columns = {"answer": "1", "task": "math", "kind": "reasoning", "role": "", "tools": None}
    with pytest.raises(InputError, match=rf"chats.jsonl, row 1, column '(chat|tools|role)': .*{said}"):
        written(tmp_path, [columns | row]).load()
