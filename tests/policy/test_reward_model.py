import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from transformers import AutoModelForSequenceClassification, AutoTokenizer, LlamaForSequenceClassification

from r1lit.errors import InputError
from r1lit.policy import LoraSettings, ModelScorer, RewardModel
from r1lit.policy.classifiers import padded
from r1lit.policy.reward_text import cut_middle, read_part
from r1lit.types import Completion, Message, Prompt, Scorer

PROMPT = Prompt("p", (Message("user", "What is 1 + 1?"),))
TEXTS = ["<think> let me see </think> <answer> 2 </answer>", "two", "One and one is two. One and one is two.", ""]


def completions(texts=TEXTS, prompt=PROMPT):
    return [Completion(prompt, i, (), (), (), text, "stop") for i, text in enumerate(texts)]


def scores_of(model, texts=TEXTS):
    rows = [model.encode(PROMPT.messages, text) for text in texts]
    with torch.no_grad():
        return model(*padded(rows, model.pad_id)).tolist()


def shaken(model):
    """Gives the trained parameters values that nothing else has."""
    noise = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for param in model.parameters():
            if param.requires_grad:
                param.add_(torch.randn(param.shape, generator=noise) * 0.1)
    return model


@pytest.fixture(scope="module")
def saved(model_dir, tmp_path_factory):
    """A reward model's directory and its scores."""
    model = shaken(RewardModel.from_pretrained(model_dir()))
    model.note(loss="pairwise", mean=0.25, std=2.0)
    return str(model.save_pretrained(tmp_path_factory.mktemp("saved") / "model")), scores_of(model)


def edited(saved, folder, **changes):
    """A copy of the directory with another configuration."""
    for file in Path(saved).iterdir():
        (folder / file.name).write_bytes(file.read_bytes())
    path = folder / "config.json"
    config = json.loads(path.read_text()) | changes
    path.write_text(json.dumps({key: value for key, value in config.items() if value is not None}))
    return str(folder)


# What is read


@pytest.mark.parametrize(
    ("text", "answer"),
    [
        ("<think> a </think> b", "b"),
        ("a </think> b </think> c", "b </think> c"),
        ("<think> cut off", ""),
        (" plain ", "plain"),
        ("says <think> itself", "says <think> itself"),
    ],
)
def test_what_is_read(text, answer):
    assert read_part(text, "answer") == answer
    assert read_part(text, "all") == text.strip()


def test_rows_end_with_the_reply(model_dir):
    answer, everything = (RewardModel(model_dir(), reads=reads) for reads in ("answer", "all"))
    assert answer.tokenizer.decode(answer.encode(PROMPT.messages, TEXTS[0])) == (
        "<|im_start|>user\nWhat is 1 + 1?<|im_end|>\n<|im_start|>assistant\n<answer> 2 </answer><|im_end|>\n"
    )
    assert "let me see" in everything.tokenizer.decode(everything.encode(PROMPT.messages, TEXTS[0]))
    plain = RewardModel(model_dir(), template="turns")
    assert plain.tokenizer.decode(plain.encode(PROMPT.messages, "two")) == (
        "User: What is 1 + 1?\n\nAssistant: two<|endoftext|>"
    )
    own = RewardModel(model_dir(), template="Q: {question} A:")
    assert own.tokenizer.decode(own.encode(PROMPT.messages, " two")) == "Q: What is 1 + 1? A: two<|endoftext|>"


def test_models_without_a_chat_template_get_turns(write, tokenizer_of, tmp_path):
    model = RewardModel(write(tmp_path, tokenizer=tokenizer_of(chat=False)))
    assert model.encoder.template == "turns"
    turns = (Message("system", "Be kind."), *PROMPT.messages)
    assert model.encoder.render(turns, "two").startswith("System: Be kind.\n\nUser: What")


def test_a_template_that_drops_reasoning_cannot_be_read_whole(write, tokenizer_of, tmp_path):
    tokenizer = tokenizer_of()
    tokenizer.chat_template = tokenizer.chat_template.replace("m['content']", "m['content'].split('</think>')[-1]")
    folder = write(tmp_path, tokenizer=tokenizer)
    assert RewardModel(folder, reads="answer").encoder.reads == "answer"
    with pytest.raises(InputError, match="drops what stands in <think>"):
        RewardModel(folder, reads="all")


def test_cut_middle():
    assert cut_middle([1, 2, 3], 3) == [1, 2, 3]
    assert cut_middle(list(range(9)), 4) == [0, 1, 7, 8]
    assert cut_middle(list(range(9)), 5) == [0, 1, 6, 7, 8]
    assert cut_middle(list(range(9)), 1) == [8]


# The model


