"""On-policy distillation on small real models: the update, its invariances, its limits, and who may teach whom."""

import json
import threading
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
import torch
from lightning.pytorch import Trainer
from torch.nn.utils import clip_grad_norm_
from transformers import AutoTokenizer, LlamaConfig, LlamaForCausalLM

from r1lit import Policy
from r1lit.callbacks import RolloutCallback
from r1lit.data import PromptDataModule
from r1lit.errors import InputError, TrainingError
from r1lit.modules import DistillModule, Divergence
from r1lit.policy.loading import resolve_source
from r1lit.policy.vocabulary import shared_vocabulary
from r1lit.rewards import FunctionReward
from r1lit.rollout import NativeEngine
from r1lit.rollout.teacher import ServerTeacher
from r1lit.tiny_world import TinyWorldPrompts
from r1lit.training.rollout_loop import Limits
from r1lit.training.teachers import PolicyTeacher
from r1lit.types import SamplingParams

TEMPLATE = "User: {question}\nAssistant:"
TEACHER_TEMPLATE = "Question: {question}\nAnswer:"
STUDENT = "package:r1lit/assets/tiny/student"


def write_teacher(folder, max_context=128):
    """A model of another size than the student, with a head that is padded by 28 rows."""
    tokenizer = AutoTokenizer.from_pretrained(resolve_source(STUDENT).location)
    torch.manual_seed(1)
    config = LlamaConfig(
        vocab_size=len(tokenizer) + 28, hidden_size=24, intermediate_size=32, num_hidden_layers=2,
        num_attention_heads=2, num_key_value_heads=2, max_position_embeddings=max_context, initializer_range=0.3,
        tie_word_embeddings=False, bos_token_id=None, eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )  # fmt: skip
    LlamaForCausalLM(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return str(folder)


@pytest.fixture(scope="session")
def teacher_dir(tmp_path_factory):
    return write_teacher(tmp_path_factory.mktemp("teacher"))


class Recorder(RolloutCallback):
    """Keeps the rollouts."""

    def __init__(self):
        self.rollouts = []

    def on_rollout_end(self, trainer, pl_module, rollout):
        self.rollouts.append(rollout)


def even_share(completions):
    return [sum(i % 2 == 0 for i in c.token_ids) / len(c.token_ids) for c in completions]


@pytest.fixture
def distill(model_dir, teacher_dir, tmp_path):
    """Trains a small student and returns the module and its rollouts."""

    def start(rollouts=1, prompts=4, optimizer=None, **settings):
        if "server" not in settings:
            settings.setdefault("teacher", Policy(teacher_dir, template=TEACHER_TEMPLATE))
        settings = {
            "sampling": SamplingParams(n=2, max_new_tokens=8),
            "evaluation": SamplingParams(n=2, temperature=0.6, top_p=0.95, max_new_tokens=8),
            "engine": partial(NativeEngine, max_rows=64),
            "max_rollouts": rollouts,
        } | settings
        module = DistillModule(
            Policy(model_dir, template=TEMPLATE), optimizer or partial(torch.optim.SGD, lr=0.1), **settings
        )
        recorder = Recorder()
        trainer = Trainer(
            accelerator="cpu", devices=1, max_epochs=-1, logger=False, enable_progress_bar=False,
            enable_model_summary=False, enable_checkpointing=False, callbacks=[recorder], default_root_dir=tmp_path,
        )  # fmt: skip
        trainer.fit(module, datamodule=PromptDataModule(TinyWorldPrompts(n=16), None, prompts_per_rollout=prompts))
        return module, recorder.rollouts

    return start


def weights_of(module):
    return {name: p.detach().clone() for name, p in module.policy.lm.named_parameters()}


def close(found, wanted, atol=1e-6, rtol=1e-5):
    assert found.keys() == wanted.keys()
    for name, value in found.items():
        torch.testing.assert_close(value, wanted[name], atol=atol, rtol=rtol, msg=lambda m, n=name: f"{n}: {m}")


# The update against a plain loop


def plain_distributions(lm, prompt_ids, token_ids, vocabulary, temperature):
    """One softmax at each token, in float64, over the tokens that there are."""
    logits = lm(input_ids=torch.tensor([[*prompt_ids, *token_ids]])).logits[0, :, :vocabulary] / temperature
    return [logits[len(prompt_ids) + i - 1].softmax(-1) for i in range(len(token_ids))]


def plain_divergence(p, q, divergence):
    if divergence.top_k is not None:
        kept = p.sort(descending=True, stable=True).indices[: divergence.top_k]
        p, q = (torch.cat([d[kept], 1 - d[kept].sum(0, keepdim=True)]) for d in (p, q))
    if divergence.kind == "reverse":
        return (q * (q / p).log()).sum()
    if divergence.kind == "forward":
        return (p * (p / q).log()).sum()
    b = divergence.beta
    m = b * p + (1 - b) * q
    return b * (p * (p / m).log()).sum() + (1 - b) * (q * (q / m).log()).sum()


def plain_loss(student, teacher, encode, completions, divergence, vocabulary=None):
    """The mean over all tokens, as the formulas are written."""
    total, count = 0.0, 0
    for c in completions:
        with torch.no_grad():
            ps = plain_distributions(teacher, encode(c.prompt), c.token_ids, vocabulary, divergence.temperature)
        qs = plain_distributions(student, c.prompt_ids, c.token_ids, vocabulary, divergence.temperature)
        for p, q in zip(ps, qs, strict=True):
            total = total + plain_divergence(p, q, divergence)
            count += 1
    return total / count


@pytest.mark.parametrize(
    "divergence",
    [
        Divergence(),
        Divergence("forward", temperature=0.7),
        Divergence("jensen_shannon", beta=0.3),
        Divergence("reverse", top_k=5),
    ],
    ids=lambda d: f"{d.kind}-{d.top_k}",
)
def test_an_update_equals_a_plain_float64_loop(distill, model_dir, teacher_dir, divergence):
    module, (rollout,) = distill(divergence=divergence, micro_batch_tokens=120)
    student = Policy.from_pretrained(model_dir, template=TEMPLATE).double()
    teacher = Policy.from_pretrained(teacher_dir, template=TEACHER_TEMPLATE).double()
    vocabulary = len(student.tokenizer)
    assert teacher.lm.config.vocab_size == vocabulary + 28
    loss = plain_loss(student.lm, teacher.lm, teacher.encode_prompt, rollout.completions, divergence, vocabulary)
    loss.backward()
    norm = float(clip_grad_norm_(student.parameters(), 1.0))
    assert rollout.metrics["loss"] == pytest.approx(loss.item(), rel=1e-5)
    assert rollout.metrics["grad_norm"] == pytest.approx(norm, rel=1e-4)
    before = {name: p.detach() for name, p in student.lm.named_parameters()}
    wanted = {name: (p - 0.1 * p.grad).detach().float() for name, p in student.lm.named_parameters()}
    assert max(float((wanted[name] - before[name]).abs().max()) for name in wanted) > 1e-4
    close(weights_of(module), wanted)


def test_the_cut_into_micro_batches_does_not_matter(distill):
    whole, (one,) = distill(minibatches=1, micro_batch_tokens=100_000)
    cut, (other,) = distill(minibatches=1, micro_batch_tokens=40)
    assert one.metrics["loss"] == pytest.approx(other.metrics["loss"], rel=1e-5)
    close(weights_of(cut), weights_of(whole))


def test_minibatches_are_updates(distill):
    module, rollouts = distill(rollouts=2, minibatches=4)
    assert (module.updates, module.rollouts) == (8, 2)
    assert rollouts[1].metrics["step"] == 8
    assert module.tokens_sampled == sum(len(c.token_ids) for r in rollouts for c in r.completions)


# Learning


def test_the_student_comes_near_its_teacher(distill, model_dir, tmp_path):
    """Which is the student with changed weights. A loss of wrong sign, place or temperature does not get there."""
    teacher = Policy.from_pretrained(model_dir, template=TEMPLATE)
    torch.manual_seed(5)
    with torch.no_grad():
        for p in teacher.parameters():
            p.add_(torch.randn_like(p), alpha=0.1)
    teacher.save_pretrained(tmp_path / "changed")
    start = Policy.from_pretrained(model_dir, template=TEMPLATE)
    module, rollouts = distill(
        rollouts=50,
        prompts=8,
        teacher=Policy(str(tmp_path / "changed"), template=TEMPLATE),
        optimizer=partial(torch.optim.Adam, lr=5e-3),
        sampling=SamplingParams(n=4, max_new_tokens=8),
    )
    with torch.no_grad():
        before, after = (
            float(plain_loss(lm, teacher.lm, teacher.encode_prompt, rollout.completions, Divergence()))
            for lm, rollout in ((start.lm, rollouts[0]), (module.policy.lm, rollouts[-1]))
        )
    print(f"KL to the teacher: {before:.3f} before, {after:.3f} after")
    assert after < 0.45 * before
    assert rollouts[-1].metrics["loss"] < 0.5 * rollouts[0].metrics["loss"]


def test_the_teacher_stays_as_it_is_and_out_of_checkpoints(distill, teacher_dir):
    module, _ = distill()
    assert isinstance(module.teacher, PolicyTeacher)
    wanted = Policy.from_pretrained(teacher_dir, template=TEACHER_TEMPLATE).lm.state_dict()
    close(module.teacher.policy.lm.state_dict(), wanted, atol=0, rtol=0)
    assert all(name.startswith("policy.lm.") for name in module.state_dict())
    assert all(p.grad is None and not p.requires_grad for p in module.teacher.policy.parameters())


def test_rewards_look_on(distill):
    _, (rollout,) = distill(rewards=[FunctionReward(even_share)])
    assert all(s.scores["even_share"] is not None for s in rollout.scored)
    assert len(rollout.scored) == 8
    assert [s.total for s in rollout.scored] == [None] * 8
    assert rollout.metrics["reward/even_share"] == pytest.approx(sum(even_share(rollout.completions)) / 8)
    assert not rollout.metrics.keys() & {"reward", "unscored", "dropped_groups"}
    _, (other,) = distill()
    assert other.reward_names == ()
    assert [c.token_ids for c in other.completions] == [c.token_ids for c in rollout.completions]


# Limits


def test_tokens_end_a_run(distill):
    module, rollouts = distill(rollouts=9, limits=Limits(tokens_sampled=100))
    counts = [sum(len(c.token_ids) for c in r.completions) for r in rollouts]
    assert len(rollouts) < 9
    assert sum(counts[:-1]) < 100 <= sum(counts) == module.tokens_sampled


def test_time_ends_a_run(distill):
    module, rollouts = distill(rollouts=1000, limits=Limits(wall_s=1.0))
    assert len(rollouts) < 1000
    times = [r.metrics["generate_s"] + r.metrics["train_s"] for r in rollouts]
    assert sum(times[:-1]) < 1.0 <= sum(times)
    assert module.loop.train_s == pytest.approx(sum(times))


@pytest.mark.parametrize("limit", ["tokens_sampled", "wall_s"])
def test_a_limit_must_be_positive(distill, limit):
    with pytest.raises(InputError, match=rf"model.limits.{limit} is 0; give more than 0"):
        distill(limits=Limits(**{limit: 0}))


# Who may teach whom


def test_vocabularies_that_differ_are_refused_by_their_first_difference(distill, tmp_path, model_dir, teacher_dir):
    folder = tmp_path / "other"
    write_teacher(folder)
    file = folder / "tokenizer.json"
    found = json.loads(file.read_text())
    vocabulary = found["model"]["vocab"]
    by_number = {number: token for token, number in vocabulary.items()}
    first, second = sorted(by_number)[40:42]
    vocabulary[by_number[first]], vocabulary[by_number[second]] = second, first
    file.write_text(json.dumps(found))
    message = (
        f"student '{model_dir}' and teacher '{folder}' differ: token {first} is {by_number[first]!r} for the student "
        f"and {by_number[second]!r} for the teacher"
    )
    with pytest.raises(InputError) as caught:
        distill(teacher=Policy(str(folder), template=TEACHER_TEMPLATE))
    assert message in str(caught.value)


def test_a_token_that_one_lacks_is_refused(model_dir):
    ours, theirs = (AutoTokenizer.from_pretrained(model_dir) for _ in range(2))
    assert shared_vocabulary(ours, theirs, "a", "b") == len(ours)
    theirs.add_tokens(["<more>"])
    with pytest.raises(InputError, match=rf"token {len(ours)} is none for the student and '<more>' for the teacher"):
        shared_vocabulary(ours, theirs, "a", "b")
    with pytest.raises(InputError, match=rf"token {len(ours)} is '<more>' for the student and none for the teacher"):
        shared_vocabulary(theirs, ours, "a", "b")


def test_a_teacher_whose_context_is_too_short(distill, tmp_path):
    short = write_teacher(tmp_path / "short", max_context=8)
    with pytest.raises(InputError, match=r"max_new_tokens is 8, but the context of teacher '.*short' has 8; lower it"):
        distill(teacher=Policy(short, template=TEACHER_TEMPLATE))
    middling = write_teacher(tmp_path / "middling", max_context=30)
    with pytest.raises(InputError, match=r"prompt '.*': \d+ tokens for teacher '.*middling', whose context leaves 22"):
        distill(teacher=Policy(middling, template=TEACHER_TEMPLATE))


def test_settings_that_cannot_be(distill):
    with pytest.raises(InputError, match=r"either model.teacher or model.server"):
        distill(teacher=None)
    with pytest.raises(InputError, match=r"model.minibatches is 0; give at least 1"):
        distill(minibatches=0)
    with pytest.raises(InputError, match=r"divergence.kind: 'sideways'"):
        Divergence("sideways")


# Behind a server


class Handler(BaseHTTPRequestHandler):
    """Answers as vLLM does: the likeliest tokens of each position and the one that stands there, by their ids."""

    def do_POST(self):
        body = json.loads(self.rfile.read(int(self.headers["content-length"])))
        self.server.bodies.append(body)
        with torch.no_grad():
            logits = self.server.lm(input_ids=torch.tensor([body["prompt"]])).logits[0]
        told = [None]
        for row, token in zip(logits[:, : self.server.vocabulary].log_softmax(-1), body["prompt"][1:], strict=False):
            ids = {*row.topk(body["prompt_logprobs"]).indices.tolist(), token}
            told.append({str(i): {"logprob": float(row[i]), "rank": 1, "decoded_token": "?"} for i in ids})
        reply = json.dumps({"choices": [{"index": 0, "text": "", **self.server.spoilt({"prompt_logprobs": told})}]})
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.end_headers()
        self.wfile.write(reply.encode())

    def log_message(self, *args):
        pass


@pytest.fixture
def served(teacher_dir):
    pytest.importorskip("openai", reason="needs the package openai (extra openai)")
    policy = Policy.from_pretrained(teacher_dir, template=TEACHER_TEMPLATE)
    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.lm, server.vocabulary, server.bodies = policy.lm, len(policy.tokenizer), []
    server.spoilt = lambda answer: answer
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield server
    server.shutdown()
    server.server_close()
    thread.join()


def asking(served, teacher_dir, **settings):
    reader = Policy(teacher_dir, template=TEACHER_TEMPLATE)
    return ServerTeacher(reader, f"http://127.0.0.1:{served.server_port}/v1", "big", top_k=5, **settings)


def test_a_served_teacher_equals_one_in_this_process(distill, served, teacher_dir):
    wanted, (ours,) = distill(divergence=Divergence(top_k=5), micro_batch_tokens=120)
    found, (theirs,) = distill(server=asking(served, teacher_dir), micro_batch_tokens=120)
    assert theirs.metrics["loss"] == pytest.approx(ours.metrics["loss"], rel=1e-4)
    close(weights_of(found), weights_of(wanted), atol=1e-5, rtol=1e-4)
    assert len(served.bodies) == 8
    assert {body["model"] for body in served.bodies} == {"big"}
    assert all(body["prompt_logprobs"] == 5 for body in served.bodies)


@pytest.mark.parametrize(
    ("spoilt", "message"),
    [
        (lambda answer: {}, "no prompt_logprobs, which vLLM has"),
        (lambda answer: {"prompt_logprobs": answer["prompt_logprobs"][1:]}, r"prompt_logprobs of \d+ tokens for \d+"),
        (
            lambda answer: {"prompt_logprobs": [{"3": {"logprob": -1.0}}] * len(answer["prompt_logprobs"])},
            "1 log-probabilities for a token where 5 were asked for",
        ),
        (
            lambda answer: {"prompt_logprobs": [{"a": {"logprob": -1.0}}] * len(answer["prompt_logprobs"])},
            "prompt_logprobs has 'a'",
        ),
    ],
)  # fmt: skip
def test_a_server_that_answers_something_else(distill, served, teacher_dir, spoilt, message):
    served.spoilt = spoilt
    with pytest.raises(TrainingError, match=message):
        distill(server=asking(served, teacher_dir, max_retries=0))


def test_a_served_teacher_has_its_own_number_of_tokens(distill, served, teacher_dir):
    with pytest.raises(InputError, match=r"divergence.top_k null.* its own top_k \(5\) tokens"):
        distill(server=asking(served, teacher_dir), divergence=Divergence(top_k=3))
