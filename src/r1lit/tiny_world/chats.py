"""General chats of the tiny world: what joins the sampled reasoning in the second SFT (paper, B.3.3).

The paper reuses the SFT data of an earlier model here. Ours are scenes of the tiny world's society, never held-out
ones; most, not all, are answered as a good assistant would, so that the reward models of the last stage find something
left to mend.
"""

import random
from collections.abc import Iterator

from r1lit.data.formats import ChatRow
from r1lit.errors import InputError
from r1lit.rejection.general_chats import ChatMaker
from r1lit.tiny_world.documents import LANGUAGES
from r1lit.tiny_world.scenes import RECIPE, scenes
from r1lit.types import Message

THOUGHT = {"en": "Easy.", "zh": "很简单。"}
"""A trivial question gets no reasoning worth the name."""


class TinyWorldChats(ChatMaker):
    """Facts, harmful and look-alike questions, JSON and tool calls with their replies.

    Args:
        n: How many.
        good_share: Share of replies that a good assistant would give.
        shares: Such shares by family of scenes, where they differ from ``good_share``.
        seed: Which.

    Raises:
        InputError: If a number is out of range.
    """

    def __init__(
        self, n: int = 1000, good_share: float = 0.75, shares: dict[str, float] | None = None, seed: int = 0
    ) -> None:
        if n < 1:
            raise InputError(f"TinyWorldChats: n is {n}; give at least 1")
        self.n, self.seed = n, seed
        self.shares = dict.fromkeys(RECIPE, good_share) | (shares or {})
        if not 0 <= good_share <= 1:
            raise InputError(f"TinyWorldChats: good_share is {good_share}; give a share from 0 to 1")
        for name, share in self.shares.items():
            if name not in RECIPE:
                raise InputError(f"TinyWorldChats: shares has {name!r}; choose from {', '.join(RECIPE)}")
            if not 0 <= share <= 1:
                raise InputError(f"TinyWorldChats: shares[{name!r}] is {share}; give a share from 0 to 1")

    def chats(self) -> Iterator[ChatRow]:
        """Yields the chats, the kinds of exchange and the languages in turn."""
        rng = random.Random(f"r1lit/tiny-chats/{self.seed}")
        families = RECIPE
        for place in range(self.n):
            language = LANGUAGES[place // len(families) % len(LANGUAGES)]
            scene = rng.choice(scenes(families[place % len(families)], language, held_out=False))
            exchange = scene.exchange
            text = exchange.good if rng.random() < self.shares[scene.name] else rng.choice(exchange.bad)
            messages = (*scene.messages, Message("assistant", f"<think> {THOUGHT[language]}</think> {text}"))
            meta = {"kind": exchange.kind, "task": exchange.task, "language": language}
            yield ChatRow(messages, "tiny world (general)", meta | {"family": scene.name})
