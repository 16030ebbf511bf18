"""Packed rows against padded ones, model family by model family."""

import copy
from functools import partial

import pytest
import torch
from torch.nn import functional as F
from transformers import (
    AutoModelForCausalLM,
    Gemma3TextConfig,
    GPT2Config,
    LlamaConfig,
    MistralConfig,
    PreTrainedConfig,
    Qwen2Config,
    Qwen3Config,
)

from r1lit.errors import InputError
from r1lit.policy.logprobs import packed_logprobs, padded_logprobs
from r1lit.policy.packed import PackedBatch, Piece
from r1lit.policy.segments import Segment, recomputing, segment_attention, takes_segments

SIZES = {
    "vocab_size": 50,
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 128,
    "initializer_range": 0.2,
    "tie_word_embeddings": True,
    "pad_token_id": 0,
    "eos_token_id": 1,
    "bos_token_id": None,
}
WINDOWS = {"head_dim": 8, "sliding_window": 4}
MIXED = ["sliding_attention", "sliding_attention", "full_attention"]
CONFIGS: dict[str, PreTrainedConfig] = {
    "llama": LlamaConfig(**SIZES),
    "qwen2": Qwen2Config(**SIZES),
    "qwen3": Qwen3Config(**SIZES, head_dim=8),
    "gemma3": Gemma3TextConfig(
        **SIZES, **WINDOWS, query_pre_attn_scalar=8, layer_types=MIXED, final_logit_softcapping=5.0
    ),
    "mistral": MistralConfig(**SIZES, **WINDOWS),
    "gpt2": GPT2Config(
        vocab_size=50, n_embd=32, n_layer=3, n_head=4, n_positions=128, initializer_range=0.2, attn_pdrop=0.0,
        embd_pdrop=0.0, resid_pdrop=0.0,
    ),
}  # fmt: skip


def model(family, dtype=torch.float64, attention="sdpa"):
    torch.manual_seed(0)
    lm = AutoModelForCausalLM.from_config(copy.deepcopy(CONFIGS[family]), dtype=dtype, attn_implementation=attention)
    if dtype == torch.float64:
        for norm in (module for module in lm.modules() if type(module).__name__.endswith("RMSNorm")):
            norm.forward = partial(exact_norm, norm.weight + 1 if family == "gemma3" else norm.weight)
    return lm.eval()


def exact_norm(weight, hidden):
    """What transformers rounds to float32 on the way, even in a model of float64."""
    return F.rms_norm(hidden, weight.shape, weight, 1e-6)


def tokens(length, seed):
    return torch.randint(2, 50, (length,), generator=torch.Generator().manual_seed(seed)).tolist()


def groups(sizes, share=True):
    """Pieces of groups with prompts and completions of the given lengths; without sharing, each a document."""
    pieces = []
    for number, (prompt_length, lengths) in enumerate(sizes):
        prompt, first = tokens(prompt_length, number), len(pieces)
        if share:
            pieces.append(Piece(prompt, False))
        for sample, length in enumerate(lengths):
            own = tokens(length, 100 * number + sample + 7)
            documents = Piece(prompt + own, [False] * prompt_length + [True] * length)
            pieces.append(Piece(own, True, first) if share else documents)
    return pieces


SIZES_OF_GROUPS = [(7, [5, 1, 9, 0, 20]), (3, [4, 4]), (12, [2]), (1, [30, 6])]


def values_and_gradients(compute):
    """Runs it and gives log-probabilities, entropies, and the gradients of a random mixture of both."""
    lm, out, mask = compute()
    weights = torch.randn(2, int(mask.sum()), generator=torch.Generator().manual_seed(3), dtype=torch.float64)
    found = torch.stack([out.logprobs[mask], out.entropy[mask]])
    (found.double() * weights).sum().backward()
    return found.detach(), {name: param.grad for name, param in lm.named_parameters()}


def padded(family, pieces):
    def compute():
        lm = model(family)
        ids, attention, targets = PackedBatch.of(pieces).unpacked(0)
        return lm, padded_logprobs(lm, 512, ids, attention, targets, 0.7, True), targets

    return compute