@pytest.mark.parametrize("family", ["llama", "qwen2", "gpt2", "gemma3"])
def test_the_body_is_that_of_the_language_model_and_the_head_is_new(family, model_dir):
    model = RewardModel.from_pretrained(model_dir(family, True))
    own = AutoModelForSequenceClassification.from_pretrained(model_dir(family, True), num_labels=1)
    body, wanted = model.lm.base_model.state_dict(), own.base_model.state_dict()
    assert body.keys() == wanted.keys()
    assert all(torch.equal(body[name], wanted[name]) for name in body)
    assert model.head_names() == ["score.weight"]
    head = model.lm.get_parameter("score.weight")
    assert 0 < head.abs().max() < 4 / 33
    assert torch.equal(head, RewardModel.from_pretrained(model_dir(family, True)).lm.get_parameter("score.weight"))


def test_padding_changes_nothing(model_dir):
    model = shaken(RewardModel.from_pretrained(model_dir()))
    assert scores_of(model) == pytest.approx([scores_of(model, [text])[0] for text in TEXTS], abs=1e-5)
    assert len({round(score, 3) for score in scores_of(model)}) == len(TEXTS)


def test_a_fresh_process_gives_the_same_scores(saved):
    folder, scores = saved
    code = f"""
import torch
from transformers import AutoModelForSequenceClassification, AutoTokenizer
model = AutoModelForSequenceClassification.from_pretrained({folder!r})
tokenizer = AutoTokenizer.from_pretrained({folder!r})
for reply in ["<answer> 2 </answer>", "two"]:
    turns = [{{"role": "user", "content": "What is 1 + 1?"}}, {{"role": "assistant", "content": reply}}]
    ids = tokenizer.apply_chat_template(turns, return_tensors="pt", return_dict=True)["input_ids"]
    print(float(model(ids).logits[0, 0]))
"""
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert run.returncode == 0, run.stderr
    assert [float(line) for line in run.stdout.split()] == pytest.approx(scores[:2], abs=1e-5)


def test_training_goes_on_from_a_saved_reward_model(saved):
    folder, scores = saved
    assert scores_of(RewardModel.from_pretrained(folder)) == pytest.approx(scores, abs=1e-6)


def test_adapters_leave_the_body_alone_and_are_merged_when_saved(model_dir, tmp_path):
    model = RewardModel.from_pretrained(model_dir(), lora=LoraSettings(rank=2))
    plain = RewardModel.from_pretrained(model_dir())
    assert scores_of(model) == pytest.approx(scores_of(plain), abs=1e-6)
    trained = {name for name, param in model.lm.named_parameters() if param.requires_grad}
    assert all("lora" in name or name == "score.weight" for name in trained)
    assert "score.weight" in trained
    assert {name.removeprefix("lm.") for name in model.state_dict()} == trained  # the base is not checkpointed
    shaken(model)
    model.save_pretrained(tmp_path / "merged")
    assert ModelScorer(str(tmp_path / "merged")).score(completions()) == pytest.approx(scores_of(model), abs=1e-4)
    again = RewardModel.from_pretrained(model_dir(), lora=LoraSettings(rank=2))
    again.load_state_dict(model.state_dict())
    assert scores_of(again) == scores_of(model)
    with pytest.raises(InputError, match="a reward model is exported whole"):
        model.save_pretrained(tmp_path / "adapter", adapter=True)


def test_models_that_cannot_become_reward_models(model_dir, tmp_path, saved):
    with pytest.raises(InputError, match="there is no such directory"):
        RewardModel(str(tmp_path / "none"))
    two = edited(saved[0], tmp_path, id2label={"0": "a", "1": "b"}, label2id={"a": 0, "b": 1})
    with pytest.raises(InputError, match="its head has 2 labels; a reward model has one"):
        RewardModel(two)


# Scoring


def test_scorer_scores_as_the_model_in_any_order_and_batch(saved):
    folder, scores = saved
    scorer = ModelScorer(folder)
    assert isinstance(scorer, Scorer)
    assert scorer.score(completions()) == pytest.approx(scores, abs=1e-5)
    assert ModelScorer(folder, batch_tokens=1).score(completions()) == pytest.approx(scores, abs=1e-5)
    assert scorer.score(completions()[::-1]) == pytest.approx(scores[::-1], abs=1e-5)
    assert scorer.score([]) == []
    assert (scorer.mean, scorer.std, scorer.loss, scorer.encoder.reads) == (0.25, 2.0, "pairwise", "answer")


def test_what_a_model_was_trained_to_read_is_read(model_dir, tmp_path):
    model = shaken(RewardModel.from_pretrained(model_dir(), reads="all", template="turns"))
    folder = str(model.save_pretrained(tmp_path / "all"))
    scorer = ModelScorer(folder)
    assert scorer.score(completions()) == pytest.approx(scores_of(model), abs=1e-5)
    same = completions(["<think> a </think> b", "<think> c </think> b"])
    assert len({round(score, 4) for score in scorer.score(same)}) == 2
    assert len({round(score, 4) for score in ModelScorer(folder, reads="answer").score(same)}) == 1


