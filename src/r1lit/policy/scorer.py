"""Scoring completions with a reward model in this process."""

from collections.abc import Sequence
from typing import Literal, Self

import torch
from torch import nn
from transformers import PreTrainedConfig, PreTrainedModel

from r1lit.errors import InputError
from r1lit.policy.classifiers import CLASSIFIER, load_classifier, padded
from r1lit.policy.loading import load_tokenizer, max_context, read_config, resolve_dtype, resolve_source
from r1lit.policy.reward_text import Reads, RewardEncoder, check_vocabulary, cut_middle
from r1lit.types import Completion, Message

Loss = Literal["pairwise", "pointwise"]
_TWO_LABELS = (("safe", "unsafe"), ("harmless", "harmful"))


class ModelScorer:
    """Rates completions with a reward model in this process; a ``types.Scorer``.

    It takes any ``AutoModelForSequenceClassification`` directory or hub id with one label, ours or another's, and two
    labels where they are called safe and unsafe, or harmless and harmful: then the score is the log odds of the
    former. Text goes from policy to reward model, so their tokenizers need not be the same. A score depends on its own
    completion alone, up to rounding. Nothing is read before :meth:`load` or the first use.

    Args:
        path: Of the model.
        batch_tokens: Padded tokens in one forward.
        device: Where to score; None takes a GPU if there is one.
        dtype: float32, bfloat16, or auto (as saved).
        reads: What is read of a reply; None as the model's configuration says, ``answer`` where it does not.
        template: As in ``RewardModel``; None likewise.

    Raises:
        InputError: If ``batch_tokens`` is out of range; what else is wrong is raised when the model is read.
    """

    def __init__(
        self,
        path: str,
        batch_tokens: int = 16384,
        device: str | torch.device | None = None,
        dtype: str = "auto",
        reads: Reads | None = None,
        template: str | None = None,
    ) -> None:
        if batch_tokens < 1:
            raise InputError(f"ModelScorer: batch_tokens is {batch_tokens}; give at least 1")
        self.path, self.batch_tokens, self.dtype = path, batch_tokens, dtype
        self.device = torch.device(device or ("cuda" if torch.cuda.is_available() else "cpu"))
        self._reads, self._template = reads, template
        self._config: PreTrainedConfig | None = None
        self._encoder: RewardEncoder | None = None
        self._model: PreTrainedModel | None = None
        self.cut = 0
        """Rows so far that exceeded the model's context, and lost their middle."""

    @property
    def config(self) -> PreTrainedConfig:
        """The model's configuration, read at first use.

        Raises:
            InputError: If there is none, or it is not that of a reward model.
        """
        if self._config is None:
            config = read_config(resolve_source(self.path))
            if not any(name.endswith(CLASSIFIER) for name in config.architectures or []):
                what = next(iter(config.architectures or []), config.model_type)
                raise InputError(f"reward model '{self.path}': {what} has no scalar head; name a trained reward model")
            self._columns(config)
            self._config = config
        return self._config

    @property
    def mean(self) -> float | None:
        """Of the scores on held-out data; None where the model does not say."""
        return getattr(self.config, "r1lit_mean", None)

    @property
    def std(self) -> float | None:
        """Of the scores on held-out data; None where the model does not say."""
        return getattr(self.config, "r1lit_std", None)

    @property
    def loss(self) -> Loss | None:
        """What it was trained with; None where the model does not say."""
        return getattr(self.config, "r1lit_loss", None)

    @property
    def encoder(self) -> RewardEncoder:
        """Turns completions into ids.

        Raises:
            InputError: If the tokenizer does not belong to the model, or the template does not fit it.
        """
        if self._encoder is None:
            config = self.config
            tokenizer = load_tokenizer(resolve_source(self.path))
            recorded = getattr(config, "r1lit_vocabulary", None)
            check_vocabulary(tokenizer, config.get_text_config().vocab_size, recorded, self.path)
            template = self._template or str(getattr(config, "r1lit_template", RewardEncoder.template_for(tokenizer)))
            reads: Reads = self._reads or getattr(config, "r1lit_reads", None) or "answer"
            self._encoder = RewardEncoder(tokenizer, reads, template, self.path)
        return self._encoder

    def load(self) -> None:
        """Reads tokenizer and weights, if that was not done before.

        Raises:
            InputError: If they cannot be read or do not fit each other.
        """
        if self._model is None:
            _ = self.encoder
            dtype = resolve_dtype(self.dtype, self.config)
            self._model = load_classifier(resolve_source(self.path), self.config, dtype).eval().requires_grad_(False)
            self.to(self.device)

    def to(self, device: str | torch.device) -> Self:
        """Moves the model, also one that is yet to be read."""
        self.device = torch.device(device)
        if self._model is not None:
            nn.Module.to(self._model, self.device)
        return self

    def score(self, completions: Sequence[Completion]) -> list[float]:
        """One score for each completion.

        Raises:
            InputError: See :meth:`load`.
        """
        return self.score_texts([(c.prompt.messages, c.text) for c in completions])

    @torch.no_grad()
    def score_texts(self, pairs: Sequence[tuple[Sequence[Message], str]]) -> list[float]:
        """One score for each pair of a prompt's messages and a reply."""
        self.load()
        longest = max_context(self.config)
        encoded = [self.encoder.encode(messages, reply) for messages, reply in pairs]
        self.cut += sum(len(ids) > longest for ids in encoded)
        rows = [cut_middle(ids, longest) for ids in encoded]
        scores = [0.0] * len(rows)
        for part in self._batches([len(row) for row in rows]):
            for place, score in zip(part, self._forward([rows[place] for place in part]), strict=True):
                scores[place] = score
        return scores

    def _batches(self, lengths: Sequence[int]) -> list[list[int]]:
        """Places of the rows of each batch, rows of like length together."""
        # transformers finds a row's last token by the pad id; without one it scores a single row at a time.
        alone = self.config.get_text_config().pad_token_id is None
        parts: list[list[int]] = []
        for place in sorted(range(len(lengths)), key=lambda place: (-lengths[place], place)):
            if parts and not alone and (len(parts[-1]) + 1) * lengths[parts[-1][0]] <= self.batch_tokens:
                parts[-1].append(place)
            else:
                parts.append([place])
        return parts

    def _forward(self, rows: Sequence[list[int]]) -> list[float]:
        assert self._model is not None  # load() was called
        pad = self.config.get_text_config().pad_token_id or 0
        ids, mask = padded(rows, pad, self.device)
        logits = self._model(input_ids=ids, attention_mask=mask, use_cache=False).logits.float()
        columns = self._columns(self.config)
        score = logits[:, columns[0]] if len(columns) == 1 else logits[:, columns[0]] - logits[:, columns[1]]
        return [float(value) for value in score]

    def _columns(self, config: PreTrainedConfig) -> tuple[int, ...]:
        """The column that is the score, or the two whose difference is."""
        if config.num_labels == 1:
            return (0,)
        known = config.id2label or {}
        names = {str(label).lower(): int(number) for number, label in known.items()}
        for good, bad in _TWO_LABELS:
            if {*names} == {good, bad}:
                return names[good], names[bad]
        labels = ", ".join(str(label) for label in known.values())
        raise InputError(
            f"reward model '{self.path}': its head has {config.num_labels} labels ({labels[:80]}); a reward model has "
            "one, or two called safe and unsafe or harmless and harmful"
        )
