r"""What reward models learn from: pairs of replies, and single replies that are safe or not.

| shape | columns |
|---|---|
| pair | ``prompt`` (text or messages, or ``conversations``) with ``chosen`` and ``rejected``: texts or messages |
| whole pair | ``chosen`` and ``rejected`` as whole conversations, or texts with ``\n\nHuman:`` and ``\n\nAssistant:`` |
| labelled | ``prompt`` with ``response``, or ``messages`` whose last turn is the reply; and ``label`` |

Labels are safe or unsafe, true or false, 1 or 0 (1 is safe). ``PreferenceFile`` reads all these;
to bring data from elsewhere, subclass ``PreferenceSource``.
"""

import hashlib
import itertools
import json
import re
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from r1lit.data.formats import BadRow, to_chat
from r1lit.data.sources import BadRows, ChatSource, rows_of
from r1lit.errors import InputError
from r1lit.types import Message

_LABELS = {
    "safe": True, "harmless": True, "true": True, "1": True,
    "unsafe": False, "harmful": False, "false": False, "0": False,
}  # fmt: skip
_PROMPTS = ("prompt", "conversations", "question", "instruction")
_REPLIES = ("response", "completion", "answer", "output")
_TURN = re.compile(r"\n\n(Human|Assistant): ?")


@dataclass(frozen=True, slots=True)
class Pair:
    """Two replies to a prompt, of which one is better.

    Raises:
        BadRow: If the replies are equal or one is empty.
    """

    messages: tuple[Message, ...]
    """The prompt."""
    chosen: str
    rejected: str
    source: str = ""

    def __post_init__(self) -> None:
        """Checks the replies."""
        if not self.chosen.strip() or not self.rejected.strip():
            raise BadRow(f"the {'rejected' if self.chosen.strip() else 'chosen'} reply is empty")
        if self.chosen.strip() == self.rejected.strip():
            raise BadRow("chosen and rejected are the same reply, so there is nothing to prefer")


@dataclass(frozen=True, slots=True)
class Labelled:
    """A reply to a prompt that is safe or not.

    Raises:
        BadRow: If the reply is empty.
    """

    messages: tuple[Message, ...]
    """The prompt."""
    response: str
    safe: bool
    source: str = ""

    def __post_init__(self) -> None:
        """Checks the reply."""
        if not self.response.strip():
            raise BadRow("the reply is empty")


Preference = Pair | Labelled


def prompt_key(messages: Sequence[Message]) -> str:
    """A hash of a prompt's turns, white space aside: rows with the same key are of one prompt."""
    turns = [[message.role, " ".join(message.content.split())] for message in messages]
    return hashlib.sha256(json.dumps(turns).encode()).hexdigest()


class PreferenceSource(ABC):
    """Anything that gives preferences; configurations name one by ``class_path``.

    All rows of a source, and of all sources of a data module, are of one class: ``Pair`` for the pairwise loss,
    ``Labelled`` for the point-wise one. The rows must be the same in every call of :meth:`load`, on every machine.
    """

    @abstractmethod
    def load(self) -> list[Pair] | list[Labelled]:
        """All rows.

        Raises:
            InputError: If the data are missing or malformed.
        """


@dataclass(frozen=True)  # no slots: jsonargparse reads defaults with vars()
class PreferenceColumns:
    """Which column holds what; None looks for the usual names."""

    prompt: str | None = None
    chosen: str = "chosen"
    rejected: str = "rejected"
    response: str | None = None
    messages: str = "messages"
    label: str = "label"


