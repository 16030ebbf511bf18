import os
import traceback
from datetime import timedelta

import pytest
import torch
import torch.distributed as dist
import torch.multiprocessing as mp
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import MixedPrecisionPolicy
from torch.distributed.tensor import DTensor
from transformers import AutoModelForCausalLM

from r1lit.policy import LoraSettings, PackedBatch, Piece, Policy

pytestmark = pytest.mark.distributed
TARGETS = slice(3, None)


def rows():
    ids = torch.randint(4, 260, (4, 9), generator=torch.Generator().manual_seed(1))
    target = torch.zeros(ids.shape, dtype=torch.bool)
    target[:, TARGETS] = True
    return ids, target


def loss(policy, ids, target, packed=False):
    if packed:  # the first token of a row stands for its prompt
        pieces = [[Piece(row[:1], False), Piece(row[1:], keep, 2 * number)] for number, (row, keep) in enumerate(
            zip(ids.tolist(), target[:, 1:].tolist(), strict=True))]  # fmt: skip
        out = policy.packed_logprobs(PackedBatch.of([piece for pair in pieces for piece in pair]))
    else:
        out = policy.token_logprobs(ids, torch.ones_like(ids), target)
    return -out.logprobs.sum() / 24


def sharded(model_dir, mp_policy=None, **kwargs):
    policy = Policy(model_dir, **kwargs)
    policy.build(meta=True)
    policy.shard(init_device_mesh("cpu", (dist.get_world_size(),)), mp_policy)
    policy.to_empty(device="cpu")
    policy.load_weights()
    return policy


def check_training(rank, model_dir, tmp):
    """Two steps on two ranks, with half of the rows each, equal two steps of one process on all rows."""
    ids, target = rows()
    single = Policy.from_pretrained(model_dir)
    policy = sharded(model_dir, gradient_checkpointing=True).train()
    assert all(isinstance(p, DTensor) for p in policy.parameters())
    tied = single.lm.get_output_embeddings().weight is single.lm.get_input_embeddings().weight
    assert (policy.lm.get_output_embeddings().weight is policy.lm.get_input_embeddings().weight) is tied
    for name, value in single.lm.named_buffers():
        assert torch.equal(dict(policy.lm.named_buffers())[name], value)
    mine = slice(2 * rank, 2 * rank + 2)
    for model, part in ((single, slice(None)), (policy, mine)):
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
        for _ in range(2):
            # FSDP averages gradients over ranks, hence 2 x; the second rank's last batch has no target at all
            for keep in (target, target & (torch.arange(4) < 2)[:, None]):
                for packed in (False, True):
                    (loss(model, ids[part], keep[part], packed) * (2 if model is policy else 1)).backward()
            torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()
            optimizer.zero_grad()
    policy.save_pretrained(f"{tmp}/model")
    saved = AutoModelForCausalLM.from_pretrained(f"{tmp}/model")
    start = AutoModelForCausalLM.from_pretrained(model_dir)
    moved = 0.0
    for (name, ours), theirs, before in zip(
        saved.named_parameters(), single.lm.parameters(), start.parameters(), strict=True
    ):
        torch.testing.assert_close(ours, theirs, atol=2e-5, rtol=1e-4, msg=lambda m, name=name: f"{name}: {m}")
        moved = max(moved, float((ours - before).abs().max()))
    assert moved > 1e-3
    assert sorted(os.listdir(tmp)) == ["model"]


def check_gathered(rank, model_dir, tmp):
    """Ranks run different numbers of forwards inside; outside, the policy is sharded and right, before and after."""
    ids, target = rows()
    single = Policy.from_pretrained(model_dir)
    policy = sharded(model_dir)
    with policy.gathered(), policy.gathered(), torch.no_grad():
        for step in range(3 if rank == 0 else 5):
            part = ids[:, : 3 + step]
            torch.testing.assert_close(policy.lm(part).logits, single.lm(part).logits)
    with policy.generating():
        kwargs = {"max_new_tokens": 3 + 4 * rank, "do_sample": False, "eos_token_id": None}
        assert torch.equal(policy.lm.generate(ids, **kwargs), single.lm.generate(ids, **kwargs))
    assert all(isinstance(p, DTensor) for p in policy.parameters())
    optimizers = [torch.optim.SGD(model.parameters(), lr=0.1) for model in (policy, single)]
    for optimizer, model in zip(optimizers, (policy, single), strict=True):
        loss(model, ids, target).backward()
        optimizer.step()
    with policy.gathered(), torch.no_grad():  # sees the weights after the step
        torch.testing.assert_close(policy.lm(ids).logits, single.lm(ids).logits, atol=1e-4, rtol=1e-4)
    with torch.no_grad():
        loss(policy, ids, target)  # leaves the root gathered
    policy.load_weights()  # and must reach the shards, not the gathered copy
    assert all(isinstance(p, DTensor) for p in policy.parameters())
    with torch.no_grad():
        torch.testing.assert_close(loss(policy, ids, target), loss(Policy.from_pretrained(model_dir), ids, target))


def check_mixed_precision(rank, model_dir, tmp):
    ids, target = rows()
    policy = sharded(model_dir, MixedPrecisionPolicy(param_dtype=torch.bfloat16, reduce_dtype=torch.float32))
    out = policy.token_logprobs(ids, torch.ones_like(ids), target)
    assert out.logprobs.dtype == torch.float32
    single = Policy.from_pretrained(model_dir).token_logprobs(ids, torch.ones_like(ids), target)
    torch.testing.assert_close(out.logprobs, single.logprobs, atol=0.3, rtol=0.1)
    assert not torch.equal(out.logprobs, single.logprobs)
    with policy.gathered(), torch.no_grad():
        assert policy.lm(ids).logits.dtype == torch.bfloat16
    assert policy.device.type == "cpu"


