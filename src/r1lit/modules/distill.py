"""On-policy distillation: the student writes, and at each token learns how the teacher would have gone on.

One Lightning batch is one rollout, as in reinforcement learning, with a teacher in the place of rewards: the loss is
the mean over all sampled tokens of the divergence between the teacher's and the student's distribution over the next
token (GKD, arXiv 2306.13649, with the student's own samples alone). What was sampled is data: no gradient flows through
it.

The paper distils otherwise: it fine-tunes students on the teacher's texts (2.4 and B.4.3), without their tokenizers
having anything in common. That is ``SFTModule`` on the texts that rejection sampling kept.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from lightning.pytorch.cli import LRSchedulerCallable, OptimizerCallable
from lightning.pytorch.trainer.states import TrainerFn
from torch import Tensor
from transformers import PreTrainedModel

from r1lit.data.prompts import PromptDataModule
from r1lit.distributed import raise_on_all_ranks, rank_and_ranks, summed
from r1lit.errors import InputError, TrainingError
from r1lit.functional.distillation import (
    DivergenceKind,
    TeacherStates,
    TeacherTop,
    check_divergence,
    chunked_divergence,
)
from r1lit.policy import PackedBatch, Policy
from r1lit.policy.backbone import Backbone
from r1lit.policy.heads import output_head
from r1lit.policy.logprobs import packed_states
from r1lit.policy.vocabulary import shared_vocabulary
from r1lit.rewards import Reward
from r1lit.rollout import NativeEngine
from r1lit.rollout.teacher import ServerTeacher
from r1lit.training.collector import RolloutCollector, describe
from r1lit.training.measuring import Measuring
from r1lit.training.minibatches import MicroBatch, micro_batches, random_minibatches, shapes_of
from r1lit.training.rollout_loop import Limits, RolloutLoop, mean_metrics
from r1lit.training.stage import StageModule
from r1lit.training.teachers import PolicyTeacher, Teacher
from r1lit.types import Completion, Prompt, RolloutEngine, SamplingParams

_OF_REWARDS = frozenset({"reward", "unscored", "dropped_groups"})


@dataclass(frozen=True)
class Divergence:
    """What a student minimizes; see ``functional.distillation``.

    Raises:
        InputError: For an unknown kind or a number out of range.
    """

    kind: DivergenceKind = "reverse"
    beta: float = 0.5
    """The teacher's share in the mixture of ``jensen_shannon``."""
    top_k: int | None = None
    """Compare so many of the teacher's likeliest tokens, and all others as one; None compares all."""
    temperature: float = 1.0
    """Divides the logits of both before they are compared; what is sampled has a temperature of its own."""

    def __post_init__(self) -> None:
        check_divergence(self.kind, self.beta, self.top_k, self.temperature)