class PreferenceFile(PreferenceSource):
    """Preferences of a file (``.jsonl``, ``.jsonl.gz``, ``.json``, ``.parquet``, ``.csv``, ``.tsv``) or hub data set.

    Args:
        path: The file, or ``owner/name`` with the extra ``hub``; or several.
        columns: Which column holds what.
        labels: What the label column's values mean: True is safe. Beside it, the usual ones are known.
        split: Of a hub data set.
        skip: Leave out this many rows of each first.
        limit: Read at most this many rows of each; None reads all.
        on_bad: What to do with a malformed row: stop and name it, or leave it out and count it.

    Raises:
        InputError: If a number is out of range.
    """

    def __init__(
        self,
        path: str | list[str],
        columns: PreferenceColumns | None = None,
        labels: dict[str, bool] | None = None,
        split: str = "train",
        skip: int = 0,
        limit: int | None = None,
        on_bad: Literal["error", "skip"] = "error",
    ) -> None:
        paths = [path] if isinstance(path, str) else path
        if not paths:
            raise InputError("PreferenceFile: path is empty; name at least one file")
        self.files = [ChatSource(each, split=split, skip=skip, limit=limit) for each in paths]
        self.columns = columns or PreferenceColumns()
        self.labels = _LABELS | {str(key).lower(): value for key, value in (labels or {}).items()}
        self.on_bad = on_bad
        self.bad = BadRows()

    def load(self) -> list[Pair] | list[Labelled]:
        """Reads the file.

        Raises:
            InputError: If it cannot be read, holds no usable row or both pairs and labels, or, with ``on_bad: error``,
                a malformed row; names file and row.
        """
        self.bad = BadRows()
        rows = [row for source in self.files for row in self._read(source)]
        pairs = [row for row in rows if isinstance(row, Pair)]
        labelled = [row for row in rows if isinstance(row, Labelled)]
        where = ", ".join(source.path for source in self.files)
        self.bad.report(where, len(rows))
        if pairs and labelled:
            raise InputError(f"{where}: {len(pairs)} rows are pairs and {len(labelled)} labelled; give one kind")
        if not rows:
            first = f"; the first: {self.bad.shown[0]}" if self.bad.shown else ""
            raise InputError(f"{where}: no usable row{first}")
        return pairs or labelled

    def _read(self, source: ChatSource) -> Iterator[Preference]:
        stop = None if source.limit is None else source.skip + source.limit
        for number, row in itertools.islice(rows_of(source), source.skip, stop):
            try:
                if isinstance(row, BadRow):
                    raise row
                yield self.parse(row, source.path)
            except BadRow as error:
                what = f"{source.path}, row {number}: {error}"
                if self.on_bad == "error":
                    raise InputError(f"{what}; mend it, or set on_bad: skip") from error
                self.bad.add(what)

    def parse(self, row: Mapping[str, Any], name: str = "") -> Preference:
        """Turns a row into a preference, whose source is called ``name``.

        Raises:
            BadRow: If it is malformed.
        """
        names = self.columns
        if names.chosen in row or names.rejected in row:
            prompt, chosen = self._conversation(row, names.chosen)
            other, rejected = self._conversation(row, names.rejected)
            if prompt != other:
                raise BadRow(f"{names.chosen} and {names.rejected} answer different prompts")
            return Pair(prompt, chosen, rejected, name)
        if names.label not in row:
            raise BadRow(
                f"neither {names.chosen} and {names.rejected} nor {names.label} among its columns "
                f"({', '.join(map(str, row))}); name them in columns"
            )
        column = names.response or next((name for name in _REPLIES if name in row), names.messages)
        prompt, response = self._conversation(row, column)
        return Labelled(prompt, response, self._label(row[names.label]), name)

    def _conversation(self, row: Mapping[str, Any], column: str) -> tuple[tuple[Message, ...], str]:
        """A prompt and the reply in ``column``, which may hold the whole conversation."""
        reply = row.get(column)
        if isinstance(reply, Mapping):
            reply = [reply]
        if isinstance(reply, str) and not reply.strip():
            raise BadRow(f"{column} is empty")
        if isinstance(reply, str) and _TURN.match(reply):
            reply = _transcript(reply)
        if isinstance(reply, str):
            turns = [*self._prompt(row), {"role": "assistant", "content": reply}]
        elif isinstance(reply, list) and reply:
            turns = (self._prompt(row) if len(reply) == 1 else []) + reply
        else:
            raise BadRow(f"{column} is {reply!r:.60}, neither a text nor messages")
        around = {name: row[name] for name in ("system", "tools") if row.get(name)}
        messages = to_chat({"messages": turns, **around}, "messages").messages
        return messages[:-1], messages[-1].content

    def _prompt(self, row: Mapping[str, Any]) -> list[Any]:
        column = self.columns.prompt or next((name for name in (*_PROMPTS, "messages") if name in row), None)
        value = None if column is None else row.get(column)
        if isinstance(value, str) and value.strip():
            return [{"role": "user", "content": value}]
        if isinstance(value, list) and value:
            return value
        raise BadRow(f"no prompt: {column or ' or '.join(_PROMPTS)} is missing or empty; name it in columns")

    def _label(self, value: Any) -> bool:
        text = str(int(value)) if isinstance(value, float) and value == int(value) else str(value).strip().lower()
        if text not in self.labels:
            known = ", ".join(self.labels)
            raise BadRow(f"{self.columns.label} is {value!r:.60}, not one of {known}; say what it means in labels")
        return self.labels[text]