def check_lora(rank, model_dir, tmp):
    """Adapters on a frozen base: training, reference, generation and export equal those of one process."""
    ids, target = rows()
    kwargs = {"lora": LoraSettings(rank=3), "gradient_checkpointing": True}
    single = Policy.from_pretrained(model_dir, **kwargs)
    policy = sharded(model_dir, **kwargs).train()
    assert not any(p.requires_grad for name, p in policy.named_parameters() if ".lora_" not in name)
    mine = slice(2 * rank, 2 * rank + 2)
    optimizers = [torch.optim.SGD([p for p in m.parameters() if p.requires_grad], lr=0.5) for m in (single, policy)]
    for _ in range(2):
        for optimizer, model, part in zip(optimizers, (single, policy), (slice(None), mine), strict=True):
            with model.reference() as reference, torch.no_grad():
                base = loss(reference, ids, target)
            (loss(model, ids[part], target[part]) * (2 if model is policy else 1)).backward()
            torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()
            optimizer.zero_grad()
    plain = Policy.from_pretrained(model_dir)
    with torch.no_grad():
        trained = loss(single, ids, target)
        assert (trained - base).abs() > 0.05
        torch.testing.assert_close(base, loss(plain, ids, target), atol=1e-5, rtol=1e-5)
        torch.testing.assert_close(loss(policy, ids, target), trained, atol=1e-5, rtol=1e-5)
        with policy.generating():
            assert not any(".lora_" in name for name, _ in policy.lm.named_parameters())
            torch.testing.assert_close(policy.lm(ids).logits, single.lm(ids).logits, atol=1e-4, rtol=1e-4)
        assert all(isinstance(p, DTensor) for p in policy.parameters())
        torch.testing.assert_close(loss(policy, ids, target), trained, atol=1e-5, rtol=1e-5)
    policy.save_pretrained(f"{tmp}/model", adapter=True)
    assert "adapter_model.safetensors" in os.listdir(f"{tmp}/model/adapter")
    with torch.no_grad():
        saved = loss(Policy.from_pretrained(f"{tmp}/model"), ids, target)
    torch.testing.assert_close(saved, trained, atol=1e-5, rtol=1e-5)


def check_lora_in_two_dtypes(rank, model_dir, tmp):
    """Frozen bfloat16 weights and float32 adapters share FSDP's groups; the reference follows the policy."""
    ids, target = rows()
    policy = Policy(model_dir, lora=LoraSettings(rank=3), dtype="bfloat16")
    policy.keeps_reference = True
    policy.build(meta=True)
    policy.shard(init_device_mesh("cpu", (dist.get_world_size(),)))
    policy.to_empty(device="cpu")
    policy.load_weights()
    assert {p.dtype for p in policy.parameters() if p.requires_grad} == {torch.float32}
    assert {p.dtype for name, p in policy.named_parameters() if ".lora_" not in name} == {torch.bfloat16}
    optimizer = torch.optim.SGD([p for p in policy.parameters() if p.requires_grad], lr=0.5)
    loss(policy, ids, target).backward()
    optimizer.step()
    with torch.no_grad():
        trained = loss(policy, ids, target)
        policy.sync_reference()
        with policy.reference() as reference:
            assert torch.equal(loss(reference, ids, target), trained)
        with policy.generating():
            torch.testing.assert_close(loss(policy, ids, target), trained)
    loss(policy, ids, target).backward()
    optimizer.step()
    with torch.no_grad():
        with policy.reference() as reference:
            assert torch.equal(loss(reference, ids, target), trained)
        assert not torch.equal(loss(policy, ids, target), trained)


def check_failed_save(rank, model_dir, tmp):
    """A rank that cannot write must not leave the other one waiting."""
    policy = sharded(model_dir)
    if rank == 0:
        policy.tokenizer.save_pretrained = None
    with pytest.raises(TypeError if rank == 0 else RuntimeError):
        policy.save_pretrained(f"{tmp}/model")
    assert os.listdir(tmp) == []


def worker(rank, world_size, checks, tmp):
    torch.set_num_threads(1)
    os.environ["TOKENIZERS_PARALLELISM"] = "false"
    dist.init_process_group(
        "gloo", f"file://{tmp}/rendezvous", rank=rank, world_size=world_size, timeout=timedelta(seconds=60)
    )
    try:
        for number, (check, model_dir) in enumerate(checks):
            folder = f"{tmp}/{number}"
            os.makedirs(folder, exist_ok=True)
            check(rank, model_dir, folder)
            dist.barrier()
    except BaseException:
        traceback.print_exc()
        os._exit(1)  # the other rank may wait in a collective; spawn() then ends it
    dist.destroy_process_group()


def test_two_processes(model_dir, tmp_path):
    checks = [
        (check_training, model_dir("llama", True)),
        (check_training, model_dir("qwen2", False)),
        (check_training, model_dir("gemma3", True)),
        (check_gathered, model_dir("llama", True)),
        (check_gathered, model_dir("gpt2", True)),
        (check_mixed_precision, model_dir("llama", False)),
        (check_lora, model_dir("llama", True)),
        (check_lora, model_dir("gpt2", True)),
        (check_lora_in_two_dtypes, model_dir("qwen2", True)),
        (check_failed_save, model_dir("llama", False)),
    ]
    mp.spawn(worker, args=(2, checks, str(tmp_path)), nprocs=2)
