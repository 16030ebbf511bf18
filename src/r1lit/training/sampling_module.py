"""What modules share that sample and train nothing: evaluation, rejection sampling and the judging of pairs."""

from collections.abc import Callable
from typing import Any, ClassVar

import torch

from r1lit.data.prompts import PromptDataModule
from r1lit.errors import InputError
from r1lit.policy import Policy
from r1lit.training.policy_module import PolicyModule
from r1lit.types import RolloutEngine


class SamplingModule(PolicyModule):
    """Samples completions of prompts from a policy, or from an engine that needs none, such as a server.

    Args:
        policy: Samples through ``engine``; None where ``other`` does.
        engine: Makes the rollout engine from the policy.
        other: An engine that needs no policy of ours.

    Raises:
        InputError: If both or none of policy and other engine are given.
    """

    policy: Policy | None

    other_key: ClassVar[str] = "teacher"
    """What the configuration calls the other engine."""
    purpose: ClassVar[str] = "sampling"
    """What prompts are taken for, in messages."""

    def __init__(
        self, policy: Policy | None, engine: Callable[[Policy], RolloutEngine], other: RolloutEngine | None
    ) -> None:
        # Nothing is trained: the optimizer is never made.
        super().__init__(policy, torch.optim.SGD)
        if (policy is None) == (other is None):
            raise InputError(
                f"give either model.policy (a checkpoint) or model.{self.other_key} (an engine such as OpenAIEngine); "
                f"with a {self.other_key} say --model.policy null"
            )
        self.engine = engine(policy) if other is None else other  # type: ignore[arg-type] # one of the two is set

    def configure_optimizers(self) -> None:
        """None."""

    @property
    def data(self) -> PromptDataModule:
        """Where the prompts come from.

        Raises:
            InputError: If the data are of another kind.
        """
        data = getattr(self.trainer, "datamodule", None)
        if not isinstance(data, PromptDataModule):
            raise InputError(f"data: {self.purpose} takes prompts; use PromptDataModule")
        return data

    def transfer_batch_to_device(self, batch: Any, device: torch.device, dataloader_idx: int) -> Any:
        """Leaves prompts alone: they hold no tensors."""
        return batch