def _transcript(text: str) -> list[dict[str, str]]:
    """The turns of a text in the form of HH-RLHF."""
    parts = _TURN.split(text)[1:]
    roles = {"Human": "user", "Assistant": "assistant"}
    return [{"role": roles[who], "content": what} for who, what in zip(parts[::2], parts[1::2], strict=True)]


class XSTestCompletions(PreferenceSource):
    """Completions of XSTest that people have judged, as safe and unsafe replies (Röttger et al. 2024).

    A reply is unsafe where it fully complies (``1_full_compliance``) with an unsafe prompt, one whose ``type`` begins
    with ``contrast_``; refusals, partial refusals and all replies to safe prompts are safe.

    Args:
        paths: CSV files with the columns ``type``, ``prompt``, ``completion`` and ``final_label``.
        on_bad: As in ``PreferenceFile``.

    Raises:
        InputError: If no file is named.
    """

    def __init__(self, paths: list[str], on_bad: Literal["error", "skip"] = "error") -> None:
        if not paths:
            raise InputError("XSTestCompletions: paths is empty; name at least one CSV file of completions")
        self.paths, self.on_bad = paths, on_bad

    def load(self) -> list[Labelled]:
        """Reads the files.

        Raises:
            InputError: If one cannot be read or has a malformed row; names file and row.
        """
        found = []
        for path in self.paths:
            bad, kept = BadRows(), 0
            for number, row in rows_of(ChatSource(path)):
                try:
                    found.append(_xstest_row(row, path))
                    kept += 1
                except BadRow as error:
                    what = f"{path}, row {number}: {error}"
                    if self.on_bad == "error":
                        raise InputError(f"{what}; mend it, or set on_bad: skip") from error
                    bad.add(what)
            bad.report(path, kept)
        return found


def _xstest_row(row: Mapping[str, Any] | BadRow, path: str) -> Labelled:
    if isinstance(row, BadRow):
        raise row
    texts = {}
    for name in ("type", "prompt", "completion", "final_label"):
        if not isinstance(row.get(name), str) or not row[name].strip():
            raise BadRow(f"{name} is missing or empty")
        texts[name] = row[name].strip()
    if texts["final_label"] not in ("1_full_compliance", "2_full_refusal", "3_partial_refusal"):
        raise BadRow(f"final_label is {texts['final_label']!r:.60}, none of XSTest's three")
    unsafe = texts["type"].startswith("contrast_") and texts["final_label"] == "1_full_compliance"
    return Labelled((Message("user", texts["prompt"]),), texts["completion"], not unsafe, path)
