"""The sink: writes envelopes to standard output or a file, and remembers nothing."""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import BinaryIO

from flusso_core.errors import SinkFatal
from flusso_core.interfaces import Sink, SinkCapabilities
from flusso_core.model import (
    Document,
    Finding,
    FlushReport,
    Generation,
    IndexMapping,
    Rejection,
    Severity,
    StateRecord,
)
from flusso_sink_stdout.envelope import line, prettify, timestamp
from flusso_sink_stdout.options import StdoutOptions

_EPOCH = 1


class StdoutSink(Sink):
    """Documents as lines of JSON. It is *ephemeral*: filled afresh on every run."""

    def __init__(self, options: StdoutOptions, *, name: str) -> None:
        self._options = options
        self._name = name
        self._where = "standard output" if options.path is None else options.path
        self._stream: BinaryIO | None = None
        self._fields: dict[str, int] = {}
        self._seq = 0

    @property
    def capabilities(self) -> SinkCapabilities:
        """No records, no versions, one flush at a time, so that lines stay in order."""
        return SinkCapabilities(records=False, versions=False)

    async def open(self) -> None:
        """Open the file, if there is one to open.

        Raises:
            SinkFatal: it cannot be opened.
        """
        if self._stream is not None:
            return
        if self._options.path is None:
            self._stream = sys.stdout.buffer
            return
        try:
            self._stream = await asyncio.to_thread(Path(self._options.path).open, "ab")
        except OSError as error:
            raise SinkFatal(self._failed("cannot be opened", error)) from error

    async def close(self) -> None:
        """Close the file; standard output stays open."""
        stream, self._stream = self._stream, None
        if stream is not None and self._options.path is not None:
            # Every flush has emptied the buffer, but for one that failed and said so.
            with suppress(OSError):
                await asyncio.to_thread(stream.close)

    async def acquire(self, owner: str) -> int:
        """Nothing to acquire: every run writes lines of its own."""
        del owner
        return _EPOCH

    async def renew(self) -> None:
        """Nothing to renew."""

    async def release(self) -> None:
        """Nothing to release."""

    async def load_records(self) -> Mapping[str, StateRecord]:
        """None: nothing is remembered."""
        return {}

    async def store_records(self, records: Sequence[StateRecord]) -> None:
        """Nothing is remembered."""

    async def generations(self, index: str) -> Sequence[Generation]:
        """None: nothing is remembered."""
        del index
        return ()

    async def begin_generation(self, mapping: IndexMapping, generation: int) -> None:
        """Take note of how many fields the index's documents have."""
        del generation
        self._fields[mapping.index] = len(mapping.fields)

    async def serve_generation(self, mapping: IndexMapping, generation: int) -> None:
        """Nothing serves."""

    async def drop_generation(self, generation: Generation) -> None:
        """Nothing to drop."""

    async def flush(self, documents: Sequence[Document], *, caught_up: bool) -> FlushReport:
        """Write an envelope a document and flush the stream.

        Raises:
            SinkFatal: the stream is closed or full, or an index was not begun.
        """
        del caught_up  # every flush reaches whoever reads
        stream = self._stream
        if stream is None:
            msg = "the sink is not open"
            raise SinkFatal(msg)
        ts = timestamp()
        lines = [self._line(document, ts) for document in documents]
        try:
            # A reader may be slow; the loop does not wait with us.
            await asyncio.to_thread(_write, stream, b"".join(lines))
        except BrokenPipeError as error:
            if self._options.path is None:
                _forget_standard_output()
            msg = f"sinks.{self._name}: whoever reads {self._where} has closed it"
            raise SinkFatal(msg) from error
        except OSError as error:
            raise SinkFatal(self._failed("cannot be written", error)) from error
        return FlushReport()

    async def quarantine(self, rejections: Sequence[Rejection]) -> None:
        """Nothing is ever refused here, so there is nothing to keep.

        Raises:
            SinkFatal: there is.
        """
        if rejections:
            msg = f"sinks.{self._name}: the stdout sink has no quarantine"
            raise SinkFatal(msg)

    async def check(self) -> Sequence[Finding]:
        """Whether the file can be written or made."""
        if self._options.path is None:
            return []
        path = Path(self._options.path)
        message = await asyncio.to_thread(_obstacle, path)
        if message is None:
            return []
        cure = "name another file as path, or grant the permission"
        return [Finding(Severity.ERROR, str(path), message, cure)]

    def _line(self, document: Document, ts: str) -> bytes:
        index = document.id.index
        fields = self._fields.get(index)
        if fields is None:
            msg = f"no generation of {index} was begun; nothing can be written to it"
            raise SinkFatal(msg)
        self._seq += 1
        envelope = line(document, sink=self._name, index=index, seq=self._seq, ts=ts, fields=fields)
        return prettify(envelope) if self._options.pretty else envelope

    def _failed(self, what: str, error: OSError) -> str:
        return f"sinks.{self._name}: {self._where} {what}: {error.strerror or error}"


def _write(stream: BinaryIO, data: bytes) -> None:
    stream.write(data)
    stream.flush()


def _obstacle(path: Path) -> str | None:
    if path.is_dir():
        return "it is a folder"
    if path.exists():
        return None if os.access(path, os.W_OK) else "it may not be written"
    if not path.parent.is_dir():
        return "its folder does not exist"
    return None if os.access(path.parent, os.W_OK) else "its folder may not be written"


def _forget_standard_output() -> None:
    """Let Python's own flush at exit go nowhere instead of failing once more.

    As "Note on SIGPIPE" in the documentation of Python's `signal` module says.
    """
    nowhere = os.open(os.devnull, os.O_WRONLY)
    try:
        os.dup2(nowhere, sys.stdout.fileno())
    finally:
        os.close(nowhere)