def packed(family, pieces, checkpointing=False):
    def compute():
        lm = model(family)
        if checkpointing:
            lm.train().gradient_checkpointing_enable({"use_reentrant": False, "context_fn": lambda: recomputing(lm)})
        batch = PackedBatch.of(pieces)
        assert takes_segments(lm)
        return lm, packed_logprobs(lm, 16, batch, 0.7, True), batch.target_mask

    return compute


def check_equal(ours, wanted):
    torch.testing.assert_close(ours[0], wanted[0], atol=1e-10, rtol=1e-10)
    assert ours[1].keys() == wanted[1].keys()
    for name, gradient in wanted[1].items():
        torch.testing.assert_close(ours[1][name], gradient, atol=1e-10, rtol=1e-9, msg=lambda m, n=name: f"{n}: {m}")


@pytest.mark.parametrize("checkpointing", [False, True])
@pytest.mark.parametrize("family", sorted(CONFIGS))
def test_values_and_gradients_equal_those_of_padded_rows(family, checkpointing):
    pieces = groups(SIZES_OF_GROUPS)
    wanted = values_and_gradients(padded(family, pieces))
    assert wanted[0].shape == (2, 81)
    check_equal(values_and_gradients(packed(family, pieces, checkpointing)), wanted)


@pytest.mark.parametrize("family", ["llama", "gemma3"])
def test_sharing_a_prompt_changes_nothing(family):
    shared, apart = (values_and_gradients(packed(family, groups(SIZES_OF_GROUPS, share))) for share in (True, False))
    check_equal(shared, apart)


@pytest.mark.parametrize("family", ["llama", "gemma3"])
def test_a_lone_document_equals_the_models_own_forward(family):
    lm, ids = model(family), tokens(40, 5)
    out = packed_logprobs(lm, 512, PackedBatch.of([Piece(ids, [False] + [True] * 39)]))
    row = torch.tensor([ids])
    wanted = lm(row).logits[0, :-1].log_softmax(-1).gather(-1, row[0, 1:, None])[:, 0]
    torch.testing.assert_close(out.logprobs[1:], wanted, atol=1e-10, rtol=1e-10)
    assert out.logprobs[0] == 0


@pytest.mark.parametrize("family", ["llama", "mistral", "gemma3"])
def test_what_stands_in_one_document_is_nothing_to_another(family):
    lm = model(family)
    documents = [Piece(tokens(length, length), [False] + [True] * (length - 1)) for length in (9, 14, 3, 14, 30)]
    before = packed_logprobs(lm, 512, PackedBatch.of(documents)).logprobs
    for index, changed in enumerate(documents):
        others = [*documents]
        others[index] = Piece(tokens(len(changed.ids), 1000), changed.targets)
        batch = PackedBatch.of(others)
        start, stop, _ = batch.segments[index]
        after = packed_logprobs(lm, 512, batch).logprobs
        assert torch.equal(after[:start], before[:start])
        assert torch.equal(after[stop:], before[stop:])
        assert not torch.equal(after[start:stop], before[start:stop])


def test_a_completion_sees_its_own_prompt_and_no_sibling():
    lm, pieces = model("llama"), groups([(6, [5, 8]), (6, [5, 8])])
    before = packed_logprobs(lm, 512, PackedBatch.of(pieces)).logprobs
    for index, touched in ((1, {1}), (0, {1, 2}), (3, {4, 5})):
        others = [*pieces]
        others[index] = pieces[index]._replace(ids=tokens(len(pieces[index].ids), 1000))
        batch = PackedBatch.of(others)
        after = packed_logprobs(lm, 512, batch).logprobs
        changed = {i for i, s in enumerate(batch.segments) if not torch.equal(after[s.start : s.stop],
                                                                              before[s.start : s.stop])}  # fmt: skip
        assert changed == touched


def test_bfloat16_is_near():
    batch = PackedBatch.of(groups(SIZES_OF_GROUPS))
    lm = model("llama", torch.float32)
    wanted = packed_logprobs(lm, 512, batch).logprobs
    out = packed_logprobs(lm.bfloat16(), 512, batch)
    assert out.logprobs.dtype == torch.float32
    torch.testing.assert_close(out.logprobs, wanted, atol=0.3, rtol=0.1)


