"""The DataModule of reward models: preferences in optimizer batches, and others kept apart by prompt."""

import hashlib
import logging
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor

from r1lit.data.mixing import Mixture
from r1lit.data.packing import cut
from r1lit.data.preferences import Pair, Preference, PreferenceSource, prompt_key
from r1lit.data.resumable import ResumableDataModule, ResumableLoader
from r1lit.errors import InputError
from r1lit.policy import RewardModel
from r1lit.policy.classifiers import padded
from r1lit.policy.reward_text import cut_middle

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Item:
    """A preference as token ids."""

    rows: tuple[np.ndarray, ...]
    """Chosen and rejected, or the one reply; each with its prompt, int32."""
    safe: bool | None
    """The label; None of a pair."""
    prompt: str
    """Which prompt it is of."""
    characters: tuple[int, ...]
    """The length of what is read of each reply."""

    @property
    def width(self) -> int:
        """Tokens that it takes in a padded batch."""
        return len(self.rows) * max(len(row) for row in self.rows)


@dataclass(frozen=True, slots=True)
class PreferencePart:
    """A micro-batch of n items as rows [R, T]: n chosen, then n rejected ones, or n single ones."""

    input_ids: Tensor
    attention_mask: Tensor
    places: tuple[int, ...]
    """Of the items within their list; none in a row that only runs along with other ranks' ones."""
    safe: Tensor
    """[n] bool; of pairs, all True."""


@dataclass(frozen=True, slots=True)
class PreferenceBatch:
    """Some items, as one rank sees them."""

    parts: tuple[PreferencePart, ...]
    """This rank's micro-batches, as many on every rank."""
    index: int
    items: int
    """On all ranks: what the loss is divided by."""
    tokens: int
    """On all ranks."""


