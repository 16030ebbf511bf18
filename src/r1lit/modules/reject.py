"""Rejection sampling (paper, 2.3.3 and B.3.3): sample several answers a prompt, keep what is correct and readable.

``r1lit predict`` runs it. The prompts are cut into chunks, each sampled by one process in one call of the engine and
written to a journal on disk, so that a killed run goes on where it was and several processes make what one makes. At
the end one process sorts the completions out in the order of the prompts and writes the store that the next stage
trains on.
"""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Literal

from lightning.pytorch import Callback

from r1lit.data.chatfile import read_chat_file
from r1lit.data.encoding import ChatEncoder
from r1lit.data.store import write_store
from r1lit.distributed import raise_on_all_ranks
from r1lit.errors import InputError, TrainingError
from r1lit.policy import Policy
from r1lit.rejection.completion_filter import CompletionFilter, Preference
from r1lit.rejection.decontamination import Decontamination
from r1lit.rejection.duplicates import NearDuplicates
from r1lit.rejection.filters import Filter, paper_filters
from r1lit.rejection.selection import CHATS, Selection, Selector
from r1lit.rewards import Reward
from r1lit.rewards.base import check_names
from r1lit.rollout import NativeEngine
from r1lit.training.collector import for_rollout
from r1lit.training.resumable_sampling import ResumableSampler
from r1lit.training.sampling_module import SamplingModule
from r1lit.types import Prompt, RolloutEngine, SamplingParams

DATA = "data"
REJECTION_ROLLOUT = 2**31 - 2
"""The rollout counter of rejection sampling: its noise is neither training's nor evaluation's."""


