"""General requests of the tiny world: their parts, their split, and what the base read before them."""

import hashlib
import json
import random
from collections import Counter

import pytest

from r1lit.errors import InputError
from r1lit.grading.refusal import is_refusal
from r1lit.rewards import JSONReward, ToolCallReward
from r1lit.rewards.fact import FULL, tells_fact
from r1lit.tiny_world import TinyWorldRequests
from r1lit.tiny_world.authors import Habits
from r1lit.tiny_world.documents import LANGUAGES, draw_document
from r1lit.tiny_world.scenes import FAMILIES, PEOPLE, PROPERTY, RECIPE, THINGS, scenes
from r1lit.types import Completion

READ_BY_THE_BASE = "224a353249a9ff252e67e02b1cea5c233932bb209a158c526c1b0350bd62579a"


def completion(prompt, text):
    return Completion(prompt, 0, (1,), (2,), (0.0,), f"<think> Easy.</think> {text}", "stop", "Easy.", None)


def test_the_base_has_read_the_same_documents_as_ever():
    rng = random.Random(7)
    digest = hashlib.sha256()
    for _ in range(20000):
        document = draw_document(rng, Habits())
        digest.update((document.context + document.answer).encode())
    assert digest.hexdigest() == READ_BY_THE_BASE, "the shipped base would have to be trained anew"


def test_splits_share_no_request():
    train, held_out = (TinyWorldRequests(split, families=list(FAMILIES)).load() for split in ("train", "held_out"))
    assert len({p.id for p in train + held_out}) == len(train) + len(held_out)
    assert not {p.messages for p in train} & {p.messages for p in held_out}
    assert 0.1 < len(held_out) / (len(train) + len(held_out)) < 0.3


def test_every_family_and_language_has_held_out_requests():
    counts = Counter((p.meta["family"], p.language) for p in TinyWorldRequests("held_out", n=120).load())
    assert counts.keys() == {(name, language) for name in RECIPE for language in LANGUAGES}
    assert min(counts.values()) >= 5


@pytest.mark.parametrize("language", LANGUAGES)
def test_words_of_held_out_acts_were_all_seen_with_others(language):
    for name in ("harmful", "look_alike"):
        trained = [scene.key.partition("-") for scene in scenes(name, language, held_out=False)]
        words = {word for _, _, thing in trained for word in thing.split()}
        for scene in scenes(name, language, held_out=True):
            verb, _, thing = scene.key.partition("-")
            assert verb in {v for v, _, _ in trained}, scene.key
            assert words >= set(thing.split()), scene.key


@pytest.mark.parametrize("language", LANGUAGES)
def test_the_object_tells_what_is_harmful(language):
    victims = {thing.strip() for thing in (*PEOPLE[language], *PROPERTY[language])}
    assert not victims & set(THINGS[language])
    for name, objects in (("harmful", victims), ("look_alike", set(THINGS[language]))):
        found = [s for held_out in (False, True) for s in scenes(name, language, held_out)]
        assert {s.key.partition("-")[2] for s in found} == objects
        assert all(s.exchange.meta["harmful"] == (name == "harmful") for s in found)


def test_good_replies_pass_the_checks_and_bad_ones_fail():
    by_id = {
        p.id: p for split in ("train", "held_out") for p in TinyWorldRequests(split, families=list(FAMILIES)).load()
    }
    judges = {"json": JSONReward(), "tool": ToolCallReward()}
    for name in FAMILIES:
        for language in LANGUAGES:
            for scene in scenes(name, language, held_out=True):
                exchange, prompt = scene.exchange, by_id[scene.id]
                for reply, good in ((exchange.good, True), *((bad, False) for bad in exchange.bad)):
                    if exchange.kind == "helpful":
                        passed = tells_fact(reply, exchange.answer, language, scene.fallacies) == FULL
                    elif exchange.kind == "harmless":
                        passed = is_refusal(reply, language) == exchange.meta["harmful"]
                    else:
                        passed = judges[name].score([completion(prompt, reply)]) == [1.0]
                    assert passed == good, (scene.id, reply)


def test_prompts_carry_what_they_are_judged_by():
    prompts = TinyWorldRequests("held_out", families=list(FAMILIES)).load()
    assert {p.kind for p in prompts} == {"helpful", "harmless", "general"}
    for prompt in prompts:
        assert ("fact" in prompt.meta) == (prompt.kind == "helpful")
        assert ("harmful" in prompt.meta) == (prompt.kind == "harmless")
        assert [m.role for m in prompt.messages] == ["system"] * (prompt.meta["family"] == "role") + ["user"]
        if prompt.task == "json":
            assert set(json.loads(prompt.answer)) == set(prompt.meta["schema"]["required"])


def test_same_in_every_call_and_others_by_seed():
    assert TinyWorldRequests(n=50).load() == TinyWorldRequests(n=50).load()
    assert TinyWorldRequests(n=50).load() != TinyWorldRequests(n=50, seed=1).load()
    only = TinyWorldRequests(families=["json"]).load()
    assert {p.task for p in only} == {"json"}


def test_wrong_arguments():
    with pytest.raises(InputError, match="n is 0"):
        TinyWorldRequests(n=0)
    with pytest.raises(InputError, match="'jsn'; choose from fact"):
        TinyWorldRequests(families=["jsn"])
    with pytest.raises(InputError, match="lower n"):
        TinyWorldRequests("held_out", n=10**4).load()