class PreferenceDataModule(ResumableDataModule):
    """Gives ``RewardModelModule`` one batch for each update, and held-out preferences to measure on.

    Batches are the same for any number of processes; what batch k holds is a pure function of (rows, seed, k), so that
    k is all that a resumed run needs. Prompts are kept apart whole: all rows of a prompt are held out, or none.

    Args:
        sources: Where preferences come from.
        val: Where held-out ones come from; None holds out a share of the prompts. Training rows of prompts that are
            also in ``val`` are left out.
        held_out: Share of the prompts, chosen by a hash of each prompt.
        val_limit: Measure on at most this many held-out rows; None takes all.
        batch_size: Pairs, or labelled replies, of an update (256 in the paper).
        epochs: How often the rows are gone through (1 in the paper), unless the module's ``max_updates`` says how long
            to train. The last update is filled up with rows of the next epoch.
        max_length: Longest row in tokens (8,192 in the paper); the model's context, where that is shorter.
        on_long: Longer rows lose their middle (``cut``), so that the beginning of the prompt and the end of the reply
            stay, or are left out (``skip``). Held-out rows are always cut. Both are counted.
        micro_batch_tokens: Padded tokens in one forward and backward: the memory budget.
        seed: Of the order of the rows.
        shuffle: Whether rows are reshuffled in each epoch.

    Raises:
        InputError: If a number is out of range (data that cannot be used raise it when they are read).
    """

    data_keys = ("rows",)
    data_name = "the preferences"

    def __init__(
        self,
        sources: PreferenceSource | list[PreferenceSource],
        val: PreferenceSource | list[PreferenceSource] | None = None,
        held_out: float = 0.1,
        val_limit: int | None = None,
        batch_size: int = 256,
        epochs: float = 1.0,
        max_length: int = 8192,
        on_long: Literal["cut", "skip"] = "cut",
        micro_batch_tokens: int = 16384,
        seed: int = 0,
        shuffle: bool = True,
    ) -> None:
        super().__init__()
        for name, value in (
            ("val_limit", val_limit),
            ("batch_size", batch_size),
            ("max_length", max_length),
            ("micro_batch_tokens", micro_batch_tokens),
        ):
            if value is not None and value < 1:
                raise InputError(f"data.{name} is {value}: it must be 1 or more")
        if not epochs > 0:
            raise InputError(f"data.epochs is {epochs}: it must be more than 0")
        if val is None and not 0 < held_out < 1:
            raise InputError(f"data.held_out is {held_out}: give a share between 0 and 1, or val")
        self.sources, self.val, self.held_out, self.val_limit = sources, val, held_out, val_limit
        self.batch_size, self.epochs, self.max_length, self.on_long = batch_size, epochs, max_length, on_long
        self.micro_batch_tokens, self.seed, self.shuffle = micro_batch_tokens, seed, shuffle
        self.max_updates: int | None = None
        self.long = {"train": 0, "val": 0}
        """Rows that were longer than ``max_length``."""
        self.useless = {"train": 0, "val": 0}
        """Rows left out, as nothing is read of a reply, or the same of both: their summaries are equal, or what is left
        of them after cutting."""
        self.train_items: list[Item] = []
        self.val_items: list[Item] = []
        self._split: tuple[list[Preference], list[Preference]] | None = None
        self._mixture: Mixture | None = None
        self._pad_id = 0
        self._model: RewardModel | None = None
        self._digest = ""

    # Rows

    def setup(self, stage: str) -> None:
        """Reads and divides the rows, and checks them.

        Raises:
            InputError: If they are missing, malformed, of two kinds, or none is left to train or to measure on.
        """
        _ = self.split

    @property
    def split(self) -> tuple[list[Preference], list[Preference]]:
        """The rows to train on and those held out."""
        if self._split is None:
            rows = _load(self.sources)
            if self.val is None:
                apart = [_share(prompt_key(row.messages)) < self.held_out for row in rows]
                train = [row for row, is_apart in zip(rows, apart, strict=True) if not is_apart]
                held = [row for row, is_apart in zip(rows, apart, strict=True) if is_apart]
            else:
                held = _load(self.val)
                known = {prompt_key(row.messages) for row in held}
                train = [row for row in rows if prompt_key(row.messages) not in known]
                if dropped := len(rows) - len(train):
                    log.warning("%d training rows left out, whose prompts are held out", dropped)
            if not train or not held:
                raise InputError(
                    f"data: of {len(rows)} rows, {len(train)} are left to train on and {len(held)} held out, by prompt;"
                    " give more prompts, another held_out, or val"
                )
            if len({type(row) for row in (*train, *held)}) > 1:
                raise InputError("data: some sources hold pairs and others labelled replies; give one kind")
            self._split = train, held[: self.val_limit]
        return self._split

    def connect(self, model: RewardModel) -> None:
        """Encodes the rows for a reward model, once.

        Raises:
            InputError: If no training row is short enough.
        """
        if self._model is model:
            return
        train, held = self.split
        self._pad_id, self._model = model.pad_id, model
        longest = min(self.max_length, model.max_context)
        self.train_items = self._encode(train, model, longest, "train")
        self.val_items = self._encode(held, model, longest, "val")
        if not self.train_items:
            useless = self.useless["train"]
            also = f" and differs in what reads: {model.encoder.reads} reads ({useless} do not)" if useless else ""
            raise InputError(
                f"data: none of the {len(train)} training rows has at most {longest} tokens{also}; cut them"
            )
        for name, count in self.useless.items():
            if count:
                log.warning(
                    "%d %s rows left out: with reads: %s and at most %d tokens, there is nothing to tell their replies "
                    "apart by",
                    count,
                    name,
                    model.encoder.reads,
                    longest,
                )
        for name, count in self.long.items():
            if count:
                done = "left out" if name == "train" and self.on_long == "skip" else "cut in their middle"
                log.warning("%d %s rows longer than %d tokens: %s", count, name, longest, done)
        self._mixture = Mixture([len(self.train_items)], [None], self.seed, self.shuffle)
        digest = hashlib.sha256()
        for item in self.train_items:
            for row in item.rows:
                digest.update(row.tobytes())
            digest.update(str(item.safe).encode())
        self._digest = digest.hexdigest()

    def _encode(self, rows: Sequence[Preference], model: RewardModel, longest: int, name: str) -> list[Item]:
        items = []
        self.long[name] = self.useless[name] = 0
        for row in rows:
            item = _item(row, model)
            if any(len(ids) > longest for ids in item.rows):
                self.long[name] += 1
                if name == "train" and self.on_long == "skip":
                    continue
                kept = tuple(np.array(cut_middle(ids.tolist(), longest), np.int32) for ids in item.rows)
                item = Item(kept, item.safe, item.prompt, item.characters)
            if not all(item.characters) or len({ids.tobytes() for ids in item.rows}) < len(item.rows):
                self.useless[name] += 1
                continue
            items.append(item)
        return items

    @property
    def is_pairwise(self) -> bool:
        """Whether the rows are pairs."""
        return isinstance(self.split[0][0], Pair)

    @property
    def mixture(self) -> Mixture:
        """What deals the rows; known once :meth:`connect` was called."""
        if self._mixture is None:
            raise RuntimeError("PreferenceDataModule: call connect(model) first")
        return self._mixture

    @property
    def updates(self) -> int:
        """Updates of the whole training: the module's ``max_updates``, or those of ``epochs``."""
        if self.max_updates is not None:
            return self.max_updates
        return max(1, round(self.epochs * self.mixture.rows_per_epoch / self.batch_size))

    # Batches

    def batch(self, index: int, rank: int = 0, ranks: int = 1) -> PreferenceBatch:
        """Training batch ``index`` (from 0), as one of the ranks sees it; places are those of ``train_items``."""
        places = [place.row for place in self.mixture.rows(index * self.batch_size, self.batch_size)]
        return self._batch(self.train_items, places, index, rank, ranks)

    def _batch(
        self, items: Sequence[Item], places: Sequence[int], index: int, rank: int, ranks: int
    ) -> PreferenceBatch:
        parts = cut([items[place].width for place in places], rank, ranks, self.micro_batch_tokens, packed=False)
        return PreferenceBatch(
            tuple(_collated(items, [places[i] for i in part], self._pad_id) for part in parts),
            index,
            len(places),
            sum(len(row) for place in places for row in items[place].rows),
        )

    def train_dataloader(self) -> "PreferenceLoader":
        """One batch for each update, from the position on.

        Raises:
            InputError: If the run being resumed had other data, or dealt them otherwise.
        """
        self._check_restored()
        return PreferenceLoader(self)

    def val_dataloader(self) -> "HeldOutBatches":
        """The held-out rows."""
        return HeldOutBatches(self)

    def test_dataloader(self) -> "HeldOutBatches":
        """The same rows."""
        return HeldOutBatches(self)

    def transfer_batch_to_device(self, batch: object, device: object, dataloader_idx: int) -> object:
        """Leaves batches alone: the module moves a micro-batch when its turn comes."""
        return batch

    # Position

    @property
    def _has_data(self) -> bool:
        return self._mixture is not None

    def _dealing(self) -> dict[str, Any]:
        return {
            "batch_size": self.batch_size,
            "seed": self.seed,
            "shuffle": self.shuffle,
            "rows": self._digest,
        }


