"""The paper's claims as tests, each fixed here before any run is looked at.

A claim holds where each of its contrasts does. A contrast compares two stages on the same held-out problems; what must
clear the threshold is, but where said otherwise, the near end of the 95 % interval over problems and seeds. Thresholds
above zero are the smallest effect that would count: a run with shuffled rewards drifts too, and drift alone must not
pass. Sections and figures are those of arXiv 2501.12948, v1 where marked so and else v2.

What lifts accuracy from the base's is tested on the main tier. What compares models that are good there already is
tested on the ``hard`` one, which leaves room to differ, as the paper compares them on AIME 2024 and not on GSM8K.
"""

from dataclasses import dataclass
from typing import Literal

from r1lit.report.contrast import Kind

Bound = Literal["low", "value", "high"]


@dataclass(frozen=True)
class Contrast:
    """One number and what it must be."""

    measure: str
    """Of ``stage.json``, ``cons`` and ``cons_TIER`` for majority vote over all samples, or ``reflections`` (words a
    completion)."""
    after: str
    """A stage."""
    before: str | None = None
    """The stage compared with; None takes the number as it is."""
    kind: Kind = "difference"
    above: float | None = 0.0
    """What ``bound`` must exceed."""
    below: float | None = None
    """What ``bound`` must stay under; set, it replaces ``above``."""
    bound: Bound | None = None
    """End of the interval that is tested; by default the lower for ``above`` and the upper for ``below``."""
    before_measure: str | None = None
    """Measure of ``before``, where it is another."""

    floor: float | None = None
    """Where ``after`` is below this, it failed for another reason than the claim's, and nothing is measured."""

    @property
    def end(self) -> Bound:
        """The end of the interval that is tested."""
        return self.bound or ("high" if self.below is not None else "low")

    @property
    def number(self) -> str:
        """What is estimated, in words."""
        ours = f"{self.after} {self.measure}"
        if self.before is None:
            return ours
        theirs = f"{self.before} {self.before_measure or self.measure}"
        return f"{ours} {'/' if self.kind == 'ratio' else '-'} {theirs}"

    @property
    def test(self) -> str:
        """The test, in words."""
        end = {"low": "lower bound of ", "high": "upper bound of ", "value": ""}[self.end]
        sign, threshold = ("<", self.below) if self.below is not None else (">", self.above)
        return f"{end}({self.number}) {sign} {threshold:g}"


@dataclass(frozen=True)
class Claim:
    """A claim of the paper."""

    id: str
    title: str
    paper: str
    """Its figures and where they stand."""
    contrasts: tuple[Contrast, ...]
    asks_placebo: bool = False
    """Whether it is about what RL on right rewards does, and so must fail where rewards are shuffled."""
    note: str = ""

    @property
    def stages(self) -> tuple[str, ...]:
        """The stages it needs."""
        names = [name for c in self.contrasts for name in (c.before, c.after) if name is not None]
        return tuple(dict.fromkeys(names))


