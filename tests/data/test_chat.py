"""The data module of fine-tuning: which rows a batch has, on every rank, from stores and from files."""

import json
import shutil

import pytest

from r1lit import Policy
from r1lit.data import ChatDataModule, ChatSource
from r1lit.data.encoding import ChatEncoder
from r1lit.data.formats import ChatRow
from r1lit.data.store import write_store
from r1lit.errors import InputError
from r1lit.tiny_world import TinyWorldPrompts
from r1lit.types import Message

BASE = "package:r1lit/assets/tiny/base"


@pytest.fixture(scope="module")
def policy():
    return Policy(BASE, template="chat")


@pytest.fixture
def files(tmp_path, policy, monkeypatch):
    """Two sources: a store and a file."""
    monkeypatch.chdir(tmp_path)
    rows = [ChatRow((Message("user", f"{i} + 1?"), Message("assistant", str(i + 1))), "numbers") for i in range(10)]
    write_store(tmp_path / "numbers", rows, ChatEncoder.of(policy))
    lines = [{"prompt": f"{i} - 1?", "completion": str(i - 1)} for i in range(6)]
    (tmp_path / "more.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    return tmp_path


def module(folder, policy, **settings):
    weights = settings.pop("weights", (None, None))
    sources = {
        name: ChatSource(str(folder / path), weight)
        for name, path, weight in zip(("numbers", "more"), ("numbers", "more.jsonl"), weights, strict=True)
    }
    data = ChatDataModule(**{"sources": sources, "batch_size": 8} | settings)
    data.setup("fit")
    data.prepare(policy)
    data.connect(policy)
    return data


def texts(policy, batch):
    """The rows of a batch as text, sorted."""
    found = []
    for part in batch.parts:
        for segment in part.segments:
            ids = part.input_ids[segment.start : segment.stop].tolist()
            if part.target_mask[segment.start : segment.stop].any():
                found.append(policy.tokenizer.decode(ids))
    return sorted(found)


def test_an_epoch_has_every_row_of_every_source(files, policy):
    data = module(files, policy, epochs=3)
    assert data.updates == 6
    seen = texts(policy, data.batch(0)) + texts(policy, data.batch(1))
    wanted = [f"<|user|>{i} + 1?<|assistant|>{i + 1}<|end|>" for i in range(10)]
    wanted += [f"<|user|>{i} - 1?<|assistant|>{i - 1}<|end|>" for i in range(6)]
    assert sorted(seen) == sorted(wanted)


@pytest.mark.parametrize("ranks", [2, 3])
def test_ranks_share_the_batch_of_one_process(files, policy, ranks):
    data = module(files, policy, micro_batch_tokens=25)
    whole = data.batch(1)
    shares = [data.batch(1, rank, ranks) for rank in range(ranks)]
    assert sorted(text for share in shares for text in texts(policy, share)) == texts(policy, whole)
    assert len({len(share.parts) for share in shares}) == 1
    for share in shares:
        assert (share.targets, share.tokens, share.rows) == (whole.targets, whole.tokens, 8)
    assert sum(int(part.target_mask.sum()) for share in shares for part in share.parts) == whole.targets


def test_packing_and_budget_change_no_row(files, policy):
    def targets(data):
        return sorted(
            token for part in data.batch(0).parts for token in part.input_ids[part.target_mask.bool()].tolist()
        )

    packed, small, padded = (
        module(files, policy, **settings)
        for settings in ({}, {"micro_batch_tokens": 20}, {"packing": False, "micro_batch_tokens": 20})
    )
    assert len(packed.batch(0).parts) == 1 < len(small.batch(0).parts) <= len(padded.batch(0).parts)
    assert targets(packed) == targets(small) == targets(padded)


def test_weights(files, policy):
    data = module(files, policy, weights=(1.0, 3.0), batch_size=16)
    assert sum("-" in text for text in texts(policy, data.batch(0))) == 12


def test_files_are_tokenised_once(files, policy):
    module(files, policy)
    (made,) = (files / "tokenised").iterdir()
    assert made.name.startswith("more-")
    stamp = (made / "manifest.json").stat().st_mtime_ns
    module(files, policy)
    assert (made / "manifest.json").stat().st_mtime_ns == stamp
    with (files / "more.jsonl").open("a") as file:
        file.write('{"prompt": "x", "completion": "y"}\n')
    assert module(files, policy).mixture.rows_per_epoch == 17


def test_long_rows_are_left_out_and_limits_kept(files, policy, caplog):
    with (files / "more.jsonl").open("a") as file:
        file.write(json.dumps({"prompt": "1 + 1 " * 60, "completion": "y"}) + "\n")
    assert module(files, policy, max_length=50).mixture.sizes == [10, 6]
    assert "1 of 7 rows left out, longer than 50 tokens" in caplog.text
    data = module(files, policy)
    data.sources = {"numbers": ChatSource(str(files / "numbers"), skip=2, limit=3)}
    data.connect(policy)
    assert data.mixture.sizes == [3]
    with pytest.raises(InputError, match="none of its 10 rows has at most 2 tokens"):
        module(files, policy, max_length=2)


def test_length_of_training(files, policy):
    data = module(files, policy, epochs=0.4)
    assert data.updates == len(data.train_dataloader()) == 1
    data.max_updates = 5
    assert len(list(data.train_dataloader())) == 5
    data.load_state_dict({**data.state_dict(), "position": 3})
    assert [batch.index for batch in data.train_dataloader()] == [3, 4]


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"batch_size": 4}, r"data\.batch_size was 8 and is 4"),
        ({"seed": 1}, r"data\.seed was 0 and is 1"),
        ({"weights": (1.0, 2.0)}, r"data\.weights was"),
        ({"max_length": 8}, "the rows changed"),
    ],
)
def test_other_data_cannot_be_resumed(files, policy, change, told):
    state = module(files, policy).state_dict()
    data = module(files, policy, **change)
    data.load_state_dict(state)
    with pytest.raises(InputError, match=f"cannot resume: {told}"):
        data.train_dataloader()


