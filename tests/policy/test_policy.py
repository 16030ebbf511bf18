import copy
from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from transformers import AutoModelForCausalLM, AutoTokenizer, GPT2Config

from r1lit.errors import InputError
from r1lit.policy import Policy
from r1lit.types import Message, Prompt

FAMILIES = [("llama", False), ("llama", True), ("qwen2", True), ("gemma3", True), ("gpt2", True)]
PROMPT = Prompt("p", (Message("user", "What is 1 + 1?"),))


def batch():
    """Two right-padded rows of lengths 9 and 6; prompts of 3 and 2 tokens."""
    ids = torch.randint(4, 260, (2, 9), generator=torch.Generator().manual_seed(1))
    lengths = torch.tensor([9, 6])[:, None]
    places = torch.arange(9)[None]
    attention = places < lengths
    ids = ids.where(attention, torch.tensor(3))
    return ids, attention, attention & (places >= torch.tensor([3, 2])[:, None])


def reference(model_dir, ids, attention, target, temperature):
    """Log-probabilities and entropies of each row on its own, from full logits in float64."""
    lm = AutoModelForCausalLM.from_pretrained(model_dir, dtype=torch.float64).eval()
    logprobs = torch.zeros(ids.shape, dtype=torch.float64)
    entropies = torch.zeros(ids.shape, dtype=torch.float64)
    for row in range(len(ids)):
        n = int(attention[row].sum())
        with torch.no_grad():
            table = (lm(ids[row : row + 1, :n]).logits[0] / temperature).log_softmax(-1)
        for t in range(1, n):
            if target[row, t]:
                logprobs[row, t] = table[t - 1, ids[row, t]]
                entropies[row, t] = -(table[t - 1].exp() * table[t - 1]).sum()
    return logprobs, entropies


@pytest.mark.parametrize(("family", "tied"), FAMILIES)
@pytest.mark.parametrize("temperature", [1.0, 0.7])
def test_logprobs_equal_full_logits_in_float64(model_dir, family, tied, temperature):
    policy = Policy.from_pretrained(model_dir(family, tied), logprob_chunk_size=4)
    ids, attention, target = batch()
    out = policy.token_logprobs(ids, attention, target, temperature, with_entropy=True)
    logprobs, entropies = reference(model_dir(family, tied), ids, attention, target, temperature)
    assert out.logprobs.dtype == torch.float32
    assert out.logprobs.shape == ids.shape
    torch.testing.assert_close(out.logprobs.double(), logprobs, atol=2e-4, rtol=1e-4)
    torch.testing.assert_close(out.entropy.double(), entropies, atol=2e-4, rtol=1e-4)
    assert (out.logprobs[~target] == 0).all()


@pytest.mark.parametrize("checkpointing", [False, True])
def test_gradients_equal_those_of_full_logits(model_dir, checkpointing):
    policy = Policy.from_pretrained(model_dir("gemma3", True), gradient_checkpointing=checkpointing).train()
    ids, attention, target = batch()
    weights = torch.randn(ids.shape, generator=torch.Generator().manual_seed(2))
    (policy.token_logprobs(ids, attention, target).logprobs * weights).sum().backward()
    plain = AutoModelForCausalLM.from_pretrained(model_dir("gemma3", True), dtype=torch.float32)
    table = plain(ids, attention_mask=attention.long()).logits.log_softmax(-1)
    picked = table[:, :-1].gather(-1, ids[:, 1:, None])[..., 0]
    (picked * weights[:, 1:] * target[:, 1:]).sum().backward()
    ours = dict(policy.lm.named_parameters())
    for name, param in plain.named_parameters():
        if "embed_tokens" in name:  # the padding row gets no gradient on either side, all others must agree
            torch.testing.assert_close(ours[name].grad[4:], param.grad[4:], atol=2e-3, rtol=2e-3)
        else:
            torch.testing.assert_close(ours[name].grad, param.grad, atol=2e-3, rtol=2e-3)


def test_batch_without_targets_still_reaches_every_weight(model_dir):
    policy = Policy.from_pretrained(model_dir("llama", False))
    ids, attention, target = batch()
    out = policy.token_logprobs(ids, attention, torch.zeros_like(target))
    assert (out.logprobs == 0).all()
    out.logprobs.sum().backward()
    assert all(p.grad is not None and not p.grad.any() for p in policy.parameters())


def test_first_token_cannot_be_a_target(model_dir):
    policy = Policy.from_pretrained(model_dir())
    ids, attention, target = batch()
    target[0, 0] = True
    with pytest.raises(ValueError, match="first token"):
        policy.token_logprobs(ids, attention, target)


