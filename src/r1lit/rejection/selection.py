"""From sampled groups to what is trained on: filters, rewriting, other data, and the counts of it all."""

import logging
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from r1lit.data.chatfile import ChatFile
from r1lit.data.formats import ChatRow
from r1lit.errors import InputError, TrainingError
from r1lit.grading.parsing import parse_response
from r1lit.rejection.completion_filter import CompletionFilter
from r1lit.rejection.decontamination import Decontamination
from r1lit.rejection.general_chats import ChatMaker, draw_chats
from r1lit.rejection.rewriting import Rewriter
from r1lit.rewards import Reward
from r1lit.rewards.scoring import score_completions
from r1lit.samples.journal import Journal
from r1lit.samples.table import FILE, SamplesFile
from r1lit.types import Message, Prompt, ScoredCompletion

log = logging.getLogger(__name__)

SAMPLES = FILE
CHATS = "chats.parquet"
REWRITTEN = "rewritten"
REWRITES_AT_ONCE = 256

Groups = Callable[[], Iterator[tuple[Prompt, list[ScoredCompletion]]]]
"""Goes through all sampled groups; each call starts again, in the same order."""
Key = tuple[str, int]
"""Prompt id and sample number."""


@dataclass
class Selection:
    """What becomes of the completions that are kept.

    Raises:
        InputError: If the ratio is not positive.
    """

    rewriter: Rewriter | None = None
    """Brings them into a readable format; what it makes must pass the same rewards and filters again."""
    general: list[ChatMaker] = field(default_factory=list)
    """Non-reasoning data, of which so many are drawn that the ratio below holds."""
    reasoning_per_general: float = 3.0
    """Kept completions for each row of general data; the paper has 600,000 and 200,000."""
    chats: list[ChatMaker] = field(default_factory=list)
    """Further conversations that are taken as a whole, such as a user's own cold-start texts."""

    def __post_init__(self) -> None:
        """Checks the ratio."""
        if not self.reasoning_per_general > 0:
            raise InputError(f"selection.reasoning_per_general is {self.reasoning_per_general}; give more than 0")


@dataclass
class Tally:
    """Counts of one kind and task, or of all."""

    prompts: int = 0
    answered: int = 0
    tokens_sampled: int = 0
    tokens_kept: int = 0
    reasons: Counter[str | None] = field(default_factory=Counter)

    def count(self, group: Sequence[ScoredCompletion], reasons: Sequence[str | None]) -> None:
        """Takes one prompt's completions with the reasons for dropping them, None for kept."""
        tokens = [candidate.completion.tokens for candidate in group]
        self.prompts += 1
        self.answered += None in reasons
        self.tokens_sampled += sum(tokens)
        self.tokens_kept += sum(length for reason, length in zip(reasons, tokens, strict=True) if reason is None)
        self.reasons.update(reasons)

    def record(self) -> dict[str, Any]:
        """As the manifest shows it."""
        sampled, kept = self.reasons.total(), self.reasons[None]
        return {
            "prompts": self.prompts,
            "prompts_answered": self.answered,
            "sampled": sampled,
            "kept": kept,
            "yield": round(kept / sampled, 6) if sampled else 0.0,
            "mean_tokens": round(self.tokens_kept / kept, 2) if kept else 0.0,
        }


