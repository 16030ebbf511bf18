"""What the tiny world's base models read: documents made on the fly, in batches of like length."""

import random
from collections.abc import Iterator
from dataclasses import dataclass, replace

import torch
from lightning.pytorch import LightningDataModule
from torch import Tensor
from torch.utils.data import DataLoader, IterableDataset
from transformers import AutoTokenizer, PreTrainedTokenizerBase

from r1lit.errors import InputError
from r1lit.tiny_world.authors import Habits
from r1lit.tiny_world.documents import draw_document

POOL = 1024
"""Documents that are sorted by length together."""
CONTEXT = 512
"""No document is longer, in tokens."""


@dataclass(frozen=True, slots=True)
class TextBatch:
    """Documents as tensors [B, T], padded on the right."""

    input_ids: Tensor
    attention_mask: Tensor


class TinyCorpusDataModule(LightningDataModule):
    """Endless documents of the tiny world.

    Args:
        tokenizer: Directory of the tokenizer.
        batches: Batches in all.
        tokens: Padded tokens in a batch.
        practice: Share of the batches, at the beginning, in which most authors reason step by step: skills are learnt
            from reasoning, and the habits of the world settle afterwards.
        practice_stepwise: That share of authors.
        habits: Of the authors, whose documents these are.
        seed: Of the documents.
    """

    def __init__(
        self,
        tokenizer: str,
        batches: int,
        tokens: int = 8192,
        practice: float = 0.7,
        practice_stepwise: float = 0.85,
        habits: Habits | None = None,
        seed: int = 0,
    ) -> None:
        super().__init__()
        if batches < 1 or tokens < CONTEXT:
            raise InputError(f"data.batches is {batches} and data.tokens {tokens}; give at least 1 and {CONTEXT}")
        self.tokenizer, self.batches, self.tokens = tokenizer, batches, tokens
        self.practice, self.practice_stepwise, self.seed = practice, practice_stepwise, seed
        self.habits = habits or Habits()

    def train_dataloader(self) -> DataLoader[TextBatch]:
        """Batches from the first on."""
        return DataLoader(_Corpus(self), batch_size=None)


class _Corpus(IterableDataset[TextBatch]):
    def __init__(self, data: TinyCorpusDataModule) -> None:
        self.data = data

    def __len__(self) -> int:
        return self.data.batches

    def __iter__(self) -> Iterator[TextBatch]:
        tokenizer = AutoTokenizer.from_pretrained(self.data.tokenizer)
        rng = random.Random(f"r1lit/corpus/{self.data.seed}")
        done = 0
        while True:
            habits = self.data.habits
            if done < self.data.practice * self.data.batches:
                habits = replace(habits, stepwise=self.data.practice_stepwise)
            for rows in self._pool(rng, tokenizer, habits):
                if done == self.data.batches:
                    return
                done += 1
                yield _padded(rows, tokenizer.pad_token_id)

    def _pool(self, rng: random.Random, tokenizer: PreTrainedTokenizerBase, habits: Habits) -> list[list[list[int]]]:
        documents = [draw_document(rng, habits) for _ in range(POOL)]
        contexts = tokenizer([d.context for d in documents])["input_ids"]
        answers = tokenizer([d.answer for d in documents])["input_ids"]
        end = [tokenizer.eos_token_id]
        rows = sorted((c + a + end for c, a in zip(contexts, answers, strict=True)), key=len)
        batches: list[list[list[int]]] = [[]]
        for row in rows:
            if (len(batches[-1]) + 1) * len(row) > self.data.tokens:
                batches.append([])
            batches[-1].append(row)
        rng.shuffle(batches)
        return batches


def _padded(rows: list[list[int]], pad_id: int) -> TextBatch:
    width = max(map(len, rows))
    ids = torch.tensor([row + [pad_id] * (width - len(row)) for row in rows])
    mask = torch.tensor([[1] * len(row) + [0] * (width - len(row)) for row in rows])
    return TextBatch(ids, mask)
