"""Pre-training: a base model reads its texts, every token of them.

The paper starts from a base model that somebody else has trained (V3-Base). The tiny world makes its own with this.
"""

from typing import Any

import torch
from torch import Tensor

from r1lit.policy import Policy
from r1lit.tiny_world.corpus import TextBatch
from r1lit.training.policy_module import PolicyModule


class BaseModule(PolicyModule):
    """Next-token prediction on whole documents: the mean negative log-likelihood of all tokens but the first."""

    policy: Policy

    def training_step(self, batch: TextBatch, batch_idx: int) -> Tensor:
        """The loss of a batch, in nats per token."""
        targets = batch.attention_mask.bool()
        targets[:, 0] = False
        logprobs = self.policy.token_logprobs(batch.input_ids, batch.attention_mask, targets).logprobs
        loss = -logprobs.sum() / targets.sum()
        self.log("loss", loss.detach(), batch_size=len(batch.input_ids))
        if self.trainer.is_global_zero and batch_idx % 100 == 0:
            print(f"step {self.trainer.global_step} loss {loss.item():.4f}", flush=True)
        return loss

    def on_before_optimizer_step(self, optimizer: Any) -> None:
        """Clips the gradient by norm."""
        if self.gradient_clip_norm is not None:
            torch.nn.utils.clip_grad_norm_(self.policy.parameters(), self.gradient_clip_norm)

    def transfer_batch_to_device(self, batch: Any, device: torch.device, dataloader_idx: int) -> Any:
        """Moves a batch, which Lightning cannot walk through since it is frozen."""
        return TextBatch(batch.input_ids.to(device), batch.attention_mask.to(device))