def test_a_row_without_targets_reaches_every_weight():
    lm = model("qwen2")
    out = packed_logprobs(lm, 512, PackedBatch.of([Piece([5, 6], False)]))
    assert (out.logprobs == 0).all()
    out.logprobs.sum().backward()
    assert all(p.grad is not None and not p.grad.any() for p in lm.parameters())


def test_models_that_cannot_compute_packed_rows_compute_padded_ones():
    pieces = groups(SIZES_OF_GROUPS)
    lm = model("llama", attention="eager")
    assert not takes_segments(lm)
    out = packed_logprobs(lm, 512, PackedBatch.of(pieces), with_entropy=True)
    wanted = packed_logprobs(model("llama"), 512, PackedBatch.of(pieces), with_entropy=True)
    # Eager attention rounds to float32 on the way.
    torch.testing.assert_close(out.logprobs, wanted.logprobs, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(out.entropy, wanted.entropy, atol=1e-5, rtol=1e-5)


def test_a_layer_that_attends_on_its_own_is_found_out():
    lm = model("llama")
    layer = lm.model.layers[1].self_attn
    layer.config = copy.deepcopy(layer.config)  # no longer looks its attention up where the others do
    with pytest.raises(InputError, match="llama: 2 of 3 layers"):
        packed_logprobs(lm, 512, PackedBatch.of([Piece([5, 6], False)]))


def test_the_models_own_attention_is_put_back():
    lm = model("llama")
    row = torch.tensor([tokens(8, 0)])
    before = lm(row).logits
    packed_logprobs(lm, 512, PackedBatch.of(groups([(3, [4, 4])])))
    assert lm.config._attn_implementation == "sdpa"
    with segment_attention(lm):
        assert torch.equal(lm(row).logits, before)


def test_rows_are_laid_out_as_described():
    batch = PackedBatch.of(
        [Piece([5, 6, 7], False), Piece([8, 9], True, 0), Piece([4], True, 0), Piece([3, 2], [0, 1])]
    )
    assert batch.input_ids.tolist() == [5, 6, 7, 8, 9, 4, 3, 2]
    assert batch.position_ids.tolist() == [0, 1, 2, 3, 4, 3, 0, 1]
    assert batch.target_mask.int().tolist() == [0, 0, 0, 1, 1, 1, 0, 1]
    assert batch.sources.tolist() == [2, 3, 2, 6]
    assert batch.segments == (Segment(0, 3), Segment(3, 5, 0), Segment(5, 6, 0), Segment(6, 8))
    ids, attention, targets = batch.unpacked(0)
    assert ids.tolist() == [[5, 6, 7, 0, 0], [5, 6, 7, 8, 9], [5, 6, 7, 4, 0], [3, 2, 0, 0, 0]]
    assert torch.equal(attention, ids > 0)
    assert targets.int().tolist() == [[0] * 5, [0, 0, 0, 1, 1], [0, 0, 0, 1, 0], [0, 1, 0, 0, 0]]


def test_attention_computes_little_padding():
    batch = PackedBatch.of(groups([(100, [400, 390, 380, 12, 10, 9]), (90, [395, 11])]))
    sizes = [(bucket.rows, bucket.width) for bucket in batch.attention.buckets]
    assert sizes == [(4, 400), (4, 12), (2, 100)]


@pytest.mark.parametrize(("pieces", "message"), [
    ([], "at least one token"),
    ([Piece([], False)], "at least one token"),
    ([Piece([5, 6], True)], "piece 0: the first token of a document"),
    ([Piece([5, 6], [False])], "piece 0: 1 target flags for 2 tokens"),
    ([Piece([5], False), Piece([6], True, 1)], "piece 1: its prefix 1 is not an earlier piece"),
    ([Piece([5], False), Piece([6], True, 0), Piece([6], True, 1)], "piece 2: its prefix 1 is not an earlier piece"),
    ([Piece([], False), Piece([6], True, 0)], "piece 1: its prefix 0 is empty"),
])  # fmt: skip
def test_rows_that_make_no_sense_are_refused(pieces, message):
    with pytest.raises(ValueError, match=message):
        PackedBatch.of(pieces)