@pytest.mark.parametrize("family", ["llama", "gpt2"])
def test_training_mode_changes_nothing(model_dir, family):
    policy = Policy.from_pretrained(model_dir(family, True))
    ids, attention, target = batch()
    first = policy.train().token_logprobs(ids, attention, target).logprobs
    assert torch.equal(first, policy.eval().token_logprobs(ids, attention, target).logprobs)


@pytest.mark.parametrize(("family", "tied"), FAMILIES)
def test_meta_build_gives_what_transformers_gives(model_dir, family, tied):
    expected = AutoModelForCausalLM.from_pretrained(model_dir(family, tied), dtype=torch.float32)
    policy = Policy(model_dir(family, tied))
    assert not policy.is_built
    policy.build(meta=True)
    assert policy.is_built
    assert all(p.is_meta for p in policy.parameters())
    assert (policy.lm.get_output_embeddings().weight is policy.lm.get_input_embeddings().weight) is tied
    with pytest.raises(RuntimeError, match="meta"):
        policy.load_weights()
    policy.to_empty(device="cpu")
    policy.load_weights()
    ours = dict(policy.lm.named_parameters())
    assert ours.keys() == dict(expected.named_parameters()).keys()
    for name, value in expected.named_parameters():
        assert torch.equal(ours[name], value), name
    buffers = dict(policy.lm.named_buffers())
    assert buffers.keys() == dict(expected.named_buffers()).keys()
    for name, value in expected.named_buffers():
        assert buffers[name].dtype == value.dtype
        assert torch.equal(buffers[name], value), name
    head, embedding = policy.lm.get_output_embeddings().weight, policy.lm.get_input_embeddings().weight
    assert (head is embedding) is tied
    ids, attention, _ = batch()
    torch.testing.assert_close(
        policy.lm(ids, attention_mask=attention).logits, expected(ids, attention_mask=attention).logits
    )


def test_buffers_keep_their_values_through_casts(model_dir):
    policy = Policy.from_pretrained(model_dir())
    before = {name: buffer.clone() for name, buffer in policy.lm.named_buffers()}
    assert before
    policy.bfloat16()
    policy.to_empty(device="cpu")
    assert next(policy.parameters()).dtype == torch.bfloat16
    for name, buffer in policy.lm.named_buffers():
        assert torch.equal(buffer, before[name])


def test_dtype_is_that_of_the_parameters(model_dir):
    policy = Policy.from_pretrained(model_dir("llama", True), dtype="bfloat16")
    assert {p.dtype for p in policy.parameters()} == {torch.bfloat16}
    assert Policy(model_dir(), dtype="auto").dtype == torch.float32
    with pytest.raises(InputError, match="float16"):
        Policy(model_dir(), dtype="float16")


@pytest.mark.parametrize(("family", "tied"), FAMILIES)
def test_saved_directory_is_a_plain_model(model_dir, tmp_path, family, tied):
    policy = Policy.from_pretrained(model_dir(family, tied))
    with torch.no_grad():
        for param in policy.parameters():
            param.add_(0.01)
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "old.txt").write_text("stale")
    policy.save_pretrained(tmp_path / "model")
    assert [p.name for p in tmp_path.iterdir()] == ["model"]
    assert not (tmp_path / "model" / "old.txt").exists()
    with safe_open(tmp_path / "model" / "model.safetensors", "pt") as file:
        assert ("lm_head.weight" in file.keys()) is not tied  # noqa: SIM118 (no dict)
    again = AutoModelForCausalLM.from_pretrained(tmp_path / "model")
    ids, attention, _ = batch()
    with torch.no_grad():
        assert torch.equal(again(ids, attention_mask=attention).logits, policy.lm(ids, attention_mask=attention).logits)
    assert again.generation_config.eos_token_id == list(policy.eos_ids)
    tokenizer = AutoTokenizer.from_pretrained(tmp_path / "model")
    assert tokenizer.pad_token_id == policy.pad_id
    assert tokenizer.chat_template == policy.tokenizer.chat_template
    assert not any("tmp" in p.read_text() for p in (tmp_path / "model").glob("*.json"))


def test_failed_save_leaves_the_old_directory(model_dir, tmp_path, monkeypatch):
    policy = Policy.from_pretrained(model_dir())
    policy.save_pretrained(tmp_path / "model")
    before = (tmp_path / "model" / "model.safetensors").read_bytes()

    def fail(*args, **kwargs):
        raise OSError("disk full")

    monkeypatch.setattr(policy.tokenizer, "save_pretrained", fail)
    with pytest.raises(OSError, match="disk full"):
        policy.save_pretrained(tmp_path / "model")
    assert [p.name for p in tmp_path.iterdir()] == ["model"]
    assert (tmp_path / "model" / "model.safetensors").read_bytes() == before


