"""Targets are exactly the assistant's tokens, as they follow the tokens that generation starts from."""

import copy
from dataclasses import replace

import pytest
from tokenizers.pre_tokenizers import ByteLevel
from transformers import GenerationConfig

from r1lit import Policy
from r1lit.data.encoding import ChatEncoder
from r1lit.errors import InputError
from r1lit.policy.tokens import find_eos_ids
from r1lit.types import Message, Prompt

BASE = "package:r1lit/assets/tiny/base"
PLAIN = "User: {question}\nAssistant:"
QUESTION = "Put + or - between 3 4 to make 7 ."
ANSWER = "<think> 3 + 4 = 7 yes.</think><answer> 3 + 4</answer>"
CHATML = (
    "{% for m in messages %}<|im_start|>{{ m['role'] }}\n{{ m['content'] | trim }}<|end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
DROPS_REASONING = CHATML.replace(
    "{{ m['content'] | trim }}",
    "{{ m['content'].split('</think>')[-1] if m['role'] == 'assistant' and not loop.last else m['content'] }}",
)


def chat(*texts, system=None):
    turns = [Message("user" if i % 2 == 0 else "assistant", text) for i, text in enumerate(texts)]
    return ([Message("system", system)] if system else []) + turns


def encoder(**settings):
    return ChatEncoder.of(Policy(BASE, **settings))


def with_template(template):
    made = encoder(template="chat")
    tokenizer = copy.deepcopy(made.tokenizer)
    tokenizer.chat_template = template
    return ChatEncoder(made.template, tokenizer, made.eos_ids)


def spans(found, tokenizer):
    """The text of each run of targets."""
    texts, run = [], []
    for token, wanted in [*zip(*found, strict=True), (0, False)]:
        if wanted:
            run.append(token)
        elif run:
            texts.append(tokenizer.decode(run))
            run = []
    return texts


@pytest.mark.parametrize("template", [PLAIN, "zero"])
def test_plain_template(template):
    made = encoder(template=template)
    found = made.encode(chat(QUESTION, ANSWER))
    start = made.template.encode(Prompt("p", tuple(chat(QUESTION))), made.tokenizer)
    assert found.input_ids[: len(start)] == start
    assert found.loss_mask == [False] * len(start) + [True] * (len(found.input_ids) - len(start))
    assert spans(found, made.tokenizer) == [f"{ANSWER}<|end|>"]
    with pytest.raises(InputError, match="one user message"):
        made.encode(chat("a", "b", "c", "d"))


@pytest.mark.parametrize("template", ["own", CHATML])
@pytest.mark.parametrize("system", [None, "Be brief"])
def test_every_turn_of_a_chat_is_a_target_with_its_end(template, system):
    made = encoder(template="chat") if template == "own" else with_template(template)
    found = made.encode(chat(QUESTION, ANSWER, "again", "no", "and?", "yes", system=system))
    assert spans(found, made.tokenizer) == [f"{ANSWER}<|end|>", "no<|end|>", "yes<|end|>"]
    # Nothing follows the last end, and each turn is asked for as it would be generated from.
    assert found.loss_mask[-1]
    asked = Prompt("p", tuple(chat(QUESTION, ANSWER, "again", system=system)))
    start = made.template.encode(asked, made.tokenizer)
    assert found.input_ids[: len(start)] == start


def test_template_system_message():
    made = encoder(template="chat", system="Count")
    text = made.tokenizer.decode(made.encode(chat("a", "b")).input_ids)
    assert text == "<|system|>Count<|user|>a<|assistant|>b<|end|>"
    text = made.tokenizer.decode(made.encode(chat("a", "b", system="Sing")).input_ids)
    assert "Count" not in text


@pytest.mark.parametrize("template", [PLAIN, "chat"])
def test_prefill_belongs_to_the_prompt_where_an_answer_begins_with_it(template):
    made = encoder(template=template, prefill="<think>")
    found = made.encode(chat(QUESTION, ANSWER))
    start = made.template.encode(Prompt("p", tuple(chat(QUESTION))), made.tokenizer)
    assert found.input_ids[: len(start)] == start
    assert spans(found, made.tokenizer) == [f"{ANSWER.removeprefix('<think>')}<|end|>"]
    other = made.encode(chat(QUESTION, "no"))
    assert spans(other, made.tokenizer) == ["no<|end|>"]
    assert "<think>" not in made.tokenizer.decode(other.input_ids)


def test_template_that_drops_reasoning_of_earlier_turns_is_refused():
    made = with_template(DROPS_REASONING)
    assert spans(made.encode(chat("q", ANSWER)), made.tokenizer) == [f"{ANSWER}<|end|>"]
    with pytest.raises(InputError, match="renders a conversation otherwise once more of it is known"):
        made.encode(chat("q", ANSWER, "again", "no"))


def test_template_that_writes_no_end_gets_one():
    made = with_template(CHATML.replace("<|end|>\n", "\n"))
    assert made.encode(chat("q", "a")).input_ids[-1] == made.tokenizer.eos_token_id


def test_tokenizer_that_puts_a_space_before_a_text():
    made = encoder(template=PLAIN)
    tokenizer = copy.deepcopy(made.tokenizer)
    tokenizer.backend_tokenizer.pre_tokenizer = ByteLevel(add_prefix_space=True)
    found = ChatEncoder(made.template, tokenizer, made.eos_ids).encode(chat("a b", "no"))
    assert tokenizer.decode(found.input_ids) == " User: a b\nAssistant:no<|end|>"


def test_hashes_tell_tokenizers_and_templates_apart(tmp_path):
    made = encoder(template="chat")
    made.tokenizer.save_pretrained(tmp_path)
    Policy(BASE)._source_config.save_pretrained(tmp_path)
    again = ChatEncoder.of(Policy(str(tmp_path), template="chat"))
    assert (again.tokenizer_hash, again.template_hash) == (made.tokenizer_hash, made.template_hash)
    for settings in ({"template": PLAIN}, {"template": "chat", "system": "x"}, {"template": "chat", "prefill": "<"}):
        other = encoder(**settings)
        assert other.tokenizer_hash == made.tokenizer_hash
        assert other.template_hash != made.template_hash
    assert with_template(CHATML).template_hash != made.template_hash
    tokenizer = copy.deepcopy(made.tokenizer)
    tokenizer.add_tokens(["wordword"])
    assert ChatEncoder(made.template, tokenizer, made.eos_ids).tokenizer_hash != made.tokenizer_hash


OPENS_TAG = CHATML.replace("<|im_start|>assistant\n{% endif", "<|im_start|>assistant\n<think>\n{% endif").replace(
    "{{ m['content'] | trim }}",
    "{{ m['content'].split('</think>')[-1] if m['role'] == 'assistant' else m['content'] }}",
)
KEEPS_TAG = CHATML.replace("<|im_start|>assistant\n{% endif", "<|im_start|>assistant\n<think>\n{% endif")


@pytest.mark.parametrize("template", [OPENS_TAG, KEEPS_TAG])
@pytest.mark.parametrize(
    ("answer", "learnt"),
    [
        ("<think>\n1 + 1\n</think>\n\n2", "1 + 1\n</think>\n\n2"),
        ("<think>1 + 1</think>2", "1 + 1</think>2"),
        ("1 + 1</think>2", "1 + 1</think>2"),  # the tag was the prompt's already
        ("2", "\n</think>\n\n2"),
    ],
)
def test_reasoning_is_learnt_where_the_template_opens_its_tag(template, answer, learnt):
    made = with_template(template)
    found = made.encode(chat("q", answer))
    start = made.template.encode(Prompt("p", tuple(chat("q"))), made.tokenizer)
    assert made.tokenizer.decode(start).endswith("assistant\n<think>\n")
    assert found.input_ids[: len(start)] == start
    assert spans(found, made.tokenizer) == [f"{learnt}<|end|>"]


def test_reasoning_that_a_template_drops_without_opening_a_tag_is_learnt():
    made = with_template(OPENS_TAG.replace("<think>\n", ""))
    assert spans(made.encode(chat("q", ANSWER)), made.tokenizer) == [f"{ANSWER}<|end|>"]


def test_the_last_turn_alone():
    made = replace(with_template(OPENS_TAG), turns="last")
    found = made.encode(chat("q", "<think>a</think>1", "r", "<think>b</think>2"))
    assert spans(found, made.tokenizer) == ["b</think>2<|end|>"]
    assert "<think>a" not in made.tokenizer.decode(found.input_ids)
    asked = Prompt("p", tuple(chat("q", "<think>a</think>1", "r")))
    start = made.template.encode(asked, made.tokenizer)
    assert found.input_ids[: len(start)] == start


@pytest.mark.parametrize("template", ["own", CHATML])
def test_turns_that_the_data_set_excludes_are_context(template):
    made = encoder(template="chat") if template == "own" else with_template(template)
    turns = chat("q", "one", "r", "two", "s", "three")
    whole = made.encode(turns)
    turns[3] = replace(turns[3], learn=False)
    some = made.encode(turns)
    assert some.input_ids == whole.input_ids
    assert spans(some, made.tokenizer) == ["one<|end|>", "three<|end|>"]
    turns[5] = replace(turns[5], learn=False)
    assert spans(made.encode(turns), made.tokenizer) == ["one<|end|>"]
    with pytest.raises(InputError, match="no turn to learn from"):
        replace(made, turns="last").encode(turns)


def test_the_mark_of_the_next_role_is_learnt_as_the_end_of_a_turn():
    marks = "{% for m in messages %}<|{{ m['role'] }}|>{{ m['content'] }}{% endfor %}"
    made = with_template(marks + "{% if add_generation_prompt %}<|assistant|>{% endif %}")
    ids = find_eos_ids(made.tokenizer, GenerationConfig(), chat=True)
    made = replace(made, eos_ids=ids)
    found = made.encode(chat("q", "one", "r", "two"))
    assert spans(found, made.tokenizer) == ["one<|user|>", "two<|end|>"]
