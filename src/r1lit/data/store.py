"""Stores: tokenised conversations as a litdata directory with a manifest.

    manifest = write_store(directory, rows, ChatEncoder.of(policy), extra={"filters": {"truncated": 12}})
    store = open_store(directory, ChatEncoder.of(policy))        # InputError with another tokenizer or template
    store[3]                                                     # StoredRow(input_ids, loss_mask, source)

where ``rows`` is an iterable of :class:`~r1lit.data.formats.ChatRow` (messages, source, meta). The directory holds

* litdata's chunks and index: rows ``{input_ids: int32 [T], loss_mask: uint8 [T], source}``, for any litdata reader;
* ``lengths.npy``: int32 [N, 2], the tokens and targets of each row, from which batches are planned unread;
* ``manifest.json``: hashes of tokenizer and template, counts, sources, content hashes, and what the writer adds. It
  holds no time and no path, and neither does anything else: equal rows make equal stores, byte for byte.

A store is read from a local folder or from an object store as litdata does (``s3://``, ``gs://``, ``hf://``, ...), and
written to either. Rows are read by number rather than streamed: which rows a batch has is then a pure function of the
seed and the batch's number, whatever the number of processes, and an object store's chunks are downloaded once.
"""

import hashlib
import json
import logging
import os
import shutil
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from queue import SimpleQueue
from typing import Any, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from r1lit.data.encoding import ChatEncoder, Turns
from r1lit.data.formats import ChatRow
from r1lit.data.sources import BadRows
from r1lit.errors import InputError
from r1lit.freshness import MANIFEST_FILE as MANIFEST
from r1lit.freshness import write_json

# Else litdata asks the package index for its newest version whenever a store is opened.
os.environ.setdefault("LITDATA_DISABLE_VERSION_CHECK", "1")

log = logging.getLogger(__name__)
LENGTHS = "lengths.npy"
INDEX = "index.json"
CHUNK_BYTES = 64_000_000
_REMOTE = ("s3://", "gs://", "r2://", "azure://", "hf://", "local:")
# Tells litdata's writer that it works alone, where it would else wait for the other ranks of a training run.
_ALONE = {"DATA_OPTIMIZER_GLOBAL_RANK": "0", "DATA_OPTIMIZER_NUM_WORKERS": "1", "DATA_OPTIMIZER_NUM_NODES": "1"}


@dataclass(frozen=True)
class Manifest:
    """What a store says of itself."""

    tokenizer: str
    """Hash of the tokenizer that its ids belong to."""
    template: str
    """Hash of the template that its rows were rendered with."""
    rows: int
    tokens: int
    targets: int
    """Tokens to learn from."""
    longest: int
    """Tokens of the longest row."""
    sources: dict[str, int]
    """Rows by source."""
    left_out: dict[str, int]
    """Rows that were not written, by reason: ``too_long``, ``malformed``."""
    content: str
    """Hash of all rows in order."""
    files: dict[str, str]
    """Hash of every other file."""
    turns: Turns = "all"
    """Which of the assistant's turns are targets."""
    extra: dict[str, Any] = field(default_factory=dict)
    """What the writer added: the counts of filters, where rows came from."""


class StoredRow(NamedTuple):
    """One conversation of a store, T tokens."""

    input_ids: NDArray[np.int32]
    loss_mask: NDArray[np.uint8]
    """1 for targets."""
    source: str


def is_remote(path: str | Path) -> bool:
    """Whether a path is the URL of an object store."""
    return str(path).startswith(_REMOTE)


def is_store(path: str | Path) -> bool:
    """Whether a path is a store: a URL, or a folder with a manifest."""
    return is_remote(path) or (Path(path).expanduser() / MANIFEST).is_file()


# Writing


