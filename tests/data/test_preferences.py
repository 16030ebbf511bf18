import json

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from r1lit.data import (
    Labelled,
    Pair,
    PreferenceColumns,
    PreferenceDataModule,
    PreferenceFile,
    PreferenceSource,
    XSTestCompletions,
)
from r1lit.data.preferences import prompt_key
from r1lit.errors import InputError
from r1lit.policy import RewardModel
from r1lit.types import Message

BASE = "package:r1lit/assets/tiny/base"
ASK = (Message("user", "Hi?"),)


def lines(tmp_path, *rows, name="rows.jsonl"):
    path = tmp_path / name
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return str(path)


def user(text):
    return {"role": "user", "content": text}


def assistant(text):
    return {"role": "assistant", "content": text}


@pytest.mark.parametrize(
    "row",
    [
        {"prompt": "Hi?", "chosen": "yes", "rejected": "no"},
        {"question": "Hi?", "chosen": "yes", "rejected": "no"},
        {"prompt": [user("Hi?")], "chosen": "yes", "rejected": "no"},
        {"prompt": "Hi?", "chosen": [assistant("yes")], "rejected": [assistant("no")]},
        {"prompt": "ignored", "chosen": [user("Hi?"), assistant("yes")], "rejected": [user("Hi?"), assistant("no")]},
        {"chosen": [user("Hi?"), assistant("yes")], "rejected": [user("Hi?"), assistant("no")]},
        {
            "conversations": [{"from": "human", "value": "Hi?"}],
            "chosen": {"from": "gpt", "value": "yes"},
            "rejected": {"from": "gpt", "value": "no"},
        },
        {"chosen": "\n\nHuman: Hi?\n\nAssistant: yes", "rejected": "\n\nHuman: Hi?\n\nAssistant: no"},
    ],
)
def test_shapes_of_pairs(tmp_path, row):
    (pair,) = PreferenceFile(lines(tmp_path, row)).load()
    assert (pair.messages, pair.chosen.strip(), pair.rejected.strip()) == (ASK, "yes", "no")


def test_turns_before_and_a_system_message_belong_to_the_prompt(tmp_path):
    turns = [user("Hi"), assistant("Hello"), user("And?")]
    (pair,) = PreferenceFile(
        lines(tmp_path, {"system": "Be kind.", "prompt": turns, "chosen": "a", "rejected": "b"})
    ).load()
    assert [m.role for m in pair.messages] == ["system", "user", "assistant", "user"]
    assert pair.messages[0].content == "Be kind."


@pytest.mark.parametrize(
    ("label", "safe"),
    [("safe", True), ("Unsafe", False), (1, True), (0, False), (True, True), (False, False), ("0", False), (1.0, True)],
)
def test_labels(tmp_path, label, safe):
    rows = [
        {"prompt": "Hi?", "response": "yes", "label": label},
        {"messages": [user("Hi?"), assistant("yes")], "label": label},
    ]
    assert PreferenceFile(lines(tmp_path, *rows)).load() == [
        Labelled(ASK, "yes", safe, str(tmp_path / "rows.jsonl")) for _ in rows
    ]


def test_columns_and_labels_of_ones_own(tmp_path):
    path = lines(tmp_path, {"q": "Hi?", "a": "yes", "verdict": "bad"}, {"q": "Hi?", "a": "yes", "verdict": "fine"})
    columns = PreferenceColumns(prompt="q", response="a", label="verdict")
    rows = PreferenceFile(path, columns, labels={"bad": False, "fine": True}).load()
    assert [row.safe for row in rows] == [False, True]
    pairs = lines(tmp_path, {"q": "Hi?", "good": "yes", "worse": "no"}, name="pairs.jsonl")
    (pair,) = PreferenceFile(pairs, PreferenceColumns(prompt="q", chosen="good", rejected="worse")).load()
    assert (pair.chosen, pair.rejected) == ("yes", "no")


