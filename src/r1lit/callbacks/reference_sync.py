"""The reference policy follows the trained one in hard copies."""

from lightning.pytorch import LightningModule, Trainer

from r1lit.callbacks.base import RolloutCallback
from r1lit.errors import InputError


class ReferenceSync(RolloutCallback):
    """Copies the policy onto the reference policy every so many updates.

    The paper replaces the reference every 400 steps (2.1), by the policy itself rather than by an average.

    Args:
        every_n_steps: Policy updates between copies.
    """

    def __init__(self, every_n_steps: int = 400) -> None:
        if every_n_steps < 1:
            raise InputError(f"reference_sync.every_n_steps is {every_n_steps}; give at least 1")
        self.every_n_steps = every_n_steps

    def on_policy_update(self, trainer: Trainer, pl_module: LightningModule, step: int) -> None:
        """Copies when the count is reached; a module without a reference policy has nothing to do."""
        if step % self.every_n_steps == 0:
            pl_module.sync_reference()  # type: ignore[operator]
