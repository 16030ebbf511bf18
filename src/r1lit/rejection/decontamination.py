"""Keeps evaluation questions out of training data: shared runs of ten words (paper, B.3.1)."""

from collections import Counter
from collections.abc import Iterable, Sequence

from r1lit.errors import InputError
from r1lit.rejection.ngrams import ngrams, text_hash, words
from r1lit.tasks.base import PromptSource
from r1lit.types import Prompt


class Decontamination:
    """Finds prompts that share a run of n words with an evaluation question.

    A question shorter than n words counts only as a whole: it contaminates prompts that have the same words and no
    others. Chinese and Japanese count by character, signs of arithmetic as words.

    Args:
        against: Where the evaluation questions come from.
        n: Words in a run.
        boilerplate: Runs that occur in more than this many of the prompts under test are the wording of a template
            rather than of a question and do not count (as in GPT-3's cleaning); 0 counts all.

    Raises:
        InputError: If there are no sources or a number is out of range.
    """

    def __init__(self, against: PromptSource | list[PromptSource], n: int = 10, boilerplate: int = 0) -> None:
        self.against = against if isinstance(against, list) else [against]
        if not self.against:
            raise InputError("decontamination.against is empty; name the evaluation prompts")
        if n < 1 or boilerplate < 0:
            raise InputError(f"decontamination: n is {n} and boilerplate {boilerplate}; give at least 1 and 0")
        self.n, self.boilerplate = n, boilerplate

    def contaminated(self, prompts: Sequence[Prompt]) -> set[str]:
        """The ids of those prompts that must not be trained on.

        Raises:
            InputError: If an evaluation source cannot be loaded.
        """
        held_out = {run for source in self.against for prompt in source.load() for run in self._runs(prompt)}
        shared = {prompt.id: held_out.intersection(self._runs(prompt)) for prompt in prompts}
        if self.boilerplate:
            common = too_common(shared.values(), self.boilerplate)
            shared = {prompt_id: runs - common for prompt_id, runs in shared.items()}
        return {prompt_id for prompt_id, runs in shared.items() if runs}

    def _runs(self, prompt: Prompt) -> set[int]:
        found = words(" ".join(message.content for message in prompt.messages if message.role == "user"))
        return {text_hash(run) for run in ngrams(found, self.n)}


def too_common(sets: Iterable[set[int]], most: int) -> set[int]:
    """The members of more than ``most`` of the sets."""
    counts = Counter(member for each in sets for member in each)
    return {member for member, count in counts.items() if count > most}
