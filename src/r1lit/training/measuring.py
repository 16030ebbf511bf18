"""How a trained policy is measured: completions of held-out prompts, and what is counted of them."""

from collections.abc import Callable, Sequence
from dataclasses import replace

from r1lit.distributed import rank_and_ranks
from r1lit.metrics.measures import Measures
from r1lit.policy import Policy
from r1lit.rewards import Reward
from r1lit.rewards.base import check_names
from r1lit.training.collector import for_rollout
from r1lit.types import Prompt, RolloutEngine, SamplingParams

EVALUATION_ROLLOUT = 2**31 - 1
"""The rollout counter of evaluation: its noise is none of training's."""


class Measuring:
    """Samples answers to held-out prompts and measures them.

    Args:
        policy: Whose answers.
        engine: Makes the rollout engine from the policy; it serves training as well.
        rewards: Judge completions when measuring, and score them in reinforcement learning.
        sampling: How completions are drawn; None takes the paper's temperature 0.6 and top-p 0.95, and 16 samples.
        max_new_tokens: The length limit where ``sampling`` is None.
        seed: Of the noise.

    Raises:
        InputError: If rewards share a name.
    """

    def __init__(
        self,
        policy: Policy,
        engine: Callable[[Policy], RolloutEngine],
        rewards: Sequence[Reward],
        sampling: SamplingParams | None,
        max_new_tokens: int | None = None,
        seed: int = 0,
    ) -> None:
        check_names(rewards)
        if sampling is None:
            sampling = SamplingParams(n=16, temperature=0.6, top_p=0.95)
            sampling = sampling if max_new_tokens is None else replace(sampling, max_new_tokens=max_new_tokens)
        self.policy = policy
        self.engine, self.rewards, self.sampling, self.seed = engine(policy), list(rewards), sampling, seed
        self.measures = Measures(self.rewards)

    def add(self, prompts: Sequence[Prompt], at_one: bool = False) -> None:
        """Samples answers to this rank's share of the prompts; with ``at_one``, to the main tier's at 1 as well.

        Of those, whose pass@1 alone is kept, a quarter of the samples is enough: most of its interval is the prompts'.
        """
        self._add("eval", prompts, self.sampling)
        main = [prompt for prompt in prompts if prompt.kind == "reasoning" and prompt.tier is None]
        if at_one and main:
            samples = max(1, self.sampling.n // 4)
            self._add("t1", main, replace(self.sampling, n=samples, temperature=1.0, top_p=1.0, top_k=0))

    def _add(self, split: str, prompts: Sequence[Prompt], sampling: SamplingParams) -> None:
        rank, ranks = rank_and_ranks()
        drawn = for_rollout(sampling, self.seed, EVALUATION_ROLLOUT)
        self.measures.add(split, list(self.engine.generate(prompts[rank::ranks], drawn)))