def test_save_refuses_a_file(model_dir, tmp_path):
    (tmp_path / "model").write_text("")
    with pytest.raises(InputError, match="it is a file"):
        Policy.from_pretrained(model_dir()).save_pretrained(tmp_path / "model")


def test_vocabulary_grows_by_the_mean_row(write, tokenizer_of, tmp_path):
    tokenizer = tokenizer_of(specials=["<|endoftext|>", "<|im_end|>"], pad_token=None, chat=False)
    policy = Policy.from_pretrained(write(tmp_path, tokenizer=tokenizer), template="zero")
    rows = policy.lm.get_input_embeddings().weight
    assert policy.tokenizer.pad_token == "<|pad|>"
    assert policy.pad_id == len(rows) - 1 == len(tokenizer)
    torch.testing.assert_close(rows[-1], rows[:-1].mean(0))
    policy.save_pretrained(tmp_path / "again")
    assert torch.equal(Policy.from_pretrained(str(tmp_path / "again"), template="zero").lm.lm_head.weight[-1],
                       policy.lm.lm_head.weight[-1])  # fmt: skip


def test_encode_decode_and_prefill(model_dir):
    policy = Policy(model_dir(), prefill="<think>\n")
    ids = policy.encode_prompt(PROMPT)
    text = "<|im_start|>user\nWhat is 1 + 1?<|im_end|>\n<|im_start|>assistant\n<think>\n"
    assert policy.tokenizer.decode(ids) == text
    assert policy.prefill_text(PROMPT) == "<think>\n"
    sampled = policy.tokenizer("let me see</think>2<|im_end|>")["input_ids"]
    assert sampled[-1] in policy.eos_ids
    assert policy.decode(sampled) == "let me see</think>2"
    with pytest.raises(InputError, match=r"prompt 'p': .* more than 3"):
        policy.encode_prompt(PROMPT, max_length=3)


def test_generating_restores_the_mode(model_dir):
    policy = Policy.from_pretrained(model_dir()).train()
    with policy.generating():
        assert not policy.lm.training
        policy.lm.generate(torch.tensor([[5, 6]]), max_new_tokens=2)
    assert policy.lm.training


def test_deepcopy_is_independent(model_dir):
    policy = Policy.from_pretrained(model_dir("llama", True))
    twin = copy.deepcopy(policy)
    with torch.no_grad():
        twin.lm.get_input_embeddings().weight.zero_()
    assert policy.lm.get_input_embeddings().weight.any()
    assert twin.lm.get_output_embeddings().weight is twin.lm.get_input_embeddings().weight


def test_unknown_head_is_refused(model_dir, monkeypatch):
    from r1lit.policy import policy as module

    monkeypatch.setattr(module, "head_error", lambda lm: 0.5)
    with pytest.raises(InputError, match="unknown head of llama"):
        Policy.from_pretrained(model_dir())


def test_a_longer_context_is_computed_with_and_saved(tmp_path: Path) -> None:
    source = "package:r1lit/assets/tiny/base"
    short, long = Policy.from_pretrained(source), Policy.from_pretrained(source, max_context=700)
    assert (short.max_context, long.max_context, long.clone_unbuilt().max_context) == (640, 700, 700)
    ids = torch.arange(4, 604)[None]
    everything = torch.ones_like(ids, dtype=torch.bool)
    targets = everything.clone()
    targets[:, 0] = False
    ours = long.token_logprobs(ids, everything, targets).logprobs
    torch.testing.assert_close(ours[:, :500], short.token_logprobs(ids, everything, targets).logprobs[:, :500])
    assert bool(ours.isfinite().all())
    saved = long.save_pretrained(tmp_path / "long")
    assert Policy(str(saved)).max_context == 700
    with pytest.raises(InputError, match=r"policy.max_context is 0; give at least 1"):
        Policy(source, max_context=0)


def test_a_table_of_positions_cannot_be_made_longer(tmp_path: Path) -> None:
    tokenizer = Policy("package:r1lit/assets/tiny/base").tokenizer
    tokenizer.save_pretrained(tmp_path)
    config = GPT2Config(n_layer=1, n_head=1, n_embd=4, vocab_size=900, architectures=["GPT2LMHeadModel"])
    config.save_pretrained(tmp_path)
    with pytest.raises(InputError, match=r"policy.max_context: .* \(gpt2\) is bound to the positions"):
        Policy(str(tmp_path), max_context=2048)
