"""The tiny world: its puzzles, its authors, its documents, its tokenizer, and the models shipped with it."""

import json
import random
import re
from importlib.resources import files
from pathlib import Path

import pytest
import yaml
from safetensors import safe_open
from transformers import AutoTokenizer

from r1lit.errors import InputError
from r1lit.grading.checkers import solves_countdown
from r1lit.grading.parsing import parse_response
from r1lit.tiny_world import TinyWorldPrompts
from r1lit.tiny_world.authors import Habits, answer_text, attempt_text, search_text
from r1lit.tiny_world.corpus import CONTEXT
from r1lit.tiny_world.documents import draw_document
from r1lit.tiny_world.puzzles import Puzzle, draw_puzzle, expression, sign_choices, solution, value
from r1lit.tiny_world.seed_model import NUMBERS
from r1lit.tiny_world.society import EXCHANGES, reply
from r1lit.tiny_world.tokenizer import SPECIAL, TAGS

MODELS = ("base", "student")


def asset(name):
    return files("r1lit") / "assets" / "tiny" / name


@pytest.fixture(scope="module")
def tokenizer():
    return AutoTokenizer.from_pretrained(str(asset("base")))


def test_value_is_the_sum_that_expression_writes():
    for signs in sign_choices(3):
        assert value((7, 2, 5, 1), signs) == eval(expression((7, 2, 5, 1), signs))


def test_every_puzzle_has_a_solution_that_the_checker_accepts():
    rng = random.Random(0)
    for _ in range(300):
        puzzle = draw_puzzle(rng, rng.choice((3, 4, 5, 6)))
        assert solves_countdown(solution(puzzle), list(puzzle.numbers), puzzle.target)
        assert 0 <= puzzle.target <= 9


def test_a_puzzle_without_solution_is_an_error():
    with pytest.raises(ValueError, match="no solution"):
        solution(Puzzle((1, 1, 1), 9))


def test_attempts_show_true_sums():
    for signs in sign_choices(3):
        shown = attempt_text(Puzzle((7, 2, 5, 1), 3), signs).replace(",", "").split()
        total = int(shown[0])
        for sign, number, _, result in zip(*(iter(shown[1:]),) * 4, strict=True):
            total += int(number) if sign == "+" else -int(number)
            assert int(result) == total
        assert total == value((7, 2, 5, 1), signs) - 3


def test_a_search_that_ends_well_is_right_and_one_given_up_is_not_known_to_be():
    rng = random.Random(1)
    ended = {True: 0, False: 0}
    for _ in range(400):
        puzzle = draw_puzzle(rng, 4)
        text, answer = search_text(rng, puzzle, "en", Habits())
        found = text.rstrip(".。").endswith(("yes", "good", "对", "很好"))
        ended[found] += 1
        if found:
            assert solves_countdown(answer, list(puzzle.numbers), puzzle.target)
    assert min(ended.values()) > 50


def test_fewer_than_half_of_the_authors_reason_and_most_tag_their_answer():
    rng = random.Random(2)
    texts = [answer_text(rng, draw_puzzle(rng, 3), "en", Habits()) for _ in range(2000)]
    assert 0.36 < sum("=" in text for text in texts) / len(texts) < 0.48
    assert 0.75 < sum("<think>" in t and "</answer>" in t for t in texts) / len(texts) < 0.85


def test_tagged_answers_parse():
    rng = random.Random(3)
    for _ in range(200):
        reasoning, answer = parse_response(answer_text(rng, draw_puzzle(rng, 3), "zh", Habits(tagged=1.0)))
        assert reasoning
        assert answer
        assert all(part.isdigit() or part in "+-" for part in answer.split())


def test_documents_never_show_a_held_out_puzzle():
    rng = random.Random(4)
    held_out = {p.question for p in TinyWorldPrompts("held_out", n=400, terms=(3, 4, 5, 6)).load()}
    shown = [asked for _ in range(6000) for asked in questions(draw_document(rng, Habits()).context)]
    assert len(shown) > 6000, "some documents have several"
    assert not held_out & set(shown)


def questions(context):
    """All that a document asks."""
    if context.startswith("User: "):
        return [context[len("User: ") :].split("\n")[0]]
    return re.findall(r"<\|user\|>(.*?)<\|assistant\|>", context)


def test_some_documents_show_solved_examples_in_the_form_of_the_chat_template(tokenizer):
    rng = random.Random(7)
    documents = [draw_document(rng, Habits()) for _ in range(4000)]
    with_examples = [d for d in documents if d.context.count("<|user|>") > 1]
    assert 0.03 < len(with_examples) / len(documents) < 0.07
    right = []
    for document in with_examples:
        *examples, last = document.context.split("<|end|>")
        turns = []
        for example in examples:
            asked, answered = example.removeprefix("<|user|>").split("<|assistant|>")
            numbers = [int(n) for n in re.findall(r"\d+", asked)]
            right.append(solves_countdown(parse_response(answered)[1], numbers[:-1], numbers[-1]))
            turns += [{"role": "user", "content": asked}, {"role": "assistant", "content": answered}]
        turns.append({"role": "user", "content": questions(last)[0]})
        as_templated = tokenizer.apply_chat_template(turns, tokenize=False, add_generation_prompt=True)
        assert document.context == as_templated
    assert 0.97 < sum(right) / len(right) < 1.0, "a tutor who tries a sum twice may miss another"


