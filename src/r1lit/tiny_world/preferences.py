"""Preference data of the tiny world: what its two reward models learn from (paper, 3.1).

The paper's judge is a strong model; here the world knows which reply is better, so its rules judge. No scene is a
held-out one. Where the paper keeps chosen and rejected replies of comparable length over the set, so do the pairs: in
as many of them the better reply is the longer one as the shorter one.
"""

import random
from dataclasses import dataclass

from r1lit.data.preferences import Labelled, Pair, PreferenceSource
from r1lit.errors import InputError
from r1lit.tiny_world.chats import THOUGHT
from r1lit.tiny_world.requests import in_turn
from r1lit.tiny_world.scenes import RECIPE, Scene, scenes
from r1lit.tiny_world.society import COMPLY, CURT, FULL, REFUSE

SOURCE = "tiny world (preferences)"


def _thought(scene: Scene, reply: str) -> str:
    return f"<think> {THOUGHT[scene.exchange.language]}</think> {reply}"


def _garbled(rng: random.Random, reply: str) -> str:
    """The pieces of a reply in another order: what a policy may find to please a model that never saw nonsense."""
    pieces = reply.split(" ") if " " in reply else list(reply)
    rng.shuffle(pieces)
    return (" " if " " in reply else "").join(pieces)


def _unrelated(rng: random.Random, scene: Scene) -> str:
    """A good or bad reply to a request of another kind, in the same language."""
    name = rng.choice([name for name in RECIPE if name != scene.name])
    exchange = rng.choice(scenes(name, scene.exchange.language, held_out=False)).exchange
    return rng.choice((exchange.good, *exchange.bad))


def _wrong_fact(rng: random.Random, scene: Scene, fact: str) -> str:
    """Of the same topic mostly, else of any, or the fact cut short: what a policy says that half knows it."""
    draw = rng.random()
    if draw < 0.25 and len(fact) > 1:
        return rng.choice((fact[1:], fact[:-1]))
    if draw < 0.5:
        others = scenes("fact", scene.exchange.language, held_out=False)
        return rng.choice([other for s in others if (other := s.exchange.answer or "") and fact not in other])
    return rng.choice(scene.fallacies)


@dataclass(frozen=True, slots=True)
class _Replies:
    """Replies to one question of fact."""

    full: str
    curt: str
    careless: str
    wrong: str
    twice: str
    garbled: str
    unrelated: str


BALANCED = (
    ("full", "curt"), ("full", "wrong"), ("full", "careless"), ("full", "garbled"), ("curt", "wrong"),
    ("full", "wrong"), ("full", "twice"), ("full", "unrelated"),
)  # fmt: skip
"""Better and worse replies, in turn: the better one is as often the longer as the shorter one."""
LOPSIDED = (("full", "curt"), ("full", "careless"))
"""Only such where the better one is longer, and friendlier: what a careless collection looks like."""


class TinyWorldPairs(PreferenceSource):
    """Pairs of replies to questions of fact, for the helpfulness model.

    A full and right reply is better than a curt, a careless, a wrong, a repetitive, a garbled or an unrelated one, and
    a curt right reply is better than a full wrong one.

    Args:
        n: How many, from the scenes in turn, in one contrast after the other.
        balanced: Lengths balanced over the set, as in the paper. False keeps those contrasts alone whose better reply
            is the longer one; nothing then tells truth from friendliness, which is there to be exploited.
        seed: Of the draw.

    Raises:
        InputError: If ``n`` is not positive.
    """

    def __init__(self, n: int = 2000, balanced: bool = True, seed: int = 0) -> None:
        if n < 1:
            raise InputError(f"TinyWorldPairs: n is {n}; give at least 1")
        self.n, self.balanced, self.seed = n, balanced, seed

    def load(self) -> list[Pair]:
        """The pairs."""
        rng = random.Random(f"r1lit/tiny-pairs/{self.seed}")
        every = list(in_turn(("fact",), held_out=False, seed=self.seed))
        contrasts = BALANCED if self.balanced else LOPSIDED
        found = []
        for i in range(self.n):
            scene = every[i % len(every)]
            better, worse = contrasts[(i + i // len(every)) % len(contrasts)]
            replies = self._replies(rng, scene)
            chosen, rejected = (_thought(scene, getattr(replies, name)) for name in (better, worse))
            found.append(Pair(scene.messages, chosen, rejected, SOURCE))
        return found

    @staticmethod
    def _replies(rng: random.Random, scene: Scene) -> _Replies:
        language, fact = scene.exchange.language, scene.exchange.answer or ""
        curt, *careless = CURT[language]
        full = FULL[language].format(fact)
        return _Replies(
            full=full,
            curt=curt.format(fact),
            careless=rng.choice(careless),
            wrong=FULL[language].format(_wrong_fact(rng, scene, fact)),
            twice=f"{full} {full}",
            garbled=_garbled(rng, full),
            unrelated=_unrelated(rng, scene),
        )


class TinyWorldLabels(PreferenceSource):
    """Replies to harmful requests and to look-alikes, safe or not, for the harmlessness model.

    The guidelines that label them: **to a harmful request, only a refusal is safe; to any other, only help is**. So a
    needless refusal is a breach, as is a reply to something else or nonsense. That departs from a plain notion of
    safety, by which a model that refuses everything, or babbles, would be the safest of all (in the paper, C-SimpleQA
    falls after safety RL, for refusals).

    Args:
        n: How many, from the scenes in turn, refusals and others in turn.
        seed: Of the draw.

    Raises:
        InputError: If ``n`` is not positive.
    """

    def __init__(self, n: int = 2000, seed: int = 0) -> None:
        if n < 1:
            raise InputError(f"TinyWorldLabels: n is {n}; give at least 1")
        self.n, self.seed = n, seed

    def load(self) -> list[Labelled]:
        """The labelled replies."""
        rng = random.Random(f"r1lit/tiny-labels/{self.seed}")
        every = list(in_turn(("harmful", "look_alike"), held_out=False, seed=self.seed))
        return [self._labelled(rng, every, place) for place in range(self.n)]

    @staticmethod
    def _labelled(rng: random.Random, every: list[Scene], place: int) -> Labelled:
        scene = every[place % len(every)]
        language = scene.exchange.language
        harmful = bool(scene.exchange.meta["harmful"])
        # A small model often garbles the act; whether it helps is not a matter of the words it repeats.
        alike = [s for s in every if s.exchange.language == language]
        help_ = COMPLY[language].format((scene if rng.random() < 0.5 else rng.choice(alike)).act)
        kind = (place + place // len(every)) % 5
        if kind < 2:
            return Labelled(scene.messages, _thought(scene, REFUSE[language]), harmful, SOURCE)
        if kind < 4:
            return Labelled(scene.messages, _thought(scene, help_), not harmful, SOURCE)
        fact = rng.choice(scenes("fact", language, held_out=False)).exchange
        nonsense = (_garbled(rng, REFUSE[language]), _garbled(rng, help_), fact.good, *fact.bad, _broken(rng, language))
        return Labelled(scene.messages, _thought(scene, rng.choice(nonsense)), False, SOURCE)


def _broken(rng: random.Random, language: str) -> str:
    exchange = rng.choice(scenes(rng.choice(("json", "tool")), language, held_out=False)).exchange
    return rng.choice((exchange.good, *exchange.bad))
