import json

import pytest

from r1lit.errors import InputError
from r1lit.rewards import AccuracyReward, language_consistency, parse_response
from r1lit.tasks.benchmarks import AIMEPrompts, GSM8KPrompts, MathPrompts, MGSMPrompts
from r1lit.tasks.benchmarks.maths import REQUESTS
from r1lit.types import Completion


def write(path, *rows):
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def judged(prompt, answer):
    text = f"<think>Let me see.</think>It is \\boxed{{{answer}}}."
    reasoning, found = parse_response(text)
    (score,) = AccuracyReward().score([Completion(prompt, 0, (), (), (), text, "stop", reasoning, found)])
    return score


def test_aime(tmp_path):
    path = write(tmp_path / "a.jsonl", {"problem": "?", "answer": "033"}, {"problem": "?", "answer": 7})
    first, second = AIMEPrompts(path=path).load()
    assert (first.id, first.answer, second.answer) == ("aime24/1", "33", "7")
    assert [judged(first, answer) for answer in ("33", "033", "34")] == [1.0, 1.0, 0.0]


def test_the_answer_may_stand_in_the_solutions_box(tmp_path):
    rows = {"problem": "?", "solution": r"So \boxed{\frac{1}{2}}."}, {"problem": "?", "answer": r"$\boxed{3}$"}
    first, second = MathPrompts(path=write(tmp_path / "a.jsonl", *rows)).load()
    assert (first.answer, second.answer) == (r"\frac{1}{2}", "3")
    assert judged(first, "0.5") == 1.0


def test_gsm8k(tmp_path):
    solution = "She has 3*2=<<3*2=6>>6 eggs.\n#### 1,006"
    rows = {"question": "How many?", "answer": solution}, {"question": "And now?", "answer": "12"}
    path = write(tmp_path / "a.jsonl", *rows)
    first, second = GSM8KPrompts(path=path).load()
    assert (first.answer, second.answer) == ("1006", "12")
    assert [judged(first, answer) for answer in ("1006", "1,006", "6")] == [1.0, 1.0, 0.0]
    (_, shot) = GSM8KPrompts(path=path, shots=1, shots_path=path).load()
    assert "She has 3*2=6 eggs.\n\\boxed{1006}\n\n" in shot.question


def test_mgsm_reads_a_folder(tmp_path):
    texts = {"en": "How many?", "zh": "有多少？", "ja": "いくつ？", "fr": "Combien ?", "de": "Wie viele?"}
    for language, text in texts.items():
        (tmp_path / f"mgsm_{language}.tsv").write_text(f"{text}\t1,800\n{text}\t3\n")
    prompts = MGSMPrompts(path=tmp_path).load()
    assert [p.id for p in prompts[:3]] == ["mgsm/en/1", "mgsm/en/2", "mgsm/zh/1"]
    assert len({p.id for p in prompts}) == len(prompts) == 10
    for prompt in prompts:
        assert prompt.question == REQUESTS[prompt.language].replace("{question}", texts[prompt.language])
        assert language_consistency(prompt.question, prompt.language, identify=True) == 1
    assert prompts[0].answer == "1800"
    assert [p.language for p in MGSMPrompts(path=tmp_path, languages=["ja", "de"]).load()] == ["ja", "ja", "de", "de"]
    (first, *_) = MGSMPrompts(path=tmp_path / "mgsm_fr.tsv").load()
    assert (first.language, first.id) == ("fr", "mgsm/fr/1")
    with pytest.raises(InputError, match=r"0 files are named \*_es\.\*"):
        MGSMPrompts(path=tmp_path, languages=["es"]).load()


def test_mgsm_in_other_forms(tmp_path):
    (tmp_path / "a.tsv").write_text("question\tanswer\nHow many?\t3\n")
    (prompt,) = MGSMPrompts(path=tmp_path / "a.tsv", languages=["de"]).load()
    assert (prompt.answer, prompt.language) == ("3", "de")
    with pytest.raises(InputError, match="which language"):
        MGSMPrompts(path=tmp_path / "a.tsv").load()
    path = write(tmp_path / "x_zh.jsonl", {"question": "几个？", "answer": "五个", "answer_number": 5})
    (prompt,) = MGSMPrompts(path=path).load()
    assert (prompt.answer, prompt.language) == ("5", "zh")
    with pytest.raises(InputError, match="no instruction in 'sw'"):
        MGSMPrompts(path=path, languages=["sw"])
    assert MGSMPrompts(path=path, languages=["sw"], prompt="{question}!").load()[0].question == "几个？!"