def test_others_reward_models_are_taken(model_dir, tmp_path):
    model = LlamaForSequenceClassification.from_pretrained(model_dir(), num_labels=1)
    torch.nn.init.normal_(model.score.weight)
    model.config.pad_token_id = None  # as in many published ones
    model.save_pretrained(tmp_path)
    AutoTokenizer.from_pretrained(model_dir()).save_pretrained(tmp_path)
    scorer = ModelScorer(str(tmp_path))
    tokenizer = AutoTokenizer.from_pretrained(tmp_path)
    wanted = []
    for text in ("<answer> 2 </answer>", "two"):
        turns = [{"role": "user", "content": "What is 1 + 1?"}, {"role": "assistant", "content": text}]
        ids = tokenizer.apply_chat_template(turns, return_tensors="pt", return_dict=True)["input_ids"]
        wanted.append(float(model(ids).logits[0, 0]))
    assert scorer.score(completions(TEXTS[:2])) == pytest.approx(wanted, abs=1e-5)
    assert (scorer.mean, scorer.std, scorer.loss) == (None, None, None)


def test_two_labels_are_taken_as_log_odds_where_their_names_say_which_is_good(model_dir, tmp_path):
    model = LlamaForSequenceClassification.from_pretrained(
        model_dir(), num_labels=2, id2label={0: "Unsafe", 1: "Safe"}, label2id={"Unsafe": 0, "Safe": 1}
    )
    torch.nn.init.normal_(model.score.weight)
    model.save_pretrained(tmp_path)
    tokenizer = AutoTokenizer.from_pretrained(model_dir())
    tokenizer.save_pretrained(tmp_path)
    scorer = ModelScorer(str(tmp_path))
    ids = torch.tensor([scorer.encoder.encode(PROMPT.messages, "two")])
    logits = model(ids).logits[0]
    assert scorer.score(completions(["two"])) == pytest.approx([float(logits[1] - logits[0])], abs=1e-5)
    other = edited(str(tmp_path), tmp_path, id2label={"0": "a", "1": "b"}, label2id={"a": 0, "b": 1})
    with pytest.raises(InputError, match=r"2 labels \(a, b\); a reward model has one, or two called safe and unsafe"):
        ModelScorer(other).score(completions())


def test_a_tokenizer_of_another_model_is_refused(saved, tokenizer_of, tmp_path):
    larger, same_size = tmp_path / "larger", tmp_path / "same"
    for folder in (larger, same_size):
        folder.mkdir()
        edited(saved[0], folder)
    tokenizer = tokenizer_of()
    tokenizer.add_tokens([f"new{i}" for i in range(40)])
    tokenizer.save_pretrained(larger)
    with pytest.raises(InputError, match="its tokenizer has ids up to 339 but its embedding 300 rows"):
        ModelScorer(str(larger)).load()
    specials = ("<|endoftext|>", "<|im_start|>", "<|im_end|>", "<|pad|>", "<|x|>")
    tokenizer_of(specials=specials).save_pretrained(same_size)
    with pytest.raises(InputError, match="another vocabulary than it was trained with"):
        ModelScorer(str(same_size)).load()


def test_what_is_no_reward_model_is_refused(model_dir, saved, tmp_path):
    with pytest.raises(InputError, match="LlamaForCausalLM has no scalar head"):
        ModelScorer(model_dir()).load()
    with pytest.raises(InputError, match="there is no such directory"):
        ModelScorer(str(tmp_path / "none")).load()
    headless = tmp_path / "headless"
    headless.mkdir()
    for file in Path(model_dir()).iterdir():
        (headless / file.name).write_bytes(file.read_bytes())
    config = json.loads((headless / "config.json").read_text())
    config |= {"architectures": ["LlamaForSequenceClassification"], "id2label": {"0": "LABEL_0"}}
    (headless / "config.json").write_text(json.dumps(config))
    with pytest.raises(InputError, match=r"lack 1 tensors, such as score.weight"):
        ModelScorer(str(headless)).load()
    narrow = tmp_path / "narrow"
    narrow.mkdir()
    with pytest.raises(InputError, match="cannot be read"):
        ModelScorer(edited(saved[0], narrow, hidden_size=16)).load()
    with pytest.raises(InputError, match="batch_tokens is 0"):
        ModelScorer(saved[0], batch_tokens=0)


def test_rows_beyond_the_context_lose_their_middle_and_are_counted(saved):
    scorer = ModelScorer(saved[0])
    long, longer = "One and one is two. " * 30, "One and one is two. " * 60
    scores = scorer.score(completions([long, longer, "two"]))
    assert scorer.cut == 2
    assert len(set(scores)) > 1
    ids = cut_middle(scorer.encoder.encode(PROMPT.messages, long), 128)
    model = AutoModelForSequenceClassification.from_pretrained(saved[0])
    assert float(model(torch.tensor([ids])).logits[0, 0]) == pytest.approx(scores[0], abs=1e-5)
