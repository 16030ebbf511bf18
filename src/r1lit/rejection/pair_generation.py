"""Preference pairs by a judge (paper 3.1 and B.2): four calls a pair, half of them with the replies swapped.

The judge works out an answer of its own, compares, and ends with one of five verdicts. The paper gives no numbers for
them; here they are equal steps, from 2 for ``A>>B`` to -2 for ``B>>A``. A pair is kept where the mean over its calls is
more than 1 in size, so "somewhat better" in every call is not enough. Position cannot decide, as each order has
half of the calls. Then lengths are balanced, see ``balanced``.
"""

import math
import random
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace

from r1lit.data.preferences import Pair
from r1lit.errors import InputError
from r1lit.grading.parsing import summary
from r1lit.types import Message, Prompt, RolloutEngine, SamplingParams

VERDICTS = {"A>>B": 2, "A>B": 1, "A=B": 0, "B>A": -1, "B>>A": -2}
INSTRUCTIONS = """You compare two assistants' replies to a user, as an impartial judge of how helpful they are.

First write the reply that you would give yourself. Then compare both replies with it: find and correct mistakes; ask \
whether each follows the request, is relevant, concise, and says what the user should know, even unasked. \
Neither the order of the replies nor their length may count.

End with exactly one of these verdicts, in double brackets:
[[A>>B]] A is much better
[[A>B]] A is somewhat better
[[A=B]] they are about equal
[[B>A]] B is somewhat better
[[B>>A]] B is much better"""
_VERDICT = re.compile(r"\[\[\s*(" + "|".join(map(re.escape, VERDICTS)) + r")\s*\]\]")


@dataclass(frozen=True, slots=True)
class Candidates:
    """Two replies to a prompt, with their reasoning if they have any; the judge sees their summaries."""

    prompt: Prompt
    a: str
    b: str


@dataclass(frozen=True, slots=True)
class Judgement:
    """What the judge said of two replies."""

    candidates: Candidates
    verdicts: tuple[int, ...]
    """Of each call that could be read, in favour of ``a`` where positive, whatever the order was."""

    @property
    def margin(self) -> float:
        """Their mean."""
        return sum(self.verdicts) / len(self.verdicts) if self.verdicts else 0.0


def read_verdict(text: str) -> int | None:
    """The last verdict after a judge's reasoning; None where there is none."""
    found = _VERDICT.findall(summary(text))
    return VERDICTS[found[-1]] if found else None


class PairJudge:
    """Has an engine judge pairs of replies.

    Args:
        engine: The judge: any ``RolloutEngine``, such as ``OpenAIEngine``.
        sampling: How its verdicts are drawn; ``n`` is not used. The paper states none.
        calls: Of each pair (4 in the paper); an even number, so that each order has half of them.
        attempts: How often a call is made at most until it ends with a verdict.
        instructions: What the judge is told.
        seed: Of which replies come first in the first call.

    Raises:
        InputError: If a number is out of range.
    """

    def __init__(
        self,
        engine: RolloutEngine,
        sampling: SamplingParams = SamplingParams(max_new_tokens=2048, temperature=0.7),  # noqa: B008 - frozen
        calls: int = 4,
        attempts: int = 3,
        instructions: str = INSTRUCTIONS,
        seed: int = 0,
    ) -> None:
        if calls < 2 or calls % 2:
            raise InputError(f"judge.calls is {calls}; give an even number, for half of the calls swap the replies")
        if attempts < 1:
            raise InputError(f"judge.attempts is {attempts}; give at least 1")
        self.engine, self.sampling, self.calls, self.attempts = engine, sampling, calls, attempts
        self.instructions, self.seed = instructions, seed
        self.counts: Counter[str] = Counter()
        """``calls`` made, ``unreadable`` ones without a verdict, and ``unjudged`` pairs that lack one in the end."""

    def judge(self, candidates: Sequence[Candidates]) -> list[Judgement]:
        """Judges all pairs, in order.

        A pair of which any call has no verdict after all attempts comes back without verdicts, and is counted.

        Raises:
            InputError: If two pairs are of prompts with the same id.
            TrainingError: If the engine gives up.
        """
        if len({each.prompt.id for each in candidates}) < len(candidates):
            raise InputError("judge: two pairs have the same prompt id; give each prompt one pair")
        verdicts: dict[tuple[int, int], int] = {}
        for attempt in range(self.attempts):
            missing = [
                (pair, call)
                for pair in range(len(candidates))
                for call in range(self.calls)
                if (pair, call) not in verdicts
            ]
            if missing:
                verdicts |= self._ask(candidates, missing, attempt)
        found = []
        for pair, each in enumerate(candidates):
            own = tuple(verdicts[pair, call] for call in range(self.calls) if (pair, call) in verdicts)
            self.counts["unjudged"] += len(own) < self.calls
            found.append(Judgement(each, own if len(own) == self.calls else ()))
        return found

    def _ask(
        self, candidates: Sequence[Candidates], missing: Sequence[tuple[int, int]], attempt: int
    ) -> dict[tuple[int, int], int]:
        """The verdicts of those calls that end with one."""
        asked = {f"{candidates[p].prompt.id}/judge/{c}/{attempt}": (p, c) for p, c in missing}
        prompts = [self._prompt(candidates[p], c, name) for name, (p, c) in asked.items()]
        verdicts = {}
        for completion in self.engine.generate(prompts, replace(self.sampling, n=1)):
            pair, call = asked[completion.prompt.id]
            verdict = read_verdict(completion.text)
            if verdict is not None:
                verdicts[pair, call] = -verdict if self._is_swapped(candidates[pair], call) else verdict
        self.counts["calls"] += len(prompts)
        self.counts["unreadable"] += len(prompts) - len(verdicts)
        return verdicts

    def _is_swapped(self, candidates: Candidates, call: int) -> bool:
        """Whether ``b`` is shown first: in every other call, beginning at random."""
        first = random.Random(f"r1lit/judge/{self.seed}/{candidates.prompt.id}").random()
        return (first < 0.5) != (call % 2 == 1)

    def _prompt(self, candidates: Candidates, call: int, name: str) -> Prompt:
        first, second = summary(candidates.a), summary(candidates.b)
        if self._is_swapped(candidates, call):
            first, second = second, first
        turns = "\n\n".join(f"[{m.role}]\n{m.content}" for m in candidates.prompt.messages)
        text = (
            f"<conversation>\n{turns}\n</conversation>\n\n<reply A>\n{first}\n</reply A>\n\n"
            f"<reply B>\n{second}\n</reply B>"
        )
        messages = (Message("system", self.instructions), Message("user", text))
        return Prompt(name, messages, kind="general", task="chat", language=candidates.prompt.language)


