"""Stop strings: which token of a row completes one. Every in-process engine asks here, so that all end alike."""

from collections.abc import Sequence

from r1lit.policy import Policy

_BROKEN_CHARACTER = "\ufffd"
_LONGEST_CHARACTER = 4
"""Bytes of the longest character in UTF-8: a window may start within one."""


class StopStrings:
    """Finds stop strings in sampled tokens as they come, without decoding whole rows.

    Args:
        policy: Whose tokenizer decodes.
        stop: The strings; none of them is empty.
    """

    def __init__(self, policy: Policy, stop: Sequence[str]) -> None:
        self.policy = policy
        self.stop = tuple(stop)
        # A token that shows in the text holds a byte at least, so no stop string spreads over more of them than this.
        self._window = max((len(text.encode()) for text in self.stop), default=0) + _LONGEST_CHARACTER
        self._last_characters = {text[-1] for text in self.stop}
        self._pieces: dict[int, str] = {}

    def may_complete(self, token: int) -> bool:
        """Whether a stop string can end within this token; cheap, and false for most tokens."""
        piece = self._piece(token)
        # Some tokenizers drop a space at the start of what they decode, so a space alone proves nothing.
        return any(c.isspace() or c in piece or _BROKEN_CHARACTER in piece for c in self._last_characters)

    def completed_by(self, token_ids: Sequence[int]) -> bool:
        """Whether the last of the tokens sampled so far completes a stop string.

        It is taken for granted that the tokens before it have completed none.
        """
        if not token_ids or not self.may_complete(token_ids[-1]):
            return False
        tail = self.policy.decode(token_ids[self._window_start(token_ids) :])
        return any(text in tail for text in self.stop)

    def _window_start(self, token_ids: Sequence[int]) -> int:
        shown = 0
        for index in range(len(token_ids) - 1, -1, -1):
            shown += bool(self._piece(token_ids[index]))  # special tokens do not show
            if shown == self._window:
                return index
        return 0

    def _piece(self, token: int) -> str:
        if token not in self._pieces:
            self._pieces[token] = self.policy.decode([token])
        return self._pieces[token]