def write_store(
    directory: str | Path,
    rows: Iterable[ChatRow],
    encoder: ChatEncoder,
    *,
    max_length: int | None = None,
    extra: Mapping[str, Any] | None = None,
    bad_rows: BadRows | None = None,
    on_bad_row: Literal["raise", "skip"] = "raise",
) -> Manifest:
    """Tokenises rows and writes them as a store, which is complete or not there; an earlier one is replaced.

    Args:
        directory: A folder, or a URL: then the store is made in a temporary folder and uploaded, its manifest last.
        rows: The conversations, in their order.
        encoder: Tokenizer and template.
        max_length: Rows with more tokens are left out and counted: a row that is cut off teaches not to stop.
        extra: Goes into the manifest; ready for JSON.
        bad_rows: What the reader of ``rows`` left out; its count goes into the manifest.
        on_bad_row: What to do with a row that cannot be rendered, such as one that the chat template refuses: stop and
            name it, or leave it out and add it to ``bad_rows``.

    Raises:
        InputError: If there is no row, with ``on_bad_row: raise`` a row cannot be rendered, or the URL cannot be
            written to.
    """
    target = directory if is_remote(directory) else Path(directory).expanduser()
    if isinstance(target, str):
        with tempfile.TemporaryDirectory() as folder:
            manifest = _write(Path(folder), rows, encoder, max_length, extra or {}, bad_rows, on_bad_row)
            _upload(Path(folder), target)
        return manifest
    target.parent.mkdir(parents=True, exist_ok=True)
    draft = target.with_name(f".{target.name}.new")
    shutil.rmtree(draft, ignore_errors=True)
    draft.mkdir()
    manifest = _write(draft, rows, encoder, max_length, extra or {}, bad_rows, on_bad_row)
    old = target.with_name(f".{target.name}.old")
    if target.exists():
        shutil.rmtree(old, ignore_errors=True)
        target.rename(old)
    draft.rename(target)
    shutil.rmtree(old, ignore_errors=True)
    return manifest


def _write(
    folder: Path,
    rows: Iterable[ChatRow],
    encoder: ChatEncoder,
    max_length: int | None,
    extra: Mapping[str, Any],
    bad_rows: BadRows | None,
    on_bad_row: Literal["raise", "skip"],
) -> Manifest:
    bad_rows = BadRows() if bad_rows is None else bad_rows
    lengths: list[tuple[int, int]] = []
    sources: dict[str, int] = {}
    content = hashlib.sha256()
    too_long = 0
    with _writer(folder) as add:
        for row in rows:
            try:
                stored = _stored(row, encoder)
            except InputError as error:
                if on_bad_row == "raise":
                    raise
                bad_rows.add(str(error))
                continue
            if max_length is not None and len(stored.input_ids) > max_length:
                too_long += 1
                continue
            content.update(f"{stored.source}\0{len(stored.input_ids)}\0".encode())
            content.update(stored.input_ids.tobytes() + stored.loss_mask.tobytes())
            add(len(lengths), stored._asdict())
            lengths.append((len(stored.input_ids), int(stored.loss_mask.sum())))
            sources[stored.source] = sources.get(stored.source, 0) + 1
        if not lengths:
            reason = f"all {too_long} are longer than {max_length} tokens" if too_long else "there are none"
            if bad_rows.count:
                reason = f"{bad_rows.count} are malformed; the first: {bad_rows.shown[0]}"
            raise InputError(f"{folder.name.strip('.')}: no rows to store; {reason}")
    _settle_index(folder, content.hexdigest())
    table = np.array(lengths, dtype=np.int32)
    np.save(folder / LENGTHS, table)
    if too_long:
        log.warning("%d rows of more than %s tokens left out, %d kept", too_long, max_length, len(lengths))
    left_out = {"too_long": too_long, "malformed": bad_rows.count}
    manifest = Manifest(
        tokenizer=encoder.tokenizer_hash,
        template=encoder.template_hash,
        rows=len(lengths),
        tokens=int(table[:, 0].sum(dtype=np.int64)),
        targets=int(table[:, 1].sum(dtype=np.int64)),
        longest=int(table[:, 0].max()),
        sources=dict(sorted(sources.items())),
        left_out={reason: count for reason, count in left_out.items() if count},
        content=content.hexdigest(),
        files={file.name: _hash(file) for file in sorted(folder.iterdir())},
        turns=encoder.turns,
        extra=dict(extra),
    )
    write_json(folder / MANIFEST, asdict(manifest))
    return manifest


def _stored(row: ChatRow, encoder: ChatEncoder) -> StoredRow:
    try:
        encoded = encoder.encode(row.messages)
    except InputError as error:
        question = next((m.content for m in row.messages if m.role == "user"), "")
        raise InputError(f"{row.where or row.source or 'row'} ('{question[:40]}'): {error}") from error
    return StoredRow(np.array(encoded.input_ids, np.int32), np.array(encoded.loss_mask, np.uint8), row.source)


