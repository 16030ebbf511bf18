"""From a scored rollout to gradients, minibatch by minibatch."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager

import torch
import torch.distributed as dist
from torch import Tensor

from r1lit.policy import Policy
from r1lit.training.collector import Experience
from r1lit.training.minibatches import MicroBatch, micro_batches, random_minibatches, shapes_of
from r1lit.training.objective import Objective
from r1lit.types import SamplingParams

Backward = Callable[[Tensor, bool], None]
"""Takes a loss and whether it is the minibatch's last on this rank, and adds its gradient to the parameters'."""
Minibatch = list[list[int]]
"""This rank's rows of one policy update, micro-batch by micro-batch."""


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

    def gradients(self, experience: Experience, rollout: int, backward: Backward) -> Iterator[dict[str, float]]:
        """Leaves the gradient of one minibatch after another in the parameters.

        The caller takes an optimiser step, and clears the gradients, before it asks for the next.

        Args:
            experience: Of the rollout, the same on every rank.
            rollout: Its counter, which with the seed fixes the minibatches.
            backward: Called for each micro-batch.

        Yields:
            The metrics of the minibatch, summed over ranks: ``loss``, what the objective reports as means over tokens
            or completions, and in the first minibatch ``logprob_gap``, how far the sampler's numerics are from ours.
        """
        deal = list(self._deal(experience, rollout))
        rank, ranks = _rank_and_ranks()
        minibatches = [
            (rows, micro_batches(shapes_of(experience.completions), rows, rank, ranks, self.micro_batch_tokens))
            for rows in deal
        ]
        # On one rank, the first pass has every row; on several, a later one deals a rank rows that it has not had.
        needed = [parts for _, parts in minibatches[: self.minibatches if ranks == 1 else None]]
        old = reference = None
        if self.objective.old_logprobs == "recompute" and len(minibatches) > 1:
            old = self._frozen_logprobs(self.policy, experience, needed)
        if self.reference is not None:
            with self.reference() as policy:
                reference = self._frozen_logprobs(policy, experience, needed)
        for number, (rows, parts) in enumerate(minibatches):
            yield self._minibatch(experience, rows, parts, old, reference, backward, first=number == 0)

    def _deal(self, experience: Experience, rollout: int) -> Iterator[list[int]]:
        """All ranks' rows of each policy update."""
        for epoch in range(self.inner_epochs):
            yield from random_minibatches(len(experience.completions), self.minibatches, self.seed, rollout, epoch)

    @torch.no_grad()
    def _frozen_logprobs(
        self, policy: Policy, experience: Experience, minibatches: Sequence[Minibatch]
    ) -> dict[int, Tensor]:
        """The log-probabilities [tokens] of each row under a policy as it is now."""
        found: dict[int, Tensor] = {}
        for part in (part for parts in minibatches for part in parts):
            batch = MicroBatch.of([experience.completions[row] for row in part], policy.device)
            logprobs = policy.packed_logprobs(batch.packed, self.sampling.temperature).logprobs
            lengths = [len(experience.completions[row].token_ids) for row in part]
            found |= zip(part, logprobs[batch.packed.target_mask].split(lengths), strict=True)
        return found

    def _minibatch(
        self,
        experience: Experience,
        rows: Sequence[int],
        parts: Minibatch,
        old: dict[int, Tensor] | None,
        reference: dict[int, Tensor] | None,
        backward: Backward,
        first: bool,
    ) -> dict[str, float]:
        """Adds up the gradients of a minibatch; ``rows`` are those of all ranks, ``parts`` this rank's."""
        lengths = {row: self._counted_tokens(experience, row) for row in rows}
        normalizer = self.objective.normalizer(list(lengths.values()), self.sampling.max_new_tokens)
        device = self.policy.device
        totals: dict[str, Tensor] = {}
        for number, part in enumerate(parts, 1):
            batch = MicroBatch.of([experience.completions[row] for row in part], device)
            counted = torch.tensor([lengths[row] > 0 for row in part] or [False], device=device)
            advantages = torch.tensor([experience.advantages[row] for row in part] or [0.0], device=device)
            mask = batch.mask & counted[:, None]
            ref_logprobs = None if reference is None else _spread(reference, part, batch.mask)
            logprobs = batch.by_row(self.policy.packed_logprobs(batch.packed, self.sampling.temperature).logprobs)
            before = batch.logprobs if old is None else _spread(old, part, batch.mask)
            if first:  # the policy is still the one that sampled
                before = logprobs.detach()
            out = self.objective(logprobs, before, advantages, mask, normalizer, ref_logprobs)
            backward(out.loss, number == len(parts))
            found = {"loss": out.loss.detach(), **out.metrics}
            if first:
                gap = (logprobs.detach() - batch.logprobs).masked_fill(~mask, 0.0).abs().sum()
                found["logprob_gap"] = gap / max(1, sum(lengths.values()))
            for name, value in found.items():
                totals[name] = totals.get(name, torch.zeros((), device=device)) + value
        return _reduced(totals)

    def _counted_tokens(self, experience: Experience, row: int) -> int:
        """Tokens of a completion, 0 of one that the loss leaves out."""
        completion = experience.completions[row]
        truncated = self.objective.mask_truncated and completion.finish_reason == "length"
        return 0 if truncated or experience.totals[row] is None else len(completion.token_ids)


def _rank_and_ranks() -> tuple[int, int]:
    return (dist.get_rank(), dist.get_world_size()) if dist.is_initialized() else (0, 1)


def _spread(values: dict[int, Tensor], part: Sequence[int], mask: Tensor) -> Tensor:
    """Values by row as [B, C], where ``mask`` [B, C] tells the tokens."""
    flat = torch.cat([values[row] for row in part]) if part else torch.zeros(0, device=mask.device)
    return flat.new_zeros(mask.shape).masked_scatter(mask, flat)


def _reduced(totals: dict[str, Tensor]) -> dict[str, float]:
    """Sums over ranks, each of which has the part of its own rows, and turns what the loss reports into means."""
    names = sorted(totals)
    stacked = torch.stack([totals[name].float() for name in names])
    if dist.is_initialized():
        dist.all_reduce(stacked)
    metrics = dict(zip(names, stacked.tolist(), strict=True))
    weight = metrics.pop("weight")
    means = metrics.keys() - {"loss", "logprob_gap"}
    return {name: value / weight if name in means and weight else value for name, value in metrics.items()}