CLAIMS = (
    Claim(
        "rl-lifts-accuracy",
        "Pure RL lifts accuracy",
        "AIME 2024 pass@1 15.6 to 77.9 (2.3, Fig. 1; 71.0 in v1)",
        (Contrast("pass@1", "zero", "base", above=0.05),),
        asks_placebo=True,
    ),
    Claim(
        "length-grows",
        "Answers grow longer unprompted",
        "from hundreds to thousands of tokens (2.3, Fig. 1b)",
        (Contrast("mean_length", "zero", "base", "ratio", above=1.1),),
        asks_placebo=True,
    ),
    Claim(
        "reflection-multiplies",
        "Reflection words multiply",
        "they become several times as frequent (C.2)",
        (Contrast("reflections", "zero", "base", "ratio", above=2.0),),
        asks_placebo=True,
        note="Words of the paper's list, with Chinese equivalents, in one completion.",
    ),
    Claim(
        "reflection-5-to-7-fold",
        "Reflection words reach five to seven times their number",
        "5- to 7-fold (C.2)",
        (Contrast("reflections", "zero", "base", "ratio", above=5.0),),
        asks_placebo=True,
    ),
    Claim(
        "majority-vote",
        "Majority vote beats pass@1, and RL lifts it too",
        "AIME 2024 77.9 to 86.7 with cons@16 (2.3, Fig. 1)",
        (
            Contrast("cons_hard", "zero", "zero", before_measure="pass@1_hard"),
            Contrast("cons_hard", "zero", "base", above=0.02),
        ),
        asks_placebo=True,
        note="Any sampler gains by voting; the second test asks that RL adds to what the base's vote reaches.",
    ),
    Claim(
        "zero-mixes-languages",
        "R1-Zero mixes languages, and the cold start mends it",
        "no figure; poor readability and language mixing (v1 2.2.4)",
        (
            Contrast("language_consistency", "zero", kind="value", below=0.95),
            Contrast("language_consistency", "coldstart", "zero"),
        ),
    ),
    Claim(
        "language-reward",
        "The language reward raises consistency at a small cost",
        "consistency kept instead of decaying; maths equal, code slightly worse (B.6, Fig. 7)",
        (
            Contrast("language_consistency", "rl1", "rl1-no-language"),
            Contrast("pass@1", "rl1", "rl1-no-language", above=-0.05),
        ),
    ),
    Claim(
        "stages-improve-in-order",
        "Cold start, RL, SFT, RL: each improves on the one before",
        "AIME 2024 pass@1 59.0, 74.0, 78.1, 79.8 (Table 3)",
        (
            Contrast("pass@1_hard", "rl1", "coldstart", bound="value"),
            Contrast("pass@1_hard", "sft2", "rl1", bound="value"),
            Contrast("pass@1_hard", "rl2", "sft2", bound="value"),
            Contrast("pass@1_hard", "rl2", "coldstart"),
        ),
        note="The steps must go up as the paper's do; the whole way must clear its interval.",
    ),
    Claim(
        "second-rl-preferences",
        "The second RL lifts helpfulness and harmlessness and keeps reasoning",
        "AlpacaEval 62.1 to 87.6, ArenaHard 75.6 to 92.3, AIME 2024 78.1 to 79.8 (Table 3)",
        (
            Contrast("helpful", "rl2", "sft2"),
            Contrast("refusal_harmful", "rl2", "sft2"),
            Contrast("pass@1", "rl2", "sft2", above=-0.02),
        ),
    ),
    Claim(
        "distillation-beats-rl",
        "A small model learns more by distillation than by RL",
        "AIME 2024 72.6 against 47.0 at 32B (Table 16; v1 Table 6)",
        (Contrast("pass@1_hard", "distill", "distill-zero"), Contrast("pass@1_hard", "distill", "distill-zero-time")),
        note="RL alone gets as many sampled tokens as the teacher took for its texts; and, in distill-zero-time, as "
        "much time as that sampling and the distillation took.",
    ),
    Claim(
        "rl-after-distillation",
        "RL after distillation adds to it",
        "no figure; significant further gains (v1 3.2)",
        (Contrast("pass@1_hard", "distill-rl", "distill"),),
    ),
    Claim(
        "few-shot-hurts",
        "Examples in the prompt hurt",
        "no figure; few-shot prompting degrades performance (v1 5)",
        (Contrast("pass@1_hard", "few-shot", "rl2", below=0.0, floor=0.05),),
        note="few-shot: the final model, measured with worked examples before the question. Below 0.05 it cannot read "
        "such prompts at all, which says nothing of the claim.",
    ),
    Claim(
        "prm-does-not-pay",
        "A process reward model does not pay in training",
        "no figure; unsuccessful attempts (G.2, v1 4.2)",
        (Contrast("pass@1_hard", "attempts-prm", "rl1", below=0.02, floor=0.05),),
        note="attempts-prm: Dev2 trained with a process reward model as well.",
    ),
    Claim(
        "tree-search-does-not-pay",
        "Tree search does not pay in training",
        "no figure; unsuccessful attempts (G.2, v1 4.2)",
        (Contrast("pass@1_hard", "attempts-search", "rl1", below=0.02, floor=0.05),),
        note="attempts-search: trained on answers that a guided tree search found.",
    ),
)
