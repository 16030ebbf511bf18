"""The DataModule of supervised fine-tuning: conversations in optimizer batches, cut into micro-batches."""

import hashlib
import json
import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from r1lit.data.encoding import ChatEncoder, Turns
from r1lit.data.mixing import Mixture
from r1lit.data.packing import ChatBatch, collate, cut
from r1lit.data.prompts import PromptBatches, PromptDataModule
from r1lit.data.resumable import ResumableDataModule, ResumableLoader
from r1lit.data.sources import BadRows, ChatSource, read_chats
from r1lit.data.store import Store, is_remote, is_store, open_store, write_store
from r1lit.errors import InputError
from r1lit.freshness import TOKENISED
from r1lit.policy import Policy
from r1lit.tasks.base import PromptSource

log = logging.getLogger(__name__)


class ChatDataModule(ResumableDataModule):
    """Gives the module one :class:`~r1lit.data.packing.ChatBatch` for each Lightning batch, which is one update.

    Batches are the same for any number of processes, which divide the rows of each among themselves. What batch k holds
    is a pure function of (sources, seed, k); a checkpoint stores k, counted by what was trained on rather than fetched.

    Sources that are no stores yet are tokenised once, with the policy's tokenizer and template, into stores below the
    stage's folder. The loader is no ``torch.utils.data.DataLoader``, so Lightning never swaps its sampler.

    Args:
        sources: Where conversations come from, by name. On a command line: ``--data.sources.NAME.path FILE``.
        val: Where the prompts for ``validate`` and ``test`` come from, as in ``PromptDataModule``.
        batch_size: Rows of an update (128 in the paper).
        epochs: How often the rows are gone through (2 to 3 in the paper), unless the module's ``max_updates`` says how
            long to train. The last update is filled up with rows of the next epoch.
        packing: Lay rows one after another, each seeing itself alone, instead of padding them to equal length.
        micro_batch_tokens: Tokens in one forward and backward: the memory budget.
        max_length: Leave out longer rows, in tokens; the model's context if None. No row is ever cut.
        turns: Learn from ``all`` turns of the assistant, or from the ``last`` alone, as chat templates require that
            drop the reasoning of earlier ones. A message's own ``weight: 0`` is obeyed in both.
        seed: Of the order of the rows.
        shuffle: Whether rows are reshuffled in each epoch.
        val_limit: See ``PromptDataModule``.
        val_batch_size: Prompts in one validation batch.
        cache_dir: Where chunks of an object store are kept; litdata's default if None.

    Raises:
        InputError: If a number is out of range (data that cannot be used raise it when they are read).
    """

    data_keys = ("sources", "rows")
    data_name = "the rows"

    def __init__(
        self,
        sources: dict[str, ChatSource],
        val: PromptSource | list[PromptSource] | None = None,
        batch_size: int = 128,
        epochs: float = 2.0,
        packing: bool = True,
        micro_batch_tokens: int = 16384,
        max_length: int | None = None,
        turns: Turns = "all",
        seed: int = 0,
        shuffle: bool = True,
        val_limit: int | None = None,
        val_batch_size: int = 32,
        cache_dir: str | None = None,
    ) -> None:
        super().__init__()
        if not sources:
            raise InputError("data.sources is empty; name at least one source, such as {gsm8k: {path: train.jsonl}}")
        for name, value in (
            ("batch_size", batch_size),
            ("micro_batch_tokens", micro_batch_tokens),
            ("max_length", max_length),
        ):
            if value is not None and value < 1:
                raise InputError(f"data.{name} is {value}: it must be 1 or more")
        if not epochs > 0:
            raise InputError(f"data.epochs is {epochs}: it must be more than 0")
        self.sources = sources
        self.batch_size, self.epochs = batch_size, epochs
        self.turns: Turns = turns
        self.packing, self.micro_batch_tokens, self.max_length = packing, micro_batch_tokens, max_length
        self.seed, self.shuffle, self.cache_dir = seed, shuffle, cache_dir
        self.prompts = PromptDataModule(None, val, val_limit=val_limit, val_batch_size=val_batch_size)
        self.max_updates: int | None = None
        self._checked = False
        self._stores: list[Store] = []
        self._usable: list[np.ndarray] = []
        self._mixture: Mixture | None = None
        self._pad_id = 0

    # The policy's part

    def prepare(self, policy: Policy) -> None:
        """Tokenises what is not tokenised yet; call it on one process, before :meth:`connect` on all.

        Raises:
            InputError: If a source cannot be read or has a malformed row, or a row cannot be rendered.
        """
        encoder = ChatEncoder.of(policy, self.turns)
        for name, source in self.sources.items():
            if not is_store(source.path):
                folder = self._folder(name, source, encoder)
                if not is_store(folder):
                    bad = BadRows()
                    rows = read_chats(source, name, bad)
                    made = write_store(folder, rows, encoder, bad_rows=bad, on_bad_row=source.on_bad_row)
                    bad.report(source.path, made.rows)

    def connect(self, policy: Policy) -> None:
        """Opens the stores for a policy, whose tokenizer and template must be those of every store.

        Raises:
            InputError: If a store was written with another tokenizer or template, or has no row that is short enough.
        """
        encoder = ChatEncoder.of(policy, self.turns)
        longest = min(policy.max_context, self.max_length or policy.max_context)
        self._pad_id = policy.pad_id
        self._stores, self._usable = [], []
        for name, source in self.sources.items():
            place = source.path if is_store(source.path) else self._folder(name, source, encoder)
            store = open_store(place, encoder, self.cache_dir)
            usable = np.flatnonzero(store.lengths[:, 0] <= longest)
            if is_store(source.path):
                usable = usable[source.skip :][: source.limit]
            if not len(usable):
                raise InputError(f"{source.path}: none of its {len(store)} rows has at most {longest} tokens")
            if dropped := int((store.lengths[:, 0] > longest).sum()):
                log.warning("%s: %d of %d rows left out, longer than %d tokens", name, dropped, len(store), longest)
            self._stores.append(store)
            self._usable.append(usable)
        weights = [source.weight for source in self.sources.values()]
        self._mixture = Mixture([len(rows) for rows in self._usable], weights, self.seed, self.shuffle)

    def _folder(self, name: str, source: ChatSource, encoder: ChatEncoder) -> Path:
        """Where a source's store is: named after all that its rows depend on, so a changed file is tokenised anew."""
        path = Path(source.path).expanduser()
        stamp = [path.stat().st_size, path.stat().st_mtime_ns] if path.is_file() else [source.split]
        facts = [str(path), stamp, source.form, source.skip, source.limit, source.on_bad_row, self.turns]
        key = hashlib.sha256(json.dumps([*facts, encoder.tokenizer_hash, encoder.template_hash]).encode()).hexdigest()
        root = Path(self.trainer.default_root_dir) if self.trainer is not None else Path.cwd()
        return root / TOKENISED / f"{name}-{key[:12]}"

    @property
    def mixture(self) -> Mixture:
        """What deals the rows; known once :meth:`connect` was called."""
        if self._mixture is None:
            raise RuntimeError("ChatDataModule: call prepare(policy) and connect(policy) first")
        return self._mixture

    @property
    def updates(self) -> int:
        """Updates of the whole training: the module's ``max_updates``, or those of ``epochs``."""
        if self.max_updates is not None:
            return self.max_updates
        return max(1, round(self.epochs * self.mixture.rows_per_epoch / self.batch_size))

    # Lightning

    def setup(self, stage: str) -> None:
        """Checks the sources, every row of them, and loads the prompts.

        Raises:
            InputError: If data are missing, malformed or empty; names file and row.
        """
        if stage == "fit" and not self._checked:
            for name, source in self.sources.items():
                if is_store(source.path):
                    if not is_remote(source.path):
                        open_store(source.path, None)
                else:
                    for _ in read_chats(source, name):
                        pass
            self._checked = True
        if stage in ("validate", "test") or (stage == "fit" and self.prompts.val is not None):
            _ = self.prompts.val_prompts
        if stage == "fit" and self.prompts.val is None and self.trainer is not None:
            self.trainer.limit_val_batches = 0

    def train_dataloader(self) -> "ChatLoader":
        """One batch for each update, from the position on.

        Raises:
            InputError: If the run being resumed had other data, or dealt them otherwise.
        """
        self._check_restored()
        return ChatLoader(self)

    def val_dataloader(self) -> "PromptBatches | list[Any]":
        """The prompts to measure on, all on every rank."""
        return self.prompts.val_dataloader()

    def test_dataloader(self) -> "PromptBatches":
        """The same prompts."""
        return self.prompts.test_dataloader()

    def transfer_batch_to_device(self, batch: object, device: object, dataloader_idx: int) -> object:
        """Leaves batches alone: the module moves a micro-batch when its turn comes."""
        return batch

    def batch(self, index: int, rank: int = 0, ranks: int = 1) -> ChatBatch:
        """Batch ``index`` (from 0), as one of the ranks sees it."""
        places = self.mixture.rows(index * self.batch_size, self.batch_size)
        rows = [(place.source, int(self._usable[place.source][place.row])) for place in places]
        lengths = [self._stores[source].lengths[row] for source, row in rows]
        parts = cut([int(length[0]) for length in lengths], rank, ranks, self.micro_batch_tokens, self.packing)
        return ChatBatch(
            parts=tuple(
                collate([self._stores[s][r] for s, r in (rows[i] for i in part)], self.packing, self._pad_id)
                for part in parts
            ),
            index=index,
            rows=len(rows),
            tokens=int(sum(length[0] for length in lengths)),
            targets=int(sum(length[1] for length in lengths)),
        )

    # Position

    @property
    def measures(self) -> bool:
        """Whether there are prompts for validation and test."""
        return self.prompts.measures

    @property
    def _has_data(self) -> bool:
        return bool(self._stores)

    def _dealing(self) -> dict[str, Any]:
        return {
            "batch_size": self.batch_size,
            "seed": self.seed,
            "shuffle": self.shuffle,
            "weights": [source.weight for source in self.sources.values()],
            "rows": [len(rows) for rows in self._usable],
            "sources": [store.manifest.content for store in self._stores],
        }


class ChatLoader(ResumableLoader):
    """One batch after the other, from the DataModule's position on."""

    data: ChatDataModule

    def __len__(self) -> int:
        """Batches of a Lightning epoch: all updates of the training."""
        return self.data.updates

    def __iter__(self) -> Iterator[ChatBatch]:
        """Yields what is left of them."""
        trainer = self.data.trainer
        rank, ranks = (0, 1) if trainer is None else (trainer.global_rank, trainer.world_size)
        for index in range(self.data.position, self.data.updates):
            yield self.data.batch(index, rank, ranks)