@contextmanager
def _writer(folder: Path) -> Iterator[Any]:
    """A function (index, row) that adds a row to a litdata directory."""
    from litdata.streaming.cache import Cache

    before = {name: os.environ.get(name) for name in _ALONE}
    os.environ.update(_ALONE)
    try:
        cache = Cache(str(folder), chunk_bytes=CHUNK_BYTES, msg_queue=SimpleQueue())  # the queue takes what it prints
        yield cache.__setitem__
        cache.done()
        cache.merge()
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


def _settle_index(folder: Path, content: str) -> None:
    """Puts the content's hash in the place of the time: litdata downloads a store anew where this changed."""
    index = json.loads((folder / INDEX).read_text())
    (folder / INDEX).write_text(json.dumps({**index, "updated_at": content[:32]}, sort_keys=True))


def _upload(folder: Path, url: str) -> None:
    from litdata.streaming.fs_provider import _get_fs_provider

    if url.startswith("local:"):
        shutil.copytree(folder, url.removeprefix("local:"), dirs_exist_ok=True)
        return
    try:
        provider = _get_fs_provider(url)
        for file in sorted(folder.iterdir(), key=lambda file: (file.name == MANIFEST, file.name)):
            provider.upload_file(str(file), f"{url.rstrip('/')}/{file.name}")
    except Exception as error:  # each provider's client has errors of its own
        raise InputError(f"{url}: cannot be written to: {' '.join(str(error).split())}") from error


def _hash(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


# Reading


class Store:
    """An open store: a sequence of rows; see :func:`open_store`."""

    def __init__(self, path: str, manifest: Manifest, lengths: NDArray[np.int32], cache_dir: str | None = None) -> None:
        self.path, self.manifest = path, manifest
        self.lengths = lengths
        """[N, 2]: tokens and targets of each row."""
        self._cache_dir = cache_dir
        self._dataset: Any = None

    def __len__(self) -> int:
        """Number of rows."""
        return self.manifest.rows

    def __getitem__(self, index: int) -> StoredRow:
        """Reads a row."""
        if self._dataset is None:
            from litdata import StreamingDataset

            self._dataset = StreamingDataset(self.path, cache_dir=self._cache_dir)
            _ = self._dataset[0]  # makes its cache, without which the next line fails
            self._dataset.on_demand_bytes = False  # whole chunks: rows are wanted in any order, all of them
        row = self._dataset[int(index)]
        return StoredRow(row["input_ids"], row["loss_mask"], row["source"])


def open_store(path: str | Path, encoder: ChatEncoder | None, cache_dir: str | None = None) -> Store:
    """Opens a store for a policy.

    Args:
        path: The folder or URL.
        encoder: Tokenizer and template of the policy that is to read it; None does not check.
        cache_dir: Where litdata keeps the chunks of an object store; its default if None.

    Raises:
        InputError: If there is no store, or it was written with another tokenizer or template.
    """
    where = str(path) if is_remote(path) else str(Path(path).expanduser())
    with tempfile.TemporaryDirectory() as folder:
        places = _fetched(where, Path(folder)) if is_remote(where) else Path(where)
        if not (places / MANIFEST).is_file():
            raise InputError(f"{where}: no store is here ({MANIFEST} is missing); make it first")
        manifest = Manifest(**json.loads((places / MANIFEST).read_text("utf-8")))
        lengths: NDArray[np.int32] = np.load(places / LENGTHS)
    if encoder is not None:
        for name, then, now in (
            ("tokenizer", manifest.tokenizer, encoder.tokenizer_hash),
            ("template", manifest.template, encoder.template_hash),
        ):
            if then != now:
                raise InputError(
                    f"{where}: written with another {name} ({then[:8]}) than the policy's ({now[:8]}); "
                    f"give the policy that {name}, or write the store anew"
                )
        if manifest.turns != encoder.turns:
            raise InputError(f"{where}: written to learn from turns: {manifest.turns}; set data.turns to that")
    return Store(where, manifest, lengths, cache_dir)


def _fetched(url: str, folder: Path) -> Path:
    """Downloads what is needed before the first row."""
    from litdata.streaming.downloader import get_downloader

    try:
        downloader = get_downloader(url, str(folder), [])
        for name in (MANIFEST, LENGTHS):
            downloader.download_file(f"{url.rstrip('/')}/{name}", str(folder / name))
    except Exception as error:  # each provider's client has errors of its own
        raise InputError(f"{url}: cannot be read: {' '.join(str(error).split())}") from error
    return folder
