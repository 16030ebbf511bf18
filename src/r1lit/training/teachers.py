"""Teachers in this process: a frozen policy that says how it would have gone on at each token of a student's text."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Protocol

import torch
from torch import Tensor
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from r1lit.functional.distillation import TeacherStates, TeacherTop
from r1lit.policy import PackedBatch, Policy
from r1lit.policy.heads import output_head
from r1lit.policy.logprobs import packed_states
from r1lit.training.minibatches import MicroBatch
from r1lit.types import Completion, Prompt


class Teacher(Protocol):
    """Knows a distribution over the next token at each token of a completion."""

    @property
    def name(self) -> str:
        """What errors call it."""
        ...

    @property
    def tokenizer(self) -> PreTrainedTokenizerBase:
        """Whose vocabulary must be the student's."""
        ...

    @property
    def max_context(self) -> int:
        """Longest sequence that it takes, in tokens."""
        ...

    def encode_prompt(self, prompt: Prompt) -> list[int]:
        """Token ids of a prompt as the teacher is asked it: by its own template, prefill included."""
        ...

    def distributions(self, completions: Sequence[Completion], device: torch.device) -> TeacherStates | TeacherTop:
        """What it says of N tokens, those of the completions one after another; N may be 0.

        Every rank calls it equally often.

        Args:
            completions: Of the student, which it reads behind its own prompt; those of a prompt are neighbours.
            device: Where the result is wanted.
        """
        ...


class PolicyTeacher:
    """A :class:`Teacher` of our own: a policy that is never trained, on this device or sharded over all.

    It is no submodule of the module that holds it, so that neither the optimizer nor a checkpoint sees it.

    Args:
        policy: The model; its weights take no gradient from now on.
    """

    def __init__(self, policy: Policy) -> None:
        self.policy = policy
        self.name, self.tokenizer, self.max_context = policy.init_from, policy.tokenizer, policy.max_context
        self.encode_prompt = policy.encode_prompt

    def place(self, device: torch.device) -> None:
        """Puts a built policy where it computes; its weights, if they were put off, are still to be loaded."""
        if any(param.is_meta for param in self.policy.parameters()):
            self.policy.to_empty(device=device)
        else:
            self.policy.to(device)
        self.policy.requires_grad_(False)
        self.policy.eval()

    @torch.no_grad()
    def distributions(self, completions: Sequence[Completion], device: torch.device) -> TeacherStates:
        """See :class:`Teacher`."""
        prompts: dict[str, tuple[int, ...]] = {}
        for completion in completions:
            prompt = completion.prompt
            if prompt.id not in prompts:
                prompts[prompt.id] = tuple(self.encode_prompt(prompt))
        asked = [replace(completion, prompt_ids=prompts[completion.prompt.id]) for completion in completions]
        hidden: Tensor = self.policy(_states, MicroBatch.of(asked, self.policy.device).packed)
        return TeacherStates(hidden, output_head(self.policy.lm))


def _states(lm: PreTrainedModel, _: int, batch: PackedBatch) -> Tensor:
    return packed_states(lm, batch)