class Selector:
    """Sorts out all sampled groups and writes the results.

    Args:
        folder: Of the stage.
        groups: What was sampled.
        completion_filter: Sorts completions out.
        rewards: Score what was rewritten.
        selection: What becomes of what is kept.
        decontamination: Applied to general data and chats as well.
        seed: Of the draw of general data.
    """

    def __init__(
        self,
        folder: Path,
        groups: Groups,
        completion_filter: CompletionFilter,
        rewards: Sequence[Reward],
        selection: Selection,
        decontamination: Decontamination | None = None,
        seed: int = 0,
    ) -> None:
        self.folder, self.groups, self.completion_filter, self.rewards = folder, groups, completion_filter, rewards
        self.selection, self.decontamination, self.seed = selection, decontamination, seed

    def write(self) -> dict[str, Any]:
        """Writes ``samples.parquet`` and ``chats.parquet``.

        Returns:
            The manifest: counts by reason, yields by kind and task, tokens, and what other data joined.

        Raises:
            InputError: If other data cannot be used.
            TrainingError: If nothing is kept, or a reward or the rewriting teacher fails.
        """
        self.completion_filter.reset()
        outcomes = [self.completion_filter.sort_out(group) for _, group in self.groups()]
        rewritten = self._rewritten(outcomes)
        whole, by_kind = Tally(), dict[str, Tally]()
        names = [reward.name for reward in self.rewards]
        more = ("dropped", "rewritten")
        with SamplesFile(self.folder / SAMPLES, names, more) as samples, ChatFile(self.folder / CHATS) as chats:
            for (prompt, group), reasons in zip(self.groups(), outcomes, strict=True):
                for tally in (whole, by_kind.setdefault(f"{prompt.kind}/{prompt.task}", Tally())):
                    tally.count(group, reasons)
                for candidate, reason in zip(group, reasons, strict=True):
                    text = rewritten.get((prompt.id, candidate.completion.sample))
                    samples.add(candidate, dropped=reason, rewritten=text)
                    if reason is None:
                        chats.add(chat_row(candidate, text))
            counts = self.completion_filter.counted(whole.reasons)
            if not counts["kept"]:
                dropped = ", ".join(f"{name} {count}" for name, count in counts.items() if count)
                raise TrainingError(
                    f"no completion is kept: {dropped or 'there is none'}; sample more, or loosen the filters"
                )
            others = self._others(chats, counts["kept"])
        return {
            "sampled": whole.reasons.total(),
            "filters": counts,
            "kept": counts["kept"],
            "prompts_answered": whole.answered,
            "tokens_sampled": whole.tokens_sampled,
            "tokens_kept": whole.tokens_kept,
            "by_kind": {name: by_kind[name].record() for name in sorted(by_kind)},
            **others,
        }

    def _others(self, chats: ChatFile, kept: int) -> dict[str, Any]:
        """Adds general data and further chats. Returns their counts."""
        found: dict[str, Any] = {}
        wanted = round(kept / self.selection.reasoning_per_general)
        for name, makers, count in (("general", self.selection.general, wanted), ("chats", self.selection.chats, None)):
            if not makers:
                continue
            drawn = draw_chats(makers, count, self.seed, self.decontamination)
            if count is not None and len(drawn.rows) < count:
                log.warning("general data: %d rows where %d were wanted", len(drawn.rows), count)
            for row in drawn.rows:
                chats.add(row)
            found[name] = {
                "rows": len(drawn.rows),
                "wanted": count,
                "available": drawn.available,
                "contaminated": drawn.contaminated,
                "by_source": dict(sorted(Counter(row.source for row in drawn.rows).items())),
            }
        return found

    # Rewriting

    def _rewritten(self, outcomes: list[list[str | None]]) -> dict[Key, str]:
        """The new texts of kept completions; in ``outcomes``, those that did not survive get a reason."""
        rewriter = self.selection.rewriter
        if rewriter is None:
            return {}
        journal = Journal(self.folder / REWRITTEN) if rewriter.costly else None
        if journal is not None:
            journal.open()
        found: dict[Key, str] = {}
        part: list[tuple[ScoredCompletion, list[str | None], int]] = []

        def rewrite_part() -> None:
            for (candidate, reasons, place), text in zip(part, self._texts(rewriter, part, journal), strict=True):
                completion = candidate.completion
                reasons[place] = "rewritten:nothing" if text is None else self._failed(candidate, text)
                if text is not None:
                    found[completion.prompt.id, completion.sample] = text
            part.clear()

        for (_, group), reasons in zip(self.groups(), outcomes, strict=True):
            for place, candidate in enumerate(group):
                if reasons[place] is None:
                    part.append((candidate, reasons, place))
            if len(part) >= REWRITES_AT_ONCE:
                rewrite_part()
        rewrite_part()
        return found

    def _texts(
        self, rewriter: Rewriter, part: Sequence[tuple[ScoredCompletion, Any, int]], journal: Journal | None
    ) -> list[str | None]:
        """New texts in the order of ``part``; those in the journal are not made again."""
        completions = [candidate.completion for candidate, _, _ in part]
        if journal is None:
            return [text for _, text in sorted(rewriter.rewrite(completions))]
        keys = [f"{c.prompt.id}#{c.sample}" for c in completions]
        missing = [place for place, key in enumerate(keys) if key not in journal]
        try:
            for index, text in rewriter.rewrite([completions[place] for place in missing]):
                journal.append([{"key": keys[missing[index]], "elapsed_s": 0.0, "text": text}])
        except TrainingError as error:
            done = f"{len(journal)} are rewritten and kept: the same command goes on there"
            raise TrainingError(f"{error}; {done}") from error
        return [journal.read(key)["text"] for key in keys]

    def _failed(self, candidate: ScoredCompletion, text: str) -> str | None:
        reasoning, answer = parse_response(text)
        completion = replace(candidate.completion, text=text, reasoning=reasoning, answer=answer, finish_reason="stop")
        (again,) = score_completions(self.rewards, [completion], 0)
        reason = self.completion_filter.failed(again)
        return None if reason is None else f"rewritten:{reason}"


def chat_row(candidate: ScoredCompletion, text: str | None = None) -> ChatRow:
    """A kept completion as a conversation; the text is kept to the letter, white space included."""
    completion, prompt = candidate.completion, candidate.completion.prompt
    answer = Message("assistant", completion.text if text is None else text)
    meta = {"prompt_id": prompt.id, "sample": completion.sample, "kind": prompt.kind, "task": prompt.task}
    return ChatRow((*prompt.messages, answer), prompt.source, meta | {"language": prompt.language})
