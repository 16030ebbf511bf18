"""The DataModule of reinforcement learning, rejection sampling and evaluation: batches of prompts."""

import hashlib
import json
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import torch

from r1lit.data.prompt_mix import MixSampler, PromptMix
from r1lit.data.resumable import ResumableDataModule, ResumableLoader
from r1lit.data.sampler import RolloutSampler
from r1lit.errors import InputError
from r1lit.tasks.base import PromptSource
from r1lit.types import Prompt

Encode = Callable[[Prompt], list[int]]


class PromptDataModule(ResumableDataModule):
    """Gives the module one ``list[Prompt]`` for each Lightning batch, the same list on every rank.

    A training batch is the prompts of one rollout; the ranks divide the completions among themselves later, so prompts
    are not sharded here. The loaders are no ``torch.utils.data.DataLoader``, hence Lightning never swaps their sampler,
    whatever ``Trainer(use_distributed_sampler=...)`` says; set it to False all the same where a module brings
    loaders of its own.

    Which prompts rollout k trains on is a pure function of (data, seed, k), see ``prompts_for_rollout``. A checkpoint
    stores k, counted by what was trained on rather than fetched, so a resumed run goes on with the next rollout.
    There are no workers: prompts are loaded in the process itself.

    Args:
        train: Where training prompts come from; several sources are joined, and a ``PromptMix`` gives each its share of
            every rollout, from some rollout on. ``predict`` runs over them too.
        val: Where the prompts for ``validate`` and ``test`` come from.
        prompts_per_rollout: Prompts in one training batch; in the paper 512 a rollout, which makes 16 updates of 32.
        seed: With the epoch it fixes the order of the training prompts.
        shuffle: Whether the training prompts are reshuffled in each epoch.
        max_rollouts: Length of training: the loader then has this many batches in all. Use it with
            ``Trainer(max_epochs=1)``; to go on with a run that has ended, raise ``max_epochs`` along with it, for
            Lightning counts its epoch as done. If None, a Lightning epoch has as many batches as deal each prompt at
            least once, and training goes on over epochs until the Trainer stops it.
        val_limit: Take this many validation prompts only, spread evenly over the sources, the same for every seed.
        val_batch_size: Prompts in one validation batch; ``prompts_per_rollout`` if None.

    Raises:
        InputError: If a number is out of range (loading raises it for data).
    """

    data_keys = ("train",)
    data_name = "the training prompts"

    def __init__(
        self,
        train: PromptSource | list[PromptSource] | None = None,
        val: PromptSource | list[PromptSource] | None = None,
        prompts_per_rollout: int = 32,
        seed: int = 0,
        shuffle: bool = True,
        max_rollouts: int | None = None,
        val_limit: int | None = None,
        val_batch_size: int | None = None,
    ) -> None:
        super().__init__()
        for name, value in (
            ("prompts_per_rollout", prompts_per_rollout),
            ("max_rollouts", max_rollouts),
            ("val_limit", val_limit),
            ("val_batch_size", val_batch_size),
        ):
            if value is not None and value < 1:
                raise InputError(f"{name} is {value}: it must be 1 or more")
        if seed < 0:
            raise InputError(f"seed is {seed}: it must be 0 or more")
        self.train = train
        self.val = val
        self.prompts_per_rollout = prompts_per_rollout
        self.seed = seed
        self.shuffle = shuffle
        self.max_rollouts = max_rollouts
        self.val_limit = val_limit
        self.val_batch_size = val_batch_size or prompts_per_rollout
        self._train_prompts: list[Prompt] | None = None
        self._val_prompts: list[Prompt] | None = None
        self._sampler: RolloutSampler | MixSampler | None = None
        self._encode: Encode | None = None
        self._max_tokens = 0

    # Prompts

    def connect(self, encode: Encode, max_tokens: int) -> None:
        """Has every prompt checked against the context, now that a tokenizer is known.

        Prompts loaded already are checked at once, others when they are loaded.

        Args:
            encode: Gives the token ids of a prompt as the policy will see it.
            max_tokens: The longest prompt allowed, in tokens.

        Raises:
            InputError: If a prompt is longer; names it.
        """
        self._encode, self._max_tokens = encode, max_tokens
        for prompts in (self._train_prompts, self._val_prompts):
            self._check_lengths(prompts or [])

    @property
    def train_prompts(self) -> list[Prompt]:
        """All training prompts, in the order of their sources; loaded on first use."""
        if self._train_prompts is None:
            self._train_prompts = self._load(self.train, "train")
        return self._train_prompts

    @property
    def val_prompts(self) -> list[Prompt]:
        """The prompts of validation and test; loaded on first use."""
        if self._val_prompts is None:
            prompts = self._load(self.val, "val")
            if self.val_limit is not None and self.val_limit < len(prompts):
                prompts = [prompts[i * len(prompts) // self.val_limit] for i in range(self.val_limit)]
            self._val_prompts = prompts
        return self._val_prompts

    def prompts_for_rollout(self, index: int) -> list[Prompt]:
        """The prompts of rollout ``index`` (from 0), ``prompts_per_rollout`` different ones."""
        return [self.train_prompts[row] for row in self.sampler.rows_for_rollout(index)]

    def more_prompts(self, index: int, attempt: int) -> list[Prompt]:
        """Further prompts for rollout ``index``, where groups without a signal are sampled anew.

        Args:
            index: The rollout.
            attempt: Counts the calls for one rollout, from 0.

        Returns:
            Up to ``prompts_per_rollout`` prompts that the rollout has not had yet; empty when all have been used.
        """
        return [self.train_prompts[row] for row in self.sampler.more_rows(index, attempt)]

    @property
    def sampler(self) -> RolloutSampler | MixSampler:
        """What deals the training prompts into rollouts."""
        if self._sampler is None:
            size = len(self.train_prompts)  # loads them
            if isinstance(self.train, PromptMix):
                self._sampler = self.train.sampler(self.prompts_per_rollout, self.seed, self.shuffle)
            else:
                self._sampler = RolloutSampler(size, self.prompts_per_rollout, self.seed, self.shuffle)
        return self._sampler

    # Lightning

    def setup(self, stage: str) -> None:
        """Loads the prompts that ``stage`` (fit, validate, test, predict) needs.

        Raises:
            InputError: If a source it needs is not set, or its data cannot be used.
        """
        if stage in ("fit", "predict"):
            _ = self.train_prompts
        if stage == "fit":
            _ = self.sampler
        if stage in ("validate", "test") or (stage == "fit" and self.val is not None):
            _ = self.val_prompts
        if stage == "fit" and self.val is None and self.trainer is not None:
            # Lightning's own switch; an empty loader would draw a warning from it.
            self.trainer.limit_val_batches = 0

    def train_dataloader(self) -> "RolloutLoader":
        """One list of prompts for each rollout, from the position on.

        Raises:
            InputError: If the run being resumed had other prompts, or dealt them otherwise.
        """
        self._check_restored()
        return RolloutLoader(self)

    def val_dataloader(self) -> "PromptBatches | list[Any]":
        """The validation prompts, all on every rank; no loader at all where there are none."""
        return [] if self.val is None else PromptBatches(self.val_prompts, self.val_batch_size)

    def test_dataloader(self) -> "PromptBatches":
        """The same prompts as in validation."""
        return PromptBatches(self.val_prompts, self.val_batch_size)

    def predict_dataloader(self) -> "PromptBatches":
        """Each training prompt once, in the order of the sources; the last batch may be short."""
        return PromptBatches(self.train_prompts, self.prompts_per_rollout)

    def transfer_batch_to_device(self, batch: object, device: torch.device, dataloader_idx: int) -> object:
        """Leaves prompts alone: they hold no tensors, and Lightning cannot walk through frozen dataclasses."""
        return batch

    # Position

    @property
    def measures(self) -> bool:
        """Whether there are prompts for validation and test."""
        return self.val is not None

    @property
    def _has_data(self) -> bool:
        return self.train is not None

    def _dealing(self) -> dict[str, Any]:
        digest = hashlib.sha256()
        for prompt in self.train_prompts:
            turns = [[message.role, message.content] for message in prompt.messages]
            digest.update(json.dumps([prompt.id, turns, prompt.answer]).encode())
        if isinstance(self.train, PromptMix):
            digest.update(json.dumps(self.train.settings()).encode())
        return {
            "prompts_per_rollout": self.prompts_per_rollout,
            "seed": self.seed,
            "shuffle": self.shuffle,
            "train": digest.hexdigest(),
        }

    def _load(self, sources: PromptSource | list[PromptSource] | None, argument: str) -> list[Prompt]:
        if sources is None:
            raise InputError(f"data.{argument} is not set: give it a source of prompts, such as FilePrompts")
        prompts = [p for source in (sources if isinstance(sources, list) else [sources]) for p in source.load()]
        if not prompts:
            raise InputError(f"data.{argument}: the data set is empty")
        by_id: dict[str, Prompt] = {}
        for prompt in prompts:
            if (other := by_id.setdefault(prompt.id, prompt)) is not prompt:
                raise InputError(
                    f"data.{argument}: the id {prompt.id!r} comes twice, from {other.source!r} and {prompt.source!r};"
                    " ids seed the sampling: name an id column, or set name of FilePrompts"
                )
        self._check_lengths(prompts)
        return prompts

    def _check_lengths(self, prompts: Sequence[Prompt]) -> None:
        if self._encode is None:
            return
        for prompt in prompts:
            if (length := len(self._encode(prompt))) > self._max_tokens:
                raise InputError(
                    f"{prompt.source}: prompt {prompt.id!r} has {length} tokens, more than the {self._max_tokens} that"
                    " fit; shorten or remove it"
                )


class RolloutLoader(ResumableLoader):
    """The prompts of one rollout after the other, from the DataModule's position on."""

    data: PromptDataModule

    def __len__(self) -> int:
        """Batches of a Lightning epoch: ``max_rollouts``, or those of one pass over the prompts."""
        return self.data.max_rollouts or self.data.sampler.rollouts_per_epoch

    def __iter__(self) -> Iterator[list[Prompt]]:
        """Yields up to ``max_rollouts``, counted from the start of the run, or for one epoch if that is None."""
        start = self.data.position
        for index in range(start, self.data.max_rollouts or start + len(self)):
            yield self.data.prompts_for_rollout(index)


class PromptBatches:
    """All prompts once, in order, in batches; the same on every rank.

    Args:
        prompts: What to divide.
        batch_size: Prompts in a batch; the last may have fewer.
    """

    def __init__(self, prompts: Sequence[Prompt], batch_size: int) -> None:
        self.prompts = prompts
        self.batch_size = batch_size

    def __len__(self) -> int:
        """Number of batches."""
        return -(-len(self.prompts) // self.batch_size)

    def __iter__(self) -> Iterator[list[Prompt]]:
        """Yields the batches."""
        for start in range(0, len(self.prompts), self.batch_size):
            yield list(self.prompts[start : start + self.batch_size])
