"""Preference pairs as a stage (paper 3.1): two replies a prompt, judged, sorted out, written for ``PreferenceFile``.

``r1lit predict`` runs it. Each batch of prompts goes to a journal on disk once it is judged, so that a killed run goes
on where it was.
"""

import json
import os
import time
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from r1lit.callbacks.base import rollout_callbacks
from r1lit.distributed import raise_on_all_ranks
from r1lit.errors import InputError, TrainingError
from r1lit.modules.reject import REJECTION_ROLLOUT
from r1lit.policy import Policy
from r1lit.rejection.pair_generation import Candidates, Judgement, MadePairs, PairJudge, make_pairs
from r1lit.rollout import NativeEngine
from r1lit.samples.journal import Journal
from r1lit.training.collector import for_rollout
from r1lit.training.resumable_sampling import prompts_hash
from r1lit.training.sampling_module import SamplingModule
from r1lit.types import Completion, Prompt, RolloutEngine, SamplingParams

JOURNAL = "judged"
PAIRS = "preferences.jsonl"


class JudgeModule(SamplingModule):
    """Samples two replies to each prompt, has them judged, and writes ``preferences.jsonl``; it trains nothing.

    Args:
        judge: Judges pairs.
        policy: Samples the replies through ``engine``; None where ``teacher`` does.
        engine: Makes the rollout engine from the policy.
        teacher: An engine that needs no policy of ours: ``OpenAIEngine``, or ``ReplayEngine`` for replies given in a
            ``samples.parquet``.
        sampling: How replies are drawn; its ``n`` is 2. Prompts with fewer replies are left out and counted.
        margin: Pairs are kept where the mean verdict is larger (1 in the paper).
        tolerance: Of the balance of lengths; see ``r1lit.rejection.pair_generation.balanced``.
        seed: Of sampling noise.

    Raises:
        InputError: If both or none of policy and teacher are given, or a setting is out of range.
    """

    purpose = "the making of pairs"

    subcommands = ("predict",)

    def __init__(
        self,
        judge: PairJudge,
        policy: Policy | None = None,
        engine: Callable[[Policy], RolloutEngine] = NativeEngine,
        teacher: RolloutEngine | None = None,
        sampling: SamplingParams = SamplingParams(n=2),  # noqa: B008 - frozen
        margin: float = 1.0,
        tolerance: float = 0.05,
        seed: int = 0,
    ) -> None:
        super().__init__(policy, engine, teacher)
        if sampling.n != 2:
            raise InputError(f"model.sampling.n is {sampling.n}; a pair has 2 replies")
        if margin < 0 or tolerance < 0:
            raise InputError(f"model.margin is {margin} and model.tolerance {tolerance}; give 0 or more")
        self.judge, self.sampling, self.margin, self.tolerance, self.seed = judge, sampling, margin, tolerance, seed
        self.outputs = [PAIRS]
        self.manifest: dict[str, Any] = {}
        self._began, self._done = time.monotonic(), 0

    def setup(self, stage: str) -> None:
        """Checks that the prompts can be sampled."""
        if self.policy is not None:
            self.data.connect(self.policy.encode_prompt, self.policy.max_context - self.sampling.max_new_tokens)

    def on_predict_start(self) -> None:
        """Finds what was judged before."""
        self.load_sharded_weights()
        header = {
            "prompts": prompts_hash(self.data.train_prompts),
            "sampling": repr(self.sampling),
            "judge": repr((self.judge.sampling, self.judge.calls, self.judge.instructions, self.judge.seed)),
            "seed": self.seed,
        }
        self.journal = Journal(Path(self.trainer.default_root_dir) / JOURNAL, self.global_rank, header)
        self.journal.open()
        self._began = time.monotonic()
        self.trainer.strategy.barrier("journal")

    def predict_step(self, prompts: list[Prompt], batch_idx: int) -> int:
        """Samples and judges what the journal does not have; returns how many replies this rank has made so far.

        Raises:
            InputError: If a prompt, the sampling or the server cannot be used; on every rank.
            TrainingError: If a server stays away; on every rank.
        """
        mine = prompts[self.global_rank :: self.trainer.world_size]
        error: InputError | TrainingError | None = None
        try:  # on every rank, also where nothing is left: a sharded policy needs all of them
            self._judge([prompt for prompt in mine if prompt.id not in self.journal])
        except (InputError, TrainingError) as problem:
            error = problem
        raise_on_all_ranks(error)
        return self._done

    def _judge(self, prompts: Sequence[Prompt]) -> None:
        groups: dict[str, list[Completion]] = {prompt.id: [] for prompt in prompts}
        for completion in self.engine.generate(prompts, for_rollout(self.sampling, self.seed, REJECTION_ROLLOUT)):
            groups[completion.prompt.id].append(completion)
            self._done += 1
            for callback in rollout_callbacks(self.trainer):
                callback.on_completions(
                    self.trainer, self, self._done, 2 * len(self.data.train_prompts), completion.tokens
                )
        for group in groups.values():
            group.sort(key=lambda completion: completion.sample)
        full = [prompt for prompt in prompts if len(groups[prompt.id]) == 2]
        pairs = [Candidates(prompt, *(completion.text for completion in groups[prompt.id])) for prompt in full]
        before = Counter(self.judge.counts)
        judged = dict(zip([prompt.id for prompt in full], self.judge.judge(pairs), strict=True))
        counts = dict(self.judge.counts - before)  # of the whole batch; they stand in its first entry
        entries = []
        for place, prompt in enumerate(prompts):
            entries.append(
                {
                    "key": prompt.id,
                    "elapsed_s": round(self.elapsed_s, 3),
                    "replies": [completion.text for completion in groups[prompt.id]],
                    "tokens": sum(completion.tokens for completion in groups[prompt.id]),
                    "verdicts": list(judged[prompt.id].verdicts) if prompt.id in judged else [],
                    "counts": {} if place else counts,
                }
            )
        self.journal.append(entries)

    @property
    def elapsed_s(self) -> float:
        """Time spent on the stage, by earlier runs too."""
        return self.journal.elapsed_s + time.monotonic() - self._began

    def on_predict_epoch_end(self) -> None:
        """Sorts out all pairs on one rank and writes ``preferences.jsonl``."""
        self.trainer.strategy.barrier("judged")
        if not self.trainer.is_global_zero:
            return
        elapsed_s, self._began = self.elapsed_s, time.monotonic()
        self.journal.refresh()
        self.journal.elapsed_s = elapsed_s
        judgements, alone, counts = [], 0, Counter[str]()
        for prompt in self.data.train_prompts:
            entry = self.journal.read(prompt.id)
            counts.update(entry["counts"])
            self.tokens_sampled += entry["tokens"]
            if len(entry["replies"]) == 2:
                judgements.append(Judgement(Candidates(prompt, *entry["replies"]), tuple(entry["verdicts"])))
            else:
                alone += 1
        made = make_pairs(judgements, self.margin, self.tolerance)
        write_pairs(Path(self.trainer.default_root_dir) / PAIRS, made)
        self.manifest = {
            "prompts": len(self.data.train_prompts),
            "sampled": 2 * len(judgements) + alone,
            "kept": len(made.pairs),
            "prompts_answered": len(made.pairs),
            "judge": {name: counts[name] for name in ("calls", "unreadable", "unjudged")},
            "filters": {"kept": len(made.pairs), "too few replies": alone, **made.dropped},
        }


def write_pairs(path: Path, made: MadePairs) -> None:
    """Writes pairs as JSON lines that ``PreferenceFile`` reads; whole or not at all."""
    draft = path.with_name(f".{path.name}.{os.getpid()}")
    with draft.open("w", encoding="utf-8") as file:
        for pair, margin in made.pairs:
            turns = [{"role": message.role, "content": message.content} for message in pair.messages]
            row = {"prompt": turns, "chosen": pair.chosen, "rejected": pair.rejected, "margin": margin}
            file.write(json.dumps(row, ensure_ascii=False) + "\n")
    draft.replace(path)
