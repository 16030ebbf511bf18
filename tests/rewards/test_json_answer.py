import json
import pickle

import pytest

from r1lit.errors import InputError
from r1lit.rewards import JSONReward, score_completions
from r1lit.types import Completion, Message, Prompt

SCHEMA = {
    "type": "object",
    "properties": {"name": {"type": "string"}, "age": {"type": "integer", "minimum": 0}},
    "required": ["name", "age"],
    "additionalProperties": False,
}
GOOD = '{"name": "Ada", "age": 36}'


def completion(text, answer=None, meta=None, gold=None, task="json"):
    prompt = Prompt("p1", (Message("user", "q"),), gold, kind="general", task=task, meta=meta or {})
    return Completion(prompt, 0, (), (), (), text, "stop", answer=answer)


@pytest.mark.parametrize(
    ("text", "score"),
    [
        (GOOD, 1.0),
        (f"<think>name and age</think>\n{GOOD}\n", 1.0),
        (f"<think>hm</think>```json\n{GOOD}\n```", 1.0),
        (f"<think>{GOOD}</think>", 0.0),
        (f"<think>{GOOD}", 0.0),
        (f"<think></think>Here it is: {GOOD}", 0.0),
        (f"<think></think>{GOOD}{GOOD}", 0.0),
        ('{"name": "Ada"}', 0.0),
        ('{"name": "Ada", "age": "36"}', 0.0),
        ('{"name": "Ada", "age": -1}', 0.0),
        ('{"name": "Ada", "age": true}', 0.0),
        ('{"name": "Ada", "age": 36, "town": "London"}', 0.0),
        ('{"name": "Ada", "age": 36', 0.0),
        ("", 0.0),
        ("[" * 50_000, 0.0),
    ],
)
def test_valid_by_the_prompts_schema(text, score):
    assert JSONReward().score([completion(text, meta={"schema": SCHEMA})]) == [score]
    assert JSONReward(SCHEMA).score([completion(text)]) == [score]
    assert JSONReward().score([completion(text, meta={"schema": json.dumps(SCHEMA)})]) == [score]


def test_answer_tags_hold_the_reply():
    text = f"<think>hm</think><answer>```json\n{GOOD}\n```</answer>"
    assert JSONReward(SCHEMA).score([completion(text, answer=f"```json\n{GOOD}\n```")]) == [1.0]


def test_the_prompts_schema_goes_before_the_argument():
    reward = JSONReward({"type": "array"})
    assert reward.score([completion("[]"), completion(GOOD), completion(GOOD, meta={"schema": SCHEMA})]) == [1, 0, 1]


def test_without_a_schema_any_object_or_array_passes():
    assert JSONReward().score([completion(t) for t in ('{"a": 1}', "[]", "5", '"x"', "null")]) == [1, 1, 0, 0, 0]
    assert JSONReward().score([completion("5", meta={"schema": True})]) == [1.0]


def test_match_compares_with_the_reference():
    reward = JSONReward(match=True)
    texts = ('{"age": 36, "name": "Ada"}', '{"name": "Ada", "age": 37}')
    assert reward.score([completion(t, gold=GOOD) for t in texts]) == [1.0, 0.0]
    assert JSONReward().score([completion(t, gold=GOOD) for t in texts]) == [1.0, 1.0]
    assert reward.score([completion("[1]")]) == [1.0]
    with pytest.raises(InputError, match=r"'p1'.*not JSON"):
        reward.score([completion("[1]", gold="{a}")])


def test_match_does_not_excuse_from_the_schema():
    assert JSONReward({"type": "array"}, match=True).score([completion(GOOD, gold=GOOD)]) == [0.0]


@pytest.mark.parametrize("schema", [{"type": "objekt"}, {"required": "name"}, {"pattern": "("}, "{", 7, ["x"]])
def test_a_malformed_schema_is_named(schema):
    with pytest.raises(InputError, match=r"prompt 'p1', meta 'schema'"):
        JSONReward().score([completion("not even JSON", meta={"schema": schema})])


def test_a_malformed_argument_is_refused_at_once():
    with pytest.raises(InputError, match="reward 'json'"):
        JSONReward({"type": "objekt"})


def test_references_stay_within_the_schema():
    tree = {"$defs": {"t": {"type": "array", "items": {"$ref": "#/$defs/t"}}}, "$ref": "#/$defs/t"}
    texts = ("[[], [[]]]", "[[1]]", "[" * 300 + "]" * 300)
    assert JSONReward(tree).score([completion(t) for t in texts])[:2] == [1.0, 0.0]
    with pytest.raises(InputError, match=r"http://localhost:1/x.*leads out"):
        JSONReward({"$ref": "http://localhost:1/x"}).score([completion("5")])


def test_a_value_nested_deeper_than_validation_can_follow_is_wrong():
    tree = {"$defs": {"t": {"type": "array", "items": {"$ref": "#/$defs/t"}}}, "$ref": "#/$defs/t"}
    assert JSONReward(tree).score([completion("[" * 900 + "]" * 900)]) == [0.0]


def test_an_older_draft_is_read_as_such():
    old = {"$schema": "http://json-schema.org/draft-04/schema#", "type": "integer", "minimum": 3}
    assert JSONReward(old | {"exclusiveMinimum": True}).score([completion("3"), completion("4")]) == [0.0, 1.0]
    with pytest.raises(InputError, match="reward 'json'"):
        JSONReward({"type": "integer", "minimum": 3, "exclusiveMinimum": True})


def test_large_numbers_do_not_break_validation():
    values = ["1" * 400, "0.1", "0.15"]
    assert JSONReward({"multipleOf": 0.1}).score([completion(v) for v in values]) == [0.0, 1.0, 0.0]


def test_only_json_prompts_are_scored_and_the_reward_pickles():
    reward = pickle.loads(pickle.dumps(JSONReward(SCHEMA)))
    scores = score_completions([reward], [completion(GOOD)], 0)
    assert tuple(s.total for s in scores) == (1.0,)
    with pytest.raises(InputError, match="no reward applies"):
        score_completions([reward], [completion(GOOD, task="chat")], 0)
