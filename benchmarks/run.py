"""Rollout engines on the tiny base, in pairs: tokens per second of each, and the ratio pair by pair.

    make bench

Machines differ and are noisy: quote the median ratio.
"""

import statistics
import time

from r1lit.policy import Policy
from r1lit.rollout import NativeEngine, TransformersEngine
from r1lit.tasks.tiny_world import TinyWorldPrompts
from r1lit.types import RolloutEngine, SamplingParams

PAIRS = 5
SAMPLING = SamplingParams(n=16, max_new_tokens=176)


def tokens_per_s(engine: RolloutEngine) -> float:
    """Tokens of 16 x 16 completions by the time they took."""
    prompts = TinyWorldPrompts("train", n=16).load()
    start = time.perf_counter()
    tokens = sum(len(completion.token_ids) for completion in engine.generate(prompts, SAMPLING))
    return tokens / (time.perf_counter() - start)


def main() -> None:
    """Prints a line for each pair and the medians."""
    policy = Policy.from_pretrained("package:r1lit/assets/tiny/base", template="User: {question}\nAssistant:")
    native, yardstick = NativeEngine(policy), TransformersEngine(policy)
    for engine in (native, yardstick):
        tokens_per_s(engine)  # warm-up
    rates = []
    for pair in range(PAIRS):
        rates.append((tokens_per_s(native), tokens_per_s(yardstick)))
        print(f"pair {pair + 1}: native {rates[-1][0]:,.0f} tokens/s, transformers {rates[-1][1]:,.0f} tokens/s")
    ratio = statistics.median(a / b for a, b in rates)
    print(f"median: native {statistics.median(a for a, _ in rates):,.0f} tokens/s, {ratio:.2f} times transformers'")


if __name__ == "__main__":
    main()