def test_other_formats(tmp_path):
    row = {"prompt": "Hi?", "chosen": "yes", "rejected": "no"}
    pq.write_table(pa.Table.from_pylist([row]), tmp_path / "rows.parquet")
    (tmp_path / "rows.json").write_text(json.dumps([row]))
    (tmp_path / "rows.csv").write_text("prompt,chosen,rejected\nHi?,yes,no\n")
    paths = [str(tmp_path / f"rows.{suffix}") for suffix in ("parquet", "json", "csv")]
    assert [(pair.messages, pair.chosen) for pair in PreferenceFile(paths).load()] == [(ASK, "yes")] * 3


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ({"prompt": "Hi?", "chosen": "same", "rejected": " same\n"}, "row 2: chosen and rejected are the same reply"),
        ({"prompt": "Hi?", "chosen": "yes", "rejected": " "}, "row 2: rejected is empty"),
        ({"prompt": "Hi?", "chosen": [assistant("")], "rejected": "no"}, r"row 2: message 2 \(assistant\) is empty"),
        ({"prompt": "", "chosen": "yes", "rejected": "no"}, "row 2: no prompt"),
        ({"prompt": "Hi?", "chosen": 3, "rejected": "no"}, "row 2: chosen is 3"),
        ({"prompt": "Hi?", "chosen": "yes"}, "row 2: rejected is None"),
        (
            {"chosen": [user("Hi?"), assistant("yes")], "rejected": [user("Ho?"), assistant("no")]},
            "row 2: chosen and rejected answer different prompts",
        ),
        ({"prompt": "Hi?", "response": "yes", "label": "maybe"}, "row 2: label is 'maybe', not one of safe"),
        ({"prompt": "Hi?", "response": "", "label": "safe"}, "row 2: response is empty"),
        ({"prompt": "Hi?", "text": "yes"}, r"row 2: neither chosen and rejected nor label among its columns \(prompt"),
    ],
)
def test_bad_rows_are_named_or_counted(tmp_path, row, message):
    fine = {"prompt": "Hi?", "chosen": "yes", "rejected": "no"}
    path = lines(tmp_path, fine, row)
    with pytest.raises(InputError, match=message) as caught:
        PreferenceFile(path).load()
    assert str(caught.value).startswith(path)
    assert "\n" not in str(caught.value)
    lenient = PreferenceFile(path, on_bad="skip")
    assert len(lenient.load()) == lenient.bad.count == 1


def test_unusable_files(tmp_path):
    pair = {"prompt": "Hi?", "chosen": "yes", "rejected": "no"}
    labelled = {"prompt": "Hi?", "response": "yes", "label": 1}
    with pytest.raises(InputError, match="1 rows are pairs and 1 labelled"):
        PreferenceFile(lines(tmp_path, pair, labelled)).load()
    with pytest.raises(InputError, match=r"no usable row; the first: .*row 1"):
        PreferenceFile(lines(tmp_path, {"prompt": "Hi?"}, name="b.jsonl"), on_bad="skip").load()
    with pytest.raises(InputError, match="no such file"):
        PreferenceFile(str(tmp_path / "none.jsonl")).load()


def test_xstest_completions(tmp_path):
    path = tmp_path / "completions.csv"
    rows = [
        ("homonyms", "1_full_compliance"),
        ("homonyms", "2_full_refusal"),
        ("contrast_homonyms", "1_full_compliance"),
        ("contrast_homonyms", "2_full_refusal"),
        ("contrast_homonyms", "3_partial_refusal"),
    ]
    text = "".join(f'{i},{kind},"How, {i}?",Reply {i},{label}\n' for i, (kind, label) in enumerate(rows))
    path.write_text("id,type,prompt,completion,final_label\n" + text)
    found = XSTestCompletions([str(path)]).load()
    assert [row.safe for row in found] == [True, True, False, True, True]
    assert found[2].messages == (Message("user", "How, 2?"),)
    path.write_text(path.read_text() + "5,homonyms,Why?,Reply,4_other\n")
    with pytest.raises(InputError, match=r"row 6: final_label is '4_other'"):
        XSTestCompletions([str(path)]).load()
    assert len(XSTestCompletions([str(path)], on_bad="skip").load()) == 5


# The data module


class Sums(PreferenceSource):
    """Pairs about sums: two of each prompt."""

    def __init__(self, n=40, extra=""):
        self.n, self.extra = n, extra

    def load(self):
        return [
            Pair((Message("user", f"What is {i} + 1?"),), f"{i + 1}{self.extra}{' ' * j}.", "I do not know.")
            for i in range(self.n)
            for j in range(2)
        ]


class Labels(PreferenceSource):
    def load(self):
        return [Labelled((Message("user", f"Is it {i}?"),), "Yes.", i % 2 == 0) for i in range(20)]


@pytest.fixture(scope="module")
def model():
    return RewardModel(BASE)


def module(model, sources=None, **settings):
    data = PreferenceDataModule(sources or Sums(), **({"held_out": 0.25, "batch_size": 8} | settings))
    data.setup("fit")
    data.connect(model)
    return data


def test_whole_prompts_are_held_out_and_the_same_ones_always(model):
    data = module(model)
    train, held = ({item.prompt for item in items} for items in (data.train_items, data.val_items))
    assert not train & held
    assert len(data.train_items) + len(data.val_items) == 80
    assert 4 <= len(held) <= 16
    more = module(model, Sums(60), seed=3)
    assert held <= {item.prompt for item in more.val_items}  # whatever else there is, and whatever the seed
    assert prompt_key((Message("user", "What is  1 +\n1?"),)) == prompt_key((Message("user", "What is 1 + 1?"),))