class PreferenceLoader(ResumableLoader):
    """One batch after the other, from the DataModule's position on."""

    data: PreferenceDataModule

    def __len__(self) -> int:
        """Batches of a Lightning epoch: all updates of the training."""
        return self.data.updates

    def __iter__(self) -> Iterator[PreferenceBatch]:
        """Yields what is left of them."""
        for index in range(self.data.position, self.data.updates):
            yield self.data.batch(index, *_rank(self.data))


class HeldOutBatches:
    """The held-out rows once, each rank its share of every batch.

    Args:
        data: Whose.
        size: Rows in a batch.
    """

    def __init__(self, data: PreferenceDataModule, size: int = 64) -> None:
        self.data, self.size = data, size

    def __len__(self) -> int:
        """Number of batches."""
        return -(-len(self.data.val_items) // self.size)

    def __iter__(self) -> Iterator[PreferenceBatch]:
        """Yields the batches; places are those of ``val_items``."""
        items = self.data.val_items
        for index in range(len(self)):
            places = range(index * self.size, min(len(items), (index + 1) * self.size))
            yield self.data._batch(items, places, index, *_rank(self.data))


def _rank(data: PreferenceDataModule) -> tuple[int, int]:
    return (0, 1) if data.trainer is None else (data.trainer.global_rank, data.trainer.world_size)


def _load(sources: PreferenceSource | list[PreferenceSource]) -> list[Preference]:
    """All rows of all sources."""
    return [row for source in (sources if isinstance(sources, list) else [sources]) for row in source.load()]


def _share(key: str) -> float:
    """A number from 0 to 1 that a prompt alone fixes: in every run the same prompts are held out."""
    return int(key[:12], 16) / 16**12


def _item(row: Preference, model: RewardModel) -> Item:
    replies = (row.chosen, row.rejected) if isinstance(row, Pair) else (row.response,)
    read = [model.encoder.read(reply) for reply in replies]
    return Item(
        tuple(np.array(model.encode(row.messages, reply), np.int32) for reply in replies),
        None if isinstance(row, Pair) else row.safe,
        prompt_key(row.messages),
        tuple(len(text) for text in read),
    )


def _collated(items: Sequence[Item], places: Sequence[int], pad_id: int) -> PreferencePart:
    """Makes a micro-batch; of no items, one that counts for nothing, for ranks that must run along."""
    chosen = [items[place] for place in places]
    rows = [item.rows[side].tolist() for side in range(len(items[0].rows)) for item in chosen]
    ids, mask = padded(rows or [[pad_id]], pad_id)
    return PreferencePart(ids, mask, tuple(places), torch.tensor([item.safe is not False for item in chosen]).bool())
