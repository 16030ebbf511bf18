import pytest
from transformers import AutoTokenizer

from r1lit.errors import InputError
from r1lit.policy.templates import PromptTemplate, check_chat_template, with_chat_template
from r1lit.types import Message, Prompt

PROMPT = Prompt("p", (Message("user", "What is 1 + 1?"),))
DROPS_THOUGHTS = (
    "{% for m in messages %}<|im_start|>{{ m['role'] }}\n{{ m['content'].split('</think>')[-1] }}<|im_end|>\n"
    "{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant\n<think>\n{% endif %}"
)


def test_zero_is_plain_text_with_the_tags_and_the_question_last(tokenizer_of):
    text = PromptTemplate("zero").render(PROMPT, tokenizer_of(chat=False))
    assert text.endswith("User: What is 1 + 1?. Assistant:")
    for tag in ("<think> </think>", "<answer> </answer>", "</think> <answer>"):
        assert tag in text
    assert "<|im_start|>" not in text


def test_chat_renders_system_question_and_opening(tokenizer_of):
    template = PromptTemplate("chat", system="Be brief.", prefill="<think>\n")
    expected = (
        "<|im_start|>system\nBe brief.<|im_end|>\n<|im_start|>user\nWhat is 1 + 1?<|im_end|>\n"
        "<|im_start|>assistant\n<think>\n"
    )
    assert template.render(PROMPT, tokenizer_of()) == expected
    own = Prompt("q", (Message("system", "Be long."), *PROMPT.messages))
    assert "Be brief." not in template.render(own, tokenizer_of())
    assert "Be long." in template.render(own, tokenizer_of())


def test_custom_text_takes_braces_as_they_are(tokenizer_of):
    template = PromptTemplate("{x} {question} \\boxed{}\n")
    assert template.render(PROMPT, tokenizer_of()) == "{x} What is 1 + 1? \\boxed{}\n"


def test_prefill_written_by_the_chat_template_belongs_to_the_completion(tokenizer_of):
    tokenizer = tokenizer_of()
    tokenizer.chat_template = DROPS_THOUGHTS
    for prefill in ("", "<think>", "<think>\n"):  # never twice
        template = PromptTemplate("chat", prefill=prefill)
        assert template.render(PROMPT, tokenizer).endswith("assistant\n<think>\n")
        assert template.render(PROMPT, tokenizer).count("<think>") == 1
        assert template.prefill_text(PROMPT, tokenizer) == "<think>\n"
    assert PromptTemplate("zero").prefill_text(PROMPT, tokenizer) == ""
    assert PromptTemplate("zero", prefill=" <think>").prefill_text(PROMPT, tokenizer) == " <think>"


def test_prompt_is_what_the_completion_text_continues(tokenizer_of):
    tokenizer = tokenizer_of()
    template = PromptTemplate("zero", prefill=" <think>")
    assert tokenizer.decode(template.encode(PROMPT, tokenizer)).endswith("Assistant: <think>")


def test_final_end_token_of_a_tokenizer_is_taken_off(tokenizer_of):
    from tokenizers.processors import TemplateProcessing

    tokenizer = tokenizer_of()
    special = [("<|im_start|>", 1), ("<|endoftext|>", 0)]
    tokenizer.backend_tokenizer.post_processor = TemplateProcessing("<|im_start|> $A <|endoftext|>", None, special)
    ids = PromptTemplate("{question}").encode(PROMPT, tokenizer)
    assert ids[0] == 1  # the leading one stays
    assert 0 not in ids
    assert PromptTemplate("chat").encode(PROMPT, tokenizer).count(1) == 2  # the template's own, not a third


def test_bad_templates_are_refused(tokenizer_of):
    with pytest.raises(InputError, match=r"contains \{question\}"):
        PromptTemplate("zeero")
    with pytest.raises(InputError, match="system"):
        PromptTemplate("zero", system="Be brief.")
    dialogue = Prompt("d7", (*PROMPT.messages, Message("assistant", "2"), *PROMPT.messages))
    with pytest.raises(InputError, match="prompt 'd7'"):
        PromptTemplate("zero").render(dialogue, tokenizer_of())
    with pytest.raises(InputError, match="model-x has no chat template; use template: zero"):
        PromptTemplate("chat").check(tokenizer_of(chat=False), "model-x")
    PromptTemplate("zero").check(tokenizer_of(chat=False), "model-x")


def test_chat_template_that_does_not_open_an_answer_is_refused(tokenizer_of):
    tokenizer = tokenizer_of()
    tokenizer.chat_template = "{% for m in messages %}{{ m['content'] }}<|endoftext|>{% endfor %}"
    with pytest.raises(InputError, match="model-x: ignores add_generation_prompt"):
        PromptTemplate("chat").check(tokenizer, "model-x")


