"""What the modules of all stages share: one policy, built where the strategy wants it, and injected optimizers."""

from typing import Any, ClassVar

import torch
from lightning.pytorch import LightningModule
from lightning.pytorch.cli import LRSchedulerCallable, OptimizerCallable
from lightning.pytorch.strategies import ModelParallelStrategy
from torch.distributed.fsdp import MixedPrecisionPolicy
from torch.optim import Optimizer

from r1lit.functional.estimators import Interval
from r1lit.policy.backbone import Backbone


class PolicyModule(LightningModule):
    """A LightningModule around a ``Policy``, or a ``RewardModel``.

    The policy is only named when the module is made. It is built in ``configure_model``, which Lightning calls once the
    devices are known: whole under DDP or on one device, on the meta device and sharded under ``FSDP2Strategy``, which
    loads the weights once they have memory.

    Args:
        policy: The policy to train.
        optimizer: Makes the optimizer from parameters, such as ``torch.optim.AdamW`` with its learning rate.
        scheduler: Makes a learning-rate schedule from the optimizer, stepped at each policy update; None keeps it.
        gradient_clip_norm: Largest norm of the gradient; None does not clip.
    """

    policy: Backbone | None
    """What is trained, or samples; None where something else than a model of ours does."""
    unit = "rollout"
    """What a training batch is called in ``metrics.csv``."""
    subcommands: ClassVar[tuple[str, ...]] = ("fit", "validate", "test")
    """The words of the command line that run such a module."""
    noted_by_measuring = False
    """Whether measuring writes to the model's configuration, so that the model is exported once more after it."""

    def __init__(
        self,
        policy: Backbone | None,
        optimizer: OptimizerCallable,
        scheduler: LRSchedulerCallable | None = None,
        gradient_clip_norm: float | None = 1.0,
    ) -> None:
        super().__init__()
        self.policy = policy
        self.optimizer_factory = optimizer
        self.scheduler_factory = scheduler
        self.gradient_clip_norm = gradient_clip_norm
        # What every stage's record counts; stages that sample set them.
        self.seed = 0
        self.placebo = False
        self.max_rollouts: int | None = None
        self.rollouts = 0
        self.updates = 0
        self.tokens_sampled = 0
        self.test_results: dict[str, Interval] = {}
        self.record: dict[str, Any] = {}
        """What a module adds to its stage's record, or puts in place of what the record says of every stage."""

    @property
    def batches_done(self) -> int:
        """Training batches so far, over the whole run."""
        return self.rollouts

    @property
    def batches_wanted(self) -> int | None:
        """Training batches of the whole run; None where the Trainer says when to stop."""
        return self.max_rollouts

    def sync_reference(self) -> None:
        """Makes the reference policy a hard copy of the policy; here there is none."""

    def policies(self) -> list[Backbone]:
        """The models to build: the trained one first, then frozen ones."""
        return [] if self.policy is None else [self.policy]

    def configure_model(self) -> None:
        """Builds the policies that are not built yet; Lightning calls this for every fit, validate and test."""
        strategy = self.trainer.strategy
        for policy in self.policies():
            if policy.is_built:
                continue
            if isinstance(strategy, ModelParallelStrategy):
                policy.build(meta=True)
                policy.shard(strategy.device_mesh["data_parallel"], _mixed_precision(self.trainer.precision))
            else:
                policy.build()
                policy.load_weights()

    def load_sharded_weights(self) -> None:
        """Loads what ``configure_model`` had to leave on the meta device; a resumed run overwrites it afterwards."""
        for policy in self.policies():
            if not policy.weights_loaded:
                policy.load_weights()

    def on_fit_start(self) -> None:
        """Weights of sharded policies."""
        self.load_sharded_weights()

    def on_validation_start(self) -> None:
        """Weights of sharded policies, for ``validate``."""
        self.load_sharded_weights()

    def on_test_start(self) -> None:
        """Weights of sharded policies, for ``test``."""
        self.load_sharded_weights()

    def configure_optimizers(self) -> Any:
        """The injected optimizer over the trained policy, with its schedule if there is one."""
        trained = [p for policy in self.policies()[:1] for p in policy.parameters() if p.requires_grad]
        optimizer: Optimizer = self.optimizer_factory(trained)
        if self.scheduler_factory is None:
            return optimizer
        return [optimizer], [{"scheduler": self.scheduler_factory(optimizer), "interval": "step"}]


def _mixed_precision(precision: Any) -> MixedPrecisionPolicy | None:
    """Under ``bf16-mixed``, FSDP2 gathers weights in bfloat16 and keeps float32 ones to update, sharded.

    That halves what is gathered, also for generation, while steps as small as the paper's (3e-6) still count; in
    ``bf16-true`` most of them would round to nothing.
    """
    if precision != "bf16-mixed":
        return None
    return MixedPrecisionPolicy(param_dtype=torch.bfloat16, reduce_dtype=torch.float32)
