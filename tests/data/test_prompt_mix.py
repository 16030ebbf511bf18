import json
from collections import Counter

import pytest
from jsonargparse import ArgumentParser

from r1lit.data import PromptDataModule, PromptMix, PromptPart
from r1lit.errors import InputError
from r1lit.tasks import FilePrompts, PromptSource
from r1lit.types import Message, Prompt


class Numbers(PromptSource):
    def __init__(self, count, prefix, kinds=("reasoning",)):
        self.count, self.prefix, self.kinds = count, prefix, kinds

    def load(self):
        return [
            Prompt(f"{self.prefix}/{i}", (Message("user", f"{i}?"),), str(i), kind=self.kinds[i % len(self.kinds)])
            for i in range(self.count)
        ]


def mixed(parts, per_rollout=8, **options):
    data = PromptDataModule(PromptMix(parts), prompts_per_rollout=per_rollout, **options)
    return data, lambda index: [prompt.id for prompt in data.prompts_for_rollout(index)]


def prefixes(ids):
    return Counter(each.split("/")[0] for each in ids)


def late_mix():
    return {"r": PromptPart(Numbers(20, "r"), share=3), "g": PromptPart(Numbers(6, "g"), share=1, from_rollout=5)}


def test_a_part_joins_with_its_share_at_its_rollout():
    data, at = mixed(late_mix())
    assert [dict(prefixes(at(i))) for i in (0, 4, 5, 6, 50)] == [{"r": 8}] * 2 + [{"r": 6, "g": 2}] * 3
    assert data.sampler.counts(4) == {"r": 8}
    assert data.sampler.counts(5) == {"r": 6, "g": 2}


def test_each_span_deals_every_prompt_of_a_part_before_any_comes_again():
    _, at = mixed(late_mix())
    before = Counter(each for i in range(5) for each in at(i))
    assert sorted(before.values()) == [2] * 20
    after = Counter(each for i in range(5, 15) for each in at(i))
    assert {after[f"r/{i}"] for i in range(20)} == {3}  # 10 rollouts x 6 of 20
    assert {after[f"g/{i}"] for i in range(6)} <= {3, 4}
    assert all(len(set(at(i))) == 8 for i in range(30))


def test_rollouts_are_a_function_of_their_index_and_the_seed():
    _, forward = mixed(late_mix(), seed=1)
    _, again = mixed(late_mix(), seed=1)
    _, other = mixed(late_mix(), seed=2)
    order = [7, 0, 5, 12, 3]
    assert {i: forward(i) for i in range(13)} == dict(sorted({i: again(i) for i in [*order, *range(13)]}.items()))
    assert [forward(i) for i in order] != [other(i) for i in order]


def test_without_shuffling_parts_keep_their_order():
    _, at = mixed(late_mix(), shuffle=False)
    assert at(0) == [f"r/{i}" for i in range(8)]
    assert at(6) == [*(f"r/{i}" for i in range(6, 12)), "g/2", "g/3"]


def test_more_prompts_come_from_the_parts_of_the_rollout():
    data, at = mixed(late_mix())
    assert prefixes(p.id for p in data.more_prompts(2, 0)) == {"r": 8}
    more = [p.id for attempt in range(6) for p in data.more_prompts(6, attempt)]
    assert not set(more) & set(at(6))
    assert prefixes(more) == {"r": 14, "g": 4}


def test_kinds_pick_prompts_of_one_source():
    source = Numbers(12, "x", ("reasoning", "helpful", "harmless"))
    parts = {kind: PromptPart(source, kinds=[kind]) for kind in ("reasoning", "helpful", "harmless")}
    data, _ = mixed(parts, per_rollout=6)
    assert all(Counter(p.kind for p in data.prompts_for_rollout(i)).most_common()[0][1] == 2 for i in range(8))
    assert len({p.id for p in data.train_prompts}) == 12


def test_lengths_of_an_epoch_reach_every_prompt():
    data, at = mixed(late_mix())
    length = data.sampler.rollouts_per_epoch
    assert length == 5 + 4
    assert {each for i in range(length) for each in at(i)} == {p.id for p in data.train_prompts}


@pytest.mark.parametrize(
    ("parts", "per_rollout", "match"),
    [
        ({"a": PromptPart(Numbers(3, "a"))}, 4, "part 'a' has 4 of the 4 prompts.*3 in all"),
        ({"a": PromptPart(Numbers(9, "a"), share=20), "b": PromptPart(Numbers(9, "b"))}, 4, "part 'b' has 0 of the 4"),
        ({"a": PromptPart(Numbers(9, "a")), "b": PromptPart(Numbers(9, "b"), kinds=["helpful"])}, 4, "'b' has no pro"),
    ],
)
def test_shares_that_cannot_be_dealt(parts, per_rollout, match):
    data, _ = mixed(parts, per_rollout)
    with pytest.raises(InputError, match=match):
        data.setup("fit")


def test_bad_parts():
    with pytest.raises(InputError, match="from_rollout 0"):
        PromptMix({"a": PromptPart(Numbers(3, "a"), from_rollout=2)})
    with pytest.raises(InputError, match="at least one part"):
        PromptMix({})
    with pytest.raises(InputError, match="share is 0"):
        PromptPart(Numbers(3, "a"), share=0)
    with pytest.raises(InputError, match="from_rollout is -1"):
        PromptPart(Numbers(3, "a"), from_rollout=-1)


def test_another_mix_is_not_resumed():
    data, _ = mixed(late_mix())
    state = data.state_dict()
    changed = late_mix()
    changed["g"].from_rollout = 6
    other, _ = mixed(changed)
    other.load_state_dict(state)
    with pytest.raises(InputError, match="cannot resume"):
        other.train_dataloader()
    same, _ = mixed(late_mix())
    same.load_state_dict(state)
    same.train_dataloader()


def test_a_configuration_can_say_it(tmp_path):
    for name in ("a", "b"):
        rows = [{"question": f"{name}{i}", "answer": str(i)} for i in range(8)]
        (tmp_path / f"{name}.jsonl").write_text("\n".join(map(json.dumps, rows)))
    part = {
        name: {"source": {"class_path": "FilePrompts", "init_args": {"path": str(tmp_path / f"{name}.jsonl")}}}
        for name in ("a", "b")
    }
    part["b"] |= {"share": 3, "from_rollout": 2, "kinds": ["reasoning"]}
    parser = ArgumentParser()
    parser.add_subclass_arguments(PromptSource, "train")
    config = parser.parse_object({"train": {"class_path": "r1lit.data.PromptMix", "init_args": {"parts": part}}})
    made = parser.instantiate(config).train
    assert isinstance(made.parts["b"].source, FilePrompts)
    data = PromptDataModule(made, prompts_per_rollout=4)
    data.setup("fit")
    assert (data.sampler.counts(0), data.sampler.counts(2)) == ({"a": 4}, {"a": 1, "b": 3})
