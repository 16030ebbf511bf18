"""What every module that trains a policy shares: its updates, and how it is measured at the end."""

from collections.abc import Callable, Sequence
from dataclasses import replace

from lightning.pytorch import Callback
from lightning.pytorch.cli import LRSchedulerCallable, OptimizerCallable

from r1lit.callbacks.base import rollout_callbacks
from r1lit.errors import InputError
from r1lit.metrics.measures import Measures
from r1lit.policy import Policy
from r1lit.rewards import Reward
from r1lit.rewards.base import check_names
from r1lit.rollout import NativeEngine
from r1lit.training.collector import for_rollout
from r1lit.training.updates import UpdatingModule
from r1lit.types import Completion, Prompt, RolloutEngine, SamplingParams

EVALUATION_ROLLOUT = 2**31 - 1
"""The rollout counter of evaluation: its noise is none of training's."""


class StageModule(UpdatingModule):
    """A stage of the recipe: trains a policy, and measures it on held-out prompts.

    Args:
        policy: The policy to train.
        optimizer: Makes the optimizer.
        scheduler: Makes the schedule, stepped at each policy update; None keeps the rate.
        rewards: Judge completions when measuring, and score them in reinforcement learning.
        evaluation: How completions are drawn in validation and test.
        gradient_clip_norm: Largest norm of the gradient; None does not clip.
        engine: Makes the rollout engine from the policy.
        seed: Of all noise.

    Raises:
        InputError: If rewards share a name, or at the start of a run for precision ``16-mixed`` or an
            ``evaluation.max_new_tokens`` that exceeds the context.
    """

    def __init__(
        self,
        policy: Policy,
        *,
        optimizer: OptimizerCallable,
        scheduler: LRSchedulerCallable | None,
        rewards: Sequence[Reward],
        evaluation: SamplingParams,
        gradient_clip_norm: float | None = 1.0,
        engine: Callable[[Policy], RolloutEngine] = NativeEngine,
        seed: int = 0,
    ) -> None:
        super().__init__(policy, optimizer, scheduler, gradient_clip_norm)
        check_names(rewards)
        self.rewards = list(rewards)
        self.evaluation = evaluation
        self.engine = engine(policy)
        self.seed = seed
        self.measures = Measures(self.rewards)

    def configure_callbacks(self) -> Sequence[Callback]:
        """The rewards: Lightning saves their state and closes them."""
        return list(self.rewards)

    def setup(self, stage: str) -> None:
        """Checks what the Trainer and the policy's context allow."""
        super().setup(stage)
        self._check_context("evaluation", self.evaluation.max_new_tokens)

    def _check_context(self, name: str, length: int) -> None:
        context = self.policy.max_context
        if length >= context:
            raise InputError(f"{name}.max_new_tokens is {length}, but the model's context has {context}; lower it")

    # Measuring

    def validation_step(self, prompts: list[Prompt], batch_idx: int) -> None:
        """Samples answers to held-out prompts."""
        self.measures.add("eval", self._evaluate(prompts, self.evaluation))

    def on_validation_epoch_end(self) -> None:
        """Logs pass@1, cons@k and the rest."""
        for name, interval in self.measures.compute().items():
            self.log(f"val/{name}", interval["value"], rank_zero_only=True)
        self.measures.reset()

    def test_step(self, prompts: list[Prompt], batch_idx: int) -> None:
        """Samples answers at the paper's temperature and, to reasoning prompts, at 1."""
        self.measures.add("eval", self._evaluate(prompts, self.evaluation))
        if reasoning := [prompt for prompt in prompts if prompt.kind == "reasoning"]:
            at_one = replace(self.evaluation, temperature=1.0, top_p=1.0, top_k=0)
            self.measures.add("t1", self._evaluate(reasoning, at_one))

    def on_test_epoch_end(self) -> None:
        """Computes the measures of a stage; ``StageRecord`` writes them down."""
        self.test_results = self.measures.compute()
        for name, interval in self.test_results.items():
            self.log(f"test/{name}", interval["value"], rank_zero_only=True)
        for callback in rollout_callbacks(self.trainer):
            callback.on_measured(self.trainer, self, self.measures.rows)
        self.measures.reset()

    def _evaluate(self, prompts: list[Prompt], sampling: SamplingParams) -> list[Completion]:
        mine = prompts[self.global_rank :: self.trainer.world_size]
        return list(self.engine.generate(mine, for_rollout(sampling, self.seed, EVALUATION_ROLLOUT)))