class DistillModule(StageModule):
    """Trains a student on its own samples towards a teacher.

    Give either ``teacher`` or ``server``. Both must have the student's vocabulary; each reads the question by its own
    template, so a teacher may be asked in its way.

    Args:
        policy: The student.
        optimizer: Makes the optimizer.
        teacher: A frozen policy in this process, with ``init_from`` and ``dtype`` of its own; under FSDP2 it is sharded
            as the student is.
        server: A teacher behind a server that tells log-probabilities.
        scheduler: Makes the schedule, stepped at each policy update; None keeps the rate.
        rewards: Judge completions when measuring, and in training for the record: nothing is learned from them.
        sampling: How the student's completions are drawn in training.
        evaluation: How completions are drawn in validation and test; None takes the paper's temperature 0.6 and top-p
            0.95, 16 samples and the length limit of training.
        divergence: What is minimized.
        max_rollouts: Where training ends; None leaves it to the other limits and the Trainer.
        limits: Where training ends as well.
        minibatches: Policy updates of one rollout.
        micro_batch_tokens: Tokens in one forward and backward, the memory budget.
        gradient_clip_norm: Largest norm of the gradient; None does not clip.
        engine: Makes the rollout engine from the student.
        seed: Of sampling noise and minibatches.

    Raises:
        InputError: If none or both of teacher and server are given, vocabularies differ, a context is too short, or a
            number is out of range.
    """

    policy: Policy

    def __init__(
        self,
        policy: Policy,
        optimizer: OptimizerCallable,
        teacher: Policy | None = None,
        server: ServerTeacher | None = None,
        scheduler: LRSchedulerCallable | None = None,
        rewards: Sequence[Reward] = (),
        sampling: SamplingParams = SamplingParams(n=1),  # noqa: B008 - frozen
        evaluation: SamplingParams | None = None,
        divergence: Divergence = Divergence(),
        max_rollouts: int | None = None,
        limits: Limits = Limits(),  # noqa: B008 - frozen
        minibatches: int = 1,
        micro_batch_tokens: int = 16384,
        gradient_clip_norm: float | None = 1.0,
        engine: Callable[[Policy], RolloutEngine] = NativeEngine,
        seed: int = 0,
    ) -> None:
        for name, value in (("minibatches", minibatches), ("micro_batch_tokens", micro_batch_tokens)):
            if value < 1:
                raise InputError(f"model.{name} is {value}; give at least 1")
        measuring = Measuring(policy, engine, rewards, evaluation, sampling.max_new_tokens, seed)
        collector = RolloutCollector(measuring.engine, measuring.rewards, monitor_only=True)
        super().__init__(
            policy,
            optimizer=optimizer,
            scheduler=scheduler,
            gradient_clip_norm=gradient_clip_norm,
            measuring=measuring,
            loop=RolloutLoop(
                collector,
                sampling,
                max_rollouts=max_rollouts,
                limits=limits,
                minibatches=minibatches,
                inner_epochs=1,
                seed=seed,
            ),
            seed=seed,
        )
        if server is not None and (divergence.temperature != 1 or divergence.top_k is not None):
            raise InputError(
                "with model.server, divergence.temperature must be 1 and divergence.top_k null: the server tells "
                f"log-probabilities at 1, those of its own top_k ({server.top_k}) tokens"
            )
        self.teacher: Teacher = _teacher(teacher, server)
        self.divergence = divergence
        self.micro_batch_tokens = micro_batch_tokens
        self.vocabulary = shared_vocabulary(
            policy.tokenizer, self.teacher.tokenizer, policy.init_from, self.teacher.name
        )

    # Lightning

    def policies(self) -> list[Backbone]:
        """The student and, to train it, a teacher in this process."""
        if isinstance(self.teacher, PolicyTeacher) and self.trainer.state.fn == TrainerFn.FITTING:
            return [self.policy, self.teacher.policy]
        return [self.policy]

    def load_sharded_weights(self) -> None:
        """Puts the teacher, which the strategy does not know, where the student is, and loads what is not loaded."""
        if isinstance(self.teacher, PolicyTeacher) and self.teacher.policy.is_built:
            self.teacher.place(self.device)
        super().load_sharded_weights()

    def _connect(self, data: PromptDataModule, longest: int) -> None:
        """Has prompts checked by both readers."""
        # A teacher reads what is trained on alone.
        room = self.teacher.max_context - self.sampling.max_new_tokens
        if room < 1:
            raise InputError(
                f"sampling.max_new_tokens is {self.sampling.max_new_tokens}, but the context of teacher "
                f"'{self.teacher.name}' has {self.teacher.max_context}; lower it"
            )
        super()._connect(data, longest)
        if self.trainer.state.fn != TrainerFn.FITTING:
            return
        for prompt in data.train_prompts:
            if (length := len(self.teacher.encode_prompt(prompt))) > room:
                raise InputError(
                    f"prompt '{prompt.id}': {length} tokens for teacher '{self.teacher.name}', whose context leaves "
                    f"{room}; drop it, or lower sampling.max_new_tokens"
                )

    def training_step(self, prompts: list[Prompt], batch_idx: int) -> None:
        """One rollout of the student's: sample, then for each minibatch the divergence and a step."""
        rollout = self.loop.sample(self, prompts)
        completions = rollout.completions
        updates = []
        for rows in random_minibatches(len(completions), self.loop.minibatches, self.seed, rollout.index, 0):
            updates.append(self._step({"loss": self._gradient(completions, rows)}))
        # All but what rewards and groups are to reinforcement learning.
        found = {name: value for name, value in describe(rollout).items() if name not in _OF_REWARDS}
        self.loop.finish(self, rollout, mean_metrics(updates) | found)

    def _gradient(self, completions: Sequence[Completion], rows: Sequence[int]) -> float:
        """Leaves the gradient of a minibatch in the parameters. Returns its loss, the same on every rank."""
        rank, ranks = rank_and_ranks()
        parts = micro_batches(shapes_of(completions), rows, rank, ranks, self.micro_batch_tokens)
        tokens = sum(len(completions[row].token_ids) for row in rows)  # on all ranks
        total = torch.zeros((), device=self.device)
        for number, part in enumerate(parts, 1):
            texts = [completions[row] for row in part]
            known = self._asked(texts)
            loss = self._divergence(MicroBatch.of(texts, self.policy.device).packed, known).sum() / tokens
            self._backward(loss, is_last=number == len(parts))
            total += loss.detach()
        return float(summed(total))

    def _asked(self, completions: Sequence[Completion]) -> TeacherStates | TeacherTop:
        """What the teacher says; a server that fails one rank stops all."""
        if isinstance(self.teacher, PolicyTeacher):
            return self.teacher.distributions(completions, self.device)
        error: InputError | TrainingError | None = None
        try:
            known = self.teacher.distributions(completions, self.device)
        except (InputError, TrainingError) as problem:
            error = problem
        raise_on_all_ranks(error)
        return known

    def _divergence(self, batch: PackedBatch, known: TeacherStates | TeacherTop) -> Tensor:
        """[N], of each target of a packed row."""

        def compute(lm: PreTrainedModel, chunk_size: int) -> Tensor:
            chosen = self.divergence
            return chunked_divergence(
                packed_states(lm, batch),
                output_head(lm),
                known,
                chosen.kind,
                chosen.beta,
                chosen.top_k,
                chosen.temperature,
                self.vocabulary,
                chunk_size,
            )

        # Through __call__, for the hooks of FSDP2 hang on it; what it is given, those round to the compute dtype.
        out: Tensor = self.policy(compute)
        return out


def _teacher(policy: Policy | None, server: ServerTeacher | None) -> Teacher:
    if policy is not None and server is None:
        return PolicyTeacher(policy)
    if server is not None and policy is None:
        return server
    raise InputError("give either model.teacher or model.server: who the student learns from")
