"""Does a reply tell the fact that was asked for, and in a sentence? A rule beside the reward model's opinion.

Helpfulness is what a reward model rates, and what a policy trained on it learns to feign (paper, B.5). Where the world
knows the right fact, a rule can look: it serves as held-out check and enters no reward by default.
"""

import re
from collections.abc import Sequence

from r1lit.grading.language import language_consistency
from r1lit.grading.parsing import summary
from r1lit.rewards.base import Reward
from r1lit.types import Completion, Kind, Prompt, Task

FULL, CURT, MISSED = 1.0, 0.5, 0.0
"""The fact in a sentence; the fact alone, or badly told; no fact, or a wrong one beside it."""
OTHER_WORDS = {"en": 2, "zh": 1}
"""Words (Han characters) besides the fact that make a sentence of it: ``It is``, ``是``."""
LONGEST_SENTENCE = 12
"""Words besides the fact: a longer sentence is no plain answer."""

_TAGS = re.compile(r"</?answer>")
_SENTENCES = re.compile(r"[^.!?。！？]+[.!?。！？]?")
_WORD = re.compile(r"[^\W\d_\u4e00-\u9fff]+|[\u4e00-\u9fff]|\d+")


def reply_of(text: str) -> str:
    """What the user is shown of a completion, without answer tags."""
    return _TAGS.sub(" ", summary(text)).strip()


def tells_fact(reply: str, fact: str, language: str, wrong: Sequence[str] = ()) -> float:
    """Grades a reply to a question of fact.

    Args:
        reply: Without the reasoning.
        fact: What had to be said, to the letter.
        language: What it had to be said in, ``en`` or ``zh``; the fact itself may be in any.
        wrong: What must not be said.

    Returns:
        ``FULL`` where the first sentence holds the fact and the words that make it a sentence, in the language, no
        sentence comes twice and the reply is finished; ``CURT`` where the fact is there; ``MISSED`` where it is not, or
        something wrong is.
    """
    if not _says(reply, fact) or any(_says(reply, other) for other in wrong):
        return MISSED
    sentences = [sentence.strip() for sentence in _SENTENCES.findall(reply) if sentence.strip()]
    others = len(_WORD.findall(sentences[0])) - len(_WORD.findall(fact))
    told = (
        _says(sentences[0], fact)
        and OTHER_WORDS.get(language, 2) <= others <= LONGEST_SENTENCE
        and len(set(sentences)) == len(sentences)
        and reply[-1] in ".!?。！？"
        and language_consistency(reply.replace(fact, " "), language) > 0.9
    )
    return FULL if told else CURT


def _says(text: str, fact: str) -> bool:
    """Whether a text has the words of the fact, and not only as part of a longer word.

    Chinese has no spaces: there, the fact stands alone or next to a copula ("是巴黎"), lest "关" be found in
    "不关我事".
    """
    before = r"(?:(?<![a-zA-Z\u4e00-\u9fff])|(?<=[是为叫]))"
    after = r"(?:(?![a-zA-Z\u4e00-\u9fff])|(?=[是为]))"
    return re.search(before + re.escape(fact) + after, text) is not None


def fact_of(prompt: Prompt) -> str | None:
    """The fact that a prompt asks for (``meta["fact"]``); None where it asks for none."""
    fact = prompt.meta.get("fact")
    return None if fact is None else str(fact)


class FactReward(Reward):
    """1 where a reply tells the fact in a sentence, 0.5 where it tells it otherwise, else 0; see ``tells_fact``.

    Prompts without ``meta["fact"]`` are not rated. ``meta["wrong"]`` lists what must not be said.

    Args:
        name: See ``Reward``.
        weight: See ``Reward``; 0 makes it a check that is logged and rewards nothing.
        kinds: See ``Reward``.
        tasks: See ``Reward``.
        from_step: See ``Reward``.
    """

    def __init__(
        self,
        name: str = "fact",
        weight: float = 1.0,
        kinds: Sequence[Kind] | None = ("helpful",),
        tasks: Sequence[Task] | None = None,
        from_step: int = 0,
    ) -> None:
        super().__init__(name, weight=weight, kinds=kinds, tasks=tasks, from_step=from_step)

    def score(self, completions: Sequence[Completion]) -> list[float | None]:
        """Grades the replies."""
        return [self._grade(completion) for completion in completions]

    def _grade(self, completion: Completion) -> float | None:
        prompt = completion.prompt
        fact = fact_of(prompt)
        if fact is None:
            return None
        return tells_fact(reply_of(completion.text), fact, prompt.language, tuple(prompt.meta.get("wrong") or ()))