@dataclass(frozen=True, slots=True)
class MadePairs:
    """Pairs, and what became of the others."""

    pairs: list[tuple[Pair, float]]
    """With the mean verdict in favour of the chosen reply."""
    dropped: dict[str, int]
    """``unjudged``, ``empty`` or ``equal`` replies, ``close`` verdicts, and ``length`` for the balance."""


def make_pairs(judgements: Sequence[Judgement], margin: float = 1.0, tolerance: float = 0.05) -> MadePairs:
    """Keeps what the judge was sure of, and balances lengths.

    Args:
        judgements: Of the judge.
        margin: Kept where the mean verdict is larger than this in size (1 in the paper).
        tolerance: Of :func:`balanced`.
    """
    dropped = dict.fromkeys(("unjudged", "empty", "equal", "close", "length"), 0)
    kept: list[tuple[Pair, float]] = []
    for judgement in judgements:
        each = judgement.candidates
        a, b = summary(each.a), summary(each.b)
        if not a or not b:
            dropped["empty"] += 1
        elif a == b:
            dropped["equal"] += 1
        elif not judgement.verdicts:
            dropped["unjudged"] += 1
        elif abs(judgement.margin) <= margin:
            dropped["close"] += 1
        else:
            chosen, rejected = (each.a, each.b) if judgement.margin > 0 else (each.b, each.a)
            kept.append((Pair(each.prompt.messages, chosen, rejected, "judge"), abs(judgement.margin)))
    places = balanced([_length_ratio(pair) for pair, _ in kept], tolerance)
    dropped["length"] = len(kept) - len(places)
    return MadePairs([kept[place] for place in places], dropped)


def balanced(ratios: Sequence[float], tolerance: float = 0.05) -> list[int]:
    """Which pairs to keep so that chosen replies are not systematically longer or shorter.

    The paper keeps lengths "comparable" over the set without a rule. Here, while the mean log ratio of lengths exceeds
    the tolerance, the pair that adds most to it is dropped.

    Args:
        ratios: Of each pair, log(length of chosen / length of rejected).
        tolerance: Largest size of their mean; 0.05 is 5 % in length.

    Returns:
        Places of the pairs that are kept, in order.
    """
    order = sorted(range(len(ratios)), key=lambda place: (ratios[place], place))
    total = math.fsum(ratios)
    while order and abs(total) > tolerance * len(order):
        total -= ratios[order.pop(-1 if total > 0 else 0)]
    return sorted(order)


def _length_ratio(pair: Pair) -> float:
    return math.log(len(summary(pair.chosen)) / len(summary(pair.rejected)))