def test_chat_template_must_survive_encoding(tokenizer_of):
    from tokenizers import normalizers

    tokenizer = tokenizer_of()
    check_chat_template(tokenizer, "model-x")
    tokenizer.backend_tokenizer.normalizer = normalizers.Replace("assistant", "robot")
    with pytest.raises(InputError, match="model-x: text changes"):
        check_chat_template(tokenizer, "model-x")


def test_template_that_drops_reasoning_is_refused_where_it_is_trained_on(tokenizer_of):
    tokenizer = tokenizer_of()
    check_chat_template(tokenizer, "model-x", keeps_reasoning=True)
    tokenizer.chat_template = DROPS_THOUGHTS
    check_chat_template(tokenizer, "model-x")
    with pytest.raises(InputError, match="model-x: drops"):
        check_chat_template(tokenizer, "model-x", keeps_reasoning=True)


SWITCHED = (
    "{% for m in messages %}<|im_start|>{{ m['role'] }}\n{{ m['content'] }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n<think>\n"
    "{% if enable_thinking is defined and enable_thinking is false %}{{ '\n</think>\n\n' }}{% endif %}{% endif %}"
)
INSTRUCT = "{% for m in messages %}{% if m['role'] == 'user' %}[Q] {{ m['content'] }} [/Q]{% else %} {{ m['content'] }}"
INSTRUCT += "<|endoftext|>{% endif %}{% endfor %}"
ALTERNATES = (
    "{% if messages[0]['role'] == 'system' %}{{ raise_exception('System role not supported') }}{% endif %}"
    "{% for m in messages %}{% if (m['role'] == 'user') != (loop.index0 % 2 == 0) %}"
    "{{ raise_exception('roles must alternate') }}{% endif %}<|im_start|>{{ m['role'] }}\n{{ m['content'] }}"
    "<|im_end|>\n{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)


def test_chatml_that_ignores_add_generation_prompt_is_refused(tokenizer_of):
    tokenizer = tokenizer_of()
    tokenizer.chat_template = (
        "{% for m in messages %}<|im_start|>{{ m['role'] }}\n{{ m['content'] }}<|im_end|>\n{% endfor %}"
    )
    with pytest.raises(InputError, match="model-x: ignores add_generation_prompt"):
        PromptTemplate("chat").check(tokenizer, "model-x")
    for good in (INSTRUCT, SWITCHED, ALTERNATES):  # the first needs no such thing: a question opens its answer
        tokenizer.chat_template = good
        PromptTemplate("chat").check(tokenizer, "model-x")


def test_a_template_from_a_file(tokenizer_of, tmp_path):
    tokenizer = tokenizer_of()
    (tmp_path / "mine.jinja").write_text(INSTRUCT)
    assert with_chat_template(tokenizer, str(tmp_path / "mine.jinja")) == "chat"
    assert PromptTemplate("chat").render(PROMPT, tokenizer) == "[Q] What is 1 + 1? [/Q]"
    assert with_chat_template(tokenizer, "zero") == "zero"
    with pytest.raises(InputError, match=r"other.jinja': cannot be read"):
        with_chat_template(tokenizer, str(tmp_path / "other.jinja"))


def test_settings_of_a_template_are_saved_with_it_and_can_be_overridden(tokenizer_of, tmp_path):
    tokenizer = tokenizer_of()
    tokenizer.chat_template = SWITCHED
    template = PromptTemplate("chat")
    on = template.render(PROMPT, tokenizer)
    assert with_chat_template(tokenizer, "chat", {"enable_thinking": False}) == "chat"
    assert template.render(PROMPT, tokenizer) == f"{on}\n</think>\n\n"
    assert template.prefill_text(PROMPT, tokenizer) == "<think>\n\n</think>\n\n"
    tokenizer.save_pretrained(tmp_path)
    again = AutoTokenizer.from_pretrained(tmp_path)
    assert template.render(PROMPT, again) == f"{on}\n</think>\n\n"
    rows = [{"role": "user", "content": "What is 1 + 1?"}]
    assert again.apply_chat_template(rows, add_generation_prompt=True, tokenize=False, enable_thinking=True) == on
    with pytest.raises(InputError, match=r"chat_template_kwargs.enable_thought: the chat template reads no such"):
        with_chat_template(tokenizer, "chat", {"enable_thought": False})
    with pytest.raises(InputError, match="only a chat template reads them"):
        with_chat_template(tokenizer, "zero", {"enable_thinking": False})


def test_what_a_template_refuses_is_said_with_the_prompt(tokenizer_of):
    tokenizer = tokenizer_of()
    tokenizer.chat_template = ALTERNATES
    with pytest.raises(InputError, match=r"^prompt 'p': .* refuses a chat of system, user: System role not supported$"):
        PromptTemplate("chat", system="Be brief.").render(PROMPT, tokenizer)
    twice = Prompt("p9", PROMPT.messages * 2)
    with pytest.raises(InputError, match=r"^prompt 'p9': .* of user, user: roles must alternate$"):
        PromptTemplate("chat").encode(twice, tokenizer)
