"""Chats that join the sampled ones: non-reasoning data, and conversations that users bring (paper, B.3.3)."""

import random
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from r1lit.data.formats import ChatRow
from r1lit.data.sources import ChatSource, read_chats
from r1lit.rejection.decontamination import Decontamination
from r1lit.types import Prompt


class ChatMaker(ABC):
    """Anything that yields chats; configurations name one by ``class_path``."""

    @abstractmethod
    def chats(self) -> Iterator[ChatRow]:
        """Yields all chats, the same in every call.

        Raises:
            InputError: If the data are missing or malformed.
        """


class FileChats(ChatMaker):
    """Chats of a file or hub data set.

    Args:
        source: What to read; see ``ChatSource``. Its weight means nothing here.
        name: What the rows' source is called; the path if empty.
    """

    def __init__(self, source: ChatSource, name: str = "") -> None:
        self.source, self.name = source, name or source.path

    def chats(self) -> Iterator[ChatRow]:
        """Reads the file."""
        return read_chats(self.source, self.name)


@dataclass(frozen=True, slots=True)
class Drawn:
    """Chats drawn from several makers."""

    rows: list[ChatRow]
    available: int
    """How many there were to draw from."""
    contaminated: int
    """How many were left out before, as they overlap with evaluation questions."""


def draw_chats(
    makers: Sequence[ChatMaker], count: int | None, seed: int, decontamination: Decontamination | None = None
) -> Drawn:
    """Draws chats without replacement, evenly over the rows of all makers, and leaves them in the rows' order.

    Args:
        makers: Where they come from.
        count: How many; None takes all. Where there are fewer, all are taken.
        seed: Fixes the draw.
        decontamination: Which of them must not be drawn.
    """
    rows = [row for maker in makers for row in maker.chats()]
    prompts = [Prompt(str(place), row.messages, kind="general", task="chat") for place, row in enumerate(rows)]
    banned = decontamination.contaminated(prompts) if decontamination and prompts else set()
    places = [place for place in range(len(rows)) if str(place) not in banned]
    chosen = list(places)
    random.Random(f"r1lit/general/{seed}").shuffle(chosen)
    return Drawn([rows[place] for place in sorted(chosen[:count])], len(places), len(banned))
