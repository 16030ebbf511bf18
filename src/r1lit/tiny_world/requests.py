"""General requests as prompts: what is to be answered helpfully, refused where harmful, or put into JSON or a call."""

import itertools
import json
import random
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Literal

from r1lit.errors import InputError
from r1lit.tasks.base import PromptSource
from r1lit.tiny_world.documents import LANGUAGES
from r1lit.tiny_world.scenes import FAMILIES, RECIPE, Scene, scenes
from r1lit.types import Prompt

Family = Literal["fact", "role", "harmful", "look_alike", "json", "tool"]


def in_turn(families: Sequence[str], held_out: bool, seed: object) -> Iterator[Scene]:
    """Yields each scene of the families once: families in turn, within each the languages, until none is left."""
    queues = []
    for language, name in itertools.product(LANGUAGES, families):
        queue = list(scenes(name, language, held_out))
        random.Random(f"r1lit/requests/{name}/{language}/{seed}").shuffle(queue)
        queues.append(queue)
    for row in itertools.zip_longest(*queues):
        yield from (scene for scene in row if scene is not None)


class TinyWorldRequests(PromptSource):
    """General requests of the tiny world, evenly from each family and language as far as there are so many.

    Facts and roles are of kind ``helpful``; harmful acts and look-alikes of kind ``harmless``, with
    ``meta["harmful"]``; JSON objects (``meta["schema"]``) and tool calls of kind ``general``.

    Args:
        split: ``train``, or ``held_out``: requests that no stage trains on.
        n: How many; None takes all.
        families: Which; those of ``scenes.RECIPE`` if None, which leaves out ``role``.
        seed: Of the draw.

    Raises:
        InputError: If ``n`` is not positive, a family is unknown or none is named.
    """

    def __init__(
        self,
        split: Literal["train", "held_out"] = "train",
        n: int | None = None,
        families: list[Family] | None = None,
        seed: int = 0,
    ) -> None:
        if n is not None and n < 1:
            raise InputError(f"TinyWorldRequests: n is {n}; give at least 1")
        chosen = list(RECIPE) if families is None else list(families)
        for name in chosen or ("",):
            if name not in FAMILIES:
                raise InputError(f"TinyWorldRequests: families has {name!r}; choose from {', '.join(FAMILIES)}")
        self.split, self.n, self.families, self.seed = split, n, chosen, seed

    def load(self) -> list[Prompt]:
        """The prompts.

        Raises:
            InputError: If there are fewer than ``n``.
        """
        found = [as_prompt(scene, self.split) for scene in in_turn(self.families, self.split == "held_out", self.seed)]
        if self.n is not None and self.n > len(found):
            raise InputError(f"TinyWorldRequests: n is {self.n}, but {self.split!r} has {len(found)} requests; lower n")
        return found[: self.n]


def as_prompt(scene: Scene, split: str) -> Prompt:
    """A scene as a prompt."""
    exchange = scene.exchange
    meta = dict(exchange.meta) | {"family": scene.name}
    if exchange.kind == "helpful":
        meta |= {"fact": exchange.answer, "wrong": scene.fallacies}
    if exchange.task == "json":
        meta["schema"] = _schema(json.loads(exchange.answer or "{}"))
    return Prompt(
        id=scene.id,
        messages=scene.messages,
        answer=exchange.answer,
        kind=exchange.kind,
        task=exchange.task,
        language=exchange.language,
        source=f"tiny world ({split} requests)",
        meta=meta,
    )


def _schema(wanted: Mapping[str, Any]) -> dict[str, Any]:
    """Allows an object with these keys and values alone."""
    return {
        "type": "object",
        "properties": {name: {"const": value} for name, value in wanted.items()},
        "required": list(wanted),
        "additionalProperties": False,
    }
