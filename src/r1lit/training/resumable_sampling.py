"""Samples many prompts by chunks into a journal: a killed run goes on where it was, and any number of processes agree.

Each chunk is sampled by one process in one call of the engine. What is sampled together, and with it the numerics, is
then the same for any number of processes.
"""

import hashlib
import json
import time
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

from lightning.pytorch import LightningModule

from r1lit.callbacks.base import rollout_callbacks
from r1lit.distributed import raise_on_all_ranks
from r1lit.errors import InputError, TrainingError
from r1lit.rewards import Reward
from r1lit.rewards.scoring import score_completions
from r1lit.samples.entries import from_entry, to_entry
from r1lit.samples.journal import Journal
from r1lit.types import Completion, Prompt, RolloutEngine, SamplingParams, ScoredCompletion

JOURNAL = "sampled"


class ResumableSampler:
    """Samples and scores prompts for a module whose Trainer deals them out in batches, the same on every rank.

    Args:
        module: Whose Trainer and folder these are; its callbacks hear of the completions.
        engine: Samples.
        rewards: Score.
        chunk_prompts: Prompts that one process samples at a time.
        by_prompt: Write each prompt as soon as it is finished, so that an interruption loses little, rather than whole
            chunks, whose numerics are then those of an uninterrupted run.
        judge: As in ``score_completions``.
    """

    def __init__(
        self,
        module: LightningModule,
        engine: RolloutEngine,
        rewards: Sequence[Reward],
        chunk_prompts: int,
        by_prompt: bool,
        judge: str | None = None,
    ) -> None:
        if chunk_prompts < 1:
            raise InputError(f"model.chunk_prompts is {chunk_prompts}; give at least 1")
        self.module, self.engine, self.rewards = module, engine, rewards
        self.chunk_prompts, self.by_prompt, self.judge = chunk_prompts, by_prompt, judge
        self.prompts: list[Prompt] = []
        self.done = 0
        """Completions made by this process in this run."""
        self._waiting: list[Prompt] = []
        self._began, self._wanted, self._tokens = time.monotonic(), 0, 0

    def begin(self, prompts: Sequence[Prompt], sampling: SamplingParams, all_prompts: Sequence[Prompt]) -> None:
        """Finds what was sampled before.

        Args:
            prompts: All to be sampled.
            sampling: With seed and rollout counter.
            all_prompts: These and those left out; what the journal is checked against.

        Raises:
            InputError: If the journal is of other prompts or settings.
        """
        self.prompts, self.sampling = list(prompts), sampling
        module, plain = self.module, replace(sampling, seed=0, rollout=0)
        header = {"prompts": prompts_hash(all_prompts), "sampling": repr(plain), "seed": sampling.seed}
        folder = Path(module.trainer.default_root_dir) / JOURNAL
        self.journal = Journal(folder, module.global_rank, header)
        self.journal.open()
        self._began = time.monotonic()
        self.left = sum(prompt.id not in self.journal for prompt in self.prompts)
        """Prompts still to be sampled."""
        self._wanted = -(-self.left // module.trainer.world_size) * sampling.n
        module.trainer.strategy.barrier("journal")

    def feed(self, prompts: Sequence[Prompt], is_last: bool) -> int:
        """Samples what the journal does not have; returns how many completions this rank has made so far.

        Prompts wait until there is a chunk for every rank, so that the data's batches do not matter.

        Raises:
            InputError: If a prompt, the sampling or the server cannot be used; on every rank.
            TrainingError: If a reward fails or the server stays away; on every rank.
        """
        module = self.module
        self._waiting += prompts
        step = self.chunk_prompts * module.trainer.world_size
        while self._waiting and (is_last or len(self._waiting) >= step):
            part, self._waiting = self._waiting[:step], self._waiting[step:]
            start = module.global_rank * self.chunk_prompts
            error: InputError | TrainingError | None = None
            try:  # on every rank, also where nothing is left: a sharded policy needs all of them
                self._sample(part[start : start + self.chunk_prompts])
            except (InputError, TrainingError) as problem:
                error = problem
            raise_on_all_ranks(error)
        return self.done

    def _sample(self, chunk: Sequence[Prompt]) -> None:
        missing = [prompt for prompt in chunk if prompt.id not in self.journal]
        if missing and not self.by_prompt:
            missing = list(chunk)
        groups: dict[str, list[Completion]] = {prompt.id: [] for prompt in missing}
        module = self.module
        try:
            for completion in self.engine.generate(missing, self.sampling):
                group = groups[completion.prompt.id]
                group.append(completion)
                self.done += 1
                self._tokens += completion.tokens
                for callback in rollout_callbacks(module.trainer):
                    callback.on_completions(module.trainer, module, self.done, self._wanted, self._tokens)
                if self.by_prompt and len(group) == self.sampling.n:
                    self._note([(completion.prompt, group)])
        except TrainingError as error:
            sampled = f"{len(self.journal)} of {len(self.prompts)} prompts"
            raise TrainingError(f"{error}; {sampled} are sampled and kept: the same command goes on there") from error
        self._note([(p, groups[p.id]) for p in missing if not (self.by_prompt and p.id in self.journal)])

    def _note(self, groups: Sequence[tuple[Prompt, list[Completion]]]) -> None:
        """Scores groups and writes them to the journal."""
        done = [c for _, group in groups for c in sorted(group, key=lambda c: c.sample)]
        candidates = iter(score_completions(self.rewards, done, 0, self.judge))
        entries = []
        for prompt, group in groups:
            own = [next(candidates) for _ in group]
            entries.append(to_entry(prompt, own, self.elapsed_s))
        self.journal.append(entries)

    @property
    def elapsed_s(self) -> float:
        """Time spent on the stage, by earlier runs too."""
        return self.journal.elapsed_s + time.monotonic() - self._began

    def finish(self) -> None:
        """Takes note of what the other ranks have added; the clock goes on."""
        elapsed_s, self._began = self.elapsed_s, time.monotonic()
        self.journal.refresh()
        self.journal.elapsed_s = elapsed_s

    def groups(self, start: int = 0, step: int = 1) -> Iterator[tuple[Prompt, list[ScoredCompletion]]]:
        """The sampled groups, in the order of the prompts.

        Args:
            start: The first prompt.
            step: Every how many of them; with the rank as the start, the world size gives each rank a share.
        """
        for prompt in self.prompts[start::step]:
            yield prompt, from_entry(prompt, self.journal.read(prompt.id))


def prompts_hash(prompts: Sequence[Prompt]) -> str:
    """Hashes what completions depend on."""
    digest = hashlib.sha256()
    for prompt in prompts:
        turns = [[message.role, message.content] for message in prompt.messages]
        digest.update(json.dumps([prompt.id, turns, prompt.answer, prompt.language]).encode())
    return digest.hexdigest()
