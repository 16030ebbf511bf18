"""From a scored rollout to gradients, minibatch by minibatch."""

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass

import torch
from torch import Tensor

from r1lit.distributed import rank_and_ranks, summed
from r1lit.policy import Policy
from r1lit.training.minibatches import MicroBatch, micro_batches, random_minibatches, shapes_of
from r1lit.training.objective import Objective
from r1lit.types import Rollout, SamplingParams, ScoredCompletion

Backward = Callable[[Tensor, bool], None]
"""Takes a loss and whether it is the minibatch's last on this rank, and adds its gradient to the parameters'."""


@dataclass(frozen=True, slots=True)
class Minibatch:
    """What one policy update learns from."""

    rows: list[int]
    """Completions of the rollout by their index; those of all ranks."""
    micro_batches: list[list[int]]
    """This rank's, cut to fit the memory."""
    old_logprobs: dict[int, Tensor] | None
    """By row: log-probabilities [tokens] under the policy before the first update; None takes the sampler's."""
    reference_logprobs: dict[int, Tensor] | None
    """The same under the reference policy; None without a KL term."""
    first: bool
    """Whether the policy is still the one that sampled."""


class Learner:
    """Computes the gradients of a policy update.

    Log-probabilities that no update changes, those of the reference and of the policy before the first update, are
    computed once for a rollout, before the first gradient.

    Args:
        policy: Whose gradients to compute.
        reference: Opens the reference policy; None where the objective has no KL term.
        objective: The surrogate.
        sampling: How completions are drawn: its temperature scales the logits here too.
        minibatches: Policy updates of one pass over a rollout.
        inner_epochs: Passes over a rollout.
        micro_batch_tokens: Tokens in one forward and backward.
        seed: Of the minibatches.
    """

    def __init__(
        self,
        policy: Policy,
        reference: Callable[[], AbstractContextManager[Policy]] | None,
        objective: Objective,
        sampling: SamplingParams,
        minibatches: int,
        inner_epochs: int,
        micro_batch_tokens: int,
        seed: int,
    ) -> None:
        self.policy, self.reference, self.objective, self.sampling = policy, reference, objective, sampling
        self.minibatches, self.inner_epochs, self.micro_batch_tokens = minibatches, inner_epochs, micro_batch_tokens
        self.seed = seed

    def minibatches_of(self, rollout: Rollout) -> list["Minibatch"]:
        """Cuts a rollout into minibatches of one policy update each, and computes what no update changes."""
        rank, ranks = rank_and_ranks()
        completions = rollout.completions
        rows = [
            part
            for epoch in range(self.inner_epochs)
            for part in random_minibatches(len(completions), self.minibatches, self.seed, rollout.index, epoch)
        ]
        shapes = shapes_of(completions)
        cut = [micro_batches(shapes, part, rank, ranks, self.micro_batch_tokens) for part in rows]
        # On one rank, the first pass has every row; on several, a later one gives a rank rows that it has not had.
        needed = cut[: self.minibatches if ranks == 1 else None]
        old = reference = None
        if self.objective.old_logprobs == "recompute" and len(rows) > 1:
            old = self._frozen_logprobs(self.policy, rollout, needed)
        if self.reference is not None:
            with self.reference() as policy:
                reference = self._frozen_logprobs(policy, rollout, needed)
        return [
            Minibatch(part, parts, old, reference, first=number == 0)
            for number, (part, parts) in enumerate(zip(rows, cut, strict=True))
        ]

    @torch.no_grad()
    def _frozen_logprobs(
        self, policy: Policy, rollout: Rollout, cut: Sequence[Sequence[Sequence[int]]]
    ) -> dict[int, Tensor]:
        """The log-probabilities [tokens] of each row under a policy as it is now."""
        found: dict[int, Tensor] = {}
        for part in (part for parts in cut for part in parts):
            completions = [rollout.scored[row].completion for row in part]
            batch = MicroBatch.of(completions, policy.device)
            logprobs = policy.packed_logprobs(batch.packed, self.sampling.temperature).logprobs
            lengths = [completion.tokens for completion in completions]
            found |= zip(part, logprobs[batch.packed.target_mask].split(lengths), strict=True)
        return found

    def gradient(self, rollout: Rollout, minibatch: "Minibatch", backward: Backward) -> dict[str, float]:
        """Leaves the gradient of a minibatch in the parameters; the caller takes the step and clears it.

        Args:
            rollout: With advantages, the same on every rank.
            minibatch: One of ``minibatches_of(rollout)``, in their order.
            backward: Called for each micro-batch.

        Returns:
            The metrics of the minibatch, summed over ranks: ``loss``, what the objective reports as means over tokens
            or completions, and in the first minibatch ``logprob_gap``, how far the sampler's numerics are from ours.
        """
        rows, parts = minibatch.rows, minibatch.micro_batches
        lengths = {row: self._counted_tokens(rollout.scored[row]) for row in rows}
        normalizer = self.objective.normalizer(list(lengths.values()), self.sampling.max_new_tokens)
        device = self.policy.device
        totals: dict[str, Tensor] = {}
        for number, part in enumerate(parts, 1):
            batch = MicroBatch.of([rollout.scored[row].completion for row in part], device)
            counted = torch.tensor([lengths[row] > 0 for row in part] or [False], device=device)
            advantages = torch.tensor([rollout.advantages[row] for row in part] or [0.0], device=device)
            mask = batch.mask & counted[:, None]
            reference, old = minibatch.reference_logprobs, minibatch.old_logprobs
            ref_logprobs = None if reference is None else _spread(reference, part, batch.mask)
            logprobs = batch.by_row(self.policy.packed_logprobs(batch.packed, self.sampling.temperature).logprobs)
            before = batch.logprobs if old is None else _spread(old, part, batch.mask)
            if minibatch.first:  # the policy is still the one that sampled
                before = logprobs.detach()
            out = self.objective(logprobs, before, advantages, mask, normalizer, ref_logprobs)
            backward(out.loss, number == len(parts))
            found = {"loss": out.loss.detach(), **out.metrics}
            if minibatch.first:
                gap = (logprobs.detach() - batch.logprobs).masked_fill(~mask, 0.0).abs().sum()
                found["logprob_gap"] = gap / max(1, sum(lengths.values()))
            for name, value in found.items():
                totals[name] = totals.get(name, torch.zeros((), device=device)) + value
        return _reduced(totals)

    def _counted_tokens(self, scored: ScoredCompletion) -> int:
        """Tokens of a completion, 0 of one that the loss leaves out."""
        truncated = self.objective.mask_truncated and scored.completion.finish_reason == "length"
        return 0 if truncated or scored.total is None else scored.completion.tokens


def _spread(values: dict[int, Tensor], part: Sequence[int], mask: Tensor) -> Tensor:
    """Values by row as [B, C], where ``mask`` [B, C] tells the tokens."""
    flat = torch.cat([values[row] for row in part]) if part else torch.zeros(0, device=mask.device)
    return flat.new_zeros(mask.shape).masked_scatter(mask, flat)


def _reduced(totals: dict[str, Tensor]) -> dict[str, float]:
    """Sums over ranks, each of which has the part of its own rows, and turns what the loss reports into means."""
    names = sorted(totals)
    stacked = torch.stack([totals[name].float() for name in names])
    summed(stacked)
    metrics = dict(zip(names, stacked.tolist(), strict=True))
    weight = metrics.pop("weight")
    means = metrics.keys() - {"loss", "logprob_gap"}
    return {name: value / weight if name in means and weight else value for name, value in metrics.items()}