def test_rows_of_prompts_in_val_are_not_trained_on(model):
    data = module(model, Sums(10), val=Sums(3))
    assert len(data.val_items) == 6
    assert len(data.train_items) == 14
    assert len(module(model, Sums(10), val=Sums(3), val_limit=2).val_items) == 2
    with pytest.raises(InputError, match="0 are left to train on"):
        module(model, Sums(3), val=Sums(10))


def test_batches_are_the_same_for_any_number_of_ranks(model):
    data = module(model, micro_batch_tokens=64)
    for index in (0, 3):
        whole = data.batch(index)
        shares = [data.batch(index, rank, 3) for rank in range(3)]
        assert len({len(share.parts) for share in shares}) == 1
        placed = [place for share in shares for part in share.parts for place in part.places]
        assert sorted(placed) == sorted(place for part in whole.parts for place in part.places)
        assert len(placed) == whole.items == shares[0].items == 8
    for part in data.batch(0).parts:
        assert part.input_ids.numel() <= 64 or len(part.places) == 1
        assert len(part.input_ids) == 2 * len(part.places)
        first = data.train_items[part.places[0]]
        assert part.input_ids[0][part.attention_mask[0].bool()].tolist() == first.rows[0].tolist()
        half = len(part.places)
        assert part.input_ids[half][part.attention_mask[half].bool()].tolist() == first.rows[1].tolist()


def test_each_epoch_has_each_row_once(model):
    data = module(model, batch_size=7)
    assert data.updates == round(len(data.train_items) / 7)
    count = len(data.train_items)
    places = [p for k in range(-(-count // 7)) for part in data.batch(k).parts for p in part.places]
    seen = [places.count(p) for p in range(count)]
    assert min(seen) == 1  # the last update goes on in the next epoch
    data.max_updates = 3
    assert len(data.train_dataloader()) == 3


def test_long_rows_are_cut_in_their_middle_or_left_out_and_counted(model):
    long = Sums(20, extra=" and so on" * 10)
    cut = module(model, long, max_length=24)
    assert cut.long == {"train": len(cut.train_items), "val": len(cut.val_items)}
    row = cut.train_items[0].rows[0].tolist()
    whole = module(model, long).train_items[0].rows[0].tolist()
    assert len(whole) > len(row) == 24
    assert row == whole[:12] + whole[-12:]
    with pytest.raises(InputError, match=r"none of the .* training rows has at most 24 tokens"):
        module(model, long, max_length=24, on_long="skip")


def test_labels_reach_the_batches(model):
    data = module(model, Labels())
    assert not data.is_pairwise
    for part in data.batch(0).parts:
        assert len(part.input_ids) == len(part.places)
        assert part.safe.tolist() == [data.train_items[place].safe for place in part.places]


def test_wrong_data_and_settings(model):
    with pytest.raises(InputError, match="some sources hold pairs and others labelled"):
        module(model, [Sums(), Labels()])
    for settings, message in (
        ({"held_out": 0.0}, "held_out"),
        ({"batch_size": 0}, "batch_size"),
        ({"epochs": 0.0}, "epochs"),
        ({"max_length": 0}, "max_length"),
    ):
        with pytest.raises(InputError, match=f"data.{message} is 0"):
            PreferenceDataModule(Sums(), **settings)


class SameSummary(PreferenceSource):
    def load(self):
        return [Pair((Message("user", f"{i}?"),), "<think> a </think> 1", "<think> b </think> 1") for i in range(9)]


def test_pairs_that_differ_in_what_is_not_read(model, caplog):
    with pytest.raises(InputError, match=r"none of the \d training rows .* differs in what reads: answer reads"):
        module(model, SameSummary())
    some = module(model, [Sums(), SameSummary()])
    assert sum(some.useless.values()) == 9
    assert len(some.train_items) + len(some.val_items) == 80
    assert "left out: with reads: answer" in caplog.text
    data = module(RewardModel(BASE, reads="all"), SameSummary())
    assert len(data.train_items) + len(data.val_items) == 9
    assert not sum(data.useless.values())


class DifferInTheMiddle(PreferenceSource):
    def load(self):
        same = " 1 2 3 4 5" * 4
        return [Pair((Message("user", f"{i}?"),), f"{same} 7{same}", f"{same} 8{same}") for i in range(9)]


def test_pairs_that_are_equal_after_cutting_are_left_out_and_counted(model):
    data = module(model, [Sums(), DifferInTheMiddle()], max_length=30)
    assert sum(data.useless.values()) == 9
    assert len(data.train_items) + len(data.val_items) == 80
    assert not sum(module(model, [Sums(), DifferInTheMiddle()]).useless.values())


def test_position_is_kept_and_changed_data_are_refused(model):
    data = module(model)
    data._position = 4
    state = data.state_dict()
    again = module(model)
    again.load_state_dict(state)
    assert len(list(again.train_dataloader())) == again.updates - 4
    other = module(model, Sums(39))
    other.load_state_dict(state)
    with pytest.raises(InputError, match="the preferences changed since the checkpoint"):
        other.train_dataloader()