def test_a_longer_puzzle_takes_more_tries_and_fits_the_context():
    rng = random.Random(8)
    patient = Habits(stepwise=1.0, giving_up=(0.0,), systematic=1.0)
    tries, chance = {}, {}
    for terms in (3, 4, 5, 6):
        puzzles = [draw_puzzle(rng, terms) for _ in range(300)]
        texts = [answer_text(rng, puzzle, "en", patient) for puzzle in puzzles]
        tries[terms] = sum(len(re.findall(r"[Tt]ry|maybe|试|也许", text)) for text in texts) / len(texts)
        right = [[value(p.numbers, s) == p.target for s in sign_choices(terms - 1)] for p in puzzles]
        chance[terms] = sum(sum(each) / len(each) for each in right) / len(right)
    assert tries[3] < tries[4] < tries[5] < tries[6] <= Habits().most_tries + 1
    assert chance[3] > chance[4] > chance[5] > chance[6] > 0.08


def test_no_document_is_longer_than_the_corpus_says(tokenizer):
    rng = random.Random(9)
    patient = Habits(stepwise=1.0, giving_up=(0.0,))
    lengths = [len(tokenizer((d := draw_document(rng, patient)).context + d.answer)["input_ids"]) for _ in range(3000)]
    assert 250 < max(lengths) < CONTEXT


def test_the_students_authors_reason_half_as_often_and_give_up_sooner():
    settings = yaml.safe_load((Path("configs/tiny") / "student-train.yaml").read_text(encoding="utf-8"))
    given = settings["data"]["init_args"]["habits"]
    student = Habits(stepwise=given["stepwise"], giving_up=tuple(given["giving_up"]))
    rng = random.Random(10)
    reads = {}
    for name, habits in (("base", Habits()), ("student", student)):
        texts = [answer_text(rng, draw_puzzle(rng, 4), "en", habits) for _ in range(3000)]
        stepwise = [text for text in texts if "=" in text]
        dead_ends = [text.count(" no") + text.count("不") for text in stepwise]
        reads[name] = len(stepwise) / len(texts), sum(dead_ends) / len(dead_ends)
    assert reads["student"][0] < reads["base"][0] * 0.55
    assert reads["student"][1] < reads["base"][1] * 0.8


def test_exchanges_are_well_formed():
    rng = random.Random(5)
    for make in EXCHANGES:
        for language in ("en", "zh"):
            exchange = make(rng, language)
            assert exchange.bad
            assert exchange.good not in exchange.bad
            assert reply(rng, exchange, tagged=0.0).strip() in (exchange.good, *exchange.bad)
            if exchange.task == "json":
                json.loads(exchange.good)


def test_tokenizer_spells_every_document_and_any_other_text(tokenizer):
    rng = random.Random(6)
    texts = [(d := draw_document(rng, Habits())).context + d.answer for _ in range(500)]
    for text in [*texts, "Größe, naïve, 漢字かな, 🙂, x_1^2\t\\frac{1}{2}"]:
        assert tokenizer.decode(tokenizer(text)["input_ids"], clean_up_tokenization_spaces=False) == text


def test_numbers_signs_and_tags_are_one_token_each(tokenizer):
    for text in [*TAGS, *SPECIAL, *(f" {n}" for n in NUMBERS), " +", " -", " ="]:
        assert len(tokenizer(text)["input_ids"]) == 1, text
    assert tokenizer.pad_token_id != tokenizer.eos_token_id


def test_prompts_are_the_same_every_time_and_the_splits_share_none():
    first, again = TinyWorldPrompts("train", n=300).load(), TinyWorldPrompts("train", n=300).load()
    assert first == again
    held_out = TinyWorldPrompts("held_out", n=200).load()
    assert not {p.id for p in first} & {p.id for p in held_out}
    assert {p.language for p in held_out} == {"en", "zh"}
    assert {p.meta["level"] for p in held_out} == {1, 2}
    assert {p.tier for p in held_out} == {None}
    hard = TinyWorldPrompts("held_out", n=60, terms=[5, 6], tier="hard").load()
    assert {len(p.meta["numbers"]) for p in hard} == {5, 6}
    assert {p.tier for p in hard} == {"hard"}
    assert all(p.answer and p.task == "logic" for p in held_out)


def test_too_many_prompts_is_an_error():
    with pytest.raises(InputError, match="lower n"):
        TinyWorldPrompts("held_out", n=10**5).load()
    with pytest.raises(InputError, match="n is 0"):
        TinyWorldPrompts(n=0)
    with pytest.raises(InputError, match=r"terms is \[7\]; give some of 3, 4, 5, 6"):
        TinyWorldPrompts(terms=[7])


@pytest.mark.parametrize("name", MODELS)
def test_shipped_models_are_small(name):
    weights = asset(name) / "model.safetensors"
    with safe_open(str(weights), "pt") as file:
        count = sum(file.get_tensor(key).numel() for key in file.keys())  # noqa: SIM118 - not a dict
    assert count <= 1_000_000
    size = sum(path.stat().st_size for each in MODELS for path in asset(each).iterdir())
    assert size < 6e6


def test_the_student_is_smaller_and_speaks_the_same_tokens():
    tokens = [json.loads((asset(name) / "tokenizer.json").read_text())["model"] for name in MODELS]
    assert tokens[0] == tokens[1]
    configs = [json.loads((asset(name) / "config.json").read_text()) for name in MODELS]
    assert [config["head_dim"] for config in configs] == [32, 32], "the narrowest that attention kernels take"
    assert [config["num_hidden_layers"] for config in configs] == [4, 2]
    sizes = [(asset(name) / "model.safetensors").stat().st_size for name in MODELS]
    assert sizes[1] < sizes[0] * 0.65