def test_bad_data_come_out_in_setup(files, policy):
    with (files / "more.jsonl").open("a") as file:
        file.write("{\n")
    sources = {"more": ChatSource(str(files / "more.jsonl"))}
    with pytest.raises(InputError, match=r"more\.jsonl, row 7: invalid JSON"):
        ChatDataModule(sources).setup("fit")
    data = ChatDataModule({"more": ChatSource(str(files / "more.jsonl"), on_bad_row="skip")})
    data.setup("fit")
    data.prepare(policy)
    data.connect(policy)
    assert data._stores[0].manifest.left_out == {"malformed": 1}
    shutil.rmtree(files / "numbers")
    with pytest.raises(InputError, match="numbers"):
        ChatDataModule({"numbers": ChatSource(str(files / "numbers"))}).setup("fit")


def test_prompts_to_measure_on(files):
    sources = {"more": ChatSource(str(files / "more.jsonl"))}
    data = ChatDataModule(sources, TinyWorldPrompts(split="held_out", n=5), val_batch_size=2, val_limit=3)
    data.setup("test")
    assert [len(batch) for batch in data.test_dataloader()] == [2, 1]
    assert ChatDataModule(sources).val_dataloader() == []


@pytest.mark.parametrize(
    ("settings", "told"),
    [
        ({"batch_size": 0}, "batch_size is 0"),
        ({"micro_batch_tokens": 0}, "micro_batch_tokens is 0"),
        ({"epochs": 0.0}, "epochs is 0"),
        ({"max_length": 0}, "max_length is 0"),
        ({"sources": {}}, "sources is empty"),
    ],
)
def test_numbers_out_of_range(settings, told):
    with pytest.raises(InputError, match=told):
        ChatDataModule(**{"sources": {"a": ChatSource("a.jsonl")}} | settings)