class RejectionModule(SamplingModule):
    """Samples, scores, filters and stores; it trains nothing.

    Args:
        rewards: Score the completions; callbacks with distinct names.
        policy: Samples the completions through ``engine``; None where ``teacher`` does.
        engine: Makes the rollout engine from the policy.
        teacher: An engine that needs no policy of ours, such as ``OpenAIEngine``.
        sampling: How completions are drawn; the paper says "multiple responses" a prompt.
        filters: What is kept, in this order; the paper's rules if None.
        keep_per_prompt: Completions kept of a prompt at most; None keeps all that pass.
        prefer: Which of them; see ``CompletionFilter``.
        near_duplicates: Drop completions like others that are kept; None keeps them.
        decontamination: Leave out prompts that overlap with evaluation questions, before anything is sampled.
        selection: What becomes of what is kept: rewriting, and other data to join it.
        store_for: Whose tokenizer and template the store is for; the sampling policy if None. Without either, only the
            text of the chats is written.
        chunk_prompts: Prompts that one process samples at a time: what an interruption can cost. It fixes which prompts
            are sampled together, and with it the numerics, for any number of processes.
        resume: A chunk that was interrupted is sampled again as a whole (``chunk``), with the same result as without
            the interruption, or only its missing prompts are (``prompt``), so that nothing paid for is lost. None takes
            ``prompt`` with a teacher and ``chunk`` with a policy.
        seed: Of sampling noise and random choices.

    Raises:
        InputError: If both or none of policy and teacher are given, or settings contradict each other.
    """

    purpose = "rejection sampling"

    subcommands = ("predict",)

    def __init__(
        self,
        rewards: list[Reward],
        policy: Policy | None = None,
        engine: Callable[[Policy], RolloutEngine] = NativeEngine,
        teacher: RolloutEngine | None = None,
        sampling: SamplingParams = SamplingParams(n=16),  # noqa: B008 - frozen
        filters: list[Filter] | None = None,
        keep_per_prompt: int | None = 4,
        prefer: Preference = "first",
        near_duplicates: NearDuplicates | None = None,
        decontamination: Decontamination | None = None,
        selection: Selection | None = None,
        store_for: Policy | None = None,
        chunk_prompts: int = 64,
        resume: Literal["chunk", "prompt"] | None = None,
        seed: int = 0,
    ) -> None:
        super().__init__(policy, engine, teacher)
        if not rewards:
            raise InputError("model.rewards is empty; name at least one reward")
        check_names(rewards)
        self.rewards, self.sampling, self.seed = rewards, sampling, seed
        self.completion_filter = CompletionFilter(
            paper_filters() if filters is None else filters, keep_per_prompt, prefer, near_duplicates, seed
        )
        self.decontamination = decontamination
        self.selection = selection or Selection()
        by_prompt = teacher is not None if resume is None else resume == "prompt"
        self.sampler = ResumableSampler(self, self.engine, rewards, chunk_prompts, by_prompt)
        reader = store_for or policy
        self.encoder = None if reader is None else ChatEncoder.of(reader)
        self.outputs = [CHATS] if self.encoder is None else [DATA, CHATS]
        self.manifest: dict[str, Any] = {}
        self.contaminated: set[str] = set()

    def configure_callbacks(self) -> Sequence[Callback]:
        """The rewards: Lightning closes them."""
        return list(self.rewards)

    def setup(self, stage: str) -> None:
        """Checks that the prompts can be sampled.

        Raises:
            InputError: If a prompt and its completion exceed the model's context.
        """
        if self.policy is None:
            return
        room = self.policy.max_context - self.sampling.max_new_tokens
        if room < 1:
            raise InputError(
                f"sampling.max_new_tokens is {self.sampling.max_new_tokens}, but the model's context has "
                f"{self.policy.max_context}; lower it"
            )
        self.data.connect(self.policy.encode_prompt, room)

    @property
    def folder(self) -> Path:
        """The stage's folder."""
        return Path(self.trainer.default_root_dir)

    # Sampling

    def on_predict_start(self) -> None:
        """Leaves out contaminated prompts and finds what was sampled before."""
        self.load_sharded_weights()
        prompts = self.data.train_prompts
        if self.decontamination is not None:
            self.contaminated = self.decontamination.contaminated(prompts)
            if len(self.contaminated) == len(prompts):
                raise InputError("decontamination drops every prompt: data.train and the evaluation data are the same")
        sampling = for_rollout(self.sampling, self.seed, REJECTION_ROLLOUT)
        self.sampler.begin([p for p in prompts if p.id not in self.contaminated], sampling, prompts)

    def predict_step(self, prompts: list[Prompt], batch_idx: int) -> int:
        """Samples what the journal does not have; see ``ResumableSampler.feed``, also for what it raises."""
        is_last = batch_idx + 1 == self.trainer.num_predict_batches[0]
        return self.sampler.feed([prompt for prompt in prompts if prompt.id not in self.contaminated], is_last)

    @property
    def elapsed_s(self) -> float:
        """Time spent on the stage, by earlier runs too."""
        return self.sampler.elapsed_s

    # Sorting out

    def on_predict_epoch_end(self) -> None:
        """Sorts out everything on one rank and writes ``data/``, ``chats.parquet`` and ``samples.parquet``."""
        self.trainer.strategy.barrier("sampled")
        error: InputError | TrainingError | None = None
        if self.trainer.is_global_zero:
            try:
                self._sort_out()
            except (InputError, TrainingError) as problem:
                error = problem
        raise_on_all_ranks(error)

    def _sort_out(self) -> None:
        self.sampler.finish()
        selector = Selector(
            self.folder,
            self.sampler.groups,
            self.completion_filter,
            self.rewards,
            self.selection,
            self.decontamination,
            self.seed,
        )
        counts = {"prompts": len(self.data.train_prompts), "contaminated": len(self.contaminated)}
        self.manifest = counts | selector.write()
        self.tokens_sampled = self.manifest["tokens_sampled"]
        if self.encoder is not None:
            stored = write_store(
                self.folder / DATA, read_chat_file(self.folder / CHATS), self.encoder, extra=self.manifest
            )
            self.manifest = self.manifest | {"rows": stored.rows, "tokens": stored.tokens, "content": stored.content}
